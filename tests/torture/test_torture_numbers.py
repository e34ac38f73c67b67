"""Hostile numbers against exact rational references: right, or refused as declared.

A case is data: how to draw its rows, the dtype they arrive in, and what may happen.
Every case meets every estimator. The outcome is one of

right       within the stated tolerance of the exact answer, declared warnings present
refused     ValueError or TypeError where the case allows or demands one; or a
            RankDeficientWarning where the data are singular to float64, not exactly
WRONG       a number outside the tolerance, a missing or an undeclared warning
crash       any other exception

and only the first two may pass.
"""

import re
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
from reference import (
    EPS,
    FLOAT_MAX,
    ExactGaussian,
    Factored,
    centred,
    dot,
    exact,
    left_out_log_density,
    low_variance_slice,
    mean,
    principal_components,
    projected_length,
)

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    ClassConditionalDetector,
    IncrementalMixtureDetector,
    MahalanobisDetector,
    NormalAbnormalDetector,
    PatchGaussianDetector,
)
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    DistanceOverflowWarning,
    RankDeficientWarning,
)
from sklearn_gauss.residual import ReferenceResidual, ScoreNorms

DECLARED = (CalibrationWarning, DistanceOverflowWarning, RankDeficientWarning)
SHRINKAGES = (0.0, 0.1, "ledoit_wolf", "oas", "rblw")
RTOL = 1e-9
# Squared distances have no unit and are of order one: an error below 1e-9 of this floor
# is rounding of a point next to the mean, not a wrong distance.
FLOOR = Fraction(1, 1000)
# A backward-stable factorisation loses about eps times the condition of the (column
# scaled) data, with a constant that grows slowly with the size.
GROWTH = 64
# Above this, the float64 data themselves do not determine the answer.
HOPELESS = 1e-3
NEEDED_ROWS = 19  # ceil(1 / 0.05) - 1, for the default target_fpr


# ----------------------------------------------------------------------- cases
@dataclass(frozen=True)
class Case:
    """Rows from `draw(rng, m)`: the first n are fitted, the other three are queries."""

    name: str
    draw: Callable
    n: int = 20
    dtype: object = np.float64
    far: tuple = ()  # more queries: every coordinate at this value
    off: bool = True  # one query off the support of the data
    ideal: Callable | None = None  # float rows -> the exact rows they stand for
    may_refuse: bool = False
    pca: bool = True

    def __str__(self):
        return self.name


def blob(rng, m, p=4):
    """Correlated normal rows of spread about one."""
    return rng.normal(size=(m, p)) @ (np.eye(p) + 0.3 * rng.normal(size=(p, p)))


def grid(rng, m, p=4, step=0.0625):
    """Multiples of a power of two, so that sums of columns are exact."""
    return rng.integers(-64, 65, size=(m, p)) * step


def moved(offset, scale=1.0, p=4):
    return lambda rng, m: blob(rng, m, p) * scale + offset


def columns(*scales, offset=0.0):
    return lambda rng, m: blob(rng, m, len(scales)) * np.array(scales) + offset


def beside(draw, *extra):
    """More columns: numbers are constants, functions take the columns drawn first."""

    def drawn(rng, m):
        X = draw(rng, m)
        more = [f(X) if callable(f) else np.full(m, f) for f in extra]
        return np.column_stack([X, *more])

    return drawn


def outlier(size, column=None):
    def drawn(rng, m):
        X = blob(rng, m)
        X[1, slice(None) if column is None else column] = size
        return X

    return drawn


def ulps(at, spread=3, p=3):
    """A column that varies by single units in the last place, next to ordinary ones."""

    def drawn(rng, m):
        noise = rng.integers(0, spread, size=m) * np.spacing(at)
        return np.column_stack([blob(rng, m, p - 1), at + noise])

    return drawn


def collinear(gap, scale=1.0):
    return beside(grid, lambda X: X[:, 0] + gap * np.cos(np.arange(len(X)) ** 2) * scale)


