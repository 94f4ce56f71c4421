"""Memory that tensors free is kept for the next ones."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from basicsr.models import build_model

from tests.conftest import PATIENCE
from tests.models.test_models import options
from wnet_arch.models import face_sr_model
from wnet_arch.training import memory

FAULTS = """
import resource, sys
import torch
from wnet_arch.training.memory import reuse_freed_memory

if sys.argv[1] == "keep":
    assert reuse_freed_memory()

def step():
    maps = [torch.ones(16 * 2**20) for _ in range(3)]  # 64 MiB each
    return maps[0].sum() + maps[2].sum()

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(what: str) -> int:
    found = subprocess.run([sys.executable, "-c", FAULTS, what], capture_output=True, text=True, check=True, timeout=PATIENCE)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_most_steps_need_no_new_pages():
    given_back = page_faults("give back")
    assert given_back > 10 * 3 * 64 * 2**20 / 2**21  # with the largest pages there are
    assert page_faults("keep") < given_back / 4  # the first steps still find places for all, between what else is in use


def test_other_c_libraries_are_left_alone(monkeypatch):
    class Other:
        def __init__(self, name):
            pass

    monkeypatch.setattr(memory.ctypes, "CDLL", Other)
    assert memory.reuse_freed_memory() is False


@pytest.mark.parametrize("asked", [None, True, False])
def test_training_on_a_cpu_keeps_memory_unless_told_otherwise(tmp_path, monkeypatch, asked):
    calls = []
    monkeypatch.setattr(face_sr_model, "reuse_freed_memory", lambda: calls.append(1))
    build_model(options(tmp_path, "FaceSRModel", **({} if asked is None else {"reuse_memory": asked})))
    assert len(calls) == (asked is not False)
