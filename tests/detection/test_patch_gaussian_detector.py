"""PatchGaussianDetector: maps in, verdicts on images and on pixels out."""

import copy
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import PatchGaussianDetector
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    DistanceOverflowWarning,
    RankDeficientWarning,
)
from sklearn_gauss.model_selection import NormalKFold, anomaly_scorer

steady = settings(deadline=None, max_examples=15, derandomize=True)


def drawn(n, grid=(3, 4), channels=6, seed=0):
    """Maps with a law of their own at every place, the same for every seed."""
    law = np.random.default_rng(channels)
    mix = law.normal(size=(*grid, channels, channels)) / np.sqrt(channels)
    mean = law.normal(size=(*grid, channels))
    noise = np.random.default_rng(seed).normal(size=(n, *grid, channels))
    return np.einsum("nhwc,hwcd->nhwd", noise, mix) + mean


def make(**options):
    """Detector that the few places of these maps can calibrate."""
    return PatchGaussianDetector(**{"pixel_target_fpr": 0.05} | options)


TALL, WIDE = drawn(40), drawn(20, channels=30)
UNSEEN = drawn(7, seed=1)
by_shape = pytest.mark.parametrize("X", [TALL, WIDE], ids=["n > C", "n < C"])


def with_defects(X, size=4.0):
    """Images, with a defect at the place (1, 2)."""
    X = X.copy()
    X[:, 1, 2] += size
    return X


# ------------------------------------------------------------------ scores and maps
@by_shape
@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", "rblw", 0.2])
def test_a_map_holds_the_distances_to_a_gaussian_at_every_place(X, shrinkage):
    detector = make(shrinkage=shrinkage).fit(X)
    Q = with_defects(X[:4])
    squares, maps = detector.mahalanobis(Q), detector.anomaly_map(Q)
    for i, j in np.ndindex(3, 4):
        one = ShrinkageCovariance(shrinkage).fit(X[:, i, j])
        np.testing.assert_allclose(squares[:, i, j], one.mahalanobis(Q[:, i, j]))
        np.testing.assert_allclose(detector.location_[i, j], one.location_, atol=1e-14)
        assert detector.shrinkage_[i, j] == pytest.approx(one.shrinkage_)
    np.testing.assert_allclose(maps, np.sqrt(squares))
    assert maps.dtype == np.float64
    np.testing.assert_array_equal(detector.score_samples(Q), -maps.max(axis=(1, 2)))
    assert {np.unravel_index(m.argmax(), m.shape) for m in maps} == {(1, 2)}


@by_shape
def test_verbs_agree_about_the_threshold(X):
    detector = make(target_fpr=0.2).fit(X)
    Q = np.concatenate([X, with_defects(X, 1.0)])
    decision = detector.decision_function(Q)
    np.testing.assert_array_equal(decision, detector.score_samples(Q) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(Q), np.where(decision >= 0, 1, -1))
    assert detector.score(Q) == pytest.approx(detector.score_samples(Q).mean())
    assert set(detector.predict(Q)) == {1, -1}
    np.testing.assert_array_equal(make().fit_predict(X), make().fit(X).predict(X))
    p = detector.p_values(Q)
    np.testing.assert_array_equal(detector.predict(Q) == -1, p <= 0.2)


def test_the_fit_announces_what_it_found():
    detector = make().fit(TALL)
    assert detector.grid_shape_ == (3, 4)
    assert (detector.n_channels_in_, detector.n_features_in_) == (6, 72)
    assert detector.location_.shape == (3, 4, 6)
    assert detector.shrinkage_.shape == (3, 4)
    assert detector.calibration_scores_.shape == (40,)
    assert detector.calibration_maps_.shape == (40, 3, 4)
    assert detector.reducer_ is None


@by_shape
def test_a_shared_covariance(X):
    detector = make(covariance="shared").fit(X)
    Z = (X - X.mean(axis=0)).reshape(-1, X.shape[3])
    pooled = ShrinkageCovariance("ledoit_wolf", assume_centered=True).fit(Z)
    gaps = (X[:3] + 0.5 - X.mean(axis=0)).reshape(-1, X.shape[3])
    np.testing.assert_allclose(
        detector.mahalanobis(X[:3] + 0.5).ravel(), pooled.mahalanobis(gaps), rtol=1e-9
    )
    assert detector.shrinkage_ == pytest.approx(pooled.shrinkage_)
    np.testing.assert_allclose(detector.location_, X.mean(axis=0), atol=1e-14)


def test_padim_is_its_own_definition():
    """A covariance without shrinkage, and a hundredth in all directions."""
    maps = drawn(10, channels=14)
    detector = make(shrinkage=0.0, ridge=0.01, target_fpr=0.2).fit(maps)
    for i, j in np.ndindex(3, 4):
        X = maps[:, i, j]
        precision = np.linalg.inv(np.cov(X, rowvar=False, bias=True) + 0.01 * np.eye(14))
        Z = X + 0.3 - X.mean(axis=0)
        np.testing.assert_allclose(
            detector.mahalanobis(maps + 0.3)[:, i, j],
            np.einsum("ij,jk,ik->i", Z, precision, Z),
        )


# ------------------------------------------------------------------ n refits
@pytest.mark.parametrize("n", [7, 9, 15], ids=["n < C", "n = C + 1", "n > C"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shrinkage": "oas", "ridge": 0.1},
        {"shrinkage": 0.0, "ridge": 0.01},
        {"shrinkage": 0.3, "covariance": "shared"},
        {"smoothing": 0.8, "image_score": 0.2},
        {"n_channels": 3, "reduction": "selection"},
        {"n_channels": 3, "reduction": "projection", "random_state": 5},
        {"precision": "float32"},
    ],
    ids=str,
)
def test_calibration_is_that_of_n_refits(n, options):
    X = drawn(n, (2, 3), 8)
    detector = make(target_fpr=0.3, **options).fit(X)
    refit = make(calibration=-1.0, **options)
    rtol = 1e-4 if "precision" in options else 1e-8
    for i in range(n):
        refit.fit(np.delete(X, i, axis=0))
        np.testing.assert_allclose(
            detector.calibration_maps_[i], refit.anomaly_map(X[i : i + 1])[0], rtol=rtol
        )
        np.testing.assert_allclose(
            detector.calibration_scores_[i], refit.score_samples(X[i : i + 1])[0], rtol
        )


@steady
@given(st.integers(0, 2**32 - 1), st.integers(5, 25), st.sampled_from(["max", 0.3, 1.0]))
def test_thresholds_are_order_statistics_of_left_out_values(seed, n, image_score):
    X = drawn(n, (2, 3), 5, seed)
    detector = make(target_fpr=0.25, pixel_target_fpr=0.1, image_score=image_score).fit(X)
    rank = math.ceil((n + 1) * 0.75 - 1e-9)
    assert detector.offset_ == np.sort(detector.calibration_scores_)[::-1][rank - 1]
    values = np.sort(detector.calibration_maps_, axis=None)
    rank = math.ceil((len(values) + 1) * 0.9 - 1e-9)
    assert values[rank - 1] <= detector.pixel_threshold_ <= values[rank - 1] * (1 + 2e-9)


