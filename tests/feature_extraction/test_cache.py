"""The cache of features: what is keyed, and that each image is extracted once."""

import copy
import os
import pickle
import subprocess
import sys
import threading
import warnings
from functools import partial
from types import MethodType

import counted_backbone
import joblib
import numpy as np
import pytest
import torch  # noqa: TID253 - tensors, and the number of threads
from counted_backbone import Counted, Named, mean_score, seen
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline
from torch import nn  # noqa: TID253 - networks of its own

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones._tiny import Tiny  # noqa: TID253
from sklearn_gauss.feature_extraction._caching import _cache, _store
from sklearn_gauss.feature_extraction._reading._images import read_image


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)


@pytest.fixture
def paths(images, tmp_path):
    return save(images, tmp_path)


def save(images, folder):
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def cached(tmp_path):
    """Extractors that share a folder and count what they extract."""

    def make(kind=Counted, **parameters):
        backbone = partial(kind, tmp_path / "seen.txt")
        parameters = {"input_size": 16, "cache": tmp_path / "cache", **parameters}
        return CNNFeatureExtractor(backbone, **parameters)

    return make


@pytest.fixture
def extracted(tmp_path):
    """How many images went through the network, and how many different ones."""

    def count():
        lines = seen(tmp_path / "seen.txt")
        return lines.total(), len(lines)

    return count


# ------------------------------------------------------------- the same, and once
def test_features_come_back_as_they_were_stored(cached, images, paths, extracted):
    plain = cached(cache=None).fit_transform(paths)
    assert extracted() == (5, 5)
    first = cached().fit_transform(paths)
    assert extracted() == (10, 5)
    other = cached()
    again = other.fit_transform(paths[::-1])
    assert extracted() == (10, 5)
    assert again[::-1].tobytes() == first.tobytes()
    np.testing.assert_allclose(first, plain, rtol=1e-5, atol=1e-6)
    assert other.cache_info()[:3] == (5, 0, 5)
    assert other.cache_info().bytes == 5 * 4096


