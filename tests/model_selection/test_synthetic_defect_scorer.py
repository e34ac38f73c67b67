import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.covariance import EllipticEnvelope
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from sklearn_gauss.datasets import (
    SyntheticDefects,
    SyntheticOutliers,
    make_inspection_images,
)
from sklearn_gauss.detection import LevelEnsemble, MahalanobisDetector
from sklearn_gauss.model_selection import NormalKFold, synthetic_defect_scorer

rng = np.random.default_rng(0)
ROWS = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 12)) + 0.1 * rng.normal(
    size=(60, 12)
)


def test_score_is_that_of_rows_and_their_perturbed_copies():
    detector = MahalanobisDetector().fit(ROWS[:40])
    found = synthetic_defect_scorer(SyntheticOutliers(random_state=3))(
        detector, ROWS[40:]
    )
    drawn = SyntheticOutliers(random_state=3).draw(ROWS[40:]).X
    scores = [detector.score_samples(rows) for rows in (ROWS[40:], drawn)]
    labels = np.repeat([1, 0], [20, len(drawn)])
    assert found == pytest.approx(
        roc_auc_score(labels, np.concatenate(scores)), abs=1e-12
    )


def test_labels_leave_real_anomalies_out():
    detector = MahalanobisDetector().fit(ROWS[:40])
    scorer = synthetic_defect_scorer(SyntheticOutliers())
    y = np.repeat([1, -1], [20, 5])
    labelled = np.concatenate([ROWS[40:], rng.normal(size=(5, 12))])
    assert scorer(detector, labelled, y) == scorer(detector, ROWS[40:])
    with pytest.raises(ValueError, match=r"no normal row \(y == 1\)"):
        scorer(detector, ROWS[:3], [-1, -1, -1])
    with pytest.raises(ValueError, match="y must hold"):
        scorer(detector, ROWS[:3], [0, 1, 1])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_keep_their_names(frame):
    named = pd.DataFrame(ROWS, columns=[f"f{i}" for i in range(12)])
    X = named if frame is pd.DataFrame else pl.from_pandas(named)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cross_val_score(
            MahalanobisDetector(), X, scoring=synthetic_defect_scorer(SyntheticOutliers())
        )
    plain = cross_val_score(
        MahalanobisDetector(), ROWS, scoring=synthetic_defect_scorer(SyntheticOutliers())
    )
    np.testing.assert_allclose(found, plain)


def test_a_search_without_labels_refits_on_normal_rows_alone():
    search = GridSearchCV(
        MahalanobisDetector(),
        {"shrinkage": [0.001, 1.0]},
        scoring=synthetic_defect_scorer(SyntheticOutliers(["swap"])),
    ).fit(ROWS)
    assert search.best_params_ == {"shrinkage": 0.001}
    alone = MahalanobisDetector(shrinkage=0.001).fit(ROWS)
    np.testing.assert_array_equal(
        search.best_estimator_.score_samples(ROWS), alone.score_samples(ROWS)
    )


@pytest.mark.parametrize("metric", ["average_precision", "tpr_at_fpr", "recall"])
def test_other_metrics_and_detectors(metric):
    scorer = synthetic_defect_scorer(SyntheticOutliers(severity=3.0), metric)
    detector = EllipticEnvelope(random_state=0, support_fraction=1.0).fit(ROWS[:40, :4])
    assert 0 < scorer(detector, ROWS[40:, :4]) <= 1
    assert metric in repr(scorer)
    assert "SyntheticOutliers" in repr(scorer)


def test_it_can_be_sent_to_workers():
    scorer = pickle.loads(pickle.dumps(synthetic_defect_scorer(SyntheticOutliers())))
    assert scorer(MahalanobisDetector().fit(ROWS), ROWS) > 0.5


def test_refuses():
    with pytest.raises(TypeError, match="defects must have a method draw"):
        synthetic_defect_scorer("all")
    with pytest.raises(ValueError, match="metric must be one of"):
        synthetic_defect_scorer(SyntheticOutliers(), "auc")
    with pytest.raises(TypeError, match="no option 'fpr'"):
        synthetic_defect_scorer(SyntheticOutliers(), "roc_auc", fpr=0.1)


def test_images_each_extracted_once_in_a_search(tmp_path):
    pytest.importorskip("torch")
    from sklearn_gauss.feature_extraction import CNNFeatureExtractor

    images = make_inspection_images("metal", n_train=12, size=48, random_state=0).train
    extractor = CNNFeatureExtractor("tiny", cache=tmp_path)
    levels = {"a": slice(0, 8), "b": slice(8, None)}
    pipeline = Pipeline(
        [("extract", extractor), ("detect", LevelEnsemble(levels=levels))]
    )
    defects = SyntheticDefects(n_per_image=2)
    search = GridSearchCV(
        pipeline,
        {"detect__aggregate": ["sum", "max", "mean"]},
        cv=3,
        scoring=synthetic_defect_scorer(defects),
        refit=False,
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        search.fit(list(images))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert extractor.fit(images[:1]).cache_info().entries == 12 + 2 * 12


def test_labelled_folds_work_too():
    X, y = np.concatenate([ROWS, 5 + ROWS[:6]]), np.repeat([1, -1], [60, 6])
    scorer = synthetic_defect_scorer(SyntheticOutliers())
    found = cross_val_score(
        MahalanobisDetector(), X, y, cv=NormalKFold(3), scoring=scorer
    )
    assert np.isfinite(found).all()
