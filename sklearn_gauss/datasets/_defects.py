"""Defects drawn onto an image, each a pure function.

``defect(image, rng, severity=1.0, region=None) -> (image, mask)`` takes floats
(H, W, 3) in [0, 1] and a ``numpy.random.Generator``, leaves its input alone, and
returns the damaged image and the mask (H, W) of the visible change. Outside the mask
the image is unchanged, bit for bit. ``severity`` scales contrast and extent; 0 draws
nothing. ``region`` (H, W) bool says where a defect may be centred.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from sklearn_gauss.datasets._marks import (
    blob,
    ink,
    offsets,
    stroke,
    taper,
    visible_change,
)

# Light comes from the upper left, so that a dent is dark there and bright opposite.
DIRT = [(0.16, 0.13, 0.10), (0.30, 0.19, 0.10), (0.12, 0.16, 0.22)]
FOREIGN = [(0.85, 0.15, 0.12), (0.93, 0.91, 0.86), (0.10, 0.10, 0.11), (0.15, 0.35, 0.7)]


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
    points = stroke(rng, _spot(image.shape, rng, region), length, bend=0.35)
    width = size * rng.uniform(0.008, 0.016) * severity**0.5 * taper(len(points))
    line = ink(image.shape, points, width)
    if region is not None:
        line = line * region
    bright = _luminance(image, line) < rng.uniform(0.4, 0.7)
    contrast = (1 if bright else -1) * rng.uniform(0.16, 0.30) * severity
    burr = np.clip(_moved(line, 1) - line, 0, 1)
    change = contrast * line - 0.5 * contrast * burr
    return visible_change(image, np.clip(image + change[..., None], 0, 1))


def stain(image, rng, severity=1.0, region=None):
    """A dried liquid: a translucent tint, darker towards its rim."""
    size = min(image.shape[:2])
    radius = size * rng.uniform(0.06, 0.13) * severity**0.5
    distance = blob(offsets(image.shape, _spot(image.shape, rng, region)), rng, radius)
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
        hole = blob(offsets(image.shape, centre), rng, radius, rough=0.25)
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
    trunk = stroke(rng, _spot(image.shape, rng, region), length, bend=0.5, jag=0.55)
    line = ink(image.shape, trunk, thick * taper(len(trunk), ends=0.5))
    for _ in range(rng.integers(1, 3)):
        root = trunk[rng.integers(len(trunk) // 4, 3 * len(trunk) // 4)]
        twig = stroke(rng, root, length * rng.uniform(0.2, 0.4), bend=0.4, jag=0.5)
        width = 0.7 * thick * np.linspace(1, 0.1, len(twig))
        line = np.maximum(line, ink(image.shape, twig - twig[0] + root, width))
    if region is not None:
        line = line * region
    dark = np.clip(rng.uniform(0.55, 0.8) * severity, 0, 0.95) * line
    lit = 0.10 * severity * np.clip(_moved(line, 1) - line, 0, 1)
    painted = image * (1 - dark)[..., None] + lit[..., None]
    return visible_change(image, np.clip(painted, 0, 1))


def contamination(image, rng, severity=1.0, region=None):
    """Foreign matter: a hair or thread, or a scatter of particles, with a shadow."""
    size, centre = min(image.shape[:2]), _spot(image.shape, rng, region)
    if rng.random() < 0.5:
        length = size * rng.uniform(0.2, 0.4) * severity**0.5
        points = stroke(rng, centre, length, bend=3.0)
        width = max(0.6, 0.011 * size * severity**0.5)
        body = ink(image.shape, points, np.full(len(points), width))
    else:
        body = np.zeros(image.shape[:2], dtype=np.float32)
        for _ in range(rng.integers(3, 9)):
            radius = max(0.8, size * rng.uniform(0.006, 0.018) * severity**0.5)
            middle = centre + rng.normal(0, 0.06 * size, 2)
            speck = blob(offsets(image.shape, middle), rng, radius)
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
    distance = blob(offsets(image.shape, _spot(image.shape, rng, region)), rng, radius)
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
