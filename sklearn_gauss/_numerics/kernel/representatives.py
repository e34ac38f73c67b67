"""Few reference rows in the place of all, thinned or at random."""

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics import thinning

__all__ = ["representatives"]

#: Oversampling where rows are compressed before they are split.
OVERSAMPLING = 4


def representatives(
    coordinates: NDArray,
    weights: NDArray,
    order: NDArray,
    count: int,
    *,
    how: str,
    kernel: str,
    rng: np.random.RandomState,
) -> tuple[NDArray, NDArray]:
    """Places of at most ``count`` of distinct rows (n, d), and how often each was drawn.

    ``order`` is the one in which rows are looked at. They are repeated as their weights
    say, so that a row can be drawn twice.
    """
    copies = order[_as_repeats(weights[order], rng)]
    if how == "random":
        drawn = rng.permutation(copies)[:count]
    else:
        kept, _ = thinning.thin(
            _points(coordinates[copies], rng),
            min(count, len(copies)),
            kernel=kernel if kernel in thinning.PROFILES else "gaussian",
            oversampling=None if len(copies) <= thinning.SPLIT_ROWS else OVERSAMPLING,
            rng=rng,
        )
        drawn = copies[kept]
    chosen, counts = np.unique(drawn, return_counts=True)
    return chosen, counts.astype(np.float64)


def _points(coordinates: NDArray, rng: np.random.RandomState) -> thinning.Points:
    """Rows in units of their median distance, the bandwidth of the thinning kernel.

    That of the density may be far smaller: a kernel that reaches no other row would thin
    at random.
    """
    rows, _ = thinning.standardise(coordinates)
    some = rng.permutation(len(rows))[: thinning.MEDIAN_ROWS]
    return thinning.Points.of(rows, 1 / thinning.median_distance(rows[some]))


def _as_repeats(weights: NDArray, rng: np.random.RandomState) -> NDArray:
    """Indices in which every row stands about as often as its weight says."""
    total = weights.sum()
    if (weights == np.round(weights)).all() and total <= 4 * len(weights):
        return np.repeat(np.arange(len(weights)), weights.astype(int))
    steps = (np.arange(len(weights)) + rng.random_sample()) / len(weights) * total
    return np.searchsorted(np.cumsum(weights), steps).clip(max=len(weights) - 1)
