"""Opens photos and label maps of any origin as plain arrays, or says in a few words why not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from wnet_arch.errors import DataError
from wnet_arch.faces import labels

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"))
#: Pillow's own limit; a picture of more pixels than this is a mistake or an attack.
MAX_PIXELS = 89_478_485


class Rejected(Exception):
    """A photo cannot be used. ``reason`` is one of a few fixed phrases, ``detail`` says what is the case here."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)  # both, so that it can be pickled
        self.reason, self.detail = reason, detail


def load_photo(path: Path) -> np.ndarray:
    """Opens a photo upright (EXIF orientation applied) as RGB.

    Grey becomes RGB, 16 bits become 8, CMYK is converted without colour profile, transparent parts become white; of an
    animation the first picture is taken.

    Returns:
        uint8 (H, W, 3).

    Raises:
        Rejected: ``empty file``, ``broken``, ``too large`` or ``pixel format``.
    """
    image = ImageOps.exif_transpose(_open(path))
    if image.mode.startswith(("I", "F")):
        return np.repeat(_eight_bit(image)[..., None], 3, axis=2)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def load_labels(path: Path, height: int, width: int) -> np.ndarray:
    """Opens the label map of a photo. A palette's colours are ignored: pixel values are classes.

    Returns:
        uint8 (height, width), values 0..18 and 255.

    Raises:
        Rejected: ``label map`` with the detail: missing, broken, other size, other mode, or a value that is no class.
    """
    if not path.is_file():
        raise Rejected("no label map", path.name)
    try:
        image = _open(path)
    except Rejected as error:
        raise Rejected("label map", f"{error.reason} {error.detail}".strip()) from error
    if image.mode not in ("P", "L"):
        raise Rejected("label map", f"has mode {image.mode}; one 8-bit channel of classes is wanted")
    if image.size != (width, height):
        raise Rejected("label map", f"is {image.width}x{image.height}, the photo {width}x{height}")
    try:
        return labels.check(np.array(image), path.name)
    except DataError as error:
        raise Rejected("label map", str(error).partition(": ")[2]) from error


def _open(path: Path) -> Image.Image:
    """Opens and decodes a picture, complete or not at all."""
    try:
        if path.stat().st_size == 0:
            raise Rejected("empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked here, at half of Pillow's limit
            image = Image.open(path)
        if image.width * image.height > MAX_PIXELS:
            raise Rejected("too large", f"{image.width}x{image.height}")
        image.load()
    except Image.DecompressionBombError as error:
        raise Rejected("too large", str(error).partition(",")[0]) from error
    except UnidentifiedImageError as error:
        raise Rejected("broken", "not a picture that Pillow can read") from error
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        raise Rejected("broken", str(error)) from error
    return image


def _eight_bit(image: Image.Image) -> np.ndarray:
    """16-bit grey to 8 bit. Pillow opens it as ``I;16`` or ``I``, depending on version and file."""
    values = np.array(image)
    if image.mode.startswith("F") or values.min() < 0 or values.max() > 65535:
        raise Rejected("pixel format", f"mode {image.mode} beyond 16 bit")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
