"""Settings of the whole process, where several threads need them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import torch

from wnet_arch.faces.inference import one_thread
from wnet_arch.float32 import true_float32


def overlapping(settings, read) -> list:
    """Two threads: the first enters, then the second; the first leaves while the second is still in there. What each reads inside,
    the second again when it is alone, and what a third one reads behind them."""
    found, second_is_in, first_is_out = [], Event(), Event()

    def first():
        with settings():
            found.append(read())
            entered.wait(60)
            assert second_is_in.wait(60)
        first_is_out.set()
        return read()

    def second():
        entered.wait(60)
        with settings():
            found.append(read())
            second_is_in.set()
            assert first_is_out.wait(60)
            found.append(read())
        return read()

    entered = Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        after = [future.result() for future in [threads.submit(first), threads.submit(second)]]
    with ThreadPoolExecutor(1) as threads:
        return [found, [*after, threads.submit(read).result(), read()]]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_threads_that_compute_faces_at_a_time_leave_the_count_as_it_was(threads):
    inside, behind = overlapping(lambda: one_thread("cpu"), torch.get_num_threads)
    assert inside == [1, 1, 1]
    assert behind == [4, 4, 4, 4]
    with one_thread("cpu"), one_thread("cpu"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4
    with one_thread("cuda"):
        assert torch.get_num_threads() == 4
        assert torch.is_inference_mode_enabled()


def test_float32_stays_float32_until_the_last_thread_has_computed(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    inside, behind = overlapping(true_float32, lambda: torch.backends.cudnn.allow_tf32)
    assert inside == [False, False, False]
    assert behind[2:] == [True, True]
