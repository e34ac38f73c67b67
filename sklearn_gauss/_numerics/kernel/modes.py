"""Where a kernel density is greatest: mean shift from its densest rows."""

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.kernel.density import KernelDensity
from sklearn_gauss._numerics.kernel.exponents import reference
from sklearn_gauss._numerics.kernel.sums import log_sums

__all__ = ["find_mode", "projected_dimension"]

#: Distances between n rows change by a few per cent in 24 ln n random directions.
DIRECTIONS_A_LOG = 24


def projected_dimension(n_rows: int) -> int:
    """Directions of a random projection that keeps the distances between n rows."""
    return int(np.ceil(DIRECTIONS_A_LOG * np.log(max(n_rows, 2))))


def find_mode(
    density: KernelDensity,
    n_starts: int,
    rng: np.random.Generator,
    *,
    project: bool,
    max_iter: int,
    tol: float,
) -> tuple[NDArray, float]:
    """The densest point (p,) that mean shift reaches from the densest rows, its score.

    Each step, the mean of the rows weighted by the slopes of their kernels, cannot lower
    the density (Comaniciu and Meer, 2002). With ``project``, the starts are chosen in a
    random projection, where their distances are nearly the same (Luo et al., 2023).
    """
    starts = _densest_rows(density, n_starts, rng, project)
    rows = density.rows[starts].astype(np.float64)
    # A kernel with a cusp holds a start at its row: the means about rows are free.
    points = np.concatenate([rows, density.shifted(rows, sloped=False)])
    scores = density.log_density(points)
    active = np.arange(len(points))
    for _ in range(max_iter):
        moved = density.shifted(points[active])
        found = density.log_density(moved)
        gain = found - scores[active]
        better = gain > 0
        points[active[better]] = moved[better]
        scores[active[better]] = found[better]
        active = active[gain > tol]
        if not len(active):
            break
    winner = int(np.argmax(scores))
    return points[winner], float(scores[winner])


def _densest_rows(
    density: KernelDensity, count: int, rng: np.random.Generator, project: bool
) -> NDArray:
    coordinates = density.coordinates
    if project:
        size = projected_dimension(len(coordinates))
        directions = rng.normal(size=(coordinates.shape[1], size)) / np.sqrt(size)
        coordinates = (coordinates - coordinates[0]) @ directions
    sums = log_sums(
        reference(
            coordinates, density.bandwidth, density.kernel, weights=density.weights
        ),
        coordinates,
        **density.options(len(coordinates)),
    )
    return np.argsort(-sums.logs, kind="stable")[:count]
