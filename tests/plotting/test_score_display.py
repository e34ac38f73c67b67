import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.plotting import ScoreDisplay

matplotlib.use("Agg")

SCORES = np.array([0.0, -1, -2, -9, -8, -0.5])
LABELS = [1, 1, 1, -1, -1, -1]
DEFECT = ["good", "good", "good", "dent", "crack", "crack"]


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def rows(rng):
    return rng.normal(size=(60, 4))


def points(display, name):
    """Scores of the flagged and of the other points drawn for a group."""
    return [
        np.sort(strip.get_offsets()[:, 0]).tolist() for strip in display.strips_[name]
    ]


def labels(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def test_strips_hold_the_scores_by_defect_and_verdict(ax):
    display = ScoreDisplay.from_predictions(
        LABELS, SCORES, defect=DEFECT, threshold=-1.5, ax=ax
    )
    assert points(display, "normal") == [[-2], [-1, 0]]
    assert points(display, "crack") == [[-8], [-0.5]]
    assert points(display, "dent") == [[-9], []]
    assert labels(display) == [
        "normal\n1 of 3 flagged",
        "crack\n1 of 2 flagged",
        "dent\n1 of 1 flagged",
    ]
    assert display.line_.get_xdata() == [-1.5, -1.5]
    assert display.ax_ is ax
    assert display.figure_ is ax.figure


def test_strips_lie_in_the_row_of_their_label(ax):
    display = ScoreDisplay.from_predictions(LABELS, SCORES, defect=DEFECT, ax=ax)
    for place, name in enumerate(["normal", "crack", "dent"]):
        for strip in display.strips_[name]:
            assert (np.abs(strip.get_offsets()[:, 1] - place) <= 0.3).all()
    assert labels(display)[0] == "normal\n3"
    assert display.line_ is None


def test_flagged_points_have_a_colour_of_their_own(ax):
    display = ScoreDisplay.from_predictions(LABELS, SCORES, threshold=-1.5, ax=ax)
    flagged, passed = display.strips_["anomaly"]
    assert not np.array_equal(flagged.get_facecolor(), passed.get_facecolor())


def test_histograms_share_bins_and_add_up_to_one(ax, rng):
    scores, y = rng.normal(size=300), np.repeat([1, -1], [200, 100])
    display = ScoreDisplay.from_predictions(y, scores, threshold=-1, kind="hist", ax=ax)
    assert sorted(display.bars_) == ["anomaly", "normal"]
    spans = []
    for name, label in (("normal", 1), ("anomaly", -1)):
        corners = display.bars_[name][0].get_xy()
        edges = np.unique(corners[:, 0])
        counts, _ = np.histogram(scores[y == label], bins=edges)
        tops = corners[1 : 2 * len(edges) - 1 : 2, 1]
        np.testing.assert_allclose(tops, counts / counts.sum(), atol=1e-12)
        spans.append(edges)
    np.testing.assert_array_equal(*spans)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["threshold", "normal (200)", "anomaly (100)"]


def test_from_estimator_draws_its_scores_and_threshold(ax, rows):
    detector = MahalanobisDetector().fit(rows)
    display = ScoreDisplay.from_estimator(detector, rows, ax=ax)
    np.testing.assert_array_equal(display.scores, detector.score_samples(rows))
    assert display.threshold == detector.offset_
    assert ax.get_title() == "MahalanobisDetector"
    flagged = (detector.predict(rows) == -1).sum()
    assert labels(display) == [f"normal\n{flagged} of 60 flagged"]


def test_from_estimator_sees_through_a_pipeline(ax, rows):
    pipeline = make_pipeline(StandardScaler(), MahalanobisDetector()).fit(rows)
    display = ScoreDisplay.from_estimator(pipeline, rows, name="mine", ax=ax)
    np.testing.assert_array_equal(display.scores, pipeline.score_samples(rows))
    assert display.line_.get_xdata()[0] == pipeline[-1].offset_
    assert ax.get_title() == "mine"


@pytest.mark.parametrize("detector", [OneClassSVM(), KernelDensity()])
def test_from_estimator_takes_detectors_of_scikit_learn(ax, rows, detector):
    display = ScoreDisplay.from_estimator(detector.fit(rows), rows, ax=ax)
    np.testing.assert_array_equal(display.scores, detector.score_samples(rows))
    assert (display.line_ is None) == isinstance(detector, KernelDensity)


def test_decision_function_has_its_threshold_at_zero(ax):
    class Decides(BaseEstimator):
        def fit(self, X):
            self.fitted_ = True
            return self

        def decision_function(self, X):
            return SCORES

    display = ScoreDisplay.from_estimator(Decides().fit(None), None, LABELS, ax=ax)
    assert display.line_.get_xdata() == [0, 0]


def test_an_infinite_threshold_is_not_drawn(ax):
    display = ScoreDisplay.from_predictions(LABELS, SCORES, threshold=-np.inf, ax=ax)
    assert display.line_ is None
    assert points(display, "normal")[0] == []


def test_defects_alone_tell_the_labels(ax):
    display = ScoreDisplay.from_predictions(None, SCORES, defect=DEFECT, ax=ax)
    assert list(display.strips_) == ["normal", "crack", "dent"]


def test_plot_again_on_other_axes(ax):
    display = ScoreDisplay.from_predictions(LABELS, SCORES, ax=ax)
    other = Figure().subplots()
    assert display.plot(other, kind="hist", name="again") is display
    assert display.ax_ is other
    assert other.get_title() == "again"


def test_without_axes_pyplot_makes_a_figure():
    display = ScoreDisplay.from_predictions(LABELS, SCORES)
    try:
        assert display.figure_.number in pyplot.get_fignums()
    finally:
        pyplot.close(display.figure_)


@pytest.mark.parametrize(
    ("y", "scores", "options", "message"),
    [
        ([0, 1], [1, 2], {}, r"Labels must be \+1 .* or -1"),
        ([1], [1, 2], {}, "2 labels are needed"),
        ([1, 1], [1, np.nan], {}, "1 NaN"),
        ([1, 1], [1, np.inf], {}, "must be finite"),
        ([], [], {}, "non-empty"),
        ([1, 1], [1, 2], {"defect": ["good"]}, "2 names are needed"),
        ([1, 1], [1, 2], {"kind": "violin"}, "'strip' or 'hist'"),
    ],
)
def test_refuses(ax, y, scores, options, message):
    with pytest.raises(ValueError, match=message):
        ScoreDisplay.from_predictions(y, scores, ax=ax, **options)


def test_refuses_an_estimator_that_is_not_fitted(rows):
    with pytest.raises(NotFittedError):
        ScoreDisplay.from_estimator(MahalanobisDetector(), rows)


@pytest.mark.parametrize("name", ["ScoreDisplay", "WorkingPointDisplay"])
def test_a_missing_matplotlib_names_the_extra(name):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        f"from sklearn_gauss.plotting import {name}\n"
        f"try: {name}.from_predictions([1], [0.5])\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f'{name} needs matplotlib: pip install "sklearn-gauss[plot]".\n'