def repeated(draw, times):
    return lambda rng, m: np.repeat(draw(rng, -(-m // times)), times, axis=0)[:m]


def whole(low, high, p=4):
    return lambda rng, m: rng.integers(low, high, size=(m, p), endpoint=True)


def hilbert(p):
    def drawn(rng, m):
        i, j = np.ogrid[1 : m + 1, 0:p]
        return 1.0 / (i + j)

    return drawn


def graded(p, ratio):
    return lambda rng, m: (
        blob(rng, m, p)
        @ np.triu(np.array(ratio, float) ** np.abs(np.subtract.outer(range(p), range(p))))
    )


def cauchy(rng, m):
    return rng.standard_cauchy(size=(m, 4))


def sparse_rows(rng, m):
    return rng.normal(size=(m, 4)) * (rng.random((m, 4)) < 0.25)


def one_hot(rng, m):
    return np.eye(5)[np.arange(m) % 5]


def vandermonde(rng, m):
    return np.vander(np.linspace(0.5, 1.5, m), 6)[:, :-1]


def lognormal(sigma):
    return lambda rng, m: np.exp(sigma * rng.normal(size=(m, 3)))


def sum_column(rows):
    return [[*row[:-1], row[0] + row[1]] for row in exact(rows)]


def mean_column(rows):
    return [[*row[:-1], sum(row[:-1]) / 3] for row in exact(rows)]


def _ordinary():
    for p in (1, 2, 3, 5, 8):
        yield Case(f"normal p={p}", moved(0.0, p=p))
    yield Case("normal n=40", moved(0.0), n=40)
    yield Case("uniform", lambda rng, m: rng.random((m, 4)))
    yield Case("relu features", lambda rng, m: np.maximum(blob(rng, m, 5), 0.0))
    yield Case("lognormal", lognormal(1.0))
    yield Case("descending order", lambda rng, m: np.sort(blob(rng, m), axis=0)[::-1])
    yield Case("shuffled rows", lambda rng, m: rng.permutation(blob(rng, m)))
    yield Case("negative", lambda rng, m: -np.abs(blob(rng, m)) - 5)
    yield Case("signed zeros", lambda rng, m: np.where(
        rng.random((m, 4)) < 0.4, np.copysign(0.0, blob(rng, m)), blob(rng, m)
    ))  # fmt: skip


MIXED = (0.0, 1e4, 1e8, -1e12)


def _offsets():
    for offset in (1e3, 1e6, 1e8, 1e12, 1e15, -1e8, -1e15):
        yield Case(f"offset {offset:g}", moved(offset))
    yield Case("offsets differ by column", columns(1, 1, 1, 1, offset=MIXED))
    yield Case("offset 1e8, scale 1e-6", moved(1e8, 1e-6))
    yield Case("offset 1e15, scale 1e3", moved(1e15, 1e3))
    yield Case("offset 1e150, scale 1e140", moved(1e150, 1e140))
    yield Case("offset 1e8, two features", moved(1e8, p=2), n=5)
    yield Case("mean far from the first row", lambda rng, m: np.vstack(
        [np.zeros((1, 4)), blob(rng, m - 1) + 1e8]
    ))  # fmt: skip


def _dtypes():
    half, single = np.float16, np.float32
    yield Case("float32", moved(0.0), dtype=single)
    for offset, scale in ((1e3, 1), (1e6, 1), (1e6, 20), (1e8, 20), (1e8, 300)):
        yield Case(
            f"float32 offset {offset:g} scale {scale}",
            moved(offset, scale),
            dtype=single,
        )
    for scale in (1e-30, 1e-20, 1e-10, 1e10, 1e15, 1e20, 1e30):
        yield Case(f"float32 scale {scale:g}", moved(0.0, scale), dtype=single)
    yield Case("float32 scale 1e-42, subnormal", moved(0.0, 1e-42), dtype=single)
    yield Case("float32 offset 1e30", moved(1e30, 1e25), dtype=single)
    yield Case("float32 far", moved(0.0), dtype=single, far=(1e20, 3e38), pca=False)
    yield Case("float32 constant column", beside(moved(1e6), 1e8), dtype=single)
    yield Case("float32 n < p", moved(1e4, p=9), n=6, dtype=single)
    yield Case("float32 column scales", columns(1e-8, 1e-3, 1e3, 1e8), dtype=single)
    yield Case("float16", moved(0.0), dtype=half)
    yield Case("float16 offset 1e3", moved(1e3, 20), dtype=half)
    yield Case("float16 near its largest", moved(4e4, 5e3), dtype=half)
    yield Case("float16 subnormal", moved(0.0, 2e-6), dtype=half)
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        top = min(np.iinfo(dtype).max, 2**52)
        yield Case(f"{np.dtype(dtype)} small", whole(-9, 9), dtype=dtype)
        yield Case(f"{np.dtype(dtype)} full range", whole(-top, top), dtype=dtype)
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        top = min(np.iinfo(dtype).max, 2**52)
        yield Case(f"{np.dtype(dtype)} full range", whole(0, top), dtype=dtype)
        yield Case(f"{np.dtype(dtype)} top", whole(top - 9, top), dtype=dtype)
    yield Case("int64 offset 2^52", whole(2**52, 2**52 + 9), dtype=np.int64)
    yield Case("int64 at 2^62, step 4096", lambda rng, m: (
        2**62 + 4096 * rng.integers(0, 9, size=(m, 3))
    ), dtype=np.int64)  # fmt: skip
    yield Case("bool", lambda rng, m: rng.random((m, 4)) < 0.5, dtype=bool)
    yield Case(
        "bool, one constant column", beside(whole(0, 1, 3), 1.0), dtype=bool, off=False
    )
    yield Case("bool n=6", lambda rng, m: rng.random((m, 3)) < 0.5, n=6, dtype=bool)
    yield Case("longdouble", moved(0.0), dtype=np.longdouble)


def _scales():
    for scale in (1e-150, 1e-100, 1e-60, 1e-30, 1e-8, 1e8, 1e30, 1e60, 1e100, 1e150):
        yield Case(f"scale {scale:g}", moved(0.0, scale))
        yield Case(f"scale {scale:g}, offset 1e4 of it", moved(1e4 * scale, scale))
    for scale in (1e-300, 1e-200, 1e200, 1e300):
        # Their variances leave float64: a refusal is as good as the answer.
        yield Case(f"scale {scale:g}", moved(0.0, scale), may_refuse=True)
    yield Case("scale 1e-30, n < p", moved(0.0, 1e-30, p=9), n=6)
    yield Case("scale 1e100, n < p", moved(0.0, 1e100, p=9), n=6)
    yield Case("scale 1e-150, n < p", moved(0.0, 1e-150, p=9), n=6)
    yield Case("scale 1e150, n < p", moved(0.0, 1e150, p=9), n=6)
    yield Case("columns 1e-8..1e8", columns(1e-8, 1e-4, 1.0, 1e4, 1e8))
    yield Case("columns 1e8..1e-8", columns(1e8, 1e4, 1.0, 1e-4, 1e-8))
    yield Case("columns 1e-100..1e100", columns(1e-100, 1e-50, 1.0, 1e50, 1e100))
    yield Case("columns 1e-140..1e140", columns(1e-140, 1.0, 1e140))
    yield Case("columns 1e-5..1e5, offset 1e6", columns(1e-5, 1.0, 1e5, offset=1e6))
    yield Case("columns 1e-8..1e8, n < p", columns(*np.logspace(-8, 8, 9)), n=6)
    yield Case("columns 1e-30..1e30, n=3", columns(1e-30, 1.0, 1e30), n=3)
    yield Case(
        "columns 1e-8..1e8 and a duplicate",
        beside(columns(1e-8, 1.0, 1e8), lambda X: X[:, 1]),
    )
    yield Case(
        "duplicate in other units",
        beside(columns(1e-8, 1.0, 1e8), lambda X: X[:, 1] * 2.0**40),
    )


def _singular():
    for value in (0.0, 1.0, 0.1, 3.3e16, 1e-300, -1e300):
        yield Case(f"constant column {value:g}", beside(blob, value))
    yield Case("constant first column", lambda rng, m: np.column_stack(
        [np.full(m, 3.3e16), blob(rng, m)]
    ))  # fmt: skip
    yield Case("two constant columns", beside(blob, 0.1, 7e12))
    yield Case("constant column, data at 1e8", beside(moved(1e8), 1e8 / 3))
    yield Case("constant column, data at 1e-30", beside(moved(0.0, 1e-30), 1.0))
    yield Case("constant column, n < p", beside(moved(0.0, p=8), 3.3e16), n=6)
    yield Case("only one column varies", beside(moved(0.0, p=1), 0.1, 3.3e16))
    yield Case("duplicated column", beside(blob, lambda X: X[:, 0]))
    yield Case("negated column", beside(blob, lambda X: -X[:, 0]))
    yield Case("column tripled", beside(blob, *[lambda X: X[:, 0]] * 3))
    yield Case("all columns equal", lambda rng, m: blob(rng, m, 1)[:, [0] * 4])
    yield Case("duplicated column at 1e8", beside(moved(1e8), lambda X: X[:, 0]))
    yield Case("sum of columns, exact", beside(grid, lambda X: X[:, 0] + X[:, 1]))
    yield Case("difference, exact", beside(grid, lambda X: X[:, 0] - X[:, 3]))
    yield Case("two dependent columns, exact", beside(
        grid, lambda X: X.sum(1), lambda X: X[:, 0] - 2 * X[:, 2]
    ))  # fmt: skip
    # Rounded dependence: the floats differ from an exactly singular matrix by one
    # rounding, which is what they stand for; the full rank of the floats is noise.
    yield Case(
        "sum of columns, rounded",
        beside(blob, lambda X: X[:, 0] + X[:, 1]),
        off=False,
        ideal=sum_column,
    )
    yield Case(
        "mean of columns, rounded",
        beside(moved(0.0, p=3), lambda X: X.mean(1)),
        off=False,
        ideal=mean_column,
    )
    yield Case("rank 1", lambda rng, m: np.outer(rng.integers(-9, 9, m), [1, 2, -3, 4]))
    yield Case(
        "rank 2 of 6", lambda rng, m: grid(rng, m, 2) @ rng.integers(-3, 4, size=(2, 6))
    )
    yield Case("every row twice", repeated(blob, 2))
    yield Case("every row twice, n < p", repeated(moved(0.0, p=8), 2), n=8)
    yield Case("two distinct rows", lambda rng, m: blob(rng, 2)[np.arange(m) % 2])
    yield Case("one row differs", lambda rng, m: np.where(
        np.arange(m)[:, None] == 1, 1.5, np.ones((m, 3))
    ))  # fmt: skip
    yield Case("one row differs by an ulp", lambda rng, m: np.where(
        np.arange(m)[:, None] == 1, np.nextafter(1e8, 2e8), np.full((m, 1), 1e8)
    ))  # fmt: skip
    yield Case("one entry differs", lambda rng, m: np.where(
        np.arange(3 * m).reshape(m, 3) == 4, 2.0, 0.1 * np.ones((m, 3))
    ), off=False)  # fmt: skip
    yield Case("mostly zeros", sparse_rows)
    yield Case("mostly zeros, n=40", sparse_rows, n=40)
    yield Case("one-hot", one_hot)
    yield Case("proportions that sum to one", beside(
        lambda rng, m: rng.integers(0, 21, size=(m, 3)) / 64, lambda X: 1 - X.sum(1)
    ))  # fmt: skip


def _close_to_singular():
    for at in (1.0, 1e8, 3.3e16, 1e-300):
        yield Case(f"one ulp of noise at {at:g}", ulps(at))
    yield Case("one ulp of noise, alone", ulps(1e8, p=1))
    yield Case("thousand ulps of noise at 1e15", ulps(1e15, 1000))
    yield Case("near-constant by one row", beside(
        blob, lambda X: np.where(np.arange(len(X)) == 2, 1e8 + 1e-7, 1e8)
    ))  # fmt: skip
    for gap in (1e-3, 1e-5, 1e-7, 1e-9):
        yield Case(f"collinear to {gap:g}", collinear(gap))
    yield Case("collinear to 1e-7, n=40", collinear(1e-7), n=40)
    yield Case("collinear to 1e-7, columns 1e-8..1e8", lambda rng, m: collinear(1e-7)(
        rng, m
    ) * [1e-8, 1.0, 1e8, 1e4, 1e-3])  # fmt: skip
    yield Case("collinear to 1e-5 at offset 1e3", lambda rng, m: collinear(1e-5)(
        rng, m
    ) + 1e3)  # fmt: skip
    for size in (1e3, 1e6, 1e10, 1e15, 1e100):
        yield Case(f"outlier at {size:g}", outlier(size))
        yield Case(f"outlier at {size:g} in one column", outlier(size, 2))
    for p in (3, 5):
        yield Case(f"Hilbert {p}", hilbert(p), n=12)
    yield Case("Vandermonde", vandermonde)
    yield Case("graded 10", graded(4, 10.0))
    yield Case("graded 1e3", graded(4, 1e3))
    yield Case("Cauchy", cauchy)
    yield Case("Cauchy squared", lambda rng, m: cauchy(rng, m) ** 2)
    yield Case("Cauchy, n=40", cauchy, n=40)
    yield Case("heavy lognormal", lognormal(6.0))
    yield Case("exponents of every size", lambda rng, m: blob(rng, m) * 10.0 ** (
        rng.integers(-12, 13, size=(m, 4))
    ))  # fmt: skip


def _few_rows():
    for n, p in ((2, 1), (2, 2), (2, 4), (3, 1), (3, 2), (3, 4), (4, 4), (5, 4)):
        yield Case(f"n={n}, p={p}", moved(0.0, p=p), n=n)
    for n, p in (
        (4, 3),
        (6, 5),
        (5, 5),
        (4, 5),
        (9, 8),
        (8, 8),
        (7, 8),
        (18, 4),
        (19, 4),
    ):
        yield Case(f"n={n}, p={p}", moved(2.0, p=p), n=n)
    yield Case("n=2 at offset 1e8", moved(1e8), n=2)
    yield Case("n=3 at scale 1e-100", moved(0.0, 1e-100, p=2), n=3)
    yield Case("n=3, two equal", lambda rng, m: blob(rng, m)[[0, *range(m - 1)]], n=3)
    yield Case("n=6, p=40", moved(0.0, p=40), n=6)
    yield Case("n=6, p=40 at offset 1e8", moved(1e8, p=40), n=6)
    yield Case("n=3, p=2000", moved_wide(2000), n=3, off=False)
    yield Case("n=2, p=500", moved_wide(500), n=2, off=False)


def moved_wide(p):
    """Many independent columns of small integers, quick in exact arithmetic."""
    return lambda rng, m: rng.integers(-50, 51, size=(m, p)) * 0.125


def _far_queries():
    for far in (1e8, 1e100, 1e150):
        yield Case(f"query at {far:g}", moved(0.0), far=(far, -far))
    for far in (1e155, 1e160, 1e200, 1e300):
        yield Case(f"query at {far:g}", moved(0.0), far=(far, -far, 1.0))
    # A projection of this query would not fit into a float64.
    yield Case("query at 1.7e308", moved(0.0), far=(1.7e308, -1.7e308), pca=False)
    yield Case("query at 1e200, n=4", moved(0.0, p=2), n=4, far=(1e200,))
    yield Case("query at 1e100, scale 1e-150", moved(0.0, 1e-150), far=(1e100,))
    yield Case("query at 1e-100, scale 1e-150", moved(0.0, 1e-150), far=(1e-100,))
    yield Case("query at 0, scale 1e150", moved(1e153, 1e150), far=(0.0,))
    yield Case("query at 1e-300, scale 1e150", moved(0.0, 1e150), far=(1e-300,))
    yield Case("query at 1e200, columns 1e-100..1e100", columns(
        1e-100, 1.0, 1e100
    ), far=(1e200, 1e50))  # fmt: skip
    yield Case("query at 1e200, offset 1e8", moved(1e8), far=(1e200, 0.0))


CASES = [
    *_ordinary(), *_offsets(), *_dtypes(), *_scales(), *_singular(),
    *_close_to_singular(), *_few_rows(), *_far_queries(),
]  # fmt: skip


@cache
def drawn(case):
    """Training rows, queries (both in the case's dtype) and their exact values."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    rows = case.draw(rng, case.n + 3).astype(case.dtype)
    X, fresh = rows[: case.n], rows[case.n :]
    queries = [X[:3], fresh]
    if case.off and np.dtype(case.dtype).kind == "f":
        centre = X.astype(np.float64)
        with np.errstate(over="ignore"):
            step = np.median(np.abs(centre - np.median(centre, axis=0)), axis=0)
        step = step * rng.normal(size=X.shape[1]) * 2
        queries.append((centre[:1] + step).astype(case.dtype))
    if case.far:
        values = np.array(case.far)[:, None]
        queries.append(np.repeat(values, X.shape[1], axis=1).astype(case.dtype))
    Q = np.vstack(queries)
    X.flags.writeable = Q.flags.writeable = False
    ideal = case.ideal or exact
    return X, Q, ideal(X.astype(np.float64)), ideal(Q.astype(np.float64))


@cache
def factored(case):
    return Factored(drawn(case)[2])


@cache
def truth(case, shrinkage):
    """The exact model of a case, with its distances and log-densities."""
    Q = drawn(case)[3]
    model = ExactGaussian(factored(case), shrinkage)
    return model, model.mahalanobis(Q), model.log_density(Q)


def lonely(case):
    """Whether all rows but one are equal, so that one left-out fit does not exist."""
    X = drawn(case)[2]
    return any(X.count(row) >= case.n - 1 for row in X[:2])


def carried(case):
    """Whether one row alone makes a column vary: without it the rank is lower."""
    columns = list(zip(*drawn(case)[2], strict=True))
    return any(
        len(set(column)) == 2 and min(map(column.count, set(column))) == 1
        for column in columns
    )


def tolerance(model, shrinkage, *, squared=False):
    """Relative error allowed in a squared distance.

    1e-9, unless eps * condition of the column-scaled data is worse (its square for a
    stream, whose state is the scatter), or the Ledoit-Wolf numerator
    (1/n) sum |z|^4 - tr S^2 cancels, an error that passes one to one into 1/a.
    """
    condition = model.condition() if model.p <= 64 else 1.0
    bound = GROWTH * EPS * model.p * condition ** (2 if squared else 1)
    if shrinkage == "ledoit_wolf" and model.shrinkage:
        m = model.moments
        cancels = (m.quartic + m.trace_square) / (m.quartic - m.trace_square)
        bound += GROWTH * EPS * float(cancels)
    return max(RTOL, bound)


# ------------------------------------------------------------------ the verdict
class Wrong(AssertionError):
    """A number or a warning that is not what the reference says."""


class Declared(Exception):
    """No number is judged: the data are singular to float64, and a warning said so."""


def attempt(record, may_refuse, run):
    """Run, classify and record; only right and (where allowed) refused pass."""
    try:
        run()
    except Wrong as error:
        record("outcome", "WRONG")
        pytest.fail(f"WRONG: {error}", pytrace=False)
    except Declared:
        record("outcome", "refused")
    except (ValueError, TypeError) as error:
        if may_refuse and str(error).strip():
            record("outcome", "refused")
            return
        record("outcome", "crash")
        pytest.fail(f"refused a valid input: {error!r}", pytrace=False)
    except Exception as error:
        record("outcome", "crash")
        pytest.fail(f"crash: {error!r}")
    else:
        record("outcome", "right")


def expect(condition, message):
    if not condition:
        raise Wrong(message)


def quietly(run):
    """Result and warnings of a call; a warning that is not declared is WRONG."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run()
    for w in caught:
        expect(issubclass(w.category, DECLARED), f"undeclared warning: {w.message!r}")
    return result, [w.message for w in caught]


def check_warnings(messages, category, expected, *numbers):
    found = [str(m) for m in messages if isinstance(m, category)]
    expect(bool(found) == expected, f"{category.__name__}: {found or 'missing'}")
    for number in numbers if found else ():
        pattern = rf"(?<![\d.]){number}(?!\d)"
        expect(
            any(re.search(pattern, text) for text in found),
            f"{category.__name__} does not name {number}: {found}",
        )


def error_of(got, want, floor):
    """Relative error of a float against a fraction."""
    if not np.isfinite(got):
        return float("inf")
    difference = abs(Fraction(float(got)) - want) / max(abs(want), floor)
    return float(min(difference, Fraction(10) ** 300))


def check_distances(got, want, tol):
    expect(got.dtype == np.float64, f"distances are {got.dtype}")
    expect(got.shape == (len(want),), f"distances have shape {got.shape}")
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        w = min(w, Fraction(FLOAT_MAX))
        error = error_of(g, w, FLOOR)
        expect(
            g >= 0 and error <= tol,
            f"distance {i}: {g!r} for {float(w)!r}, error {error:.1e} > {tol:.1e}",
        )


def check_log_density(got, want, distances, tol, p):
    expect(got.dtype == np.float64, f"log-densities are {got.dtype}")
    for i, (g, w, d) in enumerate(zip(got, want, distances, strict=True)):
        allowed = RTOL * max(1.0, abs(float(w))) + tol * p
        allowed += tol * float(min(d, Fraction(FLOAT_MAX))) / 2
        error = abs(float(mpmath.mpf(float(g)) - w)) if np.isfinite(g) else np.inf
        expect(
            error <= allowed,
            f"log-density {i}: {g!r} for {float(w)!r}, {error:.1e} > {allowed:.1e}",
        )


def fit_batch(estimator, X):
    return estimator.fit(X)


def fit_stream(estimator, X):
    size = max(2, -(-len(X) // 3))
    starts = list(range(0, len(X), size))
    if len(X) - starts[-1] < 2 and len(starts) > 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], len(X)], strict=True):
        estimator.partial_fit(X[start:stop])
    assert estimator.shrinkage_ is not None  # a lazy state settles, and warns, here
    return estimator


def run_gaussian(case, shrinkage, build, *, stream=False):
    X, Q, _, _ = drawn(case)
    model, distances, log_density = truth(case, shrinkage)
    tol = tolerance(model, shrinkage, squared=stream)
    fit = fit_stream if stream else fit_batch
    fitted, messages = quietly(lambda: fit(build(), X))
    singular = model.rank < model.p
    said = any(isinstance(m, RankDeficientWarning) for m in messages)
    if tol > HOPELESS and said:
        raise Declared  # float64 does not determine the answer, and the warning says so
    if not stream or singular:  # a stream may pass through singular states
        check_warnings(
            messages, RankDeficientWarning, singular, *[model.rank, model.p] * singular
        )
    if not stream:
        # Nothing is certified either where some row cannot be left out: the others
        # are all equal.
        certified = case.n >= NEEDED_ROWS and not lonely(case)
        if isinstance(fitted, MahalanobisDetector) and fitted.shrinkage_ == 0:
            certified = certified and not carried(case)
        if isinstance(fitted, MahalanobisDetector):
            numbers = [NEEDED_ROWS] if case.n < NEEDED_ROWS else []
            check_warnings(messages, CalibrationWarning, not certified, *numbers)
            expect(certified or fitted.offset_ == -np.inf, f"offset_ {fitted.offset_!r}")
    tol = min(tol, HOPELESS)
    overflow = any(d > Fraction(FLOAT_MAX) for d in distances)
    got, messages = quietly(lambda: fitted.mahalanobis(Q))
    check_warnings(messages, DistanceOverflowWarning, overflow)
    check_distances(got, distances, tol)
    got, _ = quietly(lambda: fitted.score_samples(Q))
    check_log_density(got, log_density, distances, tol, model.p)
    return fitted, model, tol


def check_matrices(fitted, model):
    """location_, shrinkage_ and covariance_ against the exact ones."""
    a = float(model.shrinkage)
    m = model.moments
    isotropic = m.p * m.trace_square == m.trace**2  # every intensity is the same model
    expect(
        isotropic or abs(fitted.shrinkage_ - a) <= RTOL * max(a, 1e-3),
        f"shrinkage_ {fitted.shrinkage_!r} for {a!r}",
    )
    where = np.array([float(v) for v in model.location])
    expect(fitted.location_.dtype == np.float64, "location_ is not float64")
    expect(fitted.location_.shape == where.shape, "location_ has another shape")
    if model.p > 64:
        return
    with np.errstate(over="ignore"):  # a variance of 1e400 is inf
        got, _ = quietly(lambda: fitted.covariance_)
    expect(got.dtype == np.float64, f"covariance_ is {got.dtype}")
    want = sigma(model)
    # Next to an exact zero, the square of a rounding is harmless.
    dust = Fraction(64 * EPS**2) * max(row[i] for i, row in enumerate(want))
    for i in range(model.p):
        for j in range(model.p):
            size = max(want[i][i], want[j][j], Fraction(1, 10**290))
            if size < Fraction(10) ** 300:
                allowed = Fraction(RTOL) * max(size, abs(want[i][j])) + dust
                expect(
                    np.isfinite(got[i, j])
                    and abs(Fraction(float(got[i, j])) - want[i][j]) <= allowed,
                    f"covariance_[{i}, {j}] is {got[i, j]!r} for {float(want[i][j])!r}",
                )


def sigma(model):
    """The shrunk covariance from the factors of the exact model."""
    columns_ = [list(c) for c in zip(*model.basis, strict=True)]
    inner = [[dot(row, c) for row in model._inner] for c in columns_]
    return [
        [dot(u, c) + (model.floor if i == j else 0) for j, u in enumerate(inner)]
        for i, c in enumerate(columns_)
    ]


by_name = pytest.mark.parametrize("case", CASES, ids=str)
by_shrinkage = pytest.mark.parametrize("shrinkage", SHRINKAGES)


def test_case_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


@by_shrinkage
@by_name
def test_covariance(case, shrinkage, record_property):
    def run():
        fitted, model, _ = run_gaussian(
            case, shrinkage, lambda: ShrinkageCovariance(shrinkage)
        )
        check_matrices(fitted, model)

    attempt(record_property, case.may_refuse, run)


@by_shrinkage
@by_name
def test_detector(case, shrinkage, record_property):
    attempt(
        record_property,
        case.may_refuse,
        lambda: run_gaussian(
            case, shrinkage, lambda: MahalanobisDetector(shrinkage=shrinkage)
        ),
    )


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, "ledoit_wolf"])
@by_name
def test_patches(case, shrinkage, record_property):
    """Images of a single place: distances are those of rows."""

    def run():
        X, Q, _, _ = drawn(case)
        model, distances, _ = truth(case, shrinkage)
        tol = tolerance(model, shrinkage)
        detector = PatchGaussianDetector(
            shrinkage, grid_shape=(1, 1), n_channels=None, pixel_target_fpr=0.1
        )
        fitted, messages = quietly(lambda: detector.fit(X))
        singular = model.rank < model.p
        said = any(isinstance(m, RankDeficientWarning) for m in messages)
        if tol > HOPELESS and said:
            raise Declared
        expect(said == singular, f"RankDeficientWarning: {said}, singular: {singular}")
        overflow = any(d > Fraction(FLOAT_MAX) for d in distances)
        got, messages = quietly(lambda: fitted.mahalanobis(Q))
        check_warnings(messages, DistanceOverflowWarning, overflow)
        check_distances(got[:, 0, 0], distances, min(tol, HOPELESS))

    attempt(record_property, case.may_refuse, run)


