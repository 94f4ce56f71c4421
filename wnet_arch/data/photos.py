"""Opens photos and label maps of any origin as plain arrays, or says in a few words why not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from wnet_arch import photo_formats as formats
from wnet_arch.data import depth, extras
from wnet_arch.data.rejected import Rejected
from wnet_arch.errors import DataError
from wnet_arch.faces import labels

#: Errors that no other way of reading a file can help.
_FINAL = (Rejected, MemoryError, Image.DecompressionBombError)
#: Pillow's own limit; a picture of more pixels than this is a mistake or an attack.
MAX_PIXELS = 89_478_485
#: A photo must have at least this many pixels each way: the side of the smallest LR face.
MIN_SIDE = 16

__all__ = ["MAX_PIXELS", "MIN_SIDE", "Picture", "Rejected", "load_labels", "load_map", "load_photo", "load_picture", "photo_size"]


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


class _Opened(NamedTuple):
    """A decoded picture, not upright yet. ``stored``: how its values lie in the file."""

    image: Image.Image
    stored: depth.Stored
    notes: tuple[str, ...] = ()


def load_photo(path: Path) -> np.ndarray:
    """Opens a photo upright (EXIF orientation applied) as RGB. Every command and data set opens photos by this rule.

    Grey becomes RGB, CMYK is converted without colour profile, transparent parts become white; of an animation the first picture is
    taken. Values of more than 8 bits become 8 by the range that they have. What a file is, its content says, not its name. What is
    broken beside the pixels (EXIF, XMP, ICC, texts, thumbnails) is left out.

    Returns:
        uint8 (H, W, 3).

    Raises:
        Rejected: ``empty file``, ``unreadable``, ``broken``, ``too large``, ``too small`` or ``pixel format``.
    """
    return load_picture(path).rgb


def load_picture(source: Path | bytes, min_side: int = MIN_SIDE, partial: bool = False) -> Picture:
    """Opens a photo as :func:`load_photo` does, with what is known about it.

    Args:
        source: the file, or what it holds.
        min_side: least pixels each way.
        partial: of a file that is cut off or damaged, take what is there, with a note; otherwise it is ``broken``.
    """
    with _rejecting(source):
        opened = _decoded(source, partial)
        if min(opened.image.size) < min_side:
            raise Rejected("too small", f"{opened.image.width}x{opened.image.height}")
        return _picture(source, opened)


def photo_size(source: Path | bytes) -> tuple[int, int]:
    """(height, width) of a photo as it is shown, from the head of its file where that is whole.

    Raises:
        Rejected: as :func:`load_photo`.
    """
    with _rejecting(source):
        try:
            with _open(source) as image:
                tags = getattr(image, "tag_v2", {})  # newer Pillows open a TIFF with the size it has upright
                width, height = tags.get(256, image.width), tags.get(257, image.height)
                if width == height:  # whichever way it is turned, which of a PNG is known at its end only
                    return height, width
                turn, _ = extras.orientation(image)
        except _FINAL:
            raise
        except Exception:  # of a broken text, say
            return load_picture(source).rgb.shape[:2]
        return (width, height) if turn >= 5 else (height, width)


def _picture(source: Path | bytes, opened: _Opened) -> Picture:
    image, notes = opened.image, list(opened.notes)
    if image.mode == "CMYK":
        notes.append("CMYK became RGB")
    turn, has_exif = extras.orientation(image)
    icc, has_icc = extras.rgb_profile(image)
    if not has_exif:
        notes.append("its EXIF is broken and was left out")
    if not has_icc:
        notes.append("its colour profile is broken and was left out")
    kind, tables, flat = image.format or "", _tables(image), image
    if image.mode.startswith(("I", "F")):
        flat, note = depth.eight_bit_grey(image, opened.stored)
        notes.append(note)
    elif opened.stored.deep:
        flat, note = depth.eight_bit_colours(_bytes(source), image)
        notes.append(note)
    flat, is_clear = _on_white(flat)
    if is_clear:
        notes.append("transparent parts became white")
    rgb = np.array(extras.upright(flat.convert("RGB"), turn))
    if _holds_several(image):
        notes.insert(0, "the first of several pictures was taken")
    found = depth.extreme(rgb)
    if found:
        notes.append(f"the photo is {found}")
    return Picture(rgb, icc, kind, tuple(notes), tables)


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture without transparency, and whether it had transparent parts."""
    if image.mode not in ("LA", "PA", "RGBA", "La", "RGBa") and "transparency" not in image.info:
        return image, False
    image = image.convert("RGBA")
    lowest, _ = cast(tuple[int, int], image.getchannel("A").getextrema())
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image), lowest < 255


def _holds_several(image: Image.Image) -> bool:
    """Whether there are more pictures in the file. Asked last: looking for them may change the picture, or break it."""
    try:
        return getattr(image, "n_frames", 1) > 1
    except Exception:  # the others are damaged; they are not needed
        return False


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
        raise Rejected("no label map", f"{formats.stem(Path(photo).name)}.png")
    try:
        if files[0].parent != folder:
            return _join_parts(files, height, width)
        return _checked_labels(load_map(files[0]), files[0].name, height, width)
    except Rejected as error:
        if error.reason == "label map":
            raise
        raise Rejected("label map", f"{error.reason} {error.detail}".strip()) from error


