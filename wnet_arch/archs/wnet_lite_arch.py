"""WNetLite: a lean network of our own that takes from W-Net an estimated parsing map and terms of its loss, and little of its form.

It is not the paper's network made smaller. Of the paper it has:

* a parsing map of three channels that the network estimates and is trained for (equation 25), resized to each grid it is fused
  on (equation 13, bilinearly here), and the pixel-wise gate between features and map (sigma and F_pixel of equation 10);
* the channel attention of RCAN inside its residual blocks, on which SCAB builds.

It does not have:

* the Parsing Block (equations 2 to 8): a residual block and a convolution on the features of the 32x32 grid, which the face is made
  of as well, give the map. It is not found in the LR face first, and most of the work is done before there is a map;
* LPF (equations 9 to 11) but for that gate: no branch with channel and spatial attention, no concatenation, no sums with the
  convolved features and map;
* the pyramid (equations 12, 14 to 19): no concatenation of face and map, nothing above 128x128; there are three fusions, where
  W-Net has ten LPFs and that concatenation;
* SCAB (equations 20 and 21): self-attention is a block of its own, between positions, with GroupNorm, on the smallest grid alone;
* the encoder and the decoder (equations 22 and 23): grids only grow, 16, 32, 64, 128, without connections across;
* the enlarged face as input of the features: they come from the LR face. The enlarged one is only added at the end.

The map does little in it. ``wnet_lite_x8`` on 30 faces, with another map in the place of its own: zeros cost 0.08 dB, another
person's map 0.04 dB, and the true map gains 0.05 dB.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import enlarge, register_network
from wnet_arch.archs.checks import check_choice, check_counts, check_flags
from wnet_arch.archs.guided import MapGuidedNetwork
from wnet_arch.archs.layers import ChannelAttention, PixelAttention, conv1x1, conv3x3
from wnet_arch.archs.ops.folding import bias_of
from wnet_arch.archs.wnet_arch import WNetOutput
from wnet_arch.archs.wnet_blocks import PARSING_CHANNELS
from wnet_arch.errors import NetworkError

#: Sides of the grid on which the work can begin, of a 128x128 face, with the widths of the four levels, in eighths of num_feat.
GRIDS = {16: (8, 6, 4, 2), 32: (8, 8, 4, 2)}


class LeanBlock(nn.Module):
    """x + CA(f_{3x3}(LeakyReLU(f_{3x3}(x)))): what is left of SCAB where the grid is large; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(num_feat, num_feat), nn.LeakyReLU(0.2, inplace=True), conv3x3(num_feat, num_feat), ChannelAttention(num_feat)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class GridAttention(nn.Module):
    """Self-attention over all positions of a small grid, then a gated 3x3 layer: one eye sees the other;
    (B, C, H, W) to the same.

    Positions are told apart by a depth-wise convolution of the values.
    """

    def __init__(self, num_feat: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.GroupNorm(1, num_feat), nn.GroupNorm(1, num_feat)
        self.qkv = conv1x1(num_feat, 3 * num_feat)
        self.place = nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=num_feat)
        self.project = conv1x1(num_feat, num_feat)
        self.widen = conv1x1(num_feat, 4 * num_feat)
        self.mix = nn.Conv2d(4 * num_feat, 4 * num_feat, 3, padding=1, groups=4 * num_feat)
        self.narrow = conv1x1(2 * num_feat, num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attend(self.norm1(x))
        gate, value = self.mix(self.widen(self.norm2(x))).chunk(2, dim=1)
        return x + self.narrow(F.gelu(gate) * value)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """Every position attends to all others: (B, C, H, W), normalised, to the same shape."""
        batch, channels, height, width = x.shape
        query, key, value = self.qkv(x).chunk(3, dim=1)

        def tokens(t: torch.Tensor) -> torch.Tensor:  # (B, heads, H * W, C / heads)
            return t.reshape(batch, self.num_heads, channels // self.num_heads, height * width).transpose(-2, -1)

        seen = F.scaled_dot_product_attention(tokens(query), tokens(key), tokens(value))
        return self.project(seen.transpose(-2, -1).reshape(batch, channels, height, width) + self.place(value))


class LeanFusion(nn.Module):
    """LPF's pixel branch (equation 10): a gate chooses, for every channel of every pixel, between features and map.

    Features (B, C, H, W) and map (B, 3, h, w) of any size to features.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.embed = conv1x1(PARSING_CHANNELS, num_feat)
        self.gate = PixelAttention(num_feat)
        self.fuse = conv1x1(num_feat, num_feat)
        nn.init.zeros_(self.fuse.weight)  # training starts without the map, which says nothing yet
        nn.init.zeros_(bias_of(self.fuse))

    def forward(self, features: torch.Tensor, parsing: torch.Tensor) -> torch.Tensor:
        parsing = self.embed(F.interpolate(parsing, features.shape[-2:], mode="bilinear", align_corners=False))
        sigma = self.gate(features + parsing)
        return features + self.fuse(sigma * features + (1 - sigma) * parsing)


class Enlarge(nn.Sequential):
    """Doubles the size by pixel shuffle: (B, C, H, W) -> (B, C', 2H, 2W). The four pixels of one start with equal weights."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(conv1x1(in_channels, 4 * out_channels), nn.PixelShuffle(2))
        with torch.no_grad():
            for parameter in self[0].parameters():
                parameter.copy_(parameter[::4].repeat_interleave(4, dim=0))


class WNetLiteTrunk(nn.Module):
    """LR face and enlarged face -> :class:`WNetOutput`. The arguments are those of :class:`WNetLite`."""

    def __init__(self, scale, num_feat, depths, num_heads, attention, parsing, position, grid):
        super().__init__()
        self.fold = 128 // scale // grid
        widths = [max(num_feat * part // 8, 8) for part in GRIDS[grid]]
        self.shallow = conv3x3(3 * self.fold**2, widths[0])
        self.position = nn.Parameter(torch.zeros(1, widths[0], grid, grid)) if position else None

        def level(width: int, depth: int, attend: bool) -> nn.Sequential:
            blocks: list[nn.Module] = []
            for _ in range(depth):
                blocks.append(LeanBlock(width))
                if attend:
                    blocks.append(GridAttention(width, num_heads))
            return nn.Sequential(*blocks)

        self.body = level(widths[0], depths[0], attention)
        self.ups = nn.ModuleList(Enlarge(a, b) for a, b in itertools.pairwise(widths))
        if grid == 32:  # the second level is on the grid of the first
            self.ups[0] = nn.Identity()
        self.levels = nn.ModuleList(level(width, depth, False) for width, depth in zip(widths[1:], depths[1:]))
        self.to_map = nn.Sequential(LeanBlock(widths[1]), conv3x3(widths[1], PARSING_CHANNELS)) if parsing else None
        self.fusions = nn.ModuleList(LeanFusion(width) for width in widths[1:]) if parsing else None
        self.to_rgb = conv3x3(widths[-1], 3)
        nn.init.normal_(self.to_rgb.weight, std=1e-3)  # training starts from the enlarged face
        nn.init.zeros_(bias_of(self.to_rgb))

    def forward(self, lq: torch.Tensor, image: torch.Tensor, given: torch.Tensor | None = None) -> WNetOutput:
        """``given``: a map of the image's size, which is averaged to the grid on which the network estimates its own."""
        features = self.shallow(F.pixel_unshuffle(lq - 0.5, self.fold))
        if self.position is not None:
            features = features + self._of_size(self.position, features)
        features = self.body(features) + features
        parsing = None
        for number, (up, level) in enumerate(zip(self.ups, self.levels)):
            features = up(features)
            if self.to_map is not None and self.fusions is not None:
                if number == 0:
                    parsing = self.to_map(features) if given is None else F.adaptive_avg_pool2d(given, features.shape[-2:])
                features = self.fusions[number](features, parsing)
            features = level(features)
        if parsing is None:
            parsing = image.new_zeros(image.shape)
        else:
            parsing = F.interpolate(parsing, image.shape[-2:], mode="bilinear", align_corners=False)
        return WNetOutput(image + self.to_rgb(features), parsing)

    @staticmethod
    def _of_size(position: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        if features.shape[-2:] == position.shape[-2:]:
            return position
        return F.interpolate(position, features.shape[-2:], mode="bicubic", align_corners=False)


@register_network
class WNetLite(MapGuidedNetwork):
    """A face with an estimated parsing map, and the work where it is cheap; what it has and lacks of W-Net says the module's text.

    Args:
        scale: 4 or 8.
        num_feat: channels on the grid of 16x16; 3/4, 1/2 and 1/4 of them on those of 32, 64 and 128. With ``grid: 32``, all of them
            on that of 32.
        depths: blocks of each level: on the grids of 16, 32, 64 and 128; with ``grid: 32``, of the first two levels on that of 32,
            before and after the map.
        num_heads: of the attention on the first grid.
        attention: self-attention over the whole face after every block of the first level.
        parsing: estimate the map on the grid of 32x32 and fuse it on all larger ones.
        position: a learned offset for every place of the aligned face. Faces framed as in training gain by it, all others lose.
        grid: side of the first grid. 16, to which a x4 face is folded, four pixels to twelve channels, so that x4 and x8 cost the
            same; or, of x4, its own 32, which is better at equal cost (docs/results/wnet_lite_x4.md).

    Raises:
        NetworkError: a value outside the ones named above.
    """

    size_multiple = 8

    def __init__(
        self,
        scale: int = 8,
        num_feat: int = 192,
        depths: tuple[int, int, int, int] = (6, 3, 2, 1),
        num_heads: int = 4,
        attention: bool = True,
        parsing: bool = True,
        position: bool = False,
        grid: int = 16,
    ):
        super().__init__(scale)
        check_counts("WNetLite", num_feat=num_feat, num_heads=num_heads)
        check_flags("WNetLite", attention=attention, parsing=parsing, position=position)
        if num_feat % 8 or num_feat < 16 or num_feat % num_heads:
            raise NetworkError(
                f"WNetLite takes a multiple of 8 and of num_heads ({num_heads}), at least 16, for num_feat, not {num_feat!r}"
            )
        if not isinstance(depths, (list, tuple)) or [type(depth) for depth in depths] != [int] * 4 or min(depths) < 0:
            raise NetworkError(f"WNetLite takes four numbers of blocks for depths, not {depths!r}")
        check_choice("WNetLite", "grid", grid, [side for side in GRIDS if side <= 128 // scale])
        self.trunk = WNetLiteTrunk(scale, num_feat, tuple(depths), num_heads, attention, parsing, position, grid)

    def super_resolve(self, lq: torch.Tensor) -> WNetOutput:
        return self.trunk(lq, enlarge(lq, self.scale))

    def super_resolve_guided(self, lq: torch.Tensor, parsing: torch.Tensor) -> WNetOutput:
        if self.trunk.to_map is None:
            raise NetworkError("this WNetLite was built with parsing: false; it takes no map")
        return self.trunk(lq, enlarge(lq, self.scale), parsing)
