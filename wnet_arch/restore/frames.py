"""From a found face to the square that networks are trained on, and which network fits its size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from wnet_arch.faces import crop
from wnet_arch.faces.align import Tilted, five_point_frame
from wnet_arch.faces.detection import Detection

#: Side of every network's output; its input is this divided by its scale.
OUTPUT = 128
#: A face whose side is at most this multiple of a network's input is reduced to it; what is larger loses too much.
MARGIN = 1.25
#: Faces whose side is between these multiples of the input's, and that are turned by no more than these degrees, are cut out
#: upright and pixel by pixel. Any other square must be resampled, and the blur of that costs a network more than a face that
#: stands a little off its place: of faces tiled at 10 to 20 pixels, those cut so gained 0.3 to 0.6 dB more over bicubic
#: enlargement, turned by 25 degrees still 0.4 dB (a WNetLite x8 trained for 700 iterations).
_EXACT_SIDES, _EXACT_TILT = (1 / 1.6, MARGIN), 30.0
#: The frame of ``celeba-aligned`` by a detector's box: side by the root of the box's area, and its centre below the box's
#: (negative: above) in the same unit. Medians over 150 photos of CelebA's validation split; RetinaFace's boxes enclose what
#: MTCNN's do, and were not measured.
_FRAME_BY_BOX = {"dlib": (1.51, -0.196), "mtcnn": (1.52, -0.073), "retinaface": (1.52, -0.073)}
#: Five points are believed where their frame has the box's size and place about so. Among those 150 photos, the side scattered
#: by 0.09 and the place by 0.08.
_SIZE_AGREES, _PLACE_AGREES = (0.7, 1.4), 0.25


def frame_of(face: Detection, detector: str) -> Tilted:
    """The square around a face in the frame of ``celeba-aligned``: turned with the face by its five points, or, where it has none
    or they contradict its box, upright around the box.
    """
    if face.five is None or not points_fit(face, detector):
        return _around_box(face, detector)
    return five_point_frame(face.five)


def points_fit(face: Detection, detector: str) -> bool:
    """Whether a face has five points, and their frame has about the size and place of its box."""
    if face.five is None:
        return False
    upright, tilted = _around_box(face, detector), five_point_frame(face.five)
    ratio = tilted.side / upright.side
    shift = np.hypot(*(tilted.corners.mean(0) - upright.corners.mean(0))) / upright.side
    return bool(_SIZE_AGREES[0] < ratio < _SIZE_AGREES[1] and shift < _PLACE_AGREES)


def of_box(box: crop.Box) -> Tilted:
    """The frame of a face that is cut out already, or whose place in the photo is known."""
    return _square(box.left, box.top, box.side)


def tilt(frame: Tilted) -> float:
    """How far a frame is turned, in degrees clockwise."""
    return float(-np.degrees(np.arctan2(frame.matrix[1, 0], frame.matrix[0, 0])))


def input_square(frame: Tilted, side: int) -> Tilted:
    """The square that becomes the input, of ``side`` pixels, of a network that has only seen reduced faces: the photo's own pixels
    around the face where that does, see :data:`_EXACT_SIDES`; otherwise the frame.
    """
    if not _EXACT_SIDES[0] * side <= frame.side <= _EXACT_SIDES[1] * side or abs(tilt(frame)) > _EXACT_TILT:
        return frame
    left, top = np.round(frame.corners.mean(0) - side / 2)
    return _square(left, top, side)


def choose_scale(side: float, scales: Iterable[int]) -> int | None:
    """The scale whose input of ``OUTPUT / scale`` pixels suits a face of ``side`` pixels: the smallest input that is no smaller
    than ``side / MARGIN``. ``None``: the face is too large for all.
    """
    return max((scale for scale in scales if OUTPUT / scale * MARGIN >= side), default=None)


def told(side: float) -> float:
    """A face's side as it is told, to a tenth. One beyond a limit between networks, a whole number, never reads as if it met it."""
    short = round(float(side), 1)
    return short if short >= side or short % 1 else short + 0.1


def _around_box(face: Detection, detector: str) -> Tilted:
    ratio, below = _FRAME_BY_BOX[detector]
    left, top, right, bottom = face.box
    unit = max(face.area, 1.0) ** 0.5
    side = ratio * unit
    return _square((left + right - side) / 2, (top + bottom - side) / 2 + below * unit, side)


def _square(left: float, top: float, side: float) -> Tilted:
    return Tilted(np.array(((1 / side, 0, -left / side), (0, 1 / side, -top / side))))
