"""How an image, its anomaly map and outlines of defects are drawn on axes."""

from bisect import bisect_left

import numpy as np

from sklearn_gauss.plotting._axes import FLAGGED, THRESHOLD
from sklearn_gauss.plotting._map_layout import MARGIN
from sklearn_gauss.plotting._pictures import shrink

#: The outline of a true defect, and the rims that part outlines from any image. Light
#: and dark, the two outlines differ in any colour vision.
TRUE = "#2fd3f2"
RIMS = {FLAGGED: "white", TRUE: "#222222"}

COLOURS = "inferno"
FONT, TITLE_FONT = 7.5, 11  # points, of captions and of the title
OPACITY = 0.72  # of the heat map over the image

#: Grey levels of the image under a heat map, whose mean the colour bar lies on, and of
#: that under a mask.
UNDER_MAP, UNDER_MASK = (0.25, 0.75), (0.35, 1.0)


def place_axes(figure, cell, size):
    """Return axes without ticks at (left, top, width, height) in inches."""
    left, top, width, height = cell
    across, down = size
    ax = figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down)
    )
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def frame(ax, colour, width):
    """Draw the edges of the image."""
    for spine in ax.spines.values():
        spine.set(edgecolor=colour, linewidth=width)


def draw_image(ax, picture, size, grey=None):
    """Draw an image in the pixels of its own size; between grey levels if given."""
    height, width = size
    options = {}
    if grey is not None:
        low, high = grey
        levels = picture @ np.array([0.299, 0.587, 0.114]) / 255
        picture = low + (high - low) * levels
        options = {"cmap": "gray", "vmin": 0, "vmax": 1}
    return ax.imshow(picture, extent=(-0.5, width - 0.5, height - 0.5, -0.5), **options)


def draw_heat(ax, values, norm):
    """Draw a map over the image."""
    height, width = values.shape
    return ax.imshow(
        shrink(values)[0],
        cmap=COLOURS,
        norm=norm,
        alpha=OPACITY,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )


def draw_region(ax, mask):
    """Fill a region."""
    from matplotlib.colors import to_rgb

    height, width = mask.shape
    small = shrink(mask)[0]
    pixels = np.zeros((*small.shape, 4))
    pixels[...] = (*to_rgb(FLAGGED), 0.85)
    pixels[..., 3] *= small
    return ax.imshow(
        pixels,
        interpolation="nearest",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )


def draw_outline(ax, values, level, colour, width=1.2):
    """Draw the outline of what lies above ``level``; None where nothing does.

    At the edge of the image it runs along the edge, so that every outline is closed.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(level) or not (values > level).any():
        return None
    height, width_in_pixels = values.shape
    small, down, across = shrink(values)
    ring = np.nextafter(level, -np.inf)
    small = np.pad(small, 1, constant_values=ring)
    down = np.concatenate([[-0.5], down, [height - 0.5]])
    across = np.concatenate([[-0.5], across, [width_in_pixels - 0.5]])
    outline = ax.contour(
        across,
        down,
        finite(small),
        levels=[level],
        colors=colour,
        linewidths=width,
    )
    outline.set_path_effects(rim(RIMS[colour], width))
    ax.set(xlim=(-0.5, width_in_pixels - 0.5), ylim=(height - 0.5, -0.5))
    return outline


def rim(colour, width):
    """Path effects that give a line a rim."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width + 0.9, foreground=colour, alpha=0.8), Normal()]


def finite(values):
    """Values with infinity moved to just beyond the finite ones."""
    inside = values[np.isfinite(values)]
    low, high = (inside.min(), inside.max()) if inside.size else (0.0, 0.0)
    beyond = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-12)
    return np.nan_to_num(values, posinf=high + beyond, neginf=low - beyond)


