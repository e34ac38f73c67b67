"""KDEDetector: a kernel density of normal rows, exact in any dimension."""

import warnings
from typing import ClassVar

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import check_random_state

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    Integral,
    Interval,
    Real,
    StrOptions,
    callers_level,
    check_rows,
    check_weights,
    fit_context,
)
from sklearn_gauss._numerics.calibration import training_quantile
from sklearn_gauss._numerics.kernel.bandwidth import RULES
from sklearn_gauss._numerics.kernel.density import Effort, KernelDensity
from sklearn_gauss._numerics.kernel.fitting import fit_density, regimes, weight_scale
from sklearn_gauss._numerics.kernel.profiles import KERNELS
from sklearn_gauss._numerics.kernel.rescaling import RESCALINGS, Rescaling
from sklearn_gauss.detection._density_verbs import DensityVerbs
from sklearn_gauss.exceptions import (
    BandwidthWarning,
    DistanceOverflowWarning,
    NearestNeighborWarning,
    RankDeficientWarning,
)

#: Times that a bandwidth may be what it would be without the least likely rows.
FEW_DECIDE = 1.5

#: Distinct rows up to which there are too few neighbours to count.
FEW_ROWS = 4

#: Effective neighbours, in the median, below which the nearest row is more than half of
#: the density: what it would be at h_G / sqrt(2) in the limit of high dimension.
FEW_NEIGHBORS = 2.0

DTYPES = {"float64": np.float64, "float32": np.float32}


