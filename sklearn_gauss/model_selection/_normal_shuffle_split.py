"""Random splits of the normal rows, tested on held-out rows and on anomalies."""

from math import ceil
from numbers import Integral

from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.utils import check_random_state, check_scalar

from sklearn_gauss.model_selection._splitter import NormalSplitter


class NormalShuffleSplit(NormalSplitter):
    """Repeated random splits that train on normal rows only.

    Every split draws training and test rows among the normal rows anew, and tests on
    anomalies as well, which are never trained on.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits.
    anomalies : {"all", "share"}, default="all"
        Which anomalies a split tests: all of them, or a random share of them, as large
        as the share of normal rows that the split holds out (at least one).
    test_size : float or int, default=None
        Normal rows to test on: a proportion of them, or a number. With groups it
        counts the groups that hold normal rows. None: the complement of `train_size`,
        or scikit-learn's default, which is 0.1 of the rows and 0.2 of the groups.
    train_size : float or int, default=None
        Normal rows to train on, in the same way. None: the complement of `test_size`.
    random_state : int, RandomState instance or None, default=None
        An integer makes every call of `split` return the same splits.

    Raises
    ------
    ValueError
        If a label is neither +1 nor -1, if the normal rows (or their groups) are too
        few for the sizes, or if there are anomalies and a split would test none.

    See Also
    --------
    NormalKFold : Tests every normal row exactly once.
    anomaly_scorer : Scores for these splits that know the sign of the labels.
    sklearn.model_selection.ShuffleSplit : What this is when every row is normal.

    Notes
    -----
    `split` takes labels `y`, +1 for normal rows and -1 for anomalies; without `y` every
    row is normal.

    With `groups` the normal rows are split by
    :class:`~sklearn.model_selection.GroupShuffleSplit` and the rows of a group never
    stand on both sides: an anomaly whose group is trained on is not tested. A "share"
    then holds the anomalies of the groups that are tested anyway, and a random share of
    the groups that hold anomalies only.

    The notes of :class:`NormalKFold` on searches apply here too.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.model_selection import NormalShuffleSplit
    >>> X = np.zeros((6, 1))
    >>> y = np.array([1, 1, -1, 1, 1, -1])
    >>> splitter = NormalShuffleSplit(n_splits=2, test_size=0.5, random_state=0)
    >>> for train, test in splitter.split(X, y):
    ...     print(train, test)
    [0 1] [2 3 4 5]
    [1 4] [0 2 3 5]
    """

    def __init__(
        self,
        n_splits=10,
        *,
        anomalies="all",
        test_size=None,
        train_size=None,
        random_state=None,
    ):
        check_scalar(n_splits, "n_splits", Integral, min_val=1)
        if anomalies not in ("all", "share"):
            raise ValueError(f"anomalies must be 'all' or 'share', got {anomalies!r}.")
        self.n_splits = int(n_splits)
        self.anomalies = anomalies
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state

    def _splits(self, rows):
        shuffle_split = (GroupShuffleSplit if rows.grouped else ShuffleSplit)(
            self.n_splits,
            test_size=self.test_size,
            train_size=self.train_size,
            random_state=self.random_state,
        )
        random = check_random_state(self.random_state)
        for train, test in rows.normal_splits(shuffle_split):
            share = self._loose_share(rows, len(test) / len(rows.normals), random)
            yield train, test, share

    def _loose_share(self, rows, proportion, random):
        """Return the groups, free of normal rows, that a split tests."""
        if self.anomalies == "all":
            return rows.anomaly_groups
        loose = rows.loose_groups
        return random.permutation(loose)[: ceil(proportion * len(loose))]
