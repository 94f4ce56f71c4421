"""Values of every face, a CSV for each network and set: for tests of one's own, and so that what ships is measured once.

A file is FOLDER/SET/NAME.csv, NAME as the network ships (``bicubic_x8`` for bicubic enlargement). Its first line, behind a ``#``,
says of what the values are: the SHA-256 of the weights, and the measures with their options. A row has a sum of the HR and LR face.
The values hold for these alone.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

from wnet_arch import disk
from wnet_arch.benchmark.measures import Measure, columns
from wnet_arch.benchmark.results import Results, number, text
from wnet_arch.errors import DataError
from wnet_arch.inference.sources import Network, Source
from wnet_arch.inference.test_sets import TestSet, open_sets
from wnet_arch.weights.hashing import digest, sha256_file

#: Below the repository's root.
FOLDER = "docs/results/faces"
_BICUBIC = "bicubic_x"
#: A face's name, and the SHA-256 of its HR and LR image.
_FACE = ("face", "sum")
#: By the face's name: the sum, and the values.
Rows = dict[str, tuple[str, list[float]]]


def write(found: Results, folder: Path) -> None:
    """Adds what a benchmark found, beside other faces of the same weights and measures."""
    for record, test_set in zip(found.sets, open_sets([f"{s.name}={s.path}" for s in found.sets], found.scales)):
        for network in found.networks:
            file = folder / record.name / f"{_name(network.path, network.scale)}.csv"
            facts, heads = _facts(network.weights_sha256, found.measures), [column.id for column in found.columns]
            table = found.values[record.name, network.scale, network.name]
            rows = {key: (_sum(test_set, key, network.scale), list(row)) for key, row in zip(record.keys, table)}
            _save(file, facts, heads, {**_read(file, facts, heads), **rows})


def known(folder: Path) -> Callable[[Source, TestSet, list[Measure]], np.ndarray | None]:
    """What a benchmark asks for values that a folder has of the same weights, faces and measures (``BenchmarkOptions.known``)."""

    def ask(source: Source, test_set: TestSet, measures: list[Measure]) -> np.ndarray | None:
        if type(source) is not Network:  # with another map it is another one
            return None
        weights = sha256_file(Path(source.weights)) if source.weights else ""
        file = folder / test_set.name / f"{_name(source.path, source.scale)}.csv"
        rows = _read(file, _facts(weights, measures), [column.id for column in columns(measures, source.scale)])
        if any(key not in rows or rows[key][0] != _sum(test_set, key, source.scale) for key in test_set.keys):
            return None
        return np.array([rows[key][1] for key in test_set.keys])

    return ask


def tidy(folder: Path, names: list[str]) -> None:
    """Removes files of networks that do not ship any more."""
    for file in folder.glob("*/*.csv"):
        if file.stem not in names and not file.stem.startswith(_BICUBIC):
            file.unlink()


def _name(path: str, scale: int) -> str:
    return Path(path).stem if path else f"{_BICUBIC}{scale}"


@cache
def _sums(path: str, size: tuple[int, int], scale: int) -> dict[str, str]:
    """Those that have been worked out, of a set."""
    return {}


def _sum(test_set: TestSet, key: str, scale: int) -> str:
    """Of the HR and the LR face."""
    sums = _sums(os.path.abspath(test_set.path), test_set.size, scale)
    if key not in sums:
        hr = test_set.hr(key)
        sums[key] = digest(hr, test_set.lr(key, scale, hr))[:16]
    return sums[key]


def _facts(weights: str, measures: list[Measure]) -> str:
    return f"# {json.dumps({'weights': weights, 'measures': [asdict(measure) for measure in measures]})}\n"


def _read(file: Path, facts: str, heads: list[str]) -> Rows:
    """Rows by face, none where the file is of something else."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    if lines[:1] != [facts] or lines[1:2] != [",".join([*_FACE, *heads]) + "\n"]:
        return {}
    try:
        cells = ((key, face, zip(heads, values, strict=True)) for key, face, *values in csv.reader(lines[2:]))
        return {key: (face, [number(value) for _, value in row]) for key, face, row in cells}
    except ValueError as error:  # a row is too short or too long, or a value is no number
        raise DataError(f"{file} is damaged: remove it, and its network is measured again") from error


def _save(file: Path, facts: str, heads: list[str], rows: Rows) -> None:
    table = io.StringIO()
    cells = ([key, face, *map(text, values)] for key, (face, values) in rows.items())
    csv.writer(table, lineterminator="\n").writerows([[*_FACE, *heads], *cells])
    file.parent.mkdir(parents=True, exist_ok=True)
    disk.write_text(file, facts + table.getvalue())
