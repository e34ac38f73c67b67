"""ClassConditionalDetector: densities of classes, exact left-out scores, thresholds."""

import copy
import itertools
import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf, ledoit_wolf
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gauss._numerics import class_gaussians, classes_left_out
from sklearn_gauss._numerics.class_gaussians import fit_shared, relative_scores
from sklearn_gauss._numerics.classes_left_out import shared_left_out
from sklearn_gauss._numerics.dense import DenseCovariance
from sklearn_gauss._numerics.lowrank import LowRankIsotropic
from sklearn_gauss.datasets import SyntheticOutliers
from sklearn_gauss.detection import ClassConditionalDetector, MahalanobisDetector
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    DistanceOverflowWarning,
    RankDeficientWarning,
)
from sklearn_gauss.model_selection import (
    NormalKFold,
    anomaly_scorer,
    synthetic_defect_scorer,
)

steady = settings(deadline=None, max_examples=10, derandomize=True)


def drawn(sizes, p, seed=0, spread=2.0):
    """Rows of classes of unequal sizes and widths, shuffled."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    mix = np.linalg.qr(rng.normal(size=(p, p)))[0] * np.logspace(0, -0.7, p)
    means = spread * rng.normal(size=(len(sizes), p))
    rows = rng.normal(size=(len(y), p)) @ mix.T * (1 + 0.3 * y[:, None])
    return rows + means[y], y


TALL, WIDE = drawn([24, 14, 8], 6), drawn([10, 6, 4], 40)
by_shape = pytest.mark.parametrize("data", [TALL, WIDE], ids=["n > p", "n < p"])


# -------------------------------------------------------------------------- references
def shrunk(S, a):
    return (1 - a) * S + a * np.trace(S) / len(S) * np.eye(len(S))


def covariances(X, y, shared, weighting, a):
    """Mean and shrunk covariance of every class, written out."""
    classes = np.unique(y)
    own = [np.cov(X[y == c].T, bias=True) for c in classes]
    if shared:
        shares = [np.mean(y == c) for c in classes]
        if weighting == "uniform":
            shares = np.full(len(classes), 1 / len(classes))
        S = sum(share * C for share, C in zip(shares, own, strict=True))
        own = [S] * len(classes)
    means = [X[y == c].mean(axis=0) for c in classes]
    return [(mean, shrunk(C, a)) for mean, C in zip(means, own, strict=True)]


def log_densities(X, y, Q, shared=True, weighting="frequency", a=0.3):
    return np.stack(
        [
            multivariate_normal(mean, C).logpdf(Q)
            for mean, C in covariances(X, y, shared, weighting, a)
        ],
        axis=1,
    )


# ------------------------------------------------------------------------------ scores
@by_shape
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("weighting", ["frequency", "uniform"])
@pytest.mark.parametrize("relative", [False, True])
def test_scores_are_the_best_log_density(data, shared, weighting, relative):
    X, y = data
    Q = np.vstack([X, X[:4] + 3.0])
    detector = ClassConditionalDetector(
        shared, relative=relative, class_weight=weighting, shrinkage=0.3
    ).fit(X, y)
    want = log_densities(X, y, Q, shared, weighting)
    np.testing.assert_allclose(detector.class_log_densities(Q), want, rtol=1e-9)
    np.testing.assert_array_equal(detector.predict_class(Q), want.argmax(axis=1))
    score = want.max(axis=1)
    if relative:
        score = score - log_densities(X, np.zeros(len(X)), Q)[:, 0]
    np.testing.assert_allclose(detector.score_samples(Q), score, rtol=1e-8, atol=1e-8)
    for k, (mean, C) in enumerate(covariances(X, y, shared, weighting, 0.3)):
        squares = np.einsum("ij,ij->i", (Q - mean) @ np.linalg.inv(C), Q - mean)
        np.testing.assert_allclose(detector.mahalanobis(Q)[:, k], squares, rtol=1e-9)
        np.testing.assert_allclose(detector.means_[k], mean, rtol=1e-12)


@by_shape
def test_rows_are_whitened_once_for_all_classes(data, monkeypatch):
    X, y = data
    detector = ClassConditionalDetector().fit(X, y)
    want, seen = detector.mahalanobis(X + 0.5), []
    for operator in (DenseCovariance, LowRankIsotropic):
        whiten = operator.whiten
        monkeypatch.setattr(
            operator, "whiten", lambda s, Z, whiten=whiten: seen.append(Z) or whiten(s, Z)
        )
    np.testing.assert_array_equal(detector.mahalanobis(X + 0.5), want)
    assert sorted(map(len, seen)) == [3, len(X)]  # the means, the rows
    monkeypatch.setattr(class_gaussians, "_NEAR", -1.0)
    np.testing.assert_allclose(detector.mahalanobis(X + 0.5), want, rtol=1e-12)


@pytest.mark.parametrize("rule", [0.3, "ledoit_wolf"])
def test_classes_that_are_almost_one(rule):
    """Distances to means 1e-9 apart, of rows far from both."""
    X, _ = TALL
    means = np.array([[0.0], [2.0**-30]])  # exact beside the rows
    base = np.round(X[:20] * 2**20) / 2**20
    rows, y = np.vstack([base + m for m in means]), np.repeat([0, 1], 20)
    far = base + 100
    a, b = ClassConditionalDetector(shrinkage=rule).fit(rows, y).mahalanobis(far).T
    whole = ClassConditionalDetector(shrinkage=rule).fit(rows, y)
    S = np.cov(base.T, bias=True)
    P = np.linalg.inv(shrunk(S, float(whole.shrinkage_[0])))
    slope = -2 * means[1] * ((far - base.mean(axis=0)) @ P).sum(axis=1)
    np.testing.assert_allclose(b - a, slope, rtol=1e-3)


@by_shape
@pytest.mark.parametrize("weights", ["uniform", [1.0, 0.5, 0.0], "by class"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("relative", [False, True])
def test_blocks_are_detectors_of_their_own_columns(data, weights, shared, relative):
    X, y = data
    if weights == "by class":
        weights = np.random.default_rng(1).uniform(size=(3, 3))
    detector = ClassConditionalDetector(
        shared, n_blocks=3, block_weights=weights, relative=relative
    ).fit(X, y)
    table = np.broadcast_to(1.0 if isinstance(weights, str) else weights, (3, 3))
    np.testing.assert_array_equal(detector.block_weights_, table)
    wanted, squares, lifted = np.zeros((3, len(X), 3))
    for k, columns in enumerate(np.array_split(np.arange(X.shape[1]), 3)):
        part = ClassConditionalDetector(shared).fit(X[:, columns], y)
        densities = part.class_log_densities(X[:, columns])
        whole = MahalanobisDetector().fit(X[:, columns]).score_samples(X[:, columns])
        wanted += table[:, k] * densities
        lifted += table[:, k] * (densities - whole[:, None])
        squares += table[:, k] * part.mahalanobis(X[:, columns])
    scores = (lifted if relative else wanted).max(axis=1)
    np.testing.assert_allclose(detector.class_log_densities(X), wanted, rtol=1e-10)
    np.testing.assert_allclose(detector.mahalanobis(X), squares, rtol=1e-10)
    np.testing.assert_allclose(detector.score_samples(X), scores, rtol=1e-9, atol=1e-9)


@by_shape
def test_intensities_are_those_of_the_residuals(data):
    X, y = data
    means = np.stack([X[y == c].mean(axis=0) for c in range(3)])
    want = ledoit_wolf(X - means[y], assume_centered=True)[1]
    tied = ClassConditionalDetector(relative=True).fit(X, y)
    assert tied.shrinkage_ == pytest.approx([want], rel=1e-9)
    assert tied.background_shrinkage_ == pytest.approx([LedoitWolf().fit(X).shrinkage_])
    own = ClassConditionalDetector(False).fit(X, y)
    each = [[LedoitWolf().fit(X[y == c]).shrinkage_] for c in range(3)]
    np.testing.assert_allclose(own.shrinkage_, each, rtol=1e-9)


def test_unshrunk_it_is_the_model_of_discriminant_analysis():
    X, y = TALL
    linear = LinearDiscriminantAnalysis(
        "lsqr", store_covariance=True, priors=np.ones(3) / 3
    ).fit(X, y)
    # It weighs the classes by their priors.
    tied = ClassConditionalDetector(shrinkage=0.0, class_weight="uniform").fit(X, y)
    Z = X[:, None] - linear.means_
    squares = np.einsum("nkp,pq,nkq->nk", Z, np.linalg.inv(linear.covariance_), Z)
    np.testing.assert_allclose(tied.mahalanobis(X), squares, rtol=1e-9)
    np.testing.assert_array_equal(tied.predict_class(X), linear.predict(X))
    by_size = LinearDiscriminantAnalysis("lsqr", store_covariance=True).fit(X, y)
    tied = ClassConditionalDetector(shrinkage=0.0).fit(X, y)
    squares = np.einsum("nkp,pq,nkq->nk", Z, np.linalg.inv(by_size.covariance_), Z)
    np.testing.assert_allclose(tied.mahalanobis(X), squares, rtol=1e-9)
    quadratic = QuadraticDiscriminantAnalysis(store_covariance=True).fit(X, y)
    own = ClassConditionalDetector(False, shrinkage=0.0).fit(X, y)
    for k, (mean, C) in enumerate(
        zip(quadratic.means_, quadratic.covariance_, strict=True)
    ):
        want = np.einsum("np,pq,nq->n", X - mean, np.linalg.inv(C), X - mean)
        ratio = own.mahalanobis(X)[:, k] / want  # its divisor depends on the release
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
        assert 1 - 1e-9 < ratio[0] < 1.2


@by_shape
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("rule", ["ledoit_wolf", "oas", 0.2])
def test_one_class_is_the_plain_detector(data, shared, rule):
    X, _ = data
    plain = MahalanobisDetector(shrinkage=rule).fit(X)
    for y in (None, np.full(len(X), "all"), np.ones(len(X))):
        found = ClassConditionalDetector(shared, shrinkage=rule).fit(X, y)
        close = {"rtol": 1e-10, "atol": 1e-10}
        np.testing.assert_allclose(
            found.score_samples(X + 1), plain.score_samples(X + 1), **close
        )
        np.testing.assert_allclose(
            found.calibration_scores_, plain.calibration_scores_, **close
        )
        assert found.offset_ == pytest.approx(plain.offset_, rel=1e-10)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("shared", [True, False])
def test_the_gradient_is_that_of_the_score(shared, relative):
    X, y = TALL
    options = {"n_blocks": 2, "block_weights": [[1, 2], [0, 1], [3, 1]]}
    for more in ({}, options):
        detector = ClassConditionalDetector(shared, relative=relative, **more).fit(X, y)
        step = 1e-5 * np.eye(X.shape[1])
        want = np.stack(
            [detector.score_samples(X + s) - detector.score_samples(X - s) for s in step],
            axis=1,
        )
        np.testing.assert_allclose(
            detector.gradient(X), want / 2e-5, rtol=1e-4, atol=1e-5
        )


# --------------------------------------------------------------------------- left out
def left_out(X, y, shared, weighting, rule, background=None):
    """Left-out squares (n, C) and background's (n,), from n refits."""
    squares = np.full((len(X), len(np.unique(y))), np.inf)
    whole = np.empty(len(X))
    for i in range(len(X)):
        others = np.arange(len(X)) != i
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            model = ClassConditionalDetector(
                shared, class_weight=weighting, shrinkage=rule, calibration=0.0
            ).fit(X[others], y[others])
            rows = X[others] if background is None else background
            flat = MahalanobisDetector(shrinkage=rule, calibration=0.0).fit(rows)
        squares[i, np.isin(np.unique(y), model.classes_)] = model.mahalanobis(X[[i]])[0]
        whole[i] = flat.mahalanobis(X[[i]])[0]
    return squares, whole


