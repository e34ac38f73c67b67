"""The network on its devices: precision, several devices, threads, parameters."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch  # noqa: TID253 - what the tests compare with
from sklearn.metrics import roc_auc_score
from sklearn.utils._param_validation import InvalidParameterError
from torch import nn  # noqa: TID253 - as above

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones import _devices, _network  # noqa: TID253 - as above


def tiny(**parameters):
    return CNNFeatureExtractor("tiny", **{"input_size": 32, **parameters})


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (13, 20, 30, 3), dtype=np.uint8)


@pytest.fixture
def _two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


close = {"rtol": 1e-5, "atol": 1e-5}


# -------------------------------------------------------------- devices and threads
@pytest.mark.parametrize("device", ["cpu", ["cpu"], ["cpu", "cpu"], ("cpu",) * 3])
def test_several_devices_give_the_same_rows_in_order(images, device):
    expected = tiny(batch_size=2).fit_transform(images)
    extractor = tiny(device=device, batch_size=2).fit(images)
    np.testing.assert_allclose(extractor.transform(images), expected, **close)
    if len(device) == 2:
        assert extractor._network.n_workers == 2


def test_every_device_has_one_replica(images):
    extractor = tiny(device=["cpu", "cpu"], batch_size=1).fit(images)
    seen, barrier = [], threading.Barrier(2, timeout=20)
    run_tap = type(extractor._network._tap).run

    def meet(tap, x, take):
        seen.append(id(tap.module))
        if len(seen) <= 2:
            barrier.wait()  # two at a time, or this fails
        run_tap(tap, x, take)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(extractor._network._tap), "run", meet)
        extractor.transform(images)
    assert len(set(seen)) == 2
    assert len(seen) == 13
    assert id(extractor._network._tap.module) not in seen  # the template is not run


def test_replicas_share_the_weights(images):
    extractor = tiny().fit(images)
    extractor.transform(images)
    network = extractor._network
    own = {p.data_ptr() for p in network._tap.module.parameters()}
    with network._replicas.borrow() as (tap, _):
        assert tap.module is not network._tap.module
        assert {p.data_ptr() for p in tap.module.parameters()} == own


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:77", r"device='cuda:77' cannot be used here"),
        ("warp", r"device='warp' cannot be used here"),
        ("meta", r"device='meta' cannot be used here"),
        ([], "device is empty"),
        (["cpu", "cuda:77"], r"device=\['cpu', 'cuda:77'\] cannot be used"),
        ([3.5], "device"),
    ],
)
def test_missing_devices_are_named(images, device, message):
    with pytest.raises(ValueError, match=message):
        tiny(device=device).fit(images)
    fitted = pickle.loads(pickle.dumps(tiny().fit(images))).set_params(device=device)
    with pytest.raises(ValueError, match=message):
        fitted.transform(images)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert _devices.find_devices("auto") == [torch.device(best)]


def test_a_model_of_a_gpu_loads_where_there_is_none(images):
    """Its state names no device but the parameter's."""
    extractor = tiny().fit(images)
    expected = extractor.transform(images)
    extractor._network.device = torch.device("cuda")
    loaded = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(loaded.transform(images), expected)
    assert loaded._network.device.type == "cpu"


@pytest.mark.usefixtures("_two_threads")
def test_batches_run_side_by_side_on_one_core_each(images, monkeypatch):
    extractor = tiny(batch_size=2).fit(images)
    seen = []
    features = _network.Network.features

    def noted(network, pixels):
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return features(network, pixels)

    monkeypatch.setattr(_network.Network, "features", noted)
    extractor.transform(images)
    assert {number for _, number in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert torch.get_num_threads() == 2
    seen.clear()
    extractor.transform(images[:1])
    assert seen == [(threading.get_ident(), 2)]


@pytest.mark.usefixtures("_two_threads")
def test_the_size_of_a_batch(images):
    network = tiny().fit(images)._network
    assert [network.auto_batch(n) for n in (1, 2, 3, 8, 9, 10**6)] == [1, 1, 2, 4, 4, 4]
    large = tiny(input_size=448).fit(images)._network
    assert large.auto_batch(1000) == 1
    network.device = torch.device("cuda")
    assert network.auto_batch(10**6) == 64


# ------------------------------------------------------------------------ precision
def test_bfloat16_is_close_and_not_the_same(images):
    expected = tiny().fit_transform(images)
    got = tiny(precision="bfloat16").fit_transform(images)
    assert got.dtype == np.float32
    difference = np.abs(got - expected).max() / np.abs(expected).max()
    assert 1e-5 < difference < 3e-2


def test_bfloat16_keeps_the_auroc():
    """Textures, half of those to be found with a scratch."""
    rng = np.random.default_rng(0)
    textures = rng.normal(128, 25, (150, 32, 32, 3))
    for image in textures[110:]:
        row, column = rng.integers(4, 20, 2)
        image[row : row + 4, column : column + 12] += 60
    textures = textures.clip(0, 255).astype(np.uint8)
    aurocs = {}
    for precision in ("float32", "bfloat16"):
        X = tiny(precision=precision).fit_transform(textures)
        detector = MahalanobisDetector().fit(X[:70])
        scores = -detector.score_samples(X[70:])
        aurocs[precision] = roc_auc_score(np.repeat([0, 1], 40), scores)
    assert 0.6 < aurocs["float32"] < 1
    assert abs(aurocs["float32"] - aurocs["bfloat16"]) <= 0.005


def test_float16_is_for_gpus(images):
    with pytest.raises(ValueError, match="precision='float16' is for GPUs"):
        tiny(precision="float16", device="cpu").fit(images)
    for kind in ("cuda", "mps"):
        _devices.check_precision("float16", torch.device(kind))


def test_bfloat16_is_refused_by_old_gpus(monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: False
    )
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.inference_mode())
    with pytest.raises(ValueError, match=r"precision='bfloat16' .* \(device 'cuda:0'\)"):
        _devices.check_precision("bfloat16", torch.device("cuda:0"))


