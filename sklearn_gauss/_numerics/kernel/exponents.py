"""Exponents -u^2 / 2 between rows and cells of reference rows, u in bandwidths, exact.

Squared distances come from one matrix product a block, about the centre of a cell; the
error of rounding is bounded. Where the bound is too much for the terms that decide a sum,
these are computed again from differences: there are few of them where distances are large
in bandwidths, and where they are small, so is the bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import CHUNK_ELEMENTS, power_of_two
from sklearn_gauss._numerics.kernel.cells import Cells, into_cells
from sklearn_gauss._numerics.kernel.profiles import KERNELS, Kernel

__all__ = [
    "CELL_ROWS",
    "MANY_FEATURES",
    "NEGLIGIBLE",
    "Reference",
    "exponents_to_cell",
    "log_terms",
    "reference",
]

#: Reference rows in a cell: with 256 rows of queries a block of products is 1 MiB. From
#: `MANY_FEATURES` on, where cells are rarely out of reach, larger products are faster.
CELL_ROWS, MANY_FEATURES = 512, 16

#: Error of a term, in nats, above which it is computed again; 1e-9 is promised.
TOLERANCE = {np.dtype(np.float64): 5e-11, np.dtype(np.float32): 2.5e-4}

#: Bounds up to so many tolerances are worth a measurement, at so many rows of a block.
MEASURABLE, MEASURED_ROWS = 30.0, 16

#: Share of a block's pairs up to which all that are doubtful are simply computed again.
FEW_PAIRS = 0.01

#: Terms smaller than the largest by this many nats do not change a sum in float64.
NEGLIGIBLE = 40.0


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


def reference(
    rows: NDArray,
    bandwidth: float,
    kernel: str,
    *,
    weights: NDArray | None = None,
    dtype: type = np.float64,
    tolerance: float | None = None,
) -> Reference:
    """Reference rows (n, d) in cells, packed for products in ``dtype``."""
    scale = float(power_of_two(bandwidth))
    h = bandwidth / scale
    with np.errstate(over="ignore"):
        few = rows.shape[1] < MANY_FEATURES
        cells = into_cells(rows / scale, CELL_ROWS if few else 2 * CELL_ROWS)
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


def exponents_to_cell(
    ref: Reference,
    rows: NDArray,
    cell: int,
    floor: NDArray,
    own: tuple[NDArray, NDArray] | None = None,
    stretch: float = 1.0,
    room: NDArray | None = None,
) -> NDArray:
    """Exponents -u^2 / 2 (m, b) of rows, over ``ref.scale``, to those of a cell.

    ``floor`` (m,) is the largest log term so far: terms far below it need no digits.
    ``own`` is that of `log_terms`. The result is made in ``room``, if that is given: an
    array a block costs as much as the product in few dimensions.
    ``stretch`` is the square of the factor by which bandwidths that the exponents will
    be used for exceed that of the reference.
    """
    at, centre = ref.cells.slice(cell), ref.cells.centres[cell]
    packed = ref.packed[at]
    with np.errstate(over="ignore", invalid="ignore"):
        left = _left_rows(rows, centre, ref.bandwidth)
        reach = np.sqrt(-2.0 * left[:, -1]) + ref.radii[cell]
        if packed.dtype != np.float64:
            exponents = _in_single(ref, rows, left, reach, at, floor, own, room)
            if exponents is not None:
                return exponents
            packed, room = _right_rows(ref.cells.rows[at], centre, ref.bandwidth), None
        exponents = _product(left, packed, room)
        error = _rounding(np.float64, packed.shape[1], reach)[:, None]
        doubtful = _doubtful(ref, exponents, at, floor, own, error, stretch)
        if doubtful is not None and np.mean(doubtful) > FEW_PAIRS:
            # One far row of the cell makes all doubtful: now each by its own lengths.
            lengths = np.sqrt(-2.0 * packed[:, -2].astype(np.float64))
            reach = np.sqrt(-2.0 * left[:, -1:]) + lengths
            error = _rounding(np.float64, packed.shape[1], reach)
            doubtful = _doubtful(ref, exponents, at, floor, own, error, stretch)
        if doubtful is not None:
            pairs = np.nonzero(doubtful)
            exponents[pairs] = _from_differences(
                rows, ref.cells.rows[at], ref.bandwidth, pairs
            )
    return exponents


def _product(left: NDArray, packed: NDArray, room: NDArray | None) -> NDArray:
    """Exponents (m, b), in ``room`` where there is some."""
    shape = len(left), len(packed)
    out = None if room is None else room[: shape[0] * shape[1]].reshape(shape)
    return np.matmul(left, packed.T, out=out)


def _in_single(
    ref: Reference,
    rows: NDArray,
    left: NDArray,
    reach: NDArray,
    at: slice,
    floor: NDArray,
    own: tuple[NDArray, NDArray] | None,
    room: NDArray | None,
) -> NDArray | None:
    """Exponents in single precision, or None where that is not good enough."""
    error = _rounding(np.float32, left.shape[1], reach)
    smooth = not (ref.kernel.compact or ref.kernel.cusp)
    certain = error.max() <= ref.tolerance
    if not certain and (not smooth or error.max() > MEASURABLE * ref.tolerance):
        return None
    exponents = _product(left.astype(np.float32), ref.packed[at], room)
    if smooth:
        good = certain or _good_enough(ref, exponents, rows, at, floor, error)
    else:
        doubtful = _doubtful(ref, exponents, at, floor, own, error[:, None], 1.0)
        good = doubtful is None
    return exponents if good else None


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


def _rounding(dtype: type, length: int, reach: NDArray) -> NDArray:
    """Bound on the errors of exponents from products of so many numbers.

    ``reach`` is |x| + |y|, of pairs or at most of a row.

    Each product and sum rounds to eps reach^2 / 2 at most, and the errors of a sum grow
    with the root of its length: the constants cover what was measured with a margin.
    """
    return np.finfo(dtype).eps * (2.0 + 0.3 * length**0.5) * reach**2 / 2


def _doubtful(
    ref: Reference,
    exponents: NDArray,
    at: slice,
    floor: NDArray,
    own: tuple[NDArray, NDArray] | None,
    error: NDArray,
    stretch: float,
) -> NDArray | None:
    """Pairs whose error of rounding matters, as a mask, or None where there are none.

    ``error`` (m, 1) or (m, b) bounds the errors.
    """
    kernel = ref.kernel
    ratio = error / ref.tolerance
    if kernel.compact or kernel.cusp:
        doubtful = _near_an_edge(kernel, exponents, ratio)
    elif not (ratio <= 1.0).all():
        doubtful = ~(ratio <= 1.0)
    else:
        return None
    if not kernel.compact:
        terms = log_terms(kernel, exponents, ref.log_weights, at, own)
        slack = 2.0 * error + ref.margin * np.clip(ratio, 1.0, stretch)
        if error.shape[1] == 1:
            largest = terms.max(axis=1, keepdims=True)
            decisive = np.maximum(floor[:, None], largest - 2.0 * error) - slack
            if (largest < decisive).all():
                return None
        else:
            surely = (terms - 2.0 * error).max(axis=1)
            decisive = np.maximum(floor, surely)[:, None] - slack
        # Not below: an infinity less an infinity, which is no number, is computed again.
        doubtful = doubtful & ~(terms < decisive)
    return doubtful if doubtful.any() else None


def _near_an_edge(kernel: Kernel, exponents: NDArray, ratio: NDArray) -> NDArray:
    """Pairs where log K is so steep that the error, over the tolerance, is too much.

    At a cusp log K = -u has the slope 1 / u against the exponent; towards the end of the
    support slopes are at most 4 / (1 - u^2). What is no number is steep.
    """
    squares = -2.0 * exponents
    flat = np.ones(exponents.shape, dtype=bool)
    if kernel.cusp:
        flat &= squares >= (2.0 * ratio) ** 2
    if kernel.compact:
        flat &= np.abs(1.0 - squares) >= 4.0 * ratio
    return ~flat


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
    they are measured, at one term of those rows, among the rows whose sums this block
    may change, for which the bound is largest.
    """
    best = exponents.argmax(axis=1)
    largest = exponents[np.arange(len(rows)), best]
    matter = np.flatnonzero(~(largest < floor - ref.margin))
    matter = matter[np.argsort(-error[matter], kind="stable")[:MEASURED_ROWS]]
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
