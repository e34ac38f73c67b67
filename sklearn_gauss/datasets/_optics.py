"""Coordinates, random fields, light and camera: what every drawn image is made of.

Images are float32 arrays (size, size, 3) in [0, 1], fields are (size, size).
Coordinates run from -1 to 1 across the image, so a drawing looks alike at any size.
"""

from typing import NamedTuple

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter


class Scene(NamedTuple):
    """A drawn image and the pixels that belong to the product.

    Attributes
    ----------
    image : ndarray of shape (size, size, 3)
        Values in [0, 1], before the camera's noise.
    region : ndarray of shape (size, size), dtype bool
        Where a defect may sit: everywhere for a texture, the object for a part.
    """

    image: np.ndarray
    region: np.ndarray


def pose(size, rng, *, angle=0.0, shift=0.0, scale=0.0):
    """Coordinates x and y of every pixel under a small random similarity.

    Parameters
    ----------
    size : int
        Side of the image.
    rng : numpy.random.Generator
        Draws the pose.
    angle, shift, scale : float
        The largest rotation in radians, translation and relative change of size.

    Returns
    -------
    x, y : ndarrays of shape (size, size)
        Coordinates in the product's own frame, y pointing down.
    """
    turn, right, down, zoom = rng.uniform(-1, 1, 4) * (angle, shift, shift, scale)
    axis = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    x, y = np.meshgrid(axis - np.float32(right), axis - np.float32(down))
    cos, sin = np.cos(turn) / (1 + zoom), np.sin(turn) / (1 + zoom)
    return np.float32(cos) * x + np.float32(sin) * y, np.float32(cos) * y - np.float32(
        sin
    ) * x


def power_noise(size, rng, slope, *, stretch=(1.0, 1.0)):
    """Stationary noise with amplitude spectrum |f|^-slope, mean 0 and variance 1.

    ``stretch=(a, b)`` makes the grains a times longer down and b times longer across.
    """
    down = np.fft.fftfreq(size)[:, None] * size * stretch[0]
    across = np.fft.rfftfreq(size)[None, :] * size * stretch[1]
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    spectrum = rfft2(rng.standard_normal((size, size), dtype=np.float32))
    field = irfft2(spectrum * frequency**-slope, s=(size, size))
    return (field / field.std()).astype(np.float32)


def grain(size, rng, sigma):
    """White noise blurred by ``sigma`` = (down, across) pixels, variance 1."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    field = gaussian_filter(white, sigma, mode="wrap", truncate=3.0)
    return field / field.std()


def smoothstep(start, stop, x):
    """0 up to ``start``, 1 from ``stop``, a smooth cubic between."""
    t = np.clip((x - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def mix(below, above, alpha):
    """``above`` laid over ``below`` with opacity ``alpha`` (size, size)."""
    return below + alpha[..., None] * (above - below)


def paint(colour, tone):
    """A colour (3,) under a brightness (size, size)."""
    return tone[..., None] * np.asarray(colour, dtype=np.float32)


def relief(height, azimuth, *, gloss=16.0):
    """Diffuse and specular light on a height field given in pixels.

    Returns
    -------
    diffuse, specular : ndarrays of shape (size, size)
        A flat surface has diffuse 1; specular lies in [0, 1].
    """
    down, across = np.gradient(height)
    slope = across * np.float32(np.cos(azimuth)) + down * np.float32(np.sin(azimuth))
    norm = 1 / np.sqrt(1 + down**2 + across**2)
    # The light stands 50 degrees above the horizon, the camera straight above.
    diffuse = norm * (1 - slope * np.float32(1 / np.tan(np.radians(50))))
    half_way = norm * (np.float32(np.cos(np.radians(20))) - slope * np.float32(0.342))
    return np.clip(diffuse, 0, 2), np.clip(half_way, 0, 1) ** gloss


def coverage(distance, size):
    """Antialiased inside of an implicit shape: 1 where ``distance`` is below 0.

    ``distance`` need not be Euclidean: it is divided by its gradient first.
    """
    down, across = np.gradient(distance)
    pixels = distance / np.maximum(np.hypot(down, across), 0.2 / size)
    return np.clip(0.5 - pixels, 0, 1)


def expose(image, rng, *, gradient=0.07, exposure=0.05, tint=0.015):
    """One shot's light gradient, vignette, exposure, white balance and focus."""
    size = image.shape[0]
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    right, down, level = rng.uniform(-1, 1, 3) * (gradient, gradient, exposure)
    x, y = rng.uniform(-0.3, 0.3, 2)
    gain = 1 + level + right * axis[None, :] + down * axis[:, None]
    gain -= rng.uniform(0.01, 0.05) * (
        (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2
    )
    lit = image * (gain[..., None] * (1 + rng.uniform(-tint, tint, 3)))
    focus = rng.uniform(0.2, 0.6) * size / 128
    sharp = gaussian_filter(lit.astype(np.float32), (focus, focus, 0), truncate=3.0)
    return np.clip(sharp, 0, 1)


def camera(image, rng):
    """The 8-bit picture of a scene: shot and read noise, clipping, rounding.

    The noise of a pixel depends on that pixel and on ``rng`` only, so two scenes that
    agree in a pixel agree in it after the same camera.
    """
    read, shot = 0.006, 0.012
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    scene = np.clip(image, 0, 1)
    noisy = scene + noise * (read + shot * np.sqrt(scene))
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)
