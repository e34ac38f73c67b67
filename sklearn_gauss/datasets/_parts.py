"""Machined parts on a table: bolt, washer and gear.

``draw(size, design, rng, flaw=None) -> Scene`` as in `_textures`, with a ``flaw``:
the same part in the same pose with its shape changed. Everything random about the
flaw comes from ``flaw.rng``, so ``rng`` draws the same normal twin with and without.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from sklearn_gauss.datasets._optics import (
    Scene,
    coverage,
    expose,
    grain,
    mix,
    paint,
    pose,
    power_noise,
    relief,
    smoothstep,
)

TABLES = [(0.20, 0.21, 0.23), (0.13, 0.17, 0.15), (0.33, 0.31, 0.29)]
STEELS = [(0.62, 0.63, 0.66), (0.68, 0.60, 0.42), (0.56, 0.55, 0.56)]
AZIMUTH = np.float32(-2.2)  # the light's direction in the image, from the upper left


class Flaw(NamedTuple):
    """A change of shape: its name, its own random numbers and its severity."""

    name: str
    rng: np.random.Generator
    severity: float


def part_design(rng):
    """The table, the steel and three numbers in [0, 1] for the proportions."""
    return {
        "table": np.float32(TABLES[rng.integers(len(TABLES))]),
        "steel": np.float32(STEELS[rng.integers(len(STEELS))]),
        "ratios": rng.uniform(0, 1, 3),
    }


def _table(size, design, rng):
    tone = 1 + 0.04 * power_noise(size, rng, 1.2) + 0.05 * grain(size, rng, 0.7)
    return paint(design["table"], tone)


def _place(table, body, cover, size, rng):
    """Lay a part on the table with its soft shadow, under the light of one shot."""
    offset = max(1, round(0.025 * size))
    shadow = np.roll(cover, (offset, offset), axis=(0, 1))
    shade = 0.55 * gaussian_filter(shadow, 0.02 * size)
    image = mix(table * (1 - shade)[..., None], body, cover)
    return Scene(expose(image, rng, gradient=0.05), cover > 0.5)


def _bevel(cover, width):
    """A height in pixels that rises over ``width`` from the edges of a part."""
    return width * smoothstep(0.3, 1.0, gaussian_filter(cover, width))


def _wrapped(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _steel(design, tone, gloss):
    return paint(design["steel"], tone) + (0.35 * gloss)[..., None]


def _turning_marks(radius, angle, size, rng):
    """Concentric lathe marks and the two opposite highlights they throw."""
    rings = np.interp(
        radius, np.linspace(0, 1.5, size), gaussian_filter(rng.normal(size=size), 0.6)
    ).astype(np.float32)
    towards = AZIMUTH + rng.uniform(-0.25, 0.25)
    cone = np.cos(angle - towards) ** 6
    return 0.06 * rings, cone * (0.75 + 0.5 * rings)


def washer(size, design, rng, flaw=None):
    """A flat turned ring. Flaws: ``missing`` (a bite out of the rim), ``bent``."""
    x, y = pose(size, rng, angle=0.3, shift=0.04, scale=0.02)
    inner = 0.26 + 0.12 * design["ratios"][0]
    outer = 0.66 + 0.08 * design["ratios"][1]
    table = _table(size, design, rng)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    rings, cone = _turning_marks(radius, angle, size, rng)
    if flaw is not None:
        radius, outer, inner = WASHER_FLAWS[flaw.name](radius, angle, outer, inner, flaw)
    cover = coverage(radius - outer, size) * coverage(inner - radius, size)
    diffuse, gloss = relief(_bevel(cover, 0.018 * size), AZIMUTH)
    tone = diffuse * (0.72 + rings + 0.38 * cone)
    body = _steel(design, tone + 0.02 * grain(size, rng, 0.6), 0.3 * gloss * cone)
    return _place(table, body, cover, size, rng)


def _bitten_washer(radius, angle, outer, inner, flaw):
    where = flaw.rng.uniform(-np.pi, np.pi)
    reach = flaw.rng.uniform(0.16, 0.24) * flaw.severity**0.5
    depth = min(flaw.rng.uniform(0.45, 0.8) * flaw.severity**0.5, 1.3) * (outer - inner)
    off = _wrapped(angle - where)
    ragged = 0.02 * np.cos(17 * off + 1) + 0.015 * np.cos(41 * off)
    return radius, outer - (depth + ragged) * (np.abs(off) < reach), inner


def _bent_washer(radius, angle, outer, inner, flaw):
    off = _wrapped(angle - flaw.rng.uniform(-np.pi, np.pi))
    push = flaw.rng.choice([-1, 1]) * flaw.rng.uniform(0.05, 0.09) * flaw.severity
    bump = np.exp(-((off / flaw.rng.uniform(0.3, 0.45)) ** 2))
    return radius - push * bump, outer, inner


WASHER_FLAWS = {"missing": _bitten_washer, "bent": _bent_washer}


def gear(size, design, rng, flaw=None):
    """A spur gear with a bore and a keyway. Flaws: a tooth ``missing`` or ``bent``."""
    x, y = pose(size, rng, angle=0.06, shift=0.03, scale=0.02)
    teeth, tip = 12 + int(6 * design["ratios"][0]), 0.80
    depth, bore = 1.9 / teeth, 0.16 + 0.06 * design["ratios"][1]
    table = _table(size, design, rng)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    rings, cone = _turning_marks(radius, angle, size, rng)
    turn = angle * teeth / (2 * np.pi)
    profile = _tooth(turn - np.rint(turn))
    if flaw is not None:
        out = np.clip(1 + (radius - tip) / depth, 0, 1)
        profile = GEAR_FLAWS[flaw.name](profile, turn, out, teeth, flaw)
    cover = coverage(radius - tip + depth * (1 - profile), size)
    keyway = np.maximum(np.abs(x) - 0.05, np.abs(y + bore) - 0.08)
    cover = cover * coverage(np.maximum(bore - radius, -1), size)
    cover = cover * coverage(-keyway, size)
    hub = smoothstep(-0.02, 0.02, np.abs(radius - 0.45) - 0.13)
    lift = _bevel(cover, 0.016 * size) + 0.018 * size * hub
    diffuse, gloss = relief(lift, AZIMUTH)
    tone = diffuse * (0.66 + 0.08 * hub + rings + 0.26 * cone)
    body = _steel(design, tone + 0.02 * grain(size, rng, 0.6), 0.3 * gloss * cone)
    return _place(table, body, cover, size, rng)


def _tooth(offset):
    """The outline of a tooth, from 0 at the root to 1 at the tip."""
    return 1 - smoothstep(0.40, 0.72, 2 * np.abs(offset))


def _bent_tooth(profile, turn, out, teeth, flaw):
    off = (turn - flaw.rng.integers(teeth) + teeth / 2) % teeth - teeth / 2
    lean = flaw.rng.choice([-1, 1]) * flaw.rng.uniform(0.30, 0.42)
    others = np.where(np.abs(off) < 0.5, 0, profile)
    return np.maximum(others, _tooth(off - lean * min(flaw.severity, 1.6) * out))


def _broken_tooth(profile, turn, out, teeth, flaw):
    hit = np.rint(turn) % teeth == flaw.rng.integers(teeth)
    left = max(0.0, 1 - flaw.rng.uniform(0.6, 1.0) * flaw.severity)
    ragged = left + flaw.rng.uniform(-0.6, 0.6) * (turn - np.rint(turn))
    return np.where(hit, profile * np.clip(ragged, 0, 1), profile)


GEAR_FLAWS = {"missing": _broken_tooth, "bent": _bent_tooth}


def bolt(size, design, rng, flaw=None):
    """A hexagon bolt on its side. Flaws: ``missing`` tip, ``bent``, ``stripped``."""
    x, y = pose(size, rng, angle=0.09, shift=0.05, scale=0.03)
    head, neck = -0.84, -0.50
    half, thick = 0.36 + 0.05 * design["ratios"][0], 0.185 + 0.03 * design["ratios"][1]
    tip, start = 0.84, -0.15 - 0.15 * design["ratios"][2]
    pitch, slide = 0.105, rng.uniform(0, 1)
    table, end, tooth = _table(size, design, rng), tip, 1.0
    if flaw is not None:
        y, end, tooth = BOLT_FLAWS[flaw.name](x, y, tip, start, thick, flaw)
    turns = (x + 0.16 * y) / pitch + slide
    ridge = np.abs(2 * (turns - np.floor(turns)) - 1)
    threaded = smoothstep(start - 0.02, start + 0.02, x) * tooth
    chamfer = np.clip((x - end + 0.08) / 0.08, 0, 1) * 0.3
    radius = thick * (1 - chamfer) - 0.025 * threaded * (1 - ridge)
    shank = coverage(np.maximum(np.abs(y) - radius, x - end), size)
    shank = shank * coverage(neck - x - 0.02, size)
    block = coverage(
        np.maximum(
            np.abs(y) - half, np.abs(x - 0.5 * (head + neck)) - 0.5 * (neck - head)
        ),
        size,
    )
    tone, gloss = _bolt_tones(y, thick, half, block, threaded * (ridge - 0.5), size)
    body = _steel(design, tone + 0.025 * grain(size, rng, (0.5, 1.5)), gloss)
    return _place(table, body, np.maximum(shank, block), size, rng)


def _bolt_tones(y, thick, half, block, thread, size):
    """Brightness and gloss of a lit cylinder, of its thread and of three facets."""
    side = np.clip(y / thick, -1, 1)
    lift = np.sqrt(1 - 0.96 * side**2)
    shank = 0.22 + 0.62 * lift - 0.22 * side + 0.42 * thread * lift
    shine = np.exp(-(((side + 0.42) / 0.20) ** 2)) * (0.55 + 0.6 * thread)
    facet = np.digitize(y / half, (-0.5, 0.5))
    flat = np.float32([0.95, 0.72, 0.42])[facet]
    edge, _ = relief(_bevel(block, 0.014 * size), AZIMUTH)
    tone = np.where(block > 0.5, flat * edge, shank)
    return tone, np.where(block > 0.5, 0.1 * flat, np.clip(shine, 0, 1))


def _short_bolt(x, y, tip, start, thick, flaw):
    cut = min(flaw.rng.uniform(0.16, 0.30) * flaw.severity, tip - start)
    wave = np.cos(y / thick * flaw.rng.uniform(2, 5) + flaw.rng.uniform(0, 6))
    return y, tip - cut + 0.03 * wave, 1.0


def _bent_bolt(x, y, tip, start, thick, flaw):
    side = flaw.rng.choice([-1, 1]) * flaw.rng.uniform(0.16, 0.24) * flaw.severity
    run = np.clip(x - flaw.rng.uniform(-0.2, 0.2), 0, None)
    return y - side * run**1.5, tip, 1.0


def _stripped_bolt(x, y, tip, start, thick, flaw):
    centre = flaw.rng.uniform(start + 0.25, tip - 0.25)
    reach = flaw.rng.uniform(0.10, 0.16) * flaw.severity**0.5
    worn = 1 - smoothstep(0.7 * reach, reach, np.abs(x - centre))
    return y, tip, 1 - min(flaw.severity, 1.0) * 0.9 * worn


BOLT_FLAWS = {"missing": _short_bolt, "bent": _bent_bolt, "stripped": _stripped_bolt}
