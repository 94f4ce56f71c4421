"""Crop rules: which square of a photo becomes the face image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from wnet_arch.faces import labels

#: A photo that is too small for the margin asked for gives a tighter square, down to this multiple of the landmarks' box.
LEAST_MARGIN = 1.2
#: Of the side of a box, how much may lie outside the photo, all sides together, and be filled by repeating the border.
MAX_PADDING = 0.1


#: Longer side of the box around 68 points by the spread (root mean square distance to their mean) of the five derived from
#: them: median over 887 photos of CelebA, which scatter by 0.16.
_SIDE_PER_SPREAD = 3.63


class Box(NamedTuple):
    """A square in whole pixels; right and bottom are exclusive. It may reach out of the photo.

    :class:`wnet_arch.faces.align.Tilted` has the same methods.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def side(self) -> int:
        """Width and height in pixels."""
        return self.right - self.left

    @property
    def corners(self) -> np.ndarray:
        """The corners in the photo, (4, 2) x and y, clockwise from the left upper one; pixel edges at whole numbers."""
        sides = ((self.left, self.top), (self.right, self.top), (self.right, self.bottom), (self.left, self.bottom))
        return np.array(sides, float)

    def image(self, photo: np.ndarray, size: int) -> np.ndarray:
        """The face image: uint8 (H, W, 3) to (size, size, 3), by Pillow's bicubic filter; outside, the border is repeated."""
        return resize(cut(photo, self), size, Image.Resampling.BICUBIC)

    def wide(self, photo: np.ndarray, surround: float, size: int) -> np.ndarray:
        """The square and ``surround`` of its side around it, uint8 (size, size, 3), as :meth:`image` makes it."""
        reach = int(np.ceil(self.side * surround)) + 2
        part = cut(photo, Box(self.left - reach, self.top - reach, self.right + reach, self.bottom + reach))
        inner = reach - self.side * surround
        place = (inner, inner, part.shape[1] - inner, part.shape[0] - inner)
        return np.array(Image.fromarray(part).resize((size, size), Image.Resampling.BICUBIC, box=place))

    def map(self, classes: np.ndarray, size: int) -> np.ndarray:
        """The photo's label map, uint8 (H, W), in the face image, (size, size), by nearest neighbour; outside is unknown."""
        return resize(cut(classes, self, fill=labels.UNKNOWN), size, Image.Resampling.NEAREST)

    def points(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (N, 2) of the photo in the face image; pixel centres at whole numbers."""
        return to_box(points, self, size)

    def hide_outside(self, classes: np.ndarray, height: int, width: int) -> np.ndarray:
        """Marks as unknown what a map of the face image shows outside the photo (height, width). Changes and returns it."""
        return outside(classes, self, height, width)


#: The CelebAMask-HQ frame in CelebA's aligned photos (178x218): centre (88, 116), half side 76.
CELEBA_ALIGNED_SIZE = (178, 218)
CELEBA_ALIGNED = Box(88 - 76, 116 - 76, 88 + 76, 116 + 76)


def landmark_side(points: np.ndarray) -> float:
    """Longer side of the box around landmarks (N, 2), in pixels."""
    return float(np.ptp(points, axis=0).max())


def around_landmarks(points: np.ndarray, margin: float, height: int, width: int) -> Box:
    """The square around landmarks.

    Its side is ``margin`` times the longer side L of the box around the points, its centre that box's centre. Where it fits
    into the photo but reaches over a border, it is moved inside. Where it does not fit, its side becomes that of the largest
    square which does, but no less than :data:`LEAST_MARGIN` times L; along an axis where that does not fit either, it is
    centred on the photo and reaches out on both sides alike.

    Args:
        points: (N, 2), x and y in pixels.
        margin: factor, 1.8 gives the frame of the Helen set.
        height: of the photo.
        width: of the photo.
    """
    longer = landmark_side(points)
    least = round(longer * min(margin, LEAST_MARGIN))
    side = max(1, min(round(longer * margin), max(height, least), max(width, least)))
    centre = (points.min(0) + points.max(0)) / 2
    left, top = (
        (room - side) // 2 if side > room else min(max(round(float(middle) - side / 2), 0), room - side)
        for middle, room in zip(centre, (width, height))
    )
    return Box(left, top, left + side, top + side)


def five_point_side(five: np.ndarray) -> float:
    """About what :func:`landmark_side` would give, from five points (5, 2) alone."""
    return _SIDE_PER_SPREAD * float(np.sqrt(((five - five.mean(0)) ** 2).sum(1).mean()))


def padding(box: Box, height: int, width: int) -> float:
    """The share of the box's side that lies outside the photo, on the axis where it is larger."""
    return max(box.side - width, box.side - height, 0) / box.side


def resize(image: np.ndarray, size: int, kernel: Image.Resampling) -> np.ndarray:
    """Resizes a square image, uint8 (H, W) or (H, W, 3), with Pillow; one that has the size is returned as it is."""
    if image.shape[:2] == (size, size):
        return image
    return np.array(Image.fromarray(image).resize((size, size), kernel))


def cut(image: np.ndarray, box: Box, fill: int | None = None) -> np.ndarray:
    """Cuts a box out of (H, W) or (H, W, C). What lies outside repeats the border, or is ``fill`` where given."""
    height, width = image.shape[:2]
    before = max(0, -box.top), max(0, -box.left)
    after = max(0, box.bottom - height), max(0, box.right - width)
    inside = image[max(0, box.top) : box.bottom, max(0, box.left) : box.right]
    if not any(before + after):
        return np.ascontiguousarray(inside)
    pads = [(before[0], after[0]), (before[1], after[1])] + [(0, 0)] * (image.ndim - 2)
    return np.pad(inside, pads, mode="edge") if fill is None else np.pad(inside, pads, constant_values=fill)


def outside(labels_map: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """Marks as unknown what a map of a box shows outside the photo (height, width). Changes and returns the map."""
    rows, columns = labels_map.shape
    y = box.top + (np.arange(rows) + 0.5) * box.side / rows
    x = box.left + (np.arange(columns) + 0.5) * box.side / columns
    labels_map[(y < 0) | (y >= height)] = labels.UNKNOWN
    labels_map[:, (x < 0) | (x >= width)] = labels.UNKNOWN
    return labels_map


def to_box(points: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Converts points (N, 2) from the photo to the box resized to size x size (pixel centres at whole numbers)."""
    return (points + 0.5 - (box.left, box.top)) * (size / box.side) - 0.5
