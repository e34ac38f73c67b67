"""The two kinds of AnomalyMapDisplay: rows of panels, and a sheet of thumbnails."""

from dataclasses import dataclass, field

import numpy as np

from sklearn_gauss.plotting._axes import FLAGGED, PASSED, THRESHOLD
from sklearn_gauss.plotting._map_layout import (
    CAPTION,
    GAP,
    MARGIN,
    lay_out_rows,
    lay_out_sheet,
)
from sklearn_gauss.plotting._map_panels import (
    TRUE,
    UNDER_MAP,
    UNDER_MASK,
    colour_limits,
    draw_bar,
    draw_heat,
    draw_image,
    draw_outline,
    draw_region,
    frame,
    legend,
    legend_line,
    legend_region,
    place_axes,
    write,
)

HEADINGS = {
    "image": "Image",
    "map": "Anomaly map",
    "contour": "Above threshold",
    "mask": "Defect",
}
OUTLINE, TRUTH = ("above the threshold", FLAGGED), ("true defect", TRUE)

THIN = 0.9  # points: outlines where they lie on something else, or are small

BAR_BELOW, BAR_HEIGHT = 0.28, 0.11  # inches


@dataclass
class Drawn:
    """What was drawn, image by image; see the attributes of AnomalyMapDisplay."""

    axes: np.ndarray
    heat_maps: list = field(default_factory=list)
    regions: list = field(default_factory=list)
    contours: list = field(default_factory=list)
    true_contours: list = field(default_factory=list)
    verdicts: list = field(default_factory=list)
    captions: list = field(default_factory=list)
    colorbar: object = None
    line: object = None


def panels(display):
    """Which panels a row has: those that there is something for."""
    has_mask = display.predicted is not None or display.masks is not None
    has_contour = display.threshold is not None
    asked = {"contour": has_contour, "mask": has_contour or has_mask}
    return [panel for panel in HEADINGS if asked.get(panel, True)]


def plan_rows(display, sizes, has_title, figure_size):
    """Return the layout of rows."""
    return lay_out_rows(sizes, len(panels(display)), has_title, figure_size)


def plan_sheet(display, sizes, has_title, figure_size):
    """Return the layout of a sheet."""
    return lay_out_sheet(sizes, has_title, figure_size)


def draw_rows(display, figure, layout):
    """Draw an image a row."""
    from matplotlib.colors import Normalize

    norm = Normalize(*colour_limits(display.maps, display.threshold))
    names = panels(display)
    drawn = Drawn(_all_axes(figure, layout))
    for i, row in enumerate(drawn.axes):
        for each in row:
            each.set_anchor("N")  # next to the caption
        ax = dict(zip(names, row, strict=True))
        _draw_picture(ax["image"], display, i)
        _draw_picture(ax["map"], display, i, UNDER_MAP)
        drawn.heat_maps.append(draw_heat(ax["map"], display.maps[i], norm))
        contour = region = truth = None
        if "contour" in ax:
            _draw_picture(ax["contour"], display, i)
            contour = _draw_contour(ax["contour"], display, i)
        if "mask" in ax:
            _draw_picture(ax["mask"], display, i, UNDER_MASK)
            region = _draw_region(ax["mask"], display, i)
            truth = _draw_truth(ax["mask"], display, i, width=THIN)
        drawn.contours.append(contour)
        drawn.regions.append(region)
        drawn.true_contours.append(truth)
        _, top, _, _ = layout.cells[i][0]
        lines = _details(display, i)
        _write_caption(drawn, display, figure, layout, i, MARGIN, top, lines)
    for ax, name in zip(drawn.axes[0], names, strict=True):
        ax.set_title(HEADINGS[name], fontsize=8.5, pad=4)
    _explain_rows(drawn, display, figure, layout, names)
    return drawn


