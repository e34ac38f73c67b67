"""Slow and obvious references, in exact rational arithmetic.

Every float is a rational number, and everything up to the squared distance is rational
in the data: nothing here rounds until a logarithm or an eigenvalue is needed, and those
are taken in mpmath with 100 digits. No code is shared with the package.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import mpmath
import numpy as np

DIGITS = 100
FLOAT_MAX = float(np.finfo(np.float64).max)
EPS = float(np.finfo(np.float64).eps)

Vector = list[Fraction]
Matrix = list[Vector]


def exact(X) -> Matrix:
    """Rows of fractions; anything but fractions goes through float64 first."""
    if isinstance(X, list) and X and isinstance(X[0][0], Fraction):
        return X
    return [[Fraction(v) for v in row] for row in np.asarray(X, np.float64).tolist()]


# ------------------------------------------------------------- linear algebra
def dot(u, v):
    """Return u'v."""
    return sum((a * b for a, b in zip(u, v, strict=True) if a and b), Fraction(0))


def transpose(A):
    """Return A'."""
    return [list(column) for column in zip(*A, strict=True)]


def matmul(A, B):
    """Return AB."""
    columns = transpose(B)
    return [[dot(row, column) for column in columns] for row in A]


def gram(A):
    """Return AA'."""
    return [[dot(u, v) for v in A] for u in A]


def row_echelon(A):
    """Nonzero rows of the reduced row echelon form, and their pivot columns."""
    rows, pivots, done = [list(row) for row in A], [], 0
    for j in range(len(rows[0])):
        pick = next((i for i in range(done, len(rows)) if rows[i][j]), None)
        if pick is None:
            continue
        rows[done], rows[pick] = rows[pick], rows[done]
        pivot = rows[done][j]
        rows[done] = [v / pivot for v in rows[done]]
        for i, row in enumerate(rows):
            if i != done and row[j]:
                f = row[j]
                rows[i] = [
                    v - f * w if w else v for v, w in zip(row, rows[done], strict=True)
                ]
        pivots.append(j)
        done += 1
        if done == len(rows):
            break
    return rows[:done], pivots


def rank(A) -> int:
    """Exact rank by elimination."""
    return len(row_echelon(exact(A))[1])


def determinant(A):
    """Exact determinant by elimination."""
    rows, det = [list(row) for row in A], Fraction(1)
    for j in range(len(rows)):
        pick = next((i for i in range(j, len(rows)) if rows[i][j]), None)
        if pick is None:
            return Fraction(0)
        if pick != j:
            rows[j], rows[pick], det = rows[pick], rows[j], -det
        det *= rows[j][j]
        for i in range(j + 1, len(rows)):
            f = rows[i][j] / rows[j][j]
            rows[i] = [v - f * w for v, w in zip(rows[i], rows[j], strict=True)]
    return det


def inverse(A):
    """Exact inverse by elimination on [A | I]."""
    k = len(A)
    stacked = [row + [Fraction(i == j) for j in range(k)] for i, row in enumerate(A)]
    reduced, pivots = row_echelon(stacked)
    if pivots[:k] != list(range(k)):
        raise ZeroDivisionError("singular matrix")
    return [row[k:] for row in reduced]


def log(value: Fraction):
    """Natural logarithm of a positive fraction, in mpmath."""
    with mpmath.workdps(DIGITS):
        return mpmath.log(value.numerator) - mpmath.log(value.denominator)


# -------------------------------------------------------------------- moments
def mean(X) -> Vector:
    """Column means."""
    rows = exact(X)
    return [sum(column) / len(rows) for column in transpose(rows)]


def centred(X, location=None) -> Matrix:
    """Rows minus their mean (or minus `location`)."""
    rows = exact(X)
    location = mean(rows) if location is None else location
    return [[v - m for v, m in zip(row, location, strict=True)] for row in rows]


def covariance(X) -> Matrix:
    """S = (1/n) sum z z'."""
    Z = centred(X)
    return [[v / len(Z) for v in row] for row in gram(transpose(Z))]


@dataclass(frozen=True)
class Moments:
    """What the intensities need: n, p, tr S, tr S^2 and (1/n) sum |z|^4."""

    n: int
    p: int
    trace: Fraction
    trace_square: Fraction
    quartic: Fraction


