import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_gauss.datasets import make_inspection_images
from sklearn_gauss.detection import CalibratedDetector
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.plotting import AnomalyMapDisplay
from sklearn_gauss.plotting._axes import FLAGGED, PASSED

SIZE = (20, 30)
INF = np.inf
SCORES = [-5.0, -1.0, -9.0, -2.0, -4.0, -3.0]


@pytest.fixture
def figure():
    return Figure((9, 12), dpi=50)


def cone(height=20, width=30, centre=(9, 14)):
    """A map that falls by 1 a pixel around its centre, where it is 10."""
    down, across = np.mgrid[:height, :width]
    return 10.0 - np.hypot(down - centre[0], across - centre[1])


def picture(height=20, width=30, level=100):
    return np.full((height, width, 3), level, dtype=np.uint8)


def draw(figure, maps=None, images=None, **options):
    maps = [cone()] if maps is None else maps
    if images is None:
        images = [picture(*values.shape) for values in maps]
    return AnomalyMapDisplay.from_predictions(images, maps, figure=figure, **options)


def draw_six(figure, kind="sheet", **options):
    """Six images whose grey levels are their places, times ten."""
    images = [picture(level=10 * place) for place in range(6)]
    return draw(figure, [cone()] * 6, images, kind=kind, **options)


