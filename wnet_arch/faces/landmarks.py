"""68 landmarks of faces by name: dlib's regression trees or FAN, on boxes of any detector.

============== ================================================== =============================================
name           method                                             needs
============== ================================================== =============================================
dlib           regression trees (Kazemi, Sullivan, CVPR 2014)     extra ``landmarks``, file ``landmarks68-dlib``
face-alignment FAN, 2D (Bulat, Tzimiropoulos, ICCV 2017)          extra ``fan``, file ``landmarks68-fan``
============== ================================================== =============================================

Points are in iBUG order: 0-16 jaw from the image's left ear to its right ear, 17-21 and 22-26 brows, 27-30 bridge and
31-35 lower edge of the nose, 36-41 and 42-47 eyes, 48-59 outer and 60-67 inner edge of the lips. "Left" among these is the
image's left, which is the person's right.

dlib's model was trained on iBUG 300-W, whose terms exclude commercial use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np

from wnet_arch import weights
from wnet_arch.errors import UsageError, WeightsError, did_you_mean, install_extra
from wnet_arch.faces.detection import CHOICES, Detection, choose, import_dlib
from wnet_arch.faces.detectors import DEFAULT, create_detector

LANDMARKERS = ("dlib", "face-alignment")
WEIGHTS = "landmarks68-dlib"
FAN_WEIGHTS = "landmarks68-fan"
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
#: Side in pixels of the box on which dlib's trees run. They round points to pixels, so small faces are enlarged first.
_DLIB_SIDE = 200
#: Side of the box dlib's detector would draw, in units of the spread (root mean square distance to their mean) of the five
#: points; its centre is their mean. Medians over photos of Helen and CelebA in which both dlib and MTCNN found the face:
#: 3.61 and 3.86, scattering by a tenth, as dlib's boxes come in steps of a fifth; the centre was off by 0.1 at most.
_DLIB_BOX_PER_SPREAD = 3.73


@dataclass(frozen=True)
class Face:
    """One face. ``box``: left, top, right, bottom in pixels, as its detector draws it; ``points``: float32 (68, 2), x and y in
    pixels, or ``None`` where only five are known; ``five``: the five points of :class:`~wnet_arch.faces.detection.Detection`
    or those derived from ``points``."""

    box: tuple[float, float, float, float]
    points: np.ndarray | None
    five: np.ndarray | None = None

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class Landmarker(Protocol):
    """Finds the 68 points of a face that a detector has found."""

    name: str

    def landmarks(self, rgb: np.ndarray, detection: Detection) -> np.ndarray:
        """Points of one face of a photo, uint8 (H, W, 3): float32 (68, 2), x and y in pixels of the photo."""
        ...


def create_landmarker(name: str, device: str = "cpu", offline: str | None = None, download: bool = True) -> Landmarker:
    """The landmarker called ``name``.

    Args:
        name: one of :data:`LANDMARKERS`.
        device: ``cpu``, ``cuda``, ... for FAN; dlib runs on the CPU.
        offline: folder with the weights instead of the cache; see :func:`wnet_arch.weights.resolve`.
        download: whether weights may be fetched when they are not there.

    Raises:
        UsageError: there is no landmarker of that name.
        WeightsError: its package is not installed, or the weights are not there.
    """
    if name == "dlib":
        return DlibLandmarker(offline, download)
    if name == "face-alignment":
        return FanLandmarker(device, offline, download)
    raise UsageError(f"no landmarker is called '{name}'" + did_you_mean(name, LANDMARKERS))


class DlibLandmarker:
    """dlib's 68-point model. Can be sent to worker processes: it is loaded on first use."""

    name, weights = "dlib", WEIGHTS

    def __init__(self, offline: str | None = None, download: bool = True):
        import_dlib()
        self.path = str(weights.resolve(WEIGHTS, offline=offline, download=download))

    def landmarks(self, rgb: np.ndarray, detection: Detection) -> np.ndarray:
        """Points of one face, float32 (68, 2).

        Args:
            rgb: uint8 (H, W, 3).
            detection: box of dlib's detector, or of any other together with its five points.
        """
        box = dlib_box(detection)
        view, corner, factor = _cut_around(rgb, box, _DLIB_SIDE)
        left, top, right, bottom = ((np.reshape(box, (2, 2)) - corner) * factor).ravel().round().astype(int).tolist()
        shape = _dlib_predictor(self.path)(view, import_dlib().rectangle(left, top, right - 1, bottom - 1))
        points = np.array([(p.x, p.y) for p in shape.parts()])
        return ((points + 0.5) / factor + corner - 0.5).astype(np.float32)


