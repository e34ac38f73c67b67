"""What Pillow takes from a TIFF without a doubt, though the file does not hold it."""

import os

import numpy as np

from sklearn_gauss.exceptions import ImageReadError

__all__ = ["check_parts", "mend_palette", "whole_numbers"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS = 256, 257, 258, 259, 277, 278
_PLANAR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _FORMAT = 284, 320, 322, 323, 339
_STRIPS, _TILES = (273, 279), (324, 325)  # places and bytes
_NOT_COMPRESSED, _OLD_JPEG = 1, 6


def check_parts(image, file, name):
    """Refuse a TIFF without all the strips or tiles that its size asks for.

    Pillow leaves those black that are not there.
    """
    tags = image.tag_v2
    sides = [tags.get(tag, 1) for tag in (_TILE_WIDTH, _TILE_HEIGHT)]
    pixels = image.size[0] * image.size[1]
    if not _all_positive(sides) or sides[0] * sides[1] > 4 * pixels + 2**20:
        raise ImageReadError(f"{name}: tiles of {sides[0]} x {sides[1]} pixels.")
    compression = tags.get(_COMPRESSION, _NOT_COMPRESSED)
    if compression == _OLD_JPEG:  # its pixels may lie elsewhere
        return
    places, sizes = (_several(tags.get(tag)) for tag in _tags_of_parts(tags))
    needed = _needed(tags)
    if len(places) != needed or len(sizes) not in (0, needed):
        raise ImageReadError(
            f"{name}: damaged, it has {len(places)} strips or tiles of pixels instead of "
            f"{needed}."
        )
    end = file.seek(0, os.SEEK_END)
    is_packed = compression != _NOT_COMPRESSED  # else Pillow counts the bytes
    for place, size in zip(places, sizes or [1] * needed, strict=True):
        if not place or not size or place + (size if is_packed else 1) > end:
            raise ImageReadError(f"{name}: damaged, strips or tiles are not in the file.")


def _tags_of_parts(tags):
    return _STRIPS if _STRIPS[0] in tags else _TILES  # as Pillow does


def _needed(tags):
    """How many strips or tiles there are."""
    width, height = tags[_WIDTH], tags[_HEIGHT]
    if _STRIPS[0] in tags:
        across, down = width, tags.get(_ROWS, height)
    else:
        across, down = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANAR) == 2 else 1
    return -(-width // across) * -(-height // down) * planes


def _several(value):
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _all_positive(numbers):
    return all(isinstance(number, int) and number > 0 for number in numbers)


def mend_palette(image):
    """Take colours from 0 to 255, where 65535 should be white, for what is meant."""
    if image.format != "TIFF" or image.mode not in ("P", "PA"):
        return
    colours = image.tag_v2[_PALETTE]
    if max(colours) < 256:
        from PIL import ImagePalette

        image.palette = ImagePalette.raw("RGB;L", tuple(colours))


def whole_numbers(image):
    """Pixels of mode I; Pillow takes those of 32 bits without a sign for signed ones."""
    values = np.asarray(image)
    if image.format != "TIFF" or set(image.tag_v2.get(_FORMAT, (1,))) != {1}:
        return values
    return values.view(np.uint32) if image.tag_v2.get(_BITS) == (32,) else values
