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
from sklearn_gauss._numerics.kernel.bandwidth import RULES
from sklearn_gauss._numerics.kernel.density import (
    Effort,
    KernelDensity,
    choose_bandwidth,
    critical,
    merge_copies,
    row_order,
)
from sklearn_gauss._numerics.kernel.modes import find_mode, projected_dimension
from sklearn_gauss._numerics.kernel.profiles import KERNELS
from sklearn_gauss._numerics.kernel.representatives import representatives
from sklearn_gauss._numerics.kernel.rescaling import RESCALINGS, Rescaling
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

DTYPES = {"float64": np.float64, "float32": np.float32}


class KDEDetector(BaseDetector):
    r"""Anomalies by a kernel density of normal rows, exact in any dimension.

    A row's score is its log-density in nats,

    .. math::

        \log f(x) = \log \sum_j w_j \, K(\lVert A (x - y_j) \rVert / h)
            - \log \sum_j w_j + \log (|A| \, c_d h^{-d}),

    over reference rows y, which are the training rows or some of them, with a bandwidth
    h, a metric A, and the constant c that makes the integral of the kernel K over d
    dimensions 1. The threshold keeps the false-positive rate ``target_fpr`` on unseen
    normal rows: it comes from scores of the training rows, each left out of the sum and
    of the metric. Read more in the :ref:`User Guide <kernel_density>`.

    Parameters
    ----------
    bandwidth : {"loo", "scott", "silverman", "condensation"} or float, default="loo"
        The h, a length in units of the data, or of the metric where ``whiten`` is not
        "none".

        - "loo": the maximum of the left-out log-likelihood, where a row leaves with all
          its exact copies.
        - "scott": n^(-1 / (d + 4)) s, with s^2 the mean variance of a column [1]_.
        - "silverman": (n (d + 2) / 4)^(-1 / (d + 4)) s [2]_.
        - "condensation": what is best, by the Kullback-Leibler divergence, for Gaussian
          rows in many dimensions, from the eigenvalues of their shrunk covariance [3]_.

        The last three are for the Gaussian kernel; another gets the bandwidth at which
        its variance along an axis is the same.
    kernel : str, default="gaussian"
        K(u): "gaussian" exp(-u^2 / 2), "exponential" exp(-u), "epanechnikov" 1 - u^2,
        "tophat" 1, "linear" 1 - u or "cosine" cos(pi u / 2). The last four are 0 from
        u = 1 on: where no row is near, the log-density is minus infinity.
    whiten : {"none", "diagonal", "ledoit_wolf"}, default="ledoit_wolf"
        The metric A: the data's own; every column over its standard deviation; or A'A
        the inverse of the Ledoit-Wolf covariance.
    max_reference : int, default=None
        Most reference rows to keep. None keeps all.
    thinning : {"kernel", "random"}, default="kernel"
        How they are chosen, where ``max_reference`` is less than the distinct rows: by
        kernel thinning [4]_, or at random. Each stands for as many rows as any other.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    calibration : {"loo", "quantile"} or float, default="loo"
        Where the threshold comes from: an order statistic of the left-out scores, split-
        conformal in form; the quantile of the training rows' own scores, as
        ``contamination`` elsewhere, far too optimistic; or ``offset_`` itself, in nats.
    precision : {"float64", "float32"}, default="float64"
        Of products and exponentials in scoring. In "float64" log-densities are within
        1e-9 nats or a few units in the last place; in "float32" within 1e-3, with blocks
        in "float64" where rounding would cost more.
    working_memory : float, default=64
        Mebibytes for blocks of distances, in all threads together.
    n_jobs : int, default=None
        Number of threads; None takes as many as BLAS would.
    random_state : int, RandomState instance or None, default=None
        Seed of thinning, `sample` and `mode`.

    Attributes
    ----------
    offset_ : float
        Threshold on the score, in nats; minus infinity if nothing can be flagged.
    calibration_scores_ : ndarray of shape (n_samples,)
        Score of every training row of positive weight under the fit without it, with
        bandwidth and |A| kept. After `recalibrate`, the scores of its rows. Absent unless
        ``calibration="loo"``.
    calibration_weights_ : ndarray of shape (n_samples,)
        Their sample weights. Absent where every row counts once.
    bandwidth_ : float
        The h.
    bandwidth_regimes_ : dict
        "alpha", log n / d; "h_g" and "h_clt", the critical bandwidths of Gaussian rows;
        "effective_neighbors", the median over left-out reference rows (up to 500), see
        `effective_neighbors`; "regime", one of "condensed" below h_g, "heavy-tailed"
        between, and "gaussian" above h_clt.
    reference_ : ndarray of shape (n_reference, n_features)
        Reference rows, in the data's units.
    reference_weights_ : ndarray of shape (n_reference,)
        Their weights.
    sample_indices_ : ndarray of int of shape (n_reference,) or None
        Which training rows of positive weight they are; None if all are. Behind a
        `partial_fit` to a thinned fit, its reference rows come first.
    location_ : ndarray of shape (n_features,)
        Mean of the training rows.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    MahalanobisDetector : A single Gaussian.
    sklearn_gauss.selection.KernelThinning : The thinning on its own.
    sklearn_gauss.plotting.BandwidthDisplay : Likelihood and neighbours against h.

    Notes
    -----
    A fit with ``bandwidth="loo"`` costs O(n^2 d) a few times over, a score O(n d).

    Sample weights count as repeats: a row of weight 2 is that row twice, also for the
    threshold, and the sum of the weights is the number of rows. Left out is one copy.
    The bandwidth "loo" and `bandwidth_curve` leave all copies out.

    Left-out scores equal those of n refits at the same bandwidth, for "ledoit_wolf" with
    the intensity and the target of the shrinkage kept.

    References
    ----------
    .. [1] D. W. Scott, "Multivariate Density Estimation", Wiley, 1992.
    .. [2] B. W. Silverman, "Density Estimation for Statistics and Data Analysis", 1986.
    .. [3] G. Biroli and M. Mezard, "Kernel Density Estimators in Large Dimensions",
       arXiv:2408.05807, 2024.
    .. [4] R. Dwivedi and L. Mackey, "Kernel Thinning", COLT 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import KDEDetector
    >>> rng = np.random.default_rng(0)
    >>> angle = rng.uniform(0, 2 * np.pi, size=(1400, 1))
    >>> ring = np.hstack([np.cos(angle), np.sin(angle)]) + rng.normal(0, 0.1, (1400, 2))
    >>> detector = KDEDetector(target_fpr=0.05).fit(ring[:400])
    >>> float((detector.predict(ring[400:]) == -1).mean())
    0.038
    >>> detector.predict([[0.0, 0.0], [1.0, 0.0]])  # a Gaussian is densest in the centre
    array([-1,  1])
    """

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
        """Fit the density and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : Ignored
            Present for the conventions of scikit-learn.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts; it need not be whole. A row of weight 0 is not
            there.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            If X has NaN, infinities, text or too few rows, all rows are equal and a
            bandwidth or metric is to be estimated, or weights are negative or all zero.

        Warns
        -----
        CalibrationWarning
            Where the rows are too few for ``target_fpr``; nothing is flagged then.
        NearestNeighborWarning
            Where the density at most rows is made up of the nearest row alone.
        RankDeficientWarning
            Where columns, or directions, without variance are ignored.
        """
        X, weights = self._checked(X, sample_weight, reset=True, whole=True)
        self._forget()
        self._estimate(X, weights)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Add normal rows; the result is that of one fit to all rows.

        All rows are kept, and the density is estimated when the detector is next used.
        After a ``fit`` that kept ``max_reference`` rows only, these stand for the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One normal row or more.
        y : Ignored
            Present for the conventions of scikit-learn.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.

        Returns
        -------
        self : object
            Detector with the rows added.
        """
        first = not ("_seen" in vars(self) or hasattr(self, "reference_"))
        X, weights = self._checked(X, sample_weight, reset=first, whole=False)
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
        return self.reference_, self.reference_weights_

    def _checked(self, X, sample_weight, *, reset, whole):
        estimated = isinstance(self.bandwidth, str) or self.whiten != "none"
        X = check_rows(self, X, reset=reset, min_rows=2 if whole and estimated else 1)
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
                "All rows of X are equal: neither a bandwidth nor a scale can be "
                "estimated from them. Give bandwidth as a number, with whiten='none'."
            )

    def _warn_of_rank(self, rescaling):
        if rescaling.dimension < self.n_features_in_:
            warnings.warn(
                f"The rows span {rescaling.dimension} of {self.n_features_in_} "
                f"dimensions under whiten={self.whiten!r}; the density is about these, "
                "and deviations along the others are not seen.",
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
        return representatives(
            rescaling.enter(rows),
            weights,
            row_order(rows),  # the choice is that of the rows, whatever their order
            self.max_reference,
            how=self.thinning,
            kernel=self.kernel,
            bandwidth=self.bandwidth_,
            rng=check_random_state(self.random_state),
        )

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
            "h_g": float(smallest),
            "h_clt": float(np.sqrt(2.0) * smallest),
            "effective_neighbors": neighbors,
            "regime": _regime(self.bandwidth_, smallest),
        }
        if neighbors < FEW_NEIGHBORS and len(density.rows) > 2:
            warnings.warn(
                f"At a bandwidth of {self.bandwidth_:.3g} the density is that of the "
                f"nearest row: {neighbors:.1f} effective neighbours in the median, so "
                "that scores rank rows by their distance to the nearest one. They may "
                "detect well, but as log-densities they say little. Many rows make up a "
                f"density above h_g = {smallest:.3g}; see bandwidth_regimes_.",
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
        """How many reference rows make up the density at each row.

        1 / sum_j p_j^2 with p_j the share of reference row j in the sum of kernels; rows
        of the reference find themselves too. A row of weight 2 counts as two.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        neighbors : ndarray of shape (n_samples,)
            Between 1, the nearest row alone, and the number of reference rows; 1 where no
            kernel reaches.
        """
        self._check_is_fitted()
        return self._density().effective_neighbors(self._check(X))

    def condensation(self, X):
        """How condensed the density is at each row: above 1, on few reference rows.

        (1 / ln n) sum_j [ln(1 + u_j) - u_j / (1 + u_j) + z_j^2 u_j^2 / (1 + u_j)^2] / 2
        with u_j = lambda_j / h^2, the eigenvalues lambda_j of the reference rows' shrunk
        covariance in the metric, and the row's coordinates z_j along its axes over their
        standard deviations: theory for Gaussian rows in many dimensions. Outlying rows
        condense first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        ratios : ndarray of shape (n_samples,)
            Positive, no unit.
        """
        self._check_is_fitted()
        density = self._density()
        factor = np.sqrt(KERNELS[self.kernel].variance(density.rescaling.dimension))
        return density.condensation(
            self._check(X), self.bandwidth_ * factor, self.reference_weights_.sum()
        )

    def bandwidth_curve(self, bandwidths=None):
        """Left-out log-likelihood and effective neighbours at many bandwidths.

        From one pass over the distances between reference rows, each left out with all
        its copies.

        Parameters
        ----------
        bandwidths : array-like of shape (n_bandwidths,), default=None
            Positive, in any order. None takes 49 around the one in use and the critical
            ones.

        Returns
        -------
        curve : :class:`~sklearn.utils.Bunch`
            bandwidths : ndarray of shape (n_bandwidths,)
                As given.
            log_likelihood : ndarray of shape (n_bandwidths,)
                Mean left-out log-density, in nats.
            effective_neighbors : ndarray of shape (n_bandwidths,)
                Median over the rows.
        """
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
        """Gradient of the log-density at each row.

        A'A sum_j v_j (y_j - x) / h^2, where v_j is the share of reference row j in the
        sum of kernels times -d log K / d(u^2 / 2). 0 where no kernel reaches, and
        everywhere for "tophat".

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        gradient : ndarray of shape (n_samples, n_features)
            In nats over the data's units.
        """
        self._check_is_fitted()
        return self._density().gradient(self._check(X))

    def mode(self, *, n_starts=10, project="auto", max_iter=500, tol=1e-10):
        """Point of the greatest density that mean shift finds.

        It starts from the densest reference rows, which in many dimensions are sought
        after a random projection [1]_, and goes to the mean of the reference rows,
        weighted as in `gradient`, while the density grows.

        Parameters
        ----------
        n_starts : int, default=10
            Number of rows to start from.
        project : bool or "auto", default="auto"
            Whether the densest rows are sought after a random projection to 24 ln n
            directions; "auto" does if there are more dimensions than that.
        max_iter : int, default=500
            Most steps from each row.
        tol : float, default=1e-10
            Gain in nats below which a start is given up.

        Returns
        -------
        mode : ndarray of shape (n_features,)
            At least as dense as the rows started from.

        References
        ----------
        .. [1] X. Luo, C. Musco and C. Widdershoven, "Dimensionality Reduction for General
           KDE Mode Finding", ICML 2023.
        """
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
        """Draw rows from the density.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seed; the parameter's if None.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            A reference row each, plus a draw from the kernel.
        """
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