# ------------------------------------------------------ false-positive rates that hold
def rates(n, channels, draws, unseen=60, **options):
    """Shares of unseen normal images and pixels that are flagged, one a draw."""
    images, pixels, discoveries = [], [], []
    for seed in range(draws):
        X = drawn(n + unseen, (2, 3), channels, seed)
        # Places depend on each other, and images differ in how far they vary.
        factor = np.random.default_rng(seed).normal(size=(len(X), 1, 1, 2))
        X[..., :1] += factor[..., :1]
        X *= np.exp(0.3 * factor[..., 1:])
        detector = make(target_fpr=0.1, **options).fit(X[:n])
        images.append((detector.predict(X[n:]) == -1).mean())
        pixels.append(detector.defect_mask(X[n:]).mean())
        flagged = detector.defect_mask(X[n:], fdr=0.1).any(axis=(1, 2))
        discoveries.append(flagged.mean())
    return images, pixels, discoveries


@pytest.mark.parametrize(
    ("n", "channels", "options"),
    [
        (29, 40, {}),
        (59, 8, {}),
        (29, 12, {"covariance": "shared"}),
        (29, 12, {"smoothing": 0.7, "image_score": 0.5, "n_channels": 5}),
    ],
    ids=str,
)
def test_rates_hold_on_unseen_images(n, channels, options):
    images, pixels, discoveries = rates(n, channels, 40, **options)
    # Of the threshold, a draw, and of the verdicts.
    error = 4 * math.sqrt(0.1 * 0.9 / 40 * (1 / (n + 2) + 1 / 60))
    assert abs(np.mean(images) - 0.1) < error, np.mean(images)
    assert np.mean(discoveries) < 0.1 + error, np.mean(discoveries)
    error = 4 * np.std(pixels) / math.sqrt(40)
    assert abs(np.mean(pixels) - 0.05) < max(error, 0.005), np.mean(pixels)


def test_pixel_p_values_are_uniform_over_unseen_images():
    found = []
    for seed in range(15):
        X = drawn(90, (2, 3), 8, seed)
        found.append(make().fit(X[:30]).pixel_p_values(X[30:]))
    for level in (0.01, 0.1, 0.5):
        shares = [(p <= level).mean() for p in found]
        assert np.mean(shares) < level + 4 * np.std(shares) / math.sqrt(15) + 1e-3


def test_few_of_the_flagged_pixels_are_normal():
    """At fdr=0.2, whatever the number of defects; and defects are found."""
    detector = make().fit(drawn(200, (4, 5), 8))
    X = drawn(300, (4, 5), 8, seed=3)
    truth = np.zeros(X.shape[:3], bool)
    truth[:, 1:3, 1:4] = True
    X[truth] += 4.0
    masks = detector.defect_mask(X, fdr=0.2)
    share = (masks & ~truth).sum(axis=(1, 2)) / np.maximum(masks.sum(axis=(1, 2)), 1)
    assert share.mean() < 0.2 + 4 * share.std() / math.sqrt(300)
    assert (masks & truth).sum() > 0.8 * truth.sum()


# ------------------------------------------------------------------ p-values and masks
def test_pixel_p_values_count_left_out_values():
    detector = make().fit(TALL)
    values, normal = detector.anomaly_map(UNSEEN), detector.calibration_maps_.ravel()
    want = [
        [(1 + (normal >= v).sum()) / (1 + len(normal)) for v in m.flat] for m in values
    ]
    found = detector.pixel_p_values(UNSEEN)
    np.testing.assert_allclose(found.reshape(7, -1), want)
    larger = detector.pixel_p_values(UNSEEN, (9, 8))
    assert larger.shape == (7, 9, 8)
    assert larger.min() >= found.min()
    assert detector.pixel_p_values(np.full((1, 3, 4, 6), 1e6)).max() == 1 / (
        1 + len(normal)
    )


@pytest.mark.parametrize("image_size", [None, (7, 9)])
def test_pixels_beyond_the_threshold_are_flagged(image_size):
    detector = make().fit(TALL)
    found = detector.defect_mask(with_defects(UNSEEN), image_size)
    maps = detector.anomaly_map(with_defects(UNSEEN), image_size)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, maps > detector.pixel_threshold_)
    if image_size is None:
        assert found[:, 1, 2].all()
        p = detector.pixel_p_values(with_defects(UNSEEN))
        np.testing.assert_array_equal(found, p <= 0.05)


def test_a_mask_at_a_rate_of_false_discoveries():
    detector = make().fit(TALL)
    masks = detector.defect_mask(with_defects(UNSEEN, 30.0), fdr=0.1)
    assert masks[:, 1, 2].all()
    maps = detector.anomaly_map(with_defects(UNSEEN, 30.0))
    for mask, one in zip(masks, maps, strict=True):  # the greatest values of the map
        assert one[mask].min() > one[~mask].max()
    larger = detector.defect_mask(with_defects(UNSEEN, 30.0), (9, 12), fdr=0.1)
    np.testing.assert_array_equal(larger[:, 1::3, 1::3], masks)
    less = detector.defect_mask(with_defects(UNSEEN), fdr=0.05)
    assert (less <= detector.defect_mask(with_defects(UNSEEN), fdr=0.3)).all()


def test_a_flagged_cell_is_flagged_in_the_picture():
    """Also where no pixel lies at the cell's centre, and it alone is flagged."""
    detector = make().fit(TALL)
    X = with_defects(UNSEEN, 30.0)
    assert detector.defect_mask(X, fdr=0.1)[:, 1, 2].all()
    assert detector.defect_mask(X, (30, 40), fdr=0.1)[:, 15, 25].all()


def test_too_few_images_for_a_rate_of_false_discoveries():
    detector = make().fit(TALL)
    with pytest.warns(CalibrationWarning, match="40 training images .* fdr=0.01: .* 99"):
        masks = detector.defect_mask(with_defects(UNSEEN, 100.0), fdr=0.01)
    assert not masks.any()


# ------------------------------------------------------------------ images' sizes
def test_maps_at_a_size():
    detector = make().fit(TALL)
    grid = detector.anomaly_map(UNSEEN)
    assert grid.shape == (7, 3, 4)
    for size in [(6, 5), [6, 5], np.array([6, 5])]:
        found = detector.anomaly_map(UNSEEN, size)
        assert isinstance(found, np.ndarray)
        assert found.shape == (7, 6, 5)
    np.testing.assert_array_equal(detector.anomaly_map(UNSEEN, (3, 4)), grid)
    np.testing.assert_allclose(detector.anomaly_map(UNSEEN, (9, 12))[:, 1::3, 1::3], grid)


