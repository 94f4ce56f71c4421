"""What has been restored already, in ``restored.jsonl`` of the folder for results: one JSON line a photo, the last one counts.

A photo's files are written beside their names, entered here with their SHA-256, and then renamed. So a file that bears its name is
whole, and any file can be told from one that is not of our making, which is never overwritten unless the user says so.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path

from wnet_arch import disk
from wnet_arch.errors import WNetError
from wnet_arch.weights.hashing import sha256_file

try:
    import fcntl
except ImportError:  # Windows: two runs into one folder are not told apart there
    fcntl = None  # type: ignore[assignment]  # a module otherwise

NAME = "restored.jsonl"
#: A picture is written by a function that gets the path to write to.
Writer = Callable[[Path], None]


class Record:
    """Opens, or begins, the record of a folder, and keeps other runs out of it until it is closed; is a context manager.

    Args:
        folder: for results; must exist.
        overwrite: replace files that are not of our making.
        photos: real paths of files that are never replaced.

    Raises:
        WNetError: it cannot be read or written, or another run is at it.
    """

    def __init__(self, folder: Path, overwrite: bool = False, photos: Set[str] = frozenset()):
        self.folder, self.overwrite, self.path, self.photos = folder, overwrite, folder / NAME, photos
        #: For each photo: digest of input and settings, and where its line begins.
        self._lines: dict[str, tuple[str, int]] = {}
        #: Of each file, every hash it has had, since a kill may come before the newest one is in place.
        self._made: dict[str, set[str]] = {}
        try:
            self._held = open(self.path, "ab", opener=disk.no_link)  # noqa: SIM115 - held until close
            self._lock()
            self._read()
        except OSError as error:
            raise WNetError(f"cannot write {self.path}: {disk.reason(error, self.path)}") from error

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Lets other runs write; a record without an entry goes, so that a run that made nothing leaves nothing."""
        if not self._held.closed and os.fstat(self._held.fileno()).st_size == 0:
            self.path.unlink(missing_ok=True)
        self._held.close()

    def _lock(self) -> None:
        if not fcntl:
            return
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike lockf, not lost where the file is closed elsewhere
        except BlockingIOError as error:
            self._held.close()
            raise WNetError(f"another wnet restore is writing to {self.folder}; wait for it, or name another folder") from error

    def _read(self) -> None:
        with open(self.path, "rb") as file:
            offset = 0
            for line in file:
                self._learn(line, offset)
                offset += len(line)
        if offset and not line.endswith(b"\n"):  # an earlier run was killed while it wrote
            with open(self.path, "ab", opener=disk.no_link) as file:
                file.write(b"\n")

    def _learn(self, line: bytes, offset: int) -> None:
        try:
            entry = json.loads(line)
            files = dict(entry["files"])
            self._lines[entry["stem"]] = (entry["digest"], offset)
        except (ValueError, KeyError, TypeError):  # cut off by a kill
            return
        for name, sha256 in files.items():
            self._made.setdefault(name, set()).add(sha256)

    def done(self, stem: str, digest: str) -> dict | None:
        """The entry of a photo, if it was made from this input with these settings and its files are there.

        A file that the user has changed counts; one of an earlier entry, which a kill kept from being replaced, does not.
        """
        known = self._lines.get(stem)
        if known is None or known[0] != digest:
            return None
        entry = self._entry_at(known[1])
        return entry if all(self._is_current(name, sha256) for name, sha256 in entry["files"].items()) else None

    def _is_current(self, name: str, sha256: str) -> bool:
        path, earlier = self.folder / name, self._made[name] - {sha256}
        return path.is_file() and not (earlier and sha256_file(path) in earlier)

    def entry(self, stem: str) -> dict | None:
        """The newest entry of a photo."""
        return self._entry_at(self._lines[stem][1]) if stem in self._lines else None

    def _entry_at(self, offset: int) -> dict:
        with open(self.path, "rb") as file:
            file.seek(offset)
            return json.loads(file.readline())

    def is_of_another(self, stem: str, source: Path) -> bool:
        """Whether files of this stem are there that were made of another photo: of another file, and of other content."""
        entry = self.entry(stem)
        if entry is None or entry.get("real") in (None, os.path.realpath(source)):
            return False
        if not any((self.folder / name).is_file() for name in entry["files"]):
            return False
        try:
            return entry["sha256"] != sha256_file(source)
        except OSError:  # said when it is its turn
            return False

    def entries(self, stems: Iterable[str]) -> Iterator[dict]:
        """The newest entries of these photos, one by one."""
        return (self._entry_at(self._lines[stem][1]) for stem in stems if stem in self._lines)

    def check_free(self, name: str) -> None:
        """Raises :class:`WNetError` if a file is there that this command has not made, or that was changed since, or is a photo."""
        path = self.folder / name
        if os.path.realpath(path) in self.photos:
            raise WNetError(f"{path} is one of the photos, which stay as they are; name another folder for the results")
        if self.overwrite and not path.is_dir():
            return
        if os.path.lexists(path) and (not path.is_file() or sha256_file(path) not in self._made.get(name, ())):
            raise WNetError(f"{path} is there and was not made by this command; move it, or use --overwrite")

    def write(self, entry: dict, pictures: dict[str, Writer]) -> None:
        """Writes the files of a photo and its entry, and removes those of its earlier entry that it has no more.

        Args:
            entry: with ``stem`` and ``digest``; gets ``files``, names below the folder with their hashes.
            pictures: what to write, by those names.

        Raises:
            WNetError, OSError: a name is taken, or the disk cannot be written. Nothing has changed then but the unfinished file.
        """
        for name in pictures:
            self.check_free(name)
        parts = {name: _part(self.folder / name) for name in pictures}
        try:
            for name, write in pictures.items():
                parts[name].parent.mkdir(parents=True, exist_ok=True)
                write(parts[name])
            earlier = (self.entry(entry["stem"]) or {}).get("files", {})
            entry = {**entry, "files": {name: sha256_file(part) for name, part in parts.items()}}
            self._append(entry)
            for name, part in parts.items():
                part.replace(self.folder / name)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
        for name in earlier.keys() - pictures.keys():
            path = self.folder / name
            if path.is_file() and os.path.realpath(path) not in self.photos and sha256_file(path) == earlier[name]:
                path.unlink()

    def _append(self, entry: dict) -> None:
        line = json.dumps(entry).encode() + b"\n"
        with open(self.path, "ab", buffering=0, opener=disk.no_link) as file:
            offset = file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(offset)  # half a line would take the next one with it
                raise
        self._learn(line, offset)


def _part(path: Path) -> Path:
    """A short hidden name, so that long names stay possible. What a kill leaves is overwritten by the next run."""
    return path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}.part")
