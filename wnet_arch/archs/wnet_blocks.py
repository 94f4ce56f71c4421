"""The blocks that W-Net's paper introduces: Parsing Block (equations 2 to 8), LPF (equations 9 to 11), and what stands for them
in the ablation. Equation numbers are the paper's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.layers import (
    ChannelAttention,
    Hourglass,
    PixelAttention,
    ResidualBlock,
    SpatialAttention,
    attended,
    conv1x1,
    conv3x3,
)
from wnet_arch.archs.ops import folding
from wnet_arch.archs.ops.as_built import is_conv, known

#: Channels of the parsing map (equation 8).
PARSING_CHANNELS = 3


@known
class MultiScaleAttentionUnit(nn.Module):
    """The Parsing Block's attention unit, equations 4 to 7; (B, C, H, W) to the same.

    Open in the paper: the channel counts. "Adjust" is read as n, "reduce" and "halved" as n/2, "doubled" as twice the
    output of a plain convolution on n/2 channels, which gives n; that makes the concatenations 2n wide, and is the known
    block of the same shape. That block computes y2 and y3 from y1 where equation 4 prints F_Deep: ``y_from``.
    """

    def __init__(self, num_feat: int, y_from: str = "deep"):
        super().__init__()
        half = num_feat // 2
        self.y_from = y_from
        self.conv1 = conv1x1(num_feat, num_feat)
        self.conv2 = conv3x3(num_feat, half)
        self.conv3 = conv3x3(num_feat, half)
        self.conv4 = conv3x3(2 * num_feat, num_feat)
        self.conv5 = conv3x3(half, half)
        self.channel_attention = ChannelAttention(2 * num_feat)
        self.spatial_attention = SpatialAttention()
        self.conv7 = conv1x1(2 * num_feat, num_feat)

    def forward(self, deep: torch.Tensor) -> torch.Tensor:
        y1 = F.relu(self.conv1(deep))
        source = deep if self.y_from == "deep" else y1
        y2 = F.relu(self.conv2(source))
        y3 = F.relu(self.conv3(source))
        y4 = F.relu(self.conv4(torch.cat([y1, y2, y3], dim=1)))
        y5 = F.relu(self.conv5(y3))
        joined = torch.cat([y2, y4, y5], dim=1)
        return self.conv7(attended(joined, self.channel_attention, self.spatial_attention)) + deep


@known
class ParsingBlock(nn.Module):
    """Estimates the face parsing map from the enlarged LR face, equations 2 to 8.

    Open in the paper: the number of residual blocks of F_Res (``num_blocks``); two are used here. The map has no activation
    (equation 8 prints none).

    Shape:
        (B, 3, H, W) -> (B, 3, H, W), H and W multiples of 16.
    """

    def __init__(self, num_feat: int, y_from: str = "deep", num_blocks: int = 2):
        super().__init__()
        self.shallow = conv3x3(3, num_feat)
        self.residual = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_blocks)))
        self.hourglass = Hourglass(depth=4, num_feat=num_feat)
        self.attention = MultiScaleAttentionUnit(num_feat, y_from)
        self.to_map = conv3x3(num_feat, PARSING_CHANNELS)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        deep = self.hourglass(self.residual(self.shallow(image)))
        return self.to_map(self.attention(deep))


@known
class PlainParsingBlock(nn.Sequential):
    """The "standard ConvBlock" that stands for :class:`ParsingBlock` in the ablation (section 4.4)."""

    def __init__(self, num_feat: int):
        super().__init__(
            conv3x3(3, num_feat),
            nn.ReLU(inplace=True),
            conv3x3(num_feat, num_feat),
            nn.ReLU(inplace=True),
            conv3x3(num_feat, PARSING_CHANNELS),
        )


@known
class LPF(nn.Module):
    """LR-Parsing Map Fusion Module, equations 9 to 11.

    Equation 10 adds F_parsing, 3 channels, to features of ``num_feat`` channels; one 1x1 convolution embeds the map first,
    so that every sum is defined. PA is read as a gate for every channel of every pixel.

    Shape:
        features (B, C, H, W), parsing (B, 3, H, W) -> (B, C, H, W).
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.embed = conv1x1(PARSING_CHANNELS, num_feat)
        self.conv_lr1 = conv3x3(num_feat, num_feat)
        self.conv_lr2 = conv3x3(num_feat, num_feat)
        self.conv_parsing = conv3x3(num_feat, num_feat)
        self.channel_attention = ChannelAttention(num_feat)
        self.spatial_attention = SpatialAttention()
        self.pixel_attention = PixelAttention(num_feat)
        self.conv_att = conv3x3(num_feat, num_feat)
        self.conv_fuse1 = conv3x3(2 * num_feat, num_feat)
        self.conv_fuse2 = conv1x1(num_feat, num_feat)

    def forward(self, features: torch.Tensor, parsing: torch.Tensor) -> torch.Tensor:
        parsing, parsing_conv = self._embedded(parsing)
        lr1, lr2 = self.conv_lr1(features), self.conv_lr2(features)

        attention = self.conv_att(attended(lr1, self.channel_attention, self.spatial_attention))
        sigma = self.pixel_attention(lr2 + parsing_conv)
        pixel = torch.lerp(parsing_conv, lr2, sigma)  # sigma * lr2 + (1 - sigma) * parsing_conv

        fuse1 = self.conv_fuse1(torch.cat([attention, parsing_conv], dim=1))
        fuse2 = self.conv_fuse2(pixel + features + parsing)
        return fuse1 + fuse2 + lr2 + parsing_conv

    def _embedded(self, parsing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """F_parsing and F'_parsing. In training the latter comes from the map's three channels by one convolution."""
        embedded = self.embed(parsing)
        if not (self.training and is_conv(self.embed, 1) and is_conv(self.conv_parsing, 3)):
            return embedded, self.conv_parsing(embedded)
        kernel = folding.embedded_convolution(self.embed, self.conv_parsing)
        with_ones = torch.cat([parsing, torch.ones_like(parsing[:, :1])], dim=1)
        return embedded, F.conv2d(with_ones, kernel, self.conv_parsing.bias, padding=1)


@known
class CascadeFusion(nn.Module):
    """The "basic cascade" that stands for :class:`LPF` in the ablation (section 4.4): concatenation and 3x3 convolution.

    Features (B, C, H, W) and map (B, 3, H, W) to features.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv = conv3x3(num_feat + PARSING_CHANNELS, num_feat)

    def forward(self, features: torch.Tensor, parsing: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([features, parsing], dim=1))
