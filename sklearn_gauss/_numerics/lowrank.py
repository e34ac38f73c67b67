"""Covariances ``axes' diag(excess) axes + noise I``, never formed as a p x p array.

They arise when a covariance of n <= p rows is shrunk towards a multiple of the identity.
With k axes, whitening a row costs 4 p k operations, the trace and the determinant k.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.spectrum import Spectrum

__all__ = ["LowRankIsotropic", "from_spectrum"]


@dataclass(frozen=True)
class LowRankIsotropic:
    """Low-rank plus isotropic covariance.

    axes : (k, p), orthonormal rows
    excess : (k,), variance along the axes beyond the noise, >= 0
    noise : float, variance in every other direction, > 0

    The determinant is noise^(p - k) prod (excess + noise). The invariants are not
    checked again.
    """

    axes: NDArray
    excess: NDArray
    noise: float

    @property
    def n_features(self) -> int:
        return self.axes.shape[1]

    @property
    def rank(self) -> int:
        return self.n_features

    @property
    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return float(self.excess.sum() + self.n_features * self.noise)

    @property
    def logdet(self) -> float:
        """Log-determinant."""
        free = self.n_features - len(self.excess)
        spread = np.log(self.excess + self.noise).sum()
        return float(spread + (free * np.log(self.noise) if free else 0.0))

    def split(self, Z: NDArray) -> tuple[NDArray, NDArray]:
        """Whitened coordinates (n, k) along the axes and whitened residuals (n, p)."""
        along = Z @ self.axes.T
        residual = self._residual(Z, along)
        residual /= np.sqrt(self.noise)
        along /= np.sqrt(self.excess + self.noise)
        return along, residual

    def whiten(self, Z: NDArray) -> NDArray:
        """Rows (n, k + p) whose squared lengths are the Mahalanobis distances."""
        return np.hstack(self.split(Z))

    def squared_lengths(self, Z: NDArray) -> NDArray:
        """Squared Mahalanobis distances (n,) of centred rows."""
        along, residual = self.split(Z)
        return np.einsum("ij,ij->i", along, along) + np.einsum(
            "ij,ij->i", residual, residual
        )

    def solve(self, Z: NDArray) -> NDArray:
        """Rows Z Sigma^-1."""
        along = Z @ self.axes.T
        residual = self._residual(Z, along)
        return (along / (self.excess + self.noise)) @ self.axes + residual / self.noise

    def decompose(self, Z: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Squared distances by principal axis (n, k), residuals, variances, axes."""
        along, residual = self.split(Z)
        variances = self.excess + self.noise
        return along**2, np.einsum("ij,ij->i", residual, residual), variances, self.axes

    def shrink(self, amount: float) -> "LowRankIsotropic":
        """(1 - amount) Sigma + amount tr(Sigma)/p I."""
        target = self.trace / self.n_features
        noise = (1 - amount) * self.noise + amount * target
        return LowRankIsotropic(self.axes, (1 - amount) * self.excess, noise)

    def to_dense(self) -> NDArray:
        """The covariance (p, p)."""
        matrix = (self.axes.T * self.excess) @ self.axes
        matrix.flat[:: self.n_features + 1] += self.noise
        return matrix

    def precision(self) -> NDArray:
        """The precision (p, p), by Woodbury's identity."""
        weights = -self.excess / (self.noise * (self.excess + self.noise))
        matrix = (self.axes.T * weights) @ self.axes
        matrix.flat[:: self.n_features + 1] += 1 / self.noise
        return matrix

    def _residual(self, Z: NDArray, along: NDArray) -> NDArray:
        if len(self.axes) == self.n_features:
            return np.zeros_like(Z)
        # Not a difference of squared norms: that one cancels when the rows lie close to
        # the axes.
        return Z - along @ self.axes


def from_spectrum(
    spectrum: Spectrum, count: int, amount: float, noise: float
) -> LowRankIsotropic:
    """(1 - amount) S + noise I, for the covariance S of ``count`` rows."""
    excess = (1 - amount) * spectrum.squares / count
    return LowRankIsotropic(spectrum.axes, excess, noise)