def test_maps_each_at_its_own_size():
    detector = make().fit(TALL)
    sizes = [(5, 4), (8, 8), (1, 1)]
    for verb in ("anomaly_map", "pixel_p_values", "defect_mask"):
        call = getattr(detector, verb)
        for form in (sizes, np.array(sizes), tuple(sizes)):
            found = call(UNSEEN[:3], form)
            assert isinstance(found, list)
            assert [one.shape for one in found] == sizes
        for i, size in enumerate(sizes):
            alone = call(UNSEEN[i : i + 1], size)[0]
            np.testing.assert_allclose(found[i], alone, rtol=1e-12)
    masks = detector.defect_mask(with_defects(UNSEEN[:3], 30.0), sizes, fdr=0.1)
    assert [mask.shape for mask in masks] == sizes
    assert all(mask.any() for mask in masks[:2])
    assert isinstance(detector.anomaly_map(UNSEEN[:2], [(4, 5), (4, 5)]), list)


@pytest.mark.parametrize(
    "image_size",
    [
        5,
        (5,),
        (5, 6, 7),
        (5.0, 6.0),
        "ab",
        ("5", "6"),
        (True, True),
        (0, 4),
        (-1, 4),
        [(4, 5), (4, 5)],
        [(4, 5), (4, 0), (4, 5)],
        (None, 4),
        [(4, 5), (4,), (4, 5)],
    ],
    ids=str,
)
def test_sizes_are_checked(image_size):
    detector = make().fit(TALL)
    for verb in ("anomaly_map", "pixel_p_values", "defect_mask"):
        with pytest.raises(ValueError, match="image_size must be"):
            getattr(detector, verb)(UNSEEN[:3], image_size)


# ------------------------------------------------------------ image_score, smoothing
@pytest.mark.parametrize(
    ("image_score", "count"), [("max", 1), (0.01, 1), (0.25, 3), (1, 12)]
)
def test_the_score_is_the_mean_of_the_worst_places(image_score, count):
    detector = make(image_score=image_score).fit(TALL)
    values = np.sort(detector.anomaly_map(UNSEEN).reshape(7, -1))[:, -count:]
    np.testing.assert_allclose(detector.score_samples(UNSEEN), -values.mean(axis=1))
    left_out = np.sort(detector.calibration_maps_.reshape(40, -1))[:, -count:]
    np.testing.assert_allclose(detector.calibration_scores_, -left_out.mean(axis=1))


def test_smoothing_is_in_cells_of_the_grid():
    plain, smooth = make().fit(TALL), make(smoothing=0.9).fit(TALL)

    def by_hand(maps):
        return np.array([ndimage.gaussian_filter(m, 0.9, mode="nearest") for m in maps])

    maps = smooth.anomaly_map(UNSEEN)
    np.testing.assert_allclose(maps, by_hand(plain.anomaly_map(UNSEEN)))
    np.testing.assert_allclose(smooth.calibration_maps_, by_hand(plain.calibration_maps_))
    np.testing.assert_array_equal(smooth.score_samples(UNSEEN), -maps.max(axis=(1, 2)))
    np.testing.assert_array_equal(smooth.mahalanobis(UNSEEN), plain.mahalanobis(UNSEEN))


def test_values_without_a_bound_stay_so_under_smoothing():
    """A channel that a single image has anything in, at one place."""
    X = TALL.copy()
    X[:, 1, 1, 0] = 0.0
    X[5, 1, 1, 0] = 3.0
    detector = make(shrinkage=0.0, smoothing=0.4).fit(X)
    far = np.isinf(detector.calibration_maps_)
    assert far[5, 1, 1]
    assert far.any(axis=(1, 2)).sum() == 1
    assert not np.isnan(detector.calibration_maps_).any()
    assert np.isfinite(detector.offset_)


# ------------------------------------------------------------------ the reduction
@pytest.mark.parametrize("reduction", ["selection", "projection"])
def test_channels_are_reduced(reduction):
    detector = make(n_channels=4, reduction=reduction, random_state=3).fit(WIDE)
    kept = detector.reducer_
    assert detector.location_.shape == (3, 4, 4)
    if reduction == "selection":
        assert kept.shape == (4,)
        reduced = WIDE[..., kept]
    else:
        np.testing.assert_allclose(kept.T @ kept, np.eye(4), atol=1e-12)
        reduced = WIDE @ kept
    same = make(n_channels=None).fit(reduced)
    np.testing.assert_allclose(detector.mahalanobis(WIDE), same.mahalanobis(reduced))
    np.testing.assert_allclose(detector.calibration_maps_, same.calibration_maps_)
    again = make(n_channels=4, reduction=reduction, random_state=3).fit(WIDE)
    np.testing.assert_array_equal(again.reducer_, kept)
    other = make(n_channels=4, reduction=reduction, random_state=4).fit(WIDE)
    assert not np.array_equal(other.reducer_, kept)


@pytest.mark.parametrize("n_channels", [None, 6, 7, 1000])
def test_all_channels_where_there_are_no_more(n_channels):
    assert make(n_channels=n_channels).fit(TALL).reducer_ is None


def test_a_hundred_channels_by_default():
    found = make(target_fpr=0.3).fit(drawn(5, (2, 5), 101))
    assert found.location_.shape == (2, 5, 100)
    assert len(found.reducer_) in (100, 101)  # chosen, or mixed


@pytest.mark.parametrize("covariance", ["position", "shared"])
@pytest.mark.parametrize("reduction", [LowVariancePCA(n_components=4), PCA(4)], ids=str)
def test_a_transformer_reduces_patches_as_rows(reduction, covariance):
    """With partial_fit, and without."""
    detector = make(reduction=reduction, covariance=covariance).fit(WIDE)
    patches = WIDE.reshape(-1, 30)
    pca = clone(reduction).fit(patches)
    np.testing.assert_allclose(detector.reducer_.components_, pca.components_, atol=1e-10)
    reduced = pca.transform(patches).reshape(20, 3, 4, 4)
    same = make(covariance=covariance).fit(reduced)
    np.testing.assert_allclose(detector.anomaly_map(WIDE), same.anomaly_map(reduced))
    for i in (0, 7):  # twenty folds of twenty images: each is left out of the reduction
        others = clone(detector).set_params(calibration=-1.0)
        want = others.fit(np.delete(WIDE, i, axis=0)).anomaly_map(WIDE[i : i + 1])
        np.testing.assert_allclose(detector.calibration_maps_[i], want[0], rtol=1e-9)
    assert not hasattr(reduction, "components_")
    assert detector.get_params()["reduction__n_components"] == 4


def test_a_transformer_is_fitted_in_chunks(monkeypatch):
    monkeypatch.setattr("sklearn_gauss.detection._reduction.PATCHES_AT_A_TIME", 50)
    sizes = []

    class Counting(LowVariancePCA):
        def partial_fit(self, X, y=None):
            sizes.append(len(X))
            return super().partial_fit(X)

    detector = make(reduction=Counting(n_components=4), calibration=-1.0).fit(WIDE)
    assert sizes == [60] * 4
    whole = make(reduction=LowVariancePCA(n_components=4)).fit(WIDE)
    np.testing.assert_allclose(detector.anomaly_map(WIDE), whole.anomaly_map(WIDE))


