"""What a benchmark has found out so far: SR images and metric values, in one SQLite file.

Nothing in here is named by a path. An SR image is stored under the hash of the network (weights, options, code) and of its LR
image; a value under the hashes of the SR image, the HR image and the metric. So a result can never belong to something else, and
an image that is there twice is measured once. SQLite's transactions make a killed run lose at most the faces in work.

Every row has a checksum. The file is read through when it is opened; if it is damaged it is renamed and a new one begun, since all
that is in it can be computed again.
"""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import sys
import zlib
from collections.abc import Iterable

from wnet_arch import disk
from wnet_arch.errors import WNetError

FILE = "cache.sqlite"
_VERSION = 2
#: Tables, their keys, and what belongs to a key. Without row numbers there is no second index that could lead to another row.
_TABLES = {
    "sr": (("network", "lq"), ("digest", "png")),
    "value": (("sr", "gt", "metric", "name"), ("value",)),
    "drawn": (("image", "what"), ("data",)),
}
#: What SQLite keeps beside a database.
_BESIDE = ("-journal", "-wal", "-shm")
#: Words of SQLite's for trouble that is not of the file's content.
_NOT_DAMAGE = ("locked", "unable to open", "readonly", "is full", "disk I/O")


class _Damage(Exception):
    """The file is no cache of this version, or has been changed by something else."""


class Cache:
    """Opens, or starts, the cache of an output folder. One that is damaged is set aside, which is said on standard error.

    Raises:
        WNetError: there is a link in its place, it cannot be read or written, or another run is writing to it.
    """

    def __init__(self, folder: str | os.PathLike):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, FILE)
        _refuse_links(self.path)
        try:
            self._db = _opened(self.path)
        except _Damage as damage:
            aside = _set_aside(self.path)
            print(f"{self.path} {damage}: it is now {aside}, and everything is computed again", file=sys.stderr, flush=True)
            self._db = _opened(self.path)

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *exc_info) -> None:
        self._db.close()

    def sr_digest(self, network: str, lq: str) -> str | None:
        """Hash of the SR image a network made of an LR image, if it is known."""
        rows = self._read("SELECT digest FROM sr WHERE network = ? AND lq = ?", network, lq)
        return rows[0][0] if rows else None

    def sr_png(self, network: str, lq: str) -> bytes | None:
        """The SR image as a PNG file, if it is known."""
        rows = self._read("SELECT png FROM sr WHERE network = ? AND lq = ?", network, lq)
        return rows[0][0] if rows else None

    def values(self, sr: str, gt: str, metric: str) -> dict[str, float]:
        """What a metric gave for a pair of images: name to value, NaN = not measurable. Empty if it has not been measured."""
        rows = self._read("SELECT name, value FROM value WHERE sr = ? AND gt = ? AND metric = ?", sr, gt, metric)
        return {name: float("nan") if value is None else value for name, value in rows}

    def drawn(self, image: str, what: str) -> bytes | None:
        """What the report draws of an image (landmarks, a map), if it is known. ``what``: hash of the metric or network."""
        rows = self._read("SELECT data FROM drawn WHERE image = ? AND what = ?", image, what)
        return rows[0][0] if rows else None

    def store_drawn(self, rows: Iterable[tuple]) -> None:
        """Adds (image, what, data)."""
        self._write({"drawn": rows})

    def store(self, images: Iterable[tuple], values: Iterable[tuple]) -> None:
        """Adds a batch, all or nothing.

        Args:
            images: (network, lq, digest, png).
            values: (sr, gt, metric, name, value); SQLite keeps NaN as NULL.
        """
        self._write({"sr": images, "value": values})

    def _read(self, query: str, *key: str) -> list[tuple]:
        try:
            return self._db.execute(query, key).fetchall()
        except sqlite3.Error as error:
            raise WNetError(f"{self.path} cannot be read ({error}); run again, what is lost is computed again") from error

    def _write(self, tables: dict[str, Iterable[tuple]]) -> None:
        try:
            with self._db:
                for table, rows in tables.items():
                    marks = ", ".join("?" * (len(_columns(table)) + 1))
                    self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", ((*row, _sum(row)) for row in rows))
        except sqlite3.Error as error:
            raise WNetError(f"cannot write {self.path}: {disk.reason(error, self.path)}; what is done is kept") from error


def _columns(table: str) -> tuple[str, ...]:
    return tuple(name for names in _TABLES[table] for name in names)


def _sum(row: tuple) -> int:
    """Checksum of a row."""
    total = 0
    for part in row:
        part = None if isinstance(part, float) and math.isnan(part) else part
        total = zlib.crc32(part if isinstance(part, bytes) else repr(part).encode(), total)
    return total


def _opened(path: str) -> sqlite3.Connection:
    """Raises :class:`_Damage`, or :class:`WNetError` where the file is not to blame."""
    database = None
    try:
        database = sqlite3.connect(path, timeout=10)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version or database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _check(database, version)
        with database:
            for table, (key, _) in _TABLES.items():
                columns = f"{', '.join(_columns(table))}, sum, PRIMARY KEY ({', '.join(key)})"
                database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) WITHOUT ROWID")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("PRAGMA synchronous = NORMAL")
        return database
    except (sqlite3.Error, _Damage, UnicodeDecodeError) as error:
        if database is not None:
            database.close()
        if isinstance(error, _Damage):
            raise
        if any(words in str(error) for words in _NOT_DAMAGE):
            raise WNetError(f"{path} cannot be used ({disk.reason(error, path)})") from error
        raise _Damage("is damaged") from error


def _check(database: sqlite3.Connection, version: int) -> None:
    """Reads everything. Raises :class:`_Damage` or an error of SQLite's."""
    if version != _VERSION:
        raise _Damage("was not written by this version of the package")
    if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise _Damage("is damaged")
    for table in _TABLES:
        for *row, found in database.execute(f"SELECT {', '.join(_columns(table))}, sum FROM {table}"):
            if found != _sum(row):
                raise _Damage("is damaged")


def _refuse_links(path: str) -> None:
    """A link could lead the cache to any file of the user's, and results of another's making into tables."""
    for place in (path, *(path + end for end in _BESIDE)):
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(mode):
            what = "a link" if stat.S_ISLNK(mode) else "no file"
            raise WNetError(f"{place} is {what}, which is not followed: remove it, or name another folder with -o")


def _set_aside(path: str) -> str:
    """Renames the cache, and what SQLite keeps beside it; returns the new name. An earlier one of that name goes."""
    aside = path + ".bad"
    try:
        for end in ("", *_BESIDE):
            if os.path.lexists(path + end):
                os.replace(path + end, aside + end)
    except OSError as error:
        raise WNetError(f"{path} is damaged and cannot be renamed ({error.strerror}): remove it, it is only a cache") from error
    return aside
