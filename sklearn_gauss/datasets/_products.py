"""The catalogue of products, and one image of a product with or without a defect."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sklearn_gauss.datasets._board import board, board_design
from sklearn_gauss.datasets._defects import SURFACE_DEFECTS
from sklearn_gauss.datasets._marks import visible_change
from sklearn_gauss.datasets._optics import camera
from sklearn_gauss.datasets._parts import Flaw, bolt, gear, part_design, washer
from sklearn_gauss.datasets._textures import (
    fabric,
    fabric_design,
    metal,
    metal_design,
    tile,
    tile_design,
    wood,
    wood_design,
)


class Product(NamedTuple):
    """How a kind is drawn: the design, one image of it, and its defects."""

    design: Callable
    draw: Callable
    defects: tuple


PRODUCTS = {
    "fabric": Product(
        fabric_design,
        fabric,
        ("stain", "pit", "crack", "contamination", "blur", "distortion"),
    ),
    "tile": Product(
        tile_design,
        tile,
        ("scratch", "stain", "pit", "crack", "contamination", "blur"),
    ),
    "wood": Product(
        wood_design,
        wood,
        ("scratch", "stain", "pit", "crack", "contamination", "distortion"),
    ),
    "metal": Product(
        metal_design,
        metal,
        ("scratch", "stain", "pit", "crack", "contamination", "distortion"),
    ),
    "washer": Product(
        part_design,
        washer,
        ("scratch", "stain", "crack", "contamination", "missing", "bent"),
    ),
    "gear": Product(
        part_design,
        gear,
        ("scratch", "stain", "pit", "contamination", "missing", "bent"),
    ),
    "bolt": Product(
        part_design,
        bolt,
        ("scratch", "stain", "contamination", "missing", "bent", "stripped"),
    ),
    "board": Product(
        board_design,
        board,
        ("scratch", "stain", "contamination", "open", "short", "missing", "skewed"),
    ),
}

# The streams of random numbers: image i of a stream is seeded by [root, stream, i].
DESIGN, TRAIN, GOOD, DEFECT, FLAW = range(5)
# A defect that shows on fewer pixels than this share of the image is drawn again, up
# to so many times, and the last one stands.
SMALLEST_SHARE, ATTEMPTS = 6e-4, 8


def draw_pair(kind, size, defect, severity, root, stream, i):
    """Image i of a stream, with its defect, its mask and without the defect.

    Returns
    -------
    image : ndarray of shape (size, size, 3), dtype uint8
        With the defect, if ``defect`` is not None.
    mask : ndarray of shape (size, size), dtype bool
        Where ``image`` and ``twin`` differ.
    twin : ndarray of shape (size, size, 3), dtype uint8
        The same state without the defect.
    """
    product = PRODUCTS[kind]
    design = product.design(np.random.default_rng([root, DESIGN]))

    def draw(**flaw):
        return product.draw(
            size, design, np.random.default_rng([root, stream, i, 0]), **flaw
        )

    scene = draw()
    image, mask = scene.image, np.zeros((size, size), dtype=bool)
    if defect is not None:
        image, mask = _damage(scene, draw, defect, severity, [root, FLAW, i])
    shot = [root, stream, i, 1]
    twin = camera(scene.image, np.random.default_rng(shot))
    picture = camera(image, np.random.default_rng(shot))
    return picture, mask, twin


def _damage(scene, draw, defect, severity, seed):
    """The first attempt that shows on enough pixels, or the last."""
    enough = SMALLEST_SHARE * min(severity, 1.0) * scene.region.size
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([*seed, attempt])
        if defect in SURFACE_DEFECTS:
            image, mask = SURFACE_DEFECTS[defect](
                scene.image, rng, severity, scene.region
            )
        else:
            changed = draw(flaw=Flaw(defect, rng, severity)).image
            image, mask = visible_change(scene.image, changed)
        if mask.sum() >= enough:
            break
    return image, mask
