"""LevelEnsemble: one detector for each level of a network, calibrated as a whole."""

import warnings
from typing import ClassVar

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    HasMethods,
    Integral,
    Interval,
    StrOptions,
    callers_level,
    check_rows,
    fit_context,
)
from sklearn_gauss.detection._held_out import (
    fit_quietly,
    held_out,
    last_step,
    squared_distances,
)
from sklearn_gauss.detection._mahalanobis import MahalanobisDetector

#: Score of a row from its scores by level (n, n_levels); higher is more normal.
AGGREGATES = {
    "sum": lambda levels: levels.sum(axis=1),
    "mean": lambda levels: levels.mean(axis=1),
    "max": lambda levels: levels.min(axis=1),
    "log_density": lambda levels: levels.sum(axis=1),
}


class LevelEnsemble(BaseDetector):
    """Sum of the detectors of all levels of a network, with one threshold.

    The "sum predictor" of Rippel et al. [1]_: M(x) = sum_l M_l(x) over the unsquared
    Mahalanobis distances of the levels l, each with a Gaussian of its own. The
    threshold is set for the sum, from left-out sums of the training rows. Read more in
    the :ref:`User Guide <levels>`.

    Parameters
    ----------
    detector : detector or Pipeline ending in one, default=None
        Cloned once for each level. None is ``MahalanobisDetector()``.
    levels : "auto", dict, list or None, default="auto"
        Which columns belong to which level. "auto" reads feature names of the form
        ``level__channel`` and warns if there are none; a dict maps names to columns, a
        list holds columns (each an array-like of indices or feature names, or a
        slice); None takes all columns as one level.
    aggregate : {"sum", "mean", "max", "log_density"}, default="sum"
        "sum", "mean" and "max" aggregate unsquared Mahalanobis distances, or
        ``-score_samples`` of detectors without one. "log_density" adds
        ``score_samples``: the log-density of independent levels.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    cv : int, default=50
        Number of folds for left-out scores where the detector has none of its own, as
        a Pipeline. Every fold fits all levels once.
    n_jobs : int, default=None
        Number of levels to fit in parallel.

    Attributes
    ----------
    detectors_ : list
        Fitted detector of each level.
    levels_ : dict of str to ndarray of int
        Columns of each level.
    offset_ : float
        Threshold on the score.
    calibration_scores_ : ndarray of shape (n_samples,)
        Left-out score of every training row.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    MahalanobisDetector : One Gaussian for all columns.
    sklearn_gauss.feature_extraction.CNNFeatureExtractor : Features with such names.

    Notes
    -----
    Detectors with ``calibration_scores_`` (closed-form left-out scores) are fitted
    once; anything else ``cv + 1`` times. With folds the left-out fits have fewer rows
    than the final one, so the threshold errs on the side of too few false positives.

    References
    ----------
    .. [1] O. Rippel, P. Mertens and D. Merhof, "Modeling the Distribution of Normal Data
       in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020, eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import LevelEnsemble
    >>> X = np.random.default_rng(0).normal(size=(60, 30))
    >>> ensemble = LevelEnsemble(levels={"early": range(10), "late": range(10, 30)})
    >>> ensemble.fit(X).predict([[0.0] * 30, [3.0] * 30])
    array([ 1, -1])
    >>> ensemble.level_scores([[3.0] * 30]).round(1)
    array([[ -9.4, -13.7]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "detector": [HasMethods(["fit", "score_samples"]), None],
        "levels": [StrOptions({"auto"}), dict, list, tuple, None],
        "aggregate": [StrOptions(set(AGGREGATES))],
        "target_fpr": [TARGET_FPR],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        detector=None,
        *,
        levels="auto",
        aggregate="sum",
        target_fpr=0.05,
        cv=50,
        n_jobs=None,
    ):
        self.detector = detector
        self.levels = levels
        self.aggregate = aggregate
        self.target_fpr = target_fpr
        self.cv = cv
        self.n_jobs = n_jobs

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit a detector for each level and set the threshold of their aggregate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted ensemble.

        Raises
        ------
        ValueError
            If X has NaN, infinities or text, or ``levels`` does not fit its columns.
        """
        X = check_rows(self, X, reset=True, min_rows=2)
        self.levels_ = self._find_levels(X.shape[1])
        self.detectors_ = self._fit_levels(X)
        left_out = [self._left_out(detector, len(X)) for detector in self.detectors_]
        if any(scores is None for scores in left_out):
            levels = held_out(X, self._fit_levels, self._level_scores, cv=self.cv)
        else:
            levels = np.column_stack(left_out)
        self.calibration_scores_ = AGGREGATES[self.aggregate](levels)
        self._set_threshold(self.target_fpr)
        return self

    def level_scores(self, X):
        """What each level adds to the score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_levels)
            Minus the distance under each level, or its log-density, in the order of
            ``levels_``.
        """
        check_is_fitted(self, "offset_")
        return self._level_scores(self.detectors_, self._check(X))

    def _scores(self, X):
        return AGGREGATES[self.aggregate](self._level_scores(self.detectors_, X))

    def _level_scores(self, detectors, X):
        columns = self.levels_.values()
        return np.column_stack(
            [
                self._level_score(d, X[:, c])
                for d, c in zip(detectors, columns, strict=True)
            ]
        )

    def _level_score(self, detector, X):
        if self.aggregate != "log_density" and hasattr(
            last_step(detector), "mahalanobis"
        ):
            return -np.sqrt(squared_distances(detector, X))
        return detector.score_samples(X)

    def _left_out(self, detector, n_rows):
        """Closed-form left-out scores of a level, or None if it has none."""
        distances = self.aggregate != "log_density" and hasattr(detector, "mahalanobis")
        name = "calibration_mahalanobis_" if distances else "calibration_scores_"
        values = getattr(detector, name, None)
        if values is None or len(values) != n_rows:
            return None
        return -np.sqrt(values) if distances else values

    def _fit_levels(self, X):
        detector = MahalanobisDetector() if self.detector is None else self.detector
        return Parallel(n_jobs=self.n_jobs)(
            delayed(fit_quietly)(clone(detector), X[:, columns])
            for columns in self.levels_.values()
        )

    def _find_levels(self, n_features):
        if self.levels is None:
            return {"all": np.arange(n_features)}
        if isinstance(self.levels, str):
            return self._levels_from_names(n_features)
        if not len(self.levels):
            raise ValueError("levels is empty: give at least one group of columns.")
        named = (
            self.levels
            if isinstance(self.levels, dict)
            else {str(i): columns for i, columns in enumerate(self.levels)}
        )
        if len({str(name) for name in named}) < len(named):
            raise ValueError(f"levels has names that are alike as text: {list(named)}.")
        return {
            str(name): self._columns(name, columns, n_features)
            for name, columns in named.items()
        }

    def _levels_from_names(self, n_features):
        names = getattr(self, "feature_names_in_", np.array([], dtype=object))
        levels = {}
        for column, name in enumerate(names):
            level, separator, _ = name.rpartition("__")
            if not separator:
                levels = {}
                break
            levels.setdefault(level, []).append(column)
        if not levels:
            warnings.warn(
                "X has no feature names of the form level__channel, so all "
                f"{n_features} columns are one level. Name them, for instance with "
                "CNNFeatureExtractor().set_output(transform='pandas'), give levels, or "
                "say levels=None.",
                UserWarning,
                stacklevel=callers_level(),
            )
            return {"all": np.arange(n_features)}
        return {level: np.array(columns) for level, columns in levels.items()}

    def _columns(self, name, columns, n_features):
        """Column indices of one group."""
        if isinstance(columns, slice):
            columns = np.arange(n_features)[columns]
        columns = list(columns) if isinstance(columns, (set, frozenset)) else columns
        columns = np.atleast_1d(np.asarray(columns))
        if columns.dtype.kind == "b" and columns.shape == (n_features,):
            columns = np.flatnonzero(columns)
        if columns.dtype.kind in "UO":
            known = {n: i for i, n in enumerate(getattr(self, "feature_names_in_", ()))}
            missing = [c for c in columns if c not in known]
            if missing:
                raise ValueError(
                    f"levels: level {name!r} names no column {str(missing[0])!r}."
                )
            columns = np.array([known[c] for c in columns])
        if columns.ndim != 1 or columns.dtype.kind not in "iu" or not columns.size:
            raise ValueError(
                f"levels: level {name!r} must be a non-empty list of column indices, of "
                f"feature names, or a slice; got {columns!r}."
            )
        if columns.min() < -n_features or columns.max() >= n_features:
            raise ValueError(
                f"levels: level {name!r} has a column out of range for the {n_features} "
                "columns of X."
            )
        columns = columns % n_features
        if len(np.unique(columns)) < len(columns):
            raise ValueError(f"levels: level {name!r} has the same column twice.")
        return columns
