"""Blocks of rows, and coordinates in which sums neither overflow nor cancel."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CHUNK_ELEMENTS",
    "EPS",
    "Frame",
    "block_length",
    "exact_sum",
    "mirrored",
    "power_of_two",
    "row_blocks",
    "squared_deviation",
]

EPS = np.finfo(np.float64).eps

#: Elements of a block of rows: 4 MiB of float64, which stays in a core's cache.
CHUNK_ELEMENTS = 2**19

#: Powers of two beyond which a square or its inverse leaves the range of float64.
_MAX_EXPONENT = 1000

#: Squared lengths outside of this range have fourth powers that leave float64's.
_SAFE_SQUARES = (1e-140, 1e140)

#: Columns whose sizes differ by more than this get scales of their own.
_COMMON_RANGE = 1e-100

#: Below this a variance is so close to the smallest float64 that digits are missing.
_SAFE_VARIANCE = 1e-280


def block_length(n_columns: int) -> int:
    """Rows in a block of about `CHUNK_ELEMENTS`."""
    return max(CHUNK_ELEMENTS // max(n_columns, 1), 64)


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Slices that cut ``n_rows`` rows into blocks of `block_length`."""
    step = block_length(n_columns)
    return (slice(start, start + step) for start in range(0, n_rows, step))


def mirrored(lower: NDArray, block: int = 64) -> NDArray:
    """Symmetric matrix from its lower triangle, block by block to stay in the cache."""
    matrix, upper = np.empty(lower.shape), lower.T
    for i in range(0, len(matrix), block):
        j = i + block
        matrix[i:j, j:] = upper[i:j, j:]
        matrix[j:, i:j] = upper[i:j, j:].T
        corner = np.triu(upper[i:j, i:j])
        matrix[i:j, i:j] = corner + np.triu(corner, 1).T
    return matrix


def squared_deviation(matrix: NDArray, divisor: float) -> float:
    """Squared Frobenius distance of ``matrix / divisor`` to its multiple of identity.

    Summed over the entries of the difference: no cancellation where the matrix is
    close to a multiple of the identity.
    """
    target = np.trace(matrix) / len(matrix)
    total = 0.0
    for rows in row_blocks(*matrix.shape):
        block = matrix[rows].copy()
        block[np.arange(len(block)), np.arange(*rows.indices(len(matrix)))] -= target
        block /= divisor
        total += float(np.einsum("ij,ij->", block, block))
    return total


def exact_sum(high: NDArray, low: NDArray) -> tuple[NDArray, NDArray]:
    """Sum of two arrays as a rounded value and the exact rounding error.

    Knuth's branch-free two-sum: ``high + low == total + error`` exactly.
    """
    total = high + low
    part = total - high
    return total, (high - (total - part)) + (low - part)


def power_of_two(magnitude: NDArray) -> NDArray:
    """Power of two next above each magnitude; 1 where the magnitude is 0."""
    exponent = np.frexp(magnitude)[1]
    unit = np.ldexp(1.0, np.clip(exponent, -_MAX_EXPONENT, _MAX_EXPONENT))
    return np.where(np.asarray(magnitude) > 0, unit, 1.0)


@dataclass(frozen=True)
class Frame:
    """Coordinates ``z = (x - origin) / scale - shift``.

    ``origin`` (p,) is a point among the data, so that for data far from zero
    ``x - origin`` is exact, and ``shift`` (p,) what the mean has beyond it.
    ``scale`` is a power of two: a scalar, or (p,), one a column.
    """

    origin: NDArray
    shift: NDArray
    scale: NDArray

    @classmethod
    def at_zero(cls, n_features: int) -> "Frame":
        """The data's own coordinates."""
        return cls(np.zeros(n_features), np.zeros(n_features), np.array(1.0))

    @classmethod
    def around(cls, X: NDArray) -> "Frame":
        """Frame at the median of a few rows: no single outlying row decides."""
        n_rows = min(len(X), 5) - (1 - min(len(X), 5) % 2)
        picked = np.linspace(0, len(X) - 1, n_rows).astype(int)
        origin = np.sort(X[picked].astype(np.float64), axis=0)[n_rows // 2]
        return cls(origin, np.zeros_like(origin), np.array(1.0))

    def rescaled(self, X: NDArray, *, by_column: bool) -> "Frame":
        """Frame whose scale brings every column, or the largest one, close to 1."""
        low = X.min(axis=0).astype(np.float64)
        high = X.max(axis=0).astype(np.float64)
        with np.errstate(over="ignore"):
            half = np.maximum(
                np.abs(high / 2 - self.origin / 2), np.abs(low / 2 - self.origin / 2)
            )
        varying = half[half > 0]
        if not by_column or varying.min() > _COMMON_RANGE * varying.max():
            half = half.max()
        return Frame(self.origin, self.shift, power_of_two(half))

    @property
    def location(self) -> tuple[NDArray, NDArray]:
        """Mean in the data's units, rounded, and what was rounded off, over ``scale``."""
        total, error = exact_sum(self.origin / self.scale, self.shift)
        location = total * self.scale
        return location, error + (total - location / self.scale)

    def log_volume(self, rank: int) -> float:
        """Log of the volume of a unit cube of ``rank`` directions of this frame."""
        if self.scale.ndim:
            return float(np.log(self.scale).sum())
        return float(rank * np.log(self.scale))

    def moved(self, shift: NDArray) -> "Frame":
        """Frame with ``shift`` added."""
        return Frame(self.origin, self.shift + shift, self.scale)

    def enter(self, X: NDArray) -> NDArray:
        """Coordinates (n, p) of rows in float64; a new array."""
        if np.all(self.scale == 1.0):
            Z = np.subtract(X, self.origin, dtype=np.float64)
        else:
            Z = np.multiply(X, 1.0 / self.scale, dtype=np.float64)
            Z -= self.origin / self.scale
        if self.shift.any():
            Z -= self.shift
        return Z

    def holds(self, sum_of_squares: NDArray, quartic: float, X: NDArray) -> bool:
        """Whether sums taken in this frame kept their digits.

        ``sum_of_squares`` (p,) and ``quartic`` are sums over the rows of z_j^2 and of
        the fourth power of the length of z; (1,) is the sum over the columns too.
        """
        total = float(sum_of_squares.sum())
        if not np.isfinite(quartic) or not np.isfinite(total):
            return False
        if total > 0 and not _SAFE_SQUARES[0] < total < _SAFE_SQUARES[1]:
            return False
        lost = sum_of_squares < _SAFE_VARIANCE
        columns = lost if len(lost) == X.shape[1] else slice(None)
        return not (lost.any() and np.ptp(X[:, columns], axis=0).any())
