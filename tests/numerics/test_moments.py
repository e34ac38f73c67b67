"""Moments of rows: against sums in extended precision, merged in any chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss._numerics import arrays
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.moments import block_moments, merge

steady = settings(deadline=None, max_examples=40, derandomize=True)


def reference(X, *, centred=True):
    """(mean, scatter, cubic, quartic) in long double, about the mean or about zero."""
    X = np.asarray(X, np.longdouble)
    mean = X.mean(axis=0) if centred else np.zeros(X.shape[1], np.longdouble)
    mean = mean + (X - mean).mean(axis=0) if centred else mean
    Z = X - mean
    q = (Z * Z).sum(axis=1)
    return mean, Z.T @ Z, q @ Z, (q * q).sum()


def assert_agree(moments, want, rtol):
    """Relative to the size of each order of moments."""
    _, scatter, cubic, quartic = want
    t, p = np.trace(scatter), len(cubic)
    np.testing.assert_allclose(
        moments.scatter, np.float64(scatter), rtol=rtol, atol=rtol * t / p
    )
    size = float(t * np.sqrt(t / moments.count))
    np.testing.assert_allclose(
        moments.cubic, np.float64(cubic), rtol=10 * rtol, atol=10 * rtol * size
    )
    assert moments.quartic == pytest.approx(float(quartic), rel=10 * rtol)


@st.composite
def rows(draw, most=60):
    n, p = draw(st.integers(1, most)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mix = rng.normal(size=(p, p)) * np.logspace(0, -draw(st.floats(0, 3)), p)
    return rng.normal(size=(n, p)) @ mix + rng.normal(size=p)


def random_chunks(rng, X):
    cuts = np.flatnonzero(rng.random(len(X) - 1) < rng.random()) + 1
    return np.split(X, cuts)


@pytest.mark.parametrize("centred", [True, False])
@steady
@given(X=rows())
def test_moments_are_their_sums(centred, X):
    frame = Frame.around(X) if centred else Frame.at_zero(X.shape[1])
    moments = block_moments(X, frame, centred=centred)
    want = reference(X, centred=centred)
    assert moments.count == len(X)
    assert moments.n_features == X.shape[1]
    mean = np.float64(want[0])
    np.testing.assert_allclose(frame.origin + moments.mean, mean, atol=1e-14)
    assert_agree(moments, want, 1e-13)
    np.testing.assert_array_equal(moments.scatter, moments.scatter.T)


@pytest.mark.parametrize("offset", [0.0, 1e8])
@steady
@given(X=rows(), seed=st.integers(0, 2**32 - 1))
def test_chunks_of_any_size_merge_into_the_whole(offset, X, seed):
    X = np.round(X * 2**20) / 2**20 + offset
    frame = Frame.around(X)
    one_shot = block_moments(X, frame)
    rng = np.random.default_rng(seed)
    parts = [block_moments(chunk, frame) for chunk in random_chunks(rng, X)]
    while len(parts) > 1:  # in a random order, and not always onto the largest
        i, j = rng.choice(len(parts), 2, replace=False)
        merged = merge(parts[i], parts[j])
        parts = [part for k, part in enumerate(parts) if k not in (i, j)] + [merged]
    want = reference(X - frame.origin)
    assert parts[0].count == len(X)
    assert_agree(parts[0], want, 2e-14)
    assert_agree(one_shot, want, 1e-14)


def test_the_scatter_of_a_long_stream_is_that_of_one_shot():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(20_000, 12)) @ rng.normal(size=(12, 12)) + 1e8
    frame = Frame.around(X)
    one_shot = block_moments(X, frame)
    parts = [block_moments(chunk, frame) for chunk in random_chunks(rng, X[:3000])]
    parts += [block_moments(chunk, frame) for chunk in np.array_split(X[3000:], 17)]
    streamed = parts[0]
    for part in parts[1:]:
        streamed = merge(streamed, part)
    size = np.abs(one_shot.scatter).max()
    assert np.abs(streamed.scatter - one_shot.scatter).max() < 1e-14 * size
    assert streamed.quartic == pytest.approx(one_shot.quartic, rel=1e-13)
    size = one_shot.quartic**0.75 * len(X) ** 0.25
    assert np.abs(streamed.cubic - one_shot.cubic).max() < 1e-13 * size


@steady
@given(rows(), rows())
def test_merging_does_not_depend_on_the_order(X, Y):
    Y = np.resize(Y, (len(Y), X.shape[1]))
    frame = Frame.around(X)
    a, b = block_moments(X, frame), block_moments(Y, frame)
    assert_agree(merge(a, b), reference(np.vstack([X, Y])), 1e-13)
    assert_agree(merge(b, a), reference(np.vstack([Y, X])), 1e-13)


@steady
@given(rows(), rows(), st.floats(-6, 6))
def test_sets_far_apart_merge(X, Y, decade):
    """Merging moves the sums of both to a mean that may be far from either."""
    Y = np.resize(Y, (len(Y), X.shape[1])) + 10.0**decade
    both = np.vstack([X, Y])
    merged = merge(*(block_moments(part, Frame.around(both)) for part in (X, Y)))
    assert_agree(merged, reference(both - Frame.around(both).origin), 1e-13)


@pytest.mark.parametrize("centred", [True, False])
def test_rows_in_blocks_add_up(rng, monkeypatch, centred):
    X = rng.normal(size=(1000, 5)) + 1e6
    frame = Frame.around(X) if centred else Frame.at_zero(5)
    whole = block_moments(X, frame, centred=centred)
    monkeypatch.setattr(arrays, "CHUNK_ELEMENTS", 1)
    assert len(list(arrays.row_blocks(*X.shape))) > 10
    blocks = block_moments(X, frame, centred=centred)
    np.testing.assert_allclose(blocks.scatter, whole.scatter, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-12, atol=1e-14)
    assert blocks.quartic == pytest.approx(whole.quartic, rel=1e-12)


@steady
@given(rows())
def test_the_spread_is_made_of_the_covariance(X):
    spread = block_moments(X, Frame.around(X)).spread
    n, p = X.shape
    _, scatter, _, quartic = reference(X)
    S = scatter / n
    m = np.trace(S) / p
    assert (spread.count, spread.n_features) == (n, p)
    assert spread.trace == pytest.approx(float(np.trace(S)), rel=1e-12, abs=1e-25)
    assert spread.target == pytest.approx(float(m), rel=1e-12, abs=1e-25)
    deviation = float(((S - m * np.eye(p)) ** 2).sum())
    assert spread.dispersion == pytest.approx(deviation, rel=1e-11, abs=1e-40)
    assert spread.square_trace == pytest.approx(
        float((S * S).sum()), rel=1e-11, abs=1e-40
    )
    assert spread.quartic == pytest.approx(float(quartic / n), rel=1e-11, abs=1e-40)


def test_moments_are_those_of_rows_in_the_frame(rng):
    X = rng.normal(size=(30, 3))
    frame = Frame(np.ones(3), np.zeros(3), np.array([2.0, 0.25, 1.0]))
    moments = block_moments(X, frame)
    assert_agree(moments, reference((X - 1) / frame.scale), 1e-13)


def test_one_row_has_no_spread():
    X = np.array([[3.0, 4.0]])
    moments = block_moments(X, Frame.around(X))
    assert moments.mean.tolist() == [0.0, 0.0]
    assert not moments.scatter.any()
    about_zero = block_moments(X, Frame.at_zero(2), centred=False)
    assert about_zero.quartic == 625.0
    assert about_zero.cubic.tolist() == [75.0, 100.0]
