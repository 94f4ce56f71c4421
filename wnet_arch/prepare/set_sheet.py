"""A picture of what ``wnet prepare`` makes of some photos, to be looked at before a long run: ``--sheet N``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wnet_arch import disk
from wnet_arch.data.photos import Rejected, load_photo
from wnet_arch.faces import labels
from wnet_arch.prepare.face_maker import FaceMaker

_TILE, _GAP, _CAPTION = 192, 4, 14
_COLUMNS = 3
_CROP, _POINT, _FIVE, _BOX = (255, 210, 0), (0, 255, 90), (255, 60, 60), (90, 160, 255)


def sheet_path(target: Path) -> Path:
    """Where the picture of a set is written: beside it, as a finished set holds nothing but itself."""
    if target.name in ("", ".."):
        target = target.resolve()
    return target.with_name(target.name + ".sheet.png")


def write_sheet(path: Path, maker: FaceMaker, names: Sequence[str], count: int) -> None:
    """Draws ``count`` of the photos, spread evenly over the names.

    Three tiles a photo: the photo with the detector's box (blue), the 68 points (green) or five points (red) and the crop
    (yellow); the HR image with the points; the HR image with its map. A rejected photo has its reason instead.

    Raises:
        WNetError: the file cannot be written.
    """
    chosen = [names[i * len(names) // count] for i in range(min(count, len(names)))]
    rows = -(-len(chosen) // _COLUMNS)
    width, height = 3 * _TILE + 3 * _GAP, _TILE + _CAPTION + _GAP
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    for index, name in enumerate(chosen):
        row, column = divmod(index, _COLUMNS)
        sheet.paste(_strip(maker, name), (_GAP + column * width, _GAP + row * height))
    with disk.replacing(path) as part:
        sheet.save(part, "PNG")


def _strip(maker: FaceMaker, name: str) -> Image.Image:
    """Three tiles and a caption for one photo."""
    strip = Image.new("RGB", (3 * _TILE + 2 * _GAP, _TILE + _CAPTION), "white")
    caption = name.encode("ascii", "backslashreplace").decode()
    try:
        photo = load_photo(maker.images / name)
    except Rejected as why:
        ImageDraw.Draw(strip).text((0, _TILE), f"{caption}: {why.reason} {why.detail}"[:90], "red")
        return strip
    found = maker.detector.find(photo, name) if maker.detector else None
    try:
        face = maker.face(photo, name)
    except Rejected as why:
        strip.paste(_photo_tile(photo, found, None), (0, 0))
        ImageDraw.Draw(strip).text((0, _TILE), f"{caption}: {why.reason} {why.detail}"[:90], "red")
        return strip
    strip.paste(_photo_tile(photo, found, face.frame), (0, 0))
    strip.paste(_face_tile(face.gt, face.points), (_TILE + _GAP, 0))
    overlay = np.where((face.parsing == labels.BACKGROUND)[..., None], face.gt, labels.colorize(face.parsing))
    mixed = (0.4 * face.gt + 0.6 * overlay).round().astype(np.uint8)
    strip.paste(_face_tile(mixed, None), (2 * (_TILE + _GAP), 0))
    ImageDraw.Draw(strip).text((0, _TILE), f"{caption}  crop {face.frame.side:.0f} px"[:90], "black")
    return strip


def _photo_tile(photo: np.ndarray, found, frame) -> Image.Image:
    """The photo, and as much around it as the crop reaches out."""
    height, width = photo.shape[:2]
    corners = np.array(((0, 0), (width, height)), float)
    if frame is not None:
        corners = np.concatenate((corners, frame.corners))
    low, high = corners.min(0), corners.max(0)
    scale = _TILE / (high - low).max()
    small = Image.fromarray(photo).resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC)
    tile = Image.new("RGB", (_TILE, _TILE), (128, 128, 128))
    tile.paste(small, tuple(np.round(-low * scale).astype(int).tolist()))
    draw = ImageDraw.Draw(tile)
    if found is not None:
        box = (np.reshape(found.box, (2, 2)) - low) * scale
        draw.rectangle([tuple(corner) for corner in box.tolist()], outline=_BOX)
        _draw_points(draw, found.points if found.points is not None else found.five, scale, low)
    if frame is not None:
        square = [tuple(corner) for corner in ((frame.corners - low) * scale - 0.5).tolist()]
        draw.line([*square, square[0]], fill=_CROP, width=2)
    return tile


def _face_tile(image: np.ndarray, points: np.ndarray | None) -> Image.Image:
    tile = Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
    if points is not None:
        _draw_points(ImageDraw.Draw(tile), points, _TILE / image.shape[0], np.zeros(2))
    return tile


def _draw_points(draw: ImageDraw.ImageDraw, points: np.ndarray, scale: float, low: np.ndarray) -> None:
    colour, radius = (_POINT, 0.8) if len(points) > 5 else (_FIVE, 2)
    for x, y in ((points + 0.5 - low) * scale).tolist():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