def constants(detector, X):
    """What turns squares of a detector of one block into log-densities (C,)."""
    return (detector.class_log_densities(X) + detector.mahalanobis(X) / 2)[0]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        *((TALL, rule) for rule in ("ledoit_wolf", "oas", "rblw", 0.2, 0.0)),
        *((WIDE, rule) for rule in ("ledoit_wolf", "oas", 0.2)),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else str(value),
)
@pytest.mark.parametrize(
    ("shared", "weighting"),
    [(True, "frequency"), (True, "uniform"), (False, "frequency")],
)
def test_left_out_scores_are_those_of_refits(data, rule, shared, weighting):
    X, y = data
    squares, whole = left_out(X, y, shared, weighting, rule)
    for relative in (False, True):
        detector = ClassConditionalDetector(
            shared, relative=relative, class_weight=weighting, shrinkage=rule
        ).fit(X, y)
        want = (constants(detector, X) - squares / 2).max(axis=1)
        if relative:
            plain = MahalanobisDetector(shrinkage=rule).fit(X)
            level = (plain.score_samples(X) + plain.mahalanobis(X) / 2)[0]
            want = want - (level - whole / 2)
        np.testing.assert_allclose(
            detector.calibration_scores_, want, rtol=1e-9, atol=1e-8
        )


