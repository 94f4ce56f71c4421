"""Face detectors by name: dlib's HOG, RetinaFace and MTCNN behind one interface.

========== ================================================ ============= ====================================
name       method                                           five points   file (see ``wnet weights list``)
========== ================================================ ============= ====================================
dlib       HOG and SVM, frontal faces (King, 2009)          no            none; extra ``landmarks``
retinaface RetinaFace, ResNet-50 (Deng et al., CVPR 2020)   yes           ``retinaface-resnet50``, through facexlib
mtcnn      MTCNN (Zhang et al., SPL 2016)                   yes           ``mtcnn``
========== ================================================ ============= ====================================
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.faces.detection import Detection, Detector, import_dlib

DETECTORS = ("mtcnn", "retinaface", "dlib")
#: What every command uses unless another is named. Of 870 Helen photos it finds the face in all, dlib in 865 (docs/guides/data.md).
DEFAULT = "mtcnn"
#: Score down to which dlib's best box still counts where it has no other; its own threshold is 0. Turned and covered faces
#: score so: of 907 CelebA photos 20 have no face above 0, 13 above this.
_DLIB_WEAK = -0.35


def create_detector(name: str, device: str = "cpu", offline: str | None = None, download: bool = True) -> Detector:
    """The detector called ``name``.

    Args:
        name: one of :data:`DETECTORS`.
        device: ``cpu``, ``cuda``, ... for the networks; dlib's HOG always runs on the CPU.
        offline: folder with the weights instead of the cache; see :func:`wnet_arch.weights.resolve`.
        download: whether weights may be fetched when they are not there.

    Raises:
        UsageError: there is no detector of that name.
        WeightsError: dlib is not installed, or the weights are not there.
    """
    if name == "dlib":
        return DlibDetector()
    if name == "retinaface":
        from wnet_arch.faces.retinaface import RetinaFaceDetector  # torch, which dlib does not need

        return RetinaFaceDetector(device, offline, download)
    if name == "mtcnn":
        from wnet_arch.faces.mtcnn import MTCNNDetector

        return MTCNNDetector(device, offline, download)
    raise UsageError(f"no face detector is called '{name}'" + did_you_mean(name, DETECTORS))


class DlibDetector(Detector):
    """dlib's detector of frontal faces. Its boxes run from the brows to the chin."""

    name, smallest_frame = "dlib", 121

    def __init__(self):
        import_dlib()

    def _find(self, rgb: np.ndarray, threshold: float = 0.0) -> list[Detection]:
        for enlarged in (0, 1):  # faces of 80 pixels and more, then of 40
            boxes, scores, _ = _dlib_frontal().run(rgb, enlarged, threshold)
            if boxes:
                sides = ((box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in boxes)
                return [Detection(box, score) for box, score in zip(sides, scores)]
        return []

    def _find_weak(self, rgb: np.ndarray) -> list[Detection]:
        return sorted(self._find(rgb, _DLIB_WEAK), key=lambda one: -one.score)[:1]


@lru_cache(maxsize=1)
def _dlib_frontal():
    return import_dlib().get_frontal_face_detector()