# ------------------------------------------------------------------ precision
@by_shape
def test_float32_covariances(X):
    exact, half = make().fit(X), make(precision="float32").fit(X)
    np.testing.assert_array_equal(half.calibration_maps_, exact.calibration_maps_)
    np.testing.assert_allclose(half.anomaly_map(X), exact.anomaly_map(X), rtol=1e-4)
    assert half.anomaly_map(X).dtype == np.float64
    assert half._model["axes"].dtype == np.float32
    sizes = [d.required_memory(X.shape).covariances for d in (half, exact)]
    assert sizes[0] < 0.8 * sizes[1]


def test_a_shared_covariance_is_kept_in_float64():
    detector = make(precision="float32", covariance="shared").fit(TALL)
    assert detector._model["axes"].dtype == np.float64


@pytest.mark.parametrize("exponent", [-200, -150, 200])
@by_shape
def test_float32_covariances_of_data_beyond_its_range(X, exponent):
    unit = 2.0**exponent
    found = make(precision="float32").fit(X * unit).anomaly_map(X * unit)
    np.testing.assert_allclose(found, make().fit(X).anomaly_map(X), rtol=1e-4)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@by_shape
def test_maps_may_be_of_float32(X, precision):
    few = X.astype(np.float32)
    found = make(precision=precision).fit(few)
    want = make(precision=precision).fit(few.astype(np.float64))
    np.testing.assert_allclose(found.calibration_maps_, want.calibration_maps_)
    np.testing.assert_allclose(found.anomaly_map(few), want.anomaly_map(few), rtol=1e-6)
    assert found.anomaly_map(few).dtype == np.float64


# ------------------------------------------------------------------ memory
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("n_channels", [None, 4])
@by_shape
def test_the_required_memory_is_what_is_kept(X, n_channels, precision):
    detector = make(n_channels=n_channels, precision=precision)
    needed = detector.required_memory(X.shape)
    detector.fit(X)
    kept = sum(array.nbytes for array in detector._model.values())
    assert needed.covariances == kept + detector.location_.nbytes
    assert needed.calibration == detector.calibration_maps_.nbytes


def test_the_required_memory_of_a_shared_covariance():
    detector = make(covariance="shared").fit(TALL)
    kept = sum(array.nbytes for array in detector._model.values())
    needed = detector.required_memory(TALL.shape).covariances
    kept += detector.location_.nbytes
    assert kept - 8 <= needed <= kept  # but for the one scale


def test_more_than_the_limit_is_refused_before_anything_is_allocated(tmp_path):
    X = np.broadcast_to(drawn(20, (1, 1), 60), (20, 40, 40, 60))
    message = (
        r"The fit would take \d+ MiB beside X, more than memory_limit=3 MiB: \d+ for "
        r"covariances of 40 x 40 places, \d+ for left-out maps. Take fewer n_channels"
    )
    for attempt in (
        lambda: make(memory_limit=3).fit(X),
        lambda: make(memory_limit=3).partial_fit(X).offset_,
    ):
        with pytest.raises(MemoryError, match=message):
            attempt()
    with pytest.raises(MemoryError, match=r"memory_limit=0\.1 MiB"):
        make(memory_limit=0.1, storage=tmp_path).fit(X)
    assert list(tmp_path.iterdir()) == []


def test_what_lies_in_files_needs_no_memory(tmp_path):
    needed = make().required_memory(TALL.shape)
    limit = (needed.covariances + 4 * needed.calibration) / 2**20 * 0.9
    with pytest.raises(MemoryError):
        make(memory_limit=limit).fit(TALL)
    make(memory_limit=limit, storage=tmp_path).fit(TALL)


# ------------------------------------------------------------------ storage
def files(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


@by_shape
@pytest.mark.parametrize("as_text", [True, False])
def test_covariances_in_files(X, as_text, tmp_path):
    folder = tmp_path / "made" / "here"
    detector = make(storage=str(folder) if as_text else folder).fit(X)
    want = make().fit(X)
    assert len(files(folder)) == len(want._model)
    assert sum(file.stat().st_size for file in files(folder)) > X.shape[3] * 8 * 12
    np.testing.assert_array_equal(detector.anomaly_map(X), want.anomaly_map(X))
    np.testing.assert_array_equal(detector.calibration_maps_, want.calibration_maps_)
    before = files(folder)
    detector.fit(X[:-1])  # another fit, other files
    assert len(files(folder)) == len(before)
    assert not set(before) & set(files(folder))
    del detector
    assert files(folder) == []


def test_files_stay_while_anything_looks_at_them(tmp_path):
    detector = make(storage=tmp_path).fit(TALL)
    axes = detector._model["axes"][1:]
    del detector
    assert len(files(tmp_path)) == 1
    assert np.isfinite(axes).all()
    del axes
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "copied", [lambda d: pickle.loads(pickle.dumps(d)), copy.deepcopy]
)
def test_a_copy_holds_the_content_of_files(copied, tmp_path):
    detector = make(storage=tmp_path).fit(TALL)
    want = detector.anomaly_map(UNSEEN)
    other = copied(detector)
    del detector
    assert files(tmp_path) == []
    np.testing.assert_array_equal(other.anomaly_map(UNSEEN), want)
    assert not any(isinstance(array, np.memmap) for array in other._model.values())


def test_a_copy_goes_on_from_files(tmp_path):
    detector = make(storage=tmp_path).partial_fit(TALL[:9])
    assert len(files(tmp_path)) == 1
    other = pickle.loads(pickle.dumps(detector))
    for one in (detector, other):
        one.partial_fit(TALL[9:])
        np.testing.assert_array_equal(
            one.anomaly_map(UNSEEN), make().fit(TALL).anomaly_map(UNSEEN)
        )
    del detector, other, one
    assert files(tmp_path) == []


def test_covariances_of_one_image_less_than_none_in_files(tmp_path):
    """Two images have one axis a place, and files hold what memory does."""
    X = drawn(2, channels=5)
    options = {"shrinkage": 0.5, "calibration": -1.0}
    np.testing.assert_array_equal(
        make(storage=tmp_path, **options).fit(X).anomaly_map(X),
        make(**options).fit(X).anomaly_map(X),
    )


# ------------------------------------------------------------------ n_jobs
@pytest.mark.parametrize("covariance", ["position", "shared"])
@by_shape
def test_jobs_do_not_change_the_numbers(X, covariance):
    want = make(covariance=covariance).fit(X)
    for n_jobs in (1, 2, -1):
        found = make(covariance=covariance, n_jobs=n_jobs).fit(X)
        np.testing.assert_array_equal(found.anomaly_map(X), want.anomaly_map(X))
        np.testing.assert_array_equal(found.calibration_maps_, want.calibration_maps_)


# ------------------------------------------------------------------ calibration
def test_a_number_is_the_offset():
    detector = make(calibration=-3).fit(TALL)
    assert detector.offset_ == -3.0
    assert isinstance(detector.offset_, float)
    for name in ("calibration_scores_", "calibration_maps_", "pixel_threshold_"):
        assert not hasattr(detector, name)
    np.testing.assert_array_equal(
        detector.predict(UNSEEN) == -1, detector.score_samples(UNSEEN) < -3
    )
    for verb in ("pixel_p_values", "defect_mask"):
        with pytest.raises(AttributeError, match=r"calibration_maps_.*recalibrate"):
            getattr(detector, verb)(UNSEEN)
    with pytest.raises(AttributeError, match="calibration_scores_"):
        detector.p_values(UNSEEN)


