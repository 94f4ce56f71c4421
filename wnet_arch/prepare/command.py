"""Makes a face set from the photos of a data set, or one shard of it: ``wnet prepare``."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from wnet_arch.data.face_lmdb import MAX_KEY_BYTES
from wnet_arch.data.photos import label_files
from wnet_arch.errors import DataError, UsageError, WNetError
from wnet_arch.faces import landmarks
from wnet_arch.faces.detectors import DEFAULT
from wnet_arch.photo_formats import stem, suffixes
from wnet_arch.prepare import catalog
from wnet_arch.prepare.backends import Backends
from wnet_arch.prepare.face_lmdb_writer import FaceLMDBWriter
from wnet_arch.prepare.face_maker import FaceMaker, run_worker, shapes, start_worker
from wnet_arch.prepare.finalize import PrepareSummary, add, finish
from wnet_arch.prepare.set_sheet import sheet_path, write_sheet
from wnet_arch.prepare.shards import Shard
from wnet_arch.processors import shared_processors
from wnet_arch.words import counted

#: Photos in the hands of one worker at a time; bounds what waits in memory.
_IN_FLIGHT = 16
#: More around a face than this is no longer a photo of it.
MAX_SURROUND = 1
#: Workers need some seconds to start; fewer photos than this are done sooner without.
_WORTH_WORKERS = 1000


@dataclass(frozen=True)
class PrepareOptions:
    """What ``wnet prepare`` is asked for; the fields are its options.

    Raises:
        UsageError: values that do not go together.
    """

    images: Path
    out: Path
    labels: Path | None = None
    parser: str | None = None
    landmarks: bool = False
    crop: str = "none"
    size: int = 128
    scales: tuple[int, ...] = (4, 8)
    holdout: int = 0
    workers: int | None = None
    margin: float = 1.8
    min_box: int = 64
    overwrite: bool = False
    offline: Path | None = None
    source: str = catalog.FOLDER
    mode: str | None = None
    partial: bool = False
    shard: Shard | None = None
    detector: str = DEFAULT
    landmarker: str = "dlib"
    landmarks_file: Path | None = None
    face: str = "largest"
    sheet: int = 0
    surround: float = 0

    def __post_init__(self):
        catalog.check(self.source, self.mode)
        self.backends  # noqa: B018 - checks their names
        if self.labels and self.parser:
            raise UsageError("--labels and --parser exclude each other")
        bad = [scale for scale in self.scales if scale < 2 or self.size % scale]
        if self.size < 8 or bad or not self.scales or len(set(self.scales)) < len(self.scales):
            raise UsageError(f"--size {self.size} cannot be reduced by --scales {' '.join(map(str, self.scales))}")
        if not 0 <= self.surround <= MAX_SURROUND:
            raise UsageError(f"--surround {self.surround:g}: 0 to {MAX_SURROUND}, a share of the frame's side")
        if self.sheet < 0:
            raise UsageError("--sheet must be 0 or more")
        if self.holdout < 0 or (self.workers is not None and self.workers < 1) or self.min_box < 1 or not 1 <= self.margin <= 10:
            raise UsageError("--holdout must be 0 or more, --workers and --min-box 1 or more, --margin within 1..10")
        defaults = {one.name: one.default for one in fields(self)}
        if self.margin != defaults["margin"] and self.crop != "landmarks":
            raise UsageError(f"--margin {self.margin:g}: --crop {self.crop} has no margin; --crop landmarks has one")
        if self.min_box != defaults["min_box"] and not self.backends.needs_face:
            raise UsageError(f"--min-box {self.min_box}: no face is measured, as --crop {self.crop} needs none")

    @property
    def target(self) -> Path:
        """Where the set is written; a shard lies beside it."""
        out = Path(self.out)
        return self.shard.target(out.resolve() if out.name in ("", "..") else out) if self.shard else out

    @property
    def backends(self) -> Backends:
        """What finds faces and makes maps."""
        return Backends(
            self.crop, self.parser, self.landmarks, self.detector, self.landmarker, self.landmarks_file, self.face, self.offline
        )


def prepare(options: PrepareOptions, progress: bool = True) -> PrepareSummary:
    """Makes the set, or a shard of it. Can be interrupted at any time; the same call continues.

    Args:
        options: see :class:`PrepareOptions`.
        progress: show a progress bar on standard error.

    Raises:
        UsageError: an option is wrong, or the target is in the way.
        DataError: a folder cannot be read, or does not hold the data set it should.
        WeightsError: landmarks are wanted, and dlib or its file is not there.
        NothingToDoError: no photo, or every one was rejected.
    """
    detector, parser = options.backends.finder(), options.backends.map_maker()
    data = catalog.open_source(options.source, options.images, options.mode, options.crop)
    if options.holdout and data.splits:
        raise UsageError(f"--holdout: {options.source} is split into {', '.join(data.splits)} already")
    labels = Path(options.labels) if options.labels else data.labels if not options.parser else None
    photos = _photos(data, options)
    if options.holdout and options.holdout >= len(photos.names) and not options.shard:
        there = counted(len(photos.names), "photo")
        raise UsageError(f"--holdout {options.holdout} leaves no face for training, of {there}")
    maker = FaceMaker(
        images=data.images,
        labels=labels,
        crop=options.crop,
        size=options.size,
        scales=tuple(options.scales),
        margin=options.margin,
        min_box=options.min_box,
        detector=detector,
        parser=parser,
        landmarks=options.landmarks,
        surround=options.surround,
    )
    settings = _settings(options, data, labels, photos)
    stores = shapes(options.size, tuple(options.scales), options.landmarks, options.surround)
    with FaceLMDBWriter(options.target, settings, stores, options.overwrite) as writer:
        if options.sheet:
            _draw(options, maker, photos.names)
        for clash in photos.clashes:
            if clash["file"] not in writer.done:
                writer.add(clash)
        for outcome, images in _made(writer, maker, photos.names, options.workers, progress):
            kept = {"key": key_of(outcome["file"]), "split": data.split_of(outcome["file"])}
            add(writer, outcome if images is None else {**outcome, **kept}, images)
        return finish(writer, settings, partial=options.partial)


def _draw(options: PrepareOptions, maker: FaceMaker, names: list[str]) -> None:
    path = sheet_path(options.target)
    write_sheet(path, maker, names, options.sheet)
    print(f"{path}: {counted(min(options.sheet, len(names)), 'photo')}", flush=True)


class Photos(NamedTuple):
    """Photos to work on. ``names``: in the order of their keys, all different; ``clashes``: outcomes of the other files."""

    names: list[str]
    clashes: list[dict]


def _photos(data: catalog.PhotoSource, options: PrepareOptions) -> Photos:
    """The photos of a data set, or of one shard of it. Their names are all that is kept in memory of each."""
    shard, names, clashes = options.shard, [], []
    own = os.path.abspath(sheet_path(options.target))  # may lie among the photos
    for name in data.scan(options.partial):
        if os.path.abspath(data.images / name) == own:
            continue
        key = key_of(name)
        if shard and not shard.holds(key):
            continue
        if len(key) > MAX_KEY_BYTES:
            clashes.append({"file": name, "reason": "name too long", "detail": f"{len(key)} bytes"})
        else:
            names.append(name)
    for name, why in data.passed:
        if not shard or shard.holds(key_of(name)):
            clashes.append({"file": name, "reason": "passed over", "detail": why})
    names.sort(key=lambda name: (key_of(name), os.path.splitext(name)[1].lower() not in suffixes(), name))  # JPEG before its RAW
    different: list[str] = []
    for name in names:
        if different and key_of(different[-1]) == key_of(name):
            clashes.append({"file": name, "reason": "same name", "detail": f"as {different[-1]}"})
        else:
            different.append(name)
    return Photos(different, clashes)


def key_of(name: str) -> str:
    """The LMDB key of a photo: its stem, with all but ASCII letters, digits, ``-`` and ``_`` written as ``~hex~``.

    BasicSR cuts key lists at dots and white space, and encodes keys as ASCII.
    """
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f"~{ord(match[0]):x}~", stem(os.path.basename(name)))


def _settings(options: PrepareOptions, data: catalog.PhotoSource, labels: Path | None, photos: Photos) -> dict:
    """Everything that decides the content of the set. Part of the manifest, and what a continued run must agree on."""
    backends = options.backends.record()
    if labels:
        backends["parser"]["name"] = "labels"
    settings = {
        "source": _listing(data.images, ([data.images / name] for name in photos.names)),
        "labels": _listing(labels, (label_files(labels, name) for name in photos.names)) if labels else None,
        "crop": _crop_rule(options),
        "kernel": "PIL bicubic",
        **backends,
        "size": options.size,
        "scales": list(options.scales),
        "holdout": options.holdout,
    }
    if options.landmarks:
        faces = backends["faces"]
        source = faces["landmarker"] if "landmarker" in faces else faces["landmarks_file"]
        settings["landmarks"] = {"points": landmarks.NUM_POINTS, "sha256": source["sha256"]}
    if options.surround:
        settings["surround"] = options.surround
    if data.record:
        settings["dataset"] = data.record
    if options.shard:
        settings["shard"] = {"index": options.shard.index, "count": options.shard.count}
    return settings


def _crop_rule(options: PrepareOptions) -> dict:
    rule: dict = {"rule": options.crop}
    if options.crop == "landmarks":
        rule["margin"] = options.margin
    if options.backends.needs_face:
        rule["min_face"] = options.min_box  # as older sets have it
    return rule


def _listing(folder: Path, files: Iterable[Iterable[Path]]) -> dict:
    """A folder's name and what identifies its content without reading it.

    That is the sum, modulo 2^256, of the SHA-256 of a line ``name size`` for each file: a sum, so that shards can be added.
    """
    count = total = 0
    try:
        os.scandir(folder).close()
        for path in (path for paths in files for path in paths):
            line = f"{path.relative_to(folder)} {_size(path)}\n"
            total += int.from_bytes(hashlib.sha256(line.encode("utf-8", "surrogateescape")).digest(), "big")
            count += 1
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror}") from error
    return {"folder": Path(folder).resolve().name, "files": count, "listing_sha256": f"{total % 2**256:064x}"}


def _size(path: Path) -> int:
    """Bytes of a file, 0 where a link leads nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _made(writer: FaceLMDBWriter, maker: FaceMaker, names: list[str], workers: int | None, progress: bool) -> Iterator[tuple]:
    """Runs all photos that no earlier run has done, in the order of keys."""
    left = [name for name in names if name not in writer.done] if len(writer.done) else names
    bar = tqdm(total=len(names), initial=len(names) - len(left), unit="photo", disable=not progress, file=sys.stderr)
    with bar:
        for outcome, images in _results(maker, left, workers):
            bar.update()
            yield outcome, images


def _results(maker: FaceMaker, names: list[str], workers: int | None) -> Iterator[tuple]:
    """PhotoIndex of the photos in their order, whatever the number of workers."""
    if workers is None:
        workers = shared_processors() if len(names) >= _WORTH_WORKERS else 1
    if workers == 1:
        yield from map(maker.make, names)
        return
    context = _worker_context()
    pool = ProcessPoolExecutor(workers, context, start_worker, (maker,))
    waiting: deque = deque()
    try:
        for name in names:
            waiting.append(pool.submit(run_worker, name))
            if len(waiting) >= workers * _IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WNetError("a worker process died (out of memory?): the same command continues, try --workers 1") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _worker_context() -> multiprocessing.context.BaseContext:
    """How worker processes start: from a clean server process, or each anew. A plain fork would inherit OpenCV's threads.

    The server imports torch once, for all workers.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wnet_arch.prepare.face_maker"])
    return context
