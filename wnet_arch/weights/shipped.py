"""The super-resolution networks whose weights ship with this package, by names such as ``wnet_lite_x8``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from wnet_arch.errors import WeightsError, did_you_mean
from wnet_arch.weights import manager, metadata


def names() -> list[str]:
    """All of them, with their scales."""
    return sorted(entry.name for entry in manager.list_entries() if entry.shipped and re.search(r"_x\d+$", entry.name))


def matching(text: str) -> list[str]:
    """The names that a text means: one of them, or a network without its scale; ``WNetLite`` is ``wnet_lite``."""
    return [name for name in names() if _plain(text) in (_plain(name), _plain(name.rpartition("_x")[0]))]


def _plain(text: str) -> str:
    return text.lower().replace("_", "")


def path(name: str) -> Path:
    """The verified file of a shipped network.

    Raises:
        WeightsError: no network of that name ships, or its file is missing or damaged (both hashes are named).
    """
    known = names()
    if name not in known:
        hint = did_you_mean(name, known) if known else "; none ship yet"
        raise WeightsError(f"no shipped network is called '{name}'{hint}")
    return manager.resolve(name)


def files(name: str) -> tuple[list[Path], list[Path]]:
    """The files of a shipped network, verified, and those of another from which a variant takes the rest of its tensors.

    Raises:
        WeightsError: as :func:`path`, for any of them.
    """
    first = path(name)
    every = [first, *metadata.continuations(first)]
    own = [file for file in every if file.stem.partition("-")[0] == name]
    return own, [file for file in every if file not in own]


def owns(path: str | os.PathLike) -> bool:
    """Whether a file is one that ships; :func:`path` has verified it by the manifest."""
    return Path(path).resolve().parent == Path(__file__).resolve().parent


def file_of(text: str) -> str:
    """``text`` itself if it is a path, or the path of the shipped network of that name.

    Raises:
        WeightsError: as :func:`path`, for names.
    """
    return str(path(text)) if text in names() else text