def test_another_fit_forgets_the_calibration():
    detector = make().fit(TALL)
    detector.set_params(calibration=-3.0).fit(TALL)
    for name in ("calibration_scores_", "calibration_maps_", "pixel_threshold_"):
        assert not hasattr(detector, name)


@pytest.mark.parametrize("calibration", ["loo", -3.0])
def test_recalibration(calibration):
    detector = make(calibration=calibration, smoothing=0.5).fit(TALL)
    fresh = drawn(30, seed=5)
    if calibration == "loo":
        detector.defect_mask(UNSEEN, fdr=0.1)  # what it remembers must go
    before = detector.anomaly_map(UNSEEN)
    assert detector.recalibrate(fresh, target_fpr=0.2) is detector
    maps = detector.anomaly_map(fresh)
    np.testing.assert_array_equal(detector.calibration_maps_, maps)
    np.testing.assert_array_equal(detector.calibration_scores_, -maps.max(axis=(1, 2)))
    assert detector.offset_ == np.sort(detector.calibration_scores_)[30 - 25]
    assert (maps > detector.pixel_threshold_).sum() == 17  # of 360, at 0.05
    np.testing.assert_array_equal(detector.anomaly_map(UNSEEN), before)
    assert detector.target_fpr == 0.05
    other = make(calibration=-1.0, smoothing=0.5).fit(TALL).recalibrate(fresh)
    np.testing.assert_array_equal(
        detector.defect_mask(with_defects(UNSEEN), fdr=0.1),
        other.defect_mask(with_defects(UNSEEN), fdr=0.1),
    )
    with pytest.raises(InvalidParameterError, match="'target_fpr' parameter of recalib"):
        detector.recalibrate(fresh, 1.5)


def test_too_few_images_and_places_to_certify():
    with pytest.warns(CalibrationWarning) as caught:
        detector = PatchGaussianDetector(target_fpr=0.01).fit(TALL)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "cannot certify target_fpr=0.01: at least 99 are needed" in messages[0]
    assert "480 places" in messages[1]
    assert "pixel_target_fpr=0.001: at least 999" in messages[1]
    assert {warning.filename for warning in caught} == {__file__}
    assert detector.offset_ == -np.inf
    assert detector.pixel_threshold_ == np.inf
    far = with_defects(UNSEEN, 1e6)
    assert (detector.predict(far) == 1).all()
    assert not detector.defect_mask(far).any()


@pytest.mark.parametrize("n", [5, 6, 7])
def test_nothing_is_flagged_where_every_image_alone_spans_a_direction(n):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector = make(shrinkage=0.0, target_fpr=0.3).fit(TALL[:n])
    kinds = {warning.category for warning in caught}
    assert kinds == (
        {CalibrationWarning, RankDeficientWarning} if n < 7 else {CalibrationWarning}
    )
    assert any("without one of the images" in str(w.message) for w in caught)
    assert np.isinf(detector.calibration_maps_).all()
    assert (detector.predict(UNSEEN + 100) == 1).all()
    assert not detector.defect_mask(UNSEEN + 100).any()
    assert not detector.defect_mask(UNSEEN + 100, fdr=0.3).any()


# ------------------------------------------------------------------ places of no variance
def test_a_place_where_nothing_varies():
    X = TALL.copy()
    X[:, 0, 0] = 1.0
    detector = make().fit(X)
    variance = X.var(axis=0).mean()
    Q = UNSEEN.copy()
    np.testing.assert_allclose(
        detector.mahalanobis(Q)[:, 0, 0], ((Q[:, 0, 0] - 1) ** 2).sum(axis=1) / variance
    )
    assert (detector.calibration_maps_[:, 0, 0] == 0).all()
    ridged = make(ridge=0.5).fit(X)
    np.testing.assert_allclose(
        ridged.mahalanobis(Q)[:, 0, 0], ((Q[:, 0, 0] - 1) ** 2).sum(axis=1) / 0.5
    )


@pytest.mark.parametrize("covariance", ["position", "shared"])
def test_images_that_are_all_equal_are_refused(covariance):
    X = np.repeat(TALL[:1], 5, axis=0)
    with pytest.raises(ValueError, match="All images are equal"):
        make(covariance=covariance).fit(X)


def test_directions_that_no_image_has_are_told_of():
    with pytest.warns(RankDeficientWarning, match="rank 6 in 7 channels"):
        make(shrinkage=0.0).fit(np.concatenate([TALL, TALL[..., :1]], axis=3))


def test_distances_beyond_float64_are_clipped():
    detector = make().fit(TALL)
    with pytest.warns(DistanceOverflowWarning, match="clipped") as caught:
        assert (detector.predict(UNSEEN * 1e200) == -1).all()
    assert {warning.filename for warning in caught} == {__file__}
    with pytest.warns(DistanceOverflowWarning):
        assert np.isfinite(detector.mahalanobis(UNSEEN * 1e200)).all()
    with pytest.warns(DistanceOverflowWarning):
        assert detector.anomaly_map(UNSEEN * 1e200, (50, 50)).shape == (7, 50, 50)


@pytest.mark.parametrize("size", [1e20, 1e40])
@by_shape
def test_far_images_under_float32(X, size):
    detector, far = make(precision="float32").fit(X), X[:3] * size
    want = make().fit(X).score_samples(far)
    np.testing.assert_allclose(detector.score_samples(far), want, 1e-4)


