"""NormalAbnormalDetector: normal rows, and the few labelled anomalies there are."""

import warnings
from typing import ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.utils import check_random_state

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    HasMethods,
    Integral,
    Interval,
    Real,
    StrOptions,
    callers_level,
    check_rows,
    fit_context,
)
from sklearn_gauss._numerics.prototypes import (
    GaussianSpace,
    ResidualSpace,
    cosines,
    placements,
    prototypes_of_groups,
    whitened_coordinates,
)
from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.detection._calibrated import CalibratedDetector
from sklearn_gauss.detection._examples import find_labels
from sklearn_gauss.detection._held_out import fit_quietly
from sklearn_gauss.detection._mahalanobis import MahalanobisDetector

#: Weights of the prototypes that "auto" chooses among, besides 0.
WEIGHTS = (0.1, 0.2, 0.3)

#: Anomalies below which their left-out scores cannot tell whether they help.
FEWEST = 5

#: Fewest normal rows.
LEAST_NORMAL = 3


class NormalAbnormalDetector(BaseDetector):
    """Normal rows, and labelled anomalies where left-out ones show that they help.

    How anomalous a row x is, in units of left-out normal rows:

    a(x) = (1 - w) u(x) + w c(x),

    with u the score of a detector of normal rows alone, and c = (1 + cos) / 2 for the
    greatest cosine of the row's offset from what is normal and the offsets of labelled
    anomalies, or `n_prototypes` clusters of them. Offsets are whitened ones from the
    mean, or those from the most similar normal row. The weight w is 0 unless the
    anomalies, each left out in turn, are told from left-out normal rows better with it.
    A training-free relative of NAGL [1]_, which learns its proxies by attention; here
    nothing is learnt but clusters and a weight. Read more in the
    :ref:`User Guide <normal_abnormal>`.

    Parameters
    ----------
    detector : detector or Pipeline ending in one, default=None
        Scores rows by what is normal alone. None is `MahalanobisDetector`, or with
        ``metric="cosine"`` the similarity to the nearest normal row.
    n_prototypes : int, default=25
        Most prototypes; more anomalies are clustered to as many (k-means of their
        directions).
    metric : {"mahalanobis", "cosine"}, default="mahalanobis"
        "mahalanobis" takes offsets from the mean, and cosines under the Ledoit-Wolf
        precision; "cosine", as NAGL, plain ones of residuals to the normal row of
        greatest cosine.
    weight : "auto" or float in [0, 1], default="auto"
        The w. "auto" is 0, 0.1, 0.2 or 0.3: the one whose gain in ROC AUC over w = 0 is
        greatest after a standard error is taken off it, and 0 if that leaves nothing.
        0 ignores the labels.
    standardize : bool, default=True
        Take u and c less their means over left-out normal rows, in their standard
        deviations. False takes them as they are, which with ``metric="cosine"`` and
        ``weight=0.5`` is the score of NAGL: u = (1 - cos) / 2 for the nearest normal
        row, and c.
    cv : int, default=25
        Number of folds of the anomalies, where the weight is chosen. As many as there
        are, or more, leave out single ones.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    calibration : "loo" or float, default="loo"
        "loo" sets the threshold by left-out scores of the normal rows; a float is
        ``offset_`` itself.
    n_jobs : int, default=None
        Folds to fit in parallel, of a ``detector`` without left-out scores of its own.
    random_state : int, RandomState instance or None, default=0
        Seed of k-means.

    Attributes
    ----------
    uses_labels_ : bool
        Whether the weight is positive.
    weight_ : float
        The w in use.
    weight_curve_ : dict
        What "auto" chose by: the candidates' ``weight``, their ``auc`` of left-out
        anomalies against left-out normal rows, its ``gain`` over the first, and the
        ``standard_error`` of that. Empty where there was nothing to choose.
    prototypes_ : ndarray of shape (n_prototypes, n_features)
        Offsets of the prototypes; none of them where labels are ignored.
    detector_ : detector or None
        The fitted detector of normal rows; None where that is their similarity.
    covariance_ : ShrinkageCovariance or None
        What offsets are whitened by, where labels are used and whitened.
    reference_ : ndarray of shape (n_normal, n_features) or None
        The normal rows, where offsets or similarities are to the nearest of them.
    offset_ : float
        Threshold on the score; minus infinity if nothing can be flagged.
    calibration_scores_ : ndarray of shape (n_normal,)
        Left-out score of every normal training row, in order.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    MahalanobisDetector : The normal rows alone.
    DetectorEnsemble : Labelled anomalies choose among detectors.
    sklearn_gauss.residual.ReferenceResidual : Residuals to normal rows, as features.

    Notes
    -----
    Left-out scores of normal rows leave the row out of the mean and the covariance, in
    closed form, at the same intensity and target of shrinkage, or out of the references;
    the prototypes are kept. A ``detector`` without left-out scores of its own, such as a
    Pipeline, is calibrated by `CalibratedDetector`.

    Anomalies help with others of their kind. Of a kind that was never labelled they can
    be missed more often than without labels, and nothing in the data tells.

    Fewer than 5 labelled anomalies are ignored by "auto", with a warning.

    References
    ----------
    .. [1] "Normal-Abnormal Guided Generalist Anomaly Detection", arXiv:2510.00495, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import NormalAbnormalDetector
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(220, 30)), np.repeat([1, -1], [200, 20])
    >>> X[y == -1, :3] += 1.5  # anomalies of one kind
    >>> detector = NormalAbnormalDetector().fit(X, y)
    >>> detector.uses_labels_, detector.weight_
    (True, 0.3)
    >>> unseen = rng.normal(size=(1000, 30))
    >>> float((detector.predict(unseen) == -1).mean())
    0.061
    """

    _parameter_constraints: ClassVar[dict] = {
        "detector": [HasMethods(["fit", "score_samples"]), None],
        "n_prototypes": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"mahalanobis", "cosine"})],
        "weight": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "standardize": ["boolean"],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "target_fpr": [TARGET_FPR],
        "calibration": [
            StrOptions({"loo"}),
            Interval(Real, None, None, closed="neither"),
        ],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        detector=None,
        *,
        n_prototypes=25,
        metric="mahalanobis",
        weight="auto",
        standardize=True,
        cv=25,
        target_fpr=0.05,
        calibration="loo",
        n_jobs=None,
        random_state=0,
    ):
        self.detector = detector
        self.n_prototypes = n_prototypes
        self.metric = metric
        self.weight = weight
        self.standardize = standardize
        self.cv = cv
        self.target_fpr = target_fpr
        self.calibration = calibration
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit to the normal rows, and see whether the anomalies help.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows and, with ``y``, anomalies.
        y : array-like of shape (n_samples,), default=None
            +1 for a normal row and -1 for an anomaly. All rows are normal without it.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            If X is no finite numeric array, or has fewer than three normal rows.

        Warns
        -----
        CalibrationWarning
            Where the normal rows are too few for ``target_fpr``; nothing is flagged then.
        UserWarning
            Where the anomalies are too few for ``weight="auto"``, or ``y`` has two
            values that are no labels; it is ignored then.
        """
        X = check_rows(self, X, reset=True)
        normal, anomalies = _split(X, y)
        used = anomalies if self.weight != 0 else anomalies[:0]
        left_out = self._fit_normal(normal, needs_space=len(used) > 0)
        found = self._fit_anomalies(used, normal, left_out)
        vars(self).pop("calibration_scores_", None)
        if self.calibration == "loo":
            self.calibration_scores_ = -self._combined(left_out, found)
            self._set_threshold(self.target_fpr)
        else:
            self.offset_ = float(self.calibration)
        return self

    def fit_predict(self, X, y=None):
        """Fit, and give the verdict on the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows and, with ``y``, anomalies.
        y : array-like of shape (n_samples,), default=None
            As for `fit`.

        Returns
        -------
        y : ndarray of int of shape (n_samples,)
            +1 for a normal row, -1 for an anomaly.
        """
        return self.fit(X, y).predict(X)

    def _fit_normal(self, normal, *, needs_space):
        """Fit what knows normal rows alone; how anomalous these are, left out (n,)."""
        self.detector_ = self.covariance_ = self.reference_ = None
        self._metric = self.metric
        by_cosine = self.metric == "cosine"
        if self.detector is not None or not by_cosine:
            self.detector_ = _fitted(self.detector, normal, self.n_jobs)
        if by_cosine and (needs_space or self.detector is None):
            self.reference_ = normal.copy()
        elif needs_space and self.detector is None:
            self.covariance_ = self.detector_.covariance_estimator_
        elif needs_space:
            self.covariance_ = ShrinkageCovariance().fit(normal)
        if self.detector_ is not None:
            return -self.detector_.calibration_scores_
        return self._space().dissimilarity(normal, np.arange(len(normal)))

    def _fit_anomalies(self, anomalies, normal, left_out):
        """Choose weight and prototypes; left-out cosines (n,) of the normal rows."""
        self.weight_curve_, self._units = {}, [*self._moments(left_out), 0.0, 1.0]
        self.weight_, found = 0.0, np.zeros(len(normal))
        self.prototypes_ = np.empty((0, self.n_features_in_))
        if not len(anomalies):
            self.uses_labels_ = False
            return found
        space, rng = self._space(), check_random_state(self.random_state)
        offsets, of_normal = space.offsets(anomalies), space.left_out(normal)
        if self.weight == "auto":
            own = self._normal_part(anomalies)
            self.weight_ = self._chosen_weight(own, offsets, left_out, of_normal, rng)
        else:
            self.weight_ = float(self.weight)
        self.uses_labels_ = self.weight_ > 0
        if self.uses_labels_:
            prototypes = self._clustered(offsets, rng)
            self.prototypes_ = prototypes * space.unit
            found = _likeness(of_normal(prototypes))
            self._units[2:] = self._moments(found)
        return found

    def _chosen_weight(self, own, offsets, left_out, of_normal, rng):
        """Weight by the left-out anomalies' places among left-out normal rows."""
        count = len(offsets)
        if count < FEWEST:
            _warn_of_few(count)
            return 0.0
        weights, space = np.array([0.0, *WEIGHTS]), self._space()
        places = np.empty((count, len(weights)))
        folds = KFold(min(self.cv, count), shuffle=True, random_state=0)
        for others, some in folds.split(offsets):
            prototypes = self._clustered(offsets[others], rng)
            normal = _likeness(of_normal(prototypes))
            odd = _likeness(cosines(offsets[some], prototypes, space.solve))
            units = [*self._units[:2], *self._moments(normal)]
            for i, weight in enumerate(weights):
                places[some, i] = placements(
                    _weighed(own[some], odd, weight, units),
                    _weighed(left_out, normal, weight, units),
                )
        gains = places - places[:, :1]
        error = gains.std(axis=0, ddof=1) / np.sqrt(count)
        self.weight_curve_ = {
            "weight": weights,
            "auc": places.mean(axis=0),
            "gain": gains.mean(axis=0),
            "standard_error": error,
        }
        sure = gains.mean(axis=0) - error
        best = int(np.argmax(sure))
        return float(weights[best]) if sure[best] > 1e-12 else 0.0

    def _clustered(self, offsets, rng):
        """Offsets (k, p), or prototypes of their clusters where they are many."""
        if len(offsets) <= self.n_prototypes:
            return offsets
        distinct = np.unique(offsets, axis=0)
        if len(distinct) <= self.n_prototypes:
            return distinct
        space = self._space()
        coordinates = whitened_coordinates(offsets, space.solve)
        means = KMeans(self.n_prototypes, n_init=3, random_state=rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # copies: fewer clusters
            groups = means.fit_predict(coordinates)
        return prototypes_of_groups(offsets, groups, space.solve)

    def _moments(self, values):
        """Mean and standard deviation that values are taken in."""
        values = values[np.isfinite(values)]
        if not self.standardize or not len(values):
            return [0.0, 1.0]
        unit = float(np.abs(values).max()) or 1.0
        deviation = float((values / unit).std()) * unit
        return [float((values / unit).mean()) * unit, deviation or 1.0]

    def _combined(self, normal_part, found):
        return _weighed(normal_part, found, self.weight_, self._units)

    def _normal_part(self, X):
        """How anomalous rows (m,) are by what is normal alone."""
        if self.detector_ is not None:
            return -self.detector_.score_samples(X)
        return self._space().dissimilarity(X)

    def _space(self):
        if self._metric == "cosine":
            return ResidualSpace(self.reference_)
        return GaussianSpace(self.covariance_._gaussian())

    def _scores(self, X):
        found = np.zeros(len(X))
        if self.uses_labels_:
            space = self._space()
            prototypes = self.prototypes_ / space.unit
            found = _likeness(cosines(space.offsets(X), prototypes, space.solve))
        return -self._combined(self._normal_part(X), found)


def _warn_of_few(count):
    warnings.warn(
        f"{count} labelled anomalies are too few to tell whether they help: {FEWEST} are "
        "the least. They are ignored; give weight as a number to use them.",
        UserWarning,
        stacklevel=callers_level(),
    )


def _likeness(cosines):
    """(1 + cos) / 2 (n,) of rows and the most similar prototype."""
    return (1 + cosines.max(axis=1)) / 2


def _weighed(normal_part, found, weight, units):
    """(1 - w) u + w c of both parts, each less its mean in its standard deviation."""
    parts = [(1 - weight, normal_part, units[:2]), (weight, found, units[2:])]
    return sum(w * ((x - mean) / deviation) for w, x, (mean, deviation) in parts if w)


def _fitted(detector, normal, n_jobs):
    """A fitted clone with left-out scores of its training rows."""
    found = MahalanobisDetector() if detector is None else clone(detector)
    found = fit_quietly(found, normal)
    scores = getattr(found, "calibration_scores_", ())
    if len(scores) == len(normal):
        return found
    return fit_quietly(CalibratedDetector(detector, n_jobs=n_jobs), normal)


def _split(X, y):
    """Normal rows and anomalies."""
    labels = np.ones(len(X))
    if y is not None:
        known = find_labels(X, y)
        if known is None and len(set(np.asarray(y).reshape(-1).tolist()) - {-1}) == 0:
            raise ValueError("y has no label +1: normal rows are needed.")
        labels = labels if known is None else known
    count = int((labels == 1).sum())
    if count < LEAST_NORMAL:
        raise ValueError(
            f"X has {count} sample(s) of normal rows, but a minimum of {LEAST_NORMAL} "
            "is required: two are left when one is left out."
        )
    return X[labels == 1], X[labels != 1]
