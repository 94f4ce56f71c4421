"""SPARNet: Chen, Gong, Wang, Li, Wong, "Learning Spatial Attention for Face Super-Resolution", IEEE TIP 2021."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import (
    AttentionHourglass,
    FaceAttentionUnit,
    FaceUnitNet,
    normal_init,
    reflect_conv,
    to_signed,
    to_unit,
)
from wnet_arch.archs.checks import check_choice, check_counts


class SPARAttention(nn.Sequential):
    """Attention map in (0, 1) of the features, from an hourglass.

    (B, C, H, W) to (B, num_maps, H, W); one map is the paper's 2D attention, C maps are its 3D attention.
    """

    def __init__(self, num_feat: int, num_maps: int, depth: int, num_att_feat: int = 64):
        super().__init__(
            AttentionHourglass(num_feat, depth, num_att_feat, partial(nn.LeakyReLU, 0.2)),
            reflect_conv(num_att_feat, num_maps),
            nn.Sigmoid(),
        )


class SPARNetTrunk(FaceUnitNet):
    """The published network: enlarged image (B, 3, H, W) in [-1, 1] to the same shape and range."""

    def __init__(self, attention: str = "2d", num_blocks: int = 10, num_feat: int = 32):
        def unit(num_in_ch: int, num_out_ch: int, resize: str, depth: int) -> nn.Module:
            gate = SPARAttention(num_out_ch, 1 if attention == "2d" else num_out_ch, depth)
            return FaceAttentionUnit(num_in_ch, num_out_ch, resize, nn.BatchNorm2d, gate)

        super().__init__(unit, num_feat, num_blocks)
        normal_init(self)


@register_network
class SPARNet(FaceSRNetwork):
    """Spatial attention residual network (Chen et al., TIP 2021).

    Published: x8 and any other scale with the same layers, for the bicubically enlarged face in [-1, 1]; output linear,
    no global residual; weights start from N(0, 0.02). The released light model is ``SPARNet(attention='3d',
    num_blocks=1)``. Nothing differs here, apart from the conversion of ranges around the trunk.

    Args:
        scale: 4 or 8.
        attention: '2d', one attention map a unit, or '3d', one a channel.
        num_blocks: face attention units at 1/8 size.
        num_feat: channels at full size.
    """

    size_multiple = 64  # five halvings, and two pixels are needed to reflect one

    def __init__(self, scale: int = 8, attention: str = "2d", num_blocks: int = 10, num_feat: int = 32):
        super().__init__(scale)
        check_choice("SPARNet", "attention", attention, ("2d", "3d"))
        check_counts("SPARNet", num_blocks=num_blocks, num_feat=num_feat)
        self.trunk = SPARNetTrunk(attention, num_blocks, num_feat)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return to_unit(self.trunk(to_signed(enlarge(lq, self.scale))))
