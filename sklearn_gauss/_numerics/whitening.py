"""Training rows whitened by S + tau I: what leaving each of them out is computed from."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from sklearn_gauss._numerics.arrays import row_blocks
from sklearn_gauss._numerics.gram import Gram
from sklearn_gauss._numerics.leave_one_out import Whitened
from sklearn_gauss._numerics.spectrum import Spectrum
from sklearn_gauss._numerics.sums import Sums, dense_operator, principal_axes

__all__ = ["LEAST_INTENSITY", "shrunk_axes", "whitened", "whitened_unshrunk"]

#: Rows are whitened for the first intensity where theirs is 0, since the inverse may not
#: exist, and for the second at most, since at 1 the data's own covariance is lost.
LEAST_INTENSITY, _MOST_INTENSITY = 1e-6, 0.5


def shrunk_axes(sums: Sums, amount: float, ridge: float = 0.0) -> Spectrum:
    """Principal axes, as accurate as shrinkage by ``amount`` lets them matter."""
    return principal_axes(sums, sums.totals.count * _tau(sums, amount, ridge, 0.0))


def _tau(sums: Sums, amount: float, ridge: float, least: float) -> float:
    """The tau of an intensity: S + tau I is a multiple of the shrunk covariance."""
    least = 0.0 if ridge else least
    weight = min(amount if amount > 0 else least, _MOST_INTENSITY)
    return float((sums.totals.spread.target * weight + ridge) / (1 - weight))


def whitened(
    sums: Sums,
    amount: float,
    X: NDArray,
    spectrum: Spectrum | None = None,
    *,
    ridge: float = 0.0,
) -> Iterator[Whitened]:
    """Blocks of rows X, whitened for a shrunk covariance of intensity ``amount``.

    ``spectrum`` saves a decomposition where the axes are known already. From a Gram
    matrix all rows come at once, and X is not read.
    """
    tau = _tau(sums, amount, ridge, LEAST_INTENSITY)
    if isinstance(sums.totals, Gram):
        spectrum = spectrum or shrunk_axes(sums, amount, ridge)
        return iter([_from_gram(sums.totals, spectrum, tau)])
    return _from_moments(sums, tau, X)


def whitened_unshrunk(sums: Sums, X: NDArray) -> Iterator[Whitened]:
    """Blocks of rows X, whitened by the covariance S itself: tau is 0."""
    operator = dense_operator(sums, 0.0, 0.0)
    for rows in row_blocks(*X.shape):
        white = operator.whiten(sums.centre.enter(X[rows]))
        none = np.zeros(len(white))
        zeros = np.zeros(operator.rank)
        yield Whitened(white**2, zeros, 0, operator.logdet, 0.0, none, none, none)


def _from_gram(totals: Gram, spectrum: Spectrum, tau: float) -> Whitened:
    """All rows at once: every form is an entry of the Gram matrix or of its powers."""
    values = spectrum.squares / totals.count + tau
    n_free = totals.n_features - len(values)
    squares = np.diagonal(totals.products)
    return Whitened(
        spectrum.coordinates**2 / values,
        1 / values,
        n_free,
        float(np.log(values).sum() + n_free * np.log(tau)),
        tau,
        squares,
        np.einsum("ij,ij->i", totals.products, totals.products) / totals.count,
        totals.products @ squares,
        leverages=spectrum.coordinates**2 / spectrum.squares,
    )


def _from_moments(sums: Sums, tau: float, X: NDArray) -> Iterator[Whitened]:
    """Block by block, along the axes that diagonalise S and S + tau I together."""
    operator = dense_operator(sums, 0.0, tau)
    kappa, rotation = linalg.eigh(
        operator.factor.T @ operator.factor, driver="evd", check_finite=False
    )
    directions = operator.factor @ rotation
    for rows in row_blocks(*X.shape):
        Z = sums.centre.enter(X[rows])
        coordinates = (Z @ directions) ** 2
        yield Whitened(
            coordinates,
            kappa,
            0,
            operator.logdet,
            tau,
            np.einsum("ij,ij->i", Z, Z),
            (coordinates / kappa) @ (1 / kappa - tau),
            Z @ sums.totals.cubic,
        )
