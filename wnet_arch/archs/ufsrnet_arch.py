"""UFSRNet: Wang et al., a U-shaped face super-resolution network with wavelets, Multimedia Tools and
Applications 2024."""

from __future__ import annotations

import torch
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import LayerNorm2d, conv, haar, inverse_haar, normal_init, to_signed, to_unit
from wnet_arch.archs.checks import check_counts


def depthwise(num_feat: int) -> nn.Conv2d:
    """3x3 convolution of every channel by itself."""
    return nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=num_feat)


class HaarDown(nn.Module):
    """Haar bands (LL, HL, LH, HH) side by side, 1x1 convolution, activation: (B, C, H, W) to (B, out, H/2, W/2)."""

    def __init__(self, num_in_ch: int, num_out_ch: int):
        super().__init__()
        self.mix = nn.Sequential(conv(4 * num_in_ch, num_out_ch, 1), nn.LeakyReLU(0.2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.cat(haar(x), dim=1))


class HaarUp(nn.Module):
    """1x1 convolution to four bands and the inverse transform: (B, C, H, W) to (B, out, 2H, 2W)."""

    def __init__(self, num_in_ch: int, num_out_ch: int, activation: bool):
        super().__init__()
        self.mix = conv(num_in_ch, 4 * num_out_ch, 1)
        self.activation = nn.LeakyReLU(0.2) if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return inverse_haar(*self.activation(self.mix(x)).chunk(4, dim=1))


class DownUnit(nn.Module):
    """Residual feature extraction after a Haar step, weighted by a map of one channel ("RFEB"); (B, C, H, W) to
    (B, C', H / 2, W / 2).
    """

    def __init__(self, num_in_ch: int, num_out_ch: int):
        super().__init__()
        self.down = HaarDown(num_in_ch, num_out_ch)
        self.features = nn.Sequential(depthwise(num_out_ch), nn.LeakyReLU(0.2), depthwise(num_out_ch))
        self.gate = nn.Sequential(conv(num_out_ch, 1, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down = self.down(x)
        return self.features(down) * self.gate(down) + down


class Distillation(nn.Module):
    """The distilling branch, as in RFDN: three steps keep C / 2 channels each, a fourth takes the rest; (B, C, H, W) to
    the same.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        half = num_feat // 2
        self.keep = nn.ModuleList(conv(num_feat, half, 1) for _ in range(3))
        self.refine = nn.ModuleList(conv(num_feat, num_feat) for _ in range(3))
        self.last = conv(num_feat, half)
        self.merge = conv(4 * half, num_feat, 1)
        self.activation = nn.LeakyReLU(0.05)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for keep, refine in zip(self.keep, self.refine):
            kept.append(self.activation(keep(x)))
            x = self.activation(refine(x) + x)
        return self.merge(torch.cat([*kept, self.activation(self.last(x))], dim=1))


class SimpleGate(nn.Module):
    """Product of the two halves of the channels, (B, 2C, H, W) to (B, C, H, W) (NAFNet)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second


class GatedConvolution(nn.Module):
    """The second branch, as in NAFNet, but the result of the feed-forward part is given beside its input.

    Returns ``(y, z)``, both as ``x`` (B, C, H, W): ``y = x + beta * mixing(x)`` and ``z = feed_forward(y)``. ``beta``
    starts at zero, as published, so the mixing part receives no gradient in the very first step.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        double = 2 * num_feat
        self.widen = nn.Sequential(LayerNorm2d(num_feat, eps=1e-6), conv(num_feat, double, 1), depthwise(double), SimpleGate())
        self.channel_weights = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(num_feat, num_feat, 1))
        self.narrow = conv(num_feat, num_feat, 1)
        self.beta = nn.Parameter(torch.zeros(1, num_feat, 1, 1))
        self.feed_forward = nn.Sequential(
            LayerNorm2d(num_feat, eps=1e-6), conv(num_feat, double, 1), SimpleGate(), conv(num_feat, num_feat, 1)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wide = self.widen(x)
        y = x + self.beta * self.narrow(wide * self.channel_weights(wide))
        return y, self.feed_forward(y)


class DualBranchBlock(nn.Module):
    """Distillation and gated convolution side by side ("DBDFB"), (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.distillation = Distillation(num_feat)
        self.gated = GatedConvolution(num_feat)
        self.merge = conv(2 * num_feat, num_feat, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, z = self.gated(x)
        return self.merge(torch.cat([z + x + y, x + self.distillation(x)], dim=1))


class Bottom(nn.Module):
    """The lowest level: a Haar step, then two blocks, one of them used twice; (B, C, H, W) to half the size."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.down = HaarDown(num_feat, num_feat)
        self.features = depthwise(num_feat)
        self.gate = nn.Sequential(conv(num_feat, 1, 1), nn.Sigmoid())
        self.outer = DualBranchBlock(num_feat)
        self.inner = DualBranchBlock(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down = self.down(x)
        x = self.outer(self.features(down)) * self.gate(down) + down
        return self.outer(self.inner(x))


class UFSRNetTrunk(nn.Module):
    """The published network: enlarged image (B, 3, H, W) in [-1, 1] plus a tanh residual, the same shape."""

    def __init__(self, num_feat: int = 32):
        super().__init__()
        n, n2, n4 = num_feat, 2 * num_feat, 4 * num_feat
        self.head = conv(3, n)
        self.down1, self.down2, self.bottom = DownUnit(n, n2), DownUnit(n2, n4), Bottom(n4)
        self.up2, self.blocks2 = HaarUp(n4, n4, True), nn.Sequential(DualBranchBlock(n4), DualBranchBlock(n4))
        self.up1, self.blocks1 = HaarUp(n4, n2, False), nn.Sequential(DualBranchBlock(n2), DualBranchBlock(n2))
        self.up0 = HaarUp(n2, n, True)
        self.tail = nn.Sequential(conv(n, 3), nn.LeakyReLU(0.2), nn.Tanh())
        normal_init(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        full = self.head(image)
        half = self.down1(full)
        quarter = self.down2(half)
        x = self.blocks2(self.up2(self.bottom(quarter)) + quarter)
        x = self.blocks1(self.up1(x) + half)
        return self.tail(self.up0(x) + full) + image


@register_network
class UFSRNet(FaceSRNetwork):
    """U-shaped network with Haar steps for down and up (Wang et al., MTAP 2024).

    Published: the bicubically enlarged face in [-1, 1], weights from N(0, 0.02). Differs: the layers which the released
    file builds and never uses (666,112 parameters) are not built, and ranges are converted around the trunk. The second
    step up has no activation, unlike the others, and block ``outer`` at the bottom is used twice: both are as
    published.

    Args:
        scale: 4 or 8.
        num_feat: channels at full size; 2x and 4x below.
    """

    size_multiple = 8

    def __init__(self, scale: int = 8, num_feat: int = 32):
        super().__init__(scale)
        check_counts("UFSRNet", num_feat=num_feat)
        self.trunk = UFSRNetTrunk(num_feat)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return to_unit(self.trunk(to_signed(enlarge(lq, self.scale))))
