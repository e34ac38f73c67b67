"""Kernel densities of pooled features of photographs: detection, and thresholds.

Eight classes of real features, 512 columns and some 200 normal rows each: five folds of
the normal rows; tested on the fold left out and on all anomalies.
"""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from sklearn_gauss.detection import KDEDetector, MahalanobisDetector
from sklearn_gauss.model_selection import NormalKFold

# At every bandwidth of this file the nearest row decides the score.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_gauss.exceptions.NearestNeighborWarning",
    "ignore::sklearn_gauss.exceptions.BandwidthWarning",
)

TARGETS = (0.05, 0.10)
MODELS = {
    "default": KDEDetector(),
    "plain": KDEDetector(whiten="none"),
    "plain Scott": KDEDetector("scott", whiten="none", calibration=0.0),
    "Mahalanobis": MahalanobisDetector(),
}
CALIBRATED = ("default", "plain")


@pytest.fixture(scope="module")
def measured(classes):
    """Areas under the ROC curve {model: (classes, folds)}, p-values of unseen normals."""
    areas = {name: [] for name in MODELS}
    p_values = {name: [] for name in CALIBRATED}
    folds = NormalKFold(5, shuffle=True, random_state=0)
    for X, y in classes.values():
        for train, test in folds.split(X, y):
            for name, model in MODELS.items():
                scores = model.fit(X[train]).score_samples(X[test])
                areas[name].append(roc_auc_score(y[test] == 1, scores))
                if name in p_values:
                    p_values[name].append(model.p_values(X[test[y[test] == 1]]))
    areas = {name: np.reshape(area, (len(classes), 5)) for name, area in areas.items()}
    return areas, {name: np.concatenate(p) for name, p in p_values.items()}


def test_all_eight_classes_are_measured(measured):
    assert {area.shape for area in measured[0].values()} == {(8, 5)}


@pytest.mark.parametrize(
    ("rival", "margin"), [("plain Scott", 0.0), ("plain", 0.0), ("Mahalanobis", 0.003)]
)
def test_the_default_detects_as_well(measured, rival, margin):
    assert measured[0]["default"].mean() > measured[0][rival].mean() - margin


@pytest.mark.parametrize("name", CALIBRATED)
@pytest.mark.parametrize("target", TARGETS)
def test_thresholds_keep_their_target(measured, name, target):
    """Within what so many independent rows give in all but one of a thousand cases."""
    p_values = measured[1][name]
    low, high = binom.interval(0.999, len(p_values), target)
    assert low <= (p_values <= target).sum() <= high


def test_what_is_flagged_is_what_the_p_values_say(classes):
    X, y = classes["bottle"]
    detector = KDEDetector(target_fpr=0.1).fit(X[y == 1])
    np.testing.assert_array_equal(detector.predict(X) == -1, detector.p_values(X) <= 0.1)
    assert (detector.predict(X[y == -1]) == -1).mean() > 0.5


def test_training_scores_set_no_threshold(classes):
    """Each has its own kernel, which is all of the density where rows are far apart."""
    X, y = classes["bottle"]
    train, test = next(NormalKFold(5, shuffle=True, random_state=0).split(X, y))
    unseen = X[test[y[test] == 1]]
    detector = KDEDetector(calibration="quantile").fit(X[train])
    assert (detector.predict(unseen) == -1).all()