def colour_limits(maps, threshold):
    """Lowest and highest finite value among maps and threshold."""
    shown = [values[np.isfinite(values)] for values in maps]
    if threshold is not None and np.isfinite(threshold):
        shown.append(np.array([threshold]))
    shown = np.concatenate(shown)
    low, high = (shown.min(), shown.max()) if shown.size else (0.0, 1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def draw_bar(figure, heat, box, size, threshold):
    """Draw the colour bar, with the threshold marked; returns both."""
    from matplotlib.ticker import MaxNLocator

    ax = place_axes(figure, box, size)
    bar = figure.colorbar(heat, cax=ax, orientation="horizontal", ticks=MaxNLocator(5))
    ax.set_facecolor(str(np.mean(UNDER_MAP)))
    bar.outline.set_linewidth(0.5)
    ax.tick_params(labelsize=8, length=2.5)
    ax.set_xlabel("higher is more anomalous", fontsize=8, labelpad=2)
    if threshold is None or not np.isfinite(threshold):
        return bar, None
    line = ax.axvline(threshold, color="white", linewidth=1.2)
    line.set_path_effects(rim(THRESHOLD, 1.2))
    low, high = heat.get_clim()
    place = (threshold - low) / (high - low)
    ax.annotate(
        f"pixel threshold {threshold:.3g}",
        (threshold, 1),
        (0, 2),
        xycoords=ax.get_xaxis_transform(),
        textcoords="offset points",
        horizontalalignment="left"
        if place < 0.3
        else "right"
        if place > 0.7
        else "center",
        fontsize=8,
        color=THRESHOLD,
    )
    return bar, line


def legend_line(label, colour):
    """Return the entry of an outline in a legend."""
    from matplotlib.lines import Line2D

    line = Line2D([], [], color=colour, linewidth=1.2, label=label)
    line.set_path_effects(rim(RIMS[colour], 1.2))
    return line


def legend_region(label):
    """Return the entry of a filled region in a legend."""
    from matplotlib.patches import Patch

    return Patch(color=FLAGGED, alpha=0.85, linewidth=0, label=label)


def legend(figure, handles, at, size, corner="upper left", n_columns=4):
    """Draw a legend whose corner is at (left or right, top) in inches."""
    return figure.legend(
        handles=handles,
        loc=corner,
        bbox_to_anchor=(at[0] / size[0], 1 - at[1] / size[1]),
        ncols=n_columns,
        frameon=False,
        fontsize=8,
        borderaxespad=0,
        borderpad=0.2,
    )


def write(figure, at, lines, *, width, size, align="left", weight="normal", **options):
    """Write lines from (left or middle, top) in inches, each cut to a width."""
    return figure.text(
        at[0] / size[0],
        1 - at[1] / size[1],
        "\n".join(_cut(line, width, FONT, weight) for line in lines),
        fontsize=FONT,
        fontweight=weight,
        horizontalalignment=align,
        verticalalignment="top",
        parse_math=False,
        **options,
    )


def _cut(line, width, size, weight="normal"):
    """Leave out the middle of a text that is wider than some inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight=weight)

    def cut(kept):
        start, end = line[: (kept + 1) // 2], line[len(line) - kept // 2 :]
        return f"{start}\N{HORIZONTAL ELLIPSIS}{end}"

    def is_wide(text):
        points, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
        return points > 72 * width

    if not is_wide(line):
        return line
    counts = range(1, len(line))
    return cut(max(1, bisect_left(counts, True, key=lambda kept: is_wide(cut(kept)))))


def figure_size(figure):
    """Width and height in inches of what to draw on; None where it is to be made."""
    from matplotlib.figure import FigureBase

    if figure is None:
        return None
    if not isinstance(figure, FigureBase):
        raise TypeError(
            "figure must be a matplotlib Figure or SubFigure, got "
            f"{type(figure).__name__}."
        )
    return figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi


def prepare(figure, size):
    """Return a new figure of pyplot, or the given one with its layout engine off.

    An engine places what lies in grids, and warns where there is none.
    """
    if figure is None:
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout="none")
    # A SubFigure has its parent's engine, and cannot set it.
    if hasattr(figure, "set_layout_engine") and figure.get_layout_engine() is not None:
        figure.set_layout_engine("none")
    return figure


def draw_title(figure, title, size):
    """Write the title above the left edge."""
    if title:
        place = (MARGIN / size[0], 1 - MARGIN / size[1])
        figure.suptitle(
            _cut(title, size[0] - 2 * MARGIN, TITLE_FONT),
            x=place[0],
            y=place[1],
            horizontalalignment="left",
            verticalalignment="top",
            fontsize=TITLE_FONT,
            parse_math=False,
        )
