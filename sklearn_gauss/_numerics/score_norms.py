"""Lengths of the score, the gradient of a smoothed log-density, at several scales.

A feature is sigma |grad log p_sigma(x)|, with p_sigma the density convolved with
N(0, sigma^2 I). It has no unit. Of a Gaussian with eigenvalues v_j of its covariance and
c_j the coordinates of x - mean along its axes its square is

    |sigma (Sigma + sigma^2 I)^-1 (x - mean)|^2 = sum_j (c_j / (v_j/sigma + sigma))^2,

and of rows y_j, whose density is then the kernel density of bandwidth sigma, it is

    |sum_j w_j y_j - x| / sigma,   w_j proportional to exp(-|x - y_j|^2 / (2 sigma^2)).

Leaving row z (centred) out of the Gaussian's n rows leaves it alpha z from the new mean,
alpha = n / (n - 1), and takes a rank-one term from the covariance:

    Sigma_(-) + sigma^2 I = A - b z z',   A = (1 - a) alpha S + r I,
    b = (1 - a) n / (n - 1)^2,   r = a m + sigma^2,

with the left-out intensity a and target m. By the formula of Sherman and Morrison

    (A - b z z')^-1 alpha z = alpha A^-1 z / (1 - b g),   g = z'A^-1 z.

With u_j^2 = c_j^2 / (n l_j), l_j the eigenvalues of S, and d_j those of A, 1 - b g is

    alpha (1 - 1/n - sum_j u_j^2 + sum_j u_j^2 r / d_j),

positive terms where the rows are independent, so that nothing cancels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from sklearn_gauss._numerics.arrays import (
    CHUNK_ELEMENTS,
    EPS,
    Frame,
    power_of_two,
    row_blocks,
)
from sklearn_gauss._numerics.gaussian import estimate
from sklearn_gauss._numerics.kernel.bandwidth import critical_bandwidth
from sklearn_gauss._numerics.leave_one_out import Whitened, left_out_spread, lost_sums
from sklearn_gauss._numerics.shrinkage import intensity
from sklearn_gauss._numerics.spectrum import Spectrum
from sklearn_gauss._numerics.sums import Sums, summarise
from sklearn_gauss._numerics.whitening import shrunk_axes

__all__ = [
    "RANGES",
    "SmoothedGaussian",
    "fit_gaussian",
    "geometric_scales",
    "kernel_norms",
    "left_out_norms",
]

#: Least ratio of the largest scale to the smallest: closer ones say all the same.
LEAST_RANGE = 10.0

#: What must be left of 1 - b g: below, a subtraction has cost too many digits.
SAFE_REMAINDER = 1e-5


@dataclass(frozen=True)
class SmoothedGaussian:
    """A Gaussian whose covariance is axes' diag(excess) axes + noise I, noise >= 0.

    centre : frame with the mean at zero
    axes : (k, p), orthonormal rows
    excess : (k,), in the frame's units
    """

    centre: Frame
    axes: NDArray
    excess: NDArray
    noise: float

    @property
    def variances(self) -> NDArray:
        """Positive eigenvalues in the frame, p at most."""
        found = np.full(self.axes.shape[1], self.noise)
        found[: len(self.excess)] += self.excess
        return found[found > 0]

    def norms(self, X: NDArray, scales: NDArray) -> NDArray:
        """Features (m, l) of rows X at scales (l,), in the data's units."""
        sigma = _in_frame(scales, self.centre)
        along = _damped(np.sqrt(self.excess + self.noise)[:, None], sigma)
        off = _damped(np.sqrt(self.noise), sigma)
        whole = len(self.axes) == self.axes.shape[1]
        top = np.vstack([along] if whole else [along, off]).max(axis=0)
        top = np.maximum(top, np.finfo(np.float64).tiny)
        norms = np.empty((len(X), len(scales)))
        for rows in row_blocks(*X.shape):
            Z, unit = _unit_rows(self.centre, X[rows])
            parts = Z @ self.axes.T
            squares = parts**2 @ (along / top) ** 2
            if not whole:
                rest = Z - parts @ self.axes  # not a difference of squared norms
                squares += np.einsum("ij,ij->i", rest, rest)[:, None] * (off / top) ** 2
            with np.errstate(over="ignore"):
                norms[rows] = np.sqrt(squares) * top * unit
        return norms


def _in_frame(scales: NDArray, frame: Frame) -> NDArray:
    """Scales in the units of a frame, within the range of float64."""
    with np.errstate(over="ignore", under="ignore"):
        sigma = scales / frame.scale
    return np.clip(sigma, np.finfo(np.float64).tiny, np.finfo(np.float64).max)


