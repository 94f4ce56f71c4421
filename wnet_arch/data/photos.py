"""Opens photos and label maps of any origin as plain arrays, or says in a few words why not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from wnet_arch.errors import DataError
from wnet_arch.faces import labels

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"))
#: Pillow's own limit; a picture of more pixels than this is a mistake or an attack.
MAX_PIXELS = 89_478_485
#: A photo must have at least this many pixels each way: the side of the smallest LR face.
MIN_SIDE = 16


class Rejected(Exception):
    """A photo cannot be used. ``reason`` is one of a few fixed phrases, ``detail`` says what is the case here."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)  # both, so that it can be pickled
        self.reason, self.detail = reason, detail


class Picture(NamedTuple):
    """A photo as it is shown: ``rgb`` uint8 (H, W, 3), upright; the ICC profile of these colours, if the file had one; the name
    that Pillow has for the file's format; what was changed in opening it, a few words each; and of a JPEG its quantisation
    tables, 64 numbers each, luminance first.
    """

    rgb: np.ndarray
    icc: bytes | None
    format: str
    notes: tuple[str, ...]
    tables: tuple[tuple[int, ...], ...] = ()


def load_photo(path: Path) -> np.ndarray:
    """Opens a photo upright (EXIF orientation applied) as RGB.

    Grey becomes RGB, 16 bits become 8, CMYK is converted without colour profile, transparent parts become white; of an
    animation the first picture is taken. What a file is, its content says, not its name.

    Returns:
        uint8 (H, W, 3).

    Raises:
        Rejected: ``empty file``, ``unreadable``, ``broken``, ``too large``, ``too small`` or ``pixel format``.
    """
    return load_picture(path).rgb


def load_picture(path: Path, min_side: int = MIN_SIDE) -> Picture:
    """Opens a photo as :func:`load_photo` does, with what is known about it.

    Args:
        path: of the file.
        min_side: it must have at least so many pixels each way.
    """
    with _rejecting(), _open(path) as opened:
        if min(opened.size) < min_side:
            raise Rejected("too small", f"{opened.width}x{opened.height}")
        notes = []
        if getattr(opened, "n_frames", 1) > 1:
            notes.append("the first of several pictures was taken")
        if opened.mode == "CMYK":
            notes.append("CMYK became RGB")
        kind, icc, tables = opened.format or "", _rgb_profile(opened), _tables(opened)
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            notes.append("16 bits became 8")
            return Picture(np.repeat(_eight_bit(image)[..., None], 3, axis=2), icc, kind, tuple(notes))
        if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            if image.getextrema()[3][0] < 255:
                notes.append("transparent parts became white")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return Picture(np.array(image.convert("RGB")), icc, kind, tuple(notes), tables)


def _rgb_profile(image: Image.Image) -> bytes | None:
    """The ICC profile, where it is one of RGB colours (bytes 16 to 19 of its header); others do not fit what the photo becomes."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None


def _tables(image: Image.Image) -> tuple[tuple[int, ...], ...]:
    """A JPEG's quantisation tables in the order of their numbers; none of other files."""
    found = getattr(image, "quantization", None) or {}
    return tuple(tuple(found[number]) for number in sorted(found))


def load_labels(folder: Path, photo: str, height: int, width: int) -> np.ndarray:
    """Opens the label map of a photo, see :func:`label_files`. A palette's colours are ignored: pixel values are classes.

    Masks of parts are joined in the order of the classes, later ones over earlier ones; where they are smaller than the photo
    by a whole factor, their pixels are repeated.

    Returns:
        uint8 (height, width), values 0..18 and 255.

    Raises:
        Rejected: ``label map`` with the detail: missing, broken, other size, other mode, or a value that is no class.
    """
    files = label_files(folder, photo)
    if not files:
        raise Rejected("no label map", f"{Path(photo).stem}.png")
    try:
        if _holds_parts(folder):
            return _join_parts(files, height, width)
        with _rejecting(), _open(files[0]) as image:
            return _checked_labels(image, files[0].name, height, width)
    except Rejected as error:
        if error.reason == "label map":
            raise
        raise Rejected("label map", f"{error.reason} {error.detail}".strip()) from error


