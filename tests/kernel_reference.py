"""Slow and obvious references for kernel densities.

Normalising constants are radial integrals by quadrature in mpmath. Densities are direct
differences in long double (64-bit mantissa, exponents to 10^4932) and one log-sum-exp;
what leaves a row out really leaves it out. No code is shared with the package.
"""

from dataclasses import dataclass
from functools import cache

import mpmath
import numpy as np
from scipy import stats

DIGITS = 30
LD = np.longdouble
PI = LD("3.14159265358979323846264338327950288")
KERNELS = ("gaussian", "exponential", "epanechnikov", "tophat", "linear", "cosine")
COMPACT = KERNELS[2:]
WHITENINGS = ("none", "diagonal", "ledoit_wolf")
BLOCK = 1 << 21


# ------------------------------------------------------------------------ kernels
PROFILES = {
    "gaussian": lambda u: mpmath.exp(-u * u / 2),
    "exponential": lambda u: mpmath.exp(-u),
    "epanechnikov": lambda u: 1 - u * u,
    "tophat": lambda u: mpmath.mpf(1),
    "linear": lambda u: 1 - u,
    "cosine": lambda u: mpmath.cos(mpmath.pi * u / 2),
}


@cache
def radial_integral(kernel, power):
    """Integral of u^power K(u) over u > 0, by quadrature in mpmath.

    The integrand is one peak: at sqrt(power) with unit width (Gaussian), at power with
    width sqrt(power) (exponential), within a few 1/power of 1 (compact support).
    """
    with mpmath.workdps(DIGITS):
        k = mpmath.mpf(power)
        if kernel == "gaussian":
            centre, width, end = mpmath.sqrt(k), mpmath.mpf(1), None
        elif kernel == "exponential":
            centre, width, end = k, mpmath.sqrt(k) + 1, None
        else:
            centre, width, end = mpmath.mpf(1), 1 / (k + 1), mpmath.mpf(1)
        steps = range(-20, 1) if end else range(-4, 12)
        cuts = [centre + 5 * s * width for s in steps]
        cuts = [mpmath.mpf(0)] + [c for c in cuts if c > 0]
        profile = PROFILES[kernel]
        return mpmath.quad(
            lambda u: (u**power if power else 1) * profile(u), cuts, maxdegree=5
        )


@cache
def log_normaliser(kernel, d):
    """Log c_d, with c_d times the integral of K(|u|) over R^d equal to 1 (mpmath)."""
    with mpmath.workdps(DIGITS):
        half = mpmath.mpf(d) / 2
        sphere = mpmath.log(2) + half * mpmath.log(mpmath.pi) - mpmath.loggamma(half)
        return -(sphere + mpmath.log(radial_integral(kernel, d - 1)))


@cache
def axis_variance(kernel, d):
    """Variance along each axis of the density c_d K(|u|)."""
    with mpmath.workdps(DIGITS):
        second = radial_integral(kernel, d + 1) / radial_integral(kernel, d - 1)
        return float(second / d)


def radius_cdf(kernel, d):
    """Distribution function of |u| under c_d K(|u|): u^(d-1) K(u), normalised."""
    if kernel == "cosine":
        t = np.linspace(0, 1, 20001)
        weight = t ** (d - 1) * np.cos(np.pi * t / 2)
        total = np.concatenate([[0], np.cumsum((weight[1:] + weight[:-1]) / 2)])
        return lambda u: np.interp(u, t, total / total[-1])
    return {
        "gaussian": stats.chi(d).cdf,
        "exponential": stats.gamma(d).cdf,
        "tophat": lambda u: np.clip(u, 0, 1) ** d,
        "linear": stats.beta(d, 2).cdf,
        "epanechnikov": lambda u: stats.beta(d / 2, 2).cdf(np.square(u)),
    }[kernel]


def long_double(value):
    """An mpmath number as the nearest long double."""
    return LD(mpmath.nstr(value, 30, strip_zeros=False))


