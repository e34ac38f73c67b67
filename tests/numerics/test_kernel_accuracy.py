"""Kernel log-densities within 1e-9 nats of long double, whatever d, n, scale and place.

Everything goes through the public detector with a bandwidth that is given and a threshold
that is given. The references are in `kernel_reference`, and are themselves checked here
against scikit-learn and SciPy where these are right.
"""

import math
import warnings

import mpmath
import numpy as np
import pytest
from kernel_reference import (
    COMPACT,
    KERNELS,
    LD,
    WHITENINGS,
    axis_variance,
    gradient,
    ledoit_wolf_intensity,
    log_density,
    log_normaliser,
    long_double,
    radius_cdf,
    whitened_covariance,
)
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import KernelDensity

from sklearn_gauss.detection import KDEDetector
from sklearn_gauss.exceptions import DistanceOverflowWarning

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_gauss.exceptions.NearestNeighborWarning",
    "ignore::sklearn_gauss.exceptions.BandwidthWarning",
)


def kde(*bandwidth, **options):
    """A detector in the data's own coordinates, unless others are asked for."""
    return KDEDetector(*bandwidth, **{"whiten": "none", **options})


EPS = float(np.finfo(np.float64).eps)
by_kernel = pytest.mark.parametrize("kernel", KERNELS)
by_whitening = pytest.mark.parametrize("whiten", WHITENINGS)


def fitted(Y, h, kernel="gaussian", weights=None, **options):
    detector = kde(float(h), kernel=kernel, calibration=0.0, **options)
    return detector.fit(Y, sample_weight=weights)


def scores(X, Y, h, kernel="gaussian", weights=None, **options):
    return fitted(Y, h, kernel, weights, **options).score_samples(X)


def assert_accurate(got, want, h=1.0, d=1, atol=1e-9, ulps=8):
    """Within 1e-9 nats and a few units in the last place of the parts of the sum."""
    want = np.asarray(want)
    assert got.dtype == np.float64
    assert got.shape == want.shape
    outside = np.isneginf(want)
    np.testing.assert_array_equal(np.isneginf(got), outside)
    assert np.isfinite(got[~outside]).all()
    constant = d * abs(math.log(h))
    error = np.abs(got[~outside].astype(LD) - want[~outside])
    allowed = atol + ulps * EPS * (np.abs(want[~outside]) + constant)
    assert (error <= allowed).all(), float((error - allowed).max())


def check(X, Y, h, kernel="gaussian", weights=None, *, whiten="none", **options):
    got = scores(X, Y, h, kernel, weights, whiten=whiten, **options)
    want = log_density(X, Y, h, kernel, weights, whiten)
    assert_accurate(got, want, h, np.shape(Y)[1])
    return got


def queries(Y, rng, count=4):
    """Near a row, on a row, between two, and drawn alike."""
    d = Y.shape[1]
    near = Y[0] + 0.1 * rng.normal(size=d)
    return np.vstack([near, Y[1], (Y[0] + Y[-1]) / 2, rng.normal(size=(count - 3, d))])


# ----------------------------------------------- the references against other libraries
# scikit-learn mis-normalises the cosine kernel in even dimensions.
RIGHT_IN_SKLEARN = [(k, d) for k in KERNELS for d in (1, 2, 3) if (k, d) != ("cosine", 2)]


@pytest.mark.parametrize(("kernel", "d"), RIGHT_IN_SKLEARN)
def test_reference_agrees_with_sklearn(kernel, d):
    rng = np.random.default_rng(d)
    X, Y = rng.normal(size=(8, d)), rng.normal(size=(30, d))
    weights = rng.integers(1, 5, size=30)
    model = KernelDensity(bandwidth=1.2, kernel=kernel).fit(Y, sample_weight=weights)
    with np.errstate(divide="ignore"):
        theirs = np.exp(model.score_samples(X))
    ours = np.exp(log_density(X, Y, 1.2, kernel, weights).astype(float))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_reference_agrees_with_scipy(d):
    rng = np.random.default_rng(d)
    X, Y = rng.normal(size=(8, d)), rng.normal(size=(30, d))
    model = stats.gaussian_kde(Y.T, bw_method=0.6)
    root = np.linalg.cholesky(np.atleast_2d(np.cov(Y.T)))
    whiteX, whiteY = (np.linalg.solve(root, rows.T).T for rows in (X, Y))
    ours = log_density(whiteX, whiteY, 0.6) - np.log(np.diag(root)).sum()
    np.testing.assert_allclose(ours.astype(float), model.logpdf(X.T), rtol=1e-12)


