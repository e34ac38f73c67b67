"""gradient_map: the gradient through network, steps and detector, and its checks."""

import numpy as np
import pytest
import torch  # noqa: TID253 - the tests of a network
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import KDEDetector, LevelEnsemble, MahalanobisDetector
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.inspection import gradient_map
from sklearn_gauss.inspection._gradient_map import score_gradients
from sklearn_gauss.inspection._steps import split

rng = np.random.default_rng(0)
IMAGES = rng.integers(60, 196, (30, 24, 24, 3), dtype=np.uint8)
LEVELS = {"early": range(16), "late": range(16, 48)}
quiet = pytest.mark.filterwarnings(
    "ignore::sklearn_gauss.exceptions.NearestNeighborWarning",
    "ignore::sklearn_gauss.exceptions.BandwidthWarning",
)


def model(*steps, pooling="avg"):
    extractor = CNNFeatureExtractor(
        "tiny", input_size=24, pooling=pooling, levels=["stem", "stage1"], device="cpu"
    )
    return make_pipeline(extractor, *steps).fit(IMAGES)


def scores(estimator, pixels):
    """Scores of real-valued pixels of the network's size, in its own arithmetic."""
    extractor, detector = split(estimator)
    network, found = extractor._ready_network(), {}
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    mean, std = (x.new_tensor(v)[:, None, None] for v in (network.mean, network.std))
    tap = network._tap
    tap.module.double()
    try:
        tap.run((x / 255 - mean) / std, lambda k, m: found.update({k: m.clone()}))
        rows = torch.cat([network._pools[k](found[k]) for k in network.levels], 1)
    finally:
        tap.module.float()
    return detector.score_samples(rows.detach().numpy())


@quiet
@pytest.mark.parametrize(
    ("steps", "pooling"),
    [
        ([MahalanobisDetector()], "avg"),
        ([MahalanobisDetector()], "max"),
        ([LowVariancePCA(n_components=10), MahalanobisDetector()], "avg"),
        ([StandardScaler(), PCA(8, whiten=True), KDEDetector()], "avg"),
        ([LevelEnsemble(levels=LEVELS)], "avg"),
        ([LevelEnsemble(levels=LEVELS, aggregate="max")], "avg"),
    ],
    ids=["gauss", "max", "low variance", "kde", "ensemble", "worst level"],
)
def test_the_gradient_is_that_of_finite_differences(steps, pooling):
    estimator = model(*steps, pooling=pooling)
    extractor, detector = split(estimator)
    pixels = IMAGES[:2]
    found = score_gradients(extractor, detector, pixels)
    assert found.shape == pixels.shape
    direction = rng.normal(size=pixels.shape)
    step = 1e-4 * direction
    slope = scores(estimator, pixels + step) - scores(estimator, pixels - step)
    want = (found * direction).sum(axis=(1, 2, 3))
    size = np.sqrt((found**2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(slope / 2e-4, want, rtol=0.01, atol=0.01 * size.max())


@pytest.mark.parametrize("pooling", ["moments", "second_moments"])
def test_dead_channels_leave_the_others_their_gradient(pooling):
    estimator = model(MahalanobisDetector(), pooling=pooling)
    with torch.no_grad():
        stem = estimator[0]._network._tap.module.stem[0]
        stem.weight[0], bias = 0, stem.bias
        if bias is not None:
            bias[0] = -1
    found = gradient_map(estimator, IMAGES[:2])
    assert np.isfinite(found).all()
    assert found.max() > 0


def test_maps_have_the_size_of_their_images():
    estimator = model(MahalanobisDetector())
    found = gradient_map(estimator, [IMAGES[0], IMAGES[1][:, :20]])
    assert [one.shape for one in found] == [(24, 24), (24, 20)]
    assert gradient_map(estimator, IMAGES[:3], image_size=50).shape == (3, 50, 50)


def test_batches_do_not_change_the_maps():
    estimator = model(MahalanobisDetector())
    want = gradient_map(estimator, IMAGES[:5])
    found = gradient_map(estimator, IMAGES[:5], batch_size=2)
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-6 * want.max())


def test_the_map_is_what_it_says():
    estimator = model(MahalanobisDetector())
    g = score_gradients(*split(estimator), IMAGES[:1])
    found = gradient_map(estimator, IMAGES[:1], blur=None, smooth=0)
    np.testing.assert_allclose(found[0], np.sqrt((g[0] ** 2).sum(axis=2)), rtol=1e-4)
    flat = np.full((1, 24, 24, 3), 100, dtype=np.uint8)
    assert (
        gradient_map(estimator, flat).max()
        < 1e-4 * gradient_map(estimator, IMAGES[:1]).max()
    )


def test_the_network_stays_as_it_was():
    estimator = model(MahalanobisDetector())
    before = estimator.score_samples(IMAGES)
    gradient_map(estimator, IMAGES[:2])
    np.testing.assert_array_equal(estimator.score_samples(IMAGES), before)
    weights = estimator[0]._network._tap.module.parameters()
    assert all(weight.grad is None for weight in weights)


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        ([IsolationForest(n_estimators=3)], TypeError, "has no gradient"),
        ([Normalizer(), MahalanobisDetector()], ValueError, "not linear"),
    ],
    ids=["forest", "not linear"],
)
def test_what_cannot_be_differentiated(steps, error, message):
    with pytest.raises(error, match=message):
        gradient_map(model(*steps), IMAGES[:2])


def test_one_image_does_not_make_a_step_linear():
    estimator = model(Normalizer(), MahalanobisDetector())
    with pytest.raises(ValueError, match="not linear"):
        gradient_map(estimator, IMAGES[:1])


def test_a_network_is_needed():
    with pytest.raises(TypeError, match="starts with a CNNFeatureExtractor"):
        gradient_map(MahalanobisDetector(), IMAGES)


def test_maps_of_patches_are_refused():
    estimator = model(MahalanobisDetector())
    estimator[0].pooling = "none"
    with pytest.raises(ValueError, match="use anomaly_maps"):
        gradient_map(estimator, IMAGES[:2])
