"""Runs a benchmark: finds out what is missing, has it done by one or several processes, and collects the values."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from wnet_arch.benchmark import work
from wnet_arch.benchmark.cache import Cache
from wnet_arch.benchmark.measures import columns
from wnet_arch.benchmark.work import BenchmarkJob, Need, Task
from wnet_arch.data.face_parsing_dataset import decode_rgb
from wnet_arch.errors import WNetError
from wnet_arch.inference.sources import Folder, Source
from wnet_arch.weights.hashing import digest

#: Faces of a task.
CHUNK = 16


@dataclass
class Run:
    """What a run found. ``values``: (set, scale, source name) to an array (faces, columns), NaN = not measurable."""

    values: dict[tuple[str, int, str], np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    wall: float = 0.0
    computed: int = 0
    reused: int = 0


class Index:
    """Hashes of all faces of a job, worked out once."""

    def __init__(self, job: BenchmarkJob, cache: Cache):
        self.job, self.cache = job, cache
        self.gt: dict[tuple[int, str], str] = {}
        self.lq: dict[tuple[int, int, str], str] = {}
        self._folder: dict[tuple[int, int, str], str] = {}

    def read(self, scales: list[int]) -> None:
        """Reads every HR and LR face once."""
        for number, test_set in enumerate(self.job.sets):
            for key in tqdm(test_set.keys, desc=f"reading {test_set.name}", unit="face", leave=False):
                hr = test_set.hr(key)
                self.gt[number, key] = digest(hr)
                for scale in scales:
                    self.lq[number, scale, key] = digest(test_set.lr(key, scale, hr))

    def sr(self, number: int, source: int, key: str) -> str | None:
        """Digest of a source's SR image, if there is one."""
        found = self.job.sources[source]
        if isinstance(found, Folder):
            return self._folder_digest(number, source, key)
        return self.cache.sr_digest(found.fingerprint, self.lq[number, found.scale, key])

    def _folder_digest(self, number: int, source: int, key: str) -> str:
        known = (number, source, key)
        if known not in self._folder:
            restore = self.job.sources[source].load(self.job.sets[number], "cpu", 1)
            for name, image in zip(self.job.sets[number].keys, restore([], self.job.sets[number].keys)):
                self._folder[number, source, name] = digest(image)
        return self._folder[known]


def tasks(index: Index, scales: list[int]) -> Iterator[Task]:
    """What is missing in the cache, a few faces at a time. Where some of a task's faces are missing, all of them are done."""
    job = index.job
    for number, test_set in enumerate(job.sets):
        for scale in scales:
            fitting = [i for i, source in enumerate(job.sources) if source.scale == scale]
            for start in range(0, len(test_set.keys), CHUNK):
                keys = tuple(test_set.keys[start : start + CHUNK])
                needs = tuple(filter(None, (_need(index, number, s, keys) for s in fitting)))
                if needs:
                    lq = tuple(index.lq[number, scale, key] for key in keys)
                    yield Task(number, scale, keys, lq, tuple(index.gt[number, key] for key in keys), needs)


def _need(index: Index, number: int, source: int, keys: tuple[str, ...]) -> Need | None:
    found = index.job.sources[source]
    srs = [sr for sr in (index.sr(number, source, key) for key in keys) if sr is not None]
    if len(srs) < len(keys):
        return Need(source, (), tuple((i, measure.fingerprint(found.scale)) for i, measure in enumerate(index.job.measures)))
    missing = []
    for i, measure in enumerate(index.job.measures):
        name = measure.fingerprint(found.scale)
        known = (index.cache.values(sr, index.gt[number, key], name) for sr, key in zip(srs, keys))
        if not all(known):
            missing.append((i, name))
    if not missing:
        return None
    if isinstance(found, Folder):
        return Need(source, (), tuple(missing))
    kept = (index.cache.sr_png(found.fingerprint, index.lq[number, found.scale, key]) for key in keys)
    pngs = tuple(png for png in kept if png is not None)
    return Need(source, pngs if len(pngs) == len(keys) else (), tuple(missing))


