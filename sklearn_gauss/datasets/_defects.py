"""Defects drawn onto an image, each a pure function.

``defect(image, rng, severity=1.0, region=None) -> (image, mask)`` takes floats
(H, W, 3) in [0, 1] and a ``numpy.random.Generator``, leaves its input alone, and
returns the damaged image and the mask (H, W) of the visible change. Outside the mask
the image is unchanged, bit for bit. ``severity`` scales contrast and extent; 0 draws
nothing. ``region`` (H, W) bool says where a defect may be centred.
"""

import numpy as np
from scipy.ndimage import binary_closing, gaussian_filter, map_coordinates
from scipy.spatial import KDTree

# Five grey levels of 255: about four times the noise of the camera in `_optics`.
VISIBLE = 5 / 255
# Light comes from the upper left, so that a dent is dark there and bright opposite.
DIRT = [(0.16, 0.13, 0.10), (0.30, 0.19, 0.10), (0.12, 0.16, 0.22)]
FOREIGN = [(0.85, 0.15, 0.12), (0.93, 0.91, 0.86), (0.10, 0.10, 0.11), (0.15, 0.35, 0.7)]


def visible_change(image, painted):
    """Keep of ``painted`` what differs visibly from ``image``, and say where.

    Returns
    -------
    kept : ndarray of shape (H, W, 3)
        ``painted`` inside the mask, ``image`` outside.
    mask : ndarray of shape (H, W), dtype bool
        Pixels that differ by more than ``VISIBLE`` in a channel, with gaps of up to
        two pixels closed.
    """
    seen = np.abs(painted - image).max(axis=2) > VISIBLE
    mask = seen | binary_closing(seen, iterations=1)
    return np.where(mask[..., None], painted, image).astype(image.dtype), mask


def _spot(shape, rng, region):
    """A pixel of the region, not too near the border of the image where possible."""
    height, width = shape[:2]
    inner = np.zeros((height, width), dtype=bool)
    down, across = height // 7, width // 7
    inner[down : height - down, across : width - across] = True
    allowed = inner if region is None else inner & region
    if not allowed.any():
        allowed = inner if region is None or not region.any() else region
    places = np.flatnonzero(allowed)
    return np.array(divmod(places[rng.integers(places.size)], width), dtype=float)


