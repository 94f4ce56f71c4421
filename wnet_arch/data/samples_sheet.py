"""A picture of what a training sees of some faces, epoch by epoch: ``wnet sheet`` without weights."""

from __future__ import annotations

import copy

import numpy as np
import torch
from basicsr.data import build_dataset
from PIL import Image

from wnet_arch import visuals
from wnet_arch.compat import quiet_logger
from wnet_arch.data.sampler import Draw, SeededDataset
from wnet_arch.errors import UsageError, did_you_mean


def picture(opt: dict, phase: str = "train", count: int = 8, epochs: int = 6) -> Image.Image:
    """LR faces beside the HR face of the first epoch, each drawn as the loader of a run draws it.

    Args:
        opt: options of a run.
        phase: a block of its ``datasets``.
        count: faces, spread evenly over the set.
        epochs: LR faces of each; with ``degradation`` no two are alike.

    Raises:
        UsageError, DataError: there is no such block, or its images cannot be read.
    """
    if phase not in opt["datasets"]:
        raise UsageError(f"--dataset: the options have no datasets.{phase}{did_you_mean(phase, opt['datasets'])}")
    block = dict(copy.deepcopy(opt["datasets"][phase]), phase=phase.split("_")[0], scale=opt["scale"])
    with quiet_logger():
        data = SeededDataset(build_dataset(block), opt.get("manual_seed") or 0)
    first = data[Draw(0, 0, 0)]
    if "gt" not in first:
        raise UsageError(f"--dataset: datasets.{phase} has no HR faces, of which LR faces are drawn")
    rows, notes = [], []
    for index in np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int).tolist():
        drawn = [data[Draw(index, epoch, index)] for epoch in range(epochs)]
        rows.append([_bytes(drawn[0]["gt"]), *(_bytes(sample["lq"]) for sample in drawn)])
        notes.append(str(drawn[0].get("gt_path", index))[:14])
    return visuals.sheet(["HR", *(f"LR, epoch {epoch}" for epoch in range(epochs))], rows, notes)


def _bytes(image: torch.Tensor) -> np.ndarray:
    return (image.numpy().transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)
