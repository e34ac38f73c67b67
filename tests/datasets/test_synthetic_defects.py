"""Synthetic defects: what they change, how they are dealt out, and who reads them."""

import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from sklearn_gauss.datasets import (
    DrawnImage,
    SyntheticDefects,
    make_inspection_images,
)
from sklearn_gauss.datasets import _drawn_image as drawn_image
from sklearn_gauss.datasets._synthetic_kinds import SYNTHETIC_KINDS, draw_defect
from sklearn_gauss.datasets._synthetic_shapes import find_foreground
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._reading._images import read_image
from sklearn_gauss.feature_extraction._reading._inputs import as_images
from sklearn_gauss.feature_extraction._reading._sizes import own_size

KINDS = list(SYNTHETIC_KINDS)
by_kind = pytest.mark.parametrize("kind", KINDS)


def ground(kind, shape, seed):
    """Pixels of one of several natures: uniform, noisy, smooth, black, white, striped."""
    rng, (height, width, channels) = np.random.default_rng(seed), shape
    y, x = np.mgrid[:height, :width][..., None] / min(height, width)
    level = rng.integers(0, 256, channels)
    made = {
        "uniform": np.broadcast_to(level, shape),
        "noise": rng.integers(0, 256, shape),
        "grey": np.broadcast_to(rng.integers(40, 200, (height, width, 1)), shape),
        "smooth": np.broadcast_to(60 + 100 * y + 20 * x, shape),
        "black": np.zeros(shape),
        "white": np.full(shape, 255),
        "stripes": np.where(np.sin(40 * x) > 0, 255, 0) * np.ones(shape),
    }[kind]
    return np.clip(made, 0, 255).astype(np.uint8)


NATURES = ["uniform", "noise", "grey", "smooth", "black", "white", "stripes"]


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    nature=st.sampled_from(NATURES),
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    channels=st.sampled_from([1, 2, 3, 4, 7]),
    severity=st.floats(1e-3, 4.0),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_defect_is_seen_and_changes_nothing_else(
    kind, nature, height, width, channels, severity, seed
):
    pixels = ground(nature, (height, width, channels), seed % 1000)
    pixels.setflags(write=False)
    draw = partial(draw_defect, kind=kind, severity=severity, seed=seed, foreground=True)
    drawn, mask = draw(pixels)
    assert drawn.shape == pixels.shape
    assert drawn.dtype == np.uint8
    assert mask.shape == pixels.shape[:2]
    assert mask.dtype == bool
    np.testing.assert_array_equal(drawn[~mask], pixels[~mask])
    change = np.abs(drawn.astype(int) - pixels).max(axis=2)
    assert (change > 5).sum() >= 4
    assert mask.mean() < 0.3
    again = draw(pixels)
    np.testing.assert_array_equal(again[0], drawn)
    np.testing.assert_array_equal(again[1], mask)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    shape=st.tuples(st.integers(16, 60), st.integers(16, 60), st.integers(1, 5)),
    dtype=st.sampled_from([np.float32, np.float64]),
    severity=st.floats(0.01, 3.0),
    seed=st.integers(0, 2**31),
    has_region=st.booleans(),
)
def test_kinds_are_pure_functions_of_floats(
    kind, shape, dtype, severity, seed, has_region
):
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 1, shape).astype(dtype)
    image.setflags(write=False)
    region = rng.random(shape[:2]) > 0.9 if has_region else None
    painted, mask = SYNTHETIC_KINDS[kind](
        image, np.random.default_rng(seed), severity, region
    )
    assert painted.shape == shape
    assert painted.dtype == dtype
    assert painted.min() >= 0
    assert painted.max() <= 1
    np.testing.assert_array_equal(painted[~mask], image[~mask])


@pytest.mark.parametrize("size", [1, 2, 5, 9])
@by_kind
def test_images_of_a_few_pixels_are_no_error(kind, size):
    pixels = np.full((size, size + 1, 3), 99, np.uint8)
    drawn, mask = draw_defect(pixels, kind, severity=1.0, seed=0, foreground=True)
    np.testing.assert_array_equal(drawn[~mask], pixels[~mask])


@by_kind
def test_severity_zero_draws_nothing(kind):
    pixels = ground("noise", (32, 32, 3), 0)
    drawn = DrawnImage(pixels, kind, severity=0)
    np.testing.assert_array_equal(drawn.draw_on(pixels), pixels)
    assert not drawn.mask().any()


