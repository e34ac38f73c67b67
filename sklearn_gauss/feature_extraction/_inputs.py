"""What may stand for a collection of images, as a sequence of single images."""

import math
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from sklearn_gauss.feature_extraction._images import (
    is_missing,
    is_path,
    is_pil,
    is_tensor,
    tensor_to_array,
)


def as_images(X):
    """Check a collection of images; returns a sequence of single ones.

    Raises TypeError or ValueError that says what a collection of images is.
    """
    if is_path(X) or is_pil(X):
        raise TypeError("X is a single image; pass a list of images: [X].")
    if is_tensor(X):
        return _from_tensor(X)
    if hasattr(X, "columns"):
        raise TypeError(
            "X is a table; pass the column of paths, X['column'], or set image_shape "
            "when its rows are pixels."
        )
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X is a masked array; images have no masked pixels.")
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUST":
        return _from_array(X)
    if not hasattr(X, "__len__") or not hasattr(X, "__iter__") or isinstance(X, dict):
        raise TypeError(
            "X must be a list or array of paths, PIL images or image arrays, got "
            f"{type(X).__name__}."
        )
    return _not_empty([_item(item, place) for place, item in enumerate(X)])


def _from_tensor(X):
    if X.ndim != 4:
        raise ValueError(
            f"a batch of images as a tensor has shape (n, C, H, W), got {tuple(X.shape)}."
        )
    return _not_empty(tensor_to_array(X))


def _from_array(X):
    if X.ndim == 2:
        raise ValueError(
            "X has two dimensions. Set image_shape=(H, W) or (H, W, C) when its rows "
            "are flattened images; for one grey image pass X[None]."
        )
    if X.ndim not in (3, 4):
        raise ValueError(
            "a batch of images has shape (n, H, W) or (n, H, W, 1, 3 or 4), got "
            f"{X.shape}."
        )
    if X.ndim == 3 and X.shape[-1] in (3, 4) and min(X.shape[:2]) > 4:
        raise ValueError(
            f"X has shape {X.shape}, which looks like one colour image: pass X[None]. A "
            "batch of grey images 3 or 4 pixels wide has shape (n, H, W, 1)."
        )
    return _not_empty(X)


def _not_empty(images):
    if not len(images):
        raise ValueError("Found 0 images: X is empty.")
    return images


def _item(item, place):
    is_array = isinstance(item, np.ndarray) or is_tensor(item)
    if is_array or is_path(item) or is_pil(item) or is_missing(item):
        return item
    raise TypeError(
        f"X[{place}] is of type {type(item).__name__}; an image is a path, a PIL "
        "image, an array (H, W[, C]) or a tensor (C, H, W). For flattened images set "
        "image_shape."
    )


def row_shape(image_shape, n_features):
    """Shape of one image in rows of ``n_features`` pixels; ``"row"`` is (1, p)."""
    if isinstance(image_shape, str):
        return (1, n_features)
    shape = tuple(image_shape)
    is_shape = len(shape) in (2, 3) and all(
        isinstance(side, Integral) and side > 0 for side in shape
    )
    if not is_shape or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"image_shape={image_shape!r} must be (H, W) or (H, W, 1, 3 or 4)."
        )
    if math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={shape} needs rows of {math.prod(shape)} pixels, but X has "
            f"{n_features} features."
        )
    return shape


def as_pair(value, name, check):
    """Two numbers that pass ``check(first, second)``, or a ValueError naming them."""
    pair = tuple(value)
    if len(pair) != 2 or not check(*pair):
        raise ValueError(f"{name}={value!r} is not a valid pair.")
    return pair


def as_size(input_size):
    """(height, width) of an int or a pair; None stays None."""
    if input_size is None:
        return None
    if isinstance(input_size, Integral):
        return (int(input_size),) * 2
    height, width = as_pair(
        input_size,
        "input_size",
        lambda *pair: all(isinstance(side, Integral) and side > 0 for side in pair),
    )
    return int(height), int(width)


def as_three(value, name, *, positive=False):
    """Three finite numbers, one a channel (RGB); None stays None."""
    if value is None:
        return None
    three = np.asarray(value, dtype=np.float64)
    if three.shape != (3,) or not np.isfinite(three).all():
        raise ValueError(f"{name}={value!r} must be three finite numbers (RGB).")
    if positive and not (three > 0).all():
        raise ValueError(f"{name}={value!r} must be positive.")
    return tuple(three.tolist())


def draw_seed(random_state):
    """Return the seed of random weights: an int as it is, None as 0."""
    if random_state is None:
        return 0
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
