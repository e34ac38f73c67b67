"""WorkingPointDisplay: the false-positive rate asked for against the measured one."""

import numpy as np
from scipy import stats
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
    plural,
)

TARGETS = np.linspace(0.005, 0.25, 50)


class WorkingPointDisplay:
    """Target against measured false-positive rate, over a range of targets.

    A calibrated detector stays in the band around the diagonal that chance alone
    explains. Above it too many normal rows are flagged, below it too few. Create it by
    ``from_estimator`` or ``from_predictions``; all parameters are attributes.

    Parameters
    ----------
    target_fpr : ndarray of shape (n_targets,)
        Targets.
    measured_fpr : ndarray of shape (n_targets,)
        Share of the normal rows that are flagged at each.
    n_normal : int
        Number of the normal rows.
    n_calibration : int or None, default=None
        Number of rows that set the threshold. The band then covers the chance in both
        sets of rows (beta-binomial); None takes the threshold as exact (binomial).
    working_point : tuple of float or None, default=None
        A target to mark, as the one in use, and the rate measured there.
    confidence : float, default=0.95
        Share of chance that the band covers, at each target.
    estimator_name : str or None, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure containing the axes.
    line_ : matplotlib Line2D
        The measured rates.
    ideal_line_ : matplotlib Line2D
        The diagonal.
    band_ : matplotlib FillBetweenPolyCollection
        What chance alone explains.
    point_ : matplotlib Line2D or None
        The working point.

    See Also
    --------
    ScoreDisplay : The scores and the threshold themselves.

    Notes
    -----
    With n calibration rows, a threshold for the target t is their k-th score from below,
    k = floor(t (n + 1)). Its true false-positive rate is a draw from
    Beta(k, n + 1 - k), so that the count among m further rows is beta-binomial. The
    band holds at each target on its own, not for the whole curve at once.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from sklearn_gauss.detection import MahalanobisDetector
    >>> from sklearn_gauss.plotting import WorkingPointDisplay
    >>> rng = np.random.default_rng(0)
    >>> detector = MahalanobisDetector().fit(rng.normal(size=(100, 5)))
    >>> display = WorkingPointDisplay.from_estimator(
    ...     detector, rng.normal(size=(200, 5)), ax=Figure().subplots()
    ... )
    >>> asked, measured = display.working_point
    """

    def __init__(
        self,
        target_fpr,
        measured_fpr,
        n_normal,
        *,
        n_calibration=None,
        working_point=None,
        confidence=0.95,
        estimator_name=None,
    ):
        self.target_fpr = target_fpr
        self.measured_fpr = measured_fpr
        self.n_normal = n_normal
        self.n_calibration = n_calibration
        self.working_point = working_point
        self.confidence = confidence
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        target_fpr=None,
        confidence=0.95,
        name=None,
        ax=None,
    ):
        """Measure a fitted detector on rows that it was not fitted to, and draw.

        Parameters
        ----------
        estimator : detector or Pipeline ending in one
            Fitted, with ``p_values``.
        X : array-like of shape (n_samples, n_features)
            Rows that were not used in the fit.
        y : array-like of shape (n_samples,), default=None
            +1 for a normal row, -1 for an anomaly, which is left out. None: all are
            normal.
        target_fpr : array-like of float in (0, 1), default=None
            Targets; None takes 50 up to 0.25.
        confidence : float, default=0.95
            Share of chance that the band covers, at each target.
        name : str, default=None
            The title; None takes the name of the detector's class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : WorkingPointDisplay
            What was drawn.
        """
        import_matplotlib(cls.__name__)
        check_is_fitted(estimator)
        detector = last_step(estimator)
        rows = X if detector is estimator else estimator[:-1].transform(X)
        p_values = detector.p_values(rows)
        return cls.from_predictions(
            np.ones(len(p_values)) if y is None else y,
            p_values,
            n_calibration=len(detector.calibration_scores_),
            target_fpr=target_fpr,
            working_point=getattr(detector, "target_fpr", None),
            confidence=confidence,
            name=name or type(detector).__name__,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        p_values,
        *,
        n_calibration=None,
        target_fpr=None,
        working_point=None,
        confidence=0.95,
        name=None,
        ax=None,
    ):
        """Draw from p-values that are known.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            +1 for a normal row, -1 for an anomaly, which is left out.
        p_values : array-like of shape (n_samples,)
            p-value of every row; a row is flagged at the targets at or above it.
        n_calibration : int, default=None
            Number of calibration rows behind the p-values, for the band.
        target_fpr : array-like of float in (0, 1), default=None
            Targets; None takes 50 up to 0.25.
        working_point : float, default=None
            A target to mark.
        confidence : float, default=0.95
            Share of chance that the band covers, at each target.
        name : str, default=None
            The title.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : WorkingPointDisplay
            What was drawn.
        """
        import_matplotlib(cls.__name__)
        p_values = check_values(p_values, "p_values")
        normal = p_values[check_labels(y_true, len(p_values)) == 1]
        if not normal.size:
            raise ValueError("No row is normal: a false-positive rate needs some.")
        targets = _check_targets(TARGETS if target_fpr is None else target_fpr)
        if working_point is not None:
            (measured,) = measured_rates(normal, [working_point])
            working_point = (working_point, float(measured))
        display = cls(
            targets,
            measured_rates(normal, targets),
            len(normal),
            n_calibration=n_calibration,
            working_point=working_point,
            confidence=confidence,
            estimator_name=name,
        )
        return display.plot(ax)

    def plot(self, ax=None, *, name=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            The title; None takes ``estimator_name``.

        Returns
        -------
        display : WorkingPointDisplay
            This object.
        """
        self.ax_ = ax = axes(ax, type(self).__name__)
        self.figure_ = ax.figure
        low, high = chance_band(
            self.target_fpr, self.n_normal, self.n_calibration, self.confidence
        )
        self.band_ = ax.fill_between(
            self.target_fpr,
            low,
            high,
            color=PASSED,
            alpha=0.18,
            linewidth=0,
            label=f"chance ({self.confidence:.0%}, {plural(self.n_normal, 'row')})",
        )
        (self.ideal_line_,) = ax.plot(
            self.target_fpr, self.target_fpr, color=THRESHOLD, linestyle="--", linewidth=1
        )
        (self.line_,) = ax.plot(
            self.target_fpr, self.measured_fpr, color=PASSED, label="measured"
        )
        self.point_ = self._draw_point()
        title = self.estimator_name if name is None else name
        ax.set(xlabel="Target false-positive rate", title=title or "")
        ax.set(ylabel="Measured false-positive rate", xlim=(0, max(self.target_fpr)))
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc="upper left")
        return self

    def _draw_point(self):
        if self.working_point is None:
            return None
        asked, measured = self.working_point
        label = f"in use: {asked:.3g} asked, {measured:.3g} measured"
        return self.ax_.plot([asked], [measured], "o", color=FLAGGED, label=label)[0]


def measured_rates(p_values, targets):
    """Share of the p-values at or below each target, up to rounding."""
    limits = np.asarray(targets, dtype=np.float64) * (1 + 1e-9)
    return np.searchsorted(np.sort(p_values), limits, side="right") / len(p_values)


def chance_band(targets, n_rows, n_calibration, confidence):
    """Lowest and highest measured rate that chance explains at each target."""
    targets = np.asarray(targets, dtype=np.float64)
    tail = (1 - confidence) / 2
    if n_calibration is None:
        law = stats.binom(n_rows, targets)
        return law.ppf(tail) / n_rows, law.ppf(1 - tail) / n_rows
    rank = np.floor(targets * (n_calibration + 1) * (1 + 1e-9))
    law = stats.betabinom(n_rows, np.maximum(rank, 1), n_calibration + 1 - rank)
    certified = rank > 0  # with fewer calibration rows nothing is ever flagged
    return tuple(np.where(certified, law.ppf(q) / n_rows, 0.0) for q in (tail, 1 - tail))


def _check_targets(targets):
    targets = np.sort(check_values(targets, "target_fpr"))
    if targets[0] <= 0 or targets[-1] >= 1:
        raise ValueError(
            f"target_fpr must lie between 0 and 1, got {targets[0]:g} to {targets[-1]:g}."
        )
    return targets
