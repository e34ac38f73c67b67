"""What may stand for a collection of images, as a sequence of single images."""

import math
import os
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from sklearn_gauss.feature_extraction._reading._kinds import (
    array_like,
    is_drawn,
    is_encoded,
    is_path,
    is_pil,
    is_single,
    is_tensor,
    shown,
    torch_class,
)
from sklearn_gauss.feature_extraction._reading._listing import (
    IMAGE_EXTENSIONS,
    find_images,
)
from sklearn_gauss.feature_extraction._reading._pixels import tensor_to_array
from sklearn_gauss.feature_extraction._reading._streams import ImageStream


def as_images(X, in_chans=3):
    """Check a collection of images; returns a sequence of single ones, or a stream.

    Raises TypeError or ValueError that says what a collection of images is.
    """
    if is_path(X) and os.path.isdir(X):
        return _from_folder(X)
    _refuse_single(X)
    _refuse_masked(X, "X")
    if is_tensor(X):
        return _from_tensor(X)
    if hasattr(X, "columns"):
        X = _only_column(X)
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUST":
        X = X[:, 0] if X.ndim == 2 and X.shape[1] == 1 else X
    elif array_like(X) and len(X.shape) != 1:
        return _from_array(np.asarray(X), in_chans)
    elif isinstance(X, np.ndarray):
        return _from_array(X, in_chans)
    if isinstance(X, dict | set | frozenset):
        raise TypeError(_no_collection(X))
    if not hasattr(X, "__len__") or isinstance(X, torch_class("DataLoader")):
        return _from_iterable(X, in_chans)
    if not hasattr(X, "__iter__"):
        return _LazyImages(X)
    return _not_empty([_item(item, f"X[{place}]") for place, item in enumerate(X)])


def _refuse_single(X):
    if isinstance(X, str) and not X:
        raise TypeError("X is an empty path, neither a folder nor a list of images.")
    if is_path(X) and not os.path.exists(X):
        raise TypeError(
            f"{shown(X)}: there is no such folder. X is a folder of images; for single "
            "ones pass a list of images: [X]."
        )
    if is_path(X) or is_encoded(X) or is_pil(X) or is_drawn(X):
        raise TypeError("X is a single image; pass a list of images: [X].")
    if type(X).__name__ == "LazyFrame":
        raise TypeError("X is a LazyFrame, whose rows are not known yet: collect() it.")


def _refuse_masked(array, name):
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; images have no masked pixels.")


def _no_collection(X):
    return (
        "X must be a folder, a list or array of paths, PIL images or image arrays, or "
        f"an iterator of these, got {type(X).__name__}."
    )


def _from_folder(folder):
    images, others = find_images(folder)
    if not images:
        also = f"; it holds {others} other entries" if others else ""
        raise ValueError(
            f"{shown(folder)}: no image with an extension out of "
            f"{sorted(IMAGE_EXTENSIONS)}{also}."
        )
    return images


def _only_column(X):
    names = list(X.columns)
    if len(names) != 1:
        shown = ", ".join(repr(name) for name in names[:5])
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise TypeError(
            f"X is a table of {len(names)} columns ({shown}{more}); pass the one of the "
            "images, X[['column']], or set image_shape when its rows are pixels."
        )
    return X[names[0]]


def _from_tensor(X):
    if X.ndim != 4:
        raise ValueError(
            f"a batch of images as a tensor has shape (n, C, H, W), got {tuple(X.shape)}."
        )
    return _not_empty(tensor_to_array(X))


def _from_array(X, in_chans):
    if X.ndim == 2:
        raise ValueError(
            "X has two dimensions. Set image_shape=(H, W) or (H, W, C) when its rows "
            "are flattened images; for one grey image pass X[None]."
        )
    if X.ndim not in (3, 4):
        raise ValueError(
            "a batch of images has shape (n, H, W) or (n, H, W, channels), got "
            f"{X.shape}."
        )
    channels = {3, 4, in_chans} - {1}
    if X.ndim == 3 and X.shape[-1] in channels and min(X.shape[:2]) > max(channels):
        raise ValueError(
            f"X has shape {X.shape}, which looks like one colour image: pass X[None]. A "
            f"batch of grey images {X.shape[-1]} pixels wide has shape (n, H, W, 1)."
        )
    return _not_empty(X)


def _from_iterable(X, in_chans):
    if not hasattr(X, "__iter__"):
        raise TypeError(_no_collection(X))

    collate = getattr(X, "collate_fn", None)
    of_torch = getattr(collate, "__module__", "") == "torch.utils.data._utils.collate"

    def split(item, name):
        is_list = of_torch and isinstance(item, list) and len(item) > 1
        if is_list and any(map(is_tensor, item)):
            raise TypeError(_labelled(name))  # torch makes lists of tuples
        return _split(item, name, in_chans)

    return ImageStream(X, split)


