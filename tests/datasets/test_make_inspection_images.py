import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from sklearn_gauss.datasets import make_inspection_images
from sklearn_gauss.datasets._products import DEFECT, PRODUCTS, draw_pair

KINDS = list(PRODUCTS)
PAIRS = [(kind, defect) for kind in KINDS for defect in PRODUCTS[kind].defects]
FEW = {"n_train": 2, "n_good": 2, "n_defect": 3, "size": 64}


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_types_labels_and_counts(kind):
    images = make_inspection_images(kind, **FEW, random_state=0)
    assert images.train.shape == (2, 64, 64, 3)
    assert images.test.shape == (5, 64, 64, 3)
    assert images.train.dtype == images.test.dtype == np.uint8
    assert images.masks.shape == (5, 64, 64)
    assert images.masks.dtype == bool
    assert images.y_test.tolist() == [1, 1, -1, -1, -1]
    assert images.y_test.dtype.kind == "i"
    assert images.defect_names == list(PRODUCTS[kind].defects)
    assert images.defect.tolist() == ["good", "good", *images.defect_names[:3]]
    assert images.kind == kind
    assert kind in images.DESCR
    assert not images.masks[:2].any()


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes(kind):
    first = make_inspection_images(kind, **FEW, random_state=3)
    again = make_inspection_images(kind, **FEW, random_state=3)
    other = make_inspection_images(kind, **FEW, random_state=4)
    for field in ("train", "test", "masks"):
        assert first[field].tobytes() == again[field].tobytes()
    assert first.train.tobytes() != other.train.tobytes()


def test_random_state_accepts_what_scikit_learn_accepts():
    a = make_inspection_images(**FEW, random_state=np.random.RandomState(5))
    b = make_inspection_images(**FEW, random_state=5)
    np.testing.assert_array_equal(a.test, b.test)

    rng = np.random.default_rng(5)
    c = make_inspection_images(**FEW, random_state=rng)
    d = make_inspection_images(**FEW, random_state=rng)
    e = make_inspection_images(**FEW, random_state=np.random.default_rng(5))
    np.testing.assert_array_equal(c.test, e.test)
    assert (c.test != d.test).any()
    assert make_inspection_images(**FEW, random_state=None).test.shape == c.test.shape


@pytest.mark.parametrize("kind", KINDS)
def test_more_images_leave_the_first_ones_alone(kind):
    few = make_inspection_images(kind, **FEW, random_state=1)
    many = make_inspection_images(
        kind, n_train=4, n_good=3, n_defect=5, size=64, random_state=1
    )
    np.testing.assert_array_equal(few.train, many.train[:2])
    np.testing.assert_array_equal(few.test[:2], many.test[:2])
    np.testing.assert_array_equal(few.test[2:], many.test[3:6])
    np.testing.assert_array_equal(few.masks[2:], many.masks[3:6])


def test_all_images_differ():
    images = make_inspection_images(
        "metal", n_train=6, n_good=6, n_defect=6, size=32, random_state=0
    )
    drawn = np.concatenate([images.train, images.test])
    assert len({image.tobytes() for image in drawn}) == 18


@pytest.mark.parametrize(("kind", "defect"), PAIRS)
def test_every_defect_is_visible_local_and_exactly_masked(kind, defect):
    for i in range(2):
        image, mask, twin = draw_pair(kind, 128, defect, 1.0, 7, DEFECT, i)
        changed = (image != twin).any(axis=2)
        assert not (changed & ~mask).any()
        assert changed[mask].mean() > 0.85
        assert 10 <= mask.sum() < 0.15 * mask.size
        gap = np.abs(image.astype(int) - twin).max(axis=2)
        assert np.median(gap[mask]) >= 5
        assert gap.max() >= 15


@pytest.mark.parametrize("kind", KINDS)
def test_defects_are_drawn_onto_the_normal_image_of_the_same_state(kind):
    names = PRODUCTS[kind].defects[:3]
    twins = [draw_pair(kind, 64, d, s, 2, DEFECT, 1)[2] for d in names for s in (1, 2)]
    for twin in twins[1:]:
        np.testing.assert_array_equal(twin, twins[0])


