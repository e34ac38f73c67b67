import pickle

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.covariance import EllipticEnvelope, LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.exceptions import CalibrationWarning
from sklearn_gauss.model_selection import (
    NormalKFold,
    NormalShuffleSplit,
    anomaly_scorer,
)

SCORED = ["roc_auc", "partial_roc_auc", "average_precision", "tpr_at_fpr", "f1_max"]
JUDGED = ["recall", "balanced_accuracy", "neg_fpr_error"]


class Given(OutlierMixin, BaseEstimator):
    """A detector whose normality is the first column of X, cut at `offset`."""

    def __init__(self, sign=1, offset=0.0, target_fpr=0.05):
        self.sign = sign
        self.offset = offset
        self.target_fpr = target_fpr

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X):
        return self.sign * X[:, 0] - self.offset

    def predict(self, X):
        return np.where(self.decision_function(X) < 0, -1, 1)


class ScoreOnly(OutlierMixin, BaseEstimator):
    """A detector without a decision function."""

    def fit(self, X, y=None):
        return self

    def score_samples(self, X):
        return X[:, 0]


class LedoitWolfDetector(OutlierMixin, LedoitWolf):
    """Mahalanobis distance under scikit-learn's own shrunk covariance."""

    def decision_function(self, X):
        return -self.mahalanobis(X)


def score(metric, y, normality, **options):
    X = np.asarray(normality)[:, None]
    return anomaly_scorer(metric, **options)(Given().fit(X), X, y)


@st.composite
def scored_rows(draw):
    n_normals = draw(st.integers(1, 25))
    n_anomalies = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    y = rng.permutation(np.r_[np.ones(n_normals, int), -np.ones(n_anomalies, int)])
    levels = draw(st.sampled_from([1, 3, 10, 1000]))  # few levels: many ties
    normality = rng.integers(0, levels, len(y)) + draw(st.integers(0, 2)) * (y == 1)
    return y, normality.astype(float)


def counts_per_threshold(y, normality):
    """Hits and false alarms when rows at or below a threshold are flagged."""
    thresholds = [-np.inf, *np.unique(normality)]
    hits = np.array([((normality <= t) & (y == -1)).sum() for t in thresholds])
    alarms = np.array([((normality <= t) & (y == 1)).sum() for t in thresholds])
    return hits, alarms


@given(scored_rows())
@settings(deadline=None, max_examples=100)
def test_roc_auc_counts_ordered_pairs(rows):
    y, normality = rows
    pairs = normality[y == 1][:, None] - normality[y == -1][None, :]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert score("roc_auc", y, normality) == pytest.approx(expected, abs=1e-12)
    backwards = anomaly_scorer("roc_auc")(Given(sign=-1), normality[:, None], y)
    assert backwards == pytest.approx(1 - expected, abs=1e-12)
    assert score("partial_roc_auc", y, normality, max_fpr=1) == pytest.approx(expected)


@given(scored_rows(), st.sampled_from([0, 0.05, 0.1, 0.29, 0.5, 1]))
@settings(deadline=None, max_examples=100)
def test_tpr_at_fpr_is_the_best_over_all_thresholds(rows, fpr):
    y, normality = rows
    hits, alarms = counts_per_threshold(y, normality)
    allowed = alarms / (y == 1).sum() <= fpr
    expected = (hits[allowed] / (y == -1).sum()).max()
    assert score("tpr_at_fpr", y, normality, fpr=fpr) == pytest.approx(expected)


def test_tpr_at_fpr_sees_working_points_on_a_straight_line():
    y, normality = [1, -1] * 3, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert score("tpr_at_fpr", y, normality, fpr=0.7) == pytest.approx(2 / 3)


@given(scored_rows())
@settings(deadline=None, max_examples=100)
def test_f1_max_and_average_precision_by_counting(rows):
    y, normality = rows
    hits, alarms = counts_per_threshold(y, normality)
    n_anomalies = (y == -1).sum()
    f1 = 2 * hits / (hits + alarms + n_anomalies)
    assert score("f1_max", y, normality) == pytest.approx(f1.max())
    steps = np.diff(hits) / n_anomalies
    precision = hits[1:] / (hits + alarms)[1:]
    assert score("average_precision", y, normality) == pytest.approx(
        (steps * precision).sum()
    )


