"""Kernel densities of hostile numbers: right, or refused as declared.

The cases, and what an outcome is called, are those of test_torture_numbers. Distances
between queries and rows are exact, or in 60 digits, until they are rounded to long
double; densities are sums in long double at the bandwidth of the fit. A log-density has
to lie between those of distances that are a little too long and a little too short, with
1e-9 nats and 8 units in the last place of the value on either side:

none, diagonal   by 8 units in the last place of each distance
ledoit_wolf      by `resolution` times the lengths of both rows about the mean: what a
                 backward-stable factorisation of the rows leaves of their coordinates
"""

import math
import warnings
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
from kernel_reference import (
    COMPACT,
    KERNELS,
    LD,
    WHITENINGS,
    axis_variance,
    from_distances,
    long_double,
)
from reference import (
    DIGITS,
    EPS,
    FLOAT_MAX,
    ExactGaussian,
    Factored,
    centred,
    covariance,
    dot,
    ledoit_wolf,
    mean,
    moments,
    transpose,
)
from torture.test_torture_numbers import (
    CASES,
    GROWTH,
    HOPELESS,
    LEFT_OUT,
    MALFORMED,
    NEEDED_ROWS,
    PLAIN,
    RTOL,
    UNFITTABLE,
    Case,
    Declared,
    attempt,
    check_warnings,
    columns,
    drawn,
    expect,
    moved,
    outlier,
    refuse,
)

from sklearn_gauss.detection import KDEDetector
from sklearn_gauss.exceptions import (
    BandwidthWarning,
    CalibrationWarning,
    DistanceOverflowWarning,
    NearestNeighborWarning,
    RankDeficientWarning,
)

DECLARED = (
    BandwidthWarning,
    CalibrationWarning,
    DistanceOverflowWarning,
    NearestNeighborWarning,
    RankDeficientWarning,
)
ULPS = 8
WIDE = 64  # beyond so many columns only the exact, rank-revealing reference is affordable
by_whitening = pytest.mark.parametrize("whiten", WHITENINGS)


# ------------------------------------------------------------------- references
@dataclass(frozen=True)
class Truth:
    """Distances |A (q - y)| in long double, and how far they may be off."""

    r: np.ndarray
    doubt: np.ndarray
    features: int  # over which the density is one
    log_volume: LD
    spread: float  # relative error of A, which |A| has too
    variance: object  # mean variance of a column, after rescaling


def root(value):
    """Square root of a fraction or an mpmath number, as an mpmath number."""
    if isinstance(value, Fraction):
        value = mpmath.mpf(value.numerator) / value.denominator
    return mpmath.sqrt(value)


def to_long_double(values):
    out = np.empty(np.shape(values), LD)
    for index, value in np.ndenumerate(np.asarray(values, object)):
        out[index] = long_double(value)
    return out


def lengths(difference):
    """|z| over the last axis: the exponents of a long double need no scaling."""
    return np.sqrt((difference * difference).sum(axis=-1))


def variances(X):
    """Exact variances of the columns."""
    return [dot(c, c) / len(c) for c in transpose(centred(X))]


def along_columns(X, Q, whiten):
    """The metrics "none" and "diagonal"; columns without variance are left out."""
    exactly = variances(X)
    if whiten == "none":
        kept, units = np.ones(len(exactly), bool), np.ones(len(exactly), LD)
        variance = sum(exactly) / len(exactly)
    else:
        kept = np.array([v > 0 for v in exactly])
        units = to_long_double([root(v) for v in exactly if v])
        variance = Fraction(1)
    X, Q = (np.asarray(rows, np.float64).astype(LD)[:, kept] for rows in (X, Q))
    r = lengths((Q[:, None] - X) / units)
    doubt = ULPS * LD(EPS) * r
    return Truth(r, doubt, int(kept.sum()), -np.log(units).sum(), ULPS * EPS, variance)


def cholesky(S):
    """L with L L' = S, in mpmath."""
    L = np.array(S, object)
    for j in range(len(L)):
        L[j:, j] -= L[j:, :j] @ L[j, :j]
        L[j:, j] /= mpmath.sqrt(L[j, j])
        L[j, j + 1 :] = mpmath.mpf(0)
    return L


def forward(L, B):
    """L^-1 B by substitution, in mpmath."""
    out = np.array(B, object)
    for j in range(len(L)):
        out[j] = (out[j] - L[j, :j] @ out[:j]) / L[j, j]
    return out