def moments(Z) -> Moments:
    """Moments of centred rows; tr S^2 from the smaller of the two Gram matrices."""
    n, p = len(Z), len(Z[0])
    lengths = [dot(z, z) for z in Z]
    small = gram(Z) if n < p else gram(transpose(Z))
    return Moments(
        n=n,
        p=p,
        trace=sum(lengths) / n,
        trace_square=sum(v * v for row in small for v in row) / n**2,
        quartic=sum(v * v for v in lengths) / n,
    )


# ---------------------------------------------------------------- intensities
def ledoit_wolf(m: Moments) -> Fraction:
    """min(beta, delta) / delta, as scikit-learn: 0 where beta or delta is 0."""
    beta = (m.quartic - m.trace_square) / (m.n * m.p)
    delta = (m.trace_square - m.trace**2 / m.p) / m.p
    return min(beta, delta) / delta if beta and delta else Fraction(0)


def _ratio(above, below):
    return min(Fraction(1), above / below) if below else Fraction(1)


def oas(m: Moments) -> Fraction:
    """Chen et al. 2010 with the 2/p terms; 1 where S is a multiple of I."""
    two = Fraction(2, m.p)
    return _ratio(
        (1 - two) * m.trace_square + m.trace**2,
        (m.n + 1 - two) * (m.trace_square - m.trace**2 / m.p),
    )


def rblw(m: Moments) -> Fraction:
    """Rao-Blackwellised Ledoit-Wolf; 1 where S is a multiple of I."""
    return _ratio(
        Fraction(m.n - 2, m.n) * m.trace_square + m.trace**2,
        (m.n + 2) * (m.trace_square - m.trace**2 / m.p),
    )


INTENSITIES = {"ledoit_wolf": ledoit_wolf, "oas": oas, "rblw": rblw}


# ---------------------------------------------------------------------- model
class Factored:
    """What every intensity shares: mean, moments and the factors of the rows.

    The centred rows factor as Z = A B with B the nonzero rows of the echelon form
    (r, p) and A the pivot columns of Z (n, r), so S = B' G B with G = A'A / n.
    """

    def __init__(self, X):
        rows = exact(X)
        self.n, self.p = len(rows), len(rows[0])
        self.location = mean(rows)
        Z = centred(rows, self.location)
        self.moments = moments(Z)
        if not self.moments.trace:
            raise ValueError("all rows are equal")
        self.basis, pivots = row_echelon(Z)
        columns = [[z[j] for z in Z] for j in pivots]
        self.inner = [[v / self.n for v in row] for row in gram(columns)]
        self.overlap = gram(self.basis)