@pytest.fixture(scope="module")
def metal():
    return make_inspection_images("metal", size=96, n_train=4, random_state=0).train


@pytest.fixture(scope="module")
def washers():
    return make_inspection_images("washer", size=128, n_train=3, random_state=0).train


def drawn_on(image, kind, severity, seeds):
    for seed in range(seeds):
        drawn, mask = draw_defect(
            image, kind, severity=severity, seed=seed, foreground=True
        )
        yield np.abs(drawn.astype(float) - image), mask


@by_kind
def test_more_severe_is_larger_and_stronger_on_average(kind, metal):
    means = [
        np.mean([change.mean() for change, _ in drawn_on(metal[0], kind, severity, 25)])
        for severity in (0.2, 0.6, 1.0)
    ]
    assert means[0] < means[1] < means[2]


@by_kind
def test_areas_are_those_of_defects(kind, metal):
    areas = np.array([mask.mean() for _, mask in drawn_on(metal[0], kind, 0.6, 40)])
    assert 0.0005 < np.median(areas) < 0.05
    assert areas.max() < 0.12


@by_kind
def test_a_defect_lies_in_the_same_place_at_every_resolution(kind):
    y, x = np.mgrid[:192, :192] / 192
    fine = 120 + 50 * np.sin(9 * x + 4 * y) + 40 * np.cos(11 * y)
    fine = np.repeat(fine[..., None], 3, axis=2).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(fine).resize((96, 64), Image.Resampling.BILINEAR))
    agree = []
    for seed in range(8):
        drawn = DrawnImage(fine, kind, 0.9, seed)
        small = draw_defect(coarse, kind, severity=0.9, seed=seed, foreground=True)[1]
        small = Image.fromarray(small).resize((192, 192), Image.Resampling.NEAREST)
        large, small = drawn.mask(), np.asarray(small)
        agree.append((large & small).sum() / min(large.sum(), small.sum()))
    assert np.median(agree) > 0.7


# ------------------------------------------------------------------ where it is drawn
def test_parts_are_told_from_their_background(washers):
    for washer in washers:
        region = find_foreground(washer / 255)
        assert 0.1 < region.mean() < 0.6
        assert not region[0].any()
        assert not region[64, 64]  # the hole
        assert washer[region].mean() > washer[~region].mean() + 30


@pytest.mark.parametrize("kind", ["fabric", "tile", "wood"])
def test_textures_have_no_background(kind):
    for image in make_inspection_images(kind, size=96, n_train=3, random_state=0).train:
        assert find_foreground(image / 255) is None


@pytest.mark.parametrize("nature", NATURES)
def test_what_shows_no_part_has_no_foreground(nature):
    assert find_foreground(ground(nature, (50, 70, 3), 0) / 255) is None


@by_kind
def test_defects_stay_on_the_part(kind, washers):
    region = find_foreground(washers[0] / 255)
    rows, columns = np.nonzero(region)
    off = 0
    for _, mask in drawn_on(washers[0], kind, 0.7, 12):
        off += (mask & ~region).sum() / mask.sum() / 12
        down, across = np.nonzero(mask)
        assert down.min() >= rows.min() - 4
        assert across.max() <= columns.max() + 4
    assert off < 0.35


def test_without_foreground_defects_lie_anywhere(washers):
    region, outside = find_foreground(washers[0] / 255), 0
    for seed in range(20):
        drawn = DrawnImage(washers[0], "brightness", seed=seed, foreground=False)
        outside += np.mean(region[drawn.mask()]) < 0.5
    assert outside > 5


def test_missing_shows_the_background(washers):
    table = np.median(washers[0][:6].reshape(-1, 3), axis=0)
    for seed in range(8):
        drawn = DrawnImage(washers[0], "missing", seed=seed)
        pixels, mask = np.asarray(drawn), drawn.mask()
        assert np.abs(np.median(pixels[mask], axis=0) - table).max() < 25


@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 50, 1)])
@by_kind
def test_grey_stays_grey(kind, shape):
    pixels = ground("grey", shape, 3)
    drawn, mask = draw_defect(pixels, kind, severity=1.0, seed=1, foreground=True)
    assert mask.any()
    assert (drawn == drawn[..., :1]).all()


