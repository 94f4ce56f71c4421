"""The warm-up of the learning rate: it grows along a line, and schedules do not notice.

The framework writes the smaller rates where the schedules' own are. Schedules that go on from the rate there is (MultiStepLR) then
keep the share that the last iteration of the warm-up had, for good.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Where a parameter group keeps its schedule's rate meanwhile; it is saved and restored with the optimizer.
_FULL = "full_lr"


def undo(groups: Iterable[dict]) -> None:
    """Gives parameter groups the rates of their schedules back."""
    for group in groups:
        group["lr"] = group.pop(_FULL, group["lr"])


def apply(groups: Iterable[dict], iteration: int, length: int) -> None:
    """Lowers the rates of an iteration, counted from 1, of a warm-up of ``length`` of them; none afterwards."""
    for group in groups if iteration < length else ():
        group[_FULL], group["lr"] = group["lr"], group["initial_lr"] / length * iteration
