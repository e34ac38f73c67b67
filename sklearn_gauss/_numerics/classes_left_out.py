"""Left-out distances to classes that share a covariance, exactly, from one fit.

Leaving row i of class c out, with residual r and n_c rows in its class, moves the mean
of the class by -r / (n_c - 1) and takes a term of rank one from the shared covariance:

    S_(-) = B - beta r r',     beta = w_c n_c / ((n_c - 1) (N - 1)),

where B is the sum over all residuals with the weights w that N - 1 rows, n_c - 1 of them
in class c, would have, over N - 1: the same for all rows of a class, and for all rows if
these weigh alike. The row is then u_k = x - mu_k from the mean of another class and
n_c / (n_c - 1) r from that of its own. With the left-out intensity a, its target m and
A = (1-a) B + a m I, by the formula of Sherman and Morrison,

    distance_k = u_k' A^-1 u_k + b (u_k' A^-1 r)^2 / (1 - b r' A^-1 r),  b = (1-a) beta.

A is diagonal along the axes of B. The intensity follows from sums without the row, which
are scalars of r, of B and of the row's class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.class_gaussians import (
    CLASS_WEIGHTS,
    Grouped,
    NoVarianceError,
    Shared,
    class_squares,
    fit_shared,
    pooled,
)
from sklearn_gauss._numerics.gaussian import Gaussian, leave_one_out
from sklearn_gauss._numerics.leave_one_out import lost_sums
from sklearn_gauss._numerics.shrinkage import Spread, intensity
from sklearn_gauss._numerics.sums import Sums, dense_operator
from sklearn_gauss._numerics.whitening import shrunk_axes

__all__ = ["each_left_out", "shared_left_out"]

#: What must be left of 1 - b g: below, the subtraction has cost too many digits, and the
#: row is left out by a fit to the others.
_SAFE_REMAINDER = 1e-5


@dataclass(frozen=True)
class _Base:
    """B, for the rows of one class or of all: axes along which it is diagonal.

    directions : (p, k), B = sum of values_j a_j a_j' in the dual basis a of these
    values : (k,)
    complete : bool, whether they span all there is (or all that counts)
    spread : Spread of B, with the number of rows, N - 1, that B divides by
    weights : (C,), of a row of each class
    scale : of the frame that all this is in
    """

    directions: NDArray
    values: NDArray
    complete: bool
    spread: Spread
    weights: NDArray
    scale: NDArray


def each_left_out(
    X: NDArray,
    labels: NDArray,
    fits: list[tuple[Sums, Gaussian]],
    rule: str | float,
) -> NDArray:
    """Squared distances (n, C) of rows X, each to its own class without itself."""
    squares = class_squares(X, [gaussian for _, gaussian in fits])
    for c, (sums, gaussian) in enumerate(fits):
        own = labels == c
        squares[own, c] = leave_one_out(sums, gaussian, rule, X[own]).squares
    return squares


def shared_left_out(shared: Shared, rule: str | float, X: NDArray) -> NDArray:
    """Squared distances (n, C) of rows X, all those of the fit, without each of them.

    Infinite to a class that has no other row, and to all where the covariance of the
    others has a lower rank.
    """
    grouped = shared.grouped
    squares = np.full((len(X), len(grouped.centres)), np.inf)
    doubtful = np.zeros(len(X), dtype=bool)
    base = None
    for c in range(len(grouped.centres)):
        rows = np.flatnonzero(grouped.labels == c)
        if base is None or shared.weighting != "frequency":
            base = _base_without(shared, c, rule)
        found, unsure = _left_out_of(grouped, c, rows, base, rule)
        squares[rows], doubtful[rows] = found, unsure
    squares[doubtful] = np.inf
    # No more rows than means and features: every row alone spans a direction.
    if not (rule == 0 and doubtful.all()):
        for i in np.flatnonzero(doubtful):
            squares[i] = _refitted(shared, rule, X, i)
    return squares


def _base_without(shared: Shared, place: int, rule: str | float) -> _Base:
    """B for the rows of one class; of rows that weigh alike the one for all."""
    grouped, sums, model = shared.grouped, shared.sums, shared.gaussian
    counts = grouped.counts.copy()
    counts[place] -= 1
    weights = CLASS_WEIGHTS[shared.weighting](counts)
    spectrum = model.spectrum
    if shared.weighting != "frequency":
        sums, spectrum = pooled(grouped, weights, rule), None
    count = len(grouped.labels) - 1
    growth = len(grouped.labels) / count
    if rule == 0:
        operator = dense_operator(sums, 0.0, 0.0)
        unknown = Spread(count, operator.n_features, np.inf, np.inf, np.inf)
        values = np.full(operator.rank, growth)
        return _Base(operator.factor, values, True, unknown, weights, sums.frame.scale)
    whole = sums.totals.spread
    spectrum = spectrum or shrunk_axes(sums, model.shrinkage)
    complete = len(spectrum.squares) == whole.n_features
    scalars = growth * whole.trace, growth**2 * whole.dispersion, growth * whole.quartic
    spread = Spread(count, whole.n_features, *scalars)
    values, scale = spectrum.squares / count, sums.frame.scale
    return _Base(spectrum.axes.T, values, complete, spread, weights, scale)


def _left_out_of(
    grouped: Grouped,
    place: int,
    rows: NDArray,
    base: _Base,
    rule: str | float,
) -> tuple[NDArray, NDArray]:
    """Squared distances (m, C) of a class's rows, and which of them are doubtful (m,)."""
    n = len(rows)
    Z = grouped.residuals[rows] / base.scale
    along = Z @ base.directions
    beta = base.weights[place] * n / ((n - 1) * base.spread.count) if n > 1 else 0.0
    if rule == 0:
        amount, noise, lost = np.zeros((3, n))
    else:
        others = _spread_without(Z, (along**2) @ base.values, base, place, beta)
        amount = np.broadcast_to(intensity(rule, others), n)
        noise, lost = amount * others.target, lost_sums(base.spread, others)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near, far = _places(grouped.gaps(place, base.scale), base)
        squares, remainder = _distances(
            along, near, far, base, amount=amount, noise=noise, beta=beta, place=place
        )
    doubtful = (lost > 0) | ~(remainder >= _SAFE_REMAINDER)
    doubtful |= (noise == 0) & (not base.complete)
    return np.where(np.isnan(squares), np.inf, squares), doubtful


