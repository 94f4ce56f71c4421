"""MTCNN: three small networks in a row propose, sort out and refine faces (Zhang, Zhang, Li, Qiao, "Joint Face Detection
and Alignment using Multi-task Cascaded Convolutional Networks", SPL 2016).

Weights: those of the PyPI package facenet-pytorch (MIT), converted by its authors from the original ones. Package and code
are not needed. Layers carry the names of that file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import nms

from wnet_arch import weights
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.faces.inference import load_into, one_thread

WEIGHTS = "mtcnn"
#: Smallest face in pixels of the searched view; the pyramid's first step shrinks it to the first network's window.
_MIN_FACE = 40
_PYRAMID_STEP = 0.709
_WINDOW, _STRIDE = 12, 2
#: Scores below which each network drops a window: those of the authors.
_THRESHOLDS = (0.6, 0.7, 0.7)
#: Windows that R-Net and O-Net get at once: in a crowd there are thousands, of up to half a megabyte of features each.
_BATCH = 512


class ProposalNet(nn.Module):
    """P-Net, run over a whole image: chance of a face and box correction for every 12x12 window, two pixels apart."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) to (B, h, w) and (B, 4, h, w)."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_1(x).softmax(1)[:, 1], self.conv4_2(x)


class RefineNet(nn.Module):
    """R-Net: chance of a face and box correction for 24x24 windows."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, 24, 24) to (B,) and (B, 4)."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu4(self.dense4(_columns_first(self.prelu3(self.conv3(x)))))
        return self.dense5_1(x).softmax(1)[:, 1], self.dense5_2(x)


class OutputNet(nn.Module):
    """O-Net: chance of a face, box correction and five points for 48x48 windows."""

    def __init__(self):
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, 3, 48, 48) to (B,), (B, 4) and (B, 10): five x, then five y, in units of the window."""
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu5(self.dense5(_columns_first(self.prelu4(self.conv4(x)))))
        return self.dense6_1(x).softmax(1)[:, 1], self.dense6_2(x), self.dense6_3(x)


class MTCNNDetector(Detector):
    """Faces and five points by MTCNN. Its boxes enclose the face from mid-forehead to chin.

    Args:
        device: where the networks run.
        offline: folder with the weights, instead of the cache.
        download: whether they may be fetched.
    """

    name, smallest_frame = "mtcnn", 48

    def __init__(self, device: str = "cpu", offline: str | None = None, download: bool = True):
        self.device = device
        self.folder = str(weights.resolve(WEIGHTS, offline=offline, download=download))

    def _find(self, rgb: np.ndarray) -> list[Detection]:
        propose, refine, output = _networks(self.folder, self.device)
        with one_thread(self.device):
            boxes = _proposals(propose, rgb, self.device)
            boxes, _, _ = _sorted_out(refine, rgb, boxes, 24, _THRESHOLDS[1], self.device)
            boxes, scores, points = _sorted_out(output, rgb, boxes, 48, _THRESHOLDS[2], self.device)
        keep = _without_nested(boxes, scores)
        found = []
        for i in keep:
            left, top, right, bottom = map(float, boxes[i])
            found.append(Detection((left, top, right, bottom), float(scores[i]), points[i]))
        return found


@lru_cache(maxsize=2)
def _networks(folder: str, device: str) -> tuple[ProposalNet, RefineNet, OutputNet]:
    propose = load_into(ProposalNet(), str(Path(folder, "pnet.pt")), "MTCNN").to(device)
    refine = load_into(RefineNet(), str(Path(folder, "rnet.pt")), "MTCNN").to(device)
    return propose, refine, load_into(OutputNet(), str(Path(folder, "onet.pt")), "MTCNN").to(device)


