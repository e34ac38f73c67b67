"""Networks: names, levels, weights, pooling; against plain torch loops."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: TID253 - what the tests compare with
from PIL import Image
from safetensors.torch import save_file
from sklearn.base import clone
from torch import nn  # noqa: TID253 - as above

from sklearn_gauss.exceptions import WeightsMismatchError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones._tiny import Tiny  # noqa: TID253 - as above

torchvision = pytest.importorskip("torchvision", reason="the timm extra is absent")
timm = pytest.importorskip("timm", reason="the timm extra is absent")

DATA = Path(
    os.environ.get(
        "SKLEARN_GAUSS_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"
    )
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Small(nn.Module):
    """Two levels, a batch norm with statistics of its own, a dropout and a head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, 2), nn.ReLU(), nn.Dropout(0.9))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3)))


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Small()
        module.first[1].running_mean.uniform_(-1, 1)
        module.first[1].running_var.uniform_(0.5, 2)
    return module


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)


def normalised(images, size, mean=MEAN, std=STD):
    """The network's input, image by image, without the package."""
    resized = [
        np.asarray(Image.fromarray(i).resize((size[1], size[0]), Image.BILINEAR))
        for i in images
    ]
    x = (np.stack(resized) / 255 - np.array(mean)) / np.array(std)
    return torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float32)


def hooked(module, x, names):
    """Outputs of named modules, by hooks on a plain forward pass."""
    caught = {}
    for name in names:
        module.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: caught.update({name: out.clone()})
        )
    with torch.no_grad():
        module.eval()(x)
    return [caught[name] for name in names]