# ------------------------------------------------------------------ partial_fit
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_channels": 3, "reduction": "selection"},
        {"n_channels": 3, "reduction": "projection"},
        {"reduction": LowVariancePCA(n_components=3)},
        {"reduction": PCA(3)},
        {"covariance": "shared", "smoothing": 0.5},
        {"calibration": -2.0},
        {"precision": "float32", "n_jobs": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("stored", [False, True])
@by_shape
def test_chunks_give_what_one_fit_gives(X, stored, options, tmp_path):
    want = make(**options).fit(X)
    found = make(**options, storage=tmp_path if stored else None)
    for first in range(0, len(X), 13):
        assert found.partial_fit(X[first : first + 13]) is found
        if first == 13:
            found.score_samples(X)  # in between
    np.testing.assert_array_equal(found.anomaly_map(X), want.anomaly_map(X))
    assert found.offset_ == want.offset_
    np.testing.assert_array_equal(found.location_, want.location_)
    np.testing.assert_array_equal(found.shrinkage_, want.shrinkage_)
    if "calibration" not in options:
        np.testing.assert_array_equal(found.calibration_maps_, want.calibration_maps_)
        assert found.pixel_threshold_ == want.pixel_threshold_
    if stored:
        del found
        assert files(tmp_path) == []


def test_nothing_is_fitted_before_it_is_used(monkeypatch):
    detector = make()
    fits = []
    monkeypatch.setattr(type(detector), "_settle", lambda self: fits.append(self))
    for image in TALL:
        detector.partial_fit(image[None])
    assert fits == []


def test_what_is_fitted_follows_the_images():
    detector = make().partial_fit(TALL[:20])
    np.testing.assert_array_equal(detector.location_, make().fit(TALL[:20]).location_)
    detector.defect_mask(UNSEEN, fdr=0.2)
    detector.partial_fit(TALL[20:])
    np.testing.assert_array_equal(detector.location_, make().fit(TALL).location_)
    np.testing.assert_array_equal(
        detector.defect_mask(with_defects(UNSEEN), fdr=0.2),
        make().fit(TALL).defect_mask(with_defects(UNSEEN), fdr=0.2),
    )


def test_the_transformer_follows_the_images():
    detector = make(reduction=PCA(3)).partial_fit(TALL[:20])
    detector.score_samples(UNSEEN)
    detector.partial_fit(TALL[20:])
    want = make(reduction=PCA(3)).fit(TALL).reducer_.components_
    np.testing.assert_array_equal(detector.reducer_.components_, want)


def test_the_chunks_may_change_afterwards():
    chunk = TALL.copy()
    detector = make().partial_fit(chunk)
    chunk[:] = 0.0
    np.testing.assert_array_equal(
        detector.anomaly_map(UNSEEN), make().fit(TALL).anomaly_map(UNSEEN)
    )


def test_partial_fit_cannot_go_on_from_fit():
    detector = make().fit(TALL)
    assert not hasattr(detector, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        detector.partial_fit(TALL)
    assert hasattr(clone(detector), "partial_fit")
    stream = make().partial_fit(TALL)
    assert hasattr(stream, "partial_fit")
    assert not hasattr(stream.fit(TALL), "partial_fit")


def test_it_is_said_why_partial_fit_cannot_go_on():
    with pytest.raises(AttributeError) as caught:
        make().fit(TALL).partial_fit(TALL)
    reasons = [str(caught.value), str(caught.value.__cause__)]
    assert any("cannot go on from fit" in reason for reason in reasons)


def test_a_stream_of_one_image_says_what_it_lacks():
    detector = make().partial_fit(TALL[:1])
    for _ in range(2):
        with pytest.raises(ValueError, match="1 image; a covariance needs at least 2"):
            detector.predict(TALL)
    assert detector.partial_fit(TALL[1:]).predict(TALL).shape == (40,)


def test_chunks_are_checked():
    detector = make().partial_fit(TALL)
    with pytest.raises(ValueError, match=r"shape \(4, 3, 6\).*fitted to \(3, 4, 6\)"):
        detector.partial_fit(TALL.transpose(0, 2, 1, 3))
    with pytest.raises(ValueError, match="NaN"):
        detector.partial_fit(np.full_like(TALL, np.nan))
    with pytest.raises(InvalidParameterError, match="'smoothing'"):
        make(smoothing=-1).partial_fit(TALL)
    np.testing.assert_array_equal(
        detector.anomaly_map(UNSEEN), make().fit(TALL).anomaly_map(UNSEEN)
    )


# ------------------------------------------------------------------ flat rows and lists
@pytest.mark.parametrize("grid_shape", [(3, 4), [3, 4], (np.int64(3), 4)], ids=str)
def test_flat_rows_are_maps(grid_shape):
    flat = TALL.reshape(40, -1)
    want = make().fit(TALL)
    found = make(grid_shape=grid_shape).fit(flat)
    assert found.grid_shape_ == (3, 4)
    assert (found.n_channels_in_, found.n_features_in_) == (6, 72)
    np.testing.assert_array_equal(found.calibration_maps_, want.calibration_maps_)
    for X in (UNSEEN, UNSEEN.reshape(7, -1), UNSEEN.reshape(7, -1).tolist()):
        np.testing.assert_array_equal(found.anomaly_map(X), want.anomaly_map(UNSEEN))
    streamed = make(grid_shape=grid_shape).partial_fit(flat[:9]).partial_fit(TALL[9:])
    np.testing.assert_array_equal(streamed.calibration_maps_, want.calibration_maps_)


def test_frames_of_flat_rows():
    frame = pd.DataFrame(TALL.reshape(40, -1)).rename(columns=str)
    found = make(grid_shape=(3, 4)).fit(frame)
    np.testing.assert_array_equal(
        found.calibration_maps_, make().fit(TALL).calibration_maps_
    )
    assert found.feature_names_in_.shape == (72,)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_maps(kind):
    want = make().fit(TALL)
    found = make().fit(kind(TALL))
    np.testing.assert_array_equal(found.calibration_maps_, want.calibration_maps_)
    np.testing.assert_array_equal(
        found.anomaly_map(kind(UNSEEN)), want.anomaly_map(UNSEEN)
    )
    np.testing.assert_array_equal(make().fit(TALL.tolist()).location_, want.location_)


@pytest.mark.parametrize("grid_shape", [(3,), (3, 4, 6), (0, 4), (-3, -4), (3.0, 4), ()])
def test_grids_are_checked(grid_shape):
    with pytest.raises(ValueError, match="grid_shape must be two positive integers"):
        make(grid_shape=grid_shape).fit(TALL.reshape(40, -1))


@pytest.mark.parametrize("kind", ["fit", "scoring"])
def test_flat_rows_that_are_no_multiple_of_the_grid(kind):
    rows = TALL.reshape(40, -1)
    with pytest.raises(
        ValueError, match=r"grid_shape=\(5, 2\) has 10 places.*72 columns"
    ):
        make(grid_shape=(5, 2)).fit(rows)
    detector = make(grid_shape=(3, 4)).fit(rows)
    with pytest.raises(ValueError, match="X has 71 features, but PatchGaussianDetector"):
        detector.predict(rows[:, 1:])


@pytest.mark.parametrize("shape", [(40, 72), (40, 12, 6), (40, 3, 4, 6, 1), (40,)])
def test_what_are_no_maps_is_refused(shape):
    X = np.resize(TALL, shape)
    with pytest.raises(
        ValueError, match=r"takes maps \(n_images, H, W, n_channels\).*grid_shape"
    ):
        make().fit(X)
    detector = make().fit(TALL)
    with pytest.raises(ValueError, match="grid_shape"):
        detector.predict(X)


@pytest.mark.parametrize("grid_shape", [(2, 2), (3, 1), (12, 6)])
def test_a_grid_that_is_not_that_of_the_maps(grid_shape):
    with pytest.raises(ValueError, match="grid_shape"):
        make(grid_shape=grid_shape).fit(TALL).score_samples(UNSEEN.reshape(7, -1))


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"shrinkage": 1.5}, "shrinkage"),
        ({"shrinkage": "loo"}, "shrinkage"),
        ({"ridge": -0.1}, "ridge"),
        ({"covariance": "tied"}, "covariance"),
        ({"n_channels": 0}, "n_channels"),
        ({"n_channels": 2.5}, "n_channels"),
        ({"reduction": "pca"}, "reduction"),
        ({"reduction": 3}, "reduction"),
        ({"grid_shape": 3}, "grid_shape"),
        ({"grid_shape": "ab"}, "grid_shape"),
        ({"image_score": "mean"}, "image_score"),
        ({"image_score": 0.0}, "image_score"),
        ({"image_score": 1.1}, "image_score"),
        ({"smoothing": -1.0}, "smoothing"),
        ({"target_fpr": 0.0}, "target_fpr"),
        ({"pixel_target_fpr": 1.0}, "pixel_target_fpr"),
        ({"calibration": "chi2"}, "calibration"),
        ({"calibration": math.nan}, "calibration"),
        ({"precision": "float16"}, "precision"),
        ({"storage": 3}, "storage"),
        ({"memory_limit": 0}, "memory_limit"),
        ({"n_jobs": 1.5}, "n_jobs"),
        ({"random_state": "a"}, "random_state"),
    ],
    ids=str,
)
def test_parameters_are_checked(options, name):
    with pytest.raises(
        InvalidParameterError, match=f"'{name}' parameter of PatchGaussianDetector must"
    ):
        make(**options).fit(TALL)


