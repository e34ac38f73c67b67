"""Directions of anomalies: cosines beside left-out rows against refits, and clusters."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.prototypes import (
    Directions,
    GaussianSpace,
    ResidualSpace,
    cosines,
    placements,
)


def cosine(u, v, P):
    """Cosine of two vectors under a metric."""
    return u @ P @ v / np.sqrt((u @ P @ u) * (v @ P @ v))


def covariance(X, shrinkage, target):
    """Covariance (p, p) of rows, shrunk towards a multiple of the identity."""
    S = np.atleast_2d(np.cov(X.T, bias=True))
    return (1 - shrinkage) * S + shrinkage * target * np.eye(len(S))


def directions(X, A, shrinkage):
    """Directions of rows A beside rows X, and target and precision of these."""
    mean, nu = X.mean(axis=0), 1 / (len(X) - 1)
    target = np.trace(np.atleast_2d(np.cov(X.T, bias=True))) / X.shape[1]
    P = np.linalg.inv(covariance(X, shrinkage, target))
    sizes = 2.0 ** (np.arange(len(A)) % 3)  # of any size
    offsets = (A - mean) / sizes[:, None], sizes
    found = Directions.of(offsets, X - mean, lambda Z: Z @ P, nu, (1 - shrinkage) * nu)
    return found, target, P


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(4, 15),
    st.integers(1, 30),
    st.floats(0.05, 1),
    st.booleans(),
)
def test_left_out_cosines_are_those_of_refits(seed, n, p, shrinkage, clustered):
    rng = np.random.default_rng(seed)
    X, A = rng.normal(size=(n, p)), rng.normal(size=(40 if clustered else 3, p)) + 1
    found, target, P = directions(X, A, shrinkage)
    some = np.arange(len(A))
    weights = found.grouped(some, some % 4) if clustered else found.singly(some)
    got = found.left_out_cosines(weights)
    mean = X.mean(axis=0)
    lengths = np.sqrt(np.einsum("ij,jk,ik->i", A - mean, P, A - mean))
    for i in range(n):
        others = np.delete(X, i, axis=0)
        left = np.linalg.inv(covariance(others, shrinkage, target * n / (n - 1)))
        moved = weights / lengths @ (A - others.mean(axis=0))  # the same combinations
        for j, prototype in enumerate(moved):
            want = cosine(X[i] - others.mean(axis=0), prototype, left)
            assert got[i, j] == pytest.approx(want, abs=1e-8)


def test_prototypes_are_the_means_of_whitened_clusters():
    rng = np.random.default_rng(12)
    X, A = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(30, 6))
    found, _, P = directions(X, A, 0.1)
    root = np.linalg.cholesky(P)
    W = (A - X.mean(axis=0)) @ root
    lengths = np.linalg.norm(W, axis=1)
    W /= lengths[:, None]
    coordinates = found.coordinates
    np.testing.assert_allclose(coordinates @ coordinates.T, W @ W.T, atol=1e-7)
    some = np.arange(3, 30)
    groups = rng.integers(3, size=27) + 5  # of whatever names
    weights = found.grouped(some, groups)
    prototypes = found.prototypes(weights) @ root
    for i, prototype in enumerate(prototypes):
        members = some[groups == i + 5]
        mean = W[members].mean(axis=0)
        want = mean / np.linalg.norm(mean) * lengths[members].mean()
        np.testing.assert_allclose(prototype, want, atol=1e-9)
    want = W[:3] @ prototypes.T / np.linalg.norm(prototypes, axis=1)
    np.testing.assert_allclose(found.cosines(np.arange(3), weights), want, atol=1e-12)
    singly = found.prototypes(found.singly(some))
    np.testing.assert_allclose(singly, A[some] - X.mean(axis=0), atol=1e-12)


def test_an_anomaly_at_the_mean_has_no_direction():
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    found, _, _ = directions(X, np.array([[0.0, 0.0], [1.0, 1.0]]), 0.5)
    weights = found.singly(np.arange(2))
    assert not found.left_out_cosines(weights)[:, 0].any()
    np.testing.assert_array_equal(found.cosines(np.arange(2), weights)[0], [0, 0])
    np.testing.assert_array_equal(found.prototypes(weights)[0], [0, 0])


def test_offsets_that_overflow_keep_their_direction():
    frame = Frame(np.array([0.0, 1e308]), np.zeros(2), np.array(1.0))
    gauss = GaussianSpace(SimpleNamespace(centre=frame))
    residual = ResidualSpace(np.array([[0.0, 1e308]]))
    for space in (gauss, residual):
        Z, sizes = space.offsets(np.array([[1e308, -1e308], [3.0, 1e308]]))
        np.testing.assert_allclose(Z[0, 1] / Z[0, 0], -2)
        np.testing.assert_array_equal(Z[1] * sizes[1], [3, 0])
        assert np.isfinite(sizes).all()


def test_cosines_do_not_depend_on_the_size_of_prototypes():
    rng = np.random.default_rng(1)
    Z, R = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    want = [[cosine(z, r, np.eye(4)) for r in R] for z in Z]
    for size in (1.0, 1e-300, 1e300):
        got = cosines(Z, size * R, lambda rows: rows)
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_placements_average_to_the_area_under_the_curve():
    rng = np.random.default_rng(13)
    odd, normal = rng.integers(0, 9, 20) + 2.0, rng.integers(0, 9, 30) + 0.0
    y = np.repeat([1, 0], [20, 30])
    want = roc_auc_score(y, np.concatenate([odd, normal]))
    assert placements(odd, normal).mean() == pytest.approx(want, abs=1e-12)
