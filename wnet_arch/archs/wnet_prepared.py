"""Whether W-Net's fast form (:mod:`wnet_arch.archs.wnet_inference`) may stand for its modules, and with which weights.

It may where the result is that of the modules called one by one, rounding apart: every module is of the network's own classes,
none is watched, and those whose weights are read instead are what
:class:`~wnet_arch.archs.wnet_inference.FastTrunk` takes them for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import torch
from torch import nn

from wnet_arch.archs.layers import ChannelAttention, Downsample, PixelAttention, SpatialAttention, Upsample, full_precision
from wnet_arch.archs.ops.as_built import Contents, Watch, is_conv, is_norm, is_weight, untouched
from wnet_arch.archs.wnet_blocks import LPF, PARSING_CHANNELS
from wnet_arch.archs.wnet_inference import FastTrunk

if TYPE_CHECKING:
    from wnet_arch.archs.wnet_arch import WNetTrunk

_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class _Made(NamedTuple):
    """What was found and made of a trunk for an image's dtype and device; ``fast`` is ``None`` where it may not stand for it."""

    key: tuple
    watch: Watch
    contents: Contents | None = None
    fast: FastTrunk | None = None

    def holds(self, trunk: nn.Module, key: tuple) -> bool:
        return (
            self.watch.modules[0] is trunk
            and self.key == key
            and self.watch.unchanged()
            and not (self.contents and self.contents.written())
        )


class Prepared:
    """Keeps the :class:`FastTrunk` of a trunk for as long as neither a module nor a weight changes. Not copied or pickled."""

    def __init__(self):
        self.made: _Made | None = None

    @property
    def fast(self) -> FastTrunk | None:
        """What stood for the trunk last, if anything did."""
        return self.made.fast if self.made else None

    def run(self, trunk: WNetTrunk, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The trunk's output and parsing map, both (B, 3, H, W), in the image's dtype; ``None`` where its modules must be called.

        That is when gradients are kept, batch statistics are wanted, the modules themselves are watched or traced (hooks, export,
        compilation, tensors of another class), or a part was exchanged. Under autocast the computation is in its dtype, from the
        first layer to the last.
        """
        device = image.device
        if torch.is_grad_enabled() or trunk.training or device.type not in ("cpu", "cuda"):
            return None
        if type(image) is not torch.Tensor or _is_traced(device):
            return None
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else image.dtype
        with full_precision(device):
            made = self._of(trunk, image, dtype)
            fast, contents = made.fast, made.contents
            if fast is None or contents is None:
                return None
            written = contents.comparison()
            result = fast(image) if device.type == "cuda" else None  # compares while it computes
            if written():
                fast, result = self._make(trunk, image, dtype).fast, None
                if fast is None:
                    return None
            output, parsing = result or fast(image)
        return output.to(image.dtype), parsing.to(image.dtype)

    def _of(self, trunk: WNetTrunk, image: torch.Tensor, dtype: torch.dtype) -> _Made:
        made = self.made
        return made if made and made.holds(trunk, (image.dtype, image.device, dtype)) else self._make(trunk, image, dtype)

    def _make(self, trunk: WNetTrunk, image: torch.Tensor, dtype: torch.dtype) -> _Made:
        key, tensors = (image.dtype, image.device, dtype), [*trunk.parameters(), *trunk.buffers()]
        made = _Made(key, Watch(trunk))
        as_built = is_as_built(trunk)
        if as_built and _fit(tensors, image):
            with torch.inference_mode(False), torch.no_grad():
                made = made._replace(contents=Contents(tensors), fast=FastTrunk(trunk, dtype))
        self.made = made if made.fast or not as_built else None  # tensors may be moved and converted behind a watch's back
        return made

    def __deepcopy__(self, memo) -> Prepared:
        return Prepared()

    def __reduce__(self):
        return Prepared, ()


def _is_traced(device: torch.device) -> bool:
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _fit(tensors: list[torch.Tensor], image: torch.Tensor) -> bool:
    """Whether weights are of the image's device and dtype, which is one to compute in, and writes to them are counted."""
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors if type(tensor) is nn.Parameter}
    return image.dtype in _TYPES and kinds == {(image.dtype, image.device)} and not any(tensor.is_inference() for tensor in tensors)