def log_profile(u, kernel):
    """Log K(u) in long double; minus infinity from the edge of the support on."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kernel == "gaussian":
            return -u * u / 2
        if kernel == "exponential":
            return -u
        if kernel == "epanechnikov":
            inside = np.log((1 - u) * (1 + u))
        elif kernel == "tophat":
            inside = np.zeros_like(u)
        elif kernel == "linear":
            inside = np.log(1 - u)
        else:
            inside = np.log(np.sin(PI * (1 - u) / 2))
        return np.where(u < 1, inside, LD(-np.inf))


# ---------------------------------------------------------------- log-densities
def distances(X, Y):
    """|x - y| for all pairs of rows, by direct differences in long double."""
    X, Y = np.asarray(X, np.float64).astype(LD), np.asarray(Y, np.float64).astype(LD)
    return _distances(X, Y)


def _distances(X, Y):
    if len(Y) < len(X):
        return _distances(Y, X).T
    out = np.empty((len(X), len(Y)), LD)
    step = max(1, BLOCK // max(1, Y.shape[1]))
    for i, x in enumerate(X):
        for j in range(0, len(Y), step):
            difference = Y[j : j + step] - x
            largest = np.abs(difference).max()
            scale = largest if largest > 0 else LD(1)
            difference /= scale
            out[i, j : j + step] = scale * np.sqrt((difference * difference).sum(axis=1))
    return out


def log_sum_exp(terms):
    """Log of the sum of exponentials of every row; minus infinity of an empty sum."""
    top = terms.max(axis=1)
    safe = np.where(np.isfinite(top), top, LD(0))
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(terms - safe[:, None]).sum(axis=1))


def log_terms(r, h, kernel, weights=None):
    """Log w_j K(r_ij / h)."""
    terms = log_profile(r / LD(h), kernel)
    if weights is not None:
        with np.errstate(divide="ignore"):
            terms = terms + np.log(np.asarray(weights, np.float64).astype(LD))
    return terms


def from_distances(r, d, h, kernel, weights=None, log_volume=0):
    """Log-density from distances: log[sum w K / W] + log c_d - d log h + log J."""
    total = LD(r.shape[1]) if weights is None else np.sum(np.asarray(weights).astype(LD))
    constant = long_double(log_normaliser(kernel, d)) - d * np.log(LD(h)) + log_volume
    return log_sum_exp(log_terms(r, h, kernel, weights)) - np.log(total) + constant


def log_density(X, Y, h, kernel="gaussian", weights=None, whiten="none"):
    """Log-density in long double of the rows of X, given reference rows Y."""
    A = whitening(Y, whiten, weights)
    return from_distances(
        A.distances(X, Y), np.shape(Y)[1], h, kernel, weights, A.log_volume
    )


# ------------------------------------------------------------------- whitening
@dataclass
class Moments:
    """Weighted mean and covariance (1/W), in long double."""

    total: LD
    mean: np.ndarray
    covariance: np.ndarray


def moments(Y, weights=None):
    """Sum of weights, mean, and covariance with 1/W."""
    Y = np.asarray(Y, np.float64).astype(LD)
    w = np.ones(len(Y), LD) if weights is None else np.asarray(weights).astype(LD)
    total = w.sum()
    first = Y[0]
    mean = first + (w[:, None] * (Y - first)).sum(axis=0) / total
    Z = Y - mean
    return Moments(total, mean, np.einsum("i,ij,ik->jk", w, Z, Z) / total)


def ledoit_wolf_intensity(Y, weights=None):
    """min(beta, delta) / delta, weights counting as repeated rows."""
    m = moments(Y, weights)
    Z = np.asarray(Y, np.float64).astype(LD) - m.mean
    w = np.ones(len(Z), LD) if weights is None else np.asarray(weights).astype(LD)
    p = Z.shape[1]
    squares = (m.covariance**2).sum()
    quartic = (w * (Z * Z).sum(axis=1) ** 2).sum() / m.total
    target = np.trace(m.covariance) / p
    beta = (quartic - squares) / (m.total * p)
    delta = ((m.covariance - target * np.eye(p)) ** 2).sum() / p
    return LD(0) if beta == 0 or delta == 0 else min(beta, delta) / delta


def cholesky(S):
    """Lower triangle L with L L' = S."""
    L = np.array(S, LD)
    for j in range(len(L)):
        L[j:, j] -= L[j:, :j] @ L[j, :j]
        if not L[j, j] > 0:
            raise np.linalg.LinAlgError("not positive definite")
        L[j:, j] /= np.sqrt(L[j, j])
        L[j, j + 1 :] = 0
    return L


