"""Reads ``--networks``: which sources each entry means.

An entry is ``[LABEL=]WHAT[@OPTIONS.yml]``, where WHAT is

* ``Bicubic``, or the name of a shipped network (``wnet_lite_x8``; ``wnet_lite`` stands for all its scales);
* a ``.pth`` or ``.safetensors`` file, or the folder of a training run (its ``models/net_g_latest.pth``);
* an ``.onnx`` file;
* a folder of SR images, or a pattern such as ``results/{set}/x{scale}/{name}_mine.png``.
"""

from __future__ import annotations

import os
from pathlib import Path

from wnet_arch.archs import list_networks
from wnet_arch.archs.base import TWINS
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.inference import sources
from wnet_arch.inference.provenance import Provenance, find_recipe
from wnet_arch.inference.sources import Computed, Network, Source
from wnet_arch.weights import metadata, shipped
from wnet_arch.weights.checkpoint import read_state_dict

_WEIGHTS = (".pth", ".pt", ".safetensors")
#: What only those commands can be told that have the option.
_OR_SCALES = ", or give one --scales"
#: Kinds that exist for every scale asked for; of the others, one entry is one scale.
_ANY_SCALE = ("Bicubic", "folder")


def read(entries: list[str], scales: list[int] | None, device: str = "cpu") -> tuple[list[Source], list[int]]:
    """All sources, in the order given, and the scales of the benchmark.

    Args:
        entries: of ``--networks``.
        scales: of ``--scales``; ``None`` takes those that the networks have.
        device: they will run on.

    Raises:
        UsageError: an entry cannot be understood, a network is given twice, or scales do not fit together.
        WeightsError: weights are missing or do not fit.
    """
    parsed = [one for entry in entries for one in _expand(*_split(entry), scales)]
    fixed: dict[int, Source] = {}
    for index, (label, what, option_file) in enumerate(parsed):
        if _kind(what) not in _ANY_SCALE:
            fixed[index] = _open(label, what, option_file, scales, device)
    scales = scales or sorted({source.scale for source in fixed.values()})
    if not scales:
        raise UsageError("--scales: these networks do not tell their scale; say --scales 8, for instance")
    found = []
    for index, (label, what, _) in enumerate(parsed):
        if index in fixed:
            found.append(fixed[index])
        elif _kind(what) == "Bicubic":
            found += [sources.bicubic(scale) for scale in scales]
        else:
            found += _folders(label, what, scales)
    _check(found, scales)
    return found, scales


def _folders(label: str, pattern: str, scales: list[int]) -> list[sources.Folder]:
    if len(scales) > 1 and "{scale}" not in pattern:
        asked = " and ".join(f"x{scale}" for scale in scales)
        raise UsageError(
            f"--networks: the images of {pattern} are of one scale, and this benchmark has {asked}: "
            "write {scale} where the folders' names have it, or say --scales"
        )
    return [sources.Folder(label, scale, path=pattern) for scale in scales]


def open_one(entry: str, scales: list[int] | None, device: str = "cpu") -> Computed:
    """The source that an entry means, a network: weights, a run, or an ONNX file.

    Raises:
        UsageError, WeightsError: as :func:`read`.
    """
    try:
        return _open(*_split(entry), scales, device)
    except UsageError as error:  # other commands have other names for it
        raise type(error)(str(error).removeprefix("--networks: ").replace(_OR_SCALES, "")) from error


def _expand(label: str, what: str, option_file: str | None, scales: list[int] | None) -> list[tuple[str, str, str | None]]:
    """A shipped network named without its scale: one entry for each that is asked for, or that there is."""
    found = [] if shipped.is_name(what) else shipped.matching(what)
    asked = [name for name in found if not scales or int(name.rpartition("_x")[2]) in scales]
    entries: list[tuple[str, str, str | None]]
    entries = [(label if label != what else _default_label(name), name, None) for name in asked or found]
    return entries or [(label, what, option_file)]


def _split(entry: str) -> tuple[str, str, str | None]:
    label, equals, what = entry.partition("=")
    what = os.path.expanduser(what if equals else entry)
    before, at, after = what.rpartition("@")
    what, option_file = (before, after) if at and after.endswith((".yml", ".yaml")) else (what, None)
    if not what or (equals and not label):
        raise UsageError(f"--networks: '{entry}' is not [LABEL=]WHAT[@OPTIONS.yml]")
    return label if equals else _default_label(what), what, option_file


