"""Greatest F1 score of whole images, or rows."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_gauss.metrics._thresholds import best_f1, find_thresholds
from sklearn_gauss.model_selection._labels import check_labels


def f1_max_score(y_true, scores, *, return_threshold=False):
    r"""Greatest F1 score of the anomalies over all thresholds.

    With the rows at or below a threshold t flagged, and anomalies the class found,

    .. math:: F_1 = \max_t \frac{2\,TP(t)}{2\,TP(t) + FP(t) + FN(t)}.

    See :ref:`localisation_metrics`.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        +1 for normal rows (or images), -1 for anomalies. Both must occur.
    scores : array-like of shape (n,)
        From ``score_samples`` or ``decision_function``, in any unit: the higher, the
        more **normal**. Infinities are allowed.
    return_threshold : bool, default=False
        Whether to return the threshold too.

    Returns
    -------
    score : float
        In (0, 1]; 1 is perfect. Constant scores give 2 s / (1 + s), where s is the
        share of anomalies.
    threshold : float
        Only if `return_threshold`: ``scores <= threshold`` attains the score. Of
        several such values the lowest that an anomaly has.

    Raises
    ------
    ValueError
        If labels are other than +1 and -1, if either is missing, if a score is NaN or
        masked, or if the lengths differ.

    See Also
    --------
    pixel_f1_max_score : The same for pixels; in maps high values mark anomalies.
    sklearn_gauss.model_selection.anomaly_scorer : As "f1_max", for searches.

    Notes
    -----
    The threshold is chosen with the labels in view, so that the score is what the best
    choice would give and no working point. It also grows with the share of anomalies:
    compare scores of the same rows only.

    Examples
    --------
    >>> from sklearn_gauss.metrics import f1_max_score
    >>> y_true = [1, 1, 1, 1, -1, -1]
    >>> scores = [0.2, -1.0, 0.4, -0.1, -0.3, -2.0]
    >>> f1_max_score(y_true, scores, return_threshold=True)
    (0.8, -0.3)
    """
    labels = check_labels(y_true, "y_true")
    scores = _check_scores(scores)
    check_consistent_length(labels, scores)
    for label, kind in ((1, "normal row (+1)"), (-1, "anomaly (-1)")):
        if label not in labels:
            raise ValueError(f"y_true holds no {kind}, and F1 needs both kinds.")
    score, threshold = best_f1(
        find_thresholds(-scores[labels == -1], -scores[labels == 1])
    )
    return (score, -threshold) if return_threshold else score


def _check_scores(scores):
    if np.ma.isMaskedArray(scores):
        raise ValueError("scores is a masked array: drop the masked rows first.")
    scores = column_or_1d(scores, dtype=np.float64)
    is_nan = np.isnan(scores)
    if is_nan.any():
        raise ValueError(
            f"scores hold {is_nan.sum()} NaN among {len(scores)}, the first at "
            f"{is_nan.argmax()}."
        )
    return scores
