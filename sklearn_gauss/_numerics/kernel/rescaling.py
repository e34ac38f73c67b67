"""Coordinates in which a kernel is round: as given, by column, or whitened.

Each record maps rows to coordinates (`enter`), draws and gradients back to the data's
units (`spread`, `pull`), and knows the metric that leaving out a row leaves.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import Frame, squared_deviation
from sklearn_gauss._numerics.gram import Gram
from sklearn_gauss._numerics.shrinkage import Spread, ledoit_wolf
from sklearn_gauss._numerics.spectrum import (
    SQUARED_CONDITION,
    Spectrum,
    gram_spectrum,
    row_spectrum,
    scatter_spectrum,
)
from sklearn_gauss._numerics.sums import principal_axes, summarise

__all__ = ["RESCALINGS", "Rescaling", "left_out_metrics"]

#: Share of a column's variance that the other rows have, below which it is computed anew.
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Rescaling:
    """(x - mean) / scale along ``axes`` over ``roots``, and the length of what is left.

    That one is over ``noise_root``.

    origin, shift, scale : the frame, with the mean at zero
    axes : (k, p), orthonormal; (0, p) for the data's own axes
    roots : (k,) or (p,), standard deviations in the frame; 0 for columns without any
    noise : float, variance that the shrinkage adds everywhere
    amount : float, intensity of the shrinkage
    variances : (d,), eigenvalues of the rows' shrunk covariance in the coordinates
    plain : whether coordinates are the rows as they are, over ``scale``: a power of two
    """

    origin: NDArray
    shift: NDArray
    scale: NDArray
    axes: NDArray
    roots: NDArray
    noise: float
    amount: float
    variances: NDArray
    plain: bool

    @property
    def frame(self) -> Frame:
        """Frame with the mean at zero."""
        return Frame(self.origin, self.shift, self.scale)

    @property
    def dimension(self) -> int:
        """Dimensions in which the density lives."""
        return len(self.variances)

    @property
    def noise_root(self) -> float:
        """Standard deviation off the axes; 0 where nothing is off them."""
        few = 0 < len(self.axes) < self.dimension
        return float(np.sqrt(self.noise)) if few else 0.0

    @property
    def unit(self) -> float:
        """What a length in the coordinates is multiplied by to be a bandwidth."""
        return float(self.scale) if self.plain else 1.0

    @property
    def log_volume(self) -> float:
        """Log-volume, in the data's units, of a unit cube of the coordinates."""
        if self.plain:
            return self.dimension * float(np.log(self.scale))
        roots = self.roots[self.roots > 0]
        rest = self.dimension - len(roots)
        logs = np.log(roots).sum() + (rest * np.log(self.noise_root) if rest else 0.0)
        if self.scale.ndim:
            return float(logs + np.log(self.scale[self.roots > 0]).sum())
        return float(logs + self.dimension * np.log(self.scale))

    def enter(self, X: NDArray) -> NDArray:
        """Coordinates (m, d) of rows; the last column is what lies off the axes."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.plain:
                return np.divide(X, self.scale, dtype=np.float64)
            if not len(self.axes):
                # About a row: about the mean, one far row would cost the others' digits.
                Z = Frame(self.origin, np.zeros_like(self.shift), self.scale).enter(X)
                kept = self.roots > 0
                return Z[:, kept] / self.roots[kept]
            Z = self.frame.enter(X)
            along = Z @ self.axes.T
            if not self.noise_root:
                return _far(along / self.roots)
            # The residual itself: a difference of squared norms would cancel.
            residual = Z - along @ self.axes
            length = np.sqrt(np.einsum("ij,ij->i", residual, residual))
            return _far(np.column_stack([along / self.roots, length / self.noise_root]))

    def spread(self, draws: NDArray) -> NDArray:
        """Deviations (m, p) in the data's units of round draws (m, d) in coordinates."""
        if self.plain:
            return draws * self.scale
        if not len(self.axes):
            spread = np.zeros((len(draws), len(self.roots)))
            spread[:, self.roots > 0] = draws
            return spread * self.roots * self.scale
        if draws.shape[1] == len(self.axes):
            return (draws * self.roots) @ self.axes * self.scale
        along = draws @ self.axes.T
        off = (draws - along @ self.axes) * self.noise_root
        return ((along * self.roots) @ self.axes + off) * self.scale

    def pull(self, differences: NDArray) -> NDArray:
        """Rows (m, p) of A'A times differences in the data's units."""
        Z = differences / self.scale
        if self.plain:
            return Z / self.scale
        if not len(self.axes):
            squares = np.where(self.roots > 0, self.roots, np.inf) ** 2
            return Z / squares / self.scale
        along = Z @ self.axes.T
        solved = (along / self.roots**2) @ self.axes
        if self.noise_root:
            solved += (Z - along @ self.axes) / self.noise_root**2
        return solved / self.scale


