"""A small residual network with seeded random weights, defined in code."""

import itertools

import numpy as np
import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch import nn  # noqa: TID253 - this room is imported lazily as a whole

WIDTHS = (16, 32, 64, 96, 128)


class _ResidualStage(nn.Module):
    """Two convolutions beside a 1 x 1 shortcut; halves the grid."""

    def __init__(self, width_in, width_out):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width_out)
        self.shortcut = nn.Conv2d(width_in, width_out, 1, stride=2, bias=False)

    def forward(self, x):
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class Tiny(nn.Module):
    """Stem and four residual stages, 336 channels in five levels, no head."""

    pretrained_cfg = {  # noqa: RUF012 - read, never written
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "input_size": (3, 128, 128),
    }

    def __init__(self, seed=0):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
        )
        for number, widths in enumerate(itertools.pairwise(WIDTHS), start=1):
            self.add_module(f"stage{number}", _ResidualStage(*widths))
        fill_with_noise(self, seed)

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x


@torch.no_grad()
def fill_with_noise(module, seed):
    """Fill every convolution with Gaussian noise of variance 2 / fan-in, no bias.

    Drawn by NumPy: the same numbers in every process and torch version.
    """
    rng = np.random.default_rng(seed)
    for inner in module.modules():
        if isinstance(inner, nn.Conv2d):
            scale = np.sqrt(2 / inner.weight[0].numel())
            noise = rng.standard_normal(tuple(inner.weight.shape)) * scale
            inner.weight.copy_(torch.from_numpy(noise))
            if inner.bias is not None:
                inner.bias.zero_()
