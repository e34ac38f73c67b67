"""Covariances held as a factor of their precision: F with Sigma^+ = F F'.

The operator for n > p, and for unshrunk covariances, whose rank r may be less than p.
It is also the oracle against which the structured operator is tested.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg.lapack import dpocon, dtrtri

from sklearn_gauss._numerics.spectrum import SQUARED_CONDITION, rank_tolerance, svd

__all__ = ["DenseCovariance", "from_covariance", "from_precision", "from_root", "root_of"]


@dataclass(frozen=True)
class DenseCovariance:
    """Covariance with precision ``factor @ factor.T``.

    factor : (p, r)
    logdet : float, log of the product of the r eigenvalues that are not zero
    condition : float, by which rounding errors of the rows are multiplied

    ``factor`` of full column rank is an invariant and not checked.
    """

    factor: NDArray
    logdet: float
    condition: float = 1.0

    @property
    def n_features(self) -> int:
        return self.factor.shape[0]

    @property
    def rank(self) -> int:
        return self.factor.shape[1]

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues: |F^+|^2."""
        inverse = self._inverse_factor()
        return float(np.vdot(inverse, inverse))

    def whiten(self, Z: NDArray) -> NDArray:
        """Rows Z F, whose squared lengths are the Mahalanobis distances."""
        return Z @ self.factor

    def squared_lengths(self, Z: NDArray) -> NDArray:
        """Squared Mahalanobis distances (n,) of centred rows."""
        white = Z @ self.factor
        return np.einsum("ij,ij->i", white, white)

    def solve(self, Z: NDArray) -> NDArray:
        """Rows Z Sigma^+."""
        return (Z @ self.factor) @ self.factor.T

    def decompose(self, Z: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Squared distances by principal axis (n, r), residuals, variances, axes."""
        axes, roots, _ = svd(self.factor)
        axes, roots = axes[:, ::-1], roots[::-1]
        parts = (Z @ axes * roots) ** 2
        return parts, np.zeros(len(Z)), roots**-2, axes.T

    def shrink(self, amount: float) -> "DenseCovariance":
        """(1 - amount) Sigma + amount tr(Sigma)/p I."""
        matrix = (1 - amount) * self.to_dense()
        matrix.flat[:: len(matrix) + 1] += amount * self.trace / len(matrix)
        return from_covariance(matrix) or from_root(linalg.cholesky(matrix))

    def to_dense(self) -> NDArray:
        """The covariance (p, p)."""
        inverse = self._inverse_factor()
        return inverse.T @ inverse

    def precision(self) -> NDArray:
        """The precision (p, p)."""
        return self.factor @ self.factor.T

    def _inverse_factor(self) -> NDArray:
        if self.rank == self.n_features:
            return linalg.inv(self.factor)
        return linalg.pinv(self.factor, atol=0.0, rtol=0.0)


def from_covariance(covariance: NDArray) -> DenseCovariance | None:
    """Operator from a covariance (p, p), or None where its condition is too large.

    Cholesky of the matrix scaled to a unit diagonal: badly scaled columns cost no
    digits, only correlation does.
    """
    scale = np.sqrt(np.diagonal(covariance))
    if not scale.min() > 0:
        return None
    correlation = covariance / scale / scale[:, None]
    norm = np.abs(correlation).sum(axis=0).max()
    try:
        lower = linalg.cholesky(
            correlation, lower=True, overwrite_a=True, check_finite=False
        )
    except linalg.LinAlgError:
        return None
    if dpocon(lower, norm, uplo="L")[0] < SQUARED_CONDITION:
        return None
    inverse = dtrtri(lower, lower=1)[0]
    logdet = 2 * float(np.log(scale).sum() + np.log(np.diagonal(lower)).sum())
    return DenseCovariance(np.ascontiguousarray((inverse / scale).T), logdet)


def from_root(root: NDArray) -> DenseCovariance:
    """Operator of ``root.T @ root`` for a root (m, p), without forming the product.

    The rank is decided on columns scaled to similar size, by D. With the singular
    value decomposition U s V' of the scaled root, F = D^-1 V s^-1 if the rank is full.
    Otherwise the Moore-Penrose inverse in the data's own units needs a projection onto
    the row space: along the null vectors where these are few (m >= p), else from the
    decomposition T = Q R of T = D V s, as F = Q R'^-1.
    """
    tall = len(root) >= root.shape[1]
    if len(root) > root.shape[1]:
        root = linalg.qr(root, mode="r", check_finite=False)[0][: root.shape[1]]
    scale = np.sqrt(np.einsum("ij,ij->j", root, root))
    scale = np.where(scale > 0, scale, 1.0)
    _, values, axes = svd(root / scale)
    kept = values > rank_tolerance(root.shape) * values[0]
    null, values, axes = axes[~kept], values[kept], axes[kept]
    condition = values[0] / values[-1]
    factor = np.ascontiguousarray((axes / values[:, None] / scale).T)
    if len(values) == root.shape[1]:
        logdet = 2 * float(np.log(scale).sum() + np.log(values).sum())
        return DenseCovariance(factor, logdet, condition)
    logdet = 2 * float(np.log(values).sum())
    if tall:
        null, outside = linalg.qr((null / scale).T, mode="economic", check_finite=False)
        factor = factor - null @ (null.T @ factor)
        # Jacobi's identity of complementary minors: det(V'D^2 V) over the row space.
        logdet += 2 * float(np.log(scale).sum() + _log_diagonal(outside))
    else:
        span, inside = linalg.qr(
            (axes * values[:, None] * scale).T, mode="economic", check_finite=False
        )
        factor = linalg.solve_triangular(inside, span.T, check_finite=False).T
        logdet = 2 * _log_diagonal(inside)
    return DenseCovariance(np.ascontiguousarray(factor), logdet, condition)


def _log_diagonal(triangle: NDArray) -> float:
    return float(np.log(np.abs(np.diagonal(triangle))).sum())


def root_of(covariance: NDArray) -> NDArray:
    """Root R (p, p) with ``R.T @ R`` equal to a covariance, as far as it has digits.

    Directions of the correlation matrix whose variance is rounding have zero rows.
    """
    scale = np.sqrt(np.diagonal(covariance))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = linalg.eigh(
        covariance / scale / scale[:, None], driver="evd", check_finite=False
    )
    rounding = 64 * rank_tolerance(covariance.shape) * values[-1]
    values = np.where(values > rounding, values, 0.0)
    return np.sqrt(values)[:, None] * vectors.T * scale


def from_precision(precision: NDArray) -> DenseCovariance:
    """Operator from a precision matrix (p, p), singular or not."""
    values, vectors = linalg.eigh(precision, driver="evd")
    kept = values > len(values) * rank_tolerance(precision.shape) * values[-1]
    factor = vectors[:, kept] * np.sqrt(values[kept])
    return DenseCovariance(factor, -float(np.log(values[kept]).sum()))
