"""BandwidthDisplay: how good and how smooth a kernel density is at each bandwidth."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss.plotting._axes import (
    PASSED,
    THRESHOLD,
    axes,
    check_values,
    import_matplotlib,
    last_step,
)

NEIGHBORS = "#b5651d"

#: The regimes from small bandwidths to large ones, each with its shade.
REGIMES = {"condensed": 0.16, "heavy-tailed": 0.08, "gaussian": 0.0}

#: Falls of the likelihood, from its maximum to the largest bandwidth, that are in view
#: below the maximum: towards small bandwidths it falls without end.
FALLS_IN_VIEW = 2.0


class BandwidthDisplay:
    """Left-out likelihood and effective neighbours of a kernel density by bandwidth.

    The bandwidth that fits unseen rows best has the greatest mean left-out
    log-likelihood. Below h_G the density at a row is made up of few others
    ("condensed"), from there to h_CLT it is an average of many with heavy tails, and
    above h_CLT an average with Gaussian fluctuations. Create it by ``from_estimator`` or
    ``from_curve``; all parameters are attributes.

    Parameters
    ----------
    bandwidths : ndarray of shape (n_bandwidths,)
        Bandwidths h, in increasing order.
    log_likelihood : ndarray of shape (n_bandwidths,)
        Mean left-out log-density at each, in nats; minus infinity, which a compact kernel
        gives where it reaches too few rows, is not drawn.
    effective_neighbors : ndarray of shape (n_bandwidths,)
        Median number of rows that make up the density at a left-out row.
    bandwidth : float or None, default=None
        The bandwidth in use.
    h_g, h_clt : float or None, default=None
        Bandwidths between the regimes. Those that are None or not positive are not drawn.
    estimator_name : str or None, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the likelihood.
    neighbors_ax_ : matplotlib Axes
        Axes over it, with the effective neighbours.
    figure_ : matplotlib Figure
        Figure containing the axes.
    line_ : matplotlib Line2D
        The likelihood.
    neighbors_line_ : matplotlib Line2D
        The effective neighbours.
    bandwidth_line_, h_g_line_, h_clt_line_ : matplotlib Line2D or None
        The bandwidth in use and those between the regimes.
    regions_ : dict of str to matplotlib Rectangle
        Shade of each regime that is in view.
    labels_ : dict of str to matplotlib Text
        Name of each.

    See Also
    --------
    sklearn_gauss.detection.KDEDetector.bandwidth_curve : The numbers.
    ScoreDisplay : The scores at the bandwidth in use.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from sklearn_gauss.detection import KDEDetector
    >>> from sklearn_gauss.plotting import BandwidthDisplay
    >>> detector = KDEDetector().fit(np.random.default_rng(0).normal(size=(100, 5)))
    >>> display = BandwidthDisplay.from_estimator(detector, ax=Figure().subplots())
    >>> display.bandwidth == detector.bandwidth_
    True
    >>> list(display.regions_)
    ['condensed', 'heavy-tailed', 'gaussian']
    """

    def __init__(
        self,
        bandwidths,
        log_likelihood,
        effective_neighbors,
        *,
        bandwidth=None,
        h_g=None,
        h_clt=None,
        estimator_name=None,
    ):
        self.bandwidths = bandwidths
        self.log_likelihood = log_likelihood
        self.effective_neighbors = effective_neighbors
        self.bandwidth = bandwidth
        self.h_g = h_g
        self.h_clt = h_clt
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(cls, estimator, *, bandwidths=None, name=None, ax=None):
        """Compute the curve of a fitted detector and draw it.

        Parameters
        ----------
        estimator : KDEDetector or Pipeline ending in one
            Fitted. The curve is that of its reference rows, each left out: of all rows,
            or of those that were kept.
        bandwidths : array-like of float, default=None
            Bandwidths; None takes 49 around those that part the regimes and the one in
            use.
        name : str, default=None
            The title; None takes the name of the detector's class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : BandwidthDisplay
            What was drawn.

        Raises
        ------
        TypeError
            If the detector is no kernel density.
        """
        import_matplotlib(cls.__name__)
        check_is_fitted(estimator)
        detector = last_step(estimator)
        if not hasattr(detector, "bandwidth_curve"):
            raise TypeError(
                f"{type(detector).__name__} has no bandwidth: give a KDEDetector or a "
                "Pipeline that ends in one."
            )
        curve = detector.bandwidth_curve(bandwidths)
        regimes = detector.bandwidth_regimes_
        return cls.from_curve(
            curve.bandwidths,
            curve.log_likelihood,
            curve.effective_neighbors,
            bandwidth=detector.bandwidth_,
            h_g=regimes["h_g"],
            h_clt=regimes["h_clt"],
            name=name or type(detector).__name__,
            ax=ax,
        )

    @classmethod
    def from_curve(
        cls,
        bandwidths,
        log_likelihood,
        effective_neighbors,
        *,
        bandwidth=None,
        h_g=None,
        h_clt=None,
        name=None,
        ax=None,
    ):
        """Draw a curve that is known.

        Parameters
        ----------
        bandwidths : array-like of float of shape (n_bandwidths,)
            Bandwidths h, in any order.
        log_likelihood : array-like of float of shape (n_bandwidths,)
            Mean left-out log-density at each, in nats.
        effective_neighbors : array-like of float of shape (n_bandwidths,)
            Median number of rows that make up the density at a left-out row.
        bandwidth : float, default=None
            The bandwidth in use.
        h_g, h_clt : float, default=None
            Bandwidths between the regimes.
        name : str, default=None
            The title.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : BandwidthDisplay
            What was drawn.
        """
        import_matplotlib(cls.__name__)
        bandwidths = check_values(bandwidths, "bandwidths")
        if not ((bandwidths > 0) & np.isfinite(bandwidths)).all():
            raise ValueError("bandwidths must be positive and finite.")
        curves = {
            "log_likelihood": check_values(log_likelihood, "log_likelihood"),
            "effective_neighbors": check_values(
                effective_neighbors, "effective_neighbors"
            ),
        }
        for what, values in curves.items():
            if len(values) != len(bandwidths):
                raise ValueError(
                    f"{what} has {len(values)} values for {len(bandwidths)} bandwidths."
                )
        order = np.argsort(bandwidths)
        display = cls(
            bandwidths[order],
            curves["log_likelihood"][order],
            curves["effective_neighbors"][order],
            bandwidth=bandwidth,
            h_g=h_g,
            h_clt=h_clt,
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
        display : BandwidthDisplay
            This object.
        """
        self.ax_ = ax = axes(ax, type(self).__name__)
        self.figure_ = ax.figure
        self.neighbors_ax_ = beside = ax.twinx()
        values = np.where(np.isfinite(self.log_likelihood), self.log_likelihood, np.nan)
        (self.line_,) = ax.plot(self.bandwidths, values, color=PASSED, linewidth=2)
        (self.neighbors_line_,) = beside.plot(
            self.bandwidths, self.effective_neighbors, color=NEIGHBORS, linestyle="-."
        )
        ax.set(xscale="log", xlabel="Bandwidth h")
        beside.set_yscale("log")
        title = self.estimator_name if name is None else name
        ax.set_title(title or "", pad=22)
        for side, line, label in (
            (ax, self.line_, "Mean left-out log-likelihood (nats)"),
            (beside, self.neighbors_line_, "Effective neighbours (median)"),
        ):
            side.set_ylabel(label, color=line.get_color())
            side.tick_params(axis="y", which="both", colors=line.get_color())
            side.spines["top"].set_visible(False)
        self._limit(values)
        _label_decades(ax.xaxis)
        _label_decades(beside.yaxis)
        self._draw_regimes()
        self._draw_marks()
        return self

    def _limit(self, values):
        """Show all bandwidths, and of the likelihood what lies around its maximum."""
        marked = [h for h in (self.bandwidth, self.h_g, self.h_clt) if _positive(h)]
        shown = [*self.bandwidths, *marked]
        self.ax_.set_xlim(min(shown) / 1.02, max(shown) * 1.02)
        values = values[np.isfinite(values)]
        if not len(values):
            return
        fall = values.max() - values[-1]
        lowest = max(values.min(), values.max() - FALLS_IN_VIEW * fall)
        lowest = lowest if fall > 0 else values.min()
        margin = 0.08 * (values.max() - lowest) or 1.0
        self.ax_.set_ylim(lowest - margin, values.max() + 2 * margin)

    def _draw_regimes(self):
        self.regions_, self.labels_ = {}, {}
        if not (_positive(self.h_g) and _positive(self.h_clt)):
            return
        low, high = self.ax_.get_xlim()
        edges = np.clip([low, self.h_g, self.h_clt, high], low, high)
        for (regime, shade), left, right in zip(
            REGIMES.items(), edges[:-1], edges[1:], strict=True
        ):
            if left == right:
                continue
            self.regions_[regime] = self.ax_.axvspan(
                left, right, color=THRESHOLD, alpha=shade, linewidth=0, zorder=0
            )
            self.labels_[regime] = self.ax_.text(
                np.sqrt(left * right),
                0.94 if regime == "heavy-tailed" else 0.985,  # wider than its region
                regime,
                transform=self.ax_.get_xaxis_transform(),
                horizontalalignment="center",
                verticalalignment="top",
                fontsize="small",
                color="0.35",
            )

    def _draw_marks(self):
        above = {"y": 1.01, "horizontalalignment": "center"}
        along = {"y": 0.2, "horizontalalignment": "right", "rotation": 90}
        self.h_g_line_ = self._draw_mark(self.h_g, ":", "$h_G$", **above)
        self.h_clt_line_ = self._draw_mark(self.h_clt, ":", r"$h_\mathrm{CLT}$", **above)
        self.bandwidth_line_ = self._draw_mark(
            self.bandwidth, "--", "in use", shift=-2, **along
        )

    def _draw_mark(self, bandwidth, style, label, *, y, shift=0, **options):
        if not _positive(bandwidth):
            return None
        self.ax_.annotate(
            label,
            (bandwidth, y),
            (shift, 0),
            xycoords=self.ax_.get_xaxis_transform(),
            textcoords="offset points",
            verticalalignment="bottom",
            fontsize="small",
            **options,
        )
        return self.ax_.axvline(bandwidth, color=THRESHOLD, linestyle=style, linewidth=1)


def _label_decades(axis):
    """Plain numbers at 1, 2 and 5 of each decade, of many decades at powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    if high / low < 1e4:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _positive(bandwidth):
    """Whether it can be drawn on a logarithmic axis."""
    return bandwidth is not None and 0 < bandwidth < np.inf