def tied_squares(X, y, classes, weighting, rule, x):
    """Squared distances of x to all classes of rows X, y, written out."""
    present = np.isin(classes, y)
    means = [X[y == c].mean(axis=0) if (y == c).any() else None for c in classes]
    R = np.stack([row - means[c] for row, c in zip(X, y, strict=True)])
    if weighting == "uniform":
        R *= np.sqrt(len(y) / present.sum() / np.bincount(y)[y])[:, None]
    if isinstance(rule, str):
        rule = ledoit_wolf(R, assume_centered=True)[1]
    P = np.linalg.inv(shrunk(R.T @ R / len(R), rule))
    return [np.inf if m is None else (x - m) @ P @ (x - m) for m in means]


@pytest.mark.parametrize("shape", [(14, 3), (9, 20), (14, 20)])
@pytest.mark.parametrize("apart", [0.3, 100.0])
@pytest.mark.parametrize("weighting", ["frequency", "uniform"])
@pytest.mark.parametrize("rule", ["ledoit_wolf", 0.3, 1.0])
def test_left_out_distances_to_every_class(shape, apart, weighting, rule):
    rng, (n, p) = np.random.default_rng(0), shape
    y = np.r_[0, 0, 1, 1, 2, 2, 3, rng.integers(0, 3, n - 7)]
    means = apart * rng.normal(size=(4, p))
    X = rng.normal(size=shape) * rng.uniform(0.2, 3, p) + means[y]
    want = [
        tied_squares(*(np.delete(a, i, 0) for a in (X, y)), range(4), weighting, rule, x)
        for i, x in enumerate(X)
    ]
    found = shared_left_out(fit_shared(X, y, 4, rule=rule, weighting=weighting), rule, X)
    np.testing.assert_allclose(found, want, rtol=1e-8)


