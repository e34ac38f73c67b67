"""Samples of more than 8 bits, which Pillow's own conversions cut or saturate.

Pillow has no mode for colour of 16 bits and keeps the high byte of each sample. Decoding
the file once more with the bytes swapped gives the low one.
"""

import sys
from dataclasses import dataclass

import numpy as np

from sklearn_gauss.feature_extraction._reading._pixels import strips, to_8_bit
from sklearn_gauss.feature_extraction._reading._tiff import whole_numbers

__all__ = ["Samples", "deep_samples"]

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_COLOUR = ("RGB", "RGBX", "RGBA")


@dataclass(frozen=True)
class Samples:
    """Numbers (H, W) or (H, W, 3) from a file.

    ``white`` is the number that means white (None: the file does not tell), ``alpha``
    the opacity (H, W) in 8 bits, ``inverted`` whether 0 is white.
    """

    values: np.ndarray
    white: int | None
    alpha: np.ndarray | None = None
    inverted: bool = False


def deep_samples(image, again):
    """Samples of an image deeper than 8 bits; None for any other.

    ``again`` opens the file once more, None if it cannot be: colour is then left to
    Pillow. Loads the image.
    """
    raw = _raw_mode(image)
    if image.mode.startswith("I;16"):
        return _deep_grey(image)
    if image.mode in ("I", "F"):
        white = 65535 if image.mode == "I" and image.format == "PPM" else None
        values = np.asarray(image) if image.mode == "F" else whole_numbers(image)
        return Samples(values, white, inverted=_zero_is_white(image))
    if again is None or ";16" not in raw:
        return None
    if raw == "LA;16B":
        return _deep_grey_alpha(again())
    kind, _, order = raw.partition(";16")
    if kind in _COLOUR and order in _OTHER_ORDER:
        return _deep_colour(image, again(), f"{kind};16{_OTHER_ORDER[order]}")
    return None


def _raw_mode(image):
    """How the samples lie in the file, in Pillow's words."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0].args
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_raw_mode(image, raw):
    def changed(arguments):
        return (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw

    image.tile = [tile._replace(args=changed(tile.args)) for tile in image.tile]
    image.load()
    return image


def _rows_of(*images):
    """Slices of rows, and the pixels that the images have there."""
    width, height = images[0].size
    for rows in strips(height, width * len(images[0].getbands())):
        box = (0, rows.start, width, min(rows.stop, height))
        yield rows, *(np.asarray(image.crop(box)) for image in images)


def _zero_is_white(image):
    return image.format == "TIFF" and image.tag_v2.get(262) == 0


def _deep_grey(image):
    bits = image.tag_v2.get(258, (16,)) if image.format == "TIFF" else (16,)
    inverted = _zero_is_white(image)
    values = np.asarray(image)
    alpha, transparent = None, image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = (values != transparent) * np.uint8(255)
    return Samples(values, 2 ** bits[0] - 1, alpha, inverted)


def _deep_grey_alpha(image):
    """Take the four bytes of each pixel as they are."""
    values = np.empty(image.size[::-1], np.uint16)
    alpha = np.empty(values.shape, np.uint8)
    for rows, parts in _rows_of(_with_raw_mode(image, "RGBA")):
        pairs = parts[:, :, ::2].astype(np.uint16) * 256 + parts[:, :, 1::2]
        values[rows] = pairs[:, :, 0]
        alpha[rows] = to_8_bit(pairs[:, :, 1], None, "alpha")
    return Samples(values, 65535, alpha)


def _deep_colour(image, second, raw):
    image.load()
    transparent = image.info.get("transparency")
    is_keyed = isinstance(transparent, tuple) and len(image.getbands()) == 3
    values = np.empty((*image.size[::-1], 3), np.uint16)
    has_alpha = is_keyed or len(image.getbands()) == 4
    alpha = np.empty(values.shape[:2], np.uint8) if has_alpha else None
    for rows, high, low in _rows_of(image, _with_raw_mode(second, raw)):
        deep = high.astype(np.uint16) * 256 + low
        values[rows] = deep[:, :, :3]
        if is_keyed:
            alpha[rows] = (deep != np.array(transparent)).any(axis=2) * np.uint8(255)
        elif has_alpha:
            alpha[rows] = to_8_bit(deep[:, :, 3], None, "alpha")
    return Samples(values, 65535, alpha)
