"""Similarity alignment: turns, scales and moves a face so that its five points come to lie where those of CelebA do.

The square that results is the frame of CelebA's aligned photos as the crop rule ``celeba-aligned`` cuts it, so photos of any
kind and CelebA train in one frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from wnet_arch.faces import labels

#: Where the five points belong, in pixels of a 128x128 face image (pixel centres at whole numbers): centres of the eyes, tip
#: of the nose, corners of the mouth, the image's left ones first. The mean over the 887 of 907 photos of CelebA's validation
#: split in which dlib finds a face, each in the frame of ``celeba-aligned``.
TEMPLATE = np.array(((48.29, 60.87), (80.48, 60.92), (63.96, 79.52), (49.64, 94.88), (79.15, 94.93)))
TEMPLATE_SIZE = 128
#: Of the area of the frame, how much may lie outside the photo and repeat its border.
MAX_OUTSIDE = 0.25


@dataclass(frozen=True)
class Tilted:
    """A square of any size, place and angle in a photo; has the methods of :class:`wnet_arch.faces.crop.Box`.

    ``matrix``: float (2, 3), from the photo to the square's own coordinates, in which it reaches from 0 to 1; pixel edges at
    whole numbers.
    """

    matrix: np.ndarray

    @property
    def side(self) -> float:
        """Width and height in pixels of the photo."""
        return 1 / float(np.hypot(*self.matrix[:, 0]))

    @property
    def corners(self) -> np.ndarray:
        """The corners in the photo, (4, 2) x and y, clockwise from the left upper one; pixel edges at whole numbers."""
        return self._in_photo(np.array(((0, 0), (1, 0), (1, 1), (0, 1)), float))

    def image(self, photo: np.ndarray, size: int) -> np.ndarray:
        """The face image: uint8 (H, W, 3) to (size, size, 3); outside, the border is repeated.

        A larger face is first reduced to the right size by Pillow's bicubic filter, which averages, then turned by OpenCV's
        bicubic interpolation, which does not.
        """
        scale = size / self.side
        corner = np.zeros(2)
        factor = np.ones(2)
        if scale < 1:
            photo, corner, factor = self._reduced(photo, scale)
        linear = self.matrix[:, :2] * size / factor
        offset = size * (self.matrix[:, 2] + self.matrix[:, :2] @ corner)
        return warp(photo, linear, offset, size, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)

    def wide(self, photo: np.ndarray, surround: float, size: int) -> np.ndarray:
        """The square and ``surround`` of its side around it, uint8 (size, size, 3), as :meth:`image` makes it."""
        matrix = self.matrix / (1 + 2 * surround)
        matrix[:, 2] += surround / (1 + 2 * surround)
        return Tilted(matrix).image(photo, size)

    def map(self, classes: np.ndarray, size: int) -> np.ndarray:
        """The photo's label map, uint8 (H, W), in the face image, (size, size), by nearest neighbour; outside is unknown."""
        linear, offset = self.matrix[:, :2] * size, self.matrix[:, 2] * size
        return warp(classes, linear, offset, size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)

    def points(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (N, 2) of the photo in the face image; pixel centres at whole numbers."""
        return size * ((points + 0.5) @ self.matrix[:, :2].T + self.matrix[:, 2]) - 0.5

    def hide_outside(self, classes: np.ndarray, height: int, width: int) -> np.ndarray:
        """Marks as unknown what a map of the face image shows outside the photo (height, width). Changes and returns it."""
        classes[self._outside(classes.shape[0], height, width)] = labels.UNKNOWN
        return classes

    def outside_share(self, height: int, width: int) -> float:
        """The share of the square's area that lies outside the photo, to about a hundredth."""
        return float(self._outside(64, height, width).mean())

    def _outside(self, size: int, height: int, width: int) -> np.ndarray:
        rows, columns = np.mgrid[:size, :size]
        x, y = self._in_photo((np.stack((columns, rows), -1) + 0.5) / size).transpose(2, 0, 1)
        return (x < 0) | (x >= width) | (y < 0) | (y >= height)

    def _in_photo(self, own: np.ndarray) -> np.ndarray:
        return (own - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def _reduced(self, photo: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The part of the photo around the square, reduced; its left upper corner in the photo, and the factors (x, y)."""
        height, width = photo.shape[:2]
        reach = np.ceil(4 / scale)  # what the filters need beyond the border
        low = np.clip(np.floor(self.corners.min(0) - reach), 0, (width - 1, height - 1)).astype(int)
        high = np.clip(np.ceil(self.corners.max(0) + reach), low + 1, (width, height)).astype(int)
        part = photo[low[1] : high[1], low[0] : high[0]]
        size = np.maximum(np.round((high - low) * scale), 1).astype(int)
        reduced = np.array(Image.fromarray(part).resize(tuple(size.tolist()), Image.Resampling.BICUBIC))
        return reduced, low.astype(float), size / (high - low)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift, without reflection, that brings points nearest to others in the sense of least squares.

    The solution of Umeyama ("Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", PAMI 1991),
    which in the plane is a linear regression of complex numbers.

    Args:
        source: (N, 2), not all equal.
        target: (N, 2).

    Returns:
        float (2, 3), to be multiplied with (x, y, 1).
    """
    a, b = (np.asarray(p, float) @ (1, 1j) for p in (source, target))
    centred = a - a.mean()
    turn = (centred.conj() @ (b - b.mean())) / max(float((centred.conj() @ centred).real), 1e-12)
    shift = b.mean() - turn * a.mean()
    return np.array(((turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)))


def is_mirrored(five: np.ndarray) -> bool:
    """Whether five points (5, 2) have left and right exchanged: a reflection brings them far nearer to :data:`TEMPLATE`.

    Of a face seen from the side, whose points lie nearly on a line, both come as near.
    """
    a, b = (points @ (1, 1j) for points in (np.asarray(five, float), TEMPLATE))
    a, b = a - a.mean(), b - b.mean()
    return bool(abs((a * b).sum()) > 2 * abs((a.conj() * b).sum()))


def five_point_frame(five: np.ndarray) -> Tilted:
    """The square in which five points (5, 2) come nearest to :data:`TEMPLATE`."""
    return Tilted(similarity(five + 0.5, (TEMPLATE + 0.5) / TEMPLATE_SIZE))


def warp(image: np.ndarray, linear: np.ndarray, offset: np.ndarray, size: int, kernel: int, border: int) -> np.ndarray:
    """Moves an image, uint8 (H, W) or (H, W, 3), to one of (size, size): ``linear @ (x, y) + offset`` is where a point goes, pixel
    edges at whole numbers; ``kernel`` and ``border`` are OpenCV's. A constant border is 255.
    """
    shift = offset + linear @ (0.5, 0.5) - 0.5  # OpenCV counts from pixel centres
    matrix = np.concatenate((linear, shift[:, None]), 1)
    return cv2.warpAffine(image, matrix, (size, size), flags=kernel, borderMode=border, borderValue=labels.UNKNOWN)