def render(figure):
    """Draw for real: the canvas of a bare figure draws nothing."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def drawn_places(display):
    return [int(image[0, 0, 0]) // 10 for image in display.images]


def texts(artists):
    return [text.get_text() for text in artists]


def vertices(contour):
    (path,) = contour.get_paths()
    return path.vertices


def is_closed(contour):
    (path,) = contour.get_paths()
    return (path.codes == path.CLOSEPOLY).sum() == (path.codes == path.MOVETO).sum()


# -------------------------------------------------------------------- what is drawn
def test_contour_is_the_level_set(figure):
    display = draw(figure, threshold=4.0)
    points = vertices(display.contours_[0])
    distance = np.hypot(points[:, 0] - 14, points[:, 1] - 9)
    np.testing.assert_allclose(distance, 6.0, atol=0.05)
    assert display.contours_[0].axes is display.axes_[0, 2]
    assert is_closed(display.contours_[0])


def test_contour_runs_along_the_edge_of_the_image(figure):
    display = draw(figure, [cone(centre=(0, 14))], threshold=4.0)
    points = vertices(display.contours_[0])
    assert is_closed(display.contours_[0])
    np.testing.assert_allclose(points[:, 1].min(), -0.5, atol=1e-6)
    inside = points[points[:, 1] > 0]
    distance = np.hypot(inside[:, 0] - 14, inside[:, 1])
    np.testing.assert_allclose(distance, 6.0, atol=0.05)


def test_a_map_above_the_threshold_as_a_whole_is_framed(figure):
    display = draw(figure, threshold=-100.0)
    points = vertices(display.contours_[0])
    np.testing.assert_allclose(points.min(axis=0), [-0.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(points.max(axis=0), [29.5, 19.5], atol=1e-6)


@pytest.mark.parametrize("kind", ["rows", "sheet"])
@pytest.mark.parametrize("threshold", [10.0, 50.0, INF, -INF, None])
def test_no_contour_where_none_is(figure, kind, threshold):
    display = draw(figure, threshold=threshold, kind=kind)
    assert display.contours_ == display.true_contours_ == [None]
    if kind == "rows" and threshold != -INF:
        assert display.regions_ == [None]
        assert not figure.legends
    render(figure)


def test_panels_of_a_row(figure):
    mask = np.zeros(SIZE, bool)
    mask[5:10, 6:16] = True
    display = draw(figure, masks=[mask], threshold=4.0)
    assert texts(ax.title for ax in display.axes_[0]) == [
        "Image",
        "Anomaly map",
        "Above threshold",
        "Defect",
    ]
    shown = display.axes_[0, 0].images[0]
    np.testing.assert_array_equal(shown.get_array(), display.images[0])
    np.testing.assert_array_equal(display.heat_maps_[0].get_array(), cone())
    assert display.heat_maps_[0].get_extent() == [-0.5, 29.5, 19.5, -0.5]
    filled = display.regions_[0].get_array()[..., 3] > 0
    np.testing.assert_array_equal(filled, cone() > 4.0)
    points = vertices(display.true_contours_[0])
    np.testing.assert_array_equal(points.min(axis=0), [5.5, 4.5])
    np.testing.assert_array_equal(points.max(axis=0), [15.5, 9.5])
    assert display.true_contours_[0].axes is display.axes_[0, 3]
    for ax in display.axes_.flat:
        assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 29.5), (19.5, -0.5))


def test_outlines_differ_in_lightness(figure):
    display = draw(figure, masks=[cone() > 5], threshold=4.0)
    colours = [
        contour.get_edgecolor()[0, :3] @ [0.2126, 0.7152, 0.0722]
        for contour in (display.contours_[0], display.true_contours_[0])
    ]
    assert abs(colours[0] - colours[1]) > 0.2


@pytest.mark.parametrize(
    ("options", "n_panels"),
    [
        ({}, 2),
        ({"masks": [None]}, 3),
        ({"predicted": [np.ones(SIZE)]}, 3),
        ({"threshold": 1.0}, 4),
    ],
)
def test_panels_without_content_are_left_out(figure, options, n_panels):
    assert draw(figure, **options).axes_.shape == (1, n_panels)


def test_a_given_prediction_is_drawn(figure):
    predicted = np.eye(20, 30) > 0
    display = draw(figure, predicted=[predicted], threshold=4.0)
    filled = display.regions_[0].get_array()[..., 3] > 0
    np.testing.assert_array_equal(filled, predicted)


def test_colours_are_common_to_all_maps(figure):
    maps = [cone(), 2 * cone() + 5]
    display = draw(figure, maps, threshold=4.0)
    limits = {heat.get_clim() for heat in display.heat_maps_}
    assert limits == {(min(m.min() for m in maps), 25.0)}
    assert display.heat_maps_[0].norm is display.heat_maps_[1].norm
    assert display.colorbar_.norm is display.heat_maps_[0].norm
    assert list(display.line_.get_xdata()) == [4.0, 4.0]
    assert display.line_.axes is display.colorbar_.ax


def test_colours_reach_to_the_threshold(figure):
    display = draw(figure, threshold=40.0)
    assert display.heat_maps_[0].get_clim()[1] == 40.0


@pytest.mark.parametrize("threshold", [None, INF])
def test_a_threshold_that_is_not_finite_is_not_marked(figure, threshold):
    display = draw(figure, threshold=threshold)
    assert display.line_ is None
    assert display.heat_maps_[0].get_clim()[1] == 10.0


def test_a_constant_map(figure):
    display = draw(figure, [np.ones(SIZE)], threshold=1.0)
    low, high = display.heat_maps_[0].get_clim()
    assert low < 1 < high
    render(figure)


def test_infinite_values_lie_above_every_threshold(figure):
    values = np.zeros(SIZE)
    values[5:9, 5:9], values[0, 0] = INF, -INF
    display = draw(figure, [values], threshold=3.0)
    assert display.heat_maps_[0].get_clim() == (0.0, 3.0)
    points = vertices(display.contours_[0])
    assert (points.min(axis=0) > 4).all()
    assert (points.max(axis=0) < 9).all()
    render(figure)


def test_large_images_keep_their_smallest_defect(figure):
    values = np.zeros((900, 1500))
    values[700, 1200] = 1.0
    mask = values > 0
    display = draw(figure, [values], masks=[mask], threshold=0.5)
    assert max(display.images[0].shape) <= 640
    assert display.heat_maps_[0].get_array().shape == (300, 500)
    for contour in (display.contours_[0], display.true_contours_[0]):
        points = vertices(contour)
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        np.testing.assert_allclose(middle, [1201, 700])  # of 3 by 3 pixels
    assert display.axes_[0, 0].get_xlim() == (-0.5, 1499.5)


# ------------------------------------------------------------------------- captions
@pytest.mark.parametrize("kind", ["rows", "sheet"])
def test_captions(figure, kind):
    display = draw_six(
        figure,
        scores=SCORES,
        image_threshold=-4.5,
        p_values=[0.25, 0.5, 0.0125, 0.5, 0.5, 0.5],
        defect=["good", "good", "dent", "good", "dent", "good"],
        names=list("abcdef"),
        kind=kind,
        n_images=3,
    )
    assert texts(display.verdicts_) == [
        "flagged · good",
        "passed · good",
        "flagged · dent",
    ]
    separator = "\n" if kind == "rows" else ", "
    assert texts(display.captions_) == [
        f"a\nscore \N{MINUS SIGN}5{separator}p = 0.25",
        f"b\nscore \N{MINUS SIGN}1{separator}p = 0.5",
        f"c\nscore \N{MINUS SIGN}9{separator}p = 0.013",
    ]
    colours = [text.get_color() for text in display.verdicts_]
    assert colours == [FLAGGED, PASSED, FLAGGED]


def test_thumbnails_are_framed_by_their_verdict(figure):
    display = draw_six(figure, scores=SCORES, image_threshold=-4.5, kind="sheet")
    for ax, score in zip(display.axes_, SCORES, strict=True):
        colour = to_rgba(FLAGGED if score < -4.5 else PASSED)
        assert {spine.get_edgecolor() for spine in ax.spines.values()} == {colour}
    assert display.heat_maps_ == display.regions_ == []
    assert display.colorbar_ is None


def test_without_scores_a_pixel_above_the_threshold_flags(figure):
    display = draw(figure, [cone(), cone() - 5], threshold=6.0)
    assert texts(display.verdicts_) == ["flagged", "passed"]
    assert texts(display.captions_) == ["image 0", "image 1"]


def test_without_a_threshold_there_is_no_verdict(figure):
    assert texts(draw(figure).verdicts_) == [""]


@pytest.mark.parametrize("kind", ["rows", "sheet"])
def test_long_names_are_cut_to_their_place(figure, kind):
    name = f"{'a' * 50}_$1$_{'b' * 50}.png"
    display = draw_six(figure, names=[name] * 6, kind=kind)
    (first, *_), renderer = display.captions_, render(figure)
    shown = first.get_text()
    assert shown.startswith("aaa")
    assert shown.endswith("bb.png")
    assert "…" in shown
    box = first.get_window_extent(renderer)
    if kind == "rows":
        assert box.x1 < display.axes_[0, 0].get_window_extent(renderer).x0
    else:
        assert box.x1 < display.captions_[1].get_window_extent(renderer).x0


def test_files_give_names_and_title_tells_the_selection(figure, tmp_path):
    paths = [tmp_path / f"{letter}$.png" for letter in "abc"]
    for path in paths:
        Image.fromarray(picture()).save(path)
    display = draw(
        figure, [cone()] * 3, paths, select="worst", n_images=2, scores=[-1, -2, -3]
    )
    assert texts(display.captions_) == [
        "c$.png\nscore \N{MINUS SIGN}3",
        "b$.png\nscore \N{MINUS SIGN}2",
    ]
    assert figure.get_suptitle() == "2 of 3 images, worst first"
    render(figure)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["crack/0.png", "good/0.png", "good/1.png"], None),
        (["test/crack/0.png", "train/crack/0.png", "train/crack/1.png"], None),
        (["crack/0.png", "good/1.png"], ["0.png", "1.png"]),
        (["crack/0.png", "crack/0.png"], ["0.png", "0.png"]),
        (["0.png", "deep/below/0.png"], ["NAME/0.png", "below/0.png"]),
    ],
)
def test_names_are_as_long_as_tells_files_apart(figure, tmp_path, files, names):
    paths = [tmp_path / file for file in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture()).save(path)
    wanted = [name.replace("NAME", tmp_path.name) for name in names or files]
    images = [str(paths[0]), *paths[1:], picture()]
    display = draw(figure, [cone()] * len(images), images)
    found = [name.replace("\\", "/") for name in display.names]
    assert found == [*wanted, f"image {len(paths)}"]
    # Only the images that are drawn have to be told apart.
    first = draw(Figure((9, 9)), [cone()] * len(images), images, select=[0])
    assert first.names == [paths[0].name]


def test_the_two_thresholds_are_told_apart(figure):
    display = draw_six(
        figure, "rows", scores=SCORES, image_threshold=-4.5, threshold=4.0, name="mine"
    )
    assert display.image_threshold == -4.5
    assert figure.get_suptitle() == "mine: flagged below score \N{MINUS SIGN}4.5"
    assert texts(display.colorbar_.ax.texts) == ["pixel threshold 4"]


@pytest.mark.parametrize("options", [{}, {"scores": SCORES, "image_threshold": -INF}])
def test_no_image_threshold_is_no_title(figure, options):
    draw_six(figure, threshold=4.0, **options)
    assert figure.get_suptitle() == ""


# ------------------------------------------------------------------------ selection
@pytest.mark.parametrize(
    ("select", "n_images", "places"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        (None, 2, [0, 1]),
        ("worst", None, [2, 0, 4, 5, 3, 1]),
        ("worst", 2, [2, 0]),
        ("borderline", 2, [4, 5]),
        ("borderline", 3, [0, 4, 5]),
        ("borderline", 5, [2, 0, 4, 5, 3]),
        ("borderline", 99, [2, 0, 4, 5, 3, 1]),
        ([4, -1, 4], None, [4, 5, 4]),
        (np.array([4, 1]), 1, [4]),
        (np.arange(6) % 3 == 1, None, [1, 4]),
        ([False, True, False, True, False, True], 2, [1, 3]),
    ],
)
def test_selection(figure, select, n_images, places):
    display = draw_six(
        figure, scores=SCORES, image_threshold=-3.5, select=select, n_images=n_images
    )
    assert drawn_places(display) == places
    assert display.scores.tolist() == [SCORES[place] for place in places]
    assert display.flagged.tolist() == [SCORES[place] < -3.5 for place in places]
    assert display.names == [f"image {place}" for place in places]


@pytest.mark.parametrize(
    ("threshold", "places"), [(-100.0, [2, 0, 4]), (100.0, [5, 3, 1]), (-1.5, [5, 3, 1])]
)
def test_borderline_fills_up_from_the_other_side(figure, threshold, places):
    display = draw_six(
        figure,
        scores=SCORES,
        image_threshold=threshold,
        select="borderline",
        n_images=3,
    )
    assert drawn_places(display) == places


def test_without_scores_the_maps_order(figure):
    maps = [cone() + shift for shift in (0, 5, -5, 2)]
    options = {"threshold": 11.0, "n_images": 2}
    worst = draw(figure, maps, select="worst", **options)
    assert worst.names == ["image 1", "image 3"]
    near = draw(Figure((9, 9)), maps, select="borderline", **options)
    assert near.names == ["image 3", "image 0"]


def test_six_rows_are_drawn_of_many(figure):
    assert len(draw(figure, [cone()] * 9).maps) == 6
    assert len(draw(Figure((9, 9)), [cone()] * 9, kind="sheet").maps) == 9


# --------------------------------------------------------------------------- layout
MIXED = [(20, 60), (60, 20), (200, 300), (33, 33), (10, 200)]


@pytest.mark.parametrize("kind", ["rows", "sheet"])
@pytest.mark.parametrize("figsize", [(6.4, 4.92), (12, 20)])
def test_nothing_overlaps(kind, figsize):
    figure = Figure(figsize, dpi=60)
    display = draw(
        figure,
        [cone(*size) for size in MIXED],
        kind=kind,
        threshold=4.0,
        scores=[-1.0] * 5,
        p_values=[0.01] * 5,
        masks=[cone(*size) > 5 for size in MIXED],
        name="All sizes",
    )
    renderer = render(figure)
    artists = [*display.axes_.flat, *display.captions_, *figure.legends]
    artists += display.verdicts_
    if kind == "rows":
        artists += [ax.title for ax in display.axes_[0]]
    if display.colorbar_ is not None:
        artists.append(display.colorbar_.ax)
    boxes = [artist.get_window_extent(renderer) for artist in artists]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
        for other in boxes[:i]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(across, down) < 0.5
    for ax, size in zip(display.axes_, MIXED, strict=True):
        shown = np.ravel(ax)[0].get_window_extent(renderer)
        np.testing.assert_allclose(shown.height / shown.width, size[0] / size[1])


def test_a_subfigure(figure):
    left, right = figure.subfigures(1, 2)
    display = draw(right, kind="sheet", name="right", threshold=4.0)
    assert display.figure_ is right
    assert not left.axes
    assert right.get_suptitle() == "right"
    render(figure)


@pytest.mark.parametrize("layout", ["constrained", "tight"])
def test_a_layout_engine_is_turned_off(layout):
    figure = Figure((9, 9), layout=layout)
    draw(figure, threshold=4.0)
    render(figure)


def test_plot_again_as_another_kind(figure):
    display = draw_six(figure, "rows", scores=SCORES, name="mine")
    assert display.axes_.shape == (6, 2)
    other = Figure((9, 9))
    assert display.plot(other, kind="sheet", name="again") is display
    assert display.figure_ is other
    assert display.axes_.shape == (6,)
    assert display.heat_maps_ == []
    assert other.get_suptitle() == "again"
    assert figure.get_suptitle() == "mine"


def test_without_a_figure_pyplot_makes_one():
    before = pyplot.get_fignums()
    display = draw(None, threshold=4.0)
    try:
        assert display.figure_.number in pyplot.get_fignums()
        render(display.figure_)
    finally:
        pyplot.close(display.figure_)
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize("kind", ["rows", "sheet"])
def test_a_given_figure_needs_no_pyplot(figure, monkeypatch, kind):
    monkeypatch.delattr(matplotlib, "pyplot")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    render(draw(figure, threshold=4.0, masks=[cone() > 5], kind=kind).figure_)
    with pytest.raises(ImportError):
        draw(None)


# ---------------------------------------------------------------------------- input
def test_images_of_every_kind(figure, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    grey = np.full(SIZE, 100 / 255)
    images = [path, str(path), path.read_bytes(), Image.open(path), picture(), grey]
    display = draw(figure, [cone()] * 6, images, kind="sheet")
    for image in display.images:
        np.testing.assert_array_equal(image, picture())
    assert display.names[3] == "a.png"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_turned_photographs_are_upright(figure, tmp_path, suffix):
    path, exif = tmp_path / f"turned.{suffix}", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(16, 24)).save(path, exif=exif)
    display = draw(figure, [cone(24, 16)], [path], masks=[path])
    assert display.images[0].shape == (24, 16, 3)
    assert display.masks[0].shape == (24, 16)


def test_masks_of_every_kind(figure, tmp_path):
    mask, path = cone() > 5, tmp_path / "mask.png"
    Image.fromarray(np.uint8(255 * mask)).save(path)
    masks = [mask, 7 * mask, mask[:, :, None].astype(float), path, str(path), None]
    display = draw(figure, [cone()] * 6, masks=masks, kind="sheet")
    for found in display.masks[:5]:
        np.testing.assert_array_equal(found, mask)
    assert display.masks[5] is display.true_contours_[5] is None


def test_only_images_that_are_drawn_are_opened(figure):
    images = [picture(), "missing.png", picture()]
    display = draw(figure, [cone()] * 3, images, select=[0, 2])
    assert len(display.images) == 2
    with pytest.raises(ImageReadError, match=r"missing\.png"):
        draw(figure, [cone()] * 3, images, select=[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"maps": np.ones((3, 5, 6))},
            r"maps\[0\] is 5 by 6 pixels .* image_size=\(20, ",
        ),
        ({"maps": np.ones((2, 20, 30))}, "maps has 2 entries for 3 images"),
        ({"maps": np.ones((3, 9))}, r"maps\[0\] must have shape \(height, width\)"),
        ({"maps": np.full((3, 20, 30), np.nan)}, r"maps\[0\] has 600 NaN"),
        ({"masks": [None, None, np.ones((3, 3))]}, r"masks\[2\] is 3 by 3 pixels"),
        ({"masks": [None, np.ones(3), None]}, r"masks\[1\] must be a mask"),
        ({"masks": [None]}, "masks has 1 entries for 3 images"),
        ({"predicted": [np.ones((2, 2))] * 3}, r"predicted\[0\] is 2 by 2"),
        ({"threshold": np.nan}, "threshold must be a number"),
        ({"scores": [1, 2]}, "scores has 2 entries"),
        ({"scores": [1, 2, np.nan]}, "scores has 1 NaN"),
        ({"p_values": [1]}, "p_values has 1 entries"),
        ({"defect": ["good"]}, "defect has 1 entries"),
        ({"names": ["a"]}, "names has 1 entries"),
        ({"image_threshold": 1.0}, "image_threshold needs scores"),
        (
            {"select": "best"},
            "select must be None, 'worst', 'borderline', indices or a mask",
        ),
        ({"select": [0.5]}, "select must be None"),
        ({"select": []}, "select must be None"),
        ({"select": [0, 3]}, "select has index 3, but there are 3 images"),
        ({"select": [True]}, r"select is a mask of shape \(1,\) for 3 images"),
        ({"select": [False] * 3}, "select is a mask that marks no image"),
        ({"select": "borderline"}, "needs a finite image_threshold, got None"),
        ({"n_images": 0}, "n_images == 0, must be >= 1"),
        ({"kind": "grid"}, "kind must be 'rows' or 'sheet', got 'grid'"),
    ],
)
def test_refuses(figure, options, message):
    options = {"maps": [cone()] * 3, "images": [picture()] * 3, **options}
    with pytest.raises(ValueError, match=message):
        draw(figure, **options)


def test_refuses_types(figure):
    with pytest.raises(TypeError, match="figure must be a matplotlib Figure"):
        draw(figure.subplots())
    with pytest.raises(TypeError, match="images is an iterator"):
        draw(figure, images=iter([picture()]))


@pytest.mark.parametrize("kind", ["rows", "sheet"])
def test_refuses_a_figure_that_is_too_small(kind):
    with pytest.raises(
        ValueError, match=r"figure is too small for 6 images: 2 by 2 inch"
    ):
        draw_six(Figure((2, 2)), kind=kind)


def test_a_missing_matplotlib_names_the_extra(figure, monkeypatch):
    display = draw(figure)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = (
        r'^AnomalyMapDisplay needs matplotlib: pip install "sklearn-gauss\[plot\]"\.$'
    )
    with pytest.raises(ImportError, match=message):
        AnomalyMapDisplay.from_predictions(None, None)
    with pytest.raises(ImportError, match=message):
        AnomalyMapDisplay.from_estimator(None, None)
    with pytest.raises(ImportError, match=message):
        display.plot()


# ------------------------------------------------------------------- with a pipeline
class Grid(TransformerMixin, BaseEstimator):
    """Darkness of images on a grid of 4 by 4; counts the images that it is given."""

    def fit(self, X, y=None):
        self.n_seen_ = 0
        return self

    def transform(self, X):
        self.n_seen_ += len(X)
        grey = [Image.fromarray(x).convert("L") for x in X]
        sides = [np.asarray(x.resize((4, 4), Image.Resampling.BOX)) for x in grey]
        return 255.0 - np.array(sides)[..., None]


class Patches(BaseEstimator):
    """What the display asks of a detector of patches."""

    calibrated = True

    def fit(self, X, y=None):
        self.offset_, self.pixel_threshold_ = -170.0, 160.0
        return self

    def score_samples(self, X):
        return -X.max(axis=(1, 2, 3))

    def p_values(self, X):
        if not self.calibrated:
            raise AttributeError("no calibration_scores_")
        return 1 / (1 - self.score_samples(X))

    def anomaly_map(self, X, image_size=None):
        height, width = image_size
        return np.stack(
            [x.repeat(height // 4, 0).repeat(width // 4, 1) for x in X[..., 0]]
        )

    def defect_mask(self, X, image_size=None, fdr=None):
        return self.anomaly_map(X, image_size) > 255 * (1 - fdr)


@pytest.fixture
def pipeline():
    pipeline = make_pipeline(Grid(), Patches()).fit([picture()])
    pipeline[0].n_seen_ = 0
    return pipeline


@pytest.fixture
def mixed():
    """Images of two sizes; the darkness of one quarter is 100 and more, by 20."""
    images = [picture(*size, level=255) for size in [(40, 80), (80, 40)] * 3]
    for place, image in enumerate(images):
        image[: len(image) // 2, : image.shape[1] // 2] = 155 - 20 * place
    return images


def test_from_estimator_asks_for_each_images_size(figure, pipeline, mixed):
    defect = ["good"] * 3 + ["dark"] * 3
    display = AnomalyMapDisplay.from_estimator(
        pipeline, mixed, defect=defect, figure=figure
    )
    features = pipeline[:-1].transform(mixed)
    np.testing.assert_array_equal(display.scores, pipeline[-1].score_samples(features))
    for place, image in enumerate(mixed):
        np.testing.assert_array_equal(display.images[place], image)
        (expected,) = pipeline[-1].anomaly_map(features[[place]], image.shape[:2])
        np.testing.assert_array_equal(display.maps[place], expected)
        region = display.regions_[place]
        filled = (
            np.zeros(image.shape[:2]) if region is None else region.get_array()[..., 3]
        )
        np.testing.assert_array_equal(filled > 0, expected > 160)
    assert display.threshold == 160.0
    flagged = display.scores < -170.0
    words = [("passed", "flagged")[int(each)] for each in flagged]
    assert texts(display.verdicts_) == [
        f"{word} · {kind}" for word, kind in zip(words, defect, strict=True)
    ]
    np.testing.assert_array_equal(display.p_values, 1 / (1 - display.scores))
    assert figure.get_suptitle() == "Patches: flagged below score \N{MINUS SIGN}170"


@pytest.mark.parametrize(
    ("select", "n_images", "places", "n_seen"),
    [
        ("worst", 2, [5, 4], 6),
        ("borderline", 2, [4, 3], 6),
        ([1, 3], None, [1, 3], 2),
        (None, 3, [0, 1, 2], 3),
    ],
)
def test_from_estimator_transforms_once(
    figure, pipeline, mixed, select, n_images, places, n_seen
):
    masks = [image[..., 0] < 255 for image in mixed]
    display = AnomalyMapDisplay.from_estimator(
        pipeline,
        mixed,
        masks=masks,
        select=select,
        n_images=n_images,
        kind="sheet",
        name="mine",
        figure=figure,
    )
    assert pipeline[0].n_seen_ == n_seen
    assert display.names == [f"image {place}" for place in places]
    for i, place in enumerate(places):
        np.testing.assert_array_equal(display.masks[i], masks[place])
        darkness = 100 + 20 * place
        assert display.maps[i].max() == -display.scores[i] == darkness
        assert display.p_values[i] == 1 / (1 + darkness)
    assert figure.get_suptitle().startswith(f"mine: {len(places)} of 6 images")


def test_from_estimator_passes_the_rate_of_false_discoveries(figure, pipeline, mixed):
    display = AnomalyMapDisplay.from_estimator(pipeline, mixed, fdr=0.3, figure=figure)
    for found, values in zip(display.predicted, display.maps, strict=True):
        np.testing.assert_array_equal(found, values > 255 * 0.7)


def test_from_estimator_without_calibration(figure, pipeline, mixed):
    pipeline[-1].calibrated = False
    display = AnomalyMapDisplay.from_estimator(pipeline, mixed, figure=figure)
    assert display.p_values is None


@pytest.mark.parametrize("place", ["around", "end"])
def test_from_estimator_takes_verdicts_from_a_calibration(figure, mixed, place):
    options = {"target_fpr": 0.4, "cv": 3}
    if place == "around":
        model = CalibratedDetector(make_pipeline(Grid(), Patches()), **options)
        grid = model.fit(mixed).detector_[0]
    else:
        model = make_pipeline(Grid(), CalibratedDetector(Patches(), **options))
        grid = model.fit(mixed)[0]
    outer = model if place == "around" else model[-1]
    scores, p_values = model.score_samples(mixed), outer.p_values
    want = p_values(mixed) if place == "around" else p_values(grid.transform(mixed))
    assert outer.offset_ != -170.0  # that of the detector inside
    grid.n_seen_ = 0
    display = AnomalyMapDisplay.from_estimator(model, mixed, figure=figure)
    assert grid.n_seen_ == 6
    np.testing.assert_array_equal(display.scores, scores)
    np.testing.assert_array_equal(display.flagged, scores < outer.offset_)
    np.testing.assert_array_equal(display.p_values, want)
    assert display.image_threshold == outer.offset_
    assert display.threshold == 160.0
    assert figure.get_suptitle().startswith("Patches: flagged below score ")
    with pytest.raises(NotFittedError):
        AnomalyMapDisplay.from_estimator(CalibratedDetector(model), mixed)


def test_from_estimator_refuses(figure, pipeline, mixed):
    with pytest.raises(NotFittedError):
        AnomalyMapDisplay.from_estimator(make_pipeline(Grid(), Patches()), mixed)
    for estimator in (pipeline[-1], pipeline[:1]):
        with pytest.raises(TypeError, match="has no maps of images: give a Pipeline"):
            AnomalyMapDisplay.from_estimator(estimator, mixed, figure=figure)
    with pytest.raises(ValueError, match="masks has 1 entries for 6 images"):
        AnomalyMapDisplay.from_estimator(pipeline, mixed, masks=[None], figure=figure)
    assert pipeline[0].n_seen_ == 0


def test_drawn_products(figure):
    found = make_inspection_images(
        "tile", n_train=0, n_good=2, n_defect=6, size=32, random_state=0
    )
    display = draw(
        figure,
        found.masks.astype(float),
        found.test,
        masks=found.masks,
        defect=found.defect,
        threshold=0.5,
        kind="sheet",
    )
    for mask, *contours in zip(
        found.masks, display.contours_, display.true_contours_, strict=True
    ):
        assert [each is not None for each in contours] == [mask.any()] * 2
    render(figure)