def condition(S, L):
    """Bound on the condition of column-scaled rows, from L L' = S, in mpmath.

    With R the correlations of S, cond(R) <= tr(R) tr(R^-1); the square root is the rows'.
    """
    inverse = (forward(L, np.eye(len(L), dtype=object) * mpmath.mpf(1)) ** 2).sum(axis=0)
    return float(mpmath.sqrt(len(L) * (np.diag(S) * inverse).sum()))


def in_mpmath(rows):
    out = [[mpmath.mpf(v.numerator) / v.denominator for v in row] for row in rows]
    return np.array(out, object)


def shrunk(X, intensity, target, without=()):
    """Covariance (1-a) S + a m I, with the S of the rows but some, in fractions."""
    S = covariance([row for i, row in enumerate(X) if i not in without])
    keep = 1 - intensity
    return [
        [keep * v + (intensity * target if i == j else 0) for j, v in enumerate(row)]
        for i, row in enumerate(S)
    ]


def intensity_and_target(X):
    m = moments(centred(X))
    return ledoit_wolf(m), m.trace / m.p, m


def resolution(conditioned, m, intensity):
    """Relative error of a whitened length that rounding of the rows may cause.

    That of `tolerance` in test_torture_numbers, without its floor of 1e-9: eps times the
    condition of the column-scaled rows, with a constant that grows slowly; and, an error
    one to one in the intensity, eps times how far its numerator cancels.
    """
    bound = GROWTH * EPS * m.p * conditioned
    if intensity:
        cancels = (m.quartic + m.trace_square) / (m.quartic - m.trace_square)
        bound += GROWTH * EPS * float(cancels)
        if GROWTH * EPS * float(cancels) > 1:
            return np.inf  # of this intensity, float64 has no digit
    return bound


def along_axes(exact_X, exact_Q):
    """The metric "ledoit_wolf"."""
    intensity, target, m = intensity_and_target(exact_X)
    if m.p > WIDE or (not intensity and m.p > 1):
        return along_support(exact_X, exact_Q, intensity, m)
    with mpmath.workdps(DIGITS):
        S = in_mpmath(shrunk(exact_X, intensity, target))
        L = cholesky(S)
        about_mean = [
            to_long_double(forward(L, in_mpmath(centred(rows, mean(exact_X))).T).T)
            for rows in (exact_X, exact_Q)
        ]
        X, Q = about_mean
        spread = resolution(condition(S, L), m, intensity)
        log_volume = long_double(-sum(mpmath.log(v) for v in np.diag(L)))
    r = lengths(Q[:, None] - X)
    doubt = LD(min(spread, HOPELESS)) * (lengths(Q)[:, None] + lengths(X))
    return Truth(r, doubt, m.p, log_volume, spread, Fraction(1))


def along_support(exact_X, exact_Q, intensity, m):
    """Where there are many columns, or nothing shrinks: by the exact pseudo-inverse."""
    model = ExactGaussian(Factored(exact_X), "ledoit_wolf")
    with mpmath.workdps(DIGITS):
        r = np.array([
            [root(model._quadratic(z)) for z in centred(exact_Q, y)] for y in exact_X
        ]).T  # fmt: skip
        about_mean = [
            to_long_double([root(d) for d in model.mahalanobis(rows)])
            for rows in (exact_X, exact_Q)
        ]
        log_volume = long_double(-model.logdet / 2)
    spread = resolution(model.condition() if m.p <= WIDE else 1.0, m, intensity)
    X, Q = about_mean
    doubt = LD(min(spread, HOPELESS)) * (Q[:, None] + X)
    return Truth(to_long_double(r), doubt, model.rank, log_volume, spread, Fraction(1))


@cache
def truth(case, whiten):
    X, Q, exact_X, exact_Q = drawn(case)
    if whiten == "ledoit_wolf":
        return along_axes(exact_X, exact_Q)
    return along_columns(X, Q, whiten)


def bounds(true, h, kernel, rows=None, rtol=RTOL):
    """Least and greatest log-density allowed, for each row of distances.

    The kernels decrease. No error is allowed in what a rank decides: the number of
    features, and the support of a compact kernel but for the doubt about distances.
    """
    r, doubt = (true.r, true.doubt) if rows is None else rows
    r, doubt = np.atleast_2d(r), np.atleast_2d(doubt)
    out = []
    for sign, distances in ((-1, r + doubt), (1, np.maximum(r - doubt, 0))):
        value = from_distances(
            distances, true.features, h, kernel, log_volume=true.log_volume
        )
        finite = np.where(np.isfinite(value), value, LD(0))
        slack = rtol + (ULPS * EPS + rtol - RTOL) * np.abs(finite)
        slack = slack + true.features * LD(min(true.spread, HOPELESS))
        out.append(value + sign * slack)
    return out


