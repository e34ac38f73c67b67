"""Which images a display draws, and in what order."""

import numpy as np
from sklearn.utils import check_scalar

#: Images that are drawn of more, by the kind of display.
MOST = {"rows": 6, "sheet": 40}


def check_kind(kind):
    """Refuse an unknown kind of display."""
    if not isinstance(kind, str) or kind not in MOST:
        raise ValueError(f"kind must be 'rows' or 'sheet', got {kind!r}.")


def check_select(select, n_images, kind, n_all):
    """Return ``select``, indices or a mask as indices, and how many images to draw."""
    check_kind(kind)
    if not (select is None or isinstance(select, str)):
        select = _check_indices(select, n_all)
    elif select not in (None, "worst", "borderline"):
        raise ValueError(
            f"select must be None, 'worst', 'borderline', indices or a mask, got "
            f"{select!r}."
        )
    if n_images is None:
        n_images = len(select) if isinstance(select, np.ndarray) else MOST[kind]
    return select, check_scalar(n_images, "n_images", (int, np.integer), min_val=1)


def _check_indices(select, n_all):
    indices = np.asarray(select)
    if indices.dtype.kind == "b":
        indices = _marked(indices, n_all)
    if indices.ndim != 1 or not indices.size or indices.dtype.kind not in "iu":
        raise ValueError(
            "select must be None, 'worst', 'borderline', indices or a mask, got "
            f"{select!r}."
        )
    outside = indices[(indices < -n_all) | (indices >= n_all)]
    if outside.size:
        raise ValueError(f"select has index {outside[0]}, but there are {n_all} images.")
    return indices % n_all


def _marked(mask, n_all):
    """Indices of the images that a mask marks."""
    if mask.shape != (n_all,):
        raise ValueError(f"select is a mask of shape {mask.shape} for {n_all} images.")
    if not mask.any():
        raise ValueError("select is a mask that marks no image.")
    return np.flatnonzero(mask)


def order(select, n_images, n_all, scores=None, image_threshold=None):
    """Places of the images to draw, in the order of drawing."""
    if select is None:
        return np.arange(n_all)[:n_images]
    if isinstance(select, np.ndarray):
        return select[:n_images]
    if select == "worst":
        return np.argsort(scores, kind="stable")[:n_images]
    return borderline(scores, image_threshold, n_images)


def borderline(scores, threshold, n_images):
    """Places of the scores nearest to the threshold, the lowest score first.

    Half are below it and half above; where one side has too few, the other fills up.
    """
    if threshold is None or not np.isfinite(threshold):
        raise ValueError(
            f"select='borderline' needs a finite image_threshold, got {threshold}."
        )
    ranked = np.argsort(scores, kind="stable")
    n_below = int((scores < threshold).sum())
    n_above = len(scores) - n_below
    below = min(n_below, max((n_images + 1) // 2, n_images - n_above))
    return ranked[n_below - below : n_below - below + n_images]


def describe(select, n_drawn, n_all):
    """What the images drawn are among all, or "" where they are all in their order."""
    if select is None and n_drawn == n_all:
        return ""
    how = {"worst": ", worst first", "borderline": " nearest to the threshold"}
    extra = how.get(select, "") if isinstance(select, str) else ""
    count = f"{n_drawn} images" if n_drawn == n_all else f"{n_drawn} of {n_all} images"
    return f"{count}{extra}"
