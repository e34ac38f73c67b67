"""KDEDetector: left-out scores, bandwidths, weights, sampling, thresholds that hold."""

import inspect
import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from kernel_reference import (
    COMPACT,
    KERNELS,
    LD,
    WHITENINGS,
    LeftOutCurve,
    axis_variance,
    condensation,
    condensation_threshold,
    distances,
    effective_neighbors,
    gradient,
    left_out,
    left_out_effective_neighbors,
    log_density,
    radius_cdf,
    whitened_covariance,
    whitening,
)
from scipy import integrate, stats
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info

from sklearn_gauss.detection import KDEDetector
from sklearn_gauss.exceptions import (
    BandwidthWarning,
    CalibrationWarning,
    NearestNeighborWarning,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_gauss.exceptions.NearestNeighborWarning",
    "ignore::sklearn_gauss.exceptions.BandwidthWarning",
)


def kde(*bandwidth, **options):
    """A detector in the data's own coordinates, unless others are asked for."""
    return KDEDetector(*bandwidth, **{"whiten": "none", **options})


RULES = ("loo", "scott", "silverman", "condensation")
by_kernel = pytest.mark.parametrize("kernel", KERNELS)
by_whitening = pytest.mark.parametrize("whiten", WHITENINGS)
by_rule = pytest.mark.parametrize("rule", RULES)
often = settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
seeds = st.integers(0, 2**32 - 1)


def drawn(n, p, seed=0, decades=0.5):
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.normal(size=(p, p)))[0] * np.logspace(0, -decades, p)
    return rng.normal(size=(n, p)) @ mix.T + 1.0


TALL, WIDE = drawn(60, 4), drawn(25, 40)
by_shape = pytest.mark.parametrize("X", [TALL, WIDE], ids=["n > p", "n < p"])


def quietly(X, *args, weights=None, **options):
    """Fitted, without the warning of few rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return kde(*args, **options).fit(X, sample_weight=weights)


def wide_enough(X, whiten):
    """A bandwidth that reaches most rows, in every whitening."""
    return 1.3 * math.sqrt(2 * X.shape[1]) * (1.0 if whiten != "none" else X.std())


def assert_close(got, want, atol=1e-8):
    """Equal as log-densities: where both are -inf, or within atol and a few ulps."""
    got, want = np.asarray(got, np.float64), np.asarray(want).astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=atol)


# ------------------------------------------------------------------------- left out
@by_whitening
@by_kernel
@by_shape
def test_calibration_scores_are_those_of_n_refits(X, kernel, whiten):
    h = wide_enough(X, whiten)
    detector = quietly(X, h, kernel=kernel, whiten=whiten)
    want = left_out(X, h, kernel, whiten=whiten)
    assert np.isfinite(want).mean() > 0.8
    assert_close(detector.calibration_scores_, want)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov", "tophat"])
@by_whitening
def test_calibration_scores_with_narrow_kernels(whiten, kernel):
    h = 0.3 * wide_enough(TALL, whiten)
    detector = quietly(TALL, h, kernel=kernel, whiten=whiten)
    want = left_out(TALL, h, kernel, whiten=whiten)
    assert np.isneginf(want).any() == (kernel in COMPACT)
    assert_close(detector.calibration_scores_, want)


@by_whitening
@by_kernel
def test_left_out_copies_stay_in(kernel, whiten):
    """One copy leaves; the others are ordinary rows."""
    X = np.repeat(TALL[:14], [3, 1, 2, 1, 1, 5, 1, 1, 1, 2, 1, 1, 1, 4], axis=0)
    h = wide_enough(X, whiten)
    detector = quietly(X, h, kernel=kernel, whiten=whiten)
    assert_close(detector.calibration_scores_, left_out(X, h, kernel, whiten=whiten))


@by_whitening
@by_kernel
def test_weighted_calibration_scores(kernel, whiten):
    weights = np.random.default_rng(1).integers(1, 5, size=60).astype(float)
    h = wide_enough(TALL, whiten)
    detector = quietly(TALL, h, kernel=kernel, whiten=whiten, weights=weights)
    want = left_out(TALL, h, kernel, weights, whiten)
    assert_close(detector.calibration_scores_, want)
    np.testing.assert_array_equal(detector.calibration_weights_, weights)


@by_whitening
def test_calibration_scores_of_broken_weights(whiten):
    """Weights that count no repeats leave as a whole."""
    weights = np.random.default_rng(2).uniform(0.2, 3, size=60)
    h = wide_enough(TALL, whiten)
    detector = quietly(TALL, h, whiten=whiten, weights=weights)
    assert_close(
        detector.calibration_scores_, left_out(TALL, h, "gaussian", weights, whiten)
    )


@by_whitening
def test_left_out_scores_far_from_the_origin(whiten):
    X = drawn(30, 5, decades=0.3) + 1e7
    h = 0.5 * wide_enough(X - 1e7, whiten)
    detector = quietly(X, h, whiten=whiten)
    assert_close(detector.calibration_scores_, left_out(X, h, whiten=whiten))


def test_left_out_scores_in_many_dimensions():
    X = drawn(40, 300, decades=1)
    for whiten, h in (("none", 0.5), ("ledoit_wolf", 6.0), ("diagonal", 3.0)):
        detector = quietly(X[:, :120] if whiten != "none" else X, h, whiten=whiten)
        rows = X[:, :120] if whiten != "none" else X
        want = left_out(rows, h, whiten=whiten) if whiten != "ledoit_wolf" else None
        if want is None:  # n refits are slow here: a few rows of them, in float64
            want = left_out_float64(rows, h, rows=range(0, 40, 7))
            assert_close(detector.calibration_scores_[::7], want)
        else:
            assert_close(detector.calibration_scores_, want)


def left_out_float64(X, h, rows):
    n, p = X.shape
    full = LedoitWolf().fit(X)
    S = np.cov(X.T, bias=True)
    m, a = np.trace(S) / p, full.shrinkage_
    log_volume = -np.linalg.slogdet(full.covariance_)[1] / 2
    out = []
    for i in rows:
        rest = np.delete(X, i, axis=0)
        inverse = np.linalg.inv((1 - a) * np.cov(rest.T, bias=True) + a * m * np.eye(p))
        Z = X[i] - rest
        terms = -np.einsum("ij,jk,ik->i", Z, inverse, Z) / h**2 / 2
        top = terms.max()
        total = top + math.log(np.exp(terms - top).sum() / (n - 1))
        out.append(total + log_volume - p / 2 * math.log(2 * math.pi) - p * math.log(h))
    return out


@pytest.mark.parametrize("calibration", ["quantile", -12.0])
def test_left_out_scores_are_not_paid_for_where_nobody_asked(calibration):
    detector = kde(0.5, calibration=calibration).fit(TALL)
    with pytest.raises(AttributeError, match="recalibrate"):
        detector.p_values(TALL)
    assert len(detector.recalibrate(TALL).p_values(TALL)) == 60


# ------------------------------------------------------------------- offset, verbs
@often
@given(seeds, st.integers(5, 30), st.integers(1, 12), st.sampled_from(KERNELS))
def test_the_threshold_is_the_order_statistic_of_left_out_scores(seed, n, p, kernel):
    X = drawn(n, p, seed)
    detector = kde(4.0 + p, kernel=kernel, target_fpr=0.25).fit(X)
    rank = math.ceil((n + 1) * 0.75)
    assert detector.offset_ == np.sort(detector.calibration_scores_)[::-1][rank - 1]


@by_whitening
@by_shape
def test_verbs_agree_about_the_threshold(X, whiten):
    detector = kde(whiten=whiten, target_fpr=0.2).fit(X)
    Q = np.vstack([X, X + 0.5, X + 50])
    found, decision = detector.score_samples(Q), detector.decision_function(Q)
    np.testing.assert_array_equal(decision, found - detector.offset_)
    np.testing.assert_array_equal(detector.predict(Q), np.where(decision >= 0, 1, -1))
    assert detector.score(Q) == pytest.approx(found.mean())
    assert {-1, 1} == set(detector.predict(Q))
    np.testing.assert_array_equal(
        clone(detector).fit_predict(X), clone(detector).fit(X).predict(X)
    )


def test_outside_all_supports_is_an_anomaly():
    detector = kde(2.0, kernel="tophat", target_fpr=0.1).fit(TALL)
    far = np.full((2, 4), 1e3)
    assert np.isneginf(detector.score_samples(far)).all()
    assert np.isneginf(detector.decision_function(far)).all()
    assert (detector.predict(far) == -1).all()
    assert detector.p_values(far) == pytest.approx(
        (1 + np.isneginf(detector.calibration_scores_).sum()) / 61
    )


def test_a_threshold_of_minus_infinity_gives_no_nan():
    """Isolated training rows: the order statistic itself may be -inf."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        detector = kde(0.05, kernel="tophat").fit(TALL)
    assert np.isneginf(detector.offset_)
    Q = np.vstack([TALL[:3], TALL[:3] + 100])
    assert not np.isnan(detector.decision_function(Q)).any()
    assert (detector.predict(Q) == 1).all()


