"""Shapes of defects and the mask of what can be seen of them.

They are shared by the defects of drawn products and by those drawn onto photographs.
"""

import numpy as np
from scipy.ndimage import binary_closing
from scipy.spatial import KDTree

# Five grey levels of 255: about four times the noise of the camera in `_optics`.
VISIBLE = 5 / 255


def visible_change(image, painted, gap=1):
    """Keep of ``painted`` what differs visibly from ``image``, and say where.

    Returns
    -------
    kept : ndarray of shape (H, W, C)
        ``painted`` inside the mask, ``image`` outside.
    mask : ndarray of shape (H, W), dtype bool
        Pixels that differ by more than ``VISIBLE`` in a channel, with gaps of up to
        ``2 * gap`` pixels closed.
    """
    seen = np.abs(painted - image).max(axis=2) > VISIBLE
    mask = seen | binary_closing(seen, iterations=gap)
    return np.where(mask[..., None], painted, image).astype(image.dtype), mask


def offsets(shape, centre):
    """Distances in pixels (H, 1) down and (1, W) across from a point."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return y - centre[0], x - centre[1]


def blob(away, rng, radius, *, rough=0.35):
    """A signed distance-like field, negative inside an irregular blob.

    ``away`` are the distances down and across from its middle, in the radius's unit.
    """
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
    dy, dx = away
    along = np.cos(turn) * dx + np.sin(turn) * dy
    aside = (np.cos(turn) * dy - np.sin(turn) * dx) / squeeze
    angle, outline = np.arctan2(aside, along), 1.0
    for order in range(2, 7):
        swing, start = rng.normal(0, rough / order), rng.uniform(0, 2 * np.pi)
        outline = outline + swing * np.cos(order * angle + start)
    return np.hypot(along, aside) - radius * np.clip(outline, 0.35, 1.8)


def stroke(rng, centre, length, *, bend, jag=0.0, steps=None):
    """Points (k, 2) of a random line through ``centre``, a quarter pixel apart.

    With ``steps``, their number, the length may be in any unit.
    """
    count = steps or max(8, int(4 * length))
    turning = np.cumsum(rng.normal(0, 1, count)) / count**0.5 * bend
    if jag:
        corners = max(3, int(length / 4))
        turning = (
            turning + np.repeat(rng.normal(0, jag, corners), -(-count // corners))[:count]
        )
    angle = rng.uniform(0, 2 * np.pi) + turning
    steps_taken = np.column_stack([np.sin(angle), np.cos(angle)]) * (length / count)
    points = np.cumsum(steps_taken, axis=0)
    return points - points[count // 2] + centre


def ink(shape, points, width):
    """Antialiased coverage (H, W) of a line with a width per point, in pixels."""
    reach = float(np.max(width)) / 2 + 1
    low = np.maximum(np.floor(points.min(axis=0) - reach).astype(int), 0)
    high = np.maximum(np.ceil(points.max(axis=0) + reach).astype(int) + 1, low)
    rows, columns = np.mgrid[
        low[0] : min(high[0], shape[0]), low[1] : min(high[1], shape[1])
    ]
    covered = np.zeros(shape[:2], dtype=np.float32)
    if rows.size:
        pixels = np.column_stack([rows.ravel(), columns.ravel()])
        distance, nearest = KDTree(points).query(pixels, distance_upper_bound=reach)
        half = np.append(width, 0)[nearest] / 2
        # A line thinner than a pixel is a fainter line of one pixel.
        opacity = np.clip(np.maximum(half, 0.5) + 0.5 - distance, 0, 1)
        covered[rows, columns] = (opacity * np.minimum(2 * half, 1)).reshape(rows.shape)
    return covered


def taper(count, *, ends=0.2):
    """A profile along a line that is 1 in the middle and falls to 0 at both ends."""
    t = np.linspace(0, 1, count)
    return np.clip(np.minimum(t, 1 - t) / ends, 0, 1) ** 0.6
