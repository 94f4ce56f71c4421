"""What the networks for faces share: how they are loaded, and how many threads they run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import TypeVar

import torch
from torch import nn

from wnet_arch.errors import WeightsError
from wnet_arch.weights import pth

Network = TypeVar("Network", bound=nn.Module)


class _OneThread:
    """torch's number of threads at one, for all that are in here at a time.

    torch has a count for each thread that has computed, and one with which others begin; setting it sets both. So what was there
    before is what the first of them found, and each returns to that.
    """

    def __init__(self):
        self._lock, self._inside, self._before = Lock(), 0, 1

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside += 1
            torch.set_num_threads(1)

    def __exit__(self, *error):
        with self._lock:
            self._inside -= 1
            torch.set_num_threads(self._before)


_ONE_THREAD = _OneThread()


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Inference on one thread of the CPU: results then are the same, to the last bit, for any number of workers."""
    with _ONE_THREAD if device == "cpu" else nullcontext(), torch.inference_mode():
        yield


def load_into(network: Network, path: str, what: str) -> Network:
    """Loads a ``.pth`` file without running any code in it. Returns the network in evaluation mode.

    Args:
        network: that the file is for; every name and shape must agree.
        path: of the file. Names may begin with ``module.``, as those saved from several GPUs.
        what: the file's network, for the message.

    Raises:
        WeightsError: it cannot be read, or is of another network.
    """
    refusal = f"does not hold the weights of {what}"
    state = pth.load(path, refusal)
    try:
        network.load_state_dict({name[7:] if name.startswith("module.") else name: value for name, value in state.items()})
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise WeightsError(f"{path} {refusal}: {said[:200]}{'...' * (len(said) > 200)}") from error
    return network.eval()
