"""From maps (n, channels, height, width) to features, one function a kind.

The names are had without torch: only what pools needs it.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sklearn_gauss.feature_extraction._backbones._maps import (  # noqa: TID253 - its own room
    is_projected,
)

# Sizes of the second moments. Three products of eight by eight describe a level by 192
# numbers, which a Gaussian of some hundred images can still carry.
N_GROUPS = 4
GROUP_SIZE = 8


def average(maps):
    """Global mean."""
    return maps.mean((2, 3))


def maximum(maps):
    """Global maximum."""
    return maps.amax((2, 3))


def moments(maps):
    """Global mean and standard deviation (over the grid, divisor H W)."""
    import torch

    # One pass with running moments: no negative variance, and zero where all is equal.
    variance, mean = torch.var_mean(maps, (2, 3), correction=0)
    return torch.cat([mean, variance.sqrt()], 1)


class SecondMoments:
    """Global mean, and cross-covariances of adjacent groups of projected channels.

    With x_t the channels at place t, m their mean over the T places and P_1 .. P_k
    the projections (columns orthonormal, also between groups), for g = 1 .. k - 1,

        C_g = 1/T sum_t P_g' (x_t - m) (x_t - m)' P_{g+1},

    the features are m and z / |z|, where z = sign(c) sqrt(|c|) over all entries c of
    C_1 .. C_{k-1}; zero where all are.
    """

    def __init__(self, level, channels, seed):
        self.n_groups, self.size = group_sizes(channels)
        self.projection = projection(level, channels, seed)

    def __call__(self, maps):
        import torch

        with torch.autocast(maps.device.type, enabled=False):
            tokens = maps.flatten(2)
            _, mean = torch.var_mean(tokens, 2, correction=0)
            weight = torch.from_numpy(self.projection).to(maps)
            projected = weight.T @ (tokens - mean[:, :, None])
            groups = projected.unflatten(1, (self.n_groups, self.size))
            crossed = groups[:, :-1] @ groups[:, 1:].mT / tokens.shape[2]
            rooted = crossed.sign() * crossed.abs().sqrt()
            return torch.cat([mean, torch.nn.functional.normalize(rooted.flatten(1))], 1)


def group_sizes(channels):
    """Return the number of groups and their size: fewer where channels are few."""
    n_groups = min(N_GROUPS, channels)
    return n_groups, min(GROUP_SIZE, channels // n_groups)


def projection(level, channels, seed):
    """Orthonormal columns (channels, groups * size), drawn for a level and a seed.

    They depend on the level's name, not on the other levels in use.
    """
    n_groups, size = group_sizes(channels)
    rng = np.random.default_rng([seed, *level.encode()])
    basis, triangle = np.linalg.qr(rng.standard_normal((channels, n_groups * size)))
    # The signs of a factorisation are the library's choice; these are not.
    return (basis * np.sign(np.diag(triangle))).astype(np.float32)


class Pooling(NamedTuple):
    """``make(level, channels, seed)`` returns the pooling of a level's maps.

    ``labels(channels)`` names its features, without the level.
    """

    make: object
    labels: object


def _fixed(pool, *endings):
    """Pooling of each channel for itself, the same for all levels."""
    return Pooling(
        lambda *_: pool,
        lambda channels: [f"{c}{ending}" for ending in endings for c in range(channels)],
    )


def _labels_of_second_moments(channels):
    n_groups, size = group_sizes(channels)
    return [f"{channel}_mean" for channel in range(channels)] + [
        f"cov{first}_{row}_{column}"
        for first, _ in pairwise(range(n_groups))
        for row in range(size)
        for column in range(size)
    ]


POOLINGS = {
    "avg": _fixed(average, ""),
    "max": _fixed(maximum, ""),
    "moments": _fixed(moments, "_mean", "_std"),
    "second_moments": Pooling(SecondMoments, _labels_of_second_moments),
}

# Poolings that depend on the seed.
SEEDED = ("second_moments",)


def feature_names(pooling, levels, channels, n_kept):
    """Names of the features, ``level__label``; of projections ``projection__0`` and on.

    ``n_kept`` is None but for maps (``pooling="none"``).
    """
    if is_projected(channels, n_kept):
        return [f"projection__{number}" for number in range(n_kept)]
    # Maps are named as their means.
    labels = POOLINGS["avg" if pooling == "none" else pooling].labels
    return [
        f"{level.replace('__', '_')}__{label}"
        for level, n in zip(levels, channels, strict=True)
        for label in labels(n)
    ]
