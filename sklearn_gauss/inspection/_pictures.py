"""Images as 8-bit arrays of their own size, and arrays as an extractor takes them."""

from numbers import Integral

import numpy as np

from sklearn_gauss.feature_extraction._reading._images import read_image
from sklearn_gauss.feature_extraction._reading._inputs import as_background, as_images
from sklearn_gauss.feature_extraction._reading._sizes import own_size

__all__ = ["as_given", "joined", "map_size", "read", "sequence"]


def sequence(X, extractor=None):
    """Images as a sequence with a length; an iterator is refused."""
    if getattr(extractor, "image_shape", None) is not None:
        raise ValueError(
            "image_shape is set, so X holds flat rows; maps are made of images. Fit the "
            "extractor to images (H, W) or (H, W, C) instead."
        )
    images = as_images(X, getattr(extractor, "in_chans", 3))
    if not hasattr(images, "__len__"):
        raise TypeError("X is an iterator, which is read only once; pass a list.")
    return images


def map_size(image_size, words=""):
    """(height, width) of an int or a pair; None stays None. True is no number here."""
    if image_size is None:
        return None
    is_number = isinstance(image_size, Integral)
    pair = (image_size,) * 2 if is_number else image_size
    try:
        height, width = pair
        is_size = all(
            isinstance(side, Integral) and not isinstance(side, bool) and side > 0
            for side in (height, width)
        )
    except (TypeError, ValueError):  # no pair
        is_size = False
    if not is_size:
        raise ValueError(
            f"image_size must be {words}a positive number of pixels, a pair (height, "
            f"width) or None, got {image_size!r}."
        )
    return int(height), int(width)


def read(image, extractor, place, image_size=None):
    """One image as uint8 (height, width, channels), of its own size if none is given."""
    options = {}
    if extractor is not None:
        options = {
            name: getattr(extractor, name)
            for name in ("in_chans", "max_pixels", "min_side", "frames")
        }
        options["value_range"] = extractor.value_range_
        options["background"] = as_background(extractor.background)
    name, size = f"X[{place}]", map_size(image_size)
    size = size or own_size(image, name=name, **options)
    return read_image(image, size, name=name, **options)


def as_given(pixels, extractor):
    """8-bit pixels in the range in which the extractor takes arrays."""
    known = None if extractor is None else extractor.value_range_
    if known is None:
        return pixels
    low, high = known
    return low + pixels / 255 * (high - low)


def joined(maps):
    """One array where all maps have the same size, else the list."""
    same = len({one.shape for one in maps}) == 1
    return np.stack(maps) if same else maps