def _damped(roots: NDArray, sigma: NDArray) -> NDArray:
    """sigma / (roots^2 + sigma^2) without a square that could leave float64's range."""
    high = np.maximum(roots, sigma)
    ratio = np.minimum(roots, sigma) / high
    return np.where(roots > sigma, ratio, 1.0) / high / (1 + ratio**2)


def fit_gaussian(sums: Sums, rule: str | float, X: NDArray) -> tuple:
    """Gaussian of summed rows, its intensity, and the `Spectrum` of the rows."""
    spread = sums.totals.spread
    if rule == "loo":
        amount = estimate(sums, rule, X=X).shrinkage
    else:
        amount = float(intensity(rule, spread))
    p = sums.totals.n_features
    spectrum = Spectrum(np.zeros(0), np.zeros((0, p)), np.zeros((len(X), 0)))
    if spread.trace > 0:
        spectrum = shrunk_axes(sums, amount)
    excess = (1 - amount) * spectrum.squares / sums.totals.count
    noise = float(amount * spread.target)
    return SmoothedGaussian(sums.centre, spectrum.axes, excess, noise), amount, spectrum


def gaussian_range(variances: NDArray, count: int) -> tuple[float, float]:
    """Roots of the least and of the largest eigenvalue."""
    return float(np.sqrt(variances.min())), float(np.sqrt(variances.max()))


def kernel_range(variances: NDArray, count: int) -> tuple[float, float]:
    """From the critical bandwidth of Gaussian rows to the root of the largest eigenvalue.

    Below, the nearest row alone decides, and features are its distance over the scale.
    """
    low = critical_bandwidth(variances, count)
    return low, max(low, float(np.sqrt(variances.max())))


#: (variances, number of rows) to the least and the largest scale.
RANGES = {"gaussian": gaussian_range, "kde": kernel_range}


def geometric_scales(low: float, high: float, count: int) -> NDArray:
    """Scales (count,) in a constant ratio from ``low`` to ``high``.

    They are spread, about the same middle, over a ratio of `LEAST_RANGE` at least.
    """
    low, high = np.log(low), np.log(high)
    half = max(high - low, np.log(LEAST_RANGE)) / 2
    steps = np.linspace(-half, half, count) if count > 1 else np.zeros(1)
    return np.exp((low + high) / 2 + steps)


def left_out_norms(
    sums: Sums, spectrum: Spectrum, rule: str | float, amount: float, scales: NDArray
) -> NDArray:
    """Features (n, l) of the summed rows, each under the fit to the others.

    The intensity and its target are estimated again without the row; a rule that is no
    function of the sums ("loo") keeps its ``amount``.
    """
    rule = amount if rule == "loo" else rule
    n, spread = sums.totals.count, sums.totals.spread
    coordinates = spectrum.coordinates
    if coordinates is None:
        coordinates = _coordinates(sums, spectrum)
    others = left_out_spread(spread, _forms(coordinates, spectrum, n), centred=True)
    kept = np.broadcast_to(intensity(rule, others), n)
    doubtful = lost_sums(spread, others)
    norms, sigma = np.empty((n, len(scales))), _in_frame(scales, sums.frame)
    for rows in row_blocks(*coordinates.shape):
        norms[rows], unsure = _left_out_block(
            coordinates[rows] ** 2,
            spectrum.squares,
            n,
            kept[rows],
            others.target[rows],
            sigma,
        )
        doubtful[rows] |= unsure
    for row in np.flatnonzero(doubtful):
        norms[row] = _refitted(sums.rows, row, rule, scales)
    return norms


def _left_out_block(
    squares: NDArray,
    sums: NDArray,
    count: int,
    amount: NDArray,
    target: NDArray,
    sigma: NDArray,
) -> tuple[NDArray, NDArray]:
    """Features (m, l) of rows with squared coordinates (m, k), and which are doubtful.

    sums : (k,), of the squared coordinates of all rows
    """
    norms = np.empty((len(squares), len(sigma)))
    leverages = squares / sums
    free, doubtful = _free(leverages, count), np.zeros(len(squares), dtype=bool)
    ridge = (amount * target)[:, None]
    variances = ((1 - amount) / (count - 1))[:, None] * sums + ridge
    roots = np.sqrt(variances)
    for i, s in enumerate(sigma):
        inverses = _damped(roots, s)  # times s
        top = np.maximum(inverses.max(axis=1), np.finfo(np.float64).tiny)
        parts = inverses / top[:, None]
        length = np.sqrt(np.einsum("ij,ij,ij->i", parts, parts, squares)) * top
        with np.errstate(over="ignore"):
            kept = np.divide(ridge, variances + s**2, where=ridge > 0, out=0 * variances)
        # alpha z over alpha (free + share): the two alphas cancel.
        remainder = free + np.einsum("ij,ij->i", leverages, kept + s * inverses)
        with np.errstate(divide="ignore", invalid="ignore"):
            norms[:, i] = length / remainder
        doubtful |= (remainder < SAFE_REMAINDER) & (free > 0)
    return norms, doubtful | ~np.isfinite(norms).all(axis=1)