def test_reference_normalisers_agree_with_closed_forms():
    with mpmath.workdps(40):
        for d in (1, 2, 3, 8, 64, 256, 1024):
            log_ball = mpmath.log(mpmath.pi) * d / 2 - mpmath.loggamma(
                1 + mpmath.mpf(d) / 2
            )
            sphere = log_ball + mpmath.log(d)
            closed = {
                "gaussian": -mpmath.log(2 * mpmath.pi) * d / 2,
                "exponential": -sphere - mpmath.loggamma(d),
                "epanechnikov": -log_ball - mpmath.log(mpmath.mpf(2) / (d + 2)),
                "tophat": -log_ball,
                "linear": -log_ball + mpmath.log(d + 1),
            }
            half = mpmath.mpf(d) / 2
            series = mpmath.hyper([half], [0.5, half + 1], -(mpmath.pi**2) / 16)
            closed["cosine"] = -log_ball - mpmath.log(series)
            for kernel, value in closed.items():
                assert abs(log_normaliser(kernel, d) - value) < 1e-22, (kernel, d)


@by_kernel
def test_reference_radius_laws_have_the_reference_variance(kernel):
    for d in (1, 3, 9):
        u = np.linspace(0, 60, 600_001)
        second = 2 * np.sum((1 - radius_cdf(kernel, d)(u)) * u) * (u[1] - u[0])
        assert second / d == pytest.approx(axis_variance(kernel, d), rel=1e-6)


def test_reference_shrinkage_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    for n, p in ((40, 5), (12, 20)):
        Y = rng.normal(size=(n, p)) * np.logspace(0, -1, p) + 3
        model = LedoitWolf().fit(Y)
        assert float(ledoit_wolf_intensity(Y)) == pytest.approx(model.shrinkage_)
        found = whitened_covariance(Y, "ledoit_wolf").astype(float)
        np.testing.assert_allclose(found, model.covariance_, rtol=1e-9, atol=1e-12)
        weights = rng.integers(0, 4, size=n)
        repeated = whitened_covariance(np.repeat(Y, weights, axis=0), "ledoit_wolf")
        found = whitened_covariance(Y, "ledoit_wolf", weights)
        np.testing.assert_allclose(
            found.astype(float), repeated.astype(float), rtol=1e-13
        )


# ----------------------------------------------------------------------- normalisers
@by_kernel
def test_log_normalisers_from_1_to_64_dimensions(kernel):
    for d in range(1, 65):
        Y = np.zeros((2, d))
        Y[1] = 1e9  # alone, as far as the first row is concerned
        for h in (1.0, 0.37):
            got = scores(Y[:1], Y, h, kernel)[0]
            want = log_normaliser(kernel, d) - mpmath.log(2) - d * mpmath.log(h)
            assert abs(mpmath.mpf(got) - want) < 1e-9, (d, h)


@pytest.mark.parametrize("d", [256, 1024, 1792])
@by_kernel
def test_log_normalisers_in_many_dimensions(kernel, d):
    Y = np.zeros((2, d))
    Y[1] = 1e9
    want = long_double(log_normaliser(kernel, d)) - np.log(LD(2))
    assert_accurate(scores(Y[:1], Y, 1.0, kernel), np.array([want]))


@by_kernel
def test_integrates_to_one_on_a_line(kernel):
    Y, h = np.array([[0.0], [0.3], [2.0], [2.0], [7.5]]), 0.8
    detector = fitted(Y, h, kernel, weights=[1, 2, 1, 1, 0.5])
    reach = h * np.array([0, 1, 3, 6, 12, 45])
    cuts = np.unique(np.concatenate([Y + reach, Y - reach]).ravel())
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half, middle = np.diff(cuts) / 2, (cuts[1:] + cuts[:-1]) / 2
    x = (middle[:, None] + half[:, None] * nodes).ravel()
    density = np.exp(detector.score_samples(x[:, None]))
    assert (half[:, None] * weights).ravel() @ density == pytest.approx(1, abs=1e-9)


