"""Harmless variations of an image: other light, focus and noise."""

import numpy as np
from scipy.ndimage import gaussian_filter

#: Kind of a `DrawnImage` that is normal.
VARIATION = "variation"


def vary(pixels, *, strength, seed):
    """The image under slightly other light, focus and noise, as 8-bit pixels.

    With ``strength`` 1, light changes by at most a tenth and four grey levels, the blur
    has a standard deviation of at most 0.2 % of the shorter side, the noise one of at
    most two grey levels.
    """
    rng = np.random.default_rng(seed)
    gain, offset = 1 + strength * rng.uniform(-0.1, 0.1), strength * rng.uniform(-4, 4)
    sigma = strength * rng.uniform(0, 0.002) * min(pixels.shape[:2])
    varied = gaussian_filter(gain * pixels.astype(np.float32) + offset, (sigma, sigma, 0))
    level = strength * rng.uniform(0, 2)
    varied += level * rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32)
    return np.rint(np.clip(varied, 0, 255)).astype(np.uint8)
