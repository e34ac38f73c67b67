"""The one reading of masks and maps, and their pixels in two heaps."""

import os
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Image:
    """One image's map (h, w) and where it is defective: (h, w) bool, None for nowhere."""

    mask: np.ndarray | None
    map: np.ndarray

    @property
    def defect(self):
        """Map values of the defect's pixels, row by row."""
        return self.map[:0, 0] if self.mask is None else self.map[self.mask]

    @property
    def normal(self):
        """Map values of all other pixels, row by row."""
        return self.map.ravel() if self.mask is None else self.map[~self.mask]


def check_images(masks, maps):
    """Return a list of `Image`, or raise an error that names the parameter and the place.

    Parameters
    ----------
    masks : iterable of n array-likes of shape (h, w) or None
        Zero where normal and one other, positive value where defective.
    maps : iterable of n array-likes of shape (h, w)
        The higher, the more anomalous.

    Returns
    -------
    images : list of Image
        At least one of them has a defect, and at least one a normal pixel.

    Raises
    ------
    TypeError
        If a parameter cannot be iterated over, or holds a path or, as a map, None.
    ValueError
        If anything else is not as described.
    """
    masks, maps = _listed(masks, "masks"), _listed(maps, "maps")
    if len(masks) != len(maps):
        raise ValueError(
            f"masks and maps must have one length, got {len(masks)} and {len(maps)}."
        )
    if not maps:
        raise ValueError("masks and maps hold no image.")
    images = [_image(*pair, i) for i, pair in enumerate(zip(masks, maps, strict=True))]
    if all(image.mask is None for image in images):
        raise ValueError(
            f"masks hold no defect: no pixel of the {len(masks)} masks is set."
        )
    if all(image.mask is not None and image.mask.all() for image in images):
        raise ValueError(
            f"masks leave no normal pixel: all of the {len(masks)} masks are full."
        )
    return images


def pooled(images):
    """Return the map values of all defects and of all that is normal."""
    return (
        np.concatenate([image.defect for image in images]),
        np.concatenate([image.normal for image in images]),
    )


def _listed(given, name):
    try:
        if not _is_path(given):
            return list(given)
    except TypeError:
        pass  # no iterable, or an array without dimensions
    raise TypeError(f"{name} must be a sequence of arrays, got {given!r}.")


def _image(mask, values, i):
    values = _map(values, f"maps[{i}]")
    if mask is None:
        return Image(None, values)
    mask = _array(mask, f"masks[{i}]")
    if mask.shape != values.shape:
        raise ValueError(
            f"masks[{i}] and maps[{i}] must have one shape, got {mask.shape} and "
            f"{values.shape}."
        )
    marked = _marked(mask, f"masks[{i}]")
    return Image(marked if marked.any() else None, values)


def _map(values, name):
    values = _array(values, name)
    is_nan = np.isnan(values) if values.dtype.kind == "f" else np.zeros((), bool)
    if is_nan.any():
        raise ValueError(
            f"{name} holds {is_nan.sum()} NaN among {values.size} pixels, the first at "
            f"{_first(is_nan)}."
        )
    return values


def _marked(mask, name):
    """Return where a mask of zeros and one other value is set."""
    if mask.dtype.kind == "b":
        return mask
    marked = mask != 0
    if not marked.any():
        return marked
    value = mask[_first(marked)]
    odd = marked & (mask != value)  # NaN differs from itself
    if odd.any():
        place = _first(odd)
        raise ValueError(
            f"{name} must hold 0 and one other value, got 0, {value} and, at {place}, "
            f"{mask[place]}. Masks that were smoothed when resized need a threshold: "
            "mask > 127, say."
        )
    if value < 0:
        raise ValueError(
            f"{name} must mark defects by a positive value, got {value} at "
            f"{_first(marked)}."
        )
    return marked


def _array(given, name):
    """Return a 2-D array of real numbers that is not empty."""
    if given is None or _is_path(given):
        hint = " Files are to be read first"
        by = ", by sklearn_gauss.datasets.read_masks" if name.startswith("masks") else ""
        hint = "" if given is None else f"{hint}{by}."
        raise TypeError(f"{name} must be an array of shape (h, w), got {given!r}.{hint}")
    if np.ma.isMaskedArray(given):
        raise ValueError(f"{name} is a masked array: fill it first.")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of shape (h, w): {error}") from error
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (h, w), got {array.shape}.")
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    if array.size == 0:
        raise ValueError(f"{name} has no pixel, its shape is {array.shape}.")
    return array


def _is_path(given):
    return isinstance(given, str | bytes | os.PathLike)


def _first(where):
    """Return row and column of the first that is true."""
    return tuple(int(k) for k in np.unravel_index(where.argmax(), where.shape))
