"""NormalAbnormalDetector: left-out scores against refits, the weight, thresholds."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from sklearn_gauss._numerics.prototypes import Directions
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    CalibratedDetector,
    MahalanobisDetector,
    NormalAbnormalDetector,
)
from sklearn_gauss.model_selection import anomaly_scorer


def labelled(seed, n=100, k=12, p=8, shift=1.2, offset=0.0):
    """Normal rows, then anomalies that differ from them in the first two features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + k, p)) * np.linspace(2, 0.5, p)
    X[n:, :2] += 2 * shift
    X[n:, -1] += shift
    return X + offset, np.repeat([1, -1], [n, k])


def largest_cosine(U, V, precision=None):
    """Greatest cosine of each row of U with the rows of V under a metric."""
    P = np.eye(U.shape[1]) if precision is None else precision
    lengths = [np.sqrt(np.einsum("ij,jk,ik->i", Z, P, Z)) for Z in (U, V)]
    return (U @ P @ V.T / lengths[0][:, None] / lengths[1]).max(axis=1)


def precision_of(X):
    """Mean, precision and intensity of scikit-learn's Ledoit-Wolf estimate."""
    fitted = LedoitWolf().fit(X)
    return X.mean(axis=0), fitted.precision_, fitted.shrinkage_


@pytest.mark.parametrize(("n", "p"), [(60, 8), (30, 50)])
def test_the_score_is_that_of_its_parts(n, p):
    X, y = labelled(0, n=n, p=p)
    Q = labelled(1, p=p)[0]
    fitted = NormalAbnormalDetector(weight=0.3, standardize=False).fit(X, y)
    mean, P, _ = precision_of(X[y == 1])
    c = largest_cosine(Q - mean, X[y == -1] - mean, P)
    u = -MahalanobisDetector().fit(X[y == 1]).score_samples(Q)
    np.testing.assert_allclose(
        fitted.score_samples(Q), -(0.7 * u + 0.15 * (1 + c)), rtol=1e-8
    )
    offsets = np.unique(X[y == -1], axis=0) - mean  # sorted
    np.testing.assert_allclose(fitted.prototypes_, offsets, atol=1e-12)


def test_standard_units_are_those_of_left_out_normal_rows():
    X, y = labelled(2)
    Q = labelled(3)[0]
    fits = [
        NormalAbnormalDetector(weight=w, standardize=False).fit(X, y) for w in (0.0, 1.0)
    ]
    u, c = (
        -(f.score_samples(Q) - f.calibration_scores_.mean()) / f.calibration_scores_.std()
        for f in fits
    )
    fitted = NormalAbnormalDetector(weight=0.25).fit(X, y)
    np.testing.assert_allclose(
        fitted.score_samples(Q), -(0.75 * u + 0.25 * c), atol=1e-10
    )
    assert fitted.calibration_scores_.mean() == pytest.approx(0, abs=1e-10)


