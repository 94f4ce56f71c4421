"""Works through a list of trainings, several at a time, until all are done or the time is over; goes on where it was stopped.

    python scripts/zoo/train_queue.py scripts/zoo/queues/table1_x8.toml --minutes 90     # all networks of Table 1
    python scripts/zoo/train_queue.py scripts/zoo/queues/table1_x8.toml --list           # how far they are
    python scripts/zoo/train_queue.py scripts/zoo/queues/table1_x8.toml --ship           # what is done into the repository
    python scripts/zoo/train_queue.py scripts/zoo/queues/table1_x8.toml --missing        # only what does not ship from it yet

A queue is a TOML file: [all] holds what the trainings share, each [[train]] is one. Keys are the options of train_zoo.py
(network, scale, images or minutes, batch, lr, optimizer, seed, data, val, ...), `name`, `after`: the name of a training above
it, from whose weights this one starts, and `ship`: the name that --ship gives it (else its own, in lower case; what ships under a
name stays, or with --replace only what is not from this queue). They are taken in the order of the file. A mistake anywhere
in it is said before anything starts. Whatever ends the program - its time, Ctrl-C, SIGTERM, `kill -9`, a reboot - the same command
continues at the last checkpoint of each training.

Any number of these programs may work on one queue, on several machines as well if --out is on a disk that they share (with Slurm,
one for each task of an array): none takes a training that another one has. A training that fails is reported, the others go on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import train_zoo
from tqdm import tqdm

from wnet_arch.cli.common import run_script
from wnet_arch.errors import UsageError, WNetError, did_you_mean
from wnet_arch.processors import processors
from wnet_arch.training import run_lock

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPT = Path(__file__).with_name("train_zoo.py")
#: Options of train_zoo.py that a training may have, by their keys in the file.
OPTIONS = (
    "images", "minutes", "data", "val", "batch", "accumulation", "lr", "optimizer", "precision", "seed", "workers", "validations",
    "network_option", "force_yml",
)  # fmt: skip
KEYS = ("name", "network", "scale", "after", "ship", *OPTIONS)
#: A training is not begun with fewer seconds left than the first, unless said otherwise; one that is stopped has the second to end
#: by itself.
LEAST, GRACE = 60, 30
#: Seconds until a training that another program had is asked for again.
AGAIN = 30


class QueueError(UsageError):
    """The file of a queue is wrong."""


@dataclass
class Training:
    """One entry. ``arguments``: those of train_zoo.py."""

    name: str
    arguments: list[str]
    out: Path
    after: str | None = None
    images: int | None = None
    val: str = ""
    ship: str = ""
    state: str = "waits"
    not_before: float = 0
    log_begins: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def run(self) -> Path:
        return self.folder / "experiments" / self.name

    @property
    def weights(self) -> Path:
        return self.run / "models" / "net_g_latest.pth"

    def log(self) -> list[dict]:
        """What the run has reported, without a line that is being written; raises :class:`OSError` where it has not begun."""
        lines = (self.run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def progress(self) -> dict:
        """``images`` seen, ``total`` of them, images a second (``pace``), ``psnr``, and whether it is ``done``."""
        try:
            planned = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
            lines = self.log()
        except (OSError, ValueError):
            return {"images": 0, "total": self.images, "pace": None, "psnr": None, "done": False}
        batch, last = planned["asked"]["batch"], max((line["iter"] for line in lines), default=0)
        validated = [line for line in lines if "psnr" in line]
        paces = [line["images_per_second"] for line in lines if "images_per_second" in line]
        ended = bool(validated) and validated[-1]["iter"] >= planned["iterations"] and self.weights.is_file()
        return {
            "images": last * batch, "total": planned["iterations"] * batch, "pace": paces[-1] if paces else None,
            "psnr": validated[-1]["psnr"] if validated else None, "done": ended,
        }  # fmt: skip


def entries(path: Path) -> list[dict]:
    """The trainings of a queue as the file has them, each with what they share.

    Raises:
        QueueError: it is no queue.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise QueueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    wrong = [key for key in content if key not in ("all", "train")]
    if wrong:
        raise QueueError(f"{path}: [{wrong[0]}]{did_you_mean(wrong[0], ('all', 'train'))}")
    shared, found = content.get("all", {}), content.get("train", [])
    if not isinstance(shared, dict) or not isinstance(found, list) or not found or not all(isinstance(e, dict) for e in found):
        raise QueueError(f"{path}: a queue has one [all] and one [[train]] for each training")
    return [{**_without_other_amount(shared, entry), **entry} for entry in found]