def label_files(folder: Path, photo: str) -> list[Path]:
    """The files there are with the label map of a photo, none or more.

    One is ``STEM.png``. Several are CelebAMask-HQ's masks of parts, ``N/NNNNN_part.png`` with N = number / 2000, in the order of
    the classes; parts which a face does not have, have no file.
    """
    stem = formats.stem(Path(photo).name)
    paths = [folder / f"{stem}.png"]
    if _holds_parts(folder) and not paths[0].is_file():
        number = int(stem) if stem.isascii() and stem.isdigit() else -1
        paths = [folder / str(number // 2000) / f"{number:05d}_{part}.png" for part in labels.NAMES[1:]]
    return [path for path in paths if path.is_file()]


@lru_cache(maxsize=4)
def _holds_parts(folder: Path) -> bool:
    return (folder / "0").is_dir()


def load_map(source: Path | bytes) -> np.ndarray:
    """The values of a label map, uint8 (H, W), of any photo's format. A palette's colours are ignored.

    Raises:
        Rejected: it cannot be read; ``label map``: it has more than one 8-bit channel.
    """
    with _rejecting(source):
        image = _decoded(source, False).image
        if image.mode not in ("P", "L"):
            raise Rejected("label map", f"has mode {image.mode}; one 8-bit channel of classes is wanted")
        return np.array(image)


def _checked_labels(values: np.ndarray, name: str, height: int, width: int) -> np.ndarray:
    if values.shape != (height, width):
        raise Rejected("label map", f"is {values.shape[1]}x{values.shape[0]}, the photo {width}x{height}")
    try:
        return labels.check(values, name)
    except DataError as error:
        raise Rejected("label map", str(error).partition(": ")[2]) from error


def _join_parts(files: list[Path], height: int, width: int) -> np.ndarray:
    joined: np.ndarray | None = None
    for path in files:  # in the order of classes
        with _rejecting(path):
            mask = np.array(_decoded(path, False).image.convert("L")) > 0
        if joined is None:
            joined = np.zeros(mask.shape, np.uint8)
        if mask.shape != joined.shape:
            raise Rejected("label map", f"masks of {joined.shape[1]}x{joined.shape[0]} and {mask.shape[1]}x{mask.shape[0]}")
        joined[mask] = labels.NAMES.index(path.stem.partition("_")[2])
    if joined is None:
        raise Rejected("label map", "has no mask of any part")
    factor = height // joined.shape[0]
    if not factor or (joined.shape[0] * factor, joined.shape[1] * factor) != (height, width):
        raise Rejected("label map", f"masks of {joined.shape[1]}x{joined.shape[0]}, the photo {width}x{height}")
    return joined.repeat(factor, 0).repeat(factor, 1)


@contextmanager
def _rejecting(source: Path | bytes) -> Iterator[None]:
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
        suffix = "" if isinstance(source, bytes) else source.suffix
        raise Rejected("broken", formats.why_unknown(_bytes(source)[:64], suffix)) from error
    except OSError as error:
        if error.filename is not None:  # of the file system, not of a decoder
            raise Rejected("unreadable", error.strerror or "") from error
        raise Rejected("broken", _short(error)) from error
    except Exception as error:  # struct.error, KeyError, TypeError, ...: Pillow's decoders raise nearly anything
        raise Rejected("broken", _short(error)) from error


def _bytes(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _decoded(source: Path | bytes, partial: bool) -> _Opened:
    """Decodes a picture: as it is; without what is broken beside its pixels; or, with ``partial``, as far as it goes."""
    try:
        return _whole(source)
    except _FINAL:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        data = _bytes(source)
        bare = list(dict.fromkeys(filter(None, (extras.without(data, keep_exif) for keep_exif in (True, False)))))
        for one in bare:
            with suppress(Exception):
                return _whole(one)._replace(notes=("what its file holds beside the pixels is broken and was left out",))
        for one in (data, *bare) if partial else ():
            with suppress(Exception):
                return _partly(one)
        raise


def _whole(source: Path | bytes) -> _Opened:
    image = _open(source)
    stored = depth.how_stored(image)
    image.load()
    return _Opened(image, stored)


def _open(source: Path | bytes) -> Image.Image:
    """Opens a picture and looks at its size; nothing is decoded."""
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise Rejected("empty file")
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r", formats.formats())
    if image.width * image.height > MAX_PIXELS:
        raise Rejected("too large", f"{image.width}x{image.height}")
    return image


def _partly(data: bytes) -> _Opened:
    """Decodes what there is of a file that is cut off or damaged; the rest keeps one colour.

    Raises:
        Exception: nothing can be decoded.
    """
    image = _open(extras.completed(data))
    stored = depth.how_stored(image)
    try:
        image.load()
    except Exception:
        if getattr(image, "im", None) is None:
            raise
        # What has been decoded so far is the picture.
        image.tile = []  # type: ignore[attr-defined]  # an opened file has it, which is what _open gives
        image.load()
    missing = _missing_share(np.asarray(image.convert("RGB")))
    if missing == 1:
        raise Rejected("broken", "nothing of it can be decoded")
    how = (
        f"about {100 * missing:.0f} % of the picture is missing"
        if missing >= 0.005
        else "parts of the picture are missing or blurred"
    )
    return _Opened(image, stored, (f"the file is cut off or damaged: {how}",))


def _missing_share(rgb: np.ndarray) -> float:
    """Share of the pixels that were not decoded: those of one colour at the ends of the last rows, or of the first."""
    shares = []
    for rows in (rgb, rgb[::-1]):
        filled = (rows != rows[-1, -1]).any(axis=2)[::-1, ::-1]  # from the last pixel on
        runs = np.where(filled.any(axis=1), filled.argmax(axis=1), filled.shape[1])
        ends = np.flatnonzero(runs == 0)
        shares.append(runs[: ends[0] if len(ends) else None].sum() / filled.size)
    return max(shares)


def _short(error: Exception) -> str:
    """What the error says, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