def test_the_score_of_nagl_without_training():
    X, y = labelled(4, n=40, offset=2.0)
    Q = labelled(5, offset=2.0)[0]
    fitted = NormalAbnormalDetector(metric="cosine", weight=0.5, standardize=False)
    fitted.fit(X, y)
    N, A = X[y == 1], X[y == -1]

    def residual(rows):
        units = [Z / np.linalg.norm(Z, axis=1)[:, None] for Z in (rows, N)]
        s = units[0] @ units[1].T
        return (1 + s.max(axis=1)) / 2, rows - N[s.argmax(axis=1)]

    s, r = residual(Q)
    want = 0.5 * (1 - s) + 0.5 * (largest_cosine(r, residual(A)[1]) + 1) / 2
    np.testing.assert_allclose(-fitted.score_samples(Q), want, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_left_out_scores_by_cosine_are_those_of_refits(weight):
    X, y = labelled(6, n=30, offset=1.0)
    fitted = NormalAbnormalDetector(metric="cosine", weight=weight, standardize=False)
    got = clone(fitted).fit(X, y)
    for i in range(30):
        others = clone(fitted).fit(np.delete(X, i, axis=0), np.delete(y, i))
        others.prototypes_ = got.prototypes_  # which are kept
        want = others.score_samples(X[i : i + 1])[0]
        assert got.calibration_scores_[i] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(("seed", "shift"), [(7, 0.5), (0, 0.0)])
def test_the_weight_is_chosen_by_left_out_anomalies(seed, shift):
    X, y = labelled(seed, n=60, k=9, p=5, shift=shift)
    fitted = NormalAbnormalDetector().fit(X, y)
    N, A = X[y == 1], X[y == -1]
    mean, P, shrinkage = precision_of(N)
    detector = MahalanobisDetector().fit(N)
    u, own = -detector.calibration_scores_, -detector.score_samples(A)
    nu = 1 / 59
    places = np.empty((9, 4))
    for j in range(9):
        others = np.delete(A, j, axis=0) - mean
        offsets = others, np.ones(8)
        some = Directions.of(offsets, N - mean, lambda Z: Z @ P, nu, (1 - shrinkage) * nu)
        c = some.left_out_cosines(np.eye(8)).max(axis=1)
        odd = largest_cosine(A[j : j + 1] - mean, others, P)[0]
        for i, w in enumerate((0, 0.1, 0.2, 0.3)):
            normal = (1 - w) * (u - u.mean()) / u.std() + w * (c - c.mean()) / c.std()
            one = (1 - w) * (own[j] - u.mean()) / u.std()
            one += w * (odd - c.mean()) / c.std()
            places[j, i] = (normal < one).mean()
    curve, gains = fitted.weight_curve_, places - places[:, :1]
    np.testing.assert_allclose(curve["auc"], places.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(curve["gain"], gains.mean(axis=0), atol=1e-12)
    error = gains.std(axis=0, ddof=1) / 3
    np.testing.assert_allclose(curve["standard_error"], error, atol=1e-12)
    best = np.argmax(gains.mean(axis=0) - error)
    if shift == 0:  # where the greatest gain is not beyond its error
        assert gains.mean(axis=0).max() > 0
        assert best == 0
    assert fitted.weight_ == [0, 0.1, 0.2, 0.3][best]
    assert fitted.uses_labels_ == (fitted.weight_ > 0)


def test_labels_help_with_more_of_their_kind_and_not_by_chance():
    gains, noise = [], []
    for seed in range(12):
        X, y = labelled(seed, shift=0.9)
        Q, q = labelled(100 + seed, n=300, k=300, shift=0.9)
        scores = [
            NormalAbnormalDetector(weight=w).fit(X, y).score_samples(Q)
            for w in ("auto", 0.0)
        ]
        gains.append(roc_auc_score(q, scores[0]) - roc_auc_score(q, scores[1]))
        same, y = labelled(seed, shift=0.0)  # labels that mean nothing
        scores = [
            NormalAbnormalDetector(weight=w).fit(same, y).score_samples(Q)
            for w in ("auto", 0.0, 0.5)
        ]
        areas = [roc_auc_score(q, one) for one in scores]
        noise.append([areas[0] - areas[1], areas[2] - areas[1]])
    assert np.mean(gains) > 0.01
    assert np.min(gains) > -0.01
    assert np.mean(noise, axis=0)[0] > -0.02
    assert np.mean(noise, axis=0)[0] > np.mean(noise, axis=0)[1] / 3


def test_ignored_labels_are_the_detector_of_normal_rows():
    X, y = labelled(8)
    normal = X[y == 1]
    plain = NormalAbnormalDetector().fit(normal)
    for ignoring in (
        NormalAbnormalDetector(weight=0.0).fit(X, y),
        NormalAbnormalDetector().fit(normal, np.ones(len(normal))),
    ):
        np.testing.assert_array_equal(plain.score_samples(X), ignoring.score_samples(X))
        assert not ignoring.uses_labels_
        assert ignoring.prototypes_.shape == (0, 8)
    gauss = MahalanobisDetector().fit(normal)
    np.testing.assert_array_equal(plain.predict(X), gauss.predict(X))
    np.testing.assert_allclose(plain.p_values(X), gauss.p_values(X))


def test_few_anomalies_are_ignored_with_a_warning():
    X, y = labelled(9, k=4)
    with pytest.warns(UserWarning, match="4 labelled anomalies are too few"):
        assert not NormalAbnormalDetector().fit(X, y).uses_labels_
    assert NormalAbnormalDetector(weight=0.1).fit(X, y).uses_labels_
    X, y = labelled(9, k=5)  # no warning
    assert len(NormalAbnormalDetector().fit(X, y).weight_curve_["gain"]) == 4


def test_copies_of_an_anomaly_are_one():
    X, y = labelled(21, n=60, k=10, p=5, shift=0.4)
    twice = np.concatenate([X, X[y == -1]]), np.concatenate([y, y[y == -1]])
    for detector in (NormalAbnormalDetector(), NormalAbnormalDetector(n_prototypes=4)):
        want, got = clone(detector).fit(X, y), clone(detector).fit(*twice)
        for name, values in want.weight_curve_.items():
            np.testing.assert_array_equal(got.weight_curve_[name], values)
        np.testing.assert_array_equal(got.prototypes_, want.prototypes_)
        np.testing.assert_array_equal(got.score_samples(X), want.score_samples(X))
    four = np.concatenate([X[:64], X[60:64]]), np.repeat([1, -1], [60, 8])
    with pytest.warns(UserWarning, match="4 labelled anomalies are too few"):
        NormalAbnormalDetector().fit(*four)


def second_shots(seed, k=10, noise=0.01):
    """Anomalies that are no different from normal rows, two alike of each, and groups."""
    X, _ = labelled(seed, n=60, k=k, p=5, shift=0.0)
    again = X[60:] + noise * np.random.default_rng(seed).normal(size=(k, 5))
    groups = [f"part {i}" for i in [*range(60 + k), *range(60, 60 + k)]]
    return np.concatenate([X, again]), np.repeat([1, -1], [60, 2 * k]), groups


def test_rows_of_a_group_are_left_out_together_and_count_once():
    used, leaking = [], []
    for seed in range(8):
        X, y, groups = second_shots(seed)
        used.append(NormalAbnormalDetector().fit(X, y, groups).uses_labels_)
        leaking.append(NormalAbnormalDetector().fit(X, y).uses_labels_)
    assert np.mean(used) < 0.5
    assert np.mean(leaking) > 0.8  # where nothing tells that there are two of each
    X, y, groups = second_shots(0, k=4)
    with pytest.warns(UserWarning, match="4 labelled anomalies are too few"):
        NormalAbnormalDetector().fit(X, y, groups)
    both = np.array(groups)  # copies of a row join the groups that it is in
    X, y = np.concatenate([X, X[60:61]]), np.append(y, -1)
    with pytest.warns(UserWarning, match="3 labelled anomalies are too few"):
        NormalAbnormalDetector().fit(X, y, np.append(both, "part 63"))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        NormalAbnormalDetector().fit(X, y, both)


def test_the_curve_averages_over_groups():
    X, y, groups = second_shots(3, k=6, noise=1e-9)
    fitted = NormalAbnormalDetector(cv=6).fit(X, y, groups)
    assert fitted.fit_predict(X, y, groups).shape == (72,)
    alone = NormalAbnormalDetector(cv=6).fit(X[:66], y[:66])
    for name in ("auc", "gain", "standard_error"):  # second shots are nearly copies
        got, want = fitted.weight_curve_[name], alone.weight_curve_[name]
        np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("n_prototypes", [4, 25])
def test_the_order_of_anomalies_changes_nothing(n_prototypes):
    X, y = labelled(22, k=20)
    order = np.r_[:100, 100 + np.random.default_rng(0).permutation(20)]
    detector = NormalAbnormalDetector(n_prototypes=n_prototypes, cv=5)
    want = clone(detector).fit(X, y)
    got = clone(detector).fit(X[order], y)
    assert want.uses_labels_
    np.testing.assert_array_equal(got.weight_curve_["auc"], want.weight_curve_["auc"])
    np.testing.assert_array_equal(got.score_samples(X), want.score_samples(X))


def test_other_values_of_y_are_no_labels():
    X, y = labelled(10)
    with pytest.warns(UserWarning, match="no labels"):
        ignoring = NormalAbnormalDetector().fit(X, (y == -1).astype(int))
    assert len(ignoring.calibration_scores_) == len(X)
    with pytest.raises(ValueError, match=r"no label \+1"):
        NormalAbnormalDetector().fit(X, -np.ones(len(X)))
    with pytest.raises(ValueError, match="2 sample"):
        NormalAbnormalDetector().fit(X[-14:], y[-14:])
    for short in (y[:-1], np.ones(len(X) - 1)):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            NormalAbnormalDetector().fit(X, short)
    for other in (0, 2, np.nan, "unlabelled"):  # with text, y is text
        for labels in (y[:-1], y[:-1].astype(object)):
            with pytest.raises(ValueError, match=r"labels \+1 and -1"):
                NormalAbnormalDetector().fit(X, np.append(labels, other))


def test_many_anomalies_are_clustered():
    X, y = labelled(11, k=40)
    fitted = NormalAbnormalDetector(n_prototypes=4, weight=0.3).fit(X, y)
    assert fitted.prototypes_.shape == (4, 8)
    again = NormalAbnormalDetector(n_prototypes=4, weight=0.3).fit(X, y)
    np.testing.assert_array_equal(fitted.score_samples(X), again.score_samples(X))
    copies = np.concatenate([X[y == 1], np.repeat(X[-2:], 10, axis=0)])
    fitted = NormalAbnormalDetector(n_prototypes=4, weight=0.3)
    fitted.fit(copies, np.repeat([1, -1], [100, 20]))
    assert len(fitted.prototypes_) == 2  # all that there are


@pytest.mark.parametrize(
    "detector",
    [
        make_pipeline(LowVariancePCA(0.5), MahalanobisDetector()),
        IsolationForest(n_estimators=5, random_state=0),
    ],
)
def test_any_detector_of_normal_rows(detector):
    X, y = labelled(14, n=40)
    fitted = NormalAbnormalDetector(detector, weight=0.0, standardize=False).fit(X, y)
    want = CalibratedDetector(detector).fit(X[y == 1])
    np.testing.assert_array_equal(fitted.calibration_scores_, want.calibration_scores_)
    np.testing.assert_array_equal(fitted.score_samples(X), want.score_samples(X))
    used = NormalAbnormalDetector(detector, weight=0.3).fit(X, y)
    assert used.uses_labels_
    assert used.score_samples(X).shape == (52,)


@pytest.mark.parametrize(("n", "p"), [(50, 6), (40, 60)])
@pytest.mark.parametrize("metric", ["mahalanobis", "cosine"])
def test_the_rate_of_false_positives_holds(n, p, metric):
    rates = []
    for seed in range(25):
        X, y = labelled(seed, n=n, k=8, p=p, offset=3.0)
        detector = NormalAbnormalDetector(metric=metric, weight=0.3, target_fpr=0.1)
        Q = labelled(900 + seed, n=300, k=0, p=p, offset=3.0)[0]
        rates.append((detector.fit(X, y).predict(Q) == -1).mean())
    assert abs(np.mean(rates) - 0.1) < 0.035


def test_the_rate_holds_with_clusters_of_anomalies():
    rates = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        X, A = rng.normal(size=(40, 100)), 1.1 * rng.normal(size=(100, 100))
        detector = NormalAbnormalDetector(weight=1.0, n_prototypes=5, target_fpr=0.1)
        detector.fit(np.concatenate([X, A]), np.repeat([1, -1], [40, 100]))
        rates.append((detector.predict(rng.normal(size=(300, 100))) == -1).mean())
    assert abs(np.mean(rates) - 0.1) < 0.04


@pytest.mark.filterwarnings("ignore:.*exceed the largest float64")
@pytest.mark.parametrize("metric", ["mahalanobis", "cosine"])
def test_rows_as_far_as_float64_goes_have_a_direction(metric):
    X, y = labelled(20)
    rays = np.random.default_rng(20).normal(size=(6, 8))
    rays /= np.abs(rays).max(axis=1, keepdims=True)
    detector = NormalAbnormalDetector(metric=metric, weight=1.0).fit(X, y)
    want = detector.score_samples(1e12 * rays)
    for size in (1e150, 1e155, 1e200, 1e307):
        np.testing.assert_allclose(detector.score_samples(size * rays), want, atol=1e-6)
    small = clone(detector).fit(1e-30 * X, y)
    np.testing.assert_allclose(small.score_samples(1e300 * rays), want, atol=1e-6)
    detector.set_params(weight=0.3).fit(X, y)
    scores = detector.score_samples(np.full((1, 8), 1e308))
    assert np.isfinite(scores).all()
    if metric == "mahalanobis":
        assert scores[0] < detector.score_samples(X).min()
        edges = np.sign(X) + 1e-6 * X  # of scores within little
        scores = detector.fit(edges, y).score_samples(np.full((1, 8), 1e308))
        assert scores[0] == -np.finfo(np.float64).max


@pytest.mark.filterwarnings("ignore:.*exceed the largest float64")
def test_anomalies_as_far_as_float64_goes_are_directions():
    X, y = labelled(20)
    Q = labelled(23)[0]
    far = X.copy()
    far[y == -1] *= 1e12
    want = NormalAbnormalDetector(weight=1.0).fit(far, y).score_samples(Q)
    far[y == -1] *= 1e170
    got = NormalAbnormalDetector(weight=1.0).fit(far, y).score_samples(Q)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.isfinite(NormalAbnormalDetector().fit(far, y).score_samples(Q)).all()


def test_a_part_that_is_constant_but_for_rounding_is_in_units_of_one():
    X, y = labelled(24, n=30, k=1, p=1)  # every cosine is 1 or -1
    X[y == 1] = np.abs(X[y == 1])
    detector = NormalAbnormalDetector()
    values = 0.1 + np.array([0.0, 1e-17, 2e-17, 1e-17] * 5)
    assert detector._moments(values)[1] == 1.0
    assert detector._moments(values * 1e150)[1] == 1.0
    spread = np.linspace(1, 1.001, 5)
    assert detector._moments(1e-9 * spread)[1] == pytest.approx(1e-9 * spread.std())


def test_there_is_no_score_to_choose_by():
    detector = NormalAbnormalDetector()
    assert not hasattr(detector, "score")
    with pytest.raises(AttributeError, match="anomaly_scorer"):
        _ = detector.score


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize("metric", ["mahalanobis", "cosine"])
def test_scales_and_offsets_change_nothing(scale, metric):
    X, y = labelled(15)
    Q = labelled(16)[0]
    detector = NormalAbnormalDetector(metric=metric, weight=0.3)
    want = clone(detector).fit(X, y).score_samples(Q)
    got = clone(detector).fit(scale * X, y).score_samples(scale * Q)
    np.testing.assert_allclose(got, want, atol=1e-8)
    if metric == "mahalanobis":
        far = clone(detector).fit(X + 2.0**27, y).score_samples(Q + 2.0**27)
        np.testing.assert_allclose(far, want, atol=1e-5)


def test_a_row_alone_and_the_saved_detector_score_alike():
    X, y = labelled(17)
    for metric in ("mahalanobis", "cosine"):
        fitted = NormalAbnormalDetector(metric=metric, weight=0.3).fit(X, y)
        scores = fitted.score_samples(X)
        alone = np.concatenate([fitted.score_samples(X[i : i + 1]) for i in range(20)])
        np.testing.assert_allclose(scores[:20], alone, rtol=1e-12, atol=1e-12)
        loaded = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(loaded.score_samples(X), scores)


def test_an_offset_that_is_given():
    X, y = labelled(18)
    fitted = NormalAbnormalDetector(weight=0.3).fit(X, y)
    fitted.set_params(calibration=-1.5).fit(X, y)
    assert fitted.offset_ == -1.5
    with pytest.raises(AttributeError, match="calibration_scores_"):
        fitted.p_values(X)
    assert set(fitted.fit_predict(X, y)) == {1, -1}


def test_a_search_with_folds_of_both_kinds():
    X, y = labelled(19, n=60, k=24)
    search = GridSearchCV(
        NormalAbnormalDetector(),
        {"weight": [0.0, 0.3], "n_prototypes": [5, 25]},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        scoring=anomaly_scorer("roc_auc"),
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.fit(X, y)
    assert search.best_params_["weight"] == 0.3
    assert search.best_estimator_.uses_labels_


def test_an_anomaly_without_a_group_is_refused():
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.repeat([1, -1], [30, 10])
    with pytest.raises(ValueError, match="groups has None"):
        NormalAbnormalDetector().fit(X, y, groups=[None] * 40)
