"""Masks of defects as arrays of True and False, from files that hold two values."""

from numbers import Integral

import numpy as np

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._reading._deep import deep_samples
from sklearn_gauss.feature_extraction._reading._files import explained, opened
from sklearn_gauss.feature_extraction._reading._images import MAX_PIXELS, read_image
from sklearn_gauss.feature_extraction._reading._kinds import (
    is_encoded,
    is_missing,
    is_path,
    is_pil,
    shown,
)
from sklearn_gauss.feature_extraction._reading._sizes import own_size


def read_masks(masks, *, size=None):
    """Read masks of defects, as the metrics of localisation take them.

    A mask holds two values: black, or 0, where the image is normal, and another one
    where it is defective. It may be a file of 1, 8 or 16 bits, grey, in colour or with a
    palette.

    Parameters
    ----------
    masks : list of str, path-like, array-like of shape (h, w) or None
        Such as ``masks`` of `load_inspection_folder`. None stays None.
    size : tuple of int, or list of these, default=None
        Height and width of all masks, or of each one. The nearest pixel is taken, so
        that masks stay masks. None keeps the size of each, turned upright.

    Returns
    -------
    masks : list of ndarray of shape (h, w), dtype bool, or None
        True where an image is defective.

    Raises
    ------
    ImageReadError
        If a mask cannot be read or is none: more than two values, as JPEG and smooth
        resizing leave them, or two without black, or transparent pixels. The message
        starts with the name of the file, or with ``masks[i]`` for an array.
    TypeError
        If ``masks`` is a single path or cannot be iterated over.
    ValueError
        If ``size`` is not one of these.

    See Also
    --------
    load_inspection_folder : Finds the masks of the images of a folder.
    sklearn_gauss.metrics.aupro_score : Compares masks with anomaly maps.

    Notes
    -----
    A smaller size can lose a defect of few pixels: rather ask for maps of the masks'
    size, as `~sklearn_gauss.inspection.anomaly_maps` gives them. A mask of one value
    other than black is defective all over.

    Examples
    --------
    >>> from sklearn_gauss.datasets import read_masks
    >>> mask, nothing = read_masks([[[0, 255], [0, 0]], None])
    >>> mask
    array([[False,  True],
           [False, False]])
    >>> nothing is None
    True
    """
    masks = _listed(masks)
    sizes = _sizes(size, len(masks))
    return [
        None if is_missing(mask) else _resized(read_mask(mask, f"masks[{i}]"), sizes[i])
        for i, mask in enumerate(masks)
    ]


def _listed(masks):
    is_one = is_path(masks) or is_encoded(masks) or is_pil(masks) or is_missing(masks)
    if is_one or not np.iterable(masks):
        raise TypeError(
            "masks must be a list of paths, arrays or None, got "
            f"{shown(masks) if is_path(masks) else type(masks).__name__}."
        )
    return list(masks)


def _sizes(size, n_masks):
    """One size for each mask, None for its own."""
    if size is None or _is_pair(size):
        return [size] * n_masks
    sizes = list(size) if np.iterable(size) and not isinstance(size, str) else None
    if sizes is None or not all(each is None or _is_pair(each) for each in sizes):
        raise ValueError(
            "size must be (height, width) in pixels, a list of these, or None, got "
            f"{size!r}."
        )
    if len(sizes) != n_masks:
        raise ValueError(f"size has {len(sizes)} entries for {n_masks} masks.")
    return sizes


def _is_pair(size):
    return (
        np.iterable(size)
        and len(size) == 2
        and all(
            isinstance(side, Integral) and not isinstance(side, bool) and side > 0
            for side in size
        )
    )


def read_mask(mask, name):
    """Where one mask of any kind is set."""
    if not (is_path(mask) or is_encoded(mask) or is_pil(mask)):
        return _marked(_array(mask, name), name)
    named = shown(mask) if is_path(mask) else name
    options = {"in_chans": 4, **_depth(mask, named)}
    pixels = read_image(mask, own_size(mask, name=name), name=name, **options)
    if (pixels[..., 3] < 255).any():
        raise ImageReadError(f"{named}: has transparent pixels; a mask has none.")
    return _marked(pixels[..., :3], named)


def _depth(mask, name):
    """The range to read samples deeper than 8 bits by, whose small numbers count too."""
    if is_pil(mask):
        with explained(name):
            samples = deep_samples(mask, None)
    else:
        with opened(mask, name, MAX_PIXELS) as found:
            samples = deep_samples(found.image, found.again)
    if samples is None:
        return {}
    values = samples.values
    _marked(values if values.ndim == 3 else values[..., None], name)
    return {"value_range": (0, values.max())}


def _array(mask, name):
    """An array (h, w, channels) of real numbers."""
    try:
        array = np.asarray(mask)
    except ValueError as error:
        raise ImageReadError(f"{name}: not an array of shape (h, w): {error}.") from error
    array = array[..., None] if array.ndim == 2 else array
    is_image = array.ndim == 3 and array.shape[2] in (1, 3) and array.size
    if not is_image or array.dtype.kind not in "buif" or np.ma.isMaskedArray(mask):
        raise ImageReadError(
            f"{name}: a mask is a path, None, or an array of numbers of shape (h, w), "
            f"got {type(mask).__name__} of shape {np.shape(array)}, {array.dtype}."
        )
    if array.dtype.kind in "if" and (array < 0).any():
        raise ImageReadError(f"{name}: has negative values; a mask has 0 and another.")
    return array


def _marked(pixels, name):
    """Where pixels (h, w, channels) of two colours are not black."""
    _check_two(pixels, name)
    marked = (pixels != 0).any(axis=2)
    if marked.all() and (pixels != pixels[0, 0]).any():
        raise ImageReadError(
            f"{name}: has two values, but no black (0), which marks what is normal."
        )
    return marked


def _check_two(pixels, name):
    """Refuse pixels (h, w, channels) of more than two colours, and NaN."""
    if (pixels != pixels).any():
        raise ImageReadError(f"{name}: has NaN; a mask has 0 and another value.")
    differs = (pixels != pixels[0, 0]).any(axis=2)
    if not differs.any():
        return
    other = pixels[np.unravel_index(differs.argmax(), differs.shape)]
    if (differs & (pixels != other).any(axis=2)).any():
        n_values = len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0))
        raise ImageReadError(
            f"{name}: has {n_values} different values, a mask two. JPEG blurs edges, "
            "and so does resizing other than to the nearest pixel: save masks as PNG, "
            "or set a threshold (mask > 127, say) and pass arrays."
        )


def _resized(mask, size):
    """The nearest pixel of each place of an array of another size."""
    if size is None:
        return mask
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[rows[:, None], columns]