LEVELS = {
    "torchvision/squeezenet1_1": [
        f"features.{i}" for i in (1, 3, 4, 6, 7, 9, 10, 11, 12)
    ],
    "torchvision/resnet18": ["relu", "layer1", "layer2", "layer3", "layer4"],
    "torchvision/mobilenet_v3_small": [f"features.{i}" for i in range(13)],
    "timm/mobilenetv2_100": ["bn1", *(f"blocks.{i}" for i in range(7)), "bn2"],
    "timm/convnext_atto": ["stem", *(f"stages.{i}" for i in range(4))],
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_and_features_of_known_networks(images, name):
    family, inner = name.split("/")
    extractor = CNNFeatureExtractor(name, weights=None, input_size=64, random_state=7)
    with pytest.warns(UserWarning, match="random weights"):
        got = extractor.fit_transform(images)
    assert extractor.levels_ == LEVELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        library = timm.create_model if family == "timm" else torchvision.models.get_model
        module = library(inner)
    maps = hooked(module, normalised(images, (64, 64)), LEVELS[name])
    expected = np.concatenate([m.numpy().mean((2, 3)) for m in maps], axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_vision_transformer_of_timm(images):
    name = "test_vit"
    extractor = CNNFeatureExtractor(f"timm/{name}", weights=None, levels=[-1, 0])
    with pytest.warns(UserWarning, match="random weights"):
        got = extractor.fit_transform(images)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model(name).eval()
    with torch.no_grad():
        maps = module.forward_intermediates(
            normalised(images, extractor.input_size_, extractor.mean_, extractor.std_),
            intermediates_only=True,
        )
    expected = np.concatenate([maps[-1].mean((2, 3)), maps[0].mean((2, 3))], axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


POOLED = {
    "avg": lambda m: m.mean((2, 3)),
    "max": lambda m: m.max((2, 3)),
    "moments": lambda m: np.concatenate([m.mean((2, 3)), m.std((2, 3))], axis=1),
}


@pytest.mark.parametrize("pooling", POOLED)
@pytest.mark.parametrize("size", [33, (32, 48)])
def test_pooling_of_a_module(images, pooling, size):
    extractor = CNNFeatureExtractor(small(), pooling=pooling, input_size=size)
    got = extractor.fit_transform(images)
    assert extractor.levels_ == ["first", "second"]
    x = normalised(images, (size, size) if isinstance(size, int) else size)
    maps = [m.numpy() for m in hooked(small(), x, extractor.levels_)]
    expected = np.concatenate([POOLED[pooling](m) for m in maps], axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_maps(images):
    extractor = CNNFeatureExtractor(small(), pooling="none", input_size=33)
    got = extractor.fit_transform(images)
    first, second = hooked(small(), normalised(images, (33, 33)), ["first", "second"])
    np.testing.assert_allclose(
        got[..., :4], first.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-6
    )
    wide = nn.functional.interpolate(second, first.shape[2:], mode="bilinear")
    np.testing.assert_allclose(
        got[..., 4:], wide.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-6
    )
    single = clone(extractor).set_params(levels=["second"]).fit_transform(images)
    np.testing.assert_allclose(single, second.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-6)


def test_a_level_is_caught_before_it_is_changed_in_place(images):
    chain = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.ReLU(True)
    )
    got = CNNFeatureExtractor(lambda: chain, pooling="none").fit_transform(images[:1])
    assert got[..., :4].min() < 0
    np.testing.assert_array_equal(got[..., 4:], got[..., :4].clip(0))


def test_activations_that_are_functions():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

        def forward(self, x):
            return self.two(self.one(x).relu()).relu()

    extractor = CNNFeatureExtractor(Functional, input_size=16)
    assert extractor.fit(np.zeros((1, 8, 8))).levels_ == ["one", "two"]


@pytest.mark.parametrize("kind", ["module", "callable", "class"])
def test_modules_are_left_as_they_are(images, kind):
    module = small()
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    backbone = {"module": module, "callable": lambda: module, "class": Small}[kind]
    extractor = CNNFeatureExtractor(backbone, input_size=32).fit(images)
    first = extractor.transform(images)
    np.testing.assert_array_equal(extractor.transform(images), first)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not module.first._forward_hooks
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
        assert value.stride() == before[key].stride()


def test_precision(images):
    exact = CNNFeatureExtractor(small(), input_size=32).fit_transform(images)
    rounded = CNNFeatureExtractor(small(), input_size=32, precision="bfloat16")
    got = rounded.fit_transform(images)
    assert got.dtype == np.float32
    assert 0 < np.abs(got - exact).max() < 0.05 * np.abs(exact).max()


def test_preprocessing_of_the_backbone_and_overrides(images):
    extractor = CNNFeatureExtractor("torchvision/squeezenet1_1", weights=None)
    with pytest.warns(UserWarning, match="random weights"):
        extractor.fit(images)
    assert extractor.input_size_ == (224, 224)
    assert extractor.mean_ == pytest.approx(MEAN)
    halves = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    ours = CNNFeatureExtractor(small(), input_size=32, **halves).fit_transform(images)
    (m,) = hooked(small(), normalised(images, (32, 32), **halves), ["first"])
    np.testing.assert_allclose(ours[:, :4], m.mean((2, 3)), rtol=1e-4, atol=1e-6)

    def with_metadata():
        module = small()
        module.pretrained_cfg = {**halves, "input_size": (3, 32, 32)}
        return module

    theirs = CNNFeatureExtractor(with_metadata).fit_transform(images)
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tinny", "'tiny'"),
        ("torchvision/resnet19", "'torchvision/resnet18'"),
        ("timm/mobilenet2_100", "'timm/mobilenetv2_100'"),
        ("resnet18", "resnet18'"),
        ("zzzzzz", "Backbones are .*'tiny'"),
    ],
)
def test_unknown_names_suggest_known_ones(images, name, hint):
    with pytest.raises(ValueError, match=f"backbone='{name}' is unknown.*{hint}"):
        CNNFeatureExtractor(name).fit(images)


@pytest.mark.parametrize("level", ["third", 2, -3, 0.5, True])
def test_unknown_levels(images, level):
    with pytest.raises(ValueError, match="level"):
        CNNFeatureExtractor(small(), levels=[level]).fit(images)
    with pytest.raises(ValueError, match="twice"):
        CNNFeatureExtractor(small(), levels=["first", 0]).fit(images)


def test_networks_that_cannot_serve(images):
    with pytest.raises(TypeError, match=r"must return a torch\.nn\.Module, got int"):
        CNNFeatureExtractor(lambda: 3).fit(images)
    with pytest.raises(ValueError, match="no module puts out a map"):
        CNNFeatureExtractor(
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)), input_size=8
        ).fit(images)
    with pytest.raises(ValueError, match="fails on an RGB image of 2 x 2 pixels"):
        CNNFeatureExtractor(small(), input_size=2).fit(images)
    with pytest.raises(ValueError, match="brings its own"):
        CNNFeatureExtractor(small(), weights=None).fit(images)


