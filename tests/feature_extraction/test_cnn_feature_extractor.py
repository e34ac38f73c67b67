"""The transformer: inputs, outputs, contract. The network is tested in test_backbones."""

import copy
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch  # noqa: TID253 - what the tests compare with
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import (
    estimator_checks_generator,
    parametrize_with_checks,
)

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

# Rows of any length and range, as the checks draw them. Batches of one image: the sums
# of a convolution round differently with the batch's size, which the subset check takes
# relative to single features, however close to zero; the batch has a test of its own.
CHECKED = CNNFeatureExtractor(
    "tiny", image_shape="row", value_range="fit", input_size=16, batch_size=1
)


@pytest.fixture
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
@parametrize_with_checks([CHECKED])
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_no_check_is_lost():
    assert len(list(estimator_checks_generator(CHECKED))) >= 40


def tiny(**parameters):
    return CNNFeatureExtractor("tiny", **{"input_size": 32, **parameters})


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)


@pytest.fixture
def paths(images, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


KINDS = {
    "path": lambda images, paths: paths,
    "str": lambda images, paths: list(map(str, paths)),
    "tuple": lambda images, paths: tuple(paths),
    "object array": lambda images, paths: np.array(paths, dtype=object),
    "str array": lambda images, paths: np.array(list(map(str, paths))),
    "pandas": lambda images, paths: pd.Series(list(map(str, paths)), index=[7, 8, 9]),
    "polars": lambda images, paths: pl.Series(list(map(str, paths))),
    "pil": lambda images, paths: [Image.fromarray(image) for image in images],
    "list": lambda images, paths: list(images),
    "mixed": lambda images, paths: [paths[0], images[1], Image.fromarray(images[2])],
    "fortran": lambda images, paths: np.asfortranarray(images),
    "strided": lambda images, paths: np.repeat(images, 2, axis=2)[:, :, ::2],
    "float32": lambda images, paths: (images / 255).astype(np.float32),
    "float64": lambda images, paths: images / 255,
    "uint16": lambda images, paths: images.astype(np.uint16) * 257,
    "rgba": lambda images, paths: np.concatenate(
        [images, np.full((*images.shape[:3], 1), 255, np.uint8)], axis=3
    ),
    "tensor": lambda images, paths: torch.from_numpy(images).permute(0, 3, 1, 2),
    "tensors": lambda images, paths: [
        torch.from_numpy(image / 255).permute(2, 0, 1) for image in images
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_gives_the_same_features(images, paths, kind):
    expected = tiny().fit_transform(images)
    np.testing.assert_array_equal(
        tiny().fit_transform(KINDS[kind](images, paths)), expected
    )
    assert expected.dtype == np.float32
    assert expected.shape == (3, 336)
    assert np.ptp(expected, axis=0).max() > 0


@pytest.mark.parametrize("kind", ["array", "list", "frame", "uint8"])
def test_flat_rows_are_images(images, kind):
    rows = (images / 255).reshape(3, -1)
    given = {
        "array": rows,
        "list": rows.tolist(),
        "frame": pd.DataFrame(rows).rename(columns="p{}".format),
        "uint8": images.reshape(3, -1),
    }[kind]
    extractor = tiny(image_shape=(20, 30, 3)).fit(given)
    assert extractor.n_features_in_ == 1800
    assert hasattr(extractor, "feature_names_in_") == (kind == "frame")
    expected = tiny().fit_transform(images)
    np.testing.assert_array_equal(extractor.transform(given), expected)


def test_grey_images(images):
    grey = images[:, :, :, 0]
    expected = tiny().fit_transform(np.repeat(grey[..., None], 3, axis=3))
    np.testing.assert_array_equal(tiny().fit_transform(grey), expected)
    np.testing.assert_array_equal(tiny().fit_transform(grey[..., None]), expected)


def test_images_of_mixed_sizes(images):
    mixed = [images[0], images[1][:8, :9], images[2][:, :, 0]]
    together = tiny().fit_transform(mixed)
    for image, row in zip(mixed, together, strict=True):
        alone = tiny().fit_transform([image])[0]
        np.testing.assert_allclose(row, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 7, "auto"])
def test_batch_size_does_not_change_the_features(images, batch_size):
    many = np.concatenate([images, images[:, ::-1], images[:, :, ::-1]])
    expected = tiny(batch_size=3, input_size=64).fit_transform(many)
    got = tiny(batch_size=batch_size, input_size=64).fit_transform(many)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_value_range_of_the_fit(images):
    rows = images.reshape(3, -1).astype(np.float64)
    rows[0, :2] = 0, 255
    extractor = tiny(image_shape=(20, 30, 3), value_range="fit").fit(rows * 2 - 100)
    assert extractor.value_range_ == (-100, 410)
    expected = tiny(image_shape=(20, 30, 3)).fit_transform(rows / 255)
    np.testing.assert_array_equal(extractor.transform(rows * 2 - 100), expected)
    outside = np.array([[-1e9, 1e9] * 900])
    clipped = np.array([[-100.0, 410.0] * 900])
    np.testing.assert_array_equal(
        extractor.transform(outside), extractor.transform(clipped)
    )


def test_declared_value_range(images):
    deep = images.astype(np.int32) * 16
    got = tiny(value_range=(0, 255 * 16)).fit_transform(deep)
    np.testing.assert_array_equal(got, tiny().fit_transform(images))
    with pytest.raises(ValueError, match=r"X\[0\]: int32 pixels must lie in \[0, 100\]"):
        tiny(value_range=(0, 100)).fit_transform(deep)


WRONG = {
    "path": ("a.png", TypeError, r"pass a list of images: \[X\]"),
    "pil": (Image.new("L", (4, 4)), TypeError, "single image"),
    "two dimensions": (np.zeros((4, 4)), ValueError, "image_shape"),
    "list of lists": ([[0.0, 1.0]], TypeError, r"X\[0\] is of type list"),
    "frame": (pd.DataFrame({"path": ["a"], "y": [1]}), TypeError, "'path', 'y'"),
    "masked": (np.ma.zeros((2, 4, 4)), TypeError, "masked"),
    "set": ({"a.png"}, TypeError, "got set"),
    "dict": ({"a": 1}, TypeError, "got dict"),
    "empty list": ([], ValueError, "Found 0 images"),
    "empty array": (np.zeros((0, 4, 4)), ValueError, "Found 0 images"),
    "five dimensions": (np.zeros((1, 1, 4, 4, 3)), ValueError, "batch of images"),
    "tensor": (torch.zeros(3, 4, 4), ValueError, r"\(n, C, H, W\)"),
    "number": ([3], TypeError, r"X\[0\] is of type int"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_collection_of_images_is_refused(kind):
    X, error, message = WRONG[kind]
    with pytest.raises(error, match=message):
        tiny().fit(X)


def test_values_outside_the_range_name_the_image(images):
    values = images / 255
    values[1, 0, 0, 0] = 1.5
    with pytest.raises(ValueError, match=r"X\[1\]: float64 pixels must lie in \[0, 1\]"):
        tiny(on_error="nan").fit_transform(values)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_shape": (5, 5)}, "needs rows of 25 pixels, but X has 12"),
        ({"image_shape": (3, 2, 2)}, "image_shape"),
        ({"image_shape": (0, 4)}, "image_shape"),
        ({"image_shape": "column"}, "image_shape"),
        ({"input_size": (8, 8, 3)}, "input_size"),
        ({"input_size": 0}, "input_size"),
        ({"mean": (0.5, 0.5)}, "mean="),
        ({"std": (0.5, 0, 0.5)}, "std="),
        ({"value_range": (1, 1)}, "value_range"),
        ({"pooling": "median"}, "pooling"),
        ({"precision": "float16"}, "precision"),
        ({"batch_size": 0}, "batch_size"),
        ({"device": "warp"}, "device='warp'"),
        ({"levels": []}, "levels is empty"),
    ],
)
def test_wrong_parameters_are_named(parameters, message):
    parameters = {"image_shape": (3, 4), **parameters}
    with pytest.raises(ValueError, match=message):
        tiny(**parameters).fit(np.zeros((2, 12)))


def test_the_range_of_the_fit_needs_rows(images):
    with pytest.raises(ValueError, match="needs flat rows"):
        tiny(value_range="fit").fit(images)


def test_unreadable_images_raise_or_become_nan(paths, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    given = [paths[0], tmp_path / "bad.png", paths[1], None, np.nan, paths[2]]
    with pytest.raises(ImageReadError, match=r"bad\.png: not an image"):
        tiny().fit_transform(given)
    with pytest.raises(ImageReadError, match=r"X\[1\]: no image is given"):
        tiny().fit_transform([paths[0], None])
    with pytest.warns(UserWarning, match="3 of 6 images could not be read") as caught:
        got = tiny(on_error="nan", batch_size=2).fit_transform(given)
    assert len(caught) == 1
    assert np.isnan(got[[1, 3, 4]]).all()
    expected = tiny(batch_size=1).fit_transform(paths)
    np.testing.assert_allclose(got[[0, 2, 5]], expected, rtol=1e-5, atol=1e-6)


def test_nothing_readable_is_all_nan():
    with pytest.warns(UserWarning, match="1 of 1 images"):
        got = tiny(on_error="nan", pooling="none").fit_transform(["nowhere.png"])
    assert got.shape == (1, 16, 16, 336)
    assert np.isnan(got).all()


def test_names_of_the_features(images):
    extractor = tiny(levels=["stage4", "stem"]).fit(images)
    names = extractor.get_feature_names_out()
    assert list(names) == [
        *(f"stage4__{c}" for c in range(128)),
        *(f"stem__{c}" for c in range(16)),
    ]
    assert extractor.level_channels_ == [128, 16]
    assert extractor.n_features_out_ == 144
    frame = extractor.set_output(transform="pandas").transform(images)
    assert list(frame.columns) == list(names)
    everything = tiny().fit_transform(images)
    np.testing.assert_allclose(
        frame, everything[:, np.r_[208:336, 0:16]], rtol=1e-5, atol=1e-6
    )


def test_names_of_the_moments(images):
    extractor = tiny(levels=[-1], pooling="moments").fit(images)
    names = extractor.get_feature_names_out()
    assert names[[0, 128]].tolist() == ["stage4__0_mean", "stage4__0_std"]
    assert extractor.transform(images).shape == (3, len(names)) == (3, 256)


def test_unfitted(images):
    with pytest.raises(NotFittedError):
        tiny().transform(images)
    with pytest.raises(NotFittedError):
        tiny().get_feature_names_out()


@pytest.mark.parametrize("copier", ["pickle", "deepcopy", "joblib"])
def test_copies_do_not_hold_the_network(images, tmp_path, copier):
    extractor = tiny(random_state=3).fit(images)
    expected = extractor.transform(images)
    if copier == "pickle":
        data = pickle.dumps(extractor)
        assert len(data) < 5000
        copied = pickle.loads(data)
    elif copier == "deepcopy":
        copied = copy.deepcopy(extractor)
    else:
        joblib.dump(extractor, tmp_path / "e.joblib")
        copied = joblib.load(tmp_path / "e.joblib")
    assert "_network" not in vars(copied)
    np.testing.assert_array_equal(copied.transform(images), expected)
    np.testing.assert_array_equal(clone(copied).fit_transform(images), expected)


def test_a_fresh_process_gives_the_same_features(images, tmp_path):
    extractor = tiny().fit(images)
    (tmp_path / "e.pkl").write_bytes(pickle.dumps(extractor))
    np.save(tmp_path / "x.npy", images)
    code = (
        "import pickle, sys, numpy as np\n"
        "extractor = pickle.load(open('e.pkl', 'rb'))\n"
        "assert 'torch' not in sys.modules and 'PIL' not in sys.modules\n"
        "extractor.get_feature_names_out()\n"
        "assert 'torch' not in sys.modules\n"
        "np.save('y.npy', extractor.transform(np.load('x.npy')))"
    )
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    environment = {**os.environ, "PYTHONPATH": root}
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), extractor.transform(images), rtol=1e-5, atol=1e-6
    )


def test_a_missing_torch_is_named():
    code = (
        "import sys, numpy as np\n"
        "from sklearn_gauss.feature_extraction import CNNFeatureExtractor\n"
        "sys.modules['torch'] = None\n"
        "try:\n    CNNFeatureExtractor('tiny').fit(np.zeros((1, 4, 4)))\n"
        "except ImportError as error:\n    assert 'sklearn-gauss[cnn]' in str(error)\n"
        "else:\n    raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_random_state_seeds_the_weights(images):
    expected = tiny().fit_transform(images)
    np.testing.assert_array_equal(tiny(random_state=0).fit_transform(images), expected)
    assert not np.allclose(tiny(random_state=1).fit_transform(images), expected)
    drawn = tiny(random_state=np.random.RandomState(5)).fit(images)
    again = pickle.loads(pickle.dumps(drawn))
    np.testing.assert_array_equal(again.transform(images), drawn.transform(images))


def test_nothing_global_changes(images):
    images.flags.writeable = False
    torch.manual_seed(4)
    torch_state = torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is meant
    tiny().fit_transform(images)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002
    assert torch.is_grad_enabled()


def test_progress_is_printed(images, capsys):
    tiny(verbose=1, batch_size=1).fit_transform(images)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "[CNNFeatureExtractor] 3 of 3 images"
    tiny().fit_transform(images)
    assert capsys.readouterr().out == ""


def test_one_colour_image_is_not_a_batch_of_rows():
    image = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ValueError, match="looks like one colour image"):
        tiny().fit(image)
    assert tiny().fit_transform(image[None]).shape[0] == 1
