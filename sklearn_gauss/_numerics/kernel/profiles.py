"""Kernels of a density: profile, normaliser, slope, variance and draws, in any dimension.

A kernel is a function of the distance u in bandwidths, K(u), 1 at u = 0. The functions
below take s = -u^2 / 2, the exponent of the Gaussian kernel; rounding may leave it
slightly above 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["KERNELS", "Kernel"]


@dataclass(frozen=True)
class Kernel:
    """A radial kernel.

    log_profile : log K at exponents s; minus infinity outside the support
    slope : d log K / ds there, which weighs the terms of a gradient; 0 outside
    log_integral : dimension d to the log of the integral of K over R^d
    variance : dimension d to the variance of the normalised kernel along an axis
    draw_radii : (generator, d, n) to n distances from the centre of the kernel's law
    compact : whether K is 0 from u = 1 on
    cusp : whether log K has an infinite slope at u = 0
    """

    log_profile: Callable[[NDArray], NDArray]
    slope: Callable[[NDArray], NDArray]
    log_integral: Callable[[int], float]
    variance: Callable[[int], float]
    draw_radii: Callable[[np.random.Generator, int, int], NDArray]
    compact: bool = True
    cusp: bool = False


def _log_ball(d: int) -> float:
    """Log-volume of the unit ball."""
    return float(d / 2 * np.log(np.pi) - special.gammaln(d / 2 + 1))


def _distance(s: NDArray) -> NDArray:
    return np.sqrt(np.maximum(-2.0 * s, 0.0))


def _log_inside(value: NDArray) -> NDArray:
    """Logarithm where positive, minus infinity elsewhere."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(value, 0.0))


def _inside(s: NDArray, slope: NDArray) -> NDArray:
    return np.where(-2.0 * s < 1.0, slope, 0.0)


def _quotient(numerator: NDArray, denominator: NDArray) -> NDArray:
    """Quotient, finite also where the denominator is 0."""
    return numerator / np.maximum(denominator, np.finfo(np.float64).tiny ** 0.5)


def _log_cosine(s: NDArray) -> NDArray:
    u = np.minimum(_distance(s), 1.0)
    # The complement's sine keeps its digits where the cosine vanishes.
    return _log_inside(np.sin(np.pi / 2 * (1.0 - u)))


def _cosine_slope(s: NDArray) -> NDArray:
    u = np.minimum(_distance(s), 1.0)
    sine_ratio = np.pi / 2 * np.sinc(u / 2)  # sin(pi u / 2) / u
    return _inside(s, np.pi / 2 * _quotient(sine_ratio, np.cos(np.pi / 2 * u)))


def _cosine_moment(power: int) -> float:
    """Integral of u^power cos(pi u / 2) over [0, 1].

    By parts, (a / m) int u^m sin(a u) with m = power + 1 and a = pi / 2, whose series
    of a^(2j+1) / ((2j+1)! (m + 2j + 2)) loses no digits in any dimension.
    """
    a, m, j = np.pi / 2, power + 1, np.arange(14)
    terms = (-1.0) ** j * a ** (2 * j + 1) / special.factorial(2 * j + 1)
    return float(a / m * np.sum(terms / (m + 2 * j + 2)))


def _cosine_variance(d: int) -> float:
    return _cosine_moment(d + 1) / _cosine_moment(d - 1) / d


def _cosine_radii(rng: np.random.Generator, d: int, n: int) -> NDArray:
    """By rejection from the linear kernel, of which it is at most pi / 2 times."""
    radii, found = np.empty(n), 0
    while found < n:
        u = rng.beta(d, 2, size=2 * (n - found) + 8)
        ratio = np.sinc((1.0 - u) / 2)  # cos(pi u / 2) / ((pi / 2) (1 - u))
        kept = u[rng.random(len(u)) < ratio][: n - found]
        radii[found : found + len(kept)] = kept
        found += len(kept)
    return radii


KERNELS: dict[str, Kernel] = {
    "gaussian": Kernel(
        log_profile=lambda s: s,
        slope=np.ones_like,
        log_integral=lambda d: d / 2 * float(np.log(2 * np.pi)),
        variance=lambda d: 1.0,
        draw_radii=lambda rng, d, n: np.sqrt(rng.chisquare(d, size=n)),
        compact=False,
    ),
    "exponential": Kernel(
        log_profile=lambda s: -_distance(s),
        slope=lambda s: _quotient(np.ones_like(s), _distance(s)),
        log_integral=lambda d: _log_ball(d) + float(special.gammaln(d + 1)),
        variance=lambda d: d + 1.0,
        draw_radii=lambda rng, d, n: rng.gamma(d, size=n),
        compact=False,
        cusp=True,
    ),
    "epanechnikov": Kernel(
        log_profile=lambda s: _log_inside(1.0 + 2.0 * s),
        slope=lambda s: _inside(s, _quotient(np.full_like(s, 2.0), 1.0 + 2.0 * s)),
        log_integral=lambda d: _log_ball(d) + float(np.log(2.0 / (d + 2))),
        variance=lambda d: 1.0 / (d + 4),
        draw_radii=lambda rng, d, n: np.sqrt(rng.beta(d / 2, 2, size=n)),
    ),
    "tophat": Kernel(
        log_profile=lambda s: np.where(-2.0 * s < 1.0, 0.0, -np.inf),
        slope=np.zeros_like,
        log_integral=_log_ball,
        variance=lambda d: 1.0 / (d + 2),
        draw_radii=lambda rng, d, n: rng.beta(d, 1, size=n),
    ),
    "linear": Kernel(
        log_profile=lambda s: _log_inside(1.0 - _distance(s)),
        slope=lambda s: _inside(
            s, _quotient(np.ones_like(s), _distance(s) * (1.0 - _distance(s)))
        ),
        log_integral=lambda d: _log_ball(d) - float(np.log(d + 1)),
        variance=lambda d: (d + 1.0) / ((d + 2) * (d + 3)),
        draw_radii=lambda rng, d, n: rng.beta(d, 2, size=n),
        cusp=True,
    ),
    "cosine": Kernel(
        log_profile=_log_cosine,
        slope=_cosine_slope,
        log_integral=lambda d: (
            _log_ball(d) + float(np.log(d) + np.log(_cosine_moment(d - 1)))
        ),
        variance=_cosine_variance,
        draw_radii=_cosine_radii,
    ),
}
