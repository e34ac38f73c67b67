"""MahalanobisDetector: exact left-out scores, and thresholds that keep their target."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance, LedoitWolf, MinCovDet
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.detection import KDEDetector, MahalanobisDetector
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    DistanceOverflowWarning,
    RankDeficientWarning,
)

steady = settings(deadline=None, max_examples=30, derandomize=True)


def drawn(n, p, seed=0, decades=0.7):
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.normal(size=(p, p)))[0] * np.logspace(0, -decades, p)
    return rng.normal(size=(n, p)) @ mix.T + 1.0


TALL, WIDE = drawn(80, 10), drawn(25, 60)
by_shape = pytest.mark.parametrize("X", [TALL, WIDE], ids=["n > p", "n < p"])


# ------------------------------------------------------------------------- scores
@by_shape
def test_scores_are_log_densities_under_the_covariance(X):
    detector = MahalanobisDetector().fit(X)
    model = ShrinkageCovariance().fit(X)
    Q = np.vstack([X, X[:3] + 5])
    np.testing.assert_array_equal(detector.score_samples(Q), model.score_samples(Q))
    np.testing.assert_array_equal(detector.mahalanobis(Q), model.mahalanobis(Q))
    np.testing.assert_array_equal(detector.location_, model.location_)
    assert detector.shrinkage_ == model.shrinkage_
    assert detector.score(Q) == pytest.approx(detector.score_samples(Q).mean())


@by_shape
def test_verbs_agree_about_the_threshold(X):
    detector = MahalanobisDetector(target_fpr=0.2).fit(X)
    Q = np.vstack([X, X + 0.5])
    decision = detector.decision_function(Q)
    np.testing.assert_array_equal(decision, detector.score_samples(Q) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(Q), np.where(decision >= 0, 1, -1))
    np.testing.assert_array_equal(
        clone(detector).fit_predict(X), clone(detector).fit(X).predict(X)
    )
    assert {-1, 1} == set(detector.predict(Q))


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", "rblw", 0.1, "loo"])
@by_shape
def test_calibration_scores_are_those_of_n_refits(X, shrinkage):
    detector = MahalanobisDetector(shrinkage=shrinkage).fit(X)
    kept = detector.shrinkage_ if shrinkage == "loo" else shrinkage
    for i in range(0, len(X), 4):
        others = ShrinkageCovariance(kept).fit(np.delete(X, i, axis=0))
        row = X[i : i + 1]
        left_out = others.mahalanobis(row)[0]
        assert detector.calibration_mahalanobis_[i] == pytest.approx(left_out, rel=1e-10)
        # The final density at the left-out distance: unseen rows share its determinant.
        change = left_out - detector.mahalanobis(row)[0]
        assert detector.calibration_scores_[i] == pytest.approx(
            detector.score_samples(row)[0] - change / 2, rel=1e-10
        )


@steady
@given(st.integers(0, 2**32 - 1), st.integers(5, 30), st.integers(1, 30))
def test_the_threshold_is_the_order_statistic_of_left_out_scores(seed, n, p):
    detector = MahalanobisDetector(target_fpr=0.25).fit(drawn(n, p, seed))
    rank = math.ceil((n + 1) * 0.75)
    assert detector.offset_ == np.sort(detector.calibration_scores_)[::-1][rank - 1]


# --------------------------------------------------- false-positive rates that hold
def measured_fpr(n, p, targets, draws=40, unseen=500, **options):
    """Share of unseen normal rows flagged at each target, over many draws."""
    rng = np.random.default_rng(n * 1000 + p)
    spread = np.logspace(0, -0.5, p)
    rates = []
    for _ in range(draws):
        detector = MahalanobisDetector(target_fpr=0.05, **options)
        detector.fit(rng.normal(size=(n, p)) * spread)
        rows = rng.normal(size=(unseen, p)) * spread
        p_values = detector.p_values(rows)
        np.testing.assert_array_equal(detector.predict(rows) == -1, p_values <= 0.05)
        rates.append([(p_values <= target).mean() for target in targets])
    return np.mean(rates, axis=0)


def fpr_error(n, targets, draws=40, unseen=500):
    """Four standard deviations: of the threshold, a draw, and of the verdicts."""
    t = np.array(targets)
    return 4 * np.sqrt(t * (1 - t) / draws * (1 / (n + 2) + 1 / unseen))


TARGETS = (0.01, 0.05, 0.10)


@pytest.mark.parametrize(
    ("n", "p"), [(199, 400), (99, 150), (199, 20), (299, 100)], ids=str
)
def test_loo_keeps_the_target_on_unseen_rows(n, p):
    rates = measured_fpr(n, p, TARGETS)
    assert (np.abs(rates - TARGETS) < fpr_error(n, TARGETS)).all(), rates


def test_loo_keeps_the_target_with_other_intensities():
    for shrinkage in ("oas", "loo", 0.3):
        rates = measured_fpr(99, 120, (0.1,), draws=20, shrinkage=shrinkage)
        assert abs(rates[0] - 0.1) < fpr_error(99, (0.1,), draws=20)[0], shrinkage


def test_the_training_quantile_is_far_off_where_rows_are_few():
    """Documented: it flags most of the unseen normal rows where n < p."""
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(5):
        detector = MahalanobisDetector(calibration="quantile").fit(
            rng.normal(size=(60, 200)) * np.logspace(0, -1, 200)
        )
        unseen = rng.normal(size=(500, 200)) * np.logspace(0, -1, 200)
        rates.append((detector.predict(unseen) == -1).mean())
    assert np.mean(rates) > 0.5


def test_hotellings_threshold_keeps_the_target():
    rng = np.random.default_rng(2)
    flagged = []
    for _ in range(60):
        detector = MahalanobisDetector(shrinkage=0.0, calibration="f", target_fpr=0.1)
        detector.fit(rng.normal(size=(40, 15)))
        flagged.append((detector.predict(rng.normal(size=(200, 15))) == -1).mean())
    error = 4 * np.std(flagged) / math.sqrt(60)
    assert abs(np.mean(flagged) - 0.1) < error
    assert error < 0.03


def test_chi2_flags_too_many_where_rows_are_few():
    rng = np.random.default_rng(3)
    detector = MahalanobisDetector(shrinkage=0.0, calibration="chi2", target_fpr=0.05)
    detector.fit(rng.normal(size=(40, 15)))
    assert (detector.predict(rng.normal(size=(2000, 15))) == -1).mean() > 0.15


# --------------------------------------------------------------------- calibration
def test_chi2_and_f_are_their_laws():
    chi2 = MahalanobisDetector(calibration="chi2", target_fpr=0.1).fit(TALL)
    flagged = chi2.mahalanobis(TALL) > stats.chi2.isf(0.1, 10)
    np.testing.assert_array_equal(chi2.predict(TALL) == -1, flagged)
    f = MahalanobisDetector(shrinkage=0.0, calibration="f", target_fpr=0.1).fit(TALL)
    unbiased = f.mahalanobis(TALL) * 79 / 80
    flagged = unbiased * 80 * 70 / (10 * (80**2 - 1)) > stats.f.isf(0.1, 10, 70)
    np.testing.assert_array_equal(f.predict(TALL) == -1, flagged)


def test_quantile_flags_the_share_of_the_training_rows():
    detector = MahalanobisDetector(calibration="quantile", target_fpr=0.1).fit(TALL)
    assert (detector.predict(TALL) == -1).sum() == 8
    assert detector.offset_ == np.quantile(detector.score_samples(TALL), 0.1)


@pytest.mark.parametrize("offset", [-12.5, -3, 0.0])
def test_a_number_is_the_offset(offset):
    detector = MahalanobisDetector(calibration=offset).fit(TALL)
    assert detector.offset_ == offset
    assert isinstance(detector.offset_, float)


def test_a_row_at_the_threshold_is_normal():
    score = float(MahalanobisDetector().fit(TALL).score_samples(TALL[:1])[0])
    detector = MahalanobisDetector(calibration=score).fit(TALL)
    assert detector.decision_function(TALL[:1])[0] == 0
    assert detector.predict(TALL[:1])[0] == 1
    above = MahalanobisDetector(calibration=float(np.nextafter(score, 0))).fit(TALL)
    assert above.predict(TALL[:1])[0] == -1


@pytest.mark.parametrize("calibration", ["loo", "chi2", "quantile", -12.0])
def test_left_out_scores_are_there_whatever_the_threshold(calibration):
    detector = MahalanobisDetector(calibration=calibration).fit(TALL)
    want = MahalanobisDetector().fit(TALL).calibration_scores_
    np.testing.assert_array_equal(detector.calibration_scores_, want)


def test_few_rows_warn_with_the_number_that_is_needed():
    with pytest.warns(
        CalibrationWarning, match=r"25 rows .* target_fpr=0\.01: .* 99 are"
    ):
        detector = MahalanobisDetector(target_fpr=0.01).fit(WIDE)
    assert detector.offset_ == -np.inf
    assert (detector.predict(WIDE + 100) == 1).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MahalanobisDetector(target_fpr=0.04).fit(WIDE)


def test_f_warns_of_shrinkage_and_refuses_few_rows():
    with pytest.warns(CalibrationWarning, match="plain sample covariance, but this one"):
        MahalanobisDetector(calibration="f").fit(TALL)
    with pytest.raises(ValueError, match="more rows than features: got 25 rows for 60"):
        MahalanobisDetector(calibration="f", shrinkage=0.5).fit(WIDE)


def test_a_singular_covariance_warns():
    with pytest.warns(RankDeficientWarning, match="rank 24 in 60"):
        MahalanobisDetector(shrinkage=0.0, calibration="chi2").fit(WIDE)


# --------------------------------------------------------------------- recalibrate
@pytest.mark.parametrize("target", [None, 0.3])
def test_recalibrating_sets_the_threshold_on_fresh_rows(target):
    fresh = drawn(59, 10, seed=8) + 0.3
    detector = MahalanobisDetector(target_fpr=0.1).fit(TALL)
    before = detector.score_samples(fresh)
    assert detector.recalibrate(fresh, target) is detector
    np.testing.assert_array_equal(detector.calibration_scores_, before)
    rank = math.ceil(60 * (1 - (target or 0.1)))
    assert detector.offset_ == np.sort(before)[::-1][rank - 1]
    np.testing.assert_array_equal(detector.score_samples(fresh), before)
    assert detector.target_fpr == 0.1


def test_recalibrating_on_few_rows_warns():
    detector = MahalanobisDetector().fit(TALL)
    with pytest.warns(CalibrationWarning, match="at least 19 are needed"):
        detector.recalibrate(TALL[:18])
    assert detector.offset_ == -np.inf


@pytest.mark.parametrize("target", [0, 1, 1.5, -0.1, "0.1"])
def test_recalibrating_checks_its_target(target):
    detector = MahalanobisDetector().fit(TALL)
    offset = detector.offset_
    with pytest.raises(InvalidParameterError, match="'target_fpr' parameter of recalib"):
        detector.recalibrate(TALL, target)
    assert detector.offset_ == offset


# ------------------------------------------------------------------------- p-values
@by_shape
@pytest.mark.parametrize("target", [0.05, 0.1, 0.25])
def test_flagged_means_a_p_value_at_most_the_target(X, target):
    detector = MahalanobisDetector(target_fpr=target).fit(X)
    Q = np.vstack([X, X + 0.3, X + 3.0, X[:5] * 1e3])
    p_values = detector.p_values(Q)
    np.testing.assert_array_equal(
        detector.predict(Q) == -1, p_values <= target * (1 + 1e-12)
    )
    assert p_values.min() == pytest.approx(1 / (len(X) + 1))
    assert p_values.max() <= 1


@pytest.mark.parametrize(("n", "p"), [(60, 200), (99, 8)], ids=["n < p", "n > p"])
def test_p_values_of_unseen_rows_are_super_uniform(n, p):
    rng = np.random.default_rng(n)
    draws = 30
    found = [
        MahalanobisDetector()
        .fit(rng.normal(size=(n, p)))
        .p_values(rng.normal(size=(200, p)))
        for _ in range(draws)
    ]
    levels = np.linspace(0.05, 0.95, 19)
    rates = np.array([[(values <= t).mean() for t in levels] for values in found])
    error = 4 * rates.std(axis=0) / math.sqrt(draws)
    assert (rates.mean(axis=0) <= levels + error).all()
    assert error.max() < 0.06


def test_p_values_compose_with_false_discovery_control():
    X = drawn(500, 10)
    detector = MahalanobisDetector().fit(X[:400])
    Q = np.vstack([X[400:450], X[450:] + 4.0])
    adjusted = stats.false_discovery_control(detector.p_values(Q))
    assert (adjusted[50:] < 0.05).mean() > 0.95
    assert (adjusted[:50] < 0.05).mean() < 0.1


def test_p_values_need_calibration_scores():
    detector = MahalanobisDetector(LedoitWolf(), calibration="chi2").fit(TALL)
    with pytest.raises(AttributeError, match="no calibration_scores_; fit with calib"):
        detector.p_values(TALL)
    assert detector.recalibrate(TALL).p_values(TALL).shape == (80,)


# -------------------------------------------------------------------------- explain
@by_shape
@pytest.mark.parametrize(
    "covariance",
    [None, ShrinkageCovariance(solver="dense"), LedoitWolf()],
    ids=["own", "dense", "foreign"],
)
def test_explanations_add_up_to_the_distance(X, covariance):
    detector = MahalanobisDetector(covariance, calibration="chi2").fit(X)
    Q = np.vstack([X[:4], X[:4] * 2 + 1])
    found, squares = detector.explain(Q), detector.mahalanobis(Q)
    assert found.features.shape == Q.shape
    np.testing.assert_allclose(found.features.sum(axis=1), squares, rtol=1e-9)
    np.testing.assert_allclose(
        found.components.sum(axis=1) + found.residual, squares, rtol=1e-9
    )
    assert (found.components >= 0).all()
    assert (found.residual >= 0).all()
    assert (np.diff(found.variances) <= 1e-12 * found.variances[0]).all()


@by_shape
def test_explanations_are_what_they_say(X):
    detector = MahalanobisDetector().fit(X)
    Q = X[:5] + 0.7
    found = detector.explain(Q)
    Z = Q - detector.location_
    precision = detector.covariance_estimator_.precision_
    np.testing.assert_allclose(found.features, Z * (Z @ precision), atol=1e-8)
    along = (Z @ found.axes.T) ** 2 / found.variances
    np.testing.assert_allclose(found.components, along, rtol=1e-8, atol=1e-10)
    sigma = detector.covariance_estimator_.covariance_
    np.testing.assert_allclose(
        found.variances,
        np.linalg.eigvalsh(sigma)[::-1][: len(found.variances)],
        rtol=1e-9,
    )


def test_the_feature_that_deviates_is_the_one_blamed():
    X = np.random.default_rng(0).normal(size=(200, 6))
    row = np.zeros((1, 6))
    row[0, 3] = 8.0
    found = MahalanobisDetector().fit(X).explain(row)
    assert found.features[0].argmax() == 3
    assert found.features[0, 3] > 0.9 * found.features.sum()


@pytest.mark.parametrize("scale", [2.0**-260, 2.0**260])
def test_explanations_keep_the_units_of_the_data(scale):
    plain = MahalanobisDetector(shrinkage=0.1).fit(TALL).explain(TALL[:3])
    scaled = (
        MahalanobisDetector(shrinkage=0.1).fit(TALL * scale).explain(TALL[:3] * scale)
    )
    np.testing.assert_allclose(scaled.features, plain.features, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaled.variances, plain.variances * scale**2, rtol=1e-9)


@by_shape
def test_levels_add_up_their_features(X):
    detector = MahalanobisDetector().fit(X)
    p = X.shape[1]
    found = detector.explain(X[:4], levels={"a": range(3), "b": slice(3, None)})
    assert found.level_names == ["a", "b"]
    np.testing.assert_allclose(found.levels[:, 0], found.features[:, :3].sum(axis=1))
    np.testing.assert_allclose(found.levels.sum(axis=1), detector.mahalanobis(X[:4]))
    assert detector.explain(X[:4]).level_names == ["all"]
    assert detector.explain(X[:4], levels=[[p - 1]]).levels.shape == (4, 1)


def test_levels_are_read_from_feature_names():
    names = [f"{'low' if i < 4 else 'high'}__{i}" for i in range(10)]
    frame = pd.DataFrame(TALL, columns=names)
    detector = MahalanobisDetector().fit(frame)
    found = detector.explain(frame[:3])
    assert found.level_names == ["low", "high"]
    np.testing.assert_allclose(found.levels[:, 1], found.features[:, 4:].sum(axis=1))
    by_name = detector.explain(frame[:3], levels={"one": ["high__9"]})
    np.testing.assert_array_equal(by_name.levels[:, 0], found.features[:, 9])


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({}, "levels is empty"),
        ([[10]], "out of range for the 10 columns"),
        ({"a": ["b"]}, "level 'a' names no column 'b'"),
        ([[1, 1]], "the same column twice"),
    ],
)
def test_levels_that_do_not_fit(levels, message):
    with pytest.raises(ValueError, match=message):
        MahalanobisDetector().fit(TALL).explain(TALL, levels=levels)


def test_the_component_that_deviates_ranks_first():
    detector = MahalanobisDetector().fit(TALL)
    axes = detector.explain(TALL[:1]).axes
    spread = np.sqrt(detector.explain(TALL[:1]).variances)
    found = detector.explain(detector.location_ + 6 * spread[:, None] * axes)
    np.testing.assert_array_equal(found.ranking[:, 0], np.arange(10))
    assert (np.sort(found.ranking, axis=1) == np.arange(10)).all()
    np.testing.assert_allclose(np.diag(found.components), 36)


def test_components_follow_the_chi_squared_law():
    random = np.random.default_rng(1)
    detector = MahalanobisDetector(shrinkage=0.0).fit(random.normal(size=(4000, 4)))
    found = detector.explain(random.normal(size=(4000, 4))).components
    assert stats.kstest(found.ravel(), stats.chi2(1).cdf).pvalue > 1e-3


@by_shape
@pytest.mark.parametrize("covariance", [None, LedoitWolf()], ids=["own", "foreign"])
@pytest.mark.parametrize("scale", [1.0, 2.0**40])
def test_the_gradient_is_that_of_finite_differences(X, covariance, scale):
    detector = MahalanobisDetector(covariance, calibration="chi2").fit(X * scale)
    row, step = (X[:1] + 0.5) * scale, 1e-4 * scale * np.eye(X.shape[1])
    slope = detector.score_samples(row + step) - detector.score_samples(row - step)
    want = slope / (2e-4 * scale)
    np.testing.assert_allclose(
        detector.gradient(row)[0], want, rtol=1e-5, atol=1e-6 * np.abs(want).max()
    )


# --------------------------------------------------------------- foreign covariances
@pytest.mark.parametrize("covariance", [LedoitWolf(), EmpiricalCovariance()], ids=str)
def test_foreign_covariances_give_their_own_distances(covariance):
    detector = MahalanobisDetector(covariance).fit(TALL)
    theirs = clone(covariance).fit(TALL)
    np.testing.assert_allclose(
        detector.mahalanobis(TALL), theirs.mahalanobis(TALL), rtol=1e-9
    )
    law = stats.multivariate_normal(theirs.location_, theirs.covariance_)
    np.testing.assert_allclose(detector.score_samples(TALL), law.logpdf(TALL), rtol=1e-9)
    assert not hasattr(covariance, "location_")


def test_a_foreign_ledoit_wolf_is_our_own():
    own, foreign = MahalanobisDetector().fit(TALL), MahalanobisDetector(LedoitWolf())
    foreign.fit(TALL)
    assert foreign.offset_ == pytest.approx(own.offset_, rel=1e-9)
    for name in ("calibration_scores_", "calibration_mahalanobis_"):
        np.testing.assert_allclose(getattr(foreign, name), getattr(own, name), rtol=1e-9)
    assert foreign.shrinkage_ == pytest.approx(own.shrinkage_)
    np.testing.assert_array_equal(foreign.p_values(TALL), own.p_values(TALL))


def test_a_robust_covariance_is_left_out_by_refits():
    X = drawn(24, 2, seed=9)
    covariance = MinCovDet(random_state=0)
    detector = MahalanobisDetector(covariance, target_fpr=0.1).fit(X)
    for i in range(0, 24, 3):
        others = clone(covariance).fit(np.delete(X, i, axis=0))
        row = X[i : i + 1]
        assert detector.calibration_mahalanobis_[i] == pytest.approx(
            others.mahalanobis(row)[0], rel=1e-9
        )
        law = stats.multivariate_normal(
            detector.location_, detector.covariance_estimator_.covariance_
        )
        constant = law.logpdf(detector.location_)
        assert detector.calibration_scores_[i] == pytest.approx(
            constant - others.mahalanobis(row)[0] / 2, rel=1e-9
        )
    np.testing.assert_allclose(
        detector.mahalanobis(X), clone(covariance).fit(X).mahalanobis(X), rtol=1e-9
    )


class Counted(EmpiricalCovariance):
    fits = 0

    def fit(self, X, y=None):
        type(self).fits += 1
        return super().fit(X, y)


@pytest.mark.parametrize(
    ("calibration", "fits"), [("loo", 81), ("chi2", 1), ("quantile", 1), (-9.0, 1)]
)
def test_refits_are_only_paid_for_where_they_are_asked_for(calibration, fits):
    Counted.fits = 0
    detector = MahalanobisDetector(Counted(), calibration=calibration).fit(TALL)
    assert Counted.fits == fits
    assert hasattr(detector, "calibration_scores_") == (calibration == "loo")


def test_foreign_covariances_have_no_stream():
    assert not hasattr(MahalanobisDetector(LedoitWolf()), "partial_fit")
    assert hasattr(MahalanobisDetector(), "partial_fit")
    assert hasattr(MahalanobisDetector(ShrinkageCovariance("oas")), "partial_fit")


def test_a_given_shrinkage_covariance_counts_with_its_options():
    given_ = MahalanobisDetector(ShrinkageCovariance("oas", assume_centered=True))
    given_.fit(TALL)
    assert not given_.location_.any()
    want = ShrinkageCovariance("oas", assume_centered=True).fit(TALL)
    np.testing.assert_array_equal(given_.mahalanobis(TALL), want.mahalanobis(TALL))


# ---------------------------------------------------------------------- partial_fit
@by_shape
@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", 0.3])
def test_chunks_give_what_one_fit_gives(X, shrinkage):
    streamed = MahalanobisDetector(shrinkage=shrinkage, target_fpr=0.1)
    for rows in np.array_split(X, 4):
        streamed.partial_fit(rows)
    whole = MahalanobisDetector(shrinkage=shrinkage, target_fpr=0.1).fit(X)
    np.testing.assert_allclose(streamed.score_samples(X), whole.score_samples(X))
    assert streamed.offset_ == pytest.approx(whole.offset_, rel=1e-9)
    np.testing.assert_allclose(
        streamed.calibration_scores_, whole.calibration_scores_, rtol=1e-9
    )


def test_partial_fit_goes_on_after_fit():
    detector = MahalanobisDetector().fit(TALL[:40]).partial_fit(TALL[40:])
    whole = MahalanobisDetector().fit(TALL)
    np.testing.assert_allclose(detector.score_samples(TALL), whole.score_samples(TALL))
    assert detector.offset_ == pytest.approx(whole.offset_, rel=1e-9)


def test_the_threshold_waits_until_it_is_asked_for(monkeypatch):
    calls = []
    original = MahalanobisDetector._calibrate
    monkeypatch.setattr(
        MahalanobisDetector,
        "_calibrate",
        lambda self, *a: calls.append(1) or original(self, *a),
    )
    detector = MahalanobisDetector()
    for rows in np.array_split(TALL, 8):
        detector.partial_fit(rows)
    assert calls == []
    assert np.isfinite(detector.offset_)
    assert len(calls) == 1
    detector.predict(TALL)
    assert len(calls) == 1


# --------------------------------------------------------------------------- errors
VERBS = ["score_samples", "decision_function", "predict", "score", "p_values"]


@pytest.mark.parametrize(
    "verb", [*VERBS, "explain", "gradient", "mahalanobis", "recalibrate"]
)
def test_not_fitted(verb):
    with pytest.raises(
        NotFittedError, match="MahalanobisDetector instance is not fitted"
    ):
        getattr(MahalanobisDetector(), verb)(TALL)


@pytest.mark.parametrize("name", ["location_", "shrinkage_", "offset_"])
def test_attributes_before_fit_are_missing(name):
    assert not hasattr(MahalanobisDetector(), name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_fpr": 0.0}, "'target_fpr' parameter of MahalanobisDetector must be"),
        ({"target_fpr": 1}, "'target_fpr' parameter of MahalanobisDetector must be"),
        ({"calibration": "LOO"}, "'calibration' parameter of MahalanobisDetector must"),
        ({"calibration": math.nan}, "'calibration' parameter of MahalanobisDetector"),
        ({"shrinkage": 1.5}, "'shrinkage' parameter of MahalanobisDetector must be"),
        ({"covariance": 3}, "'covariance' parameter of MahalanobisDetector must be"),
    ],
)
def test_parameters_are_checked(options, message):
    with pytest.raises(InvalidParameterError, match=message):
        MahalanobisDetector(**options).fit(TALL)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((4, 2), 3.0), "no variance"),
        (TALL[:1], "minimum of 2 is required"),
        (np.where(TALL > 2, np.nan, TALL), "NaN"),
        (np.array([["a", "b"], ["c", "d"]]), "not numbers"),
        (np.ones(4), "2D array"),
    ],
)
def test_rows_are_checked(X, message):
    with pytest.raises(ValueError, match=message):
        MahalanobisDetector().fit(X)


def test_queries_are_checked():
    detector = MahalanobisDetector().fit(TALL)
    with pytest.raises(ValueError, match="X has 3 features, but MahalanobisDetector is"):
        detector.predict(TALL[:, :3])
    with pytest.warns(DistanceOverflowWarning, match="clipped"):
        assert detector.predict(np.full((1, 10), 1e200)) == -1


def test_labels_are_ignored():
    want = MahalanobisDetector().fit(TALL).offset_
    assert MahalanobisDetector().fit(TALL, np.arange(80)).offset_ == want


def test_works_at_the_end_of_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), MahalanobisDetector(target_fpr=0.1))
    pipeline.fit(TALL)
    assert set(pipeline.predict(np.vstack([TALL, TALL + 10]))) == {1, -1}
    assert np.isfinite(pipeline.score(TALL))


@pytest.mark.parametrize(
    ("n", "shrinkage", "target"),
    [(100, 0.1, 0.02), (100, "ledoit_wolf", 0.05), (40, "ledoit_wolf", 0.3)],
)
def test_the_rate_holds_where_few_factors_drive_many_features(n, shrinkage, target):
    """Left-out determinants vary by many nats here; unseen rows share one."""
    loadings = np.random.default_rng(9).normal(size=(5, 300))

    def rows(rng, count):
        noise = 0.1 * rng.normal(size=(count, 300))
        return rng.normal(size=(count, 5)) @ loadings + noise

    rates = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        detector = MahalanobisDetector(shrinkage=shrinkage, target_fpr=target)
        detector.fit(rows(rng, n))
        rates.append((detector.predict(rows(rng, 300)) == -1).mean())
    spread = np.sqrt(target * (1 - target) * (1 / n + 1 / 300) / 30)
    assert abs(np.mean(rates) - target) < 4 * spread


@pytest.mark.parametrize("n", [20, 30, 31])
def test_nothing_is_flagged_where_every_row_alone_spans_a_direction(n):
    detector = MahalanobisDetector(shrinkage=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.fit(drawn(n, 30))
    assert any("without one of the rows" in str(w.message) for w in caught)
    assert np.isinf(detector.calibration_mahalanobis_).all()
    assert (detector.predict(drawn(50, 30, seed=1)) == 1).all()


def test_recalibration_sets_distances_too():
    detector = MahalanobisDetector().fit(TALL)
    fresh = TALL + 0.1
    detector.recalibrate(fresh)
    np.testing.assert_array_equal(
        detector.calibration_mahalanobis_, detector.mahalanobis(fresh)
    )


def test_threads_wait_for_what_was_deferred():
    X = np.random.default_rng(0).normal(size=(300, 60))
    for _ in range(5):
        detector = MahalanobisDetector().partial_fit(X)
        with ThreadPoolExecutor(8) as pool:
            verdicts = list(pool.map(detector.predict, [X] * 16))
        assert all(np.array_equal(v, verdicts[0]) for v in verdicts)


def test_a_stream_that_cannot_be_fitted_yet_says_what_it_lacks():
    detector = MahalanobisDetector().partial_fit(TALL[:1])
    for _ in range(2):
        with pytest.raises(NotFittedError, match="1 rows seen so far have no variance"):
            detector.predict(TALL)
    assert detector.partial_fit(TALL[1:]).predict(TALL).shape == (len(TALL),)


def test_what_is_no_covariance_estimator_is_refused():
    with pytest.raises(ValueError, match=r"covariance=PCA\(\) has no location_"):
        MahalanobisDetector(PCA()).fit(TALL)


def test_warnings_name_the_callers_line():
    """Each kind, through Pipeline, partial_fit and properties too."""
    rows = np.random.default_rng(0).normal(size=(10, 3))
    flat, far = np.column_stack([rows, rows[:, :1]]), 1e300 * rows
    pipeline = make_pipeline(StandardScaler(), MahalanobisDetector())
    calls = {
        "few rows": lambda: MahalanobisDetector().fit(rows),
        "few rows in a pipeline": lambda: pipeline.fit(rows),
        "later": lambda: MahalanobisDetector().partial_fit(rows).offset_,
        "rank": lambda: MahalanobisDetector(shrinkage=0.0).fit(flat),
        "far": lambda: MahalanobisDetector(calibration=0.0).fit(rows).predict(far),
        "density": lambda: KDEDetector().fit(rows),
        "density, far": lambda: KDEDetector(calibration=0.0).fit(rows).predict(far),
    }
    for name, call in calls.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert caught, name
        assert {warning.filename for warning in caught} == {__file__}, name


def test_asking_for_names_of_the_class_is_answered():
    detector = MahalanobisDetector()
    assert not hasattr(detector, "__name__")
    assert not hasattr(detector, "__qualname__")
    with pytest.raises(AttributeError, match="no attribute 'offset_'"):
        detector.offset_  # noqa: B018
