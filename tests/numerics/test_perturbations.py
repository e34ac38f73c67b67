"""Perturbed rows: what each kind changes, and that nothing else does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics.perturbations import (
    PERTURBATIONS,
    noise,
    shift,
    stretch,
    swap,
)

steady = settings(deadline=None, max_examples=20, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 12), st.integers(1, 30))
by_kind = pytest.mark.parametrize("draw", PERTURBATIONS.values(), ids=PERTURBATIONS)


def rows(seed, size):
    X = np.random.default_rng(seed).normal(size=size)
    X.flags.writeable = False
    return X, X.std(axis=0), np.random.default_rng(seed)


@by_kind
@steady
@given(seed=seeds, size=sizes)
def test_rows_keep_their_shape_and_their_originals(draw, seed, size):
    X, deviations, rng = rows(seed, size)
    found = draw(X, deviations, rng)
    assert found.shape == X.shape
    assert np.isfinite(found).all()
    assert not np.shares_memory(found, X)
    again = draw(X, deviations, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, again)


@by_kind
def test_no_severity_is_no_change(draw):
    X, deviations, rng = rows(0, (9, 20))
    np.testing.assert_allclose(draw(X, deviations, rng, 0.0), X, rtol=1e-14, atol=1e-15)


@by_kind
def test_severity_scales(draw):
    X, deviations, _ = rows(0, (400, 20))
    little, much = (
        np.abs(draw(X, deviations, np.random.default_rng(1), severity) - X).mean()
        for severity in (0.5, 1.0)
    )
    assert much == pytest.approx(2 * little, rel=0.1)


@steady
@given(seeds, sizes)
def test_swapped_features_are_those_of_one_other_row(seed, size):
    X, deviations, rng = rows(seed, size)
    found = swap(X, deviations, rng)
    touched = max(1, round(0.3 * size[1]))
    for place, row in enumerate(found):
        fit = [
            ((row == X[place]) | (row == other)).all() and (row != X[place]).sum()
            for i, other in enumerate(X)
            if i != place
        ]
        assert touched in fit or len(X) == 1


@steady
@given(seeds, sizes)
def test_shifted_features_are_a_tenth_and_off_by_one_to_three(seed, size):
    X, deviations, rng = rows(seed, (size[0] + 1, size[1]))
    off = (shift(X, deviations, rng) - X) / deviations
    touched = np.abs(off) > 1e-9
    assert (touched.sum(axis=1) == max(1, round(0.1 * size[1]))).all()
    assert ((np.abs(off[touched]) > 1 - 1e-6) & (np.abs(off[touched]) < 3 + 1e-6)).all()


def test_noise_is_as_wide_as_it_says():
    X, deviations, rng = rows(0, (400, 300))
    off = (noise(X, deviations, rng) - X) / deviations
    widths = off.std(axis=1)
    assert widths.min() > 0.15
    assert widths.max() < 0.9
    assert abs(widths.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(off.T)[np.triu_indices(300, 1)]).mean() < 0.1


def test_stretched_rows_lie_in_their_own_direction():
    X, deviations, rng = rows(0, (50, 7))
    found, centre = stretch(X, deviations, rng), X.mean(axis=0)
    factors = (found - centre) / (X - centre)
    np.testing.assert_allclose(factors, factors[:, :1] * np.ones(7), rtol=1e-6)
    assert factors.min() > 1.3 - 1e-6
    assert factors.max() < 2 + 1e-6


def test_features_without_variance_stay():
    X = np.ones((6, 4))
    for draw in PERTURBATIONS.values():
        np.testing.assert_array_equal(draw(X, X.std(axis=0), np.random.default_rng(0)), X)
