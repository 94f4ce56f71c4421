"""Builds, once, what options describe: networks with their weights, data sets, losses."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import os
import warnings
from collections.abc import Callable, Iterator

import lmdb
import torch
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import registry, tensor2img
from torch import nn

from wnet_arch.compat import quiet_logger
from wnet_arch.data.face_lmdb import open_whole
from wnet_arch.errors import DataError, NetworkError, UsageError, WNetError
from wnet_arch.options.relations import lmdb_paths
from wnet_arch.options.samples import check_sample
from wnet_arch.options.schema import loss_blocks
from wnet_arch.options.signatures import registered
from wnet_arch.training import grad_checkpointing, parts, tensorboard_log
from wnet_arch.training.distributed import is_joined
from wnet_arch.words import counted


def check_building(opt: dict, is_train: bool) -> None:
    """Builds networks, data sets and losses; imports what the logs need.

    Raises:
        UsageError: the first that cannot be built.
    """
    for error in find_faults(opt, is_train):
        raise error


def find_faults(opt: dict, is_train: bool) -> Iterator[WNetError]:
    """What cannot be built, one after the other: each data set, each network and each loss is tried, whatever the others say.

    A model may check its network: a static method ``check_network(opt, net)``, which raises UsageError.

    Args:
        opt: options in which no problem was found.
        is_train: losses and the discriminator, too.
    """
    steps: list[Callable[[], object]] = [lambda: _build_generator(opt, is_train)]
    samples: dict[str, dict] = {}
    steps += [functools.partial(_build_dataset, opt, phase, is_train, samples) for phase in opt["datasets"]]
    steps.append(lambda: _try_metrics(opt, samples))
    if is_train:
        steps.insert(0, lambda: tensorboard_log.check(opt))
        steps += [functools.partial(_build_loss, name, block, opt["scale"]) for name, block in loss_blocks(opt["train"]).items()]
        if opt.get("network_d"):
            steps.append(lambda: _build_network(opt, "network_d"))
    for step in steps:
        try:
            with quiet_logger():
                step()
        except WNetError as error:
            yield error


def _build_generator(opt: dict, is_train: bool) -> None:
    net = _build_network(opt, "network_g")
    if not is_train:
        return
    model = registered(registry.MODEL_REGISTRY, opt["model_type"])
    if hasattr(model, "check_network"):
        model.check_network(opt, net)
    _check_average(opt, model, net)
    parts.freeze(net, opt["train"].get("frozen"))
    parts.rate_factors(net, opt["train"].get("lr_mult"))
    if opt["train"].get("grad_checkpointing"):
        grad_checkpointing.switch_on(net, bool(opt["train"].get("compile")))


def _check_average(opt: dict, model: type, net: nn.Module) -> None:
    """The framework's own average leaves out buffers: a network with BatchNorm would be validated with its first statistics."""
    own = getattr(model, "model_ema", None) is SRModel.model_ema
    norms = nn.modules.batchnorm._BatchNorm
    normed = [name for name, module in net.named_modules() if isinstance(module, norms) and module.track_running_stats]
    if own and normed and (opt["train"].get("ema_decay") or 0) > 0:
        raise UsageError(
            f"train.ema_decay: the average of {opt['model_type']} would keep the first statistics of BatchNorm ({normed[0]}) "
            "for ever; use model_type: FaceSRModel, or ema_decay: 0"
        )


def _build_network(opt: dict, key: str) -> nn.Module:
    """``key`` is network_g or network_d."""
    from basicsr.archs import build_network

    from wnet_arch.weights.checkpoint import load_into

    block = copy.deepcopy(opt[key])
    name = registered(registry.ARCH_REGISTRY, block["type"]).__name__
    try:
        net = build_network(block)
    except NetworkError as error:
        raise UsageError(f"{key}: {error}") from error
    except Exception as error:  # networks of others raise what they like
        raise UsageError(f"{key}: {name} cannot be built: {error}") from error
    path = opt["path"].get(f"pretrain_{key}")
    if path:
        which = key.removeprefix("network_")
        param_key = opt["path"].get(f"param_key_{which}", "params")
        load_into(net, os.path.expanduser(path), param_key, opt["path"].get(f"strict_load_{which}", True))
    return net


