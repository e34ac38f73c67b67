"""Maps as features: grid and projections, against torch on the maps of each level."""

import pickle
import sys

import numpy as np
import pytest
import torch  # noqa: TID253 - what the tests compare with
from sklearn.base import clone
from torch import nn  # noqa: TID253 - as above
from torch.nn.functional import (  # noqa: TID253 - as above
    adaptive_avg_pool2d,
    interpolate,
)

from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones import _maps  # noqa: TID253 - under test

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
LEVELS = ["stem", "stage1", "stage2", "stage3", "stage4"]
CHANNELS = [16, 32, 64, 96, 128]
GRIDS = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
close = {"rtol": 1e-5, "atol": 1e-5}


def tiny(**parameters):
    given = {"input_size": (32, 48), "pooling": "none", **parameters}
    return CNNFeatureExtractor("tiny", **given)


@pytest.fixture(scope="module")
def maps():
    """Maps of each level as they are, (n, C, H, W)."""
    alone = [tiny(levels=[level]).fit_transform(IMAGES) for level in LEVELS]
    maps = [torch.from_numpy(m).permute(0, 3, 1, 2).contiguous() for m in alone]
    assert [m.shape[1] for m in maps] == CHANNELS
    assert [tuple(m.shape[2:]) for m in maps] == GRIDS
    return maps


def on_grid(maps, grid):
    """All levels on a grid, one side after the other, with torch: (n, H, W, C)."""
    resized = []
    for one in maps:
        for axis in (2, 3):
            size = list(one.shape[2:])
            size[axis - 2] = grid[axis - 2]
            if size[axis - 2] < one.shape[axis]:
                one = adaptive_avg_pool2d(one, size)
            else:
                one = interpolate(one, size, mode="bilinear", align_corners=False)
        resized.append(one)
    return torch.cat(resized, 1).permute(0, 2, 3, 1).numpy()


# ----------------------------------------------------------------------------- the grid
@pytest.mark.parametrize(
    "grid", [None, 1, 5, 8, 40, (4, 6), (8, 12), (7, 5), (1, 30), [20, 2]]
)
def test_all_levels_are_brought_to_one_grid(maps, grid):
    extractor = tiny(grid=grid)
    got = extractor.fit_transform(IMAGES)
    size = (grid, grid) if isinstance(grid, int) else tuple(grid or GRIDS[0])
    assert got.shape == (3, *size, 336)
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, on_grid(maps, size), **close)
    assert extractor.level_grids_ == GRIDS
    assert extractor.n_features_out_ == 336


def test_averages_down_and_stretches_as_torch(maps):
    got = np.split(tiny(grid=(4, 6)).fit_transform(IMAGES), np.cumsum(CHANNELS), axis=3)
    for one, level in zip(maps, got[:-1], strict=True):
        if one.shape[2] > 4:
            expected = adaptive_avg_pool2d(one, (4, 6))
        else:
            expected = interpolate(one, (4, 6), mode="bilinear", align_corners=False)
        np.testing.assert_allclose(level, expected.permute(0, 2, 3, 1), **close)
    np.testing.assert_array_equal(got[2], maps[2].permute(0, 2, 3, 1))


# ---------------------------------------------------------------------- the projections
def drawn_axes(n_kept, seed=0, total=336):
    """Orthonormal directions by Gram and Schmidt, each along its own draw."""
    draw = np.random.RandomState([seed, *b"channels"]).standard_normal((total, n_kept))
    axes = []
    for one in draw.T:
        for _ in range(2):
            one = one - sum((axis * (axis @ one) for axis in axes), np.zeros(total))
        axes.append(one / np.linalg.norm(one))
    return np.stack(axes, 1)


def check_projected(got, full, axes):
    """Each entry to the rounding of a float32 product of all channels."""
    expected = full.astype(np.float64) @ axes
    size = np.abs(full).astype(np.float64) @ np.abs(axes)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert got.shape == expected.shape
    assert (np.abs(got - expected) <= 2e-6 * size).all()


@pytest.mark.parametrize("n_channels", [1, 2, 50, 335])
@pytest.mark.parametrize("grid", [None, 1, (5, 9), (8, 12), (1, 30), (20, 2), 40])
def test_directions_of_the_full_maps(n_channels, grid):
    full = tiny(grid=grid).fit_transform(IMAGES)
    extractor = tiny(grid=grid, n_channels=n_channels)
    got = extractor.fit_transform(IMAGES)
    check_projected(got, full, drawn_axes(n_channels))
    assert extractor.n_features_out_ == n_channels
    assert extractor.level_channels_ == CHANNELS
    assert extractor.level_grids_ == GRIDS
    names = [f"projection__{number}" for number in range(n_channels)]
    assert list(extractor.get_feature_names_out()) == names


@pytest.mark.parametrize("levels", [["stage4", "stem"], [1], [3, 0, -1]])
@pytest.mark.parametrize("seed", [0, 7])
def test_rows_follow_the_order_of_levels(levels, seed):
    full = tiny(levels=levels, random_state=seed).fit_transform(IMAGES)
    got = tiny(levels=levels, random_state=seed, n_channels=9).fit_transform(IMAGES)
    check_projected(got, full, drawn_axes(9, seed, full.shape[3]))


