"""PatchKDEDetector: one density of the patches of all images, and its verdicts."""

import copy
import math
import pickle
import warnings

import kernel_reference as slow
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_gauss import _gpu
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import KDEDetector, PatchKDEDetector, _patch_kde
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    DistanceOverflowWarning,
    RankDeficientWarning,
)

WHITENINGS = ["none", "diagonal", "ledoit_wolf"]
THINNINGS = ["greedy", "kernel", "random"]
by_whiten = pytest.mark.parametrize("whiten", WHITENINGS)
by_thinning = pytest.mark.parametrize("thinning", THINNINGS)


def drawn(n, grid=(3, 4), channels=4, seed=0):
    """Textures: places are alike, and images differ in mean and in size."""
    mix = np.random.default_rng(channels).normal(size=(channels, channels))
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, *grid, channels)) + 0.5 * rng.normal(size=(n, 1, 1, channels))
    return X * np.exp(0.3 * rng.normal(size=(n, 1, 1, 1))) @ mix


def make(bandwidth="loo", **options):
    """Detector that the few places of these maps can calibrate."""
    given = {"pixel_target_fpr": 0.05, "neighborhood": 1} | options
    return PatchKDEDetector(bandwidth, **given)


X = drawn(24)
WIDE = drawn(20, channels=12)
UNSEEN = drawn(7, seed=1)


def with_defects(X, size=30.0):
    """Images, with a defect at the place (1, 2)."""
    X = X.copy()
    X[:, 1, 2] += size
    return X


def rows_of(X):
    return X.reshape(-1, X.shape[-1])


def slow_logs(detector, X, Q):
    """Log-densities of maps Q in long double, from what the fit announces."""
    whiten, d = detector.whiten, X.shape[-1]
    metric = slow.whitening(rows_of(X), whiten)
    found = slow.from_distances(
        metric.distances(rows_of(Q), detector.reference_),
        d,
        detector.bandwidth_,
        "gaussian",
        detector.reference_weights_,
        metric.log_volume,
    )
    return found.astype(float).reshape(Q.shape[:3])


# ------------------------------------------------------------------ scores and maps
@pytest.mark.parametrize("h", [0.03, 0.8, 25.0])
def test_a_map_holds_log_densities_under_all_patches(h):
    detector = make(h, whiten="none", max_reference=None).fit(X)
    assert detector.bandwidth_ == h
    Q = np.concatenate([UNSEEN, X[:2], with_defects(UNSEEN[:1], 1e3)])
    squares = ((rows_of(Q)[:, None].astype(np.longdouble) - rows_of(X)) ** 2).sum(axis=2)
    terms = -squares / (2 * np.longdouble(h) ** 2)
    top = terms.max(axis=1)
    want = top + np.log(np.exp(terms - top[:, None]).mean(axis=1))
    want -= 2 * np.log(2 * np.longdouble(np.pi)) + 4 * np.log(np.longdouble(h))
    maps = detector.anomaly_map(Q)
    assert maps.dtype == np.float64
    np.testing.assert_allclose(-maps.ravel(), want.astype(float), rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(detector.score_samples(Q), -maps.max(axis=(1, 2)))


@by_whiten
@pytest.mark.parametrize("bandwidth", ["loo", "scott", "silverman", "condensation", 0.2])
@pytest.mark.parametrize("max_reference", [None, 40])
def test_a_map_holds_log_densities(max_reference, bandwidth, whiten):
    detector = make(bandwidth, whiten=whiten, max_reference=max_reference).fit(X)
    Q = np.concatenate([UNSEEN, with_defects(UNSEEN[:1], 1e3)])
    np.testing.assert_allclose(
        -detector.anomaly_map(Q), slow_logs(detector, X, Q), rtol=1e-9, atol=1e-8
    )


@by_thinning
@by_whiten
def test_a_map_holds_log_densities_however_patches_were_chosen(whiten, thinning):
    detector = make(whiten=whiten, max_reference=25, thinning=thinning).fit(X)
    np.testing.assert_allclose(
        -detector.anomaly_map(UNSEEN), slow_logs(detector, X, UNSEEN), atol=1e-8
    )


@by_whiten
@pytest.mark.parametrize("max_reference", [None, 30])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_density_integrates_to_one(channels, max_reference, whiten):
    maps = drawn(12, (2, 3), channels) * np.array([3.0, 0.2])[:channels]
    detector = make(0.4, whiten=whiten, max_reference=max_reference, target_fpr=0.1)
    detector.fit(maps)
    patches = rows_of(maps)
    reach = 0.4 * 7 * (1.0 if whiten == "none" else patches.std(axis=0).max() + 1)
    low, high = patches.min(axis=0) - reach, patches.max(axis=0) + reach
    sides = [np.linspace(a, b, 150) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
    density = np.exp(-detector.anomaly_map(grid.reshape(-1, 2, 3, channels)))
    cell = np.prod([side[1] - side[0] for side in sides])
    assert density.sum() * cell == pytest.approx(1, abs=1e-3)


@by_whiten
def test_a_small_bandwidth_ranks_places_as_the_nearest_patch(whiten):
    detector = make(1e-3, whiten=whiten).fit(X)
    assert detector.bandwidth_regimes_["regime"] == "condensed"
    np.testing.assert_allclose(detector.effective_neighbors(UNSEEN), 1, atol=1e-6)
    metric = slow.whitening(rows_of(X), whiten)
    nearest = metric.distances(rows_of(UNSEEN), rows_of(X)).min(axis=1).astype(float)
    maps = detector.anomaly_map(UNSEEN)
    np.testing.assert_array_equal(maps.argsort(axis=None), nearest.argsort())
    squares = 2e-6 * (maps - maps.min())  # h^2 times nats
    np.testing.assert_allclose(
        squares.ravel(), nearest**2 - nearest.min() ** 2, atol=1e-9, rtol=1e-9
    )


def test_verbs_agree_about_the_threshold():
    detector = make(target_fpr=0.2).fit(X)
    Q = np.concatenate([X, with_defects(X, 3.0)])
    decision = detector.decision_function(Q)
    np.testing.assert_array_equal(decision, detector.score_samples(Q) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(Q), np.where(decision >= 0, 1, -1))
    assert detector.score(Q) == pytest.approx(detector.score_samples(Q).mean())
    assert set(detector.predict(Q)) == {1, -1}
    np.testing.assert_array_equal(make().fit_predict(X), make().fit(X).predict(X))
    np.testing.assert_array_equal(detector.predict(Q) == -1, detector.p_values(Q) <= 0.2)


def test_the_fit_announces_what_it_found():
    detector = make().fit(X)
    assert detector.grid_shape_ == (3, 4)
    assert (detector.n_channels_in_, detector.n_features_in_) == (4, 48)
    assert detector.calibration_scores_.shape == (24,)
    assert detector.calibration_maps_.shape == (24, 3, 4)
    assert detector.reducer_ is None
    np.testing.assert_array_equal(detector.reference_, rows_of(X))
    np.testing.assert_array_equal(detector.reference_images_, np.repeat(range(24), 12))
    np.testing.assert_array_equal(detector.reference_weights_, np.ones(288))
    assert isinstance(detector.bandwidth_, float)
    assert isinstance(detector.offset_, float)
    rank = math.ceil(25 * 0.95 - 1e-9)
    assert detector.offset_ == np.sort(detector.calibration_scores_)[::-1][rank - 1]
    values = np.sort(detector.calibration_maps_, axis=None)
    want = values[math.ceil(289 * 0.95 - 1e-9) - 1]
    assert want <= detector.pixel_threshold_ <= want + 2e-9 * abs(want)
    np.testing.assert_array_equal(
        detector.calibration_scores_, -detector.calibration_maps_.max(axis=(1, 2))
    )


# ------------------------------------------------------------------ n refits
@pytest.mark.parametrize("n", [2, 3, 9])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"smoothing": 0.8, "image_score": 0.2},
        {"n_channels": 2, "reduction": "selection"},
        {"n_channels": 2, "random_state": 5},
    ],
    ids=str,
)
def test_calibration_is_that_of_n_refits(n, options):
    """All is, where nothing but the patches comes from the images."""
    maps = drawn(n, (4, 5))
    options = {"whiten": "none", "max_reference": None, **options}
    detector = make(0.7, target_fpr=0.5, **options).fit(maps)
    refit = make(0.7, calibration=-1.0, **options)
    for i in range(n):
        others = np.delete(maps, i, axis=0)
        # One image alone is no fit; with its copy, whose patches are its own, it is.
        refit.fit(np.repeat(others, 2, axis=0) if n == 2 else others)
        np.testing.assert_allclose(
            detector.calibration_maps_[i], refit.anomaly_map(maps[i : i + 1])[0]
        )
        np.testing.assert_allclose(
            detector.calibration_scores_[i], refit.score_samples(maps[i : i + 1])[0]
        )


