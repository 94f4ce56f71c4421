"""Which way up a photo is, by its faces.

Detectors know upright faces. In a photo that lies on its side they find few, with low scores, and guess the points of faces as if
these stood upright; a network would paste an upright face there. So where what is found in a photo as it stands is not sure, the
photo is searched again turned by a quarter, a half, and three quarters, and the faces of that view are taken in which they are
surer by far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wnet_arch.faces.align import Tilted, five_point_frame
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.restore import frames
from wnet_arch.restore.search import find_faces

#: Mean of :func:`sureness` from which a photo's faces stand upright. Over 150 photos with 523 faces (CelebA's in groups, alone, and
#: tilted by up to 50 degrees; Helen's) MTCNN reached it in 129 of the 142 in which it found faces as they stood, and in 2 of
#: 450 turned views. With what follows all 142 were left as they stood, and of them turned 397 of 426 were put right; the others
#: have one face each.
SURE = 2.0
#: What a turned view must have beyond the photo as it stands: this multiple in sum, this much more, and one face that is this sure.
_TIMES, _MORE, _ONE = 1.5, 1.0, 1.5
#: No single face counts for more; none that is turned further counts at all, since it stands upright in another view.
_MOST, _LARGEST_TILT = 4.0, 60.0


@dataclass(frozen=True)
class Upright:
    """A photo turned so that its faces stand upright.

    Attributes:
        photo: uint8 (H, W, 3), the turned photo.
        faces: found in it, largest first.
        smallest: side of the smallest face that was looked for.
        quarters: quarter turns counter-clockwise, as ``numpy.rot90`` counts, from the photo as it stands.
        views: how many views were searched.
    """

    photo: np.ndarray
    faces: list[Detection]
    smallest: float
    quarters: int
    views: int


def find_upright(detector: Detector, photo: np.ndarray, smallest: float | None = None, turns: bool = True) -> Upright:
    """The faces of a photo in the view in which they are surest.

    Args:
        detector: any of :data:`wnet_arch.faces.detectors.DETECTORS`.
        photo: uint8 (H, W, 3).
        smallest: see :func:`wnet_arch.restore.search.find_faces`.
        turns: whether turned views may be searched; they are where the photo as it stands has no sure faces.
    """
    found, reached = find_faces(detector, photo, smallest)
    as_it_is = Upright(photo, found, reached, 0, 1)
    sure = [sureness(face, detector.name) for face in found]
    if not turns or (sure and np.mean(sure) >= SURE):
        return as_it_is
    best, most, needed = as_it_is, 0.0, max(_TIMES * sum(sure), sum(sure) + _MORE)
    for quarters in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(photo, quarters))
        faces, reached = find_faces(detector, turned, smallest)
        each = [sureness(face, detector.name) for face in faces]
        if sum(each) > max(most, needed) and max(each) >= _ONE:
            best, most = Upright(turned, faces, reached, quarters, 1), sum(each)
    return replace(best, views=4)


def sureness(face: Detection, detector: str) -> float:
    """How sure it is that a face is there and stands upright, 0 to 4: the decimal logarithm of odds, roughly.

    Of networks, by the chance they give, where their five points fit the box and are not turned by more than 60 degrees; of dlib,
    four times the score: that was 0.4 to 3 for 29 upright faces of Helen, and up to 0.3 for what it found in these photos turned.
    """
    if detector == "dlib":
        return float(np.clip(4 * face.score, 0, _MOST))
    if face.five is not None:
        tilt = abs(frames.tilt(five_point_frame(face.five)))
        if not (frames.points_fit(face, detector) and tilt <= _LARGEST_TILT):
            return 0.0
    return float(min(_MOST, -np.log10(max(1 - face.score, 10**-_MOST))))


def box_as_it_stands(box: Sequence[float], quarters: int, height: int, width: int) -> tuple[float, float, float, float]:
    """A box in the turned photo, in pixels of the photo as it stands, which is ``height`` by ``width``."""
    corners = _as_it_stands(np.reshape(box, (2, 2)), quarters, height, width)
    return (*corners.min(0).tolist(), *corners.max(0).tolist())


def points_as_they_stand(points: np.ndarray, quarters: int, height: int, width: int) -> np.ndarray:
    """Points (N, 2), pixel centres at whole numbers, likewise."""
    return (_as_it_stands(points + 0.5, quarters, height, width) - 0.5).astype(np.float32)


def frame_as_it_stands(frame: Tilted, quarters: int, height: int, width: int) -> Tilted:
    """A square, likewise: turned by the same quarters."""
    start, *axes = _as_it_stands(np.array(((0, 0), (1, 0), (0, 1))), quarters, height, width)
    back = np.linalg.inv(np.stack(axes, 1) - start[:, None])  # from the photo as it stands to the turned one
    return Tilted(np.c_[frame.matrix[:, :2] @ back, frame.matrix[:, 2] - frame.matrix[:, :2] @ back @ start])


def _as_it_stands(points: np.ndarray, quarters: int, height: int, width: int) -> np.ndarray:
    """Points (N, 2), pixel edges at whole numbers."""
    x, y = np.asarray(points, float).T
    return np.stack(((x, y), (width - y, x), (width - x, height - y), (y, height - x))[quarters], 1)
