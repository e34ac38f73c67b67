"""Kernel thinning: few rows whose kernel mean is close to that of all of them.

Rows come centred and in units of the bandwidth, and a kernel as its profile: a function
of the squared distance that may overwrite its argument. Sets of rows are index arrays
(S, N), halved side by side. Nothing larger than a tile of a kernel matrix is held.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from sklearn_gauss._numerics.arrays import EPS
from sklearn_gauss._numerics.thinning_profiles import PROFILES, Profile

__all__ = [
    "PROFILES",
    "Points",
    "compress",
    "discrepancies",
    "in_units",
    "mean_embedding",
    "median_distance",
    "plan",
    "refine",
    "spectral_mmd",
    "split",
    "standardise",
    "thin",
]

#: Entries of a tile of a kernel matrix, 4 MiB, of which the cache holds a few.
TILE = 2**19

#: Rows up to which all are split: with few features, in a second of one core.
SPLIT_ROWS = 10_000

#: Rows of which the median distance is taken.
MEDIAN_ROWS = 1000

#: Random frequencies of an estimated MMD, for a standard error of a few percent.
FREQUENCIES = 1024

#: Probability of failure below which its inverse would overflow.
_LEAST_DELTA = 1e-290

#: Units beyond which a coordinate is as good as infinite, and its square still finite.
_FARTHEST = 1e100


def standardise(X: NDArray) -> tuple[NDArray, int]:
    """Rows about their median in units of 2^e, and e.

    Of the median and the typical deviation, so that a far row costs the others no digits.
    """
    rows = X.astype(np.float64)
    first = _exponent(np.abs(rows).max())
    rows = np.ldexp(rows, -first)
    rows -= np.median(rows, axis=0)
    sizes = np.abs(rows).max(axis=1)
    second = _exponent(np.median(sizes) or sizes.max())
    farthest = math.ldexp(_FARTHEST, second)
    return np.ldexp(np.clip(rows, -farthest, farthest), -second), first + second


def _exponent(size: float) -> int:
    return math.frexp(size)[1] - 1 if size else 0


def in_units(size: float, exponent: int) -> float:
    """A positive size in units of 2^exponent, 1e-100 at least."""
    mantissa, own = math.frexp(size)
    return max(math.ldexp(mantissa, min(own - exponent, 1000)), 1 / _FARTHEST)


def median_distance(rows: NDArray) -> float:
    """Median distance of two rows that differ; 1 where all are equal."""
    distances = pdist(rows)
    distances = distances[distances > 0]
    return float(np.median(distances)) if len(distances) else 1.0


@dataclass(frozen=True)
class Points:
    """Rows x as (-2x, |x|^2, 1) and as (x, 1, |x|^2): products are squared distances."""

    left: NDArray
    right: NDArray

    @classmethod
    def of(cls, rows: NDArray, factor: float = 1.0) -> "Points":
        """Lift the rows, multiplied by a factor of at most 1e100."""
        rows = np.clip(rows * factor, -_FARTHEST, _FARTHEST)
        norms = np.einsum("ij,ij->i", rows, rows)[:, None]
        ones = np.ones_like(norms)
        return cls(np.hstack([-2 * rows, norms, ones]), np.hstack([rows, ones, norms]))

    def __len__(self) -> int:
        return len(self.left)

    def take(self, indices: NDArray) -> "Points":
        """The points at these indices."""
        return Points(self.left[indices], self.right[indices])

    @property
    def rows(self) -> NDArray:
        """The rows themselves."""
        return self.right[:, :-2]

    def squares(self, at, other) -> NDArray:
        """Squared distances (..., a, b) of rows at indices (..., a) and (..., b)."""
        products = self.left[at] @ np.swapaxes(self.right[other], -1, -2)
        return np.maximum(products, 0.0, out=products)


# ------------------------------------------------------------------------- halving
def split(points: Points, sets: NDArray, levels: int, profile: Profile, delta, rng):
    """KT-SPLIT: halve each of S sets ``levels`` times, to S 2^levels of equal size.

    A halving depends on nothing but its parent, so that all of a level go side by side.
    The parts of set i are those at i, i + S, i + 2 S and so on.
    """
    size = math.log(2 * sets.shape[1] * max(levels, 1) / max(delta, _LEAST_DELTA))
    for level in range(levels):
        log_term = 2 * (size - level * math.log(2))
        sets = np.concatenate(_halve(points, sets, profile, log_term, rng))
    return sets


def _halve(points, sets, profile, log_term, rng) -> tuple[NDArray, NDArray]:
    """One point of every pair to the right and the other to the left, for each set.

    With D(i, j) the kernel of the differences of pairs i and j, and signs s of whether
    the first of a pair went right, alpha_j = sum_{i<j} s_i D(i, j): a walk that turns
    against where it leans. Its law is the same for left and right, so that taking
    either is already symmetrised.
    """
    n_sets, n_pairs = len(sets), sets.shape[1] // 2
    coins = rng.uniform(size=(n_pairs, n_sets))
    signs = np.empty((n_sets, n_pairs))
    variance = np.zeros(n_sets)
    step = max(math.isqrt(TILE // (4 * n_sets)), 1)
    for start in range(0, n_pairs, step):
        block = sets[:, 2 * start : 2 * (start + step)]
        alphas = np.zeros((n_sets, block.shape[1] // 2))
        for before in range(0, start, step):
            earlier = sets[:, 2 * before : 2 * (before + step)]
            kernel = profile(points.squares(block, earlier))
            weights = np.repeat(signs[:, before : before + step], 2, axis=1)
            weights[:, 1::2] *= -1
            sums = (kernel @ weights[:, :, None])[:, :, 0]
            alphas += sums[:, ::2] - sums[:, 1::2]
        kernel = profile(points.squares(block, block))
        kernel = kernel[:, ::2] - kernel[:, 1::2]
        kernel = kernel[:, :, ::2] - kernel[:, :, 1::2]
        part = coins[start : start + step]
        signs[:, start : start + step] = _walk(kernel, alphas, part, variance, log_term)
    pairs = sets[:, : 2 * n_pairs].reshape(n_sets, n_pairs, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    return np.where(signs < 0, first, second), np.where(signs < 0, second, first)


def _walk(kernel, alphas, coins, variance, log_term) -> NDArray:
    """Signs of a block of pairs; ``alphas`` and ``variance`` are kept up to date."""
    signs = np.empty(alphas.shape)
    for i, coin in enumerate(coins):
        b2 = np.maximum(kernel[:, i, i], EPS)
        threshold = np.maximum(np.sqrt(variance * b2 * log_term), b2)
        growth = 1 + (b2 / threshold - 2) * variance / threshold
        variance += b2 * np.maximum(growth, 0)
        first_right = coin < 0.5 * (1 - alphas[:, i] / threshold)
        signs[:, i] = np.where(first_right, 1, -1)
        alphas[:, i + 1 :] += signs[:, i, None] * kernel[:, i, i + 1 :]
    return signs


def plan(n: int, k: int, oversampling: int) -> tuple[int, int, int]:
    """Depth of Compress, its leaves' size, and the halvings left from 2^h k rows to k.

    4^depth leaves of at most n rows in all are compressed to 2^depth, at least 2^h k.
    """
    halvings = (n // k).bit_length() - 1
    for depth in range(max(halvings - oversampling, 0), 0, -1):
        leaf = -(-(k << (halvings - depth)) // 2**depth)
        if leaf * 4**depth <= n:
            return depth, leaf, halvings - depth
    return 0, k << halvings, halvings


def compress(points, leaves, profile, delta, rng, splitting=split) -> NDArray:
    """Compress: of 4^depth leaves (4^depth, N) join every four and halve them, to one.

    The probability of failure is shared equally by levels, and within one by halvings.
    """
    sets, depth = leaves, round(math.log(len(leaves), 4))
    while len(sets) > 1:
        sets = sets.reshape(len(sets) // 4, -1)
        share = delta / (depth * len(sets))
        sets = splitting(points, sets, 1, profile, share, rng)[: len(sets)]
    return sets[0]


# -------------------------------------------------------------------- discrepancies
def mean_embedding(points: Points, at: NDArray, others: NDArray, profile) -> NDArray:
    """Mean of k(x, y) over rows y at indices (..., b), for x at indices (..., a)."""
    means = np.zeros(at.shape)
    step = max(math.isqrt(TILE // math.prod(at.shape[:-1])), 1)
    for i in range(0, at.shape[-1], step):
        for j in range(0, others.shape[-1], step):
            squares = points.squares(at[..., i : i + step], others[..., j : j + step])
            means[..., i : i + step] += profile(squares).sum(axis=-1)
    return means / others.shape[-1]


def discrepancies(points: Points, sets: NDArray, profile, means: NDArray) -> NDArray:
    """Squared MMD of sets (S, k) to all rows, less the part that they have in common.

    mean k(c, c') - 2 mean m(c), with the mean embedding m of all rows at every point.
    """
    step = max(TILE // sets.shape[1] ** 2, 1)
    within = [
        mean_embedding(points, part, part, profile).mean(axis=-1)
        for part in (sets[i : i + step] for i in range(0, len(sets), step))
    ]
    return np.concatenate(within) - 2 * means[sets].mean(axis=-1)


def refine(points: Points, chosen: NDArray, profile, means: NDArray) -> NDArray:
    """KT-SWAP: each chosen point in turn replaced by the best that is not taken.

    The best is that with which the MMD is least; the mean embedding may be that of more
    rows than these points.
    """
    chosen, everything = chosen.copy(), np.arange(len(points))
    sums = len(chosen) * mean_embedding(points, everything, chosen, profile)
    taken = np.isin(everything, chosen)
    for i, old in enumerate(chosen):
        taken[old] = False
        sums -= profile(points.squares(slice(None), [old]))[:, 0]
        costs = np.where(taken, np.inf, sums / len(chosen) - means)
        chosen[i] = new = np.argmin(costs)
        sums += profile(points.squares(slice(None), [new]))[:, 0]
        taken[new] = True
    return chosen


def spectral_mmd(points: Points, chosen, kernel: str, rng, count=FREQUENCIES) -> float:
    """MMD from random frequencies w: root mean of |phi_n(w) - phi_k(w)|^2.

    The kernel is the characteristic function of w, a Gaussian vector or, for the
    exponential one, a Cauchy vector. The squares do not cancel, and cost n, not n^2.
    """
    rows = points.rows
    frequencies = rng.normal(size=(rows.shape[1], count))
    if kernel == "exponential":
        frequencies /= np.abs(rng.normal(size=count))
    weights = np.full(len(rows), 1 / len(rows))
    weights[chosen] -= 1 / len(chosen)
    sums = np.zeros(count, dtype=complex)
    step = max(TILE // count, 1)
    for i in range(0, len(rows), step):
        phases = rows[i : i + step] @ frequencies
        part = weights[i : i + step]
        sums += part @ np.cos(phases) + 1j * (part @ np.sin(phases))
    return float(np.sqrt(np.mean(np.abs(sums) ** 2)))


# ------------------------------------------------------------------------- thinning
def thin(
    points: Points,
    k: int,
    *,
    kernel: str = "gaussian",
    split_kernel: str = "sum",
    oversampling: int | None = None,
    delta: float = 0.5,
    rng,
    splitting=split,
    refining=refine,
) -> tuple[NDArray, float]:
    """Indices of k rows, and their MMD to all: exact, or estimated behind Compress.

    Compress precedes the split where an oversampling is given; the rows that it keeps
    are then those to swap in. ``splitting`` and ``refining`` stand for other versions.
    """
    n, profiles = len(points), PROFILES[kernel]
    target, profile = profiles["target"], profiles[split_kernel]
    depth, leaf, halvings = plan(n, k, n if oversampling is None else oversampling)
    order = pool = rng.permutation(n)
    last = delta * halvings / max(halvings + depth * 2**halvings, 1)
    if depth:
        leaves = order[: leaf * 4**depth].reshape(4**depth, leaf)
        kept = compress(points, leaves, profile, delta - last, rng, splitting)
        pool = rng.permutation(kept)
    near = points.take(pool)
    means = mean_embedding(points, pool, order, target)
    rows = np.arange(k << halvings)[None]
    parts = splitting(near, rows, halvings, profile, last, rng)
    candidates = np.concatenate([parts, rows[:, :k]])  # the last at random, as a baseline
    squares = discrepancies(near, candidates, target, means)
    best = refining(near, candidates[np.argmin(squares)], target, means)
    if depth:
        return pool[best], spectral_mmd(points, pool[best], kernel, rng)
    square = discrepancies(near, best[None], target, means)[0] + means.mean()
    return pool[best], math.sqrt(max(square, 0.0))
