"""Which way rows differ from normal ones, compared with the ways that anomalies do.

Offsets of rows from what is normal are compared by their cosine, under a metric P: the
precision of a Gaussian, or the identity. Prototypes are combinations of the directions
of anomalies, so that what many sets of them need is computed once, as products.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import power_of_two
from sklearn_gauss._numerics.gaussian import Gaussian
from sklearn_gauss._numerics.residuals import Bank, nearest, unit_rows

__all__ = [
    "Directions",
    "GaussianSpace",
    "ResidualSpace",
    "cosines",
    "placements",
]

#: What must be left of 1 - b g where a row is taken out of a covariance.
_LEAST_REMAINDER = 1e-12

#: Size of an offset beyond which only its direction is kept.
_LARGEST = 2.0**1000

#: Most that a unit moves by: its offset was zero but for rounding.
_MOST = 1e100

Solve = Callable[[NDArray], NDArray]


@dataclass(frozen=True)
class Directions:
    """Directions of k anomalies beside n normal rows, each left out of the Gaussian.

    Prototypes are combinations of them, with weights W (r, k); a row of W may have any
    length.

    units : (k, p), offsets of length 1 under P; zeros for an offset of zero
    lengths : (k,), of the offsets
    among : (k, k), products of the units, which are cosines
    with_normal : (n, k), products z'P v of the normal rows' offsets and the units
    squares : (n,), z'P z
    moves : (k,), how much of z a unit moves by where the row is left out
    loss : float, how much of z z' the covariance loses then
    """

    units: NDArray
    lengths: NDArray
    among: NDArray
    with_normal: NDArray
    squares: NDArray
    moves: NDArray
    loss: float

    @classmethod
    def of(
        cls,
        offsets: tuple[NDArray, NDArray],
        normal: NDArray,
        solve: Solve,
        nu: float = 0.0,
        loss: float = 0.0,
    ) -> "Directions":
        """Directions of offsets (k, p), with sizes (k,) of which these are multiples.

        ``normal`` (n, p) are offsets of normal rows, ``nu`` how much of one the mean
        moves by without it, and ``solve`` multiplies rows by P.
        """
        A, sizes = offsets
        duals = solve(A)
        lengths = np.sqrt(np.maximum(np.einsum("ij,ij->i", A, duals), 0.0))
        over = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        units, duals = A * over[:, None], duals * over[:, None]
        among = units @ duals.T
        squares = np.maximum(np.einsum("ij,ij->i", normal, solve(normal)), 0.0)
        moves = np.minimum(nu * (over / sizes), _MOST)
        lengths = _bounded(lengths, sizes)
        products = normal @ duals.T
        return cls(units, lengths, (among + among.T) / 2, products, squares, moves, loss)

    @cached_property
    def coordinates(self) -> NDArray:
        """Rows (k, k) whose products are the cosines."""
        values, vectors = np.linalg.eigh(self.among)
        return vectors * np.sqrt(np.maximum(values, 0.0))

    def singly(self, some: NDArray) -> NDArray:
        """Weights (r, k) that make prototypes of some anomalies (r,), one of each."""
        return np.eye(len(self.units))[some]

    def grouped(self, some: NDArray, groups: NDArray) -> NDArray:
        """Weights (r, k) of the mean directions of groups (s,) of some anomalies (s,)."""
        names, places = np.unique(groups, return_inverse=True)
        weights = np.zeros((len(names), len(self.units)))
        weights[places, some] = 1.0
        weights /= weights.sum(axis=1, keepdims=True)
        sizes = np.sqrt(self._squares(weights))[:, None]
        return np.divide(weights, sizes, out=weights, where=sizes > 0)

    def prototypes(self, weights: NDArray) -> NDArray:
        """Prototypes (r, p), each as long as its anomalies are on average."""
        members = weights > 0
        lengths = (members / members.sum(axis=1, keepdims=True)) @ self.lengths
        return weights @ self.units * lengths[:, None]

    def cosines(self, some: NDArray, weights: NDArray) -> NDArray:
        """Cosines (s, r) of some anomalies (s,) and prototypes."""
        own = np.diag(self.among)[some, None]
        return _over_lengths(self.among[some] @ weights.T, own, self._squares(weights))

    def left_out_cosines(self, weights: NDArray) -> NDArray:
        """Cosines (n, r) of normal rows and prototypes, each row left out in turn.

        With z a row less the mean, and nu = 1 / (n - 1), the other rows have the mean
        -nu z and, at the same intensity a and target, over n nu, the covariance

            Sigma_(-) = Sigma - (1 - a) nu z z',

        so that the offset of the row is (1 + nu) z, that of an anomaly a + nu z and a
        prototype sum_j w_j a_j moves by nu z sum_j w_j, which is not nu z where the
        weights do not add to 1. With b = (1 - a) nu and g = z'P z

            u'P_(-) v = u'P v + b (u'P z) (z'P v) / (1 - b g).
        """
        g, moves = self.squares[:, None], weights @ self.moves
        products = self.with_normal @ weights.T
        remainder = np.maximum(1 - self.loss * g, _LEAST_REMAINDER)
        to_row = products + moves * g
        squares = self._squares(weights) + 2 * moves * products + moves**2 * g
        squares += self.loss * to_row**2 / remainder
        return _over_lengths(to_row / remainder, g / remainder, squares)

    def _squares(self, weights: NDArray) -> NDArray:
        """Squared lengths (r,) of prototypes."""
        found = np.einsum("ij,ij->i", weights @ self.among, weights)
        return np.maximum(found, 0.0)


@dataclass(frozen=True)
class GaussianSpace:
    """Offsets from the mean of a Gaussian, compared under its precision."""

    gaussian: Gaussian

    @property
    def unit(self) -> float:
        """Size, in the data's units, of what lengths are in."""
        return float(self.gaussian.centre.scale)

    def offsets(self, X: NDArray) -> tuple[NDArray, NDArray]:
        """Offsets (n, p) of rows over powers of two (n,), which are the others.

        The direction is right for any finite row.
        """
        frame = self.gaussian.centre
        with np.errstate(over="ignore", invalid="ignore"):
            Z, units = frame.enter(X), np.ones(len(X))
            far = ~np.isfinite(Z).all(axis=1)
            own = power_of_two(np.abs(X[far]).max(axis=1))[:, None]
            units[far] = own[:, 0] / frame.scale
        Z[far] = X[far] / own - frame.origin / own  # the shift is nothing beside it
        return _sized(Z, units)

    def solve(self, Z: NDArray) -> NDArray:
        """Rows times the precision."""
        return self.gaussian.covariance.solve(Z)

    def directions(self, anomalies: NDArray, normal: NDArray) -> Directions:
        """Directions of anomalies beside the training rows."""
        Z, nu = self.gaussian.centre.enter(normal), 1 / (len(normal) - 1)
        loss = (1 - self.gaussian.shrinkage) * nu
        return Directions.of(self.offsets(anomalies), Z, self.solve, nu, loss)


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
        """Size, in the data's units, of what lengths are in."""
        return 1.0

    def offsets(self, X: NDArray, own: NDArray | None = None) -> tuple[NDArray, NDArray]:
        """Residuals (n, p) of rows over powers of two (n,), which are the others.

        Without the reference rows ``own`` (n,).
        """
        references = self.rows[nearest(self.bank, X, own=own)]
        with np.errstate(over="ignore"):
            Z = np.subtract(X, references, dtype=np.float64)
        far = ~np.isfinite(Z).all(axis=1)
        Z[far] = X[far] / 2.0 - references[far] / 2.0
        return _sized(Z, np.where(far, 2.0, 1.0))

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

    def directions(self, anomalies: NDArray, normal: NDArray) -> Directions:
        """Directions of anomalies beside the reference rows."""
        Z, _ = self.offsets(normal, np.arange(len(normal)))
        return Directions.of(self.offsets(anomalies), Z, self.solve)