@pytest.mark.parametrize("n_channels", [336, 337, 10**9])
def test_as_many_as_there_are_keep_all(n_channels):
    full, same = tiny().fit(IMAGES), tiny(n_channels=n_channels).fit(IMAGES)
    np.testing.assert_array_equal(same.transform(IMAGES), full.transform(IMAGES))
    assert list(same.get_feature_names_out()) == list(full.get_feature_names_out())


def test_random_state_draws_the_directions():
    full = tiny(random_state=1).fit_transform(IMAGES)
    got = tiny(n_channels=40, random_state=1).fit_transform(IMAGES)
    check_projected(got, full, drawn_axes(40, 1))
    none, zero = (
        tiny(n_channels=40, random_state=seed).fit_transform(IMAGES) for seed in (None, 0)
    )
    np.testing.assert_array_equal(none, zero)


@pytest.mark.parametrize(
    ("channels", "n_kept"), [([3], 2), ([5, 1, 7], 12), ([10, 30, 20], 1)]
)
def test_directions_are_orthonormal(channels, n_kept):
    axes = _maps.level_axes(channels, n_kept, 3)
    assert [a.shape for a in axes] == [(n, n_kept) for n in channels]
    assert all(a.dtype == np.float32 for a in axes)
    joined = np.concatenate(axes).astype(np.float64)
    np.testing.assert_allclose(joined.T @ joined, np.eye(n_kept), atol=1e-6)


def test_the_draw_is_known_for_ever():
    """What a pickle and a cache read back hangs on it."""
    one, other = _maps.level_axes([2, 3], 2, 0)
    expected = [[0.20646416, -0.31282178], [-0.1830071, 0.6147902]]
    np.testing.assert_allclose(one, expected, rtol=1e-6)
    expected = [
        [-0.02760602, 0.64132184],
        [0.9281498, 0.26510137],
        [-0.24830775, 0.20640515],
    ]
    np.testing.assert_allclose(other, expected, rtol=1e-6)


def test_only_cells_of_the_grid_are_projected(monkeypatch):
    """Larger maps are averaged before, smaller ones stretched after."""
    seen, average_down, stretch = [], _maps.average_down, _maps.stretch

    def averaged(maps, grid):
        assert maps.shape[1] > 3
        seen.append("averaged")
        return average_down(maps, grid)

    def stretched(maps, grid):
        assert maps.shape[1] == 3
        seen.append("stretched")
        return stretch(maps, grid)

    extractor = tiny(n_channels=3, batch_size=3, grid=(2, 4)).fit(IMAGES)
    monkeypatch.setattr(_maps, "average_down", averaged)
    monkeypatch.setattr(_maps, "stretch", stretched)
    extractor.transform(IMAGES)
    # Of one size when averaged: the first three levels.
    assert seen == ["averaged"] * 5 + ["stretched"] * 3


def test_maps_of_all_channels_are_never_joined(monkeypatch):
    extractor = tiny(n_channels=3, batch_size=3).fit(IMAGES)

    def fail(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(torch, "cat", fail)
    assert extractor.transform(IMAGES).shape == (3, 16, 24, 3)


@pytest.mark.parametrize("keywords", [{}, {"grid": 14}, {"grid": 20}])
def test_maps_are_taken_before_they_are_changed_in_place(keywords):
    def chain():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.ReLU(True)
        )

    keywords = {"pooling": "none", "input_size": 16, **keywords}
    got = CNNFeatureExtractor(chain, **keywords).fit_transform(IMAGES)
    before, after = np.split(got, 2, axis=3)
    assert before.min() < 0
    if keywords.get("grid") != 20:  # stretched, they are no longer clipped
        np.testing.assert_array_equal(after, before.clip(0))
    some = CNNFeatureExtractor(chain, n_channels=5, **keywords).fit_transform(IMAGES)
    check_projected(some, got, drawn_axes(5, total=8))


def test_projections_are_of_full_precision():
    """Autocast is for the network: the product's rounding is that of float32."""
    keywords = {"precision": "bfloat16", "batch_size": 3}
    full = tiny(**keywords).fit_transform(IMAGES)
    got = tiny(n_channels=30, **keywords).fit_transform(IMAGES)
    check_projected(got, full, drawn_axes(30))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batches_do_not_change_maps(precision):
    keywords = {"n_channels": 30, "grid": 3, "precision": precision}
    one = tiny(batch_size=1, **keywords).fit_transform(IMAGES)
    all_ = tiny(batch_size=3, **keywords).fit_transform(IMAGES)
    assert one.dtype == all_.dtype == np.float32
    loose = {"rtol": 0.02, "atol": 0.02} if precision == "bfloat16" else close
    np.testing.assert_allclose(one, all_, **loose)


