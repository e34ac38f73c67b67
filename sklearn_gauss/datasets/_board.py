"""A printed circuit board: a chip, traces, vias and small components.

``board(size, design, rng, flaw=None) -> Scene`` as in `_parts`. Lengths are in units
of half an image.
"""

from itertools import pairwise

import numpy as np

from sklearn_gauss.datasets._optics import (
    Scene,
    expose,
    grain,
    mix,
    paint,
    pose,
    relief,
    smoothstep,
)

MASKS = [(0.07, 0.33, 0.19), (0.06, 0.17, 0.38), (0.36, 0.07, 0.09)]
TRACE, VIA, PIN = 0.019, 0.045, 0.022  # half widths and radii
PITCH, CHIP = 0.135, 0.30
TIN, COPPER, HOLE = (0.80, 0.80, 0.78), (0.86, 0.68, 0.38), (0.05, 0.05, 0.06)
PINS = 5
SLOTS = [(-0.72, 0.0), (0.72, 0.0), (0.0, -0.74), (0.0, 0.74)]  # of the components
BODIES = [(0.10, 0.10, 0.11), (0.55, 0.42, 0.28), (0.13, 0.12, 0.14), (0.60, 0.50, 0.40)]


def board_design(rng):
    """The solder mask, the eight traces and the four components' bodies."""
    spread = rng.uniform(1.45, 1.75)
    order = np.arange(PINS) - (PINS - 1) / 2
    # Monotone in the pin, so that no trace crosses another; the gap is for a component.
    ends = [
        spread * PITCH * order + 0.22 * np.sign(order) + rng.uniform(-0.02, 0.02, PINS)
        for _ in range(2)
    ]
    return {
        "mask": np.float32(MASKS[rng.integers(len(MASKS))]),
        "traces": [
            _route(side, PITCH * k, end, rng.uniform(0.80, 0.90))
            for side, column in zip((-1, 1), ends, strict=True)
            for k, end in zip(order, column, strict=True)
            if k
        ],
        "bodies": rng.permutation(len(BODIES)),
    }


def _route(side, start, end, far):
    """From a pin outwards, 45 degrees up or down, and outwards to a via."""
    lead = CHIP + 0.10 + 0.16 * (1 - min(abs(start) / (2 * PITCH), 1.0))
    turn = lead + abs(end - start)
    stop = max(far, turn + 0.06)
    return np.array(
        [
            (side * CHIP, start),
            (side * lead, start),
            (side * turn, end),
            (side * stop, end),
        ],
        dtype=np.float32,
    )


def _segment(x, y, a, b):
    """Distance to the segment from a to b."""
    along = b - a
    t = ((x - a[0]) * along[0] + (y - a[1]) * along[1]) / max(
        along @ along, np.float32(1e-9)
    )
    t = np.clip(t, 0, 1)
    return np.hypot(x - a[0] - t * along[0], y - a[1] - t * along[1])


def _box(x, y, half_width, half_height):
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _inside(distance, size):
    """Antialiased inside of a true distance in units of half an image."""
    return np.clip(0.5 - distance * size / 2, 0, 1).astype(np.float32)


def _point_on(trace, rng):
    """A point of the trace's last two stretches and the trace's direction there."""
    k = rng.integers(1, 3)
    t, run = rng.uniform(0.25, 0.75), trace[k + 1] - trace[k]
    return trace[k] + t * run, run / np.hypot(*run)


def _copper(x, y, traces):
    """Distance to the nearest trace or via and, apart, to the vias' holes."""
    lines = [_segment(x, y, a, b) for t in traces for a, b in pairwise(t)]
    vias = [np.hypot(x - t[-1, 0], y - t[-1, 1]) for t in traces]
    lines, vias = np.min(lines, axis=0), np.min(vias, axis=0)
    return np.minimum(lines - TRACE, vias - VIA), vias


def _open(x, y, copper, design, flaw):
    trace = design["traces"][flaw.rng.integers(len(design["traces"]))]
    (px, py), (run_x, run_y) = _point_on(trace, flaw.rng)
    along = (x - px) * run_x + (y - py) * run_y
    aside = (x - px) * run_y - (y - py) * run_x
    gap = flaw.rng.uniform(0.035, 0.065) * flaw.severity
    lean = flaw.rng.uniform(-0.5, 0.5)
    return np.maximum(copper, -_box(along + lean * aside, aside, gap, 2.2 * TRACE))


