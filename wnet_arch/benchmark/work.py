"""The work on a few faces: SR images and metric values that are not in the cache yet. Runs in the main or in another process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from wnet_arch.benchmark.measures import Measure
from wnet_arch.data.face_lmdb import encode_png
from wnet_arch.data.face_parsing_dataset import decode_rgb
from wnet_arch.inference.sources import Source
from wnet_arch.inference.test_sets import TestSet
from wnet_arch.weights.hashing import digest


@dataclass(frozen=True)
class BenchmarkJob:
    """What a process needs to know once."""

    sets: list[TestSet]
    sources: list[Source]
    measures: list[Measure]
    device: str
    batch: int


@dataclass(frozen=True)
class Need:
    """What is missing of one source: SR images, if ``pngs`` is empty, and measures: indices and their fingerprints."""

    source: int
    pngs: tuple[bytes, ...]
    measures: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Task:
    """Faces of one set at one scale. ``lq`` and ``gt`` are the digests of the faces."""

    test_set: int
    scale: int
    keys: tuple[str, ...]
    lq: tuple[str, ...]
    gt: tuple[str, ...]
    needs: tuple[Need, ...]

    @property
    def size(self) -> int:
        """Faces times sources: what the progress bar counts."""
        return len(self.keys) * len(self.needs)


@dataclass
class Done:
    """Rows for the cache, and processor time by what it was spent on."""

    images: list[tuple]
    values: list[tuple]
    seconds: dict[str, float]
    size: int


_job: BenchmarkJob | None = None


def start(job: BenchmarkJob) -> None:
    """Prepares a process. One thread each: the number of threads changes the last digits of sums, that of processes must not."""
    global _job
    _job = job
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _running() -> BenchmarkJob:
    if _job is None:
        raise RuntimeError("start() prepares a process before it performs tasks")
    return _job


def end() -> None:
    """Lets go of the job, and with it of the LMDBs, which a process can open only once."""
    global _job
    _job = None


def start_worker(job: BenchmarkJob) -> None:
    """Prepares a worker process, which ends when it is interrupted or when the process that started it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    start(job)


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)


def perform(task: Task) -> Done:
    """Does a task.

    Raises:
        DataError: an image cannot be read, or a network makes numbers that are none.
    """
    job = _running()
    test_set = job.sets[task.test_set]
    hr = [test_set.hr(key) for key in task.keys]
    done = Done([], [], {}, task.size)
    described: dict[int, object] = {}
    for need in task.needs:
        source = job.sources[need.source]
        begin = time.process_time()
        sr = _faces(task, need, source, test_set, hr)
        digests = [digest(image) for image in sr]
        if not need.pngs and source.fingerprint:
            rows = zip(task.lq, digests, sr)
            done.images += [(source.fingerprint, lq, found, encode_png(image)) for lq, found, image in rows]
        _spent(done, source.name, begin)
        for index, fingerprint in need.measures:
            begin = time.process_time()
            measure = job.measures[index]
            done.values += _measure(measure.create(task.scale), (index, fingerprint), task, sr, hr, digests, described)
            _spent(done, measure.protocol or measure.metric, begin)
    return done


def _spent(done: Done, what: str, begin: float) -> None:
    done.seconds[what] = done.seconds.get(what, 0) + time.process_time() - begin


def _faces(task: Task, need: Need, source: Source, test_set: TestSet, hr: list[np.ndarray]) -> list[np.ndarray]:
    if need.pngs:
        return [decode_rgb(png, key) for png, key in zip(need.pngs, task.keys)]
    lqs = [test_set.lr(key, task.scale, image) for key, image in zip(task.keys, hr)]
    return source.load(test_set, _running().device, _running().batch)(lqs, task.keys)


def _measure(metric, measure: tuple[int, str], task: Task, sr, hr, digests, described: dict) -> list[tuple]:
    """Rows (sr, gt, metric, name, value). The HR faces are described once for all networks."""
    index, name = measure
    if index not in described:
        described[index] = metric.describe(hr)
    found = metric.compare(metric.describe(sr, described[index]), described[index])
    return [(digests[i], task.gt[i], name, key, float(values[i])) for key, values in found.items() for i in range(len(task.keys))]
