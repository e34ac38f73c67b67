"""From rows to a kernel density: metric, bandwidth, reference rows, regime."""

from dataclasses import dataclass

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
    left_out_distances,
    merge_copies,
    row_order,
)
from sklearn_gauss._numerics.kernel.path import Distances
from sklearn_gauss._numerics.kernel.profiles import KERNELS
from sklearn_gauss._numerics.kernel.representatives import representatives
from sklearn_gauss._numerics.kernel.rescaling import RESCALINGS, Rescaling

__all__ = ["Fit", "choose_bandwidth", "fit_density", "regimes"]

#: Rows whose effective neighbours are counted for the regime.
COUNTED_ROWS = 500


@dataclass(frozen=True)
class Fit:
    """A density, and how it came from its training rows.

    own : (n,), place of every training row among the reference rows, -1 if it is none
    chosen : (l,), which training rows the reference rows are, or None if all
    """

    density: KernelDensity
    own: NDArray
    chosen: NDArray | None


def fit_density(
    X: NDArray,
    weights: NDArray,
    *,
    bandwidth: str | float,
    whiten: str,
    kernel: str,
    max_reference: int | None,
    thinning: str,
    rng: np.random.RandomState,
    dtype: type,
    effort: Effort,
) -> Fit:
    """Kernel density of weighted rows, by the names of its parts."""
    first, merged, own = merge_copies(X, weights)
    rows, chosen = X[first], None
    rescaling = RESCALINGS[whiten](rows, merged)
    if isinstance(bandwidth, str):
        bandwidth = choose_bandwidth(bandwidth, kernel, rescaling, rows, merged, effort)
    if max_reference is not None and max_reference < len(rows):
        kept, merged = representatives(
            rescaling.enter(rows),
            merged,
            row_order(rows),  # the choice is that of the rows, whatever their order
            max_reference,
            how=thinning,
            kernel=kernel,
            bandwidth=bandwidth,
            rng=rng,
        )
        places = np.full(len(rows), -1)
        places[kept] = np.arange(len(kept))
        rows, chosen, own = rows[kept], first[kept], places[own]
    density = KernelDensity(
        rows, merged, rescaling, kernel, float(bandwidth), dtype, effort
    )
    return Fit(density, own, chosen)


def choose_bandwidth(
    rule: str,
    kernel: str,
    rescaling: Rescaling,
    rows: NDArray,
    weights: NDArray,
    effort: Effort,
) -> float:
    """Bandwidth by the name of a rule, or of the greatest left-out likelihood ("loo").

    The rules are those of the Gaussian kernel; another gets the bandwidth at which its
    variance along an axis is the same.
    """
    total, d = weights.sum(), rescaling.dimension
    if rule != "loo":
        factor = np.sqrt(KERNELS[kernel].variance(d))
        return RULES[rule](rescaling.variances, total) * rescaling.unit / factor
    removed = np.minimum(weights, 1.0)

    def make(unit: float) -> Distances:
        return left_out_distances(
            rescaling, rows, rows, weights, removed, total, unit=unit
        )

    options = effort.options(len(rows), len(rows), rows.shape[1])
    places = np.arange(len(rows))
    return most_likely_bandwidth(make, kernel, d, weights, places, **options)


def regimes(density: KernelDensity) -> dict[str, float | str]:
    """Critical bandwidths of Gaussian rows, and the regime of a density."""
    rescaling, count = density.rescaling, density.weights.sum()
    smallest = 0.0  # a single row, whatever its weight, condenses at no bandwidth
    if count > 1 and rescaling.variances.max() > 0:
        smallest = critical_bandwidth(rescaling.variances, count) * rescaling.unit
        smallest /= np.sqrt(density.kernel_variance)
    neighbors, largest = 1.0, np.sqrt(2.0) * smallest
    if len(density.rows) > 1:
        rows = np.random.default_rng(0).permutation(len(density.rows))[:COUNTED_ROWS]
        path = density.path(np.array([density.bandwidth]), np.sort(rows))
        neighbors = float(np.median(path[1]))
    regime = "gaussian"
    if density.bandwidth < largest:
        regime = "condensed" if density.bandwidth < smallest else "heavy-tailed"
    return {
        "alpha": float(np.log(count) / rescaling.dimension),
        "h_g": float(smallest),
        "h_clt": float(largest),
        "effective_neighbors": neighbors,
        "regime": regime,
    }
