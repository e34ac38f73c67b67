"""Surfaces that fill the whole image: fabric, tile, wood and metal.

A ``NAME_design`` draws what all images of one product share, and ``NAME`` draws one
image of that product: ``draw(size, design, rng) -> Scene``.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from sklearn_gauss.datasets._optics import (
    Scene,
    expose,
    grain,
    mix,
    paint,
    pose,
    power_noise,
    relief,
    smoothstep,
)

CLOTHS = [  # warp and weft
    ((0.74, 0.70, 0.62), (0.60, 0.55, 0.47)),
    ((0.30, 0.39, 0.55), (0.58, 0.63, 0.70)),
    ((0.62, 0.32, 0.28), (0.72, 0.55, 0.45)),
    ((0.38, 0.47, 0.38), (0.60, 0.63, 0.52)),
]
STONES = [  # ground, dark grains, warm grains
    ((0.72, 0.71, 0.69), (0.30, 0.30, 0.32), (0.66, 0.56, 0.48)),
    ((0.55, 0.56, 0.58), (0.20, 0.21, 0.24), (0.78, 0.78, 0.77)),
    ((0.78, 0.72, 0.64), (0.44, 0.35, 0.30), (0.90, 0.86, 0.80)),
]
TIMBERS = [  # early and late wood
    ((0.83, 0.66, 0.45), (0.58, 0.38, 0.21)),
    ((0.72, 0.52, 0.34), (0.43, 0.26, 0.15)),
    ((0.87, 0.77, 0.60), (0.68, 0.52, 0.34)),
]
ALLOYS = [(0.60, 0.62, 0.65), (0.66, 0.65, 0.63), (0.66, 0.58, 0.44)]


def _pick(options, rng):
    return np.asarray(options[rng.integers(len(options))], dtype=np.float32)


def _everywhere(image):
    return Scene(image, np.ones(image.shape[:2], dtype=bool))


def fabric_design(rng):
    """The yarns and the weave: plain (1 over, 1 under) or twill (2 over, 2 under)."""
    return {
        "yarns": _pick(CLOTHS, rng),
        "threads": rng.uniform(8.5, 11.0),
        "float": int(rng.integers(1, 3)),
    }


def _thread_tones(index, rng, spread):
    tones = 1 + spread * rng.standard_normal(64, dtype=np.float32)
    return tones[index.astype(np.intp) % 64]


def fabric(size, design, rng):
    """Woven cloth: crossing yarns with a round profile, uneven tone and slack."""
    x, y = pose(size, rng, angle=0.04, shift=0.3, scale=0.02)
    slack = np.float32(0.012)
    u = (x + slack * power_noise(size, rng, 2.5) + 4) * design["threads"]
    v = (y + slack * power_noise(size, rng, 2.5) + 4) * design["threads"]
    column, row = np.floor(u), np.floor(v)
    across, along = 2 * (u - column) - 1, 2 * (v - row) - 1
    over = (column + row) // design["float"] % 2 == 0
    side, lead = np.where(over, across, along), np.where(over, along, across)
    round_yarn = np.sqrt(np.clip(1.02 - side**2, 0, 1))
    tone = 0.38 + 0.62 * round_yarn * (0.72 + 0.28 * np.cos(1.4 * lead))
    yarn = np.where(over, _thread_tones(column, rng, 0.05), _thread_tones(row, rng, 0.05))
    fibre = np.where(over, grain(size, rng, (1.5, 0.5)), grain(size, rng, (0.5, 1.5)))
    warp, weft = design["yarns"]
    colour = np.where(over[..., None], warp, weft)
    image = colour * (1.12 * tone * yarn * (1 + 0.05 * fibre))[..., None]
    return _everywhere(expose(image, rng))


def tile_design(rng):
    """The stone: its three colours, the size of the grains and how many are dark."""
    return {
        "stone": _pick(STONES, rng),
        "coarse": rng.uniform(0.016, 0.024),
        "dark": rng.uniform(1.15, 1.45),
    }


def tile(size, design, rng):
    """Polished granite: clouded ground with dark and warm grains of two sizes."""
    ground, dark, warm = design["stone"]
    radius = design["coarse"] * size
    clouds = power_noise(size, rng, 1.4)
    image = paint(ground, 1 + 0.045 * clouds + 0.03 * grain(size, rng, 0.6))
    for colour, sigma, cut, opacity in (
        (warm, radius, 0.9, 0.6),
        (dark, radius, design["dark"], 0.7),
        (dark, 0.45 * radius, design["dark"] + 0.35, 0.5),
    ):
        chips = grain(size, rng, sigma) + 0.15 * clouds
        chip = paint(colour, 1 + 0.10 * grain(size, rng, radius))
        image = mix(image, chip, opacity * smoothstep(cut - 0.12, cut + 0.22, chips))
    return _everywhere(expose(image, rng))


def wood_design(rng):
    """The timber: early and late wood, and how many rings cross the image."""
    return {"timber": _pick(TIMBERS, rng), "rings": rng.uniform(7.0, 10.0)}


def wood(size, design, rng):
    """A planed board: growth rings cut lengthwise, fibres and pores."""
    x, y = pose(size, rng, angle=0.04)
    x = x + 0.035 * power_noise(size, rng, 2.2, stretch=(4, 1))
    heart, far = rng.uniform(-0.7, 0.7), rng.choice([-1, 1]) * rng.uniform(1.5, 3.0)
    radius = np.hypot(x - heart, 0.22 * (y - far)) + rng.uniform(0, 1)
    ring = radius * design["rings"] / 2
    year = _thread_tones(np.floor(ring), rng, 0.16)
    phase = ring - np.floor(ring)
    late = smoothstep(0.15, 0.9, phase) * (1 - smoothstep(0.93, 1.0, phase))
    fibre = grain(size, rng, (0.09 * size, 0.5))
    pores = smoothstep(1.7, 2.6, grain(size, rng, (0.016 * size, 0.45)))
    early_wood, late_wood = design["timber"]
    tone = np.clip(0.62 * late * year + 0.12 * fibre + 0.12, 0, 1)
    image = mix(np.broadcast_to(early_wood, (*tone.shape, 3)), late_wood, tone)
    image = image * (1 - 0.22 * pores + 0.03 * power_noise(size, rng, 1.5))[..., None]
    return _everywhere(expose(image, rng))


def metal_design(rng):
    """The alloy and how deep it was brushed."""
    return {"alloy": _pick(ALLOYS, rng), "depth": rng.uniform(0.045, 0.065)}


def metal(size, design, rng):
    """A brushed sheet: lines of several lengths under one broad highlight."""
    x, y = pose(size, rng, angle=0.05, shift=0.1)
    lines = np.zeros((size, size), dtype=np.float32)
    for length, width in ((0.5, 0.4), (0.16, 0.4), (0.3, 1.2)):
        lines += grain(size, rng, (width, length * size)) * np.float32(0.58)
    lines = _turned(lines, rng.uniform(-0.03, 0.03))
    depth = design["depth"] * rng.uniform(0.7, 1.3)
    place, tilt, width = rng.uniform((-0.6, -0.2, 0.45), (0.6, 0.2, 0.7))
    highlight = np.exp(-(((y - place - tilt * x) / width) ** 2))
    spread = 1 + 0.25 * gaussian_filter1d(lines.mean(axis=1), 2)[:, None]
    tone = 0.78 + 0.42 * highlight * spread + depth * lines * (0.7 + highlight)
    diffuse, _ = relief(0.18 * lines, np.pi / 2)
    # Handling leaves nicks and a haze of its own strength on every good sheet.
    nicks = smoothstep(1.9, 3.2, grain(size, rng, rng.uniform(0.7, 1.3, 2)))
    haze = rng.uniform(0.01, 0.035) * power_noise(size, rng, 0.9)
    tone = tone * (1 + haze + rng.uniform(-0.6, 0.6) * nicks)
    image = paint(design["alloy"], tone * (0.75 + 0.25 * diffuse))
    return _everywhere(expose(image, rng, gradient=0.04))


def _turned(lines, angle):
    """Shear the lines by a small angle, with linear interpolation down a column."""
    size = lines.shape[0]
    column = np.arange(size)
    move = angle * column - np.floor(angle * column)
    rows = (column[:, None] - np.floor(angle * column).astype(np.intp)) % size
    sheared = lines[rows, column]
    return sheared + move.astype(np.float32) * (lines[rows - 1, column] - sheared)
