"""From rows to a kernel density: metric, bandwidth, reference rows, regime."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.kernel.bandwidth import (
    RULES,
    critical_bandwidth,
    most_likely_bandwidth,
)
from sklearn_gauss._numerics.kernel.density import (
    Effort,
    KernelDensity,
    merge_copies,
    row_order,
)
from sklearn_gauss._numerics.kernel.representatives import representatives
from sklearn_gauss._numerics.kernel.rescaling import RESCALINGS

__all__ = ["Fit", "fit_density", "regimes", "weight_scale"]

#: Rows whose effective neighbours are counted for the regime.
COUNTED_ROWS = 500


@dataclass(frozen=True)
class Fit:
    """A density, and how it came from its training rows.

    own : (n,), place of every training row among the reference rows, -1 if it is none
    chosen : (l,), which training rows the reference rows are, or None if all
    sturdy : bandwidth that the likelihood of all but a few rows would have chosen, or
        the one in use
    """

    density: KernelDensity
    own: NDArray
    chosen: NDArray | None
    sturdy: float


def fit_density(
    X: NDArray,
    weights: NDArray,
    *,
    bandwidth: str | float,
    whiten: str,
    kernel: str,
    leaving: float,
    max_reference: int | None,
    thinning: str,
    rng: np.random.RandomState,
    dtype: type,
    effort: Effort,
) -> Fit:
    """Kernel density of weighted rows, by the names of its parts.

    Rules of thumb are those of the Gaussian kernel; another gets the bandwidth at which
    its variance along an axis is the same.
    """
    first, merged, places = merge_copies(X, weights)
    rows, total = X[first], float(weights.sum())
    rescaling = RESCALINGS[whiten](rows, merged)
    kept, counts = np.arange(len(rows)), merged
    thinned = max_reference is not None and max_reference < len(rows)
    if thinned:
        kept, counts = representatives(
            rescaling.enter(rows),
            merged,
            row_order(rows),  # the choice is that of the rows, whatever their order
            max_reference,
            how=thinning,
            kernel=kernel,
            rng=rng,
        )
    own = np.full(len(rows), -1)
    own[kept] = np.arange(len(kept))
    density = KernelDensity(
        rows[kept], counts, rescaling, total, leaving, kernel, 1.0, dtype, effort
    )
    if bandwidth == "loo":
        found, sturdy = loo_bandwidth(density, rows, merged, own)
    elif isinstance(bandwidth, str):
        found = RULES[bandwidth](rescaling.variances, density.weights.sum())
        sturdy = found = found / np.sqrt(density.kernel_variance)
    else:
        sturdy = found = float(bandwidth) / rescaling.unit
    density = replace(density, bandwidth=float(found))
    chosen = first[kept] if thinned else None
    return Fit(density, own[places], chosen, float(sturdy))


def loo_bandwidth(
    density: KernelDensity, rows: NDArray, weights: NDArray, own: NDArray
) -> tuple[float, float]:
    """`most_likely_bandwidth` for the distinct training rows.

    ``own`` is their places among the reference rows, -1 for nowhere.
    """
    there = density.weights
    return most_likely_bandwidth(
        lambda unit: density.left_out_distances(rows, weights, unit=unit),
        density.kernel,
        density.rescaling.dimension,
        weights,
        own,
        there.sum() - np.where(own < 0, 0.0, there[own]),
        **density.options(len(rows)),
    )


def regimes(density: KernelDensity) -> dict[str, float | str]:
    """Critical bandwidths of Gaussian rows, and the regime of a density."""
    rescaling, count = density.rescaling, density.weights.sum()
    smallest = 0.0  # a single row, whatever its weight, condenses at no bandwidth
    if count > 1 and rescaling.variances.max() > 0:
        smallest = critical_bandwidth(rescaling.variances, count)
        smallest /= np.sqrt(density.kernel_variance)
    neighbors, largest = 1.0, np.sqrt(2.0) * smallest
    if len(density.rows) > 2:
        rows = np.random.default_rng(0).permutation(len(density.rows))[:COUNTED_ROWS]
        path = density.path(np.array([density.bandwidth]), np.sort(rows))
        neighbors = float(np.median(path[1]))
    regime = "gaussian"
    if density.bandwidth < largest:
        regime = "condensed" if density.bandwidth < smallest else "heavy-tailed"
    return {
        "alpha": float(np.log(count) / rescaling.dimension),
        "h_g": float(smallest) * rescaling.unit,
        "h_clt": float(largest) * rescaling.unit,
        "effective_neighbors": neighbors,
        "regime": regime,
    }


def weight_scale(weights: NDArray) -> tuple[float, float]:
    """What weights are multiplied by, and the most of a row's that leaves with it.

    Whole numbers count repeats, of which one leaves. Others are relative: they are made
    to add up to the (sum w)^2 / sum w^2 rows that they are worth, and a row leaves with
    all of its own.
    """
    if (weights == np.round(weights)).all() and weights.max() < 2**53:
        return 1.0, 1.0
    relative = weights / weights.max()
    return float(relative.sum() / (relative @ relative) / weights.max()), np.inf
