"""SCTANet: Bao et al., "SCTANet: A Spatial Attention-Guided CNN-Transformer Aggregation Network for Deep Face Image
Super-Resolution", IEEE TMM 2023."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, register_network
from wnet_arch.archs.baseline_layers import LayerNorm2d, SqueezeGate, conv, normal_init, reflect_conv, to_signed, to_unit
from wnet_arch.archs.checks import check_counts, check_multiple
from wnet_arch.errors import NetworkError

NUM_HEADS = 6
WINDOW = 8


def mlp(num_in_ch: int, num_hidden_ch: int, num_out_ch: int) -> nn.Sequential:
    """Two fully connected layers per pixel with GELU between, as 1x1 convolutions."""
    return nn.Sequential(conv(num_in_ch, num_hidden_ch, 1), nn.GELU(), conv(num_hidden_ch, num_out_ch, 1))


class StochasticDepth(nn.Module):
    """Leaves out a residual of whole images at random in training, scaling up what stays; (B, C, H, W) to the same."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)


class MultiScaleEmbedding(nn.Module):
    """Channel thirds through depthwise convolutions of side 3, 5, 7, each with 1x1, batch norm and hard swish;
    (B, C, H, W) to the same.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        third = num_feat // 3
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(third, third, kernel, padding=kernel // 2, groups=third, bias=False),
                conv(third, third, 1, bias=False),
                nn.BatchNorm2d(third),
                nn.Hardswish(),
            )
            for kernel in (3, 5, 7)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(part) for branch, part in zip(self.branches, x.chunk(3, dim=1))], dim=1)


class SpatialMask(nn.Module):
    """Mask which the values of the attention are multiplied by, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.embed = conv(num_feat, num_feat, 1)
        self.gate = nn.Sequential(
            conv(num_feat, num_feat, 1), nn.Conv2d(num_feat, num_feat, 5, padding=2, groups=num_feat), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        return x + x * self.gate(x)


def to_windows(x: torch.Tensor, num_heads: int) -> torch.Tensor:
    """(B, C, H, W) to (B, windows, heads, pixels of a window, C / heads)."""
    x = x.unflatten(3, (-1, WINDOW)).unflatten(2, (-1, WINDOW)).unflatten(1, (num_heads, -1))
    return x.permute(0, 3, 5, 1, 4, 6, 2).flatten(4, 5).flatten(1, 2)


def from_windows(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of :func:`to_windows`."""
    x = x.unflatten(3, (WINDOW, WINDOW)).unflatten(1, (height // WINDOW, width // WINDOW))
    return x.permute(0, 3, 6, 1, 4, 2, 5).flatten(5, 6).flatten(3, 4).flatten(1, 2)


class WindowAttention(nn.Module):
    """Window attention of Swin with masked values, (B, C, H, W) to the same.

    The mask comes from ``guide``, which is the block's own input, of the same shape.

    Args:
        num_feat: channels.
        shift: pixels by which the windows are shifted; none for maps of a single window.
    """

    def __init__(self, num_feat: int, shift: int):
        super().__init__()
        self.shift = shift
        self.scale = (num_feat // NUM_HEADS) ** -0.5
        self.mask = SpatialMask(num_feat)
        self.qkv = conv(num_feat, 3 * num_feat, 1)
        self.out = conv(num_feat, num_feat, 1)
        self.position_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, NUM_HEADS))
        nn.init.trunc_normal_(self.position_table, std=0.02)
        y, x = (c.flatten() for c in torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij"))
        dy, dx = y[:, None] - y[None] + WINDOW - 1, x[:, None] - x[None] + WINDOW - 1
        self.position_index: torch.Tensor
        self.register_buffer("position_index", dy * (2 * WINDOW - 1) + dx, persistent=False)

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        shift = self.shift if min(height, width) > WINDOW else 0
        q, k, v = self.qkv(x).chunk(3, dim=1)
        q, k, v = (to_windows(torch.roll(p, (-shift, -shift), (2, 3)), NUM_HEADS) for p in (q, k, v * self.mask(guide)))
        weights = (q * self.scale) @ k.transpose(-2, -1) + self.position_table[self.position_index].permute(2, 0, 1)
        if shift:
            weights = weights + self._separation(height, width, weights)
        y = from_windows(weights.softmax(dim=-1) @ v, height, width)
        return self.out(torch.roll(y, (shift, shift), (2, 3)))

    def _separation(self, height: int, width: int, like: torch.Tensor) -> torch.Tensor:
        """-100 between pixels which only the circular shift brought into one window; (windows, 1, pixels, pixels)."""

        def region(side: int) -> torch.Tensor:
            place = torch.arange(side, device=like.device)
            return (place >= side - WINDOW).long() + (place >= side - self.shift).long()

        regions = 3 * region(height)[:, None] + region(width)
        regions = to_windows(regions[None, None], 1)[0, :, 0, :, 0]
        return -100.0 * (regions[:, None, :, None] != regions[:, None, None, :]).to(like.dtype)


class ResidualChannelAttention(nn.Module):
    """RCAB: ``x + gate(conv(relu(conv(x))))``, (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(conv(num_feat, num_feat), nn.ReLU(), conv(num_feat, num_feat), SqueezeGate(num_feat))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class AggregationBlock(nn.Module):
    """Convolutional and attention branch side by side, merged, then an MLP; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int, shift: int, drop_path: float):
        super().__init__()
        self.local = ResidualChannelAttention(num_feat)
        self.embed = nn.Sequential(MultiScaleEmbedding(num_feat), LayerNorm2d(num_feat))
        self.attention = WindowAttention(num_feat, shift)
        self.merge = conv(2 * num_feat, num_feat, 1)
        self.mlp = nn.Sequential(LayerNorm2d(num_feat), mlp(num_feat, 2 * num_feat, num_feat))
        self.drop = StochasticDepth(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.local(x), self.attention(self.embed(x), x)], dim=1)
        x = x + self.drop(self.merge(both))
        return x + self.drop(self.mlp(x))


class ResidualGroup(nn.Module):
    """``x + conv(blocks(x))``, (B, C, H, W) to the same."""

    def __init__(self, blocks: list[nn.Module], num_feat: int):
        super().__init__()
        self.body = nn.Sequential(*blocks, conv(num_feat, num_feat))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def cyclic_shift(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Channel i takes, along ``dim``, the pixel at offset ``(i + 1) % 3 - 1``; zero outside (CycleMLP)."""
    side = x.shape[dim]
    padding = (1, 1, 0, 0) if dim == 3 else (0, 0, 1, 1)
    padded = F.pad(x, padding)
    shifted = torch.stack([padded.narrow(dim, (i + 1) % 3, side)[:, i::3] for i in range(3)], dim=2)
    return shifted.flatten(1, 2)


class CyclicUp(nn.Module):
    """Doubles the size by a block after CycleMLP and pixel shuffle, (B, C, h, w) to (B, C, 2h, 2w)."""

    def __init__(self, num_feat: int):
        super().__init__()
        n = num_feat
        self.norm1, self.norm2 = LayerNorm2d(n), LayerNorm2d(n)
        self.along_width, self.along_height = conv(n, n, 1), conv(n, n, 1)
        self.in_place = conv(n, n, 1, bias=False)
        self.weigh = mlp(n, n // 4, 3 * n)
        self.out = conv(n, n, 1)
        self.widen, self.widen_normed = mlp(n, 2 * n, 4 * n), mlp(n, 2 * n, 4 * n)
        self.shuffle = nn.PixelShuffle(2)

    def _mix(self, x: torch.Tensor) -> torch.Tensor:
        parts = (
            self.along_width(cyclic_shift(x, 3)),
            self.along_height(cyclic_shift(x, 2)),
            self.in_place(x),
        )
        weights = self.weigh(sum(parts).mean(dim=(2, 3), keepdim=True)).unflatten(1, (-1, 3)).softmax(dim=2)
        return self.out(sum(part * weights[:, :, i] for i, part in enumerate(parts)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self._mix(self.norm1(x))
        return self.shuffle(self.widen(x) + self.widen_normed(self.norm2(x)))


class SCTANetTrunk(nn.Module):
    """The published network: LR image (B, 3, h, w) in [-1, 1], h and w multiples of 8, to the image enlarged."""

    def __init__(self, scale: int = 8, num_feat: int = 180, num_groups: int = 4, num_blocks: int = 6, drop_path: float = 0.1):
        super().__init__()
        n, total = num_feat, num_groups * num_blocks

        def block(i: int) -> nn.Module:
            shift = WINDOW // 2 if i % num_blocks % 2 else 0
            return AggregationBlock(n, shift, drop_path * i / max(1, total - 1))

        self.head = conv(3, n)
        self.body = nn.Sequential(
            *(ResidualGroup([block(g * num_blocks + b) for b in range(num_blocks)], n) for g in range(num_groups)),
            conv(n, n),
        )
        ups = [CyclicUp(n) for _ in range(scale.bit_length() - 1)]
        self.up = nn.Sequential(*ups)
        self.tail = reflect_conv(n, 3)
        self.scale = scale
        normal_init(self)
        for up in ups:  # as published: not the two cyclic layers
            up.along_width.reset_parameters()
            up.along_height.reset_parameters()

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        x = self.head(lq)
        x = self.tail(self.up(x + self.body(x)))
        return x + F.interpolate(lq, scale_factor=self.scale, mode="bicubic", align_corners=False)


@register_network
class SCTANet(FaceSRNetwork):
    """Spatial attention-guided CNN-transformer aggregation network (Bao et al., TMM 2023).

    Published: x8, the LR face in [-1, 1]; the enlarged image that is added at the end is torch's bicubic (a = -0.75);
    weights start from N(0, 0.02), those of the cyclic layers from torch's own. Differs: x4 has two instead of three
    doublings; the deformable convolutions with constant offsets are shifts; ranges are converted around the trunk.

    Args:
        scale: 4 or 8.
        num_feat: channels, a multiple of 12.
        num_groups: residual groups.
        num_blocks: blocks in a group.
        drop_path: highest rate of stochastic depth in training, at the last block.
    """

    def __init__(self, scale: int = 8, num_feat: int = 180, num_groups: int = 4, num_blocks: int = 6, drop_path: float = 0.1):
        super().__init__(scale)
        check_multiple("SCTANet", "num_feat", num_feat, 12)
        check_counts("SCTANet", num_groups=num_groups, num_blocks=num_blocks)
        if isinstance(drop_path, bool) or not isinstance(drop_path, (int, float)) or not 0 <= drop_path < 1:
            raise NetworkError(f"SCTANet takes a number from 0 to below 1 for drop_path, not {drop_path!r}")
        self.size_multiple = WINDOW * scale
        self.trunk = SCTANetTrunk(scale, num_feat, num_groups, num_blocks, drop_path)

    def super_resolve(self, lq: torch.Tensor) -> torch.Tensor:
        return to_unit(self.trunk(to_signed(lq)))