@pytest.mark.parametrize("shrinkage", [0.0, "ledoit_wolf"])
@by_name
def test_stream(case, shrinkage, record_property):
    attempt(
        record_property,
        case.may_refuse,
        lambda: run_gaussian(
            case, shrinkage, lambda: ShrinkageCovariance(shrinkage), stream=True
        ),
    )


# ----------------------------------------------------------------- components
@cache
def component_truth(case):
    _, _, X, _ = drawn(case)
    return principal_components(X)


def unresolved(case):
    """Whether the smallest component is below the noise of the unscaled float64 data."""
    variances = component_truth(case)[0]
    p = drawn(case)[0].shape[1]
    return mpmath.sqrt(variances[-1] / variances[0]) < 10 * GROWTH * EPS * p


def run_components(case, build, kept_slice):
    """Variances and projected lengths; a null or degenerate boundary is not judged."""
    X, Q, _, _ = drawn(case)
    variances, components = component_truth(case)
    p, r = X.shape[1], len(variances)
    spread = [float(mpmath.sqrt(v / variances[0])) for v in variances]
    noise = GROWTH * EPS * p  # relative to the largest singular value
    (pca, T), messages = quietly(lambda: fit_transform(build(), X, Q))
    expect(not messages, f"undeclared warning: {messages}")
    expect(np.isfinite(T).all(), "not finite")
    single = X.dtype == np.float32
    expect(T.dtype == (np.float32 if single else np.float64), f"output is {T.dtype}")
    kept = kept_slice(variances)
    if kept is None or unresolved(case):
        return  # the unscaled float64 data do not determine what is kept
    indices = range(r)[kept]
    expect(
        pca.explained_variance_.shape == (len(indices),),
        f"keeps {pca.explained_variance_.shape} components of {r}, not {indices}",
    )
    for g, j in zip(pca.explained_variance_, indices, strict=True):
        tol = max(1e-6 if single else RTOL, 2 * noise / spread[j])
        error = abs(mpmath.mpf(float(g)) / variances[j] - 1)
        expect(
            error <= tol or variances[j] < 1e-300,
            f"variance {j}: {g!r} for {float(variances[j])!r}",
        )
    edges = [e for e in (kept.start, kept.stop) if e is not None and 0 < e < r]
    tilt = [noise / max(spread[e - 1] - spread[e], 1e-300) for e in edges]
    tilt.append(noise / spread[-1] if r < p else 0.0)
    if max(tilt) > HOPELESS:
        return
    check_projection(case, T, components[kept], max(tilt), single)


