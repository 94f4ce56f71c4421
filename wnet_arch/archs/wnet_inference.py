"""W-Net for inference: the same function of the face, with half the multiplications and an eighth of the memory.

What is exact mathematics is exact here, so results differ by rounding only (float32: below 1e-4):

* Linear layers in a row become one (:mod:`wnet_arch.archs.ops.folding`).
* Of the map that guides a fusion, enlarged to nearest neighbours, only five of the rows that each of its rows becomes differ
  after two 3x3 convolutions; one embeds and convolves those (:class:`Guide`).
* Large grids are processed in bands of rows that stay in the cache (:mod:`wnet_arch.archs.ops.bands`). The global mean that
  channel attention needs of a whole map is computed beforehand from sums of the input.
* Everything is channels-last, sums are made in place.

Whether it may stand for a network's modules is decided in :mod:`wnet_arch.archs.wnet_prepared`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs.layers import Downsample
from wnet_arch.archs.ops import folding
from wnet_arch.archs.ops.bands import Rows, bands, mean_of_convolution, window_sums, window_sums_of_enlarged

if TYPE_CHECKING:
    from wnet_arch.archs.wnet_arch import WNetTrunk
    from wnet_arch.archs.wnet_blocks import LPF


def _add_to_rows(rows: Rows, lines: torch.Tensor) -> None:
    """Adds values that depend on a row's parity, and differ on the image's first and last row.

    Args:
        rows: of an image.
        lines: (6, W * C), for the first row, the second, two of those inside, the last but one, and the last. What depends
            on parity alone is the same for the first, third and fifth, and for the others.
    """
    data = rows.data.permute(0, 2, 3, 1).flatten(2)
    for parity in (0, 1):
        data[:, (rows.first + parity) % 2 :: 2].add_(lines[2 + parity])
    if rows.first == 0:
        data[:, 0].add_(lines[0] - lines[2])
    if rows.end == rows.height:
        data[:, -1].add_(lines[5] - lines[3])


#: Rows on which a row of LPF's result depends: two 3x3 convolutions, a 7x7 one and the first 3x3 one.
LPF_REACH = 6


class Kernel(NamedTuple):
    """Weight and bias of a convolution, ready for use."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None

    def to(self, dtype: torch.dtype) -> Kernel:
        """The same in a type, contiguous with channels last."""
        weight = self.weight.to(dtype).contiguous(memory_format=torch.channels_last)
        return Kernel(weight, None if self.bias is None else self.bias.to(dtype).contiguous())