def test_left_out_of_others_whose_intensity_is_zero():
    """The others' residuals are alike, +r or -r: Ledoit and Wolf then do not shrink."""
    r, gap = np.array([2.0, 0, 0, 0]), np.array([9.0, 2, 3, 4])
    X = np.stack([-r, r, gap - r, gap + r, gap])
    y = np.array([0, 0, 1, 1, 1])
    shared = fit_shared(X, y, 2, rule="ledoit_wolf", weighting="frequency")
    assert shared.gaussian.shrinkage > 0
    found = shared_left_out(shared, "ledoit_wolf", X)
    assert np.isinf(found[-1]).all()  # to have rank 1 in place of 4
    assert np.isfinite(found[:-1]).all()


def test_left_out_a_row_without_which_the_rank_is_lower():
    X, y = TALL
    X = np.hstack([X, np.zeros((len(X), 1))])
    X[5, -1] = 3.0
    detector = ClassConditionalDetector(shrinkage=0.0).fit(X, y)
    assert np.flatnonzero(np.isneginf(detector.calibration_scores_)) == [5]


@by_shape
@pytest.mark.parametrize("shared", [True, False])
def test_left_out_blocks_and_a_given_background(data, shared):
    X, y = data
    background = drawn([50, 40], X.shape[1], seed=9)[0]
    weights = np.array([0.5, 2.0])
    detector = ClassConditionalDetector(
        shared, relative=True, n_blocks=2, block_weights=weights
    ).fit(X, y, background=background)
    want = np.zeros((len(X), 3))
    for k, columns in enumerate(np.array_split(np.arange(X.shape[1]), 2)):
        rows, behind = X[:, columns], background[:, columns]
        squares, _ = left_out(rows, y, shared, "frequency", "ledoit_wolf")
        part = ClassConditionalDetector(shared).fit(rows, y)
        level = MahalanobisDetector().fit(behind).score_samples(rows)
        want += weights[k] * (constants(part, rows) - squares / 2 - level[:, None])
    np.testing.assert_allclose(detector.calibration_scores_, want.max(axis=1), rtol=1e-9)


@pytest.mark.parametrize("weighting", ["frequency", "uniform"])
@pytest.mark.parametrize("far", [1e7, 1e9])
@pytest.mark.parametrize("rule", ["ledoit_wolf", 0.0, 1.0])
def test_rows_that_carry_all_or_are_all_of_their_class(weighting, rule, far):
    X, y = drawn([20, 15, 1], 4)
    X[0] += far  # of a covariance it is nearly the whole
    squares, _ = left_out(X, y, True, weighting, rule)
    detector = ClassConditionalDetector(class_weight=weighting, shrinkage=rule).fit(X, y)
    want = (constants(detector, X) - squares / 2).max(axis=1)
    np.testing.assert_allclose(detector.calibration_scores_, want, rtol=1e-6)
    assert np.isfinite(detector.calibration_scores_).all()


def test_left_out_the_last_row_of_a_rank_is_infinitely_far(monkeypatch):
    X, y = drawn([3, 3], 6)
    monkeypatch.setattr(classes_left_out, "_refitted", None)  # nothing to be refitted
    with pytest.warns((RankDeficientWarning, CalibrationWarning)):
        detector = ClassConditionalDetector(shrinkage=0.0, target_fpr=0.2).fit(X, y)
    assert np.isneginf(detector.calibration_scores_).all()
    assert detector.offset_ == -np.inf
    assert (detector.predict(X + 100) == 1).all()


@pytest.mark.parametrize("p", [5, 60])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": "uniform"},
        {"shared_covariance": False},
        {"relative": True},
        {"n_blocks": 2, "relative": True},
    ],
    ids=str,
)
def test_thresholds_keep_their_rate(p, options):
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(20):
        means = 1.5 * rng.normal(size=(3, p))

        def rows(n, means=means):
            y = np.r_[0, 0, 1, 1, 2, 2, rng.choice(3, n - 6, p=[0.6, 0.3, 0.1])]
            return means[y] + rng.normal(size=(n, p)) * np.logspace(0, -1, p), y

        detector = ClassConditionalDetector(target_fpr=0.1, **options).fit(*rows(59))
        rates.append(np.mean(detector.predict(rows(200)[0]) == -1))
    assert 0.05 < np.mean(rates) < 0.115  # no more than 6 of 60: 0.1 on average


