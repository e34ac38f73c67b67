"""LevelEnsemble: one detector for each level of a network, calibrated as a whole."""

import warnings
from typing import ClassVar

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils import Bunch
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
from sklearn_gauss._numerics.stacking import combined
from sklearn_gauss.detection._examples import deal_folds, find_examples
from sklearn_gauss.detection._explaining import explain_behind, gradient_behind
from sklearn_gauss.detection._held_out import (
    has_distance,
    held_out,
    in_silence,
    kept_rows,
    last_step,
    squared_distances,
)
from sklearn_gauss.detection._levels import find_levels, named_levels
from sklearn_gauss.detection._mahalanobis import MahalanobisDetector
from sklearn_gauss.detection._row_labels import (
    fit_labelled,
    refuse_row_labels,
    row_labels,
)
from sklearn_gauss.detection._weighing import weigh

#: Score of a row from its scores by level (n, n_levels); higher is more normal.
AGGREGATES = {
    "sum": lambda levels: levels.sum(axis=1),
    "mean": lambda levels: levels.mean(axis=1),
    "max": lambda levels: levels.min(axis=1),
    "log_density": lambda levels: levels.sum(axis=1),
}

#: Most folds for the scores that "stacked" learns from.
STACKED_FOLDS = 5


def _greatest(levels):
    """1 for the level that decides the least score, 0 for the others."""
    return np.eye(levels.shape[1])[levels.argmin(axis=1)]