def read(path: Path, out: Path) -> list[Training]:
    """The trainings of a queue.

    Raises:
        QueueError: something is wrong in the file; nothing has been started or made.
    """
    found: dict[str, Training] = {}
    for number, entry in enumerate(entries(path), start=1):
        training = _training(entry, f"{path}: training {number}", out)
        if training.name in found:
            raise QueueError(f"{path}: two trainings are called '{training.name}'; give one a `name`")
        if training.after and training.after not in found:
            hint = did_you_mean(training.after, found) if found else ""
            raise QueueError(f"{path}: {training.name}: `after` names no training before it: '{training.after}'{hint}")
        found[training.name] = training
    return list(found.values())


def _without_other_amount(shared: dict, entry: dict) -> dict:
    """``images`` of all gives way to ``minutes`` of one, and the other way round."""
    own = {"images", "minutes"} & set(entry)
    return {key: value for key, value in shared.items() if not own or key not in ("images", "minutes")}


def _training(entry: dict, where: str, out: Path) -> Training:
    for key in entry:
        if key not in KEYS:
            raise QueueError(f"{where}: there is no key '{key}'{did_you_mean(key, KEYS)}")
    for key in ("network", "scale"):
        if key not in entry:
            raise QueueError(f"{where}: `{key}` is missing")
    for key in ("name", "after", "ship"):
        if not isinstance(entry.get(key, ""), str):
            raise QueueError(f"{where}: `{key}` is a name, not {entry[key]!r}")
    forced = entry.get("force_yml", [])
    if not isinstance(forced, list) or not all(isinstance(one, str) for one in forced):
        raise QueueError(f"{where}: `force_yml` is a list of texts (key:key=value), not {forced!r}")
    given = arguments(entry, out)
    if entry.get("after"):
        start = Training(entry["after"], [], out).weights.resolve()
        given += [*([] if forced else ["--force_yml"]), f"path:pretrain_network_g={start}"]
    args = _checked(given, where)
    _refuse_other_run(out / args.name / "plan.json", args, where)
    training = Training(args.name, given, out, entry.get("after"), args.images, args.val)
    training.ship = str(entry.get("ship") or args.name.lower())
    return training


