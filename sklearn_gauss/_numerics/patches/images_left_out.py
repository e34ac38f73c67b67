"""A kernel density of patches without those of one image, for every image in turn."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
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

#: Ratio of neighbouring bandwidths that are tried, and most of them.
STEP, MOST_TRIED = 1.25, 60

#: Share of a row's weight below which what is left of it is rounding.
LEAST_WEIGHT = 1e-12

#: Share of a variance below which that of the other images is summed anew.
LEAST_SHARE = 1e-4


def image_bandwidth(
    patches: NDArray,
    images: NDArray,
    others: NDArray,
    images_of_others: NDArray,
    weights: NDArray,
    dimension: int,
) -> float:
    """Bandwidth of the greatest likelihood of patches, each without its whole image.

    ``patches`` (m, d) of ``images`` (m,) under a Gaussian kernel in ``dimension`` at
    ``others`` (l, d) of ``images_of_others`` and ``weights`` (l,), all in coordinates. 0
    where no other image has any, and where all of them coincide.

    At a maximum h^2 is the mean of the squared distances, weighted by their kernels, over
    the dimension: it lies between those of the nearest and of the farthest alone.
    """
    exponents = cdist(patches, others, "sqeuclidean") / -2
    own = images[:, None] == images_of_others
    left = ~own.all(axis=1)
    exponents, own = exponents[left], own[left]
    if not len(exponents):
        return 0.0
    farthest = -2 * exponents.min(axis=1, where=~own, initial=0.0).mean()
    exponents[own] = -np.inf
    nearest = -2 * exponents.max(axis=1).mean()
    if not farthest > 0:
        return 0.0
    low = np.log(max(nearest, farthest * STEP ** (-2 * MOST_TRIED)) / dimension) / 2
    high, logs = np.log(farthest / dimension) / 2, np.log(weights)

    def loss(log_h: float) -> float:
        sums = logsumexp(exponents / np.exp(2 * log_h) + logs, axis=1)
        return float(dimension * log_h - sums.mean())

    grid = np.linspace(low, high, int(np.ceil((high - low) / np.log(STEP))) + 2)
    losses = [loss(log_h) for log_h in grid]
    best = int(np.argmin(losses))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x if found.fun < losses[best] else grid[best]))


def left_out_images(
    density: KernelDensity,
    maps: ReducedMaps,
    images: NDArray,
    shares: sparse.csc_array,
    n_threads: int,
) -> NDArray:
    """Log-density (n, P) of the patches of every image, without those of the image.

    ``images`` (l,) tells from which image each row of the density comes: those of the
    image leave, others lose what patches of the image have added to their weights,
    ``shares`` (l, n), and the mean and the covariance of the metric are estimated again
    without its patches. Bandwidth, intensity of the shrinkage and volume are kept.
    Minus infinity where no row is left.
    """
    n_images, n_places, _ = maps.shape
    rescaling = density.rescaling
    logs = np.full((n_images, n_places), -np.inf)
    scatter = None if rescaling.plain else _scatter(rescaling, maps)

    def work(image: int) -> None:
        patches = maps.of_image(image)
        weights = density.weights - shares[:, [image]].toarray()[:, 0]
        others = (images != image) & (weights > LEAST_WEIGHT * density.weights)
        weights = weights[others]
        here = rescaling
        if scatter is not None:
            here = _without(rescaling, scatter, maps, image)
        if here is None or not others.any():
            return
        ref = reference(
            here.enter(density.rows[others]),
            density.bandwidth,
            density.kernel,
            weights=weights,
        )
        sums = log_sums(ref, here.enter(patches)).logs
        logs[image] = sums - np.log(weights.sum()) + density.log_constant

    map_blocks(work, range(n_images), n_threads)
    return logs


def _scatter(
    rescaling: Rescaling, maps: ReducedMaps, left_out: int | None = None
) -> NDArray:
    """Sum over all patches of z z' (C, C), z in the frame; without those of an image."""
    frame, total = rescaling.frame, 0.0
    for image in range(len(maps.maps)):
        if image != left_out:
            Z = frame.enter(maps.of_image(image))
            total = total + Z.T @ Z
    return total


def _constant_without(maps: ReducedMaps, image: int) -> NDArray:
    """Channels (C,) that do not vary in the other images."""
    rest = [maps.of_image(i) for i in range(len(maps.maps)) if i != image]
    low = np.min([patches.min(axis=0) for patches in rest], axis=0)
    return low == np.max([patches.max(axis=0) for patches in rest], axis=0)


def _without(
    rescaling: Rescaling, scatter: NDArray, maps: ReducedMaps, image: int
) -> Rescaling | None:
    """The rescaling of the other images; None where they do not vary.

    Without P of N patches of mean m, and with the mean of all at zero, the mean is at
    -P m / (N - P) and the scatter T - Z'Z - P^2 / (N - P) m m'.
    """
    Z = rescaling.frame.enter(maps.of_image(image))
    n_patches, rest = len(Z), len(Z) * (len(maps.maps) - 1)
    mean = Z.mean(axis=0)
    drift = mean * (-n_patches / rest)
    others, moved = scatter - Z.T @ Z, np.outer(mean, mean) * (n_patches**2 / rest)
    if (np.diagonal(others - moved) < LEAST_SHARE * np.diagonal(scatter)).any():
        # The image carries nearly all of a channel: sums about the others' own mean.
        rescaling = replace(rescaling, shift=rescaling.shift + drift)
        others, moved, drift = _scatter(rescaling, maps, image), 0.0, np.zeros(len(mean))
        constant = _constant_without(maps, image)
        others[constant], others[:, constant] = 0.0, 0.0
    others = others - moved
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
