"""What the manifest says about each file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wnet_arch.errors import WeightsError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST = Path(__file__).with_name("manifest.toml")
_SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class Source:
    """Where a file can be had; the comment in ``manifest.toml`` explains the fields."""

    kind: str
    url: str = ""
    project: str = ""
    artefact: str = ""
    sha256: str = ""
    member: str = ""
    suffix: str = ""
    drop: tuple[str, ...] = ()

    def __str__(self) -> str:
        return {"url": self.url, "pypi": f"PyPI {self.project}", "package": "ships with this package"}[self.kind]


@dataclass(frozen=True)
class Entry:
    """One file, or one folder of files, that the package uses; most do not ship with it."""

    name: str
    purpose: str
    file: str
    sha256: str
    licence: str
    terms: str
    sources: tuple[Source, ...]
    size: int | None = None
    directory: bool = False

    @property
    def shipped(self) -> Path | None:
        """Where the file is if it ships with this package, else ``None``."""
        return MANIFEST.with_name(self.file) if any(source.kind == "package" for source in self.sources) else None

    def matches(self, sha256: str) -> bool:
        """Whether this is the file's hash, as far as it is known."""
        return sha256.startswith(self.sha256)


@lru_cache(maxsize=8)
def load(manifest: Path = MANIFEST) -> dict[str, Entry]:
    """Entries of a manifest by name.

    Raises:
        WeightsError: it is not a valid manifest.
    """
    entries = {}
    try:
        for table in tomllib.loads(manifest.read_text(encoding="utf-8"))["files"]:
            sources = tuple(Source(**{**s, "drop": tuple(s.get("drop", ()))}) for s in table.pop("sources"))
            entry = Entry(**table, sources=sources)
            _check(entry)
            entries[entry.name] = entry
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{manifest} is not a valid manifest: {error}") from error
    return entries


def _check(entry: Entry) -> None:
    hashes = [entry.sha256] + [source.sha256 for source in entry.sources if source.kind == "pypi"]
    for value in hashes:
        if not _SHORTEST_PREFIX <= len(value) <= 64 or set(value) - set("0123456789abcdef"):
            raise ValueError(f"{entry.name}: sha256 needs {_SHORTEST_PREFIX} to 64 lower-case hexadecimal digits")
    for source in entry.sources:
        if source.kind not in ("url", "pypi", "package"):
            raise ValueError(f"{entry.name}: unknown kind of source '{source.kind}'")
        if source.kind == "pypi" and len(source.sha256) < 64:
            raise ValueError(f"{entry.name}: pip compares whole hashes, give all 64 digits of {source.artefact}")


def find(name: str, manifest: Path = MANIFEST) -> Entry:
    """The entry called ``name``.

    Raises:
        WeightsError: there is none; the message names the nearest.
    """
    entries = load(manifest)
    if name not in entries:
        raise WeightsError(f"no pretrained file is called '{name}'" + did_you_mean(name, entries))
    return entries[name]
