"""What became of each photo: a table on disk, sorted, so that memory does not grow with the number of photos."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import lmdb

from wnet_arch.data.face_lmdb import open_whole

#: LMDB's page size is the machine's; this many bytes to begin with suit all of them.
_FIRST_MAP = 1 << 20


class PhotoIndex:
    """PhotoIndex of photos, by file name, by key (those kept) and by digest of the pixels. Survives a kill at any moment.

    An outcome is a dict of JSON values with ``file``; with ``key``, the photo is kept; with ``digest``, it is known by that.
    What one call of :meth:`add` was given is there as a whole or not at all.

    Args:
        path: folder of the table, created if missing.
        readonly: open a copy of a table, made by :meth:`copy`, to read it.

    Raises:
        lmdb.Error: the table cannot be opened.
        DataError: the copy is missing or cut off.
    """

    def __init__(self, path: Path, readonly: bool = False):
        self._map = _FIRST_MAP
        data = Path(path, "data.mdb")
        while data.exists() and self._map < data.stat().st_size:
            self._map *= 2
        # One process writes, guarded by the lock of the unfinished set, and reads only when it does not write.
        self._env = (
            open_whole(path, max_dbs=4, readahead=False)
            if readonly
            else lmdb.open(str(path), map_size=self._map, max_dbs=4, lock=False, readahead=False)
        )
        names = ("photos", "kept", "rejected", "digests")
        self._tables = {name: self._env.open_db(name.encode(), create=not readonly) for name in names}

    def add(self, outcomes: Iterable[dict]) -> None:
        """Stores outcomes in one transaction, on the disk before this returns."""
        outcomes = list(outcomes)
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    for outcome in outcomes:
                        self._put(txn, outcome)
                return
            except lmdb.MapFullError:
                self._map *= 2
                self._env.set_mapsize(self._map)

    def _put(self, txn: lmdb.Transaction, outcome: dict) -> None:
        file, value = os.fsencode(outcome["file"]), json.dumps(outcome).encode()
        key = outcome.get("key", "").encode("ascii")
        txn.put(file, key, db=self._tables["photos"])
        txn.put(key or file, value, db=self._tables["kept" if key else "rejected"])
        if key and "digest" in outcome:
            txn.put(bytes.fromhex(outcome["digest"]), file, db=self._tables["digests"], overwrite=False)

    def __contains__(self, file: str) -> bool:
        with self._env.begin() as txn:
            return txn.get(os.fsencode(file), db=self._tables["photos"]) is not None

    def __len__(self) -> int:
        with self._env.begin() as txn:
            return txn.stat(self._tables["photos"])["entries"]

    def first_with(self, digest: str) -> str | None:
        """Name of the kept photo with these pixels."""
        with self._env.begin() as txn:
            file = txn.get(bytes.fromhex(digest), db=self._tables["digests"])
        return None if file is None else os.fsdecode(file)

    def kept(self) -> Iterator[dict]:
        """PhotoIndex of the kept photos, in the order of keys."""
        return self._values("kept")

    def rejected(self) -> Iterator[dict]:
        """PhotoIndex of the others, in the order of file names."""
        return self._values("rejected")

    def _values(self, table: str) -> Iterator[dict]:
        with self._env.begin(db=self._tables[table]) as txn:
            for value in txn.cursor().iternext(keys=False):
                yield json.loads(value)

    def nth_last_key(self, count: int) -> str:
        """The smallest of the last ``count`` kept keys; ``""`` where there are fewer. ``count`` from 1."""
        with self._env.begin(db=self._tables["kept"]) as txn:
            key = ""
            for left, found in enumerate(txn.cursor().iterprev(values=False), 1):
                if left == count:
                    key = found.decode()
                    break
        return key

    def copy(self, path: Path) -> None:
        """Copies the table into an empty folder, without the unused pages that a table which is written to may end with."""
        self._env.copy(str(path), compact=True)

    def close(self) -> None:
        """Closes the table."""
        self._env.close()
