"""FishFSRNet: Wang et al., "Super-Resolving Face Image by Facial Parsing Information", IEEE T-BIOM 2023."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, register_network
from wnet_arch.archs.baseline_layers import EDSRBlock, conv, pixel_shuffle_up
from wnet_arch.archs.checks import check_counts, check_multiple


class FishFSRNetOutput(NamedTuple):
    """What ``FishFSRNet(lq, return_aux=True)`` gives.

    ``sr``: (B, 3, H, W) in [0, 1]. ``parsing``: the estimated map on the LR grid, (B, 3, h, w), meant in [0, 1] (a map
    coded by three colours), not clamped.
    """

    sr: torch.Tensor
    parsing: torch.Tensor


class ParsingNet(nn.Sequential):
    """Parsing map of an LR face: (B, 3, h, w) in [0, 1] to the same shape and range."""

    def __init__(self, num_feat: int = 64, num_blocks: int = 8, res_scale: float = 0.2):
        blocks = [EDSRBlock(num_feat, res_scale) for _ in range(num_blocks)]
        super().__init__(conv(3, num_feat), *blocks, conv(num_feat, 3))


class ChannelGate(nn.Module):
    """Channel attention from average, maximum and variance, one MLP for all three; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        hidden = max(1, num_feat // 4)
        self.mlp = nn.Sequential(conv(num_feat, hidden, 1), nn.ReLU(), conv(hidden, num_feat, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        pools = flat.mean(dim=2), flat.amax(dim=2), flat.var(dim=2, correction=0)
        gate = sum(self.mlp(pool[..., None, None]) for pool in pools)
        return x * gate.sigmoid()


class MultiScaleUnit(nn.Module):
    """Residual unit that replaces the plain channel gate at x4: convolutions of side 1, 3, 5, 7 on channel quarters;
    (B, C, H, W) to the same.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        quarter = num_feat // 4
        self.mix = nn.Sequential(conv(num_feat, num_feat, 1), nn.ReLU())
        self.fields = nn.ModuleList(conv(quarter, quarter, kernel) for kernel in (1, 3, 5, 7))
        self.gate = ChannelGate(num_feat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.mix(x).chunk(4, dim=1)
        return self.gate(torch.cat([field(part) for field, part in zip(self.fields, parts)], dim=1)) + x


class ParsingAttentionBlock(nn.Module):
    """Parsing map attention fusion block (PAB): features (B, C, H, W), parsing (B, 3, H, W) to features."""

    def __init__(self, num_feat: int):
        super().__init__()
        n, n2 = num_feat, 2 * num_feat
        self.features = nn.Sequential(conv(n, n), nn.ReLU(), conv(n, n))
        self.pixel_gate = nn.Sequential(conv(n, n2, 1), nn.ReLU(), conv(n2, n, 1), nn.Sigmoid())
        self.channel_gate = ChannelGate(n)
        self.merge_gates = conv(n2, n, 1)
        self.from_features = nn.Sequential(conv(n, n), nn.ReLU())
        self.from_parsing = nn.Sequential(conv(3, n), nn.ReLU())
        self.fuse = conv(n2, n)
        self.merge = conv(n2, n, 1)

    def forward(self, x: torch.Tensor, parsing: torch.Tensor) -> torch.Tensor:
        y = self.features(x)
        y = self.merge_gates(torch.cat([y * self.pixel_gate(y), self.channel_gate(y)], dim=1))
        fused = self.fuse(torch.cat([self.from_features(x), self.from_parsing(parsing)], dim=1))
        return x + self.merge(torch.cat([fused, y], dim=1))


class Stage(nn.Module):
    """A change of size and two PABs, which see the parsing map enlarged by nearest to the features' size.

    Args of forward: features (B, C, h, w), parsing (B, 3, h', w') of any size.
    Returns the features right after the change of size, which the fusion of the other phase takes, and after the PABs.

    Args:
        resize: brings the features to the stage's size.
        num_feat: channels.
        twice: the two PABs are one, used twice.
    """

    def __init__(self, resize: nn.Module, num_feat: int, twice: bool = False):
        super().__init__()
        self.resize = resize
        self.blocks = nn.ModuleList(ParsingAttentionBlock(num_feat) for _ in range(1 if twice else 2))

    def forward(self, x: torch.Tensor, parsing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = resized = self.resize(x)
        parsing = F.interpolate(parsing, x.shape[-2:], mode="nearest")
        for block in (self.blocks[0], self.blocks[-1]):
            x = block(x, parsing)
        return resized, x


class MultiScaleFusion(nn.Module):
    """Refines the current features by those of several sizes, (B, C, H, W) to the same.

    Args:
        num_feat: channels.
        level: size of the current features, as doublings of the LR grid.
        others: sizes of the features that are mixed in, in the order in which they come.
        gate: what follows the 1x1 convolution of all.
    """

    def __init__(self, num_feat: int, level: int, others: Sequence[int], gate: nn.Module):
        super().__init__()
        self.resize = nn.ModuleList(self._resize(num_feat, level - other) for other in others)
        self.refine = nn.ModuleList(nn.Sequential(EDSRBlock(num_feat), EDSRBlock(num_feat)) for _ in others)
        self.merge = nn.Sequential(conv(len(others) * num_feat, num_feat, 1), gate)

    @staticmethod
    def _resize(num_feat: int, doublings: int) -> nn.Module:
        """Nearest when the features are smaller; convolutions of stride 2, ReLU between them, when larger."""
        if doublings >= 0:
            return nn.Upsample(scale_factor=2**doublings, mode="nearest") if doublings else nn.Identity()
        layers: list[nn.Module] = [conv(num_feat, num_feat, stride=2)]
        for _ in range(-doublings - 1):
            layers += [nn.ReLU(), conv(num_feat, num_feat, stride=2)]
        return nn.Sequential(*layers)

    def forward(self, x: torch.Tensor, others: Sequence[torch.Tensor]) -> torch.Tensor:
        refined = [refine(x - resize(other)) + x for resize, refine, other in zip(self.resize, self.refine, others)]
        return self.merge(torch.cat(refined, dim=1)) + x


class FishFSRNetTrunk(nn.Module):
    """The published SR net: LR face and parsing (B, 3, h, w) to (B, 3, scale * h, scale * w), all in [0, 1].

    Up, down and up again, one stage for every doubling. Before each step down the features of the first steps up are
    mixed in, before each second step up those of the steps down.
    """

    def __init__(self, scale: int = 8, num_feat: int = 64):
        super().__init__()
        n, steps = num_feat, scale.bit_length() - 1
        large = steps > 2  # the published x8 and x4 networks differ in three details, here and below

        def fusion(level: int, others: Sequence[int]) -> nn.Module:
            return MultiScaleFusion(n, level, others, ChannelGate(n) if large else MultiScaleUnit(n))

        def down() -> nn.Module:
            return nn.Sequential(nn.PixelUnshuffle(2), conv(4 * n, n))

        levels = range(steps)
        self.head = conv(3, n)
        self.up1 = nn.ModuleList(Stage(pixel_shuffle_up(n), n) for _ in levels)
        self.fuse_down = nn.ModuleList(fusion(steps - i, range(1, steps + 1)) for i in levels)
        self.down = nn.ModuleList(Stage(down(), n) for _ in levels)
        self.fuse_up = nn.ModuleList(fusion(i, levels) for i in levels)
        self.middle = conv(n, n) if large else nn.Identity()
        # in the released x8 file the last stage applies its first block twice
        self.up2 = nn.ModuleList(Stage(pixel_shuffle_up(n), n, twice=large and i == steps - 1) for i in levels)
        self.tail = conv(n, 3)

    def forward(self, lq: torch.Tensor, parsing: torch.Tensor) -> torch.Tensor:
        x = self.head(lq)
        ups: list[torch.Tensor] = []
        downs: list[torch.Tensor] = []
        for stage in self.up1:
            resized, x = stage(x, parsing)
            ups.append(resized)
        for fuse, stage in zip(self.fuse_down, self.down):
            resized, x = stage(fuse(x, ups), parsing)
            downs.insert(0, resized)
        x = self.middle(self.fuse_up[0](x, downs))
        for i, stage in enumerate(self.up2):
            _, x = stage(self.fuse_up[i](x, downs) if i else x, parsing)
        return self.tail(x)


@register_network
class FishFSRNet(FaceSRNetwork):
    """Parsing-guided network in the shape of a fish (Wang et al., T-BIOM 2023), with its ParsingNet.

    Published: the LR face in [0, 1] and its parsing map on the LR grid, which ParsingNet was trained first to estimate
    and wrote to PNG files. Differs: ParsingNet (``parsing_net``) is part of the network and its map goes straight into
    the trunk, neither rounded nor clamped, so both can be trained together. What the released files build and never use
    is not built.

    Args:
        scale: 4 or 8.
        num_feat: channels of both networks, a multiple of 4.
        num_parsing_blocks: residual blocks of ParsingNet.
    """

    def __init__(self, scale: int = 8, num_feat: int = 64, num_parsing_blocks: int = 8):
        super().__init__(scale)
        check_multiple("FishFSRNet", "num_feat", num_feat, 4)
        check_counts("FishFSRNet", num_parsing_blocks=num_parsing_blocks)
        self.parsing_net = ParsingNet(num_feat, num_parsing_blocks)
        self.trunk = FishFSRNetTrunk(scale, num_feat)

    def super_resolve(self, lq: torch.Tensor) -> FishFSRNetOutput:
        parsing = self.parsing_net(lq)
        return FishFSRNetOutput(self.trunk(lq, parsing), parsing)
