"""Pictures of more than 8 bits a channel become 8: by the range that their values have, as files do not say it reliably."""

from __future__ import annotations

import re
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from wnet_arch.data.rejected import Rejected

#: Depths of scanners and cameras, which all store their values in 16 or 32 bits.
_DEPTHS = (8, 10, 12, 14, 16)
#: Pillow's names for 16-bit colours as they lie in a file; it keeps the upper 8 bits of each.
_DEEP = re.compile(r"'(RGB|RGBA|RGBX|LA);16[BLN]")
#: Its name for grey values of 16 bits that it takes as they are, and a TIFF's tag that says whether 0 is white or black.
_AS_IT_LIES, _PHOTOMETRIC = re.compile(r"'I;16[BLN]?'"), 262
#: A picture is nearly black or white where this share of its pixels is within this many grey levels of it.
_SHARE, _LEVELS = 0.99, 16


class Stored(NamedTuple):
    """How the values of a picture lie in its file.

    Attributes:
        deep: colours have 16 bits.
        scaled: the format states its largest value, and Pillow scales by it: 65535 is white, whatever the content.
        negative: 0 is white, and Pillow leaves the values as they are, as it does with scanners' TIFFs of 16 bits.
    """

    deep: bool
    scaled: bool
    negative: bool


def how_stored(image: Image.Image) -> Stored:
    """Of a picture that is open, and not decoded yet."""
    tiles = getattr(image, "tile", ())
    ppm = any(tile[0] == "ppm" and tile[3][0] == "RGB" and tile[3][1] == 65535 for tile in tiles)
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    return Stored(
        ppm or any(_DEEP.search(repr(tile[3])) for tile in tiles),
        any(str(tile[0]).startswith("ppm") for tile in tiles),
        white_is_zero and any(_AS_IT_LIES.search(repr(tile[3])) for tile in tiles),
    )


def eight_bit_grey(image: Image.Image, stored: Stored) -> tuple[Image.Image, str]:
    """A picture of mode ``I``, ``I;16`` or ``F`` as one of mode ``L``, and a note.

    Raises:
        Rejected: ``pixel format``: values of no known range.
    """
    if image.mode.startswith("F"):
        raise Rejected("pixel format", "floating-point values, whose range the file does not state; save it with 8 or 16 bits")
    values = np.array(image).astype(np.int64)
    bits, high = 16 if stored.scaled else _bits(values), int(values.max())
    if stored.negative:
        values = (1 << bits) - 1 - values
    return Image.fromarray(_reduced(values, bits)), _note(bits, high)


def eight_bit_colours(data: bytes, image: Image.Image) -> tuple[Image.Image, str]:
    """A picture of 16 bits a channel as one of 8, and a note.

    Args:
        data: its file.
        image: what Pillow has made of it: the upper 8 bits of each value.

    Raises:
        Rejected: ``pixel format``: values of no known range.
    """
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # of what Pillow was content with
        values = None
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[1::-1] != image.size:
        return _upper_bits(image)
    colours = values[..., 2::-1].astype(np.int64)
    bits = _bits(colours)
    found = _reduced(colours, bits)
    if values.shape[2] == 4:  # opacity always has the whole range
        found = np.dstack([found, _reduced(values[..., 3].astype(np.int64), 16)])
    return Image.fromarray(found), _note(bits, int(colours.max()))


def _upper_bits(image: Image.Image) -> tuple[Image.Image, str]:
    """Where the lower bits cannot be had, a picture that needs them is refused."""
    channels = image.split()[: 1 if image.mode == "LA" else 3]
    largest = max(int(np.asarray(channel).max()) for channel in channels)
    if largest < 1 << 6:
        raise Rejected("pixel format", "16 bits of which the upper two are empty; save it with 8 bits")
    return image, _note(16, 65535)


def _bits(values: np.ndarray) -> int:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise Rejected("pixel format", f"values from {low} to {high}, beyond 16 bit")
    return next(bits for bits in _DEPTHS if high < 1 << bits)


def _reduced(values: np.ndarray, bits: int) -> np.ndarray:
    most = (1 << bits) - 1
    return ((values * 255 + most // 2) // most).astype(np.uint8)


def _note(bits: int, high: int) -> str:
    return "16 bits became 8" if bits == 16 else f"no value is above {high}, so they were taken as values of {bits} bits"


def extreme(rgb: np.ndarray) -> str:
    """``nearly black`` or ``nearly white`` for a picture, uint8 (H, W, 3), in which nothing can be seen; else nothing."""
    step = max(1, int((rgb.shape[0] * rgb.shape[1] / 1_000_000) ** 0.5))
    some = rgb[::step, ::step]
    if (some.max(axis=2) < _LEVELS).mean() > _SHARE:
        return "nearly black"
    return "nearly white" if (some.min(axis=2) > 255 - _LEVELS).mean() > _SHARE else ""
