"""What is left of a row beside its nearest reference row, or a weighted mean of them.

The cosine of x and v is that of unit vectors u and w, 1 - |u - w|^2 / 2: so both metrics
are squared distances of coordinates, of unit rows or of the rows themselves. A product
of matrices, about the centre of the reference rows, finds them up to its rounding; where
that leaves several candidates for the nearest one, direct differences decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import EPS, Frame, power_of_two

__all__ = ["Bank", "best_temperature", "mixed", "nearest", "unit_rows"]

#: Arrays of the size of a block of squared distances that are held at a time.
_ARRAYS = 6

#: Size below which squared distances have lost digits to underflow.
_UNDERFLOW = 1e-290

#: Least temperature: squared distances over it, or over its inverse, are still numbers.
_COLDEST = 1e-300

#: Temperatures that are tried: the spread of the left-out squared distances times these.
_TEMPERATURES = 2.0 ** np.arange(1, -11, -1)


def unit_rows(X: NDArray) -> NDArray:
    """Rows over their Euclidean length, in float64; rows of zeros stay."""
    Z = X.astype(np.float64)
    Z /= power_of_two(np.abs(Z).max(axis=1))[:, None]
    Z /= power_of_two(np.abs(Z).max(axis=1))[:, None]  # what was below 2^-1000
    lengths = np.sqrt(np.einsum("ij,ij->i", Z, Z))[:, None]
    return np.divide(Z, lengths, out=Z, where=lengths > 0)


@dataclass(frozen=True)
class Bank:
    """Reference rows in the coordinates in which they are looked up.

    rows : (m, p), centred coordinates
    origin : (p,), what was subtracted from unit rows
    empty : (m,), reference rows of zeros, whose cosine is 1 with another, else 0
    groups : (m,), rows of the same group as a query can be left out
    frame : coordinates of the data in which residuals are taken
    """

    rows: NDArray
    origin: NDArray
    empty: NDArray
    groups: NDArray
    frame: Frame
    cosine: bool

    @classmethod
    def of(cls, X: NDArray, groups: NDArray, metric: str) -> "Bank":
        """Bank of reference rows (m, p) in the data's units."""
        frame = Frame.around(X).rescaled(X, by_column=False)
        cosine = metric == "cosine"
        rows = unit_rows(X) if cosine else frame.enter(X)
        # That of a frame is a median already, which no outlying row moves.
        origin = rows.mean(axis=0) if cosine else np.zeros(X.shape[1])
        empty = ~X.any(axis=1) if cosine else np.zeros(len(X), dtype=bool)
        return cls(rows - origin, origin, empty, groups, frame, cosine)

    def enter(self, X: NDArray) -> tuple[NDArray, NDArray]:
        """Coordinates (n, p) of queries, and which of them are rows of zeros."""
        if self.cosine:
            return unit_rows(X) - self.origin, ~X.any(axis=1)
        with np.errstate(over="ignore"):
            coordinates = self.frame.enter(X) - self.origin
        if not np.abs(coordinates).max() < 1e290:
            raise ValueError(
                "X has rows so far from the reference rows that their distances exceed "
                "the largest float64; rescale or drop them."
            )
        return coordinates, np.zeros(len(X), dtype=bool)

    def blocks(self, n_rows: int, n_bytes: float) -> Iterator[slice]:
        """Slices of queries whose distances take at most so much memory, one at least."""
        step = max(int(n_bytes / (8 * _ARRAYS * len(self.rows))), 1)
        return (slice(start, start + step) for start in range(0, n_rows, step))


def nearest(
    bank: Bank, X: NDArray, *, own: NDArray | None = None, n_bytes: float = 2**26
) -> NDArray:
    """Place (n,) of the nearest reference row of each query; the first of equal ones.

    ``own`` (n,) is the group of each query, whose reference rows are left out; -1 is
    returned where there are no others.
    """
    found = np.empty(len(X), dtype=np.intp)
    for some in bank.blocks(len(X), n_bytes):
        Z, zeros = bank.enter(X[some])
        scores, errors = _scores(bank, Z, zeros, None if own is None else own[some])
        found[some] = scores.argmin(axis=1)
        least = (scores + errors).min(axis=1)
        candidates = scores - errors <= least[:, None]
        left = np.isfinite(least)
        undecided = np.flatnonzero((candidates.sum(axis=1) > 1) & left & ~zeros)
        found[some][undecided] = _decided(bank, Z, undecided, candidates, n_bytes)
        found[some][~left] = -1
    return found