@by_kind
def test_opaque_stays_opaque(kind):
    pixels = ground("noise", (40, 50, 4), 3)
    pixels[..., 3] = 255
    drawn, _ = draw_defect(pixels, kind, severity=1.0, seed=1, foreground=True)
    assert (drawn[..., 3] == 255).all()


# ------------------------------------------------------------------ how it is dealt out
def test_kinds_are_dealt_out_evenly(metal):
    drawn = SyntheticDefects(n_per_image=5).draw(np.repeat(metal, 5, axis=0))
    counts = [np.count_nonzero(drawn.kind == kind) for kind in KINDS]
    assert sum(counts) == len(drawn.X) == 100
    assert max(counts) - min(counts) <= 1
    for place in range(20):
        assert len(set(drawn.kind[drawn.source == place])) == 5
    assert drawn.source.tolist() == np.repeat(np.arange(20), 5).tolist()
    assert [one.kind for one in drawn.X] == drawn.kind.tolist()
    assert [one.severity for one in drawn.X] == drawn.severity.tolist()
    assert drawn.severity.min() >= 0.3
    assert drawn.severity.max() <= 1.0
    assert len({one.seed for one in drawn.X}) == 100
    first = {drawn.kind[drawn.source == place][0] for place in range(20)}
    assert len(first) > 5  # no image has always the same kinds


def test_weights_are_shares_of_the_mix(metal):
    kinds = {"scratch": 3, "stain": 1, "blur": 0}
    drawn = SyntheticDefects(kinds, n_per_image=1).draw(np.repeat(metal, 5, axis=0))
    found, counts = np.unique(drawn.kind, return_counts=True)
    assert dict(zip(found, counts, strict=True)) == {"scratch": 15, "stain": 5}


@pytest.mark.parametrize(
    ("n_images", "n_kinds", "each"), [(4, 11, 11), (40, 11, 8), (400, 11, 1), (5, 2, 2)]
)
def test_auto_makes_enough(n_images, n_kinds, each):
    images = np.zeros((n_images, 8, 8, 3), np.uint8)
    drawn = SyntheticDefects(KINDS[:n_kinds]).draw(images)
    assert len(drawn.X) == n_images * each


def test_more_than_there_are_kinds(metal):
    drawn = SyntheticDefects(["scar", "blur"], n_per_image=5).draw(metal)
    assert np.unique(drawn.kind, return_counts=True)[1].tolist() == [10, 10]


def drawings(drawn):
    return [one.drawing for one in drawn.X]


def test_a_seed_determines_the_drawings(metal):
    first = SyntheticDefects(n_per_image=2).draw(metal)
    again = SyntheticDefects(n_per_image=2).draw(metal)
    other = SyntheticDefects(n_per_image=2, random_state=1).draw(metal)
    fewer = SyntheticDefects(n_per_image=2).draw(metal[::-1][:2])
    assert drawings(first) == drawings(again)
    assert not set(drawings(first)) & set(drawings(other))
    assert drawings(fewer) == drawings(first)[:4]
    fresh = SyntheticDefects(random_state=None)
    assert drawings(fresh.draw(metal)) != drawings(fresh.draw(metal))
    state = SyntheticDefects(random_state=np.random.RandomState(0))
    assert drawings(state.draw(metal)) != drawings(state.draw(metal))