class UpsamplingKernel(NamedTuple):
    """What :func:`folding.upsampling` gives, ready for use: (I, O, 2, 2), and a bias for each of the four pixels, (O, 2, 2)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def to(self, dtype: torch.dtype) -> UpsamplingKernel:
        """The same in a type, contiguous with channels last."""
        weight = self.weight.to(dtype).contiguous(memory_format=torch.channels_last)
        return UpsamplingKernel(weight, self.bias.to(dtype).contiguous())


def kernel_of(conv: nn.Conv2d) -> Kernel:
    """Weight and bias of a convolution, as they are."""
    return Kernel(conv.weight, conv.bias)


class Plain:
    """Features that are there already, as input of a fusion: (B, C, H, W)."""

    def __init__(self, features: torch.Tensor):
        self.features = features
        self.size = features.shape[-2], features.shape[-1]

    def sums(self) -> torch.Tensor:
        """Sums over corners, edges and inside, (B, C, 3, 3), see :func:`~wnet_arch.archs.ops.bands.window_sums`."""
        return window_sums(self.features)

    def rows(self, image: slice, start: int, end: int) -> Rows:
        """Rows ``start`` to ``end`` of the features, those outside the image left out."""
        return Rows(self.features[image], 0, self.size[0]).crop(start, end)

    def convolved(self, image: slice, conv: EntryKernels, start: int, end: int) -> Rows:
        """The same rows after a padded 3x3 convolution."""
        return self.rows(image, start - 1, end + 1).convolved(*conv.plain).crop(start, end)


class Enlarged:
    """Features (B, C, 2H, 2W) that an Upsample makes of (B, C, H, W), made when they are asked for."""

    def __init__(self, features: torch.Tensor, kernel: UpsamplingKernel):
        self.features, self.kernel = features, kernel
        self.size = 2 * features.shape[-2], 2 * features.shape[-1]
        self.biases: dict[EntryKernels | None, torch.Tensor] = {}

    def sums(self) -> torch.Tensor:
        """As :meth:`Plain.sums`, without making the features."""
        size = self.features.shape[-2], self.features.shape[-1]
        return window_sums_of_enlarged(window_sums(self.features), size, self.kernel.weight, self.kernel.bias)

    def rows(self, image: slice, start: int, end: int) -> Rows:
        """Rows ``start`` to ``end`` of the enlarged features, those outside the image left out."""
        height = self.size[0]
        start, end = max(start, 0), min(end, height)
        source = self.features[image, :, start // 2 : (end + 1) // 2]
        rows = Rows(F.conv_transpose2d(source, self.kernel.weight, stride=2), start // 2 * 2, height)
        _add_to_rows(rows, self._bias())
        return rows.crop(start, end)

    def convolved(self, image: slice, conv: EntryKernels, start: int, end: int) -> Rows:
        """A convolution of the features, from what they are made of. The bias's share differs at the image's border."""
        height = self.size[0]
        source = Rows(self.features[image], 0, height // 2).crop(start // 2 - 1, (end + 1) // 2 + 1)
        data = F.conv_transpose2d(source.data, cast(torch.Tensor, conv.upsampled), stride=2, padding=1)
        rows = Rows(data, 2 * source.first, height).crop(start, end)
        _add_to_rows(rows, self._bias(conv))
        return rows

    def _bias(self, conv: EntryKernels | None = None) -> torch.Tensor:
        """What the features, or their convolution, are where those they are made of are zero: rows as in :func:`_add_to_rows`."""
        if conv not in self.biases:
            bias = self.kernel.bias[None].repeat(1, 1, 3, self.features.shape[3])
            bias = bias if conv is None else F.conv2d(bias, *conv.plain, padding=1)
            self.biases[conv] = bias.permute(0, 2, 3, 1).flatten(2)[0]
        return self.biases[conv]


class EntryKernels:
    """A convolution at the entry of a fusion, for features that are there, and for those an Upsample is about to make."""

    def __init__(self, conv: nn.Conv2d, up: UpsamplingKernel | None, dtype: torch.dtype):
        self.plain = kernel_of(conv).to(dtype)
        self.upsampled = None if up is None else Kernel(folding.convolution_of_upsampling(up.weight, conv)).to(dtype).weight


class Guide:
    """What LPF makes of the parsing map alone: F'_parsing, and all that reaches the result without the features.

    A map enlarged to nearest neighbours consists of blocks of equal pixels. After two 3x3 convolutions the first two and
    the last two rows of a block differ from the rest, and those do not differ from each other. So an enlargement to blocks of
    at most five rows has all there is; rows and columns in the middle are then repeated. And as the convolutions
    follow each other directly, all pixels of a block are computed from the map itself, at its own size.

    Args:
        kernels: the weights.
        parsing: (B, 3, h, w).
        size: of the features: (h, w) times the factor the kernels are for.
    """

    def __init__(self, kernels: GuideKernels, parsing: torch.Tensor, size: tuple[int, int]):
        self.kernels = kernels
        self.map = torch.cat([parsing, torch.ones_like(parsing[:, :1])], dim=1)
        self.map = self.map.contiguous(memory_format=torch.channels_last)
        self.row_places, self.column_places = (self._places(side, parsing.device) for side in size)

    def _places(self, side: int, device: torch.device) -> torch.Tensor:
        """For each of the enlarged map's rows the one of the lesser enlargement that is equal to it."""
        factor, kept = self.kernels.factor, self.kernels.kept
        row = torch.arange(side, device=device)
        from_end = row % factor - factor + kept
        return row // factor * kept + torch.where(from_end > kept // 2, from_end, (row % factor).clamp(max=kept // 2))

    def rows(self, image: slice, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows ``start`` to ``end`` of F'_parsing and of the sum, each (B, C, end - start, W)."""
        kernels = self.kernels
        first, last = start // kernels.factor, -(-end // kernels.factor)
        convolved = self._computed(image, kernels.convolved, first - 1, last + 1)
        fused = self._computed(image, kernels.fuse1, first, last)
        self._mend_border(fused, convolved)
        fused.data.add_(self._computed(image, kernels.rest, first, last).data)
        rows = self.row_places[start:end] - fused.first
        convolved = convolved.crop(fused.first, fused.end)
        return self._repeated(convolved.data, rows), self._repeated(fused.data, rows)

    def _computed(self, image: slice, kernel: Kernel, first: int, last: int) -> Rows:
        """Blocks from the rows ``first`` to ``last`` of the map."""
        kept, reach = self.kernels.kept, kernel.weight.shape[-1] // 2
        small = Rows(self.map[image], 0, self.map.shape[2]).crop(first - reach, last + reach).convolved(*kernel).crop(first, last)
        blocks = small.data.permute(0, 2, 3, 1).unflatten(3, (kept, kept, -1)).transpose(2, 3)
        pixels = blocks.flatten(3, 4).flatten(1, 2)
        return Rows(pixels.permute(0, 3, 1, 2), small.first * kept, small.height * kept)

    def _mend_border(self, fused: Rows, convolved: Rows) -> None:
        """At the image's border the second convolution meets zeros, not what the first would give outside."""
        fuse1 = self.kernels.fuse1_plain
        for edge, column in ((slice(0, 2), 0), (slice(-2, None), -1)):
            strip = convolved.replaced(convolved.data[:, :, :, edge]).convolved(*fuse1).crop(fused.first, fused.end)
            fused.data[:, :, :, column] = strip.data[:, :, :, column]
        for edge, row, there in ((slice(0, 2), 0, fused.first == 0), (slice(-2, None), -1, fused.end == fused.height)):
            if there:
                fused.data[:, :, row] = F.conv2d(convolved.data[:, :, edge], *fuse1, padding=1)[:, :, row]

    def _repeated(self, data: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        pixels = data.permute(0, 2, 3, 1)
        if self.kernels.kept < self.kernels.factor:
            pixels = pixels.index_select(2, self.column_places).index_select(1, rows)
        else:
            pixels = pixels[:, rows[0] : rows[-1] + 1]
        return pixels.permute(0, 3, 1, 2)


class GuideKernels:
    """Weights of a :class:`Guide`, for maps enlarged ``factor`` times; ``kept``: rows of a block that are computed."""

    MOST = 5

    def __init__(self, lpf: LPF, factor: int, dtype: torch.dtype):
        self.factor, self.kept = factor, min(factor, self.MOST)
        channels = lpf.embed.out_channels
        embed = torch.cat([lpf.embed.weight, folding.bias_of(lpf.embed)[:, None, None, None]], dim=1)
        convolve, bias = folding.embedded_convolution(lpf.embed, lpf.conv_parsing), folding.bias_of(lpf.conv_parsing)
        fuse1_bias = folding.bias_of(lpf.conv_fuse1)
        fuse1 = lpf.conv_fuse1.weight[:, channels:]
        rest = convolve + F.pad(folding.compose(lpf.conv_fuse2.weight, embed), [1] * 4)
        self.convolved = self._blocks(convolve, bias).to(dtype)
        self.fuse1 = self._blocks(folding.compose(fuse1, convolve), fuse1.sum((2, 3)) @ bias + fuse1_bias).to(dtype)
        self.rest = self._blocks(rest, bias + folding.bias_of(lpf.conv_fuse2)).to(dtype)
        self.fuse1_plain = Kernel(fuse1, fuse1_bias).to(dtype)

    def _blocks(self, weight: torch.Tensor, bias: torch.Tensor) -> Kernel:
        return Kernel(folding.on_small_grid(weight, self.kept), bias.repeat(self.kept**2))


class Fusion:
    """LPF, equations 9 to 11, with what follows it in the same pass over the image.

    Args:
        lpf: the module.
        factor: how many times the map is enlarged for it.
        up: the Upsample before it, if there is one.
        dtype: of the computation; sums over the whole image stay in float32.
    """

    def __init__(self, lpf: LPF, factor: int, up: UpsamplingKernel | None, dtype: torch.dtype):
        channels = lpf.embed.out_channels
        self.up = None if up is None else up.to(dtype)
        self.lr1_mean = lpf.conv_lr1.weight, folding.bias_of(lpf.conv_lr1)
        self.gate = copy.deepcopy(lpf.channel_attention.gate)
        self.lr1, self.lr2 = (EntryKernels(conv, up, dtype) for conv in (lpf.conv_lr1, lpf.conv_lr2))
        self.att, self.pixel = (kernel_of(conv).to(dtype) for conv in (lpf.conv_att, lpf.pixel_attention.conv))
        self.spatial, self.fuse1, self.fuse2 = (
            Kernel(weight).to(dtype)
            for weight in (lpf.spatial_attention.conv.weight, lpf.conv_fuse1.weight[:, :channels], lpf.conv_fuse2.weight)
        )
        self.guide = GuideKernels(lpf, factor, dtype)

    def run(self, features: torch.Tensor, parsing: torch.Tensor, after: Kernel | None = None) -> torch.Tensor:
        """Fuses features with the map, and applies the convolution ``after``: 3x3, or 4x4 with stride 2."""
        source = Enlarged(features, self.up) if self.up else Plain(features)
        height, width = source.size
        guide = Guide(self.guide, parsing, source.size)
        gate = self.channel_gate(source).to(parsing.dtype)
        stride = 1 if after is None or after.weight.shape[-1] == 3 else 2
        batch, channels = len(parsing), self.att.weight.shape[0]
        result = torch.empty(
            (batch, channels, height // stride, width // stride),
            dtype=parsing.dtype, device=parsing.device, memory_format=torch.channels_last,
        )  # fmt: skip
        cut = list(bands(height, width * channels * parsing.element_size(), parsing.device, multiple=2))
        images = [slice(None)] if len(cut) == 1 else [slice(i, i + 1) for i in range(batch)]
        for image in images:
            for start, end in cut:
                rows = result[image, :, start // stride : end // stride]
                rows.copy_(self._band(source, guide, gate[image], after, image, start, end))
        return result

    def channel_gate(self, source: Plain | Enlarged) -> torch.Tensor:
        """Channel attention's factors (B, C, 1, 1) for F_LR^(1), which need not be there for that."""
        weight, bias = self.lr1_mean
        if min(source.size) == 1:
            mean = F.conv2d(source.features.to(weight.dtype), weight, bias, padding=1).mean((2, 3))
        else:
            mean = mean_of_convolution(source.sums(), source.size, weight, bias)
        return self.gate(mean[:, :, None, None].to(weight.dtype))

    def _band(
        self, source: Plain | Enlarged, guide: Guide, gate: torch.Tensor, after: Kernel | None, image: slice, start: int, end: int
    ) -> torch.Tensor:
        if after is None:
            return self._rows(source, guide, gate, image, start, end).data
        if after.weight.shape[-1] == 3:
            return self._rows(source, guide, gate, image, start - 1, end + 1).convolved(*after).crop(start, end).data
        # One row more than needed above, so that the convolution's own padding is right at the border and elsewhere.
        rows = self._rows(source, guide, gate, image, start - 2, end + 2)
        halved = F.conv2d(rows.data, *after, stride=2, padding=1)
        above = (start - rows.first) // 2
        return halved[:, :, above : above + (end - start) // 2]

    def _rows(self, source: Plain | Enlarged, guide: Guide, gate: torch.Tensor, image: slice, start: int, end: int) -> Rows:
        """Rows of F_fused (equation 11) from ``start`` to ``end``, those outside the image left out."""
        height = source.size[0]
        start, end = max(start, 0), min(end, height)
        reach = LPF_REACH - 1
        attended = self._attended(source.convolved(image, self.lr1, start - reach, end + reach), gate, start, end)
        lr2 = source.convolved(image, self.lr2, start, end)
        parsing, rest = guide.rows(image, start, end)
        sigma = F.conv2d(lr2.data + parsing, *self.pixel).sigmoid_()
        pixel = torch.lerp(parsing, lr2.data, sigma, out=sigma).add_(source.rows(image, start, end).data)
        fused = attended.convolved(*self.fuse1).crop(start, end)
        fused.data.add_(lr2.data).add_(rest).add_(F.conv2d(pixel, *self.fuse2))
        return fused

    def _attended(self, lr1: Rows, gate: torch.Tensor, start: int, end: int) -> Rows:
        """F_Att of equation 10, two rows more than asked for where the image has them. Both gates are added first."""
        pixels = lr1.data.permute(0, 2, 3, 1)
        mean = torch.matmul(pixels, pixels.new_full((pixels.shape[3], 1), 1 / pixels.shape[3]))
        pooled = torch.cat([mean, largest(pixels)], dim=3).permute(0, 3, 1, 2)
        mask = lr1.replaced(pooled).convolved(*self.spatial).crop(start - 2, end + 2)
        both = lr1.crop(start - 2, end + 2)
        pixels = both.data.permute(0, 2, 3, 1)  # with sums of other layouts torch would forget the channels-last one
        weighted = pixels * (mask.data.sigmoid_().permute(0, 2, 3, 1) + gate.permute(0, 2, 3, 1))
        return both.replaced(weighted.permute(0, 3, 1, 2)).convolved(*self.att)


def largest(pixels: torch.Tensor) -> torch.Tensor:
    """Maximum over the last dimension, kept. By halves, as torch's own reduction of few half-precision numbers is slow."""
    while pixels.shape[-1] % 32 == 0:
        pixels = torch.maximum(*pixels.chunk(2, dim=-1))
    return pixels.amax(-1, keepdim=True)


class _Step(NamedTuple):
    """A step of the pyramid: its convolution, and what follows it, if anything does."""

    conv: nn.Conv2d
    up: nn.Sequential | None = None
    down: nn.Sequential | None = None

    @classmethod
    def of(cls, step: nn.Module) -> _Step:
        if not isinstance(step, nn.Sequential):
            return cls(cast(nn.Conv2d, step))
        conv, resample = cast(nn.Conv2d, step[0]), cast(nn.Sequential, step[1])
        return cls(conv, down=resample) if isinstance(resample, Downsample) else cls(conv, up=resample)

    def after(self, dtype: torch.dtype) -> Kernel:
        """What the step does in the pass of the fusion before it."""
        if self.down is not None:
            return Kernel(*folding.convolution_and_downsampling(self.conv, self.down)).to(dtype)
        return kernel_of(self.conv).to(dtype)


class FastTrunk:
    """Weights of a :class:`~wnet_arch.archs.wnet_arch.WNetTrunk` made ready, and its forward pass with them.

    Args:
        trunk: with LPF; its weights are not used again, so that changing them does not change this.
        dtype: of the computation.
    """

    def __init__(self, trunk: WNetTrunk, dtype: torch.dtype):
        # The casts say what wnet_prepared.is_as_built has found.
        self.dtype, self.skip = dtype, trunk.skip
        self.parsing = copy.deepcopy(trunk.parsing).to(dtype).to(memory_format=torch.channels_last)
        self.encoder_blocks, self.decoder_blocks = (
            copy.deepcopy(part).to(dtype).to(memory_format=torch.channels_last)
            for part in (trunk.encoder_blocks, trunk.decoder_blocks)
        )
        steps = [_Step.of(step) for step in trunk.pyramid]
        self.first = kernel_of(steps[0].conv).to(dtype)
        self.afters: list[Kernel | None] = [*(step.after(dtype) for step in steps[1:]), None]
        self.pyramid_fusions = list(self._fusions(steps, cast("list[LPF]", list(trunk.pyramid_fusions))))
        self.encoder_fusions = [Fusion(fusion, 1, None, dtype) for fusion in cast("list[LPF]", list(trunk.encoder_fusions))]
        downs, ups = (cast(list[nn.Sequential], list(part)) for part in (trunk.encoder_downs, trunk.decoder_ups))
        self.encoder_downs = [Kernel(*folding.downsampling(down)).to(dtype) for down in downs]
        self.decoder_ups = [UpsamplingKernel(*folding.upsampling(up)).to(dtype) for up in ups]
        self.to_rgb = kernel_of(trunk.to_rgb).to(dtype)

    def _fusions(self, steps: list[_Step], fusions: list[LPF]) -> Iterator[Fusion]:
        factor = 1
        for step, fusion in zip(steps, fusions):
            up = None
            if step.down is not None:
                factor = factor // 2
            elif step.up is not None:
                factor, up = factor * 2, UpsamplingKernel(*folding.upsampling(step.up))
            yield Fusion(fusion, factor, up, self.dtype)

    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) -> what ``to_rgb`` gives, and the parsing map, same shape, in the dtype of the computation."""
        image = image.to(self.dtype).contiguous(memory_format=torch.channels_last)
        parsing = self.parsing(image)
        features = F.conv2d(torch.cat([image, parsing], dim=1), *self.first, padding=1)
        for fusion, after in zip(self.pyramid_fusions, self.afters):
            features = fusion.run(features, parsing, after)

        skips = []
        for level, (down, blocks, fusion) in enumerate(zip(self.encoder_downs, self.encoder_blocks, self.encoder_fusions), 1):
            skips.append(features)
            features = blocks(F.conv2d(features, *down, stride=2))
            features = fusion.run(features, parsing[..., :: 2**level, :: 2**level])

        for up, blocks, skipped in zip(self.decoder_ups, self.decoder_blocks, reversed(skips)):
            enlarged = Enlarged(features, up)
            features = enlarged.rows(slice(None), 0, enlarged.size[0]).data
            features = blocks(features.add_(skipped) if self.skip else features)
        return F.conv2d(features, *self.to_rgb, padding=1), parsing