def _places(gaps: NDArray, base: _Base) -> tuple[NDArray, NDArray]:
    """Gaps (C, p) between means along the axes (C, k), and squared lengths off them (C,).

    Off the axes lies nothing of the residuals.
    """
    near = gaps @ base.directions
    if base.complete:
        return near, np.zeros(len(gaps))
    beyond = gaps - near @ base.directions.T
    return near, np.einsum("ij,ij->i", beyond, beyond)


def _distances(
    along: NDArray,
    near: NDArray,
    far: NDArray,
    base: _Base,
    *,
    amount: NDArray,
    noise: NDArray,
    beta: float,
    place: int,
) -> tuple[NDArray, NDArray]:
    """Squared distances (m, C) of residuals (m, k) to all classes, and 1 - b g (m,)."""
    n, b = len(along), (1 - amount) * beta
    pivots = np.multiply.outer(1 - amount, base.values) + noise[:, None]
    weighed = along / pivots
    form = np.einsum("ij,ij->i", along, weighed)
    remainder = 1 - b * form
    squares = np.empty((n, len(near)))
    for k in range(len(near)):
        u = along + near[k]
        cross = np.einsum("ij,ij->i", u, weighed)
        squares[:, k] = np.einsum("ij,ij->i", u, u / pivots) + b * cross**2 / remainder
        if far[k] > 0:
            squares[:, k] += far[k] / noise
    squares[:, place] = (n / (n - 1)) ** 2 * form / remainder if n > 1 else np.inf
    return squares, remainder


def _spread_without(
    Z: NDArray, forms: NDArray, base: _Base, place: int, beta: float
) -> Spread:
    """`Spread` of the other rows, for each residual Z (m, p) of a class.

    ``forms`` are z'B z. The fourth powers follow the mean of the class, which moves by
    nu z with nu = 1 / (n - 1), and the weights.
    """
    whole, n = base.spread, len(Z)
    q = np.einsum("ij,ij->i", Z, Z)
    dispersion = (
        whole.dispersion
        - 2 * beta * (forms - q * whole.target)
        + beta**2 * q**2 * (1 - 1 / whole.n_features)
    )
    quartic = np.full(n, whole.quartic)
    if n > 1:
        nu = 1 / (n - 1)
        cubes = Z @ (q @ Z)
        class_forms = _own_forms(Z)
        change = (
            -(q**2)
            + 4 * nu * (cubes - q**2)
            + 4 * nu**2 * (class_forms - q**2)
            + 2 * nu**2 * q * (q.sum() - q)
            - 3 * nu**3 * q**2
        )
        quartic += base.weights[place] ** 2 * change / whole.count
    trace = np.maximum(whole.trace - beta * q, 0.0)
    return Spread(
        whole.count, whole.n_features, trace, np.maximum(dispersion, 0.0), quartic
    )


def _own_forms(Z: NDArray) -> NDArray:
    """z_i' (sum_j z_j z_j') z_i (n,), by the smaller of the two products."""
    if len(Z) <= Z.shape[1]:
        products = Z @ Z.T
        return np.einsum("ij,ij->i", products, products)
    return np.einsum("ij,ij->i", Z @ (Z.T @ Z), Z)


def _refitted(shared: Shared, rule: str | float, X: NDArray, i: int) -> NDArray:
    """Squared distances (C,) of row i to the classes as fitted to the other rows."""
    labels = np.delete(shared.grouped.labels, i)
    squares = np.full(len(shared.grouped.centres), np.inf)
    present, places = np.unique(labels, return_inverse=True)
    try:
        others = fit_shared(
            np.delete(X, i, axis=0),
            places,
            len(present),
            rule=rule,
            weighting=shared.weighting,
        )
    except NoVarianceError:
        return squares
    if others.gaussian.covariance.rank >= shared.gaussian.covariance.rank:
        squares[present] = class_squares(X[i : i + 1], others.gaussians)[0]
    return squares
