"""Names that option files and commands had in earlier versions: taken as the names of today, with a note."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

#: Keys by their path; the last part is what was renamed.
KEYS: dict[tuple[str, ...], str] = {("train", "wnet_opt", "lattice_weight"): "grid_artifact_weight"}
#: Beginnings of the names of packaged option files, and of the runs that they name.
FILES = {"wnetlite_": "wnet_lite_"}


def key(keys: Sequence[str]) -> tuple[str, ...]:
    """A key's path with today's name of its last part; says so where it had another."""
    new = KEYS.get(tuple(keys))
    if new is None:
        return tuple(keys)
    note(f"{'.'.join(keys)} is called {new} now")
    return (*keys[:-1], new)


def rename(opt: dict) -> dict:
    """Options with today's keys; a key that stands there in both forms stays, for the checks to find."""
    for keys in KEYS:
        block: Any = opt
        for part in keys[:-1]:
            block = block.get(part) if isinstance(block, dict) else None
        if isinstance(block, dict) and keys[-1] in block and KEYS[keys] not in block:
            new = key(keys)[-1]
            items = [(new if name == keys[-1] else name, value) for name, value in block.items()]
            block.clear()
            block.update(items)
    return opt


def file(name: str) -> str:
    """Today's name of a packaged option file, given with or without its folder; says so where it had another."""
    folder, slash, last = name.replace("\\", "/").rpartition("/")
    for old, new in FILES.items():
        if last.lower().startswith(old):
            today = new + last[len(old) :]
            run = last.removesuffix(".yml")
            note(f"{last} is called {today} now, and so is its run; --force_yml name={run} continues one of the old name")
            return folder + slash + today
    return name


def note(text: str) -> None:
    """On standard error, for the person who runs the command."""
    print(f"note: {text}", file=sys.stderr)
