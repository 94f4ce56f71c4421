"""Option files: reading, overriding, and checking everything that can be checked before a run creates anything.

An error names the key as ``datasets.train.dataroot``, says what is wrong and what to do.
"""

from __future__ import annotations

import copy
import inspect
import os
import re
from collections.abc import Iterable, Sequence

import torch
import yaml

from wnet_arch.compat import quiet_logger
from wnet_arch.errors import NetworkError, UsageError, WNetError, did_you_mean


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``1e-4`` is a number, as in YAML 1.2; PyYAML demands ``1.0e-4``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)

_PATH_KEYS = re.compile(r"(pretrain_network|strict_load|param_key)_\w+|resume_state|ignore_resume_networks")


def _read(path: str, loader: type) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            opt = yaml.load(file, Loader=loader)
    except OSError as error:
        raise UsageError(f"-opt: cannot read {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"-opt: {path} is not a text file") from error
    except yaml.YAMLError as error:
        raise UsageError(f"-opt: {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(opt, dict):
        raise UsageError(f"-opt: {path} does not hold options (key: value)")
    return opt


def load(path: str) -> dict:
    """Reads an option file.

    Raises:
        UsageError: it cannot be read, or is not YAML with keys and values.
    """
    return _read(path, _Loader)


def load_as_framework(path: str) -> dict:
    """The same file with numbers as the framework's own reader takes them (``1e-4`` is text to it)."""
    return _read(path, yaml.SafeLoader)


def save(opt: dict, path: str) -> None:
    """Writes options as a file that the framework reads back with the same values."""
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(opt, file, sort_keys=False, allow_unicode=True)


#: Options of FaceSRModel that no option file needs to have, and that may be given on the command line all the same.
_OPTIONAL = (
    "train:precision", "train:channels_last", "train:compile", "train:grad_clip", "train:nonfinite",
    "logger:keep_last", "val:keep_best",
)  # fmt: skip


def override(opt: dict, entries: Iterable[str]) -> dict:
    """Returns a copy of the options with ``KEY:KEY=VALUE`` entries applied; values follow YAML's rules.

    Raises:
        UsageError: an entry is not of that form, or names a key that the file does not have.
    """
    opt = copy.deepcopy(opt)
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UsageError(f"--force_yml: '{entry}' is not KEY:KEY=VALUE")
        *parents, last = name.strip().split(":")
        block = opt
        for key in [*parents, last]:
            if not isinstance(block, dict) or (key not in block and name.strip() not in _OPTIONAL):
                known = block if isinstance(block, dict) else ()
                raise UsageError(f"--force_yml: the options have no '{name}'{did_you_mean(key, known)}")
            if key is not last:
                block = block[key]
        try:
            block[last] = yaml.load(value, Loader=_Loader)
        except yaml.YAMLError as error:
            raise UsageError(f"--force_yml: '{value}' is not a YAML value") from error
    return opt


def check(opt: dict, is_train: bool, plugins: Sequence[str] = ()) -> None:
    """Checks options by building, once, the networks, losses and data sets they describe.

    Raises:
        UsageError: the first thing found wrong.
    """
    _check_keys(opt, is_train)
    _check_names(opt, is_train, plugins)
    _check_metrics(opt)
    _check_paths(opt["path"])
    with quiet_logger():
        _check_network(opt, "network_g")
        _check_datasets(opt)
        if is_train:
            _check_model(opt)
            _check_optimizers(opt)
            _check_losses(opt)
            if opt.get("network_d"):
                _check_network(opt, "network_d")


#: Keys the framework cannot do without, and their types.
_REQUIRED = {
    "name": str,
    "model_type": str,
    "scale": int,
    "num_gpu": (int, str),
    "network_g": dict,
    "network_g.type": str,
    "datasets": dict,
    "path": dict,
}
_REQUIRED_TRAIN = {
    "datasets.train": dict,
    "datasets.train.batch_size_per_gpu": int,
    "datasets.train.num_worker_per_gpu": int,
    "train": dict,
    "train.total_iter": int,
    "train.optim_g": dict,
    "train.optim_g.type": str,
    "train.optim_g.lr": (float, int),
    "train.scheduler": dict,
    "train.scheduler.type": str,
    "logger": dict,
    "logger.print_freq": int,
    "logger.save_checkpoint_freq": int,
}
#: And those of a training against a discriminator.
_REQUIRED_ADVERSARIAL = {
    "network_d": dict,
    "network_d.type": str,
    "train.optim_d": dict,
    "train.optim_d.type": str,
    "train.optim_d.lr": (float, int),
    "train.gan_opt": dict,
}


def _check_keys(opt: dict, is_train: bool) -> None:
    wanted = dict(_REQUIRED, **(_REQUIRED_TRAIN if is_train else {"val": dict}))
    if is_train and opt.get("network_d"):
        wanted.update(_REQUIRED_ADVERSARIAL)
    if is_train and opt.get("val") is not None:
        wanted.update({"val": dict, "val.val_freq": int})
    for key, kinds in wanted.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        value = _get(opt, key)
        if value is None:
            raise UsageError(f"{key} is missing from the options")
        whole = int in kinds and isinstance(value, float) and value.is_integer()  # 1e5 iterations
        if isinstance(value, bool) or not (whole or isinstance(value, kinds)):
            raise UsageError(f"{key} must be {' or '.join(kind.__name__ for kind in kinds)}, not {value!r}")
    gpus = opt["num_gpu"]
    if gpus != "auto" and (not isinstance(gpus, int) or gpus > torch.cuda.device_count()):
        raise UsageError(f"num_gpu is {gpus!r}, but this machine has {torch.cuda.device_count()}; use auto")
    for phase, block in opt["datasets"].items():
        if phase.split("_")[0] not in ("train", "val", "test"):
            raise UsageError(f"datasets.{phase}: phases are train, val, val_1, ... and test, test_1, ...")
        if not isinstance(block, dict) or not block.get("name"):
            raise UsageError(f"datasets.{phase}.name is missing from the options")


def _get(opt: dict, dotted: str):
    for key in dotted.split("."):
        opt = opt.get(key) if isinstance(opt, dict) else None
    return opt


def _check_names(opt: dict, is_train: bool, plugins: Sequence[str]) -> None:
    """Every ``type`` exists in its registry."""
    from basicsr.utils import registry

    types = {"model_type": (registry.MODEL_REGISTRY, opt["model_type"]),
             "network_g.type": (registry.ARCH_REGISTRY, opt["network_g"]["type"])}
    for phase, block in opt["datasets"].items():
        types[f"datasets.{phase}.type"] = (registry.DATASET_REGISTRY, block.get("type"))
    for name, block in ((opt.get("val") or {}).get("metrics") or {}).items():
        types[f"val.metrics.{name}.type"] = (registry.METRIC_REGISTRY, (block or {}).get("type"))
    if is_train:
        if opt.get("network_d"):
            types["network_d.type"] = (registry.ARCH_REGISTRY, opt["network_d"]["type"])
        for name, block in _loss_blocks(opt).items():
            types[f"train.{name}.type"] = (registry.LOSS_REGISTRY, block.get("type"))
    for key, (known, name) in types.items():
        if not name:
            raise UsageError(f"{key} is missing from the options")
        if name not in known and f"{name}_basicsr" not in known:
            packages = ", ".join(["basicsr", *plugins])
            raise UsageError(f"{key}: '{name}' is not registered by {packages}{did_you_mean(name, known.keys())}")


def _check_metrics(opt: dict) -> None:
    """A metric may know its options: a function ``check_options`` of it which raises UsageError."""
    from basicsr.utils.registry import METRIC_REGISTRY

    for name, block in ((opt.get("val") or {}).get("metrics") or {}).items():
        metric = METRIC_REGISTRY.get(block["type"])
        if hasattr(metric, "check_options"):
            try:
                metric.check_options(block)
            except UsageError as error:
                raise UsageError(f"val.metrics.{name}: {error}") from error
        if getattr(metric, "better", "higher") == "lower" and not block.get("better"):
            raise UsageError(f"val.metrics.{name}: add `better: lower`, the framework takes higher values for better ones")


def _loss_blocks(opt: dict) -> dict[str, dict]:
    return {name: block for name, block in opt["train"].items() if name.endswith("_opt") and isinstance(block, dict)}


def _check_paths(paths: dict) -> None:
    for key, value in paths.items():
        if not _PATH_KEYS.fullmatch(key):
            raise UsageError(f"path.{key} is not an option: the framework would make a folder of that name")
        is_file = key.startswith("pretrain_network") or key == "resume_state"
        if is_file and value and not os.path.isfile(os.path.expanduser(value)):
            raise UsageError(f"path.{key}: there is no file {value}")


def _check_arguments(key: str, cls: type, block: dict) -> None:
    """Every entry of an option block is an argument of the class it builds."""
    parameters = inspect.signature(cls.__init__).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [name for name in parameters if name != "self"]
    for name in block:
        if name != "type" and name not in known:
            raise UsageError(f"{key}.{name}: {cls.__name__} has no such option{did_you_mean(name, known)}")


def _check_model(opt: dict) -> None:
    """A model may know more about its options: a static method ``check_options`` which raises UsageError."""
    from basicsr.models.srgan_model import SRGANModel
    from basicsr.utils.registry import MODEL_REGISTRY

    cls = MODEL_REGISTRY.get(opt["model_type"])
    if issubclass(cls, SRGANModel) and not opt.get("network_d"):
        raise UsageError(f"network_d is missing from the options: {opt['model_type']} trains against a discriminator")
    if hasattr(cls, "check_options"):
        cls.check_options(opt)
    from wnet_arch.models.face_sr_model import FaceSRModel

    if issubclass(cls, FaceSRModel):
        _check_engine(opt)


def _check_engine(opt: dict) -> None:
    """What FaceSRModel reads beyond the framework's options."""
    from wnet_arch.models.precision import Precision

    Precision(opt["train"], "cpu")
    what = opt["train"].get("nonfinite", "stop")
    if what not in ("stop", "skip"):
        raise UsageError(f"train.nonfinite must be stop or skip, not {what!r}")
    count = opt["logger"].get("keep_last")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise UsageError(f"logger.keep_last must be a whole number above 0, not {count!r}")
    best, metrics = (opt.get("val") or {}).get("keep_best"), (opt.get("val") or {}).get("metrics") or {}
    if best is not None and best not in metrics:
        raise UsageError(f"val.keep_best: no metric is called '{best}'{did_you_mean(str(best), metrics)}")


def _check_optimizers(opt: dict) -> None:
    """Every optimizer exists in torch; whether a model of the framework's takes it, only the model can tell."""
    known = [name for name, cls in vars(torch.optim).items() if isinstance(cls, type)]
    for key in ("optim_g", "optim_d"):
        name = (opt["train"].get(key) or {}).get("type")
        if name and name not in known:
            raise UsageError(f"train.{key}.type: no optimizer is called '{name}'{did_you_mean(name, known)}")


def _check_network(opt: dict, key: str) -> None:
    """``key`` is network_g or network_d."""
    from basicsr.archs import build_network
    from basicsr.utils.registry import ARCH_REGISTRY

    from wnet_arch.archs.base import FaceSRNetwork
    from wnet_arch.checkpoint import load_into

    block = copy.deepcopy(opt[key])
    cls = ARCH_REGISTRY.get(block["type"])
    _check_arguments(key, cls, block)
    if issubclass(cls, FaceSRNetwork):
        if key == "network_d":
            raise UsageError(f"network_d: {cls.__name__} super-resolves; a discriminator is wanted")
        scale = block.get("scale", inspect.signature(cls).parameters["scale"].default)
        if scale != opt["scale"]:
            raise UsageError(f"network_g.scale is {scale}, but scale is {opt['scale']}; give both the same")
    try:
        net = build_network(block)
    except NetworkError as error:
        raise UsageError(f"{key}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{key}: {cls.__name__} cannot be built: {error}") from error
    path = opt["path"].get(f"pretrain_{key}")
    if path:
        which = key.removeprefix("network_")
        param_key = opt["path"].get(f"param_key_{which}", "params")
        load_into(net, os.path.expanduser(path), param_key, opt["path"].get(f"strict_load_{which}", True))


def _check_datasets(opt: dict) -> None:
    from basicsr.data import build_dataset

    for phase, block in opt["datasets"].items():
        block = dict(copy.deepcopy(block), phase=phase.split("_")[0], scale=opt["scale"])
        try:
            build_dataset(block)
        except WNetError as error:
            raise type(error)(f"datasets.{phase}: {error}") from error
        except (KeyError, OSError, AssertionError, ValueError, TypeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise UsageError(f"datasets.{phase}: {block['type']} cannot be built: {reason}") from error


def _check_losses(opt: dict) -> None:
    from basicsr.utils.registry import LOSS_REGISTRY

    from wnet_arch.losses import build_loss

    for name, block in _loss_blocks(opt).items():
        _check_arguments(f"train.{name}", LOSS_REGISTRY.get(block["type"]), block)
        try:
            build_loss(block, opt["scale"])
        except WNetError as error:
            raise type(error)(f"train.{name}: {error}") from error
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UsageError(f"train.{name}: {block['type']} cannot be built: {error}") from error