@lru_cache(maxsize=1)
def _dlib_predictor(path: str):
    return import_dlib().shape_predictor(path)


def dlib_box(detection: Detection) -> tuple[float, float, float, float]:
    """The box that dlib's detector would have drawn: its own, or one estimated from five points."""
    if detection.five is None:
        return detection.box
    centre = detection.five.mean(0, dtype=np.float64) + 0.5
    spread = np.sqrt(((detection.five + 0.5 - centre) ** 2).sum(1).mean())
    half = max(1.0, _DLIB_BOX_PER_SPREAD * spread / 2)
    return (*(centre - half).tolist(), *(centre + half).tolist())


def _cut_around(rgb: np.ndarray, box: tuple, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The square twice as large as the box, at a size at which the box has ``side`` pixels; the photo's border is repeated.

    Returns:
        The view, its left upper corner in the photo (x, y), and the factors (x, y) by which it was enlarged.
    """
    height, width = rgb.shape[:2]
    centre, reach = np.array(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)), max(box[2] - box[0], box[3] - box[1])
    left, top = np.floor(centre - reach).astype(int)
    right, bottom = np.ceil(centre + reach).astype(int)
    inside = rgb[min(max(top, 0), height - 1) : max(bottom, 1), min(max(left, 0), width - 1) : max(right, 1)]
    above, below, before, behind = np.maximum((-top, bottom - height, -left, right - width), 0).tolist()
    whole = cv2.copyMakeBorder(inside, above, below, before, behind, cv2.BORDER_REPLICATE)
    size = np.array(whole.shape[1::-1])
    wanted = np.maximum(np.round(size * side / reach), 1).astype(int)
    kernel = cv2.INTER_AREA if wanted[0] < size[0] else cv2.INTER_LINEAR
    return cv2.resize(whole, tuple(wanted.tolist()), interpolation=kernel), np.array((left, top)), wanted / size


class FanLandmarker:
    """FAN's 2D points, through the package face-alignment; its detectors and downloads are not used.

    The network sees the box enlarged as its authors do it (centre raised by 0.12 of the height, side (width + height) * 200 /
    195), and its mirror image; the two heat maps are added.
    """

    name, weights = "face-alignment", FAN_WEIGHTS

    def __init__(self, device: str = "cpu", offline: str | None = None, download: bool = True):
        _import_fan()
        self.device = device
        self.path = str(weights.resolve(FAN_WEIGHTS, offline=offline, download=download))

    def landmarks(self, rgb: np.ndarray, detection: Detection) -> np.ndarray:
        """Points of one face, float32 (68, 2). Args: as of :meth:`DlibLandmarker.landmarks`."""
        import torch

        from wnet_arch.faces.inference import one_thread

        utils = _import_fan()[1]
        left, top, right, bottom = dlib_box(detection)
        centre = np.array(((left + right) / 2, (top + bottom) / 2 - 0.12 * (bottom - top)))
        scale = (right - left + bottom - top) / 195
        view = torch.from_numpy(utils.crop(rgb, centre, scale)).permute(2, 0, 1)[None].float() / 255
        with one_thread(self.device):
            maps = [_fan(self.path, self.device)(x.to(self.device)) for x in (view, view.flip(-1))]
        straight, mirrored = (m[-1] if isinstance(m, (list, tuple)) else m for m in maps)
        heat = (straight + mirrored.flip(-1)[:, torch.from_numpy(FLIP.copy())]).float().cpu().numpy()
        return np.asarray(utils.get_preds_fromhm(heat, centre, scale)[1], np.float32).reshape(NUM_POINTS, 2)


def _import_fan():
    try:
        from face_alignment import models, utils
    except ImportError as error:
        raise WeightsError(f"this landmarker needs face-alignment: run `{install_extra('fan')}`") from error
    return models, utils


@lru_cache(maxsize=2)
def _fan(path: str, device: str):
    from wnet_arch.faces.inference import load_into

    return load_into(_import_fan()[0].FAN(4), path, "FAN").to(device)


class LandmarkDetector:
    """Finds faces and their landmarks. Can be sent to worker processes: models are loaded on first use.

    Args:
        offline: folder with the weights, instead of the cache; see :func:`wnet_arch.weights.resolve`.
        download: whether they may be fetched when they are not there.
        detector: one of :data:`~wnet_arch.faces.detectors.DETECTORS`.
        landmarker: one of :data:`LANDMARKERS`, or ``None``: only the detector's five points are wanted.
        choice: which of several faces :meth:`find` returns, one of :data:`~wnet_arch.faces.detection.CHOICES`.
        device: where networks run.

    Raises:
        UsageError: there is no backend of that name.
        WeightsError: dlib or another package is not installed, or weights are not there.
    """

    def __init__(
        self,
        offline: str | None = None,
        download: bool = True,
        detector: str = DEFAULT,
        landmarker: str | None = "dlib",
        choice: str = "largest",
        device: str = "cpu",
    ):
        if choice not in CHOICES:
            raise UsageError(f"no way to choose a face is called '{choice}'" + did_you_mean(choice, CHOICES))
        self.detector = create_detector(detector, device, offline, download)
        self.landmarker = create_landmarker(landmarker, device, offline, download) if landmarker else None
        self.choice = choice

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """Finds all faces of a photo, largest first.

        Args:
            rgb: uint8 (H, W, 3).
        """
        return [self._face(rgb, detection) for detection in self.detector.detect(rgb)]

    def largest(self, rgb: np.ndarray) -> Face | None:
        """The largest face of a photo, uint8 (H, W, 3), of those that are not doubtful; or ``None``."""
        detection = choose(self.detector.detect(rgb), "largest", *rgb.shape[:2])
        return None if detection is None else self._face(rgb, detection)

    def find(self, rgb: np.ndarray, name: str = "") -> Face | None:
        """The face that is meant, by ``choice``, or ``None``. ``name`` of the photo is not used; landmark files need it."""
        detection = choose(self.detector.detect(rgb), self.choice, *rgb.shape[:2])
        return None if detection is None else self._face(rgb, detection)

    def _face(self, rgb: np.ndarray, detection: Detection) -> Face:
        points = self.landmarker.landmarks(rgb, detection) if self.landmarker else None
        five = detection.five if detection.five is not None or points is None else five_points(points)
        return Face(detection.box, points, five)


def five_points(points: np.ndarray) -> np.ndarray:
    """Centres of the eyes, tip of the nose, corners of the mouth, the image's left ones first: (68, 2) to float32 (5, 2)."""
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    return np.stack((*eyes, points[30], points[48], points[54])).astype(np.float32)


def flip(points: np.ndarray, width: int) -> np.ndarray:
    """Returns the points of the mirrored image: x mirrored, left and right points exchanged.

    Args:
        points: (68, 2), x and y in pixels, pixel centres at whole numbers; NaN stays NaN.
        width: of the image in pixels.
    """
    mirrored = points[FLIP]
    mirrored[:, 0] = width - 1 - mirrored[:, 0]
    return mirrored
