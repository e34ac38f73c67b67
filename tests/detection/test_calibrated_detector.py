"""CalibratedDetector: thresholds that hold for whole pipelines, images included."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from sklearn_gauss.datasets import make_inspection_images
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    CalibratedDetector,
    ClassConditionalDetector,
    DetectorEnsemble,
    LevelEnsemble,
    MahalanobisDetector,
    NormalAbnormalDetector,
)
from sklearn_gauss.exceptions import CalibrationWarning
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

PIPELINE = make_pipeline(LowVariancePCA(n_components=20), MahalanobisDetector())


def rows(seed, n, p=60):
    return np.random.default_rng(seed).normal(size=(n, p))


def measured(detector, n_draws=12, n=150, target=0.1):
    """Pooled false-positive rate over draws of training and unseen rows."""
    rates = []
    for seed in range(n_draws):
        fitted = clone(detector).fit(rows(seed, n))
        rates.append((fitted.predict(rows(1000 + seed, 500)) == -1).mean())
    return np.mean(rates)


def test_a_pipeline_keeps_its_rate_only_when_it_is_calibrated_as_a_whole():
    assert measured(clone(PIPELINE).set_params(mahalanobisdetector__target_fpr=0.1)) > 0.5
    whole = CalibratedDetector(PIPELINE, target_fpr=0.1, cv=100)
    assert abs(measured(whole, n_draws=8, n=100) - 0.1) < 0.04


def test_calibration_scores_are_those_of_the_other_folds():
    X = rows(0, 43)
    fitted = CalibratedDetector(PIPELINE, cv=4).fit(X)
    distances = np.empty(43)
    for train, test in KFold(4, shuffle=True, random_state=0).split(X):
        others = clone(PIPELINE).fit(X[train])
        distances[test] = others[-1].mahalanobis(others[:-1].transform(X[test]))
    pipeline = clone(PIPELINE).fit(X)
    seen = pipeline[-1].mahalanobis(pipeline[:-1].transform(X))
    want = pipeline.score_samples(X) + (seen - distances) / 2
    np.testing.assert_allclose(fitted.calibration_scores_, want, rtol=1e-12)


def test_other_scores_are_taken_as_they_are():
    X = rows(0, 43, p=4)
    forest = IsolationForest(n_estimators=5, random_state=0)
    got = CalibratedDetector(forest, cv=4).fit(X).calibration_scores_
    for train, test in KFold(4, shuffle=True, random_state=0).split(X):
        want = clone(forest).fit(X[train]).score_samples(X[test])
        np.testing.assert_array_equal(got[test], want)


def test_single_rows_are_left_out_where_there_are_as_many_folds():
    X = rows(0, 25, p=40)
    by_folds = CalibratedDetector(MahalanobisDetector(), cv=1000).fit(X)
    closed_form = MahalanobisDetector().fit(X)
    np.testing.assert_allclose(
        by_folds.calibration_scores_, closed_form.calibration_scores_, rtol=1e-10
    )
    assert by_folds.offset_ == pytest.approx(closed_form.offset_, rel=1e-10)


def test_scores_are_those_of_the_detector_fitted_to_all_rows():
    X, Q = rows(0, 40), rows(1, 5)
    fitted = CalibratedDetector(PIPELINE, cv=3).fit(X)
    want = clone(PIPELINE).fit(X).score_samples(Q)
    np.testing.assert_array_equal(fitted.score_samples(Q), want)
    np.testing.assert_array_equal(fitted.decision_function(Q), want - fitted.offset_)


def test_other_detectors_and_parallel_folds():
    X = rows(0, 60, p=5)
    forest = IsolationForest(n_estimators=10, random_state=0)
    one = CalibratedDetector(forest, cv=4, target_fpr=0.2).fit(X)
    two = CalibratedDetector(forest, cv=4, target_fpr=0.2, n_jobs=2).fit(X)
    np.testing.assert_array_equal(one.calibration_scores_, two.calibration_scores_)
    assert (one.predict(np.full((1, 5), 9.0)) == -1).all()


def test_data_frames_reach_the_detector_as_numbers():
    X = rows(0, 30, p=4)
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = CalibratedDetector(MahalanobisDetector(), cv=3).fit(frame)
    assert list(fitted.feature_names_in_) == list("abcd")
    same = CalibratedDetector(MahalanobisDetector(), cv=3).fit(X)
    np.testing.assert_array_equal(fitted.p_values(frame), same.p_values(X))


@pytest.mark.parametrize("as_list", [False, True])
def test_images_reach_the_extractor(as_list):
    images = make_inspection_images("metal", n_train=24, n_good=3, size=32)
    train, test = images.train, images.test
    extractor = CNNFeatureExtractor("tiny", input_size=32, levels=[0, 1])
    pipeline = make_pipeline(extractor, MahalanobisDetector())
    if as_list:
        train, test = list(train), list(test)
    fitted = CalibratedDetector(pipeline, cv=2).fit(train)
    assert fitted.p_values(test).shape == (len(test),)
    assert not hasattr(fitted, "n_features_in_")


def test_too_few_rows_are_said_to_be():
    with pytest.raises(ValueError, match=r"2 sample\(s\).*minimum of 3"):
        CalibratedDetector(MahalanobisDetector()).fit(rows(0, 2))
    with pytest.warns(CalibrationWarning, match="18 rows .* at least 19"):
        fitted = CalibratedDetector(MahalanobisDetector(), cv=3).fit(rows(0, 18))
    assert (fitted.predict(rows(1, 5) + 100) == 1).all()


def test_what_is_no_detector_is_refused():
    with pytest.raises(ValueError, match="'detector' parameter"):
        CalibratedDetector(LowVariancePCA()).fit(rows(0, 30))


# ---------------------------------------------------------------------- classes
def of_three_kinds(n=60):
    kinds = np.array(["a", "b", "c"])[np.arange(n) % 3]
    return rows(0, n, p=8) + 6 * (kinds == "a")[:, None], kinds


@pytest.mark.parametrize("given", ["y", "classes"])
@pytest.mark.parametrize("steps", [[], [LowVariancePCA(n_components=4)]], ids=len)
def test_classes_reach_the_detector_in_every_fold(given, steps):
    X, kinds = of_three_kinds()
    chain = make_pipeline(*steps, ClassConditionalDetector())
    detector = CalibratedDetector(chain, cv=4).fit(X, **{given: kinds})
    whole = clone(chain).fit(X, classconditionaldetector__classes=kinds)
    np.testing.assert_array_equal(detector.score_samples(X), whole.score_samples(X))
    for train, test in KFold(4, shuffle=True, random_state=0).split(X):
        others = clone(chain).fit(
            X[train], classconditionaldetector__classes=kinds[train]
        )
        want = others.score_samples(X[test])
        np.testing.assert_allclose(detector.calibration_scores_[test], want)


def test_a_detector_of_classes_alone_takes_them_too():
    X, kinds = of_three_kinds()
    detector = CalibratedDetector(ClassConditionalDetector(), cv=4).fit(X, kinds)
    assert detector.detector_.classes_.tolist() == ["a", "b", "c"]
    plain = CalibratedDetector(ClassConditionalDetector(), cv=4).fit(X)
    assert len(plain.detector_.classes_) == 1


def test_what_are_no_classes_is_refused():
    X, kinds = of_three_kinds()
    detector = CalibratedDetector(ClassConditionalDetector(), cv=4)
    with pytest.raises(ValueError, match="labels of anomalies"):
        detector.fit(X, np.where(kinds == "a", -1, 1))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        detector.fit(X, kinds[:-1])
    with pytest.raises(ValueError, match="MahalanobisDetector takes none"):
        CalibratedDetector(MahalanobisDetector(), cv=4).fit(X, classes=kinds)


def test_metadata_routing_does_not_stand_in_the_way():
    X, kinds = of_three_kinds()
    chain = make_pipeline(LowVariancePCA(n_components=4), ClassConditionalDetector())
    want = CalibratedDetector(chain, cv=4).fit(X, kinds)
    with sklearn.config_context(enable_metadata_routing=True):
        found = CalibratedDetector(chain, cv=4).fit(X, kinds)
    assert found.offset_ == want.offset_


def labelled(seed, n_normal=120, n_anomalies=20):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_normal + n_anomalies, 20)) * np.linspace(3, 0.3, 20)
    X[n_normal:, 5:9] += 4
    y = np.repeat([1, -1], [n_normal, n_anomalies])
    order = rng.permutation(len(y))
    return X[order], y[order]


@pytest.mark.parametrize("steps", [[], [LowVariancePCA(n_components=15)]], ids=len)
def test_labelled_anomalies_are_part_of_every_fit_and_of_no_threshold(steps):
    X, y = labelled(0)
    chain = make_pipeline(*steps, NormalAbnormalDetector(weight=0.3))
    detector = CalibratedDetector(chain, cv=4, target_fpr=0.1).fit(X, y)
    assert detector.detector_[-1].uses_labels_
    assert len(detector.calibration_scores_) == (y == 1).sum()
    normal, anomalies = np.flatnonzero(y == 1), np.flatnonzero(y == -1)
    want = np.empty(len(normal))
    for train, test in KFold(4, shuffle=True, random_state=0).split(normal):
        rows = np.append(normal[train], anomalies)
        others = clone(chain).fit(X[rows], y[rows])
        want[test] = others.score_samples(X[normal[test]])
    np.testing.assert_allclose(detector.calibration_scores_, want)
    unseen, labels = labelled(1, 400, 400)
    flagged = detector.predict(unseen) == -1
    assert flagged[labels == 1].mean() < 0.2
    if not steps:  # which leave out what the anomalies differ in
        assert flagged[labels == -1].mean() > 0.7


def test_rows_that_are_trimmed_do_not_set_the_threshold():
    X = np.random.default_rng(0).normal(size=(120, 8))
    X[:12] *= 6
    detector = CalibratedDetector(MahalanobisDetector(trim=0.1), cv=4).fit(X)
    np.testing.assert_array_equal(detector.calibration_weights_, np.arange(120) >= 12)
    plain = CalibratedDetector(MahalanobisDetector(), cv=4).fit(X)
    assert detector.offset_ > plain.offset_
    detector.set_params(detector__trim=None).fit(X)
    assert detector.offset_ == plain.offset_


def test_classes_pass_through_levels_and_are_no_concern_of_others():
    X, kinds = of_three_kinds()
    levels = [slice(0, 4), slice(4, 8)]
    ensemble = LevelEnsemble(ClassConditionalDetector(), levels=levels)
    found = CalibratedDetector(ensemble, cv=4).fit(X, kinds)
    assert [len(d.classes_) for d in found.detector_.detectors_] == [3, 3]
    plain = CalibratedDetector(LevelEnsemble(levels=levels), cv=4)
    assert plain.fit(X, kinds).offset_ == clone(plain).fit(X).offset_


def contaminated(seed=0, share=30):
    X = np.random.default_rng(seed).normal(size=(200, 8))
    X[:share] += 12
    return X


WHOLES = {
    "levels in folds": lambda one: CalibratedDetector(
        LevelEnsemble(one, levels=[slice(0, 4), slice(4, 8)]), cv=10
    ),
    "labels": NormalAbnormalDetector,
    "ensemble": lambda one: DetectorEnsemble([("one", one)], combine="best", cv=2),
}


@pytest.mark.parametrize("whole", WHOLES)
def test_what_is_trimmed_sets_no_threshold_of_a_whole(whole):
    detector = WHOLES[whole](MahalanobisDetector(trim="auto")).fit(contaminated())
    np.testing.assert_array_equal(detector.calibration_weights_, np.arange(200) >= 30)
    rng = np.random.default_rng(1)
    assert (detector.predict(rng.normal(size=(400, 8))) == -1).mean() < 0.12
    assert (detector.predict(rng.normal(size=(400, 8)) + 6) == -1).mean() > 0.95
    plain = clone(detector)
    inner = [name for name in plain.get_params() if name.endswith("trim")]
    plain.set_params(**dict.fromkeys(inner)).fit(contaminated())
    assert not hasattr(plain, "calibration_weights_")


@pytest.mark.parametrize(
    "ensemble",
    [
        DetectorEnsemble([("one", MahalanobisDetector())], cv=2),
        LevelEnsemble(aggregate="stacked", levels=[slice(0, 10), slice(10, 20)]),
    ],
    ids=["members", "levels"],
)
def test_examples_of_anomalies_reach_what_weighs_by_them(ensemble):
    X, y = labelled(0)
    detector = CalibratedDetector(ensemble, cv=4).fit(X, y)
    assert len(detector.calibration_scores_) == (y == 1).sum()
    alone = clone(ensemble).fit(X, y)
    np.testing.assert_allclose(detector.score_samples(X), alone.score_samples(X))


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.ones(10), "inconsistent numbers of samples"),
        (-np.ones(140), "no label"),
        (np.r_[np.ones(100), -np.ones(38), 2, 2], "2.* beside the labels"),
        (np.r_[1, -np.ones(139)], "minimum of 3"),
    ],
    ids=["length", "no normal", "two", "one normal"],
)
def test_labels_are_checked_in_front_of_the_detector(y, match):
    X, _ = labelled(0)
    with pytest.raises(ValueError, match=match):
        CalibratedDetector(NormalAbnormalDetector(), cv=4).fit(X, y)


def test_a_refit_to_images_forgets_the_names_of_columns():
    class Mean(MahalanobisDetector):
        """Takes lists of maps."""

        def fit(self, X, y=None):
            return super().fit(np.asarray(X).reshape(len(X), -1))

        def score_samples(self, X):
            return super().score_samples(np.asarray(X).reshape(len(X), -1))

        def mahalanobis(self, X):
            return super().mahalanobis(np.asarray(X).reshape(len(X), -1))

    X = rows(0, 40, p=4)
    detector = CalibratedDetector(Mean(), cv=4).fit(pd.DataFrame(X, columns=[*"abcd"]))
    assert detector.n_features_in_ == 4
    detector.fit(list(X.reshape(40, 2, 2)))
    assert not hasattr(detector, "feature_names_in_")
