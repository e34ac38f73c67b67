"""ScoreNorms: lengths of the score of the normal rows' density, at several scales."""

import warnings
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    callers_level,
    check_rows,
    fit_context,
)
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.score_norms import (
    RANGES,
    SmoothedGaussian,
    fit_gaussian,
    geometric_scales,
    kernel_norms,
    left_out_norms,
)
from sklearn_gauss._numerics.shrinkage import INTENSITIES
from sklearn_gauss._numerics.sums import summarise
from sklearn_gauss.exceptions import DistanceOverflowWarning


class ScoreNorms(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Lengths of the score of the normal rows' density, smoothed at several scales.

    Feature i of a row x is sigma_i |grad log p_i(x)|, where p_i is the density of the
    training rows convolved with N(0, sigma_i^2 I): how far, in units of sigma_i, the row
    would be moved by denoising it at that scale. A mixture of Gaussians behind them makes
    the detector of MSMA [1]_, here without any network to be trained: the score is that
    of a Gaussian, or of a kernel density, of the rows. Read more in the
    :ref:`User Guide <score_norms>`.

    Parameters
    ----------
    n_scales : int, default=10
        Number of scales, where these are not given.
    scales : "auto" or array-like of shape (n_scales,), default="auto"
        The sigma_i, in the units of the data. "auto" takes them in a constant ratio from
        the root of the least eigenvalue of the shrunk covariance (of the least positive
        one, without shrinkage) to that of the largest; over a factor of 10 about their
        middle where these are closer. A single one is that middle. Of kernels the least
        is the critical bandwidth of Gaussian rows with these eigenvalues (``h_g`` of
        `~sklearn_gauss.detection.KDEDetector`): below, the nearest row alone decides,
        and all features say the same.
    density : {"gaussian", "kde"}, default="gaussian"
        Density of the training rows: a shrunk Gaussian, sigma |(Sigma + sigma^2 I)^-1
        (x - mean)|, or the rows themselves, whose convolution is the kernel density of
        bandwidth sigma: |sum_j w_j y_j - x| / sigma with the weights w_j of the kernels.
    shrinkage : {"ledoit_wolf", "oas", "rblw", "loo"} or float in [0, 1], \
default="ledoit_wolf"
        Intensity of the Gaussian's shrinkage, as for
        `~sklearn_gauss.covariance.ShrinkageCovariance`. With ``density="kde"`` it serves
        the scales only.

    Attributes
    ----------
    scales_ : ndarray of shape (n_scales,)
        The sigma_i.
    shrinkage_ : float
        Intensity of shrinkage.
    location_ : ndarray of shape (n_features,)
        Mean of the training rows.
    location_low_ : ndarray of shape (n_features,)
        Part of the mean below the precision of ``location_``, in units of ``scale_``.
    scale_ : ndarray of shape ()
        Power of two by which rows are divided before anything is squared: 1 but for
        data around 1e-70 or 1e70 and beyond.
    components_ : ndarray of shape (k, n_features)
        Principal axes of the training rows.
    excess_variance_ : ndarray of shape (k,)
        Variance along them beyond ``noise_variance_``, in squared units of ``scale_``.
    noise_variance_ : float
        Variance that shrinkage adds in every direction.
    reference_ : ndarray of shape (n_samples, n_features)
        Training rows; only with ``density="kde"``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    sklearn.mixture.GaussianMixture : What usually comes behind it.
    sklearn_gauss.detection.CalibratedDetector : Sets the threshold of the whole.

    Notes
    -----
    A training row lies nearer to a density that it is part of than any row to come, so
    features of the two would follow different laws. ``fit_transform``, which a Pipeline
    calls, therefore gives every training row its features under the density of the
    *others*: of a Gaussian in closed form, exactly what n refits would give at the same
    scales (the intensity "loo" is kept), of a kernel density without the row's own
    kernel. ``fit(X).transform(X)`` treats them as new rows.

    A Gaussian costs one decomposition, O(n p min(n, p)), and O(p k) a row and O(k) more a
    scale; left-out features O(n k) a scale. No p x p array is made where n <= p. Kernels
    cost O(n p) a row and scale.

    References
    ----------
    .. [1] A. Mahmood, J. Oliva and M. Styner, "Multiscale Score Matching for
       Out-of-Distribution Detection", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.residual import ScoreNorms
    >>> X = np.random.default_rng(0).normal(size=(200, 3)) * [1, 2, 10]
    >>> norms = ScoreNorms(n_scales=3).fit(X)
    >>> norms.scales_.round(2)
    array([ 1.09,  3.45, 10.9 ])
    >>> norms.transform([[0, 0, 20], [5, 0, 0]]).round(1)
    array([[0.3, 0.7, 1. ],
           [2.1, 1.3, 0.5]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_scales": [Interval(Integral, 1, None, closed="left")],
        "scales": [StrOptions({"auto"}), "array-like"],
        "density": [StrOptions({"gaussian", "kde"})],
        "shrinkage": [
            StrOptions({*INTENSITIES, "loo"}),
            Interval(Real, 0, 1, closed="both"),
        ],
    }

    def __init__(
        self, n_scales=10, *, scales="auto", density="gaussian", shrinkage="ledoit_wolf"
    ):
        self.n_scales = n_scales
        self.scales = scales
        self.density = density
        self.shrinkage = shrinkage

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Estimate the density of normal rows, and choose the scales.

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
            If X has NaN, infinities, text, fewer than two rows or no variance, or
            ``scales`` are not positive numbers.
        """
        self._fit(X)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None):
        """Fit, and give every row its features under the density of the other rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows, as for ``fit``.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        norms : ndarray of shape (n_samples, n_scales)
            Left-out features, which follow the law of those of unseen rows; not those of
            ``transform(X)``.
        """
        X, sums, spectrum = self._fit(X)
        if self.density == "kde":
            norms = kernel_norms(X, X, self._centre(), self.scales_, left_out=True)
        else:
            norms = left_out_norms(
                sums, spectrum, self.shrinkage, self.shrinkage_, self.scales_
            )
        return _finished(norms, X.dtype)

    def transform(self, X):
        """Features of rows, as of new ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        norms : ndarray of shape (n_samples, n_scales)
            sigma_i |grad log p_i(x)|, without a unit; float32 for float32 rows, float64
            otherwise.

        Warns
        -----
        DistanceOverflowWarning
            Where one exceeds the largest number of its type: it is clipped to it.
        """
        check_is_fitted(self, "scales_")
        X = check_rows(self, X, reset=False)
        if hasattr(self, "reference_"):
            norms = kernel_norms(X, self.reference_, self._centre(), self.scales_)
        else:
            norms = self._gaussian().norms(X, self.scales_)
        return _finished(norms, X.dtype)

    @property
    def _n_features_out(self):
        return len(self.scales_)

    def _fit(self, X):
        """Set the fitted attributes; the rows, their sums and their spectrum."""
        X = check_rows(self, X, reset=True, min_rows=2)
        sums = summarise(X, centred=True, dense=False, by_column=False)
        if not sums.totals.spread.trace > 0:
            raise ValueError(f"X has no variance: all {len(X)} rows are equal.")
        model, self.shrinkage_, spectrum = fit_gaussian(sums, self.shrinkage, X)
        self.scales_ = self._chosen_scales(model, len(X))
        self.location_, self.location_low_ = model.centre.location
        self.scale_ = model.centre.scale
        self.components_, self.excess_variance_ = model.axes, model.excess
        self.noise_variance_ = model.noise
        vars(self).pop("reference_", None)
        if self.density == "kde":
            self.reference_ = X.copy()
        return X, sums, spectrum

    def _chosen_scales(self, model, n_samples):
        if isinstance(self.scales, str):
            ends = RANGES[self.density](model.variances, n_samples)
            return geometric_scales(*ends, self.n_scales) * model.centre.scale
        scales = check_array(
            self.scales,
            dtype=np.float64,
            ensure_2d=False,
            ensure_min_samples=0,
            input_name="scales",
        )
        if scales.ndim != 1 or not len(scales) or not (scales > 0).all():
            raise ValueError(
                "scales must be a list of positive numbers, one at least, got "
                f"{self.scales!r}."
            )
        return scales.copy()

    def _centre(self):
        return Frame(self.location_, self.location_low_, self.scale_)

    def _gaussian(self):
        return SmoothedGaussian(
            self._centre(), self.components_, self.excess_variance_, self.noise_variance_
        )


def _finished(norms, dtype):
    """Features in the type of the rows, the infinite ones clipped to its largest."""
    largest = np.finfo(dtype).max
    far = ~(norms <= largest)
    if far.any():
        warnings.warn(
            f"{far.any(axis=1).sum()} rows have features beyond the largest {dtype}; "
            "they were clipped.",
            DistanceOverflowWarning,
            stacklevel=callers_level(),
        )
        norms = np.where(far, largest, norms)
    return norms.astype(dtype, copy=False)