def _scores(bank, Z, zeros, own) -> tuple[NDArray, NDArray]:
    """|v|^2 - 2 z'v (n, m), the squared distance but for |z|^2, and bounds of its error.

    Infinite for reference rows that are left out.
    """
    lengths, sizes = _lengths(Z), _lengths(bank.rows)
    scores = Z @ bank.rows.T
    scores *= -2
    scores += sizes**2
    errors = (Z.shape[1] + 4) * EPS * (2 * lengths[:, None] + sizes) * sizes + _UNDERFLOW
    if bank.empty.any():  # a cosine of 0 is a squared distance of 2
        scores[:, bank.empty] = (2 - lengths**2)[:, None]
        errors[:, bank.empty] = 8 * EPS
    scores[zeros], errors[zeros] = 0.0, 0.0
    scores[np.ix_(zeros, bank.empty)] = -2.0  # rows of zeros are alike
    if own is not None:
        scores[own[:, None] == bank.groups] = np.inf
    return scores, errors


def _lengths(Z: NDArray) -> NDArray:
    unit = power_of_two(np.abs(Z).max(axis=1, initial=0.0))
    scaled = Z / unit[:, None]
    return np.sqrt(np.einsum("ij,ij->i", scaled, scaled)) * unit


def _decided(bank, Z, undecided, candidates, n_bytes) -> NDArray:
    """The nearest of the candidates (n, m) of some rows, by differences."""
    step = max(int(n_bytes / (8 * _ARRAYS * Z.shape[1])), 1)
    best = np.empty(len(undecided), dtype=np.intp)
    for place, i in enumerate(undecided):
        columns = np.flatnonzero(candidates[i])
        unit = float(power_of_two(np.abs(Z[i]).max()))
        squares = np.empty(len(columns))
        for start in range(0, len(columns), step):
            some = slice(start, start + step)
            with np.errstate(over="ignore"):
                gaps = (Z[i] - bank.rows[columns[some]]) / unit
                squares[some] = (gaps * gaps).sum(axis=1)
        if bank.cosine:
            squares[bank.empty[columns]] = 2 / unit**2
        best[place] = columns[squares.argmin()]
    return best


def mixed(
    bank: Bank,
    X: NDArray,
    references: NDArray,
    temperature: float,
    *,
    own: NDArray | None = None,
    n_bytes: float = 2**26,
) -> NDArray:
    """Residuals (n, p) beside weighted means of the reference rows (m, p).

    x - sum_j w_j r_j, w = softmax(-d_j^2 / (2 T)), with squared distances in the bank's
    coordinates: the cosine over T, but for a constant. NaN where no row is left.
    """
    values = bank.frame.enter(references)
    residuals = np.empty(X.shape)
    for some in bank.blocks(len(X), n_bytes):
        Z, zeros = bank.enter(X[some])
        scores = _scores(bank, Z, zeros, None if own is None else own[some])[0]
        weights = _softmax(scores, temperature)
        residuals[some] = bank.frame.enter(X[some]) - weights @ values
    residuals *= bank.frame.scale
    return residuals


def _softmax(scores: NDArray, temperature: float) -> NDArray:
    """Weights (n, m), exp(-score / (2 T)) over their sum; overwrites the scores.

    A temperature of 0 is that of the nearest row, an infinite one that of equal weights.
    """
    temperature = min(max(temperature, _COLDEST), 1 / _COLDEST)
    with np.errstate(invalid="ignore", over="ignore"):
        scores -= scores.min(axis=1, keepdims=True)
        scores /= -2 * temperature
        np.maximum(scores, -700.0, out=scores, where=np.isfinite(scores))
        weights = np.exp(scores, out=scores)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def best_temperature(
    bank: Bank, X: NDArray, references: NDArray, own: NDArray, n_bytes: float
) -> float:
    """Temperature at which left-out rows are closest to the means of the others.

    The one of least sum of squared residuals among halvings of twice the median, over
    the rows, of how much farther than the nearest row the median one is. In the units
    of the bank; 1 where all rows are equally far.
    """
    values, rows = bank.frame.enter(references), bank.frame.enter(X)
    spreads, sums = [], np.zeros(len(_TEMPERATURES))
    for some in bank.blocks(len(X), n_bytes):
        scores = _left_out_scores(bank, X[some], own[some])
        spreads.append(np.nanmedian(scores, axis=1) - np.nanmin(scores, axis=1))
    spread = float(np.median(np.concatenate(spreads))) / 2
    if not spread > 0:
        return 1.0
    for some in bank.blocks(len(X), n_bytes):
        scores = _left_out_scores(bank, X[some], own[some])
        scores[np.isnan(scores)] = np.inf
        for i, factor in enumerate(_TEMPERATURES):
            gaps = rows[some] - _softmax(scores.copy(), spread * factor) @ values
            sums[i] += np.einsum("ij,ij->", gaps, gaps)
    return spread * float(_TEMPERATURES[int(np.argmin(sums))])


def _left_out_scores(bank, X, own) -> NDArray:
    """Scores with NaN for reference rows of the query's own group."""
    Z, zeros = bank.enter(X)
    scores = _scores(bank, Z, zeros, own)[0]
    scores[np.isinf(scores)] = np.nan
    return scores
