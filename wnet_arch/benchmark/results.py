"""What a benchmark found, as one object, and its files: ``results.json``, ``results.csv``, ``per_image.csv``."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from wnet_arch import disk
from wnet_arch.benchmark import stats
from wnet_arch.benchmark.measures import Column, Measure
from wnet_arch.errors import DataError

FORMAT, VERSION = "wnet benchmark", 1
UNKNOWN = "unknown"


@dataclass
class NetworkRecord:
    """A source at one scale. ``block``: how it is built, empty where it was not built by us; ``macs`` of one 128x128 face.

    ``weights_sha256``: of the weights file, empty where there is none."""

    name: str
    scale: int
    kind: str
    path: str
    fingerprint: str
    block: dict
    training_set: str | None
    iterations: int | None
    seed: int | None
    parameters: int | None = None
    macs: float | None = None
    weights_sha256: str = ""

    @property
    def origin(self) -> tuple[str, str, str]:
        """Training set, iterations and seed as texts."""
        if self.block.get("type") == "Bicubic":
            return "none", "–", "–"
        iterations = UNKNOWN if self.iterations is None else f"{self.iterations:,}"
        return self.training_set or UNKNOWN, iterations, UNKNOWN if self.seed is None else str(self.seed)


@dataclass
class SetRecord:
    """A test set. ``size``: (height, width) of the HR faces; ``reduced``: to that side from what is stored (``--size``)."""

    name: str
    path: str
    size: tuple[int, int]
    lq_note: str
    keys: list[str]
    reduced: bool = False


@dataclass
class Score:
    """One cell of a table. ``difference`` is to the baseline: mean, low, high, p (corrected), significant."""

    set: str
    scale: int
    network: str
    column: str
    mean: float
    low: float
    high: float
    measured: int
    missing: int
    mark: str
    difference: dict | None


@dataclass
class Results:
    """All of it. ``values``: (set, scale, network) to (faces, columns), NaN = not measurable."""

    baseline: str
    networks: list[NetworkRecord]
    sets: list[SetRecord]
    measures: list[Measure]
    columns: list[Column]
    values: dict[tuple[str, int, str], np.ndarray]
    scores: list[Score] = field(default_factory=list)
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        self._by_place = {(s.set, s.scale, s.network, s.column): s for s in self.scores}

    @property
    def scales(self) -> list[int]:
        """Scales of the networks, the smallest first."""
        return sorted({network.scale for network in self.networks})

    def at(self, scale: int) -> list[NetworkRecord]:
        """The networks of a scale, in the order they were given."""
        return [network for network in self.networks if network.scale == scale]

    def column(self, name: str) -> int | None:
        """Index of a column by its id."""
        return next((i for i, column in enumerate(self.columns) if column.id == name), None)

    def score(self, set_name: str, scale: int, network: str, column: str) -> Score | None:
        """One cell, or ``None`` where nothing was measured: names of set and network, id of the column."""
        return self._by_place.get((set_name, scale, network, column))


def evaluate(results: Results) -> Results:
    """Fills in the scores: means, intervals, differences to the baseline, marks."""
    for test_set in results.sets:
        for scale in results.scales:
            names = [network.name for network in results.at(scale)]
            for index, column in enumerate(results.columns):
                table = np.column_stack([results.values[test_set.name, scale, name][:, index] for name in names])
                results.scores += _column_scores(test_set.name, scale, names, column, table, results.baseline)
    results.__post_init__()
    return results


def _column_scores(set_name, scale, names, column: Column, table: np.ndarray, baseline: str) -> list[Score]:
    tests = stats.pairwise(table)
    marks = stats.marks(table, column.better, tests)
    base = names.index(baseline) if baseline in names else None
    found = []
    for i, (name, interval) in enumerate(zip(names, stats.intervals(table))):
        difference = None
        if base is not None and i != base:
            test = tests[i, base]
            d = test.difference
            difference = {"mean": d.mean, "low": d.low, "high": d.high, "p": test.p, "significant": bool(test.significant)}
        missing = len(table) - interval.count
        ends = interval.mean, interval.low, interval.high
        found.append(Score(set_name, scale, name, column.id, *ends, interval.count, missing, marks[i], difference))
    return found


def save(results: Results, out: str | os.PathLike) -> None:
    """Writes the three files, each beside its target and renamed."""
    out = Path(out)
    _write(out / "results.json", lambda file: json.dump(_as_json(results), file, indent=1, allow_nan=False))
    _write(out / "results.csv", lambda file: csv.writer(file, lineterminator="\n").writerows(_score_rows(results)))
    _write(out / "per_image.csv", lambda file: csv.writer(file, lineterminator="\n").writerows(_image_rows(results)))


def _write(path: Path, fill: Callable) -> None:
    with disk.replacing(path) as part, open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        fill(file)


def _as_json(results: Results) -> dict:
    return {
        "format": FORMAT,
        "version": VERSION,
        "about": results.about,
        "statistics": stats.METHOD,
        "baseline": results.baseline,
        "networks": [asdict(network) for network in results.networks],
        "sets": [asdict(test_set) for test_set in results.sets],
        "measures": [asdict(measure) for measure in results.measures],
        "columns": [asdict(column) for column in results.columns],
        "scores": [_plain(asdict(score)) for score in results.scores],
    }


def _plain(value):
    """JSON has no NaN and no infinity: ``null`` and ``"inf"``, ``"-inf"`` stand for them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def number(value) -> float:
    """What a cell of a file says: NaN where it is empty."""
    return math.nan if value is None or value == "" else float(value)


