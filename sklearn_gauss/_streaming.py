"""Estimators of sums over rows, which may arrive in chunks."""

from sklearn_gauss._base import Deferred, check_rows
from sklearn_gauss._numerics.stream import Stream

__all__ = ["StreamingEstimator"]


class StreamingEstimator(Deferred):
    """Keeps the sums over all rows seen, and computes from them when asked.

    A subclass lists the attributes that depend on them in ``_fitted``, and has
    ``_extend(stream, X)`` and ``_settle()``, which sets these attributes.
    """

    def partial_fit(self, X, y=None):
        """Add rows to those seen so far; the result is that of one fit to all of them.

        Rows are kept until there are more of them than features, then their moments up
        to the fourth order. What is estimated from them is computed when next used.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One row or more.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted as soon as the rows seen are not all equal.
        """
        self._validate_params()
        stream = self._unpacked() if "_stream" in vars(self) else None
        X = check_rows(self, X, reset=stream is None)
        self._forget()
        self._remember(self._extend(stream, X))
        self._pending = True
        return self

    def _unpacked(self):
        return Stream.unpack(self._stream)

    def _remember(self, stream):
        self._stream = stream.pack()
        self.n_samples_seen_ = stream.count
