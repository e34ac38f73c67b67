"""The dense operator, by its three constructors, against the matrix it stands for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics.dense import (
    DenseCovariance,
    from_covariance,
    from_precision,
    from_root,
)

steady = settings(deadline=None, max_examples=60, derandomize=True)


def spd(seed, p, log_condition, scale):
    """(root, matrix = root.T @ root), eigenvalues spanning the condition."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(p, p)))[0]
    values = np.logspace(0, -log_condition, p) * scale
    root = np.sqrt(values)[:, None] * vectors.T
    return root, root.T @ root


@st.composite
def pairs(draw):
    """(operator, matrix, rows): every constructor, condition to 1e5, any scale."""
    p, seed = draw(st.integers(1, 12)), draw(st.integers(0, 2**32 - 1))
    root, matrix = spd(seed, p, draw(st.floats(0, 5)), 10.0 ** draw(st.integers(-6, 6)))
    operator = {
        "covariance": lambda: from_covariance(matrix),
        "root": lambda: from_root(root),
        "many rows": lambda: from_root(np.vstack([root, root]) / np.sqrt(2)),
        "precision": lambda: from_precision(np.linalg.inv(matrix)),
    }[draw(st.sampled_from(["covariance", "root", "many rows", "precision"]))]()
    return operator, matrix, np.random.default_rng(seed).normal(size=(5, p))


def quadratic(matrix, Z):
    return np.einsum("ij,ij->i", Z, np.linalg.solve(matrix, Z.T).T)


@steady
@given(pairs())
def test_every_verb_is_that_of_the_matrix(pair):
    operator, matrix, Z = pair
    p = len(matrix)
    assert (operator.n_features, operator.rank) == (p, p)
    assert operator.trace == pytest.approx(np.trace(matrix), rel=1e-9)
    assert operator.logdet == pytest.approx(np.linalg.slogdet(matrix)[1], abs=1e-8)
    want = quadratic(matrix, Z)
    np.testing.assert_allclose(operator.squared_lengths(Z), want, rtol=1e-8)
    np.testing.assert_allclose((operator.whiten(Z) ** 2).sum(axis=1), want, rtol=1e-8)
    size = np.abs(matrix).max()
    np.testing.assert_allclose(operator.to_dense(), matrix, rtol=0, atol=1e-9 * size)
    inverse = np.linalg.inv(matrix)
    size = np.abs(inverse).max()
    np.testing.assert_allclose(operator.precision(), inverse, rtol=0, atol=1e-8 * size)
    np.testing.assert_allclose(
        operator.solve(Z), Z @ inverse, rtol=0, atol=1e-8 * size * np.abs(Z).max() * p
    )


@steady
@given(pairs(), st.floats(0.001, 1))
def test_shrinking_is_shrinking_the_matrix(pair, amount):
    operator, matrix, Z = pair
    p = len(matrix)
    want = (1 - amount) * matrix + amount * np.trace(matrix) / p * np.eye(p)
    shrunk = operator.shrink(amount)
    np.testing.assert_allclose(
        shrunk.to_dense(), want, rtol=0, atol=1e-9 * np.abs(want).max()
    )
    assert shrunk.logdet == pytest.approx(np.linalg.slogdet(want)[1], abs=1e-8)
    np.testing.assert_allclose(shrunk.squared_lengths(Z), quadratic(want, Z), rtol=1e-8)
    assert shrunk.trace == pytest.approx(operator.trace, rel=1e-8)


@steady
@given(pairs())
def test_principal_axes_take_the_distance_apart(pair):
    operator, matrix, Z = pair
    parts, residual, variances, axes = operator.decompose(Z)
    np.testing.assert_allclose(
        parts.sum(axis=1) + residual, quadratic(matrix, Z), rtol=1e-8
    )
    assert (np.diff(variances) <= 1e-9 * variances[0]).all()
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-9)
    rebuilt = (axes.T * variances) @ axes
    np.testing.assert_allclose(rebuilt, matrix, rtol=0, atol=1e-9 * variances[0])


