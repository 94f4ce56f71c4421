"""Bicubic enlargement as a network, so that the baseline of every table runs through the same path as the others."""

from __future__ import annotations

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network


@register_network
class Bicubic(FaceSRNetwork):
    """PIL-equal bicubic enlargement of the 8-bit LR face. It has no parameters and cannot be trained."""

    scales = (2, 4, 8, 16)

    def __init__(self, scale: int = 8):
        super().__init__(scale)
        self.trunk = nn.Identity()

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return self.trunk(enlarge(lq, self.scale))