@by_thinning
@by_whiten
def test_left_out_maps_drop_patches_and_metric_of_the_image(whiten, thinning):
    detector = make(whiten=whiten, thinning=thinning, max_reference=40).fit(X)
    volume = slow.whitening(rows_of(X), whiten).log_volume
    amount = slow.ledoit_wolf_intensity(rows_of(X))
    gaps = slow.whitening(rows_of(X), whiten).distances(rows_of(X), detector.reference_)
    owner = np.asarray(gaps, float).argmin(axis=1).reshape(len(X), -1)
    for i in (0, 7, 23):
        others, kept = rows_of(np.delete(X, i, 0)), detector.reference_images_ != i
        weights = detector.reference_weights_.copy()
        if thinning == "greedy":  # patches stand behind the nearest one, and leave too
            weights -= np.bincount(owner[i], minlength=len(weights))
        kept &= weights > 0
        metric, S = slow.Whitening(), slow.moments(others).covariance
        if whiten == "diagonal":
            metric = slow.Whitening(np.diag(np.diag(S)), volume)
        elif whiten == "ledoit_wolf":
            target = np.trace(S) / 4 * np.eye(4)
            metric = slow.Whitening((1 - amount) * S + amount * target, volume)
        want = slow.from_distances(
            metric.distances(rows_of(X[i]), detector.reference_[kept]),
            4,
            detector.bandwidth_,
            "gaussian",
            weights[kept],
            metric.log_volume,
        ).astype(float)
        np.testing.assert_allclose(
            -detector.calibration_maps_[i].ravel(), want, rtol=1e-8, atol=1e-8
        )


# ------------------------------------------------------ false-positive rates that hold
@pytest.mark.parametrize(
    ("n", "options"),
    [
        (9, {}),
        (29, {}),
        (29, {"max_reference": 30}),
        (29, {"max_reference": 30, "thinning": "kernel"}),
        (29, {"max_reference": 30, "thinning": "random", "whiten": "none"}),
        (29, {"whiten": "diagonal", "bandwidth": 0.05}),
        (29, {"bandwidth": "scott", "smoothing": 0.7, "image_score": 0.5}),
        (9, {"max_reference": 10, "n_channels": 2}),
    ],
    ids=str,
)
def test_rates_hold_on_unseen_images(n, options):
    images, pixels, discoveries, draws = [], [], [], 24
    for seed in range(draws):
        maps = drawn(n + 40, (2, 3), seed=seed)
        detector = make(**{"target_fpr": 0.1} | options).fit(maps[:n])
        images.append((detector.predict(maps[n:]) == -1).mean())
        pixels.append(detector.defect_mask(maps[n:]).mean())
        flagged = detector.defect_mask(maps[n:], fdr=0.1).any(axis=(1, 2))
        discoveries.append(flagged.mean())
    # Of the threshold, a draw, and of the verdicts.
    error = 4 * math.sqrt(0.1 * 0.9 / draws * (1 / (n + 2) + 1 / 40))
    assert np.mean(images) < 0.1 + error, np.mean(images)
    assert np.mean(discoveries) < 0.1 + error, np.mean(discoveries)
    spread = max(4 * np.std(pixels) / math.sqrt(draws), 0.01)
    assert np.mean(pixels) < 0.05 + spread, np.mean(pixels)
    if "max_reference" not in options or "thinning" in options:
        # A cover is of outlying patches, which leave with their image: it flags less.
        assert np.mean(images) > 0.1 - error, np.mean(images)
        assert np.mean(pixels) > 0.05 - spread, np.mean(pixels)


def test_pixel_p_values_count_left_out_values():
    detector = make().fit(X)
    values, normal = detector.anomaly_map(UNSEEN), detector.calibration_maps_.ravel()
    want = [
        [(1 + (normal >= v).sum()) / (1 + len(normal)) for v in m.flat] for m in values
    ]
    found = detector.pixel_p_values(UNSEEN)
    np.testing.assert_allclose(found.reshape(7, -1), want)
    assert detector.pixel_p_values(UNSEEN, (9, 8)).shape == (7, 9, 8)


def test_masks():
    detector = make().fit(X)
    Q = with_defects(UNSEEN)
    found = detector.defect_mask(Q)
    np.testing.assert_array_equal(
        found, detector.anomaly_map(Q) > detector.pixel_threshold_
    )
    assert found[:, 1, 2].all()
    masks = detector.defect_mask(Q, fdr=0.1)
    assert masks[:, 1, 2].all()
    for mask, one in zip(masks, detector.anomaly_map(Q), strict=True):
        assert one[mask].min() > one[~mask].max()
    assert (detector.defect_mask(Q, fdr=0.05) <= detector.defect_mask(Q, fdr=0.3)).all()
    assert detector.defect_mask(Q, (30, 40), fdr=0.1)[:, 15, 25].all()
    assert [m.shape for m in detector.defect_mask(Q[:2], [(4, 5), (6, 7)])] == [
        (4, 5),
        (6, 7),
    ]
    with pytest.warns(CalibrationWarning, match="24 training images .* fdr=0.01: .* 99"):
        assert not detector.defect_mask(Q, fdr=0.01).any()


