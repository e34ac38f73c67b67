"""occlusion_map: windows, covers, and where a planted defect is found."""

import numpy as np
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_gauss.detection import CalibratedDetector, MahalanobisDetector
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.inspection import occlusion_map
from sklearn_gauss.inspection._covers import References, covered, covers, spread, windows

rng = np.random.default_rng(0)
NORMAL = rng.integers(90, 110, (12, 40, 48, 3), dtype=np.uint8)
FLAWED = NORMAL[0].copy()
FLAWED[6:12, 30:36] = 250


class Brightest:
    """Score of images: minus their brightest pixel."""

    def __init__(self):
        self.batches = []

    def score_samples(self, X):
        X = np.asarray(X)
        self.batches.append(len(X))
        return -X.astype(float).max(axis=(1, 2, 3))


@pytest.mark.parametrize("fill", ["reference", "shift", "blur", "mean", (100,) * 3])
def test_the_window_over_the_flaw_is_found(fill):
    found = occlusion_map(
        Brightest(), [FLAWED], window=16, stride=4, fill=fill, reference=NORMAL[1:]
    )
    assert found.shape == (1, 40, 48)
    top, left = np.unravel_index(found[0].argmax(), found[0].shape)
    assert 2 <= top <= 16
    assert 26 <= left <= 40
    assert found[0, 30:, :12].max() <= 1.0


def test_a_whole_image_may_cover():
    found = occlusion_map(Brightest(), [FLAWED], window=16, fill=NORMAL[0])
    assert found[0, 9, 33] > 50
    with pytest.raises(ValueError, match=r"an image of shape \(40, 48, 3\)"):
        occlusion_map(Brightest(), [FLAWED], fill=NORMAL[0][:30])


def test_images_are_scored_in_batches():
    detector = Brightest()
    occlusion_map(detector, [FLAWED], window=0.5, fill="mean", batch_size=7)
    assert max(detector.batches) == 7
    assert sum(detector.batches) == 1 + len(windows((40, 48), 20, 10))


def test_maps_have_the_size_of_their_images(tmp_path):
    Image.fromarray(FLAWED).save(tmp_path / "a.png")
    Image.fromarray(FLAWED[:, :32]).save(tmp_path / "b.png")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    found = occlusion_map(Brightest(), paths, fill="mean")
    assert [one.shape for one in found] == [(40, 48), (40, 32)]
    small = occlusion_map(Brightest(), paths, fill="mean", image_size=(20, 24))
    assert small.shape == (2, 20, 24)


@pytest.mark.parametrize("shape", [(40, 48), (9, 31), (16, 16)])
@pytest.mark.parametrize(("side", "stride"), [(16, 8), (9, 4), (5, 5), (1, 1)])
def test_windows_reach_every_pixel(shape, side, stride):
    side = min(side, *shape)
    corners = windows(shape, side, stride)
    assert (spread(shape, side, corners, np.ones(len(corners))) > 1 - 1e-12).all()


def test_a_window_fades_into_its_cover():
    cover = np.full((40, 48, 3), 255, dtype=np.float32)
    found = covered(FLAWED, cover, 16, (-4, 10))
    assert (found[3, 18] == 255).all()
    np.testing.assert_array_equal(found[12:], FLAWED[12:])
    np.testing.assert_array_equal(found[:, :10], FLAWED[:, :10])
    assert FLAWED[3, 11, 0] <= found[3, 11, 0] < 200


def test_references_are_the_images_most_alike():
    grey = [np.full((40, 48, 3), level, np.uint8) for level in (10, 200, 90, 120)]
    nearest = References(grey, None).nearest(NORMAL[0], 2)
    assert [int(one[0, 0, 0]) for one in nearest] == [90, 120]


def test_a_reference_takes_the_local_colour():
    (cover,) = covers(NORMAL[0], "reference", 8, References([NORMAL[1] // 2], None), 1)
    assert abs(cover.mean() - NORMAL[0].mean()) < 1


# ---------------------------------------------------------------------- with a network
@pytest.fixture(scope="module")
def model():
    extractor = CNNFeatureExtractor("tiny", input_size=32)
    return make_pipeline(extractor, MahalanobisDetector(target_fpr=0.2)).fit(NORMAL)


def test_a_pipeline_of_images(model):
    found = occlusion_map(model, [FLAWED], reference=NORMAL, window=16)
    assert np.unravel_index(found[0].argmax(), (40, 48))[1] > 20
    assert found.max() > 0


def test_values_have_the_range_of_the_extractor(model):
    deep = np.asarray(FLAWED / 255 * 100.0)
    extractor = CNNFeatureExtractor("tiny", input_size=32, value_range=(0, 100))
    other = make_pipeline(extractor, MahalanobisDetector(target_fpr=0.2))
    other.fit(NORMAL / 255 * 100.0)
    want = occlusion_map(model, [FLAWED], fill="mean", window=20)
    np.testing.assert_allclose(
        occlusion_map(other, [deep], fill="mean", window=20), want, rtol=1e-3, atol=0.05
    )
    found = occlusion_map(other, [deep], reference=NORMAL / 255 * 100.0, window=20)
    want = occlusion_map(model, [FLAWED], reference=NORMAL, window=20)
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=0.05)


def test_covered_images_are_not_cached(tmp_path):
    extractor = CNNFeatureExtractor("tiny", input_size=32, cache=tmp_path)
    cached = make_pipeline(extractor, MahalanobisDetector(target_fpr=0.2)).fit(NORMAL)
    before = sorted(tmp_path.rglob("*"))
    occlusion_map(cached, [FLAWED], fill="mean", window=20)
    assert sorted(tmp_path.rglob("*")) == before
    assert cached[0].cache == tmp_path


def test_a_calibrated_pipeline(model):
    calibrated = CalibratedDetector(model, target_fpr=0.2, cv=3).fit(NORMAL)
    found = occlusion_map(calibrated, [FLAWED], fill="mean", window=20)
    np.testing.assert_allclose(
        found, occlusion_map(calibrated.detector_, [FLAWED], fill="mean", window=20)
    )


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "needs normal images to cover with"),
        ({"fill": "grey"}, InvalidParameterError, "'fill' parameter of occlusion_map"),
        ({"fill": (1, 2)}, ValueError, "a colour of 3 numbers"),
        ({"fill": (1, 2, 300)}, ValueError, "from 0 to 255"),
        ({"fill": "mean", "window": 0}, InvalidParameterError, "'window' parameter"),
        ({"fill": "mean", "stride": 0.5}, InvalidParameterError, "'stride' parameter"),
        (
            {"fill": "mean", "window": 8, "stride": 9},
            ValueError,
            "stride=9 is more than the window of 8 pixels",
        ),
        ({"fill": "mean", "image_size": True}, ValueError, "image_size must be .* True"),
    ],
)
def test_parameters_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        occlusion_map(Brightest(), [FLAWED], **options)


def test_iterators_and_flat_rows_are_refused(model):
    with pytest.raises(TypeError, match="iterator"):
        occlusion_map(model, iter([FLAWED]), fill="mean")
    rows = NORMAL.reshape(len(NORMAL), -1)
    extractor = CNNFeatureExtractor("tiny", input_size=32, image_shape=(40, 48, 3))
    flat = make_pipeline(extractor, MahalanobisDetector(target_fpr=0.2)).fit(rows)
    with pytest.raises(ValueError, match="image_shape is set"):
        occlusion_map(flat, rows, fill="mean")