#: Derivative of the score by those of the levels, (n, n_levels).
WEIGHTS = {
    "sum": np.ones_like,
    "mean": lambda levels: np.full_like(levels, 1 / levels.shape[1]),
    "max": _greatest,
    "log_density": np.ones_like,
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
    aggregate : {"sum", "mean", "max", "log_density", "stacked"}, default="sum"
        "sum", "mean" and "max" aggregate unsquared Mahalanobis distances, or
        ``-score_samples`` of detectors without one. "log_density" adds
        ``score_samples``: the log-density of independent levels. "stacked" is a weighted
        sum like "sum", with weights of either sign learned from examples of defects, as
        in `DetectorEnsemble`: rows of label -1 in ``fit``, or perturbed ones. These say
        little about defects of images; without drawn or real ones, "sum" is safer.
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
    calibration_level_scores_ : ndarray of shape (n_samples, n_levels)
        What each level adds to it, as `level_scores` of unseen rows.
    level_weights_ : ndarray of shape (n_levels,)
        Weight of each level's score. Only with ``aggregate="stacked"``.
    selection_ : :class:`~sklearn.utils.Bunch`
        How well each level finds each kind of defect, as in `DetectorEnsemble`. Only with
        ``aggregate="stacked"``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    MahalanobisDetector : One Gaussian for all columns.
    DetectorEnsemble : Chooses or stacks any detectors on drawn defects.
    sklearn_gauss.feature_extraction.CNNFeatureExtractor : Features with such names.

    Notes
    -----
    Detectors with ``calibration_scores_`` (closed-form left-out scores) are fitted
    once; anything else ``cv + 1`` times; "stacked" adds five fits. With folds the
    left-out fits have fewer rows than the final one, so the threshold errs on the side of
    too few false positives.

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
        "aggregate": [StrOptions({*AGGREGATES, "stacked"})],
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
    def fit(self, X, y=None, groups=None, *, classes=None):
        """Fit a detector for each level and set the threshold of their aggregate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : array-like of shape (n_samples,), default=None
            With ``aggregate="stacked"``, where it holds +1 and -1 only, and some of
            either, rows of label -1 are examples of anomalies, real ones or drawn;
            nothing is fitted to them but the weights. With others what the detector
            takes: classes, or the labels of a `NormalAbnormalDetector`; else ignored.
        groups : array-like of shape (n_samples,), default=None
            Ignored but for ``aggregate="stacked"``: rows of a group (an image and what
            was drawn on it) are held out together.
        classes : array-like of shape (n_samples,), default=None
            Class of every row, for a `ClassConditionalDetector`; not with "stacked".

        Returns
        -------
        self : object
            Fitted ensemble.

        Raises
        ------
        ValueError
            If X has NaN, infinities or text, or ``levels`` does not fit its columns.
        """
        stacked = self.aggregate == "stacked"
        X = check_rows(self, X, reset=True, min_rows=3 if stacked else 2)
        for name in ("level_weights_", "selection_"):
            vars(self).pop(name, None)
        if stacked:
            refuse_row_labels('aggregate="stacked"', self._detector(), X, y, classes)
        labels = {} if stacked else row_labels(self._detector(), X, y, classes)
        examples = find_examples(X, y, groups) if stacked else None
        X = examples.normal if stacked else X
        self.levels_ = self._find_levels(X.shape[1])
        self.detectors_ = self._fit_levels(X, **labels)
        left_out = [self._left_out(detector, len(X)) for detector in self.detectors_]
        if any(scores is None for scores in left_out):
            fit, score = self._fit_levels, self._level_scores
            levels = held_out(X, fit, score, cv=self.cv, labels=labels)
        else:
            levels = np.column_stack(left_out)
        self.calibration_level_scores_ = levels
        vars(self).pop("calibration_weights_", None)
        if (kept := kept_rows(self.detectors_)) is not None:
            self.calibration_weights_ = kept
        if stacked:
            self._stack(examples, levels)
        else:
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

    def explain(self, X):
        """What each row's score is made of: levels, and what deviates inside each.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to explain.

        Returns
        -------
        explanation : :class:`~sklearn.utils.Bunch`
            levels : ndarray of shape (n_samples, n_levels)
                What each level takes from the score: they add up to
                ``-score_samples(X)``. With ``aggregate="max"`` all but the level that
                decides are zero.
            level_names : list of str
                Names of the levels.
            parts : dict of str to :class:`~sklearn.utils.Bunch`
                Explanation of each level by its own detector, as
                `MahalanobisDetector.explain` gives it: ``features`` (one for each of
                the level's columns), ``components`` and so on add up to the level's
                *squared* distance. Behind the linear steps of a Pipeline, ``features``
                and ``axes`` are those of the level's columns. Levels whose detector
                has no ``explain`` are missing.
        """
        check_is_fitted(self, "offset_")
        X = self._check(X)
        scores = self._level_scores(self.detectors_, X)
        return Bunch(
            levels=-self._slopes(scores) * scores,
            level_names=list(self.levels_),
            parts={
                name: explain_behind(detector, X[:, self.levels_[name]])
                for name, detector in zip(self.levels_, self.detectors_, strict=True)
                if hasattr(last_step(detector), "explain")
            },
        )

    def gradient(self, X):
        """Gradient of the score at each row.

        With g_l the gradient of level l's log-density and M_l its distance, that of
        -M_l is g_l / M_l; 0 at the mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        gradient : ndarray of float64 of shape (n_samples, n_features)
            Derivative of ``score_samples`` by each feature.

        Raises
        ------
        AttributeError
            If the detector of a level has no ``gradient``.
        """
        check_is_fitted(self, "offset_")
        X = self._check(X)
        weights = self._slopes(self._level_scores(self.detectors_, X))
        gradient = np.zeros(X.shape)
        for i, (detector, columns) in enumerate(
            zip(self.detectors_, self.levels_.values(), strict=True)
        ):
            slope = self._level_gradient(detector, X[:, columns])
            gradient[:, columns] += weights[:, i : i + 1] * slope
        return gradient

    def _level_gradient(self, detector, X):
        gradient = gradient_behind(detector, X)
        if self._by_distance(detector):
            squares = squared_distances(detector, X)
            length = np.sqrt(squares)[:, None]
            if isinstance(last_step(detector), MahalanobisDetector):
                length = length * last_step(detector)._pull(squares)[:, None]
            positive = length > 0
            gradient = np.divide(
                gradient, length, where=positive, out=np.zeros_like(gradient)
            )
        return gradient

    def _scores(self, X):
        return self._aggregated(self._level_scores(self.detectors_, X))

    def _aggregated(self, levels):
        """Scores (n,) of those of the levels (n, n_levels)."""
        if self.aggregate == "stacked":
            return combined(levels, self.level_weights_)
        return AGGREGATES[self.aggregate](levels)

    def _slopes(self, levels):
        """Derivative (n, n_levels) of the score by those of the levels."""
        if self.aggregate == "stacked":
            return np.broadcast_to(self.level_weights_, levels.shape)
        return WEIGHTS[self.aggregate](levels)

    def _stack(self, examples, left_out):
        """Learn the weights of the levels from examples of defects."""
        folds = deal_folds(examples, STACKED_FOLDS)
        normal = np.empty_like(left_out)
        other = np.empty((len(examples.kinds), left_out.shape[1]))
        with in_silence():
            for fold in range(folds.count):
                detectors = self._fit_levels(examples.normal[folds.normal != fold])
                for scores, rows, fold_of in (
                    (normal, examples.normal, folds.normal),
                    (other, examples.other, folds.other),
                ):
                    some = fold_of == fold
                    if some.any():
                        scores[some] = self._level_scores(detectors, rows[some])
        if folds.is_grouped:  # rows were left out one by one
            left_out = self.calibration_level_scores_ = normal
        fits = [
            Bunch(
                names=[name],
                normal=normal[:, [place]],
                other=other[:, [place]],
                left_out=left_out[:, [place]],
            )
            for place, name in enumerate(self.levels_)
        ]
        found = weigh(fits, examples, folds, rule="stacked")
        self.level_weights_, self.selection_ = found.weights, found.selection
        self.calibration_scores_ = found.calibration_scores

    def _level_scores(self, detectors, X):
        columns = self.levels_.values()
        return np.column_stack(
            [
                self._level_score(d, X[:, c])
                for d, c in zip(detectors, columns, strict=True)
            ]
        )

    def _level_score(self, detector, X):
        if self._by_distance(detector):
            return -np.sqrt(squared_distances(detector, X))
        return detector.score_samples(X)

    def _by_distance(self, detector):
        return self.aggregate != "log_density" and has_distance(last_step(detector))

    def _left_out(self, detector, n_rows):
        """Closed-form left-out scores of a level, or None if it has none."""
        distances = self.aggregate != "log_density" and has_distance(detector)
        name = "calibration_mahalanobis_" if distances else "calibration_scores_"
        values = getattr(detector, name, None)
        if values is None or len(values) != n_rows:
            return None
        return -np.sqrt(values) if distances else values

    def _detector(self):
        return MahalanobisDetector() if self.detector is None else self.detector

    def _fit_levels(self, X, **labels):
        return Parallel(n_jobs=self.n_jobs)(
            delayed(fit_labelled)(self._detector(), X[:, columns], **labels)
            for columns in self.levels_.values()
        )

    def _find_levels(self, n_features):
        names = getattr(self, "feature_names_in_", ())
        if isinstance(self.levels, str) and not named_levels(names):
            warnings.warn(
                "X has no feature names of the form level__channel, so all "
                f"{n_features} columns are one level. Name them, for instance with "
                "CNNFeatureExtractor().set_output(transform='pandas'), give levels, or "
                "say levels=None.",
                UserWarning,
                stacklevel=callers_level(),
            )
        return find_levels(self.levels, n_features, names)