def test_few_rows_warn_with_the_number_that_is_needed():
    with pytest.warns(CalibrationWarning, match="99"):
        detector = kde(1.0, target_fpr=0.01).fit(WIDE)
    assert detector.offset_ == -np.inf
    assert (detector.predict(WIDE + 100) == 1).all()


@pytest.mark.parametrize("offset", [-12.5, -3, 0.0])
def test_a_number_is_the_offset(offset):
    assert kde(1.0, calibration=offset).fit(TALL).offset_ == offset


def test_quantile_flags_the_share_of_the_training_rows():
    detector = kde(0.5, calibration="quantile", target_fpr=0.1).fit(TALL)
    assert (detector.predict(TALL) == -1).sum() == 6


@pytest.mark.parametrize("target", [None, 0.3])
def test_recalibrating_sets_the_threshold_on_fresh_rows(target):
    fresh = drawn(59, 4, seed=0) + 0.3
    detector = kde(target_fpr=0.1).fit(TALL)
    before = detector.score_samples(fresh)
    assert detector.recalibrate(fresh, target) is detector
    np.testing.assert_array_equal(detector.calibration_scores_, before)
    rank = math.ceil(60 * (1 - (target or 0.1)))
    assert detector.offset_ == np.sort(before)[::-1][rank - 1]


def test_recalibrating_forgets_the_weights():
    weights = np.arange(60) % 4.0
    detector = kde(0.5, target_fpr=0.1).fit(TALL, sample_weight=weights)
    fresh = drawn(40, 4, seed=0)
    found = detector.recalibrate(fresh)
    below = (found.calibration_scores_ <= found.score_samples(TALL)[:, None]).sum(axis=1)
    np.testing.assert_allclose(detector.p_values(TALL), (1 + below) / 41)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.25])
@by_whitening
def test_flagged_means_a_p_value_at_most_the_target(target, whiten):
    detector = kde(target_fpr=target, whiten=whiten).fit(TALL)
    Q = np.vstack([TALL, TALL + 0.3, TALL + 3.0, TALL[:5] * 1e3])
    p_values = detector.p_values(Q)
    flagged = p_values <= target * (1 + 1e-12)
    np.testing.assert_array_equal(detector.predict(Q) == -1, flagged)
    below = (detector.calibration_scores_ <= detector.score_samples(Q)[:, None]).sum(
        axis=1
    )
    np.testing.assert_allclose(p_values, (1 + below) / 61)


# --------------------------------------------------------- weights, batches, order
def same_density(first, second, Q, atol=1e-9):
    assert first.bandwidth_ == pytest.approx(second.bandwidth_, rel=1e-9)
    assert_close(first.score_samples(Q), second.score_samples(Q), atol)


def multiset(detector):
    """Left-out scores in order, each as often as its weight says."""
    found = detector.calibration_scores_
    weights = getattr(detector, "calibration_weights_", None)
    if weights is not None:
        found = np.repeat(found, np.asarray(weights).astype(int))
    return np.sort(found)


@by_rule
@by_whitening
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
def test_weights_are_repeats(rule, whiten, kernel):
    weights = np.random.default_rng(5).integers(0, 4, size=60)
    options = {"kernel": kernel, "whiten": whiten, "target_fpr": 0.1}
    weighted = quietly(TALL, rule, weights=weights, **options)
    repeated = quietly(np.repeat(TALL, weights, axis=0), rule, **options)
    Q = np.vstack([TALL[:20], TALL[:20] + 0.5])
    same_density(weighted, repeated, Q)
    assert_close(multiset(weighted), multiset(repeated), 1e-8)
    assert_close(weighted.offset_, repeated.offset_)
    # p-values step at calibration scores: look between them.
    np.testing.assert_allclose(weighted.p_values(Q), repeated.p_values(Q), rtol=1e-12)
    np.testing.assert_allclose(
        weighted.effective_neighbors(Q), repeated.effective_neighbors(Q), rtol=1e-7
    )
    np.testing.assert_allclose(weighted.location_, repeated.location_, rtol=1e-12)
    for key, value in repeated.bandwidth_regimes_.items():
        if key != "regime":
            assert weighted.bandwidth_regimes_[key] == pytest.approx(value, rel=1e-6), key
    assert weighted.bandwidth_regimes_["regime"] == repeated.bandwidth_regimes_["regime"]


@by_rule
@by_whitening
def test_weights_of_one_change_nothing(rule, whiten):
    weighted = kde(rule, whiten=whiten).fit(TALL, sample_weight=np.ones(60))
    plain = kde(rule, whiten=whiten).fit(TALL)
    same_density(weighted, plain, TALL, 1e-10)
    assert_close(weighted.offset_, plain.offset_, 1e-10)


@by_rule
@by_whitening
def test_a_weight_of_nothing_is_no_row(rule, whiten):
    X = np.vstack([TALL, TALL[:9] + 1e6])
    weights = np.r_[np.ones(60), np.zeros(9)]
    absent = kde(rule, whiten=whiten).fit(X, sample_weight=weights)
    plain = kde(rule, whiten=whiten).fit(TALL)
    same_density(absent, plain, np.vstack([TALL, TALL + 1]))
    assert_close(multiset(absent), multiset(plain))
    assert_close(absent.offset_, plain.offset_)


def test_weighted_p_values_count_weights():
    weights = np.random.default_rng(6).uniform(0, 3, size=60)
    detector = quietly(TALL, 0.5, weights=weights, target_fpr=0.2)
    Q = np.vstack([TALL, TALL + 0.4])
    calibration, w = detector.calibration_scores_, detector.calibration_weights_
    below = (w * (calibration <= detector.score_samples(Q)[:, None])).sum(axis=1)
    want = (1 + below) / (w.sum() + 1)
    np.testing.assert_allclose(detector.p_values(Q), want, rtol=1e-12)
    flagged = detector.predict(Q) == -1
    np.testing.assert_array_equal(flagged, detector.p_values(Q) <= 0.2)


@by_rule
@by_whitening
def test_partial_fits_are_one_fit(rule, whiten):
    weights = np.random.default_rng(7).integers(1, 4, size=60).astype(float)
    for w in (None, weights):
        parts = kde(rule, whiten=whiten, target_fpr=0.1)
        for rows in np.split(np.arange(60), [20, 27, 50]):
            parts.partial_fit(TALL[rows], sample_weight=None if w is None else w[rows])
        whole = kde(rule, whiten=whiten, target_fpr=0.1).fit(TALL, sample_weight=w)
        same_density(parts, whole, TALL + 0.1, 1e-10)
        assert_close(parts.offset_, whole.offset_, 1e-10)
        assert_close(parts.calibration_scores_, whole.calibration_scores_, 1e-10)
        parts.fit(TALL[:30])  # starts afresh
        again = kde(rule, whiten=whiten, target_fpr=0.1).fit(TALL[:30])
        same_density(parts, again, TALL)


