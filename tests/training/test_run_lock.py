"""Two trainings never write into one folder; whatever ends the first, the next one may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_train_command import run_options, write_options
from tests.conftest import PATIENCE
from wnet_arch.errors import WNetError
from wnet_arch.training import run_lock

HOLDER = """
import sys
from wnet_arch.training import run_lock
run_lock.take(sys.argv[1])
run_lock.take(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
if len(sys.argv) > 2:
    run_lock.release()
    print("released", flush=True)
    sys.stdin.readline()
"""
pytestmark = pytest.mark.skipif(run_lock.fcntl is None, reason="Windows has no such locks")


def holder(folder: Path, *more: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), *more], stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_is_held_until_its_process_ends(tmp_path):
    folder = tmp_path / "experiments" / "run"
    first = holder(folder)
    with pytest.raises(WNetError, match=rf"process {first.pid} is training into .*experiments/run; wait"):
        run_lock.take(folder)
    run_lock.take(folder.with_name("other"))  # another run in the same place
    run_lock.release()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    run_lock.take(folder)
    run_lock.release()
    assert not list(folder.parent.glob(".*.lock"))


def test_a_released_folder_is_free(tmp_path):
    first = holder(tmp_path / "run", "release")
    first.stdin.write("\n")
    first.stdin.flush()
    assert first.stdout.readline() == "released\n"
    second = holder(tmp_path / "run")
    for process in (first, second):
        process.communicate("\n")
        assert process.returncode == 0


def test_the_second_of_two_trainings_is_refused_and_the_first_goes_on(face_set, tmp_path):
    opt = run_options(face_set)
    opt["train"]["total_iter"] = 10**6
    file = write_options(tmp_path / "tiny.yml", opt)
    command = [sys.executable, "-m", "wnet_arch.cli.basicsr", "train", "-opt", file]
    experiments = tmp_path / "experiments"
    with open(tmp_path / "first.txt", "w") as out:
        first = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, start_new_session=True)
    try:
        began = time.monotonic()
        while not list(experiments.glob("tiny/log.jsonl")):
            assert first.poll() is None, (tmp_path / "first.txt").read_text()
            assert time.monotonic() - began < PATIENCE
            time.sleep(0.05)
        for more in ([], ["--auto_resume"]):
            second = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
            assert second.returncode == 2, second.stderr
            assert f"process {first.pid} is training into" in second.stderr.splitlines()[-1]
        assert sorted(path.name for path in experiments.iterdir()) == [".tiny.lock", "tiny"]
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
