"""Runs of ``wnet prepare`` that are killed at random moments, for several test files."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest

from wnet_arch.prepare import face_lmdb_writer, face_maker
from wnet_arch.prepare.photo_index import PhotoIndex

#: Photos a commit in the killed runs; the run that continues them must have the same.
BATCH = 4

needs_sigkill = pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL")


def _slowed(work: Callable[[Path], None], folder: Path) -> None:
    """In the process to be killed: small batches, slow photos, and a byte in the file ``ticks`` for each."""
    face_lmdb_writer.BATCH = BATCH
    make = face_maker.FaceMaker.make

    def slow_make(self, name):
        time.sleep(0.01)
        with open(folder / "ticks", "ab") as ticks:
            ticks.write(b".")
        return make(self, name)

    face_maker.FaceMaker.make = slow_make
    work(folder)


def clean_processes() -> BaseContext:
    """Starts processes from a clean server, where a fork of this one would inherit OpenCV's threads and might hang."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["wnet_arch.prepare.face_maker"])
    return context


def kill_and_look(work: Callable[[Path], None], folder: Path, target: Path, kills: int, seed: int) -> set[str]:
    """Runs ``work(folder)``, kills it after a random number of photos, and again as often as asked.

    ``work`` must be a function of a module. Checks: nothing bears the set's name after a kill, photos on the disk stay.

    Returns:
        Names of the photos on the disk after the last kill.
    """
    choose = random.Random(seed)
    context = clean_processes()
    ticks, stored = folder / "ticks", set()
    for _ in range(kills):
        ticks.write_bytes(b"")
        child = context.Process(target=_slowed, args=(work, folder))
        child.start()
        moment = choose.randint(BATCH + 1, 3 * BATCH)
        deadline = time.monotonic() + 90
        while ticks.stat().st_size < moment and child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(choose.uniform(0, 0.03))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert ticks.stat().st_size >= moment, "the run ended, or hung, before it could be killed"
        assert not target.exists()
        before, stored = stored, stored_photos(target)
        assert before < stored
    ticks.unlink()
    return stored


def stored_photos(target: Path) -> set[str]:
    """Names of the photos that an unfinished set has on the disk."""
    table = PhotoIndex(target.with_name(f"{target.name}.partial") / "work" / "outcomes", readonly=True)
    names = {outcome["file"] for outcomes in (table.kept(), table.rejected()) for outcome in outcomes}
    table.close()
    return names
