"""DetectorEnsemble: choose or stack detectors without a single anomaly."""

import numbers
import os
from typing import ClassVar

import numpy as np
from sklearn.utils import Bunch

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseComposition,
    BaseDetector,
    HasMethods,
    Integral,
    Interval,
    Real,
    StrOptions,
    check_rows,
    count_rows,
    fit_context,
)
from sklearn_gauss._numerics.stacking import RULES, combined
from sklearn_gauss.detection._examples import deal_folds, find_examples
from sklearn_gauss.detection._held_out import kept_rows
from sklearn_gauss.detection._member_fits import alike, fit_members
from sklearn_gauss.detection._member_scores import scores_of
from sklearn_gauss.detection._row_labels import refuse_member_labels
from sklearn_gauss.detection._shared_steps import behind, leading
from sklearn_gauss.detection._weighing import weigh


class DetectorEnsemble(BaseDetector, BaseComposition):
    """Several detectors, of which drawn defects tell which to trust.

    Without defective rows nobody can tell which detector, level or reduction finds what
    is to come. Defects drawn onto the normal rows close that gap: every member is fitted
    to some folds of the normal rows and scores the others, as they are and with drawn
    defects. From these scores one member is chosen, or weights for all are learned, and
    the members are fitted again to all normal rows. Read more in the
    :ref:`User Guide <without_anomalies>`.

    Parameters
    ----------
    estimators : list of (str, detector)
        Names and detectors, or Pipelines that end in one: anything with ``fit`` and
        ``score_samples`` of which a higher one is more normal. Leading steps that learn
        nothing from rows, as `CNNFeatureExtractor`, are run once for all members that
        have them alike.
    combine : {"stacked", "best", "sum"}, default="stacked"
        "best" takes the score with the highest mean AUROC over the kinds of defects.
        "stacked" weighs all of them by a discriminant, with signs, that is shrunk
        towards the best ones. "sum" adds up the members, each divided by the standard
        deviation of its left-out scores: nothing is learned from defects.
    defects : object with ``draw`` or None, default=None
        What draws defects, as `SyntheticDefects` does on images: ``draw(X)`` returns a
        dict or Bunch of ``X``, ``kind`` and ``source``, and ``vary(X)``, which it may
        have, harmless variations. None perturbs rows of features, which says less.
    cv : int, default=5
        Number of folds in which members score what they were not fitted to.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal rows that may be flagged.
    n_jobs : int, default=None
        Number of fits of a member to run in parallel.

    Attributes
    ----------
    estimators_ : list of detector
        Members fitted to all normal rows. Those with the same extractor share it.
    named_estimators_ : :class:`~sklearn.utils.Bunch`
        The same by name.
    score_names_ : list of str
        Names of the scores: a member's name, and ``name:level`` for the levels of a
        `LevelEnsemble`, which take part one by one as well.
    weights_ : ndarray of shape (n_scores,)
        Weight of each score; the combined one is their weighted sum.
    selection_ : :class:`~sklearn.utils.Bunch`
        What was chosen and why: ``scores`` and ``kinds``, their names; ``auroc``
        (n_scores, n_kinds), how often a held-out normal row scores above a defective
        one of its fold, and ``mean_auroc`` (n_scores,) over kinds; ``best``, the name of
        the score with the highest one; ``weights``, by name; ``held_out_auroc``, for
        each way to combine the mean AUROC on rows and kinds that it was not learned
        from, NaN where there are too few.
    offset_ : float
        Threshold on the score.
    calibration_scores_ : ndarray of shape (n_samples,)
        Combined left-out score of every normal row, in order.
    n_features_in_ : int
        Number of features, where X is a matrix.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    sklearn_gauss.inspector.make_inspector : The recipe for images, built of this.
    sklearn_gauss.model_selection.synthetic_defect_scorer : For searches with drawn
        defects.
    LevelEnsemble : Weighs the levels of one network.

    Notes
    -----
    Scores are those of a member's ``score_samples``, or minus the unsquared distance of
    a `MahalanobisDetector`. "stacked" is Fisher's discriminant between normal and
    defective rows with the covariance of the normal ones [1]_, of scores standardised on
    these and cut at six standard deviations. Its penalty is 4 + 40 / n on the weight of a
    standardised score, and a hundredth of it for the best one and those within 0.01 of
    its AUROC, so that few rows leave little weight to others. Harmless variations, where
    ``defects`` draws some, count as normal in it: what all scores share under another
    light, say, is cancelled.

    The threshold comes from left-out scores: those of members that have them in closed
    form (``calibration_scores_``), else, and where ``groups`` have several rows, those of
    the ``cv`` folds. With "stacked" the weights are those learned without the row's fold,
    their combined scores moved and scaled to the median and quartiles of the final ones.
    Members are fitted ``cv + 1`` times, to folds without
    their warnings. Where a fit to fewer rows scores unseen ones otherwise, a small ``cv``
    shifts the rate: mostly to too few false positives; to too many behind a PCA of many
    noisy features, which overfits less the more rows it has.

    With signed weights a row that one member finds very anomalous may get a better score
    for it. "best" and "sum" never do that.

    References
    ----------
    .. [1] R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals
       of Eugenics 7 (1936).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import (
    ...     DetectorEnsemble, KDEDetector, MahalanobisDetector
    ... )
    >>> rng = np.random.default_rng(0)
    >>> normal = np.repeat(np.eye(4), 50, axis=0) + 0.1 * rng.normal(size=(200, 4))
    >>> members = [("gauss", MahalanobisDetector()), ("kernel", KDEDetector())]
    >>> ensemble = DetectorEnsemble(members, combine="best").fit(normal)
    >>> ensemble.selection_.best
    'kernel'
    >>> ensemble.predict([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    array([ 1, -1])
    """

    _parameter_constraints: ClassVar[dict] = {
        "estimators": [list, tuple],
        "combine": [StrOptions(set(RULES))],
        "defects": [HasMethods("draw"), None],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "target_fpr": [TARGET_FPR],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimators,
        *,
        combine="stacked",
        defects=None,
        cv=5,
        target_fpr=0.05,
        n_jobs=None,
    ):
        self.estimators = estimators
        self.combine = combine
        self.defects = defects
        self.cv = cv
        self.target_fpr = target_fpr
        self.n_jobs = n_jobs

    def get_params(self, deep=True):
        """Parameters of the ensemble and, by name, of its members.

        Parameters
        ----------
        deep : bool, default=True
            Whether to add the members and ``name__parameter`` of each.

        Returns
        -------
        params : dict
            Values by name.
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters of the ensemble and of its members.

        Parameters
        ----------
        **params : dict
            Values by name; ``name=detector`` replaces a member.

        Returns
        -------
        self : object
            The ensemble.
        """
        self._set_params("estimators", **params)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, groups=None):
        """Weigh the members by drawn defects, and fit them to all normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what the members take
            Normal rows; paths or images, say, for Pipelines that extract features.
        y : array-like of shape (n_samples,), default=None
            Where it holds +1 and -1 only, and some of either, rows of label -1 are
            examples of anomalies, real ones or drawn: nothing is drawn then, and nothing
            is fitted to them. Ignored otherwise; with a warning if it has two values.
        groups : array-like of shape (n_samples,), default=None
            Rows of a group (photographs of one part; an image and what was drawn on it)
            are held out together.

        Returns
        -------
        self : object
            Fitted ensemble.

        Raises
        ------
        ValueError
            If the members have no names or the same one, or X holds images and
            ``defects`` is None; and whatever a member refuses.
        """
        self._check_members()
        X = self._check(X, reset=True)
        refuse_member_labels(self.estimators, X, y)
        examples = find_examples(X, y, groups, self.defects)
        folds = deal_folds(examples, self.cv)
        fits = self._fit_members(examples, folds)
        self._keep(fits)
        found = weigh(fits, examples, folds, rule=self.combine)
        self.weights_, self.selection_ = found.weights, found.selection
        self.calibration_scores_ = found.calibration_scores
        vars(self).pop("calibration_weights_", None)
        if (kept := kept_rows(self.estimators_)) is not None:
            self.calibration_weights_ = kept
        self._set_threshold(self.target_fpr)
        return self

    def member_scores(self, X):
        """Every score by itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what the members take
            Rows to score.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_scores)
            In the order of ``score_names_``, each in its own units.
        """
        self._check_is_fitted()
        return self._member_scores(self._check(X), np.full(len(self.weights_), True))

    def _fit_members(self, examples, folds):
        """The members, fitted, with their scores of all rows out of folds."""
        return fit_members(
            self.estimators,
            examples,
            folds,
            columns=getattr(self, "feature_names_in_", ()),
            n_jobs=self.n_jobs,
        )

    def _keep(self, fits):
        """Set what is known of the members."""
        self.estimators_ = [fit.detector for fit in fits]
        names = [name for name, _ in self.estimators]
        members = dict(zip(names, self.estimators_, strict=True))
        self.named_estimators_ = Bunch(**members)
        self.score_names_ = [name for fit in fits for name in fit.names]
        self._widths = [len(fit.names) for fit in fits]
        self._keys = [fit.key for fit in fits]
        self._n_leading = [fit.n_leading for fit in fits]

    def _scores(self, X):
        counts = self.weights_ != 0
        return combined(self._member_scores(X, counts), self.weights_)

    def _member_scores(self, X, needed):
        """Scores (n, m); 0 for those of members of whom none is needed."""
        stops = np.cumsum(self._widths)
        blocks = [np.zeros((count_rows(X), width)) for width in self._widths]
        wanted = [
            needed[stop - width : stop].any()
            for width, stop in zip(self._widths, stops, strict=True)
        ]
        for places in alike(self._keys):
            places = [i for i in places if wanted[i]]
            if not places:
                continue
            front = leading(self.estimators_[places[0]], self._n_leading[places[0]])
            features = X if front is None else front.transform(X)
            for i in places:
                rest = behind(self.estimators_[i], self._n_leading[i])
                blocks[i] = scores_of(rest, features)
        return np.column_stack(blocks)

    def _check(self, X, *, reset=False):
        """Rows of numbers, checked; images or paths as they are, for the members."""
        if isinstance(X, (str, os.PathLike)):
            raise TypeError(
                f"X is {str(X)!r}: pass a list of images, such as "
                "sklearn_gauss.datasets.list_images(folder)."
            )
        X = _images_of_column(X)
        if isinstance(X, (list, tuple)):
            rows = len(X) and _is_row(X[0])
        else:
            rows = getattr(X, "ndim", 2) == 2
        if reset and not rows:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(self).pop(name, None)
        return check_rows(self, X, reset=reset) if rows else X

    def _check_members(self):
        pairs = [
            pair
            for pair in self.estimators
            if isinstance(pair, (list, tuple))
            and len(pair) == 2
            and isinstance(pair[0], str)
        ]
        if not self.estimators or len(pairs) < len(self.estimators):
            raise ValueError(
                "estimators must be a list of pairs (name, detector), at least one, got "
                f"{self.estimators!r}."
            )
        names = [name for name, _ in pairs]
        try:
            self._validate_names(names)
        except ValueError as error:
            raise ValueError(f"estimators: {error}") from error
        for name, member in pairs:
            lacks = [m for m in ("fit", "score_samples") if not hasattr(member, m)]
            if lacks:
                raise TypeError(
                    f"estimators: {name!r} is a {type(member).__name__}, which lacks "
                    f"{' and '.join(lacks)} (LocalOutlierFactor needs novelty=True)."
                )
        if isinstance(self.defects, type):
            raise TypeError(f"defects is a class; make one: {self.defects.__name__}().")


def _images_of_column(X):
    """A list of the paths or images in a table of one column; anything else as it is."""
    shape = getattr(X, "shape", ())
    if len(shape) != 2 or shape[1] != 1 or not shape[0]:
        return X
    column = X[X.columns[0]] if hasattr(X, "columns") else X[:, 0]
    items = list(column)
    no_image = numbers.Number, np.generic, type(None)
    return X if any(isinstance(item, no_image) for item in items) else items


def _is_row(item):
    """Whether an item of a list is a row of numbers; not an image, nor its path."""
    if isinstance(item, (list, tuple)):
        return all(isinstance(value, Real) for value in item)
    return getattr(item, "ndim", None) == 1
