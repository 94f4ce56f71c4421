"""At home: makes folders of runs of what came back, as if they had been trained here.

    python scripts/burst/rebuild.py results                                  # the folder that was copied back
    python scripts/burst/rebuild.py results --speed docs/results/speed.md            # and the numbers into that page

zoo/NAME gets options, logs and weights, so that scripts/zoo/ship_weights.py and all other commands take them; that command is
printed for each. A training that its time cut off is a run of as many iterations as its weights have seen. With states
(`burst.py collect --states`) nothing is cut: zoo/plan.toml is the queue that goes on with them here.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import tempfile
from pathlib import Path

import numbers_page
import parts
import results

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "zoo"))

import train_queue  # noqa: E402
from pack import as_toml  # noqa: E402
from safetensors import safe_open  # noqa: E402

from wnet_arch import options  # noqa: E402
from wnet_arch.cli.common import run_script  # noqa: E402
from wnet_arch.errors import WNetError  # noqa: E402
from wnet_arch.weights import checkpoint  # noqa: E402


def at_home(path: str, sets: dict[str, str]) -> str:
    """Where a face set of the rented machine lies here."""
    name = next((name for name in sets if path == name or path.endswith(f"/{name}")), None)
    return sets[name] if name else path


def run_of(folder: Path, sets: dict[str, str]) -> int | None:
    """Makes experiments/NAME of a training's weights and records; returns its iterations, ``None`` where no weights came."""
    kinds = {kind: folder / name for kind, name in results.KINDS.items() if (folder / name).is_file()}
    if not kinds:
        return None
    with safe_open(next(iter(kinds.values())), "pt") as file:
        label = file.metadata()["iteration"]
    opt = options.load(str(folder / f"{folder.name}.yml"))
    reached = opt["train"]["total_iter"] if label == results.LATEST else int(label)
    opt["train"]["total_iter"] = reached
    data = opt["datasets"]["train"]
    roots = data["dataroot"] if isinstance(data["dataroot"], list) else [data["dataroot"]]
    data["dataroot"] = [at_home(root, sets) for root in roots]
    opt["datasets"]["val"]["dataroot"] = at_home(opt["datasets"]["val"]["dataroot"], sets)
    run = folder / "experiments" / folder.name
    (run / "models").mkdir(parents=True, exist_ok=True)
    state = {kind: {n: v.float() if v.is_floating_point() else v for n, v in _read(file).items()} for kind, file in kinds.items()}
    checkpoint.write(state, run / "models" / "net_g_latest.pth")
    options.save(opt, str(run / f"{folder.name}.yml"))
    _shorten(run / "log.jsonl", reached)
    for file in kinds.values():
        file.unlink()
    return reached


def _read(file: Path) -> dict:
    return checkpoint.read_state_dict(str(file))


def _shorten(log: Path, reached: int) -> None:
    """Ends the log where the weights end."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    lines = [line for line in lines if line["iter"] <= reached]
    if not lines or lines[-1]["iter"] < reached:
        lines.append({"iter": reached})
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def queue_at_home(plan: Path, sets: dict[str, str]) -> str:
    """The queue of the rented machine with the sets that lie here."""
    found = []
    for entry in train_queue.entries(plan):
        force = [re.sub(r"=/.*/(weights/[^/]+)$", r"=\1", text) for text in entry.get("force_yml", [])]
        found.append({
            **entry, "data": [at_home(path, sets) for path in entry["data"]], "val": at_home(entry["val"], sets),
            "force_yml": force,
        })  # fmt: skip
    return as_toml(found)


def tell(name: str, one: dict, reached: int | None, zoo: Path, hardware: str) -> None:
    if reached is None:
        print(f"{name}: no weights came back; its log is in {zoo / name}")
        return
    trained = one.get("trained", {})
    psnr = f", {trained['psnr']:.2f} dB" if trained.get("psnr") else ""
    print(f"{name}: {reached} iterations of {one.get('batch', '?')}{psnr}")
    run, scale = zoo / name / "experiments" / name, re.search(r"_x\d+$", name)
    shipped = name.lower() if scale else f"{name.lower()}_xSCALE"
    command = ["python", "scripts/zoo/ship_weights.py", str(run), shipped, "--set", "SET", "--hardware", hardware]
    print(f"  {shlex.join(command)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the folder that came back")
    parser.add_argument("--pack", type=Path, default=Path("burst"), metavar="FOLDER", help="what pack.py made: where sets lie here")
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    parser.add_argument("--speed", type=Path, metavar="PAGE.md", help="write the section of measured numbers there")
    args = parser.parse_args()
    if args.speed and not args.speed.is_file():
        parser.error(f"--speed: there is no page {args.speed}")
    args.zoo.mkdir(parents=True, exist_ok=True)
    try:
        sets = parts.read_index(args.pack).get("sets", {})
        with tempfile.TemporaryDirectory(dir=args.zoo) as folder:
            index, came = parts.unpack(args.results, Path(folder)), Path(folder)
            known = json.loads((came / "numbers.json").read_text(encoding="utf-8"))
            runs = sorted(path for path in came.iterdir() if path.is_dir())
            for here in (args.zoo / one.name for one in runs):  # before any is moved
                if here.exists():
                    raise parts.PartsError(f"{here} is there already; move it away, or give another --zoo")
            for one in runs:
                here = args.zoo / one.name
                reached = None if index["states"] else run_of(one, sets)
                one.rename(here)
                if not index["states"]:
                    tell(one.name, known["trainings"].get(one.name, {}), reached, args.zoo, known["machine"]["card"])
            if index["states"] and (came / "plan.toml").exists():
                (args.zoo / "plan.toml").write_text(queue_at_home(came / "plan.toml", sets), encoding="utf-8")
                print(f"go on: python scripts/zoo/train_queue.py {args.zoo / 'plan.toml'} --out {args.zoo}")
            (args.zoo / "numbers.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    except (parts.PartsError, WNetError) as error:
        print(f"rebuild.py: error: {error}", file=sys.stderr)
        return 1
    print(numbers_page.table(known))
    if args.speed:
        numbers_page.write(known, args.speed)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
