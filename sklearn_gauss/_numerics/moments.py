"""Sums over centred rows that can be merged, up to the fourth order.

The third and fourth orders are the ones that Ledoit and Wolf's intensity needs when its
rows come as a stream: they follow the mean as it moves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk

from sklearn_gauss._numerics.arrays import (
    Frame,
    mirrored,
    row_blocks,
    squared_deviation,
)
from sklearn_gauss._numerics.shrinkage import Spread

__all__ = ["Moments", "block_moments", "merge"]


@dataclass(frozen=True)
class Moments:
    """Sums over n rows z, taken about ``mean``, in the coordinates of a frame.

    count : int, n
    mean : (p,)
    scatter : (p, p), sum of z z'
    cubic : (p,), sum of |z|^2 z
    quartic : float, sum of |z|^4
    """

    count: int
    mean: NDArray
    scatter: NDArray
    cubic: NDArray
    quartic: float

    @property
    def n_features(self) -> int:
        return len(self.mean)

    @property
    def spread(self) -> Spread:
        """The scalars that shrinkage intensities are made of."""
        n, p = self.count, self.n_features
        diagonal = np.diagonal(self.scatter) / n
        return Spread(
            n, p, diagonal.sum(), squared_deviation(self.scatter, n), self.quartic / n
        )

    def recentred(self, step: NDArray) -> "Moments":
        """The same rows about ``mean - step``.

        With t = tr(scatter) and s = |step|^2:
        scatter += n step step';  cubic += t step + 2 scatter step + n s step;
        quartic += 4 step'cubic + 4 step'scatter step + 2 s t + n s^2
        (scatter and cubic on the right are the old ones).
        """
        n, s = self.count, float(step @ step)
        t = float(np.trace(self.scatter))
        drift = self.scatter @ step
        return Moments(
            n,
            self.mean - step,
            self.scatter + n * np.outer(step, step),
            self.cubic + 2 * drift + (t + n * s) * step,
            self.quartic
            + float(4 * (step @ self.cubic) + 4 * (step @ drift) + 2 * s * t + n * s * s),
        )


def block_moments(X: NDArray, frame: Frame, *, centred: bool = True) -> Moments:
    """Moments of rows X (n, p) about their mean, or about the data's zero.

    Two passes: the mean, then blocks of centred rows whose products a symmetric
    rank-k update adds up. What rounding leaves in the mean is put right at the end.
    """
    n, p = X.shape
    start = np.zeros(p)
    if centred:
        for rows in row_blocks(n, p):
            start += frame.enter(X[rows]).sum(axis=0)
        start /= n
    frame = frame.moved(start)
    scatter = np.zeros((p, p), order="F")
    cubic, remainder, quartic = np.zeros(p), np.zeros(p), 0.0
    for rows in row_blocks(n, p):
        Z = frame.enter(X[rows])
        scatter = dsyrk(1.0, Z.T, beta=1.0, c=scatter, lower=1, overwrite_c=1)
        squares = np.einsum("ij,ij->i", Z, Z)
        cubic += squares @ Z
        quartic += float(squares @ squares)
        remainder += Z.sum(axis=0)
    sums = Moments(n, start, mirrored(scatter), cubic, quartic)
    return sums.recentred(-remainder / n) if centred else sums


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of both sets of rows together, about their common mean."""
    n = first.count + second.count
    gap = second.mean - first.mean
    a = first.recentred(gap * (-second.count / n))
    b = second.recentred(gap * (first.count / n))
    return Moments(
        n, a.mean, a.scatter + b.scatter, a.cubic + b.cubic, a.quartic + b.quartic
    )
