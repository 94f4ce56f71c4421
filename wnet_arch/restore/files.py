"""Result files of a restored photo: the photo, its faces, a sheet."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from wnet_arch import visuals
from wnet_arch.data.photos import Picture
from wnet_arch.restore.networks import enlarge_face
from wnet_arch.restore.record import Writer
from wnet_arch.restore.restorer import STATEMENT, RestoredFace, RestoredPhoto

#: Largest side that the JPEG format has.
_JPEG_LIMIT = 65_500
_JPEG_QUALITY = 95
#: Faces on a sheet.
SHEET_FACES = 24


def suffix(picture: Picture, height: int, width: int) -> str:
    """JPEG stays JPEG; all else becomes PNG, which loses nothing."""
    return ".jpg" if picture.format in ("JPEG", "MPO") and max(height, width) <= _JPEG_LIMIT else ".png"


def pictures(stem: str, source: Picture, photo: RestoredPhoto, face_only: bool, sheet: bool) -> dict[str, Writer]:
    """What to write: names below the folder for results, and for each what writes it."""
    ending = ".png" if face_only else suffix(source, *photo.image.shape[:2])
    found: dict[str, Writer] = {stem + ending: partial(save, photo.image, source.icc, ending, estimated=photo.changed)}
    if not face_only:
        for number, face in enumerate(photo.cut_out, 1):
            _, sr = face.enlarged()
            found[f"faces/{stem}_{number:02d}.png"] = partial(save, sr, source.icc, ".png", estimated=face.restored)
    if sheet and photo.cut_out:
        found[f"sheets/{stem}.png"] = lambda path: save(np.array(draw_sheet(photo)), None, ".png", path)
    return found


def save(image: np.ndarray, icc: bytes | None, ending: str, path: Path, estimated: bool = True) -> None:
    """Writes a picture, uint8 (H, W, 3), with its colour profile and, where details are, the statement that they are estimated."""
    picture = Image.fromarray(image)
    profile = {"icc_profile": icc} if icc else {}
    if ending == ".jpg":
        comment = {"comment": STATEMENT} if estimated else {}
        picture.save(path, "JPEG", quality=_JPEG_QUALITY, subsampling=0, **comment, **profile)
        return
    texts = PngImagePlugin.PngInfo()
    if estimated:
        texts.add_text("Comment", STATEMENT)
    picture.save(path, "PNG", compress_level=4, pnginfo=texts, **profile)


def draw_sheet(photo: RestoredPhoto) -> Image.Image:
    """The faces before and after: what the network got, that enlarged by bicubic interpolation, restored, and in the photo."""
    faces = photo.cut_out[:SHEET_FACES]
    pairs = [face.enlarged() for face in faces]
    rows = [[lq, enlarge_face(lq), sr, _in_photo(photo, face)] for face, (lq, sr) in zip(faces, pairs)]
    notes = [f"{face.side:.0f} pixels\n{face.network}\nx{face.scale}"[:60] for face in faces]
    return visuals.sheet(("found", "bicubic", "restored", "in the photo"), rows, notes)


def _in_photo(photo: RestoredPhoto, face: RestoredFace) -> np.ndarray:
    """The restored photo around a face, turned upright: twice the side of its square, as far as there is photo."""
    corners = face.frame.corners * photo.scale
    middle, half = corners.mean(0), face.frame.side * photo.scale
    height, width = photo.image.shape[:2]
    left, top = np.clip(np.round(middle - half).astype(int), 0, None)
    right, bottom = np.minimum(np.round(middle + half).astype(int), (width, height))
    part = np.rot90(photo.image[top : max(bottom, top + 1), left : max(right, left + 1)], -photo.turn // 90)
    side = max(part.shape[:2])
    return np.pad(part, ((0, side - part.shape[0]), (0, side - part.shape[1]), (0, 0)), constant_values=255)
