"""The super-resolution networks whose weights are installed, with this package or others, by names such as ``wnet_lite_x8``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from wnet_arch.errors import WeightsError
from wnet_arch.weights import entries, manager, packages


def names() -> list[str]:
    """All of them, with their scales."""
    return sorted(entry.name for entry in manager.list_entries() if entry.shipped and re.search(r"_x\d+$", entry.name))


def ours() -> list[str]:
    """Those of this package and of its second one: what others bring is used by its name, and never taken by default."""
    known = {packages.plain(other.distribution) for other in entries.load(entries.MANIFEST).elsewhere}
    return [name for name in names() if _brought_by(name) in {packages.plain(entries.OWN), *known}]


def _brought_by(name: str) -> str:
    return packages.plain(packages.find(name).distribution.partition(" ")[0])


def missing() -> dict[str, str]:
    """Names that are known and cannot be had, each with the line that says why, and what to do: see :mod:`packages`."""
    return {name: f"{name}: {why}" for name, why in packages.table().missing.items()}


def is_name(text: str) -> bool:
    """Whether a text is the name of such a network, be it there or missing; :func:`path` says which."""
    return text in names() or text in missing()


def matching(text: str) -> list[str]:
    """The names that a text means: one of them, or a network without its scale; ``WNetLite`` is ``wnet_lite``.

    Raises:
        WeightsError: it means networks that are known and cannot be had.
    """
    there = [name for name in names() if _means(text, name)]
    lines = [] if there else [line for name, line in missing().items() if _means(text, name)]
    if lines:
        raise WeightsError(lines[0])
    return there


def _means(text: str, name: str) -> bool:
    return packages.plain(text) in (packages.plain(name), packages.plain(name.rpartition("_x")[0]))


def hint(text: str, *others: str) -> str:
    """What to add to "there is no network ``text``": the nearest of these, and of ``others``; and which packages are damaged."""
    return packages.hint(text, [*names(), *missing(), *others])


def path(name: str) -> Path:
    """The verified file of an installed network.

    Raises:
        WeightsError: no network of that name is installed, or its file is missing or damaged (both hashes are named).
    """
    if name not in names():
        raise WeightsError(missing().get(name) or f"no shipped network is called '{name}'{hint(name)}")
    return manager.resolve(name)


def owns(path: str | os.PathLike) -> bool:
    """Whether a file is one that a package brings; :func:`path` has verified it by the manifest."""
    return Path(path).resolve().parent in {entry.folder.resolve() for entry in manager.list_entries()}


def file_of(text: str) -> str:
    """``text`` itself if it is a path, or the path of the installed network of that name.

    Raises:
        WeightsError: as :func:`path`, for names.
    """
    return str(path(text)) if is_name(text) else text