def is_as_built(trunk: WNetTrunk) -> bool:
    """Whether :class:`FastTrunk` computes what the trunk's modules do.

    The Parsing Block and the SCABs are called, so it is enough that their classes are known. The weights of all else are read.
    """
    modules = list(trunk.modules())
    if not untouched(*modules) or any(module.training for module in modules) or not all(map(is_weight, trunk.parameters())):
        return False
    if trunk.encoder_order != "down_first" or not is_conv(trunk.to_rgb, 3, None, 3):
        return False
    channels = trunk.to_rgb.weight.shape[1]
    pairs = ((trunk.pyramid, trunk.pyramid_fusions), (trunk.encoder_downs, trunk.encoder_blocks, trunk.encoder_fusions))
    if any(len({len(part) for part in parts}) != 1 for parts in (*pairs, (trunk.decoder_ups, trunk.decoder_blocks))):
        return False
    return (
        _is_pyramid(trunk.pyramid, channels)
        and all(is_lpf(fusion, channels) for fusion in (*trunk.pyramid_fusions, *trunk.encoder_fusions))
        and all(is_downsample(down, channels) for down in trunk.encoder_downs)
        and all(is_upsample(up, channels) for up in trunk.decoder_ups)
    )


def _is_pyramid(steps: nn.ModuleList, channels: int) -> bool:
    """A convolution, or convolutions each with an Upsample, then as many each with a Downsample."""
    if len(steps) == 1:
        return is_conv(steps[0], 3, 6, channels)
    pairs = [step for step in steps if type(step) is nn.Sequential and len(step) == 2]
    if len(pairs) != len(steps) or len(steps) % 2:
        return False
    middle = len(steps) // 2
    return (
        is_conv(pairs[0][0], 3, 6, channels)
        and all(is_conv(step[0], 3, channels, channels) for step in pairs[1:])
        and all(is_upsample(step[1], channels) for step in pairs[:middle])
        and all(is_downsample(step[1], channels) for step in pairs[middle:])
    )


def is_upsample(up: nn.Module, channels: int) -> bool:
    """Whether a module is an Upsample of convolution, pixel shuffle and batch normalisation, as built for ``channels``."""
    if type(up) is not Upsample or len(up) != 3:
        return False
    conv, shuffle, norm = up
    if type(shuffle) is not nn.PixelShuffle or shuffle.upscale_factor != 2:
        return False
    return is_conv(conv, 1, channels, 4 * channels) and is_norm(norm, channels)


def is_downsample(down: nn.Module, channels: int) -> bool:
    """Whether a module is a Downsample of pixel unshuffle, convolution and batch normalisation, as built for ``channels``."""
    if type(down) is not Downsample or len(down) != 3:
        return False
    shuffle, conv, norm = down
    if type(shuffle) is not nn.PixelUnshuffle or shuffle.downscale_factor != 2:
        return False
    return is_conv(conv, 1, 4 * channels, channels) and is_norm(norm, channels)


def is_lpf(fusion: nn.Module, channels: int) -> TypeGuard[LPF]:
    """Whether a module is an LPF whose layers are all as built for ``channels``."""
    if type(fusion) is not LPF:
        return False
    channel, spatial, pixel = fusion.channel_attention, fusion.spatial_attention, fusion.pixel_attention
    if (type(channel), type(spatial), type(pixel)) != (ChannelAttention, SpatialAttention, PixelAttention):
        return False
    same_size = (fusion.conv_lr1, fusion.conv_lr2, fusion.conv_parsing, fusion.conv_att)
    return (
        is_conv(fusion.embed, 1, PARSING_CHANNELS, channels)
        and all(is_conv(layer, 3, channels, channels) for layer in same_size)
        and is_conv(fusion.conv_fuse1, 3, 2 * channels, channels)
        and is_conv(fusion.conv_fuse2, 1, channels, channels)
        and is_conv(spatial.conv, 7, 2, 1, bias=False)
        and is_conv(pixel.conv, 1, channels, channels)
        and channel.takes_means()
        and [type(layer) for layer in channel.gate][1:] == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.Sigmoid]
        and is_conv(channel.gate[1], 1, channels)
        and is_conv(channel.gate[3], 1, None, channels)
    )