def test_it_is_cloned_and_searched_like_an_estimator():
    defects = SyntheticDefects({"scar": 2.0}, severity=0.4, random_state=3)
    assert clone(defects).get_params() == defects.get_params()
    assert clone(defects).set_params(severity=(0.1, 0.2)).severity == (0.1, 0.2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kinds": "scratch"}, "'kinds' parameter"),
        ({"kinds": ["scratch", "dent"]}, "kinds must be 'all', or names .*'paste'"),
        ({"kinds": ["scratch", "scratch"]}, "kinds=.*twice"),
        ({"kinds": []}, "kinds must be"),
        ({"kinds": {}}, "kinds must be"),
        ({"kinds": [["scratch"]]}, "kinds must be"),
        ({"kinds": {"scratch": 0.0, "stain": 0}}, "kinds=.*all weights are zero"),
        ({"kinds": {"scratch": -1.0}}, "kinds: the weight of 'scratch' is -1.0"),
        ({"kinds": {"scratch": np.nan}}, "kinds: the weight"),
        ({"severity": -0.5}, "'severity' parameter"),
        ({"severity": 0}, "'severity' parameter"),
        ({"severity": np.inf}, "'severity' parameter"),
        ({"severity": (0.1, np.inf)}, "severity=.*inf"),
        ({"severity": (0.5,)}, "severity=.*pair"),
        ({"severity": (0.0, 1.0)}, "severity=.*positive"),
        ({"severity": (1.0, 0.5)}, "severity=.*lower one first"),
        ({"severity": ("a", "b")}, "severity="),
        ({"n_per_image": 0}, "'n_per_image' parameter"),
        ({"n_per_image": 1.5}, "'n_per_image' parameter"),
        ({"foreground": True}, "'foreground' parameter"),
        ({"foreground": "on"}, "'foreground' parameter"),
        ({"random_state": "x"}, "'random_state' parameter"),
    ],
)
def test_wrong_parameters_are_named(wrong, message, metal):
    with pytest.raises(ValueError, match=message):
        SyntheticDefects(**wrong).draw(metal)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones((5, 12)), ValueError, "flat rows"),
        (iter([np.zeros((8, 8, 3))]), TypeError, "iterator"),
        ([], ValueError, "X is empty"),
        ("no/such/folder", TypeError, "no such folder"),
        ([3], TypeError, r"X\[0\]"),
        (DrawnImage("a.png", "scar"), TypeError, "single image"),
    ],
)
def test_what_is_no_collection_of_images_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        SyntheticDefects().draw(X)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "dent"}, "kind must be one of .*'paste'"),
        ({"kind": None}, "kind must be"),
        ({"kind": "scar", "severity": -1}, "severity"),
        ({"kind": "scar", "severity": "high"}, "severity"),
        ({"kind": "scar", "foreground": True}, "foreground"),
    ],
)
def test_wrong_drawings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DrawnImage("a.png", **wrong)


# ------------------------------------------------------------------ a drawn image
@pytest.fixture
def paths(metal, tmp_path):
    paths = [tmp_path / f"{place}.png" for place in range(len(metal))]
    for path, image in zip(paths, metal, strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    missing = [tmp_path / "missing.png"]
    drawn = SyntheticDefects().draw(missing).X[0]
    assert drawn.image == missing[0]
    with pytest.raises(ImageReadError, match=r"missing\.png"):
        drawn.mask()


def test_it_is_drawn_on_what_is_read(paths):
    drawn = DrawnImage(paths[0], "stain", 0.8, seed=5)
    for size in ((48, 40), (96, 96)):
        normal, found = read_image(paths[0], size), read_image(drawn, size)
        mask = drawn.mask(size)
        assert mask.any()
        np.testing.assert_array_equal(found[~mask], normal[~mask])
        np.testing.assert_array_equal(found, drawn.draw_on(normal))
    assert drawn.size == own_size(drawn) == (96, 96)
    assert drawn.mask(32).shape == (32, 32)
    pixels = np.asarray(drawn)
    assert pixels.shape == (96, 96, 3)
    assert pixels.dtype == np.uint8
    assert np.asarray(drawn, dtype=float).dtype == float
    with pytest.raises(ValueError, match="drawn anew"):
        np.array(drawn, copy=False)


def test_one_defect_over_another(metal):
    both = DrawnImage(DrawnImage(metal[0], "stain"), "scratch", seed=8)
    want = both.draw_on(both.image.draw_on(metal[0]))
    np.testing.assert_array_equal(np.asarray(both), want)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_arrays_of_any_number_of_channels(channels):
    drawn = DrawnImage(ground("noise", (30, 20, channels), 0), "brightness")
    assert drawn.size == (30, 20)
    assert drawn.mask().shape == (30, 20)
    assert drawn.mask().any()


@pytest.mark.parametrize("through", [lambda one: pickle.loads(pickle.dumps(one)), clone])
def test_copies_draw_the_same(through, metal):
    drawn = DrawnImage(metal[0], "warp", 0.7, seed=2**62)
    if through is clone:
        again = clone([drawn], safe=False)[0]
    else:
        again = through(drawn)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(drawn))
    assert again.drawing == drawn.drawing


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        ("good/1.png", "'good/1.png'"),
        (np.zeros((4, 5, 3)), "<ndarray (4, 5, 3)>"),
        (b"abc", "<bytes of 3 bytes>"),
        (Image.new("L", (3, 3)), "<Image>"),
    ],
)
def test_repr_is_short(image, shown):
    drawn = DrawnImage(image, "scar", 0.51234, seed=7, foreground=False)
    want = f"DrawnImage({shown}, 'scar', severity=0.512, seed=7, foreground=False)"
    assert repr(drawn) == want