def check_projection(case, T, components, tilt, single):
    _, _, X, Q = drawn(case)
    lengths = projected_length(X, Q, components)
    lost = 4e-7 if single else GROWTH * EPS
    for i, (t, want, y) in enumerate(zip(T, lengths, centred(Q, mean(X)), strict=True)):
        got = float_root(sum(Fraction(float(v)) ** 2 for v in t))
        norm = float_root(dot(y, y))
        want_root = mpmath.sqrt(want)
        allowed = max(RTOL, lost) * want_root + (2 * tilt + lost) * norm
        allowed += 1e-44 if single else 0.0  # the spacing of the smallest float32
        expect(
            abs(got - want_root) <= allowed,
            f"projected length {i}: {float(got)!r} for {float(want_root)!r}",
        )


def float_root(value):
    with mpmath.workdps(60):
        return mpmath.sqrt(mpmath.mpf(value.numerator) / value.denominator)


def fit_transform(pca, X, Q):
    return pca.fit(X), pca.transform(Q)


def published(variances):
    """The published rule, or None where a rounding of the threshold decides."""
    low, high = (low_variance_slice(variances, 0.01 * f) for f in (1 - 1e-9, 1 + 1e-9))
    return low if low == high else None


COMPONENTS = {
    "low 1%": (LowVariancePCA, published),
    "low 2": (
        lambda: LowVariancePCA(n_components=2),
        lambda v: slice(len(v) - 2, None) if len(v) > 2 else None,
    ),
    "high 2": (
        lambda: LowVariancePCA(n_components=2, keep="high"),
        lambda v: slice(None, 2) if len(v) > 2 else None,
    ),
}