def test_content_is_keyed_and_not_the_name(cached, images, paths, extracted, tmp_path):
    twin = tmp_path / "twin.png"
    twin.write_bytes(paths[0].read_bytes())
    extractor = cached().fit(paths)
    rows = extractor.transform([paths[0], twin, str(twin), twin.read_bytes(), paths[0]])
    assert extracted() == (1, 1)
    assert extractor.cache_info()[:2] == (4, 1)
    assert (rows == rows[0]).all()
    status = twin.stat()
    twin.write_bytes(paths[1].read_bytes())
    os.utime(twin, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(
        extractor.transform([twin]), extractor.transform([paths[1]])
    )
    assert extracted() == (2, 2)


def flipped(paths):
    image = Image.open(paths[0])
    image.load()
    image.getexif()[0x0112] = 2
    return image


def palette(paths, first):
    image = Image.new("P", (8, 8))
    image.putdata(range(64))
    image.putpalette([first, 0, 0, *np.arange(3 * 255) % 256])
    return image


# Pairs of images that look different to the network.
DIFFERENT = {
    "values": lambda a, p: (a[0], a[1]),
    "shape": lambda a, p: (a[0], a[0].transpose(1, 0, 2)),
    "same bytes": lambda a, p: (a[0], a[0].reshape(30, 20, 3)),
    "dtype": lambda a, p: (
        np.frombuffer(bytes(range(200)), np.uint8).reshape(20, 10),
        np.frombuffer(bytes(range(200)), np.uint16).reshape(10, 10),
    ),
    "strides": lambda a, p: (a[0], a[0][::-1]),
    "tensor": lambda a, p: (torch.tensor(a[0].T), torch.tensor(a[1].T)),
    "orientation": lambda a, p: (Image.open(p[0]), flipped(p)),
    "palette": lambda a, p: (palette(p, 0), palette(p, 255)),
    "mode": lambda a, p: (Image.open(p[0]), Image.open(p[0]).convert("L")),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_has_keys_of_its_own(kind, cached, images, paths):
    pair = DIFFERENT[kind](images, paths)
    expected = cached(cache=None).fit_transform(list(pair))
    assert not np.allclose(*expected)
    extractor = cached().fit(paths)
    for _ in range(2):
        for image, row in zip(pair, expected, strict=True):
            got = extractor.transform([image])[0]
            np.testing.assert_allclose(got, row, rtol=1e-5, atol=1e-5)
    assert extractor.cache_info()[:2] == (2, 2)


KINDS = {
    "array": lambda images, paths: images,
    "fortran": lambda images, paths: np.asfortranarray(images),
    "list": lambda images, paths: list(images),
    "tensor": lambda images, paths: torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
    "pil": lambda images, paths: [Image.open(path) for path in paths],
    "bytes": lambda images, paths: [path.read_bytes() for path in paths],
    "mixed": lambda images, paths: [paths[0], images[1], Image.open(paths[2])],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_kept(kind, cached, images, paths, extracted):
    X = KINDS[kind](images, paths)
    extractor = cached().fit(X)
    first = extractor.transform(X)
    again = clone(extractor).fit(X).transform(KINDS[kind](images, paths))
    assert again.tobytes() == first.tobytes()
    assert extracted()[0] == len(X)


def test_batches_of_an_iterator_are_kept(cached, images, extracted):
    extractor = cached(batch_size=1).fit(images)
    rows = extractor.transform(images[start : start + 2] for start in range(0, 5, 2))
    again = extractor.transform(iter(list(images)))
    assert again.tobytes() == rows.tobytes() == extractor.transform(images).tobytes()
    assert extracted() == (5, 5)
    assert extractor.cache_info()[:2] == (10, 5)


def test_flat_rows_are_kept(cached, images, extracted):
    rows = images.reshape(5, -1) / 255.0
    extractor = cached(image_shape=(20, 30, 3))
    first = extractor.fit_transform(rows)
    assert extracted() == (5, 5)
    assert extractor.transform(rows[2:4]).tobytes() == first[2:4].tobytes()
    assert extracted() == (5, 5)


def test_maps_are_kept(cached, images, extracted):
    extractor = cached(pooling="none")
    first = extractor.fit_transform(images)
    assert first.ndim == 4
    again = cached(pooling="none").fit_transform(images)
    assert again.tobytes() == first.tobytes()
    assert again.shape == first.shape
    assert extracted() == (5, 5)


# --------------------------------------------------------------- which network
OTHERS = {
    "levels": {"levels": ["stem"]},
    "order of levels": {"levels": ["stage", "stem"]},
    "pooling": {"pooling": "max"},
    "maps": {"pooling": "none"},
    "directions of maps": {"pooling": "none", "n_channels": 5},
    "grid of maps": {"pooling": "none", "grid": 3},
    "input_size": {"input_size": (16, 17)},
    "mean": {"mean": (0.5, 0.5, 0.5)},
    "std": {"std": (0.5, 0.5, 0.5)},
    "value_range": {"value_range": (0, 300)},
    "precision": {"precision": "bfloat16"},
    "background": {"background": (0, 0, 0)},
    "code": {"kind": Named},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_model_has_keys_of_its_own(name, cached, images):
    parameters = OTHERS[name]
    first = cached().fit_transform(images)
    other = cached(**parameters)
    got = other.fit_transform(images)
    assert other.cache_info()[:3] == (0, 5, 10)
    expected = cached(cache=None, **parameters).fit_transform(images)
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)
    again = cached()
    assert again.fit_transform(images).tobytes() == first.tobytes()
    assert again.cache_info()[:3] == (5, 0, 10)


def test_precision_set_after_fit_has_keys_of_its_own(cached, images):
    extractor = cached().fit(images)
    full = extractor.transform(images)
    extractor.set_params(precision="bfloat16")
    half = [extractor.transform(images) for _ in range(2)]
    assert not np.array_equal(half[0], full)
    assert np.array_equal(half[0], half[1])
    extractor.set_params(cache=None).transform(images)
    extractor.set_params(cache=cached().cache, precision="float32")
    assert np.array_equal(extractor.transform(images), full)


SAME = {
    "batch_size": {"batch_size": 2},
    "device": {"device": "cpu"},
    "on_error": {"on_error": "nan"},
    "cache_limit": {"cache_limit": "1 GB"},
    "verbose": {"verbose": 1},
}


@pytest.mark.parametrize("name", SAME)
def test_what_changes_no_feature_shares_them(name, cached, images):
    cached(device="cpu").fit_transform(images)
    other = cached(**{"device": "cpu", **SAME[name]})
    other.fit_transform(images)
    assert other.cache_info()[:2] == (5, 0)


def test_weights_are_keyed_by_value(images, tmp_path):
    def make(**parameters):
        return CNNFeatureExtractor(
            "tiny", input_size=16, cache=tmp_path / "cache", **parameters
        )

    rows = [make(random_state=seed).fit_transform(images) for seed in (0, 1)]
    assert not np.allclose(*rows)
    file = tmp_path / "weights.pt"
    for seed in (0, 1):
        torch.save(Tiny(seed).state_dict(), file)
        extractor = make(weights=str(file))
        np.testing.assert_array_equal(extractor.fit_transform(images), rows[seed])
        assert extractor.cache_info()[:2] == (5, 0)


def test_one_own_module_is_keyed_by_what_it_holds(images, tmp_path, extracted):
    def features(module):
        extractor = CNNFeatureExtractor(module, input_size=16, cache=tmp_path / "cache")
        return extractor.fit_transform(images)

    module = Counted(tmp_path / "seen.txt")
    first = features(module)
    assert features(module).tobytes() == first.tobytes()
    assert extracted() == (5, 5)
    with torch.no_grad():
        module.stem[0].bias[0] += 1
    assert not np.array_equal(features(module), first)
    assert extracted() == (10, 5)
    module.negative_slope = 0.1
    features(module)
    assert extracted() == (15, 5)


def test_another_version_starts_anew(cached, images, monkeypatch):
    from sklearn_gauss.feature_extraction._backbones import _fingerprint

    cached().fit_transform(images)
    monkeypatch.setattr(_fingerprint, "__version__", "999")
    extractor = cached()
    extractor.fit_transform(images)
    assert extractor.cache_info()[:3] == (0, 5, 10)


# ------------------------------------------------------------ without a network
def test_a_full_hit_builds_no_network(images, paths, tmp_path):
    extractor = CNNFeatureExtractor("tiny", input_size=32, cache=tmp_path / "cache")
    expected = extractor.fit_transform(paths)
    file = tmp_path / "model"
    file.write_bytes(pickle.dumps(extractor))
    code = f"""
import pathlib, pickle, sys
extractor = pickle.loads(pathlib.Path({str(file)!r}).read_bytes())
rows = extractor.transform({list(map(str, paths))!r})
print(rows.tobytes().hex())
print(*extractor.cache_info()[:2], *{{"torch", "filelock"}} & set(sys.modules))
"""
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert output.returncode == 0, output.stderr
    rows, counts = output.stdout.splitlines()
    assert bytes.fromhex(rows) == expected.tobytes()
    assert counts.split() == ["5", "0"]


def test_an_unpickled_extractor_extracts_what_is_missing(cached, images, extracted):
    extractor = cached().fit(images)
    expected = extractor.transform(images[:3])
    copy = pickle.loads(pickle.dumps(extractor))
    assert not hasattr(copy, "_network")
    rows = copy.transform(images)
    assert rows[:3].tobytes() == expected.tobytes()
    assert extracted() == (5, 5)
    assert copy.cache_info()[:2] == (3, 2)


def test_a_network_that_changed_since_fit_is_not_taken_for_the_old(images, tmp_path):
    made = []

    def build():
        made.append(Counted(tmp_path / "seen.txt"))
        with torch.no_grad():
            made[-1].stem[0].bias += len(made)
        return made[-1]

    extractor = CNNFeatureExtractor(build, input_size=16, cache=tmp_path / "cache")
    first = extractor.fit(images).transform(images[:3])
    del extractor._network  # as after unpickling
    try:
        rows = extractor.transform(images)
    except ValueError:
        return  # refused, which is as good
    assert extractor.cache_info()[:2] == (0, 3 + 5)
    other = CNNFeatureExtractor(made[-1], input_size=16).fit_transform(images)
    assert not np.allclose(rows[:3], first)
    np.testing.assert_allclose(rows, other, rtol=1e-5, atol=1e-5)


def test_a_cache_can_be_set_after_fit(cached, images, extracted, tmp_path):
    extractor = cached(cache=None).fit(images)
    extractor.set_params(cache=str(tmp_path / "cache")).transform(images)
    extractor.transform(images)
    assert extracted() == (5, 5)
    assert cached().fit(images).transform(images).shape == (5, 10)
    assert extracted() == (5, 5)


def test_without_a_cache_nothing_is_hashed(cached, images, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(_cache, "_hash_of", fail)
    monkeypatch.setattr(_cache.CachedExtraction, "__init__", fail)
    for off in (None, joblib.Memory(None)):
        extractor = cached(cache=off)
        extractor.fit_transform(images)
        assert extractor.cache_info() == (0, 0, 0, 0)
        extractor.clear_cache()
    assert not (tmp_path / "cache").exists()


# ----------------------------------------------------------------- the parameters
def test_memory_of_joblib_gives_its_location(cached, images, extracted, tmp_path):
    memory = joblib.Memory(str(tmp_path / "cache"), verbose=0)
    first = cached(cache=memory).fit_transform(images)
    extractor = clone(cached(cache=memory))
    assert extractor.fit_transform(images).tobytes() == first.tobytes()
    assert extracted() == (5, 5)
    memory.clear(warn=False)
    assert extractor.cache_info().entries == 5
    extractor.clear_cache()
    assert extractor.cache_info().entries == 0


def test_a_talkative_memory_says_what_was_extracted(cached, images, tmp_path, capsys):
    extractor = cached(cache=joblib.Memory(tmp_path / "cache", verbose=1)).fit(images)
    extractor.transform(images)
    assert "5 of 5 images extracted" in capsys.readouterr().out
    extractor.transform(images)
    assert capsys.readouterr().out == ""


def test_a_file_is_no_folder(cached, images, paths):
    with pytest.raises(NotADirectoryError, match=r"cache=.*0\.png' is a file"):
        cached(cache=paths[0]).fit(images)


@pytest.mark.parametrize("wrong", [{"cache": ""}, {"cache_limit": "a lot"}])
def test_other_values_raise(cached, images, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}="):
        cached(**wrong).fit(images)


def test_the_limit_is_kept(cached, images):
    extractor = cached(cache_limit=3 * 4096).fit(images)
    plain = cached(cache=None).fit_transform(images)
    for _ in range(2):
        rows = extractor.transform(images)
        np.testing.assert_allclose(rows, plain, rtol=1e-5, atol=1e-6)
        assert 0 < extractor.cache_info().bytes <= 3 * 4096


def test_clear_cache_deletes_the_features_only(cached, images, tmp_path):
    extractor = cached().fit(images)
    extractor.transform(images)
    notes = tmp_path / "cache" / "notes.txt"
    notes.write_text("mine")
    extractor.clear_cache()
    assert extractor.cache_info()[2:] == (0, 0)
    assert notes.read_text() == "mine"
    extractor.transform(images)
    assert extractor.cache_info() == (0, 10, 5, 5 * 4096)


def test_a_folder_that_cannot_be_written_warns_and_goes_on(cached, images, extracted):
    extractor = cached(cache=os.devnull + "/cache").fit(images)
    with pytest.warns(UserWarning, match="cache: features cannot be kept") as caught:
        rows = extractor.transform([*images, *images])
    assert len(caught) == 1
    assert extracted() == (5, 5)
    assert np.array_equal(rows[:5], rows[5:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor.transform(images)
    assert extracted() == (10, 5)


# ------------------------------------------------------- images that cannot be read
def test_unreadable_images_are_not_kept(cached, images, paths, extracted):
    good = paths[2].read_bytes()
    paths[2].write_bytes(good[:80])
    twin = paths[2].with_name("twin.png")
    twin.write_bytes(good[:80])
    absent = paths[2].with_name("absent.png")
    X = [*paths, twin, absent, None]
    extractor = cached(on_error="nan").fit(X)
    for _ in range(2):
        with pytest.warns(UserWarning, match="4 of 8 images could not be read") as caught:
            rows = extractor.transform(X)
        assert len(caught) == 1
        assert np.isnan(rows).all(axis=1).tolist() == [0, 0, 1, 0, 0, 1, 1, 1]
    assert extractor.cache_info().entries == 4
    paths[2].write_bytes(good)
    absent.write_bytes(good)
    rows = extractor.transform([paths[2], absent])
    assert np.isfinite(rows).all()
    assert extracted() == (5, 5)


def test_a_call_of_unreadable_images_gives_rows_of_nan(cached, tmp_path):
    extractor = cached(on_error="nan").fit(["absent.png"])
    with pytest.warns(UserWarning, match="1 of 1 images could not be read"):
        rows = extractor.transform(["absent.png"])
    assert np.isnan(rows).all()
    assert rows.shape == (1, 10)


def test_errors_name_the_image(cached, images, paths):
    extractor = cached().fit(images)
    paths[3].write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=f"^{paths[3]}: "):
        extractor.transform(paths)
    with pytest.raises(ImageReadError, match=r"^absent\.png: "):
        extractor.transform([paths[0], "absent.png"])
    with pytest.raises(ValueError, match=r"X\[2\]"):
        extractor.transform([images[0], images[1], images[2].astype(float)])


def test_what_is_decoded_is_what_was_hashed(paths, tmp_path):
    """A file that changes between the look-up and the reading."""
    store = _store.FeatureStore(tmp_path / "cache")
    new = [path.read_bytes() for path in paths]

    def run(places, read):
        paths[0].write_bytes(new[1])  # after it was looked up, before it is read
        return np.stack([read(place, name="").mean((0, 1)) for place in places])

    def extract(X):
        read = partial(read_image, size=(16, 16))
        return _cache.CachedExtraction(
            store, read=read, run=run, model="a", build=lambda: "a"
        )(X)

    twin = tmp_path / "twin.png"
    twin.write_bytes(new[0])
    rows = extract([paths[0], twin, paths[1]])
    np.testing.assert_array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[1], rows[2])
    np.testing.assert_array_equal(extract([twin, paths[1]]), rows[1:])


# ------------------------------------------------------------------ searches
def search(extractor, **options):
    """Six candidates in five folds: 30 fits, and one on everything."""
    pipeline = Pipeline([("cnn", extractor), ("detector", MahalanobisDetector())])
    grid = {"detector__shrinkage": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    return GridSearchCV(pipeline, grid, scoring=mean_score, cv=KFold(5), **options)


@pytest.fixture
def many(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    return save(images, tmp_path)


@pytest.mark.parametrize("backend", [None, "threading", "loky"])
def test_a_search_extracts_each_image_once(backend, cached, many, extracted, monkeypatch):
    monkeypatch.setattr(_store, "_SHARE", 8)
    assert counted_backbone.__name__ == "counted_backbone"  # found by its workers
    if backend is None:
        search(cached()).fit(many)
    else:
        with joblib.parallel_config(backend, n_jobs=2):
            search(cached()).fit(many)
    assert extracted() == (40, 40)


def test_without_a_cache_it_extracts_them_31_times(cached, many, extracted):
    search(cached(cache=None)).fit(many)
    assert extracted() == (31 * 40, 40)


def test_threads_share_the_work(cached, many, extracted, monkeypatch):
    monkeypatch.setattr(_store, "_SHARE", 8)
    extractor = cached().fit(many)
    copies = [pickle.loads(pickle.dumps(extractor)) for _ in range(4)]
    rows = joblib.Parallel(4, backend="threading")(
        joblib.delayed(copy.transform)(many) for copy in copies
    )
    assert extracted() == (40, 40)
    assert all(np.array_equal(rows[0], other) for other in rows)
    counts = [copy.cache_info() for copy in copies]
    assert sum(info.misses for info in counts) == 40
    assert sum(info.hits for info in counts) == 3 * 40


# ------------------------------------------------- one's own network, changed a little
class Own(nn.Module):
    """A network whose features depend on what ``act`` and its attributes do."""

    gain = 1.0

    def __init__(self, act=None, **attributes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
        for weights in self.parameters():
            weights.data = torch.linspace(-1, 1, weights.numel()).reshape(weights.shape)
        self.act = act
        vars(self).update(attributes)

    def forward(self, x):
        return self.stem(x if self.act is None else self.act(x))


class Plain:
    def __init__(self, value):
        self.value = value

    def __call__(self, x):
        return x * self.value


class Slotted(Plain):
    __slots__ = ("_inner",)

    def __init__(self, value):
        self._inner = value

    def __call__(self, x):
        return x * self._inner


def times(x, factor=1.0, *, add=0.0):
    return x * factor + add


def with_default(value):
    def act(x, factor=value):
        return x * factor

    return act


def with_keyword(value):
    def act(x, *, factor=value):
        return x * factor

    return act


def with_body(kind, value):
    """Class of a network with another body of a ``kind`` of member."""
    bodies = {1: lambda *_: 1.0, 2: lambda *_: 2.0}
    return type("Own", (Own,), {"factor": kind(bodies[value])})()


def decorated(value):
    class Decorated(Own):
        if value == 1:

            @torch.no_grad()
            def forward(self, x):
                return self.stem(x)
        else:

            @torch.no_grad()
            def forward(self, x):
                return self.stem(x + 1)

    return Decorated()


def hooked(value):
    module = Own()
    module.stem[0].register_forward_hook(lambda module, x, out: out * value)
    return module


def overridden(value):
    module = Own()
    module.forward = MethodType(lambda self, x: self.stem(x * value), module)
    return module


LAMBDAS = {1: lambda x: x, 2: lambda x: 2 * x}
ALTERED = {
    "tensor": lambda value: Own(table=torch.tensor([value])),
    "array": lambda value: Own(table=np.array([value])),
    "nested": lambda value: Own(table={"a": [(1, np.array([value]))]}),
    "set": lambda value: Own(table={"a", "b", value}),
    "object": lambda value: Own(Plain(value)),
    "slots": lambda value: Own(Slotted(value)),
    "private": lambda value: Own(_k=value),
    "partial": lambda value: Own(partial(times, add=value)),
    "bound method": lambda value: Own(Plain(value).__call__),
    "closure": lambda value: Own(lambda x: x * value),
    "defaults": lambda value: Own(with_default(value)),
    "keyword defaults": lambda value: Own(with_keyword(value)),
    "lambdas": lambda value: Own(LAMBDAS[value]),
    "hook": hooked,
    "override": overridden,
    "constant": lambda value: type("Own", (Own,), {"gain": value})(),
    "property": lambda value: with_body(property, value),
    "staticmethod": lambda value: with_body(staticmethod, value),
    "classmethod": lambda value: with_body(classmethod, value),
    "decorated": decorated,
    "global": lambda _value: Own(lambda x: x * SCALE),
}
SCALE = 1


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_network_gets_no_features_of_the_other(
    name, images, tmp_path, monkeypatch
):
    def features(value):
        monkeypatch.setitem(globals(), "SCALE", value)
        module = ALTERED[name](value)
        extractor = CNNFeatureExtractor(module, input_size=16, cache=tmp_path / "cache")
        extractor.fit_transform(images[:2])
        return extractor.cache_info()[:2]

    assert features(1) == (0, 2)
    assert features(1) == (2, 0)
    assert features(2) == (0, 2)


class Reduced(Plain):
    def __getstate__(self):
        return {}


UNTOLD = {
    "lock": threading.Lock,
    "generator": lambda: (number for number in range(3)),
    "state of its own": lambda: Reduced(1),
    "sparse": lambda: torch.eye(3).to_sparse(),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_what_cannot_be_told_apart_is_not_kept(name, images, tmp_path):
    held = UNTOLD[name]()

    def build():
        module = Own()
        module.stem[0].holder = Holder(held)
        return module

    extractor = CNNFeatureExtractor(build, input_size=16, cache=tmp_path / "cache")
    with pytest.warns(
        UserWarning, match=r"not used: .* 'stem\.0\.holder\.held'"
    ) as caught:
        extractor.fit(images)
    assert len(caught) == 1
    plain = CNNFeatureExtractor(build, input_size=16).fit_transform(images)
    for _ in range(2):
        np.testing.assert_array_equal(extractor.transform(images), plain)
    assert extractor.cache_info() == (0, 0, 0, 0)
    late = CNNFeatureExtractor(build, input_size=16).fit(images)
    late.set_params(cache=tmp_path / "cache")
    with pytest.warns(UserWarning, match="is not used") as caught:
        late.transform(images)
    assert len(caught) == 1
    np.testing.assert_array_equal(late.transform(images), plain)


class Holder:
    """Holds one object, whatever it is, and is not copied."""

    def __init__(self, held):
        self.held = held

    def __deepcopy__(self, memo):
        return self


LIBRARY = {
    "resnet18": lambda: pytest.importorskip("torchvision").models.resnet18(),
    "swin_t": lambda: pytest.importorskip("torchvision").models.swin_t(),
    "mobilenet_v3": lambda: pytest.importorskip(
        "torchvision"
    ).models.mobilenet_v3_small(),
    **{
        name: partial(
            lambda name: pytest.importorskip("timm").create_model(name), f"test_{name}"
        )
        for name in ("resnet", "efficientnet", "vit", "convnext", "nfnet", "byobnet")
    },
    "parametrized": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU()
    ),
}


@pytest.mark.parametrize("name", LIBRARY)
def test_modules_of_libraries_can_be_told_apart(name):
    from sklearn_gauss.feature_extraction._backbones import _fingerprint

    torch.manual_seed(0)
    module = LIBRARY[name]()
    first = _fingerprint.fingerprint(copy.deepcopy(module))
    assert _fingerprint.fingerprint(copy.deepcopy(module)) == first


def test_a_network_is_the_same_in_another_process(images, tmp_path):
    from sklearn_gauss.feature_extraction._backbones import _fingerprint

    code = """
import sys
from counted_backbone import Counted
from sklearn_gauss.feature_extraction._backbones import _fingerprint
module = Counted("file")
module.names = {"a", "b", "c"}
print(_fingerprint.fingerprint(module))
"""
    module = Counted("file")
    module.names = {"a", "b", "c"}
    folder = os.path.dirname(counted_backbone.__file__)
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder
    )
    assert output.returncode == 0, output.stderr
    assert output.stdout.strip() == _fingerprint.fingerprint(module)
