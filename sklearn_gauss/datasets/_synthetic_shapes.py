"""Where a defect lies, its window of the image, and smooth fields to shape it.

Places and lengths are shares of the sides of an image, and no count of random numbers
depends on its size: the same generator draws the same defect at every resolution.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import (
    binary_closing,
    binary_dilation,
    binary_opening,
    map_coordinates,
)

from sklearn_gauss.datasets._marks import visible_change

# Foreground is looked for on a grid of this many cells a side, to be quick.
GRID = 64
# A background: this share of the border lies within this distance of its median.
UNIFORM, NEAR = 0.9, 0.06
# Less or more of an image than this is no part on a background, and neither is what
# loses more than this share when structures of two cells are taken away.
LEAST, MOST, SOLID = 0.04, 0.85, 0.75


def find_foreground(image):
    """Pixels (H, W) that stand out from a nearly uniform border; None without one."""
    small = _reduced(image)
    ring = np.concatenate([small[0], small[-1], small[1:-1, 0], small[1:-1, -1]])
    colour = np.median(ring, axis=0)
    distance = np.abs(small - colour).max(axis=2)
    scatter = float(np.quantile(np.abs(ring - colour).max(axis=1), UNIFORM))
    if scatter > NEAR:
        return None
    found = distance > max(NEAR, 3 * scatter)
    solid = binary_opening(binary_closing(np.pad(found, 2), iterations=1))[2:-2, 2:-2]
    is_part = LEAST < solid.mean() < MOST
    if not is_part or (solid & found).sum() < SOLID * found.sum():
        return None
    region = _enlarged(
        _enlarged(solid.astype(np.float32), image.shape[0]).T, image.shape[1]
    )
    return region.T > 0.5


def _reduced(image):
    """Means of the cells of a grid; of a smaller image, its pixels."""
    for axis in (0, 1):
        length = image.shape[axis]
        cells = min(GRID, length)
        starts = np.arange(cells) * length // cells
        counts = np.diff(starts, append=length).reshape((-1, 1, 1))
        counts = counts if axis == 0 else counts.swapaxes(0, 1)
        image = np.add.reduceat(image, starts, axis=axis) / counts
    return image


def _enlarged(cells, length):
    """Rows of cells interpolated linearly to so many."""
    places = (np.arange(length) + 0.5) / length * len(cells) - 0.5
    places = np.clip(places, 0, len(cells) - 1)
    first = np.minimum(places.astype(int), max(len(cells) - 2, 0))
    after = (places - first).astype(np.float32)[:, None]
    following = cells[np.minimum(first + 1, len(cells) - 1)]
    return cells[first] * (1 - after) + following * after


def spot(rng, region=None):
    """A place (2,) of the image or its region, in shares of the sides."""
    u, v = rng.random(2)
    if region is None or not region.any():
        return np.array([0.03 + 0.94 * u, 0.03 + 0.94 * v])
    counts = np.cumsum(np.count_nonzero(region, axis=1))
    row = np.searchsorted(counts, int(u * counts[-1]), side="right")
    columns = np.flatnonzero(region[row])
    column = columns[int(v * len(columns))]
    return (np.array([row, column]) + 0.5) / region.shape


@dataclass(frozen=True)
class Window:
    """A box of an image around a place.

    Attributes
    ----------
    image : ndarray of shape (H, W, C)
        The whole image.
    region : ndarray of shape (H, W), dtype bool, or None
        What a defect may cover, a few pixels more or less.
    centre : ndarray of shape (2,)
        The place, in shares of the sides.
    reach : float
        Half a side of the box, before it is cut off at the image's border.
    box : tuple of two slices
        Its rows and columns.
    away : tuple of ndarray of shape (h, 1) and (1, w)
        Distances of its pixels from the place, in shares of the sides.
    """

    image: np.ndarray
    region: np.ndarray | None
    centre: np.ndarray
    reach: float
    box: tuple
    away: tuple

    @property
    def ground(self):
        """The pixels of the box."""
        return self.image[self.box]

    @property
    def side(self):
        """Pixels of the image's shorter side."""
        return min(self.image.shape[:2])

    def edge(self, distance, *, soft=0.0):
        """Coverage of a shape from its signed distance, soft over so much of the side."""
        return np.clip(0.5 - distance / max(soft, 1 / self.side), 0, 1)

    def noise(self, rng, cells):
        """A smooth random field over the box with about ``cells`` bumps a side."""
        knots = rng.normal(size=(cells + 3, cells + 3))
        down, across = (
            _splines(1 + (1 + part.ravel() / self.reach) / 2 * cells, cells + 3)
            for part in self.away
        )
        return down @ knots @ across.T

    def elsewhere(self, centre, turn):
        """The like box around another place, turned or flipped in one of eight ways."""
        down, across = self.away[::-1] if turn & 4 else self.away
        down, across = (-down if turn & 1 else down), (-across if turn & 2 else across)
        places = zip((down, across), centre, self.image.shape, strict=False)
        rows, columns = (
            _mirrored(np.rint((part + share) * length - 0.5).astype(int), length)
            for part, share, length in places
        )
        return self.image[rows, columns]

    def sampled(self, down, across):
        """The image at places given by their shares of the sides, between pixels."""
        rows = down * self.image.shape[0] - 0.5
        columns = across * self.image.shape[1] - 0.5
        channels = [
            map_coordinates(channel, (rows, columns), order=1, mode="reflect")
            for channel in np.moveaxis(self.image, 2, 0)
        ]
        return np.stack(channels, axis=2)

    def finish(self, painted, covers=True):
        """Put the painted box into a copy of the image; returns it and its mask.

        Gaps of the mask are closed where ``covers`` says that the defect lies.
        """
        image, slack = self.ground, max(1, round(self.side / 75))
        if self.region is not None:
            near = binary_dilation(self.region[self.box], iterations=slack)
            painted, covers = np.where(near[..., None], painted, image), covers & near
        painted = np.where(np.asarray(covers)[..., None], painted, image)
        _, mask = visible_change(image, np.clip(painted, 0, 1), slack)
        mask = mask & covers
        drawn = self.image.copy()
        drawn[self.box][mask] = np.clip(painted, 0, 1)[mask]
        whole = np.zeros(drawn.shape[:2], dtype=bool)
        whole[self.box] = mask
        return drawn, whole


def window(image, region, centre, reach):
    """Open a `Window` of half a side ``reach`` around a place."""
    box, away = [], []
    for share, length in zip(centre, image.shape, strict=False):
        middle = min(int(share * length), length - 1)
        start = max(0, min(middle, int((share - reach) * length)))
        stop = min(length, max(middle + 1, int(np.ceil((share + reach) * length))))
        box.append(slice(start, stop))
        away.append((np.arange(start, stop) + 0.5) / length - share)
    away = away[0][:, None], away[1][None]
    return Window(image, region, centre, float(reach), tuple(box), away)


def _splines(places, cells):
    """Weights (len(places), cells) of cubic B-splines with knots 0, 1, ..."""
    t = np.abs(places[:, None] - np.arange(cells))
    near, far = 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, near, far)


def _mirrored(places, length):
    places = np.mod(places, 2 * length)
    return np.where(places < length, places, 2 * length - 1 - places)
