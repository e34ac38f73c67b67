"""The bundled backbone: what is in the file, and that it is worth having."""

import hashlib

import numpy as np
import pytest
import torch  # noqa: TID253 - the test looks into the file
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from sklearn_gauss.datasets import load_inspection_folder
from sklearn_gauss.detection import LevelEnsemble
from sklearn_gauss.exceptions import WeightsMismatchError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones import _noisenet  # noqa: TID253 - as above

LEVELS = ["stem", "block1", "block2", "block3", "block4", "block5", "block6"]


@pytest.fixture(scope="module")
def path(root):
    folder = root / "sklearn_gauss" / "feature_extraction" / "_weights"
    return folder / "noisenet.safetensors"


def test_the_file_is_small_in_half_precision_and_the_one_that_is_named(path):
    assert path.stat().st_size <= 3 * 2**20
    assert hashlib.sha256(path.read_bytes()).hexdigest() == _noisenet.SHA256
    state = load_file(path)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}


def test_another_file_in_its_place_is_refused(path, tmp_path, monkeypatch):
    (tmp_path / "_weights").mkdir()
    spoilt = bytearray(path.read_bytes())
    spoilt[-1] ^= 1
    (tmp_path / "_weights" / "noisenet.safetensors").write_bytes(spoilt)
    monkeypatch.setattr(_noisenet, "files", lambda _package: tmp_path)
    with pytest.raises(WeightsMismatchError, match="install the package again"):
        CNNFeatureExtractor("noisenet").fit(np.zeros((1, 9, 9), np.uint8))


def test_it_is_the_default_and_needs_nothing_else(rng):
    images = rng.integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    extractor = CNNFeatureExtractor().fit(images)
    assert extractor.levels_ == LEVELS
    assert extractor.level_channels_ == [32, 64, 96, 96, 128, 128, 192]
    assert extractor.transform(images).shape == (2, 736)


def test_features_are_those_of_the_convolutions_in_numpy(path, rng):
    """The stem, computed by hand in double precision from the bundled file."""
    image = rng.integers(0, 256, (1, 6, 8, 3), dtype=np.uint8)
    extractor = CNNFeatureExtractor(
        input_size=(6, 8), levels=["stem"], pooling="none", min_side=6
    )
    maps = extractor.fit(image).transform(image)[0]
    state = {key: value.double().numpy() for key, value in load_file(path).items()}
    x = np.pad((image[0] / 255 - 0.5) / 0.25, ((1, 1), (1, 1), (0, 0)))
    for i, j in np.ndindex(3, 4):
        patch = x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].transpose(2, 0, 1)
        out = (state["stem.0.weight"] * patch).sum((1, 2, 3)) + state["stem.0.bias"]
        np.testing.assert_allclose(maps[i, j], np.maximum(out, 0), rtol=1e-4, atol=1e-5)


def test_random_weights_follow_the_seed_and_are_not_the_bundled_ones(rng):
    images = rng.integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)

    def features(seed):
        extractor = CNNFeatureExtractor(weights=None, random_state=seed)
        with pytest.warns(UserWarning, match="random weights"):
            extractor.fit(images)
        return extractor.transform(images)

    assert np.array_equal(features(0), features(0))
    assert not np.allclose(features(0), features(1))
    assert not np.allclose(features(0), CNNFeatureExtractor().fit_transform(images))


# Halfway from random weights, 0.574, to SqueezeNet's of ImageNet, 0.813.
HALFWAY = 0.694


def test_real_defects_are_found_at_least_halfway_to_imagenet(data_folder):
    folder = load_inspection_folder(data_folder / "images" / "magnetic_tile")
    extractor = CNNFeatureExtractor().set_output(transform="pandas")
    # No threshold is used; one half certifies with a single row.
    detector = LevelEnsemble(target_fpr=0.5)
    detector.fit(extractor.fit_transform(folder.train))
    scores = detector.score_samples(extractor.transform(folder.test))
    assert roc_auc_score(folder.y_test, scores) > HALFWAY
