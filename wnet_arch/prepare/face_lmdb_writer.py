"""Writes a face set so that an interrupted run can be continued, and a set that bears its final name is complete.

While it is being made, the set lives next to its target:

    NAME.partial/work/settings.json    what decides the content; a rerun must bring the same
    NAME.partial/work/outcomes         table of the photos done, see wnet_arch.prepare.photo_index
    NAME.partial/work/gt.lmdb, ...     what has been made of them, not split yet
    NAME.partial/set/                  the finished set, written at the end and then moved to NAME

Results are committed in batches, images before outcomes. So what the table names is in every LMDB, whatever killed the process,
and a rerun goes on after it. Finished LMDBs are written anew in the order of keys, which makes a continued set, and one joined
from shards, equal to an unbroken one byte for byte. Nothing here grows with the number of photos, except files.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

import lmdb

from wnet_arch import disk
from wnet_arch.data.face_lmdb import (
    FORMAT,
    MANIFEST,
    VERSION,
    GrowingLMDB,
    read_items,
    read_manifest,
    write_meta_info,
)
from wnet_arch.data.set_paths import SPLITS
from wnet_arch.errors import DataError, UsageError, WNetError
from wnet_arch.prepare.photo_index import PhotoIndex

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module otherwise

#: Photos a commit.
BATCH = 256
#: In a shard: the table of its photos, for ``wnet prepare merge``.
OUTCOMES = "outcomes"
_SETTINGS, _LOCK, _FINISHED = "settings.json", "lock", "finished"


class FaceLMDBWriter:
    """A face set in the making. Use as a context manager; leaving it without :meth:`finish` keeps what was committed.

    Args:
        target: folder that the finished set will be.
        settings: everything that decides the set's content, as JSON values; a rerun must bring the same.
        shapes: for each LMDB of the set, by its name without ``.lmdb``, the (h, w, c) of its images.
        overwrite: replace an existing set at ``target``, and drop an unfinished one made with other settings.

    Attributes:
        done: the outcomes on disk, :class:`~wnet_arch.prepare.photo_index.PhotoIndex`.

    Raises:
        UsageError: the target exists, or an unfinished set has other settings, and ``overwrite`` is not given; or what is
            there was not made by this class.
        WNetError: another process is writing this set, or the disk cannot be written.
    """

    def __init__(self, target, settings: dict, shapes: dict, overwrite: bool = False):
        self.target = Path(os.path.realpath(target) if os.path.islink(target) or Path(target).name in ("", "..") else target)
        self.partial = self.target.with_name(self.target.name + ".partial")
        self.work, self.finished = self.partial / "work", self.partial / "set"
        self.settings = json.loads(json.dumps(settings))
        self.shapes, self.overwrite = dict(shapes), overwrite
        self._stores: dict[str, GrowingLMDB] = {}
        self._pending: list[tuple[dict, dict[str, bytes] | None]] = []
        self._pending_digests: dict[str, str] = {}
        self._lock: TextIOWrapper | None = None
        with self._one_line_errors():
            self._drop_leftovers()
            _refuse_target(self.target, overwrite)
            self._open_partial()
            self.done = PhotoIndex(self.work / OUTCOMES)

    def __enter__(self) -> FaceLMDBWriter:
        return self

    def __exit__(self, *exc_info) -> None:
        self._close_tables()
        if self._lock:
            self._lock.close()

    def _close_tables(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()
        self.done.close()

    def add(self, outcome: dict, images: dict[str, bytes] | None = None) -> None:
        """Takes the outcome of one photo; it is on disk after the batch is full.

        Args:
            outcome: JSON values: ``file``, ``key`` if the photo is kept, ``digest`` if others may be its twins, and whatever
                the caller wants to find in :attr:`done`.
            images: PNG files (for landmarks: their bytes) by LMDB name; ``None`` for a rejected photo, and where
                :meth:`finish` finds the images elsewhere.
        """
        self._pending.append((outcome, images))
        if "key" in outcome and "digest" in outcome:
            self._pending_digests.setdefault(outcome["digest"], outcome["file"])
        if len(self._pending) == BATCH:
            self.flush()

    def twin(self, digest: str) -> str | None:
        """Name of a kept photo with these pixels."""
        return self._pending_digests.get(digest) or self.done.first_with(digest)

    def flush(self) -> None:
        """Commits what is pending."""
        if not self._pending:
            return
        with self._one_line_errors():
            kept = [(outcome["key"], images) for outcome, images in self._pending if images is not None]
            for name in self.shapes if kept else ():
                self._store(name).write((key, images[name]) for key, images in kept)
            self.done.add(outcome for outcome, _ in self._pending)
        self._pending.clear()
        self._pending_digests.clear()

    def discard(self) -> None:
        """Removes the unfinished set."""
        self.__exit__()
        with self._one_line_errors():
            shutil.rmtree(self.partial)

    def finish(
        self,
        manifests: dict[str, dict],
        split_of: Callable[[dict], str] = lambda outcome: "",
        sources: Sequence[Path] = (),
        keep_outcomes: bool = False,
    ) -> None:
        """Commits what is pending, writes LMDBs in the order of keys, key lists and manifests, and gives the set its name.

        Args:
            manifests: by split (sub-folders which are sets of their own); with splits, the entry ``""`` is the manifest of
                the folder around them.
            split_of: split of a kept photo by its outcome, ``""`` for the set itself.
            sources: sets that hold the images of the kept keys, instead of :meth:`add`.
            keep_outcomes: leave the table of outcomes in the set, which makes it a shard.
        """
        self.flush()
        splits = [split for split in manifests if split] or [""]
        with self._one_line_errors():
            for name, shape in self.shapes.items():
                self._assemble(name, shape, splits, split_of, list(sources) or [self.work])
            for split, manifest in manifests.items():
                text = json.dumps({"format": FORMAT, "version": VERSION, **manifest}, indent=1, ensure_ascii=False)
                data = (text + "\n").encode("utf-8", "backslashreplace")  # names that are no UTF-8: \udcxx is JSON, too
                (self.finished / split / MANIFEST).write_bytes(data)
            if keep_outcomes:
                self._copy_outcomes()
            self._close_tables()
            _sync(self.finished)
            if not fcntl:
                self.__exit__()  # Windows removes no open file
            self._give_name()  # under the lock: another run would take the set away
            self.__exit__()

    def _copy_outcomes(self) -> None:
        target = self.finished / OUTCOMES
        shutil.rmtree(target, ignore_errors=True)  # of a process killed right here
        target.mkdir()
        self.done.copy(target)

    def _assemble(self, name: str, shape: tuple, splits: list[str], split_of: Callable, sources: list[Path]) -> None:
        """Writes one LMDB of each split from one or more sources, unless an earlier run has done so."""
        marker = self.work / f"{name}.done"
        if marker.exists():
            return
        targets = {split: self.finished / split / f"{name}.lmdb" for split in splits}
        for path in targets.values():
            shutil.rmtree(path, ignore_errors=True)  # of a process killed right here
        if name in self._stores:
            self._stores.pop(name).close()
        with ExitStack() as stack:
            inputs = [read_items(source / f"{name}.lmdb") for source in sources]
            new = {split: stack.enter_context(closing(GrowingLMDB(path))) for split, path in targets.items()}
            _distribute(self._kept_items(inputs), new, split_of)
        for split, path in targets.items():
            write_meta_info(path, (o["key"] for o in self.done.kept() if split_of(o) == split), *shape)
        marker.touch()
        shutil.rmtree(self.work / f"{name}.lmdb", ignore_errors=True)

    def _kept_items(self, inputs: list[Iterator]) -> Iterator[tuple[dict, bytes]]:
        """PhotoIndex of the kept photos in the order of keys, and what the inputs hold for them. Each key is in one of these."""
        items = heapq.merge(*inputs, key=lambda item: item[0])
        for outcome in self.done.kept():
            key, value = next((item for item in items if item[0] >= outcome["key"]), ("", b""))
            if key != outcome["key"]:
                raise DataError(f"the image '{outcome['key']}' is missing where it was stored: the set is damaged")
            yield outcome, value

    def _give_name(self) -> None:
        """A set that is to be replaced is moved away as a whole first: whenever a kill comes, both are whole."""
        _refuse_target(self.target, self.overwrite)
        (self.partial / _FINISHED).touch()
        if self.target.exists():
            replaced = self.partial / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)
            self.target.rename(replaced)
        self.finished.rename(self.target)
        with suppress(OSError):  # the set is there; a network share keeps files that are open, and the next call clears them away
            self._drop_leftovers()

    def _drop_leftovers(self) -> None:
        """What is left of a set that has its name. The mark that says so goes last, so that a kill leaves it."""
        if (self.partial / _FINISHED).exists() and not self.finished.exists():
            for path in self.partial.iterdir():
                if path.name != _FINISHED:
                    shutil.rmtree(path)
            shutil.rmtree(self.partial)

    def _store(self, name: str) -> GrowingLMDB:
        if name not in self._stores:
            self._stores[name] = GrowingLMDB(self.work / f"{name}.lmdb")
        return self._stores[name]

    def _open_partial(self) -> None:
        """Makes ``NAME.partial`` or takes up the one that is there."""
        if self.partial.exists():
            earlier = self._earlier_settings()
            lock = self._take_lock()
            if earlier == self.settings:
                return
            if earlier and not self.overwrite:
                names = sorted(n for n in {*earlier, *self.settings} if earlier.get(n) != self.settings.get(n))
                raise UsageError(
                    f"{self.partial} is an unfinished set made with another {' and '.join(names)}: "
                    "give the same options to continue it, or --overwrite to drop it"
                )
            lock.close()
            shutil.rmtree(self.partial)
        self.work.mkdir(parents=True)
        self._take_lock()
        (self.work / _SETTINGS).write_text(json.dumps(self.settings), encoding="utf-8")

    def _earlier_settings(self) -> dict:
        """Settings of the unfinished set, empty when it was killed before it had any."""
        try:
            return json.loads((self.work / _SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            there = {str(path.relative_to(self.partial)) for path in self.partial.rglob("*")} if self.partial.is_dir() else {"?"}
            if there <= {"work", f"work/{_SETTINGS}", f"work/{_LOCK}"}:
                self.work.mkdir(exist_ok=True)
                return {}
            raise UsageError(f"{self.partial} is in the way: it is not an unfinished face set") from error

    def _take_lock(self) -> TextIOWrapper:
        lock = self._lock = open(self.work / _LOCK, "w")  # noqa: SIM115 - held until __exit__
        if fcntl:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not shared with forked workers
            except OSError as error:
                raise WNetError(f"another process is writing {self.partial}") from error
        return lock

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Full disks, for which LMDB has other names, and missing permissions, as an error that names the folder."""
        try:
            yield
        except (OSError, lmdb.Error) as error:
            then = "the same command continues where it stopped"
            reason = disk.reason(error, self.partial, then)
            end = "" if reason.endswith(then) else f"; {then}"
            raise WNetError(f"cannot write {self.partial}: {reason}{end}") from error


