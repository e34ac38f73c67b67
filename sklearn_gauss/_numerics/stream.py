"""Sums over rows that arrive in chunks, with the rows that later steps still need."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.moments import Moments, block_moments, merge
from sklearn_gauss._numerics.sums import Sums, summarise

__all__ = ["MAX_KEPT_ROWS", "Stream", "extend"]

#: Rows kept for calibration: a false-positive rate of t is then known to within a
#: standard deviation of sqrt(t (1-t) / 10000), 0.2 points at t = 5 %.
MAX_KEPT_ROWS = 10_000


@dataclass(frozen=True)
class Stream:
    """The sums so far and the rows kept.

    count : rows seen
    moments : their sums, or None while count <= p: then all rows are kept
    origin, scale : the frame of the moments
    rows : (m, p), kept rows in the order of their arrival
    priority : (m,), the kept rows have the m lowest of all rows' random priorities
    """

    count: int
    moments: Moments | None
    origin: NDArray
    scale: NDArray
    rows: NDArray
    priority: NDArray

    @property
    def complete(self) -> bool:
        """Whether no row has been dropped."""
        return len(self.rows) == self.count

    def pack(self) -> dict:
        """The same as a dict of arrays and numbers, safe to persist."""
        state = dict(vars(self))
        state["moments"] = None if self.moments is None else dict(vars(self.moments))
        return state

    @classmethod
    def unpack(cls, state: dict) -> "Stream":
        """Inverse of `pack`."""
        moments = state["moments"]
        return cls(**{**state, "moments": moments and Moments(**moments)})

    def sums(self, *, centred: bool, by_column: bool) -> Sums:
        """Sums over all rows seen."""
        if self.moments is None:
            return summarise(self.rows, centred=centred, dense=False, by_column=by_column)
        frame = Frame(self.origin, np.zeros_like(self.origin), self.scale)
        return Sums(self.moments, frame, centred, self.rows if self.complete else None)


def extend(
    stream: Stream | None,
    X: NDArray,
    *,
    centred: bool,
    dense: bool,
    by_column: bool,
    keep: bool,
) -> Stream:
    """Stream with the rows X (m, p) added.

    The moments do not depend on how the rows are cut into chunks but for rounding, and
    the kept rows not at all. ``keep`` keeps up to `MAX_KEPT_ROWS` rows for calibration.
    """
    seen = stream.count if stream else 0
    count, p = seen + len(X), X.shape[1]
    priority = np.random.Generator(np.random.PCG64(0).advance(seen)).random(len(X))
    summed = stream is not None and stream.moments is not None
    rows = X
    if stream is not None and (keep or not summed):
        rows = np.concatenate([stream.rows, X])
        priority = np.append(stream.priority, priority)
    if summed:
        frame = Frame(stream.origin, np.zeros(p), stream.scale)
        moments = merge(stream.moments, block_moments(X, frame, centred=centred))
    elif count > p or dense:
        sums = summarise(rows, centred=centred, dense=True, by_column=by_column)
        moments, frame = sums.totals, sums.frame
    else:
        moments, frame = None, Frame.at_zero(p)
    capacity = max(MAX_KEPT_ROWS if keep else 0, 0 if moments else count)
    if len(rows) > capacity:
        kept = np.sort(np.argpartition(priority, capacity)[:capacity])
        rows, priority = rows[kept], priority[kept]
    elif stream is None:
        rows = rows.copy()  # the caller's array may change later
    return Stream(count, moments, frame.origin, frame.scale, rows, priority)
