"""W-Net for inference: the same function of the face, with half the multiplications and an eighth of the memory.

What is exact mathematics is exact here, so results differ by rounding only (float32: below 1e-4):

* Linear layers in a row become one (:mod:`wnet_arch.archs.folding`).
* Of the map that guides a fusion, enlarged to nearest neighbours, only five of the rows that each of its rows becomes differ
  after two 3x3 convolutions; one embeds and convolves those (:class:`Guide`).
* Large grids are processed in bands of rows that stay in the cache (:mod:`wnet_arch.archs.bands`). The global mean that
  channel attention needs of a whole map is computed beforehand from sums of the input.
* Everything is channels-last, sums are made in place.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wnet_arch.archs import folding
from wnet_arch.archs.bands import Rows, bands, mean_of_convolution, window_sums, window_sums_of_enlarged
from wnet_arch.archs.layers import Downsample, full_precision

#: Rows on which a row of LPF's result depends: two 3x3 convolutions, a 7x7 one and the first 3x3 one.
LPF_REACH = 6


@dataclass
class Kernel:
    """Weight and bias of a convolution, ready for use."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None

    def __iter__(self):
        return iter((self.weight, self.bias))

    def to(self, dtype: torch.dtype) -> Kernel:
        weight = self.weight.to(dtype).contiguous(memory_format=torch.channels_last)
        return Kernel(weight, None if self.bias is None else self.bias.to(dtype).contiguous())


def kernel_of(conv: nn.Conv2d) -> Kernel:
    return Kernel(conv.weight, conv.bias)


class Plain:
    """Features that are there already, as input of a level: (B, C, H, W)."""

    def __init__(self, features: torch.Tensor):
        self.features = features
        self.size = tuple(features.shape[-2:])

    def sums(self) -> torch.Tensor:
        return window_sums(self.features)

    def rows(self, image: slice, start: int, end: int) -> Rows:
        return Rows(self.features[image], 0, self.size[0]).crop(start, end)


