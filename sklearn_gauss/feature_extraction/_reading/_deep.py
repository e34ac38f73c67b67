"""Samples of more than 8 bits, which Pillow's own conversions cut or saturate.

Pillow has no mode for colour of 16 bits and keeps the high byte of each sample. Decoding
the file once more with the bytes swapped gives the low one.
"""

import sys
from dataclasses import dataclass

import numpy as np

__all__ = ["Samples", "deep_samples"]

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_COLOUR = ("RGB", "RGBX", "RGBA")


@dataclass(frozen=True)
class Samples:
    """Numbers (H, W) or (H, W, 3) from a file.

    ``white`` is the number that means white (None: the file does not tell), ``alpha``
    the opacity (H, W) in [0, 1], ``inverted`` whether 0 is white.
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
        return Samples(np.asarray(image), white, inverted=_zero_is_white(image))
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
    return np.asarray(image)


def _zero_is_white(image):
    return image.format == "TIFF" and image.tag_v2.get(262) == 0


def _deep_grey(image):
    bits = image.tag_v2.get(258, (16,)) if image.format == "TIFF" else (16,)
    inverted = _zero_is_white(image)
    values = np.asarray(image)
    alpha, transparent = None, image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = (values != transparent).astype(np.float64)
    return Samples(values, 2 ** bits[0] - 1, alpha, inverted)


def _deep_grey_alpha(image):
    """Take the four bytes of each pixel as they are."""
    parts = _with_raw_mode(image, "RGBA").astype(np.uint16)
    values = parts[:, :, 0] * 256 + parts[:, :, 1]
    return Samples(values, 65535, (parts[:, :, 2] * 256 + parts[:, :, 3]) / 65535)


def _deep_colour(image, second, raw):
    low = _with_raw_mode(second, raw)
    values = np.asarray(image).astype(np.uint16) * 256 + low
    alpha, transparent = None, image.info.get("transparency")
    if values.shape[2] == 4:
        alpha, values = values[:, :, 3] / 65535, values[:, :, :3]
    elif isinstance(transparent, tuple):
        alpha = (values != np.array(transparent)).any(axis=2).astype(np.float64)
    return Samples(values, 65535, alpha)