@by_rule
@by_whitening
@by_shape
def test_rows_may_be_permuted(X, rule, whiten):
    order = np.random.default_rng(8).permutation(len(X))
    first = quietly(X, rule, whiten=whiten)
    second = quietly(X[order], rule, whiten=whiten)
    same_density(first, second, X + 0.1)
    assert_close(first.calibration_scores_[order], second.calibration_scores_)


@by_rule
@by_whitening
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_columns_may_be_permuted(rule, whiten, kernel):
    order = np.random.default_rng(8).permutation(4)
    first = quietly(TALL, rule, whiten=whiten, kernel=kernel)
    second = quietly(TALL[:, order], rule, whiten=whiten, kernel=kernel)
    assert second.bandwidth_ == pytest.approx(first.bandwidth_, rel=1e-9)
    Q = TALL + 0.1
    assert_close(first.score_samples(Q), second.score_samples(Q[:, order]))


@by_rule
@by_whitening
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_translation(rule, whiten, kernel):
    X = np.round(TALL * 2**20) / 2**20
    for shift in (2.0**10, -(2.0**24)):
        first = quietly(X, rule, whiten=whiten, kernel=kernel)
        second = quietly(X + shift, rule, whiten=whiten, kernel=kernel)
        assert second.bandwidth_ == pytest.approx(first.bandwidth_, rel=1e-9)
        assert_close(first.score_samples(X), second.score_samples(X + shift))
        assert_close(first.offset_, second.offset_)


@by_rule
@by_whitening
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
@pytest.mark.parametrize("scale", [1e-3, 7.0, 2.0**40, 1e-100, 1e100])
def test_scale_shifts_the_log_density(rule, whiten, kernel, scale):
    first = quietly(TALL, rule, whiten=whiten, kernel=kernel)
    second = quietly(TALL * scale, rule, whiten=whiten, kernel=kernel)
    ratio = 1.0 if whiten != "none" else scale
    assert second.bandwidth_ == pytest.approx(first.bandwidth_ * ratio, rel=1e-8)
    shift = 4 * math.log(scale)
    Q = np.vstack([TALL[:10], TALL[:10] + 0.1])
    want = first.score_samples(Q) - shift
    assert_close(second.score_samples(Q * scale), want, 1e-6)
    assert_close(second.offset_, first.offset_ - shift, 1e-6)
    np.testing.assert_allclose(second.p_values(Q * scale), first.p_values(Q), atol=1e-12)


def test_rotation():
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(4, 4)))[0]
    for rule in RULES:
        for whiten in ("none", "ledoit_wolf"):
            first = quietly(TALL, rule, whiten=whiten)
            second = quietly(TALL @ turn, rule, whiten=whiten)
            assert second.bandwidth_ == pytest.approx(first.bandwidth_, rel=1e-8)
            assert_close(first.score_samples(TALL), second.score_samples(TALL @ turn))


@by_whitening
def test_fitting_touches_neither_rows_nor_parameters(whiten):
    X, weights = TALL.copy(), np.ones(60)
    detector = kde(whiten=whiten)
    before = detector.get_params()
    detector.fit(X, sample_weight=weights)
    detector.score_samples(X)
    np.testing.assert_array_equal(X, TALL)
    np.testing.assert_array_equal(weights, 1)
    assert detector.get_params() == before
    held = detector.score_samples(TALL)
    X += 100  # nor do later changes reach the fit
    np.testing.assert_array_equal(detector.score_samples(TALL), held)


# ----------------------------------------------------------------- bandwidth: loo
def loo_samples():
    rng = np.random.default_rng(10)
    clusters = np.vstack([rng.normal(size=(25, 2)), 0.1 * rng.normal(size=(25, 2)) + 8])
    return {
        "line": rng.normal(size=(50, 1)),
        "plane": drawn(50, 2),
        "two scales": clusters,
        "wide": drawn(25, 40),
        "heavy tails": rng.standard_t(1.5, size=(50, 2)),
        "copies": np.repeat(drawn(20, 3), np.arange(20) % 4 + 1, axis=0),
        "rounded": np.round(drawn(60, 2) * 4) / 4,
    }


LOO_SAMPLES = loo_samples()


@pytest.mark.parametrize("name", LOO_SAMPLES)
@by_kernel
def test_loo_bandwidth_is_the_maximum_of_a_dense_search(name, kernel):
    X = LOO_SAMPLES[name]
    h = quietly(X, "loo", kernel=kernel).bandwidth_
    curve = LeftOutCurve(X, kernel)
    best, value = curve.maximiser(points=41)
    # With a compact support the curve has a kink, or a step, at every distance.
    assert curve(h) > value - (0.02 if kernel in COMPACT else 1e-5)
    if kernel not in COMPACT:
        assert h == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "linear"])
@by_whitening
def test_loo_bandwidth_beats_a_grid_of_refits(kernel, whiten):
    """Whatever a left-out row takes out of the whitening, the best is near."""
    X = TALL[:30]
    found = quietly(X, "loo", kernel=kernel, whiten=whiten)
    h = found.bandwidth_
    grid = h * np.geomspace(0.2, 5, 31)
    fixed = LeftOutCurve(X, kernel, whiten=whiten)
    refits = [float(left_out(X, g, kernel, whiten=whiten).mean()) for g in grid]
    by_refit = float(left_out(X, h, kernel, whiten=whiten).mean())
    by_fixed = fixed(h) - max(fixed(g) for g in grid)
    assert max(by_refit - max(refits), by_fixed) > -1e-6
    assert by_refit > max(refits) - 0.1


def test_weighted_loo_bandwidth():
    weights = np.random.default_rng(11).uniform(0.1, 3, size=60)
    h = quietly(TALL, "loo", weights=weights).bandwidth_
    curve = LeftOutCurve(TALL, weights=weights)
    assert curve(h) > curve.maximiser(points=81)[1] - 1e-6


def test_copies_do_not_drive_the_bandwidth_to_nothing():
    X = np.repeat(TALL, 2, axis=0)
    assert quietly(X, "loo").bandwidth_ == pytest.approx(
        quietly(TALL, "loo").bandwidth_, rel=1e-6
    )


@by_kernel
def test_loo_bandwidth_keeps_every_left_out_row_in_a_support(kernel):
    detector = kde("loo", kernel=kernel).fit(TALL)
    assert np.isfinite(detector.calibration_scores_).all()


@by_kernel
def test_bandwidth_curve_is_that_of_refits(kernel):
    X = TALL[:40]
    detector = quietly(X, "loo", kernel=kernel)
    hs = detector.bandwidth_ * np.array([0.3, 0.9, 1.0, 2.0, 10.0])
    found = detector.bandwidth_curve(hs)
    np.testing.assert_allclose(found.bandwidths, hs)
    curve = LeftOutCurve(X, kernel)
    assert_close(found.log_likelihood, [curve(h) for h in hs])
    refits = [float(left_out(X, h, kernel).mean()) for h in hs]
    assert_close(found.log_likelihood, refits)
    for k in (2, 3, 4):
        want = np.median(left_out_effective_neighbors(X, hs[k], kernel).astype(float))
        assert found.effective_neighbors[k] == pytest.approx(want, rel=1e-6)


