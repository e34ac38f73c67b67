"""Thresholds and p-values from scores; a higher score is more normal."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "chi2_threshold",
    "hotelling_threshold",
    "order_statistic",
    "p_values",
    "rows_needed",
    "training_quantile",
]


def rows_needed(target_fpr: float) -> int:
    """Fewest calibration rows with which a false-positive rate can be certified."""
    return math.ceil(1 / target_fpr - 1e-9) - 1


def order_statistic(
    scores: NDArray, target_fpr: float, weights: NDArray | None = None
) -> float:
    """Threshold below which an unseen normal row falls with at most ``target_fpr``.

    The ceil((n+1)(1-t))-th greatest score (split-conformal order statistic); minus
    infinity, which flags nothing, where n scores cannot certify t. A score counts as
    often as its weight says, and n is the sum of the weights.
    """
    if weights is not None:
        return _weighted_order_statistic(scores, target_fpr, weights)
    n = len(scores)
    rank = max(math.ceil((n + 1) * (1 - target_fpr) - 1e-9), 1)
    return -math.inf if rank > n else float(np.partition(scores, n - rank)[n - rank])


def _weighted_order_statistic(
    scores: NDArray, target_fpr: float, weights: NDArray
) -> float:
    """Least score with t < (1 + weight at or below it) / (n + 1), its p-value."""
    allowed = target_fpr * (float(weights.sum()) + 1) - 1
    if allowed < -1e-9:
        return -math.inf
    order = np.argsort(scores)
    place = np.searchsorted(np.cumsum(weights[order]), allowed + 1e-9, side="right")
    return float(scores[order[min(place, len(order) - 1)]])


def training_quantile(scores: NDArray, share: float, weights: NDArray) -> float:
    """Threshold below which a share of the weighted scores themselves lies, at most."""
    order = np.argsort(scores)
    sums = np.cumsum(weights[order])
    place = np.searchsorted(sums, share * sums[-1] * (1 + 1e-12), side="right")
    return float(scores[order[min(place, len(order) - 1)]])


def p_values(
    scores: NDArray, calibration_scores: NDArray, weights: NDArray | None = None
) -> NDArray[np.float64]:
    """(1 + #{calibration scores <= score}) / (n + 1), for each score.

    A calibration score counts as often as its weight says.
    """
    order = np.argsort(calibration_scores)
    below = np.searchsorted(calibration_scores[order], scores, side="right")
    if weights is None:
        return (1 + below) / (len(order) + 1)
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    return (1 + sums[below]) / (sums[-1] + 1)


def chi2_threshold(rank: int, target_fpr: float) -> float:
    """Squared distance exceeded with probability t if Gaussian and perfectly known."""
    return float(stats.chi2.isf(target_fpr, rank))


def hotelling_threshold(
    count: int, rank: int, target_fpr: float, *, centred: bool = True
) -> float:
    """Squared distance, under S with 1/n, exceeded with probability t by a new row.

    With estimated mean (n-r) / (r (n+1)) M^2 ~ F(r, n-r); with a known one
    (n-r+1) / (r n) M^2 ~ F(r, n-r+1). Exact for Gaussian rows, unshrunk.
    """
    if centred:
        quantile = stats.f.isf(target_fpr, rank, count - rank)
        return float(quantile * rank * (count + 1) / (count - rank))
    quantile = stats.f.isf(target_fpr, rank, count - rank + 1)
    return float(quantile * rank * count / (count - rank + 1))
