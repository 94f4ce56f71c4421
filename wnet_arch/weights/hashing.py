"""SHA-256 of values, files and folders; of files, remembered while size and modification time stay the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np

from wnet_arch import disk
from wnet_arch.errors import WNetError


def sha256_file(path: Path) -> str:
    """SHA-256 of a file."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            hasher.update(block)
    return hasher.hexdigest()


def sha256_tree(folder: Path) -> str:
    """SHA-256 of what ``sha256sum *`` prints in a folder without sub-folders, names sorted by their bytes."""
    files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: p.name.encode())
    lines = "".join(f"{sha256_file(p)}  {p.name}\n" for p in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def digest(*parts: bytes | str | np.ndarray) -> str:
    """A short SHA-256 of bytes, text, or arrays with their shape."""
    hasher = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            hasher.update(repr(part.shape).encode())
            part = np.ascontiguousarray(part).tobytes()
        hasher.update(part if isinstance(part, bytes) else part.encode())
        hasher.update(b"\0")
    return hasher.hexdigest()[:32]


class HashMemory:
    """Remembers hashes in a JSON file. Losing that file, or failing to write it, costs time only."""

    def __init__(self, path: Path):
        self.path = path

    def sha256(self, target: Path) -> str:
        """SHA-256 of a file or folder, computed only when it has changed since the last time."""
        stamp = _stamp(target)
        known = self._read()
        name = str(target.resolve())
        if known.get(name, {}).get("stamp") == stamp:
            return known[name]["sha256"]
        value = sha256_tree(target) if target.is_dir() else sha256_file(target)
        self._write({**self._read(), name: {"stamp": stamp, "sha256": value}})
        return value

    def forget(self, target: Path) -> None:
        """Makes the next :meth:`sha256` of ``target`` read it again."""
        known = self._read()
        if known.pop(str(target.resolve()), None):
            self._write(known)

    def _read(self) -> dict:
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {name: one for name, one in known.items() if isinstance(one, dict)} if isinstance(known, dict) else {}

    def _write(self, known: dict) -> None:
        with contextlib.suppress(WNetError):  # a read-only cache is no error
            disk.write_text(self.path, json.dumps(known, indent=1))


def _stamp(target: Path) -> list:
    files = sorted(target.iterdir()) if target.is_dir() else [target]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