@by_whitening
def test_bandwidth_curve_peaks_at_the_bandwidth(whiten):
    detector = kde("loo", whiten=whiten).fit(TALL)
    curve = detector.bandwidth_curve()
    assert len(curve.bandwidths) == len(curve.log_likelihood)
    assert len(curve.bandwidths) == len(curve.effective_neighbors)
    assert (np.diff(curve.bandwidths) > 0).all()
    assert curve.bandwidths[0] < detector.bandwidth_ < curve.bandwidths[-1]
    at = detector.bandwidth_curve([detector.bandwidth_]).log_likelihood[0]
    assert at >= np.nanmax(curve.log_likelihood) - 1e-6


# ------------------------------------------------------------- bandwidth: plug-ins
@pytest.mark.parametrize(("n", "d"), [(20, 1), (500, 1), (20, 3), (500, 30)], ids=str)
def test_scott_and_silverman_are_scipys_factors(n, d):
    """The factor times the root of the mean variance; by one over n or n - 1."""
    X = drawn(n, d, seed=n)
    theirs = stats.gaussian_kde(X.T)
    spread = math.sqrt(X.var(axis=0).mean())
    for rule, factor in (
        ("scott", theirs.scotts_factor()),
        ("silverman", theirs.silverman_factor()),
    ):
        ratio = quietly(X, rule).bandwidth_ / (factor * spread)
        either = np.array([1, math.sqrt(n / (n - 1))])
        assert np.abs(ratio - either).min() < 1e-9


@by_whitening
@by_shape
def test_plug_in_bandwidths_of_whitened_rows(X, whiten):
    """In the whitened units, where the model has a variance of one along every axis."""
    n, d = X.shape
    spread = math.sqrt(np.trace(np.cov(X.T, bias=True)) / d) if whiten == "none" else 1.0
    ratio = quietly(X, "scott", whiten=whiten).bandwidth_ / (n ** (-1 / (d + 4)) * spread)
    assert ratio == pytest.approx(1.0, abs=1e-9)


@by_kernel
@pytest.mark.parametrize("d", [1, 4, 40])
@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_plug_in_kernels_have_the_gaussians_variance(kernel, d, rule):
    X = drawn(50, d)
    gaussian = quietly(X, rule).bandwidth_
    found = quietly(X, rule, kernel=kernel).bandwidth_
    want = gaussian / math.sqrt(axis_variance(kernel, d))
    assert found == pytest.approx(want, rel=1e-9)


@by_shape
def test_a_given_bandwidth_is_kept(X):
    assert quietly(X, 0.7).bandwidth_ == 0.7
    assert quietly(X, 2).bandwidth_ == 2


# ------------------------------------------------------------ regimes, neighbours
@pytest.mark.parametrize(("n", "d"), [(60, 4), (25, 40), (200, 10)], ids=str)
def test_regimes_are_the_roots_of_their_equations(n, d):
    X = drawn(n, d)
    detector = quietly(X, "loo")
    found = detector.bandwidth_regimes_
    assert {"alpha", "h_g", "h_clt", "effective_neighbors", "regime"} <= set(found)
    assert found["alpha"] == pytest.approx(math.log(n) / d)
    lams = np.linalg.eigvalsh(LedoitWolf().fit(X).covariance_)
    assert found["h_g"] == pytest.approx(condensation_threshold(lams, n), rel=1e-6)
    assert found["h_clt"] == pytest.approx(math.sqrt(2) * found["h_g"])
    assert isinstance(found["regime"], str)
    want = np.median(left_out_effective_neighbors(X, detector.bandwidth_).astype(float))
    assert found["effective_neighbors"] == pytest.approx(want, rel=1e-6)


def test_regimes_name_three_places():
    X = drawn(50, 20)
    h_g = quietly(X, 1.0).bandwidth_regimes_["h_g"]
    names = [
        quietly(X, h_g * f).bandwidth_regimes_["regime"]
        for f in (0.3, 0.9, 1.2, 2.0, 9.0)
    ]
    assert len(set(names)) == 3
    assert names[0] == names[1] != names[2] != names[3] == names[4]


@pytest.mark.parametrize("d", [20, 300])
def test_condensation_is_the_best_below_its_threshold(d):
    """White rows: h / h_G = sqrt(1 - 1 / (1 + u)^2) with u = 1 / h_G^2."""
    detector = quietly(drawn(50, d), "condensation", whiten="diagonal")
    variances = detector._rescaling["variances"]
    h_g = condensation_threshold(variances, 50)
    u = variances / float(h_g) ** 2
    want = math.sqrt(np.mean(variances * (1 / (1 + u) + 1 / (1 + u) ** 2)))
    assert detector.bandwidth_ == pytest.approx(want, rel=1e-9)
    assert detector.bandwidth_ < detector.bandwidth_regimes_["h_g"]


def test_thresholds_of_white_data_are_the_published_ones():
    """d = 272, n = 200: h_G = 2.3 standard deviations."""
    assert condensation_threshold(np.ones(1792), 280) == pytest.approx(3.8, abs=0.05)
    assert condensation_threshold(np.ones(272), 200) == pytest.approx(2.3, abs=0.05)
    X = np.random.default_rng(12).normal(size=(200, 272))
    assert quietly(X, 2.0).bandwidth_regimes_["h_g"] == pytest.approx(2.3, abs=0.05)


@by_kernel
@by_whitening
def test_effective_neighbors(kernel, whiten):
    h = wide_enough(TALL, whiten)
    Q = TALL[:8] + 0.1
    for weights in (None, np.random.default_rng(13).integers(1, 4, size=60)):
        detector = quietly(TALL, h, kernel=kernel, whiten=whiten, weights=weights)
        want = effective_neighbors(Q, TALL, h, kernel, weights, whiten).astype(float)
        np.testing.assert_allclose(detector.effective_neighbors(Q), want, rtol=1e-8)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_effective_neighbors_go_from_one_to_all(kernel):
    X = drawn(40, 3)
    few = quietly(X, 1e-3, kernel=kernel).effective_neighbors(X + 0.01)
    every = quietly(X, 1e3, kernel=kernel).effective_neighbors(X)
    np.testing.assert_allclose(few, 1, rtol=1e-3)
    np.testing.assert_allclose(every, 40, rtol=1e-3)


def test_effective_neighbors_of_a_tophat_are_counted():
    X = drawn(60, 2)
    detector = quietly(X, 0.8, kernel="tophat")
    count = (np.linalg.norm(X[:, None] - X, axis=2) < 0.8).sum(axis=1)
    np.testing.assert_allclose(detector.effective_neighbors(X), count)


def test_effective_neighbors_of_nothing_are_no_nan():
    found = quietly(TALL, 1.0, kernel="linear").effective_neighbors(TALL[:1] + 100)
    assert not np.isnan(found).any()


@pytest.mark.parametrize(("n", "d"), [(60, 4), (25, 40)], ids=str)
def test_condensation_of_rows(n, d):
    X = drawn(n, d)
    covariance = LedoitWolf().fit(X).covariance_
    Q = np.vstack([X[:6], X[:2] + 5])
    for h in (0.1, 0.7, 5.0):
        found = quietly(X, h).condensation(Q)
        np.testing.assert_allclose(found, condensation(Q, X, h, covariance), rtol=1e-6)


def test_anomalies_condense_first():
    detector = quietly(TALL, "loo")
    assert (detector.condensation(TALL + 10) > detector.condensation(TALL).max()).all()
    narrow = quietly(TALL, 1e-3).condensation(TALL)
    wide = quietly(TALL, 1e3).condensation(TALL)
    assert (narrow > 1).all()
    assert (wide < 1).all()