def _far(coordinates: NDArray) -> NDArray:
    """Coordinates with infinities where they have left float64, and so are no numbers."""
    return np.where(np.isnan(coordinates), np.inf, coordinates)


def _centred(
    X: NDArray, weights: NDArray, *, by_column: bool = False
) -> tuple[Frame, NDArray]:
    """Frame with the weighted mean at zero, and the rows in it."""
    frame = Frame.around(X)
    if np.ptp(X, axis=0).any():
        frame = frame.rescaled(X, by_column=by_column)
    Z = frame.enter(X)
    mean = weights @ Z / weights.sum()
    return frame.moved(mean), Z - mean


def _ledoit_wolf(X: NDArray) -> tuple[Frame, Spectrum, float, float]:
    """Frame, axes, intensity and target of rows that count once, as of a Gaussian."""
    sums = summarise(X, centred=True, dense=False, by_column=False)
    spread = sums.totals.spread
    amount = float(ledoit_wolf(spread))
    spectrum = principal_axes(sums, floor=amount * spread.target * len(X))
    squares = replace(spectrum, squares=spectrum.squares / len(X))
    return sums.centre, squares, amount, float(spread.target)


def _shrunk_spectrum(Z: NDArray, weights: NDArray) -> tuple[Spectrum, float, float]:
    """Principal axes of centred rows, and the Ledoit-Wolf intensity and target."""
    total, p = weights.sum(), Z.shape[1]
    rows = Z * np.sqrt(weights / total)[:, None]
    lengths = np.einsum("ij,ij->i", Z, Z)
    few = len(Z) <= p
    products = rows @ rows.T if few else rows.T @ rows
    trace = float(weights @ lengths / total)
    dispersion = squared_deviation(products, 1.0)
    if few:
        n = len(Z)
        dispersion += n * (trace / n - trace / p) ** 2 + (p - n) * (trace / p) ** 2
    quartic = float(weights @ lengths**2 / total)
    amount = float(ledoit_wolf(Spread(total, p, trace, dispersion, quartic)))
    if few:
        gram = Gram(np.zeros(p), rows, products)
        return gram_spectrum(gram, floor=amount * trace / p), amount, trace / p
    spectrum = scatter_spectrum(products)
    smallest = spectrum.squares[-1] if len(spectrum.squares) == p else 0.0
    if smallest + amount * trace / p < SQUARED_CONDITION * trace:
        spectrum = row_spectrum(rows)  # the product has squared the condition
    return spectrum, amount, trace / p


def _variances(Z: NDArray, weights: NDArray) -> NDArray:
    """Eigenvalues of the shrunk covariance of centred rows, one a column."""
    if not Z.any():
        return np.zeros(Z.shape[1])
    spectrum, amount, target = _shrunk_spectrum(Z, weights)
    squares = np.zeros(Z.shape[1])
    squares[: len(spectrum.squares)] = spectrum.squares
    return (1 - amount) * squares + amount * target


