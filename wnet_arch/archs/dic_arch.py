"""DIC: Ma, Jiang, Rao, Lu, Zhou, "Deep Face Super-Resolution with Iterative Collaboration between Attentive Recovery
and Landmark Estimation", CVPR 2020."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import FaceSRNetwork, register_network
from wnet_arch.archs.baseline_layers import ResidualHourglass, conv, he_init
from wnet_arch.archs.checks import check_counts, check_multiple
from wnet_arch.errors import NetworkError

CELEBA_MEAN = (0.509, 0.424, 0.378)
NUM_LANDMARKS = 68
#: Facial components of the 68-point scheme: left eye, right eye, nose, mouth, silhouette.
COMPONENTS = (range(36, 42), range(42, 48), range(27, 36), range(48, 68), range(27))


class DICOutput(NamedTuple):
    """What ``DIC(lq, return_aux=True)`` gives.

    ``sr``: (B, 3, H, W) in [0, 1], the last of ``steps``. ``steps``: the images of all steps, likewise. ``heatmaps``:
    the landmark maps estimated from each of them, (B, 68, H / 4, W / 4), meant as Gaussians of peak 1, not clamped.
    """

    sr: torch.Tensor
    steps: tuple[torch.Tensor, ...]
    heatmaps: tuple[torch.Tensor, ...]


def activated(layer: nn.Module) -> nn.Sequential:
    """The layer and a PReLU with one slope, which DIC has after almost every convolution."""
    return nn.Sequential(layer, nn.PReLU(init=0.2))


class ProjectionGroups(nn.Module):
    """Densely connected up- and down-projections (SRFBN's feedback block), (B, C, h, w) to the same.

    Group i enlarges all LR features so far and reduces all HR features so far, each squeezed by a 1x1 convolution once
    there are several. The input itself is not part of the result.
    """

    def __init__(self, num_feat: int, num_groups: int, scale: int):
        super().__init__()
        kernel = scale + 4, scale, 2
        squeezed = range(2, num_groups + 1)
        self.up = nn.ModuleList(activated(nn.ConvTranspose2d(num_feat, num_feat, *kernel)) for _ in range(num_groups))
        self.down = nn.ModuleList(activated(nn.Conv2d(num_feat, num_feat, *kernel)) for _ in range(num_groups))
        self.squeeze_low = nn.ModuleList(activated(conv(i * num_feat, num_feat, 1)) for i in squeezed)
        self.squeeze_high = nn.ModuleList(activated(conv(i * num_feat, num_feat, 1)) for i in squeezed)
        self.merge = activated(conv(num_groups * num_feat, num_feat, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = [x], []
        for i, (up, down) in enumerate(zip(self.up, self.down)):
            high.append(up(self.squeeze_low[i - 1](torch.cat(low, dim=1)) if i else x))
            low.append(down(self.squeeze_high[i - 1](torch.cat(high, dim=1)) if i else high[0]))
        return self.merge(torch.cat(low[1:], dim=1))


class GroupedBlock(nn.Module):
    """Residual block of grouped convolutions, one group a facial component; (B, C, H, W) to the same."""

    def __init__(self, num_feat: int):
        super().__init__()
        groups = len(COMPONENTS)
        self.body = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=groups),
            nn.LeakyReLU(0.2),
            nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=groups),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class AttentiveFusion(nn.Module):
    """Features of each component, weighted by where the component is.

    Args of forward: features (B, C, h, w), component maps (B, 5, h, w). Returns (B, C, h, w).
    """

    def __init__(self, num_feat: int, num_blocks: int):
        super().__init__()
        wide = len(COMPONENTS) * num_feat
        self.widen = nn.Sequential(conv(num_feat, wide, 1), nn.LeakyReLU(0.2))
        self.blocks = nn.Sequential(*(GroupedBlock(wide) for _ in range(num_blocks)))

    def forward(self, x: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.widen(x)).unflatten(1, (len(COMPONENTS), -1))
        return (x * components.softmax(dim=1).unsqueeze(2)).sum(dim=1)


class RecurrentBlock(nn.Module):
    """The block of steps 2, 3, ...: head features and hidden state, fused with the landmarks, then projected.

    Args of forward: head features and hidden state (B, C, h, w), component maps (B, 5, h, w). Returns the next hidden state.
    """

    def __init__(self, num_feat: int, num_groups: int, num_fusion_blocks: int, scale: int):
        super().__init__()
        self.squeeze = activated(conv(2 * num_feat, num_feat, 1))
        self.fusion = AttentiveFusion(num_feat, num_fusion_blocks)
        self.groups = ProjectionGroups(num_feat, num_groups, scale)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
        return self.groups(self.fusion(self.squeeze(torch.cat([x, hidden], dim=1)), components))


class Bottleneck(nn.Module):
    """Bottleneck residual of the landmark net: 1x1, ReLU, 3x3, 1x1, without a second activation; (B, C, H, W) to (B, C', H, W)."""

    def __init__(self, num_in_ch: int, num_out_ch: int):
        super().__init__()
        half = num_out_ch // 2
        self.body = nn.Sequential(conv(num_in_ch, half, 1), nn.ReLU(), conv(half, half), conv(half, num_out_ch, 1))
        self.shortcut = nn.Identity() if num_in_ch == num_out_ch else conv(num_in_ch, num_out_ch, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.body(x)


class LandmarkNet(nn.Module):
    """Recurrent hourglass: image (B, 3, H, W) and hidden state to heatmaps and the next hidden state.

    Heatmaps are (B, 68, H / 4, W / 4), the hidden state is (B, num_feat, H / 4, W / 4), None in the first step.
    """

    def __init__(self, num_feat: int = 256):
        super().__init__()
        n, n2 = num_feat, 2 * num_feat
        self.stem = nn.Sequential(
            nn.Conv2d(3, n // 4, 7, 2, 3),
            nn.ReLU(),
            Bottleneck(n // 4, n // 2),
            nn.MaxPool2d(2),
            Bottleneck(n // 2, n // 2),
            Bottleneck(n // 2, n),
        )
        self.merge = conv(n2, n2, 1)
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.hourglass = ResidualHourglass(4, lambda: Bottleneck(n2, n2), up)
        self.head = nn.Sequential(Bottleneck(n, n), conv(n, n, 1), nn.ReLU(), conv(n, NUM_LANDMARKS, 1))

    def forward(self, image: torch.Tensor, hidden: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(image)
        x = self.merge(torch.cat([x, x if hidden is None else hidden], dim=1))
        features, hidden = self.hourglass(x).chunk(2, dim=1)
        return self.head(features), hidden


def component_maps(heatmaps: torch.Tensor) -> torch.Tensor:
    """Landmark maps (B, 68, h, w) to component maps (B, 5, h, w): every map brought to peak 1, then summed."""
    peaks = heatmaps.amax(dim=(-2, -1), keepdim=True).clamp(min=0.05)
    maps = heatmaps / peaks
    return torch.stack([maps[:, points.start : points.stop].sum(dim=1) for points in COMPONENTS], dim=1)


class DICTrunk(nn.Module):
    """The published network: LR image (B, 3, h, w), [0, 1] minus the data's mean, to images and heatmaps of all steps.

    Returns ``([images (B, 3, H, W), same range as the input], [heatmaps (B, 68, H / 4, W / 4)])``. The arguments are those of
    :class:`DIC`.
    """

    def __init__(self, scale: int, num_feat: int, num_groups: int, num_steps: int, num_fusion_blocks: int, num_prior_feat: int):
        super().__init__()
        self.scale, self.num_steps = scale, num_steps
        head = activated(conv(3, 4 * num_feat))
        to_feat = nn.PixelShuffle(2) if scale == 8 else activated(conv(4 * num_feat, num_feat, 1))
        self.head = nn.Sequential(head, to_feat)  # features are at a quarter of the output's size for every scale
        self.first = nn.Sequential(activated(conv(num_feat, num_feat, 1)), ProjectionGroups(num_feat, num_groups, scale))
        self.recurrent = RecurrentBlock(num_feat, num_groups, num_fusion_blocks, scale)
        self.tail = nn.Sequential(activated(nn.ConvTranspose2d(num_feat, num_feat, 8, 4, 2)), conv(num_feat, 3))
        he_init(self)
        # Published pretrained. He initialisation would make its heatmaps 10^3 and, by recurrence, 10^10 after four steps.
        self.landmarks = LandmarkNet(num_prior_feat)

    def forward(self, lq: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        base = F.interpolate(lq, scale_factor=self.scale, mode="bilinear", align_corners=False)
        features = self.head(lq)
        images: list[torch.Tensor] = []
        heatmaps: list[torch.Tensor] = []
        hidden, memory = None, None
        for step in range(self.num_steps):
            if step == 0:
                hidden = self.first(features)
            else:
                hidden = self.recurrent(features, hidden, component_maps(heatmaps[-1]))
            images.append(base + self.tail(hidden))
            maps, memory = self.landmarks(images[-1], memory)
            heatmaps.append(maps)
        return images, heatmaps


@register_network
class DIC(FaceSRNetwork):
    """Iterative collaboration of super-resolution and landmark estimation (Ma et al., CVPR 2020).

    Published: x8 only, the LR face in [0, 1] minus (0.509, 0.424, 0.378); He initialisation, and a landmark
    net trained beforehand. Differs: x4 is our adaptation, a 1x1 convolution instead of the head's pixel shuffle and
    projections by 4; the landmark net starts from torch's initialisation. DICGAN's discriminator is not built.

    Args:
        scale: 4 or 8.
        num_feat: channels of the super-resolution part.
        num_groups: projection groups of a block.
        num_steps: steps of the collaboration, at least 2.
        num_fusion_blocks: residual blocks of the attentive fusion.
        num_prior_feat: channels of the landmark net, a multiple of 8.
    """

    size_multiple = 64  # the hourglass halves a quarter of the size four times

    def __init__(
        self,
        scale: int = 8,
        num_feat: int = 48,
        num_groups: int = 6,
        num_steps: int = 4,
        num_fusion_blocks: int = 7,
        num_prior_feat: int = 256,
    ):
        super().__init__(scale)
        check_counts("DIC", num_feat=num_feat, num_groups=num_groups, num_steps=num_steps, num_fusion_blocks=num_fusion_blocks)
        check_multiple("DIC", "num_prior_feat", num_prior_feat, 8)
        if num_steps < 2:
            raise NetworkError(f"DIC takes at least 2 for num_steps, not {num_steps!r}")
        self.trunk = DICTrunk(scale, num_feat, num_groups, num_steps, num_fusion_blocks, num_prior_feat)
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.tensor(CELEBA_MEAN).view(1, 3, 1, 1), persistent=False)

    def super_resolve(self, lq: torch.Tensor) -> DICOutput:
        images, heatmaps = self.trunk(lq - self.mean)
        steps = tuple(image + self.mean for image in images)
        return DICOutput(steps[-1], steps, tuple(heatmaps))