def test_few_of_the_flagged_pixels_are_normal():
    detector = make(max_reference=400).fit(drawn(50, (4, 5)))
    Q = drawn(100, (4, 5), seed=3)
    truth = np.zeros(Q.shape[:3], bool)
    truth[:, 1:3, 1:4] = True
    Q[truth] += 30.0
    masks = detector.defect_mask(Q, fdr=0.2)
    share = (masks & ~truth).sum(axis=(1, 2)) / np.maximum(masks.sum(axis=(1, 2)), 1)
    assert share.mean() < 0.2 + 4 * share.std() / math.sqrt(100)
    assert (masks & truth).sum() > 0.8 * truth.sum()


def test_a_defect_counts_wherever_it_is():
    """Unlike where a place has a law of its own: parts may be moved."""
    maps = drawn(24)
    maps[:, 0, 0] += 50.0  # in every image, but at one place
    detector = make().fit(maps)
    moved = drawn(5, seed=4)
    moved[:, 2, 3] += 50.0
    assert not detector.defect_mask(moved)[:, 2, 3].all()
    assert make().fit(drawn(24)).defect_mask(moved)[:, 2, 3].all()


# ------------------------------------------------------------ image_score, smoothing
@pytest.mark.parametrize(("image_score", "count"), [("max", 1), (0.25, 3), (1, 12)])
def test_the_score_is_the_mean_of_the_worst_places(image_score, count):
    detector = make(image_score=image_score).fit(X)
    values = np.sort(detector.anomaly_map(UNSEEN).reshape(7, -1))[:, -count:]
    np.testing.assert_allclose(detector.score_samples(UNSEEN), -values.mean(axis=1))
    left_out = np.sort(detector.calibration_maps_.reshape(24, -1))[:, -count:]
    np.testing.assert_allclose(detector.calibration_scores_, -left_out.mean(axis=1))


def test_smoothing_is_in_cells_of_the_grid():
    plain, smooth = make().fit(X), make(smoothing=0.9).fit(X)

    def by_hand(maps):
        return np.array([ndimage.gaussian_filter(m, 0.9, mode="nearest") for m in maps])

    np.testing.assert_allclose(
        smooth.anomaly_map(UNSEEN), by_hand(plain.anomaly_map(UNSEEN))
    )
    np.testing.assert_allclose(smooth.calibration_maps_, by_hand(plain.calibration_maps_))


# ------------------------------------------------------------------ the bandwidth
def likelihood(rows, images, h):
    """Mean log-density of patches, each under those of other images, but a constant."""
    squares = ((rows[:, None] - rows) ** 2).sum(axis=2)
    squares[images[:, None] == images] = np.inf
    sums = logsumexp(-squares / (2 * h**2), axis=1)
    return sums.mean() - rows.shape[1] * np.log(h)


def check_most_likely(rows, images, h):
    values = [likelihood(rows, images, h * c) for c in np.geomspace(0.2, 5, 31)]
    assert likelihood(rows, images, h) > max(values) - 1e-6


def white(X):
    """Patches of which the Ledoit-Wolf covariance is the identity."""
    covariance = slow.whitened_covariance(rows_of(X), "ledoit_wolf").astype(float)
    return np.linalg.solve(np.linalg.cholesky(covariance), rows_of(X).T).T


def test_loo_is_the_most_likely_bandwidth():
    maps, images = X[:10], np.repeat(range(10), 12)
    options = {"target_fpr": 0.1}
    found = make(whiten="none", **options).fit(maps).bandwidth_
    check_most_likely(rows_of(maps), images, found)
    check_most_likely(white(maps), images, make(**options).fit(maps).bandwidth_)


def test_loo_is_the_most_likely_bandwidth_of_wide_maps():
    for maps in (WIDE[:8], drawn(6, (2, 3), 20)):
        images = np.repeat(range(len(maps)), maps.shape[1] * maps.shape[2])
        bandwidth = make(target_fpr=0.2).fit(maps).bandwidth_
        check_most_likely(white(maps), images, bandwidth)


def test_loo_is_the_most_likely_bandwidth_of_fewer_patches_than_channels():
    maps = drawn(6, (1, 2), 40)
    bandwidth = make(target_fpr=0.2, pixel_target_fpr=0.2).fit(maps).bandwidth_
    check_most_likely(white(maps), np.repeat(range(6), 2), bandwidth)


def test_some_patches_decide_the_bandwidth(monkeypatch):
    whole = make().fit(X).bandwidth_
    monkeypatch.setattr(_patch_kde, "BANDWIDTH_PATCHES", 50)
    assert make().fit(X).bandwidth_ == pytest.approx(whole, rel=0.3)
    monkeypatch.setattr(_patch_kde, "BANDWIDTH_PATCHES", 288)
    assert make().fit(X).bandwidth_ == whole


@pytest.mark.parametrize("max_reference", [None, 30])
def test_rules_of_thumb(max_reference):
    """Of all candidates, whether they are kept or not."""
    options = {"whiten": "none", "max_reference": max_reference}
    s = np.sqrt(rows_of(X).var(axis=0).mean())
    assert make("scott", **options).fit(X).bandwidth_ == pytest.approx(
        288 ** (-1 / 8) * s
    )
    assert make("silverman", **options).fit(X).bandwidth_ == pytest.approx(
        (288 * 6 / 4) ** (-1 / 8) * s
    )
    whitened = make("scott", max_reference=max_reference).fit(X)
    assert whitened.bandwidth_ == pytest.approx(288 ** (-1 / 8))
    assert make("condensation", max_reference=None).fit(X).bandwidth_regimes_[
        "regime"
    ] == ("condensed")


@by_whiten
def test_regimes(whiten):
    """As of KDEDetector, whose rows the patches are."""
    detector = make(0.6, whiten=whiten, max_reference=None).fit(X)
    found = detector.bandwidth_regimes_
    rows = KDEDetector(0.6, whiten=whiten, max_reference=None).fit(rows_of(X))
    assert found.keys() == rows.bandwidth_regimes_.keys()
    for name in ("alpha", "h_g", "h_clt"):
        assert found[name] == pytest.approx(rows.bandwidth_regimes_[name])
    assert found["regime"] == rows.bandwidth_regimes_["regime"]
    assert found["effective_neighbors"] == pytest.approx(
        rows.bandwidth_regimes_["effective_neighbors"]
    )
    if whiten == "ledoit_wolf":
        want = slow.condensation_threshold(np.ones(4), 288)
        assert found["h_g"] == pytest.approx(want)