@given(scored_rows(), st.sampled_from([0.1, 0.3]))
@settings(deadline=None, max_examples=100)
def test_partial_roc_auc_is_the_scaled_area_under_the_curve(rows, max_fpr):
    y, normality = rows
    hits, alarms = counts_per_threshold(y, normality)
    fpr, tpr = alarms / alarms[-1], hits / hits[-1]
    edge = np.interp(max_fpr, fpr, tpr)
    inside = fpr <= max_fpr
    area = np.trapezoid(np.r_[tpr[inside], edge], np.r_[fpr[inside], max_fpr])
    chance = max_fpr**2 / 2
    expected = (1 + (area - chance) / (max_fpr - chance)) / 2
    got = score("partial_roc_auc", y, normality, max_fpr=max_fpr)
    assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", SCORED)
@given(rows=scored_rows())
@settings(deadline=None, max_examples=30)
def test_only_the_order_of_scores_counts(metric, rows):
    y, normality = rows
    expected = score(metric, y, normality)
    for transform in (
        lambda s: 1e-300 * s,
        lambda s: np.exp(s / 100),
        lambda s: s.astype(np.float32) - 1e6,
        lambda s: (
            np.where(s == s.min(), -np.inf, np.where(s == s.max(), 1e308, s))
            if len(np.unique(s)) > 1
            else s
        ),
    ):
        assert score(metric, y, transform(normality)) == expected


@pytest.mark.parametrize("metric", SCORED)
def test_a_perfect_detector_scores_one_and_a_reversed_one_less(metric):
    y = np.array([1] * 30 + [-1] * 10)
    normality = np.r_[np.linspace(1, 2, 30), np.linspace(-2, -1, 10)]
    assert score(metric, y, normality) == 1
    assert score(metric, y, -normality) < 0.5


@given(scored_rows(), st.integers(0, 10))
@settings(deadline=None, max_examples=100)
def test_verdicts_are_counted(rows, offset):
    y, normality = rows
    X = normality[:, None]
    detector = Given(offset=offset, target_fpr=0.2)
    flagged = normality < offset
    fpr, tpr = flagged[y == 1].mean(), flagged[y == -1].mean()
    assert anomaly_scorer("recall")(detector, X, y) == pytest.approx(tpr)
    balanced = anomaly_scorer("balanced_accuracy")(detector, X, y)
    assert balanced == pytest.approx((tpr + 1 - fpr) / 2)
    own = anomaly_scorer("neg_fpr_error")(detector, X, y)
    assert own == pytest.approx(-abs(fpr - 0.2))
    stated = anomaly_scorer("neg_fpr_error", target_fpr=0.5)(detector, X, y)
    assert stated == pytest.approx(-abs(fpr - 0.5))


def test_the_target_is_found_at_the_end_of_pipelines_and_searches():
    X = np.linspace(-1, 1, 20)[:, None]
    scorer = anomaly_scorer("neg_fpr_error")
    detector = Given(target_fpr=0.25)
    nested = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), detector))
    assert scorer(nested.fit(X), X, np.ones(20)) == -0.25
    search = GridSearchCV(
        nested, {"standardscaler__with_std": [True]}, cv=NormalKFold(2), scoring=scorer
    )
    assert scorer(search.fit(X, np.ones(20)), X, np.ones(20)) == -0.25
    with pytest.raises(ValueError, match=r"EllipticEnvelope.*target_fpr=\.\.\."):
        scorer(EllipticEnvelope(support_fraction=1.0).fit(X), X, np.ones(20))


def test_the_false_positive_rate_needs_no_labels():
    X = np.linspace(-1, 1, 21)[:, None]
    scorer = anomaly_scorer("neg_fpr_error")
    result = cross_validate(Given(), X, cv=NormalKFold(3), scoring=scorer)
    np.testing.assert_allclose(result["test_score"], [-0.95, -abs(3 / 7 - 0.05), -0.05])
    with pytest.raises(ValueError, match="needs normal rows"):
        scorer(Given(), X, -np.ones(21))


def test_score_samples_stands_in_for_a_decision_function():
    X = np.array([[3.0], [2.0], [1.0], [0.0]])
    y = [1, -1, 1, -1]
    assert anomaly_scorer("roc_auc")(ScoreOnly().fit(X), X, y) == 0.75
    with pytest.raises(AttributeError, match=r"score_samples.*decision_function"):
        anomaly_scorer("roc_auc")(LocalOutlierFactor(), X, y)


def test_a_density_estimator_is_scored_even_where_its_density_vanishes():
    X = np.r_[np.linspace(0, 1, 20), 1e3, 1e200][:, None]
    y = np.r_[np.ones(20), -1, -1]
    density = KernelDensity(kernel="tophat").fit(X[:20])
    assert np.isneginf(density.score_samples(X[20:])).all()
    if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9):
        assert anomaly_scorer("roc_auc")(density, X, y) == 1
    else:
        with pytest.raises(ValueError, match="KernelDensity"):
            anomaly_scorer("roc_auc")(density, X, y)


