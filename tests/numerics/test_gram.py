"""The n x n path: the same sums as the p x p one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.gram import gram
from sklearn_gauss._numerics.moments import block_moments

steady = settings(deadline=None, max_examples=40, derandomize=True)


@st.composite
def wide_rows(draw):
    n = draw(st.integers(1, 15))
    p = draw(st.integers(n, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.normal(size=(n, p)) * np.logspace(0, -draw(st.floats(0, 3)), p)
    return np.round(X * 2**20) / 2**20


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1e8])
@steady
@given(X=wide_rows())
def test_both_paths_see_the_same_spread(centred, offset, X):
    X = X + offset
    frame = Frame.around(X) if centred else Frame.at_zero(X.shape[1])
    few, many = (path(X, frame, centred=centred) for path in (gram, block_moments))
    assert (few.count, few.n_features) == X.shape
    np.testing.assert_allclose(few.mean, many.mean, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(
        few.sum_of_squares, np.diagonal(many.scatter), rtol=1e-12, atol=1e-24
    )
    for got, want in zip(few.spread, many.spread, strict=True):
        assert got == pytest.approx(want, rel=1e-11, abs=1e-26)
    assert few.spread.target == pytest.approx(many.spread.target, rel=1e-11)


@steady
@given(wide_rows())
def test_products_are_those_of_the_centred_rows(X):
    frame = Frame.around(X)
    found = gram(X, frame)
    Z = np.asarray(X, np.longdouble)
    Z = np.float64(Z - Z.mean(axis=0))
    np.testing.assert_allclose(found.rows, Z, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.products, Z @ Z.T, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(found.products, found.products.T)
    assert np.abs(found.rows.sum(axis=0)).max() < 1e-13 * max(1, len(X))


def test_a_mean_known_to_be_zero_stays(rng):
    X = rng.normal(size=(4, 9)) + 5.0
    found = gram(X, Frame.at_zero(9), centred=False)
    assert not found.mean.any()
    np.testing.assert_allclose(found.products, X @ X.T, rtol=1e-14)


def test_close_to_a_multiple_of_identity_nothing_cancels():
    """Orthogonal rows, n = p: S is 1/n times the identity, known mean."""
    n, step = 8, 2.0**-20
    X = np.diag([1.0] * (n - 1) + [1.0 + step])
    spread = gram(X, Frame.at_zero(n), centred=False).spread
    values = [1.0] * (n - 1) + [1.0 + 2 * step + step**2]
    m = sum(values) / n
    want = sum((v - m) ** 2 for v in values) / n**2
    assert spread.dispersion == pytest.approx(want, rel=1e-9)


def test_equal_rows_have_no_spread():
    X = np.tile([0.1, 0.7, 1e8], (3, 1))
    found = gram(X, Frame.around(X))
    assert found.spread.trace == 0
    assert not found.products.any()
