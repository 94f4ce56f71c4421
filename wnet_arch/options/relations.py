"""What must fit together in options whose keys and types are right."""

from __future__ import annotations

import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils import registry

from wnet_arch.archs.base import NETWORKS, FaceSRNetwork
from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.losses.prior_losses import PriorLoss
from wnet_arch.models import WNetModel
from wnet_arch.options.schema import has_own, loss_blocks, train_block
from wnet_arch.options.signatures import registered
from wnet_arch.options.training import FaceSRTrain
from wnet_arch.training.distributed import is_joined
from wnet_arch.training.optimizers import optimizers
from wnet_arch.weights import shipped


def find_contradictions(opt: dict, is_train: bool) -> list[str]:
    """Lines for combinations that cannot work.

    Args:
        opt: options in which the schema found nothing wrong.
        is_train: for ``basicsr train``, else for ``basicsr test``.
    """
    found = [*_devices(opt), *_networks(opt), *_datasets(opt, is_train), *_metrics(opt), *_shared_lmdbs(opt)]
    found += _paths(opt["path"], opt)
    if is_train:
        found += [*_optimizers(opt), *_schedules(opt["train"]), *_model(opt)]
    return found


def _devices(opt: dict) -> Iterator[str]:
    gpus, there = opt["num_gpu"], torch.cuda.device_count()
    if gpus != "auto" and gpus > there:
        yield f"num_gpu is {gpus}, but this machine has {there}; use auto"

    if (opt.get("train") or {}).get("sync_bn") and is_joined() and (gpus == 0 or not there):
        yield "train.sync_bn: PyTorch synchronises batch normalisation on GPUs only; set it to false on CPUs"


def _networks(opt: dict) -> Iterator[str]:
    for key in ("network_g", "network_d"):
        block: Any = opt.get(key)
        cls: Any = registered(registry.ARCH_REGISTRY, block["type"]) if block else None
        ours = inspect.isclass(cls) and issubclass(cls, FaceSRNetwork)
        if key == "network_d":
            if ours:
                yield f"network_d: {cls.__name__} super-resolves; a discriminator is wanted"
            continue
        parameters = inspect.signature(cls).parameters if cls else {}
        name = next((name for name in ("scale", "upscale") if name in parameters), None)  # the framework's have either
        scale = block.get(name, parameters[name].default) if name else opt["scale"]
        if scale != opt["scale"]:
            yield f"network_g.{name} is {scale}, but scale is {opt['scale']}; give both the same"
    for key, block in loss_blocks(opt.get("train") or {}).items():
        if (block.get("scale") or opt["scale"]) != opt["scale"]:
            yield f"train.{key}.scale is {block['scale']}, but scale is {opt['scale']}; give both the same, or leave it out"


def _datasets(opt: dict, is_train: bool) -> Iterator[str]:
    tested = Counter(block["name"] for phase, block in opt["datasets"].items() if phase != "train")
    for name, count in tested.items():
        if count > 1:
            yield f"datasets: {count} sets to validate on are called '{name}'; give each a name of its own"
    if not opt["datasets"]:
        yield "datasets is empty: name at least one data set"
    for phase, block in opt["datasets"].items():
        if is_train and phase.startswith("test"):
            yield f"datasets.{phase}: `basicsr train` never uses it; call it val, or take it out"
        if not is_train and phase == "train":
            yield "datasets.train: `basicsr test` would measure the training set, too; take the block out, or call it test"
        workers = phase == "train" and block.get("num_worker_per_gpu") != 0  # where not given, there are some
        if block.get("persistent_workers") and not workers:
            fix = "raise that, or remove this" if phase == "train" else "remove it: validation loads by itself"
            yield f"datasets.{phase}.persistent_workers needs num_worker_per_gpu above 0; {fix}"
        if block.get("prefetch_mode") == "cuda" and is_train and phase == "train":
            if block.get("pin_memory") is False:
                yield f"datasets.{phase}.prefetch_mode: cuda needs pin_memory: true beside it"
            if not torch.cuda.is_available() or opt["num_gpu"] == 0:
                yield f"datasets.{phase}.prefetch_mode: cuda needs a GPU; use cpu or ~"


