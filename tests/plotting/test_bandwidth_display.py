import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gauss.detection import KDEDetector, MahalanobisDetector
from sklearn_gauss.exceptions import NearestNeighborWarning
from sklearn_gauss.plotting import BandwidthDisplay

BANDWIDTHS = [0.5, 1.0, 2.0, 4.0]
LIKELIHOOD = [-9.0, -4.0, -3.0, -5.0]
NEIGHBORS = [1.0, 2.0, 8.0, 20.0]
INF = np.inf


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def rows(rng):
    return rng.normal(size=(80, 3))


def drawn(line):
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def place(line):
    """Bandwidth at which a vertical line is drawn."""
    (left, right), _ = drawn(line)
    assert left == right
    return left


def extent(region):
    """Bandwidths between which a regime is shaded."""
    return region.get_x(), region.get_x() + region.get_width()


def draw(ax, *, likelihood=LIKELIHOOD, **options):
    return BandwidthDisplay.from_curve(
        BANDWIDTHS, likelihood, NEIGHBORS, ax=ax, **options
    )


def test_lines_hold_the_curve(ax):
    display = draw(ax, bandwidth=2.2, h_g=0.7, h_clt=1.0, name="mine")
    assert drawn(display.line_) == (BANDWIDTHS, LIKELIHOOD)
    assert drawn(display.neighbors_line_) == (BANDWIDTHS, NEIGHBORS)
    assert display.line_.axes is ax
    assert display.neighbors_line_.axes is display.neighbors_ax_
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert display.neighbors_ax_.get_yscale() == "log"
    assert ax.get_title() == "mine"
    lines = display.bandwidth_line_, display.h_g_line_, display.h_clt_line_
    assert [place(line) for line in lines] == [2.2, 0.7, 1.0]


def test_regimes_meet_at_the_critical_bandwidths(ax):
    display = draw(ax, h_g=0.7, h_clt=1.0)
    assert list(display.regions_) == ["condensed", "heavy-tailed", "gaussian"]
    edges = [extent(region) for region in display.regions_.values()]
    low, high = ax.get_xlim()
    np.testing.assert_allclose(edges, [(low, 0.7), (0.7, 1.0), (1.0, high)])
    for name, label in display.labels_.items():
        left, right = extent(display.regions_[name])
        assert label.get_text() == name
        assert left < label.get_position()[0] < right


def test_critical_bandwidths_out_of_the_curve_are_in_view(ax):
    display = draw(ax, bandwidth=0.1, h_g=6.0, h_clt=8.0)
    low, high = ax.get_xlim()
    assert low < 0.1 < 8.0 < high
    assert len(display.regions_) == 3


def test_the_order_of_bandwidths_does_not_matter(ax):
    back = BandwidthDisplay.from_curve(
        BANDWIDTHS[::-1], LIKELIHOOD[::-1], NEIGHBORS[::-1], ax=ax
    )
    assert drawn(back.line_) == (BANDWIDTHS, LIKELIHOOD)
    assert drawn(back.neighbors_line_) == (BANDWIDTHS, NEIGHBORS)


@pytest.mark.parametrize("critical", [(None, None), (0.0, 0.0), (INF, INF), (1.0, None)])
def test_without_critical_bandwidths_no_regime_is_drawn(ax, critical):
    h_g, h_clt = critical
    display = draw(ax, h_g=h_g, h_clt=h_clt)
    assert display.regions_ == display.labels_ == {}
    assert display.h_clt_line_ is None
    assert (display.h_g_line_ is None) == (h_g != 1.0)
    assert display.bandwidth_line_ is None


def test_minus_infinity_is_not_drawn(ax):
    display = draw(ax, likelihood=[-INF, -INF, -3.0, -5.0])
    assert drawn(display.line_)[1][2:] == [-3.0, -5.0]
    assert np.isnan(drawn(display.line_)[1][:2]).all()
    assert display.log_likelihood[0] == -INF
    low, high = ax.get_ylim()
    assert low < -5 < -3 < high
    ax.figure.canvas.draw()


def test_a_curve_of_minus_infinity_alone(ax):
    display = draw(ax, likelihood=[-INF] * 4)
    assert np.isnan(drawn(display.line_)[1]).all()
    assert drawn(display.neighbors_line_)[1] == NEIGHBORS
    ax.figure.canvas.draw()


def test_the_view_is_that_of_the_maximum(ax):
    draw(ax, likelihood=[-1e6, -4.0, -3.0, -5.0])
    low, high = ax.get_ylim()
    assert -10 < low < -5 < -3 < high < 0


def test_a_curve_that_rises_is_in_view_as_a_whole(ax):
    draw(ax, likelihood=[-9.0, -8.0, -7.0, -1.0])
    low, high = ax.get_ylim()
    assert low < -9 < -1 < high


@pytest.mark.parametrize("bandwidths", [[1.0], [1.0, 1.0], [1e-9, 1.0, 1e9]])
def test_any_range_of_bandwidths_is_drawn(ax, bandwidths):
    flat = np.ones(len(bandwidths))
    display = BandwidthDisplay.from_curve(bandwidths, -flat, flat, ax=ax)
    assert display.bandwidths.tolist() == bandwidths
    ax.figure.canvas.draw()