# ------------------------------------------------------------------ the verdict
def quietly(run):
    """Result and warnings of a call; a warning that is not declared is WRONG."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run()
    for w in caught:
        expect(issubclass(w.category, DECLARED), f"undeclared warning: {w.message!r}")
    return result, [w.message for w in caught]


def check_log_densities(got, low, high):
    expect(got.dtype == np.float64, f"log-densities are {got.dtype}")
    expect(got.shape == low.shape, f"log-densities have shape {got.shape}")
    for i, (g, a, b) in enumerate(zip(got, low, high, strict=True)):
        a, b = (v if np.isneginf(v) else max(v, LD(-FLOAT_MAX)) for v in (a, b))
        right = a <= g <= b
        expect(right, f"log-density {i}: {g:.17g} is not in [{a:.17g}, {b:.17g}]")


def check_threshold(detector, messages, n):
    """The order statistic of the left-out scores, or minus infinity and a warning."""
    scores = np.sort(detector.calibration_scores_)
    expect(scores.shape == (n,), f"calibration_scores_ has shape {scores.shape}")
    expect(not np.isnan(scores).any(), "a left-out score is NaN")
    index = math.ceil((n + 1) * Fraction(19, 20))
    want = scores[n - index] if index <= n else -np.inf
    expect(detector.offset_ == want, f"offset_ {detector.offset_!r} for {want!r}")
    few = [NEEDED_ROWS] if n < NEEDED_ROWS else []
    check_warnings(messages, CalibrationWarning, want == -np.inf, *few)


def scott(true, n, kernel):
    """Scott's rule for a kernel, in mpmath."""
    d = true.features
    with mpmath.workdps(DIGITS):
        gaussian = mpmath.mpf(n) ** (-mpmath.mpf(1) / (d + 4)) * root(true.variance)
        return float(gaussian / mpmath.sqrt(axis_variance(kernel, d)))


