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
)
from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.detection._calibrated import CalibratedDetector
from sklearn_gauss.detection._held_out import fit_quietly, kept_rows
from sklearn_gauss.detection._labelled import split_labelled
from sklearn_gauss.detection._mahalanobis import MahalanobisDetector

#: Weights of the prototypes that "auto" chooses among, besides 0.
WEIGHTS = (0.1, 0.2, 0.3)

#: Anomalies below which their left-out scores cannot tell whether they help.
FEWEST = 5

#: Deviation, of values of at most 1, that is rounding alone.
CONSTANT = 1e-12

#: Scores and prototypes are clipped to it.
LARGEST = np.finfo(np.float64).max


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
        directions, copies once, in an order that does not depend on that of the rows).
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
        are, or more, leave out single ones. Copies, and rows of a group, are one.
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
        ``standard_error`` of that over anomalies, of which copies and groups are one.
        Empty where there was nothing to choose.
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
    which anomalies a prototype combines, and with which weights, is kept. A ``detector``
    without left-out scores of its own, such as a Pipeline, is calibrated by
    `CalibratedDetector`.

    Anomalies help with others of their kind. Of a kind that was never labelled they can
    be missed more often than without labels, and nothing in the data tells.

    Fewer than 5 labelled anomalies are ignored by "auto", with a warning. Copies of one,
    and rows of a group, count once.

    There is no ``score``: a mean score of normal rows cannot tell whether labels help,
    so that searches need a ``scoring``.

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

    # Composites ask for it: `fit` takes rows of label -1.
    _learns_from_anomalies = True

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
    def fit(self, X, y=None, groups=None):
        """Fit to the normal rows, and see whether the anomalies help.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows and, with ``y``, anomalies.
        y : array-like of shape (n_samples,), default=None
            +1 for a normal row and -1 for an anomaly. All rows are normal without it.
        groups : array-like of shape (n_samples,), default=None
            Anomalies of a group, several pictures of one part say, are left out
            together and count as one where the weight is chosen. Normal rows are left
            out one by one whatever their group.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            If X is no finite numeric array, or has fewer than three normal rows; if
            ``y`` or ``groups`` has another length, or ``y`` values beside +1 and -1.

        Warns
        -----
        CalibrationWarning
            Where the normal rows are too few for ``target_fpr``; nothing is flagged then.
        UserWarning
            Where the anomalies are too few for ``weight="auto"``, or ``y`` has two
            values that are no labels; it is ignored then.
        """
        X = check_rows(self, X, reset=True)
        normal, anomalies, parts = split_labelled(X, y, groups)
        if self.weight == 0:
            anomalies, parts = anomalies[:0], parts[:0]
        left_out = self._fit_normal(normal, needs_space=len(anomalies) > 0)
        found = self._fit_anomalies(anomalies, parts, normal, left_out)
        vars(self).pop("calibration_scores_", None)
        if self.calibration == "loo":
            self.calibration_scores_ = -self._combined(left_out, found)
            self._set_threshold(self.target_fpr)
        else:
            self.offset_ = float(self.calibration)
        return self

    def fit_predict(self, X, y=None, groups=None):
        """Fit, and give the verdict on the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows and, with ``y``, anomalies.
        y : array-like of shape (n_samples,), default=None
            As for `fit`.
        groups : array-like of shape (n_samples,), default=None
            As for `fit`.

        Returns
        -------
        y : ndarray of int of shape (n_samples,)
            +1 for a normal row, -1 for an anomaly.
        """
        return self.fit(X, y, groups).predict(X)

    @property
    def score(self):
        """None: a mean score cannot choose here, give searches a ``scoring``."""
        raise AttributeError(
            f"{type(self).__name__} has no score: the mean score of normal rows does not "
            "tell whether labelled anomalies help. Give searches scoring, such as "
            "sklearn_gauss.model_selection.anomaly_scorer()."
        )

    def _fit_normal(self, normal, *, needs_space):
        """Fit what knows normal rows alone; how anomalous these are, left out (n,)."""
        self.detector_ = self.covariance_ = self.reference_ = None
        vars(self).pop("calibration_weights_", None)
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
            if (kept := kept_rows([self.detector_])) is not None:
                self.calibration_weights_ = kept
            return -self.detector_.calibration_scores_
        return self._space().dissimilarity(normal, np.arange(len(normal)))

    def _fit_anomalies(self, anomalies, parts, normal, left_out):
        """Choose weight and prototypes; left-out cosines (n,) of the normal rows."""
        self.weight_curve_, self._units = {}, [*self._moments(left_out), 0.0, 1.0]
        self.weight_, found = 0.0, np.zeros(len(normal))
        self.prototypes_ = np.empty((0, self.n_features_in_))
        if not len(anomalies):
            self.uses_labels_ = False
            return found
        space, rng = self._space(), check_random_state(self.random_state)
        directions = space.directions(anomalies, normal)
        if self.weight == "auto":
            own = self._normal_part(anomalies)
            self.weight_ = self._chosen_weight(own, parts, directions, left_out, rng)
        else:
            self.weight_ = float(self.weight)
        self.uses_labels_ = self.weight_ > 0
        if self.uses_labels_:
            chosen = self._clustered(directions, np.arange(len(anomalies)), rng)
            self.prototypes_ = _in_units(directions.prototypes(chosen), space.unit)
            found = _likeness(directions.left_out_cosines(chosen))
            self._units[2:] = self._moments(found)
        return found

    def _chosen_weight(self, own, parts, directions, left_out, rng):
        """Weight by the left-out anomalies' places among left-out normal rows."""
        count = len(np.unique(parts))
        if count < FEWEST:
            _warn_of_few(count)
            return 0.0
        weights = np.array([0.0, *WEIGHTS])
        places = np.empty((len(own), len(weights)))
        folds = KFold(min(self.cv, count), shuffle=True, random_state=0)
        for _, held_out in folds.split(np.arange(count)):
            is_out = np.isin(parts, held_out)
            some = np.flatnonzero(is_out)
            chosen = self._clustered(directions, np.flatnonzero(~is_out), rng)
            normal = _likeness(directions.left_out_cosines(chosen))
            odd = _likeness(directions.cosines(some, chosen))
            units = [*self._units[:2], *self._moments(normal)]
            for i, weight in enumerate(weights):
                places[some, i] = placements(
                    _weighed(own[some], odd, weight, units),
                    _weighed(left_out, normal, weight, units),
                )
        self.weight_curve_ = curve = _curve(weights, _means_of(places, parts))
        sure = curve["gain"] - curve["standard_error"]
        best = int(np.argmax(sure))
        return float(weights[best]) if sure[best] > 1e-12 else 0.0

    def _clustered(self, directions, some, rng):
        """Weights of prototypes: some anomalies, or clusters where they are many."""
        if len(some) <= self.n_prototypes:
            return directions.singly(some)
        means = KMeans(self.n_prototypes, n_init=3, random_state=rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # equal directions
            groups = means.fit_predict(directions.coordinates[some])
        return directions.grouped(some, groups)

    def _moments(self, values):
        """Mean and standard deviation that values of normal rows are taken in."""
        kept = vars(self).get("calibration_weights_", np.ones(len(values)))
        values = values[np.isfinite(values) & (kept > 0)]
        if not self.standardize or not len(values):
            return [0.0, 1.0]
        unit = float(np.abs(values).max()) or 1.0
        deviation = float((values / unit).std())
        scale = deviation * unit if deviation > CONSTANT else 1.0
        return [float((values / unit).mean()) * unit, scale]

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
            offsets, _ = space.offsets(X)
            found = _likeness(cosines(offsets, self.prototypes_, space.solve))
        scores = -self._combined(self._normal_part(X), found)
        return np.clip(scores, -LARGEST, LARGEST)


def _warn_of_few(count):
    warnings.warn(
        f"{count} labelled anomalies are too few to tell whether they help: {FEWEST} are "
        "the least, copies and rows of a group counted once. They are ignored; give "
        "weight as a number to use them.",
        UserWarning,
        stacklevel=callers_level(),
    )


def _likeness(cosines):
    """(1 + cos) / 2 (n,) of rows and the most similar prototype."""
    return (1 + cosines.max(axis=1)) / 2


def _weighed(normal_part, found, weight, units):
    """(1 - w) u + w c of both parts, each less its mean in its standard deviation."""
    parts = [(1 - weight, normal_part, units[:2]), (weight, found, units[2:])]
    with np.errstate(over="ignore"):
        return sum(w * ((x - mean) / deviation) for w, x, (mean, deviation) in parts if w)


def _in_units(prototypes, unit):
    """Prototypes in the data's units, as far as these go."""
    with np.errstate(over="ignore"):
        return np.clip(prototypes * unit, -LARGEST, LARGEST)


def _means_of(places, parts):
    """Means (m, ...) of the rows of each part."""
    sums = np.zeros((parts.max() + 1, *places.shape[1:]))
    np.add.at(sums, parts, places)
    return sums / np.bincount(parts)[:, None]


def _curve(weights, places):
    """What weights gain over the first, by places (m, n_weights) of anomalies."""
    gains = places - places[:, :1]
    return {
        "weight": weights,
        "auc": places.mean(axis=0),
        "gain": gains.mean(axis=0),
        "standard_error": gains.std(axis=0, ddof=1) / np.sqrt(len(places)),
    }


def _fitted(detector, normal, n_jobs):
    """A fitted clone with left-out scores of its training rows."""
    found = MahalanobisDetector() if detector is None else clone(detector)
    found = fit_quietly(found, normal)
    scores = getattr(found, "calibration_scores_", ())
    if len(scores) == len(normal):
        return found
    return fit_quietly(CalibratedDetector(detector, n_jobs=n_jobs), normal)
