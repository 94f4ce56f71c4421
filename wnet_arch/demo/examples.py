"""Photos to try the page with: public ones that are on this machine, reduced so far that their faces are small."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from wnet_arch.errors import WeightsError
from wnet_arch.weights import resolve

#: The astronaut Eileen Collins, a photo by NASA (public domain) that scikit-image brings, and the side of her face's square in it.
_ASTRONAUT_FACE = 163
#: Portraits in the group photo, and the side to which each is reduced.
_GROUP_SIDES = (20, 24, 28, 34, 40, 46, 60, 96)
_FETCH = "wnet weights fetch demo-faces"


def write_examples(folder: Path) -> tuple[list[tuple[str, str]], str]:
    """Writes the examples that can be had without the network.

    Returns:
        Path and caption of each; and a note on what is missing and how to get it, or an empty string.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, missing = [], []
    photo = _astronaut()
    if photo is None:
        missing.append("scikit-image has no picture of an astronaut here")
    else:
        for side in (16, 32):
            small = _reduced(photo, side / _ASTRONAUT_FACE)
            found.append(_write(folder / f"astronaut_{side}.png", small, f"face of {side} pixels"))
    try:
        portraits = sorted(resolve("demo-faces", download=False).glob("*.jpg"))
        found.append(_write(folder / "group.png", _group(portraits), "several sizes"))
    except WeightsError:
        missing.append(f"a group photo: {_FETCH}")
    return found, "; ".join(missing)


def _astronaut() -> np.ndarray | None:
    """The picture that lies in scikit-image's folder; its own function would download it where it is not there."""
    spec = importlib.util.find_spec("skimage")
    path = Path(spec.origin).parent / "data" / "astronaut.png" if spec and spec.origin else None
    if path is None or not path.is_file():
        return None
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def _group(portraits: list[Path]) -> np.ndarray:
    """Portraits on grey, in a row, growing from left to right."""
    gap = 12
    height, width = max(_GROUP_SIDES) + 2 * gap, sum(_GROUP_SIDES) + gap * (len(_GROUP_SIDES) + 1)
    photo, left = np.full((height, width, 3), 176, np.uint8), gap
    for path, side in zip(portraits, _GROUP_SIDES):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        photo[height - gap - side : height - gap, left : left + side] = np.array(small)
        left += side + gap
    return photo


def _reduced(photo: np.ndarray, factor: float) -> np.ndarray:
    size = round(photo.shape[1] * factor), round(photo.shape[0] * factor)
    return np.array(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))


def _write(path: Path, image: np.ndarray, caption: str) -> tuple[str, str]:
    Image.fromarray(image).save(path)
    return str(path), caption
