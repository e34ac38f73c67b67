"""The Gaussian itself: from sums to an operator, and back to the rows left out of it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics import lowrank
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.dense import DenseCovariance
from sklearn_gauss._numerics.density import log_density, squared_mahalanobis
from sklearn_gauss._numerics.gram import Gram
from sklearn_gauss._numerics.leave_one_out import (
    LeftOut,
    best_intensity,
    concatenate,
    left_out,
    left_out_spread,
    lost_sums,
)
from sklearn_gauss._numerics.moments import Moments
from sklearn_gauss._numerics.shrinkage import intensity
from sklearn_gauss._numerics.spectrum import Spectrum
from sklearn_gauss._numerics.sums import Sums, dense_operator, summarise
from sklearn_gauss._numerics.whitening import (
    LEAST_INTENSITY,
    shrunk_axes,
    whitened,
    whitened_unshrunk,
)

__all__ = ["Gaussian", "estimate", "leave_one_out"]


@dataclass(frozen=True)
class Gaussian:
    """A fitted Gaussian: its frame, covariance operator in it, and intensity."""

    centre: Frame
    covariance: DenseCovariance | lowrank.LowRankIsotropic
    shrinkage: float
    spectrum: Spectrum | None = None

    @property
    def logdet(self) -> float:
        """Log-determinant of the covariance in the data's units."""
        return self.covariance.logdet + 2 * self.centre.log_volume(self.covariance.rank)

    def log_density(self, squares: NDArray) -> NDArray:
        """Log-densities, in nats, at squared distances."""
        return log_density(squares, self.covariance.rank, self.logdet)


def estimate(
    sums: Sums,
    rule: str | float,
    *,
    solver: str = "auto",
    X: NDArray | None = None,
    ridge: float = 0.0,
) -> Gaussian:
    """Shrunk Gaussian of summed rows.

    ``X``, all of the rows or a random share of them, is what the rule "loo" maximises
    the left-out likelihood of. ``ridge`` is added to every variance after shrinkage, in
    squared units of the data.
    """
    totals, target = sums.totals, sums.totals.spread.target
    amount = _best_intensity(sums, X) if rule == "loo" else None
    amount = float(intensity(rule, totals.spread) if amount is None else amount)
    ridge = in_frame(sums, ridge)
    noise = float(amount * target + ridge)
    if noise > 0 and (isinstance(totals, Gram) or solver == "lowrank"):
        spectrum = shrunk_axes(sums, amount, ridge)
        covariance = lowrank.from_spectrum(spectrum, totals.count, amount, noise)
        return Gaussian(sums.centre, covariance, amount, spectrum)
    return Gaussian(sums.centre, dense_operator(sums, amount, noise), amount)


def in_frame(sums: Sums, ridge: float) -> float:
    """A ridge in the coordinates of the sums' frame."""
    return float(ridge / sums.frame.scale**2) if ridge else 0.0


def leave_one_out(
    sums: Sums, gaussian: Gaussian, rule: str | float, X: NDArray, *, ridge: float = 0.0
) -> LeftOut:
    """Left-out densities of rows X, all or some of those that were summed.

    The intensity and its target are estimated again without the row, as a refit would;
    only the rule "loo" keeps its intensity.
    """
    totals, spread = sums.totals, sums.totals.spread
    rule = gaussian.shrinkage if rule == "loo" else rule
    added = in_frame(sums, ridge)
    if rule == 0.0 and not ridge:
        blocks = whitened_unshrunk(sums, X)
    else:
        blocks = whitened(sums, gaussian.shrinkage, X, gaussian.spectrum, ridge=added)
    parts = []
    for rows in blocks:
        others = left_out_spread(spread, rows, centred=sums.centred)
        amount = intensity(rule, others)
        noise = amount * others.target + added
        part = left_out(rows, totals.count, amount, noise, centred=sums.centred)
        doubtful = part.doubtful | (lost_sums(spread, others) & (rows.tau > 0))
        parts.append(replace(part, doubtful=doubtful))
    found = concatenate(parts)
    rank = gaussian.covariance.rank
    densities = found.densities - gaussian.centre.log_volume(rank)
    return _settled(sums, rule, ridge, rank, X, replace(found, densities=densities))


def _settled(
    sums: Sums, rule: str | float, ridge: float, rank: int, X: NDArray, found: LeftOut
) -> LeftOut:
    """Left-out densities with the doubtful ones from fits to the other rows.

    Where these are not at hand, a doubtful row counts as infinitely far: it is one that
    carries almost all of a sum.
    """
    squares = np.where(found.doubtful, np.inf, found.squares)
    densities = np.where(found.doubtful, -np.inf, found.densities)
    # n <= p + 1 rows without shrinkage: every row alone spans a direction.
    hopeless = rule == 0.0 and not ridge and found.doubtful.all()
    if sums.rows is not None and not hopeless and np.array_equal(X, sums.rows):
        for i in np.flatnonzero(found.doubtful):
            squares[i], densities[i] = _refitted(sums, rule, ridge, rank, i)
    return LeftOut(squares, densities, np.zeros(len(squares), dtype=bool))


def _refitted(
    sums: Sums, rule: str | float, ridge: float, rank: int, i: int
) -> tuple[float, float]:
    """Squared distance and log-density of row i under a fit to the other rows.

    Infinitely far if their covariance has less than ``rank``.
    """
    others = summarise(
        np.delete(sums.rows, i, axis=0),
        centred=sums.centred,
        dense=isinstance(sums.totals, Moments),
        by_column=rule == 0.0 and not ridge,
    )
    if not others.totals.spread.trace > 0 and not ridge:
        return np.inf, -np.inf
    model = estimate(others, rule, ridge=ridge)
    if model.covariance.rank < rank:
        return np.inf, -np.inf
    row = sums.rows[i : i + 1]
    square = squared_mahalanobis(row, model.centre, model.covariance)[0]
    return square, model.log_density(square)


def _best_intensity(sums: Sums, X: NDArray) -> float:
    """Intensity under which the rows X, each left out in turn, are most likely."""
    blocks = list(whitened(sums, LEAST_INTENSITY, X))
    targets = [
        left_out_spread(sums.totals.spread, rows, centred=sums.centred).target
        for rows in blocks
    ]

    def log_likelihood(amount: float) -> float:
        found = concatenate(
            left_out(
                rows, sums.totals.count, amount, amount * target, centred=sums.centred
            )
            for rows, target in zip(blocks, targets, strict=True)
        )
        return float(found.densities.mean())

    return best_intensity(log_likelihood)
