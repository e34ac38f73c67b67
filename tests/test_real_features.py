"""Pooled features of photographs: detection and thresholds as on synthetic data.

Eight classes of real features, 512 columns and some 200 normal rows each: five folds of
the normal rows; tested on the fold left out and on all anomalies.
"""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.model_selection import NormalKFold, anomaly_scorer

TARGETS = (0.05, 0.10)


class ByLedoitWolf(LedoitWolf):
    """scikit-learn's model with a score that is higher for normal rows."""

    def score_samples(self, X):
        return -self.mahalanobis(X)


MODELS = {
    "ours": MahalanobisDetector(),
    "theirs": ByLedoitWolf(),
    "low": make_pipeline(LowVariancePCA(0.01), MahalanobisDetector()),
    "high": make_pipeline(LowVariancePCA(0.99, keep="high"), MahalanobisDetector()),
}


@pytest.fixture(scope="module")
def measured(classes):
    """Areas under the ROC curve {model: (classes, folds)} and false-positive rates."""
    areas = {name: [] for name in MODELS}
    flagged = {target: [] for target in TARGETS}
    for X, y in classes.values():
        normal, anomalies = X[y == 1], X[y == -1]
        for train, held_out in KFold(5, shuffle=True, random_state=0).split(normal):
            rows = np.vstack([normal[held_out], anomalies])
            labels = np.r_[np.ones(len(held_out)), np.zeros(len(anomalies))]
            for name, model in MODELS.items():
                scores = model.fit(normal[train]).score_samples(rows)
                areas[name].append(roc_auc_score(labels, scores))
                if name == "ours":
                    p_values = model.p_values(rows)[: len(held_out)]
                    for target in TARGETS:
                        flagged[target].append(p_values <= target)
    areas = {name: np.reshape(a, (len(classes), 5)) for name, a in areas.items()}
    return areas, {t: np.concatenate(f) for t, f in flagged.items()}


def points(measured, name):
    """Mean area in points of a hundred."""
    return 100 * measured[0][name].mean()


def test_all_eight_classes_are_there(classes):
    assert len(classes) == 8
    for X, y in classes.values():
        assert X.shape == (len(y), 512)
        assert X.dtype == np.float32
        assert set(y) == {-1, 1}


def test_detection_is_that_of_scikit_learns_ledoit_wolf(measured):
    assert points(measured, "ours") == pytest.approx(points(measured, "theirs"), abs=0.1)
    np.testing.assert_allclose(measured[0]["ours"], measured[0]["theirs"], atol=0.01)


def test_detection_is_worth_having(measured):
    assert points(measured, "ours") > 80


def test_components_of_small_variance_keep_what_the_gaussian_has(measured):
    assert points(measured, "low") == pytest.approx(points(measured, "ours"), abs=0.5)


def test_components_of_large_variance_lose_it(measured):
    """The finding of the paper whose detector this is."""
    assert points(measured, "high") < points(measured, "low") - 0.2
    assert points(measured, "high") < points(measured, "ours") - 0.4


@pytest.mark.parametrize("target", TARGETS)
def test_thresholds_keep_their_target(measured, target):
    assert measured[1][target].mean() == pytest.approx(target, abs=0.02)


def test_p_values_up_to_the_target_are_what_is_flagged(classes):
    X, y = classes["bottle"]
    detector = MahalanobisDetector(target_fpr=0.1).fit(X[y == 1])
    np.testing.assert_array_equal(detector.predict(X) == -1, detector.p_values(X) <= 0.1)
    assert (detector.predict(X[y == -1]) == -1).mean() > 0.5


PIPELINE = Pipeline([("reduce", LowVariancePCA()), ("detect", MahalanobisDetector())])
GRID = {"reduce__variance": [0.01, 1.0], "detect__shrinkage": ["ledoit_wolf", 0.5]}


def test_a_search_with_anomalies_trains_on_normal_rows(classes):
    X, y = classes["bottle"]
    search = GridSearchCV(
        PIPELINE,
        GRID,
        cv=NormalKFold(3, shuffle=True, random_state=0),
        scoring=anomaly_scorer("roc_auc"),
        refit=False,
        error_score="raise",
    ).fit(X, y)
    assert search.best_score_ > 0.9
    train, test = next(NormalKFold(3, shuffle=True, random_state=0).split(X, y))
    assert (y[train] == 1).all()
    best = PIPELINE.set_params(**search.best_params_).fit(X[train])
    area = roc_auc_score(y[test], best.score_samples(X[test]))
    assert area == pytest.approx(
        search.cv_results_["split0_test_score"][search.best_index_], abs=1e-12
    )


def test_a_search_without_anomalies_maximises_the_likelihood(classes):
    X, y = classes["bottle"]
    grid = {"shrinkage": [0.001, 0.1, "ledoit_wolf", "loo", 1.0]}
    search = GridSearchCV(MahalanobisDetector(), grid, cv=3, error_score="raise")
    search.fit(X[y == 1])
    scores = dict(
        zip(grid["shrinkage"], search.cv_results_["mean_test_score"], strict=True)
    )
    assert np.isfinite(list(scores.values())).all()
    assert search.best_score_ == max(scores.values())
    # The intensity of greatest left-out likelihood, for which no fold is needed.
    assert scores["loo"] >= max(scores.values()) - 5
    assert scores["loo"] > scores[1.0]
    assert scores["loo"] > scores["ledoit_wolf"]