# ------------------------------------------------------------------------ gradient
@by_whitening
@by_kernel
def test_gradient_is_that_of_differences(kernel, whiten):
    X = TALL[:30]
    h = wide_enough(X, whiten)
    Q = X[:3] + 0.137
    weights = np.arange(30) % 3 + 0.5
    detector = quietly(X, h, kernel=kernel, whiten=whiten, weights=weights)
    found = detector.gradient(Q)
    assert found.shape == Q.shape
    want = gradient(Q, X, h, kernel, weights, whiten).astype(float)
    if kernel == "tophat":
        np.testing.assert_array_equal(found, 0)
    else:
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-7)


@by_kernel
def test_gradient_on_a_row_and_outside_is_a_number(kernel):
    detector = quietly(TALL, 1.5, kernel=kernel)
    assert np.isfinite(detector.gradient(TALL[:5])).all()
    assert not np.isinf(detector.gradient(TALL[:2] + 1e3)).any()


# ---------------------------------------------------------------------------- mode
def modes(detector, **options):
    """What `mode` returns, as rows."""
    found = detector.mode(**options)
    return np.atleast_2d(getattr(found, "modes", found))


@by_whitening
@pytest.mark.parametrize("kernel", [k for k in KERNELS if k != "tophat"])
def test_the_mode_is_at_least_as_dense_as_any_row(kernel, whiten):
    detector = quietly(TALL, "scott", kernel=kernel, whiten=whiten)
    found = detector.score_samples(modes(detector)).max()
    assert found >= detector.score_samples(TALL).max() - 1e-9


@by_whitening
def test_the_gradient_vanishes_at_the_mode(whiten):
    detector = quietly(TALL, "scott", whiten=whiten)
    size = np.linalg.norm(detector.gradient(modes(detector)), axis=1)
    assert size.max() < 1e-3 * np.linalg.norm(detector.gradient(TALL), axis=1).mean()


def test_the_mode_of_two_clusters_is_in_the_greater():
    rng = np.random.default_rng(14)
    X = np.vstack([rng.normal(size=(150, 3)), rng.normal(size=(50, 3)) + 12])
    detector = quietly(X, 0.8)
    found = modes(detector)
    top = found[np.argmax(detector.score_samples(found))]
    assert np.linalg.norm(top) < 1
    # No point of a fine local search is denser.
    around = top + 0.2 * rng.normal(size=(2000, 3))
    best = detector.score_samples(around).max()
    assert detector.score_samples(top[None])[0] >= best - 1e-6


def test_the_mode_of_a_symmetric_sample_is_its_centre():
    rng = np.random.default_rng(15)
    half = rng.normal(size=(30, 2))
    detector = quietly(np.vstack([half, -half]) + 5, 3.0)
    np.testing.assert_allclose(modes(detector)[0], [5, 5], atol=1e-3)


# ------------------------------------------------------------------------ sampling
def distances_in_bandwidths(detector, Q, X, whiten, weights):
    A = whitening(X, whiten, weights)
    return (A.distances(Q, X) / LD(detector.bandwidth_)).astype(float)


@by_whitening
@by_kernel
@pytest.mark.parametrize("d", [1, 2, 7])
def test_sampled_radii_follow_the_kernel(kernel, whiten, d):
    """Rows so far apart that each draw's own is its nearest; reference rows by weight."""
    rng = np.random.default_rng(d)
    X = np.array([1.0, -1.0, 3.0])[:, None] * (rng.random((1, d)) + 0.5)
    weights = [2.0, 1.0, 3.0]
    detector = quietly(X, 1e-3, kernel=kernel, whiten=whiten, weights=weights)
    drawn_rows = detector.sample(4000, random_state=7)
    assert drawn_rows.shape == (4000, d)
    r = distances_in_bandwidths(detector, drawn_rows, X, whiten, weights)
    law = radius_cdf(kernel, d)
    assert stats.kstest(r.min(axis=1), law).pvalue > 1e-3
    counts = np.bincount(r.argmin(axis=1), minlength=3)
    assert stats.chisquare(counts, 4000 * np.array([2, 1, 3]) / 6).pvalue > 1e-3
    if d > 1:  # directions: signs of the coordinates are even, and radii know nothing
        side = (drawn_rows - X[r.argmin(axis=1)] > 0).mean(axis=0)
        assert (np.abs(side - 0.5) < 4 / math.sqrt(4 * 4000)).all()


@by_whitening
@by_kernel
def test_samples_have_the_mean_and_covariance_of_the_density(kernel, whiten):
    X = TALL
    weights = np.random.default_rng(16).uniform(0, 2, size=60)
    detector = quietly(X, 0.6, kernel=kernel, whiten=whiten, weights=weights)
    rows = detector.sample(20_000, random_state=3)
    mean = np.average(X, axis=0, weights=weights)
    within = np.eye(4)
    if whiten != "none":
        within = whitened_covariance(X, whiten, weights).astype(float)
    between = np.cov(X.T, aweights=weights, bias=True)
    want = between + 0.36 * axis_variance(kernel, 4) * within
    sigma = np.sqrt(np.diag(want))
    assert (np.abs(rows.mean(axis=0) - mean) < 4.5 * sigma / math.sqrt(20_000)).all()
    scaled = (np.cov(rows.T) - want) / np.outer(sigma, sigma)
    assert np.abs(scaled).max() < 6 * math.sqrt(3 / 20_000)


@by_kernel
def test_samples_are_as_likely_as_the_density_says(kernel):
    """E log f over draws is the integral of f log f."""
    X = np.array([[0.0], [0.4], [1.0], [3.0], [3.1]])
    detector = quietly(X, 0.9, kernel=kernel, calibration=0.0)
    reach = 40 if kernel == "exponential" else 9
    grid = np.linspace(-reach, reach + 3, 200_001)[:, None]
    logs = detector.score_samples(grid)
    logs = np.where(np.isfinite(logs), logs, 0.0)
    inside = np.where(np.isfinite(detector.score_samples(grid)), np.exp(logs), 0.0)
    want = integrate.trapezoid(inside * logs, grid.ravel())
    found = detector.score_samples(detector.sample(20_000, random_state=1))
    assert np.isfinite(found).all()
    assert abs(found.mean() - want) < 4 * found.std() / math.sqrt(20_000)


def test_sampling_repeats_itself_on_request():
    detector = quietly(TALL, 0.5, random_state=0)
    np.testing.assert_array_equal(
        detector.sample(9, random_state=3), detector.sample(9, random_state=3)
    )
    assert not np.array_equal(
        detector.sample(9, random_state=3), detector.sample(9, random_state=4)
    )
    assert detector.sample().shape == (1, 4)
    assert detector.sample(3, random_state=np.random.RandomState(0)).shape == (3, 4)


def test_sampled_rows_are_normal():
    detector = kde("scott", target_fpr=0.1).fit(drawn(300, 3))
    rows = detector.sample(4000, random_state=0)
    assert (detector.predict(rows) == 1).mean() > 0.7


# ----------------------------------------------------------- thresholds that hold
TARGETS = np.array([0.01, 0.05, 0.10])


def fpr_error(n, targets, draws, unseen):
    """Four standard deviations: of the threshold, a draw, and of the verdicts."""
    t = np.asarray(targets)
    return 4 * np.sqrt(t * (1 - t) / draws * (1 / (n + 2) + 1 / unseen))


def measured_fpr(n, p, draws, unseen=400, seed=0, draw=None, **options):
    rng = np.random.default_rng(n * 1000 + p + seed)
    spread = np.logspace(0, -0.5, p)
    draw = draw or (lambda rng, k: rng.normal(size=(k, p)) * spread)
    rates = []
    for _ in range(draws):
        detector = kde(**options).fit(draw(rng, n))
        rows = draw(rng, unseen)
        p_values = detector.p_values(rows)
        np.testing.assert_array_equal(detector.predict(rows) == -1, p_values <= 0.05)
        rates.append([(p_values <= t).mean() for t in TARGETS])
    return np.mean(rates, axis=0)


