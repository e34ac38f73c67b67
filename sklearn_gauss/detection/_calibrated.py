"""CalibratedDetector: a threshold that holds, for any detector or Pipeline."""

from functools import partial
from typing import ClassVar

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    HasMethods,
    Integral,
    Interval,
    check_rows,
    count_rows,
    fit_context,
)
from sklearn_gauss.detection._held_out import (
    held_out,
    kept_rows,
    last_step,
    squared_distances,
)
from sklearn_gauss.detection._mahalanobis import MahalanobisDetector
from sklearn_gauss.detection._row_labels import fit_labelled, row_labels


class CalibratedDetector(BaseDetector):
    """Any detector, or Pipeline that ends in one, with a threshold that holds.

    A Pipeline fits its steps to the training rows, and what the last step learns of them
    no longer looks like unseen rows: behind `LowVariancePCA`, thresholds that a detector
    sets for itself flag several times too many. Here whole clones score the rows that
    they were not fitted to, fold by fold, and the threshold is the split-conformal order
    statistic of these scores. The final detector is fitted to all rows. Read more in
    the :ref:`User Guide <calibration>`.

    Parameters
    ----------
    detector : detector or Pipeline ending in one
        Anything with ``fit`` and ``score_samples`` of which a higher one is more normal,
        scikit-learn's own outlier detectors included.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    cv : int, default=50
        Number of folds, of rows shuffled in a fixed way. As many as there are rows, or
        more, leave out single rows.
    n_jobs : int, default=None
        Number of folds to fit in parallel.

    Attributes
    ----------
    detector_ : detector
        Clone fitted to all rows.
    offset_ : float
        Threshold on the score.
    calibration_scores_ : ndarray of shape (n_samples,)
        Score of every training row under a detector fitted without its fold; behind
        a `MahalanobisDetector` the final log-density at the distance under that one.
    n_features_in_ : int
        Number of features, where X is a matrix.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    MahalanobisDetector : Has exact left-out scores of its own at no extra fit.
    LevelEnsemble : The same calibration for a sum over levels.

    Notes
    -----
    This is the calibration of cross-conformal prediction [1]_, with one final detector.
    The folds' detectors see fewer rows than that one, so the rate lies off the target
    where the number of rows matters to the scores, on the side of too few false
    positives as a rule. The more folds, the closer: behind `LowVariancePCA` with few
    rows, 10 folds can leave a tenth of the rate that was asked for.

    References
    ----------
    .. [1] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
       Intelligence 74 (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_gauss.decomposition import LowVariancePCA
    >>> from sklearn_gauss.detection import CalibratedDetector, MahalanobisDetector
    >>> rng = np.random.default_rng(0)
    >>> pipeline = make_pipeline(LowVariancePCA(0.1), MahalanobisDetector())
    >>> normal, unseen = rng.normal(size=(200, 100)), rng.normal(size=(1000, 100))
    >>> float((pipeline.fit(normal).predict(unseen) == -1).mean())
    0.999
    >>> detector = CalibratedDetector(pipeline, target_fpr=0.05).fit(normal)
    >>> float((detector.predict(unseen) == -1).mean())
    0.046
    """

    _parameter_constraints: ClassVar[dict] = {
        "detector": [HasMethods(["fit", "score_samples"])],
        "target_fpr": [TARGET_FPR],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    def __init__(self, detector, *, target_fpr=0.05, cv=50, n_jobs=None):
        self.detector = detector
        self.target_fpr = target_fpr
        self.cv = cv
        self.n_jobs = n_jobs

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, classes=None):
        """Score every row by a detector that has not seen it; then fit to all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what the detector takes
            Normal rows; paths or images, say, for a Pipeline that extracts features.
        y : array-like of shape (n_samples,), default=None
            Class of every row, for a `ClassConditionalDetector`; +1 for normal rows and
            -1 for anomalies, for a `NormalAbnormalDetector`: anomalies are then part of
            every fit, and normal rows are held out. Ignored by other detectors.
        classes : array-like of shape (n_samples,), default=None
            The class of every row, where y is something else.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            Whatever the detector refuses, fewer than three rows, and ``classes`` for a
            detector that has none.
        """
        X = self._check(X, reset=True)
        labels = row_labels(self.detector, X, y, classes)
        count = int((labels["y"] == 1).sum()) if "y" in labels else count_rows(X)
        if count < 3:
            raise ValueError(
                f"X has {count} sample(s) of normal rows, but a minimum of 3 is "
                "required: each fold leaves at least two to fit to."
            )
        fit = partial(fit_labelled, self.detector)
        scores = held_out(X, fit, _score, cv=self.cv, n_jobs=self.n_jobs, labels=labels)
        self.detector_ = fit(X, **labels)
        if isinstance(last_step(self.detector_), MahalanobisDetector):
            # Distances: a fold's determinant is not that of the final detector.
            scores = last_step(self.detector_)._log_density(scores)
        self.calibration_scores_ = scores
        vars(self).pop("calibration_weights_", None)
        if (kept := kept_rows([self.detector_])) is not None:
            self.calibration_weights_ = kept
        self._set_threshold(self.target_fpr)
        return self

    def _check(self, X, *, reset=False):
        """Rows of numbers, checked; images or paths as they are, for the detector."""
        rows = getattr(X, "ndim", 2) == 2 and not isinstance(X, (list, tuple))
        if reset and not rows:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(self).pop(name, None)
        return check_rows(self, X, reset=reset) if rows else X

    def _scores(self, X):
        return self.detector_.score_samples(X)


def _score(detector, X):
    if isinstance(last_step(detector), MahalanobisDetector):
        return squared_distances(detector, X)
    return detector.score_samples(X)