# ------------------------------------------------------------------ who reads it
torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def as_objects(images):
    array = np.empty(len(images), dtype=object)
    for place, image in enumerate(images):
        array[place] = image
    return array


@pytest.mark.parametrize("container", [list, as_objects], ids=["list", "objects"])
def test_an_extractor_takes_them_among_others(container, paths, metal):
    with Image.open(paths[0]) as opened:
        opened.load()
        drawn = [
            DrawnImage(paths[0], "stain", seed=1),
            DrawnImage(metal[0], "stain", seed=1),
            DrawnImage(opened, "stain", seed=1),
            DrawnImage(paths[0].read_bytes(), "stain", seed=1),
        ]
        extractor = CNNFeatureExtractor("tiny", input_size=32).fit(paths)
        features = extractor.transform(container([paths[0], *drawn, str(paths[1])]))
        parts = _safe_indexing(container([*paths, *drawn]), [4, 5])
    np.testing.assert_allclose(extractor.transform(parts), features[1:3], rtol=1e-4)
    assert np.abs(features[1] - features[0]).max() > 1e-3
    for other in features[2:5]:
        np.testing.assert_allclose(other, features[1], rtol=1e-4, atol=1e-6)
    assert len(as_images(drawn)) == 4


def test_a_stream_of_them(paths):
    drawn = SyntheticDefects("all", n_per_image=1).draw(paths).X
    extractor = CNNFeatureExtractor("tiny", input_size=32).fit(paths)
    np.testing.assert_allclose(
        extractor.transform(iter(drawn)), extractor.transform(drawn), rtol=1e-4
    )


