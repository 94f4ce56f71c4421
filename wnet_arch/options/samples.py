"""What the first sample of a data set tells: whether a model can use what the set gives."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.utils import registry
from torch.utils.data import Dataset

from wnet_arch.data.face_lmdb import read_manifest
from wnet_arch.data.sampler import seeded
from wnet_arch.errors import UsageError, WNetError
from wnet_arch.options.signatures import registered

_USE_OURS = "use PairedFaceParsingDataset"


def check_sample(opt: dict, phase: str, dataset: Dataset) -> dict:
    """Draws the first sample and looks whether the model finds in it what it reads; random numbers go on as before.

    Returns:
        The sample.

    Models of other packages that read samples in a way of their own (``feed_data``) are left to do so.

    Raises:
        WNetError: the sample cannot be read.
        UsageError: it lacks something, or its images are not of one scale.
    """
    block = opt["datasets"][phase]
    with seeded(0):
        try:
            sample = dataset[0]
        except WNetError as error:
            raise type(error)(f"datasets.{phase}: {error}") from error
        except Exception as error:  # data sets of others raise what they like
            reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise UsageError(f"datasets.{phase}: the first image of {block['type']} cannot be read: {reason}") from error
    model = registered(registry.MODEL_REGISTRY, opt["model_type"])
    if _reads_pairs(model):
        _check_pair(opt, phase, sample)
        if phase == "train" and opt.get("train"):
            _check_prior(opt, sample, getattr(dataset, "roots", []))
    return sample


def _reads_pairs(model: type) -> bool:
    method = getattr(model, "feed_data", None)
    return method is SRModel.feed_data or (method is not None and method.__module__.split(".")[0] == "wnet_arch")


def _check_pair(opt: dict, phase: str, sample: dict) -> None:
    """``lq``, and ``gt`` where something compares with it, in the scale of the options."""
    kind = opt["datasets"][phase]["type"]
    if not isinstance(sample, dict) or "lq" not in sample:
        raise UsageError(f"datasets.{phase}.type: {kind} gives no LR images, which {opt['model_type']} reads; {_USE_OURS}")
    if "gt" not in sample:
        _check_use_of_gt(opt, phase, kind)
        return
    (height, width), (gt_height, gt_width) = (sample[key].shape[-2:] for key in ("lq", "gt"))
    if (gt_height, gt_width) != (height * opt["scale"], width * opt["scale"]):
        gt_size = opt["datasets"][phase].get("gt_size")
        fix = f"make gt_size a multiple of {opt['scale']}" if gt_size and gt_size % opt["scale"] else "give images of that scale"
        pair = f"LR images of {width}x{height} and HR images of {gt_width}x{gt_height}"
        raise UsageError(f"datasets.{phase}: {pair} are not x{opt['scale']}; {fix}")


def _check_use_of_gt(opt: dict, phase: str, kind: str) -> None:
    if phase == "train":
        raise UsageError(f"datasets.train.type: {kind} gives no HR images to learn from; {_USE_OURS}")
    metrics = (opt.get("val") or {}).get("metrics") or {}
    comparing = next((name for name, block in metrics.items() if _compares(block)), None)
    if comparing:
        raise UsageError(
            f"datasets.{phase}.type: {kind} gives no HR images, which val.metrics.{comparing} compares with; "
            f"remove the metrics (`metrics: ~`), or {_USE_OURS}"
        )


def _compares(block: dict) -> bool:
    metric = registered(registry.METRIC_REGISTRY, block["type"])
    return metric is None or "img2" in inspect.signature(metric).parameters


def _check_prior(opt: dict, sample: dict, roots: Sequence[str]) -> None:
    """Maps and landmarks, where a loss reads them. ``roots``: the sets that the samples are drawn from."""
    block, (reader, learns) = opt["datasets"]["train"], _reader_of_maps(opt)
    ours = block["type"] == "PairedFaceParsingDataset"
    if reader and "parsing" not in sample:
        raise UsageError(f"datasets.train.type: {block['type']} gives no parsing maps, which {reader} needs; {_USE_OURS}")
    if learns and ours and not block.get("dataroot") and not block.get("dataroot_parsing"):
        raise UsageError(
            f"datasets.train.dataroot_parsing is missing, so that {reader} has no map to learn from; name a folder of label maps"
        )
    if learns and roots and all(_has_no_maps(root) for root in roots):
        raise UsageError(
            f"datasets.train.dataroot: {roots[0]} was made without maps, so that {reader} has none to learn from; "
            "make it again with `wnet prepare --parser compact`, or with --labels"
        )
    prior = opt["train"].get("prior_opt")
    if prior and "landmarks" not in sample and getattr(registered(registry.LOSS_REGISTRY, prior["type"]), "needs_landmarks", False):
        fix = "set it to true" if ours else f"{_USE_OURS} with landmarks: true"
        raise UsageError(f"datasets.train.landmarks: {prior['type']} trains with landmarks, which these samples lack; {fix}")


def _has_no_maps(root: str) -> bool:
    parser = read_manifest(root).get("parser")
    return isinstance(parser, dict) and parser.get("name") == "none"


def _reader_of_maps(opt: dict) -> tuple[str | None, bool]:
    """What in a training reads parsing maps, and whether it learns anything from them."""
    train = opt["train"]
    if train.get("true_parsing"):
        return "train.true_parsing", True
    for key in ("wnet_opt", "prior_opt"):
        block = train.get(key)
        loss: Any = registered(registry.LOSS_REGISTRY, block["type"]) if block else None
        if getattr(loss, "terms_with_maps", ()):
            weights = {name: parameter.default for name, parameter in inspect.signature(loss).parameters.items()} | block
            return f"train.{key}", any(weights[name] for name in loss.terms_with_maps)
    return None, False
