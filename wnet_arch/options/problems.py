"""What is wrong with options, as far as the schema can tell: one line each, with the key and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from basicsr.utils import registry
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from wnet_arch.errors import did_you_mean
from wnet_arch.options import kinds, training
from wnet_arch.options.blocks import Block
from wnet_arch.options.overrides import complete
from wnet_arch.options.schema import fields, has_own, inner_block, loss_blocks, schema_of
from wnet_arch.options.signatures import registered
from wnet_arch.training.optimizers import optimizers


def find_problems(opt: dict, is_train: bool, plugins: Sequence[str] = ()) -> tuple[list[str], dict]:
    """Checks keys, types, ranges and registered names; builds nothing, reads no file.

    Args:
        opt: options as they were read.
        is_train: for ``basicsr train``, else for ``basicsr test``.
        plugins: packages that were loaded beside the framework, for messages.

    Returns:
        Lines, none where all is well; and the options, complete, with whole numbers such as 1e5 as integers.
    """
    found = list(_unknown_names(opt, plugins))
    schema = schema_of(opt, is_train)
    try:
        valid = schema.model_validate(opt)
    except ValidationError as error:
        # A misspelt key comes before the key that is missing for it.
        entries = sorted(error.errors(include_url=False), key=lambda entry: entry["type"] == "missing")
        return found + [_line(entry, schema) for entry in entries], opt
    return found, complete(_with_integers(opt, valid.model_dump(by_alias=True, exclude_unset=True, warnings=False)))


def _with_integers(opt: Any, valid: Any) -> Any:
    """``opt`` with the integers of ``valid``, in its own order."""
    if isinstance(opt, dict):
        return {key: _with_integers(value, valid[key]) if key in valid else value for key, value in opt.items()}
    if isinstance(opt, list) and isinstance(valid, list):
        return [_with_integers(value, other) for value, other in zip(opt, valid)]
    return valid if isinstance(opt, float) and isinstance(valid, int) else opt


# --- names ------------------------------------------------------------------------------------------------------------


def _unknown_names(opt: dict, plugins: Sequence[str]) -> Iterator[str]:
    """A line for every ``type`` that is not registered."""
    for key, known, name in _types(opt):
        if isinstance(name, str) and name and registered(known, name) is None:
            packages = ", ".join(["basicsr", *plugins])
            yield f"{key}: '{shown_key(name)}' is not registered by {packages}{did_you_mean(name, known.keys())}"
    model = registered(registry.MODEL_REGISTRY, opt.get("model_type"))
    for key in () if has_own(model, "get_optimizer") else ("optim_g", "optim_d"):
        name = _dict(_dict(opt.get("train")).get(key)).get("type")
        if isinstance(name, str) and name and name not in optimizers():
            yield f"train.{key}.type: no optimizer is called '{shown_key(name)}'{did_you_mean(name, optimizers())}"


def _types(opt: dict) -> Iterator[tuple[str, registry.Registry, Any]]:
    yield "model_type", registry.MODEL_REGISTRY, opt.get("model_type")
    for key in ("network_g", "network_d"):
        yield f"{key}.type", registry.ARCH_REGISTRY, _dict(opt.get(key)).get("type")
    for phase, block in _dict(opt.get("datasets")).items():
        yield f"datasets.{shown_key(phase)}.type", registry.DATASET_REGISTRY, _dict(block).get("type")
    for name, block in _dict(_dict(opt.get("val")).get("metrics")).items():
        yield f"val.metrics.{shown_key(name)}.type", registry.METRIC_REGISTRY, _dict(block).get("type")
    for name, block in loss_blocks(_dict(opt.get("train"))).items():
        yield f"train.{shown_key(name)}.type", registry.LOSS_REGISTRY, block.get("type")


def _dict(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


# --- lines ------------------------------------------------------------------------------------------------------------


def shown_key(key: Any) -> str:
    """A key as it can stand in a line."""
    text = key if isinstance(key, str) and key.isprintable() else repr(key)
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """A text as one line: what cannot be printed, line breaks among it, is written as in Python."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(value: Any) -> str:
    """A value as it can stand in a line."""
    if isinstance(value, dict):
        return "a block of options"
    if value is None:
        return "empty (~)"
    try:
        text = "[" + ", ".join(map(shown, value)) + "]" if isinstance(value, list) else repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _line(error: ErrorDetails, schema: type[Block]) -> str:
    """One line for an error of pydantic."""
    place, kind = error["loc"], error["type"]
    value: Any = error.get("input")
    key = ".".join(shown_key(part) for part in place)
    block, info = _at(schema, place)
    if kind in ("extra_forbidden", "invalid_key") and block is not None:
        return _unknown(key, place[-1], block)
    if kind == "missing" or (value is None and info is not None and info.is_required()):
        wanted = _wanted(info)
        owner = f": {block.owner} needs it" if block is not None and block.owner and info.alias else ""
        return f"{key} is missing from the options{owner or (wanted and f': it must be {wanted}')}"
    if kind == kinds.ERROR:
        return f"{key} {error['msg']}, not {shown(value)}{_near(value, info)}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"{key} must be a block of options (key: value), not {shown(value)}"
    if kind == "list_type":
        return f"{key} must be a list, not {shown(value)}"
    if kind in ("too_short", "too_long"):
        count = error["ctx"].get("min_length", error["ctx"].get("max_length"))
        return f"{key} must have {'at least ' * (kind == 'too_short')}{count} entries, not {len(value)}"
    return f"{key}: {' '.join(error['msg'].split())}, not {shown(value)}"


def _at(schema: type[Block], place: tuple) -> tuple[type[Block] | None, Any]:
    """The block around a place, and its field there; ``None`` for what is not in the schema."""
    block: Any = schema
    for part in place[:-1]:
        info = fields(block).get(part) if block is not None else None
        block = inner_block(info.annotation) if info else None
    return block, fields(block).get(place[-1]) if block is not None else None


def _unknown(key: str, name: Any, block: type[Block]) -> str:
    hint = did_you_mean(str(name), fields(block)) if fields(block) else ""
    if block.unknown_hint:
        return f"{key}{block.unknown_hint}{hint}"
    others = sorted({model for model, train in training.OF_MODEL.items() if name in train.model_fields})
    if issubclass(block, training.AnyTrain) and others:
        return f"{key}: {block.owner} does not read it ({', '.join(others)} would); remove it, or change model_type"
    return f"{key}: {block.owner} has no such option{hint}" if block.owner else f"{key} is not an option{hint}"


def _wanted(info: Any) -> str:
    kind = kinds.find(info.annotation, info.metadata) if info is not None else None
    if kind or info is None:
        return kind.phrase if kind else ""
    return "a block of options" if inner_block(info.annotation) else "a list" if "list" in str(info.annotation) else ""


def _near(value: Any, info: Any) -> str:
    kind = kinds.find(info.annotation, info.metadata) if info is not None else None
    near = difflib.get_close_matches(value, kind.choices, n=1) if kind and isinstance(value, str) else []
    return f"; did you mean '{near[0]}'?" if near else ""
