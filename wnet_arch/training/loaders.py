"""The loaders of a training run, in the place of the framework's ``create_train_val_dataloader``."""

from __future__ import annotations

import hashlib
import logging
import os
from typing import Any, cast

import torch
from basicsr.data import build_dataloader, build_dataset
from torch.utils.data import DataLoader

from wnet_arch.data.decoded import memory_of_machine
from wnet_arch.data.sampler import DrawSampler, SeededDataset
from wnet_arch.errors import UsageError
from wnet_arch.processors import processes_here, shared_processors
from wnet_arch.training import accumulation
from wnet_arch.words import counted

#: Loading processes for a GPU at most, where nobody says how many. Of a machine's memory, what decoded images may take then.
WORKERS, KEPT = 8, 0.25


def create_train_val_dataloader(opt: dict, logger: logging.Logger) -> tuple:
    """Builds what ``basicsr.train.train_pipeline`` asks for.

    The framework's own counts the iterations of an epoch with the last, incomplete batch, which is then dropped, so that a
    run on few images ends before its time; and it runs past ``total_iter`` by one iteration an epoch.

    Args:
        opt: the options, with ``resume`` (see :func:`wnet_arch.training.patches.load_resume_state`) where a run is continued.
        logger: takes a few lines of statistics.

    Returns:
        Training loader, its sampler, validation loaders, number of the last epoch, iterations.

    Raises:
        UsageError: fewer images than a batch needs; or the run to be continued drew its images in another way.
    """
    blocks = opt["datasets"]
    for line in (opt.get("resume") or {}).get("changed", {}).values():
        logger.info(line)
    train_loader, sampler = _train_loader(opt, blocks["train"])
    val_loaders = [_val_loader(opt, block) for phase, block in blocks.items() if phase.split("_")[0] == "val"]
    for loader in val_loaders:
        dataset = cast(Any, loader.dataset)  # one of BasicSR's registry: it has its options and a length
        logger.info(f"Validation on {dataset.opt['name']}: {counted(len(dataset), 'image')}")
    logger.info(
        f"Training on {counted(sampler.images, 'image')}, {sampler.batch} x {sampler.world_size} an iteration: "
        f"{counted(sampler.iterations, 'iteration')} an epoch, {counted(sampler.epochs, 'epoch')}, "
        f"{counted(sampler.total_iter, 'iteration')}"
    )
    return train_loader, sampler, val_loaders, sampler.epochs - 1, sampler.total_iter


def _train_loader(opt: dict, block: dict) -> tuple[DataLoader, DrawSampler]:
    seed, world_size = opt["manual_seed"], opt["world_size"]
    block = {**block, "batch_size_per_gpu": block["batch_size_per_gpu"] * accumulation.count(opt["train"])}
    on_gpu = opt["num_gpu"] != 0
    block.update(for_device(block, on_gpu))
    batch = block["batch_size_per_gpu"] * (1 if opt["dist"] else max(1, opt["num_gpu"]))
    images = build_dataset(block)
    # Workers of a distributed run are spawned and would each keep images of their own: 64 of them, all that the machine has.
    if on_gpu and not opt["dist"] and block.get("cache") is None and hasattr(images, "keep_decoded"):
        images.keep_decoded(KEPT * memory_of_machine() / processes_here())
    dataset = SeededDataset(images, seed)
    ratio = block.get("dataset_enlarge_ratio") or 1
    sampler = DrawSampler(len(dataset), batch, world_size, opt["rank"], ratio, seed, int(opt["train"]["total_iter"]))
    opt["draws"] = {
        "seed": seed, "images": len(dataset), "together": batch * world_size, "draws": sampler.draws, "set": _identity(dataset),
    }  # fmt: skip
    if opt.get("resume"):
        _continue(sampler, opt["draws"], opt["resume"])
    loader = build_dataloader(dataset, block, num_gpu=opt["num_gpu"], dist=opt["dist"], sampler=sampler, seed=seed)
    return _apart(loader, seed), sampler


def for_device(block: dict, on_gpu: bool) -> dict:
    """What a training's block does not say of its loader. Samples and their order do not depend on any of it.

    Args:
        block: of the data set.
        on_gpu: where batches go to.

    Returns:
        ``num_worker_per_gpu``, ``pin_memory`` and ``persistent_workers``.
    """
    workers, pinned, stay = (block.get(key) for key in ("num_worker_per_gpu", "pin_memory", "persistent_workers"))
    if workers is None:
        workers = min(WORKERS, shared_processors()) if on_gpu else 1
    return {
        "num_worker_per_gpu": workers, "pin_memory": on_gpu if pinned is None else pinned,
        "persistent_workers": bool(workers) if stay is None else stay,
    }  # fmt: skip


def _val_loader(opt: dict, block: dict) -> DataLoader:
    seed = opt["manual_seed"]
    loader = build_dataloader(build_dataset(block), block, num_gpu=opt["num_gpu"], dist=opt["dist"], sampler=None, seed=seed)
    return _apart(loader, seed)


def _apart(loader: DataLoader, seed: int) -> DataLoader:
    """Loaders draw a number whenever they are iterated: not from the generator that the training draws from."""
    loader.generator = torch.Generator().manual_seed(seed)
    return loader


def _identity(dataset: SeededDataset) -> str | None:
    """What tells the images of a data set from those of another; ``None`` where it does not say."""
    identity = getattr(dataset, "identity", None)
    if callable(identity):
        return identity()
    paths = getattr(dataset, "paths", None)  # the framework's data sets
    if not isinstance(paths, list):
        return None
    names = (os.path.basename(str(path.get("gt_path") if isinstance(path, dict) else path)) for path in paths)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _continue(sampler: DrawSampler, now: dict, resume: dict) -> None:
    before = resume.get("draws")
    if before is None:  # a state that the framework wrote
        return
    words = {"images": "images in the training set", "together": "images an iteration, all processes together",
             "draws": "images an epoch"}  # fmt: skip
    for key, what in words.items():
        if before[key] != now[key]:
            raise UsageError(
                f"path.resume_state: that run had {before[key]} {what}, these options have {now[key]}, so it cannot go on as it "
                "would have; give the same, or start a new run from its weights (path.pretrain_network_g)"
            )
    if before.get("set") and before["set"] != now["set"]:
        raise UsageError(
            "path.resume_state: that run drew from other images (their names, or what the first of them shows), so it cannot go on "
            "as it would have; give the same data set, or start a new run from its weights (path.pretrain_network_g)"
        )
    sampler.start_behind(resume["epoch"], resume["iter"])