def test_maps_of_an_iterator_and_what_cannot_be_read():
    extractor = tiny(n_channels=7, grid=4, batch_size=1, on_error="nan").fit(IMAGES)
    expected = extractor.transform(IMAGES)
    given = (image for _ in range(9) for image in IMAGES)
    np.testing.assert_allclose(
        extractor.transform(given), np.tile(expected, (9, 1, 1, 1))
    )
    with pytest.warns(UserWarning, match="1 of 2 images"):
        got = extractor.transform([IMAGES[0], "nowhere.png"])
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[0], expected[0])


# --------------------------------------------------------------------------- parameters
@pytest.mark.parametrize("pooling", ["avg", "max", "moments", "second_moments"])
@pytest.mark.parametrize("given", [{"n_channels": 5}, {"grid": 4}, {"grid": ()}])
def test_they_are_for_maps(pooling, given):
    (name,) = given
    with pytest.raises(ValueError, match=rf"{name}=.* is for maps, pooling='none'"):
        tiny(pooling=pooling, **given).fit(IMAGES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_channels", 0),
        ("n_channels", -3),
        ("n_channels", 1.5),
        ("n_channels", "all"),
        ("grid", 0),
        ("grid", (4, 0)),
        ("grid", (4, 4.0)),
        ("grid", (4, 4, 4)),
        ("grid", ()),
        ("grid", "finest"),
    ],
)
def test_wrong_values_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        tiny(**{name: value}).fit(IMAGES)


@pytest.mark.parametrize("new", [{"n_channels": 6}, {"n_channels": None}, {"grid": 5}])
def test_they_are_those_of_fit(new):
    extractor = tiny(n_channels=5, grid=(4, 4)).fit(IMAGES)
    extractor.set_params(**new)
    (name,) = new
    for use in (lambda: extractor.transform(IMAGES), extractor.get_feature_names_out):
        with pytest.raises(ValueError, match=f"{name} changed since fit"):
            use()
    extractor.set_params(n_channels=5, grid=[4, 4]).transform(IMAGES)


@pytest.mark.parametrize("seed", [None, 3, np.random.RandomState(5)])
def test_copies_keep_the_same_projections(seed):
    extractor = tiny(n_channels=20, grid=(3, 5), random_state=seed).fit(IMAGES)
    expected, names = extractor.transform(IMAGES), extractor.get_feature_names_out()
    loaded = pickle.loads(pickle.dumps(extractor))
    assert list(loaded.get_feature_names_out()) == list(names)
    assert "_network" not in vars(loaded)
    np.testing.assert_array_equal(loaded.transform(IMAGES), expected)
    twin = clone(extractor)
    assert (twin.n_channels, twin.grid) == (20, (3, 5))
    if not isinstance(seed, np.random.RandomState):  # drawn on by the first fit
        np.testing.assert_array_equal(twin.fit_transform(IMAGES), expected)


def test_maps_through_the_cache(tmp_path):
    def cached(**parameters):
        extractor = tiny(cache=tmp_path / "cache", batch_size=1, **parameters)
        return extractor.fit_transform(IMAGES), extractor.cache_info()[:2]

    others = [
        {},
        {"n_channels": 20},
        {"n_channels": 20, "random_state": 1, "levels": LEVELS},
        {"n_channels": 21},
        {"grid": 5},
        {"grid": (5, 6)},
        {"n_channels": 20, "grid": 5},
    ]
    for parameters in others:
        plain = tiny(batch_size=1, **parameters).fit_transform(IMAGES)
        for counts in ((0, 3), (3, 0)):
            got, counted = cached(**parameters)
            assert counted == counts
            np.testing.assert_array_equal(got, plain)
    # Other words for the same maps.
    assert cached(grid=GRIDS[0], n_channels=336)[1] == (3, 0)
    assert cached(grid=[5, 5])[1] == (3, 0)


def test_the_seed_matters_to_projections_alone(tmp_path):
    """Where weights do not hang on it, all channels are the same for every seed."""

    def fixed(seed, **parameters):
        extractor = CNNFeatureExtractor(
            Fixed, pooling="none", input_size=16, random_state=seed, **parameters
        )
        rows = extractor.set_params(cache=tmp_path).fit_transform(IMAGES)
        return rows, extractor.cache_info()[:2]

    full, counts = fixed(0)
    assert counts == (0, 3)
    again, counts = fixed(1)
    assert counts == (3, 0)
    np.testing.assert_array_equal(again, full)
    some, counts = fixed(0, n_channels=8)
    other, counts = fixed(1, n_channels=8)
    assert counts == (0, 3)
    assert not np.allclose(some, other)


class Fixed(nn.Module):
    """Two levels whose weights do not hang on ``random_state``."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU())
            self.two = nn.Sequential(nn.Conv2d(12, 12, 3), nn.ReLU())

    def forward(self, x):
        return self.two(self.one(x))


def test_the_names_need_no_torch(monkeypatch):
    extractor = pickle.loads(pickle.dumps(tiny(n_channels=9).fit(IMAGES)))
    expected = extractor.get_feature_names_out()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert list(extractor.get_feature_names_out()) == list(expected)
