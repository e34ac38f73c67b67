"""A mixture of Gaussians held as factors of its precisions: densities, missing values.

Coordinates are those of a `Frame`; densities are per unit of volume there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from sklearn_gauss._numerics.arrays import row_blocks

__all__ = [
    "HUGE",
    "Mixture",
    "complete",
    "gradient",
    "joint_log_densities",
    "log_sum",
    "normal_log_density",
    "responsibilities",
]

#: Squared distances are clipped to this: sums of a few of them are still finite.
HUGE = 1e300


@dataclass(frozen=True)
class Mixture:
    """Components, and what was learnt.

    means : (K, D)
    factors : (K, D, D), F with F F' the precision
    log_dets : (K,), log-determinants of the covariances
    counts : (K,), sums of posterior probabilities, 1 for the row of the creation
    ages : (K,), rows since the creation, that row included
    n_rows, n_created, n_pruned : rows learnt, components created and pruned so far
    """

    means: NDArray
    factors: NDArray
    log_dets: NDArray
    counts: NDArray
    ages: NDArray
    n_rows: int
    n_created: int
    n_pruned: int

    @property
    def log_weights(self) -> NDArray:
        """Log of the prior probabilities (K,)."""
        return np.log(self.counts) - np.log(self.counts.sum())


def normal_log_density(squares: NDArray, log_dets: NDArray, n_features: int) -> NDArray:
    """Log-densities of Gaussians at squared distances, in nats."""
    return -0.5 * (n_features * np.log(2 * np.pi) + log_dets + squares)


def log_sum(joint: NDArray) -> NDArray:
    """Log of the sum of exponentials along the last axis, without underflow."""
    top = joint.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(joint - top).sum(axis=-1))


def joint_log_densities(mixture: Mixture, Z: NDArray) -> NDArray:
    """Log of prior times density (n, K), of rows Z (n, D) and every component.

    Squared distances beyond `HUGE` are clipped to it. Log-densities of rows are the
    `log_sum` of it.
    """
    squares = np.empty((len(Z), len(mixture.means)))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in row_blocks(*Z.shape):
            for k, (mean, factor) in enumerate(
                zip(mixture.means, mixture.factors, strict=True)
            ):
                white = (Z[rows] - mean) @ factor
                squares[rows, k] = np.einsum("ij,ij->i", white, white)
    squares = np.fmin(squares, HUGE)  # which takes the number where the other is NaN
    return mixture.log_weights + normal_log_density(squares, mixture.log_dets, Z.shape[1])


def responsibilities(joint: NDArray) -> NDArray:
    """Posterior probabilities (n, K) of the components, from `joint_log_densities`."""
    shares = np.exp(joint - joint.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def gradient(mixture: Mixture, Z: NDArray) -> NDArray:
    """Gradient (n, D) of the log-density: -sum_k p_k C_k^-1 (z - mean_k)."""
    shares = responsibilities(joint_log_densities(mixture, Z))
    total = np.zeros(Z.shape)
    for k, (mean, factor) in enumerate(zip(mixture.means, mixture.factors, strict=True)):
        total -= shares[:, k : k + 1] * (((Z - mean) @ factor) @ factor.T)
    return total


def complete(mixture: Mixture, Z: NDArray) -> NDArray:
    """Rows (n, D) with their NaN replaced by conditional expectations; a new array.

    E[z_m | z_o] = sum_k p(k | z_o) (mean_km - W_k^-1 V_k (z_o - mean_ko)) with the
    precision's blocks W = P_mm and V = P_mo; cf. section 3 of Pinto and Engel (2015),
    with the prior probabilities in p(k | z_o).
    """
    Z = Z.copy()
    missing = np.isnan(Z)
    patterns, group = np.unique(missing, axis=0, return_inverse=True)
    for g, pattern in enumerate(patterns):
        if pattern.any():
            rows = np.flatnonzero(group.ravel() == g)
            known = Z[np.ix_(rows, ~pattern)]
            Z[np.ix_(rows, pattern)] = _expectation(mixture, known, pattern)
    return Z


def _expectation(mixture: Mixture, known: NDArray, missing: NDArray) -> NDArray:
    """Conditional expectations (n, m) of the missing columns given the known ones."""
    parts = [
        _conditional(mean, factor, log_det, known, missing)
        for mean, factor, log_det in zip(
            mixture.means, mixture.factors, mixture.log_dets, strict=True
        )
    ]
    joint = np.column_stack([density for _, density in parts]) + mixture.log_weights
    shares = responsibilities(joint)
    return sum(shares[:, k : k + 1] * parts[k][0] for k in range(len(parts)))


def _conditional(mean, factor, log_det, known, missing):
    """Expectations (n, m) under one component, and marginal log-densities (n,).

    With the QR decomposition Q R of F_m' and a = F_o'(z_o - mean_o): P_mm = R'R, the
    expectation is mean_m - R^-1 Q'a, the squared distance of the marginal |a - Q Q'a|^2,
    and its log-determinant log|C| + log|P_mm|.
    """
    q, r = linalg.qr(factor[missing].T, mode="economic", check_finite=False)
    with np.errstate(over="ignore", invalid="ignore"):
        white = (known - mean[~missing]) @ factor[~missing]
        along = white @ q
        rest = white - along @ q.T
        squares = np.fmin(np.einsum("ij,ij->i", rest, rest), HUGE)
    shift = linalg.solve_triangular(r, along.T, check_finite=False).T
    log_det = log_det + 2 * np.log(np.abs(np.diagonal(r))).sum()
    return mean[missing] - shift, normal_log_density(squares, log_det, known.shape[1])
