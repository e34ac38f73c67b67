"""Principal axes by three routes, against the singular value decomposition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from sklearn_gauss._numerics import spectrum as module
from sklearn_gauss._numerics.arrays import EPS, Frame
from sklearn_gauss._numerics.gram import gram
from sklearn_gauss._numerics.spectrum import (
    SQUARED_CONDITION,
    gram_spectrum,
    rank_tolerance,
    row_spectrum,
    scatter_spectrum,
    svd,
    with_null_axes,
)

steady = settings(deadline=None, max_examples=40, derandomize=True)


def built(seed, n, p, singular_values):
    """Centred rows (n, p) with the given singular values, at most n - 1 of them."""
    rng = np.random.default_rng(seed)
    k = len(singular_values)
    left = rng.normal(size=(n, k))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    right = np.linalg.qr(rng.normal(size=(p, k)))[0]
    return (left * singular_values) @ right.T, left, right


def grammed(Z):
    return gram(Z, Frame.at_zero(Z.shape[1]))


def check_axes(spectrum, Z, *, rtol=1e-9):
    """Orthonormal, by decreasing variance, and together the rows."""
    k = len(spectrum.squares)
    np.testing.assert_allclose(
        spectrum.axes @ spectrum.axes.T, np.eye(k), atol=1e-8, rtol=0
    )
    assert (np.diff(spectrum.squares) <= 0).all()
    assert (spectrum.squares > 0).all()
    if spectrum.coordinates is not None:
        found = spectrum.coordinates @ spectrum.axes
        np.testing.assert_allclose(found, Z, atol=1e-10 * np.abs(Z).max(), rtol=rtol)
        np.testing.assert_allclose(
            (spectrum.coordinates**2).sum(axis=0), spectrum.squares, rtol=1e-9
        )


@pytest.mark.parametrize("route", ["gram", "rows", "scatter"])
@steady
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 12),
    extra=st.integers(0, 12),
    log_condition=st.floats(0, 2),
    scale=st.integers(-6, 6),
)
def test_every_route_finds_the_singular_values(
    route, seed, n, extra, log_condition, scale
):
    p = n + extra
    values = np.logspace(0, -log_condition, n - 1) * 10.0**scale
    Z, left, right = built(seed, n, p, values)
    found = {
        "gram": lambda: gram_spectrum(grammed(Z)),
        "rows": lambda: row_spectrum(Z),
        "scatter": lambda: scatter_spectrum(Z.T @ Z),
    }[route]()
    np.testing.assert_allclose(found.squares, values**2, rtol=1e-9)
    check_axes(found, Z)
    # Axes of distinct variance agree up to their sign.
    if n > 2 and log_condition > 1:
        np.testing.assert_allclose(np.abs(found.axes @ right), np.eye(n - 1), atol=1e-7)
    assert (found.coordinates is None) == (route == "scatter")
    assert left.shape == (n, n - 1)


@pytest.mark.parametrize("decades", [3.5, 5, 6])
def test_small_variances_keep_their_digits(decades):
    """A Gram matrix of standard deviations 1 and 1e-6 holds four digits of the latter."""
    values = np.logspace(0, -decades, 6)
    Z, _, right = built(1, 7, 20, values)
    found = gram_spectrum(grammed(Z))
    np.testing.assert_allclose(found.squares, values**2, rtol=1e-8)
    np.testing.assert_allclose(np.abs(found.axes @ right), np.eye(6), atol=1e-8)


def test_a_gram_matrix_alone_would_not_keep_them():
    """The test above tests something."""
    values = np.logspace(0, -6, 6)
    Z = built(1, 7, 20, values)[0]
    smallest = np.linalg.eigvalsh(Z @ Z.T)[1]
    assert abs(smallest / 1e-12 - 1) > 1e-6


def test_axes_far_below_the_floor_need_no_digits(monkeypatch):
    values = np.array([1.0, 1e-4, 1e-6])
    Z = built(2, 4, 9, values)[0]

    def refuse(rows):
        raise AssertionError("rows were decomposed")

    monkeypatch.setattr(module, "row_spectrum", refuse)
    with pytest.raises(AssertionError, match="decomposed"):
        gram_spectrum(grammed(Z))
    found = gram_spectrum(grammed(Z), floor=2 * SQUARED_CONDITION)
    np.testing.assert_allclose(found.squares[:2], values[:2] ** 2, rtol=1e-6)


@pytest.mark.parametrize("route", ["gram", "rows", "scatter"])
def test_directions_without_variance_are_not_axes(route):
    values = np.array([3.0, 2.0, 1.0])
    Z = built(3, 9, 12, values)[0]
    found = {
        "gram": lambda: gram_spectrum(grammed(Z)),
        "rows": lambda: row_spectrum(Z),
        "scatter": lambda: scatter_spectrum(Z.T @ Z),
    }[route]()
    np.testing.assert_allclose(found.squares, values**2, rtol=1e-10)
    check_axes(found, Z)


# ----------------------------------------------------------------------- null axes
@pytest.mark.parametrize("count", [3, 4, 7, 12])
def test_null_axes_complete_a_basis(count):
    found = row_spectrum(built(4, 9, 12, np.array([3.0, 2.0, 1.0]))[0])
    squares, axes = with_null_axes(found.squares, found.axes, count)
    assert axes.shape == (count, 12)
    np.testing.assert_allclose(axes @ axes.T, np.eye(count), atol=1e-14)
    np.testing.assert_array_equal(axes[:3], found.axes)
    np.testing.assert_array_equal(squares[:3], found.squares)
    assert not squares[3:].any()


def test_enough_axes_stay_as_they_are():
    found = row_spectrum(built(4, 9, 12, np.array([3.0, 2.0]))[0])
    squares, axes = with_null_axes(found.squares, found.axes, 1)
    assert squares is found.squares
    assert axes is found.axes


def test_null_axes_are_the_same_every_time():
    found = row_spectrum(built(4, 9, 12, np.array([3.0, 2.0]))[0])
    twice = [with_null_axes(found.squares, found.axes, 6)[1] for _ in range(2)]
    np.testing.assert_array_equal(*twice)


# --------------------------------------------------------------------------- tools
def test_rank_tolerance_is_that_of_the_larger_side():
    assert rank_tolerance((3, 100)) == rank_tolerance((100, 3)) == 100 * EPS


def test_svd_falls_back_where_bisection_fails(monkeypatch, rng):
    matrix = rng.normal(size=(5, 3))
    drivers, original = [], linalg.svd

    def stubborn(a, *, lapack_driver, **options):
        drivers.append(lapack_driver)
        if lapack_driver == "gesdd":
            raise linalg.LinAlgError("SVD did not converge")
        return original(a, lapack_driver=lapack_driver, **options)

    monkeypatch.setattr(linalg, "svd", stubborn)
    left, values, right = svd(matrix)
    assert drivers == ["gesdd", "gesvd"]
    np.testing.assert_allclose((left * values) @ right, matrix, atol=1e-14)
