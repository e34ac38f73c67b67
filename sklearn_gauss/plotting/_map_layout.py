"""Where the panels, thumbnails and captions of images lie on a figure, in inches.

Images of any aspect ratio get cells of their own, and text has a size of its own, so
that nothing overlaps on a figure of any size; a layout engine cannot know either.
"""

import math
from dataclasses import dataclass

import numpy as np

MARGIN = 0.12
TITLE = 0.28
GAP = 0.1

#: Width of a panel and of the captions left of it, heights of the headings above the
#: first row and of the legend and the colour bar below the last one.
PANEL, CAPTION, HEADING, LEGEND = 2.0, 1.6, 0.26, 0.85

#: Width of a thumbnail, height of the caption below it and of the legend of a sheet.
THUMBNAIL, BELOW, KEY, COLUMNS = 1.45, 0.56, 0.3, 8
KEY_WIDTH = 3.2

#: Height by width of a cell: longer images are drawn smaller, within it.
FLATTEST, TALLEST = 0.35, 1.5

#: Least width of a panel or thumbnail, that of a heading; rows are no lower than their
#: captions.
NARROWEST, LOWEST = 1.0, 0.6


@dataclass(frozen=True)
class Layout:
    """Width and height of a figure, and (left, top, width, height) of cells on it."""

    size: tuple
    cells: list
    end: float


def lay_out_rows(sizes, n_panels, has_title, figure_size=None):
    """Return a layout whose cells are one list of panels for each image."""
    ratios = _ratios(sizes)
    top = MARGIN + TITLE * has_title + HEADING
    fixed = CAPTION + (n_panels - 1) * GAP + 2 * MARGIN
    gaps = GAP * (len(ratios) - 1)
    if figure_size is None:
        width = PANEL
        heights = ratios * width
        room = heights.sum()
        figure_size = (fixed + n_panels * width, top + room + gaps + LEGEND)
    else:
        width = (figure_size[0] - fixed) / n_panels
        room = figure_size[1] - top - gaps - LEGEND
        heights = _squeezed(ratios * width, room)
    is_enough = width >= NARROWEST and heights.sum() <= room + 1e-6
    _check_room(is_enough, figure_size, len(ratios))
    lefts = MARGIN + CAPTION + (width + GAP) * np.arange(n_panels)
    tops = top + np.cumsum([0.0, *(heights[:-1] + GAP)])
    cells = [
        [(left, top, width, height) for left in lefts]
        for top, height in zip(tops, heights, strict=True)
    ]
    return Layout(figure_size, cells, tops[-1] + heights[-1])


def lay_out_sheet(sizes, has_title, figure_size=None):
    """Return a layout with one cell for each image, line by line."""
    ratios = _ratios(sizes)
    n_images, start = len(ratios), MARGIN + TITLE * has_title
    around = start + KEY + MARGIN
    if figure_size is None:
        lines = math.ceil(n_images / COLUMNS)
        n_columns, width = math.ceil(n_images / lines), THUMBNAIL
        tallest = _tallest(ratios, n_columns)
        figure_size = (
            max(2 * MARGIN + n_columns * (width + GAP) - GAP, KEY_WIDTH),
            around + width * tallest.sum() + BELOW * len(tallest),
        )
    else:
        n_columns, width = max(
            (
                (n, _thumbnail(ratios, n, figure_size, around))
                for n in range(1, n_images + 1)
            ),
            key=lambda pair: pair[1],
        )
        tallest = _tallest(ratios, n_columns)
    _check_room(width >= NARROWEST, figure_size, n_images)
    heights = width * tallest
    tops = start + np.cumsum([0.0, *(heights[:-1] + BELOW)])
    pitch = (figure_size[0] - 2 * MARGIN + GAP) / n_columns
    cells = [
        (
            MARGIN + place % n_columns * pitch + (pitch - GAP - width) / 2,
            tops[place // n_columns],
            width,
            heights[place // n_columns],
        )
        for place in range(n_images)
    ]
    return Layout(figure_size, cells, tops[-1] + heights[-1] + BELOW)


def _ratios(sizes):
    return np.clip([height / width for height, width in sizes], FLATTEST, TALLEST)


def _squeezed(heights, room):
    """Scale heights down until they fit in a room, but none below the lowest."""
    heights = np.maximum(heights, LOWEST)
    for _ in range(len(heights)):  # each time one is at the lowest, or all fit
        excess, free = heights.sum() - room, heights > LOWEST
        if excess <= 0 or not free.any():
            break
        scale = max(0.0, 1 - excess / heights[free].sum())
        heights[free] = np.maximum(LOWEST, scale * heights[free])
    return heights


def _tallest(ratios, n_columns):
    """Largest ratio in each line."""
    return np.maximum.reduceat(ratios, np.arange(0, len(ratios), n_columns))


def _thumbnail(ratios, n_columns, figure_size, around):
    """Width of the thumbnails in so many columns."""
    tallest = _tallest(ratios, n_columns)
    across = (figure_size[0] - 2 * MARGIN + GAP) / n_columns - GAP
    down = (figure_size[1] - around - BELOW * len(tallest)) / tallest.sum()
    return min(across, down)


def _check_room(is_enough, figure_size, n_images):
    if not is_enough:
        raise ValueError(
            f"figure is too small for {n_images} images: {figure_size[0]:.3g} by "
            f"{figure_size[1]:.3g} inches; give a larger one, or None."
        )