def _metrics(opt: dict) -> Iterator[str]:
    """A metric may know its options: a function ``check_options`` of it which raises UsageError."""
    val = opt.get("val") or {}
    metrics = val.get("metrics") or {}
    for name, block in metrics.items():
        metric = registered(registry.METRIC_REGISTRY, block["type"])
        try:
            if hasattr(metric, "check_options"):
                metric.check_options(block)
        except UsageError as error:
            yield f"val.metrics.{name}: {error}"
        else:
            lower = getattr(metric, "better", "higher") == "lower" or block["type"] == "calculate_niqe"  # the framework's
            if lower and block.get("better") != "lower":
                yield f"val.metrics.{name}: add `better: lower`, the framework takes higher values for better ones"
    best = val.get("keep_best")
    if best is not None and best not in metrics:
        yield f"val.keep_best: no metric is called '{best}'{did_you_mean(best, metrics) if metrics else '; val.metrics is empty'}"
    elif best is not None and "train" in opt["datasets"] and not any(phase.startswith("val") for phase in opt["datasets"]):
        yield "val.keep_best: there is nothing to validate on; add datasets.val"


def _shared_lmdbs(opt: dict) -> Iterator[str]:
    """The lmdb library refuses to open a path twice in a process; the readers of this package share one, BasicSR's do not."""
    opened: dict[str, tuple[str, bool]] = {}
    for phase, block in opt["datasets"].items():
        if phase == "train" and block.get("num_worker_per_gpu") != 0:
            continue  # read by other processes
        ours = not isinstance(block.get("io_backend"), dict)
        for key, path in lmdb_paths(block):
            where, real = f"datasets.{phase}.{key}", os.path.realpath(os.path.expanduser(path))
            first, first_is_ours = opened.setdefault(real, (where, ours))
            if first != where and not (ours and first_is_ours):
                yield (
                    f"{where}: {path} is open for {first} already, and LMDB opens a path once in a process; use "
                    "PairedFaceParsingDataset for both, or a copy"
                )


def lmdb_paths(block: dict) -> Iterator[tuple[str, str]]:
    """Keys and folders of the LMDBs that a data set opens, ours or the framework's."""
    if isinstance(block.get("io_backend"), dict):
        if block["io_backend"].get("type") == "lmdb":
            yield from ((key, block[key]) for key in ("dataroot_gt", "dataroot_lq") if isinstance(block.get(key), str))
        return
    roots = block.get("dataroot") or []
    for root in roots if isinstance(roots, (list, tuple)) else [roots]:
        if os.path.isdir(os.path.expanduser(root)):
            names = sorted(os.listdir(os.path.expanduser(root)))
            yield from (("dataroot", os.path.join(root, name)) for name in names if name.endswith(".lmdb"))


def _paths(paths: dict, opt: dict) -> Iterator[str]:
    for key, value in paths.items():
        network = key.replace("pretrain_", "")
        if key.startswith("pretrain_network") and value and network not in opt:
            yield f"path.{key}: there is no {network} to load it into; remove one or add the other"
        elif key.startswith("pretrain_network") and str(value) in shipped.missing():
            yield f"path.{key}: {shipped.missing()[str(value)]}"
        elif key.startswith("pretrain_network") and value and value not in shipped.names() and not _is_file(value):
            yield f"path.{key}: there is no file {value}{shipped.hint(value)}"
        elif key == "resume_state" and value and not _is_file(value):
            yield f"path.{key}: there is no file {value}"


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(os.path.expanduser(path))
    except ValueError:  # a character that no name can have
        return False


def _optimizers(opt: dict) -> Iterator[str]:
    """Every optimizer can be made, and steps; the framework's own models take Adam alone."""
    cls = registered(registry.MODEL_REGISTRY, opt["model_type"])
    for key in ("optim_g", "optim_d"):
        block = dict(opt["train"].get(key) or {})
        if not block or has_own(cls, "get_optimizer"):
            continue
        name = block.pop("type")
        if getattr(cls, "get_optimizer", None) is BaseModel.get_optimizer and name != "Adam":
            yield f"train.{key}.type: {opt['model_type']} takes Adam alone, not {name}; the models of wnet_arch take any"
            continue
        try:
            weights = torch.nn.Parameter(torch.zeros(2, 2))
            weights.grad = torch.zeros_like(weights)
            optimizers()[name]([weights], **block).step()
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            yield f"train.{key}: {name} cannot be used so: {error}"


def _schedules(train: dict) -> Iterator[str]:
    for key in ("scheduler", "scheduler_d"):
        block = train.get(key) or {}
        weights = len(block.get("restart_weights", [1]))
        if "periods" in block:
            if weights != len(block["periods"]):
                yield f"train.{key}.restart_weights has {weights} entries, periods {len(block['periods'])}; give one for each"
            if sum(block["periods"]) < train["total_iter"]:
                yield (
                    f"train.{key}.periods add up to {sum(block['periods'])}, less than total_iter ({train['total_iter']}); "
                    "after them there would be no learning rate: make them longer"
                )
        elif weights != len(block.get("restarts", [0])):
            restarts = len(block.get("restarts", [0]))
            yield f"train.{key}.restart_weights has {weights} entries, restarts {restarts}; give one for each"


