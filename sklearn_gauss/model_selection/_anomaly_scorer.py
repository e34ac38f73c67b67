"""Scorers of anomaly detectors for searches and cross-validation."""

from inspect import signature
from numbers import Real

from sklearn.metrics import make_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar

from sklearn_gauss.model_selection import _metrics

_NORMALITY = ("score_samples", "decision_function")
_METRICS = {  # name: (function, method of the estimator it judges)
    "roc_auc": (_metrics.roc_auc, _NORMALITY),
    "partial_roc_auc": (_metrics.partial_roc_auc, _NORMALITY),
    "average_precision": (_metrics.average_precision, _NORMALITY),
    "tpr_at_fpr": (_metrics.tpr_at_fpr, _NORMALITY),
    "f1_max": (_metrics.f1_max, _NORMALITY),
    "recall": (_metrics.recall, "predict"),
    "balanced_accuracy": (_metrics.balanced_accuracy, "predict"),
    "neg_fpr_error": (_metrics.neg_fpr_error, "predict"),
}
_BOUNDARIES = {"max_fpr": "right", "fpr": "both", "target_fpr": "neither"}  # of [0, 1]


def anomaly_scorer(metric="roc_auc", **options):
    """Make a scorer for anomaly detectors that knows the sign.

    Labels are +1 (normal) and -1 (anomaly, the class to be found); detectors score
    normality, the higher the more normal. The score of every metric is the higher the
    better.

    Parameters
    ----------
    metric : str, default="roc_auc"
        From the scores of ``decision_function`` (``score_samples`` where there is
        none):

        - "roc_auc": area under the ROC curve;
        - "partial_roc_auc": the same at false-positive rates (FPR) up to `max_fpr`,
          scaled so that 0.5 is chance and 1 is perfect;
        - "average_precision": of the anomalies;
        - "tpr_at_fpr": best recall of the anomalies with a measured FPR <= `fpr`;
        - "f1_max": best F1 score of the anomalies over all thresholds.

        From the detector's own threshold, by ``predict``:

        - "recall": share of the anomalies flagged;
        - "balanced_accuracy": mean of the recall and the share of normal rows passed;
        - "neg_fpr_error": minus the distance of the measured FPR from `target_fpr`.
          Needs no anomalies, and takes every row as normal where there is no `y`.
    **options : float
        `max_fpr` (default 0.1) of "partial_roc_auc", `fpr` (default 0.05) of
        "tpr_at_fpr", and `target_fpr` of "neg_fpr_error", which by default is the
        estimator's parameter of that name, at the end of a pipeline as well.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y) -> float``, for the `scoring` parameter of
        :class:`~sklearn.model_selection.GridSearchCV` and its like, alone or in a dict.

    Raises
    ------
    ValueError
        If the metric is unknown or an option out of range. When scoring: if labels are
        other than +1 and -1, if either kind is missing, if a score is NaN, or if no
        `target_fpr` can be found.
    TypeError
        If the metric does not know an option, or the option is no number.

    See Also
    --------
    NormalKFold : Folds that train on normal rows and test on both kinds.
    sklearn.metrics.make_scorer : Scorers for classifiers and regressors.

    Notes
    -----
    A search turns errors of a scorer into NaN and a warning; ``error_score="raise"``
    shows them. Density estimators that are no outlier detectors
    (:class:`~sklearn.neighbors.KernelDensity`, say) need scikit-learn 1.9 or later.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.covariance import EllipticEnvelope
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn_gauss.model_selection import NormalKFold, anomaly_scorer
    >>> X = np.r_[np.random.default_rng(0).normal(size=(40, 2)), [[9, 9], [-9, 9]]]
    >>> y = np.r_[np.ones(40), -1, -1]
    >>> scores = cross_validate(
    ...     EllipticEnvelope(random_state=0), X, y,
    ...     cv=NormalKFold(n_splits=2), scoring=anomaly_scorer("roc_auc"),
    ... )
    >>> scores["test_score"]
    array([1., 1.])
    """
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {sorted(_METRICS)}, got {metric!r}.")
    function, response_method = _METRICS[metric]
    _check_options(metric, function, options)
    if metric == "neg_fpr_error" and "target_fpr" not in options:
        return _OwnTargetScorer()
    return make_scorer(function, response_method=response_method, **options)


def _check_options(metric, function, options):
    known = list(signature(function).parameters)[2:]  # after labels and response
    for name, value in options.items():
        if name not in known:
            raise TypeError(
                f"anomaly_scorer({metric!r}) has no option {name!r}; "
                f"its options are {known}."
            )
        check_scalar(
            value,
            name,
            Real,
            min_val=0,
            max_val=1,
            include_boundaries=_BOUNDARIES[name],
        )


class _OwnTargetScorer:
    """Minus the distance of the measured FPR from the one the estimator aims at.

    `make_scorer` shows its function the predictions but never the estimator.
    """

    def __call__(self, estimator, X, y=None):
        verdict = estimator.predict(X)
        labels = [1] * len(verdict) if y is None else y
        return _metrics.neg_fpr_error(
            labels, verdict, target_fpr=_find_target_fpr(estimator)
        )

    def __repr__(self):
        return "anomaly_scorer('neg_fpr_error')"


def _find_target_fpr(estimator):
    """Return `target_fpr` of a detector, a pipeline's last step or a search's best."""
    while not hasattr(estimator, "target_fpr"):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            raise ValueError(
                f"{type(estimator).__name__} has no parameter target_fpr: state it as "
                "anomaly_scorer('neg_fpr_error', target_fpr=...)."
            )
    return estimator.target_fpr
