"""Files on their way: one tar stream, cut into parts of a size that can be sent, each with its SHA-256. Standard library alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
from pathlib import Path

MIB = 2**20
#: Names what a folder of parts holds.
INDEX = "pack.json"


class PartsError(Exception):
    """Parts are missing, damaged or of something else; the text says which and what to do."""


class _Cut(io.RawIOBase):
    """Writes a stream into files of at most ``size`` bytes."""

    def __init__(self, folder: Path, size: int):
        super().__init__()
        self.folder, self.size, self.parts, self.file = folder, size, [], None

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        view = memoryview(data)
        while view:
            if self.file is None or self.parts[-1]["bytes"] == self.size:
                self._next()
            piece = view[: self.size - self.parts[-1]["bytes"]]
            self.file.write(piece)
            self.sum.update(piece)
            self.parts[-1]["bytes"] += len(piece)
            self.parts[-1]["sha256"] = self.sum.hexdigest()
            view = view[len(piece) :]
        return len(data)

    def _next(self) -> None:
        self.end()
        name = f"part{len(self.parts) + 1}"
        self.file, self.sum = open(self.folder / name, "wb"), hashlib.sha256()  # noqa: SIM115 - closed by end()
        self.parts.append({"name": name, "bytes": 0, "sha256": ""})

    def end(self) -> None:
        if self.file:
            self.file.close()
            self.file = None


def write(files: dict[str, Path | bytes], folder: Path, size: int, **known) -> list[dict]:
    """Writes parts and their index.

    Args:
        files: what travels, by its path at the other end: a file, or its content.
        folder: of the parts; parts of earlier packs in it are removed.
        size: bytes of a part at most.
        known: more for the index, JSON.

    Returns:
        The parts: ``name``, ``bytes``, ``sha256``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if re.fullmatch(r"part\d+", old.name):
            old.unlink()
    cut = _Cut(folder, size)
    with (
        gzip.GzipFile(fileobj=cut, mode="wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for name, content in files.items():
            if isinstance(content, bytes):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.add(content.resolve(), name, recursive=False)
    cut.end()
    index = json.dumps({"parts": cut.parts, **known}, indent=1) + "\n"
    (folder / INDEX).write_text(index, encoding="utf-8")
    return cut.parts


def read_index(folder: Path) -> dict:
    """The index of a folder of parts.

    Raises:
        PartsError: there is none.
    """
    try:
        return json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PartsError(f"{folder} holds no readable {INDEX}; send it with the parts") from error


def unpack(folder: Path, to: Path) -> dict:
    """Compares parts with their checksums, joins and unpacks them; returns the index.

    Raises:
        PartsError: a part is missing or damaged; nothing is unpacked then.
    """
    index = read_index(folder)
    missing = [part["name"] for part in index["parts"] if not (folder / part["name"]).is_file()]
    if missing:
        raise PartsError(f"of {len(index['parts'])} parts in {folder} are missing: {', '.join(missing)}; send them, then again")
    damaged = [part["name"] for part in index["parts"] if _sha256(folder / part["name"]) != part["sha256"]]
    if damaged:
        raise PartsError(f"damaged on their way: {', '.join(damaged)}; send them once more")
    with tempfile.TemporaryFile() as whole:
        for part in index["parts"]:
            with open(folder / part["name"], "rb") as file:
                shutil.copyfileobj(file, whole)
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r:gz") as archive:
            members = [member for member in archive if _is_safe(member)]
            for member in members:
                archive.extract(member, to, set_attrs=False)
    return index


def _is_safe(member: tarfile.TarInfo) -> bool:
    path = Path(member.name)
    return member.isfile() and not path.is_absolute() and ".." not in path.parts


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MIB):
            found.update(block)
    return found.hexdigest()
