"""Left-out sums of kernels at many bandwidths, from one pass over the distances.

Every row is left out of the rows that its sum runs over, and, where rows are whitened,
out of the covariance that whitens them too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.kernel.cells import Cells, into_cells
from sklearn_gauss._numerics.kernel.exponents import (
    CELL_ROWS,
    NEGLIGIBLE,
    Reference,
    exponents_to_cell,
    log_terms,
    reference,
)
from sklearn_gauss._numerics.kernel.profiles import KERNELS
from sklearn_gauss._numerics.kernel.sums import (
    BLOCK_ROWS,
    Total,
    query_blocks,
)
from sklearn_gauss._numerics.threads import map_blocks

__all__ = [
    "Distances",
    "Path",
    "extreme_squares",
    "left_out_metric",
    "left_out_path",
    "plain_distances",
]


#: Error of a log-likelihood, in nats, that no choice of a bandwidth depends on.
PATH_TOLERANCE = 1e-8


class Distances(Protocol):
    """Exponents -|x_i - y_j|^2 / (2 unit^2) between rows, block by block."""

    unit: float
    rows: NDArray
    log_weights: NDArray | None
    columns: NDArray
    """Where each reference row stands in the order of the blocks."""

    def blocks(
        self, queries: NDArray, own: tuple[NDArray, NDArray], widest: float
    ) -> Iterator[tuple[slice, NDArray]]:
        """Columns and exponents (m, b) of chosen rows, for bandwidths up to widest."""


@dataclass(frozen=True)
class PlainDistances:
    """Distances of rows to reference rows in cells, checked as those of `log_sums` are.

    To `PATH_TOLERANCE`, for the Gaussian kernel.
    """

    rows: NDArray
    ref: Reference
    unit: float

    @property
    def log_weights(self) -> NDArray | None:
        return self.ref.log_weights

    @property
    def columns(self) -> NDArray:
        return self.ref.places

    def blocks(
        self, queries: NDArray, own: tuple[NDArray, NDArray], widest: float
    ) -> Iterator[tuple[slice, NDArray]]:
        ref, rows = self.ref, self.rows[queries] / self.ref.scale
        floor = np.full(len(rows), -np.inf)
        gaps = ref.cells.squared_gaps(rows.min(axis=0), rows.max(axis=0))
        for cell in np.argsort(gaps, kind="stable"):
            exponents = exponents_to_cell(
                ref, rows, cell, floor, own, (widest / self.unit) ** 2
            )
            yield ref.cells.slice(cell), exponents


def plain_distances(
    rows: NDArray, others: NDArray, weights: NDArray | None, unit: float
) -> PlainDistances:
    """Distances of rows (n, d) to reference rows, for bandwidths from ``unit`` on."""
    ref = reference(others, unit, "gaussian", weights=weights, tolerance=PATH_TOLERANCE)
    return PlainDistances(rows, ref, unit)


@dataclass(frozen=True)
class LeftOutMetric:
    """Distances of every row in the metric that its absence leaves.

    (x_i - y_j)' Sigma_(-i)^-1 (x_i - y_j) with
    Sigma_(-i) = basis diag(1 / inverse_i) basis' - strength_i x_i x_i', by the formula of
    Sherman and Morrison; all rows centred, in the coordinates of the basis.

    rows : (n, k)
    cells : of the reference rows
    inverses : (n, k) or (1, k), one metric for all
    strengths : (n,)
    log_weights : (l,) in the order of the cells
    columns : (l,), where each reference row stands there
    """

    rows: NDArray
    cells: Cells
    inverses: NDArray
    strengths: NDArray
    log_weights: NDArray | None
    columns: NDArray
    unit: float = 1.0

    def blocks(
        self, queries: NDArray, own: tuple[NDArray, NDArray], widest: float
    ) -> Iterator[tuple[slice, NDArray]]:
        rows, strength = self.rows[queries], self.strengths[queries][:, None]
        inverse = self.inverses if len(self.inverses) == 1 else self.inverses[queries]
        # P x, in the metric P before its change, and x' P x.
        lever = rows * inverse if strength.any() else None
        if lever is not None:
            length = np.einsum("ij,ij->i", lever, rows)[:, None]
            with np.errstate(divide="ignore"):
                factor = strength / np.maximum(1.0 - strength * length, 0.0) / 2.0
        for c, centre in enumerate(self.cells.centres):
            part = self.cells.rows[self.cells.slice(c)] - centre
            x = rows - centre
            left = x * inverse
            exponents = left @ part.T
            exponents -= np.einsum("ij,ij->i", left, x)[:, None] / 2.0
            exponents -= inverse @ np.square(part).T / 2.0
            np.minimum(exponents, 0.0, out=exponents)
            if lever is not None:
                along = lever @ part.T
                along -= np.einsum("ij,ij->i", lever, x)[:, None]
                exponents -= _change(along, factor)
            yield self.cells.slice(c), exponents


def _change(along: NDArray, factor: NDArray) -> NDArray:
    """factor ((x - y)' P x)^2, 0 where an infinite factor meets a row itself."""
    same = along == 0.0 if np.isinf(factor).any() else None
    with np.errstate(invalid="ignore", over="ignore"):
        np.square(along, out=along)
        along *= factor
    if same is not None:
        along[same] = 0.0
    return along


def left_out_metric(
    rows: NDArray,
    others: NDArray,
    inverses: NDArray,
    strengths: NDArray,
    weights: NDArray | None,
) -> LeftOutMetric:
    """Distances of rows (n, k) to reference rows (l, k), each cell about its centre."""
    cells = into_cells(others, CELL_ROWS)
    columns = np.empty(len(others), dtype=np.intp)
    columns[cells.order] = np.arange(len(others))
    logs = None if weights is None else np.log(weights[cells.order])
    return LeftOutMetric(rows, cells, inverses, strengths, logs, columns)


@dataclass(frozen=True)
class Path:
    """Of h bandwidths and m rows: left-out log-sums and concentrations, both (h, m)."""

    logs: NDArray
    concentrations: NDArray | None


def left_out_path(
    distances: Distances,
    bandwidths: NDArray,
    kernel: str,
    queries: NDArray,
    own: tuple[NDArray, NDArray],
    *,
    squared: bool = False,
    n_threads: int = 1,
    block_rows: int = BLOCK_ROWS,
) -> Path:
    """Log-sums of the chosen rows at every bandwidth, each row left out of its own.

    ``own`` has, for every query, the reference row that it is itself (-1: none of them)
    and the log-weight that this one still has. ``squared`` asks for the concentrations.
    """
    logs, concentrations = np.empty((2, len(bandwidths), len(queries)))
    heaviest = 0.0 if distances.log_weights is None else distances.log_weights.max()
    profile = KERNELS[kernel]
    factors = (distances.unit / np.asarray(bandwidths)) ** 2
    margin = NEGLIGIBLE + float(np.log(len(distances.columns)))
    # The exponents of one bandwidth are then a multiple of those of another.
    alike = profile is KERNELS["gaussian"] and distances.log_weights is None
    alike = alike and np.isneginf(own[1]).all()

    def work(block: NDArray) -> None:
        place, left = own[0][block], own[1][block]
        mine = np.where(place < 0, -1, distances.columns[place]), left
        totals = [Total(len(block), margin, squared=squared) for _ in bandwidths]
        for at, exponents in distances.blocks(queries[block], mine, max(bandwidths)):
            if alike:
                exponents = log_terms(profile, exponents, None, at, mine)
            largest = np.minimum(exponents.max(axis=1), 0.0)
            if alike:
                exponents = (
                    exponents - np.where(np.isneginf(largest), 0, largest)[:, None]
                )
            for total, factor in zip(totals, factors, strict=True):
                reach = profile.log_profile(largest * factor) + heaviest
                if (reach < total.largest - margin).all():
                    continue
                scaled = exponents * factor
                if alike:
                    total.add_shifted(scaled, reach)
                    continue
                terms = log_terms(profile, scaled, distances.log_weights, at, mine)
                total.add(terms)
        for h, total in enumerate(totals):
            logs[h, block] = total.logs()
            if squared:
                concentrations[h, block] = total.concentrations()

    map_blocks(work, _blocks(distances, queries, block_rows, n_threads), n_threads)
    return Path(logs, concentrations if squared else None)


def extreme_squares(
    distances: Distances,
    queries: NDArray,
    own: NDArray,
    *,
    n_threads: int = 1,
    block_rows: int = BLOCK_ROWS,
) -> tuple[NDArray, NDArray]:
    """Least and greatest squared distance (m,) of the chosen rows to others."""
    nearest, farthest = np.full(len(queries), np.inf), np.zeros(len(queries))

    def work(block: NDArray) -> None:
        mine = np.where(own[block] < 0, -1, distances.columns[own[block]])
        left = np.full(len(block), -np.inf)
        for at, exponents in distances.blocks(queries[block], (mine, left), np.inf):
            squares = exponents * (-2.0 * distances.unit**2)
            here = np.flatnonzero((mine >= at.start) & (mine < at.stop))
            column = mine[here] - at.start
            squares[here, column] = 0.0
            farthest[block] = np.maximum(farthest[block], squares.max(axis=1))
            squares[here, column] = np.inf
            nearest[block] = np.minimum(nearest[block], squares.min(axis=1))

    map_blocks(work, _blocks(distances, queries, block_rows, n_threads), n_threads)
    return nearest, farthest


def _blocks(
    distances: Distances, queries: NDArray, block_rows: int, n_threads: int
) -> list[NDArray]:
    return query_blocks(distances.rows[queries], block_rows, n_threads)
