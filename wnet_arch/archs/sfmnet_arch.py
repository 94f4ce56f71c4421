"""SFMNet: Wang, Jiang, Zhong, Liu, "Spatial-Frequency Mutual Learning for Face Super-Resolution", CVPR 2023."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import PointDepthwise, channel_similarity, conv, split_heads
from wnet_arch.archs.checks import check_multiple

TINY = 1e-8  # added before and after the transform; part of the published function


class SFMNetOutput(NamedTuple):
    """What ``SFMNet(lq, return_aux=True)`` gives.

    ``sr``: image of the spatial branch, (B, 3, H, W) in [0, 1]. ``frequency``: that of the frequency branch, likewise;
    it is supervised too.
    """

    sr: torch.Tensor
    frequency: torch.Tensor


class ResBlock(nn.Module):
    """``relu(x + conv(relu(conv(x))))``, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(conv(num_feat, num_feat, bias=False), nn.ReLU(), conv(num_feat, num_feat, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.body(x))


class SpatialGroup(nn.Module):
    """Two residual blocks and a convolution with PReLU, plus a learnt multiple of the input; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(ResBlock(num_feat), ResBlock(num_feat), conv(num_feat, num_feat, bias=False), nn.PReLU())
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.gain * x


class FrequencyGroup(nn.Module):
    """Frequency block: residual convolutions of amplitude and phase, (B, C, H, W) to the same.

    The absolute value of the inverse transform and the small constants are part of the published function. The
    transform has no half precision, so the whole block stays in float32 under autocast.
    """

    def __init__(self, num_feat: int):
        super().__init__()

        def refine() -> nn.Sequential:
            return nn.Sequential(conv(num_feat, num_feat), nn.LeakyReLU(0.1), conv(num_feat, num_feat))

        self.before, self.after = conv(num_feat, num_feat, 1), conv(num_feat, num_feat, 1)
        self.amplitude, self.phase = refine(), refine()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            return self._forward(x if x.dtype == torch.float64 else x.float())

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.before.weight.dtype  # half, where the network was converted to it
        spectrum = torch.fft.rfft2(self.before(x.to(own)).to(x.dtype) + TINY)
        amplitude, phase = spectrum.abs(), spectrum.angle()
        amplitude = amplitude + self.amplitude(amplitude.to(own))
        phase = phase + self.phase(phase.to(own))
        spectrum = torch.complex(amplitude * phase.cos() + TINY, amplitude * phase.sin() + TINY) + TINY
        y = x + self.after(torch.fft.irfft2(spectrum, s=x.shape[-2:]).abs().to(own))
        return torch.nan_to_num(y, nan=1e-5, posinf=1e-5, neginf=1e-5).to(own)


class CrossAttention(nn.Module):
    """Restormer's channel attention with the queries from one branch and keys and values from the other;
    both (B, C, H, W), as the result.
    """

    def __init__(self, num_feat: int, num_heads: int = 8):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.query = PointDepthwise(num_feat, num_feat)
        self.key_value = PointDepthwise(num_feat, 2 * num_feat)
        self.out = conv(num_feat, num_feat, 1, bias=False)

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        q = split_heads(self.query(x), self.num_heads)
        k, v = (split_heads(part, self.num_heads) for part in self.key_value(other).chunk(2, dim=1))
        weights = (channel_similarity(q, k) * self.temperature).softmax(dim=-1)
        return self.out((weights @ v).reshape(x.shape))


class Interaction(nn.Module):
    """Frequency-spatial interaction: two feature maps (B, C, H, W) to one.

    The same attention is used in both directions, and the second direction sees the first one's result.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.first, self.second = conv(num_feat, num_feat), conv(num_feat, num_feat)
        self.attention = CrossAttention(num_feat)
        self.gates = nn.Sequential(conv(2 * num_feat, num_feat), conv(num_feat, 2 * num_feat), nn.Sigmoid())

    def forward(self, frequency: torch.Tensor, spatial: torch.Tensor) -> torch.Tensor:
        first, second = self.first(frequency), self.second(spatial)
        second = self.attention(second, first) + second
        first = self.attention(first, second) + first
        second_gate, first_gate = self.gates(torch.cat([second, first], dim=1)).chunk(2, dim=1)
        return torch.nan_to_num(second * second_gate + first * first_gate, nan=1e-5, posinf=1e-5, neginf=1e-5)


class Branch(nn.Module):
    """One U-shaped branch: head, seven stages of two halves each, tail. The trunk decides in which order they run.

    Args:
        num_feat: channels.
        group: makes what each half ends with; the first half begins with the change of size, if the stage has one.
    """

    def __init__(self, num_feat: int, group: Callable[[int], nn.Module]):
        super().__init__()
        n = num_feat
        self.head = nn.Sequential(conv(3, n, bias=False), nn.PReLU())
        self.first = nn.ModuleList(
            [nn.Sequential(self._down(n), group(n)) for _ in range(3)]
            + [group(n)]
            + [nn.Sequential(self._up(n), group(n)) for _ in range(3)]
        )
        self.second = nn.ModuleList(group(n) for _ in range(7))
        self.tail = nn.Sequential(conv(n, 3, bias=False), nn.PReLU())

    @staticmethod
    def _down(n: int) -> nn.Sequential:
        return nn.Sequential(conv(n, n, bias=False), nn.PixelUnshuffle(2), conv(4 * n, n, 1, bias=False))

    @staticmethod
    def _up(n: int) -> nn.Sequential:
        return nn.Sequential(conv(n, 4 * n, 1), nn.PixelShuffle(2), nn.PReLU())


class SFMNetTrunk(nn.Module):
    """The published network: enlarged image (B, 3, H, W) in [0, 1] to ``(spatial, frequency)`` images, the same range.

    Features of the head and of the three steps down are added to those of the same size on the way up, in each branch
    by itself: both are taken and added before the interaction that ends the stage.
    """

    def __init__(self, num_feat: int = 64):
        super().__init__()
        self.spatial = Branch(num_feat, SpatialGroup)
        self.frequency = Branch(num_feat, FrequencyGroup)
        self.interactions = nn.ModuleList(Interaction(num_feat) for _ in range(14))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spatial, frequency = self.spatial.head(image), self.frequency.head(image)
        skips = [(spatial, frequency)]
        for i in range(7):
            frequency = self.frequency.first[i](frequency)
            spatial = self.interactions[2 * i](frequency, self.spatial.first[i](spatial))
            frequency, spatial = self.frequency.second[i](frequency), self.spatial.second[i](spatial)
            if i < 3:
                skips.append((spatial, frequency))
            else:
                spatial_skip, frequency_skip = skips.pop()
                spatial, frequency = spatial + spatial_skip, frequency + frequency_skip
            spatial = self.interactions[2 * i + 1](frequency, spatial)
        return self.spatial.tail(spatial) + image, self.frequency.tail(frequency) + image


@register_network
class SFMNet(FaceSRNetwork):
    """Spatial-frequency mutual network (Wang et al., CVPR 2023).

    Published: the bicubically enlarged face in [0, 1]. Differs: the second attention of every interaction, which the
    released file builds and never uses (253,680 parameters), is not built. The GAN variant's discriminators are not
    built. With a loss on ``sr`` alone the last convolution of the frequency branch receives no gradient.

    Args:
        scale: 4 or 8.
        num_feat: channels, a multiple of 8 (the heads of the attention).
    """

    size_multiple = 8

    def __init__(self, scale: int = 8, num_feat: int = 64):
        super().__init__(scale)
        check_multiple("SFMNet", "num_feat", num_feat, 8)
        self.trunk = SFMNetTrunk(num_feat)

    def super_resolve(self, lq: torch.Tensor) -> SFMNetOutput:
        return SFMNetOutput(*self.trunk(enlarge(lq, self.scale)))