# --------------------------------------------------------------------------- streams
@by_shape
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": "uniform"},
        {"shared_covariance": False},
        {"relative": True, "n_blocks": 2},
    ],
    ids=str,
)
def test_chunks_give_what_one_fit_gives(data, options):
    X, y = data
    want = ClassConditionalDetector(**options).fit(X, y)
    order = np.argsort(y, kind="stable")  # a class at a time, the last one last
    X, y = X[order], y[order]
    found = ClassConditionalDetector(**options)
    for rows in np.array_split(np.arange(len(X)), 5):
        found.partial_fit(X[rows], y[rows])
    Q = X[:7] + 0.5
    np.testing.assert_allclose(found.score_samples(Q), want.score_samples(Q), rtol=1e-10)
    np.testing.assert_allclose(
        found.calibration_scores_, want.calibration_scores_[order], rtol=1e-9
    )
    assert found.offset_ == pytest.approx(want.offset_, rel=1e-9)
    np.testing.assert_array_equal(found.classes_, [0, 1, 2])
    np.testing.assert_array_equal(found.class_count_, np.bincount(y))


def test_the_papers_update_is_the_uniform_weight():
    """Lee et al., algorithm 2: (C Sigma + Sigma_c) / (C + 1), class by class."""
    X, y = TALL
    Sigma = np.cov(X[y == 0].T, bias=True)
    detector = ClassConditionalDetector(class_weight="uniform", shrinkage=0.0)
    detector.partial_fit(X[y == 0], y[y == 0])
    for c in (1, 2):
        Sigma = (c * Sigma + np.cov(X[y == c].T, bias=True)) / (c + 1)
        detector.partial_fit(X[y == c], y[y == c])
        Z = X - X[y == c].mean(axis=0)
        want = np.einsum("np,pq,nq->n", Z, np.linalg.inv(Sigma), Z)
        np.testing.assert_allclose(detector.mahalanobis(X)[:, c], want, rtol=1e-9)


def test_a_fit_goes_on_and_waits():
    X, y = TALL
    detector = ClassConditionalDetector().fit(X[:30], y[:30])
    detector.partial_fit(X[30:], y[30:])
    assert detector._pending
    want = ClassConditionalDetector().fit(X, y)
    np.testing.assert_array_equal(detector.score_samples(X), want.score_samples(X))
    early = ClassConditionalDetector().partial_fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="two are needed"):
        early.predict(X)
    np.testing.assert_array_equal(
        early.partial_fit(X[1:], y[1:]).score_samples(X), want.score_samples(X)
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_rows_one_by_one_are_not_copied_each_time(labelled):
    X, y = TALL
    y = np.array(["a", "bb", "c"])[y] if labelled else None
    found = ClassConditionalDetector()
    for i in range(len(X)):
        row = X[[i]]
        found.partial_fit(row, None if y is None else y[[i]])
        row[:] = np.nan  # it was the caller's
        if i == 10:
            found = pickle.loads(pickle.dumps(found))  # in mid-stream
        if i == 20:
            early = copy.copy(found)
    assert [len(block) for block in found._seen["rows"]] == [32, 8, 4, 2]
    want = ClassConditionalDetector().fit(X, y)
    np.testing.assert_array_equal(found.score_samples(X), want.score_samples(X))
    np.testing.assert_array_equal(found.calibration_scores_, want.calibration_scores_)
    assert list(found.classes_) == list(want.classes_)
    assert early.class_count_.sum() == 21


def test_a_stream_persists_before_it_is_used():
    skops = pytest.importorskip("skops.io")
    X, y = TALL
    found = ClassConditionalDetector()
    for rows in (slice(0, 30), slice(30, 40), slice(40, 46)):
        found.partial_fit(X[rows], y[rows])
    again = skops.loads(
        skops.dumps(found),
        trusted=["sklearn_gauss.detection._class_conditional.ClassConditionalDetector"],
    )
    assert again._pending
    np.testing.assert_array_equal(again.score_samples(X), found.score_samples(X))


def test_a_background_stays_for_what_comes_later():
    X, y = TALL
    background = drawn([60], 6, seed=4)[0]
    want = ClassConditionalDetector(relative=True).fit(X, y, background=background)
    found = ClassConditionalDetector(relative=True)
    found.fit(X[:30], y[:30], background=background).partial_fit(X[30:], y[30:])
    np.testing.assert_array_equal(found.score_samples(X), want.score_samples(X))
    one = ClassConditionalDetector(relative=True).fit(X, background=background)
    plain = MahalanobisDetector().fit(X).score_samples(X)
    behind = MahalanobisDetector().fit(background).score_samples(X)
    np.testing.assert_allclose(one.score_samples(X), plain - behind, rtol=1e-9)


# ---------------------------------------------------------------------------- labels
def test_labels_may_be_text_numbers_or_booleans():
    X, y = TALL
    want = ClassConditionalDetector().fit(X, y).score_samples(X)
    names = np.array(["b", "d", "e"])
    given = [names[y], list(names[y]), names.astype(object)[y], y.astype(float), y + 5]
    given += [pd.Series(names[y], dtype="category"), pd.Series(names[y]), y[:, None]]
    given += [names.astype("S")[y], pd.Series(names[y], dtype="string")]
    for labels in given:
        detector = ClassConditionalDetector().fit(X, labels)
        np.testing.assert_array_equal(detector.score_samples(X), want)
    assert ClassConditionalDetector().fit(X, names[y]).predict_class(X).dtype.kind == "U"
    two = ClassConditionalDetector().fit(X, y == 0)
    np.testing.assert_array_equal(two.classes_, [False, True])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: np.where(y == 0, -1, 1), "labels of anomalies"),
        (lambda y: np.full(len(y), -1), "labels of anomalies"),
        (lambda y: np.where(y == 0, 0.5, y), "fractions such as"),
        (lambda y: np.where(y == 0, np.nan, y), "every row needs a class"),
        (lambda y: [None if v == 0 else "a" for v in y], "every row needs a class"),
        (lambda y: [pd.NA if v == 0 else "a" for v in y], "every row needs a class"),
        (lambda y: np.array([1 if v else "a" for v in y], dtype=object), "mixes"),
        (lambda y: [frozenset([v]) for v in y], "name the classes"),
        (lambda y: y[:-1], "y and X have inconsistent numbers of samples: 45 and 46"),
        (lambda y: y.astype("datetime64[s]"), "strings or whole numbers"),
    ],
)
def test_labels_that_are_no_classes(labels, message):
    X, y = TALL
    with pytest.raises(ValueError, match=message):
        ClassConditionalDetector().fit(X, labels(y))


