"""Faces in a photo: what a detector finds, how it searches, and which of several faces is meant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np

from wnet_arch.errors import UsageError, WeightsError, did_you_mean, install_extra

#: Which of several faces is meant.
CHOICES = ("largest", "centre")
#: Detectors know faces of a few dozen pixels and more, and cost time in proportion to the area, so photos are brought to a
#: side within these bounds first.
_SMALLEST_SIDE, _LARGEST_SIDE = 320, 1024
#: Where no face is found, the photo is tried again with its border repeated by this share of the longer side: a face that
#: fills the photo lacks the surroundings that detectors were trained with.
_RETRY_MARGIN = 0.25
#: A face that scores less than this share of the surest one is not chosen. Where dlib takes a pattern of the background for a
#: face, often a large one, it scores so: 0.06 in skimage's astronaut enlarged threefold, the face 1.5.
_DOUBTFUL = 0.25


@dataclass(frozen=True)
class Detection:
    """One face.

    ``box``: left, top, right, bottom in pixels of the photo; may reach out of it. What a box encloses differs between
    detectors. ``score``: higher is surer; comparable only within one detector. ``five``: float32 (5, 2), x and y of the eye
    on the image's left, the other eye, the nose's tip, the mouth's corner on the image's left, the other corner; pixel
    centres at whole numbers. ``None`` where the detector does not say.
    """

    box: tuple[float, float, float, float]
    score: float
    five: np.ndarray | None = None

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class Detector(ABC):
    """Finds faces. Can be sent to worker processes: models are loaded on first use and never pickled."""

    name: str
    #: Side in pixels of the smallest face that :meth:`find` finds reliably, measured on the frame that networks are trained on
    #: (:mod:`wnet_arch.faces.align`), which is about 1.5 times as wide as the face itself.
    smallest_frame: int

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Finds all faces of a photo, largest first.

        Args:
            rgb: uint8 (H, W, 3).
        """
        rgb = np.ascontiguousarray(rgb)
        found = _search(self._find, rgb)
        if not found:
            found = _search_padded(self._find, rgb)
        found = found or _search(self._find_weak, rgb)
        return sorted(found, key=lambda one: (-one.area, one.box))

    def find(self, view: np.ndarray) -> list[Detection]:
        """Faces of a picture, uint8 (H, W, 3), at the size it has: for those who choose the size themselves. In no order."""
        return self._find(np.ascontiguousarray(view))

    @abstractmethod
    def _find(self, rgb: np.ndarray) -> list[Detection]:
        """Faces of a photo as it is."""

    def _find_weak(self, rgb: np.ndarray) -> list[Detection]:
        """At most one face that is not sure, asked for where there is none else. By default there is none."""
        return []


def choose(faces: list[Detection], rule: str, height: int, width: int) -> Detection | None:
    """The face that is meant among several, or ``None`` where there is none.

    What scores less than a quarter of the surest face is left out.

    Args:
        faces: of one photo, by one detector.
        rule: ``largest`` box, or ``centre``: the box whose middle is nearest to the photo's.
        height: of the photo.
        width: of the photo.
    """
    surest = max((face.score for face in faces), default=0)
    faces = [face for face in faces if face.score >= _DOUBTFUL * surest] if surest > 0 else faces
    if rule == "centre":
        return min(faces, key=lambda face: (_distance(face.box, height, width), -face.area), default=None)
    if rule == "largest":
        return max(faces, key=lambda face: face.area, default=None)
    raise UsageError(f"no way to choose a face is called '{rule}'" + did_you_mean(rule, CHOICES))


def detection_view(rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """The photo at a size that detectors are good at, and the factor by which it was enlarged."""
    height, width = rgb.shape[:2]
    factor = max(1.0, _SMALLEST_SIDE / min(height, width))
    factor = min(factor, _LARGEST_SIDE / max(height, width))
    if factor == 1.0:
        return rgb, factor
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR), factor


def import_dlib():
    """The module dlib.

    Raises:
        WeightsError: it is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise WeightsError(
            f"this needs dlib: run `{install_extra('landmarks')}`, or choose another detector and landmarker"
        ) from error
    return dlib


def _search(find, rgb: np.ndarray) -> list[Detection]:
    """Faces of a photo, searched at the size that detectors are good at."""
    view, factor = detection_view(rgb)
    return [_scaled(one, factor) for one in find(view)]


def _search_padded(find, rgb: np.ndarray) -> list[Detection]:
    """The same with a border around the photo, or around a small copy of a large one: a long strip would become a huge square."""
    small, factor = detection_view(rgb) if max(rgb.shape[:2]) > _LARGEST_SIDE else (rgb, 1.0)
    margin = round(_RETRY_MARGIN * max(small.shape[:2]))
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    return [_scaled(_moved(one, -margin), factor) for one in _search(find, padded)]


def _distance(box: tuple, height: int, width: int) -> float:
    left, top, right, bottom = box
    return (left + right - width) ** 2 + (top + bottom - height) ** 2


def _moved(one: Detection, by: float) -> Detection:
    left, top, right, bottom = one.box
    five = None if one.five is None else one.five + np.float32(by)
    return Detection((left + by, top + by, right + by, bottom + by), one.score, five)


def _scaled(one: Detection, factor: float) -> Detection:
    """The face in a photo that was enlarged by ``factor`` to find it."""
    five = None if one.five is None else ((one.five + 0.5) / factor - 0.5).astype(np.float32)
    left, top, right, bottom = (float(side / factor) for side in one.box)
    return Detection((left, top, right, bottom), float(one.score), five)