class KDEDetector(DensityVerbs, BaseDetector):
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
        kernel thinning [4]_, or at random. Each stands for as many rows as any other;
        "loo" then maximises the likelihood of all rows under the density of the kept.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    calibration : {"loo", "quantile"} or float, default="loo"
        Where the threshold comes from: an order statistic of the left-out scores, split-
        conformal in form; the quantile of the training rows' own scores, as
        ``contamination`` elsewhere, far too optimistic; or ``offset_`` itself, in nats.
    precision : {"float64", "float32"}, default="float64"
        Of products and exponentials in scoring. In "float64" log-densities are within
        1e-9 nats or a few units in the last place, for coordinates that are rounded once
        where there is a metric; in "float32" within 1e-3, with blocks in "float64" where
        rounding would cost more.
    working_memory : float, default=64
        Mebibytes for blocks of distances, in all threads together, besides a few copies
        of the reference rows and the queries.
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
        bandwidth and |A| kept; minus infinity where the others alone have no spread.
        After `recalibrate`, the scores of its rows. Absent unless ``calibration="loo"``.
    calibration_weights_ : ndarray of shape (n_samples,)
        Their sample weights, the relative ones scaled to add up to the rows that they are
        worth. Absent where every row counts once.
    bandwidth_ : float
        The h.
    bandwidth_regimes_ : dict
        "alpha", log n / d; "h_g" and "h_clt", the critical bandwidths of Gaussian rows,
        for the kernel of the same variance as the Gaussian's;
        "effective_neighbors", the median over left-out reference rows (up to 500), see
        `effective_neighbors`; "regime", one of "condensed" below h_g, "heavy-tailed"
        between, and "gaussian" above h_clt.
    reference_ : ndarray of shape (n_reference, n_features)
        Reference rows, in the data's units.
    reference_weights_ : ndarray of shape (n_reference,)
        Their weights; where rows were thinned, how often each was drawn.
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

    Whole sample weights count repeats: a row of weight 2 is that row twice, of which one
    is left out for the threshold, as of any copies. Others are relative: they are worth
    n = (sum w)^2 / sum w^2 rows, whatever their scale, and a row is left out with all of
    its weight. The bandwidth "loo" and `bandwidth_curve` leave out all copies.

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
        "_fitted_kernel",
        "_fitted_precision",
        "_fitted_weight",
        "_leaving",
        "_weight_scale",
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
            How often each row counts, if all are whole numbers, or else how much, by
            relative weights. A row of weight 0 is not there.

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
        BandwidthWarning
            Where a few outlying rows decide the bandwidth that "loo" finds.
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
        represented = self._fitted_weight / self.reference_weights_.sum()
        return self.reference_, self.reference_weights_ * represented / self._weight_scale

    def _checked(self, X, sample_weight, *, reset, whole):
        estimated = isinstance(self.bandwidth, str) or self.whiten != "none"
        X = check_rows(self, X, reset=reset, min_rows=2 if whole and estimated else 1)
        weights = check_weights(sample_weight, X)
        return X[weights > 0], weights[weights > 0]

    def _settle(self):
        self._estimate(self._seen["rows"], self._seen["weights"])
        if self.sample_indices_ is None:
            del self._seen

    def _estimate(self, X, weights):
        """All that is fitted, from all rows."""
        self._check_spread(X)
        self._weight_scale, leaving = weight_scale(weights)
        weights = weights * self._weight_scale
        fit = fit_density(
            X,
            weights,
            leaving=leaving,
            bandwidth=self.bandwidth,
            whiten=self.whiten,
            max_reference=self.max_reference,
            thinning=self.thinning,
            rng=check_random_state(self.random_state),
            kernel=self.kernel,
            dtype=DTYPES[self.precision],
            effort=self._effort(),
        )
        density = fit.density
        if not 0 < density.bandwidth < np.inf:
            if not isinstance(self.bandwidth, str):
                raise ValueError(
                    f"bandwidth={self.bandwidth!r} is out of the range of float64 beside "
                    f"rows of a scale of about {density.rescaling.unit:.3g}."
                )
            raise ValueError(
                f"bandwidth={self.bandwidth!r} finds none for {len(X)} rows under "
                f"whiten={self.whiten!r}: without one of them the others have no spread. "
                "Use more rows, or give bandwidth as a number."
            )
        self.bandwidth_ = density.bandwidth * density.rescaling.unit
        self.location_ = density.rescaling.frame.location[0]
        self.sample_indices_ = fit.chosen
        if fit.chosen is None:
            self.reference_, self.reference_weights_ = X.copy(), weights.copy()
        else:
            self.reference_, self.reference_weights_ = density.rows, density.weights
        self._rescaling, self._ready = dict(vars(density.rescaling)), density
        self._fitted_weight, self._leaving = density.fitted_weight, leaving
        self._fitted_kernel, self._fitted_precision = self.kernel, self.precision
        self.bandwidth_regimes_ = regimes(density)
        self._warn(fit.sturdy * density.rescaling.unit)
        self._calibrate(X, weights, fit)

    def _check_spread(self, X):
        estimated = isinstance(self.bandwidth, str) or self.whiten != "none"
        if estimated and not np.ptp(X, axis=0).any():
            raise ValueError(
                "All rows of X are equal: neither a bandwidth nor a scale can be "
                "estimated from them. Give bandwidth as a number, with whiten='none'."
            )

    def _warn(self, sturdy):
        dimension = self._ready.rescaling.dimension
        if dimension < self.n_features_in_:
            warnings.warn(
                f"The rows span {dimension} of {self.n_features_in_} dimensions under "
                f"whiten={self.whiten!r}; the density is about these, and deviations "
                "along the others are not seen.",
                RankDeficientWarning,
                stacklevel=callers_level(),
            )
        if self.bandwidth_ > FEW_DECIDE * sturdy:
            warnings.warn(
                f"A few outlying rows decide the bandwidth: it is {self.bandwidth_:.3g}, "
                f"and would be about {sturdy:.3g} without the least likely 1 % of the "
                "rows. What lies between groups of rows may pass as normal. Drop rows "
                "with the lowest calibration_scores_, or give bandwidth as a number.",
                BandwidthWarning,
                stacklevel=callers_level(),
            )
        neighbors = self.bandwidth_regimes_["effective_neighbors"]
        if neighbors < FEW_NEIGHBORS and len(self._ready.rows) > FEW_ROWS:
            forecast = self.bandwidth_regimes_["h_g"]
            advice = "; see bandwidth_regimes_"
            if self.bandwidth_ < forecast:
                advice = f"; many rows make up a density above h_g = {forecast:.3g}"
            warnings.warn(
                f"At a bandwidth of {self.bandwidth_:.3g} the density is that of the "
                f"nearest row: {neighbors:.2f} effective neighbours in the median, so "
                "that scores rank rows by their distance to the nearest one. They may "
                f"detect well, but as log-densities they say little{advice}.",
                NearestNeighborWarning,
                stacklevel=callers_level(),
            )

    def _effort(self):
        n_threads = None if self.n_jobs is None else effective_n_jobs(self.n_jobs)
        return Effort(n_threads, self.working_memory * 2**20)

    def _density(self):
        """The density; made anew in a copy that was loaded."""
        if "_ready" not in vars(self):
            self._ready = KernelDensity.of(
                self.reference_,
                self.reference_weights_,
                rescaling=Rescaling(**self._rescaling),
                fitted_weight=self._fitted_weight,
                leaving=self._leaving,
                bandwidth=self.bandwidth_ / Rescaling(**self._rescaling).unit,
                kernel=self._fitted_kernel,
                dtype=DTYPES[self._fitted_precision],
                effort=self._effort(),
            )
        return self._ready

    def __getstate__(self):
        """What is saved: not the rows that stand ready for sums, a copy of others."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_ready"}

    def _forget(self):
        super()._forget()
        for name in ("_ready", "_seen"):
            vars(self).pop(name, None)

    def _calibrate(self, X, weights, fit):
        if self.calibration == "loo":
            self.calibration_scores_ = fit.density.left_out_scores(
                X, fit.own, weights, thinned=fit.chosen is not None
            )
            if not (weights == 1.0).all():
                self.calibration_weights_ = weights.copy()
            self._set_threshold(self.target_fpr)
        elif self.calibration == "quantile":
            scores = self._scores(X)
            self.offset_ = training_quantile(scores, self.target_fpr, weights)
        else:
            self.offset_ = float(self.calibration)

    def _scores(self, X):
        return self._clipped(self._density().log_density(X))

    def _clipped(self, scores):
        """Scores, finite where the kernel is positive everywhere."""
        if KERNELS[self._fitted_kernel].compact:
            return scores
        far = np.isneginf(scores)
        if far.any():
            warnings.warn(
                f"{far.sum()} squared distances exceed the largest float64; the scores "
                "were clipped.",
                DistanceOverflowWarning,
                stacklevel=callers_level(),
            )
        return np.where(far, np.finfo(np.float64).min, scores)