def _short(x, y, copper, design, flaw):
    pairs = [
        (a, b)
        for a, b in pairwise(design["traces"])
        if np.sign(a[0, 0]) == np.sign(b[0, 0]) and abs(a[0, 1] - b[0, 1]) < 1.5 * PITCH
    ]
    upper, lower = pairs[flaw.rng.integers(len(pairs))]
    k = flaw.rng.integers(0, 2)
    t = flaw.rng.uniform(0.2, 0.8)
    from_, to = (p[k] + t * (p[k + 1] - p[k]) for p in (upper, lower))
    width = TRACE * flaw.rng.uniform(0.5, 1.0) * min(flaw.severity, 2.0)
    bridge = _segment(x, y, from_, to) - width
    return np.minimum(copper, bridge + 0.006 * np.cos(90 * x) * np.cos(77 * y))


COPPER_FLAWS = {"open": _open, "short": _short}


def _components(image, x, y, design, size, flaw):
    """The four two-terminal components, one of them missing or skewed by a flaw."""
    hit = -1 if flaw is None else int(flaw.rng.integers(len(SLOTS)))
    for k, (cx, cy) in enumerate(SLOTS):
        u, v = (x - cx, y - cy) if cx == 0 else (y - cy, x - cx)
        lands = _box(np.abs(u) - 0.12, v, 0.050, 0.072)
        image = mix(image, np.float32(TIN) * 0.86, _inside(lands, size))
        if k == hit and flaw.name == "missing":
            continue
        if k == hit:
            u, v = _skewed(u, v, flaw)
        image = _one_component(image, u, v, BODIES[design["bodies"][k]], size)
    return image


def _skewed(u, v, flaw):
    turn = flaw.rng.choice([-1, 1]) * flaw.rng.uniform(0.3, 0.5) * flaw.severity
    move = flaw.rng.uniform(-0.05, 0.05, 2) * flaw.severity
    u, v = u - move[0], v - move[1]
    return np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u


def _one_component(image, u, v, body, size):
    caps = _inside(_box(u, v, 0.125, 0.062), size)
    shade = 1 - 0.25 * smoothstep(-0.06, 0.06, v)
    image = mix(image, paint(TIN, shade), caps)
    middle = _inside(_box(u, v, 0.082, 0.062), size)
    return mix(image, paint(body, 1.25 - 0.5 * smoothstep(-0.06, 0.06, v)), middle)


def _chip(image, x, y, size, rng):
    """The chip in the middle with its pins, a dot and a matte top."""
    rows = (np.arange(PINS) - (PINS - 1) / 2) * PITCH
    pins = np.min(
        [_box(np.abs(x) - CHIP - 0.04, y - r, 0.065, PIN) for r in rows], axis=0
    )
    image = mix(
        image,
        paint(TIN, 1 - 0.2 * smoothstep(0.30, 0.42, np.abs(x))),
        _inside(pins, size),
    )
    body = _inside(_box(x, y, CHIP, 0.38), size)
    edge, _ = relief(0.02 * size * body, np.float32(-2.2))
    top = 0.85 * edge + 0.06 * grain(size, rng, 0.5)
    image = mix(image, paint((0.15, 0.15, 0.16), top), body)
    dot = _inside(np.hypot(x + 0.20, y + 0.28) - 0.035, size)
    label = _box(x - 0.03, np.abs(y - 0.02) - 0.05, 0.16, 0.016)
    image = mix(image, np.float32((0.10, 0.10, 0.10)), dot)
    return mix(image, np.float32((0.40, 0.40, 0.40)), 0.6 * _inside(label, size))


def board(size, design, rng, flaw=None):
    """A populated board.

    Flaws: a trace ``open``, two traces ``short``, a component ``missing`` or
    ``skewed``.
    """
    x, y = pose(size, rng, angle=0.03, shift=0.03, scale=0.015)
    copper, vias = _copper(x, y, design["traces"])
    if flaw is not None and flaw.name in COPPER_FLAWS:
        copper = COPPER_FLAWS[flaw.name](x, y, copper, design, flaw)
        flaw = None
    weave = 0.5 * (np.cos(70 * x) + np.cos(70 * y)).astype(np.float32)
    green = paint(design["mask"], 1 + 0.03 * weave + 0.05 * grain(size, rng, 0.8))
    line = _inside(copper, size)
    raised, gloss = relief(0.7 * line, np.float32(-2.2))
    # Copper shines through the solder mask of a trace and is bare around a via.
    covered = paint(1.25 * design["mask"] + np.float32((0.10, 0.13, 0.06)), raised)
    image = mix(green, covered, line) + (0.05 * gloss)[..., None]
    image = mix(image, paint(COPPER, 0.8 * raised), _inside(vias - VIA, size))
    image = mix(image, np.float32(HOLE), _inside(vias - 0.45 * VIA, size))
    image = _components(image, x, y, design, size, flaw)
    image = expose(_chip(image, x, y, size, rng), rng)
    return Scene(image, np.ones((size, size), dtype=bool))
