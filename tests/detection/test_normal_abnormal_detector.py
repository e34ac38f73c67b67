"""NormalAbnormalDetector: left-out scores against refits, the weight, thresholds."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from sklearn_gauss._numerics.prototypes import (
    left_out_cosines,
    placements,
    prototypes_of_groups,
    whitened_coordinates,
)
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


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 25), st.integers(1, 30), st.floats(0.05, 1))
def test_left_out_cosines_are_those_of_refits(seed, n, p, shrinkage):
    rng = np.random.default_rng(seed)
    X, A = rng.normal(size=(n, p)), rng.normal(size=(3, p)) + 1
    mean = X.mean(axis=0)

    def covariance(rows, target):
        S = np.atleast_2d(np.cov(rows.T, bias=True))
        return (1 - shrinkage) * S + shrinkage * target * np.eye(p)

    target = np.trace(np.atleast_2d(np.cov(X.T, bias=True))) / p
    P = np.linalg.inv(covariance(X, target))
    g = np.einsum("ij,jk,ik->i", X - mean, P, X - mean)
    got = left_out_cosines(X - mean, g, A - mean, lambda Z: Z @ P, shrinkage)
    for i in range(n):
        others = np.delete(X, i, axis=0)
        left = np.linalg.inv(covariance(others, target * n / (n - 1)))
        centre = others.mean(axis=0)
        for j in range(3):
            want = largest_cosine(X[i : i + 1] - centre, A[j : j + 1] - centre, left)
            assert got[i, j] == pytest.approx(want[0], abs=1e-9)


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
    np.testing.assert_allclose(fitted.prototypes_, X[y == -1] - mean, atol=1e-12)


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


def test_the_weight_is_chosen_by_left_out_anomalies():
    X, y = labelled(7, n=60, k=9, p=5, shift=0.5)
    fitted = NormalAbnormalDetector().fit(X, y)
    N, A = X[y == 1], X[y == -1]
    mean, P, shrinkage = precision_of(N)
    detector = MahalanobisDetector().fit(N)
    u, own = -detector.calibration_scores_, -detector.score_samples(A)
    g = np.einsum("ij,jk,ik->i", N - mean, P, N - mean)
    places = np.empty((9, 4))
    for j in range(9):
        others = np.delete(A, j, axis=0) - mean
        c = left_out_cosines(N - mean, g, others, lambda Z: Z @ P, shrinkage).max(axis=1)
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


def test_other_values_of_y_are_no_labels():
    X, y = labelled(10)
    with pytest.warns(UserWarning, match="no labels"):
        ignoring = NormalAbnormalDetector().fit(X, (y == -1).astype(int))
    assert len(ignoring.calibration_scores_) == len(X)
    with pytest.raises(ValueError, match=r"no label \+1"):
        NormalAbnormalDetector().fit(X, -np.ones(len(X)))
    with pytest.raises(ValueError, match="2 sample"):
        NormalAbnormalDetector().fit(X[-14:], y[-14:])
    with pytest.raises(ValueError, match="labels, but X"):
        NormalAbnormalDetector().fit(X, y[:-1])


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


def test_prototypes_are_the_means_of_whitened_clusters():
    rng = np.random.default_rng(12)
    A, root = rng.normal(size=(30, 6)), rng.normal(size=(6, 6))
    P = root @ root.T
    coordinates = whitened_coordinates(A, lambda Z: Z @ P)
    W = A @ np.linalg.cholesky(P)
    lengths = np.linalg.norm(W, axis=1)[:, None]
    W /= lengths
    np.testing.assert_allclose(coordinates @ coordinates.T, W @ W.T, atol=1e-7)
    groups = KMeans(3, n_init=1, random_state=0).fit_predict(W)
    found = prototypes_of_groups(A, groups, lambda Z: Z @ P) @ np.linalg.cholesky(P)
    for i, prototype in enumerate(found):
        mean = W[groups == i].mean(axis=0)
        want = mean / np.linalg.norm(mean) * lengths[groups == i].mean()
        np.testing.assert_allclose(prototype, want, atol=1e-9)


def test_placements_average_to_the_area_under_the_curve():
    rng = np.random.default_rng(13)
    odd, normal = rng.integers(0, 9, 20) + 2.0, rng.integers(0, 9, 30) + 0.0
    y = np.repeat([1, 0], [20, 30])
    want = roc_auc_score(y, np.concatenate([odd, normal]))
    assert placements(odd, normal).mean() == pytest.approx(want, abs=1e-12)


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