def _build_dataset(opt: dict, phase: str, is_train: bool, samples: dict[str, dict]) -> None:
    """Puts its first sample among the ``samples``."""
    from basicsr.data import build_dataset

    block = opt["datasets"][phase]
    _check_stores(phase, block)
    full = dict(copy.deepcopy(block), phase=phase.split("_")[0], scale=opt["scale"])
    try:
        dataset = build_dataset(full)
        images = len(dataset)
    except WNetError as error:
        raise type(error)(f"datasets.{phase}: {error}") from error
    except Exception as error:  # data sets of others raise what they like
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UsageError(f"datasets.{phase}: {block['type']} cannot be built: {reason}") from error
    if is_train and phase == "train":
        _check_count(block, images, opt["train"].get("accumulation", 1))
    if images:
        samples[phase] = check_sample(opt, phase, dataset)
    else:
        raise UsageError(f"datasets.{phase}: {block['type']} finds no image")


def _try_metrics(opt: dict, samples: dict[str, dict]) -> None:
    """Measures the first HR face of validation against itself: a metric that lacks its weights would end the run much later."""
    gt = next((sample["gt"] for phase, sample in samples.items() if phase != "train" and "gt" in sample), None)
    if gt is None:
        return
    face = tensor2img(gt)
    for name, block in ((opt.get("val") or {}).get("metrics") or {}).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of means of nothing; the value says so
                value = float(calculate_metric({"img": face, "img2": face}, dict(block)))
        except WNetError as error:
            raise type(error)(f"val.metrics.{name}: {error}") from error
        except Exception as error:  # metrics of others raise what they like
            raise UsageError(f"val.metrics.{name}: {block['type']} cannot be used so: {' '.join(str(error).split())}") from error
        metric = registered(registry.METRIC_REGISTRY, block["type"])
        if math.isnan(value) and "missing" not in inspect.signature(metric).parameters:  # there may be no face to be found
            what = f"{block['type']} gives no number for HR images of {face.shape[1]}x{face.shape[0]}"
            raise UsageError(f"val.metrics.{name}: {what}; see crop_border")


def _check_stores(phase: str, block: dict) -> None:
    """LMDBs that the framework's own data sets read are whole; a cut file would kill the process."""
    if isinstance(block.get("io_backend"), dict):
        for key, path in lmdb_paths(block):
            try:
                if os.path.isdir(path):
                    open_whole(path).close()
            except (DataError, lmdb.Error) as error:
                raise DataError(f"datasets.{phase}.{key}: {error}") from error


def _check_count(block: dict, images: int, parts: int) -> None:
    """There are images for one iteration of all processes at least; each draws ``parts`` batches for it."""
    batch, processes = block["batch_size_per_gpu"], torch.distributed.get_world_size() if is_joined() else 1
    if images * (block.get("dataset_enlarge_ratio") or 1) < batch * parts * processes:
        times = f", times train.accumulation {parts}" if parts > 1 else ""
        times += f", times {processes} processes" if processes > 1 else ""
        raise UsageError(
            f"datasets.train.batch_size_per_gpu is {batch}{times}, the set has {counted(images, 'image')}: "
            "lower it, or raise dataset_enlarge_ratio"
        )


def _build_loss(name: str, block: dict, scale: int) -> None:
    from wnet_arch.losses import build_loss

    try:
        build_loss(block, scale)
    except WNetError as error:
        raise type(error)(f"train.{name}: {error}") from error
    except Exception as error:  # losses of others raise what they like
        raise UsageError(f"train.{name}: {block['type']} cannot be built: {error}") from error
