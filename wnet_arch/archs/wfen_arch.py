"""WFEN: Li et al., "Efficient Face Super-Resolution via Wavelet-based Feature Enhancement Network",
ACM Multimedia 2024."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, enlarge, register_network
from wnet_arch.archs.baseline_layers import (
    GatedFeedForward,
    LayerNorm2d,
    PointDepthwise,
    channel_similarity,
    conv,
    haar,
    inverse_haar,
    normal_init,
    split_heads,
    to_signed,
    to_unit,
)
from wnet_arch.archs.checks import check_multiple
from wnet_arch.archs.ops.pixelwise import unit_length


def split_bands(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of every 2x2 pixels, and the sum of the three detail bands (first minus second half, each a quarter)."""
    ll, hl, lh, hh = haar(x)
    return ll / 2, (hh - hl - lh) / 2


def join_bands(low: torch.Tensor, details: torch.Tensor) -> torch.Tensor:
    """Transposed transform without the quarter: (B, C, H, W) and (B, 3C, H, W) to (B, C, 2H, 2W)."""
    horizontal, vertical, diagonal = details.chunk(3, dim=1)
    return 2 * inverse_haar(low, -horizontal, -vertical, diagonal)


class RegionAttention(nn.Module):
    """Attention of channels to channels inside windows of a circularly shifted map, (B, C, H, W) to the same.

    There is one head and one temperature.

    Args:
        num_feat: channels.
        window: side of the windows.
        shifted: shift the map by half a window. For a window of one pixel the published code shifts by one pixel, by
            the floor of a negative number, and shifts back by none; so does this.
    """

    def __init__(self, num_feat: int, window: int, shifted: bool):
        super().__init__()
        self.window = window
        self.shifts = (-window // 2, window // 2) if shifted else (0, 0)
        self.temperature = nn.Parameter(torch.ones(1))
        self.qkv = PointDepthwise(num_feat, 3 * num_feat)
        self.out = conv(num_feat, num_feat, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        there, back = self.shifts
        q, k, v = self._windows(self.qkv(torch.roll(x, (there, there), (2, 3)))).chunk(3, dim=-1)
        q, k = unit_length(q), unit_length(k)
        weights = F.relu(q.transpose(-2, -1) @ k * self.temperature)
        return self.out(torch.roll(self._image(v @ weights), (back, back), (2, 3)))

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, rows, columns, pixels of a window, C)."""
        side = self.window
        return x.unflatten(3, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 3, 5, 1).flatten(3, 4)

    def _image(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`_windows`."""
        x = x.unflatten(3, (self.window, self.window))  # B, rows, columns, y, x, C
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


class GlobalAttention(nn.Module):
    """Restormer's channel attention with ReLU instead of softmax and one temperature, (B, C, H, W) to the same.

    The heads leave interleaved: the channel changes slower than the head.
    """

    def __init__(self, num_feat: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(1))
        self.qkv = PointDepthwise(num_feat, 3 * num_feat)
        self.out = conv(num_feat, num_feat, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=1))
        mixed = F.relu(channel_similarity(q, k) * self.temperature) @ v
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class AttentionAndFeedForward(nn.Module):
    """``y = attention(norm(x)); y + feed_forward(norm(x + y))``: the sum goes into the feed-forward part only;
    (B, C, H, W) to the same.
    """

    def __init__(self, num_feat: int, attention: nn.Module):
        super().__init__()
        self.norm1, self.attention = LayerNorm2d(num_feat), attention
        self.norm2, self.feed_forward = LayerNorm2d(num_feat), GatedFeedForward(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.attention(self.norm1(x))
        return self.feed_forward(self.norm2(x + y)) + y


class FullDomainTransformer(nn.Sequential):
    """Full-domain transformer (FDT): attention inside regions, then over the whole map, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, num_heads: int, window: int, shifted: bool):
        super().__init__(
            AttentionAndFeedForward(num_feat, RegionAttention(num_feat, window, shifted)),
            AttentionAndFeedForward(num_feat, GlobalAttention(num_feat, num_heads)),
        )


class WaveletDown(nn.Module):
    """Wavelet feature downsample: (B, C, H, W) to the low band and the processed details, (B, out, H/2, W/2) both."""

    def __init__(self, num_in_ch: int, num_out_ch: int):
        super().__init__()
        self.widen = conv(num_in_ch, num_out_ch, 1)
        self.details = nn.Sequential(conv(num_out_ch, num_out_ch, 1), nn.ReLU(), conv(num_out_ch, num_out_ch, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low, details = split_bands(self.widen(x))
        return low, self.details(details)


class WaveletUp(nn.Module):
    """Wavelet feature upgrade: decoder features (B, D, h, w), encoder features (B, C, 2h, 2w) to (B, C, 2h, 2w).

    As published, the details take the place of the low band in the inverse transform, and the low band, with three
    times the channels, that of the details.
    """

    def __init__(self, num_dec_ch: int, num_enc_ch: int):
        super().__init__()
        both, wide = num_dec_ch + num_enc_ch, 3 * num_enc_ch
        self.details = nn.Sequential(conv(num_enc_ch, num_enc_ch), nn.ReLU(), conv(num_enc_ch, num_enc_ch))
        self.low = nn.Sequential(conv(both, both, 1), nn.ReLU(), conv(both, wide, 1))

    def forward(self, decoder: torch.Tensor, encoder: torch.Tensor) -> torch.Tensor:
        low, details = split_bands(encoder)
        return join_bands(self.details(details), self.low(torch.cat([decoder, low], dim=1)))


class WFENTrunk(nn.Module):
    """The published network: enlarged image (B, 3, H, W) in [-1, 1] to the same shape and range."""

    def __init__(self, num_feat: int = 40):
        super().__init__()
        n, n2, n4 = num_feat, 2 * num_feat, 4 * num_feat

        def stage(channels: int, heads: int, *windows: tuple[int, bool]) -> nn.Sequential:
            return nn.Sequential(*(FullDomainTransformer(channels, heads, side, shift) for side, shift in windows))

        self.head = conv(3, n)
        self.encoder = nn.ModuleList([stage(n, 4, (8, False), (8, False)), stage(n2, 4, (4, True)), stage(n4, 8, (2, False))])
        self.down = nn.ModuleList([WaveletDown(n, n2), WaveletDown(n2, n4), WaveletDown(n4, n4)])
        self.bottom = stage(n4, 8, *((1, shifted) for shifted in (False, True, False, True, False, True)))
        self.up = nn.ModuleList([WaveletUp(n4, n4), WaveletUp(n4, n2), WaveletUp(n2, n)])
        self.decoder = nn.ModuleList([stage(n4, 8, (8, True)), stage(n2, 4, (4, False)), stage(n, 4, (2, True), (2, False))])
        self.tail = conv(n, 3)
        normal_init(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = first = self.head(image)
        details, skips = 0, []
        for stage, down in zip(self.encoder, self.down):
            x = stage(x) + details
            skips.append(x)
            x, details = down(x)
        x = self.bottom(x) + details
        for up, stage, skip in zip(self.up, self.decoder, reversed(skips)):
            x = stage(up(x, skip))
        return self.tail(x + first)


@register_network
class WFEN(FaceSRNetwork):
    """Wavelet-based feature enhancement network (Li et al., ACM MM 2024).

    Published: the bicubically enlarged face in [-1, 1], no global residual, weights from N(0, 0.02). Nothing differs in
    the function; the fixed Haar filters are arithmetic here, not frozen weights, and ranges are converted around the
    trunk.

    Args:
        scale: 4 or 8.
        num_feat: channels at full size, a multiple of 4; 2x and 4x below.
    """

    size_multiple = 32  # windows of 8 at a quarter of the size

    def __init__(self, scale: int = 8, num_feat: int = 40):
        super().__init__(scale)
        check_multiple("WFEN", "num_feat", num_feat, 4)
        self.trunk = WFENTrunk(num_feat)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return to_unit(self.trunk(to_signed(enlarge(lq, self.scale))))
