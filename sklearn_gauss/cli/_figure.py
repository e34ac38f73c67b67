"""The figure of an evaluation: scores, working points and a contact sheet."""

from itertools import zip_longest

import numpy as np

from sklearn_gauss.feature_extraction._reading._images import read_image
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

    figure = Figure(figsize=(13, 11), layout="constrained")
    figure.suptitle(_title(record), fontsize=13)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    left, right = top.subplots(1, 2, width_ratios=(1.6, 1))
    detector = model.detector
    ScoreDisplay.from_predictions(
        folder.y_test,
        scores,
        defect=folder.defect,
        threshold=detector.offset_,
        name="Scores of test images and the threshold",
        ax=left,
    )
    if record["n_test_good"]:
        WorkingPointDisplay.from_predictions(
            folder.y_test,
            p_values,
            n_calibration=len(detector.calibration_scores_),
            working_point=detector.target_fpr,
            name="False-positive rate on test/good",
            ax=right,
        )
    else:
        right.set_axis_off()
    _draw_sheet(bottom, model, folder, scores, p_values)
    return figure


def _title(record):
    auroc = record["auroc"]
    shown = "" if auroc is None else f": image AUROC {auroc:.3f}"
    return f"{record['name']}{shown}"


def _draw_sheet(figure, model, folder, scores, p_values):
    """Draw the most anomalous good and defective images, and the missed ones."""
    good, flagged = folder.y_test == 1, scores < model.detector.offset_
    order = np.argsort(scores, kind="stable")
    rows = {
        "Good, most anomalous": order[good[order]],
        "Defective, most anomalous": order[~good[order]],
        "Defective, missed": order[::-1][(~good & ~flagged)[order[::-1]]],
    }
    strips = figure.subfigures(len(rows), 1)
    for strip, (title, places) in zip(strips, rows.items(), strict=True):
        strip.suptitle(
            f"{title} ({len(places)})", x=0.005, ha="left", fontsize=11, weight="bold"
        )
        for ax, place in zip_longest(strip.subplots(1, SHEET), places[:SHEET]):
            ax.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal")
            ax.set_axis_off()
            if place is not None:
                _draw_image(ax, folder, place, p_values[place], flagged[place])


def _draw_image(ax, folder, place, p_value, flagged):
    """Draw an image in the middle of a square, framed in the colour of its verdict."""
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
