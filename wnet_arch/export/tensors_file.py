"""``.safetensors`` files: the weights, and how to build their network, for this package."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from safetensors import __version__

from wnet_arch.export.checks import Run
from wnet_arch.export.storage import stored
from wnet_arch.export.subject import Outputs
from wnet_arch.inference import entries
from wnet_arch.inference.sources import Network
from wnet_arch.weights import seals

#: The weights themselves are equal; batches of other sizes are summed in another order.
SUFFIX, LIMIT = ".safetensors", 1e-5


def need() -> None:
    """Nothing that the package does not need anyway."""


def describe() -> str:
    """What checks the file, for reports."""
    return f"safetensors {__version__}"


def write(outputs: Outputs, about: dict[str, str], precision: str, path: Path) -> None:
    """Writes the weights, with the metadata that :mod:`wnet_arch.inference.provenance` reads, instead of a file that is there."""
    state = outputs.net.state_dict()
    path.write_bytes(seals.pack_tensors({name: stored(tensor, precision).clone() for name, tensor in state.items()}, about))


def reopen(path: Path, threads: int = 1) -> Run:
    """The network that the loader of all commands makes of the file. The number of threads is torch's."""
    source = cast(Network, entries.open_one(str(path), None))  # as this module wrote one
    return Outputs(source.build(), 128 // source.scale)