class Enlarged:
    """Features (B, C, 2H, 2W) that an Upsample makes of (B, C, H, W), made when they are asked for."""

    def __init__(self, features: torch.Tensor, kernel: Kernel):
        self.features, self.kernel = features, kernel
        self.size = tuple(2 * side for side in features.shape[-2:])
        self.bias_rows: torch.Tensor | None = None

    def _bias_rows(self, width: int) -> torch.Tensor:
        """The bias of two rows of pixels, (2, W * C); adding whole rows is fast."""
        if self.bias_rows is None:
            self.bias_rows = self.kernel.bias.permute(1, 2, 0).repeat(1, width // 2, 1).flatten(1)
        return self.bias_rows

    def sums(self) -> torch.Tensor:
        return window_sums_of_enlarged(
            window_sums(self.features), tuple(self.features.shape[-2:]), self.kernel.weight, self.kernel.bias
        )

    def rows(self, image: slice, start: int, end: int) -> Rows:
        height, width = self.size
        start, end = max(start, 0), min(end, height)
        source = self.features[image, :, start // 2 : (end + 1) // 2]
        data = F.conv_transpose2d(source, self.kernel.weight, stride=2)
        data.permute(0, 2, 3, 1).flatten(2).unflatten(1, (-1, 2)).add_(self._bias_rows(width))
        return Rows(data, start // 2 * 2, height).crop(start, end)


class Guide:
    """What LPF makes of the parsing map alone: F'_parsing, and all that reaches the result without the features.

    A map enlarged ``factor`` times to nearest neighbours consists of blocks of equal pixels. After two 3x3 convolutions the
    first two and last two rows of a block differ from the rest, and those do not differ from each other. So the map
    is enlarged five times at most, convolved, and the rows and columns in the middle repeated.

    Args:
        fusion: the weights.
        parsing: (B, 3, h, w).
        size: of the features, a multiple of (h, w).
    """

    MOST = 5

    def __init__(self, fusion: Fusion, parsing: torch.Tensor, size: tuple[int, int]):
        self.fusion = fusion
        self.map = torch.cat([parsing, torch.ones_like(parsing[:, :1])], dim=1)
        self.map = self.map.contiguous(memory_format=torch.channels_last)
        self.factor = size[0] // parsing.shape[2]
        self.kept = min(self.factor, self.MOST)
        self.row_places, self.column_places = (self._places(side, parsing.device) for side in size)

    def _places(self, side: int, device: torch.device) -> torch.Tensor:
        """For each of the enlarged map's rows the one of the lesser enlargement that is equal to it."""
        block, row = (torch.arange(side, device=device) // self.factor, torch.arange(side, device=device) % self.factor)
        from_end = row - self.factor + self.kept
        return block * self.kept + torch.where(from_end > self.kept // 2, from_end, row.clamp(max=self.kept // 2))

    def rows(self, image: slice, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows ``start`` to ``end`` of F'_parsing and of the sum, each (B, C, end - start, W)."""
        first, last = start // self.factor, -(-end // self.factor)
        reach = -(-2 // self.kept)
        blocks = Rows(self.map[image], 0, self.map.shape[2]).crop(first - reach, last + reach)
        small = F.interpolate(blocks.data, scale_factor=float(self.kept), mode="nearest")
        guide = Rows(small, blocks.first * self.kept, blocks.height * self.kept)
        guide = guide.crop(first * self.kept - 2, last * self.kept + 2)

        convolved = guide.convolved(*self.fusion.guide)
        rest = convolved.convolved(*self.fusion.fuse1_guide).crop(first * self.kept, last * self.kept)
        convolved, guide = (rows.crop(rest.first, rest.end) for rows in (convolved, guide))
        rest.data.add_(convolved.data).add_(F.conv2d(guide.data, *self.fusion.fuse2_guide))
        rows = self.row_places[start:end] - rest.first
        return self._repeated(convolved.data, rows), self._repeated(rest.data, rows)

    def _repeated(self, data: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        pixels = data.permute(0, 2, 3, 1)
        if self.kept < self.factor:
            pixels = pixels.index_select(2, self.column_places)
        return pixels.index_select(1, rows).permute(0, 3, 1, 2)


class Fusion:
    """LPF, equations 9 to 11, with what follows it in the same pass over the image.

    Args:
        lpf: the module.
        dtype: of the computation; sums over the whole image stay in float32.
    """

    def __init__(self, lpf: nn.Module, dtype: torch.dtype):
        channels = lpf.embed.out_channels
        embed = torch.cat([lpf.embed.weight, lpf.embed.bias[:, None, None, None]], dim=1)
        fuse1 = lpf.conv_fuse1.weight
        self.lr1_mean = Kernel(lpf.conv_lr1.weight, lpf.conv_lr1.bias)
        self.gate = copy.deepcopy(lpf.channel_attention.gate)
        self.lr1, self.lr2, self.att, self.pixel = (
            kernel_of(conv).to(dtype) for conv in (lpf.conv_lr1, lpf.conv_lr2, lpf.conv_att, lpf.pixel_attention.conv)
        )
        self.spatial = Kernel(lpf.spatial_attention.conv.weight).to(dtype)
        self.fuse1, self.fuse2 = (Kernel(weight).to(dtype) for weight in (fuse1[:, :channels], lpf.conv_fuse2.weight))
        self.guide = Kernel(folding.embedded_convolution(lpf.embed, lpf.conv_parsing), lpf.conv_parsing.bias).to(dtype)
        self.fuse1_guide = Kernel(fuse1[:, channels:], lpf.conv_fuse1.bias).to(dtype)
        self.fuse2_guide = Kernel(folding.compose(lpf.conv_fuse2.weight, embed), lpf.conv_fuse2.bias).to(dtype)

    def run(self, source: Plain | Enlarged, parsing: torch.Tensor, after: Kernel | None = None) -> torch.Tensor:
        """Fuses features with the map, and applies the convolution ``after``: 3x3, or 4x4 with stride 2."""
        height, width = source.size
        guide = Guide(self, parsing, source.size)
        gate = self.channel_gate(source).to(parsing.dtype)
        stride = 1 if after is None or after.weight.shape[-1] == 3 else 2
        batch, channels = len(parsing), self.lr1.weight.shape[0]
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
        mean = mean_of_convolution(source.sums(), source.size, *self.lr1_mean)
        return self.gate(mean[:, :, None, None].to(self.lr1_mean.weight.dtype))

    def _band(self, source, guide, gate, after, image, start: int, end: int) -> torch.Tensor:
        if after is None:
            return self._rows(source, guide, gate, image, start, end).data
        if after.weight.shape[-1] == 3:
            return self._rows(source, guide, gate, image, start - 1, end + 1).convolved(*after).crop(start, end).data
        # One row more than needed above, so that the convolution's own padding is right at the border and elsewhere.
        rows = self._rows(source, guide, gate, image, start - 2, end + 2)
        halved = F.conv2d(rows.data, *after, stride=2, padding=1)
        above = (start - rows.first) // 2
        return halved[:, :, above : above + (end - start) // 2]

    def _rows(self, source, guide, gate, image, start: int, end: int) -> Rows:
        """Rows of F_fused (equation 11) from ``start`` to ``end``, those outside the image left out."""
        height = source.size[0]
        start, end = max(start, 0), min(end, height)
        features = source.rows(image, start - LPF_REACH, end + LPF_REACH)
        attended = self._attended(features.convolved(*self.lr1), gate, start, end)
        lr2 = features.crop(start - 1, end + 1).convolved(*self.lr2).crop(start, end)
        parsing, rest = guide.rows(image, start, end)
        sigma = F.conv2d(lr2.data + parsing, *self.pixel).sigmoid_()
        pixel = torch.lerp(parsing, lr2.data, sigma, out=sigma).add_(features.crop(start, end).data)
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


class FastTrunk:
    """Weights of a :class:`~wnet_arch.archs.wnet_arch.WNetTrunk` made ready, and its forward pass with them.

    Args:
        trunk: with LPF; its weights are not used again, so that changing them does not change this.
        dtype: of the computation.
    """

    def __init__(self, trunk: nn.Module, dtype: torch.dtype):
        self.dtype, self.skip = dtype, trunk.skip
        self.parsing, self.encoder_blocks, self.decoder_blocks = (
            copy.deepcopy(part).to(dtype=dtype, memory_format=torch.channels_last)
            for part in (trunk.parsing, trunk.encoder_blocks, trunk.decoder_blocks)
        )
        steps = [step if isinstance(step, nn.Sequential) else [step] for step in trunk.pyramid]
        self.first = kernel_of(steps[0][0]).to(dtype)
        self.ups = [self._upsampling(step[1]) if len(step) == 2 and not self._halves(step) else None for step in steps]
        self.afters = [self._after(step) for step in steps[1:]] + [None]
        self.pyramid_fusions, self.encoder_fusions = (
            [Fusion(fusion, dtype) for fusion in fusions] for fusions in (trunk.pyramid_fusions, trunk.encoder_fusions)
        )
        self.encoder_downs = [Kernel(*folding.downsampling(down)).to(dtype) for down in trunk.encoder_downs]
        self.decoder_ups = [self._upsampling(up) for up in trunk.decoder_ups]
        self.to_rgb = kernel_of(trunk.to_rgb).to(dtype)

    @staticmethod
    def _halves(step: nn.Sequential) -> bool:
        return isinstance(step[1], Downsample)

    def _upsampling(self, up: nn.Sequential) -> Kernel:
        return Kernel(*folding.upsampling(up)).to(self.dtype)

    def _after(self, step: nn.Sequential) -> Kernel:
        """What a step of the pyramid does in the pass of the fusion before it."""
        if self._halves(step):
            return Kernel(*folding.convolution_and_downsampling(*step)).to(self.dtype)
        return kernel_of(step[0]).to(self.dtype)

    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) -> what ``to_rgb`` gives, and the parsing map, same shape, in the dtype of the computation."""
        image = image.to(self.dtype).contiguous(memory_format=torch.channels_last)
        parsing = self.parsing(image)
        features = F.conv2d(torch.cat([image, parsing], dim=1), *self.first, padding=1)
        for up, fusion, after in zip(self.ups, self.pyramid_fusions, self.afters):
            features = fusion.run(Enlarged(features, up) if up else Plain(features), parsing, after)

        skips = []
        for level, (down, blocks, fusion) in enumerate(zip(self.encoder_downs, self.encoder_blocks, self.encoder_fusions), 1):
            skips.append(features)
            features = blocks(F.conv2d(features, *down, stride=2))
            features = fusion.run(Plain(features), parsing[..., :: 2**level, :: 2**level])

        for up, blocks, skipped in zip(self.decoder_ups, self.decoder_blocks, reversed(skips)):
            enlarged = Enlarged(features, up)
            features = enlarged.rows(slice(None), 0, enlarged.size[0]).data
            features = blocks(features.add_(skipped) if self.skip else features)
        return F.conv2d(features, *self.to_rgb, padding=1), parsing


class Prepared:
    """Keeps the :class:`FastTrunk` of a trunk for as long as no weight changes. Not copied or pickled along with it."""

    def __init__(self):
        self.made_for: tuple | None = None
        self.fast: FastTrunk | None = None

    def of(self, trunk: nn.Module, dtype: torch.dtype) -> FastTrunk:
        now = (dtype, *((tensor.data_ptr(), tensor._version, tensor.device) for tensor in _tensors(trunk)))
        if now != self.made_for:
            with torch.inference_mode(False), torch.no_grad():
                self.made_for, self.fast = now, FastTrunk(trunk, dtype)
        return self.fast

    def __deepcopy__(self, memo) -> Prepared:
        return Prepared()

    def __reduce__(self):
        return Prepared, ()


def _tensors(module: nn.Module):
    yield from module.parameters()
    yield from module.buffers()


def can_be_fast(trunk: nn.Module, image: torch.Tensor) -> bool:
    """Whether :func:`forward` may stand for the trunk's own forward pass.

    Not when gradients are kept, batch statistics are wanted, the modules themselves are watched or traced (hooks, export,
    compilation), or weights are of several types; nor for the ablation without LPF.
    """
    if torch.is_grad_enabled() or trunk.training or not trunk.with_lpf or image.device.type not in ("cpu", "cuda"):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or image.dtype not in _TYPES:
        return False
    if any(tensor.is_inference() for tensor in _tensors(trunk)):
        return False
    kinds = {(parameter.dtype, parameter.device) for parameter in trunk.parameters()}
    return kinds == {(image.dtype, image.device)} and not any(
        module.training or module._forward_hooks or module._forward_pre_hooks for module in trunk.modules()
    )


_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def forward(trunk: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The trunk's output and parsing map, both (B, 3, H, W), in the image's dtype.

    Under autocast the computation is in its dtype, from the first layer to the last.
    """
    device = image.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else image.dtype
    with full_precision(image.device):
        residual, parsing = trunk.prepared.of(trunk, dtype)(image)
    return residual.to(image.dtype), parsing.to(image.dtype)
