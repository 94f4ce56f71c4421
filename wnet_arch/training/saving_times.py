"""When a training saves by the clock (``logger.save_checkpoint_minutes``)."""

from __future__ import annotations

import time

from wnet_arch.errors import UsageError
from wnet_arch.training import distributed

#: Several processes, which must save together, ask the first one's clock: once in this many iterations.
ASKED = 20


class SavingTimes:
    """Says before which iterations a training saves what it has done, because its minutes have gone by since it last did.

    Args:
        opt: of the run; ``logger.save_checkpoint_minutes`` above 0, or none.

    Raises:
        UsageError: the trainer is not that of the command ``basicsr``, which knows the epoch of every iteration.
    """

    def __init__(self, opt: dict):
        minutes = (opt.get("logger") or {}).get("save_checkpoint_minutes")
        self.seconds, self.several = 60 * minutes if minutes else None, opt["dist"]
        if self.seconds and not opt.get("draws"):
            raise UsageError("logger.save_checkpoint_minutes needs the command basicsr, or wnet_arch.patch_trainer() before")
        draws = opt.get("draws") or {"draws": 1, "together": 1}
        self.iterations = draws["draws"] // draws["together"]  # of an epoch
        self.begin, self.saved = time.monotonic(), 0

    def note(self, iteration: int) -> None:
        """A checkpoint of this iteration has been written."""
        self.begin, self.saved = time.monotonic(), iteration

    def due(self, iteration: int) -> bool:
        """Whether to save now, at the beginning of an iteration, what the one before it has left."""
        if not self.seconds or iteration < 2 or self.saved == iteration - 1:
            return False
        if not self.several:
            return time.monotonic() - self.begin >= self.seconds
        return iteration % ASKED == 0 and distributed.share(time.monotonic() - self.begin >= self.seconds)[0]

    def epoch(self, iteration: int) -> int:
        """The epoch that an iteration is in, both counted as the trainer does: epochs from 0, iterations from 1."""
        return (iteration - 1) // self.iterations
