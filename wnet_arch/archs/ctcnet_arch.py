"""CTCNet: Gao et al., "CTCNet: A CNN-Transformer Cooperation Network for Face Image Super-Resolution",
IEEE TIP 2023."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import (
    AttentionHourglass,
    GatedFeedForward,
    LayerNorm2d,
    PointDepthwise,
    SqueezeGate,
    channel_similarity,
    conv,
    normal_init,
    reflect_conv,
    split_heads,
    to_signed,
    to_unit,
)
from wnet_arch.archs.checks import check_counts, check_multiple

NUM_ATT_FEAT = 64


class WeightedResidual(nn.Module):
    """``a * x + b * conv(prelu(conv(x)))`` with learnt scalars, half the channels between; (B, C, H, W) to same."""

    def __init__(self, num_feat: int):
        super().__init__()
        half = num_feat // 2
        self.body = nn.Sequential(conv(num_feat, half), nn.PReLU(half), conv(half, num_feat))
        self.gains = nn.ParameterList(torch.ones(1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gains[0] * x + self.gains[1] * self.body(x)


class FeatureBlock(nn.Module):
    """Feature refinement inside all units: two weighted residuals, their mixture, channel attention, a
    convolution; (B, C, H, W) to the same.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.first, self.second = WeightedResidual(num_feat), WeightedResidual(num_feat)
        self.mix = nn.Sequential(conv(2 * num_feat, num_feat, 1, bias=False), nn.ReLU())
        self.refine = nn.Sequential(SqueezeGate(num_feat), conv(num_feat, num_feat, bias=False), nn.ReLU())
        self.gains = nn.ParameterList(torch.ones(1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        second = self.second(first)
        y = self.mix(torch.cat([self.gains[0] * second, self.gains[1] * first], dim=1))
        return self.gains[2] * x + self.gains[3] * self.refine(y)


class StructureAttention(nn.Module):
    """Spatial attention from SPARNet's hourglass with channel attention and a skip; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, depth: int):
        super().__init__()
        activation = partial(nn.PReLU, NUM_ATT_FEAT)
        self.hourglass = nn.Sequential(AttentionHourglass(num_feat, depth, NUM_ATT_FEAT, activation), SqueezeGate(NUM_ATT_FEAT))
        self.skip = nn.Identity() if num_feat == NUM_ATT_FEAT else conv(num_feat, NUM_ATT_FEAT, 1)
        self.to_map = nn.Sequential(reflect_conv(NUM_ATT_FEAT, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.to_map(self.hourglass(x) + self.skip(x))


class TransposedAttention(nn.Module):
    """Restormer's transposed attention, without biases, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = PointDepthwise(num_feat, 3 * num_feat)
        self.out = conv(num_feat, num_feat, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=1))
        weights = (channel_similarity(q, k) * self.temperature).softmax(dim=-1)
        return self.out((weights @ v).reshape(x.shape))


class TransformerBlock(nn.Module):
    """Restormer's block: attention and gated feed-forward network, each with layer norm and identity; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, num_heads: int):
        super().__init__()
        self.attention = nn.Sequential(LayerNorm2d(num_feat), TransposedAttention(num_feat, num_heads))
        self.feed_forward = nn.Sequential(LayerNorm2d(num_feat), GatedFeedForward(num_feat))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class LocalGlobalModule(nn.Module):
    """Local-global feature cooperation module (LGCM): facial structure attention unit, then transformer, identity;
    (B, C, H, W) to the same.
    """

    def __init__(self, num_feat: int, num_heads: int, num_blocks: int):
        super().__init__()
        self.body = nn.Sequential(
            FeatureBlock(num_feat),
            StructureAttention(num_feat, depth=4),
            FeatureBlock(num_feat),
            *(TransformerBlock(num_feat, num_heads) for _ in range(num_blocks)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def bilinear(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``x`` enlarged to the size of ``like``, corners aligned."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


class TwoBandUnit(nn.Module):
    """Refinement of the low and high frequencies, (B, C, H, W) to the same; each block is used twice."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.low, self.high = FeatureBlock(num_feat), FeatureBlock(num_feat)
        self.merge = conv(2 * num_feat, num_feat, 1)
        self.out = nn.Sequential(conv(2 * num_feat, num_feat, 1, bias=False), nn.ReLU())
        self.gate = conv(num_feat, num_feat, 1)
        self.gains = nn.ParameterList(torch.full((1,), 0.5) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gain1, gain2 = self.gains
        low = F.avg_pool2d(x, 2)
        high = self.high(x - bilinear(low, x))
        low = self.low(low)
        mixed = self.merge(torch.cat([gain1 * bilinear(low, x), gain2 * high], dim=1))
        both = torch.cat([gain2 * bilinear(self.low(low), x), gain1 * self.high(mixed)], dim=1)
        return self.out(both) + x * self.gate(x)


class RefinementModule(nn.Module):
    """Feature refinement module (FRM) of the bottleneck, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.structure = nn.Sequential(FeatureBlock(num_feat), StructureAttention(num_feat, depth=2))
        self.block = FeatureBlock(num_feat)  # used before and after
        self.bands = TwoBandUnit(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(self.bands(self.block(self.structure(x))))


def down_layer(num_in_ch: int, num_out_ch: int) -> nn.Sequential:
    """Halves the size: two convolutions, the first of stride 2, each with LeakyReLU."""
    return nn.Sequential(
        conv(num_in_ch, num_out_ch, stride=2, bias=False),
        nn.LeakyReLU(0.2),
        conv(num_out_ch, num_out_ch, bias=False),
        nn.LeakyReLU(0.2),
    )


def up_layer(num_in_ch: int, num_out_ch: int) -> nn.Sequential:
    """Doubles the size: transposed convolution and convolution, each with LeakyReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(num_in_ch, num_out_ch, 6, 2, 2, bias=False),
        nn.LeakyReLU(0.2),
        conv(num_out_ch, num_out_ch, bias=False),
        nn.LeakyReLU(0.2),
    )


class MultiScaleSkips(nn.Module):
    """Brings the encoder's features of all three sizes to each size (multi-scale feature fusion).

    One layer halves the features of the largest size, wherever they are halved; one doubles those of the
    smallest twice.

    Args of forward: (B, C, H, W), (B, 2C, H / 2, W / 2) and (B, 4C, H / 4, W / 4). Returns three of these sizes, (B, 7C, ...) each.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        n, n2, n4 = num_feat, 2 * num_feat, 4 * num_feat
        self.halve1, self.halve2 = conv(n, n, stride=2), conv(n2, n2, stride=2)
        self.double2, self.double4 = nn.ConvTranspose2d(n2, n2, 8, 2, 3), nn.ConvTranspose2d(n4, n4, 8, 2, 3)
        self.quadruple4 = nn.ConvTranspose2d(n4, n4, 6, 2, 2)

    def forward(self, full: torch.Tensor, half: torch.Tensor, quarter: torch.Tensor) -> tuple[torch.Tensor, ...]:
        halved = self.halve1(full)
        return (
            torch.cat([full, self.double2(half), self.quadruple4(self.quadruple4(quarter))], dim=1),
            torch.cat([half, halved, self.double4(quarter)], dim=1),
            torch.cat([quarter, self.halve2(half), self.halve1(halved)], dim=1),
        )


class CTCNetTrunk(nn.Module):
    """The published network: enlarged image (B, 3, H, W) in [-1, 1] plus a residual, same shape and range."""

    def __init__(self, num_feat: int = 32, num_refinements: int = 4):
        super().__init__()
        n, n2, n4 = num_feat, 2 * num_feat, 4 * num_feat
        settings = {n: (1, 4), n2: (2, 6), n4: (4, 6)}  # heads and transformer blocks

        def fuse(num_skip_ch: int, channels: int) -> nn.Module:
            module = LocalGlobalModule(channels, *settings[channels])
            return nn.Sequential(conv(channels + num_skip_ch, channels), SqueezeGate(channels), module)

        self.head = conv(3, n)
        self.encoder = nn.ModuleList(LocalGlobalModule(c, *settings[c]) for c in (n, n2, n4))
        self.down = nn.ModuleList([down_layer(n, n2), down_layer(n2, n4), down_layer(n4, n4)])
        self.refine = nn.Sequential(*(RefinementModule(n4) for _ in range(num_refinements)))
        self.skips = MultiScaleSkips(n)
        self.up = nn.ModuleList([up_layer(n4, n4), up_layer(n4, n2), up_layer(n2, n)])
        self.decoder = nn.ModuleList([fuse(n + n2 + n4, n4), fuse(n + n2 + n4, n2), fuse(n + n2 + n4, n)])
        self.tail = conv(n, 3)
        normal_init(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, features = self.head(image), []
        for module, down in zip(self.encoder, self.down):
            features.append(module(x))
            x = down(features[-1])
        x = self.refine(x)
        for up, module, skip in zip(self.up, self.decoder, reversed(self.skips(*features))):
            x = module(torch.cat([up(x), skip], dim=1))
        return self.tail(x) + image


@register_network
class CTCNet(FaceSRNetwork):
    """CNN-transformer cooperation network (Gao et al., TIP 2023).

    Published: the bicubically enlarged face in [-1, 1]; weights start from N(0, 0.02). Differs: what the released file
    builds and never uses, about two million parameters, is not built, and ranges are converted around the trunk.

    Args:
        scale: 4 or 8.
        num_feat: channels at full size, a multiple of 2; 2x and 4x below.
        num_refinements: refinement modules of the bottleneck.
    """

    size_multiple = 128  # an hourglass of depth 4 at a quarter of the size, with padding by reflection

    def __init__(self, scale: int = 8, num_feat: int = 32, num_refinements: int = 4):
        super().__init__(scale)
        check_multiple("CTCNet", "num_feat", num_feat, 2)
        check_counts("CTCNet", num_refinements=num_refinements)
        self.trunk = CTCNetTrunk(num_feat, num_refinements)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return to_unit(self.trunk(to_signed(enlarge(lq, self.scale))))