@by_whitening
@pytest.mark.parametrize("bandwidth", ["loo", "scott", 1.0], ids=str)
@pytest.mark.parametrize(("n", "p"), [(199, 4), (199, 20), (99, 60), (99, 150)], ids=str)
def test_loo_keeps_the_target_on_unseen_rows(n, p, bandwidth, whiten):
    draws = 20
    rates = measured_fpr(n, p, draws, bandwidth=bandwidth, whiten=whiten)
    assert (np.abs(rates - TARGETS) < fpr_error(n, TARGETS, draws, 400)).all(), rates


@pytest.mark.filterwarnings("ignore:Left-out scores are infinite")
@by_kernel
def test_loo_keeps_the_target_with_every_kernel(kernel):
    draws = 30
    rates = measured_fpr(99, 5, draws, bandwidth="scott", kernel=kernel)
    # Below the smallest supports scores tie at -inf: never more than the target.
    above = rates - TARGETS
    error = fpr_error(99, TARGETS, draws, 400)
    assert (above < error).all(), rates
    if kernel in ("gaussian", "exponential"):
        assert (above > -error).all(), rates


def test_loo_keeps_the_target_on_heavy_tails_and_clusters():
    def tails(rng, k):
        return rng.standard_t(2, size=(k, 3)) + 9 * rng.integers(0, 2, size=(k, 1))

    for whiten in WHITENINGS:
        rates = measured_fpr(99, 3, 30, draw=tails, whiten=whiten)
        error = fpr_error(99, TARGETS, 30, 400)
        assert (np.abs(rates - TARGETS) < error).all(), (whiten, rates)


@by_whitening
@pytest.mark.parametrize(("n", "p"), [(60, 120), (99, 8)], ids=["n < p", "n > p"])
def test_p_values_of_unseen_rows_are_super_uniform(n, p, whiten):
    rng = np.random.default_rng(n)
    draws = 30
    found = [
        kde("scott", whiten=whiten)
        .fit(rng.normal(size=(n, p)))
        .p_values(rng.normal(size=(200, p)))
        for _ in range(draws)
    ]
    levels = np.linspace(0.05, 0.95, 19)
    rates = np.array([[(values <= t).mean() for t in levels] for values in found])
    error = 4 * rates.std(axis=0) / math.sqrt(draws)
    assert (rates.mean(axis=0) <= levels + error).all()
    assert (rates.mean(axis=0) >= levels - error - 2 / n).all()
    assert error.max() < 0.06


@by_whitening
@pytest.mark.parametrize("thinning", ["kernel", "random"])
def test_thinned_references_keep_the_target(thinning, whiten):
    draws = 25
    rates = measured_fpr(
        199, 6, draws, whiten=whiten, max_reference=50, thinning=thinning, random_state=0
    )
    assert (rates < TARGETS + fpr_error(199, TARGETS, draws, 400)).all(), rates


def test_the_training_quantile_is_far_off_where_rows_are_few():
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(5):
        detector = kde(calibration="quantile").fit(rng.normal(size=(60, 100)))
        rates.append((detector.predict(rng.normal(size=(300, 100))) == -1).mean())
    assert np.mean(rates) > 0.5


# ------------------------------------------------------------------------ thinning
@by_whitening
@pytest.mark.parametrize("thinning", ["kernel", "random"])
def test_thinned_references_are_rows_of_the_data(thinning, whiten):
    X = drawn(300, 3)
    options = {"max_reference": 64, "thinning": thinning, "random_state": 0}
    detector = kde(0.6, whiten=whiten, **options).fit(X)
    assert 1 < len(detector.reference_) <= 64
    near = np.abs(detector.reference_[:, None] - X).max(axis=2).min(axis=1)
    assert near.max() < 1e-9
    again = kde(0.6, whiten=whiten, **options).fit(X)
    np.testing.assert_array_equal(again.reference_, detector.reference_)
    whole = kde(0.6, whiten=whiten).fit(X)
    Q = X[:100] + 0.1
    error = np.abs(np.exp(detector.score_samples(Q)) - np.exp(whole.score_samples(Q)))
    assert error.max() < 0.5 * np.exp(whole.score_samples(Q)).max()


def test_enough_references_are_all_rows():
    for thinning in ("kernel", "random"):
        thinned = kde(0.5, max_reference=60, thinning=thinning).fit(TALL)
        plain = kde(0.5).fit(TALL)
        assert len(thinned.reference_) == 60
        assert_close(thinned.score_samples(TALL), plain.score_samples(TALL))
        assert_close(thinned.offset_, plain.offset_)


def test_kernel_thinning_is_closer_than_random_rows():
    X = drawn(512, 2)
    whole = kde(0.5).fit(X)
    Q = drawn(400, 2, seed=0) + 0.05
    want = np.exp(whole.score_samples(Q))

    def error(thinning, seed):
        thinned = kde(0.5, max_reference=64, thinning=thinning, random_state=seed).fit(X)
        return np.mean((np.exp(thinned.score_samples(Q)) - want) ** 2)

    kernel = np.mean([error("kernel", s) for s in range(8)])
    random = np.mean([error("random", s) for s in range(8)])
    assert kernel < 0.5 * random


def test_references_are_in_the_units_of_the_data():
    for whiten in WHITENINGS:
        detector = kde(0.5, whiten=whiten).fit(TALL + 1e5)
        np.testing.assert_allclose(np.sort(detector.reference_), np.sort(TALL + 1e5))


# ---------------------------------------------------------------- columns, refusals
@by_rule
@by_whitening
def test_constant_columns_give_numbers(rule, whiten):
    X = np.column_stack([TALL, np.full(60, 3.3e16), np.zeros(60)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        detector = kde(rule, whiten=whiten).fit(X)
    found = detector.score_samples(X)
    assert np.isfinite(found).all()
    assert np.isfinite(detector.bandwidth_)
    assert detector.bandwidth_ > 0
    Q = X.copy()
    Q[:, 5] = 1.0
    assert not np.isnan(detector.score_samples(Q)).any()
    assert (detector.score_samples(Q) <= found + 1e-9).all()


@pytest.mark.parametrize(
    "bandwidth",
    [0.0, -1.0, np.nan, np.inf, -np.inf, "gauss", "", None, [1.0], 0, 1j],
    ids=str,
)
def test_bad_bandwidths_are_refused(bandwidth):
    with pytest.raises((ValueError, TypeError)):
        kde(bandwidth).fit(TALL)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "triangle"},
        {"whiten": "pca"},
        {"whiten": None},
        {"max_reference": 0},
        {"max_reference": -3},
        {"max_reference": 2.5},
        {"thinning": "none"},
        {"target_fpr": 0.0},
        {"target_fpr": 1.0},
        {"calibration": "chi2"},
        {"calibration": np.nan},
        {"precision": "float16"},
        {"working_memory": 0},
        {"working_memory": -1},
        {"n_jobs": 1.5},
    ],
    ids=str,
)
def test_bad_parameters_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        kde(**options).fit(TALL)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad):
    X = TALL.copy()
    X[3, 2] = bad
    with pytest.raises(ValueError):
        kde().fit(X)
    detector = kde().fit(TALL)
    for method in ("score_samples", "predict", "p_values", "gradient", "condensation"):
        with pytest.raises(ValueError):
            getattr(detector, method)(X)


@pytest.mark.parametrize(
    "method",
    [
        "score_samples",
        "decision_function",
        "predict",
        "p_values",
        "effective_neighbors",
        "condensation",
        "gradient",
    ],
)
def test_methods_check_their_rows(method):
    with pytest.raises(NotFittedError):
        getattr(kde(), method)(TALL)
    detector = kde().fit(TALL)
    with pytest.raises(ValueError, match="features"):
        getattr(detector, method)(TALL[:, :3])
    with pytest.raises(ValueError):
        getattr(detector, method)(TALL[0])
    with pytest.raises((ValueError, TypeError)):
        getattr(detector, method)(np.ma.masked_array(TALL, TALL > 1))