# --------------------------------------------------------- what a running leaves alone
def test_the_same_call_gives_the_same_bits(images):
    extractor = tiny().fit(images)
    expected = extractor.transform(images)
    for _ in range(5):
        np.testing.assert_array_equal(extractor.transform(images), expected)


@pytest.mark.parametrize("pooling", ["avg", "none"])
def test_threads_may_transform_at_a_time(images, pooling):
    extractor = tiny(pooling=pooling, batch_size=2).fit(images)
    parts = [images[start:] for start in range(8)]
    expected = [extractor.transform(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(extractor.transform, parts))
    for rows, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(rows, right, **close)


def test_one_network_is_built_for_all_threads(images, monkeypatch):
    extractor = tiny().fit(images)
    expected = extractor.transform(images)
    loaded = copy.deepcopy(extractor)
    built, build = [], _network.Network.__init__

    def counted(network, *args, **keywords):
        built.append(1)
        build(network, *args, **keywords)

    monkeypatch.setattr(_network.Network, "__init__", counted)
    barrier = threading.Barrier(6)

    def first_use(_):
        barrier.wait()
        return loaded.transform(images)

    with ThreadPoolExecutor(6) as pool:
        for rows in pool.map(first_use, range(6)):
            np.testing.assert_allclose(rows, expected, **close)
    assert len(built) == 1


def test_memory_short_on_a_network(images, monkeypatch):
    extractor = tiny(batch_size=6).fit(images)
    expected = extractor.transform(images)
    features = _network.Network.features

    def short(network, pixels):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return features(network, pixels)

    monkeypatch.setattr(_network.Network, "features", short)
    with pytest.warns(RuntimeWarning, match="batch_size: 6 images did not fit"):
        got = extractor.transform(images)
    np.testing.assert_allclose(got, expected, **close)


# ----------------------------------------------------------- parameters set after fit
def test_running_parameters_take_effect_after_fit(images, monkeypatch):
    extractor = tiny().fit(images)
    expected = extractor.transform(images)
    monkeypatch.setattr(  # nothing is built again
        _network._resolve, "resolve", lambda *_, **__: pytest.fail("built again")
    )
    extractor.set_params(precision="bfloat16")
    low = extractor.transform(images)
    assert 1e-5 < np.abs(low - expected).max() < 0.1
    extractor.set_params(precision="float32", device=["cpu", "cpu"], batch_size=1)
    np.testing.assert_allclose(extractor.transform(images), expected, **close)
    assert extractor._network.n_workers == 2
    extractor.set_params(device="auto", batch_size="auto")
    np.testing.assert_array_equal(extractor.transform(images), expected)
    extractor.set_params(precision="float16")
    with pytest.raises(ValueError, match="float16"):
        extractor.transform(images)


CHANGES = {
    "backbone": "torchvision/squeezenet1_1",
    "levels": ["stem"],
    "pooling": "max",
    "input_size": 64,
    "mean": [0.5, 0.5, 0.5],
    "std": np.array([0.2, 0.2, 0.2]),
    "value_range": (0, 100),
    "image_shape": (20, 30, 3),
    "random_state": 9,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("is_loaded", [False, True])
def test_what_decides_the_features_is_that_of_fit(images, name, is_loaded):
    extractor = tiny(levels=["stem", "stage1"]).fit(images)
    expected = extractor.transform(images)
    if is_loaded:
        extractor = pickle.loads(pickle.dumps(extractor))
    before = getattr(extractor, name)
    extractor.set_params(**{name: CHANGES[name]})
    for method in (lambda: extractor.transform(images), extractor.get_feature_names_out):
        with pytest.raises(ValueError, match=f"{name} changed since fit"):
            method()
    extractor.set_params(**{name: before})
    np.testing.assert_array_equal(extractor.transform(images), expected)


@pytest.mark.parametrize("wrong", [{"on_error": "ignore"}, {"batch_size": 0}])
def test_values_set_after_fit_are_checked(images, wrong):
    extractor = tiny().fit(images).set_params(**wrong)
    with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
        extractor.transform(images)


def test_a_cache_knows_the_precision_set_after_fit(images, tmp_path):
    extractor = tiny(cache=tmp_path).fit(images)
    expected = extractor.transform(images)
    for known in (extractor, pickle.loads(pickle.dumps(extractor))):
        low = known.set_params(precision="bfloat16").transform(images)
        assert np.abs(low - expected).max() > 1e-5
        known.set_params(precision="float32")
        np.testing.assert_array_equal(known.transform(images), expected)


def test_a_list_changed_in_place_is_seen(images):
    levels = ["stem", "stage1"]
    extractor = tiny(levels=levels).fit(images)
    levels.pop()
    with pytest.raises(ValueError, match="levels changed since fit"):
        extractor.transform(images)


def test_equal_parameters_of_another_type_are_no_change(images):
    extractor = tiny(levels=["stem"], mean=[0.5] * 3).fit(images)
    extractor.set_params(levels=("stem",), mean=np.array([0.5] * 3))
    assert extractor.transform(images).shape == (13, 16)


def test_modules_are_compared_by_identity(images):
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()),
    )
    extractor = CNNFeatureExtractor(module, input_size=32).fit(images)
    expected = extractor.transform(images)
    for copied in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):
        np.testing.assert_array_equal(copied.transform(images), expected)
    extractor.set_params(backbone=copy.deepcopy(module))
    with pytest.raises(ValueError, match="backbone changed since fit"):
        extractor.transform(images)
