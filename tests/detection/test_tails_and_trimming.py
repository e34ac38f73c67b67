"""MahalanobisDetector where rows are no Gaussian's, or not all of them normal."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    CalibratedDetector,
    LevelEnsemble,
    MahalanobisDetector,
)
from sklearn_gauss.exceptions import CalibrationWarning, TrimmingWarning
from sklearn_gauss.inspection import explain


def heavy(n, p, df=4.0, seed=0):
    """Rows of Student's law with correlated columns."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(p, p)))[0] * np.linspace(0.5, 2.0, p)
    rows = rng.normal(size=(n, p)) / np.sqrt(rng.chisquare(df, (n, 1)) / df)
    return rows @ axes


CALIBRATIONS = ["loo", "chi2", "quantile"]


# ------------------------------------------------------------------------ tails
@pytest.mark.parametrize(("n", "p"), [(200, 8), (60, 90)])
@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_the_tail_changes_neither_order_nor_verdicts(n, p, calibration):
    X, Q = np.split(heavy(2 * n, p), 2)
    plain, tailed = (
        MahalanobisDetector(tail=tail, calibration=calibration).fit(X)
        for tail in ("gaussian", "student")
    )
    np.testing.assert_array_equal(plain.predict(Q), tailed.predict(Q))
    np.testing.assert_array_equal(plain.mahalanobis(Q), tailed.mahalanobis(Q))
    np.testing.assert_allclose(plain.p_values(Q), tailed.p_values(Q))
    order = np.argsort(plain.score_samples(Q))
    assert (np.diff(tailed.score_samples(Q)[order]) >= 0).all()


@pytest.mark.parametrize(("n", "p"), [(300, 6), (80, 120)])
def test_scores_are_log_densities_of_the_law(n, p):
    X, Q = np.split(heavy(2 * n, p), 2)
    detector = MahalanobisDetector(tail="student").fit(X)
    covariance = detector.covariance_estimator_.covariance_
    law = stats.multivariate_t(
        detector.location_, detector.tail_scale_ * covariance, df=detector.tail_df_
    )
    np.testing.assert_allclose(detector.score_samples(Q), law.logpdf(Q), rtol=1e-9)


