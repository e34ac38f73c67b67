"""From values on a grid to pictures, verdicts on images and verdicts on pixels.

Maps are (n, H, W); a higher value is more anomalous.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "averaged",
    "cut_level",
    "image_values",
    "pixel_p_values",
    "resized",
    "rounded_up",
    "simes",
    "smoothed",
    "step_up_cuts",
]

#: Relative difference of values below which they count as equal.
ROUNDING = 1e-9


def resized(maps: NDArray, size: tuple[int, int]) -> NDArray:
    """Maps (n, *size) by bilinear interpolation between the centres of cells.

    Beyond the outermost centres a map goes on as it is there.
    """
    down, across = (_weights(*sides) for sides in zip(maps.shape[1:], size, strict=True))
    return down @ maps @ across.T


def _weights(n_cells: int, n_pixels: int) -> NDArray:
    """Rows of two weights each (n_pixels, n_cells): of the cells beside a pixel."""
    places = (np.arange(n_pixels) + 0.5) * (n_cells / n_pixels) - 0.5
    places = np.clip(places, 0, n_cells - 1)
    left = np.minimum(places.astype(int), max(n_cells - 2, 0))
    weights, rows = np.zeros((n_pixels, n_cells)), np.arange(n_pixels)
    weights[rows, left] = 1 - (places - left)
    weights[rows, np.minimum(left + 1, n_cells - 1)] += places - left
    return weights


def smoothed(maps: NDArray, sigma: float) -> NDArray:
    """Maps under a Gaussian of ``sigma`` cells, cut at four of them, edges repeated."""
    if sigma == 0:
        return maps
    return ndimage.gaussian_filter(maps, (0, sigma, sigma), mode="nearest", truncate=4.0)


def averaged(maps: NDArray, side: int) -> NDArray:
    """Feature maps (n, H, W, C) averaged over ``side`` by ``side`` cells.

    At an edge over those of them that are on the grid: repeated ones would vary more.
    Direct sums: running ones would carry the rounding of an outlying cell along.
    """
    weights = np.ones(side)
    for axis in (1, 2):
        if side > 1 and maps.shape[axis] > 1:
            counts = ndimage.correlate1d(
                np.ones(maps.shape[axis]), weights, mode="constant"
            )
            maps = ndimage.correlate1d(maps, weights, axis, mode="constant")
            maps /= np.expand_dims(counts, [a for a in range(4) if a != axis])
    return maps


def image_values(maps: NDArray, share: float) -> NDArray:
    """Mean (n,) of the greatest ``share`` of every map; its maximum where that is 0.

    A share that is no whole number of cells is rounded up to one.
    """
    values = maps.reshape(len(maps), -1)
    count = max(int(np.ceil(share * values.shape[1] - 1e-9)), 1)
    if count == 1:
        return values.max(axis=1)
    return np.partition(values, -count, axis=1)[:, -count:].mean(axis=1)


def pixel_p_values(values: NDArray, ordered: NDArray) -> NDArray:
    """(1 + #{normal values at or above}) / (1 + their number), for values of any shape.

    ``ordered`` (m,) are the values of normal places, in increasing order. Those that are
    below by no more than rounding count as equal: places where nothing varies have the
    same value in every image, but for that.
    """
    return (1 + _at_or_above(values, ordered)) / (1 + len(ordered))


def _at_or_above(values: NDArray, ordered: NDArray) -> NDArray:
    """How many of ``ordered`` are at or above each value, or below it by rounding."""
    sizes = np.abs(np.where(np.isfinite(values), values, 0.0))
    least = values - ROUNDING * sizes
    return len(ordered) - np.searchsorted(ordered, least, side="left")


def simes(maps: NDArray) -> NDArray:
    """Simes' value (n,) of every map, against the values of all other maps.

    min_k P p_(k) / k over the map's P p-values in increasing order: the least level at
    which the step-up procedure of Benjamini and Hochberg flags anything. The p-values
    have the divisor of those of a new map, which is compared with all n: so they are no
    greater than among the n + 1 maps together, and a rank among them is a safe one.
    """
    values = maps.reshape(len(maps), -1)
    ordered = np.sort(values, axis=None)
    n_places = values.shape[1]
    levels = np.empty(len(values))
    for i, row in enumerate(-np.sort(-values, axis=1)):
        above = _at_or_above(row, ordered)
        own = _at_or_above(row, row[::-1])
        p = (1 + above - own) / (1 + values.size)
        levels[i] = (p * n_places / np.arange(1, n_places + 1)).min()
    return levels


def step_up_cuts(values: NDArray, ordered: NDArray, level: float) -> NDArray:
    """Value (n,) beyond which the step-up procedure flags every map; infinity if none.

    Benjamini and Hochberg at ``level``: with the P p-values in increasing order, the
    hypotheses up to the last k with p_(k) <= level k / P are rejected. The value is the
    greatest normal one whose p-value is more than that bound.
    """
    rows = -np.sort(-values.reshape(len(values), -1), axis=1)
    n_places = rows.shape[1]
    ranks = np.arange(1, n_places + 1)
    passes = pixel_p_values(rows, ordered) * n_places / ranks <= level
    last = n_places - 1 - np.argmax(passes[:, ::-1], axis=1)
    found = rows[np.arange(len(rows)), last]
    above = _at_or_above(found, ordered)
    allowed = np.floor(level * (last + 1) / n_places * (1 + len(ordered)) - 1 + 1e-9)
    place = len(ordered) - 1 - np.maximum(allowed.astype(int), above)
    cuts = np.where(place < 0, -np.inf, rounded_up(ordered[np.maximum(place, 0)]))
    return np.where(
        passes.any(axis=1), np.minimum(cuts, np.nextafter(found, -np.inf)), np.inf
    )


def rounded_up(cuts: NDArray) -> NDArray:
    """Cuts (n,) beyond which nothing lies by rounding alone."""
    sizes = np.abs(np.where(np.isfinite(cuts), cuts, 0.0))
    return cuts + ROUNDING * sizes


def cut_level(levels: NDArray, rate: float) -> float:
    """Level at which at most ``rate`` of unseen normal maps have anything flagged.

    The largest one below the floor(rate (n + 1))-th least of the left-out maps' Simes
    values, and at most ``rate`` itself; 0, which flags nothing, where n is too small.
    """
    rank = int(np.floor(rate * (len(levels) + 1) + 1e-9))
    if rank == 0:
        return 0.0
    least = np.partition(levels, rank - 1)[rank - 1]
    return float(min(rate, np.nextafter(least, 0.0)))
