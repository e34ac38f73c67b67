"""Levels of networks, against what timm and torchvision return of themselves."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch  # noqa: TID253 - what the tests compare with
from sklearn.base import clone
from torch import nn  # noqa: TID253 - as above

from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones import (  # noqa: TID253 - under test
    _resolve,
    _taps,
)

torchvision = pytest.importorskip("torchvision", reason="the timm extra is absent")
timm = pytest.importorskip("timm", reason="the timm extra is absent")

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 20, 30, 3), dtype=np.uint8)


def seeded(build, *arguments, **keywords):
    """Build a network with the weights that seed 0 gives it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments, **keywords).eval()


def noise(size):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *size, generator=generator)


def our_maps(name, x, levels="all", **options):
    """Maps of the levels, {name: map}, without the extractor around it."""
    found = _resolve.resolve(name, pretrained=False, seed=0, options=options)
    size = found.input_size or (224, 224)
    tap, _ = _taps.tap_levels(found.module, levels, size=size)
    shapes = _taps.set_size(tap, size, tuple(x.shape[2:]))
    maps = {}
    with torch.inference_mode():
        tap.run(x, lambda level, m: maps.update({level: m.clone()}))
    assert set(maps) == set(tap.levels)
    assert [tuple(maps[level].shape[1:]) for level in tap.levels] == shapes
    return maps


# A small network of each family: its size here, and its number of levels.
TIMM = {
    "test_byobnet": (96, 5),
    "test_convnext": (96, 5),
    "test_efficientnet": (96, 7),
    "test_mambaout": (96, 5),
    "test_nfnet": (96, 5),
    "test_resnet": (96, 5),
    "convnextv2_atto": (96, 5),
    "densenet121": (96, 9),
    "dla46_c": (96, 7),
    "edgenext_xx_small": (96, 5),
    "mnasnet_small": (96, 9),
    "mobilenetv3_small_050": (96, 7),
    "mobilevit_xxs": (96, 7),
    "pvt_v2_b0": (96, 5),
    "regnetx_002": (96, 5),
    "repvit_m1": (96, 5),
    "resnetv2_18": (96, 5),
    # with tokens, or channels last
    "test_vit": (160, 6),
    "test_vit_relpos": (160, 9),
    "deit_tiny_patch16_224": (224, 12),
    "deit_tiny_distilled_patch16_224": (224, 12),
    "eva02_tiny_patch14_224": (224, 12),
    "vit_wee_patch16_reg1_gap_256": (256, 14),
    "vit_tiny_r_s16_p8_224": (224, 12),
    "crossvit_tiny_240": (240, 6),
    "swin_tiny_patch4_window7_224": (224, 5),
}


@pytest.mark.parametrize("name", TIMM)
def test_levels_hold_what_timm_states(name):
    side, n_levels = TIMM[name]
    x = noise((side, side))
    ours = our_maps(f"timm/{name}", x)
    assert len(ours) == n_levels
    stages = timm.create_model(name, features_only=True).feature_info.info
    every = tuple(range(len(stages)))
    cut = timm.create_model(name, features_only=True, out_indices=every).eval()
    copy_weights(seeded(timm.create_model, name), cut)
    with torch.inference_mode():
        theirs = cut(x)
    is_last = str(getattr(cut, "output_fmt", "")).endswith("NHWC")
    for stage, maps in zip(stages, theirs, strict=True):
        maps = maps.permute(0, 3, 1, 2) if is_last else maps
        alike = [m for m in ours.values() if m.shape == maps.shape]
        gaps = [float((m - maps).abs().max() / maps.abs().max()) for m in alike]
        assert min(gaps, default=np.inf) < 1e-5, stage


def copy_weights(module, cut):
    """Copy all weights that ``cut`` has, whose dots timm may have replaced."""
    state = {key.replace(".", "_"): value for key, value in module.state_dict().items()}
    keys = {key: key.removeprefix("model.").replace(".", "_") for key in cut.state_dict()}
    cut.load_state_dict({key: state[keys[key]] for key in keys})


