"""Relations of kernel densities that hold whatever the data.

Every property says with `event` how many of its examples it decided. Where "loo" or a
rule chooses the bandwidth, the relation is that of the rule as well.
"""

import math
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from kernel_reference import KERNELS, WHITENINGS

from sklearn_gauss.detection import KDEDetector
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    NearestNeighborWarning,
    RankDeficientWarning,
)

RTOL = 1e-9
often = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
by_whitening = pytest.mark.parametrize("whiten", WHITENINGS)
by_kernel = pytest.mark.parametrize("kernel", KERNELS)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def any_shape(draw, most=24, features=12):
    """(X, Q, rng): multiples of 2^-20, columns of unlike spread, any shape."""
    n, p = draw(st.integers(4, most)), draw(st.integers(1, features))
    rng = np.random.default_rng(draw(seeds))
    spread = np.logspace(0, -draw(st.floats(0, 2)), p)
    mix = np.linalg.qr(rng.normal(size=(p, p)))[0] * spread
    X = rng.normal(size=(n + 4, p)) @ mix.T @ rotation(rng, p)
    X = np.round(X * 2**20) / 2**20
    return X[:n], np.vstack([X, 3 * X[-1:]]), rng


def rotation(rng, p):
    return np.linalg.qr(rng.normal(size=(p, p)))[0]


def fit(X, bandwidth="scott", weights=None, **options):
    with warnings.catch_warnings():
        for declared in (
            CalibrationWarning,
            NearestNeighborWarning,
            RankDeficientWarning,
        ):
            warnings.simplefilter("ignore", declared)
        return KDEDetector(bandwidth, **options).fit(X, sample_weight=weights)


def assert_same(got, want, rtol=RTOL):
    """Equal as log-densities."""
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


def decided(X, Q, bandwidth, **options):
    """Whether rounding leaves alone what a compact kernel reaches, and how far.

    A bandwidth 1e-9 smaller or larger moves no score by more than 1e-6.
    """
    h = fit(X, bandwidth, **options).bandwidth_
    near = [fit(X, h * f, **options).score_samples(Q) for f in (1 - 1e-9, 1 + 1e-9)]
    ok = np.allclose(*near, rtol=1e-6, atol=1e-6)
    event("decided" if ok else "on the edge of a support")
    return ok


@st.composite
def settings_of(draw, whitenings=WHITENINGS):
    """(bandwidth, options) of a detector."""
    options = {
        "kernel": draw(st.sampled_from(KERNELS)),
        "whiten": draw(st.sampled_from(whitenings)),
    }
    return draw(st.sampled_from(["scott", "silverman", "condensation", 0.6])), options


def scores(X, Q, bandwidth, weights=None, **options):
    return fit(X, bandwidth, weights, **options).score_samples(Q)


# --------------------------------------------------------------------- relations
@by_whitening
@often
@given(
    example=any_shape(), kernel=st.sampled_from(KERNELS), exponent=st.floats(-100, 100)
)
def test_scale(whiten, example, kernel, exponent):
    """The density shifts by -p log s when X and h scale by s."""
    X, Q, _ = example
    s = 10.0**exponent
    options = {"kernel": kernel, "whiten": whiten}
    for h in ("scott", 0.6):
        if decided(X, Q, h, **options):
            scaled = h * s if whiten == "none" and h != "scott" else h
            got = scores(X * s, Q * s, scaled, **options) + X.shape[1] * math.log(s)
            assert_same(got, scores(X, Q, h, **options))


@by_whitening
@often
@given(
    example=any_shape(), kernel=st.sampled_from(KERNELS), exponent=st.integers(-300, 300)
)
def test_scale_by_powers_of_two(whiten, example, kernel, exponent):
    """Bitwise what depends on ratios of lengths; densities but for their shift.

    Eigenvectors of a scaled covariance are LAPACK's, which may differ in the last bit.
    """
    X, Q, _ = example
    event("decided")
    s = 2.0**exponent
    options = {"kernel": kernel, "whiten": whiten}
    once, scaled = fit(X, **options), fit(X * s, **options)
    assert scaled.bandwidth_ == once.bandwidth_ * (s if whiten == "none" else 1)
    neighbors = once.effective_neighbors(Q)
    rtol = 1e-12 if whiten == "ledoit_wolf" else 0
    np.testing.assert_allclose(scaled.effective_neighbors(Q * s), neighbors, rtol=rtol)
    got = scaled.score_samples(Q * s) + X.shape[1] * exponent * math.log(2)
    assert_same(got, once.score_samples(Q), 1e-12)
    slope = once.gradient(Q)
    atol = rtol * np.abs(slope).max()
    np.testing.assert_allclose(scaled.gradient(Q * s) * s, slope, rtol=rtol, atol=atol)


@often
@given(example=any_shape(), setting=settings_of(), size=st.integers(0, 24))
def test_translation(example, setting, size):
    X, Q, rng = example
    h, options = setting
    shift = rng.integers(-(2**size), 2**size + 1, size=X.shape[1])
    assert ((X + shift) - shift == X).all()  # the sums are exact
    if decided(X, Q, h, **options):
        got = scores(X + shift, Q + shift, h, **options)
        assert_same(got, scores(X, Q, h, **options))


@often
@given(example=any_shape(), setting=settings_of())
def test_rows_may_be_permuted(example, setting):
    X, Q, rng = example
    h, options = setting
    if decided(X, Q, h, **options):
        got = scores(rng.permutation(X), Q, h, **options)
        assert_same(got, scores(X, Q, h, **options))


