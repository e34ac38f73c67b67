"""A kernel density of patches without those of one image, for every image in turn."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from sklearn_gauss._numerics.kernel.density import KernelDensity
from sklearn_gauss._numerics.kernel.exponents import reference
from sklearn_gauss._numerics.kernel.rescaling import Rescaling
from sklearn_gauss._numerics.kernel.sums import log_sums
from sklearn_gauss._numerics.patches.reduction import ReducedMaps
from sklearn_gauss._numerics.spectrum import scatter_spectrum
from sklearn_gauss._numerics.threads import map_blocks

__all__ = ["image_bandwidth", "left_out_images"]

#: Bandwidths that are tried, between these multiples of the median distance r to the
#: nearest reference patch; the least over the square root of the dimension d, since where
#: only that patch counts the likelihood is greatest at r / sqrt(d).
RANGE, TRIED = (0.2, 20.0), 25


def image_bandwidth(
    patches: NDArray,
    images: NDArray,
    others: NDArray,
    images_of_others: NDArray,
    weights: NDArray,
) -> float:
    """Bandwidth of the greatest likelihood of patches, each without its whole image.

    ``patches`` (m, d) of ``images`` (m,) under a Gaussian kernel at ``others`` (l, d) of
    ``images_of_others`` and ``weights`` (l,), all in coordinates. 0 where no other image
    has any, and where all of them coincide.
    """
    exponents = cdist(patches, others, "sqeuclidean") / -2
    exponents[images[:, None] == images_of_others] = -np.inf
    exponents = exponents[np.isfinite(exponents).any(axis=1)]
    nearest = np.sqrt(-2 * exponents.max(axis=1, initial=-np.inf))
    nearest = nearest[nearest > 0]
    if not len(nearest):
        return 0.0
    centre, d, logs = float(np.median(nearest)), patches.shape[1], np.log(weights)

    def loss(log_h: float) -> float:
        sums = logsumexp(exponents / np.exp(2 * log_h) + logs, axis=1)
        return float(d * log_h - sums.mean())

    grid = np.log(np.geomspace(RANGE[0] / np.sqrt(d), RANGE[1], TRIED) * centre)
    losses = [loss(log_h) for log_h in grid]
    best = int(np.argmin(losses))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x if found.fun < losses[best] else grid[best]))


def left_out_images(
    density: KernelDensity, maps: ReducedMaps, images: NDArray, n_threads: int
) -> NDArray:
    """Log-density (n, P) of the patches of every image, without those of the image.

    ``images`` (l,) tells from which image each row of the density comes: those of the
    image leave, and the mean and the covariance of the metric are estimated again
    without its patches. Bandwidth, intensity of the shrinkage and volume are kept.
    Minus infinity where no row is left.
    """
    n_images, n_places, _ = maps.shape
    rescaling = density.rescaling
    logs = np.full((n_images, n_places), -np.inf)
    scatter = None if rescaling.plain else _scatter(rescaling, maps)

    def work(image: int) -> None:
        patches, others = maps.of_image(image), images != image
        here = rescaling
        if scatter is not None:
            here = _without(rescaling, scatter, patches, n_images)
        if here is None or not others.any():
            return
        ref = reference(
            here.enter(density.rows[others]),
            density.bandwidth,
            density.kernel,
            weights=density.weights[others],
        )
        sums = log_sums(ref, here.enter(patches)).logs
        total = np.log(density.weights[others].sum())
        logs[image] = sums - total + density.log_constant

    map_blocks(work, range(n_images), n_threads)
    return logs


def _scatter(rescaling: Rescaling, maps: ReducedMaps) -> NDArray:
    """Sum over all patches of z z' (C, C), z about their mean in the frame."""
    frame, total = rescaling.frame, 0.0
    for image in range(len(maps.maps)):
        Z = frame.enter(maps.of_image(image))
        total = total + Z.T @ Z
    return total


def _without(
    rescaling: Rescaling, scatter: NDArray, patches: NDArray, n_images: int
) -> Rescaling | None:
    """The rescaling of the other images; None where they do not vary.

    Without P of N patches of mean m, and with the mean of all at zero, the mean is at
    -P m / (N - P) and the scatter T - Z'Z - P^2 / (N - P) m m'.
    """
    Z = rescaling.frame.enter(patches)
    n_patches, rest = len(Z), len(Z) * (n_images - 1)
    mean = Z.mean(axis=0)
    drift = mean * (-n_patches / rest)
    others = scatter - Z.T @ Z - np.outer(mean, mean) * (n_patches**2 / rest)
    others /= rest
    shift = rescaling.shift + drift
    variances = np.diagonal(others)
    if not len(rescaling.axes):
        kept = rescaling.roots > 0
        if not (variances[kept] > 0).all():
            return None
        roots = np.where(kept, np.sqrt(np.where(kept, variances, 0.0)), 0.0)
        return replace(rescaling, shift=shift, roots=roots)
    if not variances.sum() > 0:
        return None
    spectrum = scatter_spectrum(others)
    noise = rescaling.amount * float(variances.mean())
    squares = (1 - rescaling.amount) * spectrum.squares + noise
    if noise == 0 and len(squares) < rescaling.dimension:
        return None
    return replace(
        rescaling, shift=shift, axes=spectrum.axes, roots=np.sqrt(squares), noise=noise
    )