def tokens_as_maps(tokens, side):
    """Drop the class token; lay the others out in rows, as the patches lie."""
    grid = tokens[:, 1:].numpy().reshape(len(tokens), side, side, -1)
    return grid.transpose(0, 3, 1, 2)


TORCHVISION = {
    "alexnet": ["features.1", "features.4", "features.7", "features.9", "features.11"],
    "convnext_tiny": [f"features.{i}" for i in (0, 1, 3, 5, 7)],
    "densenet121": [
        f"features.{name}"
        for name in (
            *("relu0", "denseblock1", "transition1", "denseblock2", "transition2"),
            *("denseblock3", "transition3", "denseblock4"),
        )
    ],
    "efficientnet_b0": [f"features.{i}" for i in range(9)],
    "googlenet": [
        *("conv1", "conv2", "conv3", "inception3a", "inception3b"),
        *(f"inception4{letter}" for letter in "abcde"),
        *("inception5a", "inception5b"),
    ],
    "mnasnet0_5": [f"layers.{i}" for i in (2, 5, 8, 9, 10, 11, 12, 13, 16)],
    "mobilenet_v3_small": [f"features.{i}" for i in range(13)],
    "regnet_x_400mf": ["stem", *(f"trunk_output.block{i}" for i in (1, 2, 3, 4))],
    "shufflenet_v2_x0_5": ["conv1", "stage2", "stage3", "stage4", "conv5"],
    "squeezenet1_1": [f"features.{i}" for i in (1, 3, 4, 6, 7, 9, 10, 11, 12)],
    "swin_t": [f"features.{i}" for i in (0, 1, 3, 5, 7)],
    "swin_v2_t": [f"features.{i}" for i in (0, 1, 3, 5, 7)],
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_levels_of_torchvision(name):
    from torchvision.models.feature_extraction import create_feature_extractor

    x = noise((64, 64))
    ours = our_maps(f"torchvision/{name}", x)
    assert list(ours) == TORCHVISION[name]
    options = _resolve._UNTRAINED.get(name, {})
    module = seeded(torchvision.models.get_model, name, **options)
    cut = create_feature_extractor(
        module, list(ours), suppress_diff_warning=name == "googlenet"
    )
    with torch.inference_mode():
        theirs = cut(x)
    for level, maps in ours.items():
        expected = theirs[level]
        expected = expected.permute(0, 3, 1, 2) if "swin" in name else expected
        torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-5)


def test_vision_transformer_of_torchvision():
    from torchvision.models.feature_extraction import create_feature_extractor

    x = noise((64, 64))
    levels = [f"encoder.layers.encoder_layer_{i}" for i in range(12)]
    ours = our_maps("torchvision/vit_b_16", x, image_size=64)
    assert list(ours) == levels
    module = seeded(torchvision.models.get_model, "vit_b_16", image_size=64)
    with torch.inference_mode():
        tokens = create_feature_extractor(module, levels[::11])(x)
    for level in levels[::11]:
        np.testing.assert_allclose(
            ours[level], tokens_as_maps(tokens[level], 4), rtol=1e-5, atol=1e-5
        )


