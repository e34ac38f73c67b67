"""Figures of merit of a detector, as functions of labels and normality or verdicts.

Labels are +1 (normal) and -1 (anomaly, the class to be found). Normality is what
``decision_function`` and ``score_samples`` return: the higher, the more normal.
Verdicts are what ``predict`` returns: +1 or -1. The higher a figure, the better.
"""

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    precision_recall_curve,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_gauss.model_selection._labels import check_labels


def roc_auc(y_true, normality):
    """Area under the ROC curve: P(anomaly scores below a normal row) + P(tie) / 2."""
    return float(roc_auc_score(*_ranked(y_true, normality)))


def partial_roc_auc(y_true, normality, *, max_fpr=0.1):
    """Area at false-positive rates up to `max_fpr`, scaled so that chance is 0.5."""
    return float(roc_auc_score(*_ranked(y_true, normality), max_fpr=max_fpr))


def average_precision(y_true, normality):
    """Mean precision over the recalls, anomalies being the positive class."""
    return float(average_precision_score(*_ranked(y_true, normality)))


def tpr_at_fpr(y_true, normality, *, fpr=0.05):
    """Best recall of anomalies over the thresholds with a measured FPR <= `fpr`."""
    rate, recall, _ = roc_curve(*_ranked(y_true, normality), drop_intermediate=False)
    return float(recall[rate <= fpr].max())


def f1_max(y_true, normality):
    """Best F1 score of the anomalies over all thresholds."""
    precision, recall, _ = precision_recall_curve(*_ranked(y_true, normality))
    hit = recall > 0  # without a hit F1 is 0, and 0 / 0 in the formula
    precision, recall = precision[hit], recall[hit]
    return float((2 * precision * recall / (precision + recall)).max())


def recall(y_true, verdict):
    """Share of the anomalies that the detector flags."""
    return float(recall_score(*_verdicts(y_true, verdict), pos_label=-1))


def balanced_accuracy(y_true, verdict):
    """Mean of the share of anomalies flagged and of normal rows passed."""
    return float(balanced_accuracy_score(*_verdicts(y_true, verdict)))


def neg_fpr_error(y_true, verdict, *, target_fpr):
    """Minus the distance of the measured false-positive rate from its target."""
    labels, verdict = _checked_verdicts(y_true, verdict)
    if not np.any(labels == 1):
        raise ValueError("A false-positive rate needs normal rows (+1), y holds none.")
    return -abs(float(np.mean(verdict[labels == 1] == -1)) - target_fpr)


def _ranked(y_true, normality):
    """Return who is an anomaly, and dense ranks that grow with anomaly.

    Only the order of the scores counts. Ranks keep it exactly, infinities included.
    """
    labels = _labels_of_both_kinds(y_true)
    normality = column_or_1d(normality, dtype=np.float64)
    check_consistent_length(labels, normality)
    if np.isnan(normality).any():
        raise ValueError(
            f"{np.isnan(normality).sum()} of {len(normality)} scores are NaN."
        )
    return labels == -1, rankdata(-normality, method="dense")


def _verdicts(y_true, verdict):
    _labels_of_both_kinds(y_true)
    return _checked_verdicts(y_true, verdict)


def _checked_verdicts(y_true, verdict):
    labels, verdict = check_labels(y_true), check_labels(verdict, "The prediction")
    check_consistent_length(labels, verdict)
    return labels, verdict


def _labels_of_both_kinds(y_true):
    labels = check_labels(y_true)
    if len(np.unique(labels)) < 2:
        held = f"only {labels[0]:+d}" if len(labels) else "no row"
        raise ValueError(
            "The score needs normal rows (+1) and anomalies (-1), y holds "
            f"{held}. In a cross-validation use folds that hold both, such as "
            "cv=NormalKFold()."
        )
    return labels