def arguments(entry: dict, out: Path) -> list[str]:
    """Those of train_zoo.py for an entry of a queue; ``--force_yml`` is the last of them."""
    found = [str(entry["network"]), str(entry["scale"]), "--out", str(out)]
    if entry.get("name"):
        found += ["--name", str(entry["name"])]
    for key in (key for key in OPTIONS if key in entry and key != "force_yml"):
        value = entry[key]
        found += [f"--{key.replace('_', '-')}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    force = list(entry.get("force_yml", []))
    return [*found, *(["--force_yml", *force] if force else [])]


def _checked(arguments: list[str], where: str) -> argparse.Namespace:
    """What train_zoo.py makes of the arguments; its complaint as an error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return train_zoo.prepared(arguments)[0]
    except SystemExit as error:
        complaint = error.code if isinstance(error.code, str) else said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise QueueError(f"{where}: {complaint}") from error


def _refuse_other_run(plan: Path, args: argparse.Namespace, where: str) -> None:
    """A run of that name with other options must not count as this one."""
    try:
        kept = json.loads(plan.read_text(encoding="utf-8"))["asked"]
        if args.minutes:  # scripts/burst plans trainings by time as a number of images
            kept = {key: value for key, value in kept.items() if key not in ("minutes", "images")}
        train_zoo.check_asked(plan, kept, args)
    except (OSError, ValueError, LookupError, TypeError):
        return  # not begun
    except UsageError as error:
        raise QueueError(f"{where}: {error}") from error


def table(trainings: list[Training]) -> str:
    """How far each is: images, pace, PSNR on the validation set, hours left at that pace."""
    rows = [("training", "images", "of", "img/s", "PSNR", "left", "")]
    for training in trainings:
        known = training.progress()
        left = ""
        if known["pace"] and known["total"] and not known["done"]:
            left = f"{(known['total'] - known['images']) / known['pace'] / 60:.0f} min"
        rows.append((
            training.name, f"{known['images']:,}", f"{known['total']:,}" if known["total"] else "by time",
            f"{known['pace']:.1f}" if known["pace"] else "", f"{known['psnr']:.2f}" if known["psnr"] else "", left,
            "done" if known["done"] else training.state,
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


class Queue:
    """Runs trainings until all are done, or ``minutes`` are over.

    Args:
        trainings: in their order.
        jobs: how many at a time.
        minutes: ``None`` is no limit.
        least: with fewer seconds left no training is begun.
    """

    def __init__(self, trainings: list[Training], jobs: int, minutes: float | None, least: float = LEAST):
        self.trainings, self.jobs, self.least = trainings, jobs, least
        self.end = time.monotonic() + minutes * 60 if minutes else float("inf")
        self.stopped = False
        self.slots: dict[int, Training] = {}

    def work(self) -> None:
        """Returns when nothing is left to do, or the time is over; running trainings are then ended at once."""
        try:
            while not self.stopped and time.monotonic() < self.end:
                self._look()
                while len(self.slots) < self.jobs and self._begin_next():
                    pass
                if not self.slots and not self._is_waiting():
                    return
                self._rest()
        finally:
            self._end_all()

    def stop(self, *_) -> None:
        """Ends :meth:`work` soon."""
        self.stopped = True

    def _rest(self) -> None:
        until = min(time.monotonic() + 2, self.end)
        while time.monotonic() < until and not self.stopped and all(t.process.poll() is None for t in self.slots.values()):
            time.sleep(0.1)

    def _look(self) -> None:
        """Takes note of trainings that have ended."""
        for slot, training in list(self.slots.items()):
            code = training.process.poll()
            if code is None:
                continue
            del self.slots[slot]
            run_lock.release(training.folder)
            if training.progress()["done"]:
                training.state = "done"
                say(f"{training.name}: done, {training.progress()['psnr']:.2f} dB")
                continue
            words = _last_words(training.folder / "train.log", training.log_begins, code)
            if "is training into" in words:  # what a queue that was killed has left behind
                self._later(training)
            else:
                self._failed(training, words)

    @staticmethod
    def _later(training: Training) -> None:
        if training.state != "elsewhere":
            say(f"{training.name}: another program has it")
        training.state, training.not_before = "elsewhere", time.monotonic() + AGAIN

    def _begin_next(self) -> bool:
        if self.end - time.monotonic() < self.least:
            return False
        done = {training.name for training in self.trainings if training.progress()["done"]}
        for training in self.trainings:
            free = training.state in ("waits", "elsewhere") and training.not_before <= time.monotonic()
            if free and training.name not in done and training.after in (None, *done) and self._begin(training):
                return True
        return False

    def _is_waiting(self) -> bool:
        """Whether another program has a training that may be left to this one."""
        return any(training.state == "elsewhere" and not training.progress()["done"] for training in self.trainings)

    def _begin(self, training: Training) -> bool:
        """Whether it was begun: another program may have it."""
        try:
            run_lock.take(training.folder)
        except UsageError:
            self._later(training)
            return False
        except WNetError as error:
            return self._failed(training, str(error))
        if training.progress()["done"]:  # by another program, a moment ago
            run_lock.release(training.folder)
            return False
        slot = min(set(range(self.jobs)) - set(self.slots))
        try:
            self._start(training, slot)
        except OSError as error:
            run_lock.release(training.folder)
            return self._failed(training, f"{error.filename or training.folder}: {error.strerror}")
        training.state = "runs"
        self.slots[slot] = training
        say(f"{training.name}: begun")
        return True

    @staticmethod
    def _failed(training: Training, why: str) -> bool:
        training.state = "failed"
        say(f"{training.name}: failed: {why}")
        return False

    def _start(self, training: Training, slot: int) -> None:
        training.folder.mkdir(parents=True, exist_ok=True)
        with open(training.folder / "train.log", "ab") as log:
            training.log_begins = log.tell()
            command = [sys.executable, str(SCRIPT), *training.arguments]
            # In a group of its own: Ctrl-C reaches this program, which then ends them.
            training.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment(slot), start_new_session=True
            )

    def _environment(self, slot: int) -> dict[str, str]:
        """Each training gets its share of the processors, and a GPU of its own of those that this program may use."""
        import torch

        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(max(1, processors() // self.jobs)))
        count = torch.cuda.device_count()
        if count > 1:
            names = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
            environment["CUDA_VISIBLE_DEVICES"] = (names if len(names) >= count else [*map(str, range(count))])[slot % count]
        return environment

    def _end_all(self) -> None:
        """Ends what runs: politely, and after :data:`GRACE` seconds at once."""
        self._look()  # one that has ended has no group to be told
        for training in self.slots.values():
            os.killpg(training.process.pid, signal.SIGTERM)
        until = time.monotonic() + GRACE
        for training in self.slots.values():
            try:
                training.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(training.process.pid, signal.SIGKILL)
                training.process.wait()
            training.state = "stopped"
            run_lock.release(training.folder)
        self.slots.clear()


def ship(trainings: list[Training], queue: str, hardware: str | None, replace: bool) -> bool:
    """Ships all that are done, see :mod:`shipping`; says whether nothing was refused."""
    from shipping import ship as ship_one

    refused = 0
    for training in trainings:
        if not training.progress()["done"]:
            say(f"{training.name}: not done, so not shipped")
            continue
        try:
            earlier = next((t.run for t in trainings if t.name == training.after), None)
            say(f"{training.name}: {ship_one(training.run, training.ship, training.val, queue, hardware, earlier, replace)}")
        except RuntimeError as error:
            refused += 1
            say(f"{training.name}: not shipped: {error}")
    return not refused


def missing(trainings: list[Training], queue: str) -> list[Training]:
    """Those whose weights do not ship from this queue yet, and those that they start from, in the queue's order."""
    from shipping import shipped_log

    kept: list[Training] = []
    for training in reversed(trainings):
        args = train_zoo.build_parser().parse_args(training.arguments)
        if training.name in {later.after for later in kept} or not shipped_log(training.ship, queue, args):
            kept.insert(0, training)
    return kept


def _last_words(log: Path, begins: int, code: int) -> str:
    """Of the process that wrote the log from a byte on; of one that was killed, by what."""
    if code < 0:
        memory = ", which is what a machine without free memory does" if code == -signal.SIGKILL else ""
        return f"killed by signal {-code} ({signal.Signals(-code).name}){memory} ({log})"
    lines = log.read_bytes()[begins:].decode("utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1].strip()[:300] if lines else 'no word'} ({log})"


def say(text: str) -> None:
    tqdm.write(f"{time.strftime('%H:%M')} {text}")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", type=Path, metavar="QUEUE.toml")
    parser.add_argument("--list", action="store_true", help="print how far the trainings are, and end")
    parser.add_argument("--ship", action="store_true", help="put what is done into the repository: weights, card, log; and end")
    parser.add_argument("--missing", action="store_true", help="leave out trainings whose weights ship from this queue already")
    parser.add_argument("--hardware", metavar="TEXT", help="with --ship: what it was trained on, for the cards")
    parser.add_argument("--replace", action="store_true", help="with --ship: what ships from this queue under the same names")
    parser.add_argument("--minutes", type=float, help="end after this time (default: when all are done)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("zoo"), help="folder of the trainings (default: zoo)")
    args = parser.parse_args()
    if args.jobs < 1 or (args.minutes is not None and args.minutes <= 0):
        parser.error("--jobs is 1 or more, --minutes above 0")
    if (args.replace or args.hardware) and not args.ship:
        parser.error("--replace and --hardware say how to --ship")
    try:
        trainings = read(args.queue, args.out)
        if args.missing:
            trainings = missing(trainings, args.queue.stem)
        if args.ship:
            return 0 if ship(trainings, args.queue.stem, args.hardware, args.replace) else 1
        if not args.list:
            queue = Queue(trainings, args.jobs, args.minutes)
            for kind in (signal.SIGINT, signal.SIGTERM):
                signal.signal(kind, queue.stop)
            queue.work()
    except WNetError as error:
        print(f"train_queue.py: error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(trainings))
    return 1 if any(training.state == "failed" for training in trainings) else 0


if __name__ == "__main__":
    sys.exit(run_script(main))
