"""What the networks for faces share: how they are loaded, and how many threads they run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from wnet_arch.errors import WeightsError
from wnet_arch.weights import pth

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Inference on one thread of the CPU: results then are the same, to the last bit, for any number of workers."""
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


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
