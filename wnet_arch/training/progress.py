"""A bar that shows how far a training run is, while it is watched: where standard error is a terminal.

It stands below the log: iterations, images a second, the loss of the last iteration, and the time left. There is one, of this
module, because the loop that it belongs to is the framework's, which hands nothing through.
"""

from __future__ import annotations

import datetime
import logging
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

#: Images a second are those of the median of this many iterations, so that a validation among them does not count.
RECENT = 25

_bar: ProgressBar | None = None


def begin(opt: dict, iteration: int, losses: Mapping[str, float]) -> None:
    """Called at the beginning of every iteration of a training run.

    Args:
        opt: the options of the run; ``logger.progress: false`` wants no bar.
        iteration: counted from 1.
        losses: terms of the iteration before.
    """
    global _bar
    if _bar is not None and _bar.opt is not opt:
        close()
    if _bar is None and is_wanted(opt):
        _bar = ProgressBar(opt, iteration)
    if _bar is not None:
        _bar.begin(iteration, losses)


def close(finished: bool = False) -> None:
    """Leaves the bar where it is, if there is one, and gives the terminal back."""
    global _bar
    if _bar is not None:
        _bar.close(finished)
        _bar = None


@contextmanager
def closed_afterwards() -> Iterator[None]:
    """Context of a run: its bar is closed at the end, before an error is printed."""
    try:
        yield
    except BaseException:
        close()
        raise
    close(finished=True)


def is_wanted(opt: dict) -> bool:
    """On the first process, where standard error is a terminal, unless the options say no."""
    wanted = (opt.get("logger") or {}).get("progress", True)
    return bool(wanted) and opt.get("rank", 0) == 0 and sys.stderr is not None and sys.stderr.isatty()


def seconds_left(elapsed: float, done: int, left: int) -> float | None:
    """Time for ``left`` iterations if ``done`` took ``elapsed`` seconds; ``None`` where none was done."""
    return elapsed / done * left if done > 0 else None


def clock_time(seconds: float | None) -> str:
    """``1 day, 2:03:04``; ``?`` for what is not known."""
    return "?" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def total_loss(losses: Mapping[str, float]) -> float | None:
    """Sum of the terms that the network is trained with: ``l_*``, those of a discriminator (``l_d_*``) left out."""
    terms = [value for name, value in losses.items() if name.startswith("l_") and not name.startswith("l_d_")]
    return sum(terms) if terms else None


class ProgressBar:
    """The bar of one run. Log lines of the framework are written above it."""

    def __init__(self, opt: dict, first: int):
        self.opt, self.first, self.last = opt, first, first
        self.total = int(opt["train"]["total_iter"])
        self.together = (opt.get("draws") or {}).get("together")
        self.times: deque[float] = deque(maxlen=RECENT + 1)
        self.warm: float | None = None
        self.drawn: float | None = None
        self.stack = ExitStack()
        self.stack.enter_context(logging_redirect_tqdm([logging.getLogger("basicsr")]))
        shape = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
        self.tqdm = tqdm(total=self.total, initial=first - 1, desc=opt["name"], file=sys.stderr, bar_format=shape, miniters=1,
                         mininterval=0.2, dynamic_ncols=True)  # fmt: skip

    def begin(self, iteration: int, losses: Mapping[str, float]) -> None:
        """An iteration, counted from 1, begins; ``losses`` are those of the one before."""
        now = time.perf_counter()
        self.times.append(now)
        if iteration == self.first + 1:  # the first one is slow: compilation, choice of algorithms, memory
            self.warm = now
        self.last = iteration
        # The bar is not drawn more often; and what it says of the losses makes a GPU and the host wait for each other.
        if self.drawn is None or now - self.drawn >= self.tqdm.mininterval:
            self.drawn = now
            self.tqdm.set_postfix_str(self.describe(now, losses), refresh=False)
        self.tqdm.update(iteration - 1 - self.tqdm.n)

    def describe(self, now: float, losses: Mapping[str, float]) -> str:
        """Speed, loss and time left at a time of ``time.perf_counter``, as far as they are known."""
        parts = []
        if len(self.times) > 1 and self.together:
            steps = [later - earlier for earlier, later in zip(self.times, list(self.times)[1:])]
            parts.append(f"{self.together / max(statistics.median(steps), 1e-9):.1f} images/s")
        loss = total_loss(losses)
        if loss is not None:
            parts.append(f"loss {loss:.4g}")
        if self.warm is not None and self.last > self.first + 1:
            left = seconds_left(now - self.warm, self.last - self.first - 1, self.total - self.last + 1)
            parts.append(f"{clock_time(left)} left")
        return ", ".join(parts)

    def close(self, finished: bool) -> None:
        """Ends the bar; of a run that is ``finished`` at its full length, without a time left."""
        if finished:
            self.tqdm.set_postfix_str(", ".join(part for part in self.tqdm.postfix.split(", ") if not part.endswith(" left")))
            self.tqdm.update(self.last - self.tqdm.n)
        self.tqdm.close()
        self.stack.close()
