"""RetinaFace (Deng et al., "RetinaFace: Single-shot Multi-level Face Localisation in the Wild", CVPR 2020) as facexlib has it.

facexlib's own loader downloads without a hash into its package folder and unpickles; here the network alone is taken, its
weights come through our manifest.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch

from wnet_arch import weights
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.faces.inference import load_into, one_thread

WEIGHTS = "retinaface-resnet50"
#: Below this a window is no face: facexlib's habit in restoration is 0.97, its default 0.8.
_THRESHOLD = 0.8


class RetinaFaceDetector(Detector):
    """Faces and five points by RetinaFace with a ResNet-50.

    Args:
        device: where the network runs.
        offline: folder with the weights, instead of the cache.
        download: whether they may be fetched.
    """

    name, smallest_frame = "retinaface", 32  # read of its anchors of 16 pixels, not measured

    def __init__(self, device: str = "cpu", offline: str | None = None, download: bool = True):
        self.device = device
        self.path = str(weights.resolve(WEIGHTS, offline=offline, download=download))

    def _find(self, rgb: np.ndarray) -> list[Detection]:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        with one_thread(self.device):
            rows = _network(self.path, self.device).detect_faces(bgr, conf_threshold=_THRESHOLD)
        return [Detection(tuple(row[:4].tolist()), float(row[4]), row[5:15].reshape(5, 2).astype(np.float32)) for row in rows]


@lru_cache(maxsize=2)
def _network(path: str, device: str):
    from facexlib.detection.retinaface import RetinaFace

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # facexlib asks torchvision for a ResNet-50 in the old way
        network = RetinaFace(network_name="resnet50", device=torch.device(device))
    return load_into(network, path, "facexlib's RetinaFace").to(device)
