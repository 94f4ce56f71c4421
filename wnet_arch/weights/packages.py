"""All weights by name: those of this package, and those that other installed packages bring.

A distribution that brings networks announces a package of its own by an entry point, in its ``pyproject.toml``:

    [project.entry-points."wnet_arch.weights"]
    any-name = "its_package"

In that package lie a ``manifest.toml`` as ours and the files that it names. It is read, never imported. A package that is damaged
takes nothing away from the others: what is wrong with it is said where its names are asked for, and where all are listed. A name
that two packages give stands for neither.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from wnet_arch.errors import WeightsError, did_you_mean
from wnet_arch.weights import entries
from wnet_arch.weights.entries import Elsewhere, Entry

GROUP = "wnet_arch.weights"
#: The repository, where this package is used from a clone.
CLONE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Found:
    """A package that an installed distribution announces: its folder, or what is wrong. ``label``: with version."""

    distribution: str
    label: str
    folder: Path | None
    fault: str = ""


@dataclass(frozen=True)
class Table:
    """``entries``: what there is, ours first. ``missing``: names that are known and cannot be had, each with why, and what to do.
    ``faults``: a line for each damaged package.
    """

    entries: dict[str, Entry]
    missing: dict[str, str]
    faults: tuple[str, ...]

    @property
    def missing_lines(self) -> list[str]:
        """Why names cannot be had, a line for all that have one reason."""
        alike: dict[str, list[str]] = {}
        for name, why in self.missing.items():
            alike.setdefault(why, []).append(name)
        return [f"{', '.join(names)}: {why}" for why, names in alike.items()]


def table() -> Table:
    """All that is installed.

    Raises:
        WeightsError: this package's own manifest is damaged.
    """
    own = entries.load(entries.MANIFEST)
    given, faults, installed = list(own.files.values()), {}, set()
    for found in announced():
        installed.add(plain(found.distribution))
        try:
            if found.folder is None:
                raise WeightsError(found.fault)
            given += entries.load(found.folder / "manifest.toml", found.label).files.values()
        except WeightsError as error:
            line = f"the package {found.label} is damaged ({error}): install it again, or remove it"
            faults[plain(found.distribution)] = line
    there, missing = _without_doubles(given)
    for other in own.elsewhere:
        damaged = faults.get(plain(other.distribution))
        why = damaged or _how_to_get(other, plain(other.distribution) in installed)
        missing.update({name: why for name in other.names if name not in there and name not in missing})
    return Table(there, missing, tuple(faults.values()))


def find(name: str) -> Entry:
    """The entry called ``name``.

    Raises:
        WeightsError: there is none, or it cannot be had: the message says why, or names the nearest.
    """
    known = table()
    if name in known.missing:
        raise WeightsError(f"{name}: {known.missing[name]}")
    if name not in known.entries:
        raise WeightsError(f"no pretrained file is called '{name}'{hint(name, [*known.entries, *known.missing])}")
    return known.entries[name]


def hint(name: str, known: list[str]) -> str:
    """What to add to "there is no such name": the nearest, and which packages cannot say what they have."""
    return did_you_mean(name, known) + "".join(f"; {fault}" for fault in table().faults)


def note_faults() -> None:
    """Says, once a process, which packages are left out of a list, and why."""
    for fault in table().faults:
        _note(fault)


@functools.cache
def _note(fault: str) -> None:
    logging.getLogger("wnet_arch").warning(f"note: {fault}")


def announced() -> tuple[Found, ...]:
    """The packages that installed distributions announce, in the order in which Python finds them."""
    return _announced(tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _announced(path: tuple[str, ...]) -> tuple[Found, ...]:
    found: dict[tuple[str, Path | str], Found] = {}
    hidden: set[str] = set()  # by the first of the same name, as for imports
    for distribution in metadata.distributions(path=list(path)):
        text = distribution.read_text("entry_points.txt") or ""
        if GROUP not in text:
            continue
        name, label = _named(distribution)
        if plain(name) not in hidden:
            hidden.add(plain(name))
            for one in _packages(distribution, name, label):
                found.setdefault((name, one.folder or one.fault), one)
    return tuple(found.values())


def _named(distribution: metadata.Distribution) -> tuple[str, str]:
    name: str | None
    version: str | None
    try:
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
    except Exception:  # there is no METADATA, and what Python makes of that depends on its version
        name = version = None
    if not name:  # the beginning of NAME-VERSION.dist-info
        name = Path(getattr(distribution, "_path", "without-a-name")).name.partition("-")[0]
    return name, f"{name} {version}" if version else name


def _packages(distribution: metadata.Distribution, name: str, label: str) -> Iterator[Found]:
    try:
        modules = [point.module for point in distribution.entry_points if point.group == GROUP]
    except Exception as error:  # the parser raises nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield Found(name, label, None, f"its entry points cannot be read: {reason}")
        return
    for module in modules:
        folder = _folder(module)
        yield Found(name, label, folder, "" if folder else f"its entry point names {module}, which is no package that is there")


def _folder(module: str) -> Path | None:
    """The folder of a package, which is not imported, nor those around it."""
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    places = [Path(place, *inner) for place in (spec.submodule_search_locations or ())] if spec else []
    return next((place for place in places if place.is_dir()), None)


def _without_doubles(given: list[Entry]) -> tuple[dict[str, Entry], dict[str, str]]:
    """Entries by name; and the names that more than one package gives, as a text on a command line is compared with them."""
    of: dict[str, list[Entry]] = {}
    for entry in given:
        of.setdefault(plain(entry.name), []).append(entry)
    there, missing = {}, {}
    for same in of.values():
        if len(same) == 1:
            there[same[0].name] = same[0]
            continue
        who = " and ".join(f"{entry.distribution} (as {entry.name})" for entry in same)
        missing.update({entry.name: f"several packages bring weights of this name, {who}: uninstall all but one" for entry in same})
    return there, missing


def _how_to_get(other: Elsewhere, installed: bool) -> str:
    state = "is installed in a version that does not have it" if installed else "is not installed"
    return f"shipped in the package {other.distribution}, which {state}: run `{install_command(other)}`"


def install_command(other: Elsewhere) -> str:
    """The command that installs a distribution of this repository: from the clone, or else from the file of its wheel."""
    folder = CLONE / other.folder
    if not (folder / "pyproject.toml").is_file():
        return f"pip install {other.wheel}"
    try:
        inside = Path.cwd() == CLONE.resolve()
    except OSError:  # the current folder has been removed
        inside = False
    return f"pip install {shlex.quote(f'./{other.folder}' if inside else os.fspath(folder))}"


def plain(name: str) -> str:
    """Names that differ in case, ``-``, ``_`` and ``.`` alone are one: of distributions for pip, of networks for our commands."""
    return re.sub(r"[-_.]", "", name).lower()
