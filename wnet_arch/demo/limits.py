"""What may be uploaded: files and photos up to a size, of formats that hold photos."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from wnet_arch import photo_formats as formats
from wnet_arch.data.photos import MAX_PIXELS, Picture, Rejected, load_picture
from wnet_arch.errors import DataError, UsageError

#: Of photos, as in every command.
ENDINGS = tuple(sorted(formats.suffixes()))
#: Least pixels of a photo, each way.
_LEAST_SIDE = 16


@dataclass(frozen=True)
class Limits:
    """``max_mb``: size of a file in megabytes. ``max_pixels``: width times height, read from the file before it is decoded.

    ``max_total_mb``: size of all uploads and results together.
    """

    max_mb: float = 30
    max_pixels: int = 24_000_000
    max_total_mb: float = 2000

    def __post_init__(self):
        """Raises :class:`UsageError` for limits that make no sense."""
        if not 0 < self.max_mb <= 1000:
            raise UsageError(f"--max-mb: above 0, up to 1000, not {self.max_mb:g}")
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise UsageError(f"--max-pixels: 1 to {MAX_PIXELS}, not {self.max_pixels}")
        if not self.max_mb <= self.max_total_mb <= 1_000_000:
            raise UsageError(f"--max-total-mb: {self.max_mb:g} (as --max-mb) to 1000000, not {self.max_total_mb:g}")

    @property
    def max_bytes(self) -> int:
        """``max_mb`` in bytes."""
        return int(self.max_mb * 1_000_000)

    @property
    def max_total_bytes(self) -> int:
        """``max_total_mb`` in bytes."""
        return int(self.max_total_mb * 1_000_000)

    def __str__(self) -> str:
        return f"up to {self.max_mb:g} MB and {self.max_pixels / 1e6:g} megapixels"


def open_upload(path: str | os.PathLike, limits: Limits) -> Picture:
    """Opens an uploaded photo as ``wnet restore`` does, after a look at its size, format and number of pixels.

    Raises:
        DataError: it is too large, or no photo; one line that starts with the file's name.
    """
    path = Path(path)
    try:
        _check(path, limits)
        return load_picture(path, _LEAST_SIDE, partial=True)
    except Rejected as error:
        detail = f" ({error.detail})" if error.detail else ""
        raise DataError(f"{path.name} cannot be used: {error.reason}{detail}") from error
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or 'gone'}; upload it again") from error


def _check(path: Path, limits: Limits) -> None:
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise Rejected("too large", f"{size / 1e6:.1f} MB; {limits.max_mb:g} MB at most")
    if size == 0:
        raise Rejected("empty file")
    width, height = _announced(path)
    if width * height > limits.max_pixels:
        raise Rejected("too large", f"{width:,} x {height:,} pixels; {limits.max_pixels:,} at most")


def _announced(path: Path) -> tuple[int, int]:
    """Width and height as the file's header says; nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats.formats()) as image:
                return image.size
    except Image.DecompressionBombError as error:
        raise Rejected("too large", str(error).partition(",")[0]) from error
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise Rejected("not a photo that can be read", formats.why_unknown(_head(path), path.suffix)) from error


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)
