"""Sums over centred rows that can be merged, up to the fourth order.

The third and fourth orders are the ones that Ledoit and Wolf's intensity needs when its
rows come as a stream: they follow the mean as it moves.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm, dsymv, dsyrk

from sklearn_gauss._numerics.arrays import (
    Frame,
    block_length,
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


def block_moments(X: NDArray, frame: Frame, *, centred: bool = True) -> Moments:
    """Moments of rows X (n, p) about their mean, or about the data's zero.

    One pass of blocks, summed about the frame's origin by symmetric rank-k updates,
    then moved to the mean. The origin lies among the data, so little cancels. All
    products come from SciPy's BLAS: NumPy's has threads of its own, and the two would
    wait for each other.
    """
    n, p = X.shape
    if centred and n <= block_length(p):
        # One block is centred in the cache: cheaper than moving p x p sums afterwards.
        Z = frame.enter(X)
        mean = Z.mean(axis=0)
        Z -= mean
        return replace(_summed([Z], p), mean=mean)
    blocks = (frame.enter(X[rows]) for rows in row_blocks(n, p))
    moments = _summed(blocks, p)
    return _about_mean(moments) if centred else replace(moments, mean=np.zeros(p))


def _summed(blocks: Iterable[NDArray], p: int) -> Moments:
    """Moments of blocks of rows about zero; ``mean`` is theirs, not subtracted."""
    scatter = np.zeros((p, p), order="F")
    sums, count, quartic = np.zeros((2, p)), 0, 0.0
    for Z in blocks:
        scatter = dsyrk(1.0, Z.T, beta=1.0, c=scatter, lower=1, overwrite_c=1)
        weights = np.ones((2, len(Z)))
        np.einsum("ij,ij->i", Z, Z, out=weights[1])
        sums += dgemm(1.0, Z.T, weights.T).T
        quartic += float(weights[1] @ weights[1])
        count += len(Z)
    return Moments(count, sums[0] / count, mirrored(scatter), sums[1], quartic)


def _about_mean(moments: Moments) -> Moments:
    """Moments about their mean from the same sums about zero.

    With u the mean, t = tr(scatter) and s = |u|^2 (scatter C, cubic b, quartic a):
    C - n u u';  b - t u - 2 C u + 2 n s u;  a - 4 u'b + 4 u'C u + 2 s t - 3 n s^2.
    """
    n, mean = moments.count, moments.mean
    s, t = float(mean @ mean), float(np.trace(moments.scatter))
    drift = dsymv(1.0, moments.scatter.T, mean)
    return Moments(
        n,
        mean,
        moments.scatter - np.multiply.outer(n * mean, mean),
        moments.cubic - 2 * drift + (2 * n * s - t) * mean,
        moments.quartic
        - 4 * float(mean @ moments.cubic)
        + 4 * float(mean @ drift)
        + 2 * s * t
        - 3 * n * s * s,
    )


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of both sets of rows together, about their common mean.

    Each set moves by a multiple u of the gap between the means, by which
    cubic += t u + 2 C u + n s u;  quartic += 4 u'cubic + 4 u'C u + 2 s t + n s^2
    (cubic and C on the right are the old ones), and the scatter matrices gain
    n1 n2 / n gap gap' together.
    """
    n = first.count + second.count
    gap = second.mean - first.mean
    scatter = np.multiply.outer(gap * (first.count * second.count / n), gap)
    scatter += first.scatter
    scatter += second.scatter
    cubics, quartics = zip(
        _moved(first, gap * (-second.count / n)),
        _moved(second, gap * (first.count / n)),
        strict=True,
    )
    mean = first.mean + gap * (second.count / n)
    return Moments(n, mean, scatter, sum(cubics), sum(quartics))


def _moved(moments: Moments, u: NDArray) -> tuple[NDArray, float]:
    """Cubic and quartic sums about ``mean - u``."""
    n, s, t = moments.count, float(u @ u), float(np.trace(moments.scatter))
    drift = dsymv(1.0, moments.scatter.T, u)
    cubic = moments.cubic + 2 * drift + (t + n * s) * u
    quartic = 4 * (u @ moments.cubic) + 4 * (u @ drift) + 2 * s * t + n * s * s
    return cubic, moments.quartic + float(quartic)
