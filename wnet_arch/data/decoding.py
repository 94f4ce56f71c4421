"""Images and label maps from the bytes of their files, and images as tensors."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import torch

from wnet_arch.data.photos import Rejected, load_map, load_picture, photo_size
from wnet_arch.errors import DataError
from wnet_arch.faces import labels


def decode_rgb(data: bytes, where: str) -> np.ndarray:
    """Decodes an image file to RGB uint8 (H, W, 3), as :func:`~wnet_arch.data.photos.load_photo` does.

    What is changed in it, 16 bits or transparency say, is noted once a kind and folder.

    Raises:
        DataError: the bytes are not an image, or not a whole one.
    """
    if _is_plain(data, 2):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    try:
        picture = load_picture(data, min_side=1)
    except Rejected as why:
        raise _unreadable(where, why) from why
    for note in picture.notes:
        _tell(where, note)
    return picture.rgb


def _unreadable(where: object, why: Rejected) -> DataError:
    return DataError(f"{where} is not a readable image ({': '.join(filter(None, (why.reason, why.detail)))})")


def _is_plain(data: bytes, colours: int) -> bool:
    """Whether this is a PNG of 8 bits with nothing but pixels, as those of a set: OpenCV decodes it as Pillow does, but sooner.

    ``colours``: PNG's number for what its pixels are, 0: grey, 2: RGB.
    """
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == bytes((8, colours)) and data[37:41] == b"IDAT"


def _tell(where: str, note: str) -> None:
    """A line on standard error, once a process for each note and folder."""
    if (folder_and_note := (where.rpartition(": ")[0], note)) not in _told:
        _told.add(folder_and_note)
        logging.getLogger("wnet_arch").warning(f"note: {where}: {note} (said once; there may be more such images)")


_told: set[tuple[str, str]] = set()


def decode_labels(data: bytes, where: str) -> np.ndarray:
    """Decodes a label map (grey or palette; the value is the class) to uint8 (H, W).

    Raises:
        DataError: the bytes are not such an image, or a value is not a class.
    """
    if _is_plain(data, 0):
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if grey is not None:
            return labels.check(grey, where)
    try:
        return labels.check(load_map(data), where)
    except Rejected as why:
        raise _unreadable(where, why) from why


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of an image as :func:`decode_rgb` gives it, from the head of its file.

    Raises:
        DataError: it is no image.
    """
    try:
        return photo_size(Path(path))
    except Rejected as why:
        raise _unreadable(path, why) from why


def image_tensor(image: np.ndarray) -> torch.Tensor:
    """RGB uint8 (H, W, 3) -> float32 (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