def forward(L, B):
    """L^-1 B by substitution."""
    out = np.array(B, LD)
    for j in range(len(L)):
        out[j] = (out[j] - L[j, :j] @ out[:j]) / L[j, j]
    return out


class Whitening:
    """Distances |A (x - y)| with A'A the inverse of a covariance, and log |det A|."""

    def __init__(self, covariance=None, log_volume=None):
        self.factor = None if covariance is None else cholesky(covariance)
        if log_volume is None:
            diagonal = [] if covariance is None else np.diag(self.factor)
            log_volume = -np.sum(np.log(np.asarray(diagonal, LD)))
        self.log_volume = log_volume

    def distances(self, X, Y):
        """|A (x - y)| in long double."""
        if self.factor is None:
            return distances(X, Y)
        X, Y = np.asarray(X, np.float64), np.asarray(Y, np.float64)
        first = Y[0].astype(LD)
        return _distances(
            forward(self.factor, (X.astype(LD) - first).T).T,
            forward(self.factor, (Y.astype(LD) - first).T).T,
        )


def worth(weights):
    """Whole weights as they are; others add up to the rows that they are worth."""
    if weights is None:
        return None
    w = np.asarray(weights, np.float64)
    if (w == np.floor(w)).all():
        return w
    w = w / w.max()
    return w * (w.sum() / (w * w).sum())


def whitened_covariance(Y, whiten, weights=None):
    """Covariance of which A'A is the inverse."""
    weights = worth(weights)
    m = moments(Y, weights)
    if whiten == "diagonal":
        return np.diag(np.diag(m.covariance))
    p = len(m.mean)
    a = ledoit_wolf_intensity(Y, weights)
    return (1 - a) * m.covariance + a * np.trace(m.covariance) / p * np.eye(p, dtype=LD)


def whitening(Y, whiten, weights=None):
    """Whitening that is fitted to all rows."""
    if whiten == "none":
        return Whitening()
    return Whitening(whitened_covariance(Y, whiten, weights))


def _without(weights, i):
    """Weights with one copy of row i gone, or all of it where they count no copies."""
    rest = np.array(weights, np.float64)
    whole = (rest == np.floor(rest)).all()
    rest[i] -= min(rest[i], 1.0) if whole else rest[i]
    return rest


def left_out_whitening(Y, i, whiten, weights, full):
    """Whitening without one copy of row i; intensity, target and volume of all rows."""
    if whiten == "none":
        return full
    rest = _without(weights, i)
    covariance = moments(Y, rest).covariance
    if whiten == "diagonal":
        covariance = np.diag(np.diag(covariance))
    else:
        p = covariance.shape[0]
        a = ledoit_wolf_intensity(Y, weights)
        target = np.trace(moments(Y, weights).covariance) / p
        covariance = (1 - a) * covariance + a * target * np.eye(p, dtype=LD)
    return Whitening(covariance, full.log_volume)


def left_out(Y, h, kernel="gaussian", weights=None, whiten="none"):
    """Log-density of every row under the density without one copy of it."""
    Y = np.asarray(Y, np.float64)
    weights = np.ones(len(Y)) if weights is None else np.asarray(weights, np.float64)
    weights = worth(weights)
    full = whitening(Y, whiten, weights)
    out = np.empty(len(Y), LD)
    for i in range(len(Y)):
        A = left_out_whitening(Y, i, whiten, weights, full)
        r = A.distances(Y[i : i + 1], Y)
        rest = _without(weights, i)
        out[i] = from_distances(r, Y.shape[1], h, kernel, rest, A.log_volume)[0]
    return out


# --------------------------------------------------------------- derived figures
def gradient(X, Y, h, kernel="gaussian", weights=None, whiten="none", step=2.0**-12):
    """Gradient of the log-density by sixth-order differences in long double."""
    X = np.asarray(X, np.float64)
    A = whitening(Y, whiten, weights)
    rows = np.asarray(Y, np.float64).astype(LD)
    first, d = rows[0], rows.shape[1]
    white = (lambda Z: Z) if A.factor is None else (lambda Z: forward(A.factor, Z.T).T)
    Yw = white(rows - first)
    out = np.empty(X.shape, LD)
    stencil = ((1, LD(3) / 4), (2, LD(-3) / 20), (3, LD(1) / 60))
    for i, x in enumerate(X):
        for j in range(d):
            width = h if A.factor is None else h * A.factor[j, j]
            delta, total = LD(step) * width, LD(0)
            for k, c in stencil:
                ends = np.array([x, x]).astype(LD) - first
                ends[0, j] += k * delta
                ends[1, j] -= k * delta
                up, down = from_distances(
                    _distances(white(ends), Yw), d, h, kernel, weights
                )
                total += c * (up - down)
            out[i, j] = total / delta
    return out