def text(value: float) -> str:
    """A cell that :func:`number` reads back as the very same value."""
    return "" if math.isnan(value) else repr(float(value))


def _score_rows(results: Results) -> Iterable[list]:
    yield [
        "set", "scale", "network", "protocol", "metric", "mean", "low", "high", "measured", "missing", "unit", "better", "mark",
        "difference", "difference_low", "difference_high", "p_holm", "significant", "baseline",
        "backbone", "training_set", "iterations", "seed",
    ]  # fmt: skip
    records = {(network.name, network.scale): network for network in results.networks}
    columns = {column.id: column for column in results.columns}
    for s in results.scores:
        network, column = records[s.network, s.scale], columns[s.column]
        d = s.difference or {}
        yield [
            s.set, s.scale, s.network, column.protocol, column.key, s.mean, s.low, s.high, s.measured, s.missing, column.unit,
            column.better, s.mark, d.get("mean", ""), d.get("low", ""), d.get("high", ""), d.get("p", ""),
            d.get("significant", ""), results.baseline, column.backbone, *network.origin,
        ]  # fmt: skip


def _image_rows(results: Results) -> Iterable[list]:
    yield ["set", "scale", "network", "image", *(column.id for column in results.columns)]
    keys = {test_set.name: test_set.keys for test_set in results.sets}
    for (set_name, scale, network), table in results.values.items():
        for key, row in zip(keys[set_name], table):
            yield [set_name, scale, network, key, *map(text, row)]


def load(out: str | os.PathLike) -> Results:
    """Reads back what :func:`save` wrote.

    Raises:
        DataError: there are no results, or they are damaged.
    """
    path = Path(out) / "results.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("format") != FORMAT or data.get("version") != VERSION:
            raise DataError(f"{path} was not written by this version of `wnet benchmark`")
        sets = [SetRecord(**{**entry, "size": tuple(entry["size"])}) for entry in data["sets"]]
        scores = []
        for entry in data["scores"]:
            numbers = {key: number(entry[key]) for key in ("mean", "low", "high")}
            d = entry["difference"]
            d = d and {key: value if key == "significant" else number(value) for key, value in d.items()}
            scores.append(Score(**{**entry, **numbers, "difference": d}))
        return Results(
            data["baseline"],
            [NetworkRecord(**entry) for entry in data["networks"]],
            sets,
            [Measure(m["metric"], tuple(map(tuple, m["options"])), m["protocol"]) for m in data["measures"]],
            [Column(**entry) for entry in data["columns"]],
            _load_values(Path(out) / "per_image.csv", sets),
            scores,
            data["about"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise DataError(f"{out} does not hold the results of `wnet benchmark` ({reason})") from error


def _load_values(path: Path, sets: list[SetRecord]) -> dict[tuple[str, int, str], np.ndarray]:
    rows: dict[tuple[str, int, str], dict[str, list[float]]] = {}
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for set_name, scale, network, key, *values in reader:
            rows.setdefault((set_name, int(scale), network), {})[key] = [number(value) for value in values]
    keys = {test_set.name: test_set.keys for test_set in sets}
    return {place: np.array([found[key] for key in keys[place[0]]]) for place, found in rows.items()}
