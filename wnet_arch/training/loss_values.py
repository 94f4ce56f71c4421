"""Loss terms of a step as numbers, asked of the device once and only when they are wanted; and whether they are finite.

Every value that is read from a GPU makes the host wait until the GPU has come so far, and the GPU then waits for the host's next
call. So the terms of a step are stacked, and one copy brings them all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from wnet_arch.errors import WNetError
from wnet_arch.training.logs import get_root_logger


def stacked(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Scalars as one vector (N,), without a gradient; the mean of what is no scalar."""
    return torch.stack([term.detach().mean() if term.numel() > 1 else term.detach().reshape(()) for term in terms])


class LossValues(Mapping):
    """Loss terms by name, as Python's numbers; read from the device when the first of them is asked for.

    Args:
        names: of the terms.
        values: (N,).
    """

    def __init__(self, names: Sequence[str], values: torch.Tensor):
        self.names, self.values_on_device = tuple(names), values
        self._read: dict[str, float] | None = None

    def read(self) -> dict[str, float]:
        """All terms; waits for the device the first time."""
        if self._read is None:
            self._read = dict(zip(self.names, self.values_on_device.tolist()))
        return self._read

    def __getitem__(self, name: str) -> float:
        return self.read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def mean_over_processes(losses: Mapping[str, torch.Tensor], opt: dict) -> LossValues:
    """The mean of loss terms over the processes of a run; right in the first of them alone, which logs."""
    if not losses:
        return LossValues((), torch.zeros(0))
    values = stacked(list(losses.values()))
    if opt["dist"]:
        torch.distributed.reduce(values, dst=0)
        values = values / opt["world_size"] if opt["rank"] == 0 else values
    return LossValues(list(losses), values)


@dataclass
class _Look:
    """What is known of a step's terms: whether each is not finite, and at last whether one is not in any process."""

    iteration: int
    names: tuple[str, ...]
    images: tuple[str, ...]
    bad: torch.Tensor
    ready: torch.cuda.Event | None = None


class FiniteCheck:
    """Whether loss terms are finite numbers, in all processes.

    On a GPU, with ``skip`` false, the answer is looked at one iteration later, when it has long been there, so that nobody waits;
    :meth:`settle` looks at once, before anything is logged, validated or saved. The run ends with the same words about the same
    iteration; the step that the loss would have kept from being taken has then been taken, and nothing of it is kept. Where steps
    are to be left out, and on CPUs, the answer is there before the step.

    Args:
        device: of the terms.
        skip: leave out the step; else end the run.
        several: ask the other processes, too.
        later: look one iteration later; where not given, as said above.
    """

    def __init__(self, device: torch.device, skip: bool, several: bool, later: bool | None = None):
        self.skip, self.several = skip, several
        self.later = (device.type == "cuda" and not skip) if later is None else later
        self._pending: deque[_Look] = deque()

    def kept(self, *nets: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The buffers of networks (BatchNorm's statistics), and what they hold, where steps may be left out: a forward pass moves
        them, and :meth:`put_back` undoes that.
        """
        return [(buffer, buffer.clone()) for net in nets for buffer in net.buffers()] if self.skip else []

    @staticmethod
    def put_back(kept: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Gives buffers the values that :meth:`kept` has found in them."""
        for buffer, before in kept:
            buffer.copy_(before)

    def passes(self, losses: Mapping[str, torch.Tensor], iteration: int, images: Sequence[str]) -> bool:
        """Whether the step may be taken, as far as is known.

        Raises:
            WNetError: a term is not finite, in this iteration or, where it is looked at later, in an earlier one.
        """
        look = _Look(iteration, tuple(losses), tuple(images[:4]), self._bad(losses))
        if not self.later:
            return self._judge(look)
        while self._pending and self._pending[0].iteration < iteration:
            self._judge(self._pending.popleft())
        if look.bad.is_cuda:
            look.bad = torch.empty(look.bad.shape, dtype=torch.bool, pin_memory=True).copy_(look.bad, non_blocking=True)
            look.ready = torch.cuda.Event()
            look.ready.record()
        self._pending.append(look)
        return True

    def settle(self) -> None:
        """Looks at what has been put off. Raises :class:`WNetError` as :meth:`passes` does."""
        while self._pending:
            self._judge(self._pending.popleft())

    def _bad(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        bad = torch.isfinite(stacked(list(losses.values()))).logical_not()
        if not self.several:
            return bad
        anywhere = bad.any().float()[None]
        torch.distributed.all_reduce(anywhere)
        return torch.cat([bad, anywhere > 0])

    def _judge(self, look: _Look) -> bool:
        if look.ready is not None:
            look.ready.synchronize()
        bad = look.bad.tolist()
        if not any(bad):
            return True
        names = [name for name, is_bad in zip(look.names, bad) if is_bad]
        where = f"iteration {look.iteration}: not a finite number: {', '.join(names) or 'a loss of another process'}"
        if names:
            where += f" (images {', '.join(look.images)})"
        if not self.skip:
            raise WNetError(f"{where}; lower the learning rate, train with precision fp32 or bf16, or set train.nonfinite: skip")
        get_root_logger().warning(f"{where}: the step is left out")
        return False
