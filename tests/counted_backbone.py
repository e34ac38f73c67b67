"""A network that writes down which images it saw, for tests in several processes.

It lies beside `reference.py`, where workers can import it.
"""

import os
from collections import Counter
from pathlib import Path

import torch  # noqa: TID253 - a network of its own
from torch import nn  # noqa: TID253 - as above


class Counted(nn.Module):
    """Two levels; each picture adds a line to a file."""

    def __init__(self, file):
        super().__init__()
        self.file = str(file)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
        self.stage = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.ReLU())
        generator = torch.Generator().manual_seed(0)
        for weights in self.parameters():
            weights.data = torch.randn(weights.shape, generator=generator)

    def forward(self, x):
        """Write a line of content for each picture; the rest are trials."""
        lines = [
            f"{image.double().sum().item():.2f} {image.double().square().sum():.2f}\n"
            for image in x
            if is_picture(image)
        ]
        with open(self.file, "a") as file:
            os.write(file.fileno(), "".join(lines).encode())
        return self.stage(self.stem(x))


def is_picture(image):
    """Whether an image comes from several levels of grey, from 0 to 255."""
    mean = image.new_tensor((0.485, 0.456, 0.406))[:, None, None]
    std = image.new_tensor((0.229, 0.224, 0.225))[:, None, None]
    levels = (image * std + mean) * 255
    is_whole = (levels - levels.round()).abs().max() < 0.01
    return bool(is_whole) and bool((levels > levels.min() + 0.5).any())


class Named(Counted):
    """Another network of the same weights."""

    def forward(self, x):
        """Do something else."""
        return 2 * super().forward(x)


def seen(file):
    """How often each image went through the network."""
    path = Path(file)
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def mean_score(model, X, y=None):
    """Mean score of rows, as a criterion of a search."""
    return float(model.score_samples(X).mean())