class ExactGaussian:
    """N(mean, (1-a) S + a mu I), every quantity exact.

    With S = B' G B (see `Factored`) and floor c = a mu:

    c > 0:  Sigma^-1 = (I - B' K B) / c,  K = (c I + H B B')^-1 H,  H = (1-a) G
    c = 0:  Sigma^+  = B' K B,            K = (B B')^-1 H^-1 (B B')^-1

    the second being the Moore-Penrose inverse in the units of the data.
    """

    def __init__(self, X, shrinkage=0.0):
        rows = X if isinstance(X, Factored) else Factored(X)
        self.n, self.p, self.location = rows.n, rows.p, rows.location
        self.moments, self.basis, self._overlap = rows.moments, rows.basis, rows.overlap
        rule = INTENSITIES.get(shrinkage)
        self.shrinkage = rule(self.moments) if rule else Fraction(shrinkage)
        self.floor = self.shrinkage * self.moments.trace / self.p
        self.data_rank = len(self.basis)
        keep = 1 - self.shrinkage
        self._inner = [[keep * v for v in row] for row in rows.inner]

    @property
    def rank(self) -> int:
        """Dimension of the support of the fitted Gaussian."""
        return self.p if self.floor else self.data_rank

    @cached_property
    def _core(self):
        product = matmul(self._inner, self._overlap)
        return [
            [v + (self.floor if i == j else 0) for j, v in enumerate(row)]
            for i, row in enumerate(product)
        ]

    @cached_property
    def _kernel(self):
        if self.floor:
            return matmul(inverse(self._core), self._inner)
        outer = inverse(self._overlap)
        return matmul(matmul(outer, inverse(self._inner)), outer)

    def _quadratic(self, y):
        c = [dot(b, y) for b in self.basis]
        inside = dot(c, [dot(row, c) for row in self._kernel])
        return (dot(y, y) - inside) / self.floor if self.floor else inside

    def mahalanobis(self, Q) -> Vector:
        """Squared distances of the rows of Q."""
        return [self._quadratic(y) for y in centred(Q, self.location)]

    @cached_property
    def logdet(self):
        """Log-(pseudo-)determinant of Sigma on its support, in mpmath."""
        inside = log(determinant(self._core))
        if not self.floor:
            return inside
        return inside + (self.p - self.data_rank) * log(self.floor)

    def log_density(self, Q) -> list:
        """Log-densities in nats; a distance beyond float64 counts as the largest."""
        largest = Fraction(FLOAT_MAX)
        with mpmath.workdps(DIGITS):
            constant = self.rank * mpmath.log(2 * mpmath.pi) + self.logdet
            clipped = [min(d, largest) for d in self.mahalanobis(Q)]
            return [
                -(constant + mpmath.mpf(d.numerator) / d.denominator) / 2 for d in clipped
            ]

    def precision_diagonal(self) -> Vector:
        """Diagonal of Sigma^-1 (or Sigma^+)."""
        out = []
        for column in transpose(self.basis):
            inside = dot(column, [dot(row, column) for row in self._kernel])
            out.append((1 - inside) / self.floor if self.floor else inside)
        return out

    def condition(self) -> float:
        """Bound on the condition of the data with columns scaled to unit variance.

        With R the correlation matrix of Sigma, cond(R) <= tr(R) tr(R^-1), and
        tr(R^-1) = sum_j Sigma_jj (Sigma^-1)_jj. The square root belongs to the data
        matrix, which is what a backward-stable factorisation of it pays.
        """
        spread = []
        for column in transpose(self.basis):
            inside = dot(column, [dot(row, column) for row in self._inner])
            spread.append(inside + self.floor)
        traced = dot(spread, self.precision_diagonal()) * self.p
        return float(mpmath.sqrt(mpmath.mpf(traced.numerator) / traced.denominator))


def left_out_log_density(X, shrinkage=0.0) -> list:
    """Log-density of every row under the fit without it; None where none exists."""
    rows = exact(X)
    scores = []
    for i, row in enumerate(rows):
        rest = rows[:i] + rows[i + 1 :]
        if len(rest) < 2 or all(other == rest[0] for other in rest):
            scores.append(None)
        else:
            scores.append(ExactGaussian(rest, shrinkage).log_density([row])[0])
    return scores


# ----------------------------------------------------------------- components
def principal_components(X):
    """Variances (n-1 in the denominator, descending) and unit components, in mpmath.

    Only the rank many that carry variance, from the smaller Gram matrix.
    """
    Z = centred(X)
    n, p = len(Z), len(Z[0])
    r = len(row_echelon(Z)[1])
    wide = n < p
    with mpmath.workdps(DIGITS):
        Zm = mpmath.matrix(
            [[mpmath.mpf(v.numerator) / v.denominator for v in row] for row in Z]
        )
        small = Zm * Zm.T if wide else Zm.T * Zm
        values, vectors = mpmath.eigsy(small)
        order = sorted(range(len(values)), key=lambda j: -values[j])[:r]
        components = []
        for j in order:
            v = Zm.T * vectors[:, j] if wide else vectors[:, j]
            components.append(v / mpmath.norm(v))
        return [max(values[j], 0) / (n - 1) for j in order], components


def low_variance_slice(variances, variance) -> slice:
    """Kept components of the published rule: from one before the first c > 1 - v."""
    with mpmath.workdps(DIGITS):
        total, running = mpmath.fsum(variances), mpmath.mpf(0)
        for i, v in enumerate(variances):
            running += v
            if running / total > 1 - mpmath.mpf(variance):
                return slice(max(i - 1, 0), None)
    return slice(max(len(variances) - 1, 0), None)


def projected_length(X, Q, components) -> list:
    """Squared length of each query's projection onto the components."""
    with mpmath.workdps(DIGITS):
        out = []
        for y in centred(Q, mean(X)):
            ym = [mpmath.mpf(v.numerator) / v.denominator for v in y]
            lengths = [mpmath.fdot(ym, list(c)) ** 2 for c in components]
            out.append(mpmath.fsum(lengths))
        return out