@pytest.mark.parametrize(
    ("h", "regime"), [(0.1, "condensed"), (1.2, "heavy-tailed"), (50.0, "gaussian")]
)
def test_the_regime_is_that_of_the_bandwidth(h, regime):
    critical = make(1.0).fit(X).bandwidth_regimes_["h_g"]
    found = make(h * critical).fit(X).bandwidth_regimes_
    assert found["regime"] == regime
    assert found["h_clt"] == pytest.approx(math.sqrt(2) * critical)
    assert 1 <= found["effective_neighbors"] <= 288


def test_no_bandwidth_where_images_share_all_patches():
    maps = np.zeros((5, 2, 2, 3))
    maps[:, 0] = 1.0
    with pytest.raises(ValueError, match=r"bandwidth=.loo. finds none"):
        make(whiten="none").fit(maps)
    options = {"target_fpr": 0.3, "pixel_target_fpr": 0.1}
    with pytest.warns(CalibrationWarning, match="4 of the 5 images .* exact copies"):
        found = make(0.5, whiten="none", **options).fit(maps)
    assert found.reference_images_.tolist() == [-1, -1]
    np.testing.assert_allclose(found.calibration_maps_, found.anomaly_map(maps))


# ------------------------------------------------------------------ neighbours
@by_whiten
@pytest.mark.parametrize("max_reference", [None, 30])
@pytest.mark.parametrize("h", [0.05, 0.5, 100.0])
def test_effective_neighbors(h, max_reference, whiten):
    detector = make(h, whiten=whiten, max_reference=max_reference).fit(X)
    found = detector.effective_neighbors(UNSEEN)
    assert found.shape == (7, 3, 4)
    metric = slow.whitening(rows_of(X), whiten)
    weights = detector.reference_weights_
    terms = slow.log_terms(
        metric.distances(rows_of(UNSEEN), detector.reference_), h, "gaussian"
    )
    want = slow._effective(terms, weights).astype(float)
    np.testing.assert_allclose(found.ravel(), want, rtol=1e-8)
    assert found.min() >= 1 - 1e-12
    assert found.max() <= len(weights) * (1 + 1e-12)
    far = detector.effective_neighbors(with_defects(UNSEEN, 1e8))
    np.testing.assert_allclose(far[:, 0], found[:, 0])


# ------------------------------------------------------------------ reference patches
@by_thinning
def test_the_number_of_reference_patches(thinning):
    for count in (2, 3, 100):
        options = {"target_fpr": 0.4, "bandwidth": 0.5, "thinning": thinning}
        with warnings.catch_warnings():
            if count < 4:  # all may be those of one image, and leave with it
                warnings.simplefilter("ignore", CalibrationWarning)
            detector = make(max_reference=count, **options).fit(X)
        assert 1 <= len(detector.reference_) <= count
        patches = rows_of(X)
        owner = [
            np.flatnonzero((patches == r).all(axis=1))[0] // 12
            for r in detector.reference_
        ]
        np.testing.assert_array_equal(detector.reference_images_, owner)
        total = 288 if thinning == "greedy" else count
        assert detector.reference_weights_.sum() == total
        assert np.isfinite(detector.score_samples(UNSEEN)).all()


@pytest.mark.parametrize("max_reference", [None, 288, 289, 100_000])
@by_thinning
def test_all_patches_where_there_are_no_more(max_reference, thinning):
    detector = make(max_reference=max_reference, thinning=thinning).fit(X)
    np.testing.assert_array_equal(detector.reference_, rows_of(X))
    np.testing.assert_array_equal(detector.reference_weights_, 1.0)


