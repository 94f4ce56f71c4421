"""What a manifest says about each file: this package's, and those of other packages that bring weights."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wnet_arch.errors import WeightsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST = Path(__file__).with_name("manifest.toml")
#: The distribution that this manifest belongs to.
OWN = "wnet-fsr"
_SHORTEST_PREFIX = 8
_NETWORK = re.compile(r"[a-z0-9_]+_x\d+")


@dataclass(frozen=True)
class Origin:
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
    """One file, or one folder of files, that the package uses; most do not ship with it.

    ``folder``: that of the manifest. ``distribution``: whose manifest it is, with its version where it is not this package's.
    """

    name: str
    purpose: str
    file: str
    sha256: str
    licence: str
    terms: str
    sources: tuple[Origin, ...]
    size: int | None = None
    directory: bool = False
    folder: Path = MANIFEST.parent
    distribution: str = OWN

    @property
    def shipped(self) -> Path | None:
        """Where the file is if it ships with this package, or another that is installed, else ``None``."""
        return self.folder / self.file if any(source.kind == "package" for source in self.sources) else None

    @property
    def origin(self) -> str:
        """Where the file comes from, for people."""
        if self.distribution != OWN:
            return f"ships with {self.distribution}"
        return ", ".join(map(str, self.sources))

    def matches(self, sha256: str) -> bool:
        """Whether this is the file's hash, as far as it is known."""
        return sha256.startswith(self.sha256)


@dataclass(frozen=True)
class Elsewhere:
    """Networks of another distribution that is made from the same repository; ``manifest.toml`` explains the fields."""

    distribution: str
    folder: str
    wheel: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What a manifest says: ``files`` by name, and what this package's says of other distributions."""

    files: dict[str, Entry]
    elsewhere: tuple[Elsewhere, ...] = ()


@lru_cache(maxsize=64)
def load(manifest: Path = MANIFEST, distribution: str = OWN) -> Manifest:
    """Reads a manifest.

    Args:
        manifest: its path.
        distribution: whose it is. Only this package's may name what does not ship beside it, or is no network.

    Raises:
        WeightsError: it is not a valid manifest.
    """
    files: dict[str, Entry] = {}
    try:
        tables = tomllib.loads(manifest.read_text(encoding="utf-8"))
        for table in tables.pop("files"):
            sources = tuple(Origin(**{**s, "drop": tuple(s.get("drop", ()))}) for s in table.pop("sources"))
            entry = Entry(**{**table, "sources": sources, "folder": manifest.parent, "distribution": distribution})
            _check(entry)
            if entry.name in files:
                raise ValueError(f"{entry.name} stands there twice")
            files[entry.name] = entry
        others = tables.pop("elsewhere", ()) if distribution == OWN else ()
        elsewhere = tuple(Elsewhere(**{**table, "names": tuple(table["names"])}) for table in others)
        if tables:
            raise ValueError(f"unknown tables: {', '.join(tables)}")
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{manifest} is not a valid manifest: {_reason(error)}") from error
    return Manifest(files, elsewhere)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return getattr(error, "strerror", None) or str(error)


def _check(entry: Entry) -> None:
    for key in ("name", "purpose", "file", "licence", "terms"):
        if not isinstance(getattr(entry, key), str):
            raise ValueError(f"{entry.name}: {key} must be a text")
    if entry.size is not None and not isinstance(entry.size, int):
        raise ValueError(f"{entry.name}: size must be a whole number of bytes")
    hashes = [entry.sha256] + [source.sha256 for source in entry.sources if source.kind == "pypi"]
    for value in hashes:
        if not _SHORTEST_PREFIX <= len(value) <= 64 or set(value) - set("0123456789abcdef"):
            raise ValueError(f"{entry.name}: sha256 needs {_SHORTEST_PREFIX} to 64 lower-case hexadecimal digits")
    for source in entry.sources:
        if source.kind not in ("url", "pypi", "package"):
            raise ValueError(f"{entry.name}: unknown kind of source '{source.kind}'")
        if source.kind == "pypi" and len(source.sha256) < 64:
            raise ValueError(f"{entry.name}: pip compares whole hashes, give all 64 digits of {source.artefact}")
    if entry.distribution != OWN:
        _check_foreign(entry)


def _check_foreign(entry: Entry) -> None:
    """Another package brings networks, and nothing that decides about this package's own files, cache or downloads."""
    if not _NETWORK.fullmatch(entry.name):
        raise ValueError(f"'{entry.name}' is no name for a network's weights: lower case, ending in its scale, as my_net_x8")
    if [source.kind for source in entry.sources] != ["package"] or entry.directory:
        raise ValueError(f'{entry.name}: it must be a file beside the manifest, with one source of kind "package"')
    if Path(entry.file).name != entry.file or not entry.file.endswith(".safetensors"):
        raise ValueError(f"{entry.name}: '{entry.file}' is not the name of a .safetensors file beside the manifest")
    if len(entry.sha256) < 64:
        raise ValueError(f"{entry.name}: sha256 needs all 64 digits")