@pytest.mark.parametrize("method", ["sample", "bandwidth_curve", "mode"])
def test_methods_without_rows_need_a_fit(method):
    with pytest.raises(NotFittedError):
        getattr(kde(), method)()


@pytest.mark.parametrize(
    "weights",
    [
        np.zeros(60),
        -np.ones(60),
        np.r_[np.ones(59), -1e-9],
        np.r_[np.ones(59), np.nan],
        np.r_[np.ones(59), np.inf],
        np.ones(59),
        np.ones((60, 2)),
        np.full(60, 1e-310),
    ],
    ids=[
        "zero",
        "negative",
        "one negative",
        "nan",
        "inf",
        "short",
        "matrix",
        "subnormal",
    ],
)
@pytest.mark.parametrize("verb", ["fit", "partial_fit"])
def test_bad_weights_are_refused(weights, verb):
    with pytest.raises(ValueError):
        getattr(kde(), verb)(TALL, sample_weight=weights)


def test_one_row_of_positive_weight_is_a_beginning_only():
    weights = np.r_[1.0, np.zeros(59)]
    with pytest.raises(ValueError, match="equal"):
        kde().fit(TALL, sample_weight=weights)
    begun = kde().partial_fit(TALL, sample_weight=weights).partial_fit(TALL[1:])
    np.testing.assert_array_equal(
        begun.score_samples(TALL), kde().fit(TALL).score_samples(TALL)
    )


@pytest.mark.parametrize("count", [0, -1, 1.5, "3"])
def test_bad_numbers_of_samples_are_refused(count):
    with pytest.raises((ValueError, TypeError)):
        kde().fit(TALL).sample(count)


@pytest.mark.parametrize(
    "bandwidths", [[0.0], [-1.0], [np.nan], [], [[1.0, 2.0]]], ids=str
)
def test_bad_curves_are_refused(bandwidths):
    with pytest.raises(ValueError):
        kde().fit(TALL).bandwidth_curve(bandwidths)


@by_rule
def test_one_row_is_refused(rule):
    with pytest.raises(ValueError):
        kde(rule).fit(TALL[:1])


@by_rule
@by_whitening
def test_equal_rows_are_refused_by_the_rules_that_need_a_spread(rule, whiten):
    """No bandwidth follows from them: an error, not a density of nan or of 1e308."""
    with pytest.raises(ValueError):
        kde(rule, whiten=whiten).fit(np.ones((30, 3)))


def test_partial_fit_needs_the_same_features():
    detector = kde().fit(TALL)
    with pytest.raises(ValueError, match="features"):
        detector.partial_fit(TALL[:, :3])


def test_the_signature_is_the_documented_one():
    parameters = inspect.signature(KDEDetector.__init__).parameters
    found = {k: v.default for k, v in parameters.items() if k != "self"}
    assert found == {
        "bandwidth": "loo",
        "kernel": "gaussian",
        "whiten": "ledoit_wolf",
        "max_reference": None,
        "thinning": "kernel",
        "target_fpr": 0.05,
        "calibration": "loo",
        "precision": "float64",
        "working_memory": 64,
        "n_jobs": None,
        "random_state": None,
    }


