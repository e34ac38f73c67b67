"""ShrinkageCovariance: a Gaussian whose covariance is shrunk towards the identity."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss._base import (
    Interval,
    Real,
    StrOptions,
    check_rows,
    clip_overflow,
    fit_context,
)
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.dense import DenseCovariance
from sklearn_gauss._numerics.density import log_density, squared_mahalanobis
from sklearn_gauss._numerics.gaussian import (
    Gaussian,
    estimate,
    leave_one_out,
)
from sklearn_gauss._numerics.lowrank import LowRankIsotropic
from sklearn_gauss._numerics.stream import extend
from sklearn_gauss._numerics.sums import covariance_matrix
from sklearn_gauss._streaming import StreamingEstimator
from sklearn_gauss.covariance._rank import warn_of_rank

#: Largest p x p array that ``covariance_`` and ``precision_`` allocate: p = 11 585.
MAX_DENSE_BYTES = 2**30


class ShrinkageCovariance(StreamingEstimator, BaseEstimator):
    """Gaussian with a covariance shrunk towards a multiple of the identity.

    The mean and Sigma = (1 - a) S + a m I, with S = (1/n) sum (x - mean)(x - mean)' and
    m = tr(S) / p. With n <= p rows nothing of size p x p is formed: the fit costs
    O(n^2 p), a distance O(n p). Read more in the :ref:`User Guide <gaussian>`.

    Parameters
    ----------
    shrinkage : {"ledoit_wolf", "oas", "rblw", "loo"} or float in [0, 1], \
