"""Images, maps and masks as a display draws them: read, checked, and made small."""

import os
from pathlib import Path

import numpy as np

from sklearn_gauss.datasets._read_masks import read_mask as read_mask_file
from sklearn_gauss.feature_extraction._reading._images import MAX_PIXELS, read_image
from sklearn_gauss.feature_extraction._reading._inputs import as_background, as_images
from sklearn_gauss.feature_extraction._reading._kinds import (
    is_encoded,
    is_missing,
    is_path,
    is_pil,
    shown,
    undrawn,
)
from sklearn_gauss.feature_extraction._reading._sizes import own_size
from sklearn_gauss.feature_extraction._reading._streams import ImageStream

#: Pixels of the longer side that is kept of an image: more than a figure shows of one.
LONGEST = 640


def check_images(images):
    """Return a sequence of single images, none of them opened."""
    images = as_images(images)
    if isinstance(images, ImageStream):
        raise TypeError(
            "images is an iterator, which can be read only once; pass a list of it."
        )
    return images


def reading_of(extractor):
    """How a transformer of images reads them, as options of `read_image`."""
    options = {
        "value_range": getattr(extractor, "value_range_", None),
        "frames": getattr(extractor, "frames", "refuse"),
        "max_pixels": getattr(extractor, "max_pixels", MAX_PIXELS),
    }
    if hasattr(extractor, "background"):
        options["background"] = as_background(extractor.background)
    return options


def read_picture(source, size, name, **options):
    """One image in RGB, uint8, of its own size or with ``LONGEST`` pixels a side."""
    scale = min(1.0, LONGEST / max(size))
    small = tuple(max(1, round(scale * side)) for side in size)
    return read_image(source, small, name=name, **options)


def read_mask(source, size, name):
    """One mask of defects, bool of shape ``size``: what is not zero is a defect."""
    if is_path(source) or is_encoded(source) or is_pil(source):
        marked = read_mask_file(source, name)
        _check_size(marked.shape, size, name)
        return marked
    mask = np.asarray(source)
    mask = mask[:, :, 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
    if mask.ndim != 2 or mask.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must be a mask (height, width) of numbers, a path or None, got "
            f"shape {mask.shape} of type {mask.dtype}."
        )
    _check_size(mask.shape, size, name)
    return mask != 0


def check_map(values, name):
    """One map in float64: two dimensions, without NaN; infinity is allowed."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{name} must have shape (height, width), got {values.shape}.")
    if np.isnan(values).any():
        raise ValueError(f"{name} has {np.isnan(values).sum()} NaN.")
    return values


def _check_size(found, size, name, advice=""):
    if tuple(found) != tuple(size):
        raise ValueError(
            f"{name} is {found[0]} by {found[1]} pixels (height by width), its image "
            f"{size[0]} by {size[1]}{advice}."
        )


def check_lengths(n_images, **given):
    """Refuse another number of values than of images; None is none."""
    for name, values in given.items():
        if values is not None and len(values) != n_images:
            raise ValueError(f"{name} has {len(values)} entries for {n_images} images.")


def read_pictures(images, at, options):
    """Pixels, own sizes and names of the images at some places."""
    limit = options.get("max_pixels", MAX_PIXELS)
    pixels, sizes, files = [], [], []
    for place in at:
        image, label = images[place], f"images[{place}]"
        sizes.append(own_size(image, name=label, max_pixels=limit))
        pixels.append(read_picture(image, sizes[-1], label, **options))
        files.append(_file_of(image))
    return pixels, sizes, _names(files, at)


def read_maps(maps, at, sizes, name="maps"):
    """Maps at some places, each of its image's own size."""
    found = [check_map(maps[place], f"{name}[{place}]") for place in at]
    for place, values, size in zip(at, found, sizes, strict=True):
        advice = f"; ask for the map with image_size={tuple(map(int, size))}"
        _check_size(values.shape, size, f"{name}[{place}]", advice)
    return found


def read_masks(masks, at, sizes, name):
    """Masks at some places, each of its image's own size; None stays None."""
    if masks is None:
        return None
    masks = list(masks)
    return [
        None if is_missing(masks[i]) else read_mask(masks[i], size, f"{name}[{i}]")
        for i, size in zip(at, sizes, strict=True)
    ]


def _file_of(image):
    """Path that an image was or is to be read from, None where there is none."""
    image = undrawn(image)
    file = image if is_path(image) else getattr(image, "filename", "")
    return Path(os.fsdecode(file)) if file else None


def _names(files, at):
    """What to call images: the ends of their paths, as long as tells them apart."""
    known = {file.parts for file in files if file is not None}
    depths = range(1, max(map(len, known), default=0) + 1)
    tells_apart = (
        n for n in depths if len({parts[-n:] for parts in known}) == len(known)
    )
    depth = next(tells_apart, 1)
    return [
        f"image {place}" if file is None else shown(str(Path(*file.parts[-depth:])))
        for file, place in zip(files, at, strict=True)
    ]


def shrink(values, longest=LONGEST):
    """Take the largest of square blocks, so that no side is longer than ``longest``.

    Returns the values and the places of their centres, in pixels, down and across: what
    lies above a threshold somewhere still does, however small.
    """
    step = -(-max(values.shape) // longest)
    centres = []
    for axis, length in enumerate(values.shape):
        starts = np.arange(0, length, step)
        ends = np.append(starts[1:], length)
        if step > 1:
            values = np.maximum.reduceat(values, starts, axis=axis)
        centres.append((starts + ends - 1) / 2)
    return values, *centres
