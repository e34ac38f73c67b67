"""Rows in chunks: the same sums and the same kept rows however they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics import stream as module
from sklearn_gauss._numerics.gram import Gram
from sklearn_gauss._numerics.moments import Moments
from sklearn_gauss._numerics.stream import Stream, extend

steady = settings(deadline=None, max_examples=40, derandomize=True)


def streamed(chunks, *, centred=True, dense=False, by_column=False, keep=False):
    found = None
    for chunk in chunks:
        found = extend(
            found, chunk, centred=centred, dense=dense, by_column=by_column, keep=keep
        )
    return found


@st.composite
def chunked(draw):
    """(rows, the same rows in chunks), crossing n = p or not."""
    n, p = draw(st.integers(2, 40)), draw(st.integers(1, 30))
    X = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=(n, p))
    cuts = draw(st.lists(st.integers(1, n - 1), max_size=6, unique=True))
    return X, np.split(X, sorted(cuts))


def assert_same_sums(got, want, rtol=1e-11):
    assert got.frame.scale == want.frame.scale
    np.testing.assert_allclose(
        got.centre.enter(got.frame.origin[None]),
        want.centre.enter(got.frame.origin[None]),
        atol=1e-12,
    )
    assert type(got.totals) is type(want.totals)
    for ours, theirs in zip(got.totals.spread, want.totals.spread, strict=True):
        assert ours == pytest.approx(theirs, rel=rtol, abs=1e-25)
    matrix = "products" if isinstance(want.totals, Gram) else "scatter"
    np.testing.assert_allclose(
        getattr(got.totals, matrix), getattr(want.totals, matrix), rtol=rtol, atol=1e-12
    )


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("dense", [True, False])
@steady
@given(example=chunked())
def test_sums_do_not_depend_on_the_chunks(centred, dense, example):
    X, chunks = example
    options = {"centred": centred, "by_column": False}
    one_shot = streamed([X], dense=dense, centred=centred)
    found = streamed(chunks, dense=dense, centred=centred)
    assert found.count == len(X)
    assert (found.moments is None) == (len(X) <= X.shape[1] and not dense)
    assert_same_sums(found.sums(**options), one_shot.sums(**options))


@steady
@given(chunked())
def test_rows_are_kept_until_their_moments_are_smaller(example):
    X, chunks = example
    found = streamed(chunks)
    if len(X) <= X.shape[1]:
        assert found.complete
        np.testing.assert_array_equal(found.rows, X)
    else:
        assert not found.complete
        assert found.rows.shape == (0, X.shape[1])
        assert isinstance(found.moments, Moments)
        assert found.sums(centred=True, by_column=False).rows is None


@steady
@given(chunked(), st.integers(1, 45))
def test_kept_rows_do_not_depend_on_the_chunks(example, capacity):
    X, chunks = example
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_KEPT_ROWS", capacity)
        one_shot = streamed([X], keep=True, dense=True)
        found = streamed(chunks, keep=True, dense=True)
        # What is dropped stays dropped, so chunks may come one row at a time as well.
        single = streamed(list(X[:, None]), keep=True, dense=True)
    assert len(found.rows) == min(capacity, len(X))
    assert found.complete == (capacity >= len(X))
    for other in (one_shot, single):
        np.testing.assert_array_equal(found.rows, other.rows)
        np.testing.assert_array_equal(found.priority, other.priority)
    order = [np.flatnonzero((row == X).all(axis=1))[0] for row in found.rows]
    assert order == sorted(order)


def test_kept_rows_are_a_fair_share(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT_ROWS", 200)
    X = np.arange(4000.0)[:, None]
    kept = streamed(np.array_split(X, 7), keep=True).rows[:, 0]
    assert len(np.unique(kept)) == 200
    halves = np.bincount((kept // 1000).astype(int), minlength=4)
    assert (np.abs(halves - 50) < 4 * np.sqrt(200 * 0.25 * 0.75)).all()


def test_all_rows_up_to_the_capacity_serve_where_sums_lose_digits():
    X = np.random.default_rng(0).normal(size=(20, 3))
    sums = streamed([X[:15], X[15:]], keep=True).sums(centred=True, by_column=False)
    np.testing.assert_array_equal(sums.rows, X)


def test_a_stream_packs_into_arrays_and_numbers():
    X = np.random.default_rng(0).normal(size=(9, 3))
    for rows in (X, X[:2]):
        whole = streamed([rows], keep=True)
        packed = whole.pack()
        assert set(packed) == set(vars(whole))
        moments = packed.pop("moments")
        assert (moments is None) == (len(rows) < 3)
        values = [*packed.values(), *(moments or {}).values()]
        assert all(isinstance(v, (np.ndarray, int, float)) for v in values)
        again = Stream.unpack(whole.pack())
        assert_same_sums(
            again.sums(centred=True, by_column=False),
            whole.sums(centred=True, by_column=False),
            rtol=0,
        )
        np.testing.assert_array_equal(again.rows, whole.rows)


def test_the_callers_rows_may_change_later():
    X = np.random.default_rng(0).normal(size=(4, 9))
    first = streamed([X])
    before = first.rows.copy()
    X[:] = 0
    np.testing.assert_array_equal(first.rows, before)


def test_the_frame_stays_that_of_the_first_rows():
    """So that later rows, far from zero as well, are summed in the same coordinates."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2)) + 1e8
    found = streamed(np.array_split(X, 6))
    assert np.abs(found.origin - 1e8).max() < 10
    S = found.sums(centred=True, by_column=False).totals.scatter
    Z = np.longdouble(X) - np.longdouble(X).mean(axis=0)
    np.testing.assert_allclose(S, np.float64(Z.T @ Z), rtol=1e-14, atol=1e-13)


def test_rows_that_all_are_equal_have_sums_too():
    found = streamed([np.full((3, 2), 0.1), np.full((1, 2), 0.1)])
    sums = found.sums(centred=True, by_column=False)
    assert sums.totals.spread.trace == 0
