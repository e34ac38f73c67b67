"""The figure of an evaluation: scores, working points, a contact sheet and maps."""

from itertools import zip_longest

import numpy as np

from sklearn_gauss.feature_extraction._reading._images import read_image
from sklearn_gauss.inspection import anomaly_maps
from sklearn_gauss.inspection._unwrapped import member_with_maps
from sklearn_gauss.plotting import ScoreDisplay, WorkingPointDisplay
from sklearn_gauss.plotting._axes import FLAGGED, PASSED, import_matplotlib

SHEET = 8  # images in a row of the contact sheet
SIDE = 160  # pixels of the longer side of one


def check_figure(path):
    """Refuse a kind of file that matplotlib cannot write."""
    import_matplotlib("A figure")
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"{path}: a figure is one of {', '.join(sorted(kinds))}.")


def draw_evaluation(record, model, folder, scores, p_values):
    """Draw an evaluation; returns a figure of matplotlib."""
    from matplotlib.figure import Figure

    has_maps = model.recipe == "inspector"
    figure = Figure(figsize=(13, 13 if has_maps else 11), layout="constrained")
    figure.suptitle(_title(record), fontsize=13)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.55 if has_maps else 1.15))
    _draw_rates(top, record, model.detector, folder, scores, p_values)
    _draw_sheet(bottom, model, folder, scores, p_values)
    return figure


def _draw_rates(figure, record, detector, folder, scores, p_values):
    """Draw the scores with the threshold, and the rates at other working points."""
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    ScoreDisplay.from_predictions(
        folder.y_test,
        scores,
        defect=folder.defect,
        threshold=detector.offset_,
        name="Scores of test images and the threshold",
        ax=left,
    )
    if not record["n_test_good"]:
        right.set_axis_off()
        return
    WorkingPointDisplay.from_predictions(
        folder.y_test,
        p_values,
        n_calibration=len(detector.calibration_scores_),
        working_point=detector.target_fpr,
        name="False-positive rate on test/good",
        ax=right,
    )


def _title(record):
    auroc = record["auroc"]
    shown = "" if auroc is None else f": image AUROC {auroc:.3f}"
    return f"{record['name']}{shown}"


def _draw_sheet(figure, model, folder, scores, p_values):
    """Draw the most anomalous good and defective images, and the missed ones."""
    good, flagged = folder.y_test == 1, scores < model.detector.offset_
    order = np.argsort(scores, kind="stable")
    bad = order[~good[order]]
    missed = bad[::-1][~flagged[bad[::-1]]]
    rows = [
        ("Good, most anomalous", order[good[order]], None),
        ("Defective, most anomalous", bad, None),
        ("Defective, missed", missed, None),
    ]
    if model.recipe == "inspector":
        name, maps = _maps(model, [folder.test[place] for place in bad[:SHEET]])
        rows.insert(2, (f"The same, where {name} finds them", bad, maps))
    strips = figure.subfigures(len(rows), 1)
    for strip, (title, places, maps) in zip(strips, rows, strict=True):
        count = f" ({len(places)})" if maps is None else ""
        strip.suptitle(f"{title}{count}", x=0.005, ha="left", fontsize=11, weight="bold")
        axes = strip.subplots(1, SHEET)
        for turn, (ax, place) in enumerate(zip_longest(axes, places[:SHEET])):
            ax.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal")
            ax.set_axis_off()
            if place is not None:
                box = _draw_image(ax, folder, place, p_values[place], flagged[place])
                if maps is not None:
                    ax.imshow(maps[turn], extent=box, **_colours(maps))


def _maps(model, images):
    """Name of the member that the maps are of, and its maps, on its own grid."""
    member = member_with_maps(model.estimator)
    names = [n for n, m in model.estimator.named_estimators_.items() if m is member]
    maps = anomaly_maps(member, images, image_size=None) if images else []
    return names[0], maps


def _colours(maps):
    """One scale for all maps, from the median of what they hold."""
    low, high = np.median(maps), np.max(maps)
    return {
        "cmap": "inferno",
        "alpha": 0.7,
        "interpolation": "bilinear",
        "vmin": low,
        "vmax": high,
    }


def _draw_image(ax, folder, place, p_value, flagged):
    """Draw an image in a square, framed in its verdict's colour; returns its box."""
    from matplotlib.patches import Rectangle

    height, width = size = _size(folder.test[place])
    left, top = (SIDE - width) / 2, (SIDE - height) / 2
    box = (left, left + width, top + height, top)
    ax.imshow(read_image(folder.test[place], size), extent=box)
    ax.set(xlim=(0, SIDE), ylim=(SIDE, 0))
    colour = FLAGGED if flagged else PASSED
    frame = Rectangle((left, top), width, height, clip_on=False)
    frame.set(facecolor="none", edgecolor=colour, linewidth=2.5)
    ax.add_patch(frame)
    ax.set_title(f"{folder.defect[place]}, p = {p_value:.2g}", fontsize=8)
    return box


def _size(path):
    """Height and width of an image when its longer side is SIDE."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    if turned:
        width, height = height, width
    longer = max(width, height)
    return max(1, SIDE * height // longer), max(1, SIDE * width // longer)
