"""The schema of one option file: the blocks that its ``model_type`` and ``type`` entries call for, put together.

A class from another package declares keys of its own in an attribute ``OWN_OPTIONS``: for a data set ``("mask_root",)``, for a
model dotted names, ``("train.mix_opt", "val.faces")``. Keys it does not declare are then errors. Where a class of another package
has no such attribute, keys that are not known pass, and only those that are known are checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

from basicsr.utils import registry
from pydantic import Field, create_model

from wnet_arch.options import blocks, training
from wnet_arch.options.blocks import Block, OpenBlock
from wnet_arch.options.signatures import block_of_optimizer, block_of_scheduler, block_of_type, registered

PHASE = re.compile(r"train|(val|test)(_\w+)?")
_PATH_OF_NETWORK = re.compile(r"(pretrain_network|strict_load|param_key)_(\w+)")
_PACKAGES = ("basicsr", "wnet_arch")
DATASETS: dict[str, type[Block]] = {
    "PairedFaceParsingDataset": blocks.FaceDataset,
    "PairedImageDataset": blocks.PairedDataset,
    "SingleImageDataset": blocks.LQDataset,
}
Described = TypeVar("Described", bound=Block)
_TRAINING_NEEDS = ("batch_size_per_gpu", "gt_size", "use_hflip", "use_rot")


def fields(cls: type[Block]) -> dict[str, Any]:
    """The fields of a block by the keys they have in a file."""
    return {info.alias or name: info for name, info in cls.model_fields.items()}


def inner_block(annotation: Any) -> type[Block] | None:
    """The block inside an annotation, ``Optional[Logger]`` for instance."""
    if not hasattr(annotation, "__origin__") and isinstance(annotation, type):  # list[int] is a type to Python 3.9
        return annotation if issubclass(annotation, Block) else None
    found = [inner_block(argument) for argument in get_args(annotation) if argument is not type(None)]
    return found[0] if len(found) == 1 and getattr(annotation, "__origin__", None) is not dict else None


def schema_of(opt: dict, training_run: bool) -> type[Block]:
    """The schema of these options.

    Args:
        opt: options as they were read; whatever cannot be understood is taken for unknown.
        training_run: demand what ``basicsr train`` needs, not what ``basicsr test`` needs.
    """
    model = registered(registry.MODEL_REGISTRY, opt.get("model_type"))
    train, open_ = train_block(model)
    base = blocks.AdversarialOptions if train.adversarial or model is None else blocks.Options
    val, logger = (blocks.EngineVal, blocks.EngineLogger) if train.engine or model is None else (blocks.Val, blocks.Logger)
    own = _own_options(model)
    refined = {
        "datasets": _datasets(_block(opt, "datasets"), training_run),
        "network_g": block_of_type(blocks.Named, registry.ARCH_REGISTRY, opt.get("network_g")),
        "path": _paths(opt),
        "train": _train(train, _block(opt, "train"), model, open_),
        "val": _val(val, _block(opt, "val"), own, open_, training_run),
        "logger": _open(_with_own(logger, "logger.", own), open_),
    }
    if base is blocks.AdversarialOptions:
        refined["network_d"] = block_of_type(blocks.Named, registry.ARCH_REGISTRY, opt.get("network_d"))
    required = ("train", "logger") if training_run else ("val",)
    return refine(_open(_with_own(base, "", own), open_), refined, required)


def refine(cls: type[Block], annotations: dict[str, Any], required: tuple[str, ...] = (), owner: str = "") -> type[Block]:
    """The same block with other types for some fields, some of them required."""
    hints = get_type_hints(cls, include_extras=True)
    new: dict[str, Any] = {}
    for name in {**annotations, **dict.fromkeys(required)}:
        info, annotation = cls.model_fields[name], annotations.get(name, hints[name])
        needed = name in required or info.is_required()
        if not needed and info.default is None:
            annotation = Optional[annotation]
        new[name] = (
            _without_none(annotation) if needed else annotation,
            Field(... if needed else info.default, description=info.description),
        )
    made = create_model(cls.__name__, __base__=cls, **new)
    made.owner = owner or cls.owner
    return made


def _without_none(annotation: Any) -> Any:
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) and len(options) == 1 else annotation


def _block(opt: dict, key: str) -> dict:
    """A block of the options, empty where it is none."""
    return opt[key] if isinstance(opt.get(key), dict) else {}


def _open(cls: type[Block], open_: bool) -> type[Block]:
    if not open_:
        return cls
    made = create_model(cls.__name__, __base__=(cls, OpenBlock))
    made.owner = cls.owner
    return made


def _with_own(cls: type[Block], prefix: str, own: tuple[str, ...]) -> type[Block]:
    """A block with the keys that a class of another package declared: those of ``own`` that begin with ``prefix``."""
    names = [name[len(prefix) :] for name in own if name.startswith(prefix)]
    names = [name for name in names if "." not in name and name not in fields(cls)]
    if not names:
        return cls
    new: dict[str, Any] = {f"own_{i}": (Any, Field(None, alias=name)) for i, name in enumerate(names)}
    made = create_model(cls.__name__, __base__=cls, **new)
    made.owner = cls.owner
    return made


def _own_options(cls: Any) -> tuple[str, ...]:
    return tuple(name for base in getattr(cls, "__mro__", ()) for name in vars(base).get("OWN_OPTIONS", ()))


def _described(cls: Any, table: Mapping[str, type[Described]]) -> tuple[type[Described] | None, bool]:
    """The block of a class or of its nearest ancestor that has one, and whether that, with ``OWN_OPTIONS``, is all it reads."""
    for index, base in enumerate(getattr(cls, "__mro__", ())):
        if base.__name__ in table and base.__module__.split(".")[0] in _PACKAGES:
            below = cls.__mro__[:index]
            return table[base.__name__], not below or any("OWN_OPTIONS" in vars(other) for other in below)
    return None, "OWN_OPTIONS" in vars(cls) if isinstance(cls, type) else False


def train_block(model: Any) -> tuple[type[training.AnyTrain], bool]:
    """The block ``train`` of a model, and whether the model may read more than is known."""
    block, complete = _described(model, training.OF_MODEL)
    return block or (training.AnyTrain if complete else training.OpenTrain), not complete


def has_own(model: Any, method: str) -> bool:
    """Whether a model of another package replaces one of the framework's methods, and with it the options it reads."""
    return getattr(getattr(model, method, None), "__module__", "basicsr").split(".")[0] not in _PACKAGES