@pytest.mark.parametrize("metric", SCORED + JUDGED)
@pytest.mark.parametrize(
    "y", [[0, 1, 0, 1], [True, False, True, True], ["a", "b", "a", "b"], [1, 1, -1, 2]]
)
def test_ambiguous_labels_are_refused(metric, y):
    with pytest.raises(ValueError, match=r"\+1 .*-1.*np\.where\(y == 1, -1, 1\)"):
        score(metric, y, np.arange(4.0))


@pytest.mark.parametrize("metric", [*SCORED, "recall", "balanced_accuracy"])
@pytest.mark.parametrize("label", [1, -1])
def test_one_kind_of_label_is_refused(metric, label):
    with pytest.raises(ValueError, match=rf"only \{label:+d}.*NormalKFold"):
        score(metric, [label] * 4, np.arange(4.0))


@pytest.mark.parametrize("metric", SCORED)
def test_nan_scores_are_refused(metric):
    with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
        score(metric, [1, -1, 1], [0.0, np.nan, 2.0])


def test_predictions_other_than_plus_and_minus_one_are_refused():
    class ZeroOne(Given):
        def predict(self, X):
            return (X[:, 0] > 0).astype(int)

    with pytest.raises(ValueError, match="The prediction must hold"):
        anomaly_scorer("recall")(ZeroOne(), np.array([[1.0], [-1.0]]), [1, -1])


@pytest.mark.parametrize(
    ("metric", "options", "error", "message"),
    [
        ("auroc", {}, ValueError, "average_precision"),
        ("roc_auc", {"max_fpr": 0.1}, TypeError, "no option 'max_fpr'"),
        ("partial_roc_auc", {"max_fpr": 0}, ValueError, "max_fpr"),
        ("partial_roc_auc", {"max_fpr": 1.5}, ValueError, "max_fpr"),
        ("tpr_at_fpr", {"fpr": -0.1}, ValueError, "fpr"),
        ("tpr_at_fpr", {"fpr": "low"}, TypeError, "fpr"),
        ("neg_fpr_error", {"target_fpr": 1}, ValueError, "target_fpr"),
    ],
)
def test_parameters_are_checked_at_once(metric, options, error, message):
    with pytest.raises(error, match=message):
        anomaly_scorer(metric, **options)


@pytest.mark.parametrize("metric", SCORED + JUDGED)
def test_scorers_copy_and_name_their_metric(metric):
    X = np.array([[2.0], [-1.0], [1.0], [0.5]])
    y = [1, -1, -1, 1]
    scorer = anomaly_scorer(metric)
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert copy(Given(), X, y) == scorer(Given(), X, y)
        assert metric in repr(copy)
    assert "max_fpr=0.2" in repr(anomaly_scorer("partial_roc_auc", max_fpr=0.2))


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(4, 4))
    normals = rng.normal(size=(80, 4)) @ mixing
    anomalies = rng.normal(size=(12, 4)) @ mixing + rng.normal(3, 1, size=(12, 4))
    order = rng.permutation(92)
    return np.r_[normals, anomalies][order], np.repeat([1, -1], [80, 12])[order]


