"""Maps as features: which channels are kept, and the grid that all levels share.

Which channels are kept is had without torch: only what takes maps needs it.
"""

import math
from itertools import pairwise

import numpy as np

__all__ = ["LevelMaps", "finest", "kept_channels", "resize"]


def kept_channels(channels, n_kept, seed):
    """Numbers of the channels to keep of each level, in increasing order.

    They are drawn without replacement from all levels as one; a draw of fewer is part
    of a draw of more.

    Parameters
    ----------
    channels : list of int
        Channels of each level.
    n_kept : int or None
        How many to keep. All, if None or not less than there are.
    seed : int
        Of the draw.

    Returns
    -------
    list of ndarray of int
        One array a level, empty where none of its channels was drawn.
    """
    total = sum(channels)
    places = np.arange(total)
    if n_kept is not None and n_kept < total:
        # A generator of its own, as torch's draws the weights, and one whose stream no
        # version of numpy changes: what was pickled draws the same again.
        draw = np.random.RandomState([seed, *b"channels"])
        places = np.sort(draw.permutation(total)[:n_kept])
    bounds = pairwise(np.cumsum([0, *channels]))
    return [places[(a <= places) & (places < b)] - a for a, b in bounds]


def finest(grids):
    """Return the grid (height, width) with the most cells."""
    return max(grids, key=math.prod)


class LevelMaps:
    """Some channels of a level's maps on a grid, as maps of their own.

    They are copied in any case: a later layer may write in place.
    """

    def __init__(self, kept, grid):
        self.kept = kept
        self.grid = grid

    def __call__(self, maps):
        import torch

        if not len(self.kept):
            return maps.new_empty((len(maps), 0, *self.grid))
        taken = maps
        if len(self.kept) < maps.shape[1]:
            kept = torch.as_tensor(self.kept, device=maps.device)
            taken = maps.index_select(1, kept)
        taken = resize(taken, self.grid)
        return taken.clone() if taken is maps else taken


def resize(maps, grid):
    """Average maps down along sides longer than the grid's, stretch shorter ones."""
    from torch.nn.functional import adaptive_avg_pool2d, interpolate

    size = tuple(maps.shape[2:])
    within = tuple(map(min, size, grid))
    if within != size:
        # Apple's GPUs average over cells of equal size alone.
        able = "cpu" if maps.device.type == "mps" else maps.device
        maps = adaptive_avg_pool2d(maps.to(able), within).to(maps.device)
    if within != grid:
        maps = interpolate(maps, grid, mode="bilinear", align_corners=False)
    return maps
