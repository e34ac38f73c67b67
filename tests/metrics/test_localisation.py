"""Metrics of maps against loops from their definitions, and what must not change them."""

import localisation_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
)

from sklearn_gauss.metrics import (
    aupro_score,
    pixel_average_precision_score,
    pixel_f1_max_score,
    pixel_roc_auc_score,
    pro_curve,
)

SCORES = {
    "aupro": aupro_score,
    "average_precision": pixel_average_precision_score,
    "f1_max": pixel_f1_max_score,
    "roc_auc": pixel_roc_auc_score,
}
by_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
few = settings(deadline=None, max_examples=40)


@st.composite
def drawn_images(draw):
    """Masks and maps of up to four small images of several sizes, full of ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    density = draw(st.sampled_from([0.1, 0.4, 0.9]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16, np.uint8, int]))
    masks, maps = [], []
    for _ in range(draw(st.integers(1, 4))):
        size = rng.integers(1, 7, 2)
        masks.append(rng.random(size) < density if rng.random() < 0.7 else None)
        noise = rng.integers(0, levels, size) + (rng.integers(0, 3, size) == 0)
        shift = draw(st.integers(0, 1)) * (0 if masks[-1] is None else masks[-1])
        maps.append((noise % 251 + shift).astype(dtype))
    masks.append(np.array([[True, False]]))
    maps.append(rng.integers(0, 3, (1, 2)).astype(dtype))
    return masks, maps


def every_score(masks, maps):
    return [score(masks, maps) for score in SCORES.values()]


@given(
    drawn_images(), st.sampled_from([0.01, 0.05, 0.3, 0.5, 1.0]), st.sampled_from([1, 2])
)
@few
def test_aupro_by_brute_force(images, max_fpr, connectivity):
    got = aupro_score(*images, max_fpr=max_fpr, connectivity=connectivity)
    expected = reference.aupro(*images, max_fpr, connectivity)
    assert got == pytest.approx(expected, abs=1e-12)
    assert 0 <= got <= 1


@given(drawn_images(), st.sampled_from([1, 2]))
@few
def test_pro_curve_by_brute_force(images, connectivity):
    masks, maps = images
    fpr, pro, thresholds = pro_curve(masks, maps, connectivity=connectivity)
    assert fpr[0] == pro[0] == 0
    assert fpr[-1] == pro[-1] == 1
    assert np.isposinf(thresholds[0])
    assert (np.diff(thresholds) < 0).all()
    assert ((np.diff(fpr) > 0) | (np.diff(pro) > 0)).all()
    all_points = dict(
        zip(
            [np.inf, *map(float, reference.thresholds_of(maps))],
            reference.pro_points(masks, maps, connectivity),
            strict=True,
        )
    )
    points = np.array([all_points[t] for t in thresholds])
    np.testing.assert_allclose(np.column_stack([fpr, pro]), points, atol=1e-12)
    for t in set(all_points) - set(thresholds):  # these lie amid a level stretch
        x, y = all_points[t]
        i = np.flatnonzero(thresholds < t)[0]
        assert fpr[i - 1] < x < fpr[i]
        assert pro[i - 1] == pytest.approx(y)
        assert pro[i] == pytest.approx(y)


@given(drawn_images())
@few
def test_scores_of_pixels_by_brute_force(images):
    heaps = reference.pixels_of(*images)
    assert pixel_roc_auc_score(*images) == pytest.approx(
        reference.roc_auc(*map(np.float64, heaps)), abs=1e-12
    )
    assert pixel_average_precision_score(*images) == pytest.approx(
        reference.average_precision(*heaps), abs=1e-12
    )
    score, threshold = pixel_f1_max_score(*images, return_threshold=True)
    assert (score, threshold) == reference.f1_max(*heaps)
    assert type(score) is type(threshold) is float
    assert pixel_f1_max_score(*images) == score


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_pixels_score_as_scikit_learn_scores_them_one_by_one(rng, dtype):
    masks = rng.random((20, 64, 48)) < 0.03
    maps = (rng.normal(size=masks.shape) + masks).astype(dtype)
    y, scores = masks.ravel(), maps.ravel()
    assert pixel_roc_auc_score(masks, maps) == pytest.approx(
        roc_auc_score(y, scores), abs=1e-12
    )
    assert pixel_average_precision_score(masks, maps) == pytest.approx(
        average_precision_score(y, scores), abs=1e-12
    )
    precision, recall, thresholds = precision_recall_curve(y, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    expected = f1.max(), thresholds[f1.argmax()]
    assert pixel_f1_max_score(masks, maps, return_threshold=True) == pytest.approx(
        expected, abs=1e-12
    )


TRANSFORMS = {
    "affine": lambda v: 0.25 * v.astype(float) - 7,
    "shrunk": lambda v: 1e-300 * v.astype(float),
    "exponential": lambda v: np.exp(v.astype(float) / 100),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@given(images=drawn_images())
@settings(deadline=None, max_examples=20)
def test_only_the_order_of_map_values_counts(name, images):
    masks, maps = images
    moved = [TRANSFORMS[name](values) for values in maps]
    np.testing.assert_allclose(
        every_score(masks, moved), every_score(masks, maps), rtol=0, atol=1e-13
    )


@given(drawn_images(), st.booleans())
@few
def test_infinities_are_values_like_any_other(images, at_the_top):
    masks, maps = images
    edge, value = (max, np.inf) if at_the_top else (min, -np.inf)
    extreme = edge(reference.thresholds_of(maps))
    moved = [np.where(values == extreme, value, values * 1.0) for values in maps]
    np.testing.assert_allclose(
        every_score(masks, moved), every_score(masks, maps), rtol=0, atol=1e-13
    )


@given(drawn_images(), st.randoms(use_true_random=False))
@few
def test_the_order_of_images_does_not_count(images, random):
    masks, maps = images
    order = random.sample(range(len(maps)), len(maps))
    mixed = [masks[i] for i in order], [maps[i] for i in order]
    np.testing.assert_allclose(
        every_score(*mixed), every_score(masks, maps), rtol=0, atol=1e-13
    )


@given(drawn_images(), st.integers(2, 3))
@settings(deadline=None, max_examples=30)
def test_finer_pixels_score_the_same(images, factor):
    """Areas grow alike, and pixels that touch at corners still do."""
    masks, maps = images
    grown = [
        [None if a is None else np.kron(a, np.ones((factor, factor), a.dtype)) for a in b]
        for b in images
    ]
    np.testing.assert_allclose(
        every_score(*grown), every_score(masks, maps), rtol=0, atol=1e-12
    )


@given(drawn_images())
@settings(deadline=None, max_examples=20)
def test_perfect_and_reversed_maps(images):
    masks, maps = images
    perfect = [
        np.zeros(values.shape) if mask is None else mask.astype(float)
        for mask, values in zip(masks, maps, strict=True)
    ]
    assert every_score(masks, perfect) == [1.0] * 4
    reversed_maps = [-values for values in perfect]
    assert aupro_score(masks, reversed_maps) == pixel_roc_auc_score(masks, reversed_maps)
    assert aupro_score(masks, reversed_maps) == 0


@given(drawn_images(), st.sampled_from([0.05, 0.3, 1.0]))
@settings(deadline=None, max_examples=20)
def test_constant_maps_score_as_chance(images, max_fpr):
    """The curve is the diagonal; precision is the share of defective pixels."""
    masks, maps = images
    constant = [np.full(values.shape, 3.5) for values in maps]
    share = sum(0 if mask is None else mask.sum() for mask in masks) / sum(
        values.size for values in maps
    )
    assert aupro_score(masks, constant, max_fpr=max_fpr) == pytest.approx(max_fpr / 2)
    assert pixel_roc_auc_score(masks, constant) == 0.5
    assert pixel_average_precision_score(masks, constant) == pytest.approx(share)
    f1, threshold = pixel_f1_max_score(masks, constant, return_threshold=True)
    assert f1 == pytest.approx(2 * share / (1 + share))
    assert threshold == 3.5
    for got, expected in zip(
        pro_curve(masks, constant), ([0, 1], [0, 1], [np.inf, 3.5]), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_a_small_region_counts_as_much_as_a_large_one():
    mask = np.zeros((40, 40), bool)
    mask[:20, :20] = mask[30, 30] = True
    found = mask.astype(float)
    found[30, 30] = 0
    assert aupro_score([mask], [found]) == pytest.approx(0.5 + 0.5 * 0.15)
    assert pixel_roc_auc_score([mask], [found]) > 0.998


def test_connectivity_decides_on_corners():
    mask = np.eye(4, dtype=bool)
    mask[0, 3] = True
    maps = np.zeros((4, 4))
    maps[0, 3] = 1
    for connectivity, n_regions in ((2, 2), (1, 5)):
        _, pro, _ = pro_curve([mask], [maps], connectivity=connectivity)
        assert pro[1] == pytest.approx(1 / n_regions)
        assert len(reference.regions_of(mask, connectivity)) == n_regions
    assert aupro_score([mask], [maps]) == aupro_score([mask], [maps], connectivity=2)


def test_regions_end_at_their_image():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 1], masks[1, 0] = True, True
    maps = np.zeros(masks.shape)
    maps[0, 1] = 1
    assert pro_curve(masks, maps)[1].tolist() == [0, 0.5, 1]


def test_pixels_of_good_images_are_false_positives():
    mask, values = np.array([[1, 0]]), np.array([[1.0, 0.0]])
    good = np.array([[2.0, 0.0, 0.0]])
    for blank in (None, np.zeros((1, 3), bool)):
        fpr, pro, thresholds = pro_curve([mask, blank], [values, good])
        assert thresholds.tolist() == [np.inf, 2, 1, 0]
        assert fpr.tolist() == [0, 0.25, 0.25, 1]
        assert pro.tolist() == [0, 0, 1, 1]


def test_max_fpr_cuts_a_line():
    """A hit of half the region, then a tie that holds all else."""
    mask, values = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]])
    for max_fpr in (0.1, 0.3, 1.0):
        assert aupro_score([mask], [values], max_fpr=max_fpr) == pytest.approx(
            0.5 + max_fpr / 4
        )
    assert aupro_score([mask], [values], max_fpr=1) == aupro_score(
        [mask], [values], max_fpr=1.0
    )


def test_neighbouring_floats_are_told_apart_and_signed_zeros_are_not():
    low = np.float32(1000)
    high = np.nextafter(low, np.float32(np.inf))
    mask, values = np.array([[1, 0, 0]]), np.array([[high, low, low]])
    assert values.dtype == np.float32
    assert every_score([mask], [values]) == [1.0] * 4
    mixed = [values, np.array([[float(low)]])]
    assert pixel_roc_auc_score([mask, None], mixed) == 1.0
    threshold = pixel_f1_max_score([mask], [values], return_threshold=True)[1]
    np.testing.assert_array_equal(values >= threshold, mask == 1)
    zeros = np.array([[0.0, -0.0, 0.0]])
    assert pixel_roc_auc_score([mask], [zeros]) == 0.5
    assert len(pro_curve([mask], [zeros])[0]) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, bool])
def test_maps_of_integers_and_of_verdicts(dtype):
    mask = np.array([[1, 1, 0, 0]])
    values = np.array([[1, 0, 0, 0]], dtype=dtype)
    as_float = values.astype(float)
    assert every_score([mask], [values]) == every_score([mask], [as_float])
    fpr, pro, thresholds = pro_curve([mask], [values])
    assert thresholds.dtype == fpr.dtype == pro.dtype == np.float64


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        np.uint8,
        lambda m: (255 * m).astype(np.uint8),
        lambda m: (65535 * m).astype(np.uint16),
        lambda m: m.astype(np.float32),
        lambda m: m.tolist(),
        lambda m: m[:, ::-1][:, ::-1],
    ],
)
@by_score
def test_kinds_of_masks(score, convert, rng):
    masks = rng.random((3, 5, 7)) < 0.3
    maps = rng.random((3, 5, 7))
    expected = score(masks, maps)
    assert score([convert(mask) for mask in masks], list(maps)) == expected
    assert score(tuple(masks), maps.tolist()) == expected


@by_score
def test_inputs_stay_as_they_are(score, rng):
    masks, maps = rng.random((2, 4, 5)) < 0.5, rng.random((2, 4, 5))
    kept = masks.copy(), maps.copy()
    masks.flags.writeable = maps.flags.writeable = False
    score(masks, maps)
    score([masks[0]], [maps[0]])
    np.testing.assert_array_equal(masks, kept[0])
    np.testing.assert_array_equal(maps, kept[1])