@pytest.mark.parametrize("kind", COMPONENTS)
@by_name
def test_components(case, kind, record_property):
    build, rule = COMPONENTS[kind]
    X = drawn(case)[0]
    if kind != "low 1%" and len(component_truth(case)[0]) < 3:
        pytest.skip("fewer than three components")
    if not case.pca:
        pytest.skip("the projection would not fit into the dtype of the query")
    if X.shape[1] > 64:
        pytest.skip("eigenvectors of so many columns are too slow in mpmath")
    # Two components may be refused where float64 sees only one.
    may_refuse = case.may_refuse or (kind != "low 1%" and unresolved(case))
    attempt(record_property, may_refuse, lambda: run_components(case, build, rule))


# ------------------------------------------------------------------- left out
LEFT_OUT = [
    Case("normal", moved(0.0, p=3), n=10),
    Case("n=20, offset", moved(1e8, p=2)),
    Case("offset 1e15", moved(1e15, p=3), n=8),
    Case("scale 1e-100", moved(0.0, 1e-100, p=3), n=8),
    Case("scale 1e150", moved(0.0, 1e150, p=3), n=8),
    Case("columns 1e-8..1e8", columns(1e-8, 1.0, 1e8), n=8),
    Case("n=3, p=2", moved(0.0, p=2), n=3),
    Case("n=3, p=4", moved(0.0, p=4), n=3),
    Case("n=4, p=3: leaving one out loses rank", moved(0.0, p=3), n=4),
    Case("n=5, p=3", moved(0.0, p=3), n=5),
    Case("n=6, p=9", moved(0.0, p=9), n=6),
    Case("n=6, p=6", moved(1e4, p=6), n=6),
    Case("float32 n=6, p=9", moved(1e4, p=9), n=6, dtype=np.float32),
    Case("duplicated column", beside(moved(0.0, p=2), lambda X: X[:, 0]), n=8),
    Case("constant column", beside(moved(0.0, p=2), 3.3e16), n=8),
    Case("every row twice", repeated(moved(0.0, p=3), 2), n=8),
    Case(
        "a column carried by one row",
        beside(moved(0.0, p=2), lambda X: (np.arange(len(X)) == 3) * 1.0),
        n=8,
    ),
    Case("one row differs", lambda rng, m: np.arange(m)[:, None] == [1, 1], n=6),
    Case("outlier at 1e6", outlier(1e6), n=9),
    Case("outlier at 1e10", outlier(1e10), n=9),
    Case("collinear to 1e-5", lambda rng, m: collinear(1e-5)(rng, m)[:, ::4], n=9),
    Case("p=1", moved(0.0, p=1), n=7),
    Case("integers", whole(-9, 9, 3), n=8, dtype=np.int16),
    Case("one-hot", one_hot, n=10),
    Case("Cauchy", cauchy, n=8),
]


