"""The one reading of labels: +1 is a normal row, -1 an anomaly, all else is refused."""

import numpy as np
from sklearn.utils import column_or_1d


def check_labels(y, name="y"):
    """Return the labels as integers, or say which values are not labels.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, 1)
        +1 for a normal row, -1 for an anomaly; integers or floats.
    name : str, default="y"
        What the error message calls the labels.

    Returns
    -------
    labels : ndarray of shape (n_samples,), dtype int64
        A copy that holds +1 and -1 only.

    Raises
    ------
    ValueError
        If a value is neither +1 nor -1, or if the labels are booleans, strings or
        masked: which of two such values is the anomaly cannot be known.

    Examples
    --------
    >>> from sklearn_gauss.model_selection._labels import check_labels
    >>> check_labels([1.0, -1.0, 1.0])
    array([ 1, -1,  1])
    """
    if np.ma.isMaskedArray(y):
        raise ValueError(f"{name} is a masked array: drop the masked rows first.")
    labels = column_or_1d(y)
    if labels.dtype == object:  # a column of a mixed table may hold plain integers
        labels = np.array(labels.tolist())
    if labels.dtype.kind not in "iuf" or not np.isin(labels, (1, -1)).all():
        found = ", ".join(repr(value) for value in _distinct(labels))
        raise ValueError(
            f"{name} must hold +1 for normal rows and -1 for anomalies, got {found}. "
            "Where 1 marks an anomaly, convert with np.where(y == 1, -1, 1); "
            "where 1 marks a normal row, with np.where(y == 1, 1, -1)."
        )
    return labels.astype(np.int64)


def _distinct(labels, at_most=5):
    """Return the first distinct values, in the order in which they appear."""
    found = list(dict.fromkeys(labels.ravel().tolist()))
    return found[:at_most]
