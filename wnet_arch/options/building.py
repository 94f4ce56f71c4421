"""Builds, once, what options describe: networks with their weights, data sets, losses."""

from __future__ import annotations

import copy
import os

from basicsr.utils import registry
from torch import nn

from wnet_arch import tensorboard_log
from wnet_arch.compat import quiet_logger
from wnet_arch.errors import NetworkError, UsageError, WNetError
from wnet_arch.models import freezing, grad_checkpointing
from wnet_arch.options.schema import loss_blocks
from wnet_arch.options.signatures import registered


def check_building(opt: dict, is_train: bool) -> None:
    """Builds networks, data sets and losses; imports what the logs need.

    A model may check its network: a static method ``check_network(opt, net)``, which raises UsageError.

    Args:
        opt: options in which no problem and no contradiction was found.
        is_train: losses and the discriminator, too.

    Raises:
        UsageError: the first that cannot be built.
    """
    if is_train:
        tensorboard_log.check(opt)
    with quiet_logger():
        net = _build_network(opt, "network_g")
        model = registered(registry.MODEL_REGISTRY, opt["model_type"])
        if is_train and hasattr(model, "check_network"):
            model.check_network(opt, net)
        if is_train:
            freezing.freeze(net, opt["train"].get("frozen"))
        if is_train and opt["train"].get("grad_checkpointing"):
            grad_checkpointing.switch_on(net, bool(opt["train"].get("compile")))
        _build_datasets(opt, is_train)
        if is_train:
            _build_losses(opt)
            if opt.get("network_d"):
                _build_network(opt, "network_d")


def _build_network(opt: dict, key: str) -> nn.Module:
    """``key`` is network_g or network_d."""
    from basicsr.archs import build_network

    from wnet_arch.checkpoint import load_into

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


def _build_datasets(opt: dict, is_train: bool) -> None:
    from basicsr.data import build_dataset

    for phase, block in opt["datasets"].items():
        full = dict(copy.deepcopy(block), phase=phase.split("_")[0], scale=opt["scale"])
        try:
            images = len(build_dataset(full))
        except WNetError as error:
            raise type(error)(f"datasets.{phase}: {error}") from error
        except Exception as error:  # data sets of others raise what they like
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise UsageError(f"datasets.{phase}: {block['type']} cannot be built: {reason}") from error
        if is_train and phase == "train":
            _check_count(block, images, opt["train"].get("accumulation", 1))


def _check_count(block: dict, images: int, parts: int) -> None:
    """There are images for one iteration of one process at least; ``parts`` batches are drawn for it."""
    batch = block["batch_size_per_gpu"]
    if images * (block.get("dataset_enlarge_ratio") or 1) < batch * parts:
        times = f", times train.accumulation {parts}" if parts > 1 else ""
        raise UsageError(
            f"datasets.train.batch_size_per_gpu is {batch}{times}, but there are {images} images: "
            "lower it, or raise dataset_enlarge_ratio"
        )


def _build_losses(opt: dict) -> None:
    from wnet_arch.losses import build_loss

    for name, block in loss_blocks(opt["train"]).items():
        try:
            build_loss(block, opt["scale"])
        except WNetError as error:
            raise type(error)(f"train.{name}: {error}") from error
        except Exception as error:  # losses of others raise what they like
            raise UsageError(f"train.{name}: {block['type']} cannot be built: {error}") from error
