"""Time of a file beside that of the network in torch, in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from wnet_arch.export.checks import Run
from wnet_arch.inference import profiling
from wnet_arch.processors import processors

_WARM_UP = 3


@dataclass(frozen=True)
class Speed:
    """Median seconds for one face. ``clock``: processor time or wall clock, see :func:`wnet_arch.inference.profiling.clock`."""

    threads: int
    torch: float
    file: float
    clock: str

    @property
    def ratio(self) -> float:
        """How many times as fast the file is."""
        return self.torch / self.file


def measure(net: Run, reopen: Callable[[int], Run], faces: torch.Tensor) -> list[Speed]:
    """Times network and file face by face in turn, on one thread of the CPU and, where there are more, on two.

    Args:
        net: the network.
        reopen: opens the file for a number of threads.
        faces: float32 (B, 3, h, w).
    """
    found = []
    for threads in (1, 2) if processors() > 1 else (1,):
        with _torch_threads(threads), torch.inference_mode():
            found.append(_take_turns(net, reopen(threads), faces, threads))
    return found


def _take_turns(net: Run, file: Run, faces: torch.Tensor, threads: int) -> Speed:
    now, clock = profiling.clock("cpu")
    taken: dict[str, list[float]] = {"net": [], "file": []}
    for number in range(-_WARM_UP, len(faces)):
        face = faces[number % len(faces)][None]
        order = [("net", net), ("file", file)]
        for name, run in order[:: 1 if number % 2 else -1]:
            start = now()
            run(face)
            if number >= 0:
                taken[name].append(now() - start)
    return Speed(threads, statistics.median(taken["net"]), statistics.median(taken["file"]), clock)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
