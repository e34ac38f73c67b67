"""Log-sums of kernels between query rows and reference rows, in one pass over cells."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.kernel.cells import compact_blocks
from sklearn_gauss._numerics.kernel.exponents import (
    Reference,
    exponents_to_cell,
    log_terms,
)
from sklearn_gauss._numerics.threads import map_blocks

__all__ = [
    "BLOCK_ROWS",
    "Sums",
    "Total",
    "log_sums",
    "query_blocks",
    "weighted_shifts",
]

#: Query rows in a block.
BLOCK_ROWS = 256

#: Exponents below are raised to it: denormal numbers are many times slower.
LOWEST = {np.dtype(np.float64): -700.0, np.dtype(np.float32): -87.0}


@dataclass(frozen=True)
class Sums:
    """log sum_j w_j K_ij and sum_j (w_j K_ij)^2 / (sum_j w_j K_ij)^2 of every row."""

    logs: NDArray
    concentrations: NDArray | None


def log_sums(
    ref: Reference,
    queries: NDArray,
    *,
    left_out: tuple[NDArray, NDArray] | None = None,
    squared: bool = False,
    n_threads: int = 1,
    block_rows: int = BLOCK_ROWS,
) -> Sums:
    """Sums over the reference rows for each query row (m, d).

    ``left_out`` has, for every query, the reference row that it is itself, by its
    place among those given (-1: none), and the log-weight that this one still has.
    ``squared`` asks for the concentrations too.
    """
    logs, concentrations = np.empty((2, len(queries)))

    def work(block: NDArray) -> None:
        total = Total(len(block), ref.margin, squared=squared)
        own = _own(ref, left_out, block)
        for _, terms in _terms(ref, queries[block], total, own):
            total.add(terms)
        logs[block] = total.logs()
        if squared:
            concentrations[block] = total.concentrations()

    map_blocks(work, query_blocks(queries, block_rows, n_threads), n_threads)
    return Sums(logs, concentrations if squared else None)


def weighted_shifts(
    ref: Reference,
    queries: NDArray,
    points: NDArray,
    values: NDArray,
    *,
    sloped: bool = True,
    n_threads: int = 1,
    block_rows: int = BLOCK_ROWS,
) -> tuple[NDArray, NDArray]:
    """sum_j v_ij (values_j - points_i) (m, p), and sum_j v_ij.

    v_ij = slope_ij w_j K_ij / sum_l w_l K_il, with the slope of log K against its
    exponent, or without it. ``values`` (n, p) belong to the reference rows as they were
    given. Where no kernel reaches, both are 0.
    """
    shifts, weights = np.zeros(points.shape), np.zeros(len(points))

    def work(block: NDArray) -> None:
        rows, total = queries[block], Total(len(block), ref.margin)
        for _, terms in _terms(ref, rows, total, None):
            total.add(terms)
        reached = np.where(total.sum > 0, total.logs(), np.inf)[:, None]
        for cell, slope, terms in _terms(ref, rows, total, None, with_slopes=sloped):
            share = np.exp(terms - reached)
            if sloped:
                share *= slope
            near = values[ref.cells.order[ref.cells.slice(cell)]]
            mass = share.sum(axis=1)
            shifts[block] += share @ (near - near[0])
            shifts[block] -= mass[:, None] * (points[block] - near[0])
            weights[block] += mass

    map_blocks(work, query_blocks(queries, block_rows, n_threads), n_threads)
    return shifts, weights


def query_blocks(queries: NDArray, block_rows: int, n_threads: int) -> list[NDArray]:
    size = min(block_rows, max(-(-len(queries) // n_threads), 1))
    return compact_blocks(queries, size) if len(queries) else []


class Total:
    """Running log-sum-exp of several rows."""

    def __init__(self, n_rows: int, margin: float, *, squared: bool = False):
        self.margin = margin
        self.largest = np.full(n_rows, -np.inf)
        self.sum = np.zeros(n_rows)
        self.squares = np.zeros(n_rows) if squared else None

    def add(self, terms: NDArray) -> None:
        """Add terms (m, b), which are overwritten."""
        largest = terms.max(axis=1)
        if (largest < self.largest - self.margin).all():
            return
        if (largest < -1e4).any():  # single precision has no digits behind the point
            terms = terms.astype(np.float64, copy=False)
        terms -= np.where(np.isneginf(largest), 0, largest)[:, None]
        self.add_shifted(terms, largest.astype(np.float64))

    def add_shifted(self, terms: NDArray, shift: NDArray) -> None:
        """Add terms that ``shift`` (m,), the largest of every row, is subtracted from."""
        lowest = LOWEST[terms.dtype]
        if terms.min() < lowest:
            np.maximum(terms, lowest, out=terms)
        np.exp(terms, out=terms)
        largest = np.maximum(self.largest, shift)
        finite = np.where(np.isneginf(largest), 0.0, largest)
        before, here = np.exp(self.largest - finite), np.exp(shift - finite)
        self.sum = self.sum * before + terms.sum(axis=1) * here
        if self.squares is not None:
            squares = np.einsum("ij,ij->i", terms, terms)
            self.squares = self.squares * before**2 + squares * here**2
        self.largest = largest

    def logs(self) -> NDArray:
        """Log-sums, minus infinity where there is no term."""
        with np.errstate(divide="ignore"):
            return self.largest + np.log(self.sum)

    def concentrations(self) -> NDArray:
        """Sums of squares over squared sums, 1 where there is no term."""
        some = self.sum > 0
        return np.where(some, self.squares, 1.0) / np.where(some, self.sum, 1.0) ** 2


def _own(
    ref: Reference, left_out: tuple[NDArray, NDArray] | None, block: NDArray
) -> tuple[NDArray, NDArray] | None:
    if left_out is None:
        return None
    place = left_out[0][block]
    return np.where(place < 0, -1, ref.places[place]), left_out[1][block]


def _terms(
    ref: Reference,
    queries: NDArray,
    total: Total,
    own: tuple[NDArray, NDArray] | None,
    *,
    with_slopes: bool | None = None,
) -> Iterator:
    """Cells within reach, from near to far, with log terms (m, b) of the rows."""
    with np.errstate(over="ignore"):
        rows = queries / ref.scale
    gaps = ref.cells.squared_gaps(rows.min(axis=0), rows.max(axis=0))
    highest = ref.kernel.log_profile(gaps * (-0.5 * (1 - 1e-12) / ref.bandwidth**2))
    if ref.log_weights is not None:
        highest = highest + np.maximum.reduceat(ref.log_weights, ref.cells.starts[:-1])
    room = np.empty(len(rows) * np.diff(ref.cells.starts).max(), dtype=ref.dtype)
    for cell in np.argsort(gaps, kind="stable"):
        if highest[cell] < total.largest.min() - ref.margin or np.isneginf(highest[cell]):
            continue
        exponents = exponents_to_cell(ref, rows, cell, total.largest, own, room=room)
        slopes = ref.kernel.slope(exponents) if with_slopes else None
        terms = log_terms(
            ref.kernel, exponents, ref.log_weights, ref.cells.slice(cell), own
        )
        if with_slopes is None:
            yield cell, terms
        else:
            yield cell, slopes, terms
