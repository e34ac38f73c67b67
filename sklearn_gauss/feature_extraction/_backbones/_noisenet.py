"""The bundled network: small, residual, pretrained on procedurally drawn images.

As bundled, every batch norm is folded into the convolution before it; training
(``benchmarks/noisenet``) builds the same network with its norms.
"""

from importlib.resources import as_file, files

import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch import nn  # noqa: TID253 - this room is imported lazily as a whole

from sklearn_gauss.exceptions import WeightsMismatchError
from sklearn_gauss.feature_extraction._backbones import (  # noqa: TID253 - its own room
    _weights,
)
from sklearn_gauss.feature_extraction._backbones._tiny import (  # noqa: TID253 - as above
    fill_with_noise,
)

WEIGHTS = ("_weights", "noisenet.safetensors")
SHA256 = "a4b001734eefaca192d17d0e97368c519a2e38fd95320d65940bbe9a70d643d1"

STEM_WIDTH = 32

# (width, stride) of the residual blocks.
BLOCKS = ((64, 2), (96, 2), (96, 1), (128, 2), (128, 1), (192, 2))


def convolution(width_in, width_out, *, stride=1, side=3, norm=False):
    """A convolution that keeps the grid or halves it, with a batch norm or a bias."""
    layer = nn.Conv2d(
        width_in, width_out, side, stride=stride, padding=side // 2, bias=not norm
    )
    return nn.Sequential(layer, nn.BatchNorm2d(width_out)) if norm else layer


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, 1 x 1 where the shape changes."""

    def __init__(self, width_in, width_out, stride, *, norm=False):
        super().__init__()
        self.conv1 = convolution(width_in, width_out, stride=stride, norm=norm)
        self.conv2 = convolution(width_out, width_out, norm=norm)
        self.shortcut = (
            convolution(width_in, width_out, stride=stride, side=1, norm=norm)
            if stride > 1 or width_in != width_out
            else nn.Identity()
        )

    def forward(self, x):
        inner = torch.relu(self.conv1(x))
        return torch.relu(self.conv2(inner) + self.shortcut(x))


class Noisenet(nn.Module):
    """A stem and six residual blocks: seven levels, 736 channels, no head."""

    pretrained_cfg = {  # noqa: RUF012 - read, never written
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "input_size": (3, 160, 160),
    }

    def __init__(self, *, norm=False):
        super().__init__()
        self.stem = nn.Sequential(
            convolution(3, STEM_WIDTH, stride=2, norm=norm), nn.ReLU()
        )
        width_in = STEM_WIDTH
        for number, (width, stride) in enumerate(BLOCKS, start=1):
            block = ResidualBlock(width_in, width, stride, norm=norm)
            self.add_module(f"block{number}", block)
            width_in = width

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x


def build_noisenet(pretrained, seed):
    """The network with its bundled weights, or with seeded random ones."""
    module = Noisenet()
    if pretrained:
        module.load_state_dict(_bundled_state())
    else:
        fill_with_noise(module, seed)
    return module


def _bundled_state():
    """Return the tensors of the file that comes with the package, if it is that file."""
    place = files("sklearn_gauss.feature_extraction").joinpath(*WEIGHTS)
    with as_file(place) as path:
        if _weights.sha256(path) != SHA256:
            raise WeightsMismatchError(
                f"{path}: is not the file that came with this version of sklearn_gauss; "
                "install the package again."
            )
        return _weights.read_state_dict(path)
