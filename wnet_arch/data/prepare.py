"""Makes a face set from a folder of photos: ``wnet prepare``."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from wnet_arch import weights
from wnet_arch.data.face_lmdb import MAX_KEY_BYTES
from wnet_arch.data.face_lmdb_writer import FaceLMDBWriter
from wnet_arch.data.face_maker import CROPS, PARSERS, FaceMaker, run_worker, shapes, start_worker
from wnet_arch.data.photos import SUFFIXES
from wnet_arch.errors import DataError, NothingToDoError, UsageError, WNetError
from wnet_arch.faces import landmarks

#: Photos in the hands of one worker at a time; bounds what waits in memory.
_IN_FLIGHT = 16
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
    min_face: int = 64
    overwrite: bool = False
    offline: Path | None = None

    def __post_init__(self):
        for name, value, known in (("crop", self.crop, CROPS), ("parser", self.parser, (None, *PARSERS))):
            if value not in known:
                raise UsageError(f"--{name} {value}: known are {', '.join(k for k in known if k)}")
        if self.labels and self.parser:
            raise UsageError("--labels and --parser exclude each other")
        bad = [scale for scale in self.scales if scale < 2 or self.size % scale]
        if self.size < 8 or bad or not self.scales or len(set(self.scales)) < len(self.scales):
            raise UsageError(f"--size {self.size} cannot be reduced by --scales {' '.join(map(str, self.scales))}")
        if self.holdout < 0 or (self.workers or 1) < 1 or self.min_face < 1 or not 1 <= self.margin <= 10:
            raise UsageError("--holdout must be 0 or more, --workers and --min-face 1 or more, --margin within 1..10")

    @property
    def needs_landmarks(self) -> bool:
        """Whether a photo without a face is of no use."""
        return "landmarks" in (self.crop, self.parser)

    @property
    def wants_landmarks(self) -> bool:
        """Whether faces have to be looked for in the photos."""
        return self.landmarks or self.needs_landmarks


@dataclass(frozen=True)
class PrepareSummary:
    """What came of it.

    ``counts``: images by split (``""`` without ``--holdout``). ``rejected``: photos with reasons. ``enlarged`` and
    ``without_landmarks``: how many of the images had a smaller crop, and have no landmarks though they were asked for.
    """

    target: Path
    counts: dict[str, int]
    rejected: list[dict]
    enlarged: int
    without_landmarks: int = 0

    def lines(self, first: int = 5) -> list[str]:
        """The summary for people: one line a set, one line a reason with the ``first`` few names."""
        lines = [f"{self.target / split}: {count} faces" for split, count in self.counts.items()]
        if self.enlarged:
            lines.append(f"{self.enlarged} of them were enlarged: their crop is smaller than the HR image")
        if self.without_landmarks:
            lines.append(f"{self.without_landmarks} of them have no landmarks: no face was found")
        for reason, count in sorted(Counter(r["reason"] for r in self.rejected).items()):
            names = [r["file"] for r in self.rejected if r["reason"] == reason]
            more = ", ..." if count > first else ""
            lines.append(f"rejected, {reason}: {count} ({', '.join(names[:first])}{more})")
        return lines


def prepare(options: PrepareOptions, progress: bool = True) -> PrepareSummary:
    """Makes the set. Can be interrupted at any time; the same call continues.

    Args:
        options: see :class:`PrepareOptions`.
        progress: show a progress bar on standard error.

    Raises:
        UsageError: an option is wrong, or the target is in the way.
        DataError: a folder cannot be read.
        WeightsError: landmarks are wanted, and dlib or its file is not there.
        NothingToDoError: no photo, or every one was rejected.
    """
    detector = None
    if options.wants_landmarks:
        detector = landmarks.LandmarkDetector(offline=options.offline)
    photos, clashes = _photos(options.images)
    maker = FaceMaker(
        images=Path(options.images),
        labels=Path(options.labels) if options.labels else None,
        crop=options.crop,
        size=options.size,
        scales=tuple(options.scales),
        margin=options.margin,
        min_face=options.min_face,
        detector=detector,
        parser=options.parser,
        landmarks=options.landmarks,
    )
    settings = _settings(options, photos)
    splits = ("train", "val") if options.holdout else ("",)
    stores = shapes(options.size, tuple(options.scales), options.landmarks)
    with FaceLMDBWriter(options.out, settings, stores, splits, options.overwrite) as writer:
        for clash in clashes:
            if clash["file"] not in writer.done:
                writer.add(clash)
        _fill(writer, maker, photos, options, progress)
        writer.flush()
        summary = _summary(writer, options)
        if not min(summary.counts.values()):
            writer.discard()
            if any(summary.counts.values()):
                raise UsageError(f"--holdout {options.holdout} leaves no face for training")
            raise NothingToDoError("; ".join(["no photo could be used", *summary.lines()[len(splits) :]]))
        writer.finish(_manifests(settings, summary, writer.done.values()))
    return summary


def _photos(folder: Path) -> tuple[dict[str, str], list[dict]]:
    """Photos of a folder, key to file name in the order of keys, and the outcomes of those whose key is taken."""
    try:
        names = sorted(e.name for e in os.scandir(folder) if e.is_file() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    names = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    if not names:
        raise NothingToDoError(f"{folder} holds no photo (sub-folders are not searched)")
    photos: dict[str, str] = {}
    clashes = []
    for name in names:
        key = key_of(name)
        if len(key) > MAX_KEY_BYTES:
            clashes.append({"file": name, "reason": "name too long", "detail": f"{len(key)} bytes"})
        elif key in photos:
            clashes.append({"file": name, "reason": "same name", "detail": f"as {photos[key]}"})
        else:
            photos[key] = name
    return dict(sorted(photos.items())), clashes


def key_of(name: str) -> str:
    """The LMDB key of a photo: its stem, with all but ASCII letters, digits, ``-`` and ``_`` written as ``~hex~``.

    BasicSR cuts key lists at dots and white space, and encodes keys as ASCII.
    """
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f"~{ord(match[0]):x}~", Path(name).stem)


def _settings(options: PrepareOptions, photos: dict[str, str]) -> dict:
    """Everything that decides the content of the set. Part of the manifest, and what a continued run must agree on."""
    parser = {"name": options.parser or ("labels" if options.labels else "none"), "sha256": None}
    if options.needs_landmarks:
        parser["sha256"] = weights.entry(landmarks.WEIGHTS).sha256
    settings = {
        "source": _listing(options.images, photos.values()),
        "labels": _listing(options.labels, None) if options.labels else None,
        "crop": _crop_rule(options),
        "kernel": "PIL bicubic",
        "parser": parser,
        "size": options.size,
        "scales": list(options.scales),
        "holdout": options.holdout,
    }
    if options.landmarks:  # no entry otherwise, so that sets begun by earlier versions can be continued
        settings["landmarks"] = {"points": landmarks.NUM_POINTS, "sha256": weights.entry(landmarks.WEIGHTS).sha256}
    return settings


def _crop_rule(options: PrepareOptions) -> dict:
    rule: dict = {"rule": options.crop}
    if options.crop == "landmarks":
        rule["margin"] = options.margin
    if options.needs_landmarks:
        rule["min_face"] = options.min_face
    return rule


def _listing(folder: Path, names: Iterable[str] | None) -> dict:
    """A folder's name and what identifies its content without reading it: SHA-256 of the lines ``name size``."""
    try:
        names = list(names) if names is not None else sorted(os.listdir(folder))
        lines = "".join(f"{name} {os.path.getsize(os.path.join(folder, name))}\n" for name in names)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    return {"folder": Path(folder).resolve().name, "files": len(names), "listing_sha256": digest}


