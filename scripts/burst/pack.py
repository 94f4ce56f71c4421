"""At home: packs a queue of trainings with all that it needs, in parts that can be sent to a rented machine.

    python scripts/burst/pack.py scripts/zoo/queues/burst.toml --out burst

QUEUE is a file of scripts/zoo/train_queue.py. Into the parts go the code, the queue, its face sets as they are (LMDB), the weights
that its trainings start from, and with --wheels the packages that the machine lacks. Nothing else travels: no history, no other
weights. A part has --part MiB at most, so that it fits through whatever limits a copy; send burst/ whole where nothing does.
docs/guides/burst.md has the other steps.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import parts
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "zoo"))

import train_queue  # noqa: E402
import train_zoo  # noqa: E402

from wnet_arch.cli.common import run_script  # noqa: E402
from wnet_arch.errors import UsageError, WNetError  # noqa: E402
from wnet_arch.weights import seals, shipped  # noqa: E402
from wnet_arch.weights.checkpoint import read_state_dict  # noqa: E402

#: Of the repository; weights apart.
CODE = ("wnet_arch", "scripts", "tests", "baselines")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "docs/guides/pypi.md", "docs/results/speed.md")
START = "path:pretrain_network_g="
HEAVY = (".safetensors", ".pyc", ".pth", ".onnx")


def code() -> dict[str, Path]:
    """The repository without weights, by paths in it."""
    files = [ROOT / name for name in FILES]
    for folder in CODE:
        files += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix not in HEAVY)
    return {path.relative_to(ROOT).as_posix(): path for path in files if path.is_file()}


class Luggage:
    """What a queue needs beside the code, and what it is called at the other end."""

    def __init__(self):
        self.files: dict[str, Path | bytes] = {}
        self.sets: dict[str, str] = {}

    def add_set(self, path: str) -> str:
        """A face set; returns its path there."""
        real = Path(path).resolve()
        for name, known in self.sets.items():
            if known == str(real):
                return name
        base = f"datasets/{real.parent.name}_{real.name}" if real.name in ("train", "val", "test") else f"datasets/{real.name}"
        name = base
        while name in self.sets:
            name = f"{base}_{len(self.sets)}"
        self.sets[name] = str(real)
        inside = sorted(file for file in real.rglob("*") if file.is_file() and file.name != "lock.mdb")
        self.files.update({f"{name}/{file.relative_to(real).as_posix()}": file for file in inside})
        return name

    def add_weights(self, text: str) -> str:
        """Weights to start from: a file, or the name of a network that ships; returns their path there."""
        if shipped.is_name(text):
            self.files[f"weights/{text}.safetensors"] = seals.pack_tensors(narrowed(read_state_dict(text)), None)
            return f"weights/{text}.safetensors"
        file = Path(text).resolve()
        if not file.is_file():
            raise UsageError(f"{START}{text}: there is no such file, and no network of that name ships")
        name = f"weights/{len(self.files)}_{file.name}"
        self.files[name] = file
        return name


def narrowed(state: dict) -> dict:
    """The same values in half precision, where none of a tensor changes by that: most networks ship so."""
    found = {}
    for key, value in state.items():
        half = value.half() if value.is_floating_point() else value
        found[key] = half if torch.equal(half.to(value.dtype), value) else value
    return found


def travelling(entry: dict, luggage: Luggage) -> dict:
    """An entry of the queue with the paths that hold at the other end."""
    args, _ = train_zoo.prepared(train_queue.arguments(entry, Path("zoo")))
    entry = {**entry, "data": [luggage.add_set(path) for path in args.data], "val": luggage.add_set(args.val)}
    force = []
    for text in entry.get("force_yml", []):
        force.append(START + luggage.add_weights(text[len(START) :]) if text.startswith(START) else text)
    return {**entry, "force_yml": force} if force else entry


def as_toml(entries: list[dict]) -> str:
    """A queue without an [all]: each training has all that it needs. Values are numbers, texts, and lists of texts."""
    return "\n".join(
        "[[train]]\n" + "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in entry.items())
        for entry in entries
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", type=Path, metavar="QUEUE.toml")
    parser.add_argument("--out", type=Path, default=Path("burst"), metavar="FOLDER", help="of the parts (default: burst)")
    parser.add_argument("--part", type=float, default=48, metavar="MIB", help="largest part (default: 48)")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="*.whl that the machine lacks, of its Python")
    args = parser.parse_args()
    if args.part <= 0:
        parser.error("--part: must be above 0")
    try:
        train_queue.read(args.queue, args.out / "zoo")  # says what is wrong with it
        luggage = Luggage()
        entries = [travelling(entry, luggage) for entry in train_queue.entries(args.queue)]
    except WNetError as error:
        print(f"pack.py: error: {error}", file=sys.stderr)
        return error.exit_code
    wheels = sorted(args.wheels.glob("*.whl")) if args.wheels else []
    if args.wheels and not wheels:
        sys.exit(f"pack.py: error: there is no *.whl in {args.wheels}")
    files = {**code(), **luggage.files, **{f"wheels/{wheel.name}": wheel for wheel in wheels}}
    files["burst/queue.toml"] = as_toml(entries).encode()
    made = parts.write(files, args.out, max(1, int(args.part * parts.MIB)), sets=luggage.sets)
    for name in ("receive.py", "parts.py"):
        shutil.copyfile(Path(__file__).with_name(name), args.out / name)
    sizes = ", ".join(f"{part['name']} {part['bytes'] / parts.MIB:.1f}" for part in made)
    print(f"{len(entries)} trainings, {len(luggage.sets)} sets, {len(files)} files in {args.out}: {sizes} MiB")
    print(f"copy {args.out} to the machine; there: python3 {args.out.name}/receive.py")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
