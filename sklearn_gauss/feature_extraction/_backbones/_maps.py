"""Maps as features: projections of all channels, and the grid that all levels share.

What is drawn is had without torch: only what takes maps needs it.
"""

import math
from functools import reduce
from operator import iadd

import numpy as np

from sklearn_gauss._numerics.patches.reduction import projection

__all__ = [
    "LevelMaps",
    "LevelProjection",
    "add_up",
    "finest",
    "is_projected",
    "level_axes",
]


def is_projected(channels, n_kept):
    """Whether the channels of all levels are more than are to be kept (None: all)."""
    return n_kept is not None and n_kept < sum(channels)


def level_axes(channels, n_kept, seed):
    """Return each level's rows of a random projection of all levels' channels.

    Parameters
    ----------
    channels : list of int
        Channels C of each level.
    n_kept : int
        Directions, less than all channels.
    seed : int
        Of the draw.

    Returns
    -------
    list of ndarray of shape (C, n_kept)
        One a level, in float32; on top of each other their columns are orthonormal.
    """
    # A generator of its own, as torch's draws the weights, and one whose stream no
    # version of numpy changes: what was pickled draws the same again.
    rng = np.random.RandomState([seed, *b"channels"])
    axes = projection(sum(channels), n_kept, rng).astype(np.float32)
    return np.split(axes, np.cumsum(channels)[:-1])


def finest(grids):
    """Return the grid (height, width) with the most cells."""
    return max(grids, key=math.prod)


class LevelMaps:
    """A level's maps on a grid, copied in any case: a later layer may write in place."""

    def __init__(self, grid):
        self.grid = grid

    def __call__(self, maps):
        taken = stretch(average_down(maps, self.grid), self.grid)
        return taken.clone() if taken is maps else taken


class LevelProjection:
    """A level's part in projections of all levels' channels, ``axes`` its rows of them.

    Averages and stretching are linear, too: the channels are projected where the cells
    are fewest, averaged down to the grid and not yet stretched to it.
    """

    def __init__(self, grid, axes):
        self.grid = grid
        self.axes = axes

    def __call__(self, maps):
        import torch

        taken = average_down(maps, self.grid)
        with torch.autocast(maps.device.type, enabled=False):
            weight = torch.from_numpy(self.axes).to(maps)
            return (taken.permute(0, 2, 3, 1) @ weight).permute(0, 3, 1, 2)


def add_up(parts, grid):
    """Sum of maps stretched to a grid; the first may be written to."""
    return reduce(iadd, (stretch(part, grid) for part in parts))


def average_down(maps, grid):
    """Average maps along sides longer than the grid's."""
    from torch.nn.functional import adaptive_avg_pool2d

    size = tuple(maps.shape[2:])
    within = tuple(map(min, size, grid))
    if within == size:
        return maps
    # Apple's GPUs average over cells of equal size alone.
    able = "cpu" if maps.device.type == "mps" else maps.device
    return adaptive_avg_pool2d(maps.to(able), within).to(maps.device)


def stretch(maps, grid):
    """Stretch maps along sides shorter than the grid's."""
    from torch.nn.functional import interpolate

    if tuple(maps.shape[2:]) == grid:
        return maps
    return interpolate(maps, grid, mode="bilinear", align_corners=False)
