"""Nearest and mixed references, against direct differences in extended precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics import residuals
from sklearn_gauss._numerics.residuals import (
    Bank,
    best_temperature,
    mixed,
    nearest,
    unit_rows,
)


def slow_squares(X, R, metric):
    """Squared distances (n, m) in extended precision; of unit rows for the cosine."""
    X, R = X.astype(np.longdouble), R.astype(np.longdouble)
    if metric == "cosine":
        zeros = ~X.any(axis=1)[:, None] != ~R.any(axis=1)  # one of the two, not both
        X, R = (
            Z / np.where(Z.any(axis=1), np.sqrt((Z**2).sum(axis=1)), 1)[:, None]
            for Z in (X, R)
        )
    squares = np.array([[((x - r) ** 2).sum() for r in R] for x in X])
    return np.where(zeros, 2, squares) if metric == "cosine" else squares


def bank_of(R, metric, groups=None):
    return Bank.of(R, np.arange(len(R)) if groups is None else groups, metric)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from(["cosine", "euclidean"]),
    st.sampled_from([0.0, 1.0, 1e8]),
    st.sampled_from([1e-150, 1.0, 1e150]),
    st.sampled_from([1e-4, 64.0]),
)
def test_the_nearest_is_that_of_direct_differences(
    seed, p, metric, offset, scale, memory
):
    rng = np.random.default_rng(seed)
    R, X = (scale * (rng.normal(size=(n, p)) + offset) for n in (30, 8))
    want = slow_squares(X, R, metric)
    found = nearest(bank_of(R, metric), X, n_bytes=memory * 2**20)
    got = want[np.arange(len(X)), found]
    if metric == "cosine" and p == 1:
        assert (found == want.argmin(axis=1)).all()
        return
    # At a distance of 1e-8 of their lengths, unit rows have eight digits left.
    assert (got <= want.min(axis=1) * (1 + (1e-5 if metric == "cosine" else 1e-12))).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_first_of_equal_rows_is_taken(metric):
    R = np.random.default_rng(0).normal(size=(20, 7)) + 50
    R = np.concatenate([R, R, 2 * R if metric == "cosine" else R])
    found = nearest(bank_of(R, metric), R + 0.0)
    np.testing.assert_array_equal(found, np.arange(60) % 20)


def test_two_far_groups_keep_their_digits():
    rng = np.random.default_rng(1)
    R = np.concatenate([rng.normal(size=(15, 3)), 1e9 + rng.normal(size=(15, 3))])
    X = R + 1e-3 * rng.normal(size=R.shape)
    np.testing.assert_array_equal(nearest(bank_of(R, "euclidean"), X), np.arange(30))


def test_a_row_out_of_all_proportion_costs_the_others_nothing():
    R = np.random.default_rng(4).normal(size=(20, 3))
    X = R + 1e-6
    R[7] = 1e250
    want = np.where(np.arange(20) == 7, slow_squares(X, R, "euclidean").argmin(axis=1), 0)
    want += np.where(np.arange(20) == 7, 0, np.arange(20))
    np.testing.assert_array_equal(nearest(bank_of(R, "euclidean"), X), want)


def test_rows_of_zeros_are_like_each_other_alone():
    R = np.array([[-1.0, 0.0], [0.0, 0.0], [0.0, -1.0]])
    bank = bank_of(R, "cosine")
    # All others are on the far side of the first query; the second is a zero itself.
    X = np.array([[1.0, 1.0], [0.0, 0.0], [-1.0, 0.2]])
    np.testing.assert_array_equal(nearest(bank, X), [1, 1, 0])
    own = np.array([9, 1, 9])  # a zero without itself is as far from all
    np.testing.assert_array_equal(nearest(bank, X, own=own), [1, 0, 0])
    weights = np.exp(-slow_squares(X, R, "cosine").astype(float) / (2 * 0.4))
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mixed(bank, X, R, 0.4), X - weights @ R, atol=1e-12)
    left = mixed(bank, X[1:2], R, 0.4, own=own[1:2])
    np.testing.assert_allclose(left, -R[[0, 2]].mean(axis=0)[None])


def test_a_row_is_the_same_alone_and_in_a_batch():
    rng = np.random.default_rng(2)
    R, X = rng.normal(size=(40, 9)) + 1e6, rng.normal(size=(25, 9)) + 1e6
    for metric in ("cosine", "euclidean"):
        bank = bank_of(R, metric)
        alone = np.concatenate([nearest(bank, X[i : i + 1]) for i in range(25)])
        np.testing.assert_array_equal(nearest(bank, X), alone)
        T = best_temperature(bank, R, R, np.arange(40), 2**20)
        alone = np.concatenate([mixed(bank, X[i : i + 1], R, T) for i in range(25)])
        np.testing.assert_allclose(mixed(bank, X, R, T), alone, rtol=0, atol=1e-9)


def test_own_groups_are_left_out():
    R = np.random.default_rng(3).normal(size=(12, 4))
    groups = np.arange(12) // 3
    bank = bank_of(R, "euclidean", groups)
    squares = slow_squares(R, R, "euclidean")
    squares[groups[:, None] == groups] = np.inf
    np.testing.assert_array_equal(nearest(bank, R, own=groups), squares.argmin(axis=1))
    alone = bank_of(R[:3], "euclidean", groups[:3])
    np.testing.assert_array_equal(nearest(alone, R[:1], own=groups[:1]), [-1])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["cosine", "euclidean"]),
    st.sampled_from([0.0, 30.0]),
    st.floats(-3, 2),
)
def test_mixed_references_are_the_softmax_of_the_definition(
    seed, metric, offset, log_temperature
):
    rng = np.random.default_rng(seed)
    R, X = (rng.normal(size=(n, 5)) + offset for n in (12, 4))
    bank, T = bank_of(R, metric), 10.0**log_temperature
    unit = 1.0 if metric == "cosine" else float(bank.frame.scale) ** 2
    squares = slow_squares(X, R, metric)
    weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * T))
    weights /= weights.sum(axis=1, keepdims=True)
    want = X - (weights @ R.astype(np.longdouble))
    got = mixed(bank, X, R, T / unit, n_bytes=1.0)
    np.testing.assert_allclose(got, want.astype(float), atol=1e-9 * (1 + offset))


def test_a_low_temperature_is_the_nearest_row():
    rng = np.random.default_rng(5)
    R, X = rng.normal(size=(30, 4)), rng.normal(size=(6, 4))
    for metric in ("cosine", "euclidean"):
        bank = bank_of(R, metric)
        want = X - R[nearest(bank, X)]
        np.testing.assert_allclose(mixed(bank, X, R, 1e-12), want, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_temperatures_of_nothing_and_without_end(metric):
    rng = np.random.default_rng(8)
    R, X = rng.normal(size=(9, 4)), rng.normal(size=(3, 4))
    bank = bank_of(R, metric)
    want = X - R[nearest(bank, X)]
    np.testing.assert_allclose(mixed(bank, X, R, 0.0), want, atol=1e-15)
    own = np.array([0, 1, 2])
    found = mixed(bank, X, R, np.inf, own=own)
    want = [X[i] - np.delete(R, i, axis=0).mean(axis=0) for i in range(3)]
    np.testing.assert_allclose(found, want, atol=1e-14)


def test_distances_are_computed_twice_for_all_temperatures(monkeypatch):
    calls, scores = [], residuals._scores
    monkeypatch.setattr(residuals, "_scores", lambda *a: calls.append(0) or scores(*a))
    R = np.random.default_rng(9).normal(size=(20, 3))
    best_temperature(bank_of(R, "cosine"), R, R, np.arange(20), 2**20)
    assert len(calls) == 2


def test_the_best_temperature_reconstructs_left_out_rows():
    """On a line with noise, means over neighbours are closer than the nearest row."""
    rng = np.random.default_rng(6)
    R = np.outer(np.linspace(0, 1, 60), np.ones(5)) + 0.1 * rng.normal(size=(60, 5))
    bank, own = bank_of(R, "euclidean"), np.arange(60)
    best = best_temperature(bank, R, R, own, 2**20)
    size = {
        factor: (mixed(bank, R, R, best * factor, own=own) ** 2).sum()
        for factor in (1e-9, 0.25, 1.0, 4.0, 1e9)
    }
    assert min(size, key=size.get) == 1.0
    assert size[1.0] < 0.8 * size[1e-9]


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1.0, 1e160])
def test_unit_rows_have_unit_length(scale):
    Z = unit_rows(scale * np.random.default_rng(7).normal(size=(5, 3)))
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), 1, rtol=1e-15)
    assert not unit_rows(np.zeros((1, 3))).any()


def test_a_query_out_of_range_is_refused():
    bank = bank_of(np.full((2, 1), 1e-100) * [[1], [2]], "euclidean")
    with pytest.raises(ValueError, match="so far from the reference rows"):
        nearest(bank, np.array([[1e250]]))