@by_shrinkage
@pytest.mark.parametrize("case", LEFT_OUT, ids=str)
def test_left_out_scores(case, shrinkage, record_property):
    X, _, exact_X, _ = drawn(case)
    want = left_out_log_density(exact_X, shrinkage)
    models = [
        None if w is None else ExactGaussian(exact_X[:i] + exact_X[i + 1 :], shrinkage)
        for i, w in enumerate(want)
    ]

    def run():
        detector, messages = quietly(
            lambda: MahalanobisDetector(shrinkage=shrinkage).fit(X)
        )
        check_warnings(messages, CalibrationWarning, case.n < NEEDED_ROWS)
        got = detector.calibration_scores_
        expect(got.shape == (case.n,), f"calibration_scores_ has shape {got.shape}")
        squares = detector.calibration_mahalanobis_
        densities = detector.covariance_estimator_.leave_one_out(X)[1]
        whole = ExactGaussian(exact_X, shrinkage)
        for i, (w, model) in enumerate(zip(want, models, strict=True)):
            if w is None or model.rank < whole.rank:
                expect(squares[i] == np.inf, f"{squares[i]} where a direction is lost")
                expect(densities[i] == got[i] == -np.inf, "a density there")
                continue
            tol = tolerance(model, shrinkage)
            distance = model.mahalanobis([exact_X[i]])
            if tol > HOPELESS:
                continue
            check_distances(squares[i : i + 1], distance, 10 * tol)
            check_log_density(densities[i : i + 1], [w], distance, 10 * tol, model.p)
            # What calibrates is the final density at the left-out distance.
            seen = whole.mahalanobis([exact_X[i]])[0]
            change = (seen - distance[0]) / 2
            final = whole.log_density([exact_X[i]])[0]
            final += mpmath.mpf(change.numerator) / change.denominator
            check_log_density(got[i : i + 1], [final], distance, 10 * tol, model.p)

    attempt(record_property, case.may_refuse, run)


