"""One covariance for all places of a grid, about a mean of each place's own."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg.blas import dsyrk

from sklearn_gauss._numerics.arrays import (
    Frame,
    mirrored,
    power_of_two,
    squared_deviation,
)
from sklearn_gauss._numerics.dense import (
    DenseCovariance,
    from_covariance,
    from_root,
)
from sklearn_gauss._numerics.patches.reduction import ReducedMaps
from sklearn_gauss._numerics.shrinkage import Spread, intensity
from sklearn_gauss._numerics.threads import map_blocks

__all__ = ["SharedPlaces", "fit_shared"]

#: Deviations between which fourth powers, summed, stay within float64's range.
_SAFE = (1e-60, 1e60)

#: Share of a direction's variance below which that of the other images is summed anew.
_LEAST_SHARE = 1e-4

#: Share of a deviation, outside of a span, that rounding may make.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SharedPlaces:
    """Gaussians of P places with one covariance.

    origin, shift : (P, C), and scale (): the frame whose zero is each place's mean
    axes : (C, r), the factor of the precision in that frame
    """

    origin: NDArray
    shift: NDArray
    scale: NDArray
    axes: NDArray

    @property
    def frame(self) -> Frame:
        return Frame(self.origin, self.shift, self.scale)

    def squared_distances(self, maps: NDArray) -> NDArray:
        """Squared Mahalanobis distances (n, P) of maps (n, P, C)."""
        squares = np.empty(maps.shape[:2])
        for i, patches in enumerate(maps):
            along = self.frame.enter(patches) @ self.axes
            squares[i] = np.einsum("pk,pk->p", along, along)
        return squares


class SharedFit(NamedTuple):
    """Gaussians of all places with one covariance, and what it was estimated with.

    squares : (n, P), squared distance of every patch to the Gaussian of the other images
        at its place, or None
    intensities : float, of the shrinkage
    rank : dimensions in which a deviation is seen
    condition : by which rounding errors of the patches are multiplied
    """

    places: SharedPlaces
    squares: NDArray | None
    intensities: float
    rank: int
    condition: float


def fit_shared(
    maps: ReducedMaps,
    rule: str | float,
    ridge: float,
    *,
    left_out: bool = True,
    n_threads: int = 1,
) -> SharedFit:
    """The covariance of all patches of maps (n, P, C) about their places' means.

    T = sum_ip z_ip z_ip' over the images i and places p gives S = T / (n P), shrunk as
    any covariance. Without image i the other patches of a place move to their new mean,

        T_(-i) = T - n / (n - 1) sum_p z_ip z_ip',

    and its own lie at n / (n - 1) z_ip from it: exact, for the intensity of all images.
    """
    n_images, n_places, n_channels = maps.shape
    frame = _frame(maps)
    frame = frame.moved(_mean(maps, frame, range(n_images)))
    ridge, count = float(ridge / frame.scale**2), n_images * n_places
    scatter, quartic = np.zeros((n_channels, n_channels), order="F"), 0.0
    for Z in _deviations(maps, frame):
        scatter = dsyrk(1.0, Z.T, beta=1.0, c=scatter, lower=1, overwrite_c=1)
        quartic += float(np.square(np.einsum("pc,pc->p", Z, Z)).sum())
    scatter = mirrored(scatter)
    trace, spread = np.trace(scatter) / count, squared_deviation(scatter, count)
    summed = Spread(count, n_channels, trace, spread, quartic / count)
    amount = float(intensity(rule, summed))
    operator = _operator(
        scatter / count, amount, ridge, partial(_root, maps, frame, None, count)
    )
    places = SharedPlaces(frame.origin, frame.shift, frame.scale, operator.factor)
    found = SharedFit(places, None, amount, operator.rank, operator.condition)
    if not left_out:
        return found
    squares = np.empty((n_images, n_places))

    def work(image: int) -> None:
        squares[image] = _left_out(maps, frame, scatter, found, ridge, image)

    map_blocks(work, range(n_images), n_threads)
    return found._replace(squares=squares)


def _left_out(
    maps: ReducedMaps,
    frame: Frame,
    scatter: NDArray,
    found: SharedFit,
    ridge: float,
    image: int,
) -> NDArray:
    """Squared distances (P,) of an image to the Gaussians of the others."""
    n_images, n_places, _ = maps.shape
    growth, count = n_images / (n_images - 1), n_places * (n_images - 1)
    away = growth * frame.enter(maps.of_image(image))
    product = away.T @ away / growth
    share = (1 - found.intensities) / (n_images * n_places)
    others = scatter - product
    if _carries(product, scatter, found.places.axes * np.sqrt(share)):
        frame = _without(maps, frame, image)
        away = frame.enter(maps.of_image(image))
        others = sum(Z.T @ Z for Z in _deviations(maps, frame, image))
    if not (np.trace(others) > 0 or ridge):
        return np.where(away.any(axis=1), np.inf, 0.0)
    left = _operator(
        others / count,
        found.intensities,
        ridge,
        partial(_root, maps, frame, image, count),
    )
    squares = left.squared_lengths(away)
    if left.rank < found.rank:
        squares[_outside(left, away)] = np.inf
    return squares


def _mean(maps: ReducedMaps, frame: Frame, images: Iterable[int]) -> NDArray:
    """Mean (P, C) of some images in a frame."""
    images = list(images)
    return sum(frame.enter(maps.of_image(i)) for i in images) / len(images)


def _without(maps: ReducedMaps, frame: Frame, image: int) -> Frame:
    """The frame about the means of the other images."""
    frame = Frame(frame.origin, np.zeros_like(frame.shift), frame.scale)
    others = (i for i in range(len(maps.maps)) if i != image)
    return frame.moved(_mean(maps, frame, others))


def _deviations(
    maps: ReducedMaps, frame: Frame, left_out: int | None = None
) -> Iterator[NDArray]:
    """Patches (P, C) of one image after the other in a frame, but for one."""
    for i in range(len(maps.maps)):
        if i != left_out:
            yield frame.enter(maps.of_image(i))


def _carries(product: NDArray, scatter: NDArray, factor: NDArray) -> bool:
    """Whether an image carries so much of the scatter that a difference would cancel."""
    most = (1 - _LEAST_SHARE) * np.diagonal(scatter)
    if (np.diagonal(product) > most).any():
        return True
    white = factor.T @ product @ factor
    return linalg.eigvalsh(white)[-1] > 1 - _LEAST_SHARE


def _outside(operator: DenseCovariance, Z: NDArray) -> NDArray:
    """Which rows (P,) deviate in directions that a covariance does not have."""
    span = linalg.qr(operator.factor, mode="economic")[0]
    residual = np.linalg.norm(Z - (Z @ span) @ span.T, axis=1)
    return residual > _ROUNDING * np.linalg.norm(Z, axis=1)


def _operator(
    covariance: NDArray, amount: float, ridge: float, root: Callable[[], NDArray]
) -> DenseCovariance:
    """Operator of the shrunk covariance; from its root where the condition is large."""
    noise = amount * np.trace(covariance) / len(covariance) + ridge
    covariance = (1 - amount) * covariance
    covariance.flat[:: len(covariance) + 1] += noise
    operator = from_covariance(covariance)
    if operator is not None:
        return operator
    rows = np.sqrt(1 - amount) * root()
    if noise > 0:
        rows = np.vstack([rows, np.sqrt(noise) * np.eye(len(covariance))])
    return from_root(rows)


def _root(maps: ReducedMaps, frame: Frame, left_out: int | None, count: int) -> NDArray:
    """Triangle R with R'R the covariance of ``count`` patches about their means."""
    root = np.zeros((0, frame.origin.shape[1]))
    for Z in _deviations(maps, frame, left_out):
        root = linalg.qr(np.vstack([root, Z]), mode="r")[0][: Z.shape[1]]
    return root / np.sqrt(count)


def _frame(maps: ReducedMaps) -> Frame:
    """Frame at the median of a few images at every place, with one scale."""
    n_images = len(maps.maps)
    few = np.linspace(0, n_images - 1, min(n_images, 5)).astype(int)
    picked = np.array([maps.of_image(i) for i in few], dtype=np.float64)
    origin = np.sort(picked, axis=0)[(len(picked) - 1) // 2].copy()
    half = max(
        float(np.abs(maps.of_image(i) / 2 - origin / 2).max()) for i in range(n_images)
    )
    safe = half == 0 or _SAFE[0] < half < _SAFE[1]
    scale = np.array(1.0) if safe else power_of_two(np.array(half))
    return Frame(origin, np.zeros_like(origin), scale)
