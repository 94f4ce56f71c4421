"""From one photo to the images of a face set: crop, resize, reduce, parsing map, landmarks, PNG. Runs in worker processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from wnet_arch.data.face_lmdb import LANDMARKS, encode_landmarks, encode_png
from wnet_arch.data.photos import Rejected, load_labels, load_photo
from wnet_arch.faces import crop as crops
from wnet_arch.faces import labels, parse_landmarks
from wnet_arch.faces.landmarks import NUM_POINTS, LandmarkDetector

CROPS = ("none", "celeba-aligned", "landmarks")
PARSERS = ("landmarks",)


def shapes(size: int, scales: tuple[int, ...], landmarks: bool = False) -> dict[str, tuple[int, int, int]]:
    """The LMDBs of a set, by name without ``.lmdb``, and the (h, w, c) of what each holds."""
    found = {"gt": (size, size, 3), **{f"lq_x{scale}": (size // scale, size // scale, 3) for scale in scales}}
    found["parsing"] = (size, size, 1)
    if landmarks:
        found[LANDMARKS] = (NUM_POINTS, 2, 1)
    return found


class CroppedFace(NamedTuple):
    """What :meth:`FaceMaker.face` makes of a photo.

    ``box``: the square cut out, in the photo. ``gt``: the HR image, RGB uint8 (size, size, 3). ``parsing``: its map, uint8
    (size, size). ``points``: landmarks in pixels of ``gt``, (68, 2), or ``None``.
    """

    box: crops.Box
    gt: np.ndarray
    parsing: np.ndarray
    points: np.ndarray | None


@dataclass
class FaceMaker:
    """Makes the images of a set from one photo after another.

    Args:
        images: folder of the photos.
        labels: folder of their label maps, ``STEM.png``, or ``None``.
        crop: one of :data:`CROPS`.
        size: side of the HR image in pixels.
        scales: by which it is reduced.
        margin: for the crop ``landmarks``: side of the square as a multiple of the landmarks' box.
        min_face: smallest longer side of the landmarks' box in pixels of the photo.
        detector: finds landmarks, needed by the crop and the parser of that name, and to store them.
        parser: ``"landmarks"`` or ``None``. With neither labels nor parser the map is all unknown.
        landmarks: store them, too. Where neither crop nor parser needs them, a photo without a face is kept.
    """

    images: Path
    labels: Path | None
    crop: str
    size: int
    scales: tuple[int, ...]
    margin: float = 1.8
    min_face: int = 64
    detector: LandmarkDetector | None = None
    parser: str | None = None
    landmarks: bool = False

    def make(self, name: str) -> tuple[dict, dict[str, bytes] | None]:
        """Processes one photo.

        Returns:
            ``({"file", "digest", "side"}, {kind: PNG file})``, where ``digest`` is the SHA-256 of the photo's pixels and
            ``side`` that of the crop before it was resized; with ``landmarks`` also ``"landmarks"``, whether there are
            any. Or ``({"file", "reason", "detail"}, None)``.
        """
        try:
            photo = load_photo(self.images / name)
            digest = hashlib.sha256(repr(photo.shape).encode() + photo.tobytes()).hexdigest()
            face = self.face(photo, name)
        except Rejected as why:
            return {"file": name, "reason": why.reason, "detail": why.detail}, None
        outcome = {"file": name, "digest": digest, "side": face.box.side}
        images = {"gt": encode_png(face.gt), "parsing": encode_png(face.parsing)}
        for scale in self.scales:
            images[f"lq_x{scale}"] = encode_png(reduce(face.gt, scale))
        if self.landmarks:
            images[LANDMARKS] = encode_landmarks(face.points)
            outcome["landmarks"] = face.points is not None
        return outcome, images

    def face(self, photo: np.ndarray, name: str) -> CroppedFace:
        """Crops a photo, uint8 (H, W, 3).

        Raises:
            Rejected: the photo does not suit the crop rule, has no face, or has no usable label map.
        """
        height, width = photo.shape[:2]
        points = self._landmarks(photo) if self.detector else None
        box = self._box(points, height, width)
        points = None if points is None else self._inside(crops.to_box(points, box, self.size))
        whole_map = load_labels(self.labels / f"{Path(name).stem}.png", height, width) if self.labels else None
        gt = resize(crops.cut(photo, box), self.size, Image.Resampling.BICUBIC)
        if whole_map is not None:
            parsing = resize(crops.cut(whole_map, box, fill=labels.UNKNOWN), self.size, Image.Resampling.NEAREST)
        elif self.parser:
            parsing = parse_landmarks.draw(points, self.size, self.size)
            parsing = crops.outside(parsing, box, height, width)
        else:
            parsing = np.full((self.size, self.size), labels.UNKNOWN, np.uint8)
        return CroppedFace(box, gt, parsing, points)

    def _landmarks(self, photo: np.ndarray) -> np.ndarray | None:
        face = self.detector.largest(photo)
        if not self._needs_landmarks:
            return face and face.points
        if face is None:
            raise Rejected("no face")
        side = crops.landmark_side(face.points)
        if side < self.min_face:
            raise Rejected("face too small", f"{side:.0f} pixels")
        return face.points

    @property
    def _needs_landmarks(self) -> bool:
        return "landmarks" in (self.crop, self.parser)

    def _inside(self, points: np.ndarray) -> np.ndarray | None:
        """Points in the HR image, unless they are only to be stored and belong to a face outside of the frame."""
        middle = points.mean(0)
        inside = bool((middle >= -0.5).all() and (middle < self.size - 0.5).all())
        return points if inside or self._needs_landmarks else None

    def _box(self, points: np.ndarray | None, height: int, width: int) -> crops.Box:
        if self.crop == "celeba-aligned":
            if (width, height) != crops.CELEBA_ALIGNED_SIZE:
                raise Rejected("not 178x218", f"{width}x{height}")
            return crops.CELEBA_ALIGNED
        if self.crop == "landmarks":
            box = crops.around_landmarks(points, self.margin, height, width)
            if crops.padding(box, height, width) > crops.MAX_PADDING:
                raise Rejected("face too large", f"crop of {box.side} pixels from a photo of {width}x{height}")
            return box
        if width != height:
            raise Rejected("not square", f"{width}x{height}")
        return crops.Box(0, 0, width, height)


def resize(image: np.ndarray, size: int, kernel: Image.Resampling) -> np.ndarray:
    """Resizes a square image, uint8 (H, W) or (H, W, 3), with Pillow; one that has the size is returned as it is."""
    if image.shape[:2] == (size, size):
        return image
    return np.array(Image.fromarray(image).resize((size, size), kernel))


def reduce(gt: np.ndarray, scale: int) -> np.ndarray:
    """The LR image of an HR image, uint8 (H, W, 3): Pillow's bicubic filter on the 8-bit image, 8-bit result."""
    return resize(gt, gt.shape[0] // scale, Image.Resampling.BICUBIC)


_maker: FaceMaker | None = None


def start_worker(maker: FaceMaker) -> None:
    """Prepares a worker process."""
    global _maker
    _maker = maker
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed main process would otherwise leave its workers waiting for work for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def run_worker(name: str) -> tuple[dict, dict[str, bytes] | None]:
    """:meth:`FaceMaker.make` of the worker's own maker."""
    return _maker.make(name)
