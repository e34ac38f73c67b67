"""Intensities of shrinkage: against scikit-learn, and against the papers' formulas."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf as theirs_ledoit_wolf
from sklearn.covariance import oas as theirs_oas

from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.gram import gram
from sklearn_gauss._numerics.moments import block_moments, merge
from sklearn_gauss._numerics.shrinkage import (
    INTENSITIES,
    Spread,
    intensity,
    ledoit_wolf,
    oas,
    rblw,
)

steady = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def rows(draw):
    n, p = draw(st.integers(3, 30)), draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(seeds))
    spread = np.logspace(0, -draw(st.floats(0, 2)), p)
    return rng.normal(size=(n, p)) * spread @ rng.normal(size=(p, p))


def spread_of(X, *, centred=True):
    path = gram if len(X) <= X.shape[1] else block_moments
    frame = Frame.around(X) if centred else Frame.at_zero(X.shape[1])
    return path(X, frame, centred=centred).spread


def exact_traces(X):
    """(n, p, tr S, tr S^2) in 50 digits."""
    n, p = X.shape
    Z = mpmath.matrix(X.tolist())
    for j in range(p):
        mean = mpmath.fsum(Z[i, j] for i in range(n)) / n
        for i in range(n):
            Z[i, j] -= mean
    G = Z * Z.T / n  # tr S = tr G and tr S^2 = tr G^2
    trace = mpmath.fsum(G[i, i] for i in range(n))
    return n, p, trace, mpmath.fsum(v * v for v in G)


@pytest.mark.parametrize("centred", [True, False])
@steady
@given(X=rows())
def test_ledoit_wolf_is_scikit_learns(centred, X):
    want = theirs_ledoit_wolf(X, assume_centered=not centred)[1]
    assert ledoit_wolf(spread_of(X, centred=centred)) == pytest.approx(
        want, rel=1e-9, abs=1e-12
    )


@steady
@given(rows(), seeds, st.sampled_from([0.0, 1e4]))
def test_streaming_ledoit_wolf_is_scikit_learns(X, seed, offset):
    """Merged in chunks, single rows among them, far from zero."""
    frame = Frame.around(X + offset)
    cuts = np.sort(np.random.default_rng(seed).integers(1, len(X), 4))
    parts = [block_moments(c, frame) for c in np.split(X + offset, cuts) if len(c)]
    total = parts[0]
    for part in parts[1:]:
        total = merge(total, part)
    want = theirs_ledoit_wolf(X + offset - (X + offset).mean(axis=0))[1]
    assert ledoit_wolf(total.spread) == pytest.approx(want, rel=1e-8, abs=1e-11)


def test_streaming_ledoit_wolf_of_many_rows():
    rng = np.random.default_rng(1)
    X = rng.gamma(2.0, size=(5000, 20)) @ rng.normal(size=(20, 20))
    frame = Frame.around(X)
    total = block_moments(X[:7], frame)
    for chunk in np.split(X[7:], [1, 2, 900, 901, 3000]):
        total = merge(total, block_moments(chunk, frame))
    assert ledoit_wolf(total.spread) == pytest.approx(theirs_ledoit_wolf(X)[1], rel=1e-12)


@steady
@given(rows())
def test_oas_is_equation_23(X):
    with mpmath.workdps(50):
        n, p, trace, square_trace = exact_traces(X)
        above = (1 - mpmath.mpf(2) / p) * square_trace + trace**2
        below = (n + 1 - mpmath.mpf(2) / p) * (square_trace - trace**2 / p)
        want = float(min(mpmath.mpf(1), above / below))
    assert oas(spread_of(X)) == pytest.approx(want, rel=1e-9)


@steady
@given(rows())
def test_rblw_is_equation_17(X):
    with mpmath.workdps(50):
        n, p, trace, square_trace = exact_traces(X)
        above = mpmath.mpf(n - 2) / n * square_trace + trace**2
        below = (n + 2) * (square_trace - trace**2 / p)
        want = float(min(mpmath.mpf(1), above / below))
    assert rblw(spread_of(X)) == pytest.approx(want, rel=1e-9)


def test_oas_differs_from_scikit_learns_by_the_terms_in_two_over_p():
    X = np.random.default_rng(0).normal(size=(40, 3)) * [3, 2, 1]
    S = np.cov(X.T, bias=True)
    n, p, square, trace = 40, 3, (S * S).sum(), np.trace(S)
    theirs = (square + trace**2) / ((n + 1) * (square - trace**2 / p))
    ours = ((1 - 2 / p) * square + trace**2) / ((n + 1 - 2 / p) * (square - trace**2 / p))
    assert theirs_oas(X)[1] == pytest.approx(theirs)
    assert oas(spread_of(X)) == pytest.approx(ours)
    assert abs(ours - theirs) > 1e-3


# ------------------------------------------------------------------ what must hold
by_rule = pytest.mark.parametrize("rule", sorted(INTENSITIES))


@by_rule
@steady
@given(X=rows(), exponent=st.integers(-40, 40), seed=seeds)
def test_intensities_do_not_depend_on_units_or_axes(rule, X, exponent, seed):
    want = INTENSITIES[rule](spread_of(X))
    assert 0 <= want <= 1
    assert INTENSITIES[rule](spread_of(X * 2.0**exponent)) == pytest.approx(
        want, rel=1e-12
    )
    rotation = np.linalg.qr(
        np.random.default_rng(seed).normal(size=(X.shape[1], X.shape[1]))
    )[0]
    assert INTENSITIES[rule](spread_of(X @ rotation)) == pytest.approx(
        want, rel=1e-8, abs=1e-10
    )


@by_rule
def test_intensities_fall_with_the_number_of_rows(rule):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(4000, 10)) * np.arange(1, 11)
    found = [INTENSITIES[rule](spread_of(X[:n])) for n in (20, 200, 4000)]
    assert found[0] > found[1] > found[2] > 0
    assert found[2] < 0.02


@by_rule
def test_nothing_to_shrink_gives_zero(rule):
    """S is a multiple of the identity already, as it is in one dimension."""
    assert INTENSITIES[rule](Spread(50, 4, 4.0, 0.0, 30.0)) == 0
    X = np.random.default_rng(0).normal(size=(9, 1))
    assert INTENSITIES[rule](spread_of(X)) == 0


def test_two_rows_leave_ledoit_wolf_nothing_to_estimate():
    """Both outer products are the same: what is left of their spread is rounding."""
    X = np.random.default_rng(0).normal(size=(2, 7))
    assert ledoit_wolf(spread_of(X)) == 0


@by_rule
def test_close_to_the_identity_shrinks_all_the_way(rule):
    assert INTENSITIES[rule](Spread(10, 4, 4.0, 1e-9, 30.0)) == 1


@by_rule
def test_a_rule_takes_one_spread_a_row(rule):
    rng = np.random.default_rng(4)
    each = [spread_of(rng.normal(size=(12, 5)) * rng.random(5)) for _ in range(6)]
    fields = [np.array(values) for values in zip(*each, strict=True)]
    together = Spread(12, 5, *fields[2:])
    want = [INTENSITIES[rule](spread) for spread in each]
    np.testing.assert_allclose(INTENSITIES[rule](together), want, rtol=1e-14)


def test_intensity_takes_names_and_numbers():
    spread = spread_of(np.random.default_rng(0).normal(size=(20, 5)))
    for rule, function in INTENSITIES.items():
        assert intensity(rule, spread) == function(spread)
    assert intensity(0.25, spread) == 0.25
    assert intensity(0, spread) == 0
    with pytest.raises(KeyError):
        intensity("unknown", spread)