def _train(described: type[training.AnyTrain], value: dict, model: Any, open_: bool) -> type[Block]:
    cls = _with_own(described, "train.", _own_options(model))
    found: dict[str, type[Block]] = {}
    for name, annotation in get_type_hints(cls, include_extras=True).items():
        block, entry = inner_block(annotation), value.get(name)
        if block is training.Loss:
            found[name] = block_of_type(training.Loss, registry.LOSS_REGISTRY, entry)
        elif block is training.Optimizer:
            found[name] = block_of_optimizer(entry)
        elif block is training.Scheduler:
            found[name] = blocks.Named if has_own(model, "setup_schedulers") else block_of_scheduler(entry)
    cls = refine(_open(cls, open_), found, owner=getattr(model, "__name__", ""))
    more = [name for name in loss_blocks(value) if name not in cls.model_fields and (open_ or name in fields(cls))]
    losses: dict[str, Any] = {
        f"loss_{i}": (block_of_type(training.Loss, registry.LOSS_REGISTRY, value[name]), Field(None, alias=name))
        for i, name in enumerate(more)
    }
    return create_model(cls.__name__, __base__=cls, **losses) if losses else cls


def loss_blocks(train: dict) -> dict[str, dict]:
    """The losses of a block ``train``: its entries ``*_opt``."""
    return {name: block for name, block in train.items() if str(name).endswith("_opt") and isinstance(block, dict)}


