"""Picture sheets: rows of faces under column titles."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

GAP = 4
TITLE_HEIGHT = 20
BACKGROUND = (255, 255, 255)


def sheet(columns: Sequence[str], rows: Sequence[Sequence[np.ndarray]], notes: Sequence[str] = (), tile: int = 128) -> Image.Image:
    """Lays out images under titles.

    Args:
        columns: a title for each column.
        rows: for each row, a uint8 image (H, W, 3) or (H, W) for each column. Smaller ones are enlarged by pixel repetition,
            so that one sees what they hold.
        notes: a line of text beside each row, for instance its PSNR.
        tile: side of a picture in pixels.
    """
    note_width = 96 if notes else 0
    width = note_width + len(columns) * (tile + GAP) + GAP
    page = Image.new("RGB", (width, TITLE_HEIGHT + len(rows) * (tile + GAP) + GAP), BACKGROUND)
    draw = ImageDraw.Draw(page)
    for index, title in enumerate(columns):
        draw.text((note_width + GAP + index * (tile + GAP), 4), title, fill=(0, 0, 0))
    for line, row in enumerate(rows):
        top = TITLE_HEIGHT + line * (tile + GAP)
        if notes:
            draw.multiline_text((GAP, top + 4), notes[line], fill=(0, 0, 0))
        for index, image in enumerate(row):
            picture = Image.fromarray(image).convert("RGB")
            resample = Image.NEAREST if picture.width < tile else Image.LANCZOS
            page.paste(picture.resize((tile, tile), resample), (note_width + GAP + index * (tile + GAP), top))
    return page


def save(image: Image.Image, path: str) -> None:
    """Writes a picture beside its target and renames it, so that no half-written file bears the name."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    stem, suffix = os.path.splitext(path)
    partial = f"{stem}.partial{suffix}"
    image.save(partial)
    os.replace(partial, path)
