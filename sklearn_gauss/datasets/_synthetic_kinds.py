"""Kinds of defects that can be drawn onto any image, each a pure function.

``kind(image, rng, severity=1.0, region=None) -> (image, mask)`` takes floats (H, W, C)
in [0, 1] and a ``numpy.random.Generator``, leaves its input alone, and returns the
damaged image and the mask (H, W) of the visible change. Outside the mask the image is
unchanged, bit for bit. ``severity`` is positive and scales contrast and extent.
``region`` (H, W) bool says where a defect may be centred; it is cut off a few pixels
outside.
"""

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from sklearn_gauss.datasets._marks import VISIBLE, blob, ink, stroke, taper
from sklearn_gauss.datasets._synthetic_shapes import find_foreground, spot, window

# Part of the key of cached features: raise it when any drawing changes.
DRAWING = 1

# Redrawn so often, each time stronger by the factor; the last of them are "brightness",
# which every image can show.
ATTEMPTS, STRONGER = 7, 1.5
# Fewer visible pixels, or a smaller share of the image, are no defect.
FEW, SPECK = 4, 0.0005

# Shares of the image's area that defects of severity 1 cover, before soft edges.
SMALL, LARGE = 0.008, 0.06
# Defects of any severity stay within this.
LARGEST = 0.06

DIRT = [(0.16, 0.13, 0.10), (0.30, 0.19, 0.10), (0.12, 0.16, 0.22), (0.25, 0.24, 0.22)]
PALE = [(0.95, 0.94, 0.90), (0.80, 0.84, 0.88), (0.88, 0.80, 0.62)]


def draw_defect(pixels, kind, *, severity, seed, foreground):
    """Draw one defect onto 8-bit pixels, so that it can be seen.

    Parameters
    ----------
    pixels : ndarray of shape (H, W, C), dtype uint8
        The image.
    kind : str
        One of `SYNTHETIC_KINDS`.
    severity : float
        0 draws nothing.
    seed : int
        Determines the defect.
    foreground : bool
        Whether to keep to what stands out from a uniform border.

    Returns
    -------
    drawn : ndarray of shape (H, W, C), dtype uint8
    mask : ndarray of shape (H, W), dtype bool
    """
    if not severity:
        return pixels.copy(), np.zeros(pixels.shape[:2], dtype=bool)
    image = pixels.astype(np.float32) / 255
    region = find_foreground(image) if foreground else None
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, attempt])
        name = kind if attempt < ATTEMPTS - 2 else "brightness"
        strength = severity * STRONGER**attempt
        if attempt == ATTEMPTS - 1:
            region, strength = None, max(strength, 2.0)
        painted, mask = SYNTHETIC_KINDS[name](image, rng, strength, region)
        drawn = pixels.copy()
        drawn[mask] = np.rint(255 * painted[mask]).astype(np.uint8)
        change = np.abs(drawn[mask].astype(int) - pixels[mask]).max(axis=1)
        if np.count_nonzero(change > 255 * VISIBLE) >= max(FEW, SPECK * mask.size):
            break
    return drawn, mask


# ------------------------------------------------------------------ what kinds share
def _area(rng, severity, low=SMALL, high=LARGE):
    """A share of the image's area: small ones as often as large ones."""
    area = np.exp(rng.uniform(np.log(low), np.log(high))) * severity
    return min(max(area, SMALL / 3), LARGEST)


def _radius(image, area):
    """Radius of a disc in shares of the side, of a pixel and a half at least."""
    return max(np.sqrt(area / np.pi), 1.5 / min(image.shape[:2]))


def _strength(rng, severity, least, low, high):
    """A contrast: ``least`` can just be seen, severity adds to it."""
    return least + severity * rng.uniform(low, high)


def _blob_at(image, rng, region, area, *, rough=0.35, margin=1.5):
    """A window and the signed distance from an irregular blob in its middle."""
    radius = _radius(image, area)
    at = window(image, region, spot(rng, region), margin * radius)
    return at, radius, blob(at.away, rng, radius, rough=rough)


def _is_grey(image):
    return image.shape[2] in (1, 3) and bool((image == image[..., :1]).all())


def _tone(ground, inside):
    """Mean brightness of the ground under a shape."""
    return float((ground.mean(axis=2) * inside).sum() / max(inside.sum(), 1e-6))