@by_whitening
@by_kernel
def test_integrates_to_one_in_the_plane(kernel, whiten):
    rng = np.random.default_rng(5)
    Y = rng.normal(size=(6, 2)) * [1.0, 0.4] + [1.0, -2.0]
    detector = fitted(Y, 0.7, kernel, whiten=whiten)
    reach = 26 if kernel == "exponential" else 8 if kernel == "gaussian" else 3
    spread = Y.std(axis=0) if whiten == "diagonal" else np.array([1.0, 0.7])
    low = Y.min(axis=0) - reach * spread
    high = Y.max(axis=0) + reach * spread
    side = 500
    axes = [
        a + (b - a) * (np.arange(side) + 0.5) / side
        for a, b in zip(low, high, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    total = np.exp(detector.score_samples(grid)).sum() * np.prod((high - low) / side)
    assert total == pytest.approx(1, abs=5e-3 if kernel == "tophat" else 1e-3)


# ------------------------------------------------------------------- size and bandwidth
SHAPES = [
    (20, 1),
    (20_000, 1),
    (300, 2),
    (20_000, 3),
    (300, 8),
    (20_000, 16),
    (50, 64),
    (5000, 64),
    (300, 256),
    (3000, 256),
    (50, 1024),
    (1000, 1024),
]


@pytest.mark.parametrize(("n", "d"), SHAPES, ids=str)
def test_gaussian_and_exponential_over_four_decades_of_bandwidth(n, d):
    rng = np.random.default_rng(n + d)
    Y = rng.normal(size=(n, d))
    X = queries(Y, rng)
    for h in (0.01, 1.0, 100.0):
        check(X, Y, h)
    check(X, Y, 0.3, "exponential")


@pytest.mark.parametrize("d", [1, 2, 3, 8, 16, 64, 256, 1024])
@by_kernel
def test_every_kernel_in_every_dimension(kernel, d):
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(80, d))
    X = queries(Y, rng, 6)
    for h in (0.5 * math.sqrt(2 * d), math.sqrt(2 * d), 30 * math.sqrt(d)):
        check(X, Y, h, kernel)


@pytest.mark.parametrize("d", [2, 16, 64, 512])
def test_rows_near_the_edge_of_a_compact_support(d):
    """One row just inside: log(1 - u) loses what 1 - u loses, and no more."""
    rng = np.random.default_rng(d)
    Y, X = rng.normal(size=(60, d)), rng.normal(size=(1, d))
    r = np.sort(np.linalg.norm(Y - X, axis=1))
    for kernel in COMPACT:
        for row in (0, 30):
            for excess in (1e-3, 1e-5, 1e-8):
                h = float(r[row] * (1 + excess))
                want, allowed = log_density(X, Y, h, kernel), 1e-9 + 16 * EPS / excess
                assert_accurate(scores(X, Y, h, kernel), want, h, d, atol=allowed)
                got = scores(X, Y, h, kernel, precision="float32")
                assert_accurate(got, want, h, d, atol=1e-3)


def test_an_isolated_query_is_outside_all_compact_supports():
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(100, 5))
    X = np.vstack([Y[:1] + 50, Y[:1]])
    for kernel in COMPACT:
        got = check(X, Y, 3.0, kernel)
        assert np.isneginf(got[0])
        assert np.isfinite(got[1])


# --------------------------------------------------------------------------- placement
@pytest.mark.parametrize("offset", [1e3, 1e6, 1e8, -1e8])
@pytest.mark.parametrize("d", [1, 3, 16, 64, 256])
def test_offsets(d, offset):
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(120, d)) + offset
    X = queries(Y - offset, rng) + offset
    for kernel in KERNELS:
        check(X, Y, math.sqrt(2 * d), kernel)
    check(X, Y, 0.05)
    check(X, Y, 0.05, "exponential")