@often
@given(example=any_shape(), setting=settings_of())
def test_columns_may_be_permuted(example, setting):
    X, Q, rng = example
    h, options = setting
    order = rng.permutation(X.shape[1])
    if decided(X, Q, h, **options):
        got = scores(X[:, order], Q[:, order], h, **options)
        assert_same(got, scores(X, Q, h, **options))


@often
@given(example=any_shape(), setting=settings_of(["none", "ledoit_wolf"]))
def test_rotation(example, setting):
    X, Q, rng = example
    h, options = setting
    turn = rotation(rng, X.shape[1])
    if decided(X, Q, h, **options):
        got = scores(X @ turn, Q @ turn, h, **options)
        assert_same(got, scores(X, Q, h, **options))


@often
@given(example=any_shape(), setting=settings_of(["diagonal"]), top=st.integers(0, 70))
def test_columns_in_other_units(example, setting, top):
    """An invertible diagonal map and a shift, of "diagonal"."""
    X, Q, rng = example
    h, options = setting
    units = 10.0 ** rng.uniform(-top, top, X.shape[1]) * rng.choice([-1, 1], X.shape[1])
    shift = units * rng.normal(size=X.shape[1])
    if decided(X, Q, h, **options):
        got = scores(X * units + shift, Q * units + shift, h, **options)
        assert_same(got + np.log(np.abs(units)).sum(), scores(X, Q, h, **options))


@often
@given(example=any_shape(), setting=settings_of(["none", "diagonal"]))
def test_every_row_twice(example, setting):
    """Nothing but the bandwidth of a rule, and an intensity, counts the rows."""
    X, Q, _ = example
    h, options = setting
    h = fit(X, h, **options).bandwidth_
    if decided(X, Q, h, **options):
        twice = fit(np.repeat(X, 2, axis=0), h, **options)
        assert_same(twice.score_samples(Q), scores(X, Q, h, **options))
        weighted = scores(X, Q, h, np.full(len(X), 2.0), **options)
        assert_same(weighted, twice.score_samples(Q), 1e-12)


@often
@given(example=any_shape(), setting=settings_of())
def test_every_row_twice_is_a_weight_of_two(example, setting):
    X, Q, _ = example
    h, options = setting
    twice = np.repeat(X, 2, axis=0)
    if decided(twice, Q, h, **options):
        weighted = scores(X, Q, h, np.full(len(X), 2.0), **options)
        assert_same(weighted, scores(twice, Q, h, **options))


@often
@given(
    example=any_shape(),
    setting=settings_of(),
    exponent=st.floats(-100, 100),
)
def test_weights_times_a_constant(example, setting, exponent):
    X, Q, rng = example
    h, options = setting
    h = fit(X, h, **options).bandwidth_
    weights = rng.uniform(0.2, 3, size=len(X))
    if decided(X, Q, h, weights=weights, **options):
        got = scores(X, Q, h, weights * 10.0**exponent, **options)
        assert_same(got, scores(X, Q, h, weights, **options))


@often
@given(example=any_shape(), setting=settings_of())
def test_batches_may_be_split(example, setting):
    X, Q, rng = example
    h, options = setting
    if decided(X, Q, h, **options):
        fitted = fit(X, h, **options)
        cut = rng.integers(1, len(Q))
        parts = [fitted.score_samples(Q[:cut]), fitted.score_samples(Q[cut:])]
        assert_same(np.concatenate(parts), fitted.score_samples(Q), 1e-12)


@often
@given(example=any_shape(), setting=settings_of())
def test_nothing_is_changed(example, setting):
    X, Q, rng = example
    h, options = setting
    event("decided")
    weights = rng.uniform(0.2, 3, size=len(X))
    before = [a.copy() for a in (X, Q, weights)]
    fitted = fit(X, h, weights, **options)
    fitted.score_samples(Q)
    fitted.gradient(Q)
    fitted.effective_neighbors(Q)
    for a, b in zip((X, Q, weights), before, strict=True):
        np.testing.assert_array_equal(a, b)


# --------------------------------------------------------------------- densities
@by_whitening
@by_kernel
@settings(often, max_examples=6)
@given(seed=seeds, exponent=st.floats(-30, 30), p=st.integers(1, 2))
def test_density_integrates_to_one(kernel, whiten, seed, exponent, p):
    """By a sum over a grid whose step is small beside the bandwidth."""
    rng = np.random.default_rng(seed)
    scale = 10.0**exponent
    X = scale * (rng.normal(size=(20, p)) @ (np.eye(p) + 0.4 * rng.normal(size=(p, p))))
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(X.T)) / scale**2)
    if min(values) < 0.03 * max(values):
        event("too narrow for the grid")
        return
    event("decided")
    fitted = fit(X, kernel=kernel, whiten=whiten)
    metric = {"none": np.ones(p), "diagonal": X.std(axis=0)}.get(
        whiten, np.full(p, scale * math.sqrt(max(values)))
    )
    reach = 30 if kernel == "exponential" else 9 if kernel == "gaussian" else 1.01
    reach = reach * fitted.bandwidth_ * metric
    steps = 20001 if p == 1 else 501
    low, high = X.min(axis=0) - reach, X.max(axis=0) + reach
    axes = [np.linspace(a, b, steps) for a, b in zip(low, high, strict=True)]
    cell = math.prod(float(a[1] - a[0]) for a in axes)
    nodes = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, p)
    total = np.exp(fitted.score_samples(nodes) + math.log(cell)).sum()
    smooth = {"gaussian": 1e-8, "tophat": 1e-2}.get(kernel, 1e-3)
    assert total == pytest.approx(1.0, abs=smooth)