@pytest.mark.parametrize("whiten", ["none", "ledoit_wolf"])
def test_from_estimator_draws_the_detectors_curve(ax, rows, whiten):
    detector = KDEDetector(whiten=whiten).fit(rows)
    display = BandwidthDisplay.from_estimator(detector, ax=ax)
    curve = detector.bandwidth_curve()
    expected = curve.bandwidths.tolist(), curve.log_likelihood.tolist()
    assert drawn(display.line_) == expected
    assert drawn(display.neighbors_line_)[1] == curve.effective_neighbors.tolist()
    assert place(display.bandwidth_line_) == detector.bandwidth_
    assert place(display.h_g_line_) == detector.bandwidth_regimes_["h_g"]
    assert place(display.h_clt_line_) == detector.bandwidth_regimes_["h_clt"]
    assert ax.get_title() == "KDEDetector"
    left, right = extent(display.regions_[detector.bandwidth_regimes_["regime"]])
    assert left <= detector.bandwidth_ < right


def test_from_estimator_takes_bandwidths(ax, rows):
    detector = KDEDetector().fit(rows)
    display = BandwidthDisplay.from_estimator(
        detector, bandwidths=[2.0, 0.3, 1.0], name="mine", ax=ax
    )
    assert display.bandwidths.tolist() == [0.3, 1.0, 2.0]
    curve = detector.bandwidth_curve([0.3, 1.0, 2.0])
    assert drawn(display.line_)[1] == curve.log_likelihood.tolist()
    assert ax.get_title() == "mine"


def test_the_chosen_bandwidth_is_at_the_maximum(ax, rows):
    display = BandwidthDisplay.from_estimator(KDEDetector().fit(rows), ax=ax)
    best = display.bandwidths[np.argmax(display.log_likelihood)]
    step = display.bandwidths[1] / display.bandwidths[0]
    assert 1 / step < best / place(display.bandwidth_line_) < step


@pytest.mark.filterwarnings("ignore:A few outlying rows decide the bandwidth")
def test_a_compact_kernel_that_misses_rows(ax, rows):
    detector = KDEDetector(kernel="epanechnikov").fit(rows)
    display = BandwidthDisplay.from_estimator(detector, ax=ax)
    missed = np.isneginf(display.log_likelihood)
    assert missed.any()
    assert not missed.all()
    np.testing.assert_array_equal(np.isnan(drawn(display.line_)[1]), missed)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("thinning", ["kernel", "random"])
def test_a_thinned_detector(ax, rows, thinning):
    detector = KDEDetector(max_reference=20, thinning=thinning, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NearestNeighborWarning)
        detector.fit(rows)
    display = BandwidthDisplay.from_estimator(detector, ax=ax)
    expected = detector.bandwidth_curve().log_likelihood.tolist()
    assert drawn(display.line_)[1] == expected
    ax.figure.canvas.draw()


def test_rows_that_came_in_parts(ax, rows):
    detector = KDEDetector().partial_fit(rows[:50]).partial_fit(rows[50:])
    display = BandwidthDisplay.from_estimator(detector, ax=ax)
    whole = BandwidthDisplay.from_estimator(KDEDetector().fit(rows), ax=ax)
    np.testing.assert_allclose(display.log_likelihood, whole.log_likelihood)


def test_from_estimator_sees_through_a_pipeline(ax, rows):
    pipeline = make_pipeline(StandardScaler(), KDEDetector(whiten="none")).fit(rows)
    display = BandwidthDisplay.from_estimator(pipeline, ax=ax)
    alone = KDEDetector(whiten="none").fit(StandardScaler().fit_transform(rows))
    assert place(display.bandwidth_line_) == alone.bandwidth_
    assert drawn(display.line_)[1] == alone.bandwidth_curve().log_likelihood.tolist()
    assert ax.get_title() == "KDEDetector"


def test_plot_again_on_other_axes(ax):
    display = draw(ax)
    other = Figure().subplots()
    assert display.plot(other, name="again") is display
    assert display.ax_ is other
    assert display.neighbors_ax_.figure is display.figure_ is other.figure
    assert other.get_title() == "again"


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (([1, 0], [1, 2], [1, 2]), "positive and finite"),
        (([1, INF], [1, 2], [1, 2]), "positive and finite"),
        (([1, 2], [1, 2, 3], [1, 2]), "log_likelihood has 3 values for 2 bandwidths"),
        (([1, 2], [1, 2], [1]), "effective_neighbors has 1 values for 2"),
        (([1, 2], [1, np.nan], [1, 2]), "log_likelihood has 1 NaN"),
        (([], [], []), "bandwidths must be a non-empty list"),
        ((1.0, [1], [1]), "bandwidths must be a non-empty list"),
    ],
)
def test_refuses_curves(ax, curve, message):
    with pytest.raises(ValueError, match=message):
        BandwidthDisplay.from_curve(*curve, ax=ax)


def test_refuses_bandwidths(ax, rows):
    with pytest.raises(ValueError, match="positive and finite"):
        BandwidthDisplay.from_estimator(
            KDEDetector().fit(rows), bandwidths=[-1.0, 2.0], ax=ax
        )


def test_refuses_a_detector_without_a_bandwidth(ax, rows):
    with pytest.raises(TypeError, match="MahalanobisDetector has no bandwidth"):
        BandwidthDisplay.from_estimator(MahalanobisDetector().fit(rows), ax=ax)


def test_refuses_an_estimator_that_is_not_fitted():
    with pytest.raises(NotFittedError):
        BandwidthDisplay.from_estimator(KDEDetector())


@pytest.mark.parametrize("call", ["from_curve([1], [1], [1])", "from_estimator(None)"])
def test_a_missing_matplotlib_names_the_extra(call):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from sklearn_gauss.plotting import BandwidthDisplay\n"
        f"try: BandwidthDisplay.{call}\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    name = "BandwidthDisplay"
    assert done.stdout == f'{name} needs matplotlib: pip install "sklearn-gauss[plot]".\n'
