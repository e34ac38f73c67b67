"""Squared distances and log-densities; of an operator it asks only for its verbs."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import Frame, row_blocks

__all__ = ["Covariance", "log_density", "squared_mahalanobis"]


class Covariance(Protocol):
    """What a density needs of a covariance operator."""

    @property
    def rank(self) -> int:
        """Number of directions with variance."""

    @property
    def logdet(self) -> float:
        """Log-determinant over those directions."""

    def squared_lengths(self, Z: NDArray) -> NDArray:
        """Squared Mahalanobis distances of centred rows."""


def squared_mahalanobis(
    X: NDArray, frame: Frame, covariance: Covariance
) -> NDArray[np.float64]:
    """Squared Mahalanobis distances (n,) of rows X; infinite beyond float64's range."""
    squares = np.empty(len(X))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in row_blocks(*X.shape):
            squares[rows] = covariance.squared_lengths(frame.enter(X[rows]))
    # An infinity minus an infinity: the distance is beyond the range all the more.
    return np.where(np.isnan(squares), np.inf, squares)


def log_density(squares: NDArray, rank: int, logdet: float) -> NDArray:
    """-(rank log 2 pi + logdet + squares) / 2, in nats."""
    return -0.5 * (rank * np.log(2 * np.pi) + logdet + squares)
