"""Kernel thinning against its definition, pair by pair, and against random rows."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from sklearn_gauss._numerics import thinning
from sklearn_gauss._numerics.thinning import PROFILES, Points

steady = settings(deadline=None, max_examples=60, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
KERNELS = ("gaussian", "exponential")
SPLITS = ("target", "power", "sum")

# Kernels of a distance in bandwidths, written down once more.
SLOW = {
    "gaussian": {
        "target": lambda r: np.exp(-r * r / 2),
        "power": lambda r: np.exp(-r * r),
    },
    "exponential": {
        "target": lambda r: np.exp(-r),
        "power": lambda r: (
            2**0.75 / special.gamma(0.25) * r**0.25 * special.kv(0.25, r) if r else 1.0
        ),
    },
}
for kernels in SLOW.values():
    kernels["sum"] = lambda r, k=kernels: k["target"](r) + k["power"](r)


def slow_mmd(X, chosen, kernel):
    """By the definition, a pair of rows at a time, in long double."""
    X = np.asarray(X, np.longdouble)
    total = np.longdouble(0)
    weights = np.full(len(X), np.longdouble(1) / len(X))
    weights[chosen] -= np.longdouble(1) / len(chosen)
    for x, w in zip(X, weights, strict=True):
        for y, v in zip(X, weights, strict=True):
            total += w * v * kernel(np.sqrt(np.sum((x - y) ** 2)))
    return float(np.sqrt(max(total, 0)))


def points_of(X):
    rows, _ = thinning.standardise(X)
    return Points.of(rows, 1 / thinning.median_distance(rows))


# -------------------------------------------------------------------------- kernels
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("split", SPLITS)
def test_profiles(kernel, split):
    r = np.r_[0.0, 1e-12, 1e-6, np.linspace(0.01, 40, 997)]
    want = [SLOW[kernel][split](value) for value in r]
    np.testing.assert_allclose(PROFILES[kernel][split](r * r), want, rtol=0, atol=1e-6)
    far = PROFILES[kernel][split](np.array([1e4, 1e100, 1e300]))
    np.testing.assert_allclose(far, 0, atol=1e-15)


@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0, 2.5])
def test_the_power_of_the_gaussian_is_a_square_root(distance):
    """Integral of k_rt(x, z) k_rt(z, y) over z, over its value at x = y, is k(x, y)."""
    root = PROFILES["gaussian"]["power"]

    def overlap(gap):
        def product(z):
            return float(root(np.array([z * z]))[0] * root(np.array([(z - gap) ** 2]))[0])

        return integrate.quad(product, -12, 12)[0]

    want = PROFILES["gaussian"]["target"](np.array([distance**2]))[0]
    assert overlap(distance) / overlap(0.0) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(("split", "alpha"), [("target", 1.0), ("power", 0.75)])
@pytest.mark.parametrize("distance", [0.05, 0.5, 2.0, 5.0])
def test_the_spectrum_of_the_exponential_kernel_and_of_its_power(split, alpha, distance):
    """In one dimension (1 + w^2)^(-alpha), with alpha = (d + 1/2) / (d + 1) = 3/4."""

    def density(w):
        return (1 + w * w) ** -alpha

    wave = integrate.quad(density, 0, np.inf, weight="cos", wvar=distance, limlst=200)[0]
    total = integrate.quad(density, 0, np.inf)[0]
    got = PROFILES["exponential"][split](np.array([distance**2]))[0]
    assert got == pytest.approx(wave / total, abs=1e-6)


# -------------------------------------------------------------------------- halving
def slow_halving(X, members, kernel, log_term, coins):
    """A pair at a time, by the sums over earlier points of the parent and the left."""
    left, right, parent, variance = [], [], [], 0.0

    def k(i, j):
        return kernel(math.dist(X[i], X[j]))

    pairs = zip(members[::2], members[1::2], coins, strict=True)
    for first, second, coin in pairs:
        b2 = k(first, first) + k(second, second) - 2 * k(first, second)
        threshold = max(math.sqrt(variance * b2 * log_term), b2)
        if variance == 0:
            variance = b2
        else:
            growth = 0.5 + (b2 / (2 * threshold) - 1) * variance / threshold
            variance += 2 * b2 * max(0.0, growth)
        alpha = sum(k(z, first) - k(z, second) for z in parent)
        alpha -= 2 * sum(k(z, first) - k(z, second) for z in left)
        first_right = coin < min(max(0.5 * (1 - alpha / threshold), 0), 1)
        left.append(second if first_right else first)
        right.append(first if first_right else second)
        parent += [first, second]
    return left, right


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("tile", [1, 200, 2**19])
def test_split_is_the_walk_of_its_definition(kernel, split, tile, monkeypatch):
    """Two sets of 48 points to four parts each, whatever the size of a tile."""
    monkeypatch.setattr(thinning, "TILE", tile)
    X = np.random.default_rng(1).normal(size=(96, 2))
    sets = np.random.default_rng(2).permutation(96).reshape(2, 48)
    rng = np.random.default_rng(3)
    got = thinning.split(Points.of(X), sets, 2, PROFILES[kernel][split], 0.5, rng)

    rng, want = np.random.default_rng(3), sets.tolist()
    for level in range(2):
        coins = rng.uniform(size=(24 // 2**level, len(want)))
        log_term = 2 * math.log(2 * 48 * 2 / (0.5 * 2**level))
        halves = [
            slow_halving(X, members, SLOW[kernel][split], log_term, coins[:, i])
            for i, members in enumerate(want)
        ]
        want = [left for left, _ in halves] + [right for _, right in halves]
    np.testing.assert_array_equal(got, want)


@steady
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 4), seeds)
def test_parts_are_equal_halves_of_their_set(n_sets, size, levels, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_sets * size * 2**levels, 3))
    sets = rng.permutation(len(X)).reshape(n_sets, -1)
    before = sets.copy()
    parts = thinning.split(
        points_of(X), sets, levels, PROFILES["gaussian"]["sum"], 0.5, rng
    )
    assert parts.shape == (n_sets * 2**levels, size)
    for i, members in enumerate(sets):
        own = parts[i::n_sets]
        np.testing.assert_array_equal(np.sort(own, axis=None), np.sort(members))
    np.testing.assert_array_equal(sets, before)


def test_both_sides_of_a_halving_have_the_same_law():
    """So that taking the left one is already symmetrised."""
    X = np.random.default_rng(0).normal(size=(8, 2))
    sets = np.tile(np.arange(8), (20_000, 1))
    rng = np.random.default_rng(1)
    parts = thinning.split(Points.of(X), sets, 1, PROFILES["gaussian"]["sum"], 0.5, rng)
    share = [np.isin(i, parts[0]).mean() for i in range(8)]
    left = (parts[:20_000, :, None] == np.arange(8)).any(axis=1).mean(axis=0)
    assert share.count(0.5) < 8  # one draw is not fair, but their average is
    np.testing.assert_allclose(left, 0.5, atol=5 * 0.5 / math.sqrt(20_000))


def test_the_least_delta(rng):
    points = Points.of(rng.normal(size=(64, 2)))
    chosen, _ = thinning.thin(points, 8, rng=rng, delta=5e-324, oversampling=1)
    assert len(set(chosen.tolist())) == 8


# ------------------------------------------------------------------------- compress
@steady
@given(st.integers(1, 10**6), st.floats(0, 1), st.integers(0, 6))
def test_a_plan_fits(n, share, oversampling):
    k = max(round(n**share), 1)
    depth, leaf, halvings = thinning.plan(n, k, oversampling)
    assert depth + halvings == math.floor(math.log2(n // k))
    assert leaf * 4**depth <= n
    assert leaf * 2**depth >= k << halvings
    assert leaf * 2**depth - (k << halvings) < 2**depth
    assert depth == 0 or halvings >= oversampling


@pytest.mark.parametrize("size", range(4, 9))
def test_a_plan_of_powers_of_four_is_compress_plus_plus(size):
    """4^(L - g) leaves of 4^g, to 2^g times the square root."""
    assert thinning.plan(4**size, 2**size, 4) == (size - 4, 4**4, 4)


@steady
@given(st.integers(1, 3), st.integers(1, 5), seeds)
def test_compress_keeps_distinct_rows_of_its_leaves(depth, leaf, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(leaf * 4**depth + 3, 2))
    leaves = rng.permutation(len(X))[3:].reshape(4**depth, leaf)
    kept = thinning.compress(points_of(X), leaves, PROFILES["gaussian"]["sum"], 0.5, rng)
    assert len(kept) == len(set(kept.tolist())) == leaf * 2**depth
    assert set(kept.tolist()) <= set(leaves.ravel().tolist())


# -------------------------------------------------------------------- discrepancies
@pytest.mark.parametrize("tile", [1, 50, 2**19])
def test_mean_embeddings(tile, monkeypatch, rng):
    monkeypatch.setattr(thinning, "TILE", tile)
    X = rng.normal(size=(30, 3))
    at, others = rng.integers(30, size=(2, 4)), rng.integers(30, size=(2, 7))
    distances = np.linalg.norm(X[at][:, :, None] - X[others][:, None], axis=-1)
    want = np.exp(-(distances**2) / 2).mean(axis=-1)
    target = PROFILES["gaussian"]["target"]
    got = thinning.mean_embedding(Points.of(X), at, others, target)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    flat = thinning.mean_embedding(Points.of(X), at[1], others[1], target)
    np.testing.assert_allclose(flat, want[1], rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("k", [1, 3, 10, 29, 40])
def test_the_discrepancy_is_the_one_of_its_definition(kernel, k, rng):
    X = rng.normal(size=(40, 2)) * 3
    chosen, mmd = thinning.thin(Points.of(X), k, kernel=kernel, rng=rng)
    assert len(set(chosen.tolist())) == k
    # Squares of distances, and so the kernel near 0, have an error of about 1e-15.
    want = slow_mmd(X, chosen, SLOW[kernel]["target"])
    assert mmd == pytest.approx(want, rel=1e-6, abs=3e-8)


@pytest.mark.parametrize("kernel", KERNELS)
def test_refinement_takes_the_best_row_in_turn(kernel, rng):
    X = rng.normal(size=(14, 2))
    target, slow = PROFILES[kernel]["target"], SLOW[kernel]["target"]
    points, everything = Points.of(X), np.arange(14)
    means = thinning.mean_embedding(points, everything, everything, target)
    start = np.array([3, 0, 11, 7])
    want = start.tolist()
    for i in range(len(want)):
        free = [row for row in range(14) if row not in want[:i] + want[i + 1 :]]
        trials = [[*want[:i], row, *want[i + 1 :]] for row in free]
        want = min(trials, key=lambda rows: slow_mmd(X, rows, slow))
    np.testing.assert_array_equal(thinning.refine(points, start, target, means), want)
    np.testing.assert_array_equal(start, [3, 0, 11, 7])


@pytest.mark.parametrize("kernel", KERNELS)
def test_random_frequencies_estimate_the_discrepancy(kernel):
    X = np.random.default_rng(0).normal(size=(150, 3))
    points, chosen = points_of(X), np.arange(12)
    unit = thinning.median_distance(thinning.standardise(X)[0])
    exponent = thinning.standardise(X)[1]
    want = slow_mmd(X / math.ldexp(unit, exponent), chosen, SLOW[kernel]["target"])
    estimates = [
        thinning.spectral_mmd(points, chosen, kernel, np.random.default_rng(seed))
        for seed in range(30)
    ]
    assert np.std(estimates) < 0.05 * want
    assert np.sqrt(np.mean(np.square(estimates))) == pytest.approx(want, rel=0.03)


# ---------------------------------------------------------------- what it is good for
def mean_discrepancies(n, k, d, seeds, **options):
    """Root mean square MMD of thinned rows and of random ones."""
    squares = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        points, everything = points_of(rng.normal(size=(n, d))), np.arange(n)
        kernel = PROFILES[options.get("kernel", "gaussian")]["target"]
        means = thinning.mean_embedding(points, everything, everything, kernel)
        chosen, _ = thinning.thin(points, k, rng=rng, **options)
        sets = np.array([chosen, rng.permutation(n)[:k]])
        squares.append(means.mean() + thinning.discrepancies(points, sets, kernel, means))
    return np.sqrt(np.mean(squares, axis=0))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("split", SPLITS)
def test_thinned_rows_beat_random_ones(kernel, split):
    thinned, drawn = mean_discrepancies(
        1024, 32, 2, range(5), kernel=kernel, split_kernel=split
    )
    assert thinned < {"gaussian": 0.15, "exponential": 0.5}[kernel] * drawn


def test_halving_alone_beats_random_rows():
    """Without the refinement, which would hide a poor split."""
    options = {"refining": lambda points, chosen, profile, means: chosen}
    thinned, drawn = mean_discrepancies(1024, 32, 2, range(5), **options)
    assert thinned < 0.35 * drawn


def test_compress_is_nearly_as_good():
    split, drawn = mean_discrepancies(4096, 64, 2, range(2))
    compressed, _ = mean_discrepancies(4096, 64, 2, range(2), oversampling=4)
    coarse, _ = mean_discrepancies(4096, 64, 2, range(2), oversampling=1)
    assert compressed < 1.35 * split
    assert compressed < coarse < 0.3 * drawn


def test_four_times_the_rows_halve_the_discrepancy():
    """Near n^(-1/2) for sqrt(n) rows, of which random ones have n^(-1/4)."""
    fewer, drawn_fewer = mean_discrepancies(256, 16, 2, range(20))
    more, drawn_more = mean_discrepancies(4096, 64, 2, range(3))
    assert math.log(more / fewer) / math.log(16) < -0.4
    assert math.log(drawn_more / drawn_fewer) / math.log(16) > -0.35


@pytest.mark.parametrize("oversampling", [None, 2])
def test_the_kernel_matrix_is_never_held(oversampling, rng):
    points = points_of(rng.normal(size=(4000, 2)))
    tracemalloc.start()
    thinning.thin(points, 63, rng=rng, oversampling=oversampling)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.25 * 4000**2 * 8


# -------------------------------------------------------------------------- scaling
@steady
@given(st.integers(-900, 900), seeds)
def test_powers_of_two_change_nothing(exponent, seed):
    X = np.random.default_rng(seed).normal(size=(20, 3))
    rows, unit = thinning.standardise(X)
    scaled, scaled_unit = thinning.standardise(np.ldexp(X, exponent))
    np.testing.assert_array_equal(scaled, rows)
    assert scaled_unit == unit + exponent
    np.testing.assert_array_equal(
        np.ldexp(rows, unit), X - np.median(np.ldexp(X, -2), axis=0) * 4
    )


def test_a_far_row_costs_the_others_no_digits(rng):
    X = rng.normal(size=(50, 2))
    far = np.vstack([X, [[1e200, -1e200]]])
    rows, exponent = thinning.standardise(far)
    offsets = np.ldexp(rows[1:50] - rows[0], exponent)
    np.testing.assert_allclose(offsets, X[1:] - X[0], rtol=0, atol=1e-14)
    chosen, mmd = thinning.thin(Points.of(rows), 7, rng=rng)
    assert len(chosen) == 7
    assert 0 < mmd < 1


@pytest.mark.parametrize(
    ("size", "exponent", "want"),
    [
        (3.0, 0, 3.0),
        (3.0, 1, 1.5),
        (5e-324, 0, 1e-100),
        (1e-300, -1000, 1e-300 * 2.0**1000),
    ],
)
def test_sizes_in_units(size, exponent, want):
    assert thinning.in_units(size, exponent) == want


@pytest.mark.parametrize(("size", "exponent"), [(1e300, -1074), (5e-324, 1023)])
def test_sizes_in_units_neither_overflow_nor_vanish(size, exponent):
    assert 0 < thinning.in_units(size, exponent) < math.inf


def test_distances_of_pairs_that_differ():
    rows = np.array([[0.0], [0.0], [0.0], [0.0], [2.0]])
    assert thinning.median_distance(rows) == 2.0
    assert thinning.median_distance(rows[:4]) == 1.0
    assert thinning.median_distance(rows[:1]) == 1.0
