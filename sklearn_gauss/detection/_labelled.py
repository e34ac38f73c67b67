"""Labelled rows: the normal ones, and distinct anomalies with what they are parts of."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_gauss.detection._examples import find_labels

__all__ = ["normal_or_not", "split_labelled"]

#: Fewest normal rows.
LEAST_NORMAL = 3


def split_labelled(X, y=None, groups=None):
    """Normal rows, and sorted anomalies without copies.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Checked rows.
    y : array-like of shape (n_samples,), default=None
        +1 for normal rows and -1 for anomalies; all are normal where it has no labels.
    groups : array-like of shape (n_samples,), default=None
        Rows of a group are of one object.

    Returns
    -------
    normal : ndarray of shape (n_normal, n_features)
    anomalies : ndarray of shape (k, n_features)
    parts : ndarray of int of shape (k,)
        Same for anomalies of a group, or of groups that share a copy; from 0 on.

    Raises
    ------
    ValueError
        If lengths differ, normal rows are fewer than three, or ``y`` has values beside
        labels of both kinds.
    """
    for given in (y, groups):
        check_consistent_length(X, given)
    labels = normal_or_not(X, y)
    count = int((labels == 1).sum())
    if count < LEAST_NORMAL:
        raise ValueError(
            f"X has {count} sample(s) of normal rows, but a minimum of {LEAST_NORMAL} "
            "is required: two are left when one is left out."
        )
    odd = labels != 1
    groups = np.arange(len(X)) if groups is None else column_or_1d(groups)
    if groups.dtype.kind == "O" and any(group is None for group in groups[odd]):
        raise ValueError("groups has None for an anomaly: every anomaly needs a group.")
    return X[~odd], *_distinct(X[odd], groups[odd])


def normal_or_not(X, y):
    """Labels (n,), +1 of every row where y has none."""
    found = find_labels(X, y)
    if found is not None or y is None:
        return np.ones(len(X)) if found is None else found
    values = set(np.asarray(y).astype(str).reshape(-1).tolist())
    if values <= {"-1", "-1.0"}:
        raise ValueError("y has no label +1: normal rows are needed.")
    others = sorted(values - {"-1", "-1.0", "1", "1.0"})
    if others and values & {"-1", "-1.0"} and values & {"1", "1.0"}:
        raise ValueError(
            f"y has {others[0]!r} beside the labels +1 and -1: leave out rows that have "
            "no label."
        )
    return np.ones(len(X))


def _distinct(rows, groups):
    """Sorted rows without copies, and their parts: of one where copies or groups meet."""
    distinct, places = np.unique(rows, axis=0, return_inverse=True)
    if not len(rows):
        return distinct, np.empty(0, dtype=int)
    nodes = len(distinct) + np.unique(groups, return_inverse=True)[1]
    edges = (np.ones(len(rows)), (places.reshape(-1), nodes))
    graph = coo_array(edges, shape=(nodes.max() + 1,) * 2)
    parts = connected_components(graph, directed=False)[1]
    return distinct, parts[: len(distinct)]
