"""Identity similarity: whether a face recognition network sees the same person in SR and GT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from wnet_arch import weights as weight_files
from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.faces.detection import detection_view, import_dlib
from wnet_arch.metrics import arcface
from wnet_arch.metrics.base import (
    BATCH,
    Description,
    Images,
    Metric,
    as_tensor,
    batches,
    check_batch,
    check_counts,
    check_images,
    choose_device,
    exact,
)
from wnet_arch.metrics.dlib_resnet import CHIP_SIZE, DlibResNet
from wnet_arch.metrics.found_faces import FaceFinder

BACKENDS = ("dlib", "arcface", "adaface")
WEIGHTS = "identity-dlib"
#: Space around the face in dlib's chips, as a share of the face; the value its network was trained with.
_CHIP_PADDING = 0.25


@dataclass(frozen=True)
class Vectors(Description):
    """Identities of N images.

    Attributes:
        vectors: float32 (N, D) of unit length; NaN where no face was found.
        boxes: float64 (N, 4), left, top, right, bottom of the face; NaN likewise.
    """

    vectors: np.ndarray
    boxes: np.ndarray


class IdentitySimilarity(Metric[Vectors]):
    """Cosine of the angle between the identity vectors of SR and GT: 1 for the same, NaN where no face is found.

    Faces are found by dlib and aligned by their landmarks, as each network was trained. Cosines of different backends cannot
    be compared: dlib's network was trained with distances, its vectors all point one way, and two strangers have a cosine
    of 0.83 on average (two photos of one person 0.95; dlib's own limit, a distance of 0.6, is about 0.91); those of ArcFace
    and AdaFace are spread around 0. The paper uses AdaFace.

    Args:
        backend: ``"dlib"``, ``"arcface"`` or ``"adaface"``. The latter two differ in the order of colours, RGB or BGR.
        weights: their checkpoint, see :func:`wnet_arch.metrics.arcface.load`; dlib's network is fetched.
        box: see :class:`wnet_arch.metrics.found_faces.FaceFinder`.
        device: see :func:`wnet_arch.metrics.base.choose_device`.
        batch: faces the network sees at a time.

    Raises:
        UsageError: no such backend, or weights missing or superfluous.
        WeightsError: the checkpoint cannot be read or is of another network.
    """

    name = "identity"
    better = "higher"
    units = {"identity": "cosine"}

    def __init__(
        self, backend: str = "dlib", weights: str | None = None, box: str = "own", device: str = "auto", batch: int = BATCH
    ):
        if backend not in BACKENDS:
            raise UsageError(f"identity: no backend is called '{backend}'{did_you_mean(str(backend), BACKENDS)}")
        if (weights is None) != (backend == "dlib"):
            wanted = "takes no weights, its network is fetched" if weights else "needs weights, the path of its checkpoint"
            raise UsageError(f"identity: backend {backend} {wanted}")
        self.backend = backend
        self.device, self.batch = choose_device(device), check_batch(batch)
        self.finder = FaceFinder(box)
        if weights is None:
            self.net, what = _dlib_network(self.device), "dlib ResNet-29"
        else:
            path = Path(weights).expanduser()
            self.net, depth = _arcface_network(str(path), self.device, path.stat().st_mtime_ns if path.exists() else 0)
            what = f"{'AdaFace' if backend == 'adaface' else 'ArcFace'} {depth} ({Path(weights).name})"
        self.backbone = f"{what}, box {box}"

    def describe(self, images: Images, reference: Vectors | None = None) -> Vectors:
        """Identity vectors of unit length, (N, 128) of dlib and (N, 512) of the others; NaN where no face is found."""
        images = check_images(images)
        found = self.finder.find(images, reference)
        present = np.flatnonzero(~np.isnan(found.boxes[:, 0]))
        cut = dlib_chip if self.backend == "dlib" else arcface.align
        faces = [cut(images[i], found.points[i]) for i in present]
        vectors = np.full((len(images), 128 if self.backend == "dlib" else 512), np.nan, np.float32)
        for chosen, batch in batches(faces, self.batch):
            with exact(self.device):
                out = self.net(self._input(as_tensor(batch, self.device)))
                out = torch.nn.functional.normalize(out)[: len(chosen)]
            vectors[present[chosen]] = out.cpu().numpy()
        return Vectors(vectors, found.boxes)

    def _input(self, batch: torch.Tensor) -> torch.Tensor:
        if self.backend == "dlib":
            return batch
        return (batch.flip(1) if self.backend == "adaface" else batch) / 127.5 - 1

    def compare(self, sr: Vectors, gt: Vectors) -> dict[str, np.ndarray]:
        """``identity``: the cosine, in [-1, 1]."""
        check_counts(sr, gt)
        product = np.einsum("nd,nd->n", sr.vectors.astype(np.float64), gt.vectors.astype(np.float64))
        return {"identity": np.clip(product, -1, 1)}


def dlib_chip(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Cuts the face out as dlib's network was trained.

    Args:
        image: uint8 (H, W, 3).
        points: (68, 2), iBUG order, in pixels.

    Returns:
        uint8 (150, 150, 3).
    """
    dlib = import_dlib()
    view, factor = detection_view(np.ascontiguousarray(image))  # dlib's points are whole pixels: finer in a larger image
    whole = np.round((points.astype(np.float64) + 0.5) * factor - 0.5).astype(int).tolist()
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 0, 0), [dlib.point(x, y) for x, y in whole])
    return dlib.get_face_chip(view, shape, CHIP_SIZE, _CHIP_PADDING)


@lru_cache(maxsize=4)
def _dlib_network(device: torch.device) -> Callable:
    return DlibResNet().load(weight_files.resolve(WEIGHTS)).eval().to(device)


@lru_cache(maxsize=4)
def _arcface_network(path: str, device: torch.device, changed: int) -> tuple[Callable, str]:
    net, depth = arcface.load(path)
    return net.to(device), depth
