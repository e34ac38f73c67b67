"""DrawnImage: an image that gets a defect whenever it is read."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from sklearn_gauss.datasets._synthetic_kinds import (
    DRAWING,
    SYNTHETIC_KINDS,
    draw_defect,
)
from sklearn_gauss.datasets._variation import VARIATION, vary
from sklearn_gauss.feature_extraction._reading._images import read_image
from sklearn_gauss.feature_extraction._reading._inputs import as_size
from sklearn_gauss.feature_extraction._reading._kinds import (
    is_encoded,
    is_path,
    is_tensor,
    shown,
)
from sklearn_gauss.feature_extraction._reading._sizes import own_size


@dataclass(frozen=True, eq=False, repr=False)
class DrawnImage:
    """An image with a synthetic defect, drawn when the image is read.

    It holds the image and what decides the drawing, and no pixels of its own.
    :class:`~sklearn_gauss.feature_extraction.CNNFeatureExtractor` and the functions of
    :mod:`sklearn_gauss.inspection` take it wherever they take an image: they read the
    image as always and draw on what the network is to see, so that pixels outside of
    the defect are those of the normal image, bit for bit. `SyntheticDefects` makes them.

    Parameters
    ----------
    image : str, path-like, bytes, PIL image, array or tensor
        The normal image, as an extractor takes it.
    kind : str
        The defect; see `SyntheticDefects`. "variation" is none: the whole image is seen
        in slightly other light, focus and noise.
    severity : float, default=1.0
        Scales contrast and extent; 0 draws nothing.
    seed : int, default=0
        Determines the defect, whatever the image.
    foreground : "auto" or False, default="auto"
        "auto" centres the defect on what stands out from a nearly uniform border, where
        there is one; False ignores it.

    See Also
    --------
    SyntheticDefects : A set of them, with a mix of kinds.

    Notes
    -----
    Lengths and places are shares of the sides, so that the defect lies in the same place
    at any resolution, stretched as the image is. Only what could hardly be seen at one
    of them is drawn anew there.

    ``np.asarray(drawn)`` is the image as an extractor sees it, RGB of its own size, for
    looking at. To put several into an array of objects, make an empty one and fill it
    one by one: NumPy would turn a list of them into pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.datasets import DrawnImage
    >>> image = np.full((64, 64, 3), 150, dtype=np.uint8)
    >>> drawn = DrawnImage(image, "scratch", seed=3)
    >>> drawn
    DrawnImage(<ndarray (64, 64, 3)>, 'scratch', severity=1, seed=3)
    >>> pixels = drawn.draw_on(image)
    >>> bool((pixels != image).any()), pixels.shape, pixels.dtype
    (True, (64, 64, 3), dtype('uint8'))
    """

    image: Any
    kind: str
    severity: float = 1.0
    seed: int = 0
    foreground: Any = "auto"

    def __post_init__(self):
        known = [*SYNTHETIC_KINDS, VARIATION]
        if not isinstance(self.kind, str) or self.kind not in known:
            raise ValueError(f"kind must be one of {known}, got {self.kind!r}.")
        is_number = isinstance(self.severity, Real)
        if not (is_number and self.severity >= 0 and math.isfinite(self.severity)):
            raise ValueError(
                f"severity must be a number and not negative, got {self.severity!r}."
            )
        is_seed = isinstance(self.seed, Integral) and not isinstance(self.seed, bool)
        if not (is_seed and self.seed >= 0):
            raise ValueError(
                f"seed must be an integer and not negative, got {self.seed!r}."
            )
        if self.foreground is not False and not (
            isinstance(self.foreground, str) and self.foreground == "auto"
        ):
            raise ValueError(f"foreground={self.foreground!r} must be 'auto' or False.")

    @property
    def drawing(self):
        """Text of all that decides the drawing on given pixels."""
        if self.kind == VARIATION:
            return f"{DRAWING} {self.kind} {float(self.severity)!r} {int(self.seed)}"
        return (
            f"{DRAWING} {self.kind} {float(self.severity)!r} {int(self.seed)} "
            f"{self.foreground}"
        )

    @property
    def size(self):
        """Height and width of the image, turned upright; from its header."""
        return own_size(self.image, in_chans=_channels(self.image))

    def draw_on(self, pixels):
        """Draw the defect onto pixels of the image.

        Parameters
        ----------
        pixels : ndarray of shape (height, width, channels), dtype uint8
            The image, read at any size.

        Returns
        -------
        drawn : ndarray of shape (height, width, channels), dtype uint8
            A copy with the defect.

        Raises
        ------
        ValueError
            If they are no such array.
        """
        pixels = np.asarray(pixels)
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise ValueError(
                "pixels must be uint8 of shape (height, width, channels), got "
                f"{pixels.dtype} of shape {pixels.shape}."
            )
        return self._draw(pixels)[0]

    def mask(self, size=None):
        """Where the defect is to be seen.

        Parameters
        ----------
        size : int or tuple of int, default=None
            Height and width at which the image is read; None is its own size.

        Returns
        -------
        mask : ndarray of shape (height, width), dtype bool
            The pixels that change visibly, without gaps between them. All others are
            those of the normal image. Empty for a "variation".
        """
        return self._draw(self._read(as_size(size, "size")))[1]

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("A DrawnImage has no pixels of its own: it is drawn anew.")
        drawn = self.draw_on(self._read(None))
        return drawn if dtype is None else drawn.astype(dtype)

    def __repr__(self):
        where = "" if self.foreground == "auto" else ", foreground=False"
        return (
            f"DrawnImage({_named(self.image)}, {self.kind!r}, "
            f"severity={self.severity:.3g}, seed={self.seed}{where})"
        )

    def _draw(self, pixels):
        if self.kind == VARIATION:
            varied = vary(pixels, strength=float(self.severity), seed=int(self.seed))
            return varied, np.zeros(pixels.shape[:2], dtype=bool)
        return draw_defect(
            pixels,
            self.kind,
            severity=float(self.severity),
            seed=int(self.seed),
            foreground=self.foreground == "auto",
        )

    def _read(self, size):
        return read_image(self.image, size or self.size, in_chans=_channels(self.image))


def _channels(image):
    """Channels to read an image with: three, but for arrays that are no pictures."""
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) != 3:
        return 3
    count = shape[0] if is_tensor(image) else shape[2]
    return 3 if count in (1, 4) else count


def _named(image):
    if is_path(image):
        return repr(shown(image))
    shape = getattr(image, "shape", None)
    if shape is not None:
        return f"<{type(image).__name__} {tuple(shape)}>"
    count = (
        f" of {len(image)} bytes"
        if is_encoded(image) and hasattr(image, "__len__")
        else ""
    )
    return f"<{type(image).__name__}{count}>"
