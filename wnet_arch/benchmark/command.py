"""All that ``wnet benchmark`` does, callable from Python."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from wnet_arch import disk
from wnet_arch.benchmark import measures, runner, tables
from wnet_arch.benchmark.measures import Measure
from wnet_arch.benchmark.results import NetworkRecord, Results, SetRecord, evaluate, save
from wnet_arch.benchmark.work import BenchmarkJob
from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.inference import entries
from wnet_arch.inference.runners import check_device
from wnet_arch.inference.sources import Source, batched, check_folders, exchanged
from wnet_arch.inference.test_sets import TestSet, open_sets
from wnet_arch.processors import processors
from wnet_arch.version import __version__
from wnet_arch.weights.hashing import sha256_file


@dataclass
class BenchmarkOptions:
    """Options of ``wnet benchmark``, under the names of its arguments.

    Attributes:
        networks: entries ``[LABEL=]WHAT[@OPTIONS.yml]``, see ``inference/entries.py``.
        sets: entries ``[NAME=]PATH``.
        out: folder for everything.
        scales: ``None`` takes those of the networks.
        metric_options: of metrics by name.
        baseline: the network that the others are compared with; ``None``: the first.
        limit: only the first faces of each set.
        size: first reduce the HR faces to this side in pixels.
        maps: networks that estimate a parsing map are measured with these as well, see ``inference/sources.py``.
        known: gives the values (faces, columns) of a source on a set where they have been measured before, else ``None``; a source
            whose values are known on all sets is not measured.
    """

    networks: Sequence[str]
    sets: Sequence[str]
    out: str
    scales: Sequence[int] | None = None
    protocols: Sequence[str] = ("dic",)
    metrics: Sequence[str] = ("lpips",)
    metric_options: dict[str, dict] = field(default_factory=dict)
    baseline: str | None = None
    limit: int | None = None
    workers: int | None = None
    device: str = "cpu"
    batch: int | None = None
    paper: bool = False
    report_faces: int = 48
    maps: Sequence[str] = ()
    size: int | None = None
    known: Callable[[Source, TestSet, list[Measure]], np.ndarray | None] | None = None


def benchmark(options: BenchmarkOptions, command: str = "") -> tuple[Results, runner.Run]:
    """Runs a benchmark and writes ``results.json``, ``results.csv``, ``per_image.csv`` and ``table.md``.

    Raises:
        UsageError, DataError, WeightsError: what the options name is missing or does not fit; nothing has been computed then.
    """
    _check(options)
    sources, scales = entries.read(list(options.networks), list(options.scales) if options.scales else None, options.device)
    batch = options.batch or (1 if options.device == "cpu" else 16)
    sources = [batched(source, batch) for source in sources]
    wanted = measures.read(list(options.metrics), list(options.protocols), options.metric_options, options.device)
    baseline = options.baseline or sources[0].name
    if baseline not in (source.name for source in sources):
        raise UsageError(f"--baseline: no network is called '{baseline}'{did_you_mean(baseline, {s.name for s in sources})}")
    test_sets = open_sets(list(options.sets), scales, options.limit, options.size)
    check_folders(sources, test_sets)
    sources = _with_maps(sources, options.maps, test_sets)
    columns = measures.columns(wanted, scales[0])  # builds every metric, so that a missing file is found now
    known = _known(options, sources, test_sets, wanted)
    left = [source for source in sources if any((s.name, source.scale, source.name) not in known for s in test_sets)]
    workers = options.workers or (processors() if options.device == "cpu" else 1)
    job = BenchmarkJob(test_sets, left, wanted, options.device, batch)
    found = runner.run(job, scales, options.out, workers) if left else runner.Run()
    found.values = {**known, **found.values}
    results = Results(
        baseline,
        [_record(source) for source in sources],
        [SetRecord(s.name, os.path.abspath(s.path), s.size, s.lq_note, s.keys, s.stored is not None) for s in test_sets],
        wanted,
        columns,
        found.values,
        about=_about(command, options, found, workers),
    )
    evaluate(results)
    save(results, options.out)
    disk.write_text(Path(options.out) / "table.md", tables.markdown(results, options.paper))
    return results, found


def _with_maps(sources: list[Source], maps: Sequence[str], test_sets: list[TestSet]) -> list[Source]:
    """Each source, followed by the same with other parsing maps, if it takes any.

    Raises:
        UsageError: none of them does.
    """
    found: list[Source] = []
    for source in sources:
        found += [source, *filter(None, (exchanged(source, one, test_sets) for one in dict.fromkeys(maps)))]
    if maps and len(found) == len(sources):
        raise UsageError("--maps: none of these networks takes a parsing map; WNet and WNetLite with weights do")
    return found


def _known(
    options: BenchmarkOptions, sources: list[Source], test_sets: list[TestSet], wanted: list[Measure]
) -> dict[tuple[str, int, str], np.ndarray]:
    """Values that need not be measured, by set, scale and name of the source."""
    if options.known is None:
        return {}
    places = {(s.name, source.scale, source.name): options.known(source, s, wanted) for s in test_sets for source in sources}
    return {place: values for place, values in places.items() if values is not None}


def _check(options: BenchmarkOptions) -> None:
    for name in ("limit", "workers", "batch", "size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name}: at least 1, not {value}")
    if options.report_faces < 0:
        raise UsageError(f"--report-faces: 0 or more, not {options.report_faces}")
    check_device(options.device)
    if os.path.exists(options.out) and not os.path.isdir(options.out):
        raise UsageError(f"--out: {options.out} is a file; name a folder")


def _record(source: Source) -> NetworkRecord:
    known = source.provenance
    block = dict(getattr(source, "block", {}))
    path = os.path.abspath(source.path) if source.path else ""
    record = NetworkRecord(
        source.name, source.scale, source.kind, path, source.fingerprint, block, known.training_set, known.iterations, known.seed
    )
    if block:
        record.parameters, record.macs = cost(block, source.scale)
    if weights := getattr(source, "weights", None):
        record.weights_sha256 = sha256_file(Path(weights))
    return record


def cost(block: dict, scale: int) -> tuple[int | None, float | None]:
    """Parameters that get a gradient, and multiply-accumulates of one 128x128 face, for networks of this package."""
    from wnet_arch.archs.base import NETWORKS
    from wnet_arch.inference import profiling

    options = {key: value for key, value in block.items() if key not in ("type", "scale")}
    name = block["type"] if block["type"] in NETWORKS else block["type"].removesuffix("_face")
    if name not in NETWORKS:
        return None, None
    if name == "Bicubic":
        return 0, 0.0
    cost = profiling.cost(name, scale, **options)
    return cost.used, cost.macs


def _about(command: str, options: BenchmarkOptions, found: runner.Run, workers: int) -> dict:
    return {
        "command": command,
        "created": time.strftime("%Y-%m-%d %H:%M:%S"),
        "wnet_fsr": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": options.device if options.device == "cpu" else torch.cuda.get_device_name(options.device),
        "workers": workers,
        "wall_seconds": round(found.wall, 1),
        "processor_seconds": {what: round(seconds, 1) for what, seconds in found.seconds.items()},
        "faces_computed": found.computed,
        "faces_reused": found.reused,
        "paper": options.paper,
    }
