"""Maps as features: their channels and grid, against torch on the maps of each level."""

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


# ------------------------------------------------------------------------- the channels
@pytest.mark.parametrize("n_channels", [1, 2, 50, 335])
@pytest.mark.parametrize("grid", [None, (5, 9)])
def test_a_selection_is_one_of_the_full_maps(n_channels, grid):
    full = tiny(grid=grid).fit(IMAGES)
    some = tiny(grid=grid, n_channels=n_channels).fit(IMAGES)
    names = list(full.get_feature_names_out())
    kept = [names.index(name) for name in some.get_feature_names_out()]
    assert kept == sorted(set(kept))
    assert len(kept) == n_channels == some.n_features_out_
    assert some.level_channels_ == CHANNELS
    got = some.transform(IMAGES)
    assert got.shape[3] == n_channels
    np.testing.assert_allclose(got, full.transform(IMAGES)[..., kept], **close)


@pytest.mark.parametrize("n_channels", [336, 337, 10**9])
def test_as_many_as_there_are_keep_all(n_channels):
    full, same = tiny().fit(IMAGES), tiny(n_channels=n_channels).fit(IMAGES)
    np.testing.assert_array_equal(same.transform(IMAGES), full.transform(IMAGES))
    assert list(same.get_feature_names_out()) == list(full.get_feature_names_out())


def names_of(**parameters):
    return list(tiny(**parameters).fit(IMAGES).get_feature_names_out())


def test_random_state_draws_the_channels():
    drawn = names_of(n_channels=40)
    assert drawn == names_of(n_channels=40, random_state=0)
    assert drawn != names_of(n_channels=40, random_state=1)
    assert set(drawn) < set(names_of(n_channels=41))
    used = CNNFeatureExtractor("tiny", pooling="none", n_channels=40).fit(IMAGES)
    assert list(used.get_feature_names_out()) == drawn  # whatever the size of images


def test_the_draw_is_uniform_and_known_for_ever():
    counts = np.zeros(60)
    for seed in range(2000):
        kept = _maps.kept_channels([10, 30, 20], 15, seed)
        counts[
            np.concatenate([k + s for k, s in zip(kept, [0, 10, 40], strict=True)])
        ] += 1
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)
    # What a pickle names and reads back hangs on these.
    first = [k.tolist() for k in _maps.kept_channels([4, 0, 6], 4, 0)]
    assert first == [[0, 3], [], [0, 4]]


def test_channels_left_out_are_not_resized(monkeypatch):
    seen, resize = [], _maps.resize

    def watched(maps, grid):
        seen.append(maps.shape[1])
        return resize(maps, grid)

    extractor = tiny(n_channels=3, batch_size=3).fit(IMAGES)
    monkeypatch.setattr(_maps, "resize", watched)
    extractor.transform(IMAGES)
    assert sum(seen) == 3
    assert min(seen) > 0


@pytest.mark.parametrize("keywords", [{}, {"n_channels": 5}, {"grid": 14}, {"grid": 20}])
def test_maps_are_taken_before_they_are_changed_in_place(keywords):
    torch.manual_seed(0)
    chain = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.ReLU(True)
    )
    extractor = CNNFeatureExtractor(
        lambda: chain, pooling="none", input_size=16, **keywords
    )
    got = extractor.fit_transform(IMAGES)
    names = extractor.get_feature_names_out()
    before = {n[3:]: got[..., i] for i, n in enumerate(names) if n.startswith("0__")}
    after = {n[3:]: got[..., i] for i, n in enumerate(names) if n.startswith("1__")}
    shared = before.keys() & after.keys()
    assert shared
    assert min(m.min() for m in before.values()) < 0
    if keywords.get("grid") != 20:  # stretched, they are no longer clipped
        for channel in shared:
            np.testing.assert_array_equal(after[channel], before[channel].clip(0))


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
def test_copies_keep_the_same_channels(seed):
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


def test_the_seed_matters_to_drawn_channels_alone(tmp_path):
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
