"""SRResNet: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a GAN" (SRGAN), CVPR 2017."""

from __future__ import annotations

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, register_network
from wnet_arch.archs.baseline_layers import conv, pixel_shuffle_up, to_unit
from wnet_arch.archs.checks import check_counts


class BatchNormBlock(nn.Module):
    """``x + bn(conv(prelu(bn(conv(x)))))``, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(num_feat, num_feat),
            nn.BatchNorm2d(num_feat),
            nn.PReLU(),
            conv(num_feat, num_feat),
            nn.BatchNorm2d(num_feat),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class SRResNetTrunk(nn.Module):
    """The published generator: LR image (B, 3, h, w) in [0, 1] to (B, 3, scale * h, scale * w) in [-1, 1].

    Every PReLU has one slope for all channels. The output has no activation.
    """

    def __init__(self, scale: int = 4, num_feat: int = 64, num_blocks: int = 16):
        super().__init__()
        self.head = nn.Sequential(conv(3, num_feat, 9), nn.PReLU())
        blocks = [BatchNormBlock(num_feat) for _ in range(num_blocks)]
        self.body = nn.Sequential(*blocks, conv(num_feat, num_feat), nn.BatchNorm2d(num_feat))
        doublings = scale.bit_length() - 1
        self.up = nn.Sequential(*(nn.Sequential(pixel_shuffle_up(num_feat), nn.PReLU()) for _ in range(doublings)))
        self.tail = conv(num_feat, 3, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(x)
        return self.tail(self.up(x + self.body(x)))


@register_network
class SRResNet(FaceSRNetwork):
    """Generator of SRGAN, which is SRResNet when trained for PSNR alone (Ledig et al., CVPR 2017).

    Published: x4, LR image in [0, 1], output in [-1, 1]. Differs: x8, which has a third doubling of the same kind.
    BasicSR's ``MSRResNet`` is another network (no batch norm, bilinear skip, no x8).

    Args:
        scale: 4 or 8.
        num_feat: channels.
        num_blocks: residual blocks.
    """

    def __init__(self, scale: int = 8, num_feat: int = 64, num_blocks: int = 16):
        super().__init__(scale)
        check_counts("SRResNet", num_feat=num_feat, num_blocks=num_blocks)
        self.trunk = SRResNetTrunk(scale, num_feat, num_blocks)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return to_unit(self.trunk(lq))
