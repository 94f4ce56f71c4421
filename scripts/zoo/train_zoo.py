"""Trains one network by the recipe that all networks of the model zoo share, within a time or for a number of images.

    python scripts/zoo/train_zoo.py WNetLite 8 --minutes 60
    python scripts/zoo/train_zoo.py SPARNet 8 --images 64000

The recipe: the option file of the network (its loss, its start), and for all alike the data (--data, several sets are drawn from
together), mirroring, Muon 2e-3 (or --optimizer Adam, 5e-4) falling to 1e-6 along a cosine after a short warm-up, gradients clipped
to a norm of 1, a moving average of 0.999, one seed, bf16 where the network's largest layer is faster in it than in float32 (not on
CPUs without instructions for it; no difference in what is learned can be told from that between seeds,
docs/results/measurements.md), and the memory layout in which it is faster; a run that goes on keeps both. Losses that start late
(`start_iters`) do so after the same share of the training as in the option file. With --minutes the pace
of the first iterations, and the time of a validation, decide how many there will be, so that the learning rate ends at its end;
that number is kept in OUT/NETWORK_xSCALE/plan.json. Checkpoints are written every five minutes, and the same command goes on where
it was interrupted. Files with a discriminator keep the rates that they name, unless --lr gives one. --name makes variants of one
network: with --force_yml train:wnet_opt:key_weight=0.5, say.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from wnet_arch import disk, options
from wnet_arch.cli.common import run_script
from wnet_arch.data.face_lmdb import read_manifest
from wnet_arch.data.set_paths import find_set
from wnet_arch.errors import DataError, UsageError
from wnet_arch.weights import shipped
from wnet_arch.weights.hashing import sha256_file
from wnet_arch.weights.packages import plain

OPTIONS = options.packaged.FOLDER
#: Iterations that measure the pace, and those of them that do not count.
PACE, WARM_UP = 30, 10
#: Optimizers, and the learning rates of networks that train alone.
RATES = {"Muon": 2e-3, "Adam": 5e-4}
#: Options that make a training another one, which plans have kept since they keep more than the amount.
LATER = ("optimizer", "lr", "precision", "seed")
#: A training with fewer iterations is a mistake.
FEWEST = 5
#: Of the time, what checkpoints and start-up take; validation is measured.
SPARE = 0.1
#: Minutes between checkpoints.
SAVED = 5
#: On these hang the folder, the plan and the images seen, and an option decides each; --force_yml does not change them.
OWN = {
    "name": "--name", "train:total_iter": "--images or --minutes", "train:accumulation": "--accumulation",
    "datasets:train:batch_size_per_gpu": "--batch",
}  # fmt: skip


def option_file(network: str, scale: int) -> Path:
    """The option file of a network, whatever its letters' case; ``WNetLite`` is ``wnet_lite``."""
    found = {name: file for name, file in options.packaged.files().items() if not name.startswith(("ablation/", "test_"))}
    files = {plain(file.stem): file for file in found.values()}
    file = files.get(plain(f"{network}_x{scale}"))
    if file is None:
        known = sorted(file.stem.rpartition("_x")[0].lower() for file in found.values() if file.stem.endswith(f"_x{scale}"))
        sys.exit(f"there is no option file for {network} x{scale}; networks: {', '.join(known)}")
    return file


