"""Intervals, tests and marks, against scipy and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from wnet_arch.benchmark import stats, tables


@pytest.fixture
def values():
    return np.random.default_rng(3).gamma(2.0, 3.0, (60, 4))


def test_intervals_agree_with_scipys_percentile_bootstrap(values):
    ours = stats.intervals(values, resamples=20_000)
    for column, interval in zip(values.T, ours):
        theirs = scipy_stats.bootstrap(
            (column,), np.mean, n_resamples=20_000, method="percentile", random_state=1
        ).confidence_interval
        width = theirs.high - theirs.low
        assert interval.mean == pytest.approx(column.mean())
        assert interval.low == pytest.approx(theirs.low, abs=0.03 * width)
        assert interval.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_intervals_are_the_same_every_time_and_independent_of_other_columns(values):
    together = stats.intervals(values, resamples=700)
    assert together == stats.intervals(values, resamples=700)
    alone = stats.intervals(values[:, 2:3], resamples=700)[0]
    assert (alone.low, alone.high) == pytest.approx((together[2].low, together[2].high), rel=1e-12)


def test_what_could_not_be_measured_is_counted_and_not_averaged(values):
    values[5:25, 1] = np.nan
    values[:, 3] = np.nan
    found = stats.intervals(values, resamples=4000)
    assert found[1].count == 40
    assert found[1].mean == pytest.approx(np.nanmean(values[:, 1]))
    assert found[1].low < found[1].mean < found[1].high
    assert found[3].count == 0
    assert np.isnan([found[3].mean, found[3].low, found[3].high]).all()


def test_identical_images_have_an_infinite_mean_without_a_finite_interval():
    both = stats.intervals(np.array([[np.inf], [-np.inf], [1.0], [2.0]]), resamples=50)[0]
    assert all(np.isnan(value) for value in (both.mean, both.low, both.high))
    assert [tables.number(value, 1) for value in (np.inf, -np.inf, np.nan, -2)] == ["∞", "-∞", "–", "-2.0"]
    found = stats.intervals(np.array([[np.inf], [30.0]]), resamples=50)[0]
    assert (found.mean, found.low, found.high, found.count) == (np.inf, np.inf, np.inf, 2)


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, and never falling
    assert stats.holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_signed_rank_is_scipys_and_knows_its_side(values):
    difference = values[:, 0] - values[:, 1] + 2
    p, side = stats.signed_rank(np.append(difference, np.nan))
    assert p == scipy_stats.wilcoxon(difference).pvalue
    assert side == 1
    assert stats.signed_rank(-difference) == (p, -1)
    assert stats.signed_rank(np.zeros(9)) == (1.0, 0)


def test_pairs_are_paired_corrected_and_antisymmetric(values):
    found = stats.pairwise(values, resamples=500)
    raw = {(i, j): scipy_stats.wilcoxon(values[:, i] - values[:, j]).pvalue for i in range(4) for j in range(i + 1, 4)}
    corrected = stats.holm(np.array(list(raw.values())))
    assert [found[pair].p for pair in raw] == pytest.approx(corrected)
    assert found[0, 1].difference.mean == pytest.approx((values[:, 0] - values[:, 1]).mean())
    assert found[1, 0].difference.low == -found[0, 1].difference.high


def test_a_difference_that_contradicts_its_mean_is_not_significant():
    # 40 faces a little better, 3 very much worse: ranks say up, the mean says down
    values = np.column_stack([np.concatenate([np.full(40, 0.1) + np.arange(40) * 1e-3, np.full(3, -50.0)]), np.zeros(43)])
    found = stats.pairwise(values, resamples=100)[0, 1]
    assert found.p < stats.ALPHA
    assert found.difference.mean < 0
    assert not found.significant


def test_marks_need_a_significant_distance_to_the_next():
    rng = np.random.default_rng(0)
    base = rng.normal(25, 2, 80)
    clear = np.column_stack([base, base + 1 + rng.normal(0, 0.1, 80), base + 2 + rng.normal(0, 0.1, 80)])
    assert stats.marks(clear, "higher") == ["", "second", "best"]
    assert stats.marks(clear, "lower") == ["best", "second", ""]
    tie = np.column_stack([base, base + 1 + rng.normal(0, 0.1, 80), base + 1 + rng.normal(0, 0.1, 80)])
    assert stats.marks(tie, "higher") == ["", "", ""]
    close_behind = np.column_stack([base + 1, base + rng.normal(0, 0.1, 80), base + rng.normal(0, 0.1, 80)])
    assert stats.marks(close_behind, "higher") == ["best", "", ""]
    assert stats.marks(base[:, None], "higher") == [""]


def test_marks_skip_what_was_never_measured():
    base = np.random.default_rng(0).normal(25, 2, 40)
    values = np.column_stack([np.full(40, np.nan), base, base + 1])
    assert stats.marks(values, "higher") == ["", "", "best"]


def test_a_network_that_fails_on_hard_faces_is_not_the_best():
    rng = np.random.default_rng(1)
    hard = rng.gamma(2.0, 1.0, 100)
    worse = hard + 0.05 + rng.normal(0, 0.01, 100)  # an error: lower is better
    lost = hard > np.quantile(hard, 0.6)
    assert stats.marks(np.column_stack([np.where(lost, np.nan, worse), hard]), "lower") == ["", "best"]
    better = np.where(lost, np.nan, hard - 0.05 + rng.normal(0, 0.01, 100))
    assert np.nanmean(better) < hard.mean()
    assert stats.marks(np.column_stack([better, hard]), "lower") == ["", ""]
    few = np.where(np.arange(100) < 3, np.nan, hard - 0.05 + rng.normal(0, 0.01, 100))  # three faces less are no difference
    assert stats.marks(np.column_stack([few, hard]), "lower") == ["best", ""]


def test_one_face_has_no_interval():
    found = stats.intervals(np.array([[30.0], [np.nan], [np.nan]]), resamples=50)[0]
    assert (found.mean, found.count) == (30.0, 1)
    assert np.isnan([found.low, found.high]).all()
    only = stats.pairwise(np.array([[30.0, 31.0]]))[0, 1].difference
    assert only.mean == -1
    assert np.isnan([only.low, only.high]).all()
