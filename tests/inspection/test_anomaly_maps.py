"""anomaly_maps: sizes, order, and one run of the steps in front."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline

from sklearn_gauss.datasets import SyntheticDefects
from sklearn_gauss.detection import (
    CalibratedDetector,
    DetectorEnsemble,
    MahalanobisDetector,
    PatchGaussianDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._reading._images import read_image
from sklearn_gauss.feature_extraction._reading._sizes import own_size
from sklearn_gauss.inspection import anomaly_maps

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (4, 24, 32, 3), dtype=np.uint8)


class Energy(BaseEstimator):
    """Squares of maps, repeated to the size that is asked for."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return -(X**2).mean(axis=(1, 2, 3))

    def anomaly_map(self, X, image_size=None):
        found = (X**2).mean(axis=3)
        if image_size is None:
            return found
        rows, columns = (
            np.arange(n) * m // n for n, m in zip(image_size, X.shape[1:3], strict=True)
        )
        return found[:, rows[:, None], columns]


@pytest.fixture(scope="module")
def model():
    extractor = CNNFeatureExtractor(
        "tiny", input_size=32, pooling="none", levels=["stem"]
    )
    return make_pipeline(extractor, Energy()).fit(IMAGES)


def test_equal_sizes_make_one_array(model):
    found = anomaly_maps(model, IMAGES)
    assert found.shape == (4, 24, 32)
    want = model[-1].anomaly_map(model[0].transform(IMAGES), (24, 32))
    np.testing.assert_array_equal(found, want)
    assert anomaly_maps(model, IMAGES, image_size=None).shape == (4, 16, 16)
    assert anomaly_maps(model, IMAGES, image_size=20).shape == (4, 20, 20)


def test_other_sizes_make_a_list_in_order(model):
    images = [IMAGES[0], IMAGES[1][:, :20], IMAGES[2]]
    found = anomaly_maps(model, images)
    assert [one.shape for one in found] == [(24, 32), (24, 20), (24, 32)]
    np.testing.assert_array_equal(found[2], anomaly_maps(model, IMAGES[2:3])[0])


FORMATS = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "webp": "WEBP", "bmp": "BMP"}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("turn", [None, 1, 3, 6, 8])
def test_sizes_are_upright_as_read(kind, turn, tmp_path):
    options = {}
    if turn and kind != "bmp":
        exif = Image.Exif()
        exif[0x0112] = turn
        options["exif"] = exif
    path = tmp_path / f"image.{kind}"
    Image.fromarray(IMAGES[0]).save(path, format=FORMATS[kind], **options)
    turned = turn in (6, 8) and kind != "bmp"
    size = (32, 24) if turned else (24, 32)
    assert own_size(path) == size
    assert own_size(path.read_bytes()) == size
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert own_size(image) == size
    # Read at that size, nothing is resized: PNG keeps every pixel.
    if kind == "png" and not turned and turn != 3:
        np.testing.assert_array_equal(read_image(path, size), IMAGES[0])


def test_no_image_is_decoded_for_its_size(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(IMAGES[0]).save(path)

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", refuse)
    assert own_size(path) == (24, 32)


def test_tensors_have_their_channels_first():
    import torch

    assert own_size(torch.zeros(3, 10, 14)) == (10, 14)


def test_errors(model):
    with pytest.raises(TypeError, match="last step has anomaly_map, got Mahalanobis"):
        anomaly_maps(make_pipeline(CNNFeatureExtractor(), MahalanobisDetector()), IMAGES)
    with pytest.raises(TypeError, match="iterator"):
        anomaly_maps(model, iter(IMAGES))
    for size in ("own", True, 0, (8, True), (8, -1), (8, 8, 3), 4.5):
        with pytest.raises(ValueError, match="image_size must be 'image', a positive"):
            anomaly_maps(model, IMAGES, image_size=size)


def test_behind_a_calibration(model):
    want = anomaly_maps(model, IMAGES)
    around = CalibratedDetector(model, target_fpr=0.4, cv=2).fit(IMAGES)
    np.testing.assert_array_equal(anomaly_maps(around, IMAGES), want)
    inner = CalibratedDetector(Energy(), target_fpr=0.4, cv=2)
    at_the_end = make_pipeline(model[0], inner).fit(IMAGES)
    np.testing.assert_array_equal(anomaly_maps(at_the_end, IMAGES), want)


def test_of_an_ensemble_the_best_member_that_has_maps():
    images = rng.integers(90, 110, (24, 32, 32, 3), dtype=np.uint8)
    maps = CNNFeatureExtractor("tiny", input_size=32, pooling="none", levels=["stem"])
    members = [
        ("pooled", make_pipeline(CNNFeatureExtractor("tiny"), MahalanobisDetector())),
        ("random", make_pipeline(maps, Energy())),
        ("places", make_pipeline(maps, PatchGaussianDetector(n_channels=4))),
    ]
    defects = SyntheticDefects(["brightness", "stain"], severity=2.0, n_per_image=2)
    ensemble = DetectorEnsemble(members, defects=defects, target_fpr=0.2).fit(images)
    of_maps = ensemble.selection_.mean_auroc[1:]
    best = ("random", "places")[int(of_maps.argmax())]
    np.testing.assert_array_equal(
        anomaly_maps(ensemble, images[:3]),
        anomaly_maps(ensemble.named_estimators_[best], images[:3]),
    )
    with pytest.raises(TypeError, match="No member of the DetectorEnsemble"):
        anomaly_maps(ensemble.set_params(estimators=members[:1]).fit(images), images)
