"""The verbs of both splitters."""

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from sklearn_gauss.model_selection._rows import label_rows


class NormalSplitter(BaseCrossValidator):
    """Splits of which the training rows are normal.

    A subclass sets ``n_splits`` and has ``_splits(rows)``, which yields the training and
    the test part of the normal rows and the groups, free of normal rows, to test.
    """

    __metadata_request__split = {"groups": True}  # noqa: RUF012, scikit-learn's way

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored, present for compatibility.

        Returns
        -------
        n_splits : int
            The number of splits.
        """
        return self.n_splits

    def split(self, X, y=None, groups=None):
        """Yield the indices of the training and the test rows of every split.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The data; only their number is used.
        y : array-like of shape (n_samples,), default=None
            +1 for normal rows, -1 for anomalies. None: every row is normal.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group never stand in the training and the test part of a split.

        Yields
        ------
        train : ndarray
            Sorted indices of the training rows, all of them normal.
        test : ndarray
            Sorted indices of the held-out normal rows and the anomalies.
        """
        rows = label_rows(X, y, groups)
        for train, test, loose in self._splits(rows):
            yield rows.assemble(train, test, np.append(loose, rows.groups[test]))
