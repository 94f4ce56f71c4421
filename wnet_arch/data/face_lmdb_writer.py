"""Writes a face set so that an interrupted run can be continued, and a set that bears its final name is complete.

While it is being made, the set lives in ``NAME.partial/`` next to the target. Results are committed in batches; after
each, a line per photo goes into ``journal.jsonl``. So what the journal names is in every LMDB of the set, whatever killed the
process, and a rerun goes on behind it. Finished LMDBs are written anew, which makes a continued set equal to an unbroken
one byte for byte.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from wnet_arch.data.face_lmdb import (
    FORMAT,
    MANIFEST,
    VERSION,
    GrowingLMDB,
    read_manifest,
    write_meta_info,
)
from wnet_arch.errors import DataError, UsageError, WNetError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_SETTINGS, _JOURNAL, _LOCK = "settings.json", "journal.jsonl", "lock"
_SPLITS = ("train", "val")


class FaceLMDBWriter:
    """A face set in the making. Use as a context manager; leaving it without :meth:`finish` keeps what was committed.

    Args:
        target: folder that the finished set will be.
        settings: everything that decides the set's content, as JSON values; a rerun must bring the same.
        shapes: for each LMDB of the set, by its name without ``.lmdb``, the (h, w, c) of its images.
        splits: sub-folders which are sets of their own (``("train", "val")``); ``("",)`` for none.
        overwrite: replace an existing set at ``target``, and drop an unfinished one made with other settings.
        batch: photos a commit.

    Attributes:
        done: the outcomes which earlier runs have recorded, by photo name.

    Raises:
        UsageError: the target exists, or an unfinished set has other settings, and ``overwrite`` is not given; or what is
            there was not made by this class.
        WNetError: another process is writing this set, or the disk cannot be written.
    """

    def __init__(self, target, settings: dict, shapes: dict, splits=("",), overwrite=False, batch: int = 256):
        self.target = Path(target)
        self.partial = self.target.with_name(self.target.name + ".partial")
        self.settings = json.loads(json.dumps(settings))
        self.shapes, self.splits, self.overwrite, self.batch = dict(shapes), tuple(splits), overwrite, batch
        self.done: dict[str, dict] = {}
        self._stores: dict[tuple[str, str], GrowingLMDB] = {}
        self._pending: list[tuple[dict, str, dict[str, bytes] | None]] = []
        self._lock = None
        with _one_line_errors(self.partial):
            _refuse_target(self.target, overwrite)
            self._open_partial()

    def __enter__(self) -> FaceLMDBWriter:
        return self

    def __exit__(self, *exc_info) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()
        if self._lock:
            self._lock.close()

    def add(self, outcome: dict, split: str = "", images: dict[str, bytes] | None = None) -> None:
        """Takes the outcome of one photo; it is on disk after the batch is full.

        Args:
            outcome: JSON values: ``file``, ``key`` if the photo is kept, and whatever the caller wants to find in
                :attr:`done` after an interruption.
            split: the sub-folder the images go to.
            images: PNG files (for landmarks: their bytes) by LMDB name, or ``None`` for a rejected photo.
        """
        self._pending.append((outcome, split, images))
        if images is not None and sum(images is not None for _, _, images in self._pending) == self.batch:
            self._commit()

    def flush(self) -> None:
        """Commits what is pending, once the last photo has been added."""
        if self._pending:
            self._commit()

    def discard(self) -> None:
        """Removes the unfinished set."""
        self.__exit__()
        with _one_line_errors(self.partial):
            shutil.rmtree(self.partial)

    def _commit(self) -> None:
        with _one_line_errors(self.partial):
            for split in self.splits:
                kept = [(o["key"], images) for o, s, images in self._pending if images is not None and s == split]
                for name in self.shapes if kept else ():
                    self._store(split, name).write((key, images[name]) for key, images in kept)
            with open(self.partial / _JOURNAL, "a", encoding="utf-8") as journal:
                journal.writelines(json.dumps({**o, "split": split}) + "\n" for o, split, _ in self._pending)
                journal.flush()
                os.fsync(journal.fileno())
        self.done.update((o["file"], {**o, "split": split}) for o, split, _ in self._pending)
        self._pending.clear()

    def finish(self, manifests: dict[str, dict]) -> None:
        """Commits what is pending, writes key lists and manifests, and gives the set its name.

        Args:
            manifests: by split; with splits, the entry ``""`` is the manifest of the folder around them.
        """
        self.flush()
        with _one_line_errors(self.partial):
            for split in self.splits:
                keys = sorted(o["key"] for o in self.done.values() if o.get("key") and o["split"] == split)
                for name, shape in self.shapes.items():
                    self._store(split, name).compact()
                    write_meta_info(self._path(split, name), keys, *shape)
            for split, manifest in manifests.items():
                text = json.dumps({"format": FORMAT, "version": VERSION, **manifest}, indent=1, ensure_ascii=False)
                (self.partial / split / MANIFEST).write_text(text + "\n", encoding="utf-8")
            self.__exit__()
            _refuse_target(self.target, self.overwrite)
            if self.target.exists():
                shutil.rmtree(self.target)
            for name in (_JOURNAL, _LOCK, _SETTINGS):  # settings last: while they are there, a rerun can finish
                (self.partial / name).unlink(missing_ok=True)
            self.partial.rename(self.target)

    def _path(self, split: str, name: str) -> Path:
        return self.partial / split / f"{name}.lmdb"

    def _store(self, split: str, name: str) -> GrowingLMDB:
        if (split, name) not in self._stores:
            self._stores[split, name] = GrowingLMDB(self._path(split, name))
        return self._stores[split, name]

    def _open_partial(self) -> None:
        """Makes ``NAME.partial`` or takes up the one that is there."""
        if self.partial.exists():
            earlier = self._earlier_settings()
            self._take_lock()
            if earlier == self.settings:
                self._read_journal()
                return
            if earlier and not self.overwrite:
                names = sorted(n for n in {*earlier, *self.settings} if earlier.get(n) != self.settings.get(n))
                raise UsageError(
                    f"{self.partial} is an unfinished set made with another {' and '.join(names)}: "
                    "give the same options to continue it, or --overwrite to drop it"
                )
            self._lock.close()
            shutil.rmtree(self.partial)
        self.partial.mkdir(parents=True)
        (self.partial / _SETTINGS).write_text(json.dumps(self.settings), encoding="utf-8")
        self._take_lock()

    def _earlier_settings(self) -> dict:
        """Settings of the unfinished set, empty when it was killed before it had any."""
        try:
            return json.loads((self.partial / _SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if self.partial.is_dir() and {p.name for p in self.partial.iterdir()} <= {_SETTINGS, _LOCK}:
                return {}
            raise UsageError(f"{self.partial} is in the way: it is not an unfinished face set") from error

    def _take_lock(self) -> None:
        self._lock = open(self.partial / _LOCK, "w")  # noqa: SIM115 - held until __exit__
        if fcntl:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not shared with forked workers
            except OSError as error:
                raise WNetError(f"another process is writing {self.partial}") from error

    def _read_journal(self) -> None:
        path = self.partial / _JOURNAL
        if not path.exists():
            return
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        if torn:  # the process was killed while it wrote this line
            os.truncate(path, len(whole) + 1 if whole else 0)
        for line in whole.splitlines():
            outcome = json.loads(line)
            self.done[outcome["file"]] = outcome


def _refuse_target(target: Path, overwrite: bool) -> None:
    """Raises unless ``target`` may be created, or replaced without losing anything that this package did not write."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise UsageError(f"{target} exists and is a file")
    try:
        read_manifest(target)
    except DataError as error:
        raise UsageError(f"{target} exists and is not a face set: it is left alone, choose another --out") from error
    strange = _strangers(target)
    if strange:
        raise UsageError(f"{target} holds {strange[0]}, which is no part of a face set: it is left alone")
    if not overwrite:
        raise UsageError(f"{target} exists: give --overwrite to replace it")


def _strangers(folder: Path) -> list[str]:
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.name in _SPLITS and entry.is_dir():
            found += [f"{entry.name}/{name}" for name in _strangers(entry)]
        elif entry.name != MANIFEST and entry.suffix != ".lmdb":
            found.append(entry.name)
    return found


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Full disks and missing permissions, as an error that names the folder."""
    try:
        yield
    except (OSError, lmdb.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WNetError(f"cannot write {path}: {reason}; the same command continues where it stopped") from error
