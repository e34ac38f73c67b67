"""explain: sums, names and axes behind an extractor and linear steps."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import CalibratedDetector, LevelEnsemble, MahalanobisDetector
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.inspection import explain

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 8)) @ rng.normal(size=(8, 8)) * np.logspace(2, -2, 8) + 30
ROWS = X[:5] * 1.02 + 0.1
STEPS = {
    "none": [],
    "low variance": [LowVariancePCA(n_components=5)],
    "whitened": [LowVariancePCA(n_components=5, whiten=True)],
    "scaled": [StandardScaler(), PCA(6)],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_features_add_up_behind_linear_steps(steps):
    model = make_pipeline(*steps, MahalanobisDetector()).fit(X)
    inner = model[:-1].transform(ROWS) if steps else ROWS
    squares = model[-1].mahalanobis(inner)
    found = explain(model, ROWS)
    assert found.features.shape == ROWS.shape
    np.testing.assert_allclose(found.features.sum(axis=1), squares, rtol=1e-6)
    np.testing.assert_allclose(found.levels[:, 0], squares, rtol=1e-6)
    total = found.components.sum(axis=1) + found.residual
    np.testing.assert_allclose(total, squares, rtol=1e-6)
    # The rows' deviations along the mapped axes are those that the components square.
    mean = X.mean(axis=0)
    along = ((ROWS - mean) @ found.axes.T) ** 2 / found.variances
    np.testing.assert_allclose(along, found.components, rtol=1e-4, atol=1e-6)


def test_all_components_are_the_plain_detector():
    plain = MahalanobisDetector(shrinkage=0.0).fit(X)
    model = make_pipeline(LowVariancePCA(1.0), MahalanobisDetector(shrinkage=0.0)).fit(X)
    found, want = explain(model, ROWS), plain.explain(ROWS)
    np.testing.assert_allclose(found.features, want.features, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.components, want.components, rtol=1e-6, atol=1e-8)


def test_levels_are_named_by_the_columns():
    frame = pd.DataFrame(X, columns=[f"{'ab'[i > 2]}__{i}" for i in range(8)])
    model = make_pipeline(LowVariancePCA(n_components=5), MahalanobisDetector())
    found = explain(model.fit(frame), frame[:5])
    assert found.level_names == ["a", "b"]
    np.testing.assert_allclose(found.levels[:, 0], found.features[:, :3].sum(axis=1))
    given = explain(model, frame[:5], levels=[[7]])
    np.testing.assert_array_equal(given.levels[:, 0], found.features[:, 7])


def test_levels_are_named_by_the_extractor():
    images = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    extractor = CNNFeatureExtractor("tiny", input_size=32)
    for steps in ([], [LowVariancePCA(n_components=5)]):
        model = make_pipeline(extractor, *steps, MahalanobisDetector()).fit(images)
        found = explain(model, images[:3])
        assert found.level_names == extractor.fit(images).levels_
        np.testing.assert_allclose(
            found.levels.sum(axis=1), found.features.sum(axis=1), rtol=1e-9
        )


def test_an_ensemble_and_a_calibrated_detector():
    ensemble = LevelEnsemble(levels=[range(3), range(3, 8)]).fit(X)
    found = explain(ensemble, ROWS)
    np.testing.assert_allclose(found.levels.sum(axis=1), -ensemble.score_samples(ROWS))
    pipeline = make_pipeline(LowVariancePCA(n_components=5), MahalanobisDetector())
    calibrated = CalibratedDetector(pipeline, cv=3).fit(X)
    np.testing.assert_array_equal(
        explain(calibrated, ROWS).features, explain(calibrated.detector_, ROWS).features
    )


def test_a_calibrated_detector_at_the_end_of_a_pipeline():
    inner = CalibratedDetector(MahalanobisDetector(), cv=3)
    model = make_pipeline(StandardScaler(), "passthrough", LowVariancePCA(0.5), inner)
    found = explain(model.fit(X), ROWS)
    squares = model[-1].detector_.mahalanobis(model[:-1].transform(ROWS))
    np.testing.assert_allclose(found.features.sum(axis=1), squares, rtol=1e-6)


def test_what_cannot_be_explained():
    forest = IsolationForest(n_estimators=3).fit(X)
    with pytest.raises(AttributeError, match="IsolationForest has no explain"):
        explain(forest, ROWS)
    model = make_pipeline(Normalizer(), MahalanobisDetector()).fit(X)
    with pytest.raises(ValueError, match="not linear"):
        explain(model, ROWS)


@pytest.mark.parametrize("n_rows", [1, 5])
def test_rows_that_are_alike_do_not_make_a_step_linear(n_rows):
    X = np.random.default_rng(0).normal(size=(30, 4))
    model = make_pipeline(Normalizer(), MahalanobisDetector()).fit(X)
    with pytest.raises(ValueError, match="not linear"):
        explain(model, X[[0] * n_rows])


@pytest.mark.parametrize("n_rows", [1, 5])
def test_rows_that_are_alike_add_up(n_rows):
    model = make_pipeline(*STEPS["scaled"], MahalanobisDetector()).fit(X)
    rows = ROWS[[0] * n_rows]
    found, want = explain(model, rows), explain(model, ROWS)
    np.testing.assert_allclose(found.features, want.features[[0] * n_rows], rtol=1e-6)


@pytest.mark.parametrize("levels", ["foo", "", 5, 0.5, True, range])
def test_levels_that_are_none_are_named(levels):
    message = "^levels must be 'auto', None, or a dict or list of groups of columns, got"
    for detector in (MahalanobisDetector(), LevelEnsemble(levels=[range(8)])):
        detector.fit(X)
        with pytest.raises(ValueError, match=message):
            explain(detector, ROWS, levels=levels)
    with pytest.raises(ValueError, match=message):
        MahalanobisDetector().fit(X).explain(ROWS, levels=levels)