def _coordinates(sums: Sums, spectrum: Spectrum) -> NDArray:
    found = np.empty((len(sums.rows), len(spectrum.axes)))
    for rows in row_blocks(*sums.rows.shape):
        found[rows] = sums.centre.enter(sums.rows[rows]) @ spectrum.axes.T
    return found


def _forms(coordinates: NDArray, spectrum: Spectrum, count: int) -> Whitened:
    """|z|^2, z'S z and z'sum(|z|^2 z) of the rows: all that left-out sums need."""
    roots = np.sqrt(spectrum.squares / count)
    lengths, forms = np.empty((2, len(coordinates)))
    for rows in row_blocks(*coordinates.shape):
        part = coordinates[rows]
        lengths[rows] = np.einsum("ij,ij->i", part, part)
        part = part * roots
        forms[rows] = np.einsum("ij,ij->i", part, part)
    cubes = coordinates @ (coordinates.T @ lengths)
    none = np.zeros(0)
    return Whitened(none, none, 0, 0.0, 0.0, lengths, forms, cubes)


def _free(leverages: NDArray, count: int) -> NDArray:
    """1 - 1/n - sum_j u_j^2: zero where the rows are as independent as can be."""
    if leverages.shape[1] >= count - 1:
        return np.zeros(len(leverages))
    free = 1 - 1 / count - leverages.sum(axis=1)
    return np.maximum(free, count * EPS)


def _refitted(X: NDArray, i: int, rule: str | float, scales: NDArray) -> NDArray:
    """Features (l,) of row i under a fit to the other rows."""
    others = np.delete(X, i, axis=0)
    sums = summarise(others, centred=True, dense=False, by_column=False)
    return fit_gaussian(sums, rule, others)[0].norms(X[i : i + 1], scales)[0]


def kernel_norms(
    X: NDArray, rows: NDArray, centre: Frame, scales: NDArray, *, left_out: bool = False
) -> NDArray:
    """Features (m, l) of X under the kernel density of reference ``rows`` (n, p).

    ``left_out``: X are those rows themselves, and each leaves its own kernel out.
    Squared distances are sums of squared differences, which do not cancel.
    """
    sigma = _in_frame(scales, centre)
    Y = centre.enter(rows)
    norms = np.empty((len(X), len(scales)))
    step = max(CHUNK_ELEMENTS // max(len(Y), Y.shape[1]), 1)
    for start in range(0, len(X), step):
        block = slice(start, start + step)
        Z = centre.enter(X[block])
        with np.errstate(over="ignore", invalid="ignore"):
            squares = cdist(Z, Y, "sqeuclidean")
        if left_out:
            here = np.arange(len(Z))
            squares[here, start + here] = np.inf
        norms[block] = _kernel_block(Z, Y, squares, sigma)
    return norms


def _kernel_block(Z: NDArray, Y: NDArray, squares: NDArray, sigma: NDArray) -> NDArray:
    """Features (m, l) of centred rows at known squared distances (m, n)."""
    nearest = squares.min(axis=1, keepdims=True)
    reached = np.isfinite(nearest)
    excess = np.subtract(squares, nearest, where=reached, out=np.zeros_like(squares))
    norms = np.empty((len(Z), len(sigma)))
    for i, s in enumerate(sigma):
        with np.errstate(over="ignore"):
            weights = np.exp(np.maximum(excess / s / s / -2, -700.0))
        weights /= weights.sum(axis=1, keepdims=True)
        mean = weights @ Y
        # Beyond the range of squares a row is as far from all: the mean does not matter.
        gap = Z - np.where(reached, mean, 0.0)
        with np.errstate(over="ignore"):
            norms[:, i] = _lengths(gap) / s
    return norms


def _lengths(Z: NDArray) -> NDArray:
    """Lengths (m,) of rows, whatever their size."""
    with np.errstate(over="ignore"):
        unit = power_of_two(np.abs(Z).max(axis=1))
        Z = Z / unit[:, None]
        return np.sqrt(np.einsum("ij,ij->i", Z, Z)) * unit


def _unit_rows(centre: Frame, X: NDArray) -> tuple[NDArray, NDArray]:
    """Centred rows over powers of two (m, 1) that bring their squares into range."""
    Z = centre.enter(X)
    unit = power_of_two(np.abs(Z).max(axis=1))[:, None]
    return Z / unit, unit
