"""How long a training step takes, by the host's clock and by the device's: a GPU computes while the host is already elsewhere."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class StepClock:
    """Mean seconds of the steps since somebody last asked.

    ``host_time`` is what the host needs to hand a step to the device, ``device_time`` what goes by on the device from the step's
    first kernel to its last. Where both are equal, the device waits for the host between kernels; where the host's is much less,
    the device is busy. Nothing waits for the device until somebody asks. On a CPU both are one, which the log has already (``time``
    without ``data_time``).

    Args:
        device: where the steps are computed.
    """

    def __init__(self, device: torch.device):
        self.on_gpu = device.type == "cuda"
        self.host, self.steps = 0.0, 0
        self.events: list = []

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around one step."""
        begin, marks = time.perf_counter(), [self._event(), self._event()]
        self._record(marks[0])
        yield
        self._record(marks[1])
        self.host, self.steps = self.host + time.perf_counter() - begin, self.steps + 1
        if self.on_gpu:
            self.events.append(marks)

    def read(self) -> dict[str, float]:
        """``host_time`` and ``device_time``; nothing on a CPU, or where there was no step. Begins anew."""
        steps, host, events = self.steps, self.host, self.events
        self.host, self.steps, self.events = 0.0, 0, []
        if not (self.on_gpu and steps):
            return {}
        events[-1][1].synchronize()
        return {"host_time": host / steps, "device_time": sum(a.elapsed_time(b) for a, b in events) / 1000 / steps}

    def _event(self):
        return torch.cuda.Event(enable_timing=True) if self.on_gpu else None

    @staticmethod
    def _record(event) -> None:
        if event is not None:
            event.record()


def timed(step: Callable) -> Callable:
    """For a method that takes a training step: ``self.step_clock`` takes its time."""

    @functools.wraps(step)
    def measured(self, *args, **kwargs):
        with self.step_clock.step():
            return step(self, *args, **kwargs)

    return measured
