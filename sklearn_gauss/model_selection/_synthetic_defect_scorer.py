"""Scores of a detector on held-out normal rows and on defects drawn onto them."""

import numpy as np

from sklearn_gauss._base import count_rows, take_rows
from sklearn_gauss.model_selection._anomaly_scorer import anomaly_scorer
from sklearn_gauss.model_selection._labels import check_labels


def synthetic_defect_scorer(defects, metric="roc_auc", **options):
    """Make a scorer that draws the anomalies, for searches without a single real one.

    In every fold, ``defects`` draws on the held-out normal rows, and the metric tells how
    well the detector, which was fitted to the other folds, tells these rows as they are
    from the drawn ones. So a plain :class:`~sklearn.model_selection.GridSearchCV` over
    normal images alone chooses backbone, level, pooling, reduction or detector, and its
    refit is a fit to all normal images. Read more in the
    :ref:`User Guide <without_anomalies>`.

    Parameters
    ----------
    defects : object with ``draw``
        `SyntheticDefects` for images, `SyntheticOutliers` for rows of features, or
        anything whose ``draw(X)`` returns a Bunch with ``X``.
    metric : str, default="roc_auc"
        As of `anomaly_scorer`.
    **options : float
        Options of the metric.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None) -> float``, for the `scoring` parameter of
        :class:`~sklearn.model_selection.GridSearchCV` and its like. Where ``y`` has
        labels, rows of label -1 are left out.

    Raises
    ------
    TypeError
        If ``defects`` has no ``draw``, or an option is none of the metric's.
    ValueError
        If the metric is unknown or an option out of range. When scoring: if labels are
        other than +1 and -1, or no row is normal.

    See Also
    --------
    sklearn_gauss.datasets.SyntheticDefects : Defects on images.
    sklearn_gauss.datasets.SyntheticOutliers : Perturbed rows of features.
    sklearn_gauss.detection.DetectorEnsemble : Chooses among fitted members in one fit.
    anomaly_scorer : For labelled anomalies.

    Notes
    -----
    Candidates are compared on the same drawings as long as ``defects.random_state`` is a
    number, as it is by default. An extractor's ``cache`` keeps the features of drawn
    images too, so that a search over what comes behind it extracts each once.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_gauss.datasets import SyntheticOutliers
    >>> from sklearn_gauss.detection import MahalanobisDetector
    >>> from sklearn_gauss.model_selection import synthetic_defect_scorer
    >>> rng = np.random.default_rng(0)
    >>> normal = rng.normal(size=(100, 5)) @ rng.normal(size=(5, 20))
    >>> normal += 0.1 * rng.normal(size=normal.shape)
    >>> search = GridSearchCV(
    ...     MahalanobisDetector(),
    ...     {"shrinkage": [0.01, 1.0]},
    ...     scoring=synthetic_defect_scorer(SyntheticOutliers()),
    ... ).fit(normal)
    >>> search.best_params_
    {'shrinkage': 0.01}
    """
    if not hasattr(defects, "draw"):
        raise TypeError(
            "defects must have a method draw, as SyntheticDefects() has, got "
            f"{defects!r}."
        )
    return _SyntheticDefectScorer(defects, metric, anomaly_scorer(metric, **options))


class _SyntheticDefectScorer:
    def __init__(self, defects, metric, scorer):
        self._defects = defects
        self._metric = metric
        self._scorer = scorer

    def __call__(self, estimator, X, y=None):
        if y is not None:
            X = take_rows(X, np.flatnonzero(check_labels(y) == 1))
        count = count_rows(X)
        if not count:
            raise ValueError("There is no normal row (y == 1) to draw a defect on.")
        drawn = self._defects.draw(X)["X"]
        labels = np.repeat([1, -1], [count, len(drawn)])
        return self._scorer(estimator, _joined(X, drawn), labels)

    def __repr__(self):
        return f"synthetic_defect_scorer({self._defects!r}, {self._metric!r})"


def _joined(normal, drawn):
    """Normal rows, then drawn ones: like X where they are rows, else a list of images."""
    is_frame = hasattr(normal, "columns")
    if not isinstance(drawn, np.ndarray):
        return [*(normal[normal.columns[0]] if is_frame else normal), *drawn]
    rows = np.concatenate([np.asarray(normal), drawn])
    if not is_frame:
        return rows
    names = "columns" if hasattr(normal, "iloc") else "schema"  # of pandas, or of polars
    return type(normal)(rows, **{names: list(normal.columns)})