def _model(opt: dict) -> Iterator[str]:
    """What a model needs; it may know more: a static method ``check_options`` of it which raises UsageError."""
    cls, train = registered(registry.MODEL_REGISTRY, opt["model_type"]), opt["train"]
    if issubclass(cls, SRGANModel):
        needed = {"network_d": opt.get("network_d"), "train.optim_d": train.get("optim_d"), "train.gan_opt": train.get("gan_opt")}
        lacking = [key for key, block in needed.items() if not block]
        yield from (f"{key} is missing from the options: {opt['model_type']} trains against a discriminator" for key in lacking)
    yield from _never(train)
    if _needs_image_loss(cls) and not (train.get("pixel_opt") or train.get("perceptual_opt")):
        yield "train.pixel_opt is missing from the options, and perceptual_opt too: there is no loss to train with"
    yield from _outputs(opt, cls)
    if hasattr(cls, "check_options"):
        try:
            cls.check_options(opt)
        except UsageError as error:
            yield str(error)


def _never(train: dict) -> Iterator[str]:
    """What a training of this length would end before."""
    total = train["total_iter"]
    if (train.get("net_d_init_iters") or 0) >= total:
        yield (
            f"train.net_d_init_iters is {train['net_d_init_iters']}, and total_iter {total}: the network would never learn; "
            "lower the one or raise the other"
        )
    for part, first in (train.get("start_iters") or {}).items():
        if first > total:
            yield (
                f"train.start_iters.{part} is {first}, and total_iter {total}: this part of the training would never begin; "
                "lower the one or raise the other"
            )


def _outputs(opt: dict, cls: type) -> Iterator[str]:
    """Whether the network gives what a loss reads of it, as far as networks say it in the annotation of ``super_resolve``."""
    train, block = opt["train"], opt["network_g"]
    network = registered(registry.ARCH_REGISTRY, block["type"])
    wanted: dict[str, tuple[str, ...]] = {"wavelet_opt": ("wavelets",)} if train.get("wavelet_opt") else {}
    if issubclass(cls, WNetModel):
        wanted["wnet_opt"] = ("parsing",)
    if train.get("prior_opt"):
        loss = registered(registry.LOSS_REGISTRY, train["prior_opt"]["type"])
        wanted["prior_opt"] = loss.fields if issubclass(loss, PriorLoss) else ()
    for key, fields in wanted.items():
        given = _output_fields(network)
        lacking = [field for field in fields if given is not None and field not in given]
        if lacking:
            able = [name for name, other in sorted(NETWORKS.items()) if set(fields) <= (_output_fields(other) or set())]
            what = " and no ".join(lacking)
            yield f"network_g.type: {block['type']} gives no {what}, which train.{key} needs; use {' or '.join(able)}"
        elif key == "wavelet_opt" and block.get("wavelet") is False:
            yield "network_g.wavelet is false, so there is nothing for train.wavelet_opt; set it to true, or remove that loss"
    if block.get("detach_map") and not _supervises_map(train, wanted):
        yield (
            "network_g.detach_map is true, but no loss would train the map: use model_type: WNetModel with "
            "train.wnet_opt.parsing_weight above 0, or set it to false"
        )


def _supervises_map(train: dict, wanted: dict[str, tuple[str, ...]]) -> bool:
    """Whether a loss reads the map, and weighs something; ``wanted``: the fields of the network's output that each loss reads."""
    if "wnet_opt" in wanted:
        return bool((train.get("wnet_opt") or {}).get("parsing_weight", 1))
    return "parsing" in wanted.get("prior_opt", ())


def _output_fields(network: type) -> set[str] | None:
    """What a network gives with ``return_aux=True``; ``None`` where it does not say."""
    method = getattr(network, "super_resolve", None)
    annotation = getattr(method, "__annotations__", {}).get("return")
    if not isinstance(annotation, str):
        return None
    known = vars(sys.modules[method.__module__])
    kinds: list[Any] = [known.get(name.strip()) for name in annotation.split("|") if name.strip() != "torch.Tensor"]
    if not all(hasattr(kind, "_fields") for kind in kinds):
        return None
    return {"sr"}.union(*(kind._fields for kind in kinds))


def _needs_image_loss(cls: type) -> bool:
    ours = issubclass(train_block(cls)[0], FaceSRTrain) and not has_own(cls, "init_losses")
    return ours or getattr(cls, "init_training_settings", None) is SRModel.init_training_settings
