"""SRCNN: Dong, Loy, He, Tang, "Image Super-Resolution Using Deep Convolutional Networks", ECCV 2014 / TPAMI 2016."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import conv
from wnet_arch.archs.checks import check_counts
from wnet_arch.errors import NetworkError


class SRCNNTrunk(nn.Sequential):
    """The published three layers: enlarged image (B, num_in_ch, H, W) in [0, 1] to the same shape and range."""

    def __init__(self, num_in_ch: int = 3, kernel_sizes: Sequence[int] = (9, 5, 5), num_feat: int = 64, num_mid_feat: int = 32):
        first, second, third = kernel_sizes
        super().__init__(
            conv(num_in_ch, num_feat, first),
            nn.ReLU(),
            conv(num_feat, num_mid_feat, second),
            nn.ReLU(),
            conv(num_mid_feat, num_in_ch, third),
        )


@register_network
class SRCNN(FaceSRNetwork):
    """Super-resolution convolutional network (Dong et al., TPAMI 2016).

    Published: the luma of the bicubically enlarged image, kernels 9-1-5 (ECCV) or 9-5-5 (the best of TPAMI), without
    padding. Differs: all three colours, and zero padding, so that the size is kept; torch's default initialisation
    instead of a Gaussian of 0.001, with which Adam stays at the mean image for long.

    Args:
        scale: 4 or 8.
        kernel_sizes: sides of the three kernels, odd.
        num_feat: outputs of the first layer.
        num_mid_feat: outputs of the second layer.
    """

    def __init__(self, scale: int = 8, kernel_sizes: Sequence[int] = (9, 5, 5), num_feat: int = 64, num_mid_feat: int = 32):
        super().__init__(scale)
        sides = list(kernel_sizes) if isinstance(kernel_sizes, (list, tuple)) else []
        if len(sides) != 3 or not all(type(side) is int and side > 0 and side % 2 for side in sides):
            raise NetworkError(f"SRCNN takes three odd kernel_sizes such as (9, 5, 5), not {kernel_sizes!r}")
        check_counts("SRCNN", num_feat=num_feat, num_mid_feat=num_mid_feat)
        self.trunk = SRCNNTrunk(3, sides, num_feat, num_mid_feat)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return self.trunk(enlarge(lq, self.scale))
