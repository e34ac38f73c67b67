"""A fitted kernel density: rows, weights, a bandwidth, and coordinates for them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.kernel.bandwidth import (
    condensation_ratios,
    left_out_likelihood,
)
from sklearn_gauss._numerics.kernel.exponents import (
    CELL_ROWS,
    MANY_FEATURES,
    Reference,
    reference,
)
from sklearn_gauss._numerics.kernel.path import (
    Distances,
    left_out_metric,
    left_out_path,
    plain_distances,
)
from sklearn_gauss._numerics.kernel.profiles import KERNELS
from sklearn_gauss._numerics.kernel.rescaling import (
    RESCALINGS,
    Rescaling,
    left_out_metrics,
)
from sklearn_gauss._numerics.kernel.sums import BLOCK_ROWS, log_sums, weighted_shifts
from sklearn_gauss._numerics.threads import available_threads

__all__ = [
    "Effort",
    "KernelDensity",
    "merge_copies",
    "row_order",
]

#: Terms, a term being a product of two numbers, below which threads cost more than help.
SMALL_WORK = 3_000_000


#: Fewest query rows in a block, whatever the memory: with less, work takes for ever.
LEAST_ROWS = 16

#: Bandwidth, over the spread, for which the distances that bound a search are right.
NEAREST = 1e-9


@dataclass(frozen=True)
class Effort:
    """How many threads, and how many bytes for blocks in all of them."""

    n_threads: int | None = None
    memory: float = 64 * 2**20

    def options(self, n_rows: int, n_others: int, d: int) -> dict:
        """Arguments of the functions that work in blocks."""
        n_threads = self.n_threads or available_threads()
        if n_rows * n_others * (d + 16) < SMALL_WORK:
            n_threads = 1
        larger = 1 if d < MANY_FEATURES else 2
        row = 8 * (4 * CELL_ROWS * larger + 2 * d)
        fitting = int(self.memory / n_threads / row)
        block_rows = max(min(fitting, BLOCK_ROWS * larger), LEAST_ROWS)
        return {"n_threads": n_threads, "block_rows": block_rows}


def merge_copies(X: NDArray, weights: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Indices of one of each distinct row, in order, and their weights.

    Third, the place of every row's own among them.
    """
    _, first, inverse = np.unique(_keys(X), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    places = rank[inverse.reshape(-1)]
    return first[order], np.bincount(places, weights, len(first)), places


def row_order(X: NDArray) -> NDArray:
    """Order of distinct rows that does not depend on the one that they are in."""
    return np.argsort(_keys(X))


def _keys(X: NDArray) -> NDArray:
    """One item a row, by which rows are told apart and sorted."""
    rows = np.ascontiguousarray(X + 0.0)  # two zeros are equal, whatever their signs
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]