def _default_label(what: str) -> str:
    """The network's name; the folder of the run for BasicSR's files, which are all called net_g_latest.pth."""
    if shipped.is_name(what):
        return _shipped_label(what)
    path = Path(os.path.abspath(what))
    if path.parent.name == "models":
        return path.parent.parent.name or path.stem
    if path.suffix in (*_WEIGHTS, ".onnx"):
        return path.stem
    return next(part for part in reversed(path.parts) if "{" not in part)


def _shipped_label(name: str) -> str:
    """``WNetLite`` for ``wnet_lite_x8``; a variant that is called otherwise than its network keeps its name, without the scale."""
    stem = name.rpartition("_x")[0]
    recipe = metadata.read(shipped.path(name))
    kind = recipe.network["type"].removesuffix("_face") if recipe else ""
    return kind if kind.lower() == stem.replace("_", "") else stem


def _kind(what: str) -> str:
    if shipped.is_name(what):
        return "shipped"
    if what == "Bicubic":
        return "Bicubic"
    suffix = os.path.splitext(what)[1].lower()
    if suffix in _WEIGHTS or os.path.isdir(os.path.join(what, "models")):
        return "weights"
    if suffix == ".onnx":
        return "onnx"
    return "folder" if os.path.isdir(what) or "{" in what else "unknown"


def _open(label: str, what: str, option_file: str | None, scales: list[int] | None, device: str) -> Computed:
    kind = _kind(what)
    if kind == "shipped":
        return _open_weights(label, str(shipped.path(what)), option_file, scales, device)
    if kind == "onnx":
        return sources.onnx(label, what, device)
    if kind == "weights":
        return _open_weights(label, _weights_file(what), option_file, scales, device)
    if what in list_networks():
        trained = f"{what}=experiments/{what}_x8" if what != "WNet" else "WNet=experiments/wnet_x8"
        options = f"options/baselines/{what}_x8.yml" if what != "WNet" else "options/wnet_x8.yml"
        raise WeightsError(
            f"--networks: {what} needs weights, and none are shipped: train it (basicsr train -opt {options}) and give {trained}"
        )
    known = shipped.hint(what, *list_networks()) if os.sep not in what else ""
    raise UsageError(f"--networks: '{what}' is no weights file, folder, ONNX file or network{known}")


def _weights_file(what: str) -> str:
    if not os.path.isdir(what):
        return what
    latest = os.path.join(what, "models", "net_g_latest.pth")
    if not os.path.isfile(latest):
        raise WeightsError(f"the run {what} has no models/net_g_latest.pth yet; name one of its weights files")
    return latest


def _open_weights(label: str, weights: str, option_file: str | None, scales: list[int] | None, device: str) -> Network:
    if not os.path.isfile(weights):
        raise WeightsError(f"{label}: there is no weights file {weights}")
    recipe = find_recipe(Path(weights), option_file)
    if recipe:
        return sources.weights_network(label, weights, recipe.network, recipe.scale, recipe.provenance, device)
    read_state_dict(weights)  # says so where it is damaged, or is something else
    if label not in list_networks():
        raise UsageError(
            f"{label}: nothing tells how to build the network of {weights}; add its option file: {label}={weights}@OPTIONS.yml"
        )
    if not scales or len(scales) != 1:
        raise UsageError(f"{label}: nothing tells the scale of {weights}; add its option file{_OR_SCALES}")
    registered = f"{label}_face" if label in TWINS else label  # the framework has one of that name itself
    block = {"type": registered, "scale": scales[0]}
    return sources.weights_network(label, weights, block, scales[0], Provenance(), device)


def _check(found: list[Source], scales: list[int]) -> None:
    seen = set()
    for source in found:
        if source.scale not in scales:
            wanted = " and ".join(f"x{scale}" for scale in scales)
            raise UsageError(f"{source.name} is a network for x{source.scale}, but --scales asks for {wanted}")
        if (source.name, source.scale) in seen:
            raise UsageError(f"--networks: two entries are called {source.name} at x{source.scale}; label one, as in other=PATH")
        seen.add((source.name, source.scale))
