"""Bicubic enlargement of 8-bit images, equal to Pillow's bit for bit, on every device and in every exported format."""

from __future__ import annotations

from typing import cast

import torch

#: Pillow keeps the weights of its filters as whole numbers, in units of 2 ** -22.
_UNIT = 1 << 22
#: Products of 8-bit values with such weights do not fit into the 24 bits of a float32. In two parts of 11 bits each they do.
_PART = 1 << 11
#: Pixels that the filter sees.
_TAPS = 4
#: Filters by size and scale. A plain dictionary, since torch.compile warns of lru_cache.
_FILTERS: dict[tuple[int, int], tuple] = {}
#: The same as tensors, by device and type too: making them anew would let a GPU wait for 24 small copies in every forward pass.
_TENSORS: dict[tuple, tuple[tuple[torch.Tensor, ...], ...]] = {}


def enlarge(lq: torch.Tensor, scale: int) -> torch.Tensor:
    """Enlarges as Pillow's bicubic filter enlarges 8-bit images: along rows, then along columns, rounded to 8 bit after each.

    Networks of the "enlarged input" kind are trained and tested on such images. torch's own filter rounds halves to even, where
    Pillow rounds them up, and along the border only the noise of the arithmetic decides what is a half; so all sums here are of
    whole numbers, which neither the order of summation nor the device changes.

    Args:
        lq: (B, C, h, w), float, [0, 1]; what lies between two 8-bit values is rounded to the nearer.
        scale: whole factor.

    Returns:
        (B, C, scale * h, scale * w), multiples of 1/255 in [0, 1], dtype of ``lq``.
    """
    wide = lq if lq.dtype == torch.float64 else lq.float()
    image = _enlarge_along(_enlarge_along((wide * 255).round(), scale, -1), scale, -2)
    return image.div(255).to(lq.dtype)


def _enlarge_along(image: torch.Tensor, scale: int, dim: int) -> torch.Tensor:
    """Enlarges 8-bit values (whole numbers as floats) along one side, and rounds."""
    shape = (-1, 1) if dim == -2 else (-1,)
    high = low = cast(torch.Tensor, 0)  # of no shape yet
    for places, coarse, fine in _tensors(image, int(image.shape[dim]), scale):
        pixels = image.index_select(dim, places)
        high = high + pixels * coarse.view(shape)
        low = low + pixels * fine.view(shape)
    # floor((high * _PART + low) / _UNIT + 1/2), the fine part first
    return ((high + (low / _PART + _PART / 2).floor()) / _PART).floor().clamp(0, 255)


def _tensors(image: torch.Tensor, size: int, scale: int) -> tuple[tuple[torch.Tensor, ...], ...]:
    """The filter on the device and in the type of an image, made once. What traces or compiles gets its own: constants to it."""
    key = size, scale, image.device, image.dtype
    is_plain = type(image) is torch.Tensor and not torch.compiler.is_compiling() and not torch.jit.is_tracing()
    if is_plain and key in _TENSORS:
        return _TENSORS[key]
    with torch.inference_mode(False):  # tensors of inference could not take part in a training later
        made = tuple(
            (
                torch.tensor(places, device=image.device),
                *(torch.tensor(weights, dtype=image.dtype, device=image.device) for weights in (coarse, fine)),
            )
            for places, coarse, fine in _filter(size, scale)
        )
    if is_plain and type(made[0][0]) is torch.Tensor:
        _TENSORS[key] = made
    return made


def _filter(size: int, scale: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For each of the filter's pixels: where it is, of every pixel of the result, and the coarse and fine part of its weight."""
    if (size, scale) not in _FILTERS:
        taps = [_taps(index, size, scale) for index in range(size * scale)]
        _FILTERS[size, scale] = tuple(tuple(zip(*(pixel[number] for pixel in taps))) for number in range(_TAPS))
    return _FILTERS[size, scale]


def _taps(index: int, size: int, scale: int) -> list[tuple[int, int, int]]:
    """Place, coarse and fine weight of the pixels from which pixel ``index`` of the result is made; fewer along the border."""
    centre = (index + 0.5) / scale
    first, last = max(int(centre - 1.5), 0), min(int(centre + 2.5), size)
    weights = [_cubic(place + 0.5 - centre) for place in range(first, last)]
    whole = [round(weight / sum(weights) * _UNIT) for weight in weights] + [0] * (_TAPS - len(weights))
    return [(min(first + n, size - 1), *divmod(weight, _PART)) for n, weight in enumerate(whole)]


def _cubic(x: float) -> float:
    """Keys' cubic convolution kernel with a = -0.5 (torch's default, a = -0.75, is another filter)."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((2.5 - 0.5 * x) * x - 4) * x + 2 if x < 2 else 0.0