def test_kinds_of_labels_cannot_change_between_chunks():
    X, y = TALL
    detector = ClassConditionalDetector().fit(X, y)
    score = detector.score_samples(X)
    with pytest.raises(ValueError, match="numbers before and are strings"):
        detector.partial_fit(X[:2], ["a", "b"])
    with pytest.raises(ValueError, match="all or none"):
        detector.partial_fit(X[:2])
    np.testing.assert_array_equal(detector.score_samples(X), score)


def test_classes_take_the_place_of_y():
    X, y = TALL
    verdicts = np.where(y == 0, -1, 1)
    want = ClassConditionalDetector().fit(X, y).score_samples(X)
    found = ClassConditionalDetector().fit(X, verdicts, classes=y)
    np.testing.assert_array_equal(found.score_samples(X), want)
    judged = ClassConditionalDetector().fit_predict(X, verdicts, classes=y)
    np.testing.assert_array_equal(judged, found.predict(X))
    np.testing.assert_array_equal(
        ClassConditionalDetector().fit_predict(X, y), found.predict(X)
    )


@pytest.mark.parametrize("y", [["a", "a", "a", "b"], [0, 0, 1, 1], ["a", None, 1, 1]])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_classes_are_no_list_of_all_classes(y, method):
    detector = ClassConditionalDetector(target_fpr=0.3)
    with pytest.raises(ValueError, match="not the list of all classes"):
        getattr(detector, method)(TALL[0][:4], y, classes=["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="classes and X have inconsistent numbers"):
        getattr(detector, method)(TALL[0][:4], classes=["a", "b"])
    detector.partial_fit(TALL[0][:4], [1, 1, -1, 1], classes=["a", "b", "a", "b"])
    assert list(detector.classes_) == ["a", "b"]


def test_classes_beside_drawn_anomalies():
    X, y = TALL
    scorer = synthetic_defect_scorer(SyntheticOutliers())
    with sklearn.config_context(enable_metadata_routing=True):
        detector = ClassConditionalDetector().set_fit_request(classes=True)
        found = cross_val_score(
            detector, X, cv=3, scoring=scorer, params={"classes": y}, error_score="raise"
        )
        search = GridSearchCV(detector, {"relative": [False]}, cv=3, scoring=scorer)
        search.fit(X, classes=y)
        assert list(search.best_estimator_.classes_) == [0, 1, 2]
        with pytest.raises(ValueError, match=r"y must hold \+1"):
            cross_val_score(detector, X, y, cv=3, scoring=scorer, error_score="raise")
    assert search.best_score_ == pytest.approx(found.mean())


def test_a_search_over_options_with_classes():
    X, y = TALL
    X = np.vstack([X, np.random.default_rng(5).normal(0, 3, (20, 6))])
    labels = np.r_[np.ones(46), -np.ones(20)]
    kinds = np.r_[np.array(["a", "b", "c"])[y], np.full(20, "none")]
    with sklearn.config_context(enable_metadata_routing=True):
        detector = ClassConditionalDetector().set_fit_request(classes=True)
        search = GridSearchCV(
            make_pipeline(StandardScaler(), detector),
            {
                "classconditionaldetector__shared_covariance": [True, False],
                "classconditionaldetector__relative": [True, False],
            },
            cv=NormalKFold(3),
            scoring=anomaly_scorer("roc_auc"),
            refit=False,  # it would take the anomalies too
            error_score="raise",
        ).fit(X, labels, classes=kinds)
        assert search.best_score_ > 0.8
        fold, _ = next(NormalKFold(3).split(X, labels))
        again = detector.fit(X[fold], labels[fold], classes=kinds[fold])
        assert list(again.classes_) == ["a", "b", "c"]


# ---------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"relative": True}, {"y": None}, "one class only"),
        ({}, {"background": TALL[0]}, "relative=False"),
        ({"n_blocks": 7}, {}, "n_blocks=7 is more than the 6 features"),
        ({"n_blocks": 2, "block_weights": [1.0]}, {}, r"shape \(2,\)"),
        ({"block_weights": [-1.0]}, {}, "not negative"),
        ({"block_weights": [[1.0], [0.0], [1.0]]}, {}, "all zero for a class"),
        ({"block_weights": [np.nan]}, {}, "finite"),
        ({"relative": True}, {"background": np.ones((3, 6))}, "background has no var"),
        ({"relative": True}, {"background": TALL[0][:, :2]}, "background.* 2 features"),
        ({"relative": True}, {"background": TALL[0] * np.nan}, "background.* NaN"),
        ({"relative": True}, {"background": TALL[0][:1]}, "background.* minimum of 2"),
        ({"relative": True}, {"background": "rows"}, "background"),
        ({"shared_covariance": False}, {"y": np.arange(46)}, "Class 0 has no variance"),
        ({}, {"y": np.arange(46)}, "no variance within the classes"),
        ({"n_blocks": 2}, {"X": TALL[0] * [0, 0, 0, 1, 1, 1]}, "in block 0 of n_bl"),
        ({}, {"X": np.ma.masked_array(TALL[0])}, "masked"),
    ],
)
def test_what_is_refused_is_named(options, change, message):
    given = {"X": TALL[0], "y": TALL[1]} | change
    X = given.pop("X")
    with pytest.raises((ValueError, TypeError), match=message):
        ClassConditionalDetector(**options).fit(X, given.pop("y"), **given)


