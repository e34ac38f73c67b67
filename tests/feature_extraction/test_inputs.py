"""What stands for images: every container gives the features of the same array."""

import io
import os

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch  # noqa: TID253 - what the tests compare with
from PIL import Image
from sklearn.pipeline import make_pipeline
from torch import nn  # noqa: TID253 - as above
from torch.utils.data import (  # noqa: TID253 - as above
    DataLoader,
    Dataset,
    TensorDataset,
)

from sklearn_gauss.datasets import list_images, make_inspection_images
from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._reading._images import read_image

N = 5


def tiny(**parameters):
    return CNNFeatureExtractor(
        "tiny", **{"input_size": 32, "batch_size": 2, **parameters}
    )


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (N, 20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def paths(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{number}.png" for number in range(N)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture(scope="module")
def expected(images):
    return tiny().fit_transform(images)


class Lazy(Dataset):
    """A map-style data set: no more than length and items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


def first(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def floats(images):
    return first(images).double() / 255


CONTAINERS = {
    "folder": lambda images, paths: paths[0].parent,
    "folder as str": lambda images, paths: str(paths[0].parent),
    "pandas": lambda images, paths: pd.Series(paths, index=list("abcde")),
    "pandas strings": lambda images, paths: pd.Series(list(map(str, paths))).astype(
        "string"
    ),
    "pandas categories": lambda images, paths: pd.Series(list(map(str, paths))).astype(
        "category"
    ),
    "pandas images": lambda images, paths: pd.Series(list(images)),
    "pandas frame": lambda images, paths: pd.DataFrame({"path": paths}),
    "polars": lambda images, paths: pl.Series(list(map(str, paths))),
    "polars frame": lambda images, paths: pl.DataFrame({"path": list(map(str, paths))}),
    "polars bytes": lambda images, paths: pl.Series([p.read_bytes() for p in paths]),
    "column": lambda images, paths: np.array(paths, dtype=object)[:, None],
    "bytes": lambda images, paths: [path.read_bytes() for path in paths],
    "bytearray": lambda images, paths: [bytearray(path.read_bytes()) for path in paths],
    "memoryview": lambda images, paths: [memoryview(p.read_bytes()) for p in paths],
    "BytesIO": lambda images, paths: [io.BytesIO(path.read_bytes()) for path in paths],
    "dict values": lambda images, paths: dict(enumerate(paths)).values(),
    "data set": lambda images, paths: Lazy(images),
    "data set of paths": lambda images, paths: Lazy(paths),
    "half": lambda images, paths: floats(images).half(),
    "bfloat16 range": lambda images, paths: first(images).to(torch.float32) / 255,
    "tensor with gradients": lambda images, paths: floats(images).requires_grad_(),
    "list of tensors": lambda images, paths: list(first(images)),
    "iterator of paths": lambda images, paths: iter(paths),
    "generator of arrays": lambda images, paths: (image for image in images),
    "generator of tensors": lambda images, paths: (image for image in first(images)),
    "generator of batches": lambda images, paths: (b for b in np.split(images, [1, 4])),
    "generator of tensor batches": lambda images, paths: iter(first(images).split(3)),
    "generator of lists": lambda images, paths: iter([paths[:2], paths[2:]]),
    "generator of series": lambda images, paths: iter([pd.Series(paths)]),
    "generator of all": lambda images, paths: iter(
        [paths[0], images[1], [paths[2], images[3]], first(images[4:])]
    ),
    "loader": lambda images, paths: DataLoader(Lazy(first(images)), batch_size=2),
    "loader of tensors": lambda images, paths: DataLoader(
        TensorDataset(first(images)), batch_size=2
    ),
    "loader of paths": lambda images, paths: DataLoader(
        list(map(str, paths)), batch_size=2
    ),
    "loader of lists": lambda images, paths: DataLoader(
        Lazy(first(images)), batch_size=2, collate_fn=list
    ),
    "generator of pairs of images": lambda images, paths: iter(
        [list(images[:2]), list(map(Image.fromarray, images[2:4])), [paths[4]]]
    ),
    "map": lambda images, paths: map(Image.open, paths),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_gives_the_same_features(images, paths, expected, kind):
    X = CONTAINERS[kind](images, paths)
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(tiny().fit_transform(X), expected, **tolerance)


def test_bfloat16_is_read_within_its_own_rounding(images):
    rounded = floats(images).bfloat16()
    got = read_image(rounded[0], (20, 30))
    np.testing.assert_allclose(got, images[0].astype(float), atol=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu(images, expected):
    got = tiny(device="cpu").fit_transform(first(images).cuda())
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_fit_takes_nothing_from_an_iterator(paths, expected):
    taken = []
    stream = (taken.append(path) or path for path in paths)
    extractor = tiny().fit(stream)
    assert taken == []
    got = extractor.transform(stream)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert taken == paths
    with pytest.raises(ValueError, match="Found 0 images: X yields none"):
        extractor.transform(stream)


def test_a_pipeline_takes_a_generator(images, paths, expected):
    pipeline = make_pipeline(tiny(), MahalanobisDetector(target_fpr=0.5))
    pipeline.fit(path for path in paths)
    same = make_pipeline(tiny(), MahalanobisDetector(target_fpr=0.5)).fit(paths)
    np.testing.assert_allclose(
        pipeline.score_samples(image for image in images),
        same.score_samples(paths),
        rtol=1e-3,
    )


def test_a_stream_holds_a_few_images_at_a_time():
    alive = most = 0

    class Counted(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= self.base is None

    def stream():
        nonlocal alive, most
        for _ in range(100):
            alive += 1
            most = max(most, alive)
            yield Counted((16, 16), np.uint8)

    assert tiny(batch_size=2, levels=["stem"]).fit_transform(stream()).shape == (100, 16)
    assert most <= 40


def test_errors_in_a_stream_count_from_its_start(images, paths, tmp_path):
    given = [*images[:3], None, *images[:1]]
    with pytest.raises(ImageReadError, match=r"X\[3\]: no image is given"):
        tiny().fit_transform(iter(given))
    wrong = [*images[:3], images[3].astype(float)]
    with pytest.raises(ValueError, match=r"X\[3\]: float64 pixels must lie in \[0, 1\]"):
        tiny().fit_transform(iter(wrong))
    given[1] = tmp_path / "no.png"
    with pytest.warns(UserWarning, match=r"2 of 5 images .*no\.png, X\[3\]") as caught:
        got = tiny(on_error="nan").fit_transform(iter(given))
    assert len(caught) == 1
    assert np.isnan(got).all(axis=1).tolist() == [False, True, False, True, False]


WRONG = {
    "pairs": (lambda i: Lazy([(i[0], 1)]), TypeError, "pair of images and labels"),
    "loader of pairs": (
        lambda i: DataLoader(TensorDataset(first(i), torch.zeros(N)), batch_size=2),
        TypeError,
        "item 0 of X is a pair of images and labels",
    ),
    "list of pairs": (lambda i: [("a.png", 0)], TypeError, r"X\[0\] is a pair"),
    "columns": (
        lambda i: pd.DataFrame({c: ["a.png"] for c in "pqrstuv"}),
        TypeError,
        "7 columns .*'p', 'q', 'r', 's', 't' and 2 more",
    ),
    "bytes": (lambda i: b"abc", TypeError, r"single image; .*\[X\]"),
    "buffer": (lambda i: io.BytesIO(), TypeError, "single image"),
    "image and mask": (
        lambda i: ((image, image[..., 0]) for image in i),
        TypeError,
        "item 0 of X is a pair of images and labels, masks or paths",
    ),
    "image and path": (
        lambda i: ((Image.fromarray(image), "p0.png") for image in i),
        TypeError,
        "item 0 of X is a pair",
    ),
    "path and class": (
        lambda i: iter([("p0.png", "good")]),
        TypeError,
        "item 0 of X is a pair",
    ),
    "pairs of images": (
        lambda i: Lazy([(image, image) for image in i]),
        TypeError,
        r"X\[0\] is a pair",
    ),
    "triples": (lambda i: zip(i, i, i, strict=True), TypeError, "item 0 of X is a pair"),
    "batches with masks": (
        lambda i: iter([[first(i), first(i)[:, :1]]]),
        TypeError,
        "item 0 of X is a pair",
    ),
    "loader with masks": (
        lambda i: DataLoader(TensorDataset(first(i), first(i)[:, 0]), batch_size=3),
        TypeError,
        "item 0 of X is a pair",
    ),
    "loader of samples": (
        lambda i: DataLoader(TensorDataset(first(i), first(i)), batch_size=None),
        TypeError,
        "item 0 of X is a pair",
    ),
    "loader of images and paths": (
        lambda i: DataLoader([(i[0], "p0.png")], batch_size=None),
        TypeError,
        "item 0 of X is a pair",
    ),
    "grey batches with masks": (
        lambda i: DataLoader(TensorDataset(first(i)[:, 0], first(i)[:, 1]), batch_size=3),
        TypeError,
        "item 0 of X is a pair",
    ),
    "masked": (
        lambda i: [i[0], np.ma.masked_less(i[1], 9)],
        TypeError,
        r"X\[1\] is a masked array",
    ),
    "masked in a stream": (
        lambda i: iter([np.ma.masked_less(i, 9)]),
        TypeError,
        "item 0 of X is a masked array",
    ),
    "lazy table": (
        lambda i: pl.LazyFrame({"path": ["a.png"]}),
        TypeError,
        r"LazyFrame.*collect\(\)",
    ),
    "no folder": (
        lambda i: "/tmp/nope",
        TypeError,
        "^/tmp/nope: there is no such folder",
    ),
    "no name": (lambda i: "", TypeError, "X is an empty path"),
    "empty path": (
        lambda i: [i[0], ""],
        ImageReadError,
        r"^X\[1\]: an empty path",
    ),
    "line break": (
        lambda i: ["a\nb.png"],
        ImageReadError,
        r"^a\\nb\.png: cannot be read",
    ),
    "line break in a folder": (
        lambda i: "a\x1b\nb",
        TypeError,
        r"^a\\x1b\\nb: there is no such folder",
    ),
    "numbers": (lambda i: iter([3]), TypeError, "item 0 of X is of type int"),
    "empty stream": (lambda i: iter([]), ValueError, "Found 0 images"),
    "sparse": (
        lambda i: [torch.eye(9).to_sparse()],
        TypeError,
        r"X\[0\]: a tensor of layout torch.sparse_coo",
    ),
    "url": (lambda i: ["https://x.org/a.png"], ImageReadError, "an address, not a path"),
    "data url": (lambda i: ["data:image/png;base64,AA"], ImageReadError, "an address"),
    "path as bytes": (
        lambda i: [os.fsencode(__file__)],
        ImageReadError,
        r"X\[0\]: not an image .* given as text, not as bytes",
    ),
    "not an image": (lambda i: [b"hello"], ImageReadError, r"X\[0\]: not an image of a"),
    "complex": (lambda i: i.astype(complex), ValueError, "complex128 are not real"),
    "dates": (
        lambda i: [i[0].astype("datetime64[s]")],
        ValueError,
        r"X\[0\]: pixels of type datetime64\[s\] are not real numbers",
    ),
    "NaN": (
        lambda i: [i[0] / 255, np.full((9, 9), np.nan)],
        ValueError,
        r"X\[1\]: .*\(some are NaN\)",
    ),
    "thin": (
        lambda i: [np.zeros((5000, 1))],
        ValueError,
        r"X\[0\]: 1 x 5000 .*min_side=8",
    ),
    "directory": (lambda i: ["/tmp"], ImageReadError, "/tmp: a directory"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said(images, kind):
    make, error, message = WRONG[kind]
    with pytest.raises(error, match=message):
        tiny().fit_transform(make(images))


def test_an_empty_path_is_named_with_a_cache_too(images, tmp_path):
    extractor = tiny(cache=tmp_path).fit(images)
    with pytest.raises(ImageReadError, match=r"^X\[1\]: an empty path"):
        extractor.transform([images[0], ""])
    with pytest.raises(ImageReadError, match=r"^a\\nb: cannot be read"):
        extractor.transform(["a\nb"])


def test_line_breaks_in_names_are_escaped_in_warnings():
    X = ["a\nb.png", "ok\u2028\xe9.png"]
    with pytest.warns(UserWarning, match=r"NaN: a\\nb\.png, ok\\u2028é\.png$"):
        tiny(on_error="nan").fit_transform(X)


def test_gaps_of_any_kind_are_rows_of_nan(paths):
    gaps = pd.Series([str(paths[0]), pd.NA, None], dtype="string")
    for X in (
        gaps,
        [paths[0], None, float("nan")],
        [paths[0], "", None],
        pl.Series([str(paths[0]), None, None]),
    ):
        with pytest.warns(UserWarning, match=r"2 of 3 images .*X\[1\], X\[2\]"):
            got = tiny(on_error="nan").fit_transform(X)
        assert np.isnan(got).all(axis=1).tolist() == [False, True, True]


# ------------------------------------------------------------------------- folders
def test_a_folder_is_listed_by_one_rule(tmp_path, images):
    names = ["b.png", "a/z.PNG", "a-b/1.png", "A.png", "ü.png", "a/b/c.png"]
    for name in names:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[0]).save(tmp_path / "root" / name, format="PNG")
    root = tmp_path / "root"
    outside = tmp_path / "outside.png"
    Image.fromarray(images[0]).save(outside)
    for name in (".hidden.png", "._b.png", ".git/x.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "notes.txt").write_text("no image")
    (root / "out.png").symlink_to(outside)
    (root / "up").symlink_to(tmp_path, target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "in.png").symlink_to(root / "b.png")
    (root / "dangling.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "pipe.png")
    found = list_images(root)
    assert found == sorted([f"{root}/{n}" for n in [*names, "in.png"]], key=os.fsencode)
    assert tiny(levels=["stem"]).fit_transform(root).shape == (len(found), 16)


def test_folders_without_images(tmp_path):
    with pytest.raises(ValueError, match="no image with an extension out of"):
        tiny().fit(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="it holds 1 other entries"):
        tiny().fit(tmp_path)
    with pytest.raises(FileNotFoundError):
        list_images(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError):
        list_images(tmp_path / "notes.txt")


# ------------------------------------------------------------------- channels of input
def test_one_channel(images):
    weights = np.array([0.299, 0.587, 0.114])
    grey = np.rint(images @ weights).astype(np.uint8)
    got = [read_image(image, (20, 30), in_chans=1) for image in images]
    np.testing.assert_allclose(np.stack(got)[..., 0], grey, atol=1)
    features = tiny(in_chans=1).fit_transform(grey)
    np.testing.assert_array_equal(
        tiny(in_chans=1).fit_transform(grey[..., None]), features
    )
    # The sum of the weights sees grey as the colours did, but for their normalisation.
    same = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
    as_colour = tiny(**same).fit_transform(grey)
    one = tiny(in_chans=1, mean=(0.5,), std=(0.2,)).fit_transform(grey)
    np.testing.assert_allclose(one, as_colour, rtol=1e-4, atol=1e-5)


def test_four_channels_are_taken_as_they_are(images, tmp_path):
    rgba = np.concatenate([images, images[..., :1]], axis=3)
    read = read_image(rgba[0], (20, 30), in_chans=4)
    np.testing.assert_array_equal(read, rgba[0])
    Image.fromarray(rgba[0]).save(tmp_path / "rgba.png")
    read = read_image(tmp_path / "rgba.png", (20, 30), in_chans=4)
    np.testing.assert_array_equal(read, rgba[0])
    opaque = read_image(images[0], (20, 30), in_chans=4)
    assert (opaque[..., 3] == 255).all()
    np.testing.assert_array_equal(opaque[..., :3], images[0])


def test_six_channels(images, paths):
    six = np.concatenate([images, images], axis=3)
    extractor = tiny(in_chans=6)
    features = extractor.fit_transform(six)
    assert len(extractor.mean_) == len(extractor.std_) == 6
    # Weights are repeated and halved, so that the same twice is what it was once.
    np.testing.assert_allclose(
        features, tiny().fit_transform(images), rtol=1e-4, atol=1e-5
    )
    tensor = torch.from_numpy(six).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(tiny(in_chans=6).fit_transform(tensor), features)
    rows = tiny(in_chans=6, image_shape=(20, 30, 6)).fit_transform(six.reshape(N, -1))
    np.testing.assert_array_equal(rows, features)
    with pytest.raises(ImageReadError, match=r"0\.png: .*not 6 channels; pass arrays"):
        tiny(in_chans=6).fit_transform(paths)
    with pytest.raises(ValueError, match=r"X\[0\]: an image array has shape \(H, W, 6\)"):
        tiny(in_chans=6).fit_transform(images)
    with pytest.raises(ValueError, match=r"mean=.* must be 6 finite numbers"):
        tiny(in_chans=6, mean=(0.5, 0.5, 0.5)).fit(six)


def test_weights_are_adapted_as_by_timm():
    from timm.models import adapt_input_conv

    from sklearn_gauss.feature_extraction._backbones._channels import adapt

    for in_chans in (1, 2, 4, 7):
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        expected = adapt_input_conv(in_chans, net[0].weight.detach().clone())
        adapt(net, in_chans, (16, 16))
        torch.testing.assert_close(net[0].weight.detach(), expected)
        assert net(torch.zeros(1, in_chans, 16, 16)).shape == (1, 4, 12, 12)


def grey_net():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()
    )


def colour_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()
    )


def test_modules_of_their_own_channels(images, tmp_path):
    grey = images[..., 0]
    torch.manual_seed(0)
    own = CNNFeatureExtractor(grey_net(), in_chans=1, input_size=32).fit_transform(grey)
    assert own.shape[0] == N
    torch.save(grey_net().state_dict(), tmp_path / "grey.pt")
    torch.save(colour_net().state_dict(), tmp_path / "colour.pt")
    for name in ("grey.pt", "colour.pt"):
        extractor = CNNFeatureExtractor(
            colour_net, in_chans=1, input_size=32, weights=tmp_path / name
        )
        assert np.isfinite(extractor.fit_transform(grey)).all()


def test_networks_that_cannot_be_adapted_say_so(images):
    def folded():
        return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 8, 3), nn.ReLU())

    with pytest.raises(ValueError, match="in_chans: the backbone Sequential cannot"):
        CNNFeatureExtractor(folded, in_chans=1, input_size=32).fit(images)


# ---------------------------------------------------------------- parameters of reading
def test_background(images):
    rgba = np.concatenate([images, np.zeros((N, 20, 30, 1), np.uint8)], axis=3)
    read = read_image(rgba[0], (20, 30), background=(1, 2, 3))
    np.testing.assert_array_equal(read, np.broadcast_to([1, 2, 3], (20, 30, 3)))
    assert (read_image(rgba[0], (20, 30), background=(9, 9, 9), in_chans=1) == 9).all()
    for wrong in [(1, 2), (1, 2, 300), (0.5, 0, 0), "white"]:
        with pytest.raises(ValueError, match="background"):
            tiny(background=wrong).fit(images).transform(images)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_if_asked_for(tmp_path, images, form):
    frames = [Image.fromarray(image[..., 0]) for image in images]
    path = tmp_path / "frames"
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(path, form, save_all=True, append_images=frames[1:], **options)
    with pytest.raises(ImageReadError, match=r"several frames; .* frames='first'"):
        read_image(path, (20, 30))
    read = read_image(path, (20, 30), frames="first")
    np.testing.assert_array_equal(read, images[0][..., :1].repeat(3, axis=2))


def test_min_side(images):
    assert tiny(min_side=1).fit_transform([images[0][:1, :1]]).shape == (1, 336)
    small = Image.fromarray(images[0][:7])
    with pytest.raises(ImageReadError, match=r"X\[0\]: 30 x 7 pixels; min_side=8"):
        tiny().fit_transform([small])
    rows = tiny(image_shape="row", value_range=(0, 255)).fit_transform(np.zeros((2, 5)))
    assert rows.shape == (2, 336)


def test_max_pixels_may_exceed_that_of_pillow(tmp_path, monkeypatch, images):
    path = tmp_path / "image.png"
    Image.fromarray(images[0]).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(read_image(path, (20, 30)), images[0])


def test_ranges_of_deep_files(tmp_path, images):
    twelve = images[0][..., 0].astype(np.uint16) * 16
    path = tmp_path / "camera.png"
    Image.fromarray(twelve).save(path)
    as_file = read_image(path, (20, 30), value_range=(0, 4095))
    as_array = read_image(twelve, (20, 30), value_range=(0, 4095))
    np.testing.assert_array_equal(as_file, as_array)
    assert as_file.max() > 240 > read_image(path, (20, 30)).max()


@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_of_jpeg_stays_within_two_levels(tmp_path, orientation):
    y, x = np.indices((600, 900)) / 40
    waves = np.stack([np.sin(x) + np.cos(y), np.sin(x * y / 9), np.cos(x + y)], axis=2)
    photo = Image.fromarray(np.uint8(127 + 60 * waves).clip(0, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "a.jpg", quality=95, exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        whole = Image.fromarray(np.asarray(image))
    if orientation == 6:
        whole = whole.transpose(Image.Transpose.ROTATE_270)
    got = read_image(tmp_path / "a.jpg", (64, 96)).astype(int)
    difference = np.abs(got - read_image(whole, (64, 96)))
    assert difference.max() <= 2
    assert difference.mean() < 0.3


@pytest.mark.parametrize("kind", ["fabric", "wood", "washer", "gear", "bolt", "board"])
def test_scaled_decoding_of_drawn_products(tmp_path, kind):
    drawn = make_inspection_images(
        kind, n_train=1, n_good=1, n_defect=1, size=640, random_state=0
    )
    Image.fromarray(drawn.train[0]).save(tmp_path / "a.jpg", quality=85)
    with Image.open(tmp_path / "a.jpg") as image:
        whole = Image.fromarray(np.asarray(image))
    got = read_image(tmp_path / "a.jpg", (160, 160)).astype(int)
    difference = np.abs(got - read_image(whole, (160, 160)))
    assert 0 < difference.mean() < 0.4  # scaled, or nothing would differ
    assert difference.max() <= 3


def test_warnings_filters_are_left_as_they_were(paths):
    import warnings
    from concurrent.futures import ThreadPoolExecutor

    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: read_image(path, (8, 8)), paths * 40))
    assert warnings.filters == before
