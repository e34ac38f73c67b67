"""The low-rank operator against the p x p matrix it never forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics.dense import from_covariance, from_root
from sklearn_gauss._numerics.lowrank import LowRankIsotropic, from_spectrum
from sklearn_gauss._numerics.spectrum import Spectrum

steady = settings(deadline=None, max_examples=60, derandomize=True)


@st.composite
def pairs(draw):
    """(operator, matrix, rows): rank 0 to p, condition to 1e6, scale 1e-6 to 1e6."""
    p = draw(st.integers(1, 20))
    k = draw(st.sampled_from(sorted({0, 1, p // 2, p - 1, p})))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    scale = 10.0 ** draw(st.floats(-6, 6))
    axes = np.linalg.qr(rng.normal(size=(p, p)))[0][:k]
    excess = np.logspace(draw(st.floats(0, 6)), 0, k) * scale
    excess[k // 2 :] *= draw(st.sampled_from([0.0, 1.0]))
    operator = LowRankIsotropic(axes, excess, scale)
    matrix = np.einsum("ki,k,kj->ij", axes, excess, axes) + scale * np.eye(p)
    return operator, matrix, rng.normal(size=(5, p)) * np.sqrt(scale)


def quadratic(matrix, Z):
    return np.einsum("ij,ij->i", Z, np.linalg.solve(matrix, Z.T).T)


@steady
@given(pairs())
def test_every_verb_is_that_of_the_matrix(pair):
    operator, matrix, Z = pair
    p = len(matrix)
    assert (operator.n_features, operator.rank) == (p, p)
    assert operator.trace == pytest.approx(np.trace(matrix), rel=1e-12)
    assert operator.logdet == pytest.approx(np.linalg.slogdet(matrix)[1], abs=1e-8)
    want = quadratic(matrix, Z)
    np.testing.assert_allclose(operator.squared_lengths(Z), want, rtol=1e-8)
    np.testing.assert_allclose((operator.whiten(Z) ** 2).sum(axis=1), want, rtol=1e-8)
    size = np.abs(matrix).max()
    np.testing.assert_allclose(operator.to_dense(), matrix, rtol=0, atol=1e-12 * size)
    inverse = np.linalg.inv(matrix)
    size = np.abs(inverse).max()
    np.testing.assert_allclose(operator.precision(), inverse, rtol=0, atol=1e-9 * size)
    np.testing.assert_allclose(
        operator.solve(Z), Z @ inverse, rtol=0, atol=1e-8 * size * np.abs(Z).max() * p
    )


@steady
@given(pairs(), st.floats(0, 1))
def test_shrinking_is_shrinking_the_matrix(pair, amount):
    operator, matrix, Z = pair
    p = len(matrix)
    want = (1 - amount) * matrix + amount * np.trace(matrix) / p * np.eye(p)
    shrunk = operator.shrink(amount)
    np.testing.assert_allclose(
        shrunk.to_dense(), want, rtol=0, atol=1e-11 * np.abs(want).max()
    )
    assert shrunk.logdet == pytest.approx(np.linalg.slogdet(want)[1], abs=1e-8)
    assert shrunk.trace == pytest.approx(np.trace(matrix), rel=1e-11)
    np.testing.assert_allclose(shrunk.squared_lengths(Z), quadratic(want, Z), rtol=1e-8)


@steady
@given(pairs())
def test_principal_axes_take_the_distance_apart(pair):
    operator, matrix, Z = pair
    parts, residual, variances, axes = operator.decompose(Z)
    np.testing.assert_allclose(
        parts.sum(axis=1) + residual, quadratic(matrix, Z), rtol=1e-8
    )
    want = np.einsum("ki,ij,kj->k", axes, matrix, axes)
    np.testing.assert_allclose(variances, want, rtol=1e-9)


@steady
@given(pairs())
def test_both_operators_agree(pair):
    lowrank, matrix, Z = pair
    dense = from_covariance(matrix) or from_root(np.linalg.cholesky(matrix).T)
    assert lowrank.logdet == pytest.approx(dense.logdet, abs=1e-8)
    assert lowrank.trace == pytest.approx(dense.trace, rel=1e-8)
    np.testing.assert_allclose(
        lowrank.squared_lengths(Z), dense.squared_lengths(Z), rtol=1e-8
    )
    for verb in ("to_dense", "precision"):
        got, want = getattr(lowrank, verb)(), getattr(dense, verb)()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-8 * np.abs(want).max())


def test_rows_close_to_the_axes_keep_their_digits():
    """A difference of squared lengths would leave 1e-16 / 1e-12 of the residual."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    operator = LowRankIsotropic(basis[:3], np.full(3, 1e12), 1e-6)
    along, beside = np.array([3.0, -2.0, 1.0]) * 1e4, 1e-5
    row = along @ basis[:3] + beside * basis[10]
    want = (along**2).sum() / (1e12 + 1e-6) + beside**2 / 1e-6
    assert operator.squared_lengths(row[None]) == pytest.approx(want, rel=1e-5)
    parts, residual, _, _ = operator.decompose(row[None])
    assert parts.shape == (1, 3)
    assert residual == pytest.approx(beside**2 / 1e-6, rel=1e-4)


def test_rows_are_not_changed():
    operator = LowRankIsotropic(np.eye(4)[:2], np.ones(2), 2.0)
    Z = np.arange(8.0).reshape(2, 4)
    Z.flags.writeable = False
    for verb in ("whiten", "squared_lengths", "solve", "decompose"):
        assert getattr(operator, verb)(Z) is not None


@steady
@given(st.integers(2, 10), st.integers(0, 2**32 - 1), st.floats(0.01, 1))
def test_a_spectrum_becomes_the_shrunk_covariance(n, seed, amount):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 12))
    values, axes = np.linalg.svd(Z, full_matrices=False)[1:]
    S = Z.T @ Z / n
    target = np.trace(S) / 12
    operator = from_spectrum(Spectrum(values**2, axes, None), n, amount, amount * target)
    want = (1 - amount) * S + amount * target * np.eye(12)
    np.testing.assert_allclose(operator.to_dense(), want, atol=1e-12 * n)
    assert isinstance(operator.noise, float)
