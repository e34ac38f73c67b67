import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.plotting import WorkingPointDisplay

TARGETS = [0.05, 0.1, 0.3]


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def detector(rng):
    return MahalanobisDetector(target_fpr=0.07).fit(rng.normal(size=(99, 3)))


def drawn(line):
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def band(display):
    """Lowest and highest rate of the band at each target."""
    (path,) = display.band_.get_paths()
    corners = path.vertices[:-1]
    return [
        (
            corners[np.isclose(corners[:, 0], t), 1].min(),
            corners[np.isclose(corners[:, 0], t), 1].max(),
        )
        for t in display.target_fpr
    ]


def test_line_holds_the_measured_rates_of_normal_rows(ax):
    p_values = [0.01, 0.05, 0.2, 0.9, 0.001]
    display = WorkingPointDisplay.from_predictions(
        [1, 1, 1, 1, -1], p_values, target_fpr=TARGETS, working_point=0.2, ax=ax
    )
    targets, rates = drawn(display.line_)
    assert targets.tolist() == TARGETS
    assert rates.tolist() == [0.5, 0.5, 0.75]  # p <= target, 0.05 included
    assert [v.tolist() for v in drawn(display.point_)] == [[0.2], [0.75]]
    assert display.n_normal == 4
    ideal = drawn(display.ideal_line_)
    np.testing.assert_array_equal(*ideal)
    assert ax.get_xlim() == (0, 0.3)


def test_band_is_binomial(ax, rng):
    display = WorkingPointDisplay.from_predictions(
        np.ones(80), rng.random(80), target_fpr=TARGETS, confidence=0.9, ax=ax
    )
    law = stats.binom(80, TARGETS)
    expected = np.c_[law.ppf(0.05), law.ppf(0.95)] / 80
    np.testing.assert_allclose(band(display), expected)


def test_band_with_calibration_rows_covers_the_chance_of_both(ax):
    """Rates of many draws lie in the band as often as it says, or a little more."""
    rng = np.random.default_rng(1)
    display = WorkingPointDisplay.from_predictions(
        np.ones(60), np.ones(60), n_calibration=39, target_fpr=TARGETS, ax=ax
    )
    low, high = np.transpose(band(display))
    inside, trials = np.zeros(len(TARGETS)), 2000
    for _ in range(trials):
        calibration, scores = np.sort(rng.random(39)), rng.random(60)
        p_values = (1 + np.searchsorted(calibration, scores, "right")) / 40
        rates = (p_values[:, None] <= np.array(TARGETS) * (1 + 1e-9)).mean(axis=0)
        inside += (low - 1e-9 <= rates) & (rates <= high + 1e-9)
    assert (inside / trials > 0.94).all()
    assert (inside / trials < 0.99).all()


def test_band_is_empty_where_nothing_can_be_flagged(ax):
    display = WorkingPointDisplay.from_predictions(
        np.ones(50), np.ones(50), n_calibration=10, target_fpr=[0.05, 0.5], ax=ax
    )
    assert band(display)[0] == (0, 0)
    assert band(display)[1][1] > 0.5


def test_from_estimator_agrees_with_refits_at_each_target(ax, detector, rng):
    train = np.random.default_rng(0).normal(size=(99, 3))
    X = rng.normal(size=(200, 3))
    display = WorkingPointDisplay.from_estimator(detector, X, target_fpr=TARGETS, ax=ax)
    for target, rate in zip(TARGETS, display.measured_fpr, strict=True):
        refitted = MahalanobisDetector(target_fpr=target).fit(train)
        assert rate == (refitted.predict(X) == -1).mean()
    assert display.n_calibration == 99
    assert display.working_point[0] == 0.07
    assert display.working_point[1] == (detector.predict(X) == -1).mean()
    assert ax.get_title() == "MahalanobisDetector"


def test_from_estimator_leaves_anomalies_out(ax, detector, rng):
    X, y = rng.normal(size=(50, 3)), np.repeat([1, -1], 25)
    with_both = WorkingPointDisplay.from_estimator(detector, X, y, ax=ax)
    alone = WorkingPointDisplay.from_estimator(detector, X[:25], ax=ax)
    np.testing.assert_array_equal(with_both.measured_fpr, alone.measured_fpr)


def test_from_estimator_sees_through_a_pipeline(ax, rng):
    X = rng.normal(size=(120, 3))
    pipeline = make_pipeline(StandardScaler(), MahalanobisDetector()).fit(X[:60])
    display = WorkingPointDisplay.from_estimator(pipeline, X[60:], name="mine", ax=ax)
    asked, measured = display.working_point
    assert asked == 0.05
    assert measured == (pipeline.predict(X[60:]) == -1).mean()
    assert ax.get_title() == "mine"


def test_plot_again_on_other_axes(ax, detector, rng):
    display = WorkingPointDisplay.from_estimator(detector, rng.normal(size=(9, 3)), ax=ax)
    other = Figure().subplots()
    assert display.plot(other, name="again") is display
    assert display.ax_ is other
    assert display.figure_ is other.figure
    assert other.get_title() == "again"


def test_without_a_working_point_none_is_marked(ax):
    display = WorkingPointDisplay.from_predictions([1, 1], [0.2, 0.4], ax=ax)
    assert display.point_ is None


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([-1, -1], {}, "No row is normal"),
        ([0, 1], {}, "Labels must be"),
        ([1, 1], {"target_fpr": [0.1, 1.0]}, "between 0 and 1, got 0.1 to 1"),
        ([1, 1], {"target_fpr": [np.nan]}, "1 NaN"),
    ],
)
def test_refuses(ax, y, options, message):
    with pytest.raises(ValueError, match=message):
        WorkingPointDisplay.from_predictions(y, [0.1, 0.2], ax=ax, **options)
