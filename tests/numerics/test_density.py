"""Distances and log-densities, from whatever operator has the verbs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sklearn_gauss._numerics import arrays
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.dense import from_covariance
from sklearn_gauss._numerics.density import log_density, squared_mahalanobis
from sklearn_gauss._numerics.lowrank import LowRankIsotropic

steady = settings(deadline=None, max_examples=40, derandomize=True)


@st.composite
def gaussians(draw):
    """(frame, operator, mean, covariance) in the data's units."""
    p = draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    root = rng.normal(size=(p, p)) + 2 * np.eye(p)
    covariance = root @ root.T + 0.1 * np.eye(p)
    mean = rng.normal(size=p) * 10
    scale = 2.0 ** draw(st.integers(-3, 3))
    operator = from_covariance(covariance / scale**2)
    origin = np.round(mean)
    frame = Frame(origin, (mean - origin) / scale, np.array(scale))
    return frame, operator, mean, covariance


@steady
@given(gaussians(), st.integers(0, 2**32 - 1))
def test_densities_are_those_of_scipy(example, seed):
    frame, operator, mean, covariance = example
    X = mean + np.random.default_rng(seed).normal(size=(7, len(mean))) * 3
    squares = squared_mahalanobis(X, frame, operator)
    Z = X - mean
    want = np.einsum("ij,ij->i", Z, np.linalg.solve(covariance, Z.T).T)
    np.testing.assert_allclose(squares, want, rtol=1e-9)
    logdet = operator.logdet + 2 * frame.log_volume(operator.rank)
    np.testing.assert_allclose(
        log_density(squares, operator.rank, logdet),
        stats.multivariate_normal(mean, covariance).logpdf(X).reshape(-1),
        rtol=1e-9,
        atol=1e-9,
    )


def test_a_density_is_normalised_by_its_rank():
    assert log_density(np.array([0.0]), 1, 0.0)[0] == pytest.approx(
        math.log(1 / math.sqrt(2 * math.pi))
    )
    assert log_density(np.array([4.0]), 3, 2.0)[0] == pytest.approx(
        -1.5 * math.log(2 * math.pi) - 1 - 2
    )


def test_any_number_of_rows_gives_the_same_distances(rng, monkeypatch):
    X = rng.normal(size=(500, 4))
    X.flags.writeable = False
    operator = LowRankIsotropic(np.eye(4)[:2], np.array([3.0, 1.0]), 0.5)
    whole = squared_mahalanobis(X, Frame.at_zero(4), operator)
    monkeypatch.setattr(arrays, "CHUNK_ELEMENTS", 1)
    np.testing.assert_allclose(
        squared_mahalanobis(X, Frame.at_zero(4), operator), whole, rtol=1e-14
    )
    assert squared_mahalanobis(X[:0], Frame.at_zero(4), operator).shape == (0,)


@pytest.mark.parametrize("far", [1e200, -1e200, 1.7e308])
def test_beyond_the_range_a_distance_is_infinite_and_nothing_warns(far):
    operator = from_covariance(np.array([[2.0, 1.0], [1.0, 2.0]]))
    X = np.array([[far, far], [0.0, 0.0]])
    assert squared_mahalanobis(X, Frame.at_zero(2), operator).tolist() == [np.inf, 0.0]


class Overflowing:
    """All that a distance asks of a covariance: an infinity minus an infinity."""

    def squared_lengths(self, Z):
        return np.full(len(Z), np.inf) - np.full(len(Z), np.inf)


def test_what_overflows_on_the_way_is_infinite_not_nan():
    X = np.full((2, 3), 1.7e308)
    found = squared_mahalanobis(X, Frame.at_zero(3), Overflowing())
    assert found.tolist() == [np.inf, np.inf]
    operator = LowRankIsotropic(np.full((1, 3), 3**-0.5), np.array([1e3]), 1e-3)
    found = squared_mahalanobis(X, Frame.at_zero(3), operator)
    assert found.tolist() == [np.inf, np.inf]
