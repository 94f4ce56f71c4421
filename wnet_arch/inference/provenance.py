"""Where a network's weights come from, as far as their file, or the option file of their training, tells."""

from __future__ import annotations

import os
import re
from pathlib import Path

from wnet_arch import options
from wnet_arch.data.face_lmdb import read_manifest
from wnet_arch.data.set_paths import SPLITS
from wnet_arch.errors import DataError, UsageError
from wnet_arch.weights import metadata
from wnet_arch.weights.metadata import Provenance, Recipe
from wnet_arch.words import counted

__all__ = ["Provenance", "Recipe", "find_recipe", "training_set"]


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
        recipe = metadata.read(weights)
        if recipe:
            return recipe
    folder = Path(os.path.abspath(weights)).parent
    if folder.name == "models":
        found = sorted(folder.parent.glob("*.yml"))
        if len(found) > 1:
            raise UsageError(f"{folder.parent} holds {len(found)} option files; say which, as in {weights}@{found[0]}")
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
    train, data = _block(opt, "train", path), _block(_block(opt, "datasets", path), "train", f"{path}: datasets")
    iterations = re.fullmatch(r"net_\w+_(\d+)", weights.stem)
    done = int(iterations[1]) if iterations else _whole(train, "total_iter", f"{path}: train.total_iter")
    seed, is_degraded = _whole(opt, "manual_seed", f"{path}: manual_seed"), data.get(metadata.DEGRADATION) is not None
    return Recipe(block, scale, Provenance(training_set(data), done, seed, is_degraded))


def _whole(block: dict, key: str, where: str) -> int | None:
    """A number of a block, ``None`` where it is not there. YAML reads ``1e5`` as a text."""
    value = block.get(key)
    try:
        return None if value is None else int(float(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{where} is a whole number, not {value!r}") from error


def _block(parent: dict, key: str, where: str) -> dict:
    found = parent.get(key) or {}
    if not isinstance(found, dict):
        raise UsageError(f"{where}: {key} is no block of options, but {found!r}")
    return found


def training_set(block: dict) -> str | None:
    """Names and sizes of the sets that ``datasets.train`` draws from."""
    roots = block.get("dataroot") or block.get("dataroot_gt")
    if not roots:
        return block.get("name")
    roots = roots if isinstance(roots, list) else [roots]
    if not all(isinstance(root, str) for root in roots):
        raise UsageError(f"datasets.train.dataroot is a folder or a list of folders, not {roots!r}")
    return " + ".join(map(_set_name, roots))


def _set_name(root: str) -> str:
    path = Path(os.path.expanduser(root))
    name = f"{path.parent.name}_{path.name}" if path.name in SPLITS else path.name
    try:
        faces = read_manifest(path)["count"]
    except (DataError, KeyError, TypeError):
        return name
    return f"{name} ({counted(faces, 'face')})"
