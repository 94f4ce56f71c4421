"""From one photo to the images of a face set: crop, resize, reduce, parsing map, landmarks, PNG. Runs in worker processes."""

from __future__ import annotations

import errno
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

from wnet_arch.data import depth
from wnet_arch.data.face_lmdb import LANDMARKS, WIDE, encode_landmarks, encode_png, reduce_bicubic, wide_side
from wnet_arch.data.photos import Rejected, load_labels, load_photo
from wnet_arch.errors import WNetError
from wnet_arch.faces import align, labels
from wnet_arch.faces import crop as crops
from wnet_arch.faces.landmark_files import LandmarkFile
from wnet_arch.faces.landmarks import NUM_POINTS, Face, LandmarkDetector
from wnet_arch.faces.parsing import PARSERS, Parser

#: Errors of opening a photo that lie in the photo: its rights, its name, a link that leads nowhere.
_OF_THE_FILE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG, errno.ENXIO)
CROPS = ("none", "celeba-aligned", "landmarks", "five-point")

__all__ = ["CROPS", "PARSERS", "CroppedFace", "FaceMaker", "Rejected", "run_worker", "shapes", "start_worker"]


def shapes(size: int, scales: tuple[int, ...], landmarks: bool = False, surround: float = 0) -> dict[str, tuple[int, int, int]]:
    """The LMDBs of a set, by name without ``.lmdb``, and the (h, w, c) of what each holds."""
    found = {"gt": (size, size, 3), **{f"lq_x{scale}": (size // scale, size // scale, 3) for scale in scales}}
    found["parsing"] = (size, size, 1)
    if landmarks:
        found[LANDMARKS] = (NUM_POINTS, 2, 1)
    if surround:
        found[WIDE] = (wide_side(size, surround), wide_side(size, surround), 3)
    return found


class CroppedFace(NamedTuple):
    """What :meth:`FaceMaker.face` makes of a photo.

    ``frame``: the square cut out, in the photo. ``gt``: the HR image, RGB uint8 (size, size, 3). ``parsing``: its map, uint8
    (size, size). ``points``: landmarks in pixels of ``gt``, (68, 2), or ``None``.
    """

    frame: crops.Box | align.Tilted
    gt: np.ndarray
    parsing: np.ndarray
    points: np.ndarray | None


@dataclass
class FaceMaker:
    """Makes the images of a set from one photo after another.

    Args:
        images: folder of the photos.
        labels: folder of their label maps, see :func:`wnet_arch.data.photos.load_labels`, or ``None``.
        crop: one of :data:`CROPS`.
        size: side of the HR image in pixels.
        scales: by which it is reduced.
        margin: for the crop ``landmarks``: side of the square as a multiple of the landmarks' box.
        min_box: smallest longer side of the landmarks' box in pixels of the photo.
        detector: finds the face and its points, needed by the crops and the parser that use them, and to store landmarks.
        parser: makes the map, or ``None``. With neither labels nor parser the map is all unknown.
        surround: store the face with so much of its frame's side around it, too; 0: do not.
        landmarks: store them, too. Where neither crop nor parser needs the face, a photo without one is kept.
    """

    images: Path
    labels: Path | None
    crop: str
    size: int
    scales: tuple[int, ...]
    margin: float = 1.8
    min_box: int = 64
    detector: LandmarkDetector | LandmarkFile | None = None
    parser: Parser | None = None
    landmarks: bool = False
    surround: float = 0

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
            self._check_disk(why.__cause__, name)
            return {"file": name, "reason": why.reason, "detail": why.detail}, None
        outcome = {"file": name, "digest": digest, "side": face.frame.side}
        images = {"gt": encode_png(face.gt), "parsing": encode_png(face.parsing)}
        for scale in self.scales:
            images[f"lq_x{scale}"] = encode_png(reduce_bicubic(face.gt, scale))
        if self.surround:
            images[WIDE] = encode_png(face.frame.wide(photo, self.surround, wide_side(self.size, self.surround)))
        if self.landmarks:
            images[LANDMARKS] = encode_landmarks(face.points)
            outcome["landmarks"] = face.points is not None
        return outcome, images

    def _check_disk(self, cause: BaseException | None, name: str) -> None:
        """Raises :class:`WNetError` where not the photo is at fault, but the disk: nothing is recorded of it, then."""
        if not isinstance(cause, OSError) or cause.filename is None:
            return
        if not self.images.is_dir():
            raise WNetError(f"{self.images} is gone: the same command continues when it is there again")
        if cause.errno not in _OF_THE_FILE:
            reason = cause.strerror or type(cause).__name__
            raise WNetError(f"cannot read {self.images / name}: {reason}; when that is mended, the same command continues")

    def face(self, photo: np.ndarray, name: str) -> CroppedFace:
        """Crops a photo, uint8 (H, W, 3).

        Raises:
            Rejected: the photo does not suit the crop rule, has no face, or no usable label map, or the face is all but black
                or white.
        """
        height, width = photo.shape[:2]
        found = self._find(self.detector, photo, name) if self.detector else None
        frame = self._frame(found, height, width)
        points = None if found is None or found.points is None else self._inside(frame.points(found.points, self.size))
        whole_map = load_labels(self.labels, name, height, width) if self.labels else None
        gt = frame.image(photo, self.size)
        extreme = depth.extreme(gt)
        if extreme:
            raise Rejected(extreme, f"values of {gt.min()} to {gt.max()}")
        if whole_map is not None:
            parsing = frame.map(whole_map, self.size)
        elif self.parser:
            parsing = frame.hide_outside(self.parser.parse(gt, points), height, width)
        else:
            parsing = np.full((self.size, self.size), labels.UNKNOWN, np.uint8)
        return CroppedFace(frame, gt, parsing, points)

    def _find(self, detector: LandmarkDetector | LandmarkFile, photo: np.ndarray, name: str) -> Face | None:
        face = detector.find(photo, name)
        if not self._needs_face:
            return face
        if face is None:
            raise Rejected("not in the landmark file" if isinstance(detector, LandmarkFile) else "no face")
        side = crops.five_point_side(_five(face)) if face.points is None else crops.landmark_side(face.points)
        if side < self.min_box:
            raise Rejected("face too small", f"{side:.0f} pixels")
        return face

    @property
    def _needs_face(self) -> bool:
        return self.crop in ("landmarks", "five-point") or (self.parser is not None and self.parser.needs_points)

    def _inside(self, points: np.ndarray) -> np.ndarray | None:
        """Points in the HR image, unless they are only to be stored and belong to a face outside of the frame."""
        middle = points.mean(0)
        if (middle >= -0.5).all() and (middle < self.size - 0.5).all():
            return points
        if self._needs_face:  # those of the photo in another size, say
            where = f"their middle is at {middle[0]:.0f}, {middle[1]:.0f} of {self.size} pixels"
            raise Rejected("landmarks outside the crop", where)
        return None

    def _frame(self, face: Face | None, height: int, width: int) -> crops.Box | align.Tilted:
        if self.crop == "celeba-aligned":
            if (width, height) != crops.CELEBA_ALIGNED_SIZE:
                raise Rejected("not 178x218", f"{width}x{height}")
            return crops.CELEBA_ALIGNED
        if self.crop == "landmarks":
            box = crops.around_landmarks(_points(face), self.margin, height, width)
            if crops.padding(box, height, width) > crops.MAX_PADDING:
                raise Rejected("face too large", f"crop of {box.side} pixels from a photo of {width}x{height}")
            return box
        if self.crop == "five-point":
            five = _five(face)
            if align.is_mirrored(five):
                raise Rejected("points exchanged", "of each pair, the eye or corner of the mouth on the image's left comes first")
            tilted = align.five_point_frame(five)
            share = tilted.outside_share(height, width)
            if share > align.MAX_OUTSIDE:
                raise Rejected("face too large", f"{share:.0%} of the crop lie outside the photo")
            return tilted
        if width != height:
            raise Rejected("not square", f"{width}x{height}")
        return crops.Box(0, 0, width, height)


def _points(face: Face | None) -> np.ndarray:
    """The 68 points, for a crop rule that needs them."""
    if face is None or face.points is None:
        raise Rejected("no face", "it has no 68 points")
    return face.points


def _five(face: Face | None) -> np.ndarray:
    """The five points, for a crop rule that needs them."""
    if face is None or face.five is None:
        raise Rejected("no face", "it has no five points")
    return face.five


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
    if _maker is None:
        raise RuntimeError("start_worker() prepares a process before it takes photos")
    return _maker.make(name)
