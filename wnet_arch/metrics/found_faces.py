"""Faces and landmarks of the images that are measured; found once, however many metrics ask for them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.faces.detection import Detection
from wnet_arch.faces.landmarks import NUM_POINTS, Face, LandmarkDetector, Landmarker
from wnet_arch.metrics.base import Description

#: Where a face is looked for in an SR image: by a detector in that image, or where it was found in the GT.
BOXES = ("own", "gt")
_REMEMBERED = 8192


@dataclass(frozen=True)
class Points(Description):
    """Landmarks of N images.

    Attributes:
        points: float32 (N, 68, 2), x and y in pixels, iBUG order; NaN where no face was found.
        boxes: float64 (N, 4), left, top, right, bottom of the face; NaN likewise.
    """

    points: np.ndarray
    boxes: np.ndarray


class HasBoxes(Protocol):
    """A description that says where the faces are: float64 (N, 4), see :class:`Points`."""

    @property
    def boxes(self) -> np.ndarray:
        """Left, top, right, bottom of each face; NaN where none was found."""
        ...


class FaceFinder:
    """Finds the largest face of images with dlib's detector, and its 68 landmarks.

    Args:
        box: for SR images: ``"own"`` detects in the image itself, so that a face too blurred to be found counts as missing;
            ``"gt"`` takes the box found in the GT, so that only the landmarks can differ.
        landmarker: one of :data:`wnet_arch.faces.landmarks.LANDMARKERS`.
        device: where the landmarker runs, if it is a network.

    Raises:
        UsageError: another ``box`` or landmarker.
        WeightsError: dlib or a file is not there.
    """

    #: Faces by landmarker and content of the image, the oldest first; common to all finders of a process.
    _memory: OrderedDict[tuple, Face | None] = OrderedDict()

    def __init__(self, box: str = "own", landmarker: str = "dlib", device: str = "cpu"):
        if box not in BOXES:
            raise UsageError(f"box: '{box}' is not a way to look for a face{did_you_mean(str(box), BOXES)}")
        self.box = box
        self.detector = LandmarkDetector(detector="dlib", landmarker=landmarker, device=device)

    @property
    def _landmarker(self) -> Landmarker:
        return cast(Landmarker, self.detector.landmarker)  # one was asked for

    def find(self, images: list[np.ndarray], reference: HasBoxes | None = None) -> Points:
        """Landmarks of images, uint8 (H, W, 3) each; ``reference`` are those of the GT, if these are SR images."""
        points = np.full((len(images), NUM_POINTS, 2), np.nan, np.float32)
        boxes = np.full((len(images), 4), np.nan)
        for index, image in enumerate(images):
            if reference is None or self.box == "own":
                face = self._largest(image)
            else:
                face = self._within(image, reference.boxes[index])
            if face is not None:
                points[index], boxes[index] = face.points, face.box
        return Points(points, boxes)

    def _largest(self, image: np.ndarray) -> Face | None:
        content = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        key = (self._landmarker.name, image.shape, content)
        if key not in self._memory:
            self._memory[key] = self.detector.largest(image)
            if len(self._memory) > _REMEMBERED:
                self._memory.popitem(last=False)
        return self._memory[key]

    def _within(self, image: np.ndarray, box: np.ndarray) -> Face | None:
        if np.isnan(box).any():
            return None
        left, top, right, bottom = box.tolist()
        detection = Detection((left, top, right, bottom), 0.0)
        return Face(detection.box, self._landmarker.landmarks(image, detection))
