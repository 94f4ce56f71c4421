"""W-Net (Liu, Yang, Liu: "W-Net: A Facial Feature-Guided Face Super-Resolution Network", 2024).

There is no public code of the paper. This is written from its text; equation numbers are the paper's. Where the text is
open, the class concerned says what was decided, and the switches are arguments of :class:`WNet`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.base import enlarge, register_network
from wnet_arch.archs.checks import check_choice, check_counts, check_flags
from wnet_arch.archs.guided import MapGuidedNetwork
from wnet_arch.archs.layers import (
    SCAB,
    Downsample,
    Upsample,
    conv3x3,
)
from wnet_arch.archs.ops import folding
from wnet_arch.archs.ops.as_built import is_conv, known, untouched
from wnet_arch.archs.ops.pixelwise import in_transform
from wnet_arch.archs.ops.recompute import moving_norms, recomputed
from wnet_arch.archs.wnet_blocks import (
    LPF,
    PARSING_CHANNELS,
    CascadeFusion,
    ParsingBlock,
    PlainParsingBlock,
)
from wnet_arch.archs.wnet_prepared import Prepared
from wnet_arch.errors import NetworkError

#: How often a grid is halved before positions may attend to each other: 32x32 of a 128x128 face is the largest such grid.
POSITIONS_FROM = 2


class WNetOutput(NamedTuple):
    """``sr``: (B, 3, H, W), the face; ``parsing``: (B, 3, H, W), the estimated skin map, not clamped, target 0 or 1."""

    sr: torch.Tensor
    parsing: torch.Tensor


@known
class WNetTrunk(nn.Module):
    """W-Net on the enlarged face: (B, 3, H, W) in [0, 1] -> :class:`WNetOutput`, H and W multiples of 16.

    Section 3.3: the image and its parsing map go up a pyramid of pixel shuffles to ``peak`` times the size and down again,
    fused with the nearest-enlarged map at every level (equations 12 to 19), then through an encoder of four levels, fused
    with the reduced map at each, and a decoder back (equations 22 and 23). The arguments are those of :class:`WNet`.
    """

    def __init__(
        self, num_feat, peak, parsing_block, lpf, scab, y_from, num_heads, skip, global_residual,
        attention, attention_scaling, norm, num_blocks, encoder_order, detach_map,
    ):  # fmt: skip
        super().__init__()
        self.skip = skip
        self.detach_map = detach_map
        self.encoder_order = encoder_order
        self.global_residual = global_residual
        self.grad_checkpointing = False
        self.with_lpf = lpf
        self.prepared = Prepared()
        fusion = LPF if lpf else CascadeFusion

        def scabs(halvings: int) -> nn.Sequential:
            between = "positions" if attention == "positions" and halvings >= POSITIONS_FROM else "channels"
            return nn.Sequential(*(SCAB(num_feat, scab, num_heads, attention_scaling, between) for _ in range(2)))

        first = 0 if encoder_order == "fuse_first" else 1
        self.parsing = ParsingBlock(num_feat, y_from, num_blocks) if parsing_block else PlainParsingBlock(num_feat)
        self.pyramid = nn.ModuleList(self._pyramid_steps(num_feat, peak, norm))
        self.pyramid_fusions = nn.ModuleList(fusion(num_feat) for _ in self.pyramid)
        self.encoder_downs = nn.ModuleList(Downsample(num_feat, norm) for _ in range(4))
        self.encoder_blocks = nn.ModuleList(scabs(first + level) for level in range(4))
        self.encoder_fusions = nn.ModuleList(fusion(num_feat) for _ in range(4))
        self.decoder_ups = nn.ModuleList(Upsample(num_feat, norm) for _ in range(4))
        self.decoder_blocks = nn.ModuleList(scabs(halvings) for halvings in (3, 2, 1, 0))
        self.to_rgb = conv3x3(num_feat, 3)
        if global_residual:  # training starts from the enlarged input instead of having to unlearn a random image
            nn.init.normal_(self.to_rgb.weight, std=1e-3)
            nn.init.zeros_(folding.bias_of(self.to_rgb))

    @staticmethod
    def _pyramid_steps(num_feat: int, peak: int, norm: str) -> list[nn.Module]:
        """Up to ``peak`` and down to 1, a step for every factor of two (equations 14 and 16 to 19).

        ``peak`` 1 keeps the concatenation (equation 12), its 3x3 convolution and the fusion at the network's own size.
        """
        in_channels = 3 + PARSING_CHANNELS
        levels = peak.bit_length() - 1
        if levels == 0:
            return [conv3x3(in_channels, num_feat)]
        resamplers = [Upsample] * levels + [Downsample] * levels
        return [
            nn.Sequential(conv3x3(num_feat if i else in_channels, num_feat), resample(num_feat, norm))
            for i, resample in enumerate(resamplers)
        ]

    def _run(self, block: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        """Runs a block, keeping only its inputs for the backward pass when checkpointing is on."""
        if not (self.grad_checkpointing and torch.is_grad_enabled()):
            return block(*inputs)
        norms = moving_norms(block)  # none, unless a part was exchanged
        if norms and torch.compiler.is_compiling():  # which would move their statistics twice
            return block(*inputs)
        return recomputed(block, norms, *inputs)

    def forward(self, image: torch.Tensor, parsing: torch.Tensor | None = None) -> WNetOutput:
        fast = None
        if not in_transform():
            if image.device.type == "cpu":  # its convolutions are twice as fast with channels beside each other
                image = image.contiguous(memory_format=torch.channels_last)
            fast = self.prepared.run(self, image) if parsing is None else None
        residual, parsing = fast or self._layer_by_layer(image, parsing)
        return WNetOutput(image + residual if self.global_residual else residual, parsing)

    def _layer_by_layer(self, image: torch.Tensor, parsing: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        estimate = self._run(self.parsing, image) if parsing is None else parsing
        parsing = estimate.detach() if self.detach_map else estimate
        features = self._through_pyramid(torch.cat([image, parsing], dim=1), parsing)

        skips = []
        for down, blocks, fuse in zip(self.encoder_downs, self.encoder_blocks, self.encoder_fusions):
            if self.encoder_order == "down_first":
                skips.append(features)
                features = down(features)
            features = self._run(blocks, features)
            features = self._run(fuse, features, self._map_of_size(parsing, features))
            if self.encoder_order == "fuse_first":
                skips.append(features)
                features = down(features)

        for up, blocks, skipped in zip(self.decoder_ups, self.decoder_blocks, reversed(skips)):
            features = up(features)
            if self.skip:
                features = features + skipped
            features = self._run(blocks, features)

        return self.to_rgb(features), estimate

    def _through_pyramid(self, features: torch.Tensor, parsing: torch.Tensor) -> torch.Tensor:
        if self.training:
            steps = [step for step in self.pyramid if type(step) is nn.Sequential and len(step) == 2 and untouched(step)]
            if len(steps) == len(self.pyramid):
                return self._pyramid_in_training(steps, features, parsing)
        for step, fuse in zip(self.pyramid, self.pyramid_fusions):
            features = step(features)
            features = self._run(fuse, features, self._map_of_size(parsing, features))
        return features

    def _pyramid_in_training(self, steps: list[nn.Sequential], features: torch.Tensor, parsing: torch.Tensor) -> torch.Tensor:
        """The pyramid, cut where its features are smallest: after the convolution before an enlargement, and after the one
        that halves. What is between two cuts keeps only its input when checkpointing is on: nothing of the largest grid.
        """
        features = self._towards(steps[0], features)
        for index, fuse in enumerate(self.pyramid_fusions):
            following = steps[index + 1] if index + 1 < len(steps) else None
            halving = self._halving(steps[index])
            head = halving[2] if halving else steps[index][1]  # of a Downsample, only the norm is left

            def part(features, parsing, head=head, fuse=fuse, following=following):
                features = head(features)
                features = fuse(features, self._map_of_size(parsing, features))
                return self._towards(following, features)

            if not (self.grad_checkpointing and torch.is_grad_enabled()):
                features = part(features, parsing)
            elif torch.compiler.is_compiling():  # which would move the statistics of the norm twice
                features = head(features)
                features = self._run(fuse, features, self._map_of_size(parsing, features))
                features = self._towards(following, features)
            else:
                norms = [norm for module in (head, fuse, following) if module is not None for norm in moving_norms(module)]
                features = recomputed(part, norms, features, parsing)
        return features

    @classmethod
    def _towards(cls, step: nn.Sequential | None, features: torch.Tensor) -> torch.Tensor:
        """What is done of a step of the pyramid before the next cut."""
        if step is None:
            return features
        halving = cls._halving(step)
        if halving is None:
            return step[0](features)
        conv, pointwise, _ = halving
        kernel, bias = folding.convolution_and_halving(conv, pointwise)
        return F.conv2d(features, kernel, bias, stride=2, padding=1)

    @staticmethod
    def _halving(step: nn.Sequential) -> tuple[nn.Conv2d, nn.Conv2d, nn.Module] | None:
        """A step's convolution, the one of its Downsample and the norm, if what comes before the norm may be one layer."""
        conv, down = step
        if type(down) is not Downsample or not untouched(down) or len(down) != 3 or not is_conv(conv, 3):
            return None
        shuffle, pointwise, norm = down
        if type(shuffle) is not nn.PixelUnshuffle or not untouched(shuffle) or shuffle.downscale_factor != 2:
            return None
        return (conv, pointwise, norm) if is_conv(pointwise, 1) else None

    @staticmethod
    def _map_of_size(parsing: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """NN(.) of equation 13, and the nearest-neighbour reduction of the encoder."""
        return F.interpolate(parsing, size=features.shape[-2:], mode="nearest")


@register_network
class WNet(MapGuidedNetwork):
    """W-Net: super-resolution guided by a parsing map that the network estimates from the LR face itself (equation 1).

    The paper is open on these points; each decision is a switch:

    * The input is the LR face enlarged bicubically to the output's size, for x4 and x8 alike: section 3.3 states that the
      features reach 1024x1024 when enlarged 8 times, which only a 128x128 input does.
    * The parsing map has three channels, no activation, at the network's grid; its target is the binary skin map
      repeated three times, see :class:`wnet_arch.losses.wnet_loss.WNetLoss`.
    * Encoder: the sizes 64, 32, 16, 8 listed with equation 22 are those of maps fused *after* reduction, so a level is
      downsampling, two SCABs, fusion with the map of that size. The equation itself prints the downsampling last
      (``encoder_order``).
    * Self-attention: between channels or positions, and by which factor its products are scaled (``attention``,
      ``attention_scaling``), see :class:`~wnet_arch.archs.layers.ChannelSelfAttention`.
    * The text draws no connections from encoder to decoder; a U-shaped network has them (``skip``, by addition). It draws
      no connection from input to output either (``global_residual``; with it the last convolution starts near zero).

    Args:
        scale: 8 or 4 as in the paper, 2, or 1, of the LR face. It changes the enlargement only: the trunk is the same. At x1 an
            image becomes one of its own size, for faces that are large enough and yet noisy, blurred or compressed.
        num_feat: channels everywhere; 64 as in f_{3x3,64}. A multiple of 8, and of ``num_heads``.
        peak: how far the pyramid enlarges the 128x128 features: 8 as in the paper (1024x1024), 4, 2, or 1 (no pyramid).
        parsing_block: the Parsing Block, or a plain convolution block (ablation, Table 3).
        lpf: LPF, or concatenation and a convolution (ablation).
        scab: SCAB, or RCAB (ablation).
        y_from: ``"deep"`` as equation 4 is printed, ``"y1"`` as in the known block of the same shape.
        num_heads: heads of the self-attention (section 3.3).
        skip: add the encoder's features to the decoder's.
        global_residual: add the enlarged input to the output.
        grad_checkpointing: keep less for the backward pass and compute it again, see :meth:`set_grad_checkpointing`.
        attention: what attends to each other in equations 20 and 21: ``"channels"`` everywhere; or ``"positions"`` on the grids of
            up to 32x32 of a 128x128 face, and channels on larger ones. Weights fit both.
        attention_scaling: ``"learned"``: L2-normalised Q and K, and a temperature that is trained; ``"sqrt"``: Q K / sqrt(d) as
            equation 21 is printed. Then there is no ``temperature`` among the weights.
        norm: of Upsample and Downsample: ``"bn"`` as in the paper (after equations 14 and 18), ``"gn"`` (GroupNorm, 8 groups)
            or ``"none"``. Without gradients only ``"bn"`` has the fast form of docs/results/speed.md.
        num_blocks: residual blocks F_Res of the Parsing Block (equation 3).
        encoder_order: of equation 22: ``"down_first"``, see above; or ``"fuse_first"`` as printed, LPF(SCAB(SCAB(F)), map of F's
            size), then Downsample: the maps fused are those of 128, 64, 32 and 16, and the decoder's ``skip`` adds those features.
            Without gradients only ``"down_first"`` has the fast form.
        detach_map: whether the Parsing Block learns from its own loss alone: the face's gradients stop at the map. The paper trains
            both branches by the sum of all losses (equation 29).

    ``forward`` takes LR faces whose enlarged sides are multiples of 16; with ``return_aux=True`` it gives
    :class:`WNetOutput`.

    Raises:
        NetworkError: a value outside the ones named above.
    """

    scales = (1, 2, 4, 8)
    size_multiple = 16
    trunk: WNetTrunk

    def __init__(
        self,
        scale: int = 8,
        num_feat: int = 64,
        peak: int = 8,
        parsing_block: bool = True,
        lpf: bool = True,
        scab: bool = True,
        y_from: str = "deep",
        num_heads: int = 4,
        skip: bool = True,
        global_residual: bool = True,
        grad_checkpointing: bool = False,
        attention: str = "channels",
        attention_scaling: str = "learned",
        norm: str = "bn",
        num_blocks: int = 2,
        encoder_order: str = "down_first",
        detach_map: bool = False,
    ):
        super().__init__(scale)
        check_counts("WNet", num_feat=num_feat, num_heads=num_heads, num_blocks=num_blocks)
        if num_feat % 8 or num_feat % num_heads:
            raise NetworkError(f"WNet takes a multiple of 8 and of num_heads ({num_heads}) for num_feat, not {num_feat}")
        check_flags(
            "WNet", parsing_block=parsing_block, lpf=lpf, scab=scab, skip=skip, global_residual=global_residual,
            grad_checkpointing=grad_checkpointing, detach_map=detach_map,
        )  # fmt: skip
        for name, value, choices in (
            ("peak", peak, (1, 2, 4, 8)),
            ("y_from", y_from, ("deep", "y1")),
            ("attention", attention, ("channels", "positions")),
            ("attention_scaling", attention_scaling, ("learned", "sqrt")),
            ("norm", norm, ("bn", "gn", "none")),
            ("encoder_order", encoder_order, ("down_first", "fuse_first")),
        ):
            check_choice("WNet", name, value, choices)
        self.trunk = WNetTrunk(
            num_feat, peak, parsing_block, lpf, scab, y_from, num_heads, skip, global_residual,
            attention, attention_scaling, norm, num_blocks, encoder_order, detach_map,
        )  # fmt: skip
        self.set_grad_checkpointing(grad_checkpointing)

    def set_grad_checkpointing(self, enable: bool = True) -> int:
        """Trades time for memory in training: the levels of the pyramid, fusions, SCABs and the Parsing Block keep only inputs.

        The result and the gradients are the same; a training step computes those blocks' forward pass twice. Returns how
        many blocks there are.
        """
        trunk = self.trunk
        trunk.grad_checkpointing = enable
        return 1 + sum(map(len, (trunk.pyramid_fusions, trunk.encoder_blocks, trunk.encoder_fusions, trunk.decoder_blocks)))

    def super_resolve(self, lq: torch.Tensor) -> WNetOutput:
        return self.trunk(enlarge(lq, self.scale))

    def super_resolve_guided(self, lq: torch.Tensor, parsing: torch.Tensor) -> WNetOutput:
        return self.trunk(enlarge(lq, self.scale), parsing)