def test_the_cover_reaches_all_patches():
    """Each chosen is the farthest from those before, in the metric."""
    detector = make(max_reference=20).fit(X)
    rows = white(X)
    chosen = [int(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    for _ in range(19):
        gaps = ((rows[:, None] - rows[chosen]) ** 2).sum(axis=2)
        chosen.append(int(gaps.min(axis=1).argmax()))
    np.testing.assert_array_equal(detector.reference_, rows_of(X)[np.sort(chosen)])
    gaps = ((rows[:, None] - rows[np.sort(chosen)]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(
        detector.reference_weights_, np.bincount(gaps.argmin(axis=1))
    )


@by_thinning
def test_candidates_are_some_of_the_patches(monkeypatch, thinning):
    monkeypatch.setattr(_patch_kde, "CANDIDATES", 60)
    detector = make(max_reference=20, thinning=thinning).fit(X)
    assert len(detector.reference_) <= 20
    assert detector.reference_weights_.sum() == (60 if thinning == "greedy" else 20)
    assert len(np.unique(detector.reference_images_)) > 5
    assert len(make(max_reference=90).fit(X).reference_) == 90
    assert len(make(max_reference=None).fit(X).reference_) == 288


def test_copies_of_the_background():
    """Exact copies in all images: one reference patch, which stays with all of them."""
    maps = X.copy()
    maps[:, :, :2] = 7.0
    detector = make(max_reference=None).fit(maps)
    reference, images = detector.reference_, detector.reference_images_
    assert len(reference) == 24 * 6 + 1
    assert reference[images == -1].tolist() == [[7.0] * 4]
    assert np.isfinite(detector.calibration_maps_).all()
    assert detector.bandwidth_ > 0.01
    # A left-out image has the background still: as likely as that of an unseen one.
    left_out, scored = detector.calibration_maps_[:, :, :2], detector.anomaly_map(maps)
    np.testing.assert_allclose(left_out, scored[:, :, :2], atol=0.3)
    assert detector.predict(with_defects(maps[:3], 60.0)).tolist() == [-1] * 3
    thinned = make(max_reference=12).fit(maps)
    assert np.isfinite(thinned.calibration_maps_).all()


def test_copies_within_an_image_are_its_own():
    maps = X.copy()
    maps[3, 0] = 5.0
    detector = make().fit(maps)
    here = (detector.reference_ == 5.0).all(axis=1)
    assert detector.reference_images_[here].tolist() == [3]
    assert detector.calibration_maps_[3, 0, 0] > detector.anomaly_map(maps)[3, 0, 0] + 1


def test_negative_zero_is_zero():
    maps = np.zeros((6, 2, 2, 2))
    maps[:, 0, 0] = np.arange(12).reshape(6, 2)
    maps[3:, 1] *= -1.0
    detector = make(1.0, target_fpr=0.3, pixel_target_fpr=0.1).fit(maps)
    assert len(detector.reference_) == 7
    assert (detector.reference_images_ == -1).sum() == 1


@by_whiten
@by_thinning
def test_patches_that_are_all_equal_are_refused(thinning, whiten):
    maps = np.full((5, 3, 4, 2), 3.0)
    with pytest.raises(ValueError, match="All patches of X are equal"):
        make(whiten=whiten, thinning=thinning).fit(maps)


def test_a_reference_of_one_image():
    """Which then has nothing to be compared with, and is infinitely anomalous."""
    maps = np.repeat(np.zeros((1, 2, 2, 2)), 6, axis=0)
    maps += 1e-3 * np.random.default_rng(0).normal(size=maps.shape)
    maps[2, :, :, 0] += [[-500.0, 300.0], [-4.3, 100.0]]  # and -4.3 is about the mean
    detector = make(1.0, whiten="none", max_reference=2, target_fpr=0.4)
    detector.set_params(pixel_target_fpr=0.3)
    detector.fit(np.roll(maps, -2, axis=0))  # the cover begins next to the mean
    assert detector.reference_images_.tolist() == [0, 0]
    assert np.isposinf(detector.calibration_maps_[0]).all()
    assert np.isfinite(detector.calibration_maps_[1:]).all()
    assert np.isfinite([detector.offset_, detector.pixel_threshold_]).all()


def test_it_is_said_why_left_out_scores_are_infinite():
    maps = np.zeros((3, 2, 2, 1))
    maps[0, :, :, 0] = [[-500.0, 300.0], [-9.0, 100.0]]  # and -9 is about the mean
    maps[1:, :, :, 0] = np.random.default_rng(0).normal(size=(2, 2, 2))
    with pytest.warns(CalibrationWarning) as caught:
        make(1.0, max_reference=2, target_fpr=0.25, pixel_target_fpr=0.4).fit(maps)
    assert not any("covariance is singular" in str(w.message) for w in caught)


@pytest.mark.parametrize("max_reference", [None, 6])
@by_whiten
def test_two_images(max_reference, whiten):
    maps = drawn(2)
    options = {"max_reference": max_reference, "thinning": "kernel", "whiten": whiten}
    detector = make(target_fpr=0.4, pixel_target_fpr=0.1, **options).fit(maps)
    assert np.isfinite(detector.calibration_maps_).all()
    assert np.isfinite(detector.offset_)
    assert (detector.predict(with_defects(UNSEEN, 1e3)) == -1).all()


@pytest.mark.parametrize("offset", [1e4, 1e8])
@by_whiten
def test_maps_far_from_zero(offset, whiten):
    near = np.round(X * 2**10) / 2**10  # what the offset does not round
    detector = make(whiten=whiten, max_reference=30).fit(near + offset)
    want = make(whiten=whiten, max_reference=30).fit(near)
    np.testing.assert_array_equal(detector.reference_, want.reference_ + offset)
    Q = np.round(UNSEEN * 2**10) / 2**10
    np.testing.assert_allclose(
        detector.anomaly_map(Q + offset), want.anomaly_map(Q), rtol=1e-6
    )
    np.testing.assert_allclose(
        detector.calibration_maps_, want.calibration_maps_, rtol=1e-6
    )


@by_whiten
@pytest.mark.parametrize("unit", [2.0**-300, 2.0**-30, 2.0**200])
def test_maps_of_any_unit(unit, whiten):
    detector, want = (make(whiten=whiten, max_reference=30).fit(X * u) for u in (unit, 1))
    shift = 4 * np.log(unit)
    np.testing.assert_array_equal(detector.reference_, want.reference_ * unit)
    np.testing.assert_allclose(
        detector.anomaly_map(UNSEEN * unit), want.anomaly_map(UNSEEN) + shift, rtol=1e-9
    )
    np.testing.assert_allclose(detector.offset_, want.offset_ - shift, rtol=1e-9)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_an_outlying_image_costs_the_cover_nothing(size):
    """With it as without it the others are covered to within a small radius."""
    maps = X.copy()
    maps[5] += size
    detector = make(1.0, whiten="none", max_reference=60).fit(maps)
    others = rows_of(np.delete(maps, 5, axis=0))
    gaps = slow.distances(others, detector.reference_).min(axis=1)
    alone = make(1.0, whiten="none", max_reference=48).fit(np.delete(maps, 5, axis=0))
    want = slow.distances(others, alone.reference_).min(axis=1)
    assert gaps.max() <= 1.2 * want.max()


# ------------------------------------------------------------------ the reduction
@pytest.mark.parametrize("reduction", ["selection", "projection"])
def test_channels_are_reduced(reduction):
    detector = make(n_channels=3, reduction=reduction, random_state=3).fit(WIDE)
    kept = detector.reducer_
    assert detector.reference_.shape[1] == 3
    reduced = WIDE[..., kept] if reduction == "selection" else WIDE @ kept
    same = make(n_channels=None, random_state=3).fit(reduced)
    Q = drawn(4, channels=12, seed=2)
    reduced = Q[..., kept] if reduction == "selection" else Q @ kept
    np.testing.assert_allclose(detector.anomaly_map(Q), same.anomaly_map(reduced))
    np.testing.assert_allclose(
        detector.effective_neighbors(Q), same.effective_neighbors(reduced)
    )
    np.testing.assert_allclose(detector.calibration_maps_, same.calibration_maps_)
    other = make(n_channels=3, reduction=reduction, random_state=4).fit(WIDE)
    assert not np.array_equal(other.reducer_, kept)


@pytest.mark.parametrize("reduction", [LowVariancePCA(n_components=4), PCA(4)], ids=str)
def test_a_transformer_reduces_patches_as_rows(reduction):
    detector = make(reduction=reduction).fit(WIDE)
    reduced = clone(reduction).fit(rows_of(WIDE)).transform(rows_of(WIDE))
    same = make().fit(reduced.reshape(20, 3, 4, 4))
    np.testing.assert_allclose(
        detector.anomaly_map(WIDE),
        same.anomaly_map(reduced.reshape(20, 3, 4, 4)),
        rtol=1e-6,
    )
    for i in (0, 7):  # twenty folds of twenty images: each is left out of the reduction
        others = clone(detector).set_params(calibration=-1.0)
        want = others.fit(np.delete(WIDE, i, axis=0)).anomaly_map(WIDE[i : i + 1])
        np.testing.assert_allclose(detector.calibration_maps_[i], want[0], rtol=1e-9)
    assert not hasattr(reduction, "components_")
    assert detector.get_params()["reduction__n_components"] == 4


# ------------------------------------------------------------------ the device
@by_whiten
@by_thinning
def test_torch_finds_the_same(monkeypatch, thinning, whiten):
    pytest.importorskip("torch", reason="it is compared with")
    detector = make(whiten=whiten, thinning=thinning, max_reference=40, device="cpu")
    detector.fit(X)
    Q = np.concatenate([UNSEEN, with_defects(UNSEEN, 5.0)])
    want = detector.anomaly_map(Q)
    monkeypatch.setattr(_gpu, "find_device", lambda device: "cpu")
    found = detector.anomaly_map(Q)
    np.testing.assert_allclose(found, want, rtol=0, atol=2e-9)
    np.testing.assert_allclose(
        make(whiten=whiten, thinning=thinning, max_reference=40).fit(X).offset_,
        detector.offset_,
        atol=1e-9,
    )


@pytest.mark.parametrize("size", [1e8, 1e12])
@by_whiten
def test_far_patches_are_not_left_to_torch(size, whiten):
    pytest.importorskip("torch", reason="it is compared with")
    detector = make(whiten=whiten, device="cpu:0").fit(X)
    Q = with_defects(UNSEEN, size)
    np.testing.assert_allclose(
        -detector.anomaly_map(Q), slow_logs(detector, X, Q), rtol=1e-9, atol=1e-8
    )
    far = make(whiten=whiten, device="cpu:0").fit(with_defects(X, size))
    near = far.set_params(device="cpu").anomaly_map(UNSEEN)
    np.testing.assert_allclose(
        far.set_params(device="cpu:0").anomaly_map(UNSEEN), near, atol=2e-9
    )


def test_maps_far_from_zero_in_torch():
    pytest.importorskip("torch", reason="it is compared with")
    detector = make(device="cpu:0").fit(X + 1e8)
    found = detector.anomaly_map(UNSEEN + 1e8)
    want = detector.set_params(device="cpu").anomaly_map(UNSEEN + 1e8)
    np.testing.assert_allclose(found, want, rtol=0, atol=2e-9)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_distances_beyond_float64_are_clipped(device):
    if device != "cpu":
        pytest.importorskip("torch", reason="its device")
    detector = make(device=device).fit(X)
    with pytest.warns(DistanceOverflowWarning, match="clipped") as caught:
        assert (detector.predict(UNSEEN * 1e200) == -1).all()
    assert {warning.filename for warning in caught} == {__file__}
    with pytest.warns(DistanceOverflowWarning):
        assert np.isfinite(detector.anomaly_map(UNSEEN * 1e200)).all()


def test_an_unknown_device():
    pytest.importorskip("torch", reason="it is asked")
    with pytest.raises(ValueError, match="device='nonsense' is none"):
        make(device="nonsense").fit(X)
    with pytest.raises(ValueError, match="device='nonsense' is none"):
        make().fit(X).set_params(device="nonsense").predict(X)


# ------------------------------------------------------------- seeds, orders and jobs
@by_thinning
def test_the_seed_decides(thinning, monkeypatch):
    monkeypatch.setattr(_patch_kde, "CANDIDATES", 100)
    options = {"max_reference": 40, "thinning": thinning}
    want = make(**options).fit(X)
    again = make(**options, random_state=0).fit(X)
    np.testing.assert_array_equal(again.reference_, want.reference_)
    np.testing.assert_array_equal(again.calibration_maps_, want.calibration_maps_)
    other = make(**options, random_state=1).fit(X)
    assert not np.array_equal(other.reference_, want.reference_)
    rng = np.random.RandomState(0)
    first, second = (make(**options, random_state=rng).fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.reference_, want.reference_)
    assert not np.array_equal(second.reference_, first.reference_)


@by_whiten
def test_images_may_come_in_any_order(whiten):
    """Where all patches are kept."""
    order = np.random.default_rng(0).permutation(24)
    detector = make(whiten=whiten, max_reference=None).fit(X[order])
    want = make(whiten=whiten, max_reference=None).fit(X)
    assert detector.bandwidth_ == pytest.approx(want.bandwidth_)
    np.testing.assert_allclose(
        detector.calibration_maps_, want.calibration_maps_[order], rtol=1e-8
    )
    np.testing.assert_allclose(
        detector.anomaly_map(UNSEEN), want.anomaly_map(UNSEEN), rtol=1e-8
    )
    assert detector.offset_ == pytest.approx(want.offset_)


@by_whiten
def test_jobs_do_not_change_the_numbers(whiten):
    want = make(whiten=whiten).fit(X)
    for n_jobs in (1, 2, -1):
        found = make(whiten=whiten, n_jobs=n_jobs).fit(X)
        np.testing.assert_allclose(
            found.anomaly_map(UNSEEN), want.anomaly_map(UNSEEN), rtol=1e-12
        )
        np.testing.assert_array_equal(found.calibration_maps_, want.calibration_maps_)


def test_an_image_alone_is_as_among_others():
    detector = make().fit(X)
    together = detector.anomaly_map(np.tile(X, (2, 1, 1, 1)))  # two blocks of images
    for i in (0, 23, 47):
        alone = detector.anomaly_map(X[i % 24][None])[0]
        np.testing.assert_allclose(alone, together[i], rtol=1e-9)


# ------------------------------------------------------------------ calibration
def test_a_number_is_the_offset():
    detector = make(calibration=-30).fit(X)
    assert detector.offset_ == -30.0
    assert isinstance(detector.offset_, float)
    for name in ("calibration_scores_", "calibration_maps_", "pixel_threshold_"):
        assert not hasattr(detector, name)
    for verb in ("pixel_p_values", "defect_mask"):
        with pytest.raises(AttributeError, match=r"calibration_maps_.*recalibrate"):
            getattr(detector, verb)(UNSEEN)
    again = make().fit(X).set_params(calibration=-3.0).fit(X)
    assert not hasattr(again, "calibration_maps_")


def test_recalibration():
    detector = make(smoothing=0.5).fit(X)
    detector.defect_mask(UNSEEN, fdr=0.1)  # what it remembers must go
    before, fresh = detector.anomaly_map(UNSEEN), drawn(30, seed=5)
    assert detector.recalibrate(fresh, target_fpr=0.2) is detector
    maps = detector.anomaly_map(fresh)
    np.testing.assert_array_equal(detector.calibration_maps_, maps)
    np.testing.assert_array_equal(detector.calibration_scores_, -maps.max(axis=(1, 2)))
    assert detector.offset_ == np.sort(detector.calibration_scores_)[30 - 25]
    np.testing.assert_array_equal(detector.anomaly_map(UNSEEN), before)
    other = make(calibration=-1.0, smoothing=0.5).fit(X).recalibrate(fresh)
    np.testing.assert_array_equal(
        detector.defect_mask(with_defects(UNSEEN), fdr=0.1),
        other.defect_mask(with_defects(UNSEEN), fdr=0.1),
    )


def test_another_fit_forgets_the_one_before():
    detector = make(max_reference=30).fit(WIDE)
    detector.score_samples(WIDE)
    want = make(max_reference=30).fit(X)
    np.testing.assert_array_equal(
        detector.fit(X).anomaly_map(UNSEEN), want.anomaly_map(UNSEEN)
    )
    assert vars(detector).keys() == vars(want).keys()


def test_too_few_images_and_places_to_certify():
    with pytest.warns(CalibrationWarning) as caught:
        detector = PatchKDEDetector(target_fpr=0.01).fit(X)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "24 images cannot certify target_fpr=0.01: at least 99" in messages[0]
    assert "288 places" in messages[1]
    assert {warning.filename for warning in caught} == {__file__}
    far = with_defects(UNSEEN, 1e6)
    assert (detector.predict(far) == 1).all()
    assert not detector.defect_mask(far).any()


def test_channels_that_do_not_vary():
    constant = np.concatenate([X, np.full((24, 3, 4, 1), 2.0)], axis=3)
    with pytest.warns(
        RankDeficientWarning, match="span 4 of 5 channels.*diagonal"
    ) as got:
        detector = make(whiten="diagonal").fit(constant)
    assert {warning.filename for warning in got} == {__file__}
    np.testing.assert_allclose(
        detector.calibration_maps_, make(whiten="diagonal").fit(X).calibration_maps_
    )
    for whiten in ("none", "ledoit_wolf"):
        deviating = constant[:3].copy()
        deviating[:, 1, 1, 4] += 1e3
        assert (make(whiten=whiten).fit(constant).predict(deviating) == -1).all()


# ------------------------------------------------------------------ what X may be
@pytest.mark.parametrize("grid_shape", [(3, 4), [3, 4], (np.int64(3), 4)], ids=str)
def test_flat_rows_are_maps(grid_shape):
    flat, want = X.reshape(24, -1), make().fit(X)
    found = make(grid_shape=grid_shape).fit(flat)
    assert found.grid_shape_ == (3, 4)
    np.testing.assert_array_equal(found.calibration_maps_, want.calibration_maps_)
    for Q in (UNSEEN, UNSEEN.reshape(7, -1), UNSEEN.reshape(7, -1).tolist()):
        np.testing.assert_array_equal(found.anomaly_map(Q), want.anomaly_map(UNSEEN))
        assert found.effective_neighbors(Q).shape == (7, 3, 4)
    frame = pd.DataFrame(flat).rename(columns=str)
    named = make(grid_shape=grid_shape).fit(frame)
    np.testing.assert_array_equal(named.calibration_maps_, want.calibration_maps_)
    assert named.feature_names_in_.shape == (48,)


def test_a_list_of_maps():
    want = make().fit(X)
    found = make().fit(list(X))
    np.testing.assert_array_equal(found.calibration_maps_, want.calibration_maps_)
    np.testing.assert_array_equal(
        found.anomaly_map(list(UNSEEN)), want.anomaly_map(UNSEEN)
    )


@by_whiten
def test_maps_may_be_of_float32(whiten):
    few = X.astype(np.float32)
    found = make(whiten=whiten, max_reference=40).fit(few)
    want = make(whiten=whiten, max_reference=40).fit(few.astype(np.float64))
    np.testing.assert_allclose(found.calibration_maps_, want.calibration_maps_, rtol=1e-6)
    np.testing.assert_allclose(found.anomaly_map(few), want.anomaly_map(few), rtol=1e-6)
    assert found.anomaly_map(few).dtype == np.float64


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "channels first": lambda X: np.ascontiguousarray(X.transpose(0, 3, 1, 2)).transpose(
        0, 2, 3, 1
    ),
    "every other": lambda X: np.repeat(X, 2, axis=0)[::2],
    "big-endian": lambda X: X.astype(">f8"),
    "objects": lambda X: X.astype(object),
    "as it is": np.copy,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree_and_are_only_read(layout):
    given = LAYOUTS[layout](X)
    given.setflags(write=False)
    before = given.copy()
    for max_reference in (None, 30):
        detector = make(max_reference=max_reference, smoothing=0.5).fit(given)
        want = make(max_reference=max_reference, smoothing=0.5).fit(X)
        np.testing.assert_allclose(
            detector.calibration_maps_, want.calibration_maps_, rtol=1e-10
        )
        np.testing.assert_allclose(
            detector.anomaly_map(given), want.anomaly_map(X), rtol=1e-10
        )
        detector.effective_neighbors(given)
    np.testing.assert_array_equal(given, before)


def test_whole_numbers_are_maps():
    maps = np.round(X * 3).astype(np.int16)
    np.testing.assert_array_equal(
        make().fit(maps).calibration_maps_,
        make().fit(maps.astype(float)).calibration_maps_,
    )


def test_results_do_not_alias_what_is_kept():
    maps = X.copy()
    detector = make(max_reference=None).fit(maps)
    want = detector.anomaly_map(UNSEEN)
    maps[:] = 0.0
    detector.anomaly_map(UNSEEN)[:] = 0.0
    copied = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copied.anomaly_map(UNSEEN), want)


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"bandwidth": -1}, "bandwidth"),
        ({"bandwidth": "cv"}, "bandwidth"),
        ({"bandwidth": math.nan}, "bandwidth"),
        ({"bandwidth": math.inf}, "bandwidth"),
        ({"whiten": None}, "whiten"),
        ({"whiten": "pca"}, "whiten"),
        ({"max_reference": 1}, "max_reference"),
        ({"max_reference": 2.5}, "max_reference"),
        ({"thinning": "kmeans"}, "thinning"),
        ({"thinning": None}, "thinning"),
        ({"n_channels": 0}, "n_channels"),
        ({"reduction": "pca"}, "reduction"),
        ({"grid_shape": 3}, "grid_shape"),
        ({"image_score": 0.0}, "image_score"),
        ({"smoothing": -1.0}, "smoothing"),
        ({"target_fpr": 0.0}, "target_fpr"),
        ({"pixel_target_fpr": 1.0}, "pixel_target_fpr"),
        ({"calibration": "chi2"}, "calibration"),
        ({"device": None}, "device"),
        ({"device": 0}, "device"),
        ({"n_jobs": 1.5}, "n_jobs"),
        ({"random_state": "a"}, "random_state"),
    ],
    ids=str,
)
def test_parameters_are_checked(options, name):
    with pytest.raises(
        InvalidParameterError, match=f"'{name}' parameter of PatchKDEDetector must"
    ):
        make(**options).fit(X)


