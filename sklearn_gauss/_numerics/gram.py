"""The same sums where there are no more rows than features: from the n x n Gram matrix.

Until n exceeds p the rows themselves are the smallest exact summary, so they are kept,
and every scalar is read off the Gram matrix. No p x p array is ever formed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk

from sklearn_gauss._numerics.arrays import Frame, mirrored, squared_deviation
from sklearn_gauss._numerics.shrinkage import Spread

__all__ = ["Gram", "gram"]


@dataclass(frozen=True)
class Gram:
    """Centred rows and their inner products, in the coordinates of a frame.

    mean : (p,), subtracted from the rows
    rows : (n, p), centred
    products : (n, n), rows @ rows.T
    """

    mean: NDArray
    rows: NDArray
    products: NDArray

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def n_features(self) -> int:
        return self.rows.shape[1]

    @property
    def spread(self) -> Spread:
        """The scalars that shrinkage intensities are made of.

        The p x p covariance has the Gram matrix's n eigenvalues and p - n zeros, hence
        |S - m I_p|^2 = |G/n - g I_n|^2 + n (g - m)^2 + (p - n) m^2 with m = tr(S)/p and
        g = tr(S)/n: a sum of squares, so nothing cancels.
        """
        n, p = self.rows.shape
        squares = np.diagonal(self.products)
        trace = squares.sum() / n
        inner, target = trace / n, trace / p
        dispersion = (
            squared_deviation(self.products, n)
            + n * (inner - target) ** 2
            + (p - n) * target**2
        )
        return Spread(n, p, trace, dispersion, float(squares @ squares) / n)

    @property
    def sum_of_squares(self) -> NDArray:
        """Sum over the rows of each squared feature (p,)."""
        return np.einsum("ij,ij->j", self.rows, self.rows)


def gram(X: NDArray, frame: Frame, *, centred: bool = True) -> Gram:
    """Gram matrix of rows X (n, p) about their mean, or about the data's zero."""
    Z = frame.enter(X)
    mean = Z.mean(axis=0) if centred else np.zeros(X.shape[1])
    if centred:
        Z -= mean
    return Gram(mean, Z, mirrored(dsyrk(1.0, Z.T, trans=1, lower=1)))
