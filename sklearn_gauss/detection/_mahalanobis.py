"""MahalanobisDetector: a Gaussian of normal rows, and what is improbable under it."""

import warnings
from typing import ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import available_if

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    HasMethods,
    Interval,
    Real,
    StrOptions,
    callers_level,
    check_rows,
    clip_overflow,
    fit_context,
)
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.dense import DenseCovariance, from_precision
from sklearn_gauss._numerics.density import squared_mahalanobis
from sklearn_gauss._numerics.gaussian import Gaussian
from sklearn_gauss._numerics.leave_one_out import LeftOut
from sklearn_gauss._numerics.tails import fit_tail, student_log_density, student_pull
from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.covariance._rank import warn_of_rank
from sklearn_gauss.detection._explaining import ranked
from sklearn_gauss.detection._laws import THRESHOLDS
from sklearn_gauss.detection._levels import find_levels, sums_by_level
from sklearn_gauss.detection._trimming import rows_to_fit
from sklearn_gauss.exceptions import CalibrationWarning


def _foreign(covariance, operator):
    """Gaussian of a covariance estimator that is not the package's own."""
    location = np.asarray(covariance.location_, dtype=np.float64)
    centre = Frame(location, np.zeros_like(location), np.array(1.0))
    return Gaussian(centre, operator, 0.0)