SEARCHES = {
    "elliptic": (
        EllipticEnvelope(support_fraction=1.0, random_state=0),
        {"contamination": [0.05, 0.2]},
    ),
    "ledoit-wolf": (LedoitWolfDetector(), {"assume_centered": [False, True]}),
    "forest": (IsolationForest(random_state=0), {"n_estimators": [5, 10]}),
    "lof": (LocalOutlierFactor(novelty=True), {"n_neighbors": [5, 15]}),
    "svm": (OneClassSVM(), {"gamma": [1e-3, "scale"]}),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_grid_search_scores_as_a_loop_by_hand(blobs, name):
    X, y = blobs
    detector, grid = SEARCHES[name]
    pipeline = make_pipeline(StandardScaler(), detector)
    step = pipeline.steps[-1][0]
    grid = {f"{step}__{key}": values for key, values in grid.items()}
    cv = NormalKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(
        pipeline,
        grid,
        cv=cv,
        scoring=anomaly_scorer("roc_auc"),
        refit=False,
        error_score="raise",
    ).fit(X, y)
    for parameters, mean in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        by_hand = []
        for train, test in cv.split(X, y):
            scores = (
                clone(pipeline)
                .set_params(**parameters)
                .fit(X[train])
                .decision_function(X[test])
            )
            normal, odd = scores[y[test] == 1], scores[y[test] == -1]
            above = normal[:, None] > odd
            by_hand.append(np.mean(above + 0.5 * (normal[:, None] == odd)))
        assert mean == pytest.approx(np.mean(by_hand), abs=1e-12)
        assert mean > 0.7
    best = clone(pipeline).set_params(**search.best_params_).fit(X[y == 1])
    assert anomaly_scorer("roc_auc")(best, X, y) > 0.7


@pytest.mark.parametrize("routing", [False, True])
def test_several_metrics_at_once(blobs, routing):
    X, y = blobs
    detector = make_pipeline(StandardScaler(), Given(offset=-1.0))
    scoring = {metric: anomaly_scorer(metric) for metric in SCORED + JUDGED}
    cv = NormalShuffleSplit(3, test_size=0.3, random_state=0)
    with sklearn.config_context(enable_metadata_routing=routing):
        result = cross_validate(detector, X, y, cv=cv, scoring=scoring)
        search = GridSearchCV(
            detector,
            {"given__offset": [-1.0]},
            cv=cv,
            scoring=scoring,
            refit="roc_auc",
            error_score="raise",
        ).fit(X, y)
    for metric, scorer in scoring.items():
        alone = [
            scorer(detector.fit(X[train]), X[test], y[test])
            for train, test in cv.split(X, y)
        ]
        np.testing.assert_array_equal(result[f"test_{metric}"], alone)
        mean = search.cv_results_[f"mean_test_{metric}"]
        np.testing.assert_allclose(mean, np.mean(alone))


def test_scores_are_computed_once_for_several_metrics(blobs):
    X, y = blobs
    calls = []

    class Counting(Given):
        def decision_function(self, X):
            calls.append(len(X))
            return super().decision_function(X)

    scoring = {metric: anomaly_scorer(metric) for metric in SCORED}
    cross_validate(Counting(), X, y, cv=NormalKFold(2), scoring=scoring)
    assert len(calls) == 2


def test_groups_pass_through_a_search(blobs):
    X, y = blobs
    groups = np.where(y == 1, np.arange(len(y)) // 4, 1000 + np.arange(len(y)))
    results = []
    for routing in (False, True):
        with sklearn.config_context(enable_metadata_routing=routing):
            search = GridSearchCV(
                LedoitWolfDetector(),
                {"assume_centered": [False, True]},
                cv=NormalKFold(3),
                scoring=anomaly_scorer(),
                error_score="raise",
            ).fit(X, y, groups=groups)
        results.append(search.cv_results_["split1_test_score"])
    train, test = list(NormalKFold(3).split(X, y, groups))[1]
    by_hand = anomaly_scorer()(LedoitWolfDetector().fit(X[train]), X[test], y[test])
    assert results[0][0] == by_hand
    np.testing.assert_array_equal(*results)


def test_two_processes_give_the_same_scores(blobs):
    X, y = blobs
    arguments = {
        "cv": NormalKFold(2),
        "scoring": {"auc": anomaly_scorer(), "tpr": anomaly_scorer("tpr_at_fpr")},
    }
    detector = OneClassSVM()
    one = cross_validate(detector, X, y, **arguments)
    two = cross_validate(detector, X, y, n_jobs=2, **arguments)
    for name in ("test_auc", "test_tpr"):
        np.testing.assert_array_equal(one[name], two[name])


def test_folds_without_anomalies_say_so(blobs):
    X, y = blobs
    X, y = X[np.argsort(-y, kind="stable")], np.sort(y)[::-1]
    with pytest.raises(ValueError, match=r"only \+1.*cv=NormalKFold"):
        cross_validate(
            Given(), X, y, cv=KFold(5), scoring=anomaly_scorer(), error_score="raise"
        )


def test_an_unlabelled_search_by_likelihood(blobs):
    X, y = blobs
    X = X[y == 1]
    searches = [
        GridSearchCV(KernelDensity(), {"bandwidth": [0.1, 1.0, 10.0]}, cv=cv).fit(X)
        for cv in (NormalKFold(4), KFold(4))
    ]
    ours, theirs = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_array_equal(ours, theirs)
    assert searches[0].best_params_ == {"bandwidth": 1.0}


def test_ranking_does_not_need_a_threshold():
    """A detector with too few rows for its target has the offset minus infinity."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(30, 3)), rng.normal(size=(10, 3)) + 5])
    y = np.r_[np.ones(30), -np.ones(10)]
    with pytest.warns(CalibrationWarning):
        detector = MahalanobisDetector(target_fpr=0.01).fit(X[:20])
    assert np.isneginf(detector.offset_)
    for metric in ("roc_auc", "average_precision", "tpr_at_fpr", "f1_max"):
        assert anomaly_scorer(metric)(detector, X, y) > 0.9
