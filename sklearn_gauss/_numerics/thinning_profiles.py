"""Kernels for thinning, as functions of the squared distance that may overwrite it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma, kv

__all__ = ["PROFILES", "Profile"]

Profile = Callable[[NDArray], NDArray]


def _gaussian(squares: NDArray) -> NDArray:
    squares *= -0.5
    return np.exp(squares, out=squares)


def _gaussian_root(squares: NDArray) -> NDArray:
    """k^(1/2): the Gaussian of bandwidth 1/sqrt(2)."""
    return np.exp(np.negative(squares, out=squares), out=squares)


def _gaussian_sum(squares: NDArray) -> NDArray:
    target = _gaussian(squares)
    return target + target**2  # the root kernel is the square of the target


def _exponential(squares: NDArray) -> NDArray:
    distances = np.sqrt(squares, out=squares)
    return np.exp(np.negative(distances, out=distances), out=distances)


def _matern(squares: NDArray) -> NDArray:
    """k^(alpha), alpha = (d + 1/2) / (d + 1): 2^(3/4) / Gamma(1/4) r^(1/4) K_1/4(r).

    Interpolated in sqrt(r), of which it is a smooth function: K is slow to compute.
    """
    places = np.sqrt(np.sqrt(squares, out=squares), out=squares)
    places *= (len(_MATERN) - 2) / _MATERN_END
    np.minimum(places, len(_MATERN) - 2, out=places)
    lower = places.astype(np.intp)
    places -= lower
    return _MATERN[lower] + places * (_MATERN[lower + 1] - _MATERN[lower])


def _matern_table(end: float, size: int) -> NDArray:
    r = np.linspace(0, end, size)[1:] ** 2
    return np.r_[1.0, 2**0.75 / gamma(0.25) * r**0.25 * kv(0.25, r), 0.0]


_MATERN_END = 6.0  # r = 36, where 1e-16 is left
_MATERN = _matern_table(_MATERN_END, 4096)


def _exponential_sum(squares: NDArray) -> NDArray:
    return _matern(squares.copy()) + _exponential(squares)


#: By kernel and split kernel. Each is 1 at zero, and their sum 2.
PROFILES: dict[str, dict[str, Profile]] = {
    "gaussian": {
        "target": _gaussian,
        "power": _gaussian_root,
        "sum": _gaussian_sum,
    },
    "exponential": {
        "target": _exponential,
        "power": _matern,
        "sum": _exponential_sum,
    },
}
