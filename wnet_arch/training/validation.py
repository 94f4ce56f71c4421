"""Validation that all processes of a run share, and whose numbers do not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from wnet_arch import disk
from wnet_arch.errors import WNetError
from wnet_arch.training.distributed import share
from wnet_arch.training.sheets import ValidationSheet

#: Images at a time on a GPU, which one small face does not fill.
BATCH = 8


class Predicting(Protocol):
    """What is validated: a model with its options, on its device."""

    opt: dict
    device: torch.device

    def test_batch(self, samples: dict) -> Mapping[str, torch.Tensor]:
        """Images of a batch on the CPU, (B, C, H, W): ``lq``, ``result``, and where there are ``gt`` and ``parsing``."""


class NotFiniteError(WNetError):
    """A network makes images with values that are no finite numbers."""


class Validated:
    """In which iteration each validation set of a run was last validated.

    Args:
        opt: of the run.
    """

    def __init__(self, opt: dict):
        blocks, val = (opt.get("datasets") or {}).items(), opt.get("val") or {}
        self.names: list[str] = [block["name"] for phase, block in blocks if phase.split("_")[0] == "val"]
        self.every: int = val.get("val_freq") or 0
        self.best_by: str | None = val.get("keep_best")
        self.last: dict[str, int] = {}

    def is_complete(self, iteration: int) -> bool:
        """Whether all sets have been validated in this iteration."""
        return all(self.last.get(name) == iteration for name in self.names)

    def is_awaited(self, iteration: int) -> bool:
        """Whether a set is still to be validated in this iteration."""
        return self.every > 0 and iteration % self.every == 0 and not self.is_complete(iteration)

    def is_best(self, best: Mapping[str, Mapping[str, dict]], name: str, iteration: int) -> bool:
        """Whether ``val.keep_best`` has its best value, by set and metric, on the first set, and since this iteration."""
        found = best.get(name, {}).get(self.best_by, {}) if self.best_by else {}
        return name == next(iter(self.names), name) and found.get("iter") == iteration


def measure(model: Predicting, loader: DataLoader, iteration: int, tb_logger, save_images: bool) -> dict[str, float]:
    """Predicts, measures and, if asked to, saves the images of a set that fall to this process; shows the first in TensorBoard.

    Args:
        model: in training or not.
        loader: of the set.
        iteration: for names and TensorBoard.
        tb_logger: a ``SummaryWriter``, or ``None``.
        save_images: write SR images where the framework puts them, see :func:`image_path`.

    Returns:
        The means of ``val.metrics`` over the images of all processes; empty where none are asked for.

    Raises:
        NotFiniteError: a predicted image has values that are no finite numbers.
    """
    opt, dataset = model.opt, loader.dataset.opt["name"]  # type: ignore[attr-defined]  # of BasicSR's registry: with options
    rows, metrics = [], opt["val"].get("metrics") or {}
    sheet = ValidationSheet((opt.get("logger") or {}).get("sheet", 4) if opt["is_train"] else 0)
    hidden = None if opt["val"].get("pbar", False) and not opt["rank"] else True  # None: where there is no terminal
    size = batch_size(opt["val"], model.device)
    total = images_of_first(len(cast(Sized, loader.dataset)), opt["world_size"], size)
    with tqdm(desc=f"Validation {dataset}", total=total, unit="image", leave=False, disable=hidden) as bar:
        for indices, samples in own_share(loader, opt["rank"], opt["world_size"], size):
            images = model.test_batch(samples)
            for number, index in enumerate(indices):
                face, name = face_of(images, number), os.path.splitext(os.path.basename(samples["lq_path"][number]))[0]
                sheet.add(index, name, face)
                path = image_path(opt, dataset, name, iteration) if save_images else None
                if not torch.isfinite(face["result"]).all():  # it would be measured, and drawn, as black
                    raise NotFiniteError(
                        f"validation on {dataset}: what the network makes of {name} is no finite number everywhere"
                    )
                rows.append((index, _measure_face(face, metrics, path)))
            bar.update(len(indices))
    for others in share(sheet.rows):
        sheet.update(others)
    sheet.write(tb_logger, f"validation/{dataset}", iteration)
    return mean_of_all(rows) if metrics else {}


def _measure_face(face: Mapping[str, torch.Tensor], metrics: Mapping[str, dict], path: str | None) -> dict[str, float]:
    """The metrics of one face, whose SR image is written to a path, if there is one."""
    from basicsr.metrics import calculate_metric  # not above, see training/logs.py
    from basicsr.utils import tensor2img

    data = {key: tensor2img([face[kind]]) for key, kind in (("img", "result"), ("img2", "gt")) if kind in face}
    if path:
        save_image(data["img"], path)
    return {metric: float(calculate_metric(data, options)) for metric, options in metrics.items()}


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
