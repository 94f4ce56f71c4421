"""SISN: Lu et al., "Face Hallucination via Split-Attention in Split-Attention Network", ACM Multimedia 2021."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, register_network
from wnet_arch.archs.baseline_layers import conv, pixel_shuffle_up
from wnet_arch.archs.checks import check_counts, check_multiple

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
RADIX = 4


class SplitAttention(nn.Module):
    """Split-attention convolution (ResNeSt, radix 4, cardinality 1), (B, C, H, W) to the same.

    Batch norm of globally averaged features needs a batch of at least two in training mode.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        wide, hidden = RADIX * num_feat, max(num_feat, 32)  # hidden: wide / reduction of 4
        self.split = nn.Sequential(
            nn.Conv2d(num_feat, wide, 3, padding=1, groups=RADIX, bias=False), nn.BatchNorm2d(wide), nn.ReLU()
        )
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(num_feat, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(), conv(hidden, wide, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        splits = self.split(x).unflatten(1, (RADIX, -1))
        weights = self.weigh(splits.sum(dim=1)).unflatten(1, (RADIX, -1)).softmax(dim=1)
        return (splits * weights).sum(dim=1)


class InternalBlock(nn.Module):
    """Internal split-attention block (ISAB): 1x1, split attention, 1x1, identity, ReLU; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(num_feat, num_feat, 1, bias=False),
            nn.BatchNorm2d(num_feat),
            nn.ReLU(),
            SplitAttention(num_feat),
            conv(num_feat, num_feat, 1, bias=False),
            nn.BatchNorm2d(num_feat),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + x)


class ExternalGroup(nn.Module):
    """External split-attention group (ESAG): a long and a short path side by side, without identity; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, num_blocks: int):
        super().__init__()
        blocks = [InternalBlock(num_feat) for _ in range(num_blocks)]
        self.long = nn.Sequential(*blocks, conv(num_feat, num_feat))
        self.short = InternalBlock(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.long(x) + self.short(x)


def space_to_depth(x: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, C, H, W) to (B, C * factor ** 2, H / factor, W / factor); channels count pixels first, then colours.

    That is not the order of torch's ``pixel_unshuffle``, which counts colours first.
    """
    x = x.unflatten(-1, (-1, factor)).unflatten(-3, (-1, factor))  # B, C, h, dy, w, dx
    return x.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


class SISNTrunk(nn.Module):
    """The published network: image enlarged by nearest (B, 3, H, W) in [0, 255] to the same shape and range."""

    def __init__(self, scale: int = 8, num_feat: int = 64, num_groups: int = 10, num_blocks: int = 10):
        super().__init__()
        self.scale = scale
        self.mean: torch.Tensor
        self.register_buffer("mean", 255 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = conv(3 * scale**2, num_feat)
        groups = [ExternalGroup(num_feat, num_blocks) for _ in range(num_groups)]
        self.body = nn.Sequential(*groups, conv(num_feat, num_feat))
        doublings = scale.bit_length() - 1
        self.tail = nn.Sequential(*(pixel_shuffle_up(num_feat) for _ in range(doublings)), conv(num_feat, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(space_to_depth(x - self.mean, self.scale))
        return self.tail(self.body(x) + x) + self.mean


@register_network
class SISN(FaceSRNetwork):
    """Split-attention in split-attention network (Lu et al., ACM MM 2021).

    Published: the LR face enlarged by nearest, [0, 255], then space-to-depth, so that every LR value enters
    ``scale**2`` times: all of it is kept. Differs: the unused 1x1 convolution in every block (450,560 parameters) is
    not built, and the mean of DIV2K is a constant, not 24 weights of two convolutions. In training a batch needs two
    images or more.

    Args:
        scale: 4 or 8.
        num_feat: channels, a multiple of 4.
        num_groups: external groups.
        num_blocks: internal blocks on the long path of a group.
    """

    def __init__(self, scale: int = 8, num_feat: int = 64, num_groups: int = 10, num_blocks: int = 10):
        super().__init__(scale)
        check_multiple("SISN", "num_feat", num_feat, RADIX)
        check_counts("SISN", num_groups=num_groups, num_blocks=num_blocks)
        self.trunk = SISNTrunk(scale, num_feat, num_groups, num_blocks)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return self.trunk(255 * F.interpolate(lq, scale_factor=self.scale, mode="nearest")) / 255
