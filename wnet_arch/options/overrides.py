"""``--force_yml``: options changed from the command line."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.options import old_names
from wnet_arch.options.files import parse_value


def override(opt: dict, entries: Iterable[str]) -> dict:
    """Returns a copy of the options with ``KEY:KEY=VALUE`` entries applied, one after the other; values follow YAML's rules.

    A key that the options do not have can be given where the schema knows it; blocks on the way to it are made.

    Raises:
        UsageError: an entry is not of that form, its value is not YAML, or nobody knows its key.
    """
    opt = copy.deepcopy(opt)
    for entry in entries:
        name, equals, text = entry.partition("=")
        keys = tuple(name.strip().split(":"))
        if not equals or not all(keys):
            raise UsageError(f"--force_yml: '{entry}' is not KEY:KEY=VALUE")
        keys = old_names.key(keys)
        value = parse_value(text, f"--force_yml {name.strip()}: the value")
        block = opt
        for depth in range(len(keys)):
            if not isinstance(block, dict) or keys[depth] not in block or (depth + 1 < len(keys) and block[keys[depth]] is None):
                _make(opt, block, keys, depth)
            if depth + 1 < len(keys):
                block = block[keys[depth]]
        block[keys[-1]] = value
    return opt


def _make(opt: dict, block: object, keys: tuple[str, ...], depth: int) -> None:
    """Makes ``keys[depth]`` of a block, if the schema has it: a block if more keys follow.

    Raises:
        UsageError: the schema does not have it.
    """
    from wnet_arch.options.schema import find

    inner, around = find(opt, keys[: depth + 1])
    last = depth + 1 == len(keys)
    possible = around is None or (keys[depth] in around and (last or inner is not None))
    if not isinstance(block, dict) or not possible:
        known = sorted({*map(str, block), *(around or ())}) if isinstance(block, dict) else ()
        hint = did_you_mean(keys[depth], known) if known else ""
        raise UsageError(f"--force_yml: the options have no '{':'.join(keys)}'{hint}")
    block[keys[depth]] = None if last else {}


def complete(opt: dict) -> dict:
    """Options with the keys that the framework demands and that a file may leave out: ``num_gpu``, ``path``, ``val.save_img``."""
    opt = {**opt, "num_gpu": opt.get("num_gpu", "auto"), "path": {} if opt.get("path") is None else opt["path"]}
    if isinstance(opt.get("val"), dict):
        opt["val"] = {"save_img": False, **opt["val"]}
    return opt
