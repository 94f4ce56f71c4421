"""The moving average of a network that is being trained (``train.ema_decay``), in a few calls instead of two a tensor."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

#: Averages and what they move towards, by type and device.
_Groups = dict[tuple[torch.dtype, torch.device], tuple[list[torch.Tensor], list[torch.Tensor]]]


class MovingAverage:
    """Moves a network's parameters and statistics (BatchNorm) towards those of another; counters and frozen parts are copied.

    ``average = decay * average + (1 - decay) * current``, rounded as ``average.mul_(decay).add_(current, alpha=1 - decay)`` rounds
    it; on a GPU to one unit in the last place. Statistics of the current network do not belong to averaged weights: with them,
    an average (0.999) of W-Net after 1,600 steps stood 1.7 dB below what its own statistics would have given.

    Args:
        average: the averaged network.
        current: the bare network in training, of the same form. Both should have the same memory layout: on a GPU, tensors that lie
            differently are moved one by one.
    """

    def __init__(self, average: nn.Module, current: nn.Module):
        # Where tensors are kept, not the tensors: a module may put others in their place.
        self.parameters = list(_places(average, current, "named_parameters", "_parameters"))
        self.buffers = list(_places(average, current, "named_buffers", "_buffers"))

    @torch.no_grad()
    def move(self, decay: float) -> None:
        """One step; with ``decay`` 0 the average becomes the current network."""
        moved: _Groups = {}
        copied: _Groups = {}
        for mine, theirs, name in self.parameters:
            kind = moved if theirs[name].requires_grad else copied  # frozen: the same to the last bit
            _add(kind, mine[name], theirs[name])
        for mine, theirs, name in self.buffers:
            _add(moved if mine[name].is_floating_point() else copied, mine[name], theirs[name])
        for averages, currents in moved.values():
            torch._foreach_mul_(averages, decay)
            torch._foreach_add_(averages, currents, alpha=1 - decay)
        for averages, currents in copied.values():
            torch._foreach_copy_(averages, currents)


def decay_at(iteration: int, train_opt: dict) -> float:
    """The decay in an iteration (from 1): ``ema_decay``, with ``ema_warmup`` at most (1 + n) / (10 + n).

    An average of 0.999 is made of about a thousand iterations. In a shorter training, or early in any, most of it would be the
    initial weights.
    """
    decay = train_opt.get("ema_decay") or 0
    return min(decay, (1 + iteration) / (10 + iteration)) if train_opt.get("ema_warmup") else decay


def _places(average: nn.Module, current: nn.Module, named: str, kept: str) -> Iterator[tuple[dict, dict, str]]:
    for path, _ in getattr(average, named)():
        owner, _, name = path.rpartition(".")
        yield getattr(average.get_submodule(owner), kept), getattr(current.get_submodule(owner), kept), name


def _add(groups: _Groups, average: torch.Tensor, current: torch.Tensor) -> None:
    """Tensors of one type go together: mixed ones a GPU would take one by one."""
    averages, currents = groups.setdefault((average.dtype, average.device), ([], []))
    averages.append(average)
    currents.append(current)
