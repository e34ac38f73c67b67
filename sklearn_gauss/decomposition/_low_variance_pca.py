"""LowVariancePCA: principal components of small variance, where anomalies show."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    check_rows,
    fit_context,
)
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.spectrum import with_null_axes
from sklearn_gauss._numerics.stream import extend
from sklearn_gauss._numerics.sums import principal_axes
from sklearn_gauss._streaming import StreamingEstimator

_SUMS = {"centred": True, "by_column": False}


class LowVariancePCA(
    StreamingEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Principal components that carry the last (or first) share of the variance.

    Anomalies deviate where normal rows hardly vary, so the components of small variance
    are worth more than those of large variance that PCA keeps: the "negated PCA" of
    Rippel et al. [1]_. Read more in the :ref:`User Guide <low_variance>`.

    Parameters
    ----------
    variance : float in (0, 1], default=0.01
        Share of the variance that the kept components carry: the last 1 % by default.
    n_components : int, default=None
        Number of components to keep, instead of a share.
    keep : {"low", "high"}, default="low"
        Components of least variance, or those of most, as scikit-learn's PCA (which
        makes ``variance=0.99`` a sensible choice).
    drop_null : bool, default=True
        Drop components without any variance, of which n <= p rows always leave one.
        False keeps min(n_samples, n_features) components, as scikit-learn's PCA does.
    boundary : {"paper", "strict"}, default="paper"
        With component i the first at which the cumulative share exceeds the threshold
        (1 - ``variance``, or ``variance`` for "high"): PCA keeps components up to i.
        The paper's reduction keeps i - 1 and all after it, so that the share lies
        between; "strict" only those after i, which carry less than ``variance`` and
        are the complement of what PCA keeps. One component is always kept.
    whiten : bool, default=False
        Scale the outputs to unit variance.

    Attributes
    ----------
    components_ : ndarray of shape (n_components_, n_features)
        Kept axes by decreasing variance, each with its largest entry positive.
    explained_variance_ : ndarray of shape (n_components_,)
        Variance of the training rows along them, with n - 1 as divisor.
    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Its share of the total.
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows.
    mean_low_ : ndarray of shape (n_features,)
        Part of the mean below the precision of ``mean_``, in units of ``scale_``,
        subtracted as well.
    scale_ : ndarray of shape ()
        Power of two by which rows are divided before anything is squared: 1 but for
        data around 1e-70 or 1e70 and beyond.
    n_components_ : int
        Number of kept components.
    n_samples_seen_ : int
        Number of rows, over all calls of `partial_fit`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    sklearn.decomposition.PCA : Components of large variance.
    sklearn_gauss.detection.MahalanobisDetector : What usually comes behind it.

    Notes
    -----
    With n <= p rows the axes come from the n x n Gram matrix, in O(n^2 p). Where the
    smallest variance is below 1e-6 of the largest, a singular value decomposition of
    the rows takes over, since products of rows have lost its digits.

    References
    ----------
    .. [1] O. Rippel, P. Mertens and D. Merhof, "Modeling the Distribution of Normal Data
       in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020, section III-C.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.decomposition import LowVariancePCA
    >>> X = np.random.default_rng(0).normal(size=(200, 4)) * [10, 3, 1, 0.1]
    >>> pca = LowVariancePCA(variance=0.02).fit(X)
    >>> pca.n_components_, pca.explained_variance_.round(2)
    (4, array([9.516e+01, 8.100e+00, 1.060e+00, 1.000e-02]))
    >>> LowVariancePCA(variance=0.02, boundary="strict").fit_transform(X).shape
    (200, 2)
    """

    _parameter_constraints: ClassVar[dict] = {
        "variance": [Interval(Real, 0, 1, closed="right")],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "keep": [StrOptions({"low", "high"})],
        "drop_null": ["boolean"],
        "boundary": [StrOptions({"paper", "strict"})],
        "whiten": ["boolean"],
    }

    _fitted = (
        "mean_",
        "mean_low_",
        "scale_",
        "components_",
        "explained_variance_",
        "explained_variance_ratio_",
        "n_components_",
    )

    def __init__(
        self,
        variance=0.01,
        *,
        n_components=None,
        keep="low",
        drop_null=True,
        boundary="paper",
        whiten=False,
    ):
        self.variance = variance
        self.n_components = n_components
        self.keep = keep
        self.drop_null = drop_null
        self.boundary = boundary
        self.whiten = whiten

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find the principal components and choose among them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows that are not all equal, normal ones.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted transformer.

        Raises
        ------
        ValueError
            If X has NaN, infinities, text, fewer than two rows or no variance, or has
            fewer components than ``n_components``.
        """
        X = check_rows(self, X, reset=True, min_rows=2)
        self._forget()
        stream = self._extend(None, X)
        self._remember(stream)
        if not self._choose(replace(stream.sums(**_SUMS), rows=X)):
            raise ValueError(f"X has no variance: all {len(X)} rows are equal.")
        return self

    def transform(self, X):
        """Coordinates of rows along the kept components.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to project.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            float32 for float32 rows, float64 otherwise.
        """
        check_is_fitted(self, "components_")
        X = check_rows(self, X, reset=False)
        centre = Frame(self.mean_, self.mean_low_, self.scale_)
        coordinates = (centre.enter(X) @ self.components_.T) * self.scale_
        if self.whiten:
            coordinates /= np.sqrt(self.explained_variance_)
        return coordinates.astype(X.dtype, copy=False)

    def inverse_transform(self, X):
        """Rows with given coordinates, the mean in all components that were not kept.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Coordinates.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Rows in the space of ``fit``.
        """
        check_is_fitted(self, "components_")
        X = check_array(X, dtype=[np.float64, np.float32], input_name="X")
        if X.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {X.shape[1]} columns, but there are {self.n_components_} "
                "components."
            )
        coordinates = X * np.sqrt(self.explained_variance_) if self.whiten else X
        rows = coordinates @ self.components_ + (
            self.mean_ + self.mean_low_ * self.scale_
        )
        return rows.astype(X.dtype, copy=False)

    @property
    def _n_features_out(self):
        return self.n_components_

    def _extend(self, stream, X):
        return extend(stream, X, dense=False, keep=False, **_SUMS)

    def _settle(self):
        stream = self._unpacked()
        if stream.count > 1:
            self._choose(stream.sums(**_SUMS))

    def _choose(self, sums):
        """Set the fitted attributes; whether the rows have any variance."""
        total, count = sums.totals.spread.trace * sums.totals.count, sums.totals.count
        if not total > 0:
            return False
        squares, axes = self._kept_axes(sums, total)
        centre = sums.centre
        with np.errstate(over="ignore"):
            variances = squares / (count - 1) * centre.scale**2
        if not np.all(np.isfinite(variances) & ((variances > 0) | (squares == 0))):
            raise ValueError(
                "The variances of X are outside of float64's range; rescale X, for "
                f"instance by 1 / {np.abs(centre.scale):.1e}."
            )
        self.mean_, self.mean_low_ = centre.location
        self.scale_ = centre.scale
        largest = np.abs(axes).argmax(axis=1)
        signs = np.sign(np.take_along_axis(axes, largest[:, None], axis=1))
        self.components_ = axes * signs
        self.explained_variance_ = variances
        self.explained_variance_ratio_ = squares / total
        self.n_components_ = len(self.components_)
        if self.whiten and not self.explained_variance_.min() > 0:
            raise ValueError(
                "whiten=True cannot scale components without variance; use "
                "drop_null=True."
            )
        return True

    def _kept_axes(self, sums, total):
        """Sums of squares along the kept axes, and the axes."""
        if self.drop_null:
            spectrum = principal_axes(sums, choose=lambda s: self._kept(s / total))
            return spectrum.squares, spectrum.axes
        spectrum = principal_axes(sums)
        count = min(sums.totals.count, sums.totals.n_features)
        squares, axes = with_null_axes(spectrum.squares, spectrum.axes, count)
        kept = self._kept(squares / total)
        return squares[kept], axes[kept]

    def _kept(self, ratio):
        """Slice of the components, which are sorted by decreasing share of variance."""
        if self.n_components is not None:
            if self.n_components > len(ratio):
                raise ValueError(
                    f"n_components={self.n_components} is more than the {len(ratio)} "
                    "components of X."
                )
            low = self.keep == "low"
            return slice(-self.n_components, None) if low else slice(self.n_components)
        return components_by_share(ratio, self.variance, self.keep, self.boundary)


def components_by_share(ratio, variance, keep, boundary):
    """Slice of the components that carry the last or first share of the variance.

    With c the cumulative ``ratio`` and i the first index with c_i > t: components up to
    i for "high" (t = variance); for "low" (t = 1 - variance) those from i - 1 on, or
    after i if "strict". Compared as tails, 1 - c_i < 1 - t, which keep their digits.

    Parameters
    ----------
    ratio : ndarray of shape (n_components,)
        Shares of the variance in decreasing order.
    variance : float in (0, 1]
        Share to keep.
    keep : {"low", "high"}
        Which end.
    boundary : {"paper", "strict"}
        Rule at the boundary.

    Returns
    -------
    kept : slice
        Never empty.
    """
    tails = np.append(np.cumsum(ratio[::-1])[::-1][1:], 0.0)
    beyond = np.flatnonzero(tails < (variance if keep == "low" else 1 - variance))
    last = len(ratio) - 1
    i = int(beyond[0]) if len(beyond) else last
    if keep == "high":
        return slice(i + 1)
    return slice(max(i - 1, 0) if boundary == "paper" else min(i + 1, last), None)
