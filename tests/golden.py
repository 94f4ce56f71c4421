"""Deterministic weights and input of the golden outputs (``shared/baselines.md``, section 5).

Two implementations of one network agree on its output after :func:`initialise`, whatever their modules are called,
because every value depends only on the kind of tensor and on the index in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm)
FACTORS = (12.9898, 78.233, 37.719, 93.989)


class Statistics(NamedTuple):
    """The five numbers of a golden row."""

    mean: float
    std: float
    first: float
    middle: float
    last: float


def pseudo_random(shape: tuple[int, ...]) -> torch.Tensor:
    """h(i, j, k, l) of the recipe, in [-0.5, 0.5), float64, computed by numpy so that no device changes it.

    The terms of the angle are added from left to right, as written: its last bits reach the seventh digit of h, and in
    WFEN, the most sensitive network, a middle value then differs by 4e-4 (and by 3e-7 for another library's sine).
    """
    angle = np.full(shape, 0.5)
    for axis, (side, factor) in enumerate(zip(shape, FACTORS)):
        angle = angle + factor * np.arange(side).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    value = 43758.5453 * np.sin(angle)
    return torch.from_numpy(value - np.floor(value) - 0.5)


def _value(module: nn.Module, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if isinstance(module, nn.PReLU):
        return torch.full(shape, 0.2, dtype=torch.float64)
    if isinstance(module, (*CONVOLUTIONS, *NORMS)) and name == "bias":
        return 0.02 * pseudo_random(shape)
    if isinstance(module, CONVOLUTIONS) and name == "weight":
        fan = int(np.prod(shape[1:]))
        return 12**0.5 * 0.7 / fan**0.5 * pseudo_random(shape)
    if isinstance(module, NORMS) and name == "weight":
        return 1 + 0.1 * pseudo_random(shape)
    return 0.5 + 0.1 * pseudo_random((int(np.prod(shape)),)).reshape(shape)


@torch.no_grad()
def initialise(network: nn.Module) -> nn.Module:
    """Fills every parameter by the recipe; float64, eval mode, fresh running statistics. Returns the network."""
    network = network.double().eval()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            parameter.copy_(_value(module, name, tuple(parameter.shape)))
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
    return network


def golden_input(channels: int, height: int, width: int) -> torch.Tensor:
    """The input image (1, channels, height, width), float64, in [0, 1]."""
    c, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (channels, height, width)), indexing="ij")
    return (0.5 + 0.5 * torch.sin(0.1 * y * 128 / height + 0.23 * x * 128 / width + 1.7 * c)).unsqueeze(0)


def statistics(output: torch.Tensor) -> Statistics:
    """The numbers of a golden row from an output (1, C, H, W): population std; values at the corners and the middle."""
    image = output[0]
    channels, height, width = image.shape
    numbers = (
        image.mean(),
        image.std(correction=0),
        image[0, 0, 0],
        image[channels // 2, height // 2, width // 2],
        image[-1, -1, -1],
    )
    return Statistics(*(float(n) for n in numbers))
