"""Few patches in the place of many: the ones that cover them best."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["farthest_first"]

#: Squared distance, over squared lengths, below which rounding can have made it.
CLOSE = 1e-5


def farthest_first(rows: NDArray, count: int) -> tuple[NDArray, NDArray]:
    """Indices of rows (N, d), each the farthest from all before it, from the first on.

    Second, how many rows are nearest to each.

    The greedy solution of the k-centre problem: every row is within twice the least
    radius possible of a chosen one [1]_. It ends early where copies are all that is left.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
       Theoretical Computer Science 38 (1985).
    """
    rows = rows.astype(np.float32)
    chosen, owner = [0], np.zeros(len(rows), dtype=int)
    lengths = np.einsum("ij,ij->i", rows, rows)
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    while True:
        last = chosen[-1]
        gaps = lengths + lengths[last] - 2 * (rows @ rows[last])
        close = np.flatnonzero(gaps <= CLOSE * (lengths + lengths[last]))
        gaps[close[(rows[close] == rows[last]).all(axis=1)]] = -np.inf  # copies
        owner[gaps < nearest] = len(chosen) - 1
        np.minimum(nearest, gaps, out=nearest)
        following = int(np.argmax(nearest))
        if len(chosen) == count or np.isneginf(nearest[following]):
            return np.array(chosen), np.bincount(owner, minlength=len(chosen))
        chosen.append(following)
