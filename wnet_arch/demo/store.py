"""The files of the page: what was uploaded and made, whose it is, how much there may be, and when it goes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from wnet_arch.demo.limits import Limits
from wnet_arch.errors import DataError

#: Seconds after which files are deleted that no open page shows and nobody has asked for.
KEPT = 3600
#: Uploads and results of one page that are kept: the last one, and the one before, which may be at work still.
LAST = 2
_SESSION = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Full(DataError):
    """All files together would take more than they may."""


@dataclass
class _Session:
    """A page in a browser's tab: whose it is, how many connections tell that it is open, the folders of its files."""

    owner: str
    connections: int = 0
    used: float = field(default_factory=time.time)
    folders: dict[str, list[Path]] = field(default_factory=lambda: {"photos": [], "results": []})


class Store:
    """Files in one folder, in which each owner has a part that no other can read. An upload arrives beside them.

    Args:
        folder: is emptied by the caller at the end.
        limits: ``max_total_bytes`` of it counts here.
        examples: files that all may read.
    """

    def __init__(self, folder: Path, limits: Limits, examples: Iterable[str] = ()):
        self._folder, self._limits, self._lock = folder.resolve(), limits, threading.RLock()
        self._arriving, self._owned = self._folder / "arriving", self._folder / "owned"
        self._arriving.mkdir()
        self._owned.mkdir()
        self._examples = {Path(path).resolve() for path in examples}
        self._sessions: dict[str, _Session] = {}
        self._promised = 0

    def find(self, owner: str | None, path: object) -> Path | None:
        """The file that a path leads to, through links and ``..``; ``None`` if it is not there, or not for this owner."""
        if not isinstance(path, str) or not os.path.isabs(path):
            return None
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # gone, a NUL in it, links in a circle
            return None
        own = None if owner is None else self._owned / owner
        mine = own is not None and own in real.parents
        if not real.is_file() or not (mine or real in self._examples):
            return None
        if own is not None and mine:
            with contextlib.suppress(OSError):
                os.utime(own / real.relative_to(own).parts[0])  # its age counts from here
        return real

    def photo(self, owner: str | None, path: str) -> Path:
        """The same, to open it.

        Raises:
            DataError: it is not there for this owner.
        """
        found = self.find(owner, path)
        if found is None:
            raise DataError(f"{Path(path).name} is not among this page's photos; upload it again")
        return found

    def used(self) -> int:
        """Bytes of all uploads and results."""
        return sum(_size(Path(place, name)) for place, _, names in os.walk(self._owned) for name in names)

    @contextlib.contextmanager
    def arrival(self, size: int) -> Iterator[BinaryIO]:
        """A file for an upload, for which ``size`` bytes are set aside. It goes at the end, unless :meth:`keep` has taken it.

        Raises:
            Full: there is no room for so much.
        """
        with self._lock:
            self._check_room(size)
            self._promised += size
        try:
            with tempfile.NamedTemporaryFile(dir=self._arriving, delete=False) as file:
                try:
                    yield cast(BinaryIO, file)
                finally:
                    file.close()
                    Path(file.name).unlink(missing_ok=True)
        finally:
            with self._lock:
                self._promised -= size

    def keep(self, owner: str, file: BinaryIO, name: str) -> Path:
        """Gives an upload that is complete to its owner, under a name that is safe."""
        file.close()
        with self._lock:
            place = self._new_folder(owner) / _safe(name)
            os.rename(file.name, place)
        return place

    @contextlib.contextmanager
    def results(self, owner: str, session: str) -> Iterator[Path]:
        """A folder for what is made of a photo. It goes if that fails or the page was closed meanwhile, and after the next but one.

        How much it is, is known when it is made: until then, one photo's results may be above the limit.

        Raises:
            Full: there is no room, or what was made is too much.
        """
        with self._lock:
            self._check_room(0)
            place = self._new_folder(owner)
        try:
            yield place
            with self._lock:
                self._check_room(0)
                if not self._belongs(session, "results", place):
                    shutil.rmtree(place, ignore_errors=True)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def claim(self, owner: str, session: object) -> bool:
        """Whether a session is this owner's: the first who names it has it."""
        if not isinstance(session, str) or not _SESSION.fullmatch(session):
            return False
        with self._lock:
            known = self._sessions.setdefault(session, _Session(owner))
            known.used = time.time()
            return known.owner == owner

    def chosen(self, session: str, photo: Path) -> None:
        """An upload is used on a page: it goes with it, or after the next but one."""
        if self._owned in photo.parents:
            with self._lock:
                self._belongs(session, "photos", photo.parent)

    @contextlib.contextmanager
    def open_page(self, session: str) -> Iterator[None]:
        """While a page is open. Its files go with it, and with an owner's last page all that is the owner's."""
        with self._lock:
            known = self._sessions[session]
            known.connections += 1
        try:
            yield
        finally:
            with self._lock:
                known.connections -= 1
                if not known.connections:
                    self._close(session, known)

    def sweep(self) -> None:
        """Deletes what no open page shows and nobody has asked for in the last :data:`KEPT` seconds."""
        with self._lock:
            old = time.time() - KEPT
            for session, known in list(self._sessions.items()):
                if not known.connections and known.used < old:
                    self._close(session, known)
            shown = {place for known in self._sessions.values() for places in known.folders.values() for place in places}
            for place in (*self._owned.glob("*/*"), *self._folder.glob("tmp*")):
                if place not in shown and _time(place) < old:
                    _remove(place)
            for place in self._owned.iterdir():
                with contextlib.suppress(OSError):
                    place.rmdir()  # unless there is something in it

    def _close(self, session: str, known: _Session) -> None:
        self._sessions.pop(session, None)
        for place in (place for places in known.folders.values() for place in places):
            _remove(place)
        if not any(other.owner == known.owner for other in self._sessions.values()):
            _remove(self._owned / known.owner)

    def _belongs(self, session: str, kind: str, place: Path) -> bool:
        """Notes a folder for a page, and deletes those that came long before; whether the page is still there."""
        if session not in self._sessions:
            return False
        folders = self._sessions[session].folders[kind]
        if place in folders:
            folders.remove(place)
        folders.append(place)
        while len(folders) > LAST:
            _remove(folders.pop(0))
        return True

    def _new_folder(self, owner: str) -> Path:
        (self._owned / owner).mkdir(mode=0o700, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._owned / owner))

    def _check_room(self, size: int) -> None:
        if self.used() + self._promised + size > self._limits.max_total_bytes:
            raise Full(
                f"no room: uploads and results would take more than {self._limits.max_total_mb:g} MB together; "
                "close other pages of this program, or raise --max-total-mb"
            )


def _safe(name: str) -> str:
    """The last part of a name, without what no file system or shell takes well, of bounded length."""
    name = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "", re.split(r"[/\\]", name)[-1]).strip(" .")
    stem, ending = os.path.splitext(name or "photo")
    return stem.encode()[:150].decode(errors="ignore") + ending.encode()[:20].decode(errors="ignore")


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_size
    return 0


def _time(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime
    return time.time()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