def plain(X: NDArray, weights: NDArray) -> Rescaling:
    """Rows as they are."""
    frame, Z = _centred(X, weights)
    none = np.zeros((0, X.shape[1]))
    variances = _variances(Z, weights)
    return Rescaling(
        frame.origin,
        frame.shift,
        frame.scale,
        none,
        none[:, 0],
        0.0,
        0.0,
        variances,
        True,
    )


def by_column(X: NDArray, weights: NDArray) -> Rescaling:
    """Every column over its standard deviation; those without one are left out."""
    frame, Z = _centred(X, weights, by_column=True)
    roots = np.sqrt(weights @ Z**2 / weights.sum())
    roots = np.where(np.ptp(X, axis=0) > 0, roots, 0.0)
    kept = roots > 0
    variances = _variances(Z[:, kept] / roots[kept], weights)
    none = np.zeros((0, X.shape[1]))
    return Rescaling(
        frame.origin, frame.shift, frame.scale, none, roots, 0.0, 0.0, variances, False
    )


def whitened(X: NDArray, weights: NDArray) -> Rescaling:
    """By the Ledoit-Wolf covariance: its inverse is the metric."""
    if (weights == 1.0).all():
        frame, spectrum, amount, target = _ledoit_wolf(X)
    else:
        frame, Z = _centred(X, weights)
        spectrum, amount, target = _shrunk_spectrum(Z, weights)
    noise = amount * target
    dimension = X.shape[1] if amount > 0 else len(spectrum.squares)
    return Rescaling(
        frame.origin,
        frame.shift,
        frame.scale,
        spectrum.axes,
        np.sqrt((1 - amount) * spectrum.squares + noise),
        noise,
        amount,
        np.ones(dimension),
        False,
    )


RESCALINGS = {"none": plain, "diagonal": by_column, "ledoit_wolf": whitened}


def left_out_metrics(
    rescaling: Rescaling,
    coordinates: NDArray,
    weights: NDArray,
    removed: NDArray,
    total: float,
) -> tuple[NDArray, NDArray, NDArray]:
    """Rows, inverse variances and strengths of `LeftOutMetric` for training rows (n, d).

    Without the weight r of row z, the covariance S of the weight W is
    S W / (W - r) - z z' W r / (W - r)^2; intensity and target of the shrinkage are kept.
    """
    grown = (total / (total - removed))[:, None]
    change = total * removed / (total - removed) ** 2
    if not len(rescaling.axes):
        kept = rescaling.roots > 0
        mean = rescaling.shift[kept] / rescaling.roots[kept]
        left = grown - change[:, None] * (coordinates - mean) ** 2
        # A row that carries nearly all of a column's variance: at most one a column.
        for i, j in np.argwhere(left < LEAST_SHARE * grown):
            left[i, j] = _variance_without(coordinates[:, j], weights, i, removed[i])
        # A column that varies in this row alone has no variance without it.
        gone = left <= 0.0
        inverses = np.where(gone, 0.0, 1.0 / np.where(gone, 1.0, left))
        return coordinates, inverses, np.zeros(len(coordinates))
    k, kept = len(rescaling.axes), 1.0 - rescaling.amount
    along = coordinates[:, :k] * rescaling.roots
    excess = np.maximum(rescaling.roots**2 - rescaling.noise, 0.0)
    if np.ptp(removed) == 0.0:
        grown = grown[:1]
    return along, 1.0 / (grown * excess + rescaling.noise), kept * change


def _variance_without(
    column: NDArray, weights: NDArray, row: int, removed: float
) -> float:
    """Variance of a column without some of the weight of a row; 0 if there is none."""
    weights = weights.copy()
    weights[row] = max(weights[row] - removed, 0.0)
    others = column[weights > 0]
    if not np.ptp(others):
        return 0.0
    centred = others - others[0]
    mean = np.average(centred, weights=weights[weights > 0])
    return float(np.average((centred - mean) ** 2, weights=weights[weights > 0]))