def _tint(image, rng, tone, dark=DIRT, pale=PALE):
    """A colour (C,) unlike the ground's tone; grey for grey images."""
    swatch = pale if _sign(rng, tone) > 0 else dark
    colour = np.asarray(swatch[rng.integers(len(swatch))])
    channels = image.shape[2]
    if channels == 3 and not _is_grey(image):
        return colour
    if channels == 4:  # transparency is no colour
        return np.append(colour, 1.0)
    return np.full(channels, colour.mean())


def _opaque(image):
    """Weights (C,) of the channels that light reaches: not that of transparency."""
    return np.array([1.0, 1.0, 1.0, 0.0]) if image.shape[2] == 4 else 1.0


def _relit(image, ground, amount, sign):
    """Ground made lighter or darker by a share of the room that it has."""
    room = 1 - ground if sign > 0 else -ground
    return ground + amount[..., None] * room * _opaque(image)


def _sign(rng, tone):
    """Lighter (1) or darker (-1); the likelier, the more room there is for it."""
    u = rng.random()
    if not 0.15 < tone < 0.85:  # the other could not be seen
        return 1 if tone < 0.5 else -1
    return 1 if u < 0.5 + 0.6 * (0.5 - tone) else -1


def _jitter(patch, rng, severity):
    """A patch in slightly other light, as CutPaste has it, so that its seams show."""
    shift = rng.choice([-1, 1]) * _strength(rng, severity, 0.01, 0.0, 0.15)
    weights = _opaque(patch)
    return np.clip(patch + shift * weights, 0, 1)


def _opacity(severity):
    return min(1.0, 0.35 + 0.65 * severity)


# ------------------------------------------------------------------ pasted from elsewhere
def paste(image, rng, severity=1.0, region=None):
    """A rectangle cut out elsewhere in the image, with hard edges."""
    area, aspect = _area(rng, severity), np.exp(rng.uniform(-1.1, 1.1))
    half = np.sqrt([area * aspect, area / aspect]) / 2
    half = np.maximum(half, 1 / np.asarray(image.shape[:2]))
    at = window(image, region, spot(rng, region), half.max())
    inside = (np.abs(at.away[0]) <= half[0]) & (np.abs(at.away[1]) <= half[1])
    patch = _jitter(at.elsewhere(spot(rng, region), 0), rng, severity)
    painted = at.ground + _opacity(severity) * (patch - at.ground)
    return at.finish(painted, inside)


def scar(image, rng, severity=1.0, region=None):
    """A long thin rectangle cut out elsewhere and turned."""
    extent = min(severity, 1.5) ** 0.5
    length = rng.uniform(0.07, 0.18) * extent
    thick = max(rng.uniform(0.008, 0.025) * extent, 0.75 / min(image.shape[:2]))
    at = window(image, region, spot(rng, region), 1.1 * length + thick)
    lie, turn = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    (dy, dx), source = at.away, spot(rng, region)
    along, aside = (
        np.cos(lie) * dx + np.sin(lie) * dy,
        np.cos(lie) * dy - np.sin(lie) * dx,
    )
    inside = at.edge(np.maximum(np.abs(along) - length, np.abs(aside) - thick))
    down = source[0] + np.cos(turn) * aside + np.sin(turn) * along
    across = source[1] + np.cos(turn) * along - np.sin(turn) * aside
    patch = _jitter(at.sampled(down, across), rng, 1.5 * severity)
    painted = at.ground + _opacity(severity) * inside[..., None] * (patch - at.ground)
    return at.finish(painted, inside > 0)


def soft_paste(image, rng, severity=1.0, region=None):
    """An irregular blob from elsewhere, turned or flipped, with soft edges.

    Its mean colour is brought nearer to that of the place it covers.
    """
    at, radius, distance = _blob_at(image, rng, region, 1.4 * _area(rng, severity))
    inside = at.edge(distance + 0.15 * radius, soft=rng.uniform(0.15, 0.6) * radius)
    patch = at.elsewhere(spot(rng, region), rng.integers(8))
    nearer = rng.uniform(0, 0.8) * (at.ground - patch).mean(axis=(0, 1))
    patch = _jitter(patch + nearer, rng, severity)
    painted = at.ground + _opacity(severity) * inside[..., None] * (patch - at.ground)
    return at.finish(painted, inside > 0)


