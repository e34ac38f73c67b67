"""Left-out densities in closed form against fits to the other rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics.density import squared_mahalanobis
from sklearn_gauss._numerics.gaussian import estimate, leave_one_out
from sklearn_gauss._numerics.leave_one_out import (
    Whitened,
    best_intensity,
    left_out,
    left_out_spread,
)
from sklearn_gauss._numerics.sums import summarise

steady = settings(deadline=None, max_examples=25, derandomize=True)
RULES = ["ledoit_wolf", "oas", "rblw", 0.1, 0.9, 1.0]


@st.composite
def rows(draw, fewest=4):
    n, p = draw(st.integers(fewest, 14)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = np.logspace(0, -draw(st.floats(0, 1.5)), p)
    return rng.normal(size=(n, p)) * spread @ rng.normal(size=(p, p)) + rng.normal(size=p)


def refits(X, rule, *, centred):
    """Distances and log-densities by n fits."""
    found = []
    for i, row in enumerate(X):
        sums = summarise(
            np.delete(X, i, axis=0), centred=centred, dense=False, by_column=False
        )
        model = estimate(sums, rule)
        square = squared_mahalanobis(row[None], model.centre, model.covariance)[0]
        found.append((square, model.log_density(square), model.shrinkage))
    return np.array(found).T


def closed_form(X, rule, *, centred, dense=False, solver="auto", rows=None):
    sums = summarise(X, centred=centred, dense=dense, by_column=False)
    model = estimate(sums, rule, solver=solver, X=X)
    return leave_one_out(sums, model, rule, X if rows is None else X[rows])


@pytest.mark.parametrize("centred", [True, False], ids=["mean estimated", "mean known"])
@pytest.mark.parametrize("rule", RULES)
@steady
@given(X=rows())
def test_left_out_is_n_refits(rule, centred, X):
    squares, densities, _ = refits(X, rule, centred=centred)
    for options in ({}, {"dense": True}, {"dense": True, "solver": "lowrank"}):
        found = closed_form(X, rule, centred=centred, **options)
        np.testing.assert_allclose(found.squares, squares, rtol=1e-9)
        np.testing.assert_allclose(found.densities, densities, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", ["ledoit_wolf", 0.0])
@pytest.mark.parametrize("centred", [True, False], ids=["mean estimated", "mean known"])
def test_left_out_is_n_refits_to_ten_digits(rule, centred):
    X = np.random.default_rng(0).normal(size=(40, 6)) @ np.diag([3, 2, 1, 1, 1, 0.5])
    squares, densities, _ = refits(X, rule, centred=centred)
    found = closed_form(X, rule, centred=centred)
    np.testing.assert_allclose(found.squares, squares, rtol=1e-10)
    np.testing.assert_allclose(found.densities, densities, rtol=1e-10)


def test_some_rows_give_what_they_give_among_all():
    X = np.random.default_rng(1).normal(size=(30, 5))
    whole = closed_form(X, "ledoit_wolf", centred=True)
    some = closed_form(X, "ledoit_wolf", centred=True, rows=[4, 2, 17])
    np.testing.assert_allclose(some.squares, whole.squares[[4, 2, 17]], rtol=1e-12)


def test_left_out_is_worse_than_left_in():
    X = np.random.default_rng(2).normal(size=(15, 40))
    sums = summarise(X, centred=True, dense=False, by_column=False)
    model = estimate(sums, 0.3)
    found = leave_one_out(sums, model, 0.3, X)
    inside = squared_mahalanobis(X, model.centre, model.covariance)
    assert (found.squares > 1.2 * inside).all()
    assert (found.densities < model.log_density(inside)).all()


# ------------------------------------------------------------------------- spreads
@pytest.mark.parametrize("centred", [True, False], ids=["mean estimated", "mean known"])
@steady
@given(X=rows())
def test_left_out_spread_is_that_of_the_other_rows(centred, X):
    n, p = X.shape
    sums = summarise(X, centred=centred, dense=True, by_column=False)
    Z = sums.centre.enter(X)
    none = np.zeros(n)
    each = Whitened(
        none[:, None],
        np.ones(1),
        0,
        0.0,
        0.0,
        (Z**2).sum(axis=1),
        ((Z @ Z.T) ** 2).sum(axis=1) / n,
        Z @ sums.totals.cubic,
    )
    found = left_out_spread(sums.totals.spread, each, centred=centred)
    assert (found.count, found.n_features) == (n - 1, p)
    for i in range(n):
        others = summarise(
            np.delete(X, i, axis=0), centred=centred, dense=True, by_column=False
        ).totals.spread
        trace = sums.totals.spread.trace
        size = (trace, trace**2, sums.totals.spread.quartic)
        for got, want, unit in zip(found[2:], others[2:], size, strict=True):
            assert np.broadcast_to(got, n)[i] == pytest.approx(
                want, rel=1e-9, abs=1e-10 * unit
            )


# ----------------------------------------------------------------------- intensity
def mean_left_out(X, amount, *, centred=True):
    return refits(X, amount, centred=centred)[1].mean()


@pytest.mark.parametrize("shape", [(12, 30), (30, 6)], ids=["n < p", "n > p"])
def test_the_most_likely_intensity_is_the_best_of_a_grid(shape):
    rng = np.random.default_rng(3)
    X = rng.normal(size=shape) * np.logspace(0, -1, shape[1])
    sums = summarise(X, centred=True, dense=False, by_column=False)
    best = estimate(sums, "loo", X=X).shrinkage
    grid = np.unique(np.r_[np.logspace(-4, 0, 30), best * np.array([0.99, 1.01])])
    grid = grid[grid <= 1]
    assert mean_left_out(X, best) >= max(mean_left_out(X, a) for a in grid) - 1e-9
    assert 1e-4 < best < 1


def test_left_out_densities_of_the_chosen_intensity_keep_it():
    X = np.random.default_rng(4).normal(size=(10, 15))
    sums = summarise(X, centred=True, dense=False, by_column=False)
    model = estimate(sums, "loo", X=X)
    kept = leave_one_out(sums, model, "loo", X)
    fixed = leave_one_out(sums, model, model.shrinkage, X)
    np.testing.assert_array_equal(kept.densities, fixed.densities)


@pytest.mark.parametrize("peak", [1e-5, 3.21e-3, 0.5, 0.99])
def test_best_intensity_finds_a_maximum(peak):
    found = best_intensity(lambda a: -((np.log(a) - np.log(peak)) ** 2))
    assert found == pytest.approx(peak, rel=1e-5)


def test_best_intensity_takes_the_higher_of_two_maxima():
    def two(amount):
        x = np.log10(amount)
        return np.exp(-((x + 4) ** 2) * 8) + 1.1 * np.exp(-((x + 1) ** 2) * 8)

    assert best_intensity(two) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize(("sign", "end"), [(1, 1.0), (-1, 1e-6)])
def test_best_intensity_goes_to_the_ends(sign, end):
    assert best_intensity(lambda a: sign * np.log(a)) == pytest.approx(end, rel=1e-6)


def test_a_known_case_by_hand():
    """Rows -1, 0, 1 with a known mean of 0 and intensity 1: the target alone counts."""
    X = np.array([[-1.0], [0.0], [1.0]])
    sums = summarise(X, centred=False, dense=True, by_column=False)
    found = leave_one_out(sums, estimate(sums, 1.0), 1.0, X)
    np.testing.assert_allclose(found.squares, [2.0, 0.0, 2.0])
    want = -0.5 * (np.log(2 * np.pi) + np.log([0.5, 1.0, 0.5]) + [2.0, 0.0, 2.0])
    np.testing.assert_allclose(found.densities, want)


def test_left_out_takes_scalars_for_all_rows():
    rows_ = Whitened(
        np.array([[1.0], [2.0]]),
        np.array([0.5]),
        2,
        0.0,
        1.0,
        np.zeros(2),
        np.zeros(2),
        np.zeros(2),
    )
    scalar = left_out(rows_, 5, 0.4, 1.5, centred=True)
    arrays = left_out(rows_, 5, np.full(2, 0.4), np.full(2, 1.5), centred=True)
    np.testing.assert_array_equal(scalar.squares, arrays.squares)
    np.testing.assert_array_equal(scalar.densities, arrays.densities)