# ----------------------------------------------------------------------- properties
@st.composite
def hostile(draw, most=14, features=5):
    """(X, Q, weights): rounded, repeated, shifted or spread rows, and queries."""
    rng = np.random.default_rng(draw(seeds))
    n, p = draw(st.integers(3, most)), draw(st.integers(1, features))
    X = rng.normal(size=(n, p))
    kind = draw(
        st.sampled_from(["plain", "grid", "copies", "clusters", "offset", "tails"])
    )
    event(f"rows: {kind}")
    if kind == "grid":
        X = np.round(2 * X)
    elif kind == "copies":
        X = X[rng.integers(0, max(2, n // 2), size=n)]
    elif kind == "clusters":
        X += 1e8 * rng.integers(0, 2, size=(n, 1))
    elif kind == "offset":
        X += 10.0 ** draw(st.integers(0, 8))
    elif kind == "tails":
        X *= 10.0 ** rng.uniform(-4, 4, size=(n, 1))
    scale = 2.0 ** draw(st.integers(-60, 60))
    weights = rng.integers(0, 4, size=n) if draw(st.booleans()) else None
    if weights is not None:
        weights[:2] = np.maximum(weights[:2], 1)
    if (X[0] == X[1]).all():  # two different rows at least
        X[1, 0] += 1
    Q = np.vstack([X[:2], X[:1] + rng.normal(size=p), X.mean(axis=0)])
    return X * scale, Q * scale, weights, scale


@settings(often, max_examples=150)
@given(hostile(), st.sampled_from(KERNELS), st.floats(-2, 2))
def test_any_density_is_the_reference_density(rows, kernel, log_h):
    X, Q, weights, scale = rows
    h = 10.0**log_h * scale
    detector = quietly(X, h, kernel=kernel, weights=weights, calibration=0.0)
    want = log_density(Q, X, h, kernel, weights)
    got = detector.score_samples(Q)
    # A row within rounding of an edge may be in or out: those are not decided.
    r = (distances(Q, X) / LD(h)).astype(float)
    near = np.abs(r - 1)
    decided = kernel not in COMPACT or ((near > 1e-7) | (near == 0)).all()
    event("decided" if decided else "at an edge")
    if decided:
        event("some outside" if np.isneginf(want).any() else "all inside")
        bound = 1e-9 + 16 * 2.2e-16 * (abs(X.shape[1] * math.log(h)) + 10)
        np.testing.assert_allclose(got, want.astype(float), rtol=2e-15, atol=bound)


@often
@given(hostile(), st.sampled_from(KERNELS), st.floats(-1, 2), st.sampled_from(WHITENINGS))
def test_any_left_out_score_is_that_of_a_refit(rows, kernel, log_h, whiten):
    X, _, weights, scale = rows
    w = np.ones(len(X)) if weights is None else weights
    kept = X[w > 0]
    spread = kept.max(axis=0) - kept.min(axis=0)
    # Without any one row, every column must still vary well above rounding.
    steady = spread.max() < 1e6 * scale and all(
        (np.ptp(np.delete(kept, i, axis=0), axis=0) > 1e-3 * scale).all()
        for i in range(len(kept))
    )
    decided = whiten == "none" or (len(kept) > 2 and steady)
    event("decided" if decided else "whitening is not determined")
    if not decided:
        return
    h = 10.0**log_h * (scale if whiten == "none" else 1.0)
    detector = quietly(X, h, kernel=kernel, whiten=whiten, weights=weights)
    want = left_out(X, h, kernel, w.astype(float), whiten).astype(float)
    found = np.asarray(detector.calibration_scores_)
    want = want[w > 0] if len(found) != len(w) else want
    held = w[w > 0] if len(found) != len(w) else w
    found, want = found[held > 0], want[held > 0]
    if kernel in COMPACT and not np.array_equal(np.isneginf(found), np.isneginf(want)):
        shifted = [
            left_out(X, h * f, kernel, w.astype(float), whiten)
            for f in (0.999999, 1.000001)
        ]
        at_edge = np.isneginf(shifted[0]) != np.isneginf(shifted[1])
        assert whiten != "none"
        assert at_edge.any()
        event("at an edge")
        return
    tight = 1e-7 if whiten == "none" else 1e-5
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=tight)


@often
@given(hostile(), st.sampled_from(["gaussian", "exponential"]))
def test_any_loo_bandwidth_is_as_good_as_a_search(rows, kernel):
    X, _, weights, _ = rows
    w = np.ones(len(X)) if weights is None else weights
    distinct = len(np.unique(X[w > 0], axis=0))
    event("decided" if distinct > 1 else "no two different rows")
    if distinct < 2:
        return
    h = quietly(X, "loo", kernel=kernel, weights=weights).bandwidth_
    curve = LeftOutCurve(X, kernel, weights)
    assert np.isfinite(h)
    assert curve(h) >= curve.maximiser(points=61, rounds=2)[1] - 1e-3


@often
@given(hostile(), st.sampled_from(KERNELS))
def test_any_weights_are_repeats(rows, kernel):
    X, Q, weights, scale = rows
    event("decided" if weights is not None else "no weights")
    if weights is None:
        return
    h = 1.7 * scale
    weighted = quietly(X, h, kernel=kernel, weights=weights, target_fpr=0.3)
    repeated = quietly(np.repeat(X, weights, axis=0), h, kernel=kernel, target_fpr=0.3)
    assert_close(weighted.score_samples(Q), repeated.score_samples(Q))
    assert_close(multiset(weighted), multiset(repeated))
    assert_close(weighted.offset_, repeated.offset_)


@often
@given(hostile(), st.sampled_from(KERNELS), st.floats(0.06, 0.9))
def test_any_flag_is_a_p_value_at_most_the_target(rows, kernel, target):
    X, Q, weights, scale = rows
    detector = quietly(X, 2.0 * scale, kernel=kernel, weights=weights, target_fpr=target)
    p_values = detector.p_values(Q)
    total = len(X) if weights is None else weights.sum()
    assert (p_values >= 1 / (total + 1) - 1e-15).all()
    assert (p_values <= 1).all()
    decided = not np.isneginf(detector.offset_)
    event("decided" if decided else "nothing can be flagged")
    if decided:
        flagged = detector.predict(Q) == -1
        np.testing.assert_array_equal(flagged, p_values <= target * (1 + 1e-12))


@often
@given(hostile(), st.sampled_from(KERNELS))
def test_any_sample_is_where_the_density_is(rows, kernel):
    X, _, weights, scale = rows
    detector = quietly(X, 0.7 * scale, kernel=kernel, weights=weights, calibration=0.0)
    drawn_rows = detector.sample(20, random_state=0)
    assert np.isfinite(drawn_rows).all()
    # Far from the origin a draw is rounded: it may step over an edge.
    rounding = np.abs(X).max() * 2.2e-16 > 1e-12 * scale
    event("decided" if not rounding else "rounded")
    if not rounding:
        assert np.isfinite(detector.score_samples(drawn_rows)).all()


# ------------------------------------------- outliers, clusters, cusps, relative weights
def ring(rng, n):
    angle = rng.uniform(0, 2 * np.pi, size=n)
    return np.column_stack([np.cos(angle), np.sin(angle)]) + 0.1 * rng.normal(size=(n, 2))


def told(category, call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in caught if issubclass(w.category, category)]


def test_an_outlier_that_decides_the_bandwidth_is_told():
    X = ring(np.random.default_rng(0), 500)
    assert not told(BandwidthWarning, lambda: KDEDetector().fit(X))
    X[0] = 10
    (message,) = told(BandwidthWarning, lambda: KDEDetector().fit(X))
    assert "few outlying rows" in message
    assert not told(BandwidthWarning, lambda: KDEDetector("scott").fit(X))


def test_two_rows_have_no_nearest_neighbour_to_tell():
    X = np.random.default_rng(0).normal(size=(3, 3))
    assert not told(NearestNeighborWarning, lambda: KDEDetector(50.0).fit(X))
    wide = np.random.default_rng(0).normal(size=(50, 200))
    (message,) = told(NearestNeighborWarning, lambda: KDEDetector().fit(wide))
    assert "above h_g" in message


@pytest.mark.parametrize(
    "weigh",
    [
        lambda rng, n: np.full(n, 2.5),
        lambda rng, n: np.full(n, 1 / n),
        lambda rng, n: rng.uniform(0.5, 1.5, size=n),
        lambda rng, n: 1e300 * rng.exponential(size=n),
    ],
    ids=["constant", "adding up to one", "uneven", "huge"],
)
def test_relative_weights_keep_the_target(weigh):
    rng, rates = np.random.default_rng(0), []
    for _ in range(20):
        X, unseen = rng.normal(size=(200, 4)), rng.normal(size=(400, 4))
        detector = KDEDetector(target_fpr=0.1).fit(X, sample_weight=weigh(rng, 200))
        rates.append((detector.predict(unseen) == -1).mean())
        assert detector.bandwidth_regimes_["effective_neighbors"] >= 1
    assert abs(np.mean(rates) - 0.1) < 4 * np.std(rates) / math.sqrt(20) + 0.01


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "linear"])
def test_a_cusp_does_not_hold_the_mode_at_a_row(kernel):
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1.0]])
    detector = kde(5.0, kernel=kernel, calibration=0.0).fit(corners)
    np.testing.assert_allclose(detector.mode(), [0.5, 0.5], atol=1e-3)


def test_training_quantile_of_scores_without_support():
    X = np.random.default_rng(0).normal(size=(60, 3))
    options = {"kernel": "tophat", "max_reference": 10, "random_state": 0}
    detector = kde(0.5, calibration="quantile", **options).fit(X)
    assert detector.offset_ == -np.inf
    assert (detector.predict(X) == 1).all()


def test_a_gross_outlier_is_far_also_when_left_out_of_its_column():
    X = np.random.default_rng(0).normal(size=(60, 2))
    X[7] += 6e7
    detector = kde(1 / X.std(axis=0).mean(), whiten="diagonal").fit(X)
    assert detector.calibration_scores_[7] < -1e20


@pytest.mark.parametrize("scale", [1e-160, 1e-100, 1e100, 1e160])
def test_searches_at_any_scale(scale):
    X = np.random.default_rng(0).normal(size=(60, 3))
    found = kde("loo").fit(X * scale).bandwidth_
    assert found == pytest.approx(kde("loo").fit(X).bandwidth_ * scale, rel=1e-6)


@pytest.mark.parametrize("apart", [1e4, 1e7, 1e9])
def test_searches_among_far_clusters(apart):
    X = np.random.default_rng(0).normal(size=(60, 2))
    X[::2] += apart
    near = kde("loo").fit(np.where(np.arange(60)[:, None] % 2, X, X - apart + 1e3))
    assert kde("loo").fit(X).bandwidth_ == pytest.approx(near.bandwidth_, rel=1e-3)


def test_a_curve_over_four_decades_is_that_of_refits():
    X = np.random.default_rng(0).normal(size=(40, 2))
    X[::2] += 1e7
    bandwidths = np.array([1e-2, 1.0, 1e2])
    curve = kde(1.0).fit(X).bandwidth_curve(bandwidths)
    want = [float(LeftOutCurve(X)(h)) for h in bandwidths]
    np.testing.assert_allclose(curve.log_likelihood, want, rtol=1e-9, atol=1e-7)


def test_bandwidths_out_of_range_are_refused():
    detector = kde(1.0).fit(TALL)
    with pytest.raises(ValueError, match="bandwidths"):
        detector.bandwidth_curve([1e-300, 1.0])
    with pytest.raises(ValueError, match="bandwidth"):
        kde(5e-324).fit(TALL * 1e10)


def test_threads_of_blas_are_given_back():
    def used():
        return [pool["num_threads"] for pool in threadpool_info()]

    before = used()
    detector = KDEDetector(n_jobs=2).fit(drawn(300, 8))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(detector.score_samples, [drawn(400, 8)] * 8))
    assert used() == before
    for scores in found:
        np.testing.assert_allclose(scores, found[0], rtol=1e-12)