# ------------------------------------------------------------------ painted over
def stain(image, rng, severity=1.0, region=None):
    """A translucent tint in the shape of a smooth noise."""
    radius = _radius(image, 1.1 * _area(rng, severity))
    at = window(image, region, spot(rng, region), 1.5 * radius)
    bump = 2 * (1 - np.hypot(*at.away) / radius)
    height = bump + np.clip(1.6 * at.noise(rng, 4), -1, 1)
    inside = np.clip(height / rng.uniform(0.2, 1.0), 0, 1)
    tint = _tint(image, rng, _tone(at.ground, inside))
    opacity = min(_strength(rng, severity, 0.10, 0.20, 0.65), 0.9)
    painted = at.ground + opacity * inside[..., None] * (tint - at.ground)
    return at.finish(painted, inside > 0)


def blotch(image, rng, severity=1.0, region=None):
    """Flecks of several sizes, lighter and darker, by thresholded noise."""
    reach = _radius(image, 2.5 * _area(rng, severity))
    at = window(image, region, spot(rng, region), reach)
    fade = np.clip(1.3 - 1.3 * np.hypot(*at.away) / reach, 0, 1)
    height = sum(share * at.noise(rng, n) for n, share in ((3, 0.9), (6, 0.8), (12, 0.7)))
    # A fleck in the middle: a window without any would be an image without a defect.
    height = height + rng.choice([-1, 1]) * 1.2 * np.exp(
        -np.square(np.hypot(*at.away) / (0.25 * reach))
    )
    flecks = np.sign(height) * np.clip(4 * (np.abs(height) - 0.35), 0, 1) * fade
    contrast = min(_strength(rng, severity, 0.08, 0.15, 0.50), 0.8)
    lighter = _relit(image, at.ground, contrast * np.maximum(flecks, 0), 1)
    painted = _relit(image, lighter, contrast * np.maximum(-flecks, 0), -1)
    return at.finish(painted, flecks != 0)


def scratch(image, rng, severity=1.0, region=None):
    """A thin, slightly curved line, lighter or darker than the ground."""
    extent, side = min(severity, 1.5) ** 0.5, min(image.shape[:2])
    length = max(rng.uniform(0.12, 0.45) * extent, 6 / side)
    points = stroke(rng, np.zeros(2), length, bend=rng.uniform(0.1, 0.9), steps=48)
    width = max(rng.uniform(0.006, 0.014) * extent * side, 0.9)
    at = window(image, region, spot(rng, region), np.abs(points).max() + width / side)
    line = _inked(at, points, width)
    sign = _sign(rng, _tone(at.ground, line))
    contrast = min(_strength(rng, severity, 0.10, 0.20, 0.70), 0.9)
    return at.finish(_relit(image, at.ground, contrast * line, sign), line > 0)


def _inked(at, points, width):
    """Coverage of a window by a line, its points relative to the window's place."""
    sides = np.asarray(at.image.shape[:2])
    corner = [part.start for part in at.box]
    points = (points + at.centre) * sides - 0.5 - corner
    steps = np.linspace(
        0, len(points) - 1, 2 * max(24, int(np.ptp(points, axis=0).sum()))
    )
    dense = np.column_stack(
        [np.interp(steps, np.arange(len(points)), axis) for axis in points.T]
    )
    return ink(at.ground.shape, dense, width * np.maximum(taper(len(dense)), 0.3))


# ------------------------------------------------------------------ the image changed
def blur(image, rng, severity=1.0, region=None):
    """A patch whose detail is lost."""
    at, radius, distance = _blob_at(image, rng, region, 1.6 * _area(rng, severity))
    inside = at.edge(distance, soft=0.3 * radius)
    share = min(_strength(rng, severity, 0.006, 0.010, 0.030), 0.5 * radius)
    sigma = max(share, 1.0 / at.side) * np.asarray(image.shape[:2])
    smooth = gaussian_filter(at.ground, (*sigma, 0), truncate=3)
    painted = at.ground + inside[..., None] * (smooth - at.ground)
    return at.finish(painted, inside > 0)


