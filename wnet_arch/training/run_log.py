"""What a run has reported, one JSON object a line, beside the framework's text log: ``log.jsonl`` in the experiment's folder.

A line of training has ``iter``, ``epoch``, ``lrs``, ``time`` and ``data_time`` (seconds an iteration, and of these waiting for
images), on a GPU ``host_time`` and ``device_time`` (see :class:`~wnet_arch.training.step_clock.StepClock`),
``images_per_second`` and the loss terms; a line of validation ``iter``, ``set``, the metrics and
``validation_seconds``. A continued run drops what was reported after the state it continues from.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from wnet_arch import disk
from wnet_arch.training import progress
from wnet_arch.training.logs import get_root_logger

FILE = "log.jsonl"
#: Seconds of a step, apart, where host and device compute at the same time.
STEP = ("host_time", "device_time")


def append(opt: dict, entry: dict) -> None:
    """Adds a line, on the first process of a training run."""
    if opt["is_train"] and opt.get("rank", 0) == 0 and opt["path"].get("experiments_root"):
        with open(Path(opt["path"]["experiments_root"], FILE), "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def drop_behind(opt: dict, iteration: int) -> None:
    """Removes what came after an iteration, and a line that was cut off."""
    path = Path(opt["path"]["experiments_root"], FILE)
    if opt.get("rank", 0) or not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["iter"] <= iteration:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue
    disk.write_text(path, "".join(kept))


class IterationTimer:
    """In the place of the framework's AvgTimer: mean time of what was recorded since the last time somebody asked.

    The framework's averages over a window that starts anew every 200 iterations, whatever was reported in between. What the
    trainer does between ``record`` and the next ``start`` (reporting, saving, validating) is not counted.
    """

    def __init__(self):
        self.seconds, self.count = 0.0, 0
        self.start()

    def start(self) -> None:
        """The next iteration begins."""
        self.tic = time.perf_counter()

    def record(self) -> None:
        """An iteration has ended, and the next begins."""
        now = time.perf_counter()
        self.seconds, self.count, self.tic = self.seconds + now - self.tic, self.count + 1, now

    def get_avg_time(self) -> float:
        """Mean seconds of an iteration since this was last asked; 0 where none has ended."""
        mean = self.seconds / max(1, self.count)
        self.seconds, self.count = 0.0, 0
        return mean


class JsonMessageLogger:
    """In the place of the framework's MessageLogger: a training message as text, as a JSON line, and for TensorBoard.

    The time left is that of the remaining iterations at the pace of this process so far, by the wall clock, so that validations
    and checkpoints are in it. Images a second count all processes, and training alone.
    """

    def __init__(self, opt: dict, start_iter: int = 1, tb_logger=None):
        self.opt, self.tb_logger = opt, tb_logger
        self.total = int(opt["train"]["total_iter"])
        self.marks = [(time.perf_counter(), start_iter)]
        drop_behind(opt, start_iter)

    def reset_start_time(self) -> None:
        """Called by the trainer after the first iteration of a new run, which is slower than the others."""
        self.marks.append((time.perf_counter(), self.marks[0][1] + 1))

    def __call__(self, log_vars: dict) -> None:
        """Reports an iteration.

        Args:
            log_vars: ``epoch``, ``iter``, ``lrs`` (a list), ``time``, ``data_time``, and whatever the model logs: numbers.
        """
        if self.opt.get("rank", 0):
            return
        keys = ("epoch", "iter", "lrs", "time", "data_time")
        known = {key: log_vars[key] for key in (*keys, *(key for key in STEP if key in log_vars))}
        images = ((self.opt.get("draws") or {}).get("together") or 0) / max(known["time"], 1e-9)
        terms = {key: value for key, value in log_vars.items() if key not in known}
        entry = {**known, "images_per_second": round(images, 2), **terms}
        append(self.opt, {key: round(value, 8) if isinstance(value, float) else value for key, value in entry.items()})
        get_root_logger().info(self._message(known, images, terms))
        if self.tb_logger:
            self._for_tensorboard(known, images, terms)

    def _message(self, known: dict, images: float, terms: dict[str, float]) -> str:
        rates = "".join(f"{rate:.3e}," for rate in known["lrs"])
        return (
            f"[{self.opt['name'][:5]}..][epoch:{known['epoch']:3d}, iter:{known['iter']:8,d}, lr:({rates})] "
            f"[eta: {progress.clock_time(self._seconds_left(known['iter']))}, {images:.1f} images/s, "
            f"time (data): {known['time']:.3f} ({known['data_time']:.3f})"
            + "".join(f", {key.partition('_')[0]}: {known[key]:.3f}" for key in STEP if key in known)
            + "] "
            + " ".join(f"{name}: {value:.4e}" for name, value in terms.items())
        )

    def _seconds_left(self, iteration: int) -> float | None:
        since, behind = next((mark for mark in reversed(self.marks) if mark[1] < iteration), self.marks[0])
        return progress.seconds_left(time.perf_counter() - since, iteration - behind, self.total - iteration)

    def _for_tensorboard(self, known: dict, images: float, terms: dict[str, float]) -> None:
        rates = {"lr": known["lrs"][0]} if len(known["lrs"]) == 1 else {f"lr_{i}": rate for i, rate in enumerate(known["lrs"])}
        values = {f"losses/{name}" if name.startswith("l_") else f"train/{name}": value for name, value in terms.items()}
        values.update({f"train/{name}": rate for name, rate in rates.items()}, **{"train/epoch": known["epoch"]})
        values["speed/images_per_second"] = images
        values["speed/seconds_per_iteration"] = known["time"]
        values.update({f"speed/{key}": known[key] for key in STEP if key in known})
        values["speed/share_waiting_for_data"] = known["data_time"] / max(known["time"], 1e-9)
        for name, value in values.items():
            self.tb_logger.add_scalar(name, value, known["iter"])
        self.tb_logger.flush()  # a run that is killed goes on from a checkpoint, before which nothing may be missing