def test_what_cannot_be_read_is_named_by_its_file(paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    images = [DrawnImage(path, "scar") for path in (paths[0], broken)]
    extractor = CNNFeatureExtractor("tiny", input_size=32).fit(paths)
    with pytest.raises(ImageReadError, match=r"broken\.png"):
        extractor.transform(images)
    extractor = CNNFeatureExtractor("tiny", input_size=32, on_error="nan").fit(paths)
    with pytest.warns(UserWarning, match=r"1 of 2 .*broken\.png"):
        features = extractor.transform(images)
    assert np.isfinite(features[0]).all()
    assert np.isnan(features[1]).all()


@pytest.fixture
def cached(tmp_path):
    return CNNFeatureExtractor("tiny", input_size=32, cache=tmp_path / "cache")


def test_drawn_images_are_cached_by_image_and_drawing(cached, paths, metal, monkeypatch):
    one = DrawnImage(paths[0], "stain", 0.8, seed=1)
    features = cached.fit(paths).transform([one, paths[0]])
    assert cached.cache_info()[:2] == (0, 2)
    same = [
        one,
        DrawnImage(str(paths[0]), "stain", 0.8, seed=1),
        DrawnImage(paths[0].read_bytes(), "stain", 0.8, seed=1),
        pickle.loads(pickle.dumps(one)),
    ]
    again = cached.fit(paths).transform(same)
    assert cached.cache_info()[:2] == (4, 0)
    np.testing.assert_array_equal(again, np.repeat(features[:1], 4, axis=0))
    others = [
        DrawnImage(paths[1], "stain", 0.8, seed=1),
        DrawnImage(paths[0], "blotch", 0.8, seed=1),
        DrawnImage(paths[0], "stain", 0.7, seed=1),
        DrawnImage(paths[0], "stain", 0.8, seed=2),
        DrawnImage(paths[0], "stain", 0.8, seed=1, foreground=False),
        DrawnImage(metal[0], "stain", 0.8, seed=1),
        DrawnImage(Image.fromarray(metal[0]), "stain", 0.8, seed=1),
        DrawnImage(one, "stain", 0.8, seed=1),
    ]
    cached.fit(paths).transform(others)
    assert cached.cache_info()[:2] == (0, 8)
    cached.fit(paths).transform(others)
    assert cached.cache_info()[:2] == (8, 0)
    monkeypatch.setattr(drawn_image, "DRAWING", 0)
    cached.fit(paths).transform([one])
    assert cached.cache_info()[:2] == (0, 1)


def test_maps_and_displays_take_them(paths):
    from matplotlib.figure import Figure
    from sklearn.pipeline import make_pipeline

    from sklearn_gauss.detection import MahalanobisDetector, PatchGaussianDetector
    from sklearn_gauss.inspection import anomaly_maps, occlusion_map
    from sklearn_gauss.plotting import AnomalyMapDisplay

    train = make_inspection_images("metal", size=96, n_train=20, random_state=0).train
    drawn = SyntheticDefects("all", severity=1.0, n_per_image=1).draw(paths[:2]).X
    extractor = CNNFeatureExtractor("tiny", input_size=32, pooling="none")
    pipe = make_pipeline(extractor, PatchGaussianDetector(pixel_target_fpr=0.05))
    pipe.fit(train)
    maps = anomaly_maps(pipe, drawn)
    assert maps.shape == (2, 96, 96)
    display = AnomalyMapDisplay.from_estimator(
        pipe, drawn, masks=[one.mask() for one in drawn], figure=Figure((10, 8))
    )
    assert sorted(display.names) == ["0.png", "1.png"]
    shown = display.images[display.names.index("0.png")]
    np.testing.assert_array_equal(shown, np.asarray(drawn[0]))
    scored = make_pipeline(CNNFeatureExtractor("tiny", input_size=32))
    scored = make_pipeline(*scored, MahalanobisDetector()).fit(train)
    found = occlusion_map(scored, drawn[:1], fill="mean", image_size=32)
    assert found.shape == (1, 32, 32)


# ------------------------------------------------------------------------ variations
def test_variations_are_slight_and_everywhere_and_have_no_mask():
    images = make_inspection_images("metal", n_train=6, size=64, random_state=0).train
    varied = SyntheticDefects().vary(images)
    assert varied.source.tolist() == list(range(6))
    for one, image in zip(varied.X, images, strict=True):
        pixels = one.draw_on(image)
        assert one.kind == "variation"
        assert pixels.dtype == np.uint8
        assert not one.mask().any()
        change = np.abs(pixels.astype(int) - image)
        assert 0 < change.mean() < 0.12 * image.mean() + 8
        np.testing.assert_array_equal(pixels, one.draw_on(image))


def test_variations_scale_and_may_be_left_out():
    image = np.full((40, 50, 3), 100, dtype=np.uint8)
    mild, hard = (
        SyntheticDefects(variation=strength).vary([image] * 40) for strength in (0.2, 2.0)
    )
    sizes = [
        np.mean([np.abs(one.draw_on(image).astype(int) - image).mean() for one in some.X])
        for some in (mild, hard)
    ]
    assert 5 < sizes[1] / sizes[0] < 15
    none = SyntheticDefects(variation=0).vary([image] * 3)
    assert none.X == []
    assert none.source.size == 0
    many = SyntheticDefects().vary([image] * 200)
    assert len(set(many.source.tolist())) == 150
    with pytest.raises(ValueError, match="variation"):
        SyntheticDefects(variation=-1.0).vary([image])


# ------------------------------------------------------------- what reviews have found
def test_shares_of_a_mix_hold_for_several_defects_an_image():
    image = np.full((40, 40, 3), 120, dtype=np.uint8)
    mix = {"scratch": 8, "stain": 1, "blur": 1}
    kind = SyntheticDefects(mix, n_per_image=3).draw([image] * 40).kind
    counts = [(kind == name).sum() for name in mix]
    assert counts == [96, 12, 12]


@pytest.mark.parametrize("seed", [-1, None, "a", 1.7, True])
def test_seeds_are_checked_at_once(seed):
    with pytest.raises(ValueError, match="seed must be an integer"):
        DrawnImage(np.zeros((9, 9, 3), np.uint8), "stain", seed=seed)


def test_pixels_of_another_shape_or_type_are_refused():
    drawn = DrawnImage(np.zeros((30, 30, 3), np.uint8), "stain")
    for pixels in (np.zeros((30, 30), np.uint8), np.zeros((30, 30, 3))):
        with pytest.raises(ValueError, match="pixels must be uint8 of shape"):
            drawn.draw_on(pixels)


def test_a_tensor_of_rows_is_refused_as_rows():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="flat rows"):
        SyntheticDefects().draw(torch.zeros(4, 100))
