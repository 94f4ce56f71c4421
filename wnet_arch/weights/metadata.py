"""What a ``.safetensors`` file says of the network in it.

Metadata are texts: ``network_g`` (that block of an option file, as JSON) and ``scale``, without which the file cannot be built by
itself; ``training_set``, ``iterations`` and ``seed``, which every table prints; and what else the model card has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wnet_arch.errors import WeightsError

#: What was done to the faces of the training: the blocks of these names in `datasets.train` (JSON), where there were any.
DEGRADATION, JITTER = "degradation", "jitter"
#: The list of trainings (train_queue.py) that it comes from: its networks saw the same faces, equally many.
QUEUE = "queue"


@dataclass(frozen=True)
class Provenance:
    """``None`` is unknown, and printed so. ``training_set``: its name and, where known, its size. ``degraded``: whether its LR
    faces were made worse than reduced ones, as photos from life are (:data:`DEGRADATION`).
    """

    training_set: str | None = None
    iterations: int | None = None
    seed: int | None = None
    degraded: bool = False


@dataclass(frozen=True)
class Recipe:
    """How to build the network of a weights file: ``network`` is the block ``network_g`` of an option file."""

    network: dict
    scale: int
    provenance: Provenance


def texts(path: Path) -> dict[str, str]:
    """All metadata of a file. Raises :class:`WeightsError`: it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        from wnet_arch.weights import pth

        raise WeightsError(f"{path} is not a readable weights file: {pth.why(path, error)}") from error


def read(path: Path) -> Recipe | None:
    """How to build the network of a file; ``None`` where its metadata do not say.

    Raises:
        WeightsError: the file or its metadata are damaged.
    """
    found = texts(path)
    if "network_g" not in found:
        return None
    try:
        block = json.loads(found["network_g"])
        scale = int(found.get("scale", block.get("scale", 0)))
        provenance = origin(found)
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: its metadata is damaged ({error})") from error
    if not block.get("type") or not scale:
        raise WeightsError(f"{path}: its metadata names no network type or no scale")
    return Recipe(block, scale, provenance)


def origin(found: Mapping[str, str]) -> Provenance:
    """Where weights come from, by the metadata of their file. Raises ``ValueError`` where that is damaged."""
    iterations, seed = (int(found[key]) if key in found else None for key in ("iterations", "seed"))
    return Provenance(found.get("training_set"), iterations, seed, degraded=DEGRADATION in found)