def test_densities_over_different_dimensions_are_not_compared():
    X, y = drawn([30, 4], 6)
    with pytest.raises(ValueError, match="Class 1 has a covariance of rank 3"):
        ClassConditionalDetector(False, shrinkage=0.0).fit(X, y)
    X, y = drawn([4, 3], 6)
    with (
        pytest.warns(RankDeficientWarning),
        pytest.raises(ValueError, match="background's covariance has rank 6"),
    ):
        ClassConditionalDetector(relative=True, shrinkage=0.0).fit(X, y)


# ----------------------------------------------------------------------------- numbers
@by_shape
@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("shared", [True, False])
def test_units_do_not_matter(data, scale, relative, shared):
    X, y = data
    options = {"shared_covariance": shared, "relative": relative}
    plain = ClassConditionalDetector(**options).fit(X, y)
    scaled = ClassConditionalDetector(**options).fit(X * scale, y)
    shift = 0.0 if relative else X.shape[1] * np.log(scale)
    for name in ("score_samples", "calibration_scores_"):
        want, found = getattr(plain, name), getattr(scaled, name)
        if callable(want):
            want, found = want(X), found(X * scale)
        np.testing.assert_allclose(found, want - shift, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaled.mahalanobis(X * scale), plain.mahalanobis(X))


@pytest.mark.parametrize("scale", 1e140 * np.array([1.0, 1.2, 1.4, 1.6, 1.8]))
def test_units_do_not_matter_to_rows_left_out_of_few(scale):
    X, y = drawn([12, 7, 1], 6)
    options = {"class_weight": "uniform"}
    plain = ClassConditionalDetector(**options).fit(X, y)
    scaled = ClassConditionalDetector(**options).fit(X * scale, y)
    want = plain.calibration_scores_ - X.shape[1] * np.log(scale)
    np.testing.assert_allclose(scaled.calibration_scores_, want, rtol=1e-9)


def test_classes_far_from_zero_and_from_each_other():
    X, y = TALL
    X = np.round(X * 2**20) / 2**20  # exact beside 1e8
    far = X + 1e8
    want = ClassConditionalDetector().fit(X, y)
    found = ClassConditionalDetector().fit(far, y)
    np.testing.assert_allclose(found.mahalanobis(far), want.mahalanobis(X), rtol=1e-9)
    np.testing.assert_allclose(
        found.calibration_scores_, want.calibration_scores_, rtol=1e-9
    )
    apart = ClassConditionalDetector().fit(X + 1e9 * y[:, None], y)
    own = np.arange(len(X)), y
    np.testing.assert_allclose(
        apart.mahalanobis(X + 1e9 * y[:, None])[own], want.mahalanobis(X)[own], rtol=1e-9
    )


