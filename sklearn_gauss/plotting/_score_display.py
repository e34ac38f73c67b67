"""ScoreDisplay: scores of normal and anomalous rows, and the threshold."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss.plotting._axes import (
    FLAGGED,
    PASSED,
    THRESHOLD,
    axes,
    check_labels,
    check_values,
    import_matplotlib,
    last_step,
)

NORMAL, ANOMALY = "normal", "anomaly"
GOLDEN = (5**0.5 - 1) / 2  # multiples of it modulo 1 spread evenly, whatever their count


class ScoreDisplay:
    """Scores of rows by kind of defect, with the threshold of the detector.

    Use ``from_estimator`` or ``from_predictions`` to create one. All parameters are
    stored as attributes.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Score of every row; a higher one is more normal.
    groups : ndarray of str of shape (n_samples,)
        The kind of every row: "normal", or that of its defect.
    threshold : float or None, default=None
        Rows that score below it are flagged. None, or one that is not finite, is not
        drawn.
    estimator_name : str or None, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the scores.
    figure_ : matplotlib Figure
        Figure containing the axes.
    strips_ : dict of str to list of matplotlib PathCollection
        Points of every group, those flagged first. Only for ``kind="strip"``.
    bars_ : dict of str to list of matplotlib Polygon
        Outline of the histogram of every group. Only for ``kind="hist"``.
    line_ : matplotlib Line2D or None
        The threshold.

    See Also
    --------
    WorkingPointDisplay : Whether the false-positive rate is the one asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from sklearn_gauss.detection import MahalanobisDetector
    >>> from sklearn_gauss.plotting import ScoreDisplay
    >>> rng = np.random.default_rng(0)
    >>> detector = MahalanobisDetector().fit(rng.normal(size=(100, 5)))
    >>> X, y = rng.normal(size=(50, 5)), np.repeat([1, -1], 25)
    >>> X[y == -1] += 2
    >>> display = ScoreDisplay.from_estimator(detector, X, y, ax=Figure().subplots())
    >>> sorted(display.strips_)
    ['anomaly', 'normal']
    """

    def __init__(self, scores, groups, *, threshold=None, estimator_name=None):
        self.scores = scores
        self.groups = groups
        self.threshold = threshold
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, defect=None, kind="strip", name=None, ax=None
    ):
        """Score rows with a fitted detector and draw the scores.

        Parameters
        ----------
        estimator : detector or Pipeline ending in one
            Fitted, with ``score_samples`` or else ``decision_function``.
        X : array-like of shape (n_samples, n_features)
            Rows to score; whatever the estimator takes.
        y : array-like of shape (n_samples,), default=None
            +1 for a normal row, -1 for an anomaly. None: all are normal, or as
            ``defect`` says.
        defect : array-like of str of shape (n_samples,), default=None
            Kind of defect of every row; that of normal rows is not used. None: all
            anomalies are of one kind.
        kind : {"strip", "hist"}, default="strip"
            Every row as a point, or a histogram.
        name : str, default=None
            The title; None takes the name of the detector's class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ScoreDisplay
            What was drawn.
        """
        import_matplotlib(cls.__name__)
        check_is_fitted(estimator)
        if hasattr(estimator, "score_samples"):
            scores = estimator.score_samples(X)
            threshold = getattr(last_step(estimator), "offset_", None)
        else:
            scores, threshold = estimator.decision_function(X), 0.0
        return cls.from_predictions(
            y,
            scores,
            defect=defect,
            threshold=threshold,
            kind=kind,
            name=name or type(last_step(estimator)).__name__,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        scores,
        *,
        defect=None,
        threshold=None,
        kind="strip",
        name=None,
        ax=None,
    ):
        """Draw scores that are known.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or None
            +1 for a normal row, -1 for an anomaly. None: all are normal, or all but
            those whose ``defect`` is "good" or "normal" are anomalies.
        scores : array-like of shape (n_samples,)
            Score of every row; a higher one is more normal.
        defect : array-like of str of shape (n_samples,), default=None
            Kind of defect of every row.
        threshold : float, default=None
            Rows that score below it are flagged.
        kind : {"strip", "hist"}, default="strip"
            Every row as a point, or a histogram.
        name : str, default=None
            The title.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ScoreDisplay
            What was drawn.
        """
        import_matplotlib(cls.__name__)
        scores = check_values(scores, "scores")
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite to be drawn.")
        groups = _groups(y_true, defect, len(scores))
        display = cls(scores, groups, threshold=threshold, estimator_name=name)
        return display.plot(ax, kind=kind)

    def plot(self, ax=None, *, kind="strip", name=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        kind : {"strip", "hist"}, default="strip"
            Every row as a point, or a histogram.
        name : str, default=None
            The title; None takes ``estimator_name``.

        Returns
        -------
        display : ScoreDisplay
            This object.
        """
        if kind not in ("strip", "hist"):
            raise ValueError(f"kind must be 'strip' or 'hist', got {kind!r}.")
        self.ax_ = axes(ax, type(self).__name__)
        self.figure_ = self.ax_.figure
        self.line_ = self._draw_threshold()
        if kind == "strip":
            self._draw_strips()
        else:
            self._draw_histograms()
        title = self.estimator_name if name is None else name
        self.ax_.set(xlabel="Score (higher is more normal)", title=title or "")
        return self

    def _names(self):
        """Names of the groups: normal rows first, then by name."""
        return sorted(set(self.groups.tolist()), key=lambda name: (name != NORMAL, name))

    def _has_threshold(self):
        return self.threshold is not None and np.isfinite(self.threshold)

    def _flagged(self):
        """Whether each row is flagged; without a threshold none is."""
        if not self._has_threshold():
            return np.zeros(len(self.scores), dtype=bool)
        return self.scores < self.threshold

    def _draw_threshold(self):
        if not self._has_threshold():
            return None
        return self.ax_.axvline(
            self.threshold, color=THRESHOLD, linestyle="--", linewidth=1, zorder=3
        )

    def _draw_strips(self):
        flagged, names, self.strips_ = self._flagged(), self._names(), {}
        for place, name in enumerate(names):
            here = self.groups == name
            self.strips_[name] = [
                self._draw_points(here & flagged, place, FLAGGED),
                self._draw_points(here & ~flagged, place, PASSED),
            ]
        labels = [self._label(name, flagged) for name in names]
        self.ax_.set_yticks(range(len(names)), labels)
        self.ax_.set_ylim(len(names) - 0.5, -0.5)
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.spines[["top", "right", "left"]].set_visible(False)
        self.ax_.grid(axis="x", alpha=0.3)
        self.ax_.set_axisbelow(True)

    def _draw_points(self, rows, place, colour):
        scores = self.scores[rows]
        heights = place + 0.6 * (GOLDEN * np.arange(1, len(scores) + 1) % 1 - 0.5)
        return self.ax_.scatter(
            scores, heights, s=14, color=colour, alpha=0.7, linewidths=0, zorder=2
        )

    def _label(self, name, flagged):
        here = self.groups == name
        if not self._has_threshold():
            return f"{name}\n{here.sum()}"
        return f"{name}\n{(here & flagged).sum()} of {here.sum()} flagged"

    def _draw_histograms(self):
        edges = np.histogram_bin_edges(self.scores, bins="auto")
        edges = edges if len(edges) <= 60 else np.linspace(edges[0], edges[-1], 61)
        self.bars_ = {}
        for place, name in enumerate(self._names()):
            here = self.groups == name
            colour = PASSED if name == NORMAL else f"C{place + 1}"
            self.bars_[name] = self.ax_.hist(
                self.scores[here],
                bins=edges,
                weights=np.full(here.sum(), 1 / here.sum()),
                histtype="stepfilled" if name == NORMAL else "step",
                alpha=0.5 if name == NORMAL else 1.0,
                color=colour,
                linewidth=1.5,
                label=f"{name} ({here.sum()})",
            )[2]
        if self.line_ is not None:
            self.line_.set_label("threshold")
        self.ax_.set_ylabel("Share of the rows of each kind")
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.legend(frameon=False)


def _groups(y_true, defect, n_rows):
    """The kind of every row, from its label, its defect or both."""
    if defect is None:
        labels = check_labels(np.ones(n_rows) if y_true is None else y_true, n_rows)
        return np.where(labels == 1, NORMAL, ANOMALY)
    defect = np.asarray(defect, dtype=str)
    if defect.shape != (n_rows,):
        raise ValueError(f"defect has shape {defect.shape}; {n_rows} names are needed.")
    if y_true is None:
        return np.where(np.isin(defect, ("good", NORMAL)), NORMAL, defect)
    return np.where(check_labels(y_true, n_rows) == 1, NORMAL, defect)
