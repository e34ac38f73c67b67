"""Bandwidths: rules of thumb, the maximum of the left-out likelihood, critical values."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from sklearn_gauss._numerics.kernel.path import Distances, extreme_squares, left_out_path
from sklearn_gauss._numerics.kernel.profiles import KERNELS

__all__ = [
    "RULES",
    "condensation_ratios",
    "critical_bandwidth",
    "left_out_likelihood",
    "most_likely_bandwidth",
]

#: Rows whose likelihood the first steps of a search look at.
SEARCH_ROWS = 2000

#: Bandwidths in the first step of a search: the fewest, and the greatest ratio between
#: neighbouring ones while there are not the most.
MIN_STEPS, SEARCH_RATIO, MAX_STEPS = 12, 1.25, 80

#: Share of the rows, the least likely, on which a bandwidth should not depend.
TRIMMED = 0.01

#: Most moves of a refinement to where the likelihood is greater.
MAX_MOVES = 20


def scott(variances: NDArray, count: float) -> float:
    """n^(-1 / (d + 4)) s, with s^2 the mean variance of a column (Scott, 1992)."""
    return count ** (-1 / (len(variances) + 4)) * float(np.sqrt(variances.mean()))


def silverman(variances: NDArray, count: float) -> float:
    """(n (d + 2) / 4)^(-1 / (d + 4)) s (Silverman, 1986)."""
    d = len(variances)
    return (count * (d + 2) / 4) ** (-1 / (d + 4)) * float(np.sqrt(variances.mean()))


def condensation(variances: NDArray, count: float) -> float:
    """The h that is best by Kullback-Leibler divergence among those below h_G.

    h^2 = (1/d) sum_j lambda_j (1 / (1 + u_j) + 1 / (1 + u_j)^2), u_j = lambda_j / h_G^2.
    """
    u = variances / critical_bandwidth(variances, count) ** 2
    return float(np.sqrt(np.mean(variances * (1 / (1 + u) + 1 / (1 + u) ** 2))))


#: (variances of the coordinates, number of rows) to a bandwidth of the Gaussian kernel.
RULES: dict[str, Callable[[NDArray, float], float]] = {
    "scott": scott,
    "silverman": silverman,
    "condensation": condensation,
}


def _entropy(u: NDArray) -> NDArray:
    """g(u) = (ln(1 + u) - u / (1 + u)^2) / 2, by its series where that would cancel."""
    small = np.minimum(u, 1e-4)
    series = small**2 * (0.75 - small * (4 / 3 - 1.875 * small))
    return np.where(u < 1e-4, series, (np.log1p(u) - u / (1 + u) ** 2) / 2)


def critical_bandwidth(variances: NDArray, count: float) -> float:
    """h_G: below it few rows make up the density of Gaussian rows.

    sum_j g(lambda_j / h_G^2) = ln n with g(u) = (ln(1 + u) - u / (1 + u)^2) / 2, from the
    condensation of a random energy model.
    """
    unit = float(variances.max())
    relative = variances / unit

    def surplus(log_u: float) -> float:
        return float(_entropy(relative * np.exp(log_u)).sum() - np.log(count))

    low, high = -20.0, 20.0
    while surplus(low) > 0:
        low -= 20.0
    while surplus(high) < 0:
        high += 20.0
    root = optimize.brentq(surplus, low, high, xtol=1e-13)
    return float(np.sqrt(unit / np.exp(root)))


def condensation_ratios(
    squares: NDArray,
    along: NDArray,
    variances: NDArray,
    bandwidth: float,
    count: float,
) -> NDArray:
    """Entropy needed at each row over ln n; above 1 few reference rows make up its sum.

    (1 / ln n) sum_j [ln(1 + u_j) - u_j / (1 + u_j) + z_j^2 u_j^2 / (1 + u_j)^2] / 2 with
    u_j = lambda_j / h^2 over all ``variances`` (d,). ``squares`` (m, k) are the z_j^2,
    squares of whitened coordinates, ``along`` (k,) the variances that belong to them.
    """
    u, v = variances / bandwidth**2, along / bandwidth**2
    fixed = (np.log1p(u) - u / (1 + u)).sum()
    with np.errstate(over="ignore"):
        own = squares @ (v / (1 + v)) ** 2
    if count <= 1:  # a single row
        return np.full(len(squares), np.inf)
    return (fixed + own) / 2 / np.log(count)


def left_out_likelihood(
    logs: NDArray,
    bandwidths: NDArray,
    kernel: str,
    d: int,
    rest: NDArray,
    weights: NDArray,
) -> NDArray:
    """Weighted mean left-out log-density (h,) in the coordinates.

    logs : (h, m), sums over other rows of the weight rest (m,)
    """
    rest = np.maximum(rest, np.finfo(np.float64).tiny)
    constant = KERNELS[kernel].log_integral(d) + d * np.log(bandwidths)
    return (logs - np.log(rest)) @ weights / weights.sum() - constant


def most_likely_bandwidth(
    make: Callable[[float], Distances],
    kernel: str,
    d: int,
    weights: NDArray,
    places: NDArray,
    rest: NDArray,
    *,
    n_threads: int = 1,
    block_rows: int = 256,
) -> tuple[float, float]:
    """Bandwidth of the greatest left-out likelihood, each row left out with all copies.

    Second, about where it would be without the least likely `TRIMMED` share of the rows.

    ``make`` gives the distances between rows for bandwidths from a smallest one on;
    ``weights`` (n,) are the rows', ``places`` (n,) where they stand among the reference
    rows, -1 for nowhere, and ``rest`` (n,) the weight of the other reference rows. A grid
    between bounds that hold the maximum, of some rows where there are many, is refined
    twice around its best, of all rows.
    """
    options = {"n_threads": n_threads, "block_rows": block_rows}
    every = np.arange(len(places))
    some = every
    if len(every) > SEARCH_ROWS and not KERNELS[kernel].compact:
        some = np.sort(np.random.default_rng(0).permutation(every)[:SEARCH_ROWS])
    nothing = np.full(len(every), -np.inf)

    def left_out(bandwidths: NDArray, rows: NDArray) -> NDArray:
        own = places[rows], nothing[rows]
        distances = make(bandwidths[0])
        return left_out_path(distances, bandwidths, kernel, rows, own, **options).logs

    def likelihood(bandwidths: NDArray, rows: NDArray, logs: NDArray) -> NDArray:
        return left_out_likelihood(logs, bandwidths, kernel, d, rest[rows], weights[rows])

    nearest, farthest = extreme_squares(make(0.0), some, places[some], **options)
    low, high = _bounds(kernel, d, nearest, farthest, weights[some])
    if not 0 < low < np.inf or not np.isfinite(high):
        return float("nan"), float("nan")
    # A compact kernel's likelihood changes on the scale of what h exceeds its bound by.
    floor = low * (1 - 1e-6) if KERNELS[kernel].compact else 0.0
    steps = np.log((high - floor) / (low - floor)) / np.log(SEARCH_RATIO) + 2
    count = int(np.clip(steps, MIN_STEPS, MAX_STEPS))
    ratio = ((high - floor) / (low - floor)) ** (1 / (count - 1))
    grid = floor + np.geomspace(low - floor, high - floor, count)
    logs = left_out(grid, some)
    centre = grid[np.argmax(likelihood(grid, some, logs))] - floor
    sturdy = _without_few(grid, nearest, logs - d * np.log(grid)[:, None], kernel)

    def climbed(h: NDArray) -> NDArray:
        return likelihood(floor + h, every, left_out(floor + h, every))

    for step in (ratio**0.5, ratio**0.125):
        step = step if len(some) == len(every) else step**2
        centre = _climb(climbed, centre, step)
    return float(floor + centre), sturdy


def _without_few(
    grid: NDArray, nearest: NDArray, densities: NDArray, kernel: str
) -> float:
    """Bandwidth of the grid that is most likely for all but the least likely rows.

    A compact kernel has none that is smaller: the reach that the other rows need.
    """
    few = int(np.ceil(TRIMMED * len(nearest)))
    if KERNELS[kernel].compact:
        return float(np.sqrt(np.sort(nearest)[max(len(nearest) - few - 1, 0)]))
    kept = np.sort(densities, axis=1)[:, few:]
    return float(grid[np.argmax(kept.mean(axis=1))] if kept.size else grid[-1])


def _climb(likelihood: Callable[[NDArray], NDArray], centre: float, step: float) -> float:
    """Maximum of the parabola through the best of five bandwidths and its neighbours.

    The five, in a constant ratio, move on while the best is one of their ends.
    """
    for _ in range(MAX_MOVES):
        grid = centre * step ** np.arange(-2.0, 3.0)
        values = likelihood(grid)
        best = int(np.argmax(values))
        if 0 < best < len(grid) - 1:
            break
        centre = grid[best]
    return _vertex(grid, values, best)


def _bounds(
    kernel: str, d: int, nearest: NDArray, farthest: NDArray, weights: NDArray
) -> tuple[float, float]:
    """Bandwidths between which the left-out likelihood has its maximum.

    For the Gaussian kernel its derivative against log h is the mean of u^2 under the
    terms' weights less d: positive while the nearest rows of half the rows have u^2 of
    2 d, negative once the mean of the farthest is d. The exponential kernel has u in its
    place; a compact one needs a neighbour within h of every row.
    """
    if KERNELS[kernel].compact:
        low = np.sqrt(nearest.max()) * (1 + 1e-9)
        return float(low), float(max(2 * np.sqrt(farthest.max()), 1.01 * low))
    order = np.argsort(nearest)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    middle, mean = nearest[order[half]], np.average(farthest, weights=weights)
    if kernel == "gaussian":
        low, high = np.sqrt(middle / (2 * d)), np.sqrt(mean / d)
    else:
        low = np.sqrt(middle) / (2 * d)
        high = np.average(np.sqrt(farthest), weights=weights) / d
    return float(max(low, 1e-9 * high)), float(high)


def _vertex(grid: NDArray, values: NDArray, best: int) -> float:
    """Maximum of the parabola, in log h, through the best value and its neighbours."""
    if not 0 < best < len(grid) - 1 or not np.isfinite(values[best - 1 : best + 2]).all():
        return float(grid[best])
    before, here, after = values[best - 1 : best + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(grid[best] * (grid[best + 1] / grid[best]) ** np.clip(shift, -1, 1))