def recipe(args: argparse.Namespace, opt: dict, iterations: int) -> dict:
    """The option file with what all networks share."""
    train, data = opt["train"], opt["datasets"]
    published = train["total_iter"]
    data["train"].update(
        dataroot=[str(Path(path).resolve()) for path in args.data], batch_size_per_gpu=args.batch // args.accumulation,
        num_worker_per_gpu=args.workers, persistent_workers=None, use_hflip=True,
    )  # fmt: skip
    data["val"]["dataroot"] = str(Path(args.val).resolve())
    train.update(
        accumulation=args.accumulation, ema_decay=0.999, ema_warmup=True, total_iter=iterations, precision=args.precision or "auto",
        channels_last="auto", grad_clip=1.0, warmup_iter=min(200, iterations // 10),
        scheduler={"type": "CosineAnnealingRestartLR", "periods": [iterations], "restart_weights": [1], "eta_min": 1e-6},
    )  # fmt: skip
    if train.get("start_iters"):
        train["start_iters"] = {part: rescaled(first, published, iterations) for part, first in train["start_iters"].items()}
    if args.lr or not opt.get("network_d"):
        for key in ("optim_g", "optim_d")[: 2 if opt.get("network_d") else 1]:
            optimizer = args.optimizer or ("Adam" if opt.get("network_d") else "Muon")
            train[key] = {"type": optimizer, "lr": args.lr or RATES[optimizer], "betas": [0.9, 0.99]}
    opt["network_g"].update(args.network_option)
    opt["val"].update(val_freq=-(-iterations // args.validations), pbar=False, keep_best="psnr")
    opt["logger"].update(
        print_freq=10, save_checkpoint_freq=iterations, save_checkpoint_minutes=SAVED, keep_last=2, use_tb_logger=False
    )
    opt["manual_seed"] = args.seed
    opt["num_gpu"] = 1 if torch.cuda.is_available() else 0  # several would make the batch larger than the plan says
    return with_whole_paths(options.override(opt, args.force_yml))


def with_whole_paths(opt: dict) -> dict:
    """Files that a training begins with are named from where the user stands; it runs in a folder of its own."""
    given = opt.get("path") or {}
    for key, file in given.items():
        if isinstance(file, str) and Path(file).expanduser().is_file():
            given[key] = str(Path(file).expanduser().resolve())
    return opt


def rescaled(first: int, length: int, iterations: int) -> int:
    """The iteration that comes after the same share of a shorter or longer training."""
    return 1 + round((first - 1) * iterations / length)


def changed(args: argparse.Namespace, opt: dict) -> list[str]:
    """Those of ``OWN`` that --force_yml would change in the option file ``opt``."""
    without = recipe(argparse.Namespace(**{**vars(args), "force_yml": []}), opt, PACE)
    return [key for key in OWN if _value(options.override(without, args.force_yml), key) != _value(without, key)]


def _value(opt: dict, key: str) -> object:
    for part in key.split(":"):
        opt = (opt or {}).get(part)
    return opt


def run(opt: dict, folder: Path, label: str, anew: bool = False) -> Path:
    """Trains, or goes on unless it shall begin ``anew``; returns the run's JSON log."""
    if anew:
        shutil.rmtree(folder / "experiments" / label, ignore_errors=True)
    opt = {**opt, "name": label}
    file = folder / f"{label}.yml"
    options.save(opt, str(file))
    code = _ended([sys.executable, "-m", "wnet_arch.cli.basicsr", "train", "-opt", file.name, "--auto_resume"], folder)
    if code:
        sys.exit(code)
    return folder / "experiments" / label / "log.jsonl"


def _ended(command: list[str], folder: Path) -> int:
    """The exit code of a training in a folder. Ctrl-C and SIGTERM end the training, which is waited for, and then this process."""
    process = subprocess.Popen(command, cwd=folder)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:  # which the terminal has sent to both
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def lines(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def asked(args: argparse.Namespace) -> dict:
    """What makes a run another one, as its plan keeps it. Where its sets and weights lie does not, nor what it logs: sets are told
    by the sums of their photos, where `wnet prepare` has made them."""
    photos = {key: [_photos(path) for path in paths] for key, paths in (("data", args.data), ("val", [args.val]))}
    same = {key: getattr(args, key) for key in ("network", "scale", "minutes", "images", "batch", *LATER)}
    forced = [entry for entry in args.force_yml if not entry.startswith(("path:", "logger:"))]
    network_option = [f"{key}={value}" for key, value in args.network_option]
    return {**same, **photos, "network_option": network_option, "force_yml": forced, **_start(args.force_yml)}


def _start(force_yml: list[str]) -> dict:
    """The weights that a run begins with: nothing, a name that ships, or what tells a file; empty of a file that is gone."""
    given = [entry.partition("=")[2] for entry in force_yml if entry.startswith("path:pretrain_network_g=")]
    if not given or shipped.is_name(given[-1]):
        return {"start": given[-1] if given else None}
    file = Path(given[-1]).expanduser()
    return {"start": sha256_file(file)} if file.is_file() else {}


def _photos(path: str) -> str | None:
    try:
        return read_manifest(path).get("photos_sha256")
    except DataError:
        return None


def check_asked(path: Path, kept: dict, args: argparse.Namespace) -> None:
    """Raises :class:`UsageError` where the run of a plan is another one; plans of earlier versions keep less of it."""
    now = asked(args)
    if plain(kept["network"]) == plain(now["network"]):  # one network, in other letters
        kept = {**kept, "network": now["network"]}
    named = {"data": " ".join(args.data), "val": args.val}
    for key in (key for key in now if key in kept and kept[key] != now[key]):
        differs = f"other photos for --{key} than those of {named[key]}" if key in named else f"{key} {kept[key]}, not {now[key]}"
        if key == "start":
            differs = "other weights to begin with"
        raise UsageError(f"{path} is of a run with {differs}; give the same, or another --out")


def plan(args: argparse.Namespace, file: Path, folder: Path, pace: int = PACE, warm_up: int = WARM_UP) -> dict:
    """How many iterations: asked for, or as many as the time allows at the pace of the first."""
    path = folder / "plan.json"
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        check_asked(path, kept["asked"], args)
        return kept
    result = {"asked": asked(args), "iterations": args.images // args.batch if args.images else None, "seconds": None}
    if args.minutes:
        opt = recipe(args, options.load(str(file)), pace)
        opt["val"].update(val_freq=pace, keep_best=None)
        opt["logger"].update(print_freq=1, save_checkpoint_minutes=None)
        found = lines(run(opt, folder, "pace", anew=True))  # of these options, not of others that were tried before
        result["seconds"] = statistics.median([line["time"] for line in found if "time" in line][warm_up:])
        result["validation"] = sum(line.get("validation_seconds", 0) for line in found)
        left = args.minutes * 60 * (1 - SPARE) - (args.validations + 1) * result["validation"]  # one is done
        result["iterations"] = max(0, int(left / result["seconds"]))
    if result["iterations"] < FEWEST:
        each = f"at {result['seconds']:.1f} s each and {result['validation']:.1f} s a validation"
        sys.exit(f"that is {result['iterations']} iterations, {each}: give more --minutes, or fewer --validations")
    disk.write_text(path, json.dumps(result, indent=1) + "\n")
    return result


def key_value(text: str) -> tuple[str, object]:
    import yaml

    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    return key, yaml.safe_load(value)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train_zoo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="as its option file is called: WNetLite, WNet, SPARNet, EDSR, ...")
    parser.add_argument("scale", type=int, choices=(1, 2, 4, 8))
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--minutes", type=float, help="time for all of it, roughly")
    amount.add_argument("--images", type=int, help="images to see, so that networks are compared at equal data")
    parser.add_argument("--data", nargs="+", default=["datasets/celeba/train", "datasets/celebamask"], metavar="SET")
    parser.add_argument("--val", default="datasets/celeba/val", metavar="SET")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--accumulation", type=int, default=1, help="parts of a batch, one after the other: saves memory")
    parser.add_argument("--lr", type=float, help="(default: Muon 2e-3, Adam 5e-4; with a discriminator, that of the file)")
    parser.add_argument("--optimizer", choices=RATES, help="(default: Muon; with a discriminator, Adam)")
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="(default: the faster one for this network and machine)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="loader processes (default: 1; for a GPU as many as processors, 8 at most)")
    parser.add_argument("--validations", type=int, default=4, help="how often to validate (default: 4 times)")
    parser.add_argument("--network-option", nargs="+", type=key_value, default=[], metavar="KEY=VALUE", help="e.g. peak=1")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY:KEY=VALUE", help="as for `basicsr train`, applied last")
    parser.add_argument("--name", help="of the run (default: that of the option file)")
    parser.add_argument("--out", type=Path, default=Path("zoo"))
    return parser


def prepared(argv: list[str] | None = None) -> tuple[argparse.Namespace, Path]:
    """The arguments, with sets found and ``name`` given, and the option file. Ends the program where something is wrong."""
    args = build_parser().parse_args(argv)
    if args.batch < 1 or args.validations < 1:
        sys.exit("--batch and --validations must be 1 or more")
    if args.minutes is not None and args.minutes <= 0:
        sys.exit(f"--minutes {args.minutes:g}: must be above 0")
    if args.images is not None and args.images < FEWEST * args.batch:
        sys.exit(f"--images {args.images}: must be at least {FEWEST * args.batch}, which are {FEWEST} iterations of {args.batch}")
    if args.accumulation < 1 or args.batch % args.accumulation:
        sys.exit(f"--batch {args.batch} does not divide into {args.accumulation} equal parts; give another --accumulation")
    file = option_file(args.network, args.scale)
    args.name = args.name or file.stem
    try:
        args.data, args.val = [find_set(path) for path in args.data], find_set(args.val)
        # Options that it does not have are said before there is a folder.
        options.check_schema({**recipe(args, options.load(str(file)), PACE), "name": args.name}, is_train=True)
        for key in changed(args, options.load(str(file))):
            sys.exit(f"--force_yml does not change {key} here; give {OWN[key]}")
    except UsageError as error:
        sys.exit(str(error))
    return args, file


def main() -> int:
    args, file = prepared()
    folder = args.out / args.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        iterations = plan(args, file, folder)["iterations"]
    except UsageError as error:
        sys.exit(str(error))
    print(f"{args.name}: {iterations} iterations of {args.batch}, {iterations * args.batch} images", flush=True)
    log = run(recipe(args, options.load(str(file)), iterations), folder, args.name)
    best = max((line for line in lines(log) if "psnr" in line), key=lambda line: line["iter"])
    print(f"{args.name}: {best['psnr']:.3f} dB at iteration {best['iter']}; weights in {log.parent / 'models'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