def test_no_jobs_are_refused():
    with pytest.raises(ValueError, match="n_jobs"):
        make(n_jobs=0).fit(TALL)


@pytest.mark.parametrize("fdr", [0, 1, -0.1, "a", math.nan])
def test_the_false_discovery_rate_is_checked(fdr):
    with pytest.raises(InvalidParameterError, match="'fdr' parameter of defect_mask"):
        make().fit(TALL).defect_mask(UNSEEN, fdr=fdr)


def replaced(value, dtype=None):
    X = TALL.astype(dtype or TALL.dtype)
    X[3, 1, 2, 4] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (replaced(np.nan), ValueError, "Input X contains NaN"),
        (replaced(np.inf), ValueError, "infinity"),
        (replaced("a", object), ValueError, "not numbers"),
        (TALL.astype(str), ValueError, "not numbers"),
        (TALL.astype("datetime64[s]"), ValueError, "not numbers"),
        (TALL + 1j, ValueError, "[Cc]omplex"),
        (np.ma.masked_greater(TALL, 1), TypeError, "X is a masked array"),
        (np.ma.masked_array(TALL), TypeError, "X is a masked array"),
        (TALL[:1], ValueError, "1 sample.*minimum of 2 is required"),
        (TALL[:0], ValueError, "0 sample"),
        (TALL[..., :0], ValueError, "0 feature"),
        (TALL[:, :0], ValueError, "0 feature"),
        (3.0, ValueError, "grid_shape"),
        (None, ValueError, "grid_shape"),
    ],
)
def test_maps_are_checked(X, error, message):
    with pytest.raises(error, match=message):
        make().fit(X)


def test_a_list_of_masked_maps_is_refused():
    with pytest.raises(TypeError, match="masked"):
        make().fit([np.ma.masked_greater(one, 1) for one in TALL])


def test_a_list_of_maps_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match=r"\bX\b|maps"):
        make().fit([TALL[0], TALL[1][:2]])


@pytest.mark.parametrize("verb", ["predict", "anomaly_map", "mahalanobis", "recalibrate"])
def test_queries_are_checked(verb):
    call = getattr(make().fit(TALL), verb)
    for X in (TALL.transpose(0, 2, 1, 3), TALL[:, :2], TALL[..., :3], WIDE):
        with pytest.raises(
            ValueError, match=r"X has maps of shape .*fitted to \(3, 4, 6\)"
        ):
            call(X)
    with pytest.raises(ValueError, match="NaN"):
        call(replaced(np.nan))
    with pytest.raises(TypeError, match="masked"):
        call(np.ma.masked_greater(TALL, 1))


@pytest.mark.parametrize(
    "verb",
    [
        "score_samples",
        "decision_function",
        "predict",
        "score",
        "p_values",
        "anomaly_map",
        "pixel_p_values",
        "defect_mask",
        "mahalanobis",
        "recalibrate",
    ],
)
def test_not_fitted(verb):
    with pytest.raises(
        NotFittedError, match="PatchGaussianDetector instance is not fitted"
    ):
        getattr(make(), verb)(TALL)


@pytest.mark.parametrize(
    "name",
    ["offset_", "pixel_threshold_", "calibration_maps_", "location_", "shrinkage_"],
)
def test_attributes_before_fit_are_missing(name):
    assert not hasattr(make(), name)


# ------------------------------------------------------------ the input is only read
def in_file(X, folder):
    array = np.lib.format.open_memmap(folder / "maps.npy", "w+", X.dtype, X.shape)
    array[:] = X
    array.flush()
    return np.load(folder / "maps.npy", mmap_mode="r")


def locked(X, folder):
    X = X.copy()
    X.setflags(write=False)
    return X


def channels_first(X, folder):
    return np.ascontiguousarray(X.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)