def test_no_jobs_are_refused():
    with pytest.raises(ValueError, match="n_jobs"):
        make(n_jobs=0).fit(X)


def replaced(value, dtype=np.float64):
    maps = X.astype(dtype)
    maps[3, 1, 2, 3] = value
    return maps


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        (replaced(np.nan), ValueError, "Input X contains NaN"),
        (replaced(np.inf), ValueError, "infinity"),
        (replaced("a", object), ValueError, "not numbers"),
        (X + 1j, ValueError, "[Cc]omplex"),
        (np.ma.masked_greater(X, 1), TypeError, "X is a masked array"),
        ([np.ma.masked_greater(one, 1) for one in X], TypeError, "masked"),
        (X[:1], ValueError, "1 sample.*minimum of 2 is required"),
        (X[:0], ValueError, "0 sample"),
        (X[..., :0], ValueError, "0 feature"),
        (X.reshape(24, -1), ValueError, "takes maps.*grid_shape"),
        (3.0, ValueError, "grid_shape"),
        (None, ValueError, "grid_shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_maps_are_checked(maps, error, message):
    with pytest.raises(error, match=message):
        make().fit(maps)


@pytest.mark.parametrize(
    "verb", ["predict", "anomaly_map", "effective_neighbors", "recalibrate"]
)
def test_queries_are_checked(verb):
    call = getattr(make().fit(X), verb)
    for Q in (X.transpose(0, 2, 1, 3), X[:, :2], X[..., :3], WIDE):
        with pytest.raises(ValueError, match=r"X has maps of shape .*fitted to"):
            call(Q)
    with pytest.raises(ValueError, match="NaN"):
        call(replaced(np.nan))
    with pytest.raises(TypeError, match="masked"):
        call(np.ma.masked_greater(X, 1))


@pytest.mark.parametrize(
    "verb",
    [
        "score_samples",
        "predict",
        "p_values",
        "anomaly_map",
        "pixel_p_values",
        "defect_mask",
        "effective_neighbors",
        "recalibrate",
    ],
)
def test_not_fitted(verb):
    with pytest.raises(NotFittedError, match="PatchKDEDetector instance is not fitted"):
        getattr(make(), verb)(X)


# ------------------------------------------------------------------ scikit-learn's tools
OPTIONS = {
    "bandwidth": "silverman",
    "whiten": "diagonal",
    "max_reference": 30,
    "thinning": "kernel",
    "n_channels": 3,
    "reduction": "selection",
    "grid_shape": (3, 4),
    "image_score": 0.5,
    "smoothing": 0.3,
    "target_fpr": 0.1,
    "pixel_target_fpr": 0.02,
    "device": "cpu",
    "n_jobs": 1,
    "random_state": 7,
}


def test_clones_have_the_parameters_and_nothing_else():
    detector = PatchKDEDetector(**OPTIONS).fit(X)
    other = clone(detector)
    assert other.get_params() == detector.get_params()
    assert OPTIONS.items() <= other.get_params().items()
    assert vars(other).keys() == other.get_params().keys()
    np.testing.assert_array_equal(
        other.fit(X).calibration_maps_, detector.calibration_maps_
    )


@pytest.mark.parametrize(
    "options",
    [{}, OPTIONS, {"whiten": "none", "max_reference": None}, {"reduction": PCA(2)}],
    ids=str,
)
@pytest.mark.parametrize(
    "copied", [lambda d: pickle.loads(pickle.dumps(d)), copy.deepcopy]
)
def test_copies_are_equal_and_their_own(copied, options):
    detector = make(**options).fit(X)
    other = copied(detector)
    assert "_ready" not in vars(other)
    want = detector.anomaly_map(UNSEEN, (5, 5))
    np.testing.assert_array_equal(other.anomaly_map(UNSEEN, (5, 5)), want)
    np.testing.assert_array_equal(
        other.defect_mask(UNSEEN, fdr=0.2), detector.defect_mask(UNSEEN, fdr=0.2)
    )
    np.testing.assert_array_equal(
        other.effective_neighbors(UNSEEN), detector.effective_neighbors(UNSEEN)
    )
    offset = detector.offset_
    other.recalibrate(drawn(25, seed=8))
    assert other.offset_ != offset
    other.reference_[:] = 0.0
    np.testing.assert_array_equal(detector.anomaly_map(UNSEEN, (5, 5)), want)


def test_labels_are_ignored():
    assert make().fit(X, np.arange(24)).offset_ == make().fit(X).offset_


def test_behind_a_network():
    pytest.importorskip("torch", reason="the network runs in torch")
    from sklearn_gauss.feature_extraction import CNNFeatureExtractor

    rng = np.random.default_rng(0)
    images = rng.integers(90, 130, (24, 32, 32, 3)).astype(np.uint8)
    extractor = CNNFeatureExtractor(
        "tiny", input_size=32, pooling="none", levels=["stem"]
    )
    detector = PatchKDEDetector(max_reference=300, n_channels=8)
    pipeline = make_pipeline(extractor, detector).fit(images)
    spoiled = images[:4].copy()
    spoiled[:, 8:16, 8:16] = 0
    spoiled[:, 8:16, 8:16, 0] = 255
    assert (pipeline.predict(spoiled) == -1).all()
    maps = detector.anomaly_map(pipeline[:-1].transform(spoiled), (32, 32))
    places = [np.unravel_index(one.argmax(), one.shape) for one in maps]
    assert all(4 <= i < 20 and 4 <= j < 20 for i, j in places)
    copied = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_allclose(copied.predict(spoiled), pipeline.predict(spoiled))


def test_in_a_search():
    search = GridSearchCV(
        make(target_fpr=0.2),
        {"bandwidth": [0.01, 0.5, 50.0], "max_reference": [30, None]},
        cv=3,
        error_score="raise",
    )
    search.fit(X)  # by the mean score
    assert search.best_params_["bandwidth"] == 0.5
    assert search.predict(UNSEEN).shape == (7,)


# ------------------------------------------------------------------ neighbourhoods
@pytest.mark.parametrize("side", [3, 5])
def test_channels_are_averaged_around_each_place(side):
    def average(maps):
        half = side // 2
        around = ((0, 0), (half, half), (half, half), (0, 0))
        wide = np.pad(maps, around, constant_values=np.nan)
        cells = np.lib.stride_tricks.sliding_window_view(wide, (side, side), axis=(1, 2))
        return np.nanmean(cells, axis=(-2, -1))

    found = make(neighborhood=side).fit(X)
    want = make().fit(average(X))
    np.testing.assert_allclose(found.calibration_maps_, want.calibration_maps_, rtol=1e-6)
    np.testing.assert_allclose(
        found.anomaly_map(UNSEEN), want.anomaly_map(average(UNSEEN)), rtol=1e-6
    )


def test_a_neighborhood_has_a_centre():
    with pytest.raises(ValueError, match="neighborhood must be odd, got 2"):
        make(neighborhood=2).fit(X)


def test_an_outlying_cell_stays_in_its_neighbourhood():
    maps = X.copy()
    maps[0, 0, 0] = 1e12
    detector = make(1.0, neighborhood=3, whiten="none").fit(X)
    found, want = detector.anomaly_map(maps[:1])[0], detector.anomaly_map(X[:1])[0]
    np.testing.assert_array_equal(found[:, 2:], want[:, 2:])