def label_files(folder: Path, photo: str) -> list[Path]:
    """The files there are with the label map of a photo, none or more.

    One is ``STEM.png``. Several are CelebAMask-HQ's masks of parts, ``N/NNNNN_part.png`` with N = number / 2000, in the order of
    the classes; parts which a face does not have, have no file.
    """
    stem = Path(photo).stem
    paths = [folder / f"{stem}.png"]
    if _holds_parts(folder):
        number = int(stem) if stem.isascii() and stem.isdigit() else -1
        paths = [folder / str(number // 2000) / f"{number:05d}_{part}.png" for part in labels.NAMES[1:]]
    return [path for path in paths if path.is_file()]


@lru_cache(maxsize=4)
def _holds_parts(folder: Path) -> bool:
    return (folder / "0").is_dir()


def _checked_labels(image: Image.Image, name: str, height: int, width: int) -> np.ndarray:
    if image.mode not in ("P", "L"):
        raise Rejected("label map", f"has mode {image.mode}; one 8-bit channel of classes is wanted")
    if image.size != (width, height):
        raise Rejected("label map", f"is {image.width}x{image.height}, the photo {width}x{height}")
    try:
        return labels.check(np.array(image), name)
    except DataError as error:
        raise Rejected("label map", str(error).partition(": ")[2]) from error


def _join_parts(files: list[Path], height: int, width: int) -> np.ndarray:
    joined: np.ndarray | None = None
    for path in files:  # in the order of classes
        with _rejecting(), _open(path) as image:
            mask = np.array(image.convert("L")) > 0
        if joined is None:
            joined = np.zeros(mask.shape, np.uint8)
        if mask.shape != joined.shape:
            raise Rejected("label map", f"masks of {joined.shape[1]}x{joined.shape[0]} and {mask.shape[1]}x{mask.shape[0]}")
        joined[mask] = labels.NAMES.index(path.stem.partition("_")[2])
    factor = height // joined.shape[0]
    if not factor or (joined.shape[0] * factor, joined.shape[1] * factor) != (height, width):
        raise Rejected("label map", f"masks of {joined.shape[1]}x{joined.shape[0]}, the photo {width}x{height}")
    return joined.repeat(factor, 0).repeat(factor, 1)


@contextmanager
def _rejecting() -> Iterator[None]:
    """Whatever a decoder makes of a damaged file becomes a :class:`Rejected`. Warnings are not shown: there may be millions."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Rejected:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Rejected("too large", str(error).partition(",")[0]) from error
    except UnidentifiedImageError as error:
        raise Rejected("broken", "not a picture that Pillow can read") from error
    except OSError as error:
        if error.filename is not None:  # of the file system, not of a decoder
            raise Rejected("unreadable", error.strerror or "") from error
        raise Rejected("broken", _short(error)) from error
    except Exception as error:  # struct.error, KeyError, TypeError, ...: Pillow's decoders raise nearly anything
        raise Rejected("broken", _short(error)) from error


def _open(path: Path) -> Image.Image:
    """Opens and decodes a picture, complete or not at all."""
    if path.stat().st_size == 0:
        raise Rejected("empty file")
    image = Image.open(path)
    if image.width * image.height > MAX_PIXELS:
        raise Rejected("too large", f"{image.width}x{image.height}")
    image.load()
    return image


def _short(error: Exception) -> str:
    """What the error says, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _eight_bit(image: Image.Image) -> np.ndarray:
    """16-bit grey to 8 bit. Pillow opens it as ``I;16`` or ``I``, depending on version and file."""
    values = np.array(image)
    if image.mode.startswith("F") or values.min() < 0 or values.max() > 65535:
        raise Rejected("pixel format", f"mode {image.mode} beyond 16 bit")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
