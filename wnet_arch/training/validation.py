"""Validation that all processes of a run share, and whose numbers do not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import cast

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from wnet_arch import disk
from wnet_arch.errors import WNetError
from wnet_arch.training.distributed import share

#: Images at a time on a GPU, which one small face does not fill.
BATCH = 8


def batch_size(val_opt: dict, device: torch.device) -> int:
    """Images that validation predicts together (``val.batch``); where not given, :data:`BATCH` on GPUs and 1 on CPUs."""
    return val_opt.get("batch") or (BATCH if device.type == "cuda" else 1)


def own_share(loader: DataLoader, rank: int, world_size: int, size: int = 1) -> Iterator[tuple[list[int], dict]]:
    """The batches of a validation set that fall to a process.

    The set is cut into runs of ``size`` images, whoever gets them, and those into images of one size: which images are computed
    together, and with that the last bit of what comes out, does not depend on the number of processes.

    Yields:
        Numbers of the images in the set, in order; and a batch of them.
    """
    dataset, count = loader.dataset, len(cast(Sized, loader.dataset))
    for first in range(rank * size, count, world_size * size):
        alike: dict[tuple, list[tuple[int, dict]]] = {}
        for index in range(first, min(first + size, count)):
            sample = dataset[index]
            alike.setdefault(_sizes(sample), []).append((index, sample))
        for members in alike.values():
            yield [index for index, _ in members], default_collate([sample for _, sample in members])


def images_of_first(count: int, world_size: int, size: int) -> int:
    """How many of ``count`` images fall to the first process by :func:`own_share`."""
    return sum(min(size, count - first) for first in range(0, count, world_size * size))


def _sizes(sample: dict) -> tuple:
    """What samples must have in common to be one batch: their keys, and the shapes of tensors."""
    return tuple((key, tuple(getattr(value, "shape", ()))) for key, value in sorted(sample.items()))


def face_of(visuals: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    """The images of one face of a batch, each (1, C, H, W)."""
    return {kind: images[number : number + 1] for kind, images in visuals.items()}


def mean_of_all(own: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Means over the images of all processes, added up in the order of the set: equal to the last bit for any number of them.

    Args:
        own: number and metrics of each image that fell to this process.
    """
    values = [metrics for _, metrics in sorted((row for rows in share(list(own)) for row in rows), key=lambda row: row[0])]
    return {name: sum(metrics[name] for metrics in values) / len(values) for name in (values[0] if values else ())}


def image_path(opt: dict, dataset: str, name: str, iteration: int | str) -> str:
    """Where the framework puts the SR image of ``name``."""
    folder = opt["path"]["visualization"]
    if opt["is_train"]:
        return os.path.join(folder, name, f"{name}_{iteration}.png")
    return os.path.join(folder, dataset, f"{name}_{opt['val']['suffix'] or opt['name']}.png")


def save_image(image: np.ndarray, path: str) -> None:
    """Writes an SR image, BGR uint8 (H, W, 3), as the framework does. OpenCV does not tell why it cannot.

    Raises:
        WNetError: it cannot be written.
    """
    from basicsr.utils import imwrite  # not above, see training/logs.py

    try:
        imwrite(image, path)
    except OSError as error:
        raise WNetError(f"cannot write {path}: {disk.reason(error, path)}") from error
