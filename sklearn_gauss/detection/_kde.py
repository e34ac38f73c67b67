"""KDEDetector: a kernel density of normal rows, exact in any dimension."""

import warnings
from typing import ClassVar

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import Bunch, check_random_state

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    Integral,
    Interval,
    Real,
    StrOptions,
    check_rows,
    check_sample_weight,
    fit_context,
    validate_parameter_constraints,
)
from sklearn_gauss._numerics import thinning
from sklearn_gauss._numerics.bandwidth import RULES
from sklearn_gauss._numerics.kernel_density import (
    Effort,
    KernelDensity,
    choose_bandwidth,
    critical,
    merge_copies,
)
from sklearn_gauss._numerics.kernels import KERNELS
from sklearn_gauss._numerics.modes import find_mode, projected_dimension
from sklearn_gauss._numerics.rescaling import RESCALINGS, Rescaling
from sklearn_gauss.exceptions import (
    DistanceOverflowWarning,
    NearestNeighborWarning,
    RankDeficientWarning,
)

#: Effective neighbours, in the median, below which the nearest row is more than half of
#: the density: what it would be at h_G / sqrt(2) in the limit of high dimension.
FEW_NEIGHBORS = 2.0

#: Rows whose effective neighbours are counted at a fit.
COUNTED_ROWS = 500

#: Rows up to which kernel thinning looks at all pairs, and how many it keeps beyond.
SPLIT_ROWS, OVERSAMPLING = 10_000, 4

DTYPES = {"float64": np.float64, "float32": np.float32}