# ---------------------------------------------------------------- condition, scale
@pytest.mark.parametrize("decades", [7, 9, 12])
def test_a_covariance_beyond_the_safe_condition_is_refused(decades):
    root, matrix = spd(0, 6, decades, 1.0)
    assert from_covariance(matrix) is None
    Z = np.random.default_rng(1).normal(size=(4, 6))
    values, vectors = np.logspace(0, -decades, 6), root.T / np.linalg.norm(root, axis=1)
    want = ((Z @ vectors) ** 2 / values).sum(axis=1)
    np.testing.assert_allclose(from_root(root).squared_lengths(Z), want, rtol=1e-8)
    assert from_root(root).logdet == pytest.approx(np.log(values).sum(), abs=1e-9)


def test_badly_scaled_columns_cost_no_digits():
    matrix = spd(0, 5, 1, 1.0)[1]
    scale = np.logspace(-8, 8, 5)
    scaled = matrix * scale * scale[:, None]
    Z = np.random.default_rng(0).normal(size=(4, 5))
    want = quadratic(matrix, Z)
    for operator in (from_covariance(scaled), from_root(spd(0, 5, 1, 1.0)[0] * scale)):
        np.testing.assert_allclose(operator.squared_lengths(Z * scale), want, rtol=1e-12)
        logdet = np.linalg.slogdet(matrix)[1] + 2 * np.log(scale).sum()
        assert operator.logdet == pytest.approx(logdet, abs=1e-11)


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.0, 0.0]),
        np.ones((2, 2)),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.zeros((2, 2)),
    ],
    ids=["no variance", "singular", "indefinite", "zero"],
)
def test_what_has_no_inverse_is_refused(matrix):
    assert from_covariance(matrix) is None


def test_the_given_covariance_stays_as_it_is():
    matrix = spd(0, 4, 1, 1.0)[1]
    before = matrix.copy()
    from_covariance(matrix)
    np.testing.assert_array_equal(matrix, before)


# ------------------------------------------------------------------- lower ranks
@st.composite
def singular_roots(draw):
    """Roots (m, p) of rank r < p: few rows, or many; scaled columns, empty ones."""
    p = draw(st.integers(2, 10))
    r = draw(st.integers(1, p - 1))
    m = draw(st.sampled_from([r, p, p + 7]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    left = np.linalg.qr(rng.normal(size=(max(m, r), r)))[0]
    right = np.linalg.qr(rng.normal(size=(p, r)))[0]
    return (left * np.logspace(0, -2, r)) @ right.T * 10.0 ** draw(st.integers(-6, 6))


@steady
@given(singular_roots(), st.integers(0, 2**32 - 1))
def test_a_singular_root_gives_the_moore_penrose_inverse(root, seed):
    p = root.shape[1]
    values, vectors = np.linalg.svd(root)[1:]
    rank = np.linalg.matrix_rank(root)
    values, vectors = values[:rank], vectors[:rank]
    operator = from_root(root)
    assert (operator.rank, operator.n_features) == (rank, p)
    Z = np.random.default_rng(seed).normal(size=(4, p))
    want = ((Z @ vectors.T / values) ** 2).sum(axis=1)
    np.testing.assert_allclose(operator.squared_lengths(Z), want, rtol=1e-8)
    assert operator.logdet == pytest.approx(2 * np.log(values).sum(), abs=1e-8)
    assert operator.trace == pytest.approx((values**2).sum(), rel=1e-8)
    matrix = root.T @ root
    np.testing.assert_allclose(
        operator.to_dense(), matrix, rtol=0, atol=1e-8 * np.abs(matrix).max()
    )


def test_an_empty_column_is_a_direction_without_variance():
    root = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    operator = from_root(root)
    assert operator.rank == 2
    assert operator.squared_lengths(np.array([[2.0, 100.0, 6.0]])) == pytest.approx(5.0)
    assert operator.logdet == pytest.approx(np.log(36.0))


def test_a_singular_precision_ignores_directions_it_does_not_weigh():
    operator = from_precision(np.diag([4.0, 0.0, 1.0]))
    assert operator.rank == 2
    assert operator.squared_lengths(np.array([[1.0, 100.0, 2.0]])) == pytest.approx(8.0)
    assert operator.logdet == pytest.approx(-np.log(4.0))


def test_the_factor_is_all_an_operator_needs():
    operator = DenseCovariance(np.diag([0.5, 2.0]), 0.0)
    np.testing.assert_allclose(operator.to_dense(), np.diag([4.0, 0.25]))
    np.testing.assert_allclose(operator.precision(), np.diag([0.25, 4.0]))
