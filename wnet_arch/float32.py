"""float32 that is float32 on GPUs, too: there, convolutions take TF32, with 10 bits of 23, unless they are told not to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from wnet_arch.held import Held


@contextmanager
def true_float32() -> Iterator[None]:
    """Convolutions and matrix products in whole float32, for numbers that are compared: in all threads, as long as one is in here.
    The settings are then what they were.
    """
    with _HELD():
        yield


@contextmanager
def _whole() -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        before = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:  # set by torch's newer names (2.9), which do not mix with these
        places: tuple[Any, ...] = (matmul, getattr(cudnn, "conv"), cudnn.rnn)  # noqa: B009 - torch's types do not know conv
        newer = [place.fp32_precision for place in places]
        try:
            for place in places:
                place.fp32_precision = "ieee"
            yield
        finally:
            for place, value in zip(places, newer):
                place.fp32_precision = value
        return
    try:
        cudnn.allow_tf32 = False
        if before[1] != "highest":
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        cudnn.allow_tf32 = before[0]
        if before[1] != "highest":
            torch.set_float32_matmul_precision(before[1])


_HELD = Held(_whole)
