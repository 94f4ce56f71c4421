"""How the C library hands out memory, where that decides about speed."""

from __future__ import annotations

import ctypes

#: Parameters of glibc's mallopt (malloc.h), and the largest value they take.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -1, -3, 2**31 - 1


def reuse_freed_memory() -> bool:
    """Lets this process keep memory that tensors on the CPU free, for the tensors of the next step.

    glibc returns a freed block of more than 32 MiB to the system at once, and the system clears the pages of the next one anew.
    A training step of the paper-size W-Net, whose feature maps have 256 MiB, spends half its time so. The price: the process may
    hold more than it ever used at a time, since free places between used ones stay with it.

    Returns:
        Whether the C library can do so; only glibc can. It lasts as long as the process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows refuses None
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _LARGEST))