def test_failed_download_says_how_to_do_without(images, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("no route")

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    with pytest.raises(RuntimeError, match=r"squeezenet1_1.*no route.*weights='path"):
        CNNFeatureExtractor("torchvision/squeezenet1_1").fit(images)


def save_as(kind, state, folder):
    path = folder / {"safetensors": "w.safetensors", "pt": "w.pt"}.get(
        kind, f"{kind}.pth"
    )
    if kind == "safetensors":
        save_file(state, path)
    elif kind in ("state_dict", "model"):
        torch.save({kind: state, "epoch": 3}, path)
    elif kind == "module":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    elif kind == "half":
        torch.save(
            {k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path
        )
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    "kind", ["safetensors", "pt", "state_dict", "model", "module", "half"]
)
def test_local_weights(images, tmp_path, kind):
    path = save_as(kind, small(seed=1).state_dict(), tmp_path)
    extractor = CNNFeatureExtractor(small(), weights=path, input_size=32)
    expected = CNNFeatureExtractor(small(seed=1), input_size=32).fit_transform(images)
    atol = 5e-3 if kind == "half" else 0
    np.testing.assert_allclose(extractor.fit_transform(images), expected, atol=atol)
    assert len(extractor.weights_sha256_) == 64


def test_an_unused_head_may_be_missing_or_another(images, tmp_path):
    expected = CNNFeatureExtractor(small(seed=1), input_size=32).fit_transform(images)
    for state in (
        {k: v for k, v in small(seed=1).state_dict().items() if "head" not in k},
        {**small(seed=1).state_dict(), "head.weight": torch.zeros(9, 6)},
        {**small(seed=1).state_dict(), "head.extra": torch.zeros(2)},
    ):
        path = save_as("pt", state, tmp_path)
        got = CNNFeatureExtractor(small(), weights=path, input_size=32)
        np.testing.assert_array_equal(got.fit_transform(images), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("second.0.bias"), r"missing: second\.0\.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected: extra"),
        (
            lambda s: s.update({"first.0.weight": torch.zeros(5, 3, 3, 3)}),
            r"first\.0\.weight \(the backbone's \(4, .*the file's \(5, 3, 3, 3\)\)",
        ),
        (lambda s: s.pop("first.1.running_mean"), r"missing: first\.1\.running_mean"),
    ],
)
def test_weights_that_do_not_fit(images, tmp_path, change, message):
    state = small().state_dict()
    change(state)
    path = save_as("safetensors", state, tmp_path)
    with pytest.raises(WeightsMismatchError, match=message) as caught:
        CNNFeatureExtractor(small(), weights=path).fit(images)
    assert str(caught.value).startswith(str(path))