@pytest.mark.parametrize("distance", [1e4, 1e8])
@pytest.mark.parametrize("d", [1, 2, 8, 64, 256])
def test_clusters_that_are_far_apart(d, distance):
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(160, d))
    Y[::2] += distance
    X = np.vstack([queries(Y[1::2], rng, 5), queries(Y[::2] - distance, rng) + distance])
    for kernel in KERNELS:
        check(X, Y, math.sqrt(2 * d), kernel)
    check(X, Y, 0.1)


def test_three_clusters_in_sorted_blocks_of_unequal_size():
    rng = np.random.default_rng(1)
    sizes, places = (3000, 7, 500), (0.0, 1e8, -1e5)
    Y = np.vstack(
        [rng.normal(size=(s, 4)) + c for s, c in zip(sizes, places, strict=True)]
    )
    X = np.vstack([rng.normal(size=(3, 4)) + c for c in places])
    for h in (0.2, 3.0):
        check(X, Y, h)
        check(X, Y, h, "exponential")
    check(X, Y, 3.0, "epanechnikov")
    check(X, Y, 3.0, "linear")


def test_columns_of_very_different_offset_and_scale():
    rng = np.random.default_rng(2)
    scale = np.array([1e-6, 1.0, 1e3, 1e-3, 10.0])
    offset = np.array([1e3, 1e8, -1e6, 0.0, 5e7])
    Y = rng.normal(size=(200, 5)) * scale + offset
    X = rng.normal(size=(5, 5)) * scale + offset
    for h in (0.5, 1000.0):
        check(X, Y, h)
    check(X, Y, 2000.0, "linear")


@by_kernel
def test_a_tight_cluster_beside_a_loose_one(kernel):
    """Distances of 1e-6 within one cluster, and 1 in another, at 1e4 from it."""
    rng = np.random.default_rng(3)
    Y = np.vstack([rng.normal(size=(50, 6)) * 1e-6 + 1e4, rng.normal(size=(50, 6))])
    X = np.vstack([Y[:2] + 1e-7, Y[50:52] + 0.1])
    for h in (4e-6, 4.0):
        check(X, Y, h, kernel)


@by_kernel
def test_duplicated_rows(kernel):
    rng = np.random.default_rng(4)
    Y = np.repeat(rng.normal(size=(40, 7)), rng.integers(1, 6, size=40), axis=0)
    X = np.vstack([Y[:3], Y[-3:] + 0.2])
    check(X, Y, 3.0, kernel)
    check(X, Y, 1e-3, kernel)


@by_kernel
def test_every_row_the_same(kernel):
    rng = np.random.default_rng(4)
    check(3.0 + 0.3 * rng.normal(size=(4, 7)), np.full((5, 7), 3.0), 4.0, kernel)


# ----------------------------------------------------------------------- integer grids
GRIDS = [(1, 9, 2.0), (2, 7, 5.0), (2, 11, 5.0), (3, 5, 3.0), (4, 3, 2.0), (9, 2, 3.0)]


