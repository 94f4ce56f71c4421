"""What a benchmark has found out so far: SR images and metric values, in one SQLite file.

Nothing in here is named by a path. An SR image is stored under the hash of the network (weights, options, code) and of its LR
image; a value under the hashes of the SR image, the HR image and the metric. So a result can never belong to something else, and
an image that is there twice is measured once. SQLite's transactions make a killed run lose at most the faces in work.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable

import numpy as np

from wnet_arch.errors import WNetError

FILE = "cache.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sr (network TEXT, lq TEXT, digest TEXT NOT NULL, png BLOB NOT NULL, PRIMARY KEY (network, lq));
CREATE TABLE IF NOT EXISTS value (sr TEXT, gt TEXT, metric TEXT, name TEXT, value REAL, PRIMARY KEY (sr, gt, metric, name))
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drawn (image TEXT, what TEXT, data BLOB NOT NULL, PRIMARY KEY (image, what));
"""


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


class Cache:
    """Opens, or starts, the cache of an output folder.

    Raises:
        WNetError: the file is not such a cache, or another run is writing to it.
    """

    def __init__(self, folder: str | os.PathLike):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, FILE)
        try:
            self._db = sqlite3.connect(self.path, timeout=10)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise WNetError(f"{self.path} was written by another version of this package: remove it, it is only a cache")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise WNetError(f"{self.path} cannot be used ({error}); remove it, it is only a cache") from error

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *exc_info) -> None:
        self._db.close()

    def sr_digest(self, network: str, lq: str) -> str | None:
        """Hash of the SR image a network made of an LR image, if it is known."""
        row = self._db.execute("SELECT digest FROM sr WHERE network = ? AND lq = ?", (network, lq)).fetchone()
        return row[0] if row else None

    def sr_png(self, network: str, lq: str) -> bytes | None:
        """The SR image as a PNG file, if it is known."""
        row = self._db.execute("SELECT png FROM sr WHERE network = ? AND lq = ?", (network, lq)).fetchone()
        return row[0] if row else None

    def values(self, sr: str, gt: str, metric: str) -> dict[str, float]:
        """What a metric gave for a pair of images: name to value, NaN = not measurable. Empty if it has not been measured."""
        rows = self._db.execute("SELECT name, value FROM value WHERE sr = ? AND gt = ? AND metric = ?", (sr, gt, metric))
        return {name: float("nan") if value is None else value for name, value in rows}

    def drawn(self, image: str, what: str) -> bytes | None:
        """What the report draws of an image (landmarks, a map), if it is known. ``what``: hash of the metric or network."""
        row = self._db.execute("SELECT data FROM drawn WHERE image = ? AND what = ?", (image, what)).fetchone()
        return row[0] if row else None

    def store_drawn(self, rows: Iterable[tuple]) -> None:
        """Adds (image, what, data)."""
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO drawn VALUES (?, ?, ?)", rows)

    def store(self, images: Iterable[tuple], values: Iterable[tuple]) -> None:
        """Adds a batch, all or nothing.

        Args:
            images: (network, lq, digest, png).
            values: (sr, gt, metric, name, value); SQLite keeps NaN as NULL.
        """
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO sr VALUES (?, ?, ?, ?)", images)
                self._db.executemany("INSERT OR REPLACE INTO value VALUES (?, ?, ?, ?, ?)", values)
        except sqlite3.Error as error:
            raise WNetError(f"{self.path} cannot be written ({error})") from error