def test_levels_of_a_transformer_stop_early():
    ran = []
    found = _resolve.resolve("timm/test_vit", pretrained=False, seed=0)
    for number, block in enumerate(found.module.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    tap, _ = _taps.tap_levels(found.module, ["blocks.1"], size=found.input_size)
    ran.clear()
    tap.run(noise(found.input_size), lambda *_: None)
    assert ran == [0, 1]


class Tokens(nn.Module):
    """Patches as tokens behind ``n_extra`` others; each token holds its place."""

    def __init__(self, n_extra=3, as_tuple=False):
        super().__init__()
        self.embed = nn.Conv2d(3, 2, 8, 8)
        self.blocks = nn.Sequential(nn.ReLU(), nn.ReLU())
        self.n_extra, self.as_tuple = n_extra, as_tuple

    def forward(self, x):
        height, width = self.embed(x).shape[2:]
        places = torch.stack(
            torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1
        )
        tokens = places.reshape(1, -1, 2).float().repeat(len(x), 1, 1)
        extra = torch.full((len(x), self.n_extra, 2), 99.0)
        return self.blocks(torch.cat([extra, tokens], 1))


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (16, 64), (50, 85)])
@pytest.mark.parametrize("n_extra", [0, 1, 5])
def test_every_token_lands_in_its_place(size, n_extra):
    extractor = CNNFeatureExtractor(Tokens(n_extra), input_size=size, pooling="none")
    maps = extractor.fit_transform(IMAGE)
    assert extractor.levels_ == ["blocks.0", "blocks.1"]
    assert extractor.level_grids_ == [(size[0] // 8, size[1] // 8)] * 2
    rows, columns = np.indices(extractor.level_grids_[0])
    np.testing.assert_array_equal(maps[0, ..., 2], rows)
    np.testing.assert_array_equal(maps[0, ..., 3], columns)


class ChannelsLast(nn.Module):
    """Two stages that put their channels last, the second on half the grid."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.GELU())
        self.second = nn.Sequential(nn.Linear(5, 6), nn.GELU())

    def forward(self, x):
        x = self.first(x).permute(0, 2, 3, 1)
        return self.second(x[:, ::2, ::2])


def test_channels_last():
    extractor = CNNFeatureExtractor(ChannelsLast(), input_size=(32, 48)).fit(IMAGE)
    assert extractor.levels_ == ["first", "second"]
    assert extractor.level_channels_ == [5, 6]
    assert extractor.level_grids_ == [(8, 12), (4, 6)]


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_vit_relpos"])
@pytest.mark.filterwarnings("ignore:weights=None")
def test_transformers_of_timm_at_another_size(name):
    def rows(**parameters):
        extractor = CNNFeatureExtractor(name, weights=None, levels=[-1], **parameters)
        return extractor.fit_transform(IMAGE), extractor

    got, extractor = rows(input_size=(64, 96))
    assert extractor.level_grids_ == [(4, 6)]
    expected, _ = rows(backbone_options={"img_size": (64, 96)})
    assert got.shape == expected.shape
    own, _ = rows()
    assert not np.allclose(got, own)


@pytest.mark.filterwarnings("ignore:weights=None")
def test_a_place_table_is_resampled_as_timm_does():
    extractor = CNNFeatureExtractor("timm/test_vit", weights=None, input_size=(64, 96))
    got = extractor.fit_transform(IMAGE)
    dynamic = CNNFeatureExtractor(
        "timm/test_vit",
        weights=None,
        input_size=(64, 96),
        backbone_options={"dynamic_img_size": True},
    )
    np.testing.assert_allclose(got, dynamic.fit_transform(IMAGE), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:weights=None")
def test_sizes_a_transformer_cannot_take():
    with pytest.raises(ValueError, match=r"65 x 65 pixels.*Its own size is 160 x 160"):
        CNNFeatureExtractor("timm/test_vit", weights=None, input_size=65).fit(IMAGE)
    with pytest.raises(ValueError, match=r"64 x 64 pixels.*Its own size is 224 x 224"):
        CNNFeatureExtractor("torchvision/vit_b_32", weights=None, input_size=64).fit(
            IMAGE
        )


class Block(nn.Module):
    """A convolution whose activation is a function."""

    def __init__(self, *channels, wrap):
        super().__init__()
        self.c = wrap(nn.Conv2d(*channels, 3, padding=1))

    def forward(self, x):
        return torch.relu(self.c(x))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def doubled(module):
    return nn.utils.parametrize.register_parametrization(module, "weight", Doubled())


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, doubled])
def test_parametrized_weights_are_no_levels(wrap):
    def build(wrap):
        return nn.Sequential(OrderedDict(a=Block(3, 4, wrap=wrap)))

    extractor = CNNFeatureExtractor(build(wrap), input_size=16).fit(IMAGE)
    plain = CNNFeatureExtractor(build(lambda module: module), input_size=16).fit(IMAGE)
    assert extractor.levels_ == plain.levels_ == ["a.c"]
    assert extractor.level_grids_ == plain.level_grids_
    assert extractor.transform(IMAGE).shape == (1, 4)


class Mixing(nn.Module):
    """A part puts out weights, by a way of its own."""

    def __init__(self):
        super().__init__()
        self.makes = Doubled()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    def forward(self, x):
        weight = self.makes(self.first.weight)
        return self.second(torch.conv2d(x, weight).relu())


def test_what_is_no_batch_is_no_level():
    extractor = CNNFeatureExtractor(Mixing(), input_size=16).fit(IMAGE)
    assert extractor.levels_ == ["second.1"]
    assert extractor.transform(IMAGE).shape == (1, 4)


def test_a_wrong_level_shows_the_levels():
    with pytest.raises(ValueError, match="'stage9' is not a level") as caught:
        CNNFeatureExtractor("tiny", levels=["stage9"]).fit(IMAGE)
    lines = str(caught.value).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["0", "stem", "16", "channels,", "64", "x", "64"],
        ["1", "stage1", "32", "channels,", "32", "x", "32"],
    ]
    assert len(lines) == 6
    assert lines[0].endswith("with grids for 128 x 128 pixels,")


def test_grids_are_those_of_the_input_size():
    extractor = CNNFeatureExtractor("tiny", input_size=(32, 64)).fit(IMAGE)
    assert extractor.level_grids_ == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]


@pytest.mark.filterwarnings("ignore:weights=None")
def test_options_reach_the_network():
    def first(options):
        extractor = CNNFeatureExtractor(
            "timm/test_efficientnet",
            backbone_options=options,
            weights=None,
            levels=[0],
            pooling="none",
            input_size=64,
        )
        return extractor.fit_transform(IMAGE)

    same = first({"pad_type": "same"})
    module = seeded(timm.create_model, "test_efficientnet", pad_type="same")
    extractor = CNNFeatureExtractor(
        module, levels=[0], pooling="none", input_size=64
    ).fit(IMAGE)
    np.testing.assert_array_equal(same, extractor.transform(IMAGE))
    assert not np.allclose(same, first(None))


@pytest.mark.filterwarnings("ignore:weights=None")
def test_options_survive_a_model_file():
    skops = pytest.importorskip("skops.io", reason="the cli extra is absent")
    extractor = CNNFeatureExtractor(
        "timm/test_efficientnet",
        backbone_options={"pad_type": "same", "drop_rate": 0.5},
        weights=None,
        input_size=64,
    ).fit(IMAGE)
    data = skops.dumps(extractor)
    trusted = skops.get_untrusted_types(data=data)
    assert all(name.startswith("sklearn_gauss.") for name in trusted)
    loaded = skops.loads(data, trusted=trusted)
    assert loaded.backbone_options == {"pad_type": "same", "drop_rate": 0.5}
    np.testing.assert_array_equal(loaded.transform(IMAGE), extractor.transform(IMAGE))
    again = pickle.loads(pickle.dumps(clone(extractor).fit(IMAGE)))
    np.testing.assert_array_equal(again.transform(IMAGE), extractor.transform(IMAGE))


def test_options_of_a_callable():
    extractor = CNNFeatureExtractor(
        Tokens, backbone_options={"n_extra": 2}, input_size=16
    ).fit(IMAGE)
    assert extractor._network._tap.module.n_extra == 2


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("timm/test_resnet", {"pad_tipe": 1}, r"\{'pad_tipe': 1\} do not fit backbone="),
        ("torchvision/resnet18", {"depth": 1}, "do not fit.*unexpected keyword.*depth"),
        (Tokens, {"depth": 1}, "do not fit.*unexpected keyword.*depth"),
        ("tiny", {"depth": 1}, "'tiny' has no options"),
        (Tokens(), {"n_extra": 1}, "a module is built already"),
        ("timm/test_resnet", {"pretrained": True}, "'pretrained' is not an option"),
    ],
)
def test_options_that_do_not_fit(backbone, options, message):
    # Pretrained weights are asked for: the options fail before any download.
    extractor = CNNFeatureExtractor(backbone, backbone_options=options)
    with pytest.raises(ValueError, match=message):
        extractor.fit(IMAGE)