def effective_neighbors(X, Y, h, kernel="gaussian", weights=None, whiten="none"):
    """1 / sum p^2 of each query's shares; copies are one row."""
    r = whitening(Y, whiten, weights).distances(X, Y)
    return _effective(log_terms(r, h, kernel), weights)


def _effective(terms, weights=None):
    w = np.ones(terms.shape[1], LD) if weights is None else np.asarray(weights).astype(LD)
    K = np.exp(terms - terms.max(axis=1, keepdims=True))
    return (w * K).sum(axis=1) ** 2 / (w * K * w * K).sum(axis=1)


def left_out_effective_neighbors(Y, h, kernel="gaussian"):
    """Effective neighbours of every row among the others."""
    r = distances(Y, Y)
    np.fill_diagonal(r, np.inf)
    with np.errstate(invalid="ignore"):
        return _effective(log_terms(r, h, kernel))


def condensation_threshold(eigenvalues, n):
    """h_G, the root of sum_j g(lam_j / h^2) = ln n, by bisection in mpmath."""
    with mpmath.workdps(DIGITS):
        lams = [mpmath.mpf(max(float(v), 0.0)) for v in eigenvalues]
        goal = mpmath.log(n)

        def excess(log_h):
            h2 = mpmath.exp(2 * log_h)
            us = [lam / h2 for lam in lams]
            return (
                mpmath.fsum((mpmath.log(1 + u) - u / (1 + u) ** 2) / 2 for u in us) - goal
            )

        centre = mpmath.log(max(lams)) / 2
        low, high = centre - 60, centre + 60
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if excess(middle) > 0 else (low, middle)
        return float(mpmath.exp(low))


def condensation(X, Y, h, covariance):
    """Sum per row (mean of Y, eigenpairs of the covariance) over ln n."""
    Y = np.asarray(Y, np.float64)
    lams, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    c2 = ((np.asarray(X) - Y.mean(axis=0)) @ vectors) ** 2
    u = lams / h**2
    per_row = np.log1p(u) - u / (1 + u) + c2 / lams * u**2 / (1 + u) ** 2
    return per_row.sum(axis=1) / 2 / np.log(len(Y))


# -------------------------------------------------------------------- bandwidths
class LeftOutCurve:
    """Mean left-out log-density, a row leaving with all its exact copies."""

    def __init__(self, Y, kernel="gaussian", weights=None, whiten="none"):
        Y = np.asarray(Y, np.float64)
        w = np.ones(len(Y)) if weights is None else np.asarray(weights, np.float64)
        Y, w = Y[w > 0], w[w > 0]
        self.d, self.kernel, self.w = Y.shape[1], kernel, w
        A = whitening(Y, whiten, w)
        self.log_volume = A.log_volume
        self.r = A.distances(Y, Y)
        copies = (Y[:, None, :] == Y[None, :, :]).all(axis=2)
        self.rest = np.where(copies, 0.0, w)

    def __call__(self, h):
        with np.errstate(divide="ignore"):
            terms = log_terms(self.r, h, self.kernel) + np.log(self.rest.astype(LD))
        scores = log_sum_exp(terms) - np.log(self.rest.sum(axis=1).astype(LD))
        constant = long_double(log_normaliser(self.kernel, self.d)) + self.log_volume
        mean = (scores * self.w).sum() / self.w.sum()
        return float(mean + constant - self.d * np.log(LD(h)))

    def maximiser(self, points=241, rounds=3):
        """The best bandwidth by dense search: a grid, and finer ones around its best."""
        positive = self.r[self.r > 0]
        low = float(positive.min()) / (20 * self.d)
        high = float(positive.max()) * 20
        for _ in range(rounds):
            grid = np.geomspace(low, high, points)
            values = [self(h) for h in grid]
            best = int(np.argmax(values))
            low, high = grid[max(best - 1, 0)], grid[min(best + 1, points - 1)]
        return float(grid[best]), values[best]