default="ledoit_wolf"
        The intensity a, or the rule that estimates it: Ledoit and Wolf [1]_, oracle
        approximating shrinkage or Rao-Blackwellised Ledoit-Wolf [2]_ (both assume
        Gaussian rows), or the greatest exact leave-one-out likelihood.
    assume_centered : bool, default=False
        Take the mean to be zero.
    solver : {"auto", "dense", "lowrank"}, default="auto"
        How the covariance is held. "dense" is a p x p factor, "lowrank" principal axes
        plus isotropic noise; "auto" takes "lowrank" where n <= p. Both give the same
        distances. An unshrunk covariance is held as a factor in any case.

    Attributes
    ----------
    location_ : ndarray of shape (n_features,)
        Mean.
    location_low_ : ndarray of shape (n_features,)
        Part of the mean below the precision of ``location_``, in units of ``scale_``,
        which distances subtract as well.
    shrinkage_ : float
        Intensity a.
    rank_ : int
        Number of directions with variance; ``n_features`` if ``shrinkage_`` > 0.
    log_det_ : float
        Log-determinant of the covariance, over those directions.
    components_ : ndarray of shape (n_components, n_features)
        Principal axes, only where the covariance is held as "lowrank".
    excess_variance_ : ndarray of shape (n_components,)
        Variance along them beyond the noise, in units of ``scale_ ** 2``.
    noise_variance_ : float
        Variance in every other direction, in units of ``scale_ ** 2``.
    precision_factor_ : ndarray of shape (n_features, rank)
        F, with precision F F' (for rows divided by ``scale_``), where the covariance is
        held as "dense".
    scale_ : ndarray of shape () or (n_features,)
        Power of two by which rows are divided before anything is squared: 1 but for
        data around 1e-70 or 1e70 and beyond.
    n_samples_seen_ : int
        Number of rows, over all calls of `partial_fit`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    sklearn_gauss.detection.MahalanobisDetector : Detector on top of it.
    sklearn.covariance.LedoitWolf : The same default, in O(n p^2) and p x p arrays.

    Notes
    -----
    Sums, centring and factorisations run in float64 whatever the type of X. Where the
    condition of the covariance is beyond 1e6 it is factored through a singular value
    decomposition of the rows, which does not square it. An unshrunk covariance without
    full rank raises a `RankDeficientWarning`; its Moore-Penrose inverse is used, and
    directions without variance are ignored.

    References
    ----------
    .. [1] O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional
       covariance matrices", Journal of Multivariate Analysis 88 (2004), eq. 14.
    .. [2] Y. Chen, A. Wiesel, Y. C. Eldar and A. O. Hero, "Shrinkage algorithms for MMSE
       covariance estimation", IEEE Trans. Signal Processing 58 (2010), eqs. 17 and 23.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.covariance import ShrinkageCovariance
    >>> X = np.random.default_rng(0).normal(size=(50, 2000))
    >>> model = ShrinkageCovariance().fit(X)
    >>> round(model.shrinkage_, 2)
    0.96
    >>> model.mahalanobis(X[:2]).round()
    array([775., 769.])
    """

    _parameter_constraints: ClassVar[dict] = {
        "shrinkage": [
            StrOptions({"ledoit_wolf", "oas", "rblw", "loo"}),
            Interval(Real, 0, 1, closed="both"),
        ],
        "assume_centered": ["boolean"],
        "solver": [StrOptions({"auto", "dense", "lowrank"})],
    }

    _fitted = (
        "location_",
        "location_low_",
        "scale_",
        "shrinkage_",
        "rank_",
        "log_det_",
        "components_",
        "excess_variance_",
        "noise_variance_",
        "precision_factor_",
    )

    # A detector needs rows of a stream for its calibration and sets this to keep them.
    _keep_rows = False

    def __init__(self, shrinkage="ledoit_wolf", *, assume_centered=False, solver="auto"):
        self.shrinkage = shrinkage
        self.assume_centered = assume_centered
        self.solver = solver

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Estimate mean and covariance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows that are not all equal.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            If X has NaN, infinities, text, fewer than two rows, or no variance.
        """
        self._fit(check_rows(self, X, reset=True, min_rows=2))
        return self

    def mahalanobis(self, X):
        """Squared Mahalanobis distance of every row to the mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to measure.

        Returns
        -------
        squares : ndarray of float64 of shape (n_samples,)
            (x - mean)' Sigma^-1 (x - mean).

        Warns
        -----
        DistanceOverflowWarning
            Where a square exceeds the largest float64: it is clipped to it.
        """
        self._check_is_fitted()
        X = check_rows(self, X, reset=False)
        return clip_overflow(squared_mahalanobis(X, self._centre(), self._operator()))

    def score_samples(self, X):
        """Log-density of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        log_densities : ndarray of float64 of shape (n_samples,)
            -(rank log 2 pi + log-determinant + squared distance) / 2, in nats.
        """
        squares = self.mahalanobis(X)
        return log_density(squares, self.rank_, self.log_det_)

    def score(self, X, y=None):
        """Mean log-density of the rows, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        score : float
            Mean of `score_samples`.
        """
        return float(np.mean(self.score_samples(X)))

    def leave_one_out(self, X):
        """Distances and log-densities of training rows under fits without each of them.

        In closed form: what n refits would give, with the intensity estimated anew
        each time (kept for ``shrinkage="loo"``).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Rows of the fit: all of them, in any order, or some. With n_samples <=
            n_features all of them, in their order.

        Returns
        -------
        squares : ndarray of shape (n_rows,)
            Left-out squared distances; infinite where the covariance of the other rows
            is singular.
        log_densities : ndarray of shape (n_rows,)
            Left-out log-densities, in nats.
        """
        self._check_is_fitted()
        X = check_rows(self, X, reset=False)
        stream = self._unpacked()
        if stream.moments is None and not np.array_equal(X, stream.rows):
            raise ValueError(
                f"X is not the {stream.count} rows of the fit in their order, which are "
                "needed where there are no more rows than features."
            )
        sums = stream.sums(**self._options())
        if len(X) == stream.count:
            sums = replace(sums, rows=X)
        found = leave_one_out(sums, self._gaussian(), self.shrinkage, X)
        return found.squares, found.densities

    def get_precision(self):
        """Precision matrix.

        Returns
        -------
        precision : ndarray of shape (n_features, n_features)
            The (pseudo-)inverse of the covariance.

        Raises
        ------
        MemoryError
            If it would take more than 1 GiB.
        """
        self._check_is_fitted()
        self._check_size()
        scale = np.broadcast_to(self.scale_, self.location_.shape)
        return self._operator().precision() / scale / scale[:, None]

    @property
    def precision_(self):
        """Precision matrix (n_features, n_features), made when asked for."""
        return self.get_precision()

    @property
    def covariance_(self):
        """Covariance matrix (n_features, n_features), made when asked for."""
        self._check_is_fitted()
        self._check_size()
        sums = self._unpacked().sums(**self._options())
        return covariance_matrix(sums, self.shrinkage_)

    def _fit(self, X):
        """Fit to checked rows; the sums and the model, for whoever builds on them."""
        self._forget()
        self.n_features_in_ = X.shape[1]
        stream = self._extend(None, X)
        self._remember(stream)
        sums = replace(stream.sums(**self._options()), rows=X)
        model = self._estimate(sums, X)
        if model is None:
            where = " to zero" if self.assume_centered else ""
            raise ValueError(f"X has no variance: all {len(X)} rows are equal{where}.")
        return sums, model

    def _fit_left_out(self, X):
        """Fit to checked rows and leave each of them out."""
        sums, model = self._fit(X)
        return leave_one_out(sums, model, self.shrinkage, X)

    def _kept_left_out(self):
        """Left-out densities of the rows kept, after `partial_fit`."""
        self._check_is_fitted()
        stream = self._unpacked()
        sums = stream.sums(**self._options())
        return leave_one_out(sums, self._gaussian(), self.shrinkage, stream.rows)

    def _kept_rows(self):
        return self._stream["rows"]

    def _settle(self):
        stream = self._unpacked()
        if stream.count > 1:
            self._estimate(stream.sums(**self._options()), stream.rows)

    def _options(self):
        fixed = not isinstance(self.shrinkage, str)
        return {
            "centred": not self.assume_centered,
            "by_column": fixed and self.shrinkage == 0,
        }

    def _extend(self, stream, X):
        return extend(
            stream,
            X,
            dense=self.solver == "dense",
            keep=self._keep_rows or self.shrinkage == "loo",
            **self._options(),
        )

    def _estimate(self, sums, X):
        """Set the fitted attributes and return the model; None if nothing varies."""
        if not sums.totals.spread.trace > 0:
            return None
        model = estimate(sums, self.shrinkage, solver=self.solver, X=X)
        self.location_, self.location_low_ = model.centre.location
        self.scale_ = model.centre.scale
        self.shrinkage_ = model.shrinkage
        self.rank_ = model.covariance.rank
        self.log_det_ = model.logdet
        if isinstance(model.covariance, LowRankIsotropic):
            self.components_ = model.covariance.axes
            self.excess_variance_ = model.covariance.excess
            self.noise_variance_ = model.covariance.noise
        else:
            self.precision_factor_ = model.covariance.factor
        warn_of_rank(model.covariance)
        return model

    def _operator(self):
        """The covariance operator, in units of ``scale_``, from the stored arrays."""
        if hasattr(self, "precision_factor_"):
            volume = self._centre().log_volume(self.rank_)
            return DenseCovariance(self.precision_factor_, self.log_det_ - 2 * volume)
        return LowRankIsotropic(
            self.components_, self.excess_variance_, self.noise_variance_
        )

    def _centre(self):
        return Frame(self.location_, self.location_low_, self.scale_)

    def _gaussian(self):
        return Gaussian(self._centre(), self._operator(), self.shrinkage_)

    def _check_is_fitted(self):
        if "_stream" in vars(self) and not hasattr(self, "location_"):
            raise NotFittedError(
                f"The {self.n_samples_seen_} rows seen so far have no variance; call "
                "partial_fit with more."
            )
        check_is_fitted(self, "location_")

    def _check_size(self):
        size = 8 * len(self.location_) ** 2
        if size > MAX_DENSE_BYTES:
            raise MemoryError(
                f"A matrix of {len(self.location_)} x {len(self.location_)} would take "
                f"{size / 2**30:.1f} GiB. Use mahalanobis, score_samples or the low-rank "
                "attributes components_, excess_variance_ and noise_variance_."
            )