@pytest.mark.parametrize(("n", "p"), [(400, 10), (150, 200)])
def test_unseen_rows_are_more_likely_under_the_right_tail(n, p):
    X, Q = heavy(n, p, seed=1), heavy(1000, p, seed=1)
    detector = MahalanobisDetector(tail="student").fit(X[: n // 2])
    gaussian = MahalanobisDetector().fit(X[: n // 2])
    assert detector.score(Q) > gaussian.score(Q) + 0.05 * p
    assert detector.tail_df_ == pytest.approx(4.0, rel=0.5)
    # Honest: the mean of the left-out scores is that of unseen rows.
    assert detector.calibration_scores_.mean() == pytest.approx(detector.score(Q), 0.05)


def test_gaussian_rows_keep_their_tail():
    X = np.random.default_rng(0).normal(size=(500, 10))
    detector = MahalanobisDetector(tail="student").fit(X)
    gaussian = MahalanobisDetector().fit(X)
    assert detector.tail_df_ > 50
    assert detector.score(X) == pytest.approx(gaussian.score(X), abs=0.05)
    assert np.isinf(gaussian.tail_df_)
    assert gaussian.tail_scale_ == 1.0


def test_a_search_by_likelihood_finds_the_tail():
    grid = {"tail": ["gaussian", "student"]}
    search = GridSearchCV(MahalanobisDetector(), grid, cv=3).fit(heavy(200, 6))
    assert search.best_params_["tail"] == "student"


def test_a_stream_has_the_tail_of_one_fit():
    X = heavy(150, 5)
    whole = MahalanobisDetector(tail="student").fit(X)
    stream = MahalanobisDetector(tail="student")
    for rows in np.array_split(X, 4):
        stream.partial_fit(rows)
    assert stream.tail_df_ == pytest.approx(whole.tail_df_, rel=1e-4)
    np.testing.assert_allclose(stream.score_samples(X), whole.score_samples(X), rtol=1e-6)


def test_the_gradient_follows_the_tail():
    X = heavy(60, 4)
    detector, step = MahalanobisDetector(tail="student").fit(X), 1e-6
    found, numeric = detector.gradient(X[:5]), np.empty((5, 4))
    for j in range(4):
        shift = step * np.eye(4)[j]
        up, down = (detector.score_samples(X[:5] + s) for s in (shift, -shift))
        numeric[:, j] = (up - down) / (2 * step)
    np.testing.assert_allclose(found, numeric, rtol=1e-5, atol=1e-7)
    levels = [slice(0, 2), slice(2, 4)]
    slopes = [
        LevelEnsemble(MahalanobisDetector(tail=tail), levels=levels).fit(X).gradient(X)
        for tail in ("gaussian", "student")
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-9)


def test_what_a_distance_is_made_of_does_not_follow_the_tail():
    X = heavy(60, 4)
    steps = LowVariancePCA(n_components=3)
    found = [
        explain(make_pipeline(clone(steps), MahalanobisDetector(tail=tail)).fit(X), X[:5])
        for tail in ("gaussian", "student")
    ]
    np.testing.assert_allclose(found[0].features, found[1].features, rtol=1e-9)


def test_other_covariances_and_folds_take_the_tail():
    X = heavy(40, 3)
    own = MahalanobisDetector(tail="student").fit(X)
    foreign = MahalanobisDetector(LedoitWolf(), tail="student", calibration="chi2")
    assert foreign.fit(X).tail_df_ == pytest.approx(own.tail_df_, rel=1e-4)
    folds = CalibratedDetector(MahalanobisDetector(tail="student"), cv=40).fit(X)
    np.testing.assert_allclose(folds.calibration_scores_, own.calibration_scores_)
    np.testing.assert_allclose(folds.score_samples(X), own.score_samples(X))


def test_without_left_out_distances_the_tail_stays_gaussian_and_says_so():
    X = np.random.default_rng(0).normal(size=(6, 5))
    detector = MahalanobisDetector(shrinkage=0.0, tail="student", calibration="chi2")
    with pytest.warns(CalibrationWarning, match="tail='student'"):
        detector.fit(X)
    assert np.isinf(detector.tail_df_)


# ---------------------------------------------------------------- trimming
def with_anomalies(n, p, share, seed=0):
    """Rows of which the first are anomalies, unseen rows of both kinds, and labels."""
    rng = np.random.default_rng(seed)
    m = round(share * n)
    X = rng.normal(size=(n, p))
    X[:m] *= 5.0
    Q = rng.normal(size=(1200, p))
    Q[:200] *= 5.0
    return X, np.arange(n) >= m, Q, np.arange(1200) >= 200


@pytest.mark.parametrize(("n", "p"), [(120, 20), (80, 150)])
@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize("trim", ["auto", 0.2])
def test_it_is_a_fit_to_the_rows_that_are_kept(n, p, calibration, trim):
    X, normal, Q, _ = with_anomalies(n, p, 0.2)
    options = {"calibration": calibration}
    detector = MahalanobisDetector(trim=trim, **options).fit(X)
    np.testing.assert_array_equal(detector.inliers_, normal)
    plain = MahalanobisDetector(**options).fit(X[normal])
    np.testing.assert_array_equal(detector.score_samples(Q), plain.score_samples(Q))
    np.testing.assert_array_equal(detector.p_values(Q), plain.p_values(Q))
    assert detector.offset_ == plain.offset_
    scores = detector.calibration_scores_
    assert len(scores) == n
    np.testing.assert_array_equal(scores[normal], plain.calibration_scores_)
    np.testing.assert_allclose(scores[~normal], plain.score_samples(X[~normal]))


@pytest.mark.filterwarnings("ignore::sklearn_gauss.exceptions.TrimmingWarning")
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("n", "p"), [(150, 30), (80, 150)])
def test_the_working_point_survives_anomalies_in_the_fit(n, p, share):
    rates, plain = [], []
    for seed in range(8):
        X, _, Q, labels = with_anomalies(n, p, share, seed)
        for found, trim in ((rates, "auto"), (plain, None)):
            detector = MahalanobisDetector(trim=trim).fit(X)
            flagged = detector.predict(Q) == -1
            found.append((flagged[labels].mean(), flagged[~labels].mean()))
    rates, plain = np.mean(rates, axis=0), np.mean(plain, axis=0)
    assert 0.01 < rates[0] < 0.065  # of 56 rows the order statistic is that of 0.035
    assert rates[1] > 0.9
    if share:  # the anomalies raise the threshold, and it misses others
        assert plain[0] < 0.02
        assert plain[1] < rates[1]


def test_other_covariances_and_tails_leave_rows_out_too():
    X, normal, Q, _ = with_anomalies(60, 8, 0.2)
    for options in (
        {"covariance": LedoitWolf()},
        {"covariance": LedoitWolf(), "tail": "student"},
        {"tail": "student"},
        {"shrinkage": "loo"},
        {"shrinkage": 0.0, "calibration": "f"},
        {"covariance": EmpiricalCovariance(), "calibration": "f"},
    ):
        detector = MahalanobisDetector(trim=0.2, **options).fit(X)
        plain = MahalanobisDetector(**options).fit(X[detector.inliers_])
        np.testing.assert_array_equal(detector.inliers_, normal)
        np.testing.assert_array_equal(detector.score_samples(Q), plain.score_samples(Q))
        assert detector.offset_ == plain.offset_


def test_a_refit_and_fresh_rows_forget_what_was_left_out():
    X, normal, Q, _ = with_anomalies(60, 8, 0.2)
    detector = MahalanobisDetector(trim="auto").fit(X)
    assert hasattr(detector, "calibration_weights_")
    detector.recalibrate(Q[200:])
    assert not hasattr(detector, "calibration_weights_")
    detector.fit(X).set_params(trim=None).fit(X)
    assert not hasattr(detector, "inliers_")
    assert not hasattr(detector, "calibration_weights_")
    assert detector.offset_ == MahalanobisDetector().fit(X).offset_
    detector.set_params(trim=0.2).fit(X).set_params(trim=None).partial_fit(X[:5])
    assert not hasattr(detector, "inliers_")
    whole = MahalanobisDetector().fit(np.vstack([X[normal], X[:5]]))
    np.testing.assert_allclose(detector.score_samples(Q), whole.score_samples(Q))


def test_there_is_no_stream_with_trim():
    assert not hasattr(MahalanobisDetector(trim="auto"), "partial_fit")
    assert hasattr(MahalanobisDetector(), "partial_fit")


def test_many_rows_left_out_are_told():
    X, _, _, _ = with_anomalies(80, 150, 0.3)
    with pytest.warns(TrimmingWarning, match="left out 30% of the rows"):
        MahalanobisDetector(trim="auto").fit(X)


def test_too_few_rows_kept_are_counted_in_the_warning():
    X, _, _, _ = with_anomalies(25, 4, 0.4)
    with pytest.warns(CalibrationWarning, match="^15 rows cannot certify"):
        MahalanobisDetector(trim=0.4).fit(X)


@pytest.mark.parametrize("trim", [0.0, 0.5, -0.1, "robust"])
def test_what_is_no_share_is_refused(trim):
    with pytest.raises(ValueError, match="trim"):
        MahalanobisDetector(trim=trim).fit(np.eye(12))


def test_levels_leave_rows_out_each_for_itself():
    X, _, Q, _ = with_anomalies(80, 8, 0.2)
    levels = {"a": slice(0, 4), "b": slice(4, 8)}
    detector = LevelEnsemble(MahalanobisDetector(trim="auto"), levels=levels)
    scores = detector.fit(X).score_samples(Q)
    assert len(detector.calibration_scores_) == 80
    parts = [
        MahalanobisDetector(trim="auto").fit(X[:, c]).mahalanobis(Q[:, c])
        for c in levels.values()
    ]
    np.testing.assert_allclose(scores, -np.sqrt(parts).sum(axis=0))
    assert clone(detector).fit(X).offset_ == detector.offset_


def test_photographs_with_anomalies_among_them(classes):
    """Detection hardly changes, the working point does."""
    areas, rates = [], []
    for seed, name in enumerate(("bottle", "leather", "zipper")):
        X, y = classes[name]
        normal, anomalies = X[y == 1], X[y == -1]
        train, test = next(KFold(5, shuffle=True, random_state=0).split(normal))
        picked = np.random.default_rng(seed).permutation(len(anomalies))
        mixed = np.vstack([normal[train], anomalies[picked[:25]]])
        rows = np.vstack([normal[test], anomalies[picked[25:]]])
        labels = np.arange(len(rows)) < len(test)
        for trim in (None, "auto"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                detector = MahalanobisDetector(trim=trim).fit(mixed)
            flagged = detector.predict(rows) == -1
            areas.append(roc_auc_score(labels, detector.score_samples(rows)))
            rates.append((flagged[labels].mean(), flagged[~labels].mean()))
    areas = np.reshape(areas, (3, 2)).mean(axis=0)
    plain, robust = np.reshape(rates, (3, 2, 2)).mean(axis=0)
    assert areas[1] == pytest.approx(areas[0], abs=0.02)
    assert robust[0] < 0.08
    assert robust[1] > plain[1] + 0.15


def test_copies_alone_are_no_rows_to_fit_to():
    X = np.vstack([np.ones((40, 3)), np.random.default_rng(0).normal(size=(10, 3))])
    with pytest.raises(ValueError, match=r"trim=0\.3: the 35 rows that are left are all"):
        MahalanobisDetector(trim=0.3).fit(X)
    assert MahalanobisDetector(trim="auto").fit(X).inliers_.all()