def a_number(case, whiten):
    """A bandwidth in the units of most columns, or of the metric."""
    if whiten != "none":
        return 0.7
    positive = [v for v in variances(drawn(case)[2]) if v]
    return 0.7 * float(root(sorted(positive)[len(positive) // 2]))


def run_density(case, whiten, bandwidth, kernel):
    X, Q, _, _ = drawn(case)
    true, p = truth(case, whiten), X.shape[1]
    chosen = a_number(case, whiten) if bandwidth == "number" else bandwidth
    detector, messages = quietly(
        lambda: KDEDetector(chosen, kernel=kernel, whiten=whiten).fit(X)
    )
    if np.isinf(true.spread):
        raise Declared
    singular = true.features < p
    said = any(isinstance(m, RankDeficientWarning) for m in messages)
    if true.spread > HOPELESS and said:
        raise Declared  # float64 does not determine the answer, and the warning says so
    check_warnings(
        messages, RankDeficientWarning, singular, *[true.features, p] * singular
    )
    h = detector.bandwidth_
    want = scott(true, case.n, kernel) if bandwidth == "scott" else chosen
    expect(abs(h - want) <= RTOL * want, f"bandwidth_ {h!r} for {want!r}")
    if len(np.unique(X, axis=0)) > 4:  # of fewer, hardly any could be a neighbour
        neighbors = detector.bandwidth_regimes_["effective_neighbors"]
        check_warnings(messages, NearestNeighborWarning, neighbors < 2)
    check_threshold(detector, messages, case.n)
    if kernel == "exponential" and (true.r > 1e150 * h).any():
        raise Declared  # clipped where the square of a distance leaves float64
    # Coordinates in a metric are rounded, and the exponential kernel is steep near a row.
    rounded = 1e-7 if kernel == "exponential" else 1e-8
    rtol = rounded if whiten == "ledoit_wolf" else RTOL
    low, high = bounds(true, h, kernel, rtol=rtol)
    got, messages = quietly(lambda: detector.score_samples(Q))
    beyond = (-np.inf < low) & (high < -FLOAT_MAX)
    check_warnings(messages, DistanceOverflowWarning, beyond.any())
    check_log_densities(got, low, high)


def clusters(gap, spread=1.0, p=3):
    """Two clusters of rows, of whose spread little is left beside their distance."""
    return lambda rng, m: (
        spread * rng.normal(size=(m, p)) + gap * (np.arange(m)[:, None] % 2)
    )


def near_copies(at, p=3):
    """Every row again, one unit in the last place away."""

    def rows(rng, m):
        first = at + rng.normal(size=(-(-m // 2), p))
        return np.vstack([first, np.nextafter(first, np.inf)])[:m]

    return rows


# What is hard for sums over pairs of rows, but for no single Gaussian.
PAIRS = [
    *(Case(f"clusters {gap:g} apart", clusters(gap)) for gap in (1e3, 1e6, 1e8, 1e12)),
    Case("clusters of spread 1e-9", clusters(1.0, 1e-9)),
    Case("clusters 1e8 apart, n=400", clusters(1e8), n=400),
    Case("clusters 1e4 apart, n=400, float32", clusters(1e4), n=400, dtype=np.float32),
    Case("clusters 1e6 apart, n < p", clusters(1e6, p=12), n=8),
    *(Case(f"near copies at {at:g}", near_copies(at)) for at in (0, 1e4, 1e8, 1e15)),
    Case("spreads 1 and 1e-7", lambda rng, m: (
        rng.normal(size=(m, 3)) * np.where(np.arange(m) % 2, 1.0, 1e-7)[:, None]
    )),
    Case("spreads 1 and 1e-7 at 1e4", lambda rng, m: (
        1e4 + rng.normal(size=(m, 3)) * np.where(np.arange(m) % 2, 1.0, 1e-7)[:, None]
    )),
    *(
        Case(f"columns 1 and 10^{power}", columns(1.0, 10.0**power))
        for power in (-300, -160, -150, 150, 160, 300)
    ),
]  # fmt: skip
SETTINGS = {
    f"{kernel}, {bandwidth}": (bandwidth, kernel)
    for kernel in ("gaussian", "exponential")
    for bandwidth in ("scott", "number")
}


@pytest.mark.parametrize("setting", SETTINGS)
@by_whitening
@pytest.mark.parametrize("case", [*CASES, *PAIRS], ids=str)
def test_density(case, whiten, setting, record_property):
    attempt(
        record_property,
        case.may_refuse,
        lambda: run_density(case, whiten, *SETTINGS[setting]),
    )


@by_whitening
@pytest.mark.parametrize("case", CASES, ids=str)
def test_density_of_compact_kernels(case, whiten, record_property):
    kernel = COMPACT[CASES.index(case) % len(COMPACT)]
    attempt(
        record_property,
        case.may_refuse,
        lambda: run_density(case, whiten, "scott", kernel),
    )


@pytest.mark.parametrize("h", [1e-9, 1e-3, 1.0, 30.0])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_density_of_pairs(case, kernel, h, record_property):
    """At bandwidths of the size of what separates the rows of one cluster."""
    attempt(record_property, False, lambda: run_density(case, "none", h, kernel))


@pytest.mark.parametrize("h", [5e-324, 1e-300, 1e-150, 1e150, 1e300, 1.7e308])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("p", [1, 4, 40])
def test_bandwidths_of_any_size(p, kernel, h, record_property):
    case = Case(f"bandwidths, p={p}", moved(0.0, p=p))
    extreme = not 1e-305 < h < 1e305
    attempt(record_property, extreme, lambda: run_density(case, "none", h, kernel))


# ------------------------------------------------------------------- left out
PAIRWISE_LEFT_OUT = [
    *LEFT_OUT,
    Case("n=2, p=1", moved(0.0, p=1), n=2),
    Case("n=2, p=3", moved(0.0), n=2),
    Case("n=3, p=1", moved(0.0, p=1), n=3),
    Case("outlier at 1e15", outlier(1e15), n=9),
    Case("outlier at 1e10 in one column", outlier(1e10, 2), n=9),
    Case("columns 1e-80..1e80", columns(1e-80, 1.0, 1e80), n=8),
    Case("clusters 1e8 apart", clusters(1e8), n=9),
    Case("near copies at 1e4", near_copies(1e4), n=10),
]


def without_one(case, i, whiten):
    """Distances from row i to the others, by the metric without it."""
    X, _, exact_X, _ = drawn(case)
    X = X.astype(np.float64).astype(LD)
    rest = [j for j in range(len(X)) if j != i]
    difference = X[i] - X[rest]
    if whiten == "ledoit_wolf":
        return along_axes_without(exact_X, i, rest)
    if whiten == "diagonal":
        units = to_long_double([root(v) for v in variances([exact_X[j] for j in rest])])
        if not units.any():  # nothing varies among the others
            return np.full(len(rest), LD(np.inf)), np.zeros(len(rest), LD)
        # A refit leaves columns without variance out, with a warning.
        difference = difference[:, units > 0] / units[units > 0]
    r = lengths(difference)
    return r, np.where(np.isinf(r), 0, 4 * ULPS * LD(EPS) * r)


def along_axes_without(exact_X, i, rest):
    """Intensity and target of all rows, covariance of the others."""
    intensity, target, m = intensity_and_target(exact_X)
    S = shrunk(exact_X, intensity, target, [i])
    if not intensity and not any(S[j][j] for j in range(m.p)):
        far = np.full(len(rest), LD(np.inf))  # nothing varies among the others
        return far, np.zeros(len(rest), LD)
    assert intensity or m.p == 1
    with mpmath.workdps(DIGITS):
        S = in_mpmath(S)
        L = cholesky(S)
        white = to_long_double(forward(L, in_mpmath(centred(exact_X, mean(exact_X))).T).T)
        spread = 10 * resolution(condition(S, L), m, intensity)
    size = lengths(white)
    r = lengths(white[i] - white[rest])
    return r, LD(min(spread, HOPELESS)) * (size[i] + size[rest])


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
@by_whitening
@pytest.mark.parametrize("case", PAIRWISE_LEFT_OUT, ids=str)
def test_left_out_scores(case, whiten, kernel, record_property):
    X = drawn(case)[0]

    def run():
        detector, messages = quietly(
            lambda: KDEDetector("scott", kernel=kernel, whiten=whiten).fit(X)
        )
        check_threshold(detector, messages, case.n)
        true, h = truth(case, whiten), detector.bandwidth_
        pairs = [without_one(case, i, whiten) for i in range(case.n)]
        # Left-out distances come from products about a cell, also those of near rows,
        # where the exponential kernel is steepest.
        rtol = RTOL if whiten == "none" else 1e-7
        low, high = np.hstack([bounds(true, h, kernel, rows, rtol) for rows in pairs])
        check_log_densities(detector.calibration_scores_, low, high)

    attempt(record_property, case.may_refuse, run)


# ------------------------------------------------------------------- refusals
KINDS = {
    "density": KDEDetector,
    "scott, diagonal": lambda: KDEDetector("scott", whiten="diagonal"),
    "silverman, plain": lambda: KDEDetector("silverman", whiten="none"),
    "condensation, plain": lambda: KDEDetector("condensation", whiten="none"),
    "loo, plain, linear": lambda: KDEDetector(kernel="linear", whiten="none"),
}
by_kind = pytest.mark.parametrize("kind", KINDS)


@by_kind
@pytest.mark.parametrize("name", [*MALFORMED, *UNFITTABLE])
def test_fit_refuses(name, kind, record_property):
    X = (MALFORMED | UNFITTABLE)[name]()
    refuse(record_property, lambda: KINDS[kind]().fit(X))


@pytest.mark.parametrize("name", [n for n in UNFITTABLE if "rows" in n])
def test_a_given_bandwidth_needs_no_spread(name, record_property):
    """Rows that are all equal have a density at a given bandwidth, or are refused."""
    X = UNFITTABLE[name]()
    true = along_columns(X, X[:2], "none")

    def run():
        detector, _ = quietly(lambda: KDEDetector(0.5, whiten="none").fit(X))
        got, _ = quietly(lambda: detector.score_samples(X[:2]))
        check_log_densities(got, *bounds(true, 0.5, "gaussian"))

    attempt(record_property, True, run)


@pytest.mark.parametrize("name", MALFORMED)
def test_partial_fit_refuses(name, record_property):
    X = MALFORMED[name]()
    fitted = KDEDetector().partial_fit(PLAIN)
    refuse(record_property, lambda: fitted.partial_fit(X))


@pytest.mark.parametrize("kind", ["density", "silverman, plain"])
@pytest.mark.parametrize("name", [*MALFORMED, "another width", "a prefix of columns"])
def test_scoring_refuses(name, kind, record_property):
    wrong_width = {
        "another width": lambda: np.ones((3, 4)),
        "a prefix of columns": lambda: PLAIN[:, :2],
    }
    X = (MALFORMED | wrong_width)[name]()
    fitted = KINDS[kind]().fit(PLAIN)
    refuse(record_property, lambda: fitted.score_samples(X))


@pytest.mark.parametrize(
    "bad", [0, 0.0, -1.0, np.nan, np.inf, -np.inf, "lw", None, [1.0], 1j]
)
def test_bandwidth_is_refused(bad, record_property):
    refuse(record_property, lambda: KDEDetector(bad).fit(PLAIN))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, [1.0, -2.0], "one", 0.0])
def test_weights_are_refused(bad, record_property):
    weights = bad if isinstance(bad, str) else np.resize(bad, len(PLAIN))
    refuse(record_property, lambda: KDEDetector().fit(PLAIN, sample_weight=weights))
