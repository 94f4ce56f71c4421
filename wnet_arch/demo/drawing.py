"""What the page shows of a photo and its faces: pictures only, no files."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wnet_arch.restore import RestoredFace, RestoredPhoto, frames, paste
from wnet_arch.restore.networks import enlarge_face

#: Longer side of pictures of whole photos: smaller ones are enlarged for the boxes' numbers, larger ones reduced for the browser.
LEAST_SIDE, LARGEST_SIDE = 900, 2000
#: Side of each of the two pictures of a face, and between them.
FACE_SIDE, FACE_GAP = 256, 6
#: Least side of a close-up.
CLOSE_UP = 768
RESTORED, LEFT_ALONE, OVERLAY = (13, 148, 136), (217, 119, 6), (219, 39, 119)
#: How much of the overlay's colour is seen where the network is sure.
_OPACITY = 0.6


def why_left_alone(face: RestoredFace) -> str:
    """Why no network has worked on a face, a few words."""
    return f"{frames.told(face.side):g} pixels, {face.left_alone}"


def fitted(image: np.ndarray, least: int = 1, largest: int = LARGEST_SIDE) -> np.ndarray:
    """A picture, uint8 (H, W, 3), reduced or enlarged so far that its longer side lies within these bounds."""
    height, width = image.shape[:2]
    factor = min(max(least / max(height, width), 1), largest / max(height, width))
    if factor == 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def numbered(photo: np.ndarray, faces: list[RestoredFace]) -> np.ndarray:
    """The photo, uint8 (H, W, 3), with a box around each face and its number, from 1.

    Faces that were left alone have a dashed box in another colour, and say why where there is room.
    """
    base = fitted(photo, LEAST_SIDE)
    factors = np.array((base.shape[1] / photo.shape[1], base.shape[0] / photo.shape[0]))
    picture = Image.fromarray(base)
    draw = ImageDraw.Draw(picture)
    unit = max(base.shape[:2]) / LEAST_SIDE
    boxes = [(np.array(face.box).reshape(2, 2) * factors).ravel().round().astype(int).tolist() for face in faces]
    for face, box in zip(faces, boxes):
        _box(draw, box, _colour(face), round(3 * unit), dashed=not face.cut_out)
    tags = _Tags(draw, picture.size, round(18 * unit))
    for number, (face, box) in sorted(enumerate(zip(faces, boxes), 1), key=lambda one: not one[1][0].cut_out):
        tags.add(box, [f"{number}"] if face.cut_out else [f"{number}: too large", f"{number}"], _colour(face))
    return np.array(picture)


def parsing_overlay(photo: RestoredPhoto, photo_size: tuple[int, int], canvas: np.ndarray) -> np.ndarray | None:
    """What the network takes for skin, as colour over a picture of the whole photo; ``None`` if it has not said for any face.

    Args:
        photo: the restored photo.
        photo_size: height and width of the photo before enlargement.
        canvas: uint8 (H, W, 3), the photo at any size.
    """
    known = [(face.frame, face.skin) for face in photo.faces if face.skin is not None]
    if not known:
        return None
    share = np.zeros_like(canvas)
    for frame, skin in known:
        colour = np.repeat(skin.clip(0, 1)[..., None] * 255, 3, 2).astype(np.float32)
        paste.paste(share, photo_size, frame, colour, np.ones_like(skin, np.float32))
    share = share[..., :1].astype(np.float32) * (_OPACITY / 255)
    return np.rint(canvas * (1 - share) + np.array(OVERLAY, np.float32) * share).astype(np.uint8)


def before_and_after(face: RestoredFace) -> np.ndarray:
    """What the network got, enlarged by bicubic interpolation, and what it made, side by side: uint8 (N, 2 N + gap, 3)."""
    lq, sr = face.enlarged()
    sides = [fitted(image, FACE_SIDE) for image in (enlarge_face(lq), sr)]
    return np.concatenate((sides[0], np.full((FACE_SIDE, FACE_GAP, 3), 255, np.uint8), sides[1]), 1)


def close_up(image: np.ndarray, face: RestoredFace, scale: float) -> np.ndarray:
    """A face with its surroundings, twice the side of its square, cut out of the photo enlarged by ``scale``."""
    corners = face.frame.corners * scale
    middle, half = corners.mean(0), max(face.frame.side * scale, 1)
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(middle - half), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.minimum(np.ceil(middle + half), (width, height)).astype(int)
    return fitted(image[top : max(bottom, top + 1), left : max(right, left + 1)], CLOSE_UP)


def _colour(face: RestoredFace) -> tuple[int, int, int]:
    return RESTORED if face.cut_out else LEFT_ALONE


def _box(draw: ImageDraw.ImageDraw, box: list[int], colour: tuple, line: int, dashed: bool) -> None:
    left, top, right, bottom = box
    right, bottom = max(right, left + 2), max(bottom, top + 2)
    if not dashed:
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        return
    step = 4 * line
    for x in range(left, right, 2 * step):
        for y in (top, bottom):
            draw.line((x, y, min(x + step, right), y), fill=colour, width=line)
    for y in range(top, bottom, 2 * step):
        for x in (left, right):
            draw.line((x, y, x, min(y + step, bottom)), fill=colour, width=line)


class _Tags:
    """White text on coloured ground at boxes: inside the picture, and not over one another where that can be had."""

    def __init__(self, draw: ImageDraw.ImageDraw, picture: tuple[int, int], size: int):
        self.draw, self.picture, self.font, self.pad = draw, picture, _font(size), max(2, size // 5)
        self.taken: list[tuple[int, int, int, int]] = []

    def add(self, box: list[int], texts: list[str], colour: tuple) -> None:
        """Writes the first text that has room above or below the box, or else the last one above it."""
        places = [(text, self._place(box, text, below)) for text in texts for below in (False, True)]
        free = [one for one in places if not any(_meet(one[1], other) for other in self.taken)]
        text, place = free[0] if free else places[-2]
        self.taken.append(place)
        self.draw.rectangle(place, fill=colour)
        x0, y0, _, _ = self.draw.textbbox((0, 0), text, font=self.font)
        self.draw.text((place[0] + self.pad - x0, place[1] + self.pad - y0), text, fill=(255, 255, 255), font=self.font)

    def _place(self, box: list[int], text: str, below: bool) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = self.draw.textbbox((0, 0), text, font=self.font)
        width, height = int(x1 - x0) + 2 * self.pad, int(y1 - y0) + 2 * self.pad
        left = min(max(box[0], 0), max(self.picture[0] - width, 0))
        top = min(max(box[3] if below else box[1] - height, 0), max(self.picture[1] - height, 0))
        return left, top, left + width, top + height


def _meet(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _font(size: int):
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow 10.0 has one size
        return ImageFont.load_default()