def _datasets(value: dict, training_run: bool) -> type[Block]:
    new: dict[str, Any] = {}
    for index, (phase, block) in enumerate(value.items()):
        if isinstance(phase, str) and PHASE.fullmatch(phase):
            new[f"phase_{index}"] = (_dataset(phase, block), Field(alias=phase))
    if training_run and "train" not in value:
        new["train"] = (blocks.Dataset, Field(description="the images to train with"))
    made = create_model("Datasets", __base__=Block, **new)
    made.unknown_hint = ": phases are train, val, val_1, ... and test, test_1, ..."
    return made


def _dataset(phase: str, value: Any) -> type[Block]:
    cls = registered(registry.DATASET_REGISTRY, value.get("type")) if isinstance(value, dict) else None
    described, complete = _described(cls, DATASETS)
    block = _open(_with_own(described or blocks.Dataset, "", _own_options(cls)), not complete)
    needed = tuple(name for name in _TRAINING_NEEDS if name in block.model_fields) if phase == "train" else ()
    if issubclass(block, blocks.FaceDataset):
        needed = needed[:2]
    return refine(block, {}, needed, owner=getattr(cls, "__name__", ""))


def _val(cls: type[blocks.Val], value: dict, own: tuple[str, ...], open_: bool, training_run: bool) -> type[Block]:
    metrics: dict[str, Any] = {
        f"metric_{index}": (block_of_type(blocks.MetricBlock, registry.METRIC_REGISTRY, block, ("img", "img2")), Field(alias=name))
        for index, (name, block) in enumerate(_block(value, "metrics").items())
        if isinstance(name, str)
    }
    made = create_model("Metrics", __base__=Block, **metrics)
    return refine(_open(_with_own(cls, "val.", own), open_), {"metrics": made}, ("val_freq",) if training_run else ())


def _paths(opt: dict) -> type[Block]:
    """With the entries of networks other than ``network_g`` and ``network_d``."""
    hints = get_type_hints(blocks.Paths, include_extras=True)
    new: dict[str, Any] = {}
    for name in _block(opt, "path"):
        match = _PATH_OF_NETWORK.fullmatch(name) if isinstance(name, str) else None
        if match and name not in hints and f"network_{match[2]}" in opt:
            new[f"path_{len(new)}"] = (hints[f"{match[1]}_g"], Field(None, alias=name))
    made = create_model("Paths", __base__=blocks.Paths, **new)
    made.unknown_hint = blocks.Paths.unknown_hint
    return made


def _inside(annotation: Any) -> type[Block] | None:
    """The block inside an annotation; an open one for a dictionary, or where a value of any kind is possible, as one."""
    kinds = get_args(annotation) if get_origin(annotation) is Union else (annotation,)
    is_open = any(kind is Any or get_origin(kind) is dict for kind in kinds)
    return inner_block(annotation) or (OpenBlock if is_open else None)


def find(opt: dict, path: tuple[str, ...]) -> tuple[type[Block] | None, dict[str, Any] | None]:
    """What the schema has at a place in the options.

    Args:
        opt: the options; those of ``path`` need not exist.
        path: keys, from the top level.

    Returns:
        The block at that place, if it is one; and the fields of the block around it, ``None`` where any key is possible.
    """
    opt = _with_dataset(opt, path)
    cls: type[Block] | None = schema_of(opt, "train" in opt)
    around: dict[str, Any] | None = {}
    for key in path:
        if cls is None:
            return None, {}
        around = None if cls.model_config.get("extra") == "allow" else fields(cls)
        info = fields(cls).get(key)
        if around is None and info is None:
            return None, None
        cls = _inside(info.annotation) if info else None
    return cls, around


def _with_dataset(opt: dict, path: tuple[str, ...]) -> dict:
    """The options with the data set or metric that ``path`` leads to: those have names of the user's own."""
    if len(path) > 1 and path[0] == "datasets":
        return {**opt, "datasets": {path[1]: {}, **_block(opt, "datasets")}}
    if len(path) > 2 and path[:2] == ("val", "metrics"):
        val = _block(opt, "val")
        return {**opt, "val": {**val, "metrics": {path[2]: {}, **_block(val, "metrics")}}}
    return opt
