"""On the rented machine: measures what each training of the queue costs, trains within given minutes, packs the results.

    python3 scripts/burst/burst.py --minutes 12             # check, train, collect, in the folder that receive.py made
    python3 scripts/burst/burst.py check                    # or one by one; each can be repeated and goes on where it was
    python3 scripts/burst/burst.py train --minutes 9
    python3 scripts/burst/burst.py collect

check: the card, and some steps of each training: its pace, host and device time of a step, memory, and how near its
convolutions come to bare ones. What does not fit into memory is accumulated in more parts, which leaves the step what it is.
What cannot be trained is named, and left out.

train: the queue in its order, by scripts/zoo/train_queue.py. Trainings with `minutes` become as many images as these minutes
hold at the measured pace, less where the sum is above --minutes; those with `images` stay as they are, and one that is cut off
by the time ends at its last checkpoint, which are written every half minute.

collect: into results/, in parts that can be sent: weights, logs, numbers; with --states all that another machine needs to go on.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT), str(ROOT / "packages")]
sys.path[:0] = [*PATHS, str(ROOT / "scripts" / "zoo")]
os.environ["PYTHONPATH"] = os.pathsep.join([*PATHS, *filter(None, [os.environ.get("PYTHONPATH")])])  # of the trainings

import measure  # noqa: E402
import parts  # noqa: E402
import results  # noqa: E402
import torch  # noqa: E402
import train_queue  # noqa: E402
import train_zoo  # noqa: E402
from pack import START, as_toml  # noqa: E402

from wnet_arch import disk, options  # noqa: E402
from wnet_arch.cli.common import run_script  # noqa: E402
from wnet_arch.errors import WNetError  # noqa: E402

QUEUE, PLAN, NUMBERS = ROOT / "burst" / "queue.toml", ROOT / "burst" / "plan.toml", ROOT / "burst" / "numbers.json"
#: Seconds of steps that measure a training, and of the ceiling.
LOOK = 4
#: Minutes between checkpoints. Of a training's time, what they and the loader's start take.
SAVED, SPARE = 0.5, 0.05
#: Seconds for a face of the validation set, beside its share of a step: metrics are computed on the CPU.
METRICS = 0.015


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def numbers() -> dict:
    return json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.exists() else {"trainings": {}}


def keep(content: dict) -> None:
    disk.write_text(NUMBERS, json.dumps(content, indent=1) + "\n")


def located(entry: dict) -> dict:
    """The entry with weights found from anywhere: trainings run in folders of their own."""
    force = [
        f"{START}{(ROOT / text[len(START) :]).resolve()}" if text.startswith(f"{START}weights/") else text
        for text in entry.get("force_yml", [])
    ]
    return {**entry, "force_yml": force} if force else entry


def all_entries() -> list[dict]:
    return [located(entry) for entry in train_queue.entries(QUEUE)]


# --- check ------------------------------------------------------------------------------------------------------------


def check() -> bool:
    """Whether one training at least can be begun."""
    known = {**numbers(), "machine": measure.machine()}
    say(", ".join(f"{key} {value}" for key, value in known["machine"].items()))
    failed = []
    for entry in all_entries():
        args, file = train_zoo.prepared(train_queue.arguments(entry, ROOT / "zoo"))
        try:
            known["trainings"][args.name] = measured(args, file)
            say(f"{args.name}: {told(known['trainings'][args.name])}")
        except Exception as error:
            failed.append(args.name)
            known["trainings"].pop(args.name, None)
            say(f"{args.name}: CANNOT BE TRAINED: {type(error).__name__}: {str(error)[:500]}")
        known.setdefault("start_up", 2 * (time.monotonic() - BEGAN))  # two processes import torch, one after the other
        keep(known)
    return len(failed) < len(all_entries())


def measured(args: argparse.Namespace, file: Path) -> dict:
    """Numbers of a training, with smaller parts of its batch where memory does not suffice."""
    while True:
        try:
            opt = train_zoo.recipe(args, options.load(str(file)), 10_000)
            return {**measure.measure(opt, ROOT / "burst", LOOK), "validation": len_of(args.val)}
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            if not measure.with_less_memory(args):
                raise
            say(f"{args.name}: out of memory; its batch in {args.accumulation} parts")


def len_of(path: str) -> int:
    """Faces of a set."""
    with open(Path(path, "gt.lmdb", "meta_info.txt"), encoding="utf-8") as lines:
        return sum(1 for _ in lines)


def told(one: dict) -> str:
    text = f"{one['images_per_second']:.1f} images/s, {1000 * one['step']:.0f} ms a step of {one['batch']}"
    text += f", first {one['first_step']:.1f} s"
    if "device_time" in one:
        text += (
            f", host {1000 * one['host_time']:.0f} ms, device {1000 * one['device_time']:.0f} ms, {one['memory'] / 2**30:.1f} GiB"
        )
    if one["ceiling"]:
        text += f"; convolutions {one['flops_per_second'] / 1e9:.0f} of {one['ceiling'] / 1e9:.0f} GFLOP/s"
    return text


# --- train ------------------------------------------------------------------------------------------------------------


def planned(entries: list[dict], known: dict, seconds: float) -> list[dict]:
    """The queue with a number of images for each training: see the text at the top.

    Args:
        entries: of the queue.
        known: what :func:`check` has found.
        seconds: for all of them.
    """
    cost = {name: lasting(one, known.get("start_up", 30)) for name, one in known["trainings"].items()}
    there = [(entry, train_zoo.prepared(train_queue.arguments(entry, ROOT / "zoo"))[0]) for entry in entries]
    there = [(entry, args) for entry, args in there if args.name in cost]
    fixed = sum(cost[args.name] + args.images / pace(known, args) for _, args in there if args.images)
    asked = sum(args.minutes * 60 for _, args in there if args.minutes)
    share = min(1.0, max(0.0, seconds - fixed) / asked) if asked else 1.0
    found = []
    for entry, args in there:
        images = args.images
        if not images:
            left = args.minutes * 60 * share * (1 - SPARE) - cost[args.name]
            images = max(0, int(left * pace(known, args))) // args.batch * args.batch
        if images < train_zoo.FEWEST * args.batch:
            say(f"{args.name}: no time for it, left out")
            continue
        say(f"{args.name}: {images:,} images, some {cost[args.name] + images / pace(known, args):.0f} s")
        found.append(as_planned(entry, args.name, images, known["trainings"][args.name]["accumulation"]))
    kept: dict[str, dict] = {}
    for entry in found:
        if entry.get("after") in (None, *kept):
            kept[entry["name"]] = entry
        else:
            say(f"{entry['name']}: {entry['after']}, which it starts from, is left out, and so is this")
    return list(kept.values())


def pace(known: dict, args: argparse.Namespace) -> float:
    return known["trainings"][args.name]["images_per_second"]


def lasting(one: dict, start_up: float) -> float:
    """Seconds of a training beside its steps: start and validation."""
    return start_up + one["first_step"] + one["validation"] * (METRICS + one["step"] / one["batch"] / 3)


def as_planned(entry: dict, name: str, images: int, accumulation: int) -> dict:
    entry = {key: value for key, value in entry.items() if key != "minutes"}
    force = [f"logger:save_checkpoint_minutes={SAVED}", "logger:keep_last=1", *entry.get("force_yml", [])]
    return {**entry, "name": name, "images": images, "accumulation": accumulation, "validations": 1, "force_yml": force}


def train(minutes: float) -> bool:
    """Whether all trainings that were planned came to their end."""
    end = time.monotonic() + minutes * 60
    if not PLAN.exists():  # one that was begun is gone on with
        found = planned(all_entries(), numbers(), minutes * 60)
        if not found:
            raise train_queue.QueueError("no training can be begun: give more --minutes, and see what `burst.py check` says")
        PLAN.write_text(as_toml(found), encoding="utf-8")
    trainings = train_queue.read(PLAN, ROOT / "zoo")
    queue = train_queue.Queue(trainings, 1, max(1e-3, end - time.monotonic()) / 60, least=10)
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, queue.stop)
    queue.work()
    print(train_queue.table(trainings), flush=True)
    return all(training.progress()["done"] for training in trainings)


# --- all --------------------------------------------------------------------------------------------------------------


def collect(part: float, states: bool) -> None:
    """Packs results/ anew."""
    known = numbers()
    files = {}
    for training in train_queue.read(PLAN, ROOT / "zoo") if PLAN.exists() else []:
        found = results.whole(training.folder) if states else results.light(training.folder)
        one = known["trainings"].setdefault(training.name, {})
        one["trained"] = {**training.progress(), **results.times(training.folder)}
        say(f"{training.name}: {one['trained']['images']:,} images; {', '.join(found) or 'no checkpoint was written'}")
        files.update({f"{training.name}/{name}": content for name, content in found.items()})
    keep(known)
    files["numbers.json"] = NUMBERS
    if PLAN.exists():
        files["plan.toml"] = PLAN
    made = parts.write(files, ROOT / "results", int(part * parts.MIB), states=states)
    sizes = ", ".join(f"{one['name']} {one['bytes'] / parts.MIB:.1f}" for one in made)
    say(f"results/ is to be copied back: {sizes} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", choices=("all", "check", "train", "collect"), default="all")
    parser.add_argument("--minutes", type=float, help="for training, and for `all` with the check; half a minute more at most")
    parser.add_argument("--part", type=float, default=48, metavar="MIB", help="largest part of the results (default: 48)")
    parser.add_argument("--states", action="store_true", help="bring back whole runs, in full precision, to go on with elsewhere")
    args = parser.parse_args()
    if args.step in ("all", "train") and not (args.minutes and args.minutes > 0):
        parser.error(f"{args.step}: --minutes says how long, above 0")
    if args.part <= 0:
        parser.error("--part: must be above 0")
    done = True
    try:
        if args.step in ("all", "check"):
            done = check()
        if args.step in ("all", "train") and done:
            spent = (time.monotonic() - BEGAN) / 60 if args.step == "all" else 0
            done = train(args.minutes - spent)
        if args.step in ("all", "collect"):
            collect(args.part, args.states)
    except WNetError as error:
        print(f"burst.py: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(run_script(main))