def _sized(Z: NDArray, units: NDArray) -> tuple[NDArray, NDArray]:
    """Rows (n, p) over powers of two (n,), and these times ``units`` (n,)."""
    sizes = power_of_two(np.abs(Z).max(axis=1))
    Z /= sizes[:, None]
    return Z, _bounded(units, sizes)


def _bounded(one: NDArray, other: NDArray) -> NDArray:
    with np.errstate(over="ignore"):
        return np.minimum(one * other, _LARGEST)


def cosines(offsets: NDArray, prototypes: NDArray, solve: Solve) -> NDArray:
    """Cosines (n, r) of offsets (n, p) and prototypes (r, p) under a metric.

    ``solve`` multiplies rows by P. An offset of zero has a cosine of 0 with any other.
    """
    prototypes = prototypes / power_of_two(np.abs(prototypes).max(axis=1))[:, None]
    duals = solve(prototypes)
    own = np.einsum("ij,ij->i", prototypes, duals)
    squares = np.einsum("ij,ij->i", offsets, solve(offsets))
    return _over_lengths(offsets @ duals.T, squares[:, None], own)


def _over_lengths(products: NDArray, one: NDArray, other: NDArray) -> NDArray:
    lengths = np.sqrt(np.maximum(one, 0.0)) * np.sqrt(np.maximum(other, 0.0))
    found = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.clip(found, -1.0, 1.0)


def placements(anomalies: NDArray, normals: NDArray) -> NDArray:
    """Share (k,) of normal rows that are less anomalous than each; ties count half.

    The mean of them is the area under the ROC curve.
    """
    ordered = np.sort(normals)
    below = np.searchsorted(ordered, anomalies, side="left")
    return (below + np.searchsorted(ordered, anomalies, side="right")) / (
        2 * len(ordered)
    )