def _blob(shape, rng, centre, radius, *, rough=0.35):
    """A signed distance-like field in pixels, negative inside an irregular blob."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
    dy, dx = y - centre[0], x - centre[1]
    along = np.cos(turn) * dx + np.sin(turn) * dy
    aside = (np.cos(turn) * dy - np.sin(turn) * dx) / squeeze
    angle, outline = np.arctan2(aside, along), 1.0
    for order in range(2, 7):
        swing, start = rng.normal(0, rough / order), rng.uniform(0, 2 * np.pi)
        outline = outline + swing * np.cos(order * angle + start)
    return np.hypot(along, aside) - radius * np.clip(outline, 0.35, 1.8)


def _stroke(rng, centre, length, *, bend, jag=0.0, steps=None):
    """Points (k, 2) of a random line through ``centre``, a quarter pixel apart."""
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


def _ink(shape, points, width):
    """Antialiased coverage (H, W) of a line with a width per point, in pixels."""
    reach = float(np.max(width)) / 2 + 1
    low = np.maximum(np.floor(points.min(axis=0) - reach).astype(int), 0)
    high = np.maximum(np.ceil(points.max(axis=0) + reach).astype(int) + 1, low)
    rows, columns = np.mgrid[
        low[0] : min(high[0], shape[0]), low[1] : min(high[1], shape[1])
    ]
    ink = np.zeros(shape[:2], dtype=np.float32)
    if rows.size:
        pixels = np.column_stack([rows.ravel(), columns.ravel()])
        distance, nearest = KDTree(points).query(pixels, distance_upper_bound=reach)
        half = np.append(width, 0)[nearest] / 2
        # A line thinner than a pixel is a fainter line of one pixel.
        opacity = np.clip(np.maximum(half, 0.5) + 0.5 - distance, 0, 1)
        ink[rows, columns] = (opacity * np.minimum(2 * half, 1)).reshape(rows.shape)
    return ink


def _taper(count, *, ends=0.2):
    """A profile along a line that is 1 in the middle and falls to 0 at both ends."""
    t = np.linspace(0, 1, count)
    return np.clip(np.minimum(t, 1 - t) / ends, 0, 1) ** 0.6


def _moved(field, step):
    """The field moved down and right by ``step`` pixels, zeros coming in."""
    moved = np.zeros_like(field)
    moved[step:, step:] = field[: field.shape[0] - step, : field.shape[1] - step]
    return moved


def _luminance(image, weight):
    total = max(float(weight.sum()), 1e-6)
    return float((image.mean(axis=2) * weight).sum() / total)


def scratch(image, rng, severity=1.0, region=None):
    """A long thin mark, bright on dark ground and dark on bright, with a burr."""
    size = min(image.shape[:2])
    length = size * rng.uniform(0.22, 0.5) * severity**0.5
    points = _stroke(rng, _spot(image.shape, rng, region), length, bend=0.35)
    width = size * rng.uniform(0.008, 0.016) * severity**0.5 * _taper(len(points))
    ink = _ink(image.shape, points, width)
    if region is not None:
        ink = ink * region
    bright = _luminance(image, ink) < rng.uniform(0.4, 0.7)
    contrast = (1 if bright else -1) * rng.uniform(0.16, 0.30) * severity
    burr = np.clip(_moved(ink, 1) - ink, 0, 1)
    change = contrast * ink - 0.5 * contrast * burr
    return visible_change(image, np.clip(image + change[..., None], 0, 1))


def stain(image, rng, severity=1.0, region=None):
    """A dried liquid: a translucent tint, darker towards its rim."""
    size = min(image.shape[:2])
    radius = size * rng.uniform(0.06, 0.13) * severity**0.5
    distance = _blob(image.shape, rng, _spot(image.shape, rng, region), radius)
    inside = np.clip(0.5 - distance / 1.5, 0, 1)
    rim = np.exp(-(((distance + 1.5) / (0.014 * size + 1)) ** 2))
    opacity = inside * (rng.uniform(0.14, 0.26) + 0.20 * rim) * severity
    if region is not None:
        opacity = opacity * region
    tint = np.asarray(DIRT[rng.integers(len(DIRT))])
    if _luminance(image, inside) < 0.3:
        tint = 1 - tint
    opacity = np.clip(opacity, 0, 0.95)[..., None]
    return visible_change(image, image + opacity * (tint - image))


def pit(image, rng, severity=1.0, region=None):
    """One to three small holes with a shaded wall and a lit lower edge."""
    size, painted = min(image.shape[:2]), image
    centre = _spot(image.shape, rng, region)
    for _ in range(rng.integers(1, 4)):
        radius = max(1.0, size * rng.uniform(0.014, 0.032) * severity**0.5)
        hole = _blob(image.shape, rng, centre, radius, rough=0.25)
        depth = np.clip(0.5 - hole / max(1.5, 0.6 * radius), 0, 1)
        if region is not None:
            depth = depth * region
        lit = np.clip(_moved(depth, max(1, round(radius / 2))) - depth, 0, 1)
        dark = np.clip(rng.uniform(0.45, 0.7) * severity, 0, 0.95) * depth
        painted = painted * (1 - dark)[..., None] + 0.16 * severity * lit[..., None]
        centre = centre + rng.normal(0, 0.07 * size, 2)
    return visible_change(image, np.clip(painted, 0, 1))


def crack(image, rng, severity=1.0, region=None):
    """A jagged dark line with one or two branches, thin at its ends."""
    size = min(image.shape[:2])
    length = size * rng.uniform(0.25, 0.5) * severity**0.5
    thick = size * rng.uniform(0.010, 0.018) * severity**0.5
    trunk = _stroke(rng, _spot(image.shape, rng, region), length, bend=0.5, jag=0.55)
    ink = _ink(image.shape, trunk, thick * _taper(len(trunk), ends=0.5))
    for _ in range(rng.integers(1, 3)):
        root = trunk[rng.integers(len(trunk) // 4, 3 * len(trunk) // 4)]
        twig = _stroke(rng, root, length * rng.uniform(0.2, 0.4), bend=0.4, jag=0.5)
        width = 0.7 * thick * np.linspace(1, 0.1, len(twig))
        ink = np.maximum(ink, _ink(image.shape, twig - twig[0] + root, width))
    if region is not None:
        ink = ink * region
    dark = np.clip(rng.uniform(0.55, 0.8) * severity, 0, 0.95) * ink
    lit = 0.10 * severity * np.clip(_moved(ink, 1) - ink, 0, 1)
    painted = image * (1 - dark)[..., None] + lit[..., None]
    return visible_change(image, np.clip(painted, 0, 1))


def contamination(image, rng, severity=1.0, region=None):
    """Foreign matter: a hair or thread, or a scatter of particles, with a shadow."""
    size, centre = min(image.shape[:2]), _spot(image.shape, rng, region)
    if rng.random() < 0.5:
        length = size * rng.uniform(0.2, 0.4) * severity**0.5
        points = _stroke(rng, centre, length, bend=3.0)
        width = max(0.6, 0.011 * size * severity**0.5)
        body = _ink(image.shape, points, np.full(len(points), width))
    else:
        body = np.zeros(image.shape[:2], dtype=np.float32)
        for _ in range(rng.integers(3, 9)):
            radius = max(0.8, size * rng.uniform(0.006, 0.018) * severity**0.5)
            speck = _blob(
                image.shape, rng, centre + rng.normal(0, 0.06 * size, 2), radius
            )
            body = np.maximum(body, np.clip(0.5 - speck, 0, 1))
    ground = _luminance(image, body)
    colours = [c for c in FOREIGN if abs(np.mean(c) - ground) > 0.2]
    colour = np.asarray(colours[rng.integers(len(colours))])
    opacity = np.clip(rng.uniform(0.5, 0.85) * severity, 0, 1) * body
    shadow = 0.3 * min(severity, 1.0) * gaussian_filter(_moved(body, 2), 0.8)
    painted = image * (1 - shadow * (1 - body))[..., None]
    return visible_change(image, painted + opacity[..., None] * (colour - painted))


def blur(image, rng, severity=1.0, region=None):
    """A worn or smeared patch: the local detail is lost."""
    size = min(image.shape[:2])
    radius = size * rng.uniform(0.09, 0.16) * severity**0.5
    distance = _blob(image.shape, rng, _spot(image.shape, rng, region), radius)
    inside = np.clip(0.5 - distance / (0.03 * size), 0, 1)
    if region is not None:
        inside = inside * region
    sigma = size * rng.uniform(0.014, 0.024) * severity
    smooth = gaussian_filter(image, (sigma, sigma, 0))
    worn = smooth * (1 + rng.uniform(-0.08, 0.08) * severity)
    return visible_change(image, image + inside[..., None] * (worn - image))


def distortion(image, rng, severity=1.0, region=None):
    """A discontinuity of the texture: a patch is twisted and dragged aside."""
    size = min(image.shape[:2])
    centre = _spot(image.shape, rng, region)
    radius = max(1.0, size * rng.uniform(0.10, 0.17) * severity**0.5)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    dy, dx = y - centre[0], x - centre[1]
    inside = np.clip(1 - (dy**2 + dx**2) / radius**2, 0, 1)
    turn = rng.choice([-1, 1]) * rng.uniform(0.6, 1.1) * severity * inside**0.7
    drag = rng.uniform(-1, 1, 2) * 0.05 * size * severity
    rows = centre[0] + np.cos(turn) * dy - np.sin(turn) * dx - drag[0] * inside
    columns = centre[1] + np.sin(turn) * dy + np.cos(turn) * dx - drag[1] * inside
    twisted = np.stack(
        [
            map_coordinates(channel, (rows, columns), order=1, mode="reflect")
            for channel in np.moveaxis(image, 2, 0)
        ],
        axis=2,
    )
    return visible_change(image, np.where(inside[..., None] > 0, twisted, image))


SURFACE_DEFECTS = {
    "scratch": scratch,
    "stain": stain,
    "pit": pit,
    "crack": crack,
    "contamination": contamination,
    "blur": blur,
    "distortion": distortion,
}