def test_chosen_defects_and_empty_groups():
    images = make_inspection_images(
        "bolt", n_train=0, n_good=0, n_defect=2, size=64, defects=["bent"], random_state=0
    )
    assert images.train.shape == (0, 64, 64, 3)
    assert images.masks.any(axis=(1, 2)).all()
    assert images.defect.tolist() == ["bent", "bent"]


@pytest.mark.parametrize("kind", KINDS)
def test_severity_scales_area_and_contrast(kind):
    def damage(severity):
        total = 0
        for i, defect in enumerate(PRODUCTS[kind].defects):
            image, _, twin = draw_pair(kind, 96, defect, severity, 11, DEFECT, i)
            total += np.abs(image.astype(int) - twin).sum()
        return total

    assert damage(0.3) < damage(1.0) < damage(2.0)


@pytest.mark.parametrize("severity", [1e-12, 0.05, 20.0])
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_severities_keep_the_mask_exact(kind, severity):
    for defect in PRODUCTS[kind].defects:
        image, mask, twin = draw_pair(kind, 33, defect, severity, 0, DEFECT, 0)
        assert not ((image != twin).any(axis=2) & ~mask).any()


@pytest.mark.parametrize("kind", KINDS)
def test_normal_images_vary_and_stay_in_range(kind):
    train = make_inspection_images(
        kind, n_train=8, n_good=0, n_defect=0, size=64, random_state=2
    ).train.astype(float)
    light = train.mean(axis=(1, 2, 3))
    assert light.std() > 1
    assert train.std(axis=0).mean() > 3
    assert 30 < train.mean() < 225
    assert ((train == 0) | (train == 255)).mean() < 0.08


@pytest.mark.parametrize("kind", ["fabric", "wood", "washer", "board"])
def test_simple_features_find_some_defects_but_not_all(kind):
    """A simple detector is neither perfect nor at chance over two products."""
    areas = []
    for seed in range(2):
        images = make_inspection_images(
            kind, n_train=40, n_good=20, n_defect=30, size=96, random_state=seed
        )
        train, test = _features(images.train), _features(images.test)
        distance = LedoitWolf().fit(train).mahalanobis(test)
        areas.append(roc_auc_score(images.y_test, -distance))
    assert 0.54 < np.mean(areas) < 0.99


def _features(images):
    grey = images.mean(axis=3) / 255
    responses = [images.mean(axis=(1, 2)) / 255]
    for sigma in (1, 2, 4):
        band = gaussian_filter(grey, (0, sigma, sigma))
        band = np.abs(band - gaussian_filter(grey, (0, 2 * sigma, 2 * sigma)))
        band = band.reshape(len(grey), -1)
        responses.append(np.quantile(band, (0.5, 0.9, 0.99, 1), axis=1).T)
    return np.log(np.concatenate(responses, axis=1) + 1e-4)


def test_bunch_pickles():
    images = make_inspection_images(**FEW, random_state=0)
    copy = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(copy.test, images.test)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"kind": "cheese"}, ValueError, "kind must be one of .*'tile'.*'cheese'"),
        ({"kind": 3}, ValueError, "kind must be"),
        ({"n_train": -1}, ValueError, "n_train must be at least 0"),
        ({"n_good": 2.0}, TypeError, "n_good must be an int"),
        ({"n_defect": True}, TypeError, "n_defect must be an int"),
        ({"size": 31}, ValueError, "size must be at least 32"),
        ({"size": "big"}, TypeError, "size must be an int"),
        ({"defects": "scratch"}, ValueError, "defects must be 'all' or a list"),
        ({"defects": None}, ValueError, "defects must be 'all' or a list"),
        ({"defects": []}, ValueError, "defects must be"),
        ({"defects": ["stain", "stain"]}, ValueError, "different names"),
        ({"defects": ["bent"]}, ValueError, "defects.*kind='tile'.*'bent'"),
        ({"severity": 0}, ValueError, "severity must be positive"),
        ({"severity": np.nan}, ValueError, "severity must be positive and finite"),
        ({"severity": np.inf}, ValueError, "severity must be positive and finite"),
        ({"severity": "high"}, TypeError, "severity must be a number"),
        ({"random_state": "seed"}, ValueError, "seed"),
    ],
)
def test_wrong_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        make_inspection_images(**parameters)


def test_import_is_light():
    code = (
        "import sys, sklearn_gauss.datasets;"
        "heavy = {'torch', 'torchvision', 'timm', 'PIL', 'matplotlib'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
