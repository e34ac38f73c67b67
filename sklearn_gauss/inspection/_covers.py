"""What to cover a part of an image with, and the windows that are covered."""

import numpy as np
from scipy.ndimage import gaussian_filter

from sklearn_gauss.inspection._pictures import read

__all__ = ["References", "covered", "covers", "spread", "windows"]

# The part of a window's side over which the cover fades in.
FADE = 0.25

# References are compared with an image by thumbnails of this height and width.
THUMBNAIL = (32, 32)


class References:
    """Normal images, of which the ones most like an image can be had at its size."""

    def __init__(self, images, extractor):
        self._images = images
        self._extractor = extractor
        self._thumbnails = np.stack(
            [self._read(place, THUMBNAIL).ravel() for place in range(len(images))]
        )

    def _read(self, place, size):
        pixels = read(self._images[place], self._extractor, place, size)
        return pixels.astype(np.float32)

    def nearest(self, pixels, count):
        """Yield the ``count`` images most like ``pixels``, in their size."""
        small = read(pixels, self._plain, 0, THUMBNAIL).ravel().astype(np.float32)
        squares = ((self._thumbnails - small) ** 2).sum(axis=1)
        for place in np.argsort(squares, kind="stable")[:count]:
            yield self._read(place, pixels.shape[:2])

    @property
    def _plain(self):
        """None or the extractor, for pixels that are 8-bit by now."""
        return None if self._extractor is None else _EightBit(self._extractor)


class _EightBit:
    """Options of an extractor to read 8-bit arrays with."""

    value_range_ = None

    def __init__(self, extractor):
        self._extractor = extractor

    def __getattr__(self, name):
        return getattr(self._extractor, name)


def covers(pixels, fill, side, references=None, n_references=1):
    """Yield float32 images of the size of ``pixels`` whose parts cover those of it."""
    image = pixels.astype(np.float32)
    if not isinstance(fill, str):
        yield np.broadcast_to(np.asarray(fill, dtype=np.float32), image.shape)
    elif fill == "reference":
        for normal in references.nearest(pixels, n_references):
            # In the light and colour that the image has around there.
            yield normal + gaussian_filter(image - normal, (side, side, 0))
    elif fill == "shift":
        pad = ((side, side), (side, side), (0, 0))
        padded = np.pad(image, pad, mode="symmetric")
        height, width = pixels.shape[:2]
        for down, right in ((side, 0), (-side, 0), (0, side), (0, -side)):
            top, left = side + down, side + right
            yield padded[top : top + height, left : left + width]
    elif fill == "blur":
        yield gaussian_filter(image, (side / 2, side / 2, 0))
    else:  # "mean"
        yield np.broadcast_to(image.mean(axis=(0, 1)), image.shape)


def windows(shape, side, stride):
    """Corners (top, left) of windows that cover an image alike, also at its edges."""
    return [
        (top, left)
        for top in _starts(shape[0], side, stride)
        for left in _starts(shape[1], side, stride)
    ]


def _starts(length, side, stride):
    count = int(np.ceil((length + side) / stride)) - 1
    first = (length - side - (count - 1) * stride) // 2
    return range(first, first + count * stride, stride)


def _profile(side):
    """Opacity across a window: 1 in the middle, smoothly down to 0 at either end."""
    place = np.arange(side) + 0.5
    rise = np.clip(np.minimum(place, side - place) / (FADE * side), 0, 1)
    return rise * rise * (3 - 2 * rise)


def _part(shape, side, corner):
    """Slices of an image under a window, and the window's opacity there."""
    slices, profiles = [], []
    for length, start in zip(shape, corner, strict=True):
        low, high = max(start, 0), min(start + side, length)
        slices.append(slice(low, high))
        profiles.append(_profile(side)[low - start : high - start])
    return tuple(slices), np.outer(*profiles)


def covered(pixels, cover, side, corner):
    """The image with one window faded over to the cover, uint8."""
    place, opacity = _part(pixels.shape[:2], side, corner)
    image = pixels.copy()
    under = pixels[place].astype(np.float32)
    mixed = under + opacity[..., None] * (cover[place] - under)
    image[place] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return image


def spread(shape, side, corners, values):
    """Mean at every pixel of the values of the windows over it, by their opacity."""
    sums, weights = np.zeros((2, *shape))
    for corner, value in zip(corners, values, strict=True):
        place, opacity = _part(shape, side, corner)
        sums[place] += value * opacity
        weights[place] += opacity
    return np.divide(sums, weights, where=weights > 0, out=np.zeros(shape))
