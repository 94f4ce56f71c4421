"""Where a network's weights come from, as far as their file, or the option file of their training, tells."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from wnet_arch import options
from wnet_arch.data.face_lmdb import read_manifest
from wnet_arch.errors import DataError, UsageError, WeightsError


@dataclass(frozen=True)
class Provenance:
    """``None`` is unknown, and printed so. ``training_set``: its name and, where known, its size."""

    training_set: str | None = None
    iterations: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How to build the network of a weights file: ``network`` is the block ``network_g`` of an option file."""

    network: dict
    scale: int
    provenance: Provenance


def find_recipe(weights: Path, option_file: str | None) -> Recipe | None:
    """Looks for what a weights file needs to be built.

    In this order: the option file given; the metadata of a ``.safetensors`` file; the option file that BasicSR left in the folder
    of the run, ``RUN/NAME.yml`` for ``RUN/models/net_g_latest.pth``.

    Returns:
        ``None`` if nothing says how to build it.

    Raises:
        UsageError: the option file cannot be read, or the run holds several.
        WeightsError: the metadata is damaged.
    """
    if option_file:
        return _from_options(option_file, weights)
    if weights.suffix == ".safetensors":
        recipe = _from_metadata(weights)
        if recipe:
            return recipe
    if weights.parent.name == "models":
        found = sorted(weights.parent.parent.glob("*.yml"))
        if len(found) > 1:
            raise UsageError(f"{weights.parent.parent} holds {len(found)} option files; say which, as in {weights}@{found[0]}")
        if found:
            return _from_options(str(found[0]), weights)
    return None


def _from_options(path: str, weights: Path) -> Recipe:
    opt = options.load(path)
    block = opt.get("network_g")
    if not isinstance(block, dict) or not block.get("type"):
        raise UsageError(f"{path} has no network_g.type, so it does not say which network {weights} belongs to")
    scale = opt.get("scale", block.get("scale"))
    if not isinstance(scale, int):
        raise UsageError(f"{path} has no scale")
    train = opt.get("train") or {}
    iterations = re.fullmatch(r"net_\w+_(\d+)", weights.stem)
    done = int(iterations[1]) if iterations else train.get("total_iter")
    data = (opt.get("datasets") or {}).get("train") or {}
    seed = opt.get("manual_seed")
    return Recipe(block, scale, Provenance(_training_set(data), int(done) if done else None, seed))


def _training_set(block: dict) -> str | None:
    root = block.get("dataroot") or block.get("dataroot_gt")
    if not root:
        return block.get("name")
    return " + ".join(_set_name(one) for one in ([root] if isinstance(root, str) else root))


def _set_name(root: str) -> str:
    path = Path(os.path.expanduser(root))
    name = f"{path.parent.name}_{path.name}" if path.name in ("train", "val") else path.name
    try:
        faces = read_manifest(path)["count"]
    except (DataError, KeyError, TypeError):
        return name
    return f"{name} ({faces:,} faces)"


def _from_metadata(weights: Path) -> Recipe | None:
    """Metadata are texts: ``network_g`` (that block as JSON), ``scale``, ``training_set``, ``iterations``, ``seed``."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{weights} is not a readable weights file ({error})") from error
    if "network_g" not in metadata:
        return None
    try:
        block = json.loads(metadata["network_g"])
        scale = int(metadata.get("scale", block.get("scale", 0)))
        numbers = [int(metadata[key]) if key in metadata else None for key in ("iterations", "seed")]
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{weights}: its metadata is damaged ({error})") from error
    if not block.get("type") or not scale:
        raise WeightsError(f"{weights}: its metadata names no network type or no scale")
    return Recipe(block, scale, Provenance(metadata.get("training_set"), *numbers))
