"""What both splitters share: rows by label and group, and one split put together."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_array, column_or_1d, indexable

from sklearn_gauss.model_selection._labels import check_labels


@dataclass(frozen=True)
class LabelledRows:
    """The rows of a data set by label and group.

    Attributes
    ----------
    normals : ndarray of shape (n_normals,)
        Indices of the normal rows, sorted.
    anomalies : ndarray of shape (n_anomalies,)
        Indices of the anomalies, sorted.
    groups : ndarray of shape (n_rows,)
        The group of every row, as an integer. Without groups every row is its own.
    grouped : bool
        Whether the groups were given.
    """

    normals: np.ndarray
    anomalies: np.ndarray
    groups: np.ndarray
    grouped: bool

    @property
    def anomaly_groups(self):
        """Groups that hold an anomaly."""
        return np.unique(self.groups[self.anomalies])

    @property
    def loose_groups(self):
        """Groups that hold anomalies and no normal row: free to stand in any fold."""
        return np.setdiff1d(self.anomaly_groups, self.groups[self.normals])

    def normal_splits(self, splitter):
        """Yield the training and test rows of the normal rows."""
        groups = self.groups[self.normals] if self.grouped else None
        try:
            for train, test in splitter.split(self.normals, groups=groups):
                yield np.sort(self.normals[train]), np.sort(self.normals[test])
        except ValueError as error:
            raise ValueError(
                f"Cannot split the {len(self.normals)} normal rows (y == 1): {error}"
            ) from error

    def assemble(self, train, test, tested_groups):
        """Add to a split of the normal rows the anomalies of the tested groups.

        Anomalies of a group that is trained on are left out.
        """
        groups = self.groups[self.anomalies]
        tested = np.isin(groups, tested_groups) & ~np.isin(groups, self.groups[train])
        if len(groups) and not tested.any():
            raise ValueError(
                f"A test fold would hold none of the {len(groups)} anomalies (y == -1)"
                + (", whose groups it trains on or tests elsewhere" * self.grouped)
                + ": use anomalies='all', fewer folds, a larger test part, or pass the "
                "normal rows alone."
            )
        return train, np.sort(np.concatenate([test, self.anomalies[tested]]))


def label_rows(X, y=None, groups=None):
    """Return the `LabelledRows` of X; without labels every row is normal."""
    X, y, groups = indexable(X, y, groups)
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    labels = np.ones(n_rows) if y is None else check_labels(y)
    if not np.any(labels == 1):
        raise ValueError(
            f"None of the {n_rows} rows is normal (y == 1): there is nothing to train on."
        )
    return LabelledRows(
        normals=np.flatnonzero(labels == 1),
        anomalies=np.flatnonzero(labels == -1),
        groups=np.arange(n_rows) if groups is None else _as_integers(groups),
        grouped=groups is not None,
    )


def _as_integers(groups):
    groups = check_array(
        column_or_1d(groups), ensure_2d=False, dtype=None, input_name="groups"
    )
    return np.unique(groups, return_inverse=True)[1]
