"""Blocks of rows, exact sums, and frames in which sums keep their digits."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics import arrays
from sklearn_gauss._numerics.arrays import (
    CHUNK_ELEMENTS,
    Frame,
    exact_sum,
    mirrored,
    power_of_two,
    row_blocks,
    squared_deviation,
)

steady = settings(deadline=None, max_examples=60, derandomize=True)
floats = st.floats(-1e300, 1e300, allow_subnormal=False)
magnitudes = st.floats(1e-290, 1e290)


# ------------------------------------------------------------------------- blocks
@steady
@given(st.integers(0, 10**5), st.integers(0, 10**5))
def test_blocks_cover_every_row_once(n_rows, n_columns):
    blocks = list(row_blocks(n_rows, n_columns))
    edges = [0, *(block.stop for block in blocks)]
    assert [block.start for block in blocks] == edges[:-1]
    assert edges[-1] >= n_rows
    sizes = {block.stop - block.start for block in blocks}
    assert len(sizes) <= 1
    assert all(size * n_columns <= CHUNK_ELEMENTS or size == 64 for size in sizes)


def test_a_few_rows_are_one_block():
    assert list(row_blocks(64, 10**6)) == [slice(0, 64)]
    assert list(row_blocks(0, 5)) == []


# ----------------------------------------------------------------------- matrices
def test_mirrored_fills_the_upper_triangle(rng):
    full = rng.normal(size=(6, 6))
    symmetric = full + full.T
    result = mirrored(np.asfortranarray(np.tril(symmetric)))
    np.testing.assert_array_equal(result, symmetric)
    assert result.flags.c_contiguous


@steady
@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_squared_deviation_is_the_distance_to_a_multiple_of_identity(p, seed, divisor):
    matrix = mirrored(np.random.default_rng(seed).normal(size=(p, p)))
    before = matrix.copy()
    target = np.trace(matrix) / p * np.eye(p)
    want = np.linalg.norm((matrix - target) / divisor) ** 2
    assert squared_deviation(matrix, divisor) == pytest.approx(want, rel=1e-12, abs=1e-28)
    np.testing.assert_array_equal(matrix, before)


def test_squared_deviation_keeps_its_digits_close_to_a_multiple_of_identity():
    """Where tr(S^2) - tr(S)^2 / p has none left."""
    step = 2.0**-30
    matrix = np.diag([1.0 + step, 1.0, 1.0 - step])
    assert squared_deviation(matrix, 1) == 2 * step**2
    assert np.trace(matrix @ matrix) - np.trace(matrix) ** 2 / 3 != 2 * step**2


def test_squared_deviation_adds_up_blocks(rng, monkeypatch):
    matrix = mirrored(rng.normal(size=(150, 150)))
    want = squared_deviation(matrix, 3)
    monkeypatch.setattr(arrays, "CHUNK_ELEMENTS", 1)
    assert len(list(row_blocks(150, 150))) == 3
    assert squared_deviation(matrix, 3) == pytest.approx(want, rel=1e-13)


# ------------------------------------------------------------------------ numbers
@steady
@given(floats, floats)
def test_exact_sum_loses_nothing(high, low):
    total, error = exact_sum(np.float64(high), np.float64(low))
    assert total == high + low
    assert Fraction(float(total)) + Fraction(float(error)) == Fraction(high) + Fraction(
        low
    )


@steady
@given(magnitudes)
def test_power_of_two_brings_a_magnitude_to_between_a_half_and_one(magnitude):
    unit = float(power_of_two(np.float64(magnitude)))
    assert 0.5 <= magnitude / unit < 1
    assert np.frexp(unit)[0] == 0.5


def test_power_of_two_of_nothing_and_of_extremes():
    assert power_of_two(np.array([0.0, 1.0, 3.0])).tolist() == [1.0, 2.0, 4.0]
    tiny, huge = power_of_two(np.array([5e-324, 1.7e308]))
    assert np.isfinite([1 / tiny, huge, huge**-1]).all()


# ------------------------------------------------------------------------- frames
@st.composite
def frames(draw):
    """(frame, rows) with a scale for all columns or one a column."""
    n, p = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    powers = rng.integers(-40, 40, p if draw(st.booleans()) else ())
    origin = rng.normal(size=p) * 1e3
    frame = Frame(origin, rng.normal(size=p), np.ldexp(1.0, powers))
    return frame, origin + rng.normal(size=(n, p)) * frame.scale


@steady
@given(frames())
def test_entering_a_frame_is_its_definition(example):
    frame, X = example
    before = X.copy()
    want = (X - frame.origin) / frame.scale - frame.shift
    size = np.abs(X / frame.scale).max() + np.abs(frame.origin / frame.scale).max()
    np.testing.assert_allclose(frame.enter(X), want, rtol=1e-12, atol=4e-16 * size)
    np.testing.assert_array_equal(X, before)


@steady
@given(frames())
def test_the_location_is_kept_in_two_parts(example):
    frame, X = example
    unit = np.broadcast_to(frame.scale, frame.origin.shape)
    high, low = frame.location
    found = [
        Fraction(a) + Fraction(b) * Fraction(c)
        for a, b, c in zip(high, low, unit, strict=True)
    ]
    want = [
        Fraction(a) + Fraction(b) * Fraction(c)
        for a, b, c in zip(frame.origin, frame.shift, unit, strict=True)
    ]
    assert found == want
    assert (np.abs(low * unit) <= np.spacing(np.abs(high))).all()
    centre = Frame(high, low, frame.scale)
    size = np.abs(frame.origin / unit).max() + 1
    assert np.abs(centre.enter(X) - frame.enter(X)).max() <= 1e-15 * size + 1e-15


def test_moving_adds_to_the_shift():
    frame = Frame(np.ones(2), np.array([1.0, 2.0]), np.array(4.0)).moved(np.ones(2))
    assert frame.shift.tolist() == [2.0, 3.0]
    assert frame.enter(np.array([[9.0, 13.0]])).tolist() == [[0.0, 0.0]]


def test_entering_makes_float64_of_anything(rng):
    X = rng.normal(size=(3, 2)).astype(np.float32)
    for scale in (1.0, 2.0):
        Z = Frame(np.zeros(2), np.zeros(2), np.array(scale)).enter(X)
        assert Z.dtype == np.float64
        np.testing.assert_array_equal(Z, X.astype(np.float64) / scale)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 50])
def test_a_frame_around_rows_starts_at_their_values(rng, n):
    X = rng.normal(size=(n, 4)) + 1e8
    frame = Frame.around(X)
    assert all(value in column for value, column in zip(frame.origin, X.T, strict=True))
    assert not frame.shift.any()
    assert frame.scale == 1.0


@pytest.mark.parametrize("row", [0, 12, 24, 37, 49])
def test_one_outlying_row_does_not_decide_the_origin(rng, row):
    X = rng.normal(size=(50, 3))
    X[row] = 1e10
    assert np.abs(Frame.around(X).origin).max() < 10


@steady
@given(frames(), st.booleans())
def test_rescaling_brings_the_data_close_to_one(example, by_column):
    frame, X = example
    scaled = Frame(frame.origin, np.zeros_like(frame.origin), np.array(1.0)).rescaled(
        X, by_column=by_column
    )
    reach = np.abs(scaled.enter(X)).max(axis=0)
    assert scaled.scale.shape in ((), X.shape[1:])
    if scaled.scale.ndim:
        assert by_column
        assert (reach >= 0.25).all()
    assert 0.25 <= reach.max() <= 2


def test_columns_of_very_different_size_get_a_scale_each(rng):
    X = rng.normal(size=(6, 2)) * [1e200, 1e-200]
    frame = Frame.around(X)
    each, common = (frame.rescaled(X, by_column=by) for by in (True, False))
    assert each.scale.shape == (2,)
    assert (np.abs(each.enter(X)).max(axis=0) > 0.2).all()
    assert common.scale.shape == ()
    assert common.scale == each.scale[0]


def test_rescaling_survives_the_ends_of_the_range():
    X = np.array([[1.7e308, 0.0, 5e-324], [-1.7e308, 0.0, 0.0]])
    frame = Frame(X[0], np.zeros(3), np.array(1.0)).rescaled(X, by_column=True)
    Z = frame.enter(X)
    assert np.isfinite(Z).all()
    assert np.isfinite(Z**4).all()


def test_log_volume_counts_directions():
    p = 3
    common = Frame(np.zeros(p), np.zeros(p), np.array(4.0))
    assert common.log_volume(2) == pytest.approx(2 * np.log(4.0))
    each = Frame(np.zeros(p), np.zeros(p), np.array([2.0, 4.0, 0.5]))
    assert each.log_volume(p) == pytest.approx(np.log(4.0))


def test_sums_hold_unless_they_leave_the_range(rng):
    X = rng.normal(size=(5, 2))
    frame = Frame.at_zero(2)
    assert frame.holds(np.array([3.0, 2.0]), 10.0, X)
    assert not frame.holds(np.array([3.0, np.inf]), 10.0, X)
    assert not frame.holds(np.array([3.0, 2.0]), np.inf, X)
    assert not frame.holds(np.array([1e-150, 1e-150]), 0.0, X)
    assert not frame.holds(np.array([1e150, 1.0]), 1e300, X)
    # A sum of zero is right where the column is constant, and underflow where not.
    assert not frame.holds(np.array([3.0, 0.0]), 10.0, X)
    assert frame.holds(np.array([3.0, 0.0]), 10.0, np.c_[X[:, 0], np.ones(5)])
    assert frame.holds(np.zeros(2), 0.0, np.ones((5, 2)))
