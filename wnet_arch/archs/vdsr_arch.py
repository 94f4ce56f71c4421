"""VDSR: Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016."""

from __future__ import annotations

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import conv, he_init
from wnet_arch.archs.checks import check_choice, check_counts
from wnet_arch.errors import NetworkError


class VDSRTrunk(nn.Module):
    """The published network: enlarged image (B, num_in_ch, H, W) in [0, 1] plus a residual, same shape and range."""

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_layers: int = 20, bias: bool = True):
        super().__init__()
        layers = [conv(num_in_ch, num_feat, bias=bias), nn.ReLU()]
        for _ in range(num_layers - 2):
            layers += [conv(num_feat, num_feat, bias=bias), nn.ReLU()]
        self.body = nn.Sequential(*layers, conv(num_feat, num_in_ch, bias=bias))
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


@register_network
class VDSR(FaceSRNetwork):
    """Very deep super-resolution network (Kim et al., CVPR 2016), He initialisation as the paper has it.

    Published: the luma of the bicubically enlarged image. Differs: all three colours.

    Args:
        scale: 4 or 8.
        num_feat: channels.
        num_layers: convolutions in all, at least 2.
        bias: convolutions have biases; a much used port has none.
    """

    def __init__(self, scale: int = 8, num_feat: int = 64, num_layers: int = 20, bias: bool = True):
        super().__init__(scale)
        check_counts("VDSR", num_feat=num_feat, num_layers=num_layers)
        check_choice("VDSR", "bias", bias, (True, False))
        if num_layers < 2:
            raise NetworkError(f"VDSR takes at least 2 for num_layers, not {num_layers!r}")
        self.trunk = VDSRTrunk(3, num_feat, num_layers, bias)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return self.trunk(enlarge(lq, self.scale))