def _proposals(network: ProposalNet, rgb: np.ndarray, device: str) -> np.ndarray:
    """Square boxes (N, 4) that may hold a face, from a pyramid of the photo."""
    height, width = rgb.shape[:2]
    found, scale = [], _WINDOW / _MIN_FACE
    while min(height, width) * scale >= _WINDOW:
        size = max(_WINDOW, round(width * scale)), max(_WINDOW, round(height * scale))
        chance, correction = network(_tensor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)[None], device))
        rows, columns = torch.nonzero(chance[0] >= _THRESHOLDS[0], as_tuple=True)
        corner = torch.stack((columns, rows), 1) * _STRIDE
        exact = torch.tensor((width / size[0], height / size[1]), device=device)
        boxes = torch.cat((corner * exact, (corner + _WINDOW) * exact), 1)
        scores, correction = chance[0, rows, columns], correction[0, :, rows, columns].T
        keep = nms(boxes, scores, 0.5)
        found.append((boxes[keep], scores[keep], correction[keep]))
        scale *= _PYRAMID_STEP
    if not found:
        return np.zeros((0, 4), np.float32)
    boxes, scores, correction = (torch.cat(parts) for parts in zip(*found))
    keep = nms(boxes, scores, 0.7)
    return _squared(_corrected(boxes[keep].cpu().numpy(), correction[keep].cpu().numpy()))


def _sorted_out(network: nn.Module, rgb: np.ndarray, boxes: np.ndarray, side: int, threshold: float, device: str):
    """Boxes (N, 4) that the network takes for faces, corrected, with scores (N,) and, from O-Net, points (N, 5, 2).

    From R-Net they come as squares, ready to be cut out again.
    """
    if not len(boxes):
        return boxes, np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
    parts = (boxes[start : start + _BATCH] for start in range(0, len(boxes), _BATCH))
    judged = [network(_tensor(np.stack([_window(rgb, box, side) for box in part]), device)) for part in parts]
    chance, correction, *points = (torch.cat(column).cpu().numpy() for column in zip(*judged))
    passed = np.flatnonzero(chance > threshold)
    if points:
        relative = points[0][passed].reshape(-1, 2, 5).transpose(0, 2, 1)
        size = (boxes[passed, 2:] - boxes[passed, :2])[:, None]
        places = boxes[passed, None, :2] + relative * size - 0.5  # edges at whole numbers to centres at whole numbers
        return _corrected(boxes[passed], correction[passed]), chance[passed], places.astype(np.float32)
    keep = passed[nms(torch.from_numpy(boxes[passed]), torch.from_numpy(chance[passed]), 0.7).numpy()]
    return _squared(_corrected(boxes[keep], correction[keep])), chance[keep], None


def _tensor(images: np.ndarray, device: str) -> torch.Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W), about -1 to 1."""
    return (torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() - 127.5) / 128


def _columns_first(x: torch.Tensor) -> torch.Tensor:
    """Flattened column by column, channels innermost, as in the framework that the weights come from."""
    return x.permute(0, 3, 2, 1).flatten(1)


def _window(rgb: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """A box cut out and resized to side x side; what lies outside the photo is black."""
    left, top, right, bottom = np.round(box).astype(int)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    inside = rgb[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.shape[:2] != (bottom - top, right - left):
        whole = np.zeros((bottom - top, right - left, 3), np.uint8)
        y, x = max(-top, 0), max(-left, 0)
        whole[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        inside = whole
    return cv2.resize(inside, (side, side), interpolation=cv2.INTER_AREA)


def _corrected(boxes: np.ndarray, correction: np.ndarray) -> np.ndarray:
    """Moves each side by the network's correction, which is in units of the box."""
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + correction * np.concatenate((size, size), 1)


def _squared(boxes: np.ndarray) -> np.ndarray:
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    half = size.max(1, keepdims=True) / 2
    return np.concatenate((centre - half, centre + half), 1).astype(np.float32)


def _without_nested(boxes: np.ndarray, scores: np.ndarray, limit: float = 0.7) -> list[int]:
    """Which boxes stay when those are dropped that share most of the smaller area with a surer one."""
    keep: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for i in np.argsort(-scores, kind="stable"):
        shared = np.minimum(boxes[keep, 2:], boxes[i, 2:]) - np.maximum(boxes[keep, :2], boxes[i, :2])
        share = shared.clip(min=0).prod(1) / np.minimum(areas[keep], areas[i])
        if not (share > limit).any():
            keep.append(int(i))
    return keep