@dataclass(frozen=True)
class KernelDensity:
    """f(x) = sum_j w_j |A| c h^-d K(|A (x - y_j)| / h) / sum_j w_j.

    rows : (l, p), distinct reference rows y, in the data's units
    weights : (l,)
    bandwidth : in the coordinates
    fitted_weight : weight of the rows that the rescaling was fitted to: more than that
        of the reference rows where these are but some of them
    leaving : most of a row's weight that is left out with it: 1 where weights count
        repeats, of which one leaves, and infinity where they tell how much a row counts
    """

    rows: NDArray
    weights: NDArray
    rescaling: Rescaling
    fitted_weight: float
    leaving: float
    kernel: str
    bandwidth: float
    dtype: type
    effort: Effort

    @cached_property
    def coordinates(self) -> NDArray:
        """Reference rows in coordinates (l, d)."""
        return self.rescaling.enter(self.rows)

    @cached_property
    def reference(self) -> Reference:
        """They, ready for sums."""
        return reference(
            self.coordinates,
            self.bandwidth,
            self.kernel,
            weights=None if (self.weights == 1.0).all() else self.weights,
            dtype=self.dtype,
        )

    @classmethod
    def of(cls, X: NDArray, weights: NDArray, **parts) -> "KernelDensity":
        """Density of rows with copies."""
        first, merged, _ = merge_copies(X, weights)
        return cls(X[first], merged, **parts)

    @property
    def kernel_variance(self) -> float:
        """Variance of the kernel along an axis, in squared bandwidths."""
        return KERNELS[self.kernel].variance(self.rescaling.dimension)

    @property
    def log_constant(self) -> float:
        """What turns a log-sum of kernels over weights into a log-density, in nats."""
        d = self.rescaling.dimension
        volume = KERNELS[self.kernel].log_integral(d) + d * np.log(self.bandwidth)
        return -float(volume + self.rescaling.log_volume)

    def options(self, n_rows: int) -> dict:
        """Threads and blocks for so many queries."""
        return self.effort.options(n_rows, len(self.rows), self.rows.shape[1])

    def log_density(self, X: NDArray) -> NDArray:
        """Log-density (m,) in nats."""
        sums = log_sums(self.reference, self.rescaling.enter(X), **self.options(len(X)))
        return self._finished(sums.logs, self._log_total())

    def effective_neighbors(self, X: NDArray) -> NDArray:
        """1 / sum_j p_j^2 (m,), p_j the share of reference row j in the density."""
        sums = log_sums(
            self.reference, self.rescaling.enter(X), squared=True, **self.options(len(X))
        )
        return 1.0 / sums.concentrations

    def gradient(self, X: NDArray) -> NDArray:
        """Gradient (m, p) of the log-density, in nats over the data's units."""
        return self.rescaling.pull(self._shifts(X)[0]) / self.bandwidth**2

    def shifted(self, X: NDArray, *, sloped: bool = True) -> NDArray:
        """Means (m, p) of the reference rows, weighted as for the gradient, or by K.

        Where no kernel reaches they are the rows themselves.
        """
        shifts, weights = self._shifts(X, sloped=sloped)
        return X + shifts / np.where(weights > 0, weights, 1.0)[:, None]

    def _shifts(self, X: NDArray, *, sloped: bool = True) -> tuple[NDArray, NDArray]:
        X = X.astype(np.float64, copy=False)
        return weighted_shifts(
            self.reference,
            self.rescaling.enter(X),
            X,
            self.rows.astype(np.float64, copy=False),
            sloped=sloped,
            **self.options(len(X)),
        )

    def draw(self, rng: np.random.Generator, n: int) -> NDArray:
        """Rows (n, p) drawn from the density."""
        d = self.rescaling.dimension
        chosen = rng.choice(len(self.rows), size=n, p=self.weights / self.weights.sum())
        directions = rng.normal(size=(n, d))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        radii = KERNELS[self.kernel].draw_radii(rng, d, n) * self.bandwidth
        return self.rows[chosen] + self.rescaling.spread(directions * radii[:, None])

    def left_out_scores(
        self, X: NDArray, own: NDArray, weights: NDArray, *, thinned: bool
    ) -> NDArray:
        """Log-density (n,) at training rows under the fit without each.

        ``own`` (n,) is a row's place among the reference rows, or -1, and ``weights``
        (n,) are the rows' own. Of copies one leaves; a reference row that stands for
        others (``thinned``) leaves as a whole. Bandwidth and volume are kept.
        """
        removed = np.minimum(weights, self.leaving)
        mine = np.where(own < 0, 0.0, self.weights[own])
        gone = mine if thinned else np.minimum(mine, removed)
        left = np.where(mine - gone > 1e-12 * mine, mine - gone, 0.0)  # not rounding
        with np.errstate(divide="ignore"):
            kept = own, np.log(left)
            rest = np.log(np.maximum(self.weights.sum() - gone, 0.0))
        options = self.options(len(X))
        if self.rescaling.plain:
            sums = log_sums(
                self.reference, self.rescaling.enter(X), left_out=kept, **options
            )
            return self._finished(sums.logs, rest)
        path = left_out_path(
            self.left_out_distances(X, weights, removed),
            np.array([self.bandwidth]),
            self.kernel,
            np.arange(len(X)),
            kept,
            **options,
        )
        scores = self._finished(path.logs[0], rest)
        # Of two rows, the one that is left has no spread.
        alone = (left == 0.0) & (own >= 0) & (len(self.rows) <= 2)
        alone &= self.rescaling.noise == 0.0
        return np.where(alone & (not thinned), -np.inf, scores)

    def left_out_distances(
        self,
        X: NDArray,
        weights: NDArray,
        removed: NDArray | None = None,
        *,
        unit: float = 0.0,
    ) -> Distances:
        """Distances of training rows to the reference rows, each left out of the metric.

        ``unit`` is the smallest bandwidth that they are for; 0 if that is not known yet.
        """
        here, counted = self.rescaling, None
        removed = np.minimum(weights, self.leaving) if removed is None else removed
        if not (self.weights == 1.0).all():
            counted = self.weights
        coordinates, there = here.enter(X), self.coordinates
        if here.plain:
            # Copies apart, distances of near rows decide where a search begins.
            unit = unit or NEAREST * float(np.sqrt(here.variances.mean()))
            return plain_distances(coordinates, there, counted, unit)
        rows, inverses, strengths = left_out_metrics(
            here, coordinates, weights, removed, self.fitted_weight
        )
        if len(here.axes):
            there = there[:, : len(here.axes)] * here.roots
        return left_out_metric(rows, there, inverses, strengths, counted)

    def path(self, bandwidths: NDArray, rows: NDArray) -> tuple[NDArray, NDArray]:
        """Mean left-out log-density (h,), and effective neighbours (h, m).

        Of the chosen reference rows, left out with all their copies, at each bandwidth.
        """
        found = left_out_path(
            self.left_out_distances(self.rows, self.weights, unit=float(min(bandwidths))),
            bandwidths,
            self.kernel,
            rows,
            (rows, np.full(len(rows), -np.inf)),
            squared=True,
            **self.options(len(rows)),
        )
        weights, d = self.weights[rows], self.rescaling.dimension
        rest = self.weights.sum() - weights
        likelihood = left_out_likelihood(
            found.logs, bandwidths, self.kernel, d, rest, weights
        )
        return likelihood - self.rescaling.log_volume, 1.0 / found.concentrations

    def condensation(self, X: NDArray) -> NDArray:
        """`condensation_ratios` of rows X, of a Gaussian kernel of the same variance."""
        bandwidth = self.bandwidth * np.sqrt(self.kernel_variance)
        coordinates, here = self.rescaling.enter(X), self.rescaling
        variances, axes = np.ones(coordinates.shape[1]), None
        if not len(here.axes) and len(self.rows) > 1:
            axes = RESCALINGS["ledoit_wolf"](self.coordinates, self.weights)
            coordinates = axes.enter(coordinates)
        with np.errstate(over="ignore"):
            squares = np.square(coordinates)
        if axes is not None:
            variances = np.full(squares.shape[1], axes.noise)
            variances[: len(axes.roots)] = axes.roots**2
            variances = variances * axes.scale**2
        return condensation_ratios(
            squares, variances, here.variances, bandwidth, self.weights.sum()
        )

    def _log_total(self) -> float:
        return float(np.log(self.weights.sum()))

    def _finished(self, logs: NDArray, log_total: NDArray | float) -> NDArray:
        some = np.isfinite(logs) & np.isfinite(log_total)
        total = np.where(some, log_total, 0.0)
        return np.where(some, logs - total + self.log_constant, -np.inf)
