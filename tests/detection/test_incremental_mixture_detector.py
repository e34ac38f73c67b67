"""IncrementalMixtureDetector: streams, thresholds, missing values."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.mixture import GaussianMixture

from sklearn_gauss.detection import IncrementalMixtureDetector
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    DistanceOverflowWarning,
    RankDeficientWarning,
)

CENTRES = np.array([[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])


def clusters(rng, n_rows):
    return CENTRES[rng.integers(3, size=n_rows)] + rng.normal(size=(n_rows, 2))


def assert_same(first, second, X):
    assert first.n_components_ == second.n_components_
    for name in ("means_", "weights_", "ages_", "counts_", "covariances_", "scale_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.calibration_scores_, second.calibration_scores_)
    assert first.offset_ == second.offset_
    np.testing.assert_array_equal(first.score_samples(X), second.score_samples(X))


# ---------------------------------------------------------------------- streams
@pytest.mark.parametrize("n_rows", [40, 100, 230])
@pytest.mark.parametrize("changed", [{}, {"scale": [2.0, 3.0]}, {"n_init": 20}], ids=str)
def test_chunks_do_not_matter(n_rows, changed, rng):
    X = clusters(rng, n_rows)
    whole = IncrementalMixtureDetector(**changed).fit(X)
    for cuts in ([1], [7, 30], range(1, n_rows), [n_rows // 2]):
        part = IncrementalMixtureDetector(**changed)
        for rows in np.split(X, list(cuts)):
            part.partial_fit(rows)
        assert_same(part, whole, X)


def test_using_it_on_the_way_changes_nothing(rng):
    X = clusters(rng, 150)
    whole = IncrementalMixtureDetector().fit(X)
    part = IncrementalMixtureDetector().fit(X[:50])
    for rows in np.split(X[50:], [20, 40, 60]):
        part.predict(X)
        part = pickle.loads(pickle.dumps(part)).partial_fit(rows)
    assert_same(part, whole, X)
    assert part.n_samples_seen_ == len(X)
    assert_same(part.fit(X[:120]), IncrementalMixtureDetector().fit(X[:120]), X)


def test_the_order_of_rows_matters(rng):
    X = clusters(rng, 200)
    turned = IncrementalMixtureDetector().fit(X[::-1])
    assert (
        np.abs(turned.score_samples(X) - IncrementalMixtureDetector().fit(X)._scores(X))[
            :50
        ].max()
        > 1e-6
    )


def test_too_few_rows_to_start(rng):
    detector = IncrementalMixtureDetector().partial_fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match="no spread"):
        detector.predict([[1.0, 2.0]])
    detector.partial_fit(rng.normal(size=(30, 2)))
    assert detector.predict([[1.0, 2.0]]).shape == (1,)
    with pytest.raises(ValueError, match="scale"):
        IncrementalMixtureDetector().fit(np.ones((5, 2)))
    alone = IncrementalMixtureDetector(scale=1.0).partial_fit([[1.0, 2.0]])
    with pytest.warns(CalibrationWarning, match="0 scored rows"):
        assert alone.predict([[99.0, 99.0]]) == 1


@pytest.mark.parametrize("n_equal", [3, 100, 150])
def test_equal_rows_are_kept_until_one_differs(n_equal, rng):
    X = np.concatenate([np.ones((n_equal, 2)), rng.normal(size=(40, 2))])
    whole = IncrementalMixtureDetector().fit(X)
    part = IncrementalMixtureDetector().partial_fit(X[:n_equal])
    with pytest.raises(ValueError, match="all equal: they have no spread"):
        part.predict(X[:1])
    for rows in np.split(X[n_equal:], [1, 20]):
        part.partial_fit(rows)
    assert part.n_samples_seen_ == len(X)
    assert part.counts_.sum() == pytest.approx(len(X))
    assert_same(part, whole, X)


@pytest.mark.parametrize(
    ("changed", "bad"),
    [
        ({}, np.ones((200, 2))),
        ({}, np.ones((20, 2))),
        ({"scale": 1.0}, np.array([[0.0, 0.0], [1e20, 0.0]])),
    ],
    ids=str,
)
def test_a_fit_that_fails_leaves_nothing(changed, bad, rng):
    X = clusters(rng, 60)
    detector = IncrementalMixtureDetector(**changed).fit(X[:50])
    with pytest.raises(ValueError, match="scale"):
        detector.fit(bad)
    with pytest.raises(NotFittedError):
        detector.predict(X)
    detector.partial_fit(X)
    assert detector.n_samples_seen_ == 60
    assert_same(detector, IncrementalMixtureDetector(**changed).fit(X), X)


def test_only_some_calibrations_stream():
    for calibration in ("cv", "quantile"):
        detector = IncrementalMixtureDetector(calibration=calibration)
        assert not hasattr(detector, "partial_fit")
        with pytest.raises(AttributeError) as error:
            detector.partial_fit  # noqa: B018
        assert f"calibration='{calibration}'" in str(error.value.__cause__)


# ------------------------------------------------------------------ the mixture
def test_finds_clusters_as_the_em_algorithm_does(rng):
    X, unseen = clusters(rng, 1500), clusters(rng, 1000)
    detector = IncrementalMixtureDetector().fit(X)
    batch = GaussianMixture(3, random_state=0, means_init=CENTRES).fit(X)
    assert detector.n_components_ == 3
    order = np.argsort(detector.means_[:, 0])
    np.testing.assert_allclose(detector.means_[order], batch.means_, atol=0.03)
    np.testing.assert_allclose(detector.weights_[order], batch.weights_, atol=0.01)
    assert detector.score(unseen) == pytest.approx(batch.score(unseen), abs=0.03)
    same = batch.predict(unseen) == np.argsort(order)[detector.predict_component(unseen)]
    assert same.mean() > 0.999


def test_scores_are_the_density_of_what_it_shows(rng):
    X = clusters(rng, 300) * [1e2, 1e-2] + [0, 50]
    detector = IncrementalMixtureDetector(0.2).fit(X)
    densities = np.array(
        [
            weight * stats.multivariate_normal(mean, cov).pdf(X)
            for weight, mean, cov in zip(
                detector.weights_, detector.means_, detector.covariances_, strict=True
            )
        ]
    )
    np.testing.assert_allclose(
        detector.score_samples(X), np.log(densities.sum(axis=0)), rtol=1e-8
    )
    shares = (densities / densities.sum(axis=0)).T
    np.testing.assert_allclose(detector.responsibilities(X), shares, atol=1e-8)
    log_dets = np.linalg.slogdet(detector.covariances_)[1]
    np.testing.assert_allclose(detector.log_dets_, log_dets, rtol=1e-9)
    np.testing.assert_allclose(
        detector.precisions_, np.linalg.inv(detector.covariances_), rtol=1e-6
    )
    assert detector.n_created_ - detector.n_pruned_ == detector.n_components_
    assert detector.weights_.sum() == pytest.approx(1)


@pytest.mark.parametrize("factor", [1e-100, 1e100])
def test_scale_of_the_data(factor, rng):
    X = clusters(rng, 300)
    detector = IncrementalMixtureDetector().fit(X)
    scaled = IncrementalMixtureDetector().fit(X * factor)
    shift = 2 * np.log(factor)
    np.testing.assert_allclose(
        scaled.score_samples(X * factor) + shift, detector.score_samples(X), atol=1e-9
    )
    np.testing.assert_array_equal(scaled.predict(X * factor), detector.predict(X))
    np.testing.assert_allclose(scaled.means_ / factor, detector.means_, rtol=1e-10)


def test_offset_of_the_data(rng):
    X = np.round(clusters(rng, 300) * 1024) / 1024  # as exact far from zero
    near, far = (IncrementalMixtureDetector().fit(X + a) for a in (0, 1e8))
    np.testing.assert_allclose(
        far.score_samples(X + 1e8), near.score_samples(X), atol=1e-9
    )


def test_max_components_and_pruning(rng):
    X = clusters(rng, 400)
    X[::100] += 40 * rng.normal(size=(4, 2))
    two = IncrementalMixtureDetector(max_components=2).fit(X)
    assert two.n_components_ == 2
    pruned = IncrementalMixtureDetector(v_min=50).fit(np.concatenate([X, X[1:60]]))
    kept = IncrementalMixtureDetector(prune=False).fit(X)
    assert kept.n_pruned_ == 0
    assert pruned.n_pruned_ > 0
    assert pruned.n_components_ < kept.n_components_


def test_new_clusters_become_components(rng):
    detector = IncrementalMixtureDetector().fit(rng.normal(size=(300, 2)))
    assert (detector.predict(rng.normal(20, 1, size=(50, 2))) == -1).all()
    detector.partial_fit(rng.normal(20, 1, size=(300, 2)))
    near = np.linalg.norm(detector.means_ - 20, axis=1) < 2
    assert detector.weights_[near].sum() == pytest.approx(0.5, abs=0.02)
    flagged = detector.predict(rng.normal(20, 1, size=(300, 2))) == -1
    assert flagged.mean() < 0.15


# ------------------------------------------------------------------- thresholds
@pytest.mark.parametrize(
    ("calibration", "n_rows", "n_features", "least", "most"),
    [
        ("prequential", 120, 2, 0.01, 0.055),
        ("prequential", 60, 16, 0.0, 0.055),
        ("prequential", 300, 4, 0.02, 0.06),
        ("cv", 60, 16, 0.01, 0.06),
    ],
)
def test_false_positive_rate_on_unseen_rows(
    calibration, n_rows, n_features, least, most, rng
):
    rates = []
    for _ in range(20 if calibration == "prequential" else 10):
        mixing = rng.normal(size=(n_features, n_features))
        X = rng.normal(size=(n_rows + 400, n_features)) @ mixing
        X[:, 0] += 8 * rng.integers(2, size=len(X))
        detector = IncrementalMixtureDetector(calibration=calibration, cv=5)
        rates.append((detector.fit(X[:n_rows]).predict(X[n_rows:]) == -1).mean())
    assert least < np.mean(rates) < most


def test_scores_before_learning(rng):
    X = clusters(rng, 150)
    detector = IncrementalMixtureDetector(scale=5.0).fit(X)
    want = []
    for i in range(75, 150):
        before = IncrementalMixtureDetector(scale=5.0).fit(X[:i])
        want.append(before.score_samples(X[i : i + 1])[0])
    np.testing.assert_allclose(detector.calibration_scores_, want, rtol=1e-10)
    short = IncrementalMixtureDetector(scale=5.0, n_calibration=30).fit(X)
    np.testing.assert_allclose(short.calibration_scores_, want[-30:], rtol=1e-10)
    assert detector.offset_ == np.sort(want)[2]  # the 73rd of 75 from above
    assert detector.p_values(X[:1]).shape == (1,)


def test_a_window_too_small_for_the_target_is_refused(rng):
    X = clusters(rng, 120)
    detector = IncrementalMixtureDetector(n_calibration=18)
    for method in (detector.fit, detector.partial_fit):
        with pytest.raises(ValueError, match=r"n_calibration=18 .* 19 that target_fpr"):
            method(X)
    assert np.isfinite(detector.set_params(n_calibration=19).fit(X).offset_)
    IncrementalMixtureDetector(n_calibration=1, calibration=-5.0).fit(X)


def test_the_threshold_follows_drift(rng):
    detector = IncrementalMixtureDetector(n_calibration=100).fit(
        rng.normal(size=(300, 2))
    )
    first = detector.offset_
    detector.partial_fit(rng.normal(0, 30, size=(600, 2)))
    assert detector.offset_ < first - 3


def test_other_calibrations(rng):
    X = clusters(rng, 100)
    by_folds = IncrementalMixtureDetector(calibration="cv", cv=4).fit(X)
    assert by_folds.calibration_scores_.shape == (100,)
    own = IncrementalMixtureDetector(calibration="quantile", target_fpr=0.1).fit(X)
    assert (own.predict(X) == -1).mean() == pytest.approx(0.1)
    number = IncrementalMixtureDetector(calibration=-4.5).fit(X)
    assert number.offset_ == -4.5
    assert number.recalibrate(X[:50]).offset_ != -4.5
    assert len(number.calibration_scores_) == 50


# --------------------------------------------------------------- missing values
def test_recall_of_one_component_is_a_regression(rng):
    X = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4)) + 3
    detector = IncrementalMixtureDetector(1e-9, max_components=1, prior_count=1).fit(X)
    row = X[:5].copy()
    row[:, [1, 3]] = np.nan
    regression = LinearRegression().fit(X[:, [0, 2]], X[:, [1, 3]])
    found = detector.recall(row)
    np.testing.assert_allclose(
        found[:, [1, 3]], regression.predict(X[:5, [0, 2]]), rtol=1e-7
    )
    np.testing.assert_array_equal(found[:, [0, 2]], X[:5, [0, 2]])
    assert np.isnan(row[0, 1])


def test_recall_of_all_and_of_nothing(rng):
    X = clusters(rng, 300)
    detector = IncrementalMixtureDetector().fit(X)
    np.testing.assert_array_equal(detector.recall(X), X)
    nothing = detector.recall(np.full((2, 2), np.nan))
    np.testing.assert_allclose(nothing, [detector.weights_ @ detector.means_] * 2)
    # The cluster of the known value decides, and priors where it does not tell.
    found = detector.recall([[9.0, np.nan], [-9.0, np.nan], [np.nan, 9.0]])
    np.testing.assert_allclose(found, [[9, 0], [-9, 0], [0, 9]], atol=0.5)


def test_recall_takes_names_and_types(rng):
    X = pd.DataFrame(clusters(rng, 150), columns=["a", "b"])
    detector = IncrementalMixtureDetector().fit(X)
    found = detector.recall(X.mask(X > 5).iloc[:20])
    assert found.shape == (20, 2)
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="feature names"):
        detector.recall(X.rename(columns={"a": "c"}))
    plain = IncrementalMixtureDetector().fit(X.to_numpy())
    single = plain.recall(np.array([[9.0, np.nan]], dtype=np.float32))
    assert single.dtype == np.float32
    with pytest.raises(ValueError, match="infinity"):
        plain.recall([[np.inf, np.nan]])
    with pytest.raises(ValueError, match="2 features"):
        plain.recall([[np.nan]])


@pytest.mark.parametrize("far", [[1e308, -1e308], [1e150, 1.0], [-1e200, np.nan]])
def test_recall_beside_values_out_of_range_is_refused(far, rng):
    detector = IncrementalMixtureDetector().fit(rng.normal(size=(150, 4)))
    with pytest.raises(ValueError, match="so far from the rows learnt"):
        detector.recall([[*far, np.nan, np.nan]])
    assert np.isfinite(detector.recall([[1e50, np.nan, np.nan, 0.0]])).all()


# -------------------------------------------------------------------- bad input
def test_constant_columns(rng):
    X = np.column_stack([clusters(rng, 200), np.full(200, 7.0)])
    with pytest.warns(RankDeficientWarning, match="1 columns are constant"):
        detector = IncrementalMixtureDetector().fit(X)
    assert detector.scale_[2] == pytest.approx(np.median(detector.scale_[:2]))
    assert detector.predict([[9.0, 0, 7], [9.0, 0, 40]]).tolist() == [1, -1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IncrementalMixtureDetector(scale=[5.0, 5.0, 1.0]).fit(X)


def test_values_that_do_not_fit(rng):
    X = clusters(rng, 100)
    with pytest.raises(ValueError, match="scale has shape"):
        IncrementalMixtureDetector(scale=[1.0, 2.0, 3.0]).fit(X)
    with pytest.raises(ValueError, match="scale must be positive"):
        IncrementalMixtureDetector(scale=[1.0, 0.0]).fit(X)
    detector = IncrementalMixtureDetector().fit(X)
    offset = detector.offset_
    with pytest.raises(ValueError, match="1e\\+12 times the scale"):
        detector.partial_fit([[1e20, 0.0]])
    assert detector.offset_ == offset
    with pytest.warns(DistanceOverflowWarning):
        scores = detector.score_samples([[1e200, 0.0], [0.0, 0.0]])
    assert np.isfinite(scores).all()
    assert scores[0] < -1e299


def test_gradient_in_units_of_the_data(rng):
    X = clusters(rng, 300) * [1e3, 1e-3]
    detector = IncrementalMixtureDetector().fit(X)
    for j, step in enumerate(np.diag([1e-2, 1e-8])):
        low, high = (detector.score_samples(X[:5] + sign * step) for sign in (-1, 1))
        want = (high - low) / (2 * step[j])
        np.testing.assert_allclose(detector.gradient(X[:5])[:, j], want, rtol=1e-4)


@pytest.mark.parametrize("n_equal", [1, 30, 130])
def test_a_run_of_equal_rows_at_first_does_not_spoil_the_scale(n_equal):
    rng = np.random.default_rng(5)
    X = np.r_[np.ones((n_equal, 3)), rng.normal(size=(600, 3))]
    whole = IncrementalMixtureDetector(n_init=50).fit(X)
    np.testing.assert_allclose(whole.scale_, 1.0, rtol=0.35)
    assert whole.n_components_ < 20
    stream = IncrementalMixtureDetector(n_init=50)
    for some in np.array_split(X, 23):
        stream.partial_fit(some)
    found, want = (one.score_samples(X[-9:]) for one in (stream, whole))
    np.testing.assert_array_equal(found, want)
