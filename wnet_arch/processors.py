"""How many processors there are for a process: those it may run on, which a batch system or a container limits."""

from __future__ import annotations

import os


def processors() -> int:
    """Processors that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_processors() -> int:
    """Processors for this process: all that it may use, or its share of them where torchrun has started several here."""
    return max(1, processors() // processes_here())


def processes_here() -> int:
    """Processes of this run on this machine, as torchrun says, at least 1."""
    others = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(others) if others.isdecimal() else 1)
