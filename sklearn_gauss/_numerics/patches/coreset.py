"""Few patches in the place of many: the ones that cover them best."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["farthest_first"]

#: Squared distance, over squared lengths, below which rounding can have made it.
CLOSE = 1e-5

#: Coordinates beyond which single precision has no room for squares.
FAR = 1e15


def farthest_first(rows: NDArray, count: int) -> tuple[NDArray, NDArray]:
    """Indices of rows (N, d), each the farthest from all before it.

    The first is the one nearest to the mean of all. Second, which of them each row is
    nearest to, by its place among them (N,).

    The greedy solution of the k-centre problem: every row is within twice the least
    radius possible of a chosen one [1]_. It ends early where copies are all that is left.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
       Theoretical Computer Science 38 (1985).
    """
    away = rows - rows.mean(axis=0)
    first = int(np.argmin(np.einsum("ij,ij->i", away, away)))
    rows = rows - np.median(rows, axis=0)  # one far row does not move it
    rows = rows.astype(np.float32 if np.abs(rows).max() < FAR else np.float64)
    lengths = np.einsum("ij,ij->i", rows, rows)
    chosen, owner = [first], np.zeros(len(rows), dtype=int)
    nearest = np.full(len(rows), np.inf, dtype=rows.dtype)
    while True:
        last = chosen[-1]
        gaps = lengths + lengths[last] - 2 * (rows @ rows[last])
        close = np.flatnonzero(gaps <= CLOSE * (lengths + lengths[last]))
        gaps[close[(rows[close] == rows[last]).all(axis=1)]] = -np.inf  # copies
        owner[gaps < nearest] = len(chosen) - 1
        np.minimum(nearest, gaps, out=nearest)
        following = int(np.argmax(nearest))
        if len(chosen) == count or np.isneginf(nearest[following]):
            return np.array(chosen), owner
        chosen.append(following)
