"""Finds all faces of a photo, small ones too.

A detector knows faces from some size on, so the photo is searched enlarged as far as its smallest faces need, then at a quarter of
that size, and so on until it fits into one view. Views are tiles of bounded size that overlap, so that memory does not grow with
the photo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from wnet_arch.faces.detection import Detection, Detector, detection_view
from wnet_arch.restore.frames import frame_of

#: Faces are looked for from this side of the frame on, in pixels of the photo, unless another is asked for. Of 64 CelebA faces
#: that were reduced to a frame of 12 pixels, MTCNN finds 54 on a plain and 50 on a noisy background; of 16 pixels, 62 and 61.
SMALLEST = 12
#: Photos that would be searched at more pixels than this are enlarged less, but never below their own size.
MAX_SEARCHED = 32_000_000
#: Side of a tile, and how far tiles overlap, both in pixels of the view. A face larger than the overlap may be cut by every tile;
#: it is found in the next view, at a quarter of the size, where the smallest face found is that large at the most.
TILE, OVERLAP = 2048, 256
_STEP = 4
#: A face with this share of the smallest side asked for may still be meant.
_CLEARLY = 0.8
#: Two boxes that share more than this of the smaller one's area are one face.
_SHARED = 0.5


def find_faces(detector: Detector, photo: np.ndarray, smallest: float | None = None) -> tuple[list[Detection], float]:
    """All faces of a photo, largest first, and the side of the smallest face that was looked for.

    Args:
        detector: any of :data:`wnet_arch.faces.detectors.DETECTORS`.
        photo: uint8 (H, W, 3).
        smallest: side of the smallest face's frame in pixels of the photo, however long it takes; ``None`` is :data:`SMALLEST`, or
            more in photos so large that :data:`MAX_SEARCHED` forbids it.
    """
    height, width = photo.shape[:2]
    factor = detector.smallest_frame / (smallest or SMALLEST)
    if smallest is None:
        factor = min(factor, max(1.0, (MAX_SEARCHED / (height * width)) ** 0.5))
    found = []
    for scale in _scales(factor, max(height, width)):
        for tile in _tiles(height, width, scale):
            found += _in_tile(detector.find, photo, tile, scale)
    faces = _without_doubles(found) or _last_try(detector, photo, smallest or 0)
    return sorted(faces, key=lambda one: (-one.area, one.box)), detector.smallest_frame / factor


def _last_try(detector: Detector, photo: np.ndarray, smallest: float) -> list[Detection]:
    """Faces that fill the photo, or are no more than likely, as ``detect`` looks for them; in a small copy, which it may pad. It
    knows of no smallest face, so those that are clearly smaller are left out.
    """
    view, _ = detection_view(photo)
    factors = np.array((photo.shape[1] / view.shape[1], photo.shape[0] / view.shape[0]))
    found = [_placed(one, factors, (0, 0)) for one in detector.detect(view)]
    return [one for one in found if frame_of(one, detector.name).side >= _CLEARLY * smallest]


def _scales(first: float, longer_side: int) -> Iterator[float]:
    yield first
    while longer_side * first > TILE:
        first /= _STEP
        yield first


def _tiles(height: int, width: int, scale: float) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, right, bottom of tiles that cover the photo, in its pixels."""
    side, step = round(TILE / scale), round((TILE - OVERLAP) / scale)
    for top in range(0, max(height - (side - step), 1), step):
        for left in range(0, max(width - (side - step), 1), step):
            yield left, top, min(left + side, width), min(top + side, height)


def _in_tile(find: Callable[[np.ndarray], list[Detection]], photo: np.ndarray, tile: tuple, scale: float) -> list[Detection]:
    """Faces of a tile in the photo's pixels. Those at a border inside the photo are cut off there, and whole in another view."""
    left, top, right, bottom = tile
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    kernel = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    view = cv2.resize(photo[top:bottom, left:right], size, interpolation=kernel)
    factors = np.array(((right - left) / size[0], (bottom - top) / size[1]))
    height, width = photo.shape[:2]
    inner = np.array((left > 0, top > 0, right < width, bottom < height))
    whole = []
    for one in find(view):
        x0, y0, x1, y1 = one.box
        if not (inner & (np.array((x0, y0, size[0] - x1, size[1] - y1)) < 1)).any():
            whole.append(_placed(one, factors, (left, top)))
    return whole


def _placed(one: Detection, factors: np.ndarray, corner: tuple[int, int]) -> Detection:
    box = np.array(one.box).reshape(2, 2) * factors + corner
    five = None if one.five is None else ((one.five + 0.5) * factors + corner - 0.5).astype(np.float32)
    return Detection(tuple(box.ravel().tolist()), one.score, five)


def _without_doubles(faces: list[Detection]) -> list[Detection]:
    """Of boxes that lie over each other, the surest."""
    kept: list[Detection] = []
    boxes = np.zeros((0, 4))
    for face in sorted(faces, key=lambda one: (-one.score, one.box)):
        box = np.array(face.box)
        shared = (np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])).clip(min=0).prod(1)
        smaller = np.minimum((boxes[:, 2:] - boxes[:, :2]).prod(1), face.area)
        if not (shared > _SHARED * smaller).any():
            kept.append(face)
            boxes = np.concatenate((boxes, box[None]))
    return kept
