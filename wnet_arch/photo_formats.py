"""Which files are photos: one list of formats and suffixes, from what Pillow can open, and what is said of files it cannot open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from PIL import Image, ImageFile

from wnet_arch.errors import DataError

#: Of Pillow's formats: EPS starts another program, MPEG and IPTC are recognised but never decoded.
_NOT_PICTURES = {"EPS", "MPEG", "IPTC"}
#: Photos that Pillow opens with another package only, or not at all; by suffix.
_HEIF = (".heic", ".heif", ".hif", ".heics", ".heifs")
_RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
_AVIF, _JXL = (".avif", ".avifs"), (".jxl",)
_ELSEWHERE = frozenset(_HEIF + _RAW + _AVIF + _JXL)
#: How files begin.
_MARKS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
#: Brands of files whose pictures are HEVC, and AV1; bytes 8 to 11.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


@cache
def _load() -> None:
    """All of Pillow's formats, and HEIF's where pillow-heif is installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


@cache
def formats() -> tuple[str, ...]:
    """Names that Pillow has for the formats which are opened; those without a decoder of its own are not among them."""
    _load()
    return tuple(name for name, (opener, _) in Image.OPEN.items() if name not in _NOT_PICTURES and not _is_stub(opener))


@cache
def _recognised() -> tuple[str, ...]:
    """Those of :func:`formats` whose files begin with a mark of their own, so that no other file is taken for one."""
    return tuple(name for name in formats() if Image.OPEN[name][1] is not None)


def _is_stub(opener: object) -> bool:
    return isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of the files that are opened, in small letters, each with its dot."""
    _load()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def is_photo(path: str | os.PathLike) -> bool:
    """Whether a file is a photo: by its suffix, and where that is no photo's, by its content.

    Photos that only another package could open are among them: they are refused by name, not passed over.

    Raises:
        OSError: the content has to be looked at, and cannot be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix in suffixes() or suffix in _ELSEWHERE:
        return True
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        return False
    if _brand(head):
        return True
    try:
        with Image.open(path, "r", _recognised()):
            return True
    except OSError:  # UnidentifiedImageError is one
        return False
    except Exception:  # Pillow's decoders raise nearly anything of a file that is theirs
        return True


def stem(name: str) -> str:
    """A photo's name without its suffix, if that is a photo's: ``Dr. Smith 12.05.2019`` has none."""
    base, suffix = os.path.splitext(name)
    return base if suffix.lower() in suffixes() or suffix.lower() in _ELSEWHERE else name


def why_unknown(head: bytes, suffix: str = "") -> str:
    """What to say of a file that Pillow does not know.

    Args:
        head: its first bytes.
        suffix: of its name, with the dot.
    """
    brand, suffix = _brand(head), suffix.lower()
    if brand == "HEIC" or (suffix in _HEIF and not _has_heif()):
        if _has_heif():
            return "not a HEIC photo that pillow-heif can read"
        return "HEIC, which the package pillow-heif opens: pip install pillow-heif"
    if brand == "AVIF" or suffix in _AVIF:
        return "AVIF, which Pillow opens from version 11.3 on" if "AVIF" not in formats() else "not an AVIF that Pillow can read"
    if suffix in _RAW:
        return "a camera's raw file: develop it to TIFF, PNG or JPEG first"
    if suffix in _JXL:
        return "JPEG XL, which Pillow cannot read: save it as PNG or JPEG"
    found = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    return f"a damaged {found}, of which nothing can be read" if found else "not a picture that Pillow can read"


def _has_heif() -> bool:
    return "HEIF" in formats()


def _brand(head: bytes) -> str:
    if head[4:8] != b"ftyp":
        return ""
    return "HEIC" if head[8:12] in _HEIF_BRANDS else "AVIF" if head[8:12] in _AVIF_BRANDS else ""


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry of a folder is a folder, or a link to one; a link that goes in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def passed_over(entry: os.DirEntry) -> str | None:
    """Why a file of a folder is no photo to be worked on, a few words; ``None`` for a photo.

    This is the rule of every command and data set. Links that lead nowhere count as photos: they are refused by name.
    """
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_symlink() and not os.path.exists(entry.path):
        return None
    if not entry.is_file():
        return "not a file"
    try:
        return None if is_photo(entry.path) else "not a photo"
    except OSError as error:
        return f"unreadable: {error.strerror}"


def scan(folder: str | os.PathLike[str], passed: list[tuple[str, str]] | None = None) -> Iterator[str]:
    """Names of the photos of a folder, in no order, one by one: lists of millions stay on the disk.

    Args:
        folder: is searched, not its sub-folders.
        passed: gets the names of the other files, each with the reason.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(os.fspath(folder)) as entries:
            for entry in entries:
                if is_folder(entry):
                    continue
                reason = passed_over(entry)
                if reason is None:
                    yield entry.name
                elif passed is not None:
                    passed.append((entry.name, reason))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def told(passed: list[tuple[str, str]], limit: int = 5) -> str:
    """Files that were passed over, counted and named on one line: ``2 files passed over: a.txt (not a photo), .x (hidden)``."""
    named = ", ".join(f"{shown(name)} ({reason})" for name, reason in sorted(passed)[:limit])
    more = f" and {len(passed) - limit} more" if len(passed) > limit else ""
    return f"{len(passed):,} file{'s' * (len(passed) != 1)} passed over: {named}{more}"


def shown(path: str | os.PathLike) -> str:
    """A path that can be printed on one line, whatever bytes its name has."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)