def run(job: BenchmarkJob, scales: list[int], out: str | os.PathLike, workers: int = 1) -> Run:
    """Measures everything that the cache in ``out`` does not know yet.

    Args:
        workers: processes; the values do not depend on it.

    Raises:
        DataError: images cannot be read, do not fit, or come out as numbers that are none.
        WNetError: a process died, or the cache cannot be written.
    """
    begin = time.perf_counter()
    found = Run()
    work.start(job)
    try:
        with Cache(out) as cache:
            index = Index(job, cache)
            for source in job.sources:
                for test_set in job.sets:
                    source.check(test_set)
            index.read(scales)
            missing = list(tasks(index, scales))
            pairs = sum(len(s.keys) for s in job.sets) * len(job.sources)
            found.computed = sum(task.size for task in missing)
            found.reused = pairs - found.computed
            with tqdm(total=pairs, initial=found.reused, desc="faces x networks", unit="face", smoothing=0.05) as bar:
                for done in _performed(missing, job, workers):
                    cache.store(done.images, done.values)
                    for what, seconds in done.seconds.items():
                        found.seconds[what] = found.seconds.get(what, 0) + seconds
                    bar.update(done.size)
            found.values = _collect(index)
    finally:
        work.end()
    found.wall = time.perf_counter() - begin
    return found


def _performed(missing: list[Task], job: BenchmarkJob, workers: int) -> Iterator[work.Done]:
    workers = min(workers, len(missing))
    if workers <= 1:
        yield from map(work.perform, missing)
        return
    pickle.dumps(job)  # says what is wrong here rather than in a dying process
    context = multiprocessing.get_context("spawn")  # torch and CUDA do not survive a fork
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=work.start_worker, initargs=(job,))
    try:
        yield from _as_done(pool, missing, workers)
    except BrokenProcessPool as error:
        hint = "perhaps for lack of memory: run again with fewer --workers; what is done is kept"
        raise WNetError(f"a worker process died, {hint}") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _as_done(pool, missing: list[Task], workers: int) -> Iterator[work.Done]:
    """Keeps two tasks a process in flight: tasks may hold images, so not all of them are sent at once."""
    waiting: set[Future] = set()
    todo = iter(missing)
    while True:
        while len(waiting) < 2 * workers and (task := next(todo, None)) is not None:
            waiting.add(pool.submit(work.perform, task))
        if not waiting:
            return
        ready, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in ready:
            yield future.result()


def _collect(index: Index) -> dict[tuple[str, int, str], np.ndarray]:
    job, found = index.job, {}
    for number, test_set in enumerate(job.sets):
        for i, source in enumerate(job.sources):
            wanted = columns(job.measures, source.scale)
            table = np.full((len(test_set.keys), len(wanted)), np.nan)
            for row, key in enumerate(test_set.keys):
                values = _values(index, number, i, key)
                table[row] = [values[column.measure][column.key] for column in wanted]
            found[test_set.name, source.scale, source.name] = table
    return found


def _values(index: Index, number: int, source: int, key: str) -> list[dict[str, float]]:
    sr, gt = index.sr(number, source, key), index.gt[number, key]
    if sr is None:
        name = index.job.sources[source].name
        raise WNetError(f"{Path(index.cache.path)} has no image of {key} by {name} any more: run the benchmark again")
    scale = index.job.sources[source].scale
    return [index.cache.values(sr, gt, measure.fingerprint(scale)) for measure in index.job.measures]


def sr_faces(cache: Cache, source: Source, test_set, keys: list[str]) -> dict[str, np.ndarray]:
    """SR faces that a run has made, from its cache; of folders, from the folder.

    Raises:
        WNetError: the cache does not have them.
    """
    if isinstance(source, Folder):
        return dict(zip(keys, source.load(test_set, "cpu", 1)([], keys)))
    found = {}
    for key in keys:
        png = cache.sr_png(source.fingerprint, digest(test_set.lr(key, source.scale)))
        if png is None:
            raise WNetError(f"{Path(cache.path)} has no image of {key} by {source.name} any more: run the benchmark again")
        found[key] = decode_rgb(png, key)
    return found