@pytest.mark.parametrize("relative", [False, True])
def test_rows_too_far_for_float64_score_least(relative):
    X, y = TALL
    detector = ClassConditionalDetector(relative=relative).fit(X, y)
    with pytest.warns(DistanceOverflowWarning):
        scores = detector.score_samples(np.vstack([X, 1e200 * np.ones(6)]))
    assert np.isfinite(scores).all()
    assert scores[-1] < scores[:-1].min()
    with pytest.warns(DistanceOverflowWarning):
        assert np.isfinite(detector.mahalanobis([1e200 * np.ones(6)])).all()
    small = ClassConditionalDetector(relative=relative).fit(1e-200 * X, y)
    with pytest.warns(DistanceOverflowWarning):
        scores = small.score_samples(1e200 * np.ones((1, 6)))
    assert scores[0] == np.finfo(np.float64).min


def test_too_far_from_the_background_in_a_block_that_counts():
    densities, weights = np.zeros((2, 2)), np.array([[1.0, 2.0], [1.0, 0.0]])
    background = np.array([[-3.0, -1.0], [-3.0, -np.inf]])
    found = relative_scores(densities, background, weights)
    np.testing.assert_array_equal(found, [[5.0, 3.0], [-np.inf, 3.0]])
    found = relative_scores(densities - np.inf, background, weights)
    assert np.isneginf(found).all()


def test_nothing_of_size_p_by_p():
    X, y = drawn([4, 4], 30, seed=1)
    X = np.tile(X, (1, 200))
    tracemalloc.start()
    for options in itertools.product([True, False], [True, False]):
        detector = ClassConditionalDetector(
            options[0], relative=options[1], target_fpr=0.2
        ).fit(X, y)
        detector.score_samples(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * 8 * X.shape[1] ** 2


@steady
@given(
    seed=st.integers(0, 10**6),
    p=st.integers(1, 12),
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=4),
    shared=st.booleans(),
    weighting=st.sampled_from(["frequency", "uniform"]),
)
def test_names_and_order_do_not_matter(seed, p, sizes, shared, weighting):
    X, y = drawn(sizes, p, seed)
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"shrinkage": 0.3, "class_weight": weighting}
        plain = ClassConditionalDetector(shared, **options).fit(X, y)
        order, names = rng.permutation(len(X)), rng.permutation(len(sizes)) + 3
        mixed = ClassConditionalDetector(shared, **options).fit(X[order], names[y][order])
    np.testing.assert_allclose(mixed.score_samples(X), plain.score_samples(X), rtol=1e-8)
    np.testing.assert_allclose(
        mixed.calibration_scores_, plain.calibration_scores_[order], rtol=1e-7
    )
    np.testing.assert_array_equal(mixed.predict_class(X), names[plain.predict_class(X)])


def test_other_calibrations():
    X, y = TALL
    quantile = ClassConditionalDetector(calibration="quantile", target_fpr=0.2).fit(X, y)
    assert quantile.offset_ == np.quantile(quantile.score_samples(X), 0.2)
    assert ClassConditionalDetector(calibration=-3.5).fit(X, y).offset_ == -3.5
    with pytest.raises(AttributeError, match="no calibration_scores_"):
        quantile.p_values(X)
    fresh = drawn([40, 40, 40], 6)[0]
    quantile.recalibrate(fresh)
    assert len(quantile.p_values(X)) == len(X)


def test_frames_and_single_precision():
    X, y = TALL
    frame = pd.DataFrame(X, columns=list("abcdef"))
    named = ClassConditionalDetector().fit(frame, y)
    plain = ClassConditionalDetector().fit(X, y)
    np.testing.assert_array_equal(named.score_samples(frame), plain.score_samples(X))
    assert list(named.feature_names_in_) == list("abcdef")
    single = X.astype(np.float32)
    np.testing.assert_array_equal(
        ClassConditionalDetector().fit(single, y).score_samples(single),
        ClassConditionalDetector()
        .fit(single.astype(float), y)
        .score_samples(single.astype(float)),
    )


def test_a_caller_may_reuse_the_array_of_labels():
    X, y = np.random.default_rng(0).normal(size=(120, 3)), np.arange(120) % 3
    labels, detector = y[:60].copy(), ClassConditionalDetector()
    detector.partial_fit(X[:60], labels)
    labels[:] = 2
    detector.partial_fit(X[60:], labels)
    detector.predict(X[:1])
    assert detector.class_count_.tolist() == [20, 20, 80]
