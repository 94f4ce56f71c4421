"""Validation that all processes of a run share, and whose numbers do not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
from basicsr.utils import imwrite
from torch.utils.data import DataLoader, default_collate

from wnet_arch import disk
from wnet_arch.distributed import share
from wnet_arch.errors import WNetError


def own_share(loader: DataLoader, rank: int, world_size: int) -> Iterator[tuple[int, dict]]:
    """The images of a validation loader that fall to a process, one by one: number in the set, and a batch of one."""
    if world_size == 1:
        yield from enumerate(loader)
        return
    for index in range(rank, len(loader.dataset), world_size):
        yield index, default_collate([loader.dataset[index]])


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
    try:
        imwrite(image, path)
    except OSError as error:
        raise WNetError(f"cannot write {path}: {disk.reason(error, path)}") from error
