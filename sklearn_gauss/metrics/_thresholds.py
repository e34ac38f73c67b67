"""What a falling threshold flags, looked at where it passes a value of a defect.

Between two such values only normal pixels are added, so that every curve runs level and
no figure has its maximum there: these few thresholds tell all that a sort of
everything would, by integer counts.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Thresholds:
    """Counts at the distinct values of the defects, the highest value first.

    ``values`` (k,); ``weights`` (k,), what the defects at each value count for;
    ``above`` and ``reached`` (k,), how many normals are above each value, and above or
    at it; ``normals`` (m,), their values sorted upwards.
    """

    values: np.ndarray
    weights: np.ndarray
    above: np.ndarray
    reached: np.ndarray
    normals: np.ndarray

    @property
    def false_alarms(self):
        """Normals flagged just before and at each value, interleaved, (2 k,)."""
        return np.column_stack([self.above, self.reached]).ravel()


def find_thresholds(defects, normals, weights=None):
    """Count what is flagged at each value of a defect.

    Parameters
    ----------
    defects : ndarray of shape (n,)
        Values of the defects, the higher the more anomalous, none of them NaN.
    normals : ndarray of shape (m,)
        Values of all that is normal. They are sorted in place.
    weights : ndarray of shape (n,), default=None
        What each defect counts for. None stands for 1.

    Returns
    -------
    thresholds : Thresholds
    """
    values, place, counts = np.unique(defects, return_inverse=True, return_counts=True)
    if weights is not None:
        counts = np.bincount(place, weights)
    normals.sort()
    above = len(normals) - np.searchsorted(normals, values, side="right")
    reached = len(normals) - np.searchsorted(normals, values, side="left")
    return Thresholds(values[::-1], counts[::-1], above[::-1], reached[::-1], normals)


def as_weighted_rows(thresholds):
    """Return labels, ranks and weights that scikit-learn's metrics rank alike.

    A defect has the label True. Everything between two thresholds becomes one row.
    """
    k = len(thresholds.values)
    n_normals = len(thresholds.normals)
    counts = np.diff(thresholds.false_alarms, prepend=0, append=n_normals)
    labels = np.repeat([False, True], [2 * k + 1, k])
    ranks = -np.r_[: 2 * k + 1, 1 : 2 * k + 1 : 2]
    return labels, ranks, np.concatenate([counts, thresholds.weights])


def best_f1(thresholds):
    """Return the greatest F1 of the defects, and the highest value that attains it."""
    hits = np.cumsum(thresholds.weights)
    # 2 TP / (TP + FP + all defects)
    f1 = 2 * hits / (hits + thresholds.reached + hits[-1])
    best = f1.argmax()
    return float(f1[best]), float(thresholds.values[best])
