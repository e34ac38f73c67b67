"""K folds of the normal rows, tested on held-out normal rows and on anomalies."""

import numpy as np
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils import check_random_state

from sklearn_gauss.model_selection._splitter import NormalSplitter


class NormalKFold(NormalSplitter):
    """K-fold cross-validation that trains on normal rows only.

    The normal rows are cut into `n_splits` folds. Every split trains on all folds but
    one and tests on that one together with anomalies, which are never trained on.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    anomalies : {"all", "fold"}, default="all"
        Which anomalies a test fold holds: all of them in every fold, or one
        `n_splits`-th of them, so that every row of the data is tested exactly once.
    shuffle : bool, default=False
        Whether to shuffle the rows (or the groups) before they are cut into folds.
        Shuffle rows that are sorted, by kind of defect or by time of day for instance.
    random_state : int, RandomState instance or None, default=None
        Makes the shuffling reproducible. Only used with ``shuffle=True``.

    Raises
    ------
    ValueError
        If a label is neither +1 nor -1, if the normal rows (or their groups) are fewer
        than `n_splits`, or if there are anomalies and a test fold would hold none.

    See Also
    --------
    NormalShuffleSplit : Repeated random splits of the normal rows.
    anomaly_scorer : Scores for these folds that know the sign of the labels.
    sklearn.model_selection.KFold : What this is when every row is normal.

    Notes
    -----
    `split` takes labels `y`, +1 for normal rows and -1 for anomalies; without `y` every
    row is normal. ``anomalies="all"`` is the protocol of [1]_: a small number of
    anomalies is used in full by every fold, whose scores are therefore correlated.
    :func:`~sklearn.model_selection.cross_val_predict` tests every row exactly once and
    needs ``anomalies="fold"``; together with ``method="decision_function"`` it takes
    every `y` for that of a classifier, so pass it the splits and no `y`:
    ``cv=list(NormalKFold(anomalies="fold").split(X, y))``.

    With `groups` (several photographs of one part, say) the normal rows are cut by
    :class:`~sklearn.model_selection.GroupKFold` and the rows of a group never stand on
    both sides: an anomaly whose group is trained on is left out of that test fold, and
    tested where the normal rows of its group are held out.

    A :class:`~sklearn.model_selection.GridSearchCV` refits on *all* rows it was given.
    Use ``refit=False`` and fit ``search.best_params_`` on ``X[y == 1]``. Without
    `scoring` it calls the estimator's own ``score``, a mean over the whole test fold:
    for a search by likelihood pass the normal rows alone.

    References
    ----------
    .. [1] O. Rippel, P. Mertens, D. Merhof, "Modeling the Distribution of Normal Data
       in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.model_selection import NormalKFold
    >>> X = np.zeros((6, 1))
    >>> y = np.array([1, 1, -1, 1, 1, -1])
    >>> for train, test in NormalKFold(n_splits=2).split(X, y):
    ...     print(train, test)
    [3 4] [0 1 2 5]
    [0 1] [2 3 4 5]
    >>> for train, test in NormalKFold(n_splits=2, anomalies="fold").split(X, y):
    ...     print(train, test)
    [3 4] [0 1 2]
    [0 1] [3 4 5]
    """

    def __init__(self, n_splits=5, *, anomalies="all", shuffle=False, random_state=None):
        KFold(n_splits, shuffle=shuffle, random_state=random_state)  # for its checks
        if anomalies not in ("all", "fold"):
            raise ValueError(f"anomalies must be 'all' or 'fold', got {anomalies!r}.")
        self.n_splits = int(n_splits)
        self.anomalies = anomalies
        self.shuffle = shuffle
        self.random_state = random_state

    def _splits(self, rows):
        kfold = (GroupKFold if rows.grouped else KFold)(
            self.n_splits, shuffle=self.shuffle, random_state=self.random_state
        )
        shares = self._loose_shares(rows)
        for (train, test), share in zip(rows.normal_splits(kfold), shares, strict=True):
            yield train, test, share

    def _loose_shares(self, rows):
        """Return for every fold the groups, free of normal rows, that it tests."""
        if self.anomalies == "all":
            return [rows.anomaly_groups] * self.n_splits
        loose = rows.loose_groups
        if self.shuffle:
            loose = check_random_state(self.random_state).permutation(loose)
        return np.array_split(loose, self.n_splits)
