"""Student's law against mpmath, SciPy and a plain search for the greatest likelihood."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from sklearn_gauss._numerics.density import log_density
from sklearn_gauss._numerics.tails import fit_tail, student_log_density, student_pull


@pytest.mark.parametrize("df", [0.3, 4.0, 1e3, 1e6])
@pytest.mark.parametrize("rank", [1, 7, 512, 20_000])
@pytest.mark.parametrize("scale", [1e-3, 2.0])
def test_log_density_in_fifty_digits(df, rank, scale):
    squares = np.array([0.0, 1e-8, 1.0, rank / 2, 1e9])
    with mpmath.workdps(50):
        nu, r, s = mpmath.mpf(df), mpmath.mpf(rank), mpmath.mpf(scale)
        expected = [
            mpmath.loggamma((nu + r) / 2)
            - mpmath.loggamma(nu / 2)
            - r / 2 * mpmath.log(nu * mpmath.pi * s)
            - mpmath.mpf("1.5") / 2
            - (nu + r) / 2 * mpmath.log(1 + mpmath.mpf(float(u)) / (nu * s))
            for u in squares
        ]
    found = student_log_density(squares, rank, 1.5, df, scale)
    expected = np.array(expected, dtype=float)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-9)


def test_log_density_is_that_of_scipy():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    X, covariance = rng.normal(size=(20, 3)), root @ root.T
    squares = np.einsum("ij,ij->i", X @ np.linalg.inv(covariance), X)
    law = stats.multivariate_t(np.zeros(3), 0.7 * covariance, df=3.5)
    found = student_log_density(squares, 3, np.linalg.slogdet(covariance)[1], 3.5, 0.7)
    np.testing.assert_allclose(found, law.logpdf(X), rtol=1e-12)


def test_infinite_degrees_are_the_gaussian():
    squares = np.array([0.0, 3.0, 50.0])
    found = student_log_density(squares, 4, 0.3, np.inf, 1.0)
    np.testing.assert_array_equal(found, log_density(squares, 4, 0.3))
    scaled = student_log_density(squares, 4, 0.3, np.inf, 2.5)
    law = stats.multivariate_normal(np.zeros(4), 2.5 * np.exp(0.3 / 4) * np.eye(4))
    X = np.zeros((3, 4))
    X[:, 0] = np.sqrt(squares * np.exp(0.3 / 4))
    np.testing.assert_allclose(scaled, law.logpdf(X), rtol=1e-12)
    many = student_log_density(squares, 4, 0.3, 1e12, 2.5)
    np.testing.assert_allclose(many, scaled, rtol=1e-9)


@pytest.mark.parametrize("df", [0.5, 3.0, np.inf])
def test_pull_is_the_slope(df):
    u, step = np.array([0.5, 4.0, 90.0]), 1e-5
    slope = (
        student_log_density(u + step, 6, 0.0, df, 1.7)
        - student_log_density(u - step, 6, 0.0, df, 1.7)
    ) / (2 * step)
    np.testing.assert_allclose(student_pull(u, 6, df, 1.7), -2 * slope, rtol=1e-6)


def draw_squares(rank, df, n, seed):
    """Squared distances of rows of Student's law, or of a Gaussian."""
    rng = np.random.default_rng(seed)
    squares = rng.chisquare(rank, n)
    return squares if np.isinf(df) else squares * df / rng.chisquare(df, n)


@pytest.mark.parametrize(("rank", "df"), [(1, 1.0), (3, 0.6), (20, 4.0)])
def test_the_likelihood_is_the_greatest(rank, df):
    squares = draw_squares(rank, df, 400, seed=1)

    def loss(point):
        nu, scale = np.exp(point)
        constant = stats.t.logpdf(0, nu) if rank == 1 else None
        if rank == 1:
            return -np.mean(
                stats.t.logpdf(np.sqrt(squares / scale), nu) - 0.5 * np.log(scale)
            ) + 0 * constant
        law = stats.multivariate_t(np.zeros(rank), scale * np.eye(rank), df=nu)
        X = np.zeros((len(squares), rank))
        X[:, 0] = np.sqrt(squares)
        return -law.logpdf(X).mean()

    found = fit_tail(squares, rank)
    best = optimize.minimize(
        loss, np.log([5.0, 1.0]), method="Nelder-Mead", options={"fatol": 1e-12}
    )
    assert loss(np.log(found)) <= best.fun + 1e-9
    np.testing.assert_allclose(np.log(found), best.x, atol=1e-3)


def test_what_was_drawn_is_found():
    df, scale = fit_tail(3.0 * draw_squares(30, 6.0, 4000, seed=0), 30)
    assert df == pytest.approx(6.0, rel=0.1)
    assert scale == pytest.approx(3.0, rel=0.05)


def test_a_lighter_tail_than_the_gaussian_is_taken_for_gaussian():
    df, scale = fit_tail(np.linspace(9.9, 10.1, 50), 10)
    assert np.isinf(df)
    assert scale == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(
    rank=st.integers(1, 400),
    df=st.floats(0.4, 50),
    exponent=st.integers(-300, 300),
    seed=st.integers(0, 99),
)
def test_the_scale_follows_the_squares(rank, df, exponent, seed):
    squares = draw_squares(rank, df, 60, seed)
    first, second = fit_tail(squares, rank), fit_tail(squares * 10.0**exponent, rank)
    if np.isinf(first[0]) or np.isinf(second[0]):
        assert max(first[0], second[0]) > 100
    else:
        assert second[0] == pytest.approx(first[0], rel=1e-3)
    assert second[1] == pytest.approx(first[1] * 10.0**exponent, rel=1e-3)


@pytest.mark.parametrize("squares", [[4.0], [4.0, 4.0], [0.0, 0.0, 5.0, 6.0, 7.0]])
def test_few_or_equal_distances_have_a_law(squares):
    df, scale = fit_tail(np.array(squares), 3)
    assert df > 0
    assert 0 < scale < np.inf
