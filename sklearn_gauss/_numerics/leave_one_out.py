"""Left-out distances and log-densities of the training rows, exactly, from one fit.

Leaving row z (centred) out of n rows changes the covariance S by a rank-one term,

    S_(-) = alpha S - beta z z',    alpha = n / (n-1),

with beta = n / (n-1)^2 and a left-out row alpha z from the new mean (beta = 1 / (n-1)
and z itself where the mean is known). So every sum that an intensity rule needs, the
left-out intensity a, its target m and the ridge r = a m, the distance and the
determinant follow from n numbers a row. Writing Sigma_0 = S + tau I for the covariance
that the rows are whitened by, with precision eigenvalues kappa_j and squared whitened
coordinates y_j^2,

    (1-a) alpha S + r I = s Sigma_0 + t I,   s = (1-a) alpha,   t = r - s tau,
    g = sum_j y_j^2 / (s + t kappa_j),         b = (1-a) beta,
    distance = alpha^2 g / (1 - b g),
    log-determinant = logdet Sigma_0 + sum_j log(s + t kappa_j) + log(1 - b g)

by the formulas of Sherman and Morrison and of the determinant lemma. Where 1 - b g is
zero the row alone spans a direction: without it the covariance is singular there, and
the row infinitely far.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from sklearn_gauss._numerics.arrays import EPS
from sklearn_gauss._numerics.density import log_density
from sklearn_gauss._numerics.shrinkage import Spread

__all__ = [
    "LeftOut",
    "Whitened",
    "best_intensity",
    "concatenate",
    "left_out",
    "left_out_spread",
]

#: Intensities, relative to the identity's full weight, among which "loo" looks first.
_GRID = np.logspace(-6, 0, 25)


#: What must be left of 1 - b g, and of the sums without a row, relative to the sums with
#: it: below, the subtraction has cost more digits than 1e-10 allows.
_SAFE_REMAINDER, _SAFE_SHARE = 1e-5, 1e-4


@dataclass(frozen=True)
class LeftOut:
    """Squared distances (n,) and log-densities (n,) under the fits without the row.

    ``doubtful`` (n,) marks rows that carry almost all of a sum, so that subtracting
    them cancels: these are to be refitted.
    """

    squares: NDArray
    densities: NDArray
    doubtful: NDArray


@dataclass(frozen=True)
class Whitened:
    """Some training rows as the formulas above need them.

    coordinates : (n, k), the y_j^2
    kappa : (k,), precision eigenvalues of Sigma_0
    n_free : number of further directions, in which no training row lies: there the
        precision is 1 / tau
    logdet, tau : of Sigma_0
    squares, forms, cubes : (n,), |z|^2, z'S z and z'sum(|z|^2 z), for left-out sums
    leverages : (n, k), squared entries of the rows' left singular vectors, if known;
        with them 1 - b g is a sum of positive terms
    """

    coordinates: NDArray
    kappa: NDArray
    n_free: int
    logdet: float
    tau: float
    squares: NDArray
    forms: NDArray
    cubes: NDArray
    leverages: NDArray | None = None


def left_out_spread(spread: Spread, rows: Whitened, *, centred: bool) -> Spread:
    """The `Spread` of the other n - 1 rows, for each of the given rows."""
    n, p = spread.count, spread.n_features
    nu = 1 / (n - 1)
    alpha, beta = n * nu, n * nu**2 if centred else nu
    q, s = rows.squares, rows.forms
    dispersion = (
        alpha**2 * spread.dispersion
        - 2 * alpha * beta * (s - q * spread.target)
        + beta**2 * q**2 * (1 - 1 / p)
    )
    quartic = n * spread.quartic - q**2
    if centred:  # the mean moves by nu z
        quartic += (
            4 * nu * (rows.cubes - q**2)
            + 4 * nu**2 * (n * s - q**2)
            + 2 * nu**2 * q * (n * spread.trace - q)
            - 3 * nu**3 * q**2
        )
    trace = np.maximum(alpha * spread.trace - beta * q, 0.0)
    return Spread(n - 1, p, trace, np.maximum(dispersion, 0.0), quartic * nu)


def left_out(
    rows: Whitened, count: int, amount: NDArray, ridge: NDArray, *, centred: bool
) -> LeftOut:
    """Left-out densities for left-out intensities and ridges (n,), or scalars."""
    nu = 1 / (count - 1)
    alpha, beta = count * nu, count * nu**2 if centred else nu
    amount = np.broadcast_to(amount, len(rows.coordinates))
    s = ((1 - amount) * alpha)[:, None]
    ridge = np.broadcast_to(ridge, len(amount))[:, None]
    t = ridge - s * rows.tau
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        pivots = s + t * rows.kappa
        g = (rows.coordinates / pivots).sum(axis=1)
        logdet = rows.logdet + np.log(pivots).sum(axis=1)
        if rows.n_free:
            logdet += rows.n_free * np.log(s + t / rows.tau)[:, 0]
        remainder = 1 - (1 - amount) * beta * g
        doubtful = remainder < _SAFE_REMAINDER
        if rows.leverages is not None and rows.tau > 0:
            share = (rows.leverages * rows.kappa / pivots).sum(axis=1) * ridge[:, 0]
            whole = 1 - 1 / count if centred else 1.0
            free = np.maximum(whole - rows.leverages.sum(axis=1), 0.0)
            free = np.where(free > 64 * count * EPS, free, 0.0)
            remainder, doubtful = (free + share) / whole, np.zeros(len(g), dtype=bool)
        squares = g / remainder * (alpha**2 if centred else 1.0)
        rank = len(rows.kappa) + rows.n_free
        densities = log_density(squares, rank, logdet + np.log(remainder))
    doubtful |= ~np.isfinite(densities) | ((ridge[:, 0] == 0) & (rows.tau > 0))
    return LeftOut(squares, np.where(np.isnan(densities), -np.inf, densities), doubtful)


def lost_sums(whole: Spread, others: Spread) -> NDArray:
    """Where a row carries so much of the sums that the others' share has no digits."""
    return (
        (others.trace < _SAFE_SHARE * whole.trace)
        | (others.dispersion < _SAFE_SHARE * whole.dispersion)
        | (others.quartic < _SAFE_SHARE * whole.quartic)
    )


def best_intensity(
    log_likelihood: Callable[[float], float],
) -> float:
    """Intensity in [1e-6, 1] of the greatest mean left-out log-density.

    A grid first, since the likelihood can have several maxima, then Brent's method
    between the neighbours of the best.
    """
    values = [log_likelihood(amount) for amount in _GRID]
    best = int(np.argmax(values))
    low, high = _GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)]
    found = minimize_scalar(
        lambda power: -log_likelihood(float(np.exp(power))),
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(np.exp(found.x)) if -found.fun > values[best] else float(_GRID[best])


def concatenate(parts: Iterable[LeftOut]) -> LeftOut:
    """Left-out densities of several blocks of rows, in order."""
    fields = zip(*((p.squares, p.densities, p.doubtful) for p in parts), strict=True)
    return LeftOut(*(np.concatenate(field) for field in fields))