# ------------------------------------------------------------------- refusals
ESTIMATORS = {
    "covariance": ShrinkageCovariance,
    "unshrunk covariance": lambda: ShrinkageCovariance(0.0),
    "detector": MahalanobisDetector,
    "unshrunk detector": lambda: MahalanobisDetector(shrinkage=0.0),
    "components": LowVariancePCA,
    "trimmed detector": lambda: MahalanobisDetector(tail="student", trim="auto"),
    "classes": ClassConditionalDetector,
    "mixture": IncrementalMixtureDetector,
    "labels": NormalAbnormalDetector,
    "residual": ReferenceResidual,
    "norms": ScoreNorms,
}
PLAIN = np.random.default_rng(0).normal(size=(24, 3))


def spoiled(value, dtype=np.float64):
    X = PLAIN.astype(dtype)
    X[5, 1] = value
    return X


def _sparse():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    return scipy_sparse.csr_array(PLAIN)


# What cannot be an array of numbers, at fit and at scoring alike.
MALFORMED = {
    "NaN": lambda: spoiled(np.nan),
    "inf": lambda: spoiled(np.inf),
    "-inf": lambda: spoiled(-np.inf),
    "float32 NaN": lambda: spoiled(np.nan, np.float32),
    "float16 inf": lambda: spoiled(np.inf, np.float16),
    "longdouble beyond float64": lambda: spoiled(np.longdouble("1e400"), np.longdouble),
    "None in a list": lambda: [[1.0, None, 2.0], *PLAIN.tolist()],
    "no rows": lambda: PLAIN[:0],
    "no columns": lambda: PLAIN[:, :0],
    "one-dimensional": lambda: PLAIN[:, 0],
    "three-dimensional": lambda: PLAIN[None],
    "a scalar": lambda: 3.0,
    "None": lambda: None,
    "ragged": lambda: [[1.0, 2.0, 3.0], [1.0, 2.0]],
    "strings": lambda: PLAIN.astype(str),
    "bytes": lambda: PLAIN.astype("S"),
    "words": lambda: np.array([["a", "b", "c"]] * 24, dtype=object),
    "mixed": lambda: [[1.0, 2.0, "x"]] * 24,
    "datetimes": lambda: (PLAIN * 1e6).astype("datetime64[s]"),
    "timedeltas": lambda: (PLAIN * 1e6).astype("timedelta64[s]"),
    "complex": lambda: PLAIN + 1j,
    "complex, imaginary part zero": lambda: PLAIN + 0j,
    "sparse": _sparse,
    "masked, values hidden": lambda: np.ma.array(PLAIN, mask=PLAIN > 1),
    "masked, nothing hidden": lambda: np.ma.array(PLAIN),
    "structured": lambda: np.zeros(24, dtype=[("a", float), ("b", float)]),
    "a dictionary": lambda: {"a": [1.0, 2.0]},
    "a generator": lambda: (row for row in PLAIN),
}
# Numbers, but no distribution to fit.
UNFITTABLE = {
    "one row": lambda: PLAIN[:1],
    "one number": lambda: PLAIN[:1, :1],
    "all rows zero": lambda: np.zeros((24, 3)),
    "all rows 0.1": lambda: np.full((24, 3), 0.1),
    "all rows 3.3e16": lambda: np.full((23, 3), 3.3e16 + 4),
    "all rows 1e-300": lambda: np.full((24, 3), 1e-300),
    "all rows 1e300": lambda: np.full((24, 3), 1e300),
    "all rows equal": lambda: np.repeat(PLAIN[:1], 24, axis=0),
    "all rows equal, float32": lambda: np.full((7, 3), 1e8 / 3, np.float32),
    "all rows equal, integers": lambda: np.full((24, 3), 7),
    "all rows equal, one column": lambda: np.full((24, 1), 0.1),
    "all rows equal, n < p": lambda: np.repeat(PLAIN[:4].reshape(1, -1), 5, axis=0),
    "two equal rows": lambda: np.repeat(PLAIN[:1], 2, axis=0),
}


