"""Thresholds and p-values: by brute force, and by the laws they claim."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sklearn_gauss._numerics.calibration import (
    chi2_threshold,
    hotelling_threshold,
    order_statistic,
    p_values,
    rows_needed,
)

steady = settings(deadline=None, max_examples=60, derandomize=True)
percents = st.integers(1, 99)
scores = st.lists(st.integers(-20, 20), min_size=1, max_size=60)


# ---------------------------------------------------------------- order statistics
@steady
@given(scores, percents)
def test_the_threshold_is_the_order_statistic(values, percent):
    """With the target as the fraction it was meant to be, 0.05 as 1/20."""
    n = len(values)
    rank = math.ceil((n + 1) * (1 - Fraction(percent, 100)))
    ordered = sorted(values, reverse=True)
    want = ordered[rank - 1] if rank <= n else -math.inf
    before = np.array(values, float)
    after = before.copy()
    assert order_statistic(after, percent / 100) == want
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("n", [9, 19, 24, 99, 199, 249, 999])
def test_rounding_of_a_target_does_not_move_the_threshold(n):
    """(n + 1) (1 - t) is a whole number for most of these, but rarely in floats."""
    values = np.arange(float(n))
    for percent in range(1, 100):
        rank = math.ceil((n + 1) * (1 - Fraction(percent, 100)))
        want = n - rank if rank <= n else -math.inf
        assert order_statistic(values, percent / 100) == want


@steady
@given(scores, percents)
def test_at_most_the_target_of_the_calibration_rows_is_flagged(values, percent):
    values = np.array(values, float)
    flagged = (values < order_statistic(values, percent / 100)).sum()
    assert flagged <= Fraction(percent, 100) * (len(values) + 1)


@pytest.mark.parametrize(
    ("target", "n"),
    [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.001, 999), (0.3, 3), (1 / 3, 2)],
)
def test_rows_needed_are_just_enough(target, n):
    assert rows_needed(target) == n
    values = np.arange(float(n))
    assert order_statistic(values, target) == 0.0
    assert order_statistic(values[1:], target) == -np.inf


@steady
@given(st.integers(2, 10_000), st.integers(1, 9_999))
def test_rows_needed_are_enough_for_any_target(denominator, numerator):
    target = Fraction(min(numerator, denominator - 1), denominator)
    n = rows_needed(float(target))
    assert n >= 1
    assert (n + 1) * target >= 1
    assert n == 1 or n * target < 1


def test_infinite_scores_are_scores():
    values = np.array([-np.inf, 1.0, 2.0])
    assert order_statistic(values, 0.25) == -np.inf
    assert order_statistic(values, 0.5) == 1.0


# ------------------------------------------------------------------------ p-values
@steady
@given(scores, st.lists(st.integers(-25, 25), max_size=20))
def test_p_values_count_scores_at_or_below(calibration, values):
    found = p_values(np.array(values, float), np.array(calibration, float))
    n = len(calibration)
    want = [(1 + sum(c <= v for c in calibration)) / (n + 1) for v in values]
    assert found.tolist() == want


@steady
@given(scores, percents)
def test_flagged_means_a_p_value_at_most_the_target(calibration, percent):
    """`score < offset` and `p <= target` are the same verdict, ties among them."""
    calibration = np.array(calibration, float)
    values = np.arange(-25.0, 26.0, 0.5)
    flagged = values < order_statistic(calibration, percent / 100)
    counts = p_values(values, calibration) * (len(calibration) + 1)
    want = [
        Fraction(round(c), len(calibration) + 1) <= Fraction(percent, 100) for c in counts
    ]
    assert flagged.tolist() == want


@pytest.mark.parametrize("n", [9, 19, 50])
def test_p_values_of_exchangeable_scores_are_super_uniform(n):
    """Exactly uniform on 1/(n+1), ..., 1, as far as 20 000 draws can tell."""
    rng = np.random.default_rng(n)
    draws = rng.normal(size=(20_000, n + 1))
    found = np.array([p_values(d[:1], d[1:])[0] for d in draws])
    counts = np.bincount(np.round(found * (n + 1)).astype(int), minlength=n + 2)[1:]
    assert stats.chisquare(counts).pvalue > 1e-4


# ---------------------------------------------------------------------------- laws
def test_chi2_threshold_is_its_quantile():
    assert chi2_threshold(2, 0.05) == pytest.approx(-2 * math.log(0.05), rel=1e-12)
    assert chi2_threshold(1, 0.05) == pytest.approx(stats.norm.isf(0.025) ** 2)
    # A tail far beyond what 1 - cdf could hold.
    assert chi2_threshold(2, 1e-30) == pytest.approx(60 * math.log(10), rel=1e-12)


@pytest.mark.parametrize(("p", "target"), [(3, 0.05), (40, 0.1)])
def test_chi2_holds_for_a_known_gaussian(p, target):
    squares = (np.random.default_rng(p).normal(size=(50_000, p)) ** 2).sum(axis=1)
    rate = (squares > chi2_threshold(p, target)).mean()
    assert abs(rate - target) < 4 * math.sqrt(target * (1 - target) / 50_000)


@pytest.mark.parametrize("centred", [True, False], ids=["mean estimated", "mean known"])
@pytest.mark.parametrize("target", [0.01, 0.05, 0.2])
@pytest.mark.parametrize(("n", "p"), [(12, 1), (12, 5), (40, 30)])
def test_hotellings_law_holds_for_unseen_rows(n, p, target, centred):
    """One unseen row for each of many small samples: independent verdicts."""
    rng = np.random.default_rng(n + p)
    draws = 3000
    X, unseen = rng.normal(size=(draws, n, p)), rng.normal(size=(draws, p))
    mean = X.mean(axis=1) if centred else np.zeros((draws, p))
    Z = X - mean[:, None]
    S = np.einsum("dni,dnj->dij", Z, Z) / n
    z = unseen - mean
    squares = np.einsum("di,di->d", z, np.linalg.solve(S, z[..., None])[..., 0])
    rate = (squares > hotelling_threshold(n, p, target, centred=centred)).mean()
    assert abs(rate - target) < 4 * math.sqrt(target * (1 - target) / draws)


@pytest.mark.parametrize("target", [0.3, 0.05, 1e-9])
def test_in_one_dimension_hotellings_law_is_students(target):
    n = 14
    student = stats.t.isf(target / 2, n - 1) ** 2
    assert hotelling_threshold(n, 1, target) == pytest.approx(student * (n + 1) / (n - 1))
    student = stats.t.isf(target / 2, n) ** 2
    assert hotelling_threshold(n, 1, target, centred=False) == pytest.approx(student)


def test_hotellings_threshold_tends_to_chi2():
    for centred in (True, False):
        assert hotelling_threshold(10**7, 5, 0.05, centred=centred) == pytest.approx(
            chi2_threshold(5, 0.05), rel=1e-5
        )
    assert hotelling_threshold(30, 5, 0.05) > 1.3 * chi2_threshold(5, 0.05)
