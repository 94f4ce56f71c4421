"""Faces and their 68 landmarks, by dlib: HOG detector and regression trees (extra ``landmarks``).

Points are in iBUG order: 0-16 jaw from the image's left ear to its right ear, 17-21 and 22-26 brows, 27-30 bridge and
31-35 lower edge of the nose, 36-41 and 42-47 eyes, 48-59 outer and 60-67 inner edge of the lips. "Left" among these is the
image's left, which is the person's right.

The landmark model was trained on iBUG 300-W, whose terms exclude commercial use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from wnet_arch import weights
from wnet_arch.errors import WeightsError

WEIGHTS = "landmarks68-dlib"
NUM_POINTS = 68
#: Which point of a face each point of the mirrored face is: the image's left and right change places.
FLIP = np.array(
    [
        *range(16, -1, -1), *range(26, 16, -1),  # jaw, brows
        *range(27, 31), *range(35, 30, -1),  # nose: bridge, lower edge
        *range(45, 41, -1), 47, 46, *range(39, 35, -1), 41, 40,  # eyes: upper lid from corner to corner, then lower lid
        *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),  # lips: outer, inner edge
    ]
)  # fmt: skip
FLIP.setflags(write=False)
#: The detector knows faces of 80 pixels and more; it costs time in proportion to the area, so photos are brought to a
#: side within these bounds first.
_SMALLEST_SIDE, _LARGEST_SIDE = 320, 1024


@dataclass(frozen=True)
class Face:
    """One face. ``box``: left, top, right, bottom in pixels; ``points``: float32 (68, 2), x and y in pixels."""

    box: tuple[int, int, int, int]
    points: np.ndarray

    @property
    def area(self) -> int:
        """Area of the box in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


def _import_dlib():
    try:
        import dlib
    except ImportError as error:
        raise WeightsError("landmarks need dlib: run `pip install 'wnet-fsr[landmarks]'`") from error
    return dlib


@lru_cache(maxsize=1)
def _models(path: str):
    dlib = _import_dlib()
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(path)


class LandmarkDetector:
    """Finds faces and their landmarks. Can be sent to worker processes: dlib's models are loaded on first use.

    Args:
        offline: folder with the landmark file, instead of the cache; see :func:`wnet_arch.weights.resolve`.
        download: whether the landmark file may be fetched when it is not there.

    Raises:
        WeightsError: dlib is not installed, or the landmark file is not there.
    """

    def __init__(self, offline: str | None = None, download: bool = True):
        _import_dlib()
        self.path = str(weights.resolve(WEIGHTS, offline=offline, download=download))

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """Finds all faces of a photo, largest first.

        Args:
            rgb: uint8 (H, W, 3).
        """
        detector, predictor = _models(self.path)
        rgb = np.ascontiguousarray(rgb)
        view, factor = _detection_view(rgb)
        faces = []
        for found in detector(view, 0) or detector(view, 1):
            sides = np.array((found.left(), found.top(), found.right(), found.bottom())) / factor
            if factor >= 1:  # dlib rounds points to pixels: the enlarged photo gives finer ones
                points = (_points(predictor(view, found)) + 0.5) / factor - 0.5
            else:
                points = _points(predictor(rgb, _import_dlib().rectangle(*sides.round().astype(int).tolist())))
            faces.append(Face(tuple(sides.round().astype(int).tolist()), points))
        return sorted(faces, key=lambda face: (-face.area, face.box))

    def largest(self, rgb: np.ndarray) -> Face | None:
        """The largest face of a photo, uint8 (H, W, 3), or ``None``."""
        return next(iter(self.detect(rgb)), None)


def flip(points: np.ndarray, width: int) -> np.ndarray:
    """Returns the points of the mirrored image: x mirrored, left and right points exchanged.

    Args:
        points: (68, 2), x and y in pixels, pixel centres at whole numbers; NaN stays NaN.
        width: of the image in pixels.
    """
    mirrored = points[FLIP]
    mirrored[:, 0] = width - 1 - mirrored[:, 0]
    return mirrored


def _points(shape) -> np.ndarray:
    return np.array([(p.x, p.y) for p in shape.parts()], np.float32)


def _detection_view(rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """The photo at a size the detector is good at, and the factor by which it was enlarged."""
    height, width = rgb.shape[:2]
    factor = max(1.0, _SMALLEST_SIDE / min(height, width))
    factor = min(factor, _LARGEST_SIDE / max(height, width))
    if factor == 1.0:
        return rgb, factor
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR), factor
