"""perturbed_features: a step of the pixels towards a higher score, and what it gives."""

import numpy as np
import pytest
import torch  # noqa: TID253 - the tests of a network
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_gauss.detection import ClassConditionalDetector
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.inspection import gradient_map, perturbed_features
from sklearn_gauss.inspection._gradient_map import score_gradients

rng = np.random.default_rng(0)
KINDS = np.arange(40) % 2
IMAGES = rng.integers(60, 150, (40, 24, 24, 3), dtype=np.uint8)
IMAGES[KINDS == 1, :, :12] += 60


def model(detector, *steps, images=IMAGES, **options):
    extractor = CNNFeatureExtractor(
        "tiny", input_size=24, levels=["stem", "stage1"], device="cpu", **options
    )
    pipeline = make_pipeline(extractor, *steps, detector)
    return pipeline.fit(images, KINDS)


def network_features(extractor, pixels):
    """Level averages of real-valued pixels (n, 3, 24, 24), differentiable."""
    network, found = extractor._ready_network(), {}
    mean, std = (pixels.new_tensor(v)[:, None, None] for v in (network.mean, network.std))
    network._tap.run(
        (pixels / 255 - mean) / std, lambda k, m: found.update({k: m.clone()})
    )
    return torch.cat([found[k].mean(dim=(2, 3)) for k in network.levels], 1)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("shared", [True, False])
def test_the_step_is_along_the_sign_of_autograds_gradient(shared, relative):
    estimator = model(
        ClassConditionalDetector(shared, relative=relative), StandardScaler()
    )
    extractor, scaler, detector = estimator[0], estimator[1], estimator[-1]
    rows = scaler.transform(extractor.transform(IMAGES[:3]))
    nearest = detector.predict_class(rows)
    pixels = torch.from_numpy(IMAGES[:3]).permute(0, 3, 1, 2).float().requires_grad_()
    features = network_features(extractor, pixels).double()
    scaled = (features - torch.from_numpy(scaler.mean_)) / torch.from_numpy(scaler.scale_)
    total = 0.0
    train = scaler.transform(extractor.transform(IMAGES)).astype(float)
    own = [train[c == KINDS] for c in (0, 1)]
    for row, c in zip(scaled, nearest, strict=True):
        z = row - torch.from_numpy(own[c].mean(axis=0))
        S = sum((p - p.mean(axis=0)).T @ (p - p.mean(axis=0)) for p in own) / len(train)
        if not shared:
            S = np.cov(own[c].T, bias=True)
        amount = detector.shrinkage_[0] if shared else detector.shrinkage_[c, 0]
        total = total - z @ precision(S, amount) @ z / 2
        if relative:
            z = row - torch.from_numpy(train.mean(axis=0))
            S = np.cov(train.T, bias=True)
            total = total + z @ precision(S, detector.background_shrinkage_[0]) @ z / 2
    (gradient,) = torch.autograd.grad(total, pixels)
    with torch.no_grad():
        moved = (pixels + 255 * 0.002 * gradient.sign()).clamp(0, 255)
        want = network_features(extractor, moved).numpy()
    found = perturbed_features(estimator, IMAGES[:3], epsilon=0.002)
    # A few of 1728 gradients are so near 0 that rounding decides their sign.
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-3)
    still = extractor.transform(IMAGES[:3])
    assert np.abs(found - still).max() > 20 * np.abs(found - want).max()


def precision(S, amount):
    target = np.trace(S) / len(S)
    return torch.from_numpy(
        np.linalg.inv((1 - amount) * S + amount * target * np.eye(len(S)))
    )


def test_without_a_step_nothing_changes():
    estimator = model(ClassConditionalDetector())
    found = perturbed_features(estimator, IMAGES[:5], epsilon=0.0)
    np.testing.assert_allclose(found, estimator[0].transform(IMAGES[:5]), rtol=1e-5)
    assert found.dtype == np.float32


def test_scores_rise_and_a_threshold_set_likewise_keeps_its_rate():
    estimator = model(ClassConditionalDetector(target_fpr=0.2))
    fresh = rng.integers(60, 150, (120, 24, 24, 3), dtype=np.uint8)
    rows = perturbed_features(estimator, fresh, epsilon=0.01)
    assert (
        estimator[-1].score_samples(rows) > estimator.score_samples(fresh)
    ).mean() > 0.95
    before = np.mean(estimator[-1].predict(rows[60:]) == -1)
    estimator[-1].recalibrate(rows[:60])
    after = np.mean(estimator[-1].predict(rows[60:]) == -1)
    assert before < 0.1 < after < 0.35


def test_pixels_stay_in_their_range():
    estimator = model(ClassConditionalDetector())
    white = np.full((2, 24, 24, 3), 255, dtype=np.uint8)
    signs = np.sign(score_gradients(estimator[0], estimator[-1], white))
    for epsilon, low in ((1.0, 0.0), (0.5, 127.5)):
        moved = np.where(signs < 0, low, 255.0).astype(np.float32).transpose(0, 3, 1, 2)
        want = network_features(estimator[0], torch.from_numpy(moved)).numpy()
        found = perturbed_features(estimator, white, epsilon=epsilon)
        np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_features_are_what_the_extractor_puts_out():
    estimator = model(ClassConditionalDetector())
    want = perturbed_features(estimator, IMAGES[:3])
    estimator.set_output(transform="pandas").fit(IMAGES, KINDS)
    found = perturbed_features(estimator, IMAGES[:3])
    assert list(found.columns) == list(estimator[0].get_feature_names_out())
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)
    assert (found.dtypes == np.float32).all()
    assert estimator[1:].score_samples(found).shape == (3,)


def test_batches_do_not_change_the_features():
    estimator = model(ClassConditionalDetector())
    want = perturbed_features(estimator, IMAGES[:5])
    found = perturbed_features(estimator, list(IMAGES[:5]), batch_size=2)
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_perturbed():
    estimator = model(ClassConditionalDetector())
    with pytest.raises(ValueError, match="epsilon"):
        perturbed_features(estimator, IMAGES[:2], epsilon=-0.1)
    with pytest.raises(TypeError, match="perturbed_features needs a Pipeline"):
        perturbed_features(ClassConditionalDetector(), IMAGES)
    with pytest.raises(NotFittedError, match="CNNFeatureExtractor"):
        perturbed_features(make_pipeline(CNNFeatureExtractor(), estimator[-1]), IMAGES)
    bent = model(ClassConditionalDetector(), FunctionTransformer(np.square))
    for function in (perturbed_features, gradient_map):
        with pytest.raises(ValueError, match=f"{function.__name__} needs linear steps"):
            function(bent, IMAGES[:2])
    with pytest.raises(TypeError, match="has no gradient"):
        perturbed_features(model(IsolationForest(n_estimators=3)), IMAGES[:2])
