"""Means with bootstrap intervals, and paired tests between networks. Only arrays in and out; NaN means "not measurable"."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import binomtest, wilcoxon

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
ALPHA = 0.05
#: Resamples worked on at a time: memory stays flat.
_BLOCK = 500
#: Draws of up to this many numbers, two bytes each, are kept in memory.
_KEEP = 50_000_000

#: What the report prints about its statistics.
METHOD = (
    f"Intervals: {LEVEL:.0%} percentile bootstrap over faces, {RESAMPLES:,} resamples, seed {SEED}. "
    "Differences are paired by face. Tests: two-sided Wilcoxon signed-rank on the paired differences; p values are corrected "
    f"after Holm over all pairs of networks of the column (one set, scale and metric); significant: p < {ALPHA}, and the ranks lie "
    "on the side of the mean."
)


@dataclass(frozen=True)
class Interval:
    """Mean over ``count`` faces with the ends of its interval, NaN for one face. All NaN if there is nothing to average."""

    mean: float
    low: float
    high: float
    count: int


def intervals(values: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> list[Interval]:
    """Means of columns with percentile bootstrap intervals.

    All columns see the same resamples of faces, so that columns stay comparable. A resample's mean is taken over the faces in
    it that could be measured.

    Args:
        values: (faces, columns), NaN where a metric could not be measured.
        resamples: how often the faces are drawn anew.
        seed: of the draws.

    Returns:
        One :class:`Interval` a column. A column that holds an infinite value (PSNR of identical images) has no finite interval.
    """
    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(invalid="ignore"):
        mean = np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)
    low, high = np.quantile(_resampled_means(values, known, resamples, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    infinite = np.isinf(values).any(0)
    low, high = np.where(infinite, mean, low), np.where(infinite, mean, high)
    low, high = np.where(count > 1, low, np.nan), np.where(count > 1, high, np.nan)  # one face says nothing of others
    rows = zip(mean, low, high, count)
    return [Interval(float(centre), float(first), float(last), int(n)) for centre, first, last, n in rows]


def _resampled_means(values: np.ndarray, known: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples, columns). Drawing n faces with replacement is drawing how often each face occurs."""
    filled = np.where(known & np.isfinite(values), values, 0.0)
    weights = known.astype(float)
    means = np.empty((resamples, values.shape[1]))
    start = 0
    for drawn in _draws(len(values), resamples, seed):
        times = drawn.astype(float)
        counts = times @ weights
        sums = times @ filled
        # A resample without any measured face says nothing; the mean of all stands in for it.
        block = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        means[start : start + len(block)] = block
        start += len(block)
    empty = np.isnan(means)
    if empty.any():
        overall = np.divide(filled.sum(0), weights.sum(0), out=np.full(values.shape[1], np.nan), where=weights.sum(0) > 0)
        means = np.where(empty, overall, means)
    return means


def _draws(faces: int, resamples: int, seed: int) -> Iterable[np.ndarray]:
    """How often each face occurs in each resample: blocks (n, faces). Kept for the next column, unless they are large."""
    return _kept_draws(faces, resamples, seed) if faces * resamples <= _KEEP else _blocks(faces, resamples, seed)


@lru_cache(maxsize=4)
def _kept_draws(faces: int, resamples: int, seed: int) -> list[np.ndarray]:
    return list(_blocks(faces, resamples, seed))


def _blocks(faces: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        yield rng.multinomial(faces, np.full(faces, 1 / faces), size=min(_BLOCK, resamples - start)).astype(np.uint16)


@dataclass(frozen=True)
class Difference:
    """Paired difference of two columns, first minus second, over the ``faces`` where both could be measured.

    ``p`` is the corrected p value. ``sign`` is the side on which the ranks of the differences lie (+1, -1, 0), so that a
    significant result can be told from one that contradicts the mean.
    """

    difference: Interval
    p: float
    sign: int

    @property
    def significant(self) -> bool:
        """Whether p is below :data:`ALPHA`, and the ranks lie on the side of the mean."""
        return self.p < ALPHA and self.sign == np.sign(self.difference.mean)


def pairwise(values: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> dict[tuple[int, int], Difference]:
    """Every column against every other.

    Args:
        values: (faces, columns), NaN where a metric could not be measured.

    Returns:
        ``(i, j)`` to column i minus column j, for all i != j. p values are corrected after Holm over the pairs.
    """
    pairs = list(itertools.combinations(range(values.shape[1]), 2))
    if not pairs:
        return {}
    differences = np.column_stack([_subtract(values[:, i], values[:, j]) for i, j in pairs])
    tests = [signed_rank(column) for column in differences.T]
    corrected = holm(np.array([p for p, _ in tests]))
    found = {}
    for (i, j), interval, p, (_, sign) in zip(pairs, intervals(differences, resamples, seed), corrected, tests):
        found[i, j] = Difference(interval, float(p), sign)
        found[j, i] = Difference(Interval(-interval.mean, -interval.high, -interval.low, interval.count), float(p), -sign)
    return found


def _subtract(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(first == second, np.where(np.isnan(first), np.nan, 0.0), first - second)  # inf - inf is no difference


def signed_rank(differences: np.ndarray) -> tuple[float, int]:
    """Two-sided Wilcoxon signed-rank test: p value, and the side on which the larger rank sum lies. NaN are left out."""
    differences = differences[~np.isnan(differences)]
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0, 0
    ranks = wilcoxon(moved, alternative="greater")
    both = wilcoxon(moved)
    total = moved.size * (moved.size + 1) / 2
    return float(both.pvalue), int(np.sign(ranks.statistic - total / 2))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction: the k-th smallest of m p values times (m - k + 1), never falling, at most 1."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def marks(values: np.ndarray, better: str, tests: dict[tuple[int, int], Difference] | None = None) -> list[str]:
    """``best``, ``second`` or nothing for each column.

    Columns are ranked by their means over the faces that all of them have: a network that fails on hard faces has an easier
    mean. The best is marked only if it differs significantly from the second, and does not lack significantly more faces; the
    second, only if the best is marked and the same holds between it and the third.

    Args:
        values: (faces, columns).
        better: ``higher`` or ``lower``.
        tests: what :func:`pairwise` found, if it is at hand.
    """
    tests = pairwise(values) if tests is None else tests
    marked = [""] * values.shape[1]
    means = common_means(values)
    ranked = [i for i in np.argsort(-means if better == "higher" else means, kind="stable") if not np.isnan(means[i])]
    for place, mark in enumerate(("best", "second")):
        if place + 1 >= len(ranked):
            break
        test = tests[ranked[place], ranked[place + 1]]
        ahead = test.sign > 0 if better == "higher" else test.sign < 0
        if not (test.significant and ahead) or lacks_more(*values.T[ranked[place : place + 2]]):
            break
        marked[ranked[place]] = mark
    return marked


def common_means(values: np.ndarray) -> np.ndarray:
    """Means over the faces that are known in all columns, but for columns that know none: (faces, columns) to (columns,)."""
    known = ~np.isnan(values)
    some = known.any(0)
    common = values[known[:, some].all(1)]
    if not len(common):
        return np.full(values.shape[1], np.nan)
    with np.errstate(invalid="ignore"):
        return np.where(some, common.mean(0), np.nan)


def lacks_more(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the first column lacks significantly more faces than the second (exact McNemar test, one-sided)."""
    only_first, only_second = int((np.isnan(first) & ~np.isnan(second)).sum()), int((np.isnan(second) & ~np.isnan(first)).sum())
    apart = only_first + only_second
    return apart > 0 and binomtest(only_first, apart, alternative="greater").pvalue < ALPHA
