"""IncrementalMixtureDetector: a Gaussian mixture that grows as rows arrive."""

import math
import warnings
from typing import ClassVar

import numpy as np
from scipy import stats
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    Integral,
    Interval,
    Real,
    StrOptions,
    callers_level,
    check_rows,
    fit_context,
)
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.calibration import rows_needed
from sklearn_gauss._numerics.incremental_mixture import (
    Rules,
    default_delta,
    default_prior_count,
)
from sklearn_gauss._numerics.mixture_density import (
    HUGE,
    Mixture,
    complete,
    gradient,
    joint_log_densities,
    log_sum,
    responsibilities,
)
from sklearn_gauss.detection._held_out import fit_quietly, held_out, in_silence
from sklearn_gauss.detection._mixture_stream import begun, extended, first_place
from sklearn_gauss.exceptions import DistanceOverflowWarning

#: Coordinate of a known value, in units of the scale, up to which densities of
#: components still tell what is expected beside it.
FARTHEST_KNOWN = 1e100


class IncrementalMixtureDetector(BaseDetector):
    r"""Anomalies by a Gaussian mixture that learns a row at a time and then drops it.

    A row's score is its log-density in nats,
    :math:`\log \sum_k \pi_k\, N(x; \mu_k, C_k)`. A row that is far from every component
    becomes the centre of a new one; any other moves the components by its posterior
    probabilities. That is the incremental Gaussian mixture network of [1]_ and [2]_, with
    an update that keeps every covariance positive definite. Read more in the
    :ref:`User Guide <incremental_mixture>`.

    Parameters
    ----------
    delta : "auto" or float, default="auto"
        Standard deviation of a new component, relative to ``scale``: about that of a
        cluster relative to all rows. "auto" is .35 for two features and tends to 1 for
        many, so that rows of a single Gaussian are near each other; where there are
        clusters far apart, a lower one tells them apart sooner.
    tau : float in (0, 1), default=0.001
        A row is new to a component if its squared distance, over 1 + 1 / count, is
        beyond what a normal row exceeds with this probability (chi-squared law).
    scale : float or array-like of shape (n_features,), default=None
        Standard deviations of the features. None takes those of the first ``n_init``
        rows, of which as many equal ones at the start count as one; a column that is
        constant there gets the median of the others.
    n_init : int, default=100
        First rows that are kept until there are as many, for the scale.
    prior_count : "auto" or float, default="auto"
        Rows that the covariance of a new component is worth. 1 is the published method,
        which breaks up clusters in many dimensions; "auto" is 1 + n_features / 4.
    max_components : int, default=None
        Most components. When there are so many, a new row moves those there are.
    prune : bool, default=True
        Whether components are dropped that are older than ``v_min`` rows with a count
        below ``sp_min``. The last one stays.
    v_min : float, default=100
        Rows that a component is given to prove itself.
    sp_min : float, default=3
        Sum of posterior probabilities that it needs by then, its first row included.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    calibration : {"prequential", "cv", "quantile"} or float, default="prequential"
        Where the threshold comes from: the scores of arriving rows before each was
        learnt; scores under fits to the other folds; the quantile of the training rows'
        own scores, which is optimistic; or ``offset_`` itself, in nats. "cv" and
        "quantile" need all rows and have no `partial_fit`.
    n_calibration : int, default=1000
        Most scores that "prequential" keeps, the latest ones; 1 / target_fpr - 1 or
        more. Of those only the later half of all rows count, while the mixture was no
        longer new. Fewer follow drift sooner.
    cv : int, default=10
        Folds of ``calibration="cv"``; each is a fit to the rest, in the order of rows.

    Attributes
    ----------
    offset_ : float
        Threshold on the score, in nats; minus infinity if nothing can be flagged.
    calibration_scores_ : ndarray of shape (n_scores,)
        Scores of the latest rows, each before it was learnt, in order. With
        ``calibration="cv"`` those of all rows; after `recalibrate` those of its rows.
    n_components_ : int
        Number of components.
    weights_ : ndarray of shape (n_components,)
        Prior probabilities, counts over their sum.
    means_ : ndarray of shape (n_components, n_features)
        Centres.
    covariances_ : ndarray of shape (n_components, n_features, n_features)
        Covariances, inverted when asked for.
    precisions_ : ndarray of shape (n_components, n_features, n_features)
        Their inverses.
    log_dets_ : ndarray of shape (n_components,)
        Log-determinants of the covariances.
    counts_ : ndarray of shape (n_components,)
        Sums of posterior probabilities, from 1 for the first row.
    ages_ : ndarray of int of shape (n_components,)
        Rows since the component was created, its first one included.
    scale_ : ndarray of shape (n_features,)
        The scale, given or estimated.
    n_created_ : int
        Components created so far.
    n_pruned_ : int
        Components pruned so far.
    n_samples_seen_ : int
        Rows learnt so far.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    MahalanobisDetector : One Gaussian, with exact left-out scores.
    KDEDetector : A density of any shape that keeps its rows.

    Notes
    -----
    n rows, K components and d features cost O(n K d^2) time and O(K d^2) memory. The
    result depends on the order of rows, but not on how they are cut into chunks.

    References
    ----------
    .. [1] M. R. Heinen, P. M. Engel and R. C. Pinto, "IGMN: An Incremental Gaussian
       Mixture Network that Learns Instantaneously from Data Flows", ENIA 2011.
    .. [2] R. C. Pinto and P. M. Engel, "A Fast Incremental Gaussian Mixture Model",
       PLoS ONE 10 (2015), arXiv:1506.04422.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import IncrementalMixtureDetector
    >>> rng = np.random.default_rng(0)
    >>> centres = np.array([[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    >>> X = centres[rng.integers(3, size=3000)] + rng.normal(size=(3000, 2))
    >>> detector = IncrementalMixtureDetector()
    >>> for row in X[:1000]:
    ...     detector = detector.partial_fit([row])
    >>> detector.n_components_
    3
    >>> float((detector.predict(X[1000:]) == -1).mean())
    0.041
    >>> detector.recall([[9.0, np.nan]]).round(1)  # what belongs to it
    array([[ 9. , -0.1]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "delta": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "tau": [Interval(Real, 0, 1, closed="neither")],
        "scale": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "n_init": [Interval(Integral, 2, None, closed="left")],
        "prior_count": [StrOptions({"auto"}), Interval(Real, 1, None, closed="left")],
        "max_components": [Interval(Integral, 1, None, closed="left"), None],
        "prune": ["boolean"],
        "v_min": [Interval(Real, 0, None, closed="left")],
        "sp_min": [Interval(Real, 0, None, closed="left")],
        "target_fpr": [TARGET_FPR],
        "calibration": [
            StrOptions({"prequential", "cv", "quantile"}),
            Interval(Real, None, None, closed="neither"),
        ],
        "n_calibration": [Interval(Integral, 1, None, closed="left")],
        "cv": [Interval(Integral, 2, None, closed="left")],
    }

    _fitted = (
        "offset_",
        "calibration_scores_",
        "n_components_",
        "weights_",
        "means_",
        "log_dets_",
        "counts_",
        "ages_",
        "scale_",
        "n_created_",
        "n_pruned_",
        "_learnt",
    )
    _calibrated_by = "scored rows"

    def __init__(
        self,
        delta="auto",
        *,
        tau=0.001,
        scale=None,
        n_init=100,
        prior_count="auto",
        max_components=None,
        prune=True,
        v_min=100,
        sp_min=3,
        target_fpr=0.05,
        calibration="prequential",
        n_calibration=1000,
        cv=10,
    ):
        self.delta = delta
        self.tau = tau
        self.scale = scale
        self.n_init = n_init
        self.prior_count = prior_count
        self.max_components = max_components
        self.prune = prune
        self.v_min = v_min
        self.sp_min = sp_min
        self.target_fpr = target_fpr
        self.calibration = calibration
        self.n_calibration = n_calibration
        self.cv = cv

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the rows in their order, from nothing, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            If X has NaN, infinities, text or a single row, all rows are equal and no
            ``scale`` is given, a row is 1e12 times as far from the first ones as these
            spread, or ``n_calibration`` is too small for ``target_fpr``. Nothing is
            left of an earlier fit then.

        Warns
        -----
        CalibrationWarning
            Where the rows are too few for ``target_fpr``; nothing is flagged then.
        RankDeficientWarning
            Where columns are constant in the rows that the scale comes from.
        """
        self._check_window()
        X = check_rows(self, X, reset=True, min_rows=2)
        self._start_anew()
        try:
            self._fit(X)
        except Exception:
            self._start_anew()  # or partial_fit would go on with rows that were refused
            raise
        return self

    def _start_anew(self):
        self._forget()
        for name in ("_stream", "n_samples_seen_"):
            vars(self).pop(name, None)

    def _fit(self, X):
        self._stream = self._extended(None, X)
        self.n_samples_seen_ = len(X)
        self._settle()
        if self.calibration == "cv":
            self.calibration_scores_ = self._scores_by_folds(X)
            self._set_threshold(self.target_fpr)
        elif self.calibration == "quantile":
            self.offset_ = float(np.quantile(self._scores(X), self.target_fpr))

    def _check_window(self):
        needed = rows_needed(self.target_fpr)
        if self.calibration == "prequential" and self.n_calibration < needed:
            raise ValueError(
                f"n_calibration={self.n_calibration} keeps fewer scores than the "
                f"{needed} that target_fpr={self.target_fpr:g} needs, however many rows "
                "there are; raise either."
            )

    def _can_stream(self):
        if self.calibration in ("cv", "quantile"):
            raise AttributeError(
                f"calibration={self.calibration!r} needs all rows at once; "
                'use "prequential" or a number for partial_fit.'
            )
        return True

    @available_if(_can_stream)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Learn more rows; the result is that of one fit to all rows in this order.

        The first ``n_init`` rows are kept, then none but for the last scores. Without a
        ``scale``, two rows that differ are needed before the detector can be used; rows
        are kept until then, however many.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One normal row or more.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Detector with the rows learnt.

        Raises
        ------
        ValueError
            As `fit`; rows learnt before are not lost.
        AttributeError
            With ``calibration="cv"`` or "quantile".
        """
        self._check_window()
        first = "_stream" not in vars(self)
        X = check_rows(self, X, reset=first)
        stream = self._extended(None if first else self._stream, X)
        self._forget()
        self._stream = stream
        self.n_samples_seen_ = len(X) + (0 if first else self.n_samples_seen_)
        self._pending = True
        return self

    def responsibilities(self, X):
        """Posterior probability of every component for every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_components)
            Each row adds up to 1.
        """
        self._check_is_fitted()
        return responsibilities(self._joint(self._check(X)))

    def predict_component(self, X):
        """Most probable component of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        components : ndarray of int of shape (n_samples,)
            Places in ``weights_``, ``means_`` and so on, from 0.
        """
        self._check_is_fitted()
        return self._joint(self._check(X)).argmax(axis=1)

    def recall(self, X):
        """Rows with their missing values replaced by what is expected of them.

        The mean of the missing features given the known ones: a regression for every
        component, weighted by the posterior probabilities of the known values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with NaN where a value is missing, at any places.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            The rows completed; known values are unchanged. A row with nothing known is
            the mean of the mixture.

        Raises
        ------
        ValueError
            If X has infinities, not the features of ``fit``, or known values so far from
            the rows learnt that nothing can be expected beside them.
        """
        self._check_is_fitted()
        X = validate_data(
            self,
            X,
            reset=False,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
        )
        frame, missing = self._frame(), np.isnan(X)
        with np.errstate(over="ignore", invalid="ignore"):
            Z = frame.enter(X)
            near = np.abs(Z[~missing]).max(initial=0.0) < FARTHEST_KNOWN
            found = complete(self._mixture(), Z) if near else Z
            completed = X.copy()
            completed[missing] = (found * frame.scale + frame.origin)[missing]
        if not np.isfinite(completed).all():
            raise ValueError(
                "X has known values so far from the rows learnt that what is expected "
                f"beside them exceeds the largest {X.dtype}; rescale or drop such rows."
            )
        return completed

    def gradient(self, X):
        """Gradient of the log-density at each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        gradient : ndarray of float64 of shape (n_samples, n_features)
            In nats over the data's units.
        """
        self._check_is_fitted()
        frame = self._frame()
        return gradient(self._mixture(), frame.enter(self._check(X))) / frame.scale

    @property
    def covariances_(self):
        """Covariances of the components."""
        self._check_is_fitted()
        inverse = np.linalg.inv(self._mixture().factors) * self._frame().scale
        return np.swapaxes(inverse, 1, 2) @ inverse

    @property
    def precisions_(self):
        """Inverse covariances of the components."""
        self._check_is_fitted()
        factors = self._mixture().factors / self._frame().scale[:, None]
        return factors @ np.swapaxes(factors, 1, 2)

    def _extended(self, stream, X):
        """State of the stream after more rows."""
        if stream is None or "waiting" in stream:
            X = X.astype(np.float64) if stream is None else np.r_[stream["waiting"], X]
            if self.scale is None and len(X) < first_place(X, self.n_init) + self.n_init:
                return {"waiting": X}
            stream = begun(X, self.scale, self.n_init)
        return extended(stream, X, self._rules(stream["spread"]), self.n_calibration)

    def _rules(self, spread):
        p = len(spread)
        delta, prior = self.delta, self.prior_count
        return Rules(
            deviation=spread * (default_delta(p, self.tau) if delta == "auto" else delta),
            novelty=float(stats.chi2.isf(self.tau, p)),
            prior_count=default_prior_count(p) if prior == "auto" else prior,
            max_components=self.max_components,
            v_min=self.v_min if self.prune else math.inf,
            sp_min=self.sp_min,
        )

    def _settle(self):
        learnt = self._stream
        if "waiting" in learnt:
            rows = learnt["waiting"]
            learnt = self._extended(begun(rows, self.scale, self.n_init), rows)
        self._learnt = learnt
        mixture, unit = self._mixture(), learnt["unit"]
        self.n_components_ = len(mixture.means)
        self.weights_ = np.exp(mixture.log_weights)
        self.means_ = mixture.means * unit + learnt["origin"]
        self.log_dets_ = mixture.log_dets + 2 * np.log(unit).sum()
        self.counts_, self.ages_ = mixture.counts.copy(), mixture.ages.copy()
        self.n_created_, self.n_pruned_ = mixture.n_created, mixture.n_pruned
        self.scale_ = learnt["spread"] * unit
        self._calibrate(learnt["scores"])

    def _calibrate(self, scores):
        """Threshold from the scores of rows that were not learnt yet."""
        later = math.ceil(self.n_samples_seen_ / 2)
        # A few early scores too, rather than no threshold: they are lower if anything.
        later = max(later, rows_needed(self.target_fpr))
        self.calibration_scores_ = scores[-later:]
        if self.calibration == "prequential":
            self._set_threshold(self.target_fpr)
        else:
            given = not isinstance(self.calibration, str)
            self.offset_ = float(self.calibration) if given else -math.inf

    def _scores_by_folds(self, X):
        fold = clone(self).set_params(calibration=0.0)
        with in_silence():
            return held_out(
                X,
                lambda rows: fit_quietly(clone(fold), rows),
                lambda detector, rows: detector._scores(rows),
                cv=self.cv,
            )

    def _frame(self):
        unit = self._learnt["unit"]
        return Frame(self._learnt["origin"], np.zeros(len(unit)), unit)

    def _mixture(self):
        return Mixture(**self._learnt["mixture"])

    def _joint(self, X):
        with np.errstate(over="ignore", invalid="ignore"):
            return joint_log_densities(self._mixture(), self._frame().enter(X))

    def _scores(self, X):
        scores = log_sum(self._joint(X))
        far = scores < -0.4 * HUGE
        if far.any():
            warnings.warn(
                f"{far.sum()} squared distances exceed {HUGE:g}; they were clipped.",
                DistanceOverflowWarning,
                stacklevel=callers_level(),
            )
        return scores - np.log(self._learnt["unit"]).sum()