def _split(item, name, in_chans):
    """Images of what an iterator yields: one image, or a batch of them.

    A list is a batch; a tuple is one sample, with its labels.
    """
    _refuse_masked(item, name)
    if isinstance(item, list | tuple) and len(item) == 1 and is_tensor(item[0]):
        item = item[0]  # what a loader makes of a data set of tensors
    if is_single(item):
        return [item]
    shape = getattr(item, "shape", None)
    if is_tensor(item) or isinstance(item, np.ndarray):
        if len(shape) == 2 or (len(shape) == 3 and _is_one(item, in_chans)):
            return [item]
        return item if len(shape) == 3 else as_images(item, in_chans)
    if isinstance(item, list) or hasattr(item, "to_list"):
        _refuse_labels(item, name)
        return [_item(image, name) for image in item]
    return [_item(item, name)]


def _is_one(array, in_chans):
    """Whether three dimensions are one image, or a batch of grey ones."""
    place = 0 if is_tensor(array) else 2
    return array.shape[place] in {1, 3, 4, in_chans}


def _not_empty(images):
    if not len(images):
        raise ValueError("Found 0 images: X is empty.")
    return images


class _LazyImages:
    """Images of a data set that is asked for one at a time, such as torch's."""

    def __init__(self, data):
        self._data = data
        _not_empty(data)

    def __len__(self):
        return len(self._data)

    def __getitem__(self, place):
        return _item(self._data[place], f"X[{place}]")


def _item(item, name):
    _refuse_masked(item, name)
    if is_single(item) or isinstance(item, np.ndarray) or is_tensor(item):
        return item
    if array_like(item) and len(item.shape) > 1:
        return np.asarray(item)
    _refuse_labels(item, name)
    raise TypeError(
        f"{name} is of type {type(item).__name__}; an image is a path, a PIL image, the "
        "bytes of a file, an array (H, W[, C]) or a tensor (C, H, W). For flattened "
        "images set image_shape."
    )


def _refuse_labels(item, name):
    """Refuse (images, labels), which data sets and loaders of torch yield.

    A list of images is none; where it holds a batch or a label, it is such a pair.
    """
    if isinstance(item, tuple):
        raise TypeError(_labelled(name))
    if not isinstance(item, list) or len(item) != 2 or is_single(item[1]):
        return
    first, second = item
    if is_single(first):
        is_pair = np.ndim(second) < 2
    else:
        is_pair = np.ndim(first) > 3 or (np.ndim(first) > 1 and np.ndim(second) < 2)
    if is_pair:
        raise TypeError(_labelled(name))


def _labelled(name):
    return (
        f"{name} is a pair of images and labels, masks or paths, or another tuple; pass "
        "images alone, such as (images for images, *_ in X). A batch of images is a list."
    )


def row_shape(image_shape, n_features, in_chans=3):
    """Shape of one image in rows of ``n_features`` pixels; ``"row"`` is (1, p)."""
    if isinstance(image_shape, str):
        return (1, n_features)
    shape = tuple(image_shape)
    is_shape = len(shape) in (2, 3) and all(
        isinstance(side, Integral) and side > 0 for side in shape
    )
    counts = (1, 3, 4) if in_chans in (1, 3, 4) else (in_chans,)
    if not is_shape or (shape[2] if len(shape) == 3 else 1) not in counts:
        known = " or ".join(map(str, counts))
        raise ValueError(
            f"image_shape={image_shape!r} must be (H, W) or (H, W, C), C being {known} "
            f"for in_chans={in_chans}."
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


def as_size(size, name="input_size"):
    """(height, width) of an int or a pair; None stays None."""
    if size is None:
        return None
    if isinstance(size, Integral):
        return (int(size),) * 2
    height, width = as_pair(
        size,
        name,
        lambda *pair: all(isinstance(side, Integral) and side > 0 for side in pair),
    )
    return int(height), int(width)


def as_channels(value, name, *, positive=False, count=3):
    """Finite numbers, one a channel; None stays None."""
    if value is None:
        return None
    numbers = np.asarray(value, dtype=np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(
            f"{name}={value!r} must be {count} finite numbers, one for each of in_chans."
        )
    if positive and not (numbers > 0).all():
        raise ValueError(f"{name}={value!r} must be positive.")
    return tuple(numbers.tolist())


def as_background(value):
    """Three whole numbers from 0 to 255."""
    try:
        colour = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        colour = np.full(3, np.nan)
    if colour.shape != (3,) or not np.isin(colour, np.arange(256)).all():
        raise ValueError(
            f"background={value!r} must be three whole numbers from 0 to 255 (RGB)."
        )
    return tuple(int(part) for part in colour)


def draw_seed(random_state):
    """Return the seed of random weights: an int as it is, None as 0."""
    if random_state is None:
        return 0
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
