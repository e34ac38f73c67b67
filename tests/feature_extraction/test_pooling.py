"""Poolings, against references in float64, and the names of what they give."""

from itertools import pairwise

import numpy as np
import pytest
import torch  # noqa: TID253 - what the tests compare with
from sklearn import config_context
from torch import nn  # noqa: TID253 - as above

from sklearn_gauss.detection import LevelEnsemble
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones._pooling import (  # noqa: TID253 - under test
    POOLINGS,
    group_sizes,
    projection,
)

POOLED = [kind for kind in POOLINGS if kind != "none"]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)


def reference(kind, maps, level="a", seed=0):
    """Pool maps in float64, an image and a pair of groups at a time."""
    maps = maps.astype(np.float64)
    means, deviations = maps.mean((2, 3)), maps.std((2, 3))
    if kind == "avg":
        return means
    if kind == "max":
        return maps.max((2, 3))
    if kind == "moments":
        return np.hstack([means, deviations])
    n_groups, _ = group_sizes(maps.shape[1])
    axes = projection(level, maps.shape[1], seed).astype(np.float64)
    groups = np.split(axes, n_groups, axis=1)
    rows = []
    for image in maps:
        covariance = np.atleast_2d(np.cov(image.reshape(len(image), -1), ddof=0))
        entries = [
            (one.T @ covariance @ other).ravel() for one, other in pairwise(groups)
        ]
        rooted = np.concatenate([np.sign(c) * np.sqrt(np.abs(c)) for c in [*entries, []]])
        rows.append(rooted / (np.linalg.norm(rooted) or 1))
    return np.hstack([means, rows])


def pool(kind, maps, level="a", seed=0):
    pooled = POOLINGS[kind].make(level, maps.shape[1], seed)(torch.from_numpy(maps))
    assert pooled.dtype == torch.float32
    return pooled.numpy()


def draw(channels, grid=(5, 7), n=3, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((channels, channels)) / np.sqrt(channels)
    noise = rng.standard_normal((n, *grid, channels)) @ mixed + rng.normal(size=channels)
    return noise.transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16, 31, 32, 70])
def test_poolings(kind, channels):
    maps = draw(channels)
    got = pool(kind, maps)
    np.testing.assert_allclose(got, reference(kind, maps), rtol=1e-4, atol=2e-5)
    labels = POOLINGS[kind].labels(channels)
    assert len(labels) == len(set(labels)) == got.shape[1]


@pytest.mark.parametrize("kind", ["moments", "second_moments"])
@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
def test_moments_far_from_zero(kind, scale):
    maps = (draw(40, grid=(30, 30)) + 100) * np.float32(scale)
    got, expected = pool(kind, maps), reference(kind, maps)
    if kind == "moments":
        np.testing.assert_allclose(got, expected, rtol=2e-5)
    else:
        np.testing.assert_allclose(got[:, :40], expected[:, :40], rtol=2e-5)
        np.testing.assert_allclose(got[:, 40:], expected[:, 40:], atol=2e-4)


