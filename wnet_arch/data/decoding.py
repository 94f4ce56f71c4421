"""Images and label maps from the bytes of their files, and images as tensors."""

from __future__ import annotations

import io

import cv2
import numpy as np
import torch
from PIL import Image

from wnet_arch.errors import DataError
from wnet_arch.faces import labels


def decode_rgb(data: bytes, where: str) -> np.ndarray:
    """Decodes an image file to RGB uint8 (H, W, 3).

    Raises:
        DataError: the bytes are not an image.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise DataError(f"{where} is not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decode_labels(data: bytes, where: str) -> np.ndarray:
    """Decodes a label map (grey or palette; the value is the class) to uint8 (H, W).

    Raises:
        DataError: the bytes are not such an image, or a value is not a class.
    """
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if grey is None:
        raise DataError(f"{where} is not a readable image")
    if grey.ndim != 2:  # OpenCV turns palettes into colours
        grey = np.asarray(Image.open(io.BytesIO(data)))
    return labels.check(grey, where)


def image_tensor(image: np.ndarray) -> torch.Tensor:
    """RGB uint8 (H, W, 3) -> float32 (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