def _distribute(items: Iterator[tuple[dict, bytes]], stores: dict[str, GrowingLMDB], split_of: Callable[[dict], str]) -> None:
    """Writes items to the store of their split, each store in batches of one size: equal items give equal files."""
    waiting: dict[str, list] = {split: [] for split in stores}
    for outcome, value in items:
        batch = waiting[split_of(outcome)]
        batch.append((outcome["key"], value))
        if len(batch) == BATCH:
            stores[split_of(outcome)].write(batch)
            batch.clear()
    for split, batch in waiting.items():
        stores[split].write(batch)


def _sync(folder: Path) -> None:
    """Brings files to the disk before the set gets its name. LMDB has done so with those it wrote, but not with a copy."""
    for path in folder.rglob("*"):
        if path.is_file() and (path.suffix != ".mdb" or path.parent.name == OUTCOMES):
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _refuse_target(target: Path, overwrite: bool) -> None:
    """Raises unless ``target`` may be created, or replaced without losing anything that this package did not write."""
    if os.path.ismount(target):
        raise UsageError(f"{target} is a mounted disk, which cannot be moved into place: name a folder in it, {target / 'set'} say")
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
        if entry.name in SPLITS and entry.is_dir():
            found += [f"{entry.name}/{name}" for name in _strangers(entry)]
        elif entry.name not in (MANIFEST, OUTCOMES) and entry.suffix != ".lmdb":
            found.append(entry.name)
    return found
