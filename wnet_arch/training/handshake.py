"""How restarted processes tell each other from those they replace.

The agents of torchrun keep one key-value store over all restarts (torch 2.15), and PyTorch's own start writes the same keys into it
each time: a process that is quick finds the address of a peer that is dead, and the restart fails. The restart counter cannot
tell them apart either; agents count only the failures of their own processes. So every start agrees on a name of its own.
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from torch.distributed import Store

from wnet_arch.errors import WNetError

_PAUSE = 0.02  # seconds between two looks at the store


def agree_on_name(store: Store, rank: int, world_size: int, timeout: timedelta) -> str:
    """A name that the processes of this start share, and no earlier start had.

    Each process greets the first with a word made up on the spot; the first answers with that word and the name; a process
    that hears its own word, which nobody dead can know, confirms the name. The first goes on answering, since a greeting may be
    that of a dead process, until all have confirmed.

    Args:
        store: in which all processes read and write; it may hold what earlier starts left.
        rank: of this process.
        world_size: number of processes.
        timeout: for all of it.

    Raises:
        WNetError: the others have not come within that time.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    word = uuid.uuid4().hex
    if rank == 0:
        _welcome(store, word, set(range(1, world_size)), deadline)
        return word
    store.set(f"greeting/{rank}", word)
    while True:
        answer = _read(store, f"answer/{rank}")
        if answer.startswith(word):
            name = answer[len(word) :]
            store.set(f"confirmed/{rank}", name)
            return name
        _pause(deadline, "the first process of the run")


def _welcome(store: Store, name: str, missing: set[int], deadline: float) -> None:
    answered: dict[int, str] = {}
    while missing:
        for rank in sorted(missing):
            greeting = _read(store, f"greeting/{rank}")
            if greeting and answered.get(rank) != greeting:
                store.set(f"answer/{rank}", greeting + name)
                answered[rank] = greeting
            if _read(store, f"confirmed/{rank}") == name:
                missing.discard(rank)
        if missing:
            _pause(deadline, f"process {min(missing)} of the run")


def _read(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _pause(deadline: float, whom: str) -> None:
    if time.monotonic() > deadline:
        raise WNetError(f"{whom} has not come in time (dist_params.timeout)")
    time.sleep(_PAUSE)
