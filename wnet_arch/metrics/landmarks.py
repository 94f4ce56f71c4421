"""Landmark distance: how far the 68 landmarks of an SR face lie from those of the true face."""

from __future__ import annotations

import numpy as np

from wnet_arch.metrics.base import Images, Metric, check_counts, check_images, choose_device
from wnet_arch.metrics.found_faces import FaceFinder, Points

#: Outer corners of the eyes. Their distance in the GT is the unit of the normalised distance, as in the 300-W challenge.
_OUTER_CORNERS = (36, 45)


class LandmarkDistance(Metric[Points]):
    """Mean Euclidean distance of the 68 landmarks, in pixels, and divided by the distance of the GT's outer eye corners.

    The paper measures the former with OpenFace's landmarks. A face that is not found in one of the images gives NaN.

    Args:
        box, landmarker: see :class:`wnet_arch.metrics.found_faces.FaceFinder`.
        device: see :func:`wnet_arch.metrics.base.choose_device`. dlib's landmarks are always computed on the CPU.
    """

    name = "landmarks"
    better = "lower"
    units = {"landmark_distance": "px", "landmark_nme": "of eye distance"}

    def __init__(self, box: str = "own", landmarker: str = "dlib", device: str = "auto"):
        self.finder = FaceFinder(box, landmarker, str(choose_device(device)))
        self.backbone = f"68 landmarks of {landmarker} in dlib's boxes, box {box}"

    def describe(self, images: Images, reference: Points | None = None) -> Points:
        """The 68 landmarks of the largest face; NaN where none is found."""
        return self.finder.find(check_images(images), reference)

    def compare(self, sr: Points, gt: Points) -> dict[str, np.ndarray]:
        """``landmark_distance`` in pixels; and ``landmark_nme``, divided by the distance of the outer eye corners of the GT."""
        check_counts(sr, gt)
        ours, true = sr.points.astype(np.float64), gt.points.astype(np.float64)
        distance = np.linalg.norm(ours - true, axis=2).mean(1)
        right, left = (true[:, corner] for corner in _OUTER_CORNERS)
        return {"landmark_distance": distance, "landmark_nme": distance / np.linalg.norm(right - left, axis=1)}