class MahalanobisDetector(BaseDetector):
    """Anomalies by the Mahalanobis distance to a Gaussian of normal rows.

    A row's score is its log-density, -(p log 2 pi + log det Sigma + M^2) / 2 with
    M^2 = (x - mean)' Sigma^-1 (x - mean); the threshold keeps the false-positive rate
    ``target_fpr`` on unseen normal rows, also where there are fewer rows than features.
    This is the detector of Rippel et al. [1]_. Read more in the
    :ref:`User Guide <gaussian>`.

    Parameters
    ----------
    covariance : covariance estimator or None, default=None
        Anything with ``fit``, ``location_`` and ``get_precision()``, as those of
        ``sklearn.covariance``; it is cloned. None is
        ``ShrinkageCovariance(shrinkage)``.
    shrinkage : {"ledoit_wolf", "oas", "rblw", "loo"} or float in [0, 1], \
default="ledoit_wolf"
        Passed to `ShrinkageCovariance`; without effect where ``covariance`` is given.
    tail : {"gaussian", "student"}, default="gaussian"
        The law of the distance. "student" has heavy tails: its degrees of freedom and
        scale are those of the greatest left-out likelihood. Rows keep their order and
        their verdicts; log-densities become honest where rows are no Gaussian's.
    trim : "auto", float in (0, 0.5) or None, default=None
        What to do about anomalies among the rows of ``fit`` that nobody has marked.
        None fits to all rows. "auto" leaves out those that stand clear of the others,
        40 % at most: not for rows of several kinds, of which it takes the rarer ones for
        anomalies. A number leaves out that share, the farthest from a clean core; the
        false-positive rate grows by what it cuts of normal rows. What is left out has no
        part in the threshold either.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    calibration : {"loo", "chi2", "f", "quantile"} or float, default="loo"
        Where the threshold comes from:

        - "loo": an order statistic of the exact left-out scores of the training rows,
          split-conformal in form. With another ``covariance`` these cost n refits.
        - "chi2": the law of M^2 if the Gaussian were known (the paper's choice); far
          from the target, on either side, when rows are few.
        - "f": Hotelling's law of an unseen row, exact for Gaussian rows, n > p and an
          unshrunk covariance.
        - "quantile": of the training rows' own scores, as ``contamination`` elsewhere;
          far too optimistic where rows are not many times the features.
        - a float: ``offset_`` itself, in nats.

    Attributes
    ----------
    offset_ : float
        Threshold on the score, in nats; minus infinity if nothing can be flagged.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Left-out score of every training row, in row order: what `score_samples` gives
        at its left-out distance; minus infinity where the covariance of the other rows
        has a lower rank. Of a stream of more than 10 000 rows a random 10 000. After
        `recalibrate`, the scores of its rows. Absent where ``covariance`` is foreign
        and ``calibration`` not "loo".
    calibration_weights_ : ndarray of shape (n_calibration,)
        0 for rows that ``trim`` has left out, else 1; absent without it.
    calibration_mahalanobis_ : ndarray of shape (n_calibration,)
        The squared distances that belong to them: those of every row under the detector
        refitted without it.
    inliers_ : ndarray of bool of shape (n_samples,)
        Which rows were fitted to; only with ``trim``.
    tail_df_ : float
        Degrees of freedom of the law; infinite for a Gaussian.
    tail_scale_ : float
        What the covariance is multiplied by in it, 1 for ``tail="gaussian"``. With
        ``tail_df_`` > 2 the law's own covariance is ``tail_scale_ * tail_df_ /
        (tail_df_ - 2)`` times the estimated one.
    covariance_estimator_ : estimator
        Fitted covariance estimator.
    location_ : ndarray of shape (n_features,)
        Mean.
    shrinkage_ : float
        Intensity of shrinkage, if the covariance estimator has one.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    sklearn_gauss.covariance.ShrinkageCovariance : The Gaussian itself.
    LevelEnsemble : The sum over levels of a network, as in the paper.
    sklearn_gauss.decomposition.LowVariancePCA : The paper's reduction in front of it.

    Notes
    -----
    n <= p costs O(n^2 p) for the fit and its calibration, n > p O(n p^2). Left-out
    scores are in closed form and equal those of n refits, the intensity estimated anew
    each time; only for ``shrinkage="loo"`` it is kept.

    In a Pipeline the steps before have seen every row, which left-out scores cannot
    undo: behind `LowVariancePCA` far too many rows are flagged. `CalibratedDetector`
    calibrates a whole Pipeline by folds; `recalibrate` does on rows set aside.

    With ``trim`` the rows to fit to are found by concentration steps of a regularised
    minimum covariance determinant [2]_ from a deterministic start [3]_, on standardised
    columns and, since rows may be fewer than features, by left-out distances. "auto" then
    drops rows whose cube root of the squared distance to the others is above the median
    by 8 deviations of the upper quartile. This takes some ten fits, and copies of X.
    Left-out scores are exact for the rows that are kept, as if they alone had been given.

    References
    ----------
    .. [1] O. Rippel, P. Mertens and D. Merhof, "Modeling the Distribution of Normal Data
       in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020.
    .. [2] K. Boudt, P. J. Rousseeuw, S. Vanduffel and T. Verdonck, "The minimum
       regularized covariance determinant estimator", Statistics and Computing 30 (2020).
    .. [3] M. Hubert, P. J. Rousseeuw and T. Verdonck, "A deterministic algorithm for
       robust location and scatter", J. Computational and Graphical Statistics 21 (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import MahalanobisDetector
    >>> rng = np.random.default_rng(0)
    >>> normal = rng.normal(size=(400, 600))
    >>> detector = MahalanobisDetector(target_fpr=0.05).fit(normal)
    >>> unseen = rng.normal(size=(1000, 600))
    >>> float((detector.predict(unseen) == -1).mean())
    0.059
    >>> detector.p_values(unseen[:1] + 1.0)
    array([0.00249377])
    """

    _parameter_constraints: ClassVar[dict] = {
        "covariance": [HasMethods(["fit", "get_precision"]), None],
        "shrinkage": ShrinkageCovariance._parameter_constraints["shrinkage"],
        "tail": [StrOptions({"gaussian", "student"})],
        "trim": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="neither"),
            None,
        ],
        "target_fpr": [TARGET_FPR],
        "calibration": [
            StrOptions({"loo", "chi2", "f", "quantile"}),
            Interval(Real, None, None, closed="neither"),
        ],
    }

    _fitted = (
        "offset_",
        "calibration_scores_",
        "calibration_mahalanobis_",
        "calibration_weights_",
        "inliers_",
        "tail_df_",
        "tail_scale_",
    )

    def __init__(
        self,
        covariance=None,
        *,
        shrinkage="ledoit_wolf",
        tail="gaussian",
        trim=None,
        target_fpr=0.05,
        calibration="loo",
    ):
        self.covariance = covariance
        self.shrinkage = shrinkage
        self.tail = tail
        self.trim = trim
        self.target_fpr = target_fpr
        self.calibration = calibration

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the Gaussian and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            If X has NaN, infinities, text, fewer than two rows, or no variance.

        Warns
        -----
        CalibrationWarning
            Where the rows are too few for ``target_fpr``; nothing is flagged then.
        TrimmingWarning
            Where ``trim="auto"`` leaves out more than a fifth of the rows.
        """
        X = check_rows(self, X, reset=True, min_rows=2)
        self._forget()
        kept = X
        if self.trim is not None:
            self.inliers_ = rows_to_fit(X, self.trim)
            kept = X[self.inliers_]
        self.covariance_estimator_ = self._new_covariance()
        if isinstance(self.covariance_estimator_, ShrinkageCovariance):
            left_out = self.covariance_estimator_._fit_left_out(kept)
        else:
            kept = kept.astype(np.float64, copy=False)
            self._fit_foreign(kept)
            refits = self.calibration == "loo" or self.tail == "student"
            left_out = self._refit_left_out(kept) if refits else None
        self._calibrate(left_out, X)
        return self

    def _fit_foreign(self, X):
        covariance = self.covariance_estimator_.fit(X)
        if not hasattr(covariance, "location_"):
            raise ValueError(
                f"covariance={self.covariance!r} has no location_ after fit: it is not a "
                "covariance estimator as those of sklearn.covariance."
            )
        operator = from_precision(covariance.get_precision())
        self._precision_factor, self._log_det = operator.factor, operator.logdet
        warn_of_rank(operator)

    def _can_stream(self):
        streams = self.covariance is None or isinstance(
            self.covariance, ShrinkageCovariance
        )
        return streams and self.trim is None

    @available_if(_can_stream)
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None):
        """Add normal rows; the result is that of one fit to all rows.

        The threshold follows, from the left-out scores of all rows, or of a random
        10 000 of them. It is computed when the detector is next used. Not there with
        ``trim``, or a ``covariance`` of another package.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One normal row or more.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Detector with the rows added.
        """
        first = not hasattr(self, "covariance_estimator_")
        X = check_rows(self, X, reset=first)
        covariance = self._new_covariance() if first else self.covariance_estimator_
        if self.covariance is None:
            covariance.set_params(shrinkage=self.shrinkage)
        covariance.partial_fit(X)
        self._forget()
        self.covariance_estimator_ = covariance
        self._pending = True
        return self

    def recalibrate(self, X, target_fpr=None):
        """Set the threshold on fresh normal rows, without refitting.

        It holds until the next ``fit`` or `partial_fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows that were not used in the fit.
        target_fpr : float in (0, 1), default=None
            Share of unseen normal rows that may be flagged; the parameter's if None.

        Returns
        -------
        self : object
            With new ``calibration_scores_`` and ``offset_``.
        """
        super().recalibrate(X, target_fpr)
        self.calibration_mahalanobis_ = self.mahalanobis(X)
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
            (x - mean)' Sigma^-1 (x - mean); clipped to the largest float64.
        """
        self._check_is_fitted()
        return self._squares(self._check(X))

    def gradient(self, X):
        """Gradient of the log-density at each row, -Sigma^-1 (x - mean).

        With ``tail="student"`` times (df + rank) / (df s + M^2), s being ``tail_scale_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        gradient : ndarray of float64 of shape (n_samples, n_features)
            In nats over the data's units.
        """
        self._check_is_fitted()
        X = self._check(X)
        solved = self._solved(X)
        if np.isinf(self.tail_df_):  # the distances do not matter
            return -solved / self.tail_scale_
        return -solved * self._pull(self._squares(X))[:, None]

    def explain(self, X, levels="auto"):
        """What each row's squared distance is made of.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to explain.
        levels : "auto", dict, list or None, default="auto"
            Which columns belong to which level, in the forms that `LevelEnsemble`
            takes. "auto" reads feature names of the form ``level__channel``; without
            them, all columns are one level.

        Returns
        -------
        explanation : :class:`~sklearn.utils.Bunch`
            features : ndarray of shape (n_samples, n_features)
                z_j (Sigma^-1 z)_j with z = x - mean. They add up to the squared
                distance; a negative one says that the deviation of this feature makes
                those of correlated features less surprising.
            levels : ndarray of shape (n_samples, n_levels)
                Sums of the contributions of each level's features.
            level_names : list of str
                Names of the levels.
            components : ndarray of shape (n_samples, n_components)
                Squared deviation along each principal axis over its variance. Without
                shrinkage and with many rows each follows the chi-squared law with one
                degree of freedom where a row is normal; 10.8 is exceeded once in 1000.
            ranking : ndarray of int of shape (n_samples, n_components)
                Components by decreasing contribution. They are numbered by decreasing
                variance, so a great number first is a low-variance component.
            residual : ndarray of shape (n_samples,)
                What lies in directions that no training row has;
                ``components.sum(axis=1) + residual`` is the squared distance.
            variances : ndarray of shape (n_components,)
                Variance along the axes under the model, in decreasing order.
            axes : ndarray of shape (n_components, n_features)
                The principal axes.

        Raises
        ------
        ValueError
            If ``levels`` does not fit the columns of X.
        """
        self._check_is_fitted()
        X = self._check(X)
        names = getattr(self, "feature_names_in_", ())
        levels = find_levels(levels, X.shape[1], names)
        model = self._gaussian()
        Z = model.centre.enter(X)
        components, residual, variances, axes = model.covariance.decompose(Z)
        unit = model.centre.scale if model.centre.scale.ndim == 0 else 1.0
        features = Z * model.covariance.solve(Z)
        return Bunch(
            features=features,
            levels=sums_by_level(features, levels),
            level_names=list(levels),
            components=components,
            ranking=ranked(components),
            residual=residual,
            variances=variances * unit**2,
            axes=axes,
        )

    @property
    def location_(self):
        """Mean."""
        return self.covariance_estimator_.location_

    @property
    def shrinkage_(self):
        """Intensity of shrinkage."""
        return self.covariance_estimator_.shrinkage_

    def _new_covariance(self):
        if self.covariance is None:
            covariance = ShrinkageCovariance(self.shrinkage)
        else:
            covariance = clone(self.covariance)
        if isinstance(covariance, ShrinkageCovariance):
            covariance._keep_rows = True
        return covariance

    def _settle(self):
        covariance = self.covariance_estimator_
        self._calibrate(covariance._kept_left_out(), covariance._kept_rows())

    def _calibrate(self, left_out, X):
        """Set the threshold, from left-out densities or from the rows themselves."""
        self._set_tail(left_out)
        if left_out is not None:
            self._set_calibration(left_out.squares, X)
        if self.calibration == "loo":
            self._set_threshold(self.target_fpr)
        elif self.calibration == "quantile":
            scores = self._scores(X[self._kept(X)])
            self.offset_ = float(np.quantile(scores, self.target_fpr))
        elif isinstance(self.calibration, str):
            self.offset_ = float(
                self._log_density(THRESHOLDS[self.calibration](self, X))
            )
        else:
            self.offset_ = float(self.calibration)

    def _kept(self, X):
        """Mask of the rows that were fitted to."""
        return vars(self).get("inliers_", np.ones(len(X), dtype=bool))

    def _n_kept(self, X):
        return int(self._kept(X).sum())

    def _set_tail(self, left_out):
        self.tail_df_, self.tail_scale_ = np.inf, 1.0
        if self.tail == "gaussian":
            return
        squares = left_out.squares[np.isfinite(left_out.squares)]
        if not squares.any():
            warnings.warn(
                "tail='student': no row has a left-out distance, finite and above zero, "
                "to estimate the degrees of freedom from; the tail stays Gaussian. Use "
                "more rows or shrinkage.",
                CalibrationWarning,
                stacklevel=callers_level(),
            )
            return
        rank = self._gaussian().covariance.rank
        self.tail_df_, self.tail_scale_ = fit_tail(squares, rank)

    def _set_calibration(self, squares, X):
        # By the distance alone: the left-out determinants follow the row left out, while
        # all unseen rows are scored with one and the same.
        kept = self._kept(X)
        if not kept.all():
            left_out, squares = squares, np.empty(len(X))
            squares[kept], squares[~kept] = left_out, self._squares(X[~kept])
        if "inliers_" in vars(self):
            self.calibration_weights_ = kept.astype(np.float64)
        self.calibration_mahalanobis_ = squares
        self.calibration_scores_ = self._log_density(squares)

    def _refit_left_out(self, X):
        """Left-out densities of a covariance estimator without a closed form."""
        squares, densities = np.empty((2, len(X)))
        for i in range(len(X)):
            others = clone(self.covariance).fit(np.delete(X, i, axis=0))
            model = _foreign(others, from_precision(others.get_precision()))
            row = X[i : i + 1]
            squares[i] = squared_mahalanobis(row, model.centre, model.covariance)[0]
            densities[i] = model.log_density(squares[i])
        return LeftOut(squares, densities, np.zeros(len(X), dtype=bool))

    def _gaussian(self):
        covariance = self.covariance_estimator_
        if isinstance(covariance, ShrinkageCovariance):
            return covariance._gaussian()
        return _foreign(
            covariance, DenseCovariance(self._precision_factor, self._log_det)
        )

    def _log_density(self, squares):
        """Log-densities at squared distances, under the tail."""
        model = self._gaussian()
        rank, logdet = model.covariance.rank, model.logdet
        return student_log_density(
            squares, rank, logdet, self.tail_df_, self.tail_scale_
        )

    def _solved(self, X):
        """Sigma^-1 (x - mean) of rows, in the data's units."""
        model = self._gaussian()
        return model.covariance.solve(model.centre.enter(X)) / model.centre.scale

    def _pull(self, squares):
        """The gradient's size at squared distances, relative to the Gaussian's."""
        rank = self._gaussian().covariance.rank
        return student_pull(squares, rank, self.tail_df_, self.tail_scale_)

    def _squares(self, X):
        model = self._gaussian()
        return clip_overflow(squared_mahalanobis(X, model.centre, model.covariance))

    def _scores(self, X):
        return self._log_density(self._squares(X))