def _fill(writer: FaceLMDBWriter, maker: FaceMaker, photos: dict, options: PrepareOptions, progress: bool) -> None:
    """Runs all photos that no earlier run has done, in the order of keys, and hands them to the writer.

    The last ``holdout`` kept photos are known only at the end, so that many are held back in memory.
    """
    keys = {name: key for key, name in photos.items()}
    seen = {outcome["digest"]: outcome["file"] for outcome in writer.done.values() if "digest" in outcome}
    held_back: deque[tuple[dict, dict]] = deque()
    left = [name for name in photos.values() if name not in writer.done]
    done = len(photos) - len(left)
    first_split, last_split = writer.splits[0], writer.splits[-1]
    bar = tqdm(total=len(photos), initial=done, unit="photo", disable=not progress, file=sys.stderr)
    with bar:
        for outcome, images in _results(maker, left, options.workers):
            bar.update()
            twin = seen.setdefault(outcome["digest"], outcome["file"]) if images else outcome["file"]
            if twin != outcome["file"]:
                outcome = {"file": outcome["file"], "reason": "duplicate", "detail": f"of {twin}"}
                images = None
            if images is None:
                writer.add(outcome)
                continue
            held_back.append(({**outcome, "key": keys[outcome["file"]]}, images))
            if len(held_back) > options.holdout:
                outcome, images = held_back.popleft()
                writer.add(outcome, first_split, images)
        for outcome, images in held_back:
            writer.add(outcome, last_split, images)


def _results(maker: FaceMaker, names: list[str], workers: int | None) -> Iterator[tuple]:
    """Outcomes of the photos in their order, whatever the number of workers."""
    if workers is None:
        workers = os.cpu_count() or 1 if len(names) >= _WORTH_WORKERS else 1
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
    context.set_forkserver_preload(["wnet_arch.data.face_maker"])
    return context


def _summary(writer: FaceLMDBWriter, options: PrepareOptions) -> PrepareSummary:
    kept = [outcome for outcome in writer.done.values() if "key" in outcome]
    rejected = [
        {field: outcome[field] for field in ("file", "reason", "detail")}
        for outcome in sorted(writer.done.values(), key=lambda outcome: outcome["file"])
        if "key" not in outcome
    ]
    counts = {split: sum(outcome["split"] == split for outcome in kept) for split in writer.splits}
    return PrepareSummary(
        Path(options.out),
        counts,
        rejected,
        enlarged=sum(o["side"] < options.size for o in kept),
        without_landmarks=_without_landmarks(kept),
    )


def _without_landmarks(outcomes: Iterable[dict]) -> int:
    return sum(not outcome.get("landmarks", True) for outcome in outcomes)


def _manifests(settings: dict, summary: PrepareSummary, outcomes: Iterable[dict]) -> dict[str, dict]:
    """One manifest a set, and one around them where there are splits."""
    splits = dict.fromkeys(["", *summary.counts])
    outcomes = sorted((o for o in outcomes if "key" in o), key=lambda o: o["key"])
    manifests = {}
    for split in splits:
        kept = [o for o in outcomes if split in ("", o["split"])]
        lines = "".join(f"{o['key']} {o['digest']}\n" for o in kept)
        manifests[split] = {
            "split": split or None,
            "count": len(kept),
            "counts": {name or "all": count for name, count in summary.counts.items()},
            **settings,
            "photos_sha256": hashlib.sha256(lines.encode()).hexdigest(),
            "enlarged": sum(o["side"] < settings["size"] for o in kept),
            **({"without_landmarks": _without_landmarks(kept)} if "landmarks" in settings else {}),
            "rejected": summary.rejected,
        }
    return manifests
