"""The convolutions that a network consists of, and how fast this machine computes one of them by itself, forward and backward."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

#: Multiply-accumulates of a forward pass that a measurement takes at most: a fraction of a second, and enough to keep a GPU busy.
LARGEST = {"cpu": 5e8, "cuda": 5e10}


@dataclass(frozen=True)
class Convolution:
    """What decides the time of a convolution. ``shape``: of its input (B, C, H, W)."""

    shape: tuple[int, int, int, int]
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int

    @property
    def macs(self) -> float:
        """Multiply-accumulates of a forward pass."""
        batch, inputs, *sides = self.shape
        height, width = ((s + 2 * p - k) // t + 1 for s, p, k, t in zip(sides, self.padding, self.kernel, self.stride))
        return batch * self.channels * height * width * inputs // self.groups * self.kernel[0] * self.kernel[1]

    def at_most(self, macs: float) -> Convolution:
        """The same with fewer images, and then fewer rows, so that it needs no more than ``macs``."""
        batch, inputs, height, width = self.shape
        fewer = replace(self, shape=(max(1, min(batch, int(batch * macs / self.macs))), inputs, height, width))
        if fewer.macs <= macs:
            return fewer
        rows = max(self.kernel[0], int(height * macs / fewer.macs))
        return replace(fewer, shape=(1, inputs, min(height, rows), width))


def convolutions(net: nn.Module, shape: tuple[int, int, int, int]) -> Counter[Convolution]:
    """The convolutions of a forward pass, and how often each occurs; nothing is computed.

    Args:
        net: any network of this package, on any device.
        shape: of the LR faces (B, 3, h, w).
    """
    found: Counter[Convolution] = Counter()

    def note(conv: nn.Conv2d, inputs: tuple, _) -> None:
        kernel = conv.kernel_size[0], conv.kernel_size[1]
        padding = (kernel[0] // 2, kernel[1] // 2) if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1])
        stride = conv.stride[0], conv.stride[1]
        found[Convolution(tuple(inputs[0].shape), conv.out_channels, kernel, stride, padding, conv.groups)] += 1

    shadow = copy.deepcopy(net).to("meta").eval()
    for module in shadow.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.device("meta"), torch.no_grad():
        shadow(torch.zeros(shape))
    return found


def heaviest(net: nn.Module, shape: tuple[int, int, int, int]) -> Convolution | None:
    """The convolution that most of a forward pass goes into; ``None`` where a network has none."""
    found = convolutions(net, shape)
    return max(found, key=lambda conv: conv.macs * found[conv]) if found else None


def seconds(conv: Convolution, device: str, dtype: torch.dtype, layout: torch.memory_format, runs: int = 3) -> float:
    """The shortest time of a forward and a backward pass of a bare convolution."""
    maps = torch.zeros(conv.shape, device=device, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    kernels = torch.zeros(conv.channels, conv.shape[1] // conv.groups, *conv.kernel, device=device, dtype=dtype)
    kernels = kernels.contiguous(memory_format=layout).requires_grad_()
    times = []
    for _ in range(runs + 1):  # the first warms up
        _wait(device)
        begin = time.perf_counter()
        with torch.enable_grad():
            out = F.conv2d(maps, kernels, None, conv.stride, conv.padding, 1, conv.groups)
        torch.autograd.grad(out, (maps, kernels), torch.ones_like(out))
        _wait(device)
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def ceiling(
    net: nn.Module,
    shape: tuple[int, int, int, int],
    device: str,
    dtype: torch.dtype,
    layout: torch.memory_format,
    limit: float = 10,
) -> float | None:
    """FLOP/s of bare convolutions of a network's shapes, forward and backward, weighted as they occur in it.

    Args:
        net, shape: see :func:`convolutions`.
        device: ``cpu`` or ``cuda``.
        dtype, layout: of maps and kernels.
        limit: seconds; the heaviest are measured first, and what is left out then is a small share.

    Returns:
        ``None`` where a network has no convolution.
    """
    found = convolutions(net, shape)
    flops = taken = 0.0
    end = time.monotonic() + limit
    for conv, times in sorted(found.items(), key=lambda item: -item[0].macs * item[1]):
        part = conv.at_most(LARGEST[device])
        share = times * conv.macs / part.macs
        taken += share * seconds(part, device, dtype, layout, 1)
        flops += share * 3 * 2 * part.macs
        if time.monotonic() > end:
            break
    return flops / taken if taken else None
