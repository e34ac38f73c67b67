"""Student's law in place of the Gaussian one: the same distances, heavier tails.

With r dimensions, squared distances u to a covariance Sigma and a scale matrix s Sigma,

    log t(u) = log Gamma((df + r) / 2) - log Gamma(df / 2) - (r log(df pi) + r log s
               + log det Sigma + (df + r) log(1 + u / (df s))) / 2

falls with u whatever df and s are, so rows keep the order that distances give them. Both
are those of the greatest likelihood of left-out distances; df may be infinite, which is
the Gaussian with covariance s Sigma.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import betaln, gammaln

from sklearn_gauss._numerics.density import log_density

__all__ = ["fit_tail", "student_log_density", "student_pull"]

#: Degrees of freedom among which the greatest likelihood is looked for first. Beyond the
#: last the law is Gaussian to all purposes.
_GRID = np.logspace(-1, 6, 29)

#: Squared distances beside their median: the least that can be told from zero, and the
#: largest whose sums stay within float64.
_ROUNDING, _LARGEST = 1e-24, 1e290


def student_log_density(
    squares: NDArray, rank: int, logdet: float, df: float, scale: float
) -> NDArray:
    """Log-densities, in nats, at squared distances under a covariance of a ``logdet``."""
    if np.isinf(df):
        return log_density(squares / scale, rank, logdet + rank * np.log(scale))
    # As a beta function, since the two gamma functions cancel for many degrees.
    constant = gammaln(rank / 2) - betaln(df / 2, rank / 2)
    volume = rank * (np.log(df * np.pi) + np.log(scale)) + logdet
    return constant - 0.5 * (volume + (df + rank) * np.log1p(squares / (df * scale)))


def student_pull(squares: NDArray, rank: int, df: float, scale: float) -> NDArray:
    """Slope of -2 log t in the squared distance; 1 for the Gaussian."""
    if np.isinf(df):
        return np.full(len(squares), 1 / scale)
    return (df + rank) / (df * scale + squares)


def fit_tail(squares: NDArray, rank: int) -> tuple[float, float]:
    """Degrees of freedom and scale of the greatest likelihood of squared distances (n,).

    For each df the scale solves mean((df + r) u / (df s + u)) = r; df comes from a grid
    and Brent's method between the neighbours of the best. Distances of zero but for
    rounding, where the likelihood has no bound, are left out; some must be positive.
    """
    squares = squares[squares > 0]
    unit = float(np.median(squares))  # next to which sums neither over- nor underflow
    with np.errstate(over="ignore"):
        squares = np.minimum(squares / unit, _LARGEST)
    squares = squares[squares > _ROUNDING]
    gaussian = float(squares.mean() / rank)

    def likelihood(df: float, scale: float) -> float:
        return float(student_log_density(squares, rank, 0.0, df, scale).mean())

    def profile(log_df: float) -> float:
        df = float(np.exp(log_df))
        return likelihood(df, _best_scale(squares, rank, df))

    values = [profile(log_df) for log_df in np.log(_GRID)]
    best = int(np.argmax(values))
    low, high = _GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)]
    found = minimize_scalar(
        lambda log_df: -profile(log_df),
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    if likelihood(np.inf, gaussian) >= -found.fun or best == len(_GRID) - 1:
        return np.inf, gaussian * unit
    df = float(np.exp(found.x))
    return df, _best_scale(squares, rank, df) * unit


def _best_scale(squares: NDArray, rank: int, df: float) -> float:
    # Between them the sum changes its sign.
    low, high = np.log(squares.min() / rank), np.log(squares.max() / rank)

    def excess(log_scale: float) -> float:
        shares = squares / (df * np.exp(log_scale) + squares)
        return float((df + rank) * shares.mean() - rank)

    if excess(low) <= 0 or excess(high) >= 0:  # all alike
        return float(np.exp(high))
    return float(np.exp(brentq(excess, low, high, xtol=1e-12)))
