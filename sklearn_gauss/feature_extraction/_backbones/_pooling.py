"""From maps (n, channels, height, width) to features, one function a kind."""

from typing import NamedTuple


class Pooling(NamedTuple):
    """A pooling and the endings of its feature names, one block of channels each."""

    pool: object
    endings: tuple


def average(maps):
    """Global mean."""
    return maps.mean((2, 3))


def maximum(maps):
    """Global maximum."""
    return maps.amax((2, 3))


def moments(maps):
    """Global mean and standard deviation (over the grid, divisor H W)."""
    import torch

    spread = maps.std((2, 3), correction=0)
    return torch.cat([maps.mean((2, 3)), spread], 1)


def keep(maps):
    """Return the maps themselves, copied: a later layer may write in place."""
    return maps.clone()


POOLINGS = {
    "avg": Pooling(average, ("",)),
    "max": Pooling(maximum, ("",)),
    "moments": Pooling(moments, ("_mean", "_std")),
    "none": Pooling(keep, ("",)),
}