LAYOUTS = {
    "read-only": locked,
    "Fortran order": lambda X, folder: np.asfortranarray(X),
    "memory-mapped": in_file,
    "channels first": channels_first,
    "every other": lambda X, folder: np.repeat(X, 2, axis=0)[::2],
    "big-endian": lambda X, folder: X.astype(">f8"),
    "objects": lambda X, folder: X.astype(object),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("covariance", ["position", "shared"])
@by_shape
def test_layouts_agree_and_are_only_read(X, covariance, layout, tmp_path):
    laid_out = LAYOUTS[layout](X, tmp_path)
    detector = make(covariance=covariance, smoothing=0.5).fit(laid_out)
    want = make(covariance=covariance, smoothing=0.5).fit(X)
    np.testing.assert_allclose(
        detector.calibration_maps_, want.calibration_maps_, rtol=1e-12
    )
    np.testing.assert_allclose(
        detector.anomaly_map(laid_out), want.anomaly_map(X), rtol=1e-12
    )
    detector.defect_mask(laid_out, (5, 5), fdr=0.3)
    detector.recalibrate(laid_out)
    np.testing.assert_array_equal(laid_out, X)
    streamed = make(covariance=covariance, smoothing=0.5).partial_fit(laid_out)
    np.testing.assert_allclose(streamed.offset_, want.offset_)
    np.testing.assert_array_equal(laid_out, X)


def test_whole_numbers_are_maps():
    X = np.round(TALL * 10).astype(np.int16)
    np.testing.assert_array_equal(
        make().fit(X).calibration_maps_, make().fit(X.astype(float)).calibration_maps_
    )


def test_results_do_not_alias_what_is_kept():
    detector = make().fit(TALL)
    want = detector.anomaly_map(UNSEEN)
    for array in (detector.anomaly_map(UNSEEN), detector.mahalanobis(UNSEEN)):
        array[:] = 0.0
    np.testing.assert_array_equal(detector.anomaly_map(UNSEEN), want)


def test_an_image_alone_is_as_among_others():
    detector = make().fit(WIDE)
    together = detector.anomaly_map(np.tile(WIDE, (2, 1, 1, 1)))  # two blocks of images
    assert len(together) > 32
    for i in (0, 19, 39):
        np.testing.assert_allclose(
            detector.anomaly_map(WIDE[i % 20][None])[0], together[i], rtol=1e-12
        )


# ------------------------------------------------------------------ scikit-learn's tools
OPTIONS = {
    "shrinkage": "oas",
    "ridge": 0.1,
    "n_channels": 4,
    "reduction": "projection",
    "grid_shape": (3, 4),
    "image_score": 0.5,
    "smoothing": 0.3,
    "target_fpr": 0.1,
    "pixel_target_fpr": 0.02,
    "precision": "float32",
    "memory_limit": 100,
    "n_jobs": 1,
    "random_state": 7,
}


def test_clones_have_the_parameters_and_nothing_else():
    detector = PatchGaussianDetector(**OPTIONS).fit(TALL)
    other = clone(detector)
    assert other.get_params() == detector.get_params()
    assert OPTIONS.items() <= other.get_params().items()
    assert not hasattr(other, "offset_")
    assert vars(other).keys() == other.get_params().keys()
    assert detector.get_params()["n_channels"] == 4
    np.testing.assert_array_equal(
        other.fit(TALL).calibration_maps_, detector.calibration_maps_
    )


@pytest.mark.parametrize(
    "options", [{}, OPTIONS, {"covariance": "shared"}, {"reduction": PCA(2)}], ids=str
)
@pytest.mark.parametrize(
    "copied", [lambda d: pickle.loads(pickle.dumps(d)), copy.deepcopy]
)
def test_copies_are_equal_and_their_own(copied, options):
    for begun in (make(**options).fit(TALL), make(**options).partial_fit(TALL)):
        other = copied(begun)
        np.testing.assert_array_equal(
            other.anomaly_map(UNSEEN, (5, 5)), begun.anomaly_map(UNSEEN, (5, 5))
        )
        np.testing.assert_array_equal(
            other.defect_mask(UNSEEN, fdr=0.2), begun.defect_mask(UNSEEN, fdr=0.2)
        )
        assert hasattr(other, "partial_fit") == hasattr(begun, "partial_fit")
        other.recalibrate(drawn(25, seed=8))
        assert other.offset_ != begun.offset_


def test_labels_are_ignored():
    want = make().fit(TALL).offset_
    assert make().fit(TALL, np.arange(40)).offset_ == want
    assert make().partial_fit(TALL, np.arange(40)).offset_ == want


def test_behind_a_network():
    pytest.importorskip("torch", reason="the network runs in torch")
    from sklearn_gauss.feature_extraction import CNNFeatureExtractor

    rng = np.random.default_rng(0)
    part = rng.integers(50, 200, (32, 32, 3))
    images = (part + rng.integers(-20, 20, (24, 32, 32, 3))).astype(np.uint8)
    extractor = CNNFeatureExtractor(
        "tiny", input_size=32, pooling="none", levels=["stem"]
    )
    detector = make(n_channels=8, pixel_target_fpr=0.01)
    pipeline = make_pipeline(extractor, detector).fit(images)
    spoiled = images[:4].copy()
    spoiled[:, 8:16, 8:16] = 0
    spoiled[:, 8:16, 8:16, 0] = 255
    assert (pipeline.predict(spoiled) == -1).all()
    maps = detector.anomaly_map(pipeline[:-1].transform(spoiled), (32, 32))
    places = [np.unravel_index(one.argmax(), one.shape) for one in maps]
    assert all(4 <= i < 20 and 4 <= j < 20 for i, j in places)
    assert np.isfinite(pipeline.score(images))


def test_in_a_search():
    X = np.concatenate([TALL, with_defects(drawn(10, seed=4), 2.0)])
    y = np.repeat([1, -1], [40, 10])
    search = GridSearchCV(
        make(calibration=-1.0),
        {"n_channels": [3, 6], "image_score": ["max", 1.0], "ridge": [0.0, 0.1]},
        scoring=anomaly_scorer("roc_auc"),
        cv=NormalKFold(4),
        refit=False,
        error_score="raise",
    )
    search.fit(X, y)
    assert search.best_params_["image_score"] == "max"
    assert 0.8 < search.best_score_ <= 1
    plain = GridSearchCV(make(), {"covariance": ["position", "shared"]}, cv=3)
    plain.fit(TALL)  # by the mean score
    assert plain.best_params_["covariance"] in ("position", "shared")
    assert plain.predict(UNSEEN).shape == (7,)
    assert cross_val_score(make(), TALL, cv=3).shape == (3,)


# ------------------------------------------------------------------ what fit decided
@pytest.mark.parametrize(
    ("fitted", "changed"),
    [
        ({"smoothing": 1.0}, {"smoothing": 0.0}),
        ({"image_score": 0.5}, {"image_score": "max"}),
    ],
)
def test_thresholds_go_with_the_maps_that_they_were_set_for(fitted, changed):
    detector = make(**fitted).fit(TALL)
    want = detector.score_samples(UNSEEN), detector.anomaly_map(UNSEEN)
    detector.set_params(**changed)
    np.testing.assert_array_equal(detector.score_samples(UNSEEN), want[0])
    np.testing.assert_array_equal(detector.anomaly_map(UNSEEN), want[1])
    detector.recalibrate(UNSEEN, target_fpr=0.2)
    np.testing.assert_array_equal(detector.calibration_scores_, want[0])


def test_another_fit_leaves_nothing_of_the_one_before():
    detector = make().fit(TALL).set_params(calibration=-5.0).fit(7 * TALL)
    assert detector.offset_ == -5.0
    for name in ("calibration_maps_", "calibration_scores_", "pixel_threshold_"):
        assert not hasattr(detector, name)


def test_a_left_out_place_of_no_variance_is_that_of_a_refit():
    rng = np.random.default_rng(0)
    maps = np.zeros((30, 2, 2, 3))
    maps[:, 0, 0] = 1e-3 * rng.normal(size=(30, 3))
    maps[3, 1, 1] = 5.0
    found = make().fit(maps).calibration_maps_[3, 1, 1]
    refit = make().fit(np.delete(maps, 3, axis=0)).anomaly_map(maps[3:4])[0, 1, 1]
    assert found == pytest.approx(refit, rel=1e-9)


def test_a_shared_covariance_of_nearly_collinear_channels():
    """From the rows themselves: their products have lost the small direction."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(40, 2, 2, 4))
    maps[..., 3] = maps[..., 0] + 1e-7 * maps[..., 3]
    Z = (maps - maps.mean(axis=0)).reshape(-1, 4)
    roots = np.linalg.qr(Z, mode="r") / np.sqrt(len(Z))
    gaps = (maps[:3] - maps.mean(axis=0)).reshape(-1, 4)
    want = (np.linalg.solve(roots.T, gaps.T) ** 2).sum(axis=0)
    found = make(covariance="shared", shrinkage=0.0).fit(maps).mahalanobis(maps[:3])
    np.testing.assert_allclose(found.ravel(), want, rtol=1e-5)


def test_float32_maps_are_projected_in_float64():
    rng = np.random.default_rng(0)
    maps = (rng.normal(size=(40, 2, 2, 30)) + 1e4).astype(np.float32)
    detector = make(reduction="projection", n_channels=5)
    found = detector.fit(maps).anomaly_map(maps)
    want = detector.fit(maps.astype(np.float64)).anomaly_map(maps.astype(np.float64))
    np.testing.assert_allclose(found, want, rtol=1e-9)
