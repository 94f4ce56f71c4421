"""Pictures that the tests of metrics share: drawn faces always, real ones where they have been fetched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import drawn_face
from wnet_arch import weights
from wnet_arch.errors import WeightsError


def reduced(image: np.ndarray, factor: int = 8) -> np.ndarray:
    """Made small and large again by PIL bicubic: what a bad super-resolution looks like."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((width // factor, height // factor), Image.BICUBIC)
    return np.asarray(small.resize((width, height), Image.BICUBIC))


def drawn(count: int, size: int = 128) -> list[np.ndarray]:
    return [drawn_face(seed, size)[0] for seed in range(count)]


def real(count: int) -> list[np.ndarray]:
    """Real portraits of 128x128 pixels; skips the test where they have not been fetched."""
    try:
        folder = weights.resolve("demo-faces", download=False)
    except WeightsError as error:
        pytest.skip(f"real faces are not in the cache: {error}")
    photos = (np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.jpg")))
    found = [photo for photo in photos if photo.shape == (128, 128, 3)][:count]
    assert len(found) == count
    return found


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image


def need_file(name: str, download: bool = False) -> str:
    """Path of a pretrained file; skips the test where it has not been fetched, or cannot be."""
    try:
        return str(weights.resolve(name, download=download))
    except WeightsError as error:
        pytest.skip(f"a pretrained file is not in the cache: {error}")
