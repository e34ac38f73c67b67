"""How much a covariance is pulled towards a multiple of the identity: scalars in and out.

Sigma = (1 - a) S + a m I with S = (1/n) sum z z' and m = tr(S) / p. Every rule takes a
`Spread` and also accepts arrays in its fields, one entry for each left-out fit.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import EPS

__all__ = ["INTENSITIES", "Spread", "intensity", "ledoit_wolf", "oas", "rblw"]

Scalars = float | NDArray


class Spread(NamedTuple):
    """What the intensity rules need of a covariance S of n rows in p dimensions."""

    count: int
    n_features: int
    trace: Scalars
    """tr(S)"""
    dispersion: Scalars
    """|S - m I|^2 in the Frobenius norm, which is tr(S^2) - tr(S)^2 / p"""
    quartic: Scalars
    """mean over the rows of |z|^4"""

    @property
    def target(self) -> Scalars:
        """m = tr(S) / p."""
        return self.trace / self.n_features

    @property
    def square_trace(self) -> Scalars:
        """tr(S^2)."""
        return self.dispersion + self.trace**2 / self.n_features


def ledoit_wolf(spread: Spread) -> Scalars:
    """Ledoit and Wolf (2004), the intensity of scikit-learn's ``ledoit_wolf``.

    a = min(beta, delta) / delta with delta = |S - m I|^2 / p and
    beta = (mean |z|^4 - tr(S^2)) / (n p).
    """
    squares = spread.square_trace
    error = spread.quartic - squares
    # All outer products z z' alike (two rows, say): what is left is rounding.
    error = np.where(error > 32 * EPS * squares, error, 0.0) / spread.count
    return _ratio(error, spread.dispersion)


def oas(spread: Spread) -> Scalars:
    """Oracle approximating shrinkage, eq. 23 of Chen, Wiesel, Eldar and Hero (2010).

    a = ((1 - 2/p) tr(S^2) + tr(S)^2) / ((n + 1 - 2/p) (tr(S^2) - tr(S)^2 / p)), at most
    1. scikit-learn leaves the terms in 2/p out.
    """
    n, p = spread.count, spread.n_features
    estimate = (1 - 2 / p) * spread.square_trace + spread.trace**2
    return _ratio(estimate, (n + 1 - 2 / p) * spread.dispersion)


def rblw(spread: Spread) -> Scalars:
    """Rao-Blackwellised Ledoit-Wolf, eq. 17 of Chen, Wiesel, Eldar and Hero (2010).

    a = ((n-2)/n tr(S^2) + tr(S)^2) / ((n + 2) (tr(S^2) - tr(S)^2 / p)), at most 1.
    """
    n = spread.count
    estimate = (n - 2) / n * spread.square_trace + spread.trace**2
    return _ratio(estimate, (n + 2) * spread.dispersion)


INTENSITIES: dict[str, Callable[[Spread], Scalars]] = {
    "ledoit_wolf": ledoit_wolf,
    "oas": oas,
    "rblw": rblw,
}


def intensity(rule: str | float, spread: Spread) -> Scalars:
    """Intensity in [0, 1] by a rule's name, or a fixed number as it is."""
    return INTENSITIES[rule](spread) if isinstance(rule, str) else float(rule)


def _ratio(numerator: Scalars, denominator: Scalars) -> Scalars:
    """Quotient cut to [0, 1]; 0 where S is a multiple of the identity already."""
    safe = np.where(denominator > 0, denominator, 1.0)
    ratio = np.where(denominator > 0, numerator / safe, 0.0)
    return np.clip(ratio, 0.0, 1.0)[()]
