"""ClassConditionalDetector: Gaussians of known kinds of normal rows."""

from typing import ClassVar

import numpy as np

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    Integral,
    Interval,
    Real,
    StrOptions,
    check_rows,
    fit_context,
)
from sklearn_gauss._numerics.class_gaussians import (
    CLASS_WEIGHTS,
    NoVarianceError,
    best_class,
    block_slices,
    class_log_densities,
    class_squares,
    fit_each,
    fit_one,
    fit_shared,
    pack,
    relative_scores,
    score_gradient,
    unpack,
)
from sklearn_gauss._numerics.classes_left_out import each_left_out, shared_left_out
from sklearn_gauss._numerics.gaussian import leave_one_out
from sklearn_gauss._numerics.shrinkage import INTENSITIES
from sklearn_gauss.covariance._rank import warn_of_rank
from sklearn_gauss.detection._class_checks import (
    ONE_CLASS,
    block_table,
    check_background_rank,
    check_ranks,
    clipped,
    no_variance,
)
from sklearn_gauss.detection._class_labels import added, class_labels, first, joined


class ClassConditionalDetector(BaseDetector):
    r"""Anomalies by the distance to the nearest of several classes of normal rows.

    Every class c has a Gaussian with a mean of its own, and the score of a row is the
    log-density under the best of them,

    .. math::

        s(x) = \max_c \log N(x; \mu_c, \Sigma)
            \; \bigl[ - \log N(x; \mu_0, \Sigma_0) \bigr],

    with one covariance for all classes, as Lee et al. [1]_ have it, or one for each.
    ``relative`` subtracts the log-density under a Gaussian of the background [2]_. The
    threshold keeps the false-positive rate ``target_fpr`` on unseen normal rows. Read
    more in the :ref:`User Guide <class_conditional>`.

    Parameters
    ----------
    shared_covariance : bool, default=True
        One covariance, of all rows about the means of their classes; or one for each
        class, of its own rows only.
    relative : bool, default=False
        Subtract the log-density under one Gaussian of all rows, whatever their class, or
        of the ``background`` rows given to `fit`. What is unusual about all classes alike
        then counts less.
    class_weight : {"frequency", "uniform"}, default="frequency"
        What a class counts for in the shared covariance: as many rows as it has; or all
        classes the same, S the mean of their covariances, as in the class-incremental
        update of [1]_. Without effect on covariances of their own.
    shrinkage : {"ledoit_wolf", "oas", "rblw"} or float in [0, 1], default="ledoit_wolf"
        Intensity of shrinkage, or the rule that estimates it, of every covariance; of a
        shared one from the rows about the means of their classes. See
        `~sklearn_gauss.covariance.ShrinkageCovariance`.
    n_blocks : int, default=1
        Cut the columns into this many runs, as ``numpy.array_split`` does, with a
        Gaussian for every block of every class: the score is
        ``max_c sum_k w_ck log N(x_k; mu_ck, Sigma_ck)`` [3]_.
    block_weights : "uniform" or array-like, default="uniform"
        The w, not negative, of shape (n_blocks,), or (n_classes, n_blocks) with classes
        in sorted order; "uniform" is 1 everywhere, a density of independent blocks.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    calibration : {"loo", "quantile"} or float, default="loo"
        Where the threshold comes from: an order statistic of the exact left-out scores of
        the training rows, split-conformal in form; the quantile of their own scores, as
        ``contamination`` elsewhere, far too optimistic; or ``offset_`` itself, in nats.

    Attributes
    ----------
    offset_ : float
        Threshold on the score, in nats; minus infinity if nothing can be flagged.
    calibration_scores_ : ndarray of shape (n_samples,)
        Left-out score of every training row, in row order: what `score_samples` gives at
        its left-out distances. A row that is all of its class is left to the others.
        After `recalibrate`, the scores of its rows. Absent unless ``calibration="loo"``.
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes, sorted; 0 where the rows had none.
    class_count_ : ndarray of int of shape (n_classes,)
        Rows of each.
    means_ : ndarray of shape (n_classes, n_features)
        Mean of each.
    block_weights_ : ndarray of shape (n_classes, n_blocks)
        The w.
    shrinkage_ : ndarray of shape (n_blocks,) or (n_classes, n_blocks)
        Intensity of shrinkage of the shared covariance, or of that of each class.
    background_shrinkage_ : ndarray of shape (n_blocks,)
        The same of the background; only where ``relative``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    MahalanobisDetector : One Gaussian; the same where there is one class.
    sklearn_gauss.inspection.perturbed_features : Images moved towards a class.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : The classifier of the same
        model.

    Notes
    -----
    Left-out scores are in closed form and equal those of n refits, the intensity
    estimated anew each time. With ``class_weight="uniform"`` they take a decomposition
    of the covariance for each class, otherwise one.

    ``score``, the mean of the scores, chooses between options only where these are
    log-densities of the same columns: ``relative=False`` and uniform block weights.

    All training rows are kept for `partial_fit`, (n_samples, n_features). Where there
    are no more rows than features no p x p array is formed.

    References
    ----------
    .. [1] K. Lee, K. Lee, H. Lee and J. Shin, "A Simple Unified Framework for Detecting
       Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018.
    .. [2] J. Ren, S. Fort, J. Liu, A. G. Roy, S. Padhy and B. Lakshminarayanan, "A Simple
       Fix to Mahalanobis Distance for Improving Near-OOD Detection", arXiv:2106.09022,
       2021.
    .. [3] J. Li, X. Zhou, P. Guo, Y. Sun, Y. Huang, W. Ge and W. Zhang, "Hierarchical
       Visual Categories Modeling: A Joint Representation Learning and Density Estimation
       Framework for Out-of-Distribution Detection", ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import ClassConditionalDetector
    >>> rng = np.random.default_rng(0)
    >>> kinds = np.repeat(["bolt", "nut", "washer"], 50)
    >>> centres = {"bolt": [0, 0], "nut": [9, 0], "washer": [0, 9]}
    >>> X = rng.normal(size=(150, 2)) + [centres[kind] for kind in kinds]
    >>> detector = ClassConditionalDetector().fit(X, kinds)
    >>> detector.predict([[9, 1], [3, 3]])  # (3, 3) is the mean of all rows
    array([ 1, -1])
    >>> detector.predict_class([[8, 1]])
    array(['nut'], dtype='<U6')
    """

    _parameter_constraints: ClassVar[dict] = {
        "shared_covariance": ["boolean"],
        "relative": ["boolean"],
        "class_weight": [StrOptions(set(CLASS_WEIGHTS))],
        "shrinkage": [StrOptions(set(INTENSITIES)), Interval(Real, 0, 1, closed="both")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "block_weights": [StrOptions({"uniform"}), "array-like"],
        "target_fpr": [TARGET_FPR],
        "calibration": [
            StrOptions({"loo", "quantile"}),
            Interval(Real, None, None, closed="neither"),
        ],
    }

    _fitted = (
        "offset_",
        "calibration_scores_",
        "classes_",
        "class_count_",
        "means_",
        "block_weights_",
        "shrinkage_",
        "background_shrinkage_",
        "_blocks",
        "_background",
    )

    def __init__(
        self,
        shared_covariance=True,
        *,
        relative=False,
        class_weight="frequency",
        shrinkage="ledoit_wolf",
        n_blocks=1,
        block_weights="uniform",
        target_fpr=0.05,
        calibration="loo",
    ):
        self.shared_covariance = shared_covariance
        self.relative = relative
        self.class_weight = class_weight
        self.shrinkage = shrinkage
        self.n_blocks = n_blocks
        self.block_weights = block_weights
        self.target_fpr = target_fpr
        self.calibration = calibration

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, classes=None, background=None):
        """Fit a Gaussian to each class and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : array-like of shape (n_samples,), default=None
            Class of each row: strings, whole numbers or booleans. None is one class.
        classes : array-like of shape (n_samples,), default=None
            The same, not scikit-learn's list of all classes. For searches, whose y says
            +1 or -1 and is then ignored: ``set_fit_request(classes=True)`` and
            ``search.fit(X, y, classes=classes)``.
        background : array-like of shape (n_background, n_features), default=None
            Rows of the background of ``relative``, of any kind; None takes X. They are
            not among the normal rows.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            If X has NaN, infinities, text or fewer than two rows, y has the values +1
            and -1, which are labels of anomalies, or others beside ``classes``, a class
            has no variance, or ``relative`` has nothing to be relative to.

        Warns
        -----
        CalibrationWarning
            Where the rows are too few for ``target_fpr``; nothing is flagged then.
        RankDeficientWarning
            Where an unshrunk covariance is singular.
        """
        X = check_rows(self, X, reset=True, min_rows=2)
        found = class_labels(X, y, classes)
        if background is not None:
            background = self._check_background(background)
        self._forget()
        self._seen = first(X, found, background)
        self._settle()
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, classes=None):
        """Add normal rows, of known classes or new ones; the same as one fit to all rows.

        Computed when the detector is next used.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One normal row or more.
        y : array-like of shape (n_samples,), default=None
            Class of each of these rows.
        classes : array-like of shape (n_samples,), default=None
            The same, as in `fit`; not scikit-learn's list of all classes.

        Returns
        -------
        self : object
            Detector with the rows added.
        """
        seen = vars(self).get("_seen")
        X = check_rows(self, X, reset=seen is None)
        found = class_labels(X, y, classes)
        seen = first(X, found) if seen is None else added(seen, X, found)
        self._forget()
        self._seen, self._pending = seen, True
        return self

    def fit_predict(self, X, y=None, **fit_params):
        """Fit to the rows and judge them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : array-like of shape (n_samples,), default=None
            Class of each row.
        **fit_params : dict
            ``classes`` and ``background`` of `fit`.

        Returns
        -------
        y : ndarray of int of shape (n_samples,)
            +1 for a normal row, -1 for an anomaly.
        """
        return self.fit(X, y, **fit_params).predict(X)

    def mahalanobis(self, X):
        """Squared Mahalanobis distance of every row to every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to measure.

        Returns
        -------
        squares : ndarray of float64 of shape (n_samples, n_classes)
            Added over the blocks by their weights; clipped to the largest float64.
        """
        self._check_is_fitted()
        squares = self._squares(self._check(X))
        with np.errstate(over="ignore", invalid="ignore"):
            weighed = np.where(self.block_weights_ > 0, squares * self.block_weights_, 0)
            return -clipped(-weighed.sum(axis=2))

    def class_log_densities(self, X):
        """Log-density of every row under every class, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        log_densities : ndarray of float64 of shape (n_samples, n_classes)
            Added over the blocks by their weights; the background is not subtracted.
        """
        self._check_is_fitted()
        return clipped(self._densities(self._squares(self._check(X))))

    def predict_class(self, X):
        """Class under which every row is most likely.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to name, anomalies among them.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        return self.classes_[best_class(self.class_log_densities(X))]

    def gradient(self, X):
        """Gradient of the score at each row, under the class that gives the score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        gradient : ndarray of float64 of shape (n_samples, n_features)
            Sum over the blocks of -w Sigma_c^-1 (x - mean_c), less the same of the
            background; in nats over the data's units.
        """
        self._check_is_fitted()
        X = self._check(X)
        own = best_class(self._class_scores(X))
        gradient = np.empty(X.shape)
        for b, columns in enumerate(self._columns()):
            gaussians = unpack(self._blocks[b])
            for c in np.unique(own):
                rows = own == c
                gradient[rows, columns] = score_gradient(X[rows, columns], gaussians[c])
            if self._background:
                whole = unpack(self._background[b])[0]
                gradient[:, columns] -= score_gradient(X[:, columns], whole)
            gradient[:, columns] *= self.block_weights_[own, b][:, None]
        return gradient

    # ---------------------------------------------------------------------- fitting
    def _settle(self):
        self._seen = seen = joined(self._seen)
        X, labels = seen["rows"][0], seen["labels"][0]
        if len(X) < 2:
            raise ValueError("Only 1 row was seen so far, and two are needed.")
        self.classes_, labels = np.unique(labels, return_inverse=True)
        self.class_count_ = np.bincount(labels)
        self.block_weights_ = block_table(
            self.block_weights, len(self.classes_), self.n_blocks, self.n_features_in_
        )
        loo = self.calibration == "loo"
        parts = [
            self._fit_block(X[:, columns], labels, k, loo=loo)
            for k, columns in enumerate(self._columns())
        ]
        self._store([part[0] for part in parts])
        self._background, left_out_background = [], None
        if self.relative:
            left_out_background = self._fit_background(X, seen["background"], loo=loo)
        left_out = np.stack([part[1] for part in parts], axis=2) if loo else None
        self._calibrate(X, left_out, left_out_background)

    def _fit_block(self, X, labels, block, *, loo):
        """Gaussians of the classes in one block, and left-out squares (n, C) or None."""
        n_classes = len(self.classes_)
        try:
            if self.shared_covariance:
                shared = fit_shared(
                    X,
                    labels,
                    n_classes,
                    rule=self.shrinkage,
                    weighting=self.class_weight,
                )
                warn_of_rank(shared.gaussian.covariance)
                found = shared_left_out(shared, self.shrinkage, X) if loo else None
                return shared.gaussians, found
            fits = fit_each(X, labels, n_classes, rule=self.shrinkage)
        except NoVarianceError as error:
            where = f" in block {block} of n_blocks={self.n_blocks}"
            message = no_variance(
                error.place,
                self.classes_,
                self.class_count_,
                where * (self.n_blocks > 1),
            )
            raise ValueError(message) from error
        check_ranks([gaussian.covariance.rank for _, gaussian in fits], self.classes_)
        warn_of_rank(fits[0][1].covariance)
        found = each_left_out(X, labels, fits, self.shrinkage) if loo else None
        return [gaussian for _, gaussian in fits], found

    def _store(self, gaussians):
        """Set what is made of the Gaussians, by block and class."""
        self._blocks = [pack(block) for block in gaussians]
        self.means_ = np.hstack(
            [np.stack([g.centre.location[0] for g in block]) for block in gaussians]
        )
        found = np.array([[g.shrinkage for g in block] for block in gaussians])
        self.shrinkage_ = found[:, 0] if self.shared_covariance else found.T

    def _fit_background(self, X, background, *, loo):
        """Fit the background; log-densities (n, B) of rows X under it without them."""
        if background is None and len(self.classes_) == 1:
            raise ValueError(ONE_CLASS)
        rows, found = X if background is None else background, []
        for k, columns in enumerate(self._columns()):
            try:
                sums, gaussian = fit_one(rows[:, columns], self.shrinkage)
            except NoVarianceError as error:
                raise ValueError("background has no variance: its rows are equal.") from (
                    error
                )
            own = unpack(self._blocks[k])[0].covariance.rank
            check_background_rank(gaussian.covariance.rank, own)
            self._background.append(pack([gaussian]))
            if loo and background is None:
                part = rows[:, columns]
                squares = leave_one_out(sums, gaussian, self.shrinkage, part).squares
                found.append(gaussian.log_density(squares))
        self.background_shrinkage_ = np.array(
            [state["shrinkage"][0] for state in self._background]
        )
        return np.stack(found, axis=1) if found else self._background_densities(X)

    def _calibrate(self, X, left_out, background):
        if self.calibration == "loo":
            densities = self._densities(left_out)
            scores = relative_scores(densities, background, self.block_weights_)
            self.calibration_scores_ = scores.max(axis=1)
            self._set_threshold(self.target_fpr)
        elif self.calibration == "quantile":
            self.offset_ = float(np.quantile(self._scores(X), self.target_fpr))
        else:
            self.offset_ = float(self.calibration)

    # ----------------------------------------------------------------------- checks
    def _check_background(self, background):
        if not self.relative:
            raise ValueError(
                "background was given but relative=False: it would have no effect."
            )
        try:
            return check_rows(self, background, reset=False, min_rows=2).copy()
        except (TypeError, ValueError) as error:
            raise type(error)(f"background, taken as X: {error}") from error

    # ---------------------------------------------------------------------- scoring
    def _columns(self):
        """The blocks, as slices of the columns."""
        return block_slices(self.n_features_in_, self.block_weights_.shape[1])

    def _squares(self, X):
        """Squared distances (n, C, B)."""
        return np.stack(
            [
                class_squares(X[:, columns], unpack(block))
                for columns, block in zip(self._columns(), self._blocks, strict=True)
            ],
            axis=2,
        )

    def _densities(self, squares):
        gaussians = [unpack(block) for block in self._blocks]
        return class_log_densities(squares, gaussians, self.block_weights_)

    def _background_densities(self, X):
        """Log-densities (n, B) under the background, or None."""
        if not self._background:
            return None
        found = []
        for columns, state in zip(self._columns(), self._background, strict=True):
            gaussians = unpack(state)
            squares = class_squares(X[:, columns], gaussians)[:, 0]
            found.append(gaussians[0].log_density(squares))
        return np.stack(found, axis=1)

    def _class_scores(self, X):
        densities = self._densities(self._squares(X))
        return relative_scores(
            densities, self._background_densities(X), self.block_weights_
        )

    def _scores(self, X):
        return clipped(self._class_scores(X).max(axis=1))