def brightness(image, rng, severity=1.0, region=None):
    """A soft patch in other light."""
    at, radius, distance = _blob_at(image, rng, region, 1.6 * _area(rng, severity))
    inside = at.edge(distance + 0.2 * radius, soft=rng.uniform(0.2, 0.8) * radius)
    contrast = min(_strength(rng, severity, 0.08, 0.10, 0.50), 0.9)
    sign = _sign(rng, float(np.median(at.ground[inside >= 0.5 * inside.max()])))
    return at.finish(_relit(image, at.ground, contrast * inside, sign), inside > 0)


def color(image, rng, severity=1.0, region=None):
    """A patch of another hue; of another brightness where there is no colour."""
    if image.shape[2] == 1 or _is_grey(image):
        return brightness(image, rng, severity, region)
    at, radius, distance = _blob_at(image, rng, region, 1.6 * _area(rng, severity))
    inside = at.edge(distance + 0.1 * radius, soft=rng.uniform(0.05, 0.5) * radius)
    shift = rng.normal(size=image.shape[2]) * _opaque(image)
    shift = (shift - shift.mean()) * _opaque(image)
    shift *= min(_strength(rng, severity, 0.04, 0.05, 0.16), 0.4) / np.abs(shift).max()
    return at.finish(at.ground + inside[..., None] * shift, inside > 0)


def warp(image, rng, severity=1.0, region=None):
    """A disc of the image turned and pushed aside, without an edge."""
    radius = _radius(image, 1.8 * _area(rng, severity, low=2 * SMALL))
    radius = max(radius, 3 / min(image.shape[:2]))
    at = window(image, region, spot(rng, region), radius)
    (dy, dx), inside = at.away, 1 - np.hypot(*at.away) / radius
    fade = np.clip(inside, 0, 1) ** 2 * (3 - 2 * np.clip(inside, 0, 1))
    turn = rng.choice([-1, 1]) * _strength(rng, min(severity, 2), 0.1, 0.4, 1.2) * fade
    lie, push = rng.uniform(0, 2 * np.pi), _strength(rng, min(severity, 2), 0.1, 0.2, 0.5)
    down = np.cos(turn) * dy - np.sin(turn) * dx - push * radius * np.sin(lie) * fade
    across = np.sin(turn) * dy + np.cos(turn) * dx - push * radius * np.cos(lie) * fade
    painted = at.sampled(down + at.centre[0], across + at.centre[1])
    return at.finish(painted, fade > 0)


def missing(image, rng, severity=1.0, region=None):
    """A part gone: the background shows, or what smoothly goes on from around it.

    The latter lies a little higher or lower, in slightly other light.
    """
    area, at_edge = _area(rng, severity), rng.random() < 0.5
    rough, places = rng.uniform(0.1, 0.4), region
    if region is not None and at_edge:
        places = region & ~binary_erosion(region, border_value=1)
    radius = _radius(image, area)
    at = window(image, region, spot(rng, places), 1.6 * radius)
    distance = blob(at.away, rng, radius, rough=rough)
    inside = at.edge(distance)
    if region is None:
        fill = _jitter(_plane(at, distance, radius), rng, severity)
    else:
        fill = _backdrop(image, region)
    painted = at.ground + _opacity(2 * severity) * inside[..., None] * (fill - at.ground)
    return at.finish(painted, inside > 0)


def _backdrop(image, region):
    """Colour (C,) of what is not the region."""
    behind = image[~region]
    return np.median(behind[:: max(1, len(behind) // 4096)], axis=0)


def _plane(at, distance, radius):
    """The plane through the colours of a ring around a shape, over its window."""
    ring = (distance > 0) & (distance < 0.5 * radius)
    shape = at.ground.shape
    y, x = (np.broadcast_to(part / at.reach, shape[:2]) for part in at.away)
    terms = np.stack([np.ones(shape[:2]), y, x], axis=2)
    if np.count_nonzero(ring) < 8:  # the shape fills the window
        ring = np.ones_like(ring)
    # Slopes are held back: at the border of the image the ring lies on one side.
    normal = terms[ring].T @ terms[ring] + np.diag([1e-6, 1.0, 1.0])
    plane = np.linalg.solve(normal, terms[ring].T @ at.ground[ring])
    return np.clip(terms @ plane, 0, 1)


SYNTHETIC_KINDS = {
    "paste": paste,
    "scar": scar,
    "soft_paste": soft_paste,
    "stain": stain,
    "blotch": blotch,
    "scratch": scratch,
    "blur": blur,
    "brightness": brightness,
    "color": color,
    "warp": warp,
    "missing": missing,
}