@pytest.mark.parametrize(("d", "side", "h"), GRIDS, ids=str)
@pytest.mark.parametrize("kernel", COMPACT)
@pytest.mark.parametrize("unit", [1.0, 0.125, 1024.0])
def test_rows_exactly_at_the_edge_are_outside(kernel, d, side, h, unit):
    axes = np.meshgrid(*[np.arange(float(side))] * d, indexing="ij")
    Y = np.stack(axes, axis=-1).reshape(-1, d)
    X = np.vstack([Y[:: max(1, len(Y) // 12)], Y[:1] - 1, np.full((1, d), side // 2)])
    at_edge = ((X[:, None] - Y) ** 2).sum(axis=2) == h * h
    assert at_edge.any()
    for shift in (0.0, 2.0**20):
        check(X * unit + shift, Y * unit + shift, h * unit, kernel)


@pytest.mark.parametrize("kernel", COMPACT)
def test_a_row_that_has_only_edges_is_nowhere(kernel):
    Y = np.array([[0.0, 0.0], [6.0, 8.0], [100.0, 0.0]])
    X = np.array([[3.0, 4.0]])  # 5 from the first two
    assert np.isneginf(scores(X, Y, 5.0, kernel)[0])
    assert np.isfinite(scores(X, Y, float(np.nextafter(5.0, 6.0)), "tophat")[0])


# ------------------------------------------------------------------------------ weights
@by_whitening
@by_kernel
def test_weights(kernel, whiten):
    rng = np.random.default_rng(6)
    Y = rng.normal(size=(50, 6)) @ np.diag([1, 2, 0.5, 1, 1, 3])
    weights = rng.integers(0, 4, size=50).astype(float)
    check(Y[:8] + 0.1, Y, 4.0, kernel, weights, whiten=whiten)
    check(Y[:8] + 0.1, Y, 4.0, kernel, 10 * rng.random(50), whiten=whiten)


def test_many_small_terms_are_not_lost():
    """20,000 rows, each e^-26 of the nearest: 1e-7 nats together."""
    Y = np.full((20_001, 1), math.sqrt(52.0))
    Y[:-1] += np.linspace(0, 1e-3, 20_000)[:, None]
    Y[-1] = 0.0
    got = check(np.zeros((1, 1)), Y, 1.0)
    alone = scores(np.zeros((1, 1)), Y[-1:], 1.0) - math.log(len(Y))
    assert 1e-8 < got[0] - alone[0] < 1e-6


def test_weights_over_many_decades():
    rng = np.random.default_rng(7)
    Y = rng.normal(size=(60, 3))
    for span in (12, 200):
        weights = 10.0 ** rng.uniform(-span, span, size=60)
        check(Y[:6] + 0.3, Y, 0.5, "gaussian", weights)
        check(Y[:6] + 0.3, Y, 2.0, "linear", weights)


# ------------------------------------------------------------------------------- whiten
@pytest.mark.parametrize(("n", "d"), [(60, 4), (20, 40), (400, 16)], ids=str)
@by_kernel
def test_whitened_densities(kernel, n, d):
    rng = np.random.default_rng(n)
    mix = np.linalg.qr(rng.normal(size=(d, d)))[0] * np.logspace(0, -1, d)
    Y = rng.normal(size=(n, d)) @ mix.T + 5
    X = queries(Y - 5, rng) + 5
    for whiten in ("diagonal", "ledoit_wolf"):
        check(X, Y, 1.5 * math.sqrt(d), kernel, whiten=whiten)
    check(X, Y, 0.2, whiten="ledoit_wolf")


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_whitened_densities_far_from_the_origin(offset):
    rng = np.random.default_rng(8)
    Y = rng.normal(size=(80, 5)) + offset
    X = rng.normal(size=(4, 5)) + offset
    for whiten in ("diagonal", "ledoit_wolf"):
        check(X, Y, 0.5, whiten=whiten)
        check(X, Y, 3.0, "epanechnikov", whiten=whiten)


@pytest.mark.parametrize("exponent", [-150, -20, 20, 150])
def test_whitening_takes_out_the_scale(exponent):
    rng = np.random.default_rng(9)
    Y, scale = rng.normal(size=(60, 4)), 2.0 ** round(exponent / math.log10(2))
    X = Y[:5] + 0.2
    for whiten in ("diagonal", "ledoit_wolf"):
        base = scores(X, Y, 0.7, whiten=whiten)
        moved = scores(X * scale, Y * scale, 0.7, whiten=whiten)
        assert_accurate(moved, base - 4 * np.log(LD(scale)))


# --------------------------------------------------------------------------- distance
@pytest.mark.parametrize("d", [1, 3, 64])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_queries_a_million_bandwidths_away(kernel, d):
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(200, d))
    X = np.vstack([np.full(d, 1e6), np.full(d, -3e4), np.full(d, 1e9)])
    check(X, Y, 1.0, kernel)
    check(X, Y, 1e-3, kernel)


@by_kernel
@by_whitening
def test_queries_beyond_the_range_of_squares(kernel, whiten):
    rng = np.random.default_rng(0)
    detector = fitted(rng.normal(size=(50, 3)), 1.0, kernel, whiten=whiten)
    far = np.full((2, 3), [[1e200], [-1e300]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = detector.score_samples(np.vstack([far, np.zeros((1, 3))]))
    kinds = {w.category for w in caught}
    assert kinds <= {DistanceOverflowWarning}
    assert np.isfinite(got[2])
    if kernel in COMPACT:
        assert np.isneginf(got[:2]).all()
        return
    assert np.isfinite(got[:2]).all()
    if kernel == "gaussian":
        assert kinds == {DistanceOverflowWarning}
        assert (got[:2] < -1e300).all()
    elif not kinds:  # the distance itself is a float64
        want = log_density(far, detector.reference_, 1.0, kernel, whiten=whiten)
        np.testing.assert_allclose(got[:2], want.astype(float), rtol=1e-9)
    # What was clipped does not touch the other rows of its batch.
    assert got[2] == pytest.approx(detector.score_samples(np.zeros((1, 3)))[0], abs=1e-9)


@pytest.mark.parametrize("exponent", [-150, -100, -30, 30, 100, 150])
@by_kernel
def test_scales_from_1e_minus_150_to_1e150(kernel, exponent):
    rng = np.random.default_rng(1)
    Y, s = rng.normal(size=(50, 4)), 10.0**exponent
    X = queries(Y, rng)
    check(X * s, Y * s, 2.5 * s, kernel)


@pytest.mark.parametrize("exponent", [-490, -60, 60, 490])
@by_kernel
def test_one_common_power_of_two(kernel, exponent):
    rng = np.random.default_rng(2)
    Y, s = rng.normal(size=(50, 5)), 2.0**exponent
    X = queries(Y, rng)
    base, moved = scores(X, Y, 3.0, kernel), scores(X * s, Y * s, 3.0 * s, kernel)
    assert_accurate(moved, base - 5 * np.log(LD(s)), s, 5)


@pytest.mark.parametrize("ratio", [1e-6, 1e6])
def test_bandwidths_far_from_the_spread(ratio):
    rng = np.random.default_rng(3)
    Y = rng.normal(size=(100, 10))
    X = queries(Y, rng)
    for kernel in ("gaussian", "exponential"):
        check(X, Y, ratio, kernel)
    for kernel in COMPACT:
        check(X, Y, ratio, kernel)


def test_subnormal_differences():
    Y = np.array([[0.0, 0.0], [1e-310, 0.0], [0.0, 3e-309]])
    check(Y, Y, 1.0)
    check(Y, Y, 1.0, "linear")


# ----------------------------------------------------------------- batches and layouts
@by_kernel
@by_whitening
def test_a_row_alone_and_in_a_batch(kernel, whiten):
    rng = np.random.default_rng(4)
    Y = rng.normal(size=(700, 12)) + 1e4
    X = rng.normal(size=(300, 12)) + 1e4
    h = 4.0 if whiten != "none" or kernel != "gaussian" else 0.3
    for memory in (64, 0.1):
        detector = fitted(Y, h, kernel, whiten=whiten, working_memory=memory)
        batch = detector.score_samples(X)
        alone = np.array([detector.score_samples(x[None])[0] for x in X[:40]])
        assert_accurate(alone, batch[:40].astype(LD))
        backwards = detector.score_samples(X[::-1])[::-1]
        assert_accurate(backwards, batch.astype(LD))
        assert_accurate(batch[:3], log_density(X[:3], Y, h, kernel, whiten=whiten))


def test_a_far_row_in_the_batch_costs_the_others_nothing():
    rng = np.random.default_rng(5)
    Y = rng.normal(size=(300, 8))
    X = np.vstack([rng.normal(size=(4, 8)), np.full((1, 8), 1e12)])
    check(X, Y, 0.5)
    check(X, Y, 2.0, "exponential")


def test_types_and_layouts():
    rng = np.random.default_rng(6)
    Y = np.round(rng.normal(size=(80, 6)) * 64) / 64
    X = Y[:9] + 0.25
    want = log_density(X, Y, 1.5)
    for change in (
        np.asfortranarray,
        lambda a: a.astype(np.float32),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1][::-1],
    ):
        assert_accurate(scores(change(X), change(Y), 1.5), want)
    grid = rng.integers(0, 5, size=(80, 6))
    want = log_density(grid[:9], grid, 4.0, "linear")
    for dtype in (np.int8, np.uint8, np.int64):
        got = scores(grid[:9].astype(dtype), grid.astype(dtype), 4.0, "linear")
        assert_accurate(got, want)


def test_jobs_and_memory_do_not_change_the_scores():
    rng = np.random.default_rng(7)
    Y, X = rng.normal(size=(900, 20)), rng.normal(size=(200, 20))
    want = scores(X, Y, 2.0)
    for options in ({"n_jobs": 2}, {"working_memory": 0.05}, {"working_memory": 1000}):
        assert_accurate(scores(X, Y, 2.0, **options), want.astype(LD))


# ------------------------------------------------------------------------ half the bits
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("d", [2, 64, 512])
def test_single_precision_falls_back_where_it_must(d, offset):
    rng = np.random.default_rng(d)
    Y = rng.normal(size=(150, d)) + offset
    X = queries(Y - offset, rng) + offset
    for kernel, h in (
        ("gaussian", 1.0),
        ("gaussian", 0.01),
        ("gaussian", 1e-4),
        ("exponential", 0.01),
        ("epanechnikov", 1.6 * math.sqrt(d)),
        ("linear", 1.6 * math.sqrt(d)),
        ("cosine", 1.6 * math.sqrt(d)),
    ):
        got = scores(X, Y, h, kernel, precision="float32")
        want = log_density(X, Y, h, kernel)
        assert_accurate(got, want, h, d, atol=1e-3)


@pytest.mark.parametrize("exponent", [-150, -30, 30, 150])
def test_single_precision_at_extreme_scales(exponent):
    rng = np.random.default_rng(1)
    Y, s = rng.normal(size=(50, 4)), 10.0**exponent
    X = queries(Y, rng)
    got = scores(X * s, Y * s, 0.5 * s, precision="float32")
    assert_accurate(got, log_density(X * s, Y * s, 0.5 * s), s, 4, atol=1e-3)


def test_single_precision_with_clusters_far_apart_and_grids():
    rng = np.random.default_rng(2)
    Y = rng.normal(size=(100, 6))
    Y[::2] += 1e8
    X = np.vstack([Y[:3] + 0.1, Y[-3:] - 0.1])
    got = scores(X, Y, 0.7, precision="float32")
    assert_accurate(got, log_density(X, Y, 0.7), atol=1e-3)
    far = np.full((1, 6), -1e7)
    got = scores(far, Y, 0.7, precision="float32")
    assert_accurate(got, log_density(far, Y, 0.7), atol=1e-3)
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), axis=-1).reshape(-1, 3)
    for kernel in COMPACT:
        got = scores(grid[::9], grid, 3.0, kernel, precision="float32")
        want = log_density(grid[::9], grid, 3.0, kernel)
        assert_accurate(got, want, 3.0, 3, atol=1e-3)


@pytest.mark.parametrize("kernel", COMPACT)
def test_single_precision_beside_the_edge(kernel):
    """Edges that float32 cannot tell from the inside, and float64 can."""
    rng = np.random.default_rng(8)
    grid = np.stack(np.meshgrid(*[np.arange(12.0)] * 2), axis=-1).reshape(-1, 2)
    Y = grid + 1e-9 * rng.normal(size=grid.shape)
    for offset in (0.0, 100.0):
        got = scores(grid + offset, Y + offset, 5.0, kernel, precision="float32")
        want = log_density(grid + offset, Y + offset, 5.0, kernel)
        assert_accurate(got, want, 5.0, 2, atol=1e-3)


# --------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_gaussian_gradient_in_dimension_and_place(offset):
    rng = np.random.default_rng(3)
    for d, h in ((1, 0.3), (3, 0.5), (20, 2.0)):
        Y = rng.normal(size=(40, d)) + offset
        X = rng.normal(size=(2, d)) + offset
        got = fitted(Y, h).gradient(X)
        want = gradient(X, Y, h).astype(float)
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-8 / h)