@pytest.mark.parametrize("value", [0.1, 1e-20, 3e10, 0.0, -7.3])
@pytest.mark.parametrize("grid", [(1, 1), (7, 7), (113, 91)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_constant_maps_have_no_spread(value, grid, channels_last):
    maps = np.full((2, 37, *grid), value, np.float32)
    if channels_last:
        maps = np.ascontiguousarray(maps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pool("moments", maps)[:, 37:], 0)
    np.testing.assert_array_equal(pool("second_moments", maps)[:, 37:], 0)


def test_second_moments_are_of_unit_norm_and_blind_to_scale():
    maps = draw(48)
    second = pool("second_moments", maps)[:, 48:]
    assert second.shape[1] == 3 * 8 * 8
    np.testing.assert_allclose(np.linalg.norm(second, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        pool("second_moments", maps * 50 + 3)[:, 48:], second, atol=1e-5
    )
    shuffled = maps.reshape(3, 48, -1)[:, :, np.random.default_rng(1).permutation(35)]
    np.testing.assert_allclose(
        pool("second_moments", shuffled.reshape(maps.shape))[:, 48:], second, atol=1e-5
    )


def test_second_moments_see_what_single_channels_do_not():
    """Two maps whose channels have the same values, but together or apart."""
    values = np.random.default_rng(0).standard_normal((40, 64))
    together = np.repeat(np.sort(values[:1]), 40, axis=0)
    apart = np.random.default_rng(1).permuted(together, axis=1)
    maps = np.stack([together, apart]).reshape(2, 40, 8, 8).astype(np.float32)
    np.testing.assert_allclose(*pool("moments", maps), atol=1e-6)
    one, other = pool("second_moments", maps)[:, 40:]
    assert np.abs(one - other).max() > 0.05


@pytest.mark.parametrize("channels", [1, 3, 4, 20, 32, 300])
def test_projections_are_orthonormal_and_drawn_for_level_and_seed(channels):
    axes = projection("a", channels, 0)
    n_groups, size = group_sizes(channels)
    assert axes.shape == (channels, n_groups * size)
    np.testing.assert_allclose(axes.T @ axes, np.eye(n_groups * size), atol=1e-5)
    np.testing.assert_array_equal(axes, projection("a", channels, 0))
    if channels > 4:
        assert not np.allclose(axes, projection("b", channels, 0))
        assert not np.allclose(axes, projection("a", channels, 1))


def tiny(**parameters):
    return CNNFeatureExtractor("tiny", **{"input_size": 32, **parameters})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_second_moments_of_a_network(precision):
    keywords = {"precision": precision, "batch_size": 1}
    got = tiny(pooling="second_moments", **keywords).fit_transform(IMAGES)
    start = 0
    for number in range(5):
        single = tiny(levels=[number], pooling="none", **keywords).fit(IMAGES)
        maps = single.transform(IMAGES).transpose(0, 3, 1, 2)
        expected = reference("second_moments", maps, single.levels_[0])
        stop = start + expected.shape[1]
        atol = 1e-4 if precision == "float32" else 2e-3
        np.testing.assert_allclose(got[:, start:stop], expected, atol=atol)
        start = stop
    assert start == got.shape[1]
    # Means, 3 * 4 * 4 of the 16 channels of the stem, 3 * 8 * 8 of each other level.
    assert start == 336 + 3 * 16 + 4 * 192


def test_a_level_is_pooled_alike_in_any_company():
    keywords = {"pooling": "second_moments", "batch_size": 1}
    alone = tiny(levels=["stage2"], **keywords).fit_transform(IMAGES)
    extractor = tiny(**keywords)
    among = extractor.fit_transform(IMAGES)
    names = extractor.get_feature_names_out()
    chosen = [name.startswith("stage2__") for name in names]
    np.testing.assert_allclose(among[:, chosen], alone, rtol=1e-5, atol=1e-6)


def test_random_state_decides_the_projections():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.one = nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU())
                self.two = nn.Sequential(nn.Conv2d(40, 40, 3), nn.ReLU())

        def forward(self, x):
            return self.two(self.one(x))

    def rows(seed, pooling="second_moments"):
        extractor = CNNFeatureExtractor(
            Fixed, input_size=16, pooling=pooling, random_state=seed
        )
        return extractor.fit_transform(IMAGES)

    np.testing.assert_array_equal(rows(0), rows(None))
    np.testing.assert_array_equal(rows(0, "avg"), rows(1, "avg"))
    assert not np.allclose(rows(0), rows(1))


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("kind", POOLED)
def test_frames(container, kind):
    extractor = tiny(pooling=kind, batch_size=1)
    plain = extractor.fit_transform(IMAGES)
    names = list(extractor.get_feature_names_out())
    assert len(set(names)) == len(names) == extractor.n_features_out_ == plain.shape[1]
    levels = list(dict.fromkeys(name.split("__")[0] for name in names))
    assert levels == extractor.levels_
    frame = extractor.set_output(transform=container).transform(IMAGES)
    assert list(frame.columns) == names
    np.testing.assert_array_equal(frame.to_numpy(), plain)


@pytest.mark.parametrize("kind", POOLED)
def test_a_level_ensemble_reads_the_levels(kind):
    extractor = tiny(pooling=kind).set_output(transform="pandas")
    images = np.random.default_rng(1).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    frame = extractor.fit_transform(images)
    ensemble = LevelEnsemble(target_fpr=0.1).fit(frame)
    assert ensemble.level_scores(frame).shape == (12, 5)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_maps_do_not_fit_a_frame(container):
    message = f"pooling='none' gives maps .* no {container} frame"
    extractor = tiny(pooling="none").set_output(transform=container)
    with pytest.raises(ValueError, match=message):
        extractor.fit_transform(IMAGES)
    with config_context(transform_output=container):
        with pytest.raises(ValueError, match=message):
            tiny(pooling="none").fit_transform(IMAGES)
        kept = tiny(pooling="none").set_output(transform="default")
        assert kept.fit_transform(IMAGES).ndim == 4
