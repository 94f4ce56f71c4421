"""MRRNet: Huang et al., a generative adversarial FSR network with multi-receptive-field attention, ICANN 2022."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import FaceAttentionUnit, FaceUnitNet, normal_init, reflect_conv, to_signed, to_unit
from wnet_arch.archs.checks import check_counts, check_multiple


class MultiReceptiveAttention(nn.Module):
    """One attention map in (0, 1) from four parallel convolutions of side 1, 3, 5, 7 with C / 4 outputs each.

    (B, C, H, W) to (B, 1, H, W). The activation comes before the instance norm, which has no parameters.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.fields = nn.ModuleList(reflect_conv(num_feat, num_feat // 4, kernel) for kernel in (1, 3, 5, 7))
        self.merge = nn.Sequential(nn.ReLU(), nn.InstanceNorm2d(num_feat, affine=False), reflect_conv(num_feat, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.merge(torch.cat([field(x) for field in self.fields], dim=1))


class MRRNetTrunk(FaceUnitNet):
    """The published generator: enlarged image (B, 3, H, W) in [-1, 1] to the same shape and range."""

    def __init__(self, num_blocks: int = 10, num_feat: int = 32):
        def unit(num_in_ch: int, num_out_ch: int, resize: str, depth: int) -> nn.Module:
            norm = partial(nn.InstanceNorm2d, affine=True)
            return FaceAttentionUnit(num_in_ch, num_out_ch, resize, norm, MultiReceptiveAttention(num_out_ch))

        super().__init__(unit, num_feat, num_blocks)
        normal_init(self)


@register_network
class MRRNet(FaceSRNetwork):
    """Generator of MRRNet (Huang et al., ICANN 2022): SPARNet's layout, instance norm, multi-receptive-field attention.

    Published: the bicubically enlarged face in [-1, 1], output linear, weights from N(0, 0.02), trained with a
    perceptual and an adversarial loss. Nothing differs here, apart from the conversion of ranges around the trunk; the
    discriminator is ``MRRNetDiscriminator``.

    Args:
        scale: 4 or 8.
        num_blocks: units at 1/8 size.
        num_feat: channels at full size, a multiple of 4.
    """

    size_multiple = 32  # three halvings, and four pixels are needed to reflect the three of a 7x7 kernel

    def __init__(self, scale: int = 8, num_blocks: int = 10, num_feat: int = 32):
        super().__init__(scale)
        check_counts("MRRNet", num_blocks=num_blocks)
        check_multiple("MRRNet", "num_feat", num_feat, 4)
        self.trunk = MRRNetTrunk(num_blocks, num_feat)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return to_unit(self.trunk(to_signed(enlarge(lq, self.scale))))