def test_quantised_weights_are_no_weights(images, tmp_path):
    state = {
        key: (100 * value).to(torch.int8) for key, value in small().state_dict().items()
    }
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsMismatchError, match="integers for real numbers: "):
        CNNFeatureExtractor(small, weights=tmp_path / "w.pt").fit(images)


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def test_no_code_in_weights_is_run(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"first": Evil()}, tmp_path / "evil.pth")
    for name in ("evil.pt", "evil.pth"):
        with pytest.raises(WeightsMismatchError, match=r"evil\.pth?: not a"):
            CNNFeatureExtractor(small(), weights=name).fit(images)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_weights(images, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt': no such file"):
        CNNFeatureExtractor(small(), weights="nowhere.pt").fit(images)
    (tmp_path / "w.txt").write_text("x")
    with pytest.raises(ValueError, match="kind is unknown"):
        CNNFeatureExtractor(small(), weights=tmp_path / "w.txt").fit(images)
    (tmp_path / "w.safetensors").write_text("x")
    with pytest.raises(WeightsMismatchError, match="not a readable file of weights"):
        CNNFeatureExtractor(small(), weights=tmp_path / "w.safetensors").fit(images)
    torch.save([torch.zeros(1)], tmp_path / "l.pt")
    with pytest.raises(WeightsMismatchError, match="not a dictionary of tensors"):
        CNNFeatureExtractor(small(), weights=tmp_path / "l.pt").fit(images)


def test_an_unpickled_extractor_refuses_other_weights(images, tmp_path):
    state = Tiny().state_dict()
    path = tmp_path / "w.safetensors"
    state = {key: value.contiguous() for key, value in state.items()}
    save_file(state, path)
    extractor = CNNFeatureExtractor("tiny", weights=path, input_size=32).fit(images)
    data = pickle.dumps(extractor)
    np.testing.assert_array_equal(
        pickle.loads(data).transform(images), extractor.transform(images)
    )
    save_file({key: value + 1 for key, value in state.items()}, path)
    with pytest.raises(WeightsMismatchError, match="is not the file this extractor was"):
        pickle.loads(data).transform(images)


def shared_weights(name):
    path = DATA / "weights" / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is absent; set SKLEARN_GAUSS_DATA to the data's folder")
    return path


def test_pretrained_squeezenet(images):
    extractor = CNNFeatureExtractor(
        "torchvision/squeezenet1_1", weights=shared_weights("squeezenet1_1")
    )
    got = extractor.fit_transform(images)
    from safetensors.torch import load_file

    module = torchvision.models.get_model("squeezenet1_1")
    state = load_file(shared_weights("squeezenet1_1"))
    module.load_state_dict({k: v.float() for k, v in state.items()})
    maps = hooked(module, normalised(images, (224, 224)), extractor.levels_)
    expected = np.concatenate([m.mean((2, 3)).numpy() for m in maps], axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_pretrained_mobilenet_with_options_of_its_own(images):
    extractor = CNNFeatureExtractor(
        lambda: timm.create_model("mobilenetv2_100", pad_type="same"),
        weights=shared_weights("mobilenetv2_100"),
        mean=[0.5] * 3,
        std=[0.5] * 3,
    )
    got = extractor.fit_transform(images)
    assert extractor.levels_ == LEVELS["timm/mobilenetv2_100"]
    assert extractor.level_channels_ == [32, 16, 24, 32, 64, 96, 160, 320, 1280]
    assert np.isfinite(got).all()
    assert np.ptp(got, axis=0).min() >= 0
    assert np.ptp(got, axis=0).max() > 0.01


@pytest.mark.parametrize("needed", ["blocks.3.attn.qkv.weight", "cls_token"])
def test_every_weight_of_a_transformer_matters(images, tmp_path, needed):
    state = timm.create_model("test_vit").state_dict()
    key = (
        needed if needed in state else next(k for k in state if k.endswith("qkv.weight"))
    )
    state.pop(key)
    path = save_as("safetensors", state, tmp_path)
    with pytest.raises(WeightsMismatchError, match=f"missing: {key}"):
        CNNFeatureExtractor("timm/test_vit", weights=path).fit(images)
