"""Which way rows differ from normal ones, compared with the ways that anomalies do.

Offsets of rows from what is normal are compared by their cosine, under a metric P: the
precision of a Gaussian, or the identity. Prototypes are offsets of anomalies.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.gaussian import Gaussian
from sklearn_gauss._numerics.residuals import Bank, nearest, unit_rows

__all__ = [
    "GaussianSpace",
    "ResidualSpace",
    "cosines",
    "left_out_cosines",
    "placements",
    "prototypes_of_groups",
    "whitened_coordinates",
]

#: What must be left of 1 - b g where a row is taken out of a covariance.
_LEAST_REMAINDER = 1e-12

Solve = Callable[[NDArray], NDArray]


@dataclass(frozen=True)
class GaussianSpace:
    """Offsets from the mean of a Gaussian, compared under its precision."""

    gaussian: Gaussian

    @property
    def unit(self) -> float:
        """Size, in the data's units, of what offsets are in."""
        return float(self.gaussian.centre.scale)

    def offsets(self, X: NDArray) -> NDArray:
        """Offsets (n, p) of rows."""
        return self.gaussian.centre.enter(X)

    def solve(self, Z: NDArray) -> NDArray:
        """Rows times the precision."""
        return self.gaussian.covariance.solve(Z)

    def left_out(self, rows: NDArray) -> Callable[[NDArray], NDArray]:
        """Function of prototypes (r, p): cosines (n, r) of left-out training rows."""
        Z = self.offsets(rows)
        g = np.einsum("ij,ij->i", Z, self.solve(Z))
        return lambda prototypes: left_out_cosines(
            Z, g, prototypes, self.solve, self.gaussian.shrinkage
        )


@dataclass(frozen=True)
class ResidualSpace:
    """Offsets from the reference row of greatest cosine, compared as they are."""

    rows: NDArray

    @property
    def bank(self) -> Bank:
        """The reference rows, as they are looked up."""
        return Bank.of(self.rows, np.arange(len(self.rows)), "cosine")

    @property
    def unit(self) -> float:
        """Size, in the data's units, of what offsets are in."""
        return float(self.bank.frame.scale)

    def offsets(self, X: NDArray, own: NDArray | None = None) -> NDArray:
        """Residuals (n, p) of rows, without the reference rows ``own`` (n,)."""
        bank = self.bank
        places = nearest(bank, X, own=own)
        return (X - self.rows[places].astype(np.float64)) / float(bank.frame.scale)

    def dissimilarity(self, X: NDArray, own: NDArray | None = None) -> NDArray:
        """(1 - cos) / 2 (n,) of rows and the reference row of greatest cosine."""
        bank = self.bank
        places = nearest(bank, X, own=own)
        gaps = unit_rows(X) - unit_rows(self.rows)[places]
        found = np.einsum("ij,ij->i", gaps, gaps) / 4
        return np.where(X.any(axis=1) & ~bank.empty[places], found, 0.5)

    def solve(self, Z: NDArray) -> NDArray:
        """The rows themselves."""
        return Z

    def left_out(self, rows: NDArray) -> Callable[[NDArray], NDArray]:
        """Function of prototypes (r, p): cosines (n, r) of left-out training rows."""
        Z = self.offsets(rows, np.arange(len(rows)))
        return lambda prototypes: cosines(Z, prototypes, self.solve)


def cosines(offsets: NDArray, prototypes: NDArray, solve: Solve) -> NDArray:
    """Cosines (n, r) of offsets (n, p) and prototypes (r, p) under a metric.

    ``solve`` multiplies rows by P. An offset of zero has a cosine of 0 with any other.
    """
    duals = solve(prototypes)
    own = np.einsum("ij,ij->i", prototypes, duals)
    squares = np.einsum("ij,ij->i", offsets, solve(offsets))
    return _over_lengths(offsets @ duals.T, squares[:, None], own)


def _over_lengths(products: NDArray, one: NDArray, other: NDArray) -> NDArray:
    lengths = np.sqrt(np.maximum(one, 0.0)) * np.sqrt(np.maximum(other, 0.0))
    found = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.clip(found, -1.0, 1.0)


def left_out_cosines(
    Z: NDArray, g: NDArray, prototypes: NDArray, solve: Solve, shrinkage: float
) -> NDArray:
    """Cosines (n, r) of training rows and prototypes under the Gaussian without the row.

    With z a row (n, p) less the mean, and nu = 1 / (n - 1), the other rows have the mean
    -nu z and, at the same intensity a and target, over n nu, the covariance

        Sigma_(-) = Sigma - (1 - a) nu z z',

    so that offsets are (1 + nu) z and r + nu z, and with b = (1 - a) nu, g = z'P z

        u'P_(-) v = u'P v + b (u'P z) (z'P v) / (1 - b g).

    ``g`` (n,) are the squared lengths.
    """
    nu = 1 / (len(Z) - 1)
    b, duals, g = (1 - shrinkage) * nu, solve(prototypes), g[:, None]
    own = np.einsum("ij,ij->i", prototypes, duals)
    products = Z @ duals.T
    remainder = np.maximum(1 - b * g, _LEAST_REMAINDER)
    to_row = products + nu * g
    squares = own + 2 * nu * products + nu**2 * g + b * to_row**2 / remainder
    return _over_lengths(to_row / remainder, g / remainder, squares)


def whitened_coordinates(offsets: NDArray, solve: Solve) -> NDArray:
    """Coordinates (k, k) of the directions of offsets (k, p) under a metric.

    Rows of unit length whose products are the cosines of the offsets.
    """
    gram = cosines(offsets, offsets, solve)
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def prototypes_of_groups(offsets: NDArray, groups: NDArray, solve: Solve) -> NDArray:
    """Mean direction of each group of offsets (k, p), at the group's mean length."""
    squares = np.einsum("ij,ij->i", offsets, solve(offsets))
    lengths = np.sqrt(np.maximum(squares, 0.0))[:, None]
    units = np.divide(offsets, lengths, out=np.zeros_like(offsets), where=lengths > 0)
    members = (groups[None] == np.unique(groups)[:, None]).astype(np.float64)
    members /= members.sum(axis=1, keepdims=True)
    means = members @ units
    squares = np.einsum("ij,ij->i", means, solve(means))
    sizes = np.sqrt(np.maximum(squares, 0.0))[:, None]
    means = np.divide(means, sizes, out=np.zeros_like(means), where=sizes > 0)
    return means * (members @ lengths)


def placements(anomalies: NDArray, normals: NDArray) -> NDArray:
    """Share (k,) of normal rows that are less anomalous than each; ties count half.

    The mean of them is the area under the ROC curve.
    """
    ordered = np.sort(normals)
    below = np.searchsorted(ordered, anomalies, side="left")
    return (below + np.searchsorted(ordered, anomalies, side="right")) / (
        2 * len(ordered)
    )
