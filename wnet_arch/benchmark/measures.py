"""What is measured: protocols and metrics by name, and the columns they make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wnet_arch import metrics
from wnet_arch.errors import UsageError, WeightsError, did_you_mean
from wnet_arch.inference.fingerprints import code_digest, code_in, libraries, loaded_weights, machine, named_files, stamps
from wnet_arch.metrics import protocols
from wnet_arch.weights import list_entries, shipped
from wnet_arch.weights.hashing import digest

DOWNSTREAM = ("landmarks", "identity")
#: Columns follow each other in this order where all metrics are asked for.
_ORDER = ("lpips", "landmarks", "identity", "parsing")
#: What is printed over a column, and with how many decimals.
_TITLES = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "lpips": ("LPIPS", 4),
    "landmark_distance": ("Landmark distance", 2),
    "landmark_nme": ("Landmark NME", 4),
    "identity": ("Identity", 4),
    "parsing_iou": ("Parsing IoU", 4),
}


@dataclass(frozen=True)
class Measure:
    """A metric and its options, light enough for other processes. ``protocol`` is empty for all but PSNR and SSIM."""

    metric: str
    options: tuple[tuple[str, object], ...] = ()
    protocol: str = ""

    def create(self, scale: int):
        """The metric itself, see ``wnet_arch.metrics``."""
        options = dict(self.options, scale=scale) if self.metric == "protocol" else dict(self.options)
        return _created(self.metric, json.dumps(options, sort_keys=True), stamps(options))

    def fingerprint(self, scale: int) -> str:
        """Hash of all that decides about its values: options, backbone, weights, our code, libraries, the machine."""
        return _fingerprint(self, scale, stamps(dict(self.options)))


@cache
def _fingerprint(measure: Measure, scale: int, files: tuple) -> str:
    options = dict(measure.options)
    at = str(scale) if measure.metric == "protocol" else ""
    networks = shipped.names()  # what is measured, not what measures
    hashes = sorted(f"{entry.name} {entry.sha256}" for entry in list_entries() if entry.name not in networks)
    code = code_digest("metrics"), code_digest("faces"), libraries(), machine(str(options.get("device", "cpu")))
    metric = measure.create(scale)
    theirs = code_in([base.__module__ for base in type(metric).__mro__ if base.__module__ != "builtins"], "wnet_arch.metrics")
    weights = *hashes, *named_files(options), loaded_weights(metric)
    return digest(measure.metric, json.dumps(options, sort_keys=True), at, metric.backbone, *code, theirs, *weights)


@cache
def _created(name: str, options: str, files: tuple):
    return metrics.create(name, **json.loads(options))


@dataclass(frozen=True)
class Column:
    """One number a face: ``id`` names it in files (``psnr_dic``), ``title`` in tables, ``backbone`` says what it rests on."""

    id: str
    key: str
    title: str
    decimals: int
    unit: str
    better: str
    backbone: str
    protocol: str
    measure: int


def read(names: list[str], protocol_names: list[str], options: dict[str, dict] | None = None, device: str = "cpu") -> list[Measure]:
    """Measures for ``--protocols`` and ``--metrics``; ``all`` stands for all of them.

    Args:
        device: where the networks of metrics run.
        options: of metrics by name, such as ``{"identity": {"backend": "adaface", "weights": PATH}}``.

    Raises:
        UsageError: an unknown name, or an option that the metric does not have.
        WeightsError: a file that a metric needs is missing.
    """
    protocol_names = list(protocols.NAMES) if "all" in protocol_names else list(dict.fromkeys(protocol_names))
    known = [name for name in metrics.list_metrics() if name != "protocol"]
    known.sort(key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    names = known if "all" in names else list(dict.fromkeys(names))
    unused = [name for name in options or {} if name not in names]
    if unused:
        raise UsageError(f"--metric-option: {unused[0]} is not among --metrics")
    for name in protocol_names:
        if name not in protocols.NAMES:
            raise UsageError(f"--protocols: there is no protocol '{name}'{did_you_mean(name, protocols.NAMES)}")
    for name in names:
        if name not in known:
            raise UsageError(f"--metrics: there is no metric '{name}'{did_you_mean(name, known)}")
    found = [Measure("protocol", (("protocol", name),), name) for name in protocol_names]
    found += [Measure(name, tuple(sorted({"device": device, **(options or {}).get(name, {})}.items()))) for name in names]
    if not found:
        raise UsageError("--protocols and --metrics: nothing to measure")
    for measure in found:
        weights = dict(measure.options).get("weights")
        if weights and not Path(str(weights)).expanduser().is_file():
            raise WeightsError(f"{measure.metric}: there is no file {weights}")
    return found


def columns(measures: list[Measure], scale: int) -> list[Column]:
    """The columns that measures make, in their order."""
    found = []
    for index, measure in enumerate(measures):
        metric = measure.create(scale)
        for key, unit in metric.units.items():
            title, decimals = _TITLES.get(key, (_plain(key), 4))
            name = f"{key}_{measure.protocol}" if measure.protocol else key
            found.append(Column(name, key, title, decimals, unit, metric.better, metric.backbone, measure.protocol, index))
    return found


def _plain(key: str) -> str:
    words = key.replace("parsing_iou_", "IoU ").replace("_", " ")
    return words[0].upper() + words[1:]
