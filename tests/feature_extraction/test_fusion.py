"""Batch norms folded into convolutions: the levels of the networks stay the same."""

import copy
from collections import OrderedDict

import pytest
import torch  # noqa: TID253 - what the tests compare with
from torch import nn  # noqa: TID253 - as above

from sklearn_gauss.feature_extraction._backbones._fusion import fuse  # noqa: TID253 - as above
from sklearn_gauss.feature_extraction._backbones._taps import tap_levels  # noqa: TID253 - as above

torchvision = pytest.importorskip("torchvision", reason="the timm extra is absent")
timm = pytest.importorskip("timm", reason="the timm extra is absent")

SIZE = (64, 64)


def randomised(module):
    """Give every norm statistics of its own: fresh ones scale by one."""
    generator = torch.Generator().manual_seed(1)

    def draw(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                draw(part.running_mean, -0.5, 0.5)
                draw(part.running_var, 0.5, 1.5)
                draw(part.weight, 0.7, 1.3)
                draw(part.bias, -0.3, 0.3)
    return module.eval().requires_grad_(False)


def levels_by_hand(module, x, names):
    """Outputs of named modules of an unfused network, by hooks on a plain pass."""
    found = {}
    for name in names:
        module.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: found.update({name: out.clone()})
        )
    with torch.no_grad():
        module(x)
    return found


def fused_levels(module, x, levels="all", size=SIZE):
    tap, _ = tap_levels(module, levels, size=size)
    n_fused = fuse(tap, size)
    found = {}
    with torch.inference_mode():
        tap.run(x, lambda level, maps: found.update({level: maps.clone()}))
    return found, n_fused


def assert_levels_stay(module, levels="all"):
    """Return the number of norms folded; every level is as it was, to rounding.

    Random networks amplify rounding: what the plain one has of it against float64 is
    what the fused one may have as well.
    """
    torch.manual_seed(0)
    x = torch.randn(2, 3, *SIZE)
    plain = copy.deepcopy(module)
    got, n_fused = fused_levels(module, x, levels)
    single = levels_by_hand(copy.deepcopy(plain), x, got)
    double = levels_by_hand(plain.double(), x.double(), got)
    for level, exact in double.items():
        scale = exact.abs().max().item()
        rounding = (single[level] - exact).abs().max().item()
        assert scale > 0
        assert (got[level] - exact).abs().max() <= max(1e-5 * scale, 4 * rounding)
    return n_fused


def norms(module):
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


# Networks, and how many of their norms directly follow a convolution.
NETWORKS = {
    "torchvision/resnet18": 20,
    "torchvision/mobilenet_v2": 52,
    "torchvision/regnet_y_400mf": 53,
    "torchvision/densenet121": 59,
    "timm/mobilenetv2_100": 52,
    "timm/efficientnet_b0": 49,
    "timm/tf_efficientnet_b0": 49,  # convolutions with a padding of their own
    "torchvision/squeezenet1_1": 0,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_levels_of_networks_stay_the_same(name):
    family, inner = name.split("/")
    torch.manual_seed(0)
    build = timm.create_model if family == "timm" else torchvision.models.get_model
    module = randomised(build(inner))
    before = norms(module)
    n_fused = assert_levels_stay(module)
    assert n_fused == NETWORKS[name]
    assert norms(module) == before - n_fused


class Block(nn.Module):
    """Stem, then whatever is done with a convolution and a norm."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        for key, part in parts.items():
            setattr(self, key, part)
        self.end = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU())
        self.inner = forward

    def forward(self, x):
        return self.end(self.inner(self, self.stem(x)))


def hooked(block):
    block.conv.register_forward_hook(lambda _m, _i, out: out + 1)
    return block


def normalised_weight(block):
    nn.utils.parametrizations.weight_norm(block.conv)
    return block


class Doubled(nn.BatchNorm2d):
    """A norm that does something else."""

    def forward(self, x):
        return 2 * super().forward(x)


def both_ways(block, x):
    y = block.conv(x)
    return block.norm(y) + y


def twice(block, x):
    return block.norm(block.conv(block.norm(block.conv(x))))


def weight_twice(block, x):
    return block.norm(block.conv(x)) + block.conv.weight.sum()


def changed_in_place(block, x):
    y = block.conv(x)
    y.mul_(3)
    return block.norm(y)


def plain(block, x):
    return block.norm(block.conv(x))


def asks_its_norm(block, x):
    return block.norm(block.conv(x)) * block.norm.eps


BLOCKS = {
    "plain": (lambda: Block(plain), 1),
    "no affine": (lambda: Block(plain, norm=nn.BatchNorm2d(4, affine=False)), 1),
    "no bias": (lambda: Block(plain, conv=nn.Conv2d(4, 4, 3, bias=False)), 1),
    "grouped": (lambda: Block(plain, conv=nn.Conv2d(4, 4, 3, groups=4)), 1),
    "reflected": (
        lambda: Block(plain, conv=nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        1,
    ),
    "output used elsewhere": (lambda: Block(both_ways), 0),
    "called twice": (lambda: Block(twice), 0),
    "weight used elsewhere": (lambda: Block(weight_twice), 0),
    "output changed in place": (lambda: Block(changed_in_place), 0),
    "norm before the convolution": (lambda: Block(lambda b, x: b.conv(b.norm(x))), 0),
    "norm of another kind": (lambda: Block(plain, norm=Doubled(4)), 0),
    "batch statistics": (
        lambda: Block(plain, norm=nn.BatchNorm2d(4, track_running_stats=False)),
        0,
    ),
    "hook on the convolution": (lambda: hooked(Block(plain)), 0),
    "weight computed": (lambda: normalised_weight(Block(plain)), 0),
    "network asks its norm": (lambda: Block(asks_its_norm), 0),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_only_what_is_safe_is_folded(kind):
    build, n_fused = BLOCKS[kind]
    torch.manual_seed(0)
    block = build().eval().requires_grad_(False)
    if block.norm.running_mean is not None:
        block.norm.running_mean.uniform_(-1, 1)
        block.norm.running_var.uniform_(0.5, 2)
    assert assert_levels_stay(block) == n_fused


@pytest.mark.parametrize(("level", "n_fused"), [("conv", 0), ("norm", 1)])
def test_a_level_between_stays_the_same(level, n_fused):
    parts = OrderedDict(
        first=nn.Conv2d(3, 4, 3),
        conv=nn.Conv2d(4, 4, 3),
        norm=nn.BatchNorm2d(4),
        last=nn.Conv2d(4, 4, 1),
    )
    torch.manual_seed(0)
    module = randomised(nn.Sequential(parts))
    assert assert_levels_stay(module, [level]) == n_fused


def test_shared_weights_of_two_convolutions_stay_apart():
    block = Block(lambda b, x: b.norm(b.conv(x)) + b.other(x))
    block.other = nn.Conv2d(4, 4, 3, padding=1)
    block.other.weight = block.conv.weight
    randomised(block)
    assert assert_levels_stay(block) == 0


def test_folding_is_repeatable():
    """Tensors come and go while a network is watched; their ids return."""
    counts = set()
    for _ in range(5):
        torch.manual_seed(0)
        module = randomised(torchvision.models.resnet18())
        counts.add(fused_levels(module, torch.zeros(1, 3, *SIZE))[1])
    assert counts == {20}