def refuse(record, run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # NumPy's own word on a longdouble that float64 cannot hold, before the refusal.
        warnings.filterwarnings("ignore", "overflow encountered in cast")
        try:
            run()
        except (ValueError, TypeError) as error:
            if str(error).strip():
                record("outcome", "refused")
                return
            record("outcome", "crash")
            pytest.fail(f"refused without a word: {error!r}", pytrace=False)
        except Exception as error:
            record("outcome", "crash")
            pytest.fail(f"crash: {error!r}", pytrace=False)
    record("outcome", "WRONG")
    pytest.fail("WRONG: accepted without a word", pytrace=False)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("name", [*MALFORMED, *UNFITTABLE])
def test_fit_refuses(name, kind, record_property):
    if kind == "residual" and name in UNFITTABLE:
        assert np.asarray(ReferenceResidual().fit(UNFITTABLE[name]()).reference_).size
        return  # it estimates nothing: one row is a reference
    X = (MALFORMED | UNFITTABLE)[name]()
    refuse(record_property, lambda: ESTIMATORS[kind]().fit(X))


@pytest.mark.parametrize("kind", ["covariance", "detector", "components"])
@pytest.mark.parametrize("name", MALFORMED)
def test_partial_fit_refuses(name, kind, record_property):
    X = MALFORMED[name]()
    fitted = ESTIMATORS[kind]()
    fitted.partial_fit(PLAIN)
    refuse(record_property, lambda: fitted.partial_fit(X))


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("name", [*MALFORMED, "another width", "a prefix of columns"])
def test_scoring_refuses(name, kind, record_property):
    wrong_width = {
        "another width": lambda: np.ones((3, 4)),
        "a prefix of columns": lambda: PLAIN[:, :2],
    }
    X = (MALFORMED | wrong_width)[name]()
    fitted = ESTIMATORS[kind]().fit(PLAIN)
    verb = "transform" if hasattr(fitted, "transform") else "score_samples"
    refuse(record_property, lambda: getattr(fitted, verb)(X))


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan, np.inf, "lw", None])
@pytest.mark.parametrize("kind", [ShrinkageCovariance, MahalanobisDetector])
def test_intensity_is_refused(kind, bad, record_property):
    refuse(record_property, lambda: kind(shrinkage=bad).fit(PLAIN))


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 1.5, np.nan, "5%"])
def test_target_is_refused(target, record_property):
    refuse(record_property, lambda: MahalanobisDetector(target_fpr=target).fit(PLAIN))


@pytest.mark.parametrize("n", [2, 3, 18])
def test_too_few_rows_to_certify(n):
    X = PLAIN[:n, :2]
    with pytest.warns(CalibrationWarning, match=str(NEEDED_ROWS)):
        detector = MahalanobisDetector(shrinkage=0.1).fit(X)
    assert detector.offset_ == -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (detector.predict(np.vstack([X, X + 1e6])) == 1).all()


def test_distances_beyond_float64_are_clipped():
    detector = MahalanobisDetector(shrinkage=0.1).fit(PLAIN)
    with pytest.warns(DistanceOverflowWarning):
        got = detector.mahalanobis(np.vstack([PLAIN[:1], np.full((1, 3), 1e200)]))
    assert got[1] == FLOAT_MAX
    assert got[0] < 100
