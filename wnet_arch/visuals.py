"""Picture sheets: rows of faces under column titles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from wnet_arch import disk

GAP = 4
TITLE_HEIGHT = 20
NOTE_WIDTH = 96
BACKGROUND = (255, 255, 255)


def sheet(
    columns: Sequence[str],
    rows: Sequence[Sequence[np.ndarray | None]],
    notes: Sequence[str] = (),
    tile: int | tuple[int, int] = 128,
) -> Image.Image:
    """Lays out images under titles.

    Args:
        columns: a title for each column.
        rows: for each row, a uint8 image (H, W, 3) or (H, W) for each column, or ``None``. Smaller ones are enlarged by pixel
            repetition, so that one sees what they hold.
        notes: a line of text beside each row, for instance its PSNR.
        tile: side, or width and height, of a picture in pixels.
    """
    wide, high = (tile, tile) if isinstance(tile, int) else tile
    note_width = NOTE_WIDTH if notes else 0
    width = note_width + len(columns) * (wide + GAP) + GAP
    page = Image.new("RGB", (width, TITLE_HEIGHT + len(rows) * (high + GAP) + GAP), BACKGROUND)
    draw = ImageDraw.Draw(page)
    for index, title in enumerate(columns):
        draw.text((note_width + GAP + index * (wide + GAP), 4), title, fill=(0, 0, 0))
    for line, row in enumerate(rows):
        top = TITLE_HEIGHT + line * (high + GAP)
        if notes:
            draw.multiline_text((GAP, top + 4), notes[line], fill=(0, 0, 0))
        for index, image in enumerate(row):
            if image is None:
                continue
            picture = Image.fromarray(image).convert("RGB")
            resample = Image.Resampling.NEAREST if picture.width < wide else Image.Resampling.LANCZOS
            page.paste(picture.resize((wide, high), resample), (note_width + GAP + index * (wide + GAP), top))
    return page


def save(image: Image.Image, path: str) -> None:
    """Writes a picture beside its target and renames it, so that no half-written file bears the name.

    Raises:
        WNetError: it cannot be written.
    """
    with disk.replacing(path) as part:
        image.save(part)
