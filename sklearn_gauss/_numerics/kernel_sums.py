"""Log-sums of kernels between query rows and reference rows, exact in any dimension.

Squared distances come from one matrix product a block, about the centre of a cell of
reference rows; rounding costs at most ``bound`` of each. Where that is too much for the
terms that decide a sum, these are computed again from differences: few do where distances
are large in bandwidths, and where these are small the bound is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import CHUNK_ELEMENTS, power_of_two
from sklearn_gauss._numerics.cells import Cells, compact_blocks, into_cells
from sklearn_gauss._numerics.kernels import KERNELS, Kernel
from sklearn_gauss._numerics.threads import map_blocks

__all__ = [
    "BLOCK_ROWS",
    "CELL_ROWS",
    "Reference",
    "Sums",
    "Total",
    "exponents_to_cell",
    "inverse_weights",
    "log_sums",
    "log_terms",
    "query_blocks",
    "reference",
    "weighted_shifts",
]

#: Reference rows in a cell, and query rows in a block: a block of products is 1 MiB.
CELL_ROWS, BLOCK_ROWS = 512, 256

#: Error of a term, in nats, above which it is computed again; 1e-9 is promised.
TOLERANCE = {np.dtype(np.float64): 5e-11, np.dtype(np.float32): 2.5e-4}

#: Bounds up to so many tolerances are worth a measurement, at so many rows of a block.
MEASURABLE, MEASURED_ROWS = 30.0, 16

#: Terms smaller than the largest by this many nats do not change a sum in float64.
NEGLIGIBLE = 40.0

#: Exponents below are raised to it: denormal numbers are many times slower.
LOWEST = {np.dtype(np.float64): -700.0, np.dtype(np.float32): -87.0}


@dataclass(frozen=True)
class Reference:
    """Reference rows ready for sums of a kernel at one bandwidth.

    cells : rows divided by ``scale``, a power of two next to the bandwidth
    bandwidth : in units of ``scale``, in [1/2, 1)
    packed : (n, d + 2), the cells' rows for products, see `_right_rows`
    radii : (k,), greatest distance of a cell's rows to its centre, in bandwidths
    log_weights : (n,), in the order of the cells, or None where all are alike
    places : (n,), where each row given stands in the order of the cells
    tolerance : error of a term, in nats, above which it is computed again
    """

    kernel: Kernel
    cells: Cells
    scale: float
    bandwidth: float
    packed: NDArray
    radii: NDArray
    log_weights: NDArray | None
    places: NDArray
    tolerance: float

    @property
    def dtype(self) -> np.dtype:
        return self.packed.dtype

    @property
    def margin(self) -> float:
        """Nats below the largest term where all terms together are lost in it."""
        return NEGLIGIBLE + float(np.log(len(self.packed)))


@dataclass(frozen=True)
class Sums:
    """log sum_j w_j K_ij and sum_j w_j K_ij^2 / (sum_j w_j K_ij)^2 of every row."""

    logs: NDArray
    concentrations: NDArray | None


def reference(
    rows: NDArray,
    bandwidth: float,
    kernel: str,
    *,
    weights: NDArray | None = None,
    dtype: type = np.float64,
    cell_rows: int = CELL_ROWS,
    tolerance: float | None = None,
) -> Reference:
    """Reference rows (n, d) in cells, packed for products in ``dtype``."""
    scale = float(power_of_two(bandwidth))
    h = bandwidth / scale
    with np.errstate(over="ignore"):
        cells = into_cells(rows / scale, cell_rows)
    packed = np.empty((len(rows), rows.shape[1] + 2), dtype=dtype)
    radii = np.empty(len(cells))
    with np.errstate(over="ignore", invalid="ignore"):
        for c, centre in enumerate(cells.centres):
            part = _right_rows(cells.rows[cells.slice(c)], centre, h)
            packed[cells.slice(c)] = part
            radii[c] = np.sqrt(-2.0 * part[:, -2].min())
    with np.errstate(divide="ignore"):
        logs = None if weights is None else np.log(weights[cells.order])
    places = np.empty(len(rows), dtype=np.intp)
    places[cells.order] = np.arange(len(rows))
    tolerance = tolerance or TOLERANCE[packed.dtype]
    return Reference(
        KERNELS[kernel], cells, scale, h, packed, radii, logs, places, tolerance
    )


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
    inverse = inverse_weights(ref.log_weights)

    def work(block: NDArray) -> None:
        total = Total(len(block), ref.margin, squared=squared)
        own = _own(ref, left_out, block)
        for cell, terms in _terms(ref, queries[block], total, own):
            total.add(terms, None if inverse is None else inverse[ref.cells.slice(cell)])
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
    n_threads: int = 1,
    block_rows: int = BLOCK_ROWS,
) -> tuple[NDArray, NDArray]:
    """sum_j v_ij (values_j - points_i) (m, p), and sum_j v_ij.

    v_ij = slope_ij w_j K_ij / sum_l w_l K_il, with the slope of log K against its
    exponent. ``values`` (n, p) belong to the reference rows as they were given. Where no
    kernel reaches, both are 0.
    """
    shifts, weights = np.zeros(points.shape), np.zeros(len(points))

    def work(block: NDArray) -> None:
        rows, total = queries[block], Total(len(block), ref.margin)
        for _, terms in _terms(ref, rows, total, None):
            total.add(terms)
        reached = np.where(total.sum > 0, total.logs(), np.inf)[:, None]
        for cell, exponents, terms in _terms(ref, rows, total, None, with_exponents=True):
            share = np.exp(terms - reached) * ref.kernel.slope(exponents)
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

    def add(self, terms: NDArray, inverse_weights: NDArray | None = None) -> None:
        """Add terms (m, b), which are overwritten, of columns with these weights."""
        largest = terms.max(axis=1)
        if (largest < self.largest - self.margin).all():
            return
        largest = np.maximum(self.largest, largest)
        if (largest < -1e4).any():  # single precision has no digits behind the point
            terms = terms.astype(np.float64, copy=False)
        largest = largest.astype(terms.dtype)
        finite = np.where(np.isneginf(largest), 0, largest)
        terms -= finite[:, None]
        lowest = LOWEST[terms.dtype]
        if terms.min() < lowest:
            np.maximum(terms, lowest, out=terms)
        np.exp(terms, out=terms)
        before = np.exp(self.largest - finite)
        empty = np.isneginf(largest)
        self.sum = np.where(empty, 0.0, self.sum * before + terms.sum(axis=1))
        if self.squares is not None:
            if inverse_weights is None:
                squares = np.einsum("ij,ij->i", terms, terms)
            else:
                squares = np.square(terms, out=terms) @ inverse_weights
            self.squares = np.where(empty, 0.0, self.squares * before**2 + squares)
        self.largest = largest.astype(np.float64)

    def logs(self) -> NDArray:
        """Log-sums, minus infinity where there is no term."""
        with np.errstate(divide="ignore"):
            return self.largest + np.log(self.sum)

    def concentrations(self) -> NDArray:
        """Sums of squares over squared sums, 1 where there is no term."""
        some = self.sum > 0
        return np.where(some, self.squares, 1.0) / np.where(some, self.sum, 1.0) ** 2


def inverse_weights(log_weights: NDArray | None) -> NDArray | None:
    """1 / w, with which (w K)^2 is w K^2: a weight of 2 is two terms."""
    return None if log_weights is None else np.exp(-log_weights)


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
    with_exponents: bool = False,
) -> Iterator:
    """Cells within reach, from near to far, with log terms (m, b) of the rows."""
    rows = queries / ref.scale
    gaps = ref.cells.squared_gaps(rows.min(axis=0), rows.max(axis=0))
    highest = ref.kernel.log_profile(gaps * (-0.5 * (1 - 1e-12) / ref.bandwidth**2))
    if ref.log_weights is not None:
        highest = highest + np.maximum.reduceat(ref.log_weights, ref.cells.starts[:-1])
    for cell in np.argsort(gaps, kind="stable"):
        if highest[cell] < total.largest.min() - ref.margin or np.isneginf(highest[cell]):
            continue
        exponents = exponents_to_cell(ref, rows, cell, total.largest, own)
        terms = log_terms(
            ref.kernel, exponents, ref.log_weights, ref.cells.slice(cell), own
        )
        yield (cell, exponents, terms) if with_exponents else (cell, terms)


def exponents_to_cell(
    ref: Reference,
    rows: NDArray,
    cell: int,
    floor: NDArray,
    own: tuple[NDArray, NDArray] | None = None,
    stretch: float = 1.0,
) -> NDArray:
    """Exponents -u^2 / 2 (m, b) of rows, over ``ref.scale``, to those of a cell.

    ``floor`` (m,) is the largest log term so far: terms far below it need no digits.
    ``own`` is that of `log_terms`.
    ``stretch`` is the square of the factor by which bandwidths that the exponents will
    be used for exceed that of the reference.
    """
    at, centre = ref.cells.slice(cell), ref.cells.centres[cell]
    packed = ref.packed[at]
    with np.errstate(over="ignore", invalid="ignore"):
        left = _left_rows(rows, centre, ref.bandwidth)
        reach = np.sqrt(-2.0 * left[:, -1]) + ref.radii[cell]
        exponents = left.astype(packed.dtype, copy=False) @ packed.T
        error = _rounding(exponents, packed, reach)
        doubtful = _doubtful(ref, exponents, at, floor, own, error, stretch)
        if doubtful is not None and packed.dtype != np.float64:
            if _good_enough(ref, exponents, rows, at, floor, error):
                return exponents
            right = _right_rows(ref.cells.rows[at], centre, ref.bandwidth)
            exponents = left @ right.T
            error = _rounding(exponents, packed, reach)
            doubtful = _doubtful(ref, exponents, at, floor, own, error, stretch)
        if doubtful is not None:
            pairs = np.nonzero(doubtful)
            exponents[pairs] = _from_differences(
                rows, ref.cells.rows[at], ref.bandwidth, pairs
            )
    return exponents


def _left_rows(rows: NDArray, centre: NDArray, bandwidth: float) -> NDArray:
    """x, 1 and -|x|^2 / 2 h^2 with x from the centre; see `_right_rows`."""
    packed = np.empty((len(rows), rows.shape[1] + 2))
    x = np.subtract(rows, centre, out=packed[:, :-2])
    packed[:, -2] = 1.0
    packed[:, -1] = np.einsum("ij,ij->i", x, x) / (-2.0 * bandwidth**2)
    return packed


def _right_rows(rows: NDArray, centre: NDArray, bandwidth: float) -> NDArray:
    """y / h^2, -|y|^2 / 2 h^2 and 1, to be multiplied by the left rows.

    A left row times a right one is -|x - y|^2 / 2 h^2.
    """
    packed = np.empty((len(rows), rows.shape[1] + 2))
    y = np.subtract(rows, centre, out=packed[:, :-2])
    packed[:, -2] = np.einsum("ij,ij->i", y, y) / (-2.0 * bandwidth**2)
    packed[:, -1] = 1.0
    y /= bandwidth**2
    return packed


def log_terms(
    kernel: Kernel,
    exponents: NDArray,
    log_weights: NDArray | None,
    at: slice,
    own: tuple[NDArray, NDArray] | None,
) -> NDArray:
    """log w_j K_ij of the columns ``at``; where a row meets itself, what ``own`` says.

    ``own`` has, for every row, its own column and the log-weight that is left there.
    """
    terms = kernel.log_profile(exponents)
    if log_weights is not None:
        terms = terms + log_weights[at]
    if own is not None:
        column, log_weight = own
        here = np.flatnonzero((column >= at.start) & (column < at.stop))
        if len(here):
            terms = terms.copy() if terms is exponents else terms
            terms[here, column[here] - at.start] = log_weight[here]
    return terms


def _rounding(exponents: NDArray, packed: NDArray, reach: NDArray) -> NDArray:
    """Bound (m,) on the errors of exponents; ``reach`` is the largest |x| + |y| of a row.

    Each product and sum rounds to eps reach^2 / 2 at most, and the errors of a sum grow
    with the root of its length: the constants cover what was measured with a margin.
    """
    length = packed.shape[1]
    return np.finfo(exponents.dtype).eps * (2.0 + 0.3 * length**0.5) * reach**2 / 2


def _doubtful(
    ref: Reference,
    exponents: NDArray,
    at: slice,
    floor: NDArray,
    own: tuple[NDArray, NDArray] | None,
    error: NDArray,
    stretch: float,
) -> NDArray | None:
    """Pairs whose error of rounding matters, as a mask, or None where there are none."""
    kernel = ref.kernel
    ratio = error / ref.tolerance
    if kernel.compact or kernel.cusp:
        doubtful = _near_an_edge(kernel, exponents, ratio[:, None])
    elif (ratio > 1.0).any():
        doubtful = (ratio > 1.0)[:, None]
    else:
        return None
    if not kernel.compact:
        terms = log_terms(kernel, exponents, ref.log_weights, at, own)
        largest = terms.max(axis=1)
        slack = 2.0 * error + ref.margin * np.clip(ratio, 1.0, stretch)
        decisive = np.maximum(floor, largest - 2.0 * error) - slack
        if (largest < decisive).all():
            return None
        # Not below: an infinity less an infinity, which is no number, is computed again.
        doubtful = doubtful & ~(terms < decisive[:, None])
    return doubtful if doubtful.any() else None


def _near_an_edge(kernel: Kernel, exponents: NDArray, ratio: NDArray) -> NDArray:
    """Pairs where log K is so steep that the error, over the tolerance, is too much.

    At a cusp log K = -u has the slope 1 / u against the exponent; at the end of the
    support its slopes are at most 2 / (1 - u^2).
    """
    squares = -2.0 * exponents
    steep = np.zeros(exponents.shape, dtype=bool)
    if kernel.cusp:
        steep |= squares < (2.0 * ratio) ** 2
    if kernel.compact:
        steep |= np.abs(1.0 - squares) < 4.0 * ratio
    return steep


def _good_enough(
    ref: Reference,
    exponents: NDArray,
    rows: NDArray,
    at: slice,
    floor: NDArray,
    error: NDArray,
) -> bool:
    """Whether the largest terms of a block, computed again, are within the tolerance.

    The bound on rounding errors is several times what they are in most blocks: here
    they are measured, at one term of every row whose sum this block may change.
    """
    smooth = not (ref.kernel.compact or ref.kernel.cusp)
    if not smooth or error.max() > MEASURABLE * ref.tolerance:
        return False
    best = exponents.argmax(axis=1)
    largest = exponents[np.arange(len(rows)), best]
    matter = np.flatnonzero(~(largest < floor - ref.margin))
    matter = matter[:: -(-len(matter) // MEASURED_ROWS) or 1]
    pairs = matter, best[matter]
    exact = _from_differences(rows, ref.cells.rows[at], ref.bandwidth, pairs)
    errors = np.abs(exact - exponents[pairs])
    return bool(errors.max(initial=0.0) <= ref.tolerance)


def _from_differences(
    rows: NDArray, others: NDArray, bandwidth: float, pairs: tuple[NDArray, NDArray]
) -> NDArray:
    """Exponents of the chosen pairs, from the differences of the rows."""
    found = np.empty(len(pairs[0]))
    step = max(CHUNK_ELEMENTS // rows.shape[1], 1)
    for start in range(0, len(found), step):
        i, j = (index[start : start + step] for index in pairs)
        with np.errstate(over="ignore"):
            differences = rows[i] - others[j]
            squares = np.square(differences, out=differences).sum(axis=1)
        found[start : start + step] = squares / (-2.0 * bandwidth**2)
    return found
