"""Principal axes of centred rows, accurate also for the axes of small variance.

The eigenvectors of the n x n Gram or the p x p scatter matrix are quick and square the
condition number: an eigenvalue below `SQUARED_CONDITION` times the largest has lost the
digits that are promised. Those come from a singular value decomposition of the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from sklearn_gauss._numerics.arrays import EPS
from sklearn_gauss._numerics.gram import Gram

__all__ = [
    "SQUARED_CONDITION",
    "Spectrum",
    "gram_spectrum",
    "rank_tolerance",
    "row_spectrum",
    "scatter_spectrum",
    "svd",
    "with_null_axes",
]

#: Relative size of an eigenvalue of a product of rows below which rows are decomposed:
#: its relative error is about EPS / 1e-6, and 1e-9 is promised.
SQUARED_CONDITION = 1e-6


@dataclass(frozen=True)
class Spectrum:
    """Rows ``coordinates @ axes``, the axes orthonormal, by decreasing sum of squares.

    squares : (k,), sums of squares along the axes, all positive
    axes : (k, p)
    coordinates : (n, k), or None where there are no rows
    """

    squares: NDArray
    axes: NDArray
    coordinates: NDArray | None

    def chosen(self, choose: Callable[[NDArray], slice] | None) -> "Spectrum":
        """Those axes that ``choose`` picks by their sums of squares."""
        if choose is None:
            return self
        picked = choose(self.squares)
        kept = None if self.coordinates is None else self.coordinates[:, picked]
        return Spectrum(self.squares[picked], self.axes[picked], kept)


#: Chooses among axes by their sums of squares, which come in decreasing order.
Choice = Callable[[NDArray], slice]


def gram_spectrum(
    gram: Gram, *, floor: float = 0.0, choose: Choice | None = None
) -> Spectrum:
    """Principal axes of the rows of a Gram matrix, n <= p.

    ``floor`` is what will be added to every sum of squares: axes far below it need no
    digits of their own. Only the axes that ``choose`` picks are computed.
    """
    squares, vectors = linalg.eigh(gram.products, driver="evd", check_finite=False)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    largest = squares[0]
    if floor < SQUARED_CONDITION * largest:
        kept = squares > SQUARED_CONDITION * largest
        # Centred rows span n - 1 dimensions at most: fewer may be small ones, not none.
        if kept.sum() < gram.count - 1:
            return row_spectrum(gram.rows).chosen(choose)
    else:
        kept = squares > gram.count * EPS * largest
    squares, vectors = squares[kept], vectors[:, kept]
    if choose is not None:
        picked = choose(squares)
        squares, vectors = squares[picked], vectors[:, picked]
    roots = np.sqrt(squares)
    return Spectrum(squares, (vectors / roots).T @ gram.rows, vectors * roots)


def scatter_spectrum(scatter: NDArray) -> Spectrum:
    """Principal axes of a p x p sum of products, where the rows are not at hand."""
    squares, vectors = linalg.eigh(scatter, driver="evd", check_finite=False)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    kept = squares > len(scatter) * EPS * squares[0]
    return Spectrum(squares[kept], np.ascontiguousarray(vectors[:, kept].T), None)


def row_spectrum(Z: NDArray) -> Spectrum:
    """Principal axes of rows Z (n, p) from their singular value decomposition."""
    vectors, roots, axes = svd(Z)
    kept = roots > rank_tolerance(Z.shape) * roots[0]
    coordinates = vectors[:, kept] * roots[kept]
    return Spectrum(roots[kept] ** 2, axes[kept], coordinates)


def with_null_axes(
    squares: NDArray, axes: NDArray, count: int
) -> tuple[NDArray, NDArray]:
    """Orthonormal axes filled up to ``count``, with zero squares for the new ones."""
    missing = count - len(axes)
    if missing <= 0:
        return squares, axes
    free = np.random.default_rng(0).normal(size=(axes.shape[1], missing))
    for _ in range(2):  # twice is enough for orthogonality to working precision
        free -= axes.T @ (axes @ free)
    extra = linalg.qr(free, mode="economic")[0].T
    return np.append(squares, np.zeros(missing)), np.vstack([axes, extra])


def rank_tolerance(shape: tuple[int, int]) -> float:
    """Singular value, relative to the largest, that rounding alone can make."""
    return max(shape) * EPS


def svd(matrix: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Thin singular value decomposition, by QR iteration where bisection fails."""
    options = {"full_matrices": False, "check_finite": False}
    try:
        return linalg.svd(matrix, lapack_driver="gesdd", **options)
    except linalg.LinAlgError:
        return linalg.svd(matrix, lapack_driver="gesvd", **options)