def draw_sheet(display, figure, layout):
    """Draw every image small, with its outlines, in a frame of its verdict's colour."""
    drawn = Drawn(_all_axes(figure, layout))
    for i, ax in enumerate(drawn.axes):
        ax.set_anchor("S")  # next to its caption
        draw_image(ax, display.images[i], display.maps[i].shape)
        frame(ax, _verdict(display, i)[1], 2.0)
        drawn.true_contours.append(_draw_truth(ax, display, i, width=THIN))
        drawn.contours.append(_draw_contour(ax, display, i, width=THIN))
        left, top, width, height = layout.cells[i]
        name, *numbers = _details(display, i)
        lines = [name, ", ".join(numbers)] if numbers else [name]
        at = (left + width / 2, top + height + 0.05)
        _write_caption(drawn, display, figure, layout, i, *at, lines, width)
    entries = _entries(drawn)
    if entries:
        legend(figure, entries, (MARGIN, layout.end), layout.size)
    return drawn


def _all_axes(figure, layout):
    cells = np.empty(np.shape(layout.cells)[:-1], dtype=object)
    for place in np.ndindex(cells.shape):
        cell = layout.cells[place[0]]
        cell = cell[place[1]] if len(place) == 2 else cell
        cells[place] = place_axes(figure, cell, layout.size)
    return cells


def _draw_picture(ax, display, i, grey=None):
    draw_image(ax, display.images[i], display.maps[i].shape, grey)
    frame(ax, "0.6", 0.5)


def _draw_contour(ax, display, i, **options):
    if display.threshold is None:
        return None
    return draw_outline(ax, display.maps[i], display.threshold, FLAGGED, **options)


def _draw_truth(ax, display, i, **options):
    if display.masks is None or display.masks[i] is None:
        return None
    return draw_outline(ax, display.masks[i], 0.5, TRUE, **options)


def _draw_region(ax, display, i):
    if display.predicted is not None:
        mask = display.predicted[i]
    else:
        has_threshold = display.threshold is not None
        mask = display.maps[i] > display.threshold if has_threshold else None
    return None if mask is None or not mask.any() else draw_region(ax, mask)


def _verdict(display, i):
    """Whether an image is flagged, in a word and in a colour."""
    if display.flagged is None:
        return "", THRESHOLD
    return ("flagged", FLAGGED) if display.flagged[i] else ("passed", PASSED)


def _details(display, i):
    """Name of an image, and what numbers there are."""
    lines = [display.names[i]]
    if display.scores is not None:
        lines.append(f"score {display.scores[i]:.3g}".replace("-", "\N{MINUS SIGN}"))
    if display.p_values is not None:
        lines.append(f"p = {display.p_values[i]:.2g}")
    return lines


def _write_caption(drawn, display, figure, layout, i, x, y, lines, width=None):
    """Write verdict and kind, then the details; below the middle or from the left."""
    word, colour = _verdict(display, i)
    kind = "" if display.defect is None else display.defect[i]
    headline = " \N{MIDDLE DOT} ".join(part for part in (word, kind) if part)
    options = {
        "width": CAPTION - GAP if width is None else width,
        "size": layout.size,
        "align": "left" if width is None else "center",
    }
    drawn.verdicts.append(
        write(figure, (x, y), [headline], color=colour, weight="bold", **options)
    )
    below = y + 0.14 if headline else y
    drawn.captions.append(write(figure, (x, below), lines, color=THRESHOLD, **options))


def _entries(drawn):
    """What a legend has to explain."""
    return [
        *([legend_line(*OUTLINE)] if any(drawn.contours) else []),
        *([legend_line(*TRUTH)] if any(drawn.true_contours) else []),
    ]


def _explain_rows(drawn, display, figure, layout, names):
    """Draw the colour bar below the maps, and a legend below the defects."""
    left, _, width, _ = layout.cells[-1][names.index("map")]
    drawn.colorbar, drawn.line = draw_bar(
        figure,
        drawn.heat_maps[-1],
        (left, layout.end + BAR_BELOW, width, BAR_HEIGHT),
        layout.size,
        display.threshold,
    )
    entries = [entry for entry in _entries(drawn) if entry.get_label() == TRUTH[0]]
    if any(drawn.regions):
        entries.insert(0, legend_region("predicted defect"))
    if entries:  # the contour's panel is explained by its heading
        left, _, width, _ = layout.cells[-1][names.index("mask")]
        corner = (left + width, layout.end + 0.05)  # may reach below the contour's panel
        legend(figure, entries, corner, layout.size, "upper right", n_columns=1)
