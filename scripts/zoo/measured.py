"""The benchmark behind the pages of the zoo: the same measures for all of them, and the values of every face are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import face_values

from wnet_arch import list_pretrained
from wnet_arch.benchmark.command import BenchmarkOptions, benchmark
from wnet_arch.benchmark.measures import DOWNSTREAM
from wnet_arch.benchmark.results import Results
from wnet_arch.weights import metadata, shipped

METRICS = ("lpips", "landmarks", "identity", "parsing")


def measure(
    names: list[str], sets: list[str], out: str, command: str, root: Path, metrics: Sequence[str],
    *, new: bool, keep: bool = True, limit: int | None = None, workers: int | None = None,
) -> Results:  # fmt: skip
    """Bicubic enlargement and ``names`` on all sets.

    Args:
        names: entries of networks, as `wnet benchmark --networks` takes them.
        root: of the repository, below which the values of every face are.
        new: measure only what these have no values of.
        keep: add what was measured to them.
    """
    folder = root / face_values.FOLDER
    options = BenchmarkOptions(
        ["Bicubic", *names], sets, out, protocols=["dic", "sparnet", "rgb"], metrics=list(metrics),
        metric_options={name: {"box": "gt"} for name in DOWNSTREAM if name in metrics},
        baseline=_baseline(names), limit=limit, workers=workers, paper=True, known=face_values.known(folder) if new else None,
    )  # fmt: skip
    found = benchmark(options, command)[0]
    if keep:
        face_values.write(found, folder)
    return found


def grouped() -> list[str]:
    """What docs/results/groups.md measures: no network that went on from another for other faces, and none of a queue."""
    names = [name for name in list_pretrained() if "_sharp_" not in name and "_real_" not in name]
    return [name for name in names if metadata.QUEUE not in metadata.texts(shipped.path(name))]


def _baseline(names: list[str]) -> str:
    """What the others are compared with: SPARNet, the paper's strongest rival that ships, else bicubic enlargement."""
    return "SPARNet" if any(name.startswith(("sparnet_x", "SPARNet=")) for name in names) else "Bicubic"
