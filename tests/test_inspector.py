"""make_inspector: the recipe from good images to a verdict, at the size of a stamp."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

if find_spec("torch") is None:
    pytest.skip("torch is absent", allow_module_level=True)

import pickle

from PIL import Image

from sklearn_gauss.datasets import SyntheticDefects, make_inspection_images
from sklearn_gauss.datasets._synthetic_kinds import SYNTHETIC_KINDS
from sklearn_gauss.detection import DetectorEnsemble
from sklearn_gauss.exceptions import CalibrationWarning
from sklearn_gauss.inspector import make_inspector

IMAGES = make_inspection_images("metal", n_train=20, n_good=6, size=32, random_state=0)
FEW = SyntheticDefects(["stain", "scratch"], n_per_image=1)
SMALL = {"defects": FEW, "cv": 2, "target_fpr": 0.1, "input_size": 32}


def small(**options):
    """An inspector with maps of four by four cells, which is set by name."""
    inspector = make_inspector("tiny", **SMALL | options)
    grids = [k for k, v in inspector.get_params().items() if k.endswith("__grid") and v]
    assert len(grids) >= 3
    return inspector.set_params(**dict.fromkeys(grids, 4))


def fronts(inspector):
    return [member[0] for _, member in inspector.estimators]


@pytest.fixture(scope="module")
def fitted():
    return small().fit(IMAGES.train)


# ----------------------------------------------------------------------------- parameters
def test_parameters_reach_every_extractor():
    inspector = make_inspector(
        "tiny", input_size=48, mean=[0.1] * 3, device="cpu", cache="folder", batch_size=3
    )
    for front in fronts(inspector):
        assert (front.backbone, front.input_size, front.cache) == ("tiny", 48, "folder")
        assert (front.mean, front.device, front.batch_size) == ([0.1] * 3, "cpu", 3)
    assert {front.pooling for front in fronts(inspector)} == {"avg", "max", "none"}


def test_parameters_reach_the_ensemble():
    inspector = make_inspector(combine="sum", target_fpr=0.2, cv=3, n_jobs=2, defects=FEW)
    assert isinstance(inspector, DetectorEnsemble)
    assert inspector.defects is FEW
    found = [getattr(inspector, n) for n in ("combine", "target_fpr", "cv", "n_jobs")]
    assert found == ["sum", 0.2, 3, 2]
    assert all(front.backbone == "noisenet" for front in fronts(inspector))
    assert isinstance(make_inspector().defects, SyntheticDefects)


@pytest.mark.parametrize("name", ["levels", "pooling", "n_channels", "grid"])
def test_what_the_members_differ_in_is_refused(name):
    with pytest.raises(TypeError, match=f"make_inspector: the members differ in {name}"):
        make_inspector("tiny", **{name: "avg"})


def test_nested_parameters_are_found_by_name():
    inspector = make_inspector("tiny")
    nested = "mean_levels__extractor__backbone"
    assert inspector.get_params()[nested] == "tiny"
    changed = clone(inspector).set_params(**{nested: "resnet18"})
    assert fronts(changed)[0].backbone == "resnet18"
    assert fronts(inspector)[0].backbone == "tiny"


# ----------------------------------------------------------------------------------- fits
def test_members_share_their_extractors(fitted):
    found = {id(member[0]) for member in fitted.estimators_}
    assert len(fitted.estimators_) == len(fitted.estimators)
    assert len(found) < len(fitted.estimators_)
    for name, member in fitted.estimators:
        steps = fitted.named_estimators_[name].named_steps
        assert list(steps) == list(member.named_steps)


def test_levels_take_part_one_by_one(fitted):
    of_means = [n for n in fitted.score_names_ if n.startswith("mean_levels:")]
    assert len(of_means) >= 2
    assert fitted.selection_.kinds == ["scratch", "stain"]
    assert fitted.member_scores(IMAGES.test[:3]).shape == (3, len(fitted.score_names_))


def test_verdicts_come_from_left_out_scores(fitted):
    assert len(fitted.calibration_scores_) == 20
    values = fitted.p_values(IMAGES.test)
    np.testing.assert_array_equal(fitted.predict(IMAGES.test) == -1, values <= 0.1)
    area = roc_auc_score(IMAGES.y_test == 1, fitted.score_samples(IMAGES.test))
    assert area > 0.55  # in images of 32 pixels


def test_paths_arrays_and_pictures_are_images(fitted, tmp_path):
    test = IMAGES.test[:6]
    pictures = [Image.fromarray(image) for image in test]
    paths = [tmp_path / f"{i}.png" for i in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    want = fitted.score_samples(test)
    for images in (list(test), pictures, paths, np.array([str(path) for path in paths])):
        np.testing.assert_allclose(fitted.score_samples(images), want, rtol=1e-5)


def test_fits_to_files_are_fits_to_pixels(fitted, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(20)]
    for image, path in zip(IMAGES.train, paths, strict=True):
        Image.fromarray(image).save(path)
    again = clone(fitted).fit(paths)
    np.testing.assert_allclose(again.weights_, fitted.weights_, rtol=1e-4, atol=1e-6)


def test_saved_and_loaded_gives_the_same_bits(fitted):
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        loaded.score_samples(IMAGES.test), fitted.score_samples(IMAGES.test)
    )
    # Members that shared an extractor share the one that was loaded.
    assert len({id(member[0]) for member in loaded.estimators_}) == len(
        {id(member[0]) for member in fitted.estimators_}
    )


def test_rules_and_labels(fitted, tmp_path):
    """Defective images with labels take the place of drawn ones."""
    images = np.concatenate([IMAGES.train, IMAGES.test[IMAGES.y_test == -1]])
    labels = np.where(np.arange(len(images)) < 20, 1, -1)
    found = {}
    for combine in ("best", "sum", "stacked"):
        inspector = small(combine=combine, defects=None, cache=str(tmp_path))
        found[combine] = inspector.fit(images, labels)
    assert any(tmp_path.iterdir())
    best = found["best"].selection_.best
    assert found["best"].weights_.sum() == found["best"].selection_.weights[best] == 1
    assert found["sum"].selection_.kinds == ["anomaly"]
    counted = [n for n, w in found["sum"].selection_.weights.items() if w]
    assert counted == [name for name, _ in fitted.estimators]
    assert len(found["stacked"].calibration_scores_) == 20


def test_images_without_defects_are_told_how():
    with pytest.raises(ValueError, match=r"defects=SyntheticDefects\(\)"):
        make_inspector("tiny", defects=None, input_size=32).fit(IMAGES.train)


def test_folders_are_no_lists(tmp_path):
    with pytest.raises((ValueError, TypeError)):
        small().fit(str(tmp_path))


def test_on_drawn_images_stacked_is_no_worse_than_the_sum(tmp_path):
    """Of three kinds of drawn defects, and those of a product, that it never saw."""
    shown = make_inspection_images("metal", n_train=24, size=64, random_state=0)
    kinds = ["paste", "color", "missing"]
    others = [kind for kind in SYNTHETIC_KINDS if kind not in kinds]
    learned = SyntheticDefects(others, severity=1.0, n_per_image=3)
    unseen = SyntheticDefects(kinds, severity=1.0, n_per_image=2, random_state=9)
    good = shown.test[shown.y_test == 1]
    images = [*good, *unseen.draw(good).X]
    normal = np.arange(len(images)) < len(good)
    stacked = small(defects=learned, input_size=64, cache=str(tmp_path))
    stacked.fit(shown.train)
    plain = clone(stacked).set_params(combine="sum").fit(shown.train)
    for X, y in ((images, normal), (shown.test, shown.y_test)):
        areas = [roc_auc_score(y, d.score_samples(X)) for d in (stacked, plain)]
        assert areas[0] > areas[1] - 0.01


# ------------------------------------------------------------- what reviews have found
def test_members_share_no_parameter():
    inspector = make_inspector("tiny").set_params(patch_kde__extractor__grid=7)
    grids = {
        name: member[0].grid
        for name, member in inspector.estimators
        if member[0].pooling == "none"
    }
    assert [name for name, grid in grids.items() if grid == 7] == ["patch_kde"]


def test_what_is_no_parameter_or_no_defects_is_named():
    with pytest.raises(TypeError, match="make_inspector: input_sise is no parameter"):
        make_inspector(input_sise=3)
    with pytest.raises(ValueError, match="defects must be 'default'"):
        make_inspector(defects="none")
    with pytest.raises(TypeError, match="defects is a class; make one"):
        small(defects=SyntheticDefects).fit(IMAGES.train)
    with pytest.raises(TypeError, match="pass a list of images"):
        small().fit("folder")


def test_copies_of_images_are_told():
    with pytest.warns(
        CalibrationWarning, match="15 of the 20 normal rows of X are exact"
    ):
        small().fit([*IMAGES.train[:5]] * 4)


def test_a_column_of_images_is_images(tmp_path, fitted):
    paths = []
    for place, image in enumerate(IMAGES.test):
        paths.append(str(tmp_path / f"{place}.png"))
        Image.fromarray(image).save(paths[-1])
    want = fitted.score_samples(paths)
    np.testing.assert_array_equal(
        fitted.score_samples(pd.DataFrame({"path": paths})), want
    )
    np.testing.assert_array_equal(
        fitted.score_samples(np.array(paths, dtype=object)[:, None]), want
    )