class KDEDetector(BaseDetector):
    """TODO."""

    _parameter_constraints: ClassVar[dict] = {
        "bandwidth": [
            StrOptions({"loo", *RULES}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "kernel": [StrOptions(set(KERNELS))],
        "whiten": [StrOptions(set(RESCALINGS))],
        "max_reference": [Interval(Integral, 1, None, closed="left"), None],
        "thinning": [StrOptions({"kernel", "random"})],
        "target_fpr": [TARGET_FPR],
        "calibration": [
            StrOptions({"loo", "quantile"}),
            Interval(Real, None, None, closed="neither"),
        ],
        "precision": [StrOptions(set(DTYPES))],
        "working_memory": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    _fitted = (
        "offset_",
        "calibration_scores_",
        "calibration_weights_",
        "bandwidth_",
        "bandwidth_regimes_",
        "reference_",
        "reference_weights_",
        "sample_indices_",
        "location_",
        "_rescaling",
    )
    _left_out_fails = (
        "density is zero there: use a larger bandwidth, or a kernel that reaches farther"
    )

    def __init__(
        self,
        bandwidth="loo",
        *,
        kernel="gaussian",
        whiten="ledoit_wolf",
        max_reference=None,
        thinning="kernel",
        target_fpr=0.05,
        calibration="loo",
        precision="float64",
        working_memory=64,
        n_jobs=None,
        random_state=None,
    ):
        self.bandwidth = bandwidth
        self.kernel = kernel
        self.whiten = whiten
        self.max_reference = max_reference
        self.thinning = thinning
        self.target_fpr = target_fpr
        self.calibration = calibration
        self.precision = precision
        self.working_memory = working_memory
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the density and set the threshold."""
        X, weights = self._checked(X, sample_weight, reset=True)
        self._forget()
        self._estimate(X, weights)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Add normal rows; the result is that of one fit to all rows."""
        first = not ("_seen" in vars(self) or hasattr(self, "reference_"))
        X, weights = self._checked(X, sample_weight, reset=first)
        if not first:
            rows, before = self._rows_so_far()
            X, weights = np.concatenate([rows, X]), np.append(before, weights)
        self._forget()
        self._seen = {"rows": X, "weights": weights}
        self._pending = True
        return self

    def _rows_so_far(self):
        if "_seen" in vars(self):
            return self._seen["rows"], self._seen["weights"]
        if self.sample_indices_ is not None:
            raise ValueError(
                f"fit kept {len(self.reference_)} rows only (max_reference="
                f"{self.max_reference}), and partial_fit needs all of them. Call "
                "partial_fit instead of fit from the start: it keeps the rows it has seen."
            )
        return self.reference_, self.reference_weights_

    def _checked(self, X, sample_weight, *, reset):
        X = check_rows(self, X, reset=reset)
        weights = check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if not weights.any():
            raise ValueError("sample_weight is zero for every row; none would be left.")
        return X[weights > 0], weights[weights > 0]

    def _settle(self):
        self._estimate(self._seen["rows"], self._seen["weights"])
        if self.sample_indices_ is None:
            del self._seen

    def _estimate(self, X, weights):
        """All that is fitted, from all rows."""
        first, merged, places = merge_copies(X, weights)
        distinct = X[first]
        self._check_spread(distinct)
        rescaling = RESCALINGS[self.whiten](distinct, merged)
        self._warn_of_rank(rescaling)
        self.bandwidth_ = self._choose_bandwidth(rescaling, distinct, merged)
        self._rescaling = dict(vars(rescaling))
        self.location_ = rescaling.frame.location[0]
        own = places
        if self.max_reference is not None and self.max_reference < len(distinct):
            chosen, merged = self._thin(rescaling, distinct, merged)
            distinct, self.sample_indices_ = distinct[chosen], first[chosen]
            own = np.full(len(first), -1)
            own[chosen] = np.arange(len(chosen))
            own = own[places]
            self.reference_, self.reference_weights_ = distinct, merged
        else:
            self.reference_, self.reference_weights_ = X.copy(), weights.copy()
            self.sample_indices_ = None
        self._ready = self._make(distinct, merged)
        self._find_regime(weights.sum())
        self._calibrate(X, weights, own)

    def _check_spread(self, distinct):
        if not np.ptp(distinct, axis=0).any() and (
            isinstance(self.bandwidth, str) or self.whiten != "none"
        ):
            raise ValueError(
                "All rows of X are equal: neither a bandwidth nor a scale can be estimated "
                "from them. Give bandwidth as a number, with whiten='none'."
            )

    def _warn_of_rank(self, rescaling):
        if rescaling.dimension < self.n_features_in_:
            warnings.warn(
                f"The rows span {rescaling.dimension} of {self.n_features_in_} dimensions "
                f"under whiten={self.whiten!r}; the density is about these, and deviations "
                "along the others are not seen.",
                RankDeficientWarning,
                stacklevel=4,
            )

    def _choose_bandwidth(self, rescaling, rows, weights):
        if not isinstance(self.bandwidth, str):
            return float(self.bandwidth)
        bandwidth = choose_bandwidth(
            self.bandwidth, self.kernel, rescaling, rows, weights, self._effort()
        )
        if not 0 < bandwidth < np.inf:
            raise ValueError(
                f"bandwidth={self.bandwidth!r} finds none for {len(rows)} distinct rows "
                f"under whiten={self.whiten!r}: without one of them the others have no "
                "spread. Use more rows, or give bandwidth as a number."
            )
        return bandwidth

    def _thin(self, rescaling, rows, weights):
        """Places of at most ``max_reference`` distinct rows, and their new weights."""
        rng = check_random_state(self.random_state)
        copies = _as_repeats(weights, rng)
        if self.thinning == "random":
            drawn = rng.permutation(copies)[: self.max_reference]
        else:
            points = self._points(rescaling, rows, copies, rng)
            kept, _ = thinning.thin(
                points,
                self.max_reference,
                kernel=self.kernel if self.kernel in thinning.PROFILES else "gaussian",
                oversampling=None if len(copies) <= SPLIT_ROWS else OVERSAMPLING,
                rng=rng,
            )
            drawn = copies[kept]
        chosen, counts = np.unique(drawn, return_counts=True)
        return chosen, counts * (weights.sum() / len(drawn))

    def _points(self, rescaling, rows, copies, rng):
        """Coordinates in units of the bandwidth of the thinning kernel.

        At least the median distance: a kernel that reaches no other row thins at random.
        """
        coordinates, exponent = thinning.standardise(rescaling.enter(rows)[copies])
        some = rng.permutation(len(coordinates))[:1000]
        unit = max(
            thinning.median_distance(coordinates[some]),
            thinning.in_units(self.bandwidth_, exponent),
        )
        return thinning.Points.of(coordinates, 1 / unit)

    def _effort(self):
        n_threads = None if self.n_jobs is None else effective_n_jobs(self.n_jobs)
        return Effort(n_threads, self.working_memory * 2**20)

    def _make(self, rows, weights):
        return KernelDensity(
            rows,
            weights,
            Rescaling(**self._rescaling),
            self.kernel,
            self.bandwidth_,
            DTYPES[self.precision],
            self._effort(),
        )

    def _density(self):
        """The density; made anew in a copy that was loaded."""
        if "_ready" not in vars(self):
            first, merged, _ = merge_copies(self.reference_, self.reference_weights_)
            self._ready = self._make(self.reference_[first], merged)
        return self._ready

    def __getstate__(self):
        """What is saved: not the rows that stand ready for sums, a copy of others."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_ready"}

    def _forget(self):
        super()._forget()
        for name in ("_ready", "_seen"):
            vars(self).pop(name, None)

    def _find_regime(self, count):
        density, d = self._ready, self._ready.rescaling.dimension
        rows = _some(len(density.rows), COUNTED_ROWS)
        neighbors = 1.0
        if len(density.rows) > 1:
            neighbors = float(np.median(density.path([self.bandwidth_], rows)[1]))
        varied = density.rescaling.variances.max() > 0
        smallest = 0.0  # a single row, whatever its weight, condenses at no bandwidth
        if count > 1 and varied:
            smallest = critical(density.rescaling, self.kernel, count)
        self.bandwidth_regimes_ = {
            "alpha": float(np.log(count) / d),
            "h_g": smallest,
            "h_clt": float(np.sqrt(2.0)) * smallest,
            "effective_neighbors": neighbors,
            "regime": _regime(self.bandwidth_, smallest),
        }
        if neighbors < FEW_NEIGHBORS and len(density.rows) > 2:
            warnings.warn(
                f"At a bandwidth of {self.bandwidth_:.3g} the density at a left-out row is "
                f"made up of {neighbors:.1f} rows in the median: scores rank rows by their "
                "distance to the nearest one. That can detect well, but log-densities are "
                f"not to be trusted as such; they are averages of many rows above h_G = "
                f"{smallest:.3g} (see bandwidth_regimes_ and BandwidthDisplay).",
                NearestNeighborWarning,
                stacklevel=4,
            )

    def _calibrate(self, X, weights, own):
        if self.calibration == "loo":
            self.calibration_scores_ = self._clipped(
                self._ready.left_out_scores(
                    X, own, weights, thinned=self.sample_indices_ is not None
                )
            )
            if not (weights == 1.0).all():
                self.calibration_weights_ = weights.copy()
            self._set_threshold(self.target_fpr)
        elif self.calibration == "quantile":
            self.offset_ = _quantile(self._scores(X), self.target_fpr, weights)
        else:
            self.offset_ = float(self.calibration)

    def _scores(self, X):
        return self._clipped(self._density().log_density(X))

    def _clipped(self, scores):
        """Scores, finite where the kernel is positive everywhere."""
        if KERNELS[self.kernel].compact:
            return scores
        far = np.isneginf(scores)
        if far.any():
            warnings.warn(
                f"{far.sum()} squared distances exceed the largest float64; the scores "
                "were clipped.",
                DistanceOverflowWarning,
                stacklevel=4,
            )
        return np.where(far, np.finfo(np.float64).min, scores)

    def effective_neighbors(self, X):
        """TODO."""
        self._check_is_fitted()
        return self._density().effective_neighbors(self._check(X))

    def condensation(self, X):
        """TODO."""
        self._check_is_fitted()
        density = self._density()
        factor = np.sqrt(KERNELS[self.kernel].variance(density.rescaling.dimension))
        return density.condensation(
            self._check(X), self.bandwidth_ * factor, self.reference_weights_.sum()
        )

    def bandwidth_curve(self, bandwidths=None):
        """TODO."""
        self._check_is_fitted()
        density = self._density()
        if bandwidths is None:
            high = self.bandwidth_regimes_["h_clt"]
            high = max(high if high < np.inf else 0.0, self.bandwidth_)
            low = min(self.bandwidth_regimes_["h_g"], self.bandwidth_)
            bandwidths = np.geomspace(low / 4, 2 * high, 49)
        bandwidths = _check_bandwidths(bandwidths)
        order = np.argsort(bandwidths)
        rows = np.arange(len(density.rows))
        likelihood, neighbors = density.path(bandwidths[order], rows)
        back = np.argsort(order)
        return Bunch(
            bandwidths=bandwidths,
            log_likelihood=likelihood[back],
            effective_neighbors=np.median(neighbors, axis=1)[back],
        )

    def gradient(self, X):
        """TODO."""
        self._check_is_fitted()
        return self._density().gradient(self._check(X))

    def mode(self, *, n_starts=10, project="auto", max_iter=500, tol=1e-10):
        """TODO."""
        self._check_is_fitted()
        validate_parameter_constraints(
            MODE_PARAMETERS,
            {"n_starts": n_starts, "project": project, "max_iter": max_iter, "tol": tol},
            "mode",
        )
        density = self._density()
        if project == "auto":
            n_rows, d = density.coordinates.shape
            project = d > projected_dimension(n_rows)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        return find_mode(
            density,
            n_starts,
            np.random.default_rng(seed),
            project=project,
            max_iter=max_iter,
            tol=tol,
        )[0]

    def sample(self, n_samples=1, random_state=None):
        """TODO."""
        self._check_is_fitted()
        validate_parameter_constraints(
            {"n_samples": [Interval(Integral, 1, None, closed="left")]},
            {"n_samples": n_samples},
            "sample",
        )
        state = self.random_state if random_state is None else random_state
        seed = check_random_state(state).randint(2**31 - 1)
        return self._density().draw(np.random.default_rng(seed), n_samples)


MODE_PARAMETERS = {
    "n_starts": [Interval(Integral, 1, None, closed="left")],
    "project": [StrOptions({"auto"}), "boolean"],
    "max_iter": [Interval(Integral, 0, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
}


def _check_bandwidths(bandwidths):
    bandwidths = np.asarray(bandwidths, dtype=np.float64)
    if bandwidths.ndim != 1 or not bandwidths.size:
        raise ValueError(
            f"bandwidths must be a list of numbers, got shape {bandwidths.shape}."
        )
    if not (np.isfinite(bandwidths) & (bandwidths > 0)).all():
        raise ValueError("bandwidths must be positive and finite.")
    return bandwidths


def _regime(bandwidth, smallest):
    if bandwidth < smallest:
        return "condensed"
    return "heavy-tailed" if bandwidth < np.sqrt(2.0) * smallest else "gaussian"


def _quantile(scores, share, weights):
    if (weights == np.round(weights)).all():
        return float(np.quantile(np.repeat(scores, weights.astype(int)), share))
    return float(np.quantile(scores, share, weights=weights, method="inverted_cdf"))


def _some(n_rows, count):
    """At most so many of the rows, always the same."""
    if n_rows <= count:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).permutation(n_rows)[:count])


def _as_repeats(weights, rng):
    """Indices in which every row stands about as often as its weight says."""
    total = weights.sum()
    if (weights == np.round(weights)).all() and total <= 4 * len(weights):
        return np.repeat(np.arange(len(weights)), weights.astype(int))
    steps = (np.arange(len(weights)) + rng.random_sample()) / len(weights) * total
    return np.searchsorted(np.cumsum(weights), steps).clip(max=len(weights) - 1)
