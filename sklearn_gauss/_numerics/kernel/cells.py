"""Rows in compact cells, each with a centre of its own.

Distances lose no digits to rows far away, and cells out of reach need not be visited.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "compact_blocks", "into_cells"]


def compact_blocks(rows: NDArray, size: int) -> list[NDArray]:
    """Indices of rows in blocks of ``size``, one of fewer, cut across widest columns."""
    blocks, todo = [], [np.arange(len(rows))]
    while todo:
        indices = todo.pop()
        if len(indices) <= size:
            blocks.append(np.sort(indices))
            continue
        part = rows[indices] if len(indices) < len(rows) else rows
        with np.errstate(over="ignore"):
            widths = part.max(axis=0) - part.min(axis=0)
        column = part[:, int(np.argmax(widths))]
        middle = -(-len(indices) // size) // 2 * size
        halves = np.argpartition(column, middle)
        todo += [indices[halves[middle:]], indices[halves[:middle]]]
    return blocks


@dataclass(frozen=True)
class Cells:
    """Rows in the order of their cells; cell c has those from starts[c] to starts[c + 1].

    rows : (n, d)
    order : (n,), where each stands among the rows given
    starts : (k + 1,)
    centres : (k, d), medians by column: a few far rows do not move them
    low, high : (k, d), the cells' corners
    """

    rows: NDArray
    order: NDArray
    starts: NDArray
    centres: NDArray
    low: NDArray
    high: NDArray

    def __len__(self) -> int:
        return len(self.centres)

    def slice(self, cell: int) -> slice:
        """Where the rows of a cell stand."""
        return slice(self.starts[cell], self.starts[cell + 1])

    def squared_gaps(self, low: NDArray, high: NDArray) -> NDArray:
        """Least squared distance (k,) of each cell to a box."""
        with np.errstate(over="ignore"):
            gap = np.maximum(np.maximum(self.low - high, low - self.high), 0.0)
            return np.einsum("ij,ij->i", gap, gap)


def into_cells(rows: NDArray, size: int) -> Cells:
    """Cells of at most ``size`` rows."""
    blocks = compact_blocks(rows, size)
    order = np.concatenate(blocks)
    starts = np.cumsum([0, *(len(block) for block in blocks)])
    ordered = rows[order]
    parts = [ordered[start:stop] for start, stop in pairwise(starts)]
    return Cells(
        ordered,
        order,
        starts,
        np.array([_middle(part) for part in parts]),
        np.array([part.min(axis=0) for part in parts]),
        np.array([part.max(axis=0) for part in parts]),
    )


def _middle(part: NDArray) -> NDArray:
    """A median by column, of a few rows spread over the cell."""
    picked = np.linspace(0, len(part) - 1, min(len(part), 31)).astype(int)
    return np.partition(part[picked], len(picked) // 2, axis=0)[len(picked) // 2]
