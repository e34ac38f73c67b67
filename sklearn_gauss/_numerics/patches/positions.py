"""A Gaussian at every place of a grid, fitted to the images there.

Each one is that of `sklearn_gauss._numerics.gaussian`, exact left-out distances included;
the fitted arrays of all places lie side by side, so that many are scored at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import Frame, power_of_two
from sklearn_gauss._numerics.gaussian import Gaussian, estimate, leave_one_out
from sklearn_gauss._numerics.lowrank import LowRankIsotropic
from sklearn_gauss._numerics.patches.reduction import ReducedMaps
from sklearn_gauss._numerics.sums import summarise
from sklearn_gauss._numerics.threads import map_blocks

__all__ = ["Places", "fit_places", "is_constant", "shapes"]

#: Deviations, over the spread at their place, beyond which float32 would overflow.
_FAR = 1e12


@dataclass(frozen=True)
class Places:
    """Gaussians of P places, in arrays.

    origin, shift, scale : (P, C), the frame of each place, whose zero is the mean there
    axes : (P, C, k), by which a centred patch is multiplied: a factor of the precision,
        k = C, or the axes of a low-rank covariance
    variances : (P, k), along these axes; None where ``axes`` has them in it
    noise : (P,), variance in all other directions; None as above

    The type of ``axes`` is the one that is computed in.
    """

    origin: NDArray
    shift: NDArray
    scale: NDArray
    axes: NDArray
    variances: NDArray | None = None
    noise: NDArray | None = None

    def squared_distances(self, maps: NDArray) -> NDArray:
        """Squared Mahalanobis distances (n, P) of maps (n, P, C)."""
        squares = np.empty(maps.shape[:2])
        for first in range(0, maps.shape[1], _block(maps)):
            places = slice(first, first + _block(maps))
            with np.errstate(over="ignore", invalid="ignore"):
                squares[:, places] = self._of_block(maps[:, places], places)
        return np.where(np.isnan(squares), np.inf, squares)

    def _of_block(self, maps: NDArray, places: slice) -> NDArray:
        frame = Frame(self.origin[places], self.shift[places], self.scale[places])
        Z = frame.enter(maps).transpose(1, 0, 2)
        axes = self.axes[places]
        dtype = axes.dtype if np.abs(Z).max(initial=0) < _FAR else np.float64
        Z, axes = Z.astype(dtype, copy=False), axes.astype(dtype, copy=False)
        along = Z @ axes
        if self.variances is None:
            return np.einsum("pik,pik->ip", along, along)
        residual = Z - along @ axes.transpose(0, 2, 1)
        along /= np.sqrt(self.variances[places])[:, None]
        squares = np.einsum("pik,pik->ip", along, along)
        free = np.einsum("pic,pic->ip", residual, residual)
        return squares + free / self.noise[places]


def _block(maps: NDArray) -> int:
    """Places whose patches are about 4 MiB of float64."""
    return max(2**19 // max(maps.shape[0] * maps.shape[2], 1), 1)


def _is_low_rank(n_images: int, n_channels: int, rule: str | float, ridge: float) -> bool:
    """Whether covariances are held by their axes and noise instead of whole."""
    return n_images <= n_channels and bool(rule != 0.0 or ridge)


def shapes(
    n_images: int, n_places: int, n_channels: int, rule: str | float, ridge: float
) -> dict[str, tuple[int, ...]]:
    """Shapes of the fitted arrays, by their names in `Places`."""
    own = n_places, n_channels
    found = {"origin": own, "shift": own, "scale": own}
    if not _is_low_rank(n_images, n_channels, rule, ridge):
        return found | {"axes": (*own, n_channels)}
    rank = n_images - 1
    return found | {
        "axes": (*own, rank),
        "variances": (n_places, rank),
        "noise": (n_places,),
    }


class PlacesFit(NamedTuple):
    """Gaussians of all places, and what they were estimated with.

    squares : (n, P), squared distance of every patch to the Gaussian of the other images
        at its place, or None
    intensities : (P,), of the shrinkage
    ranks : (P,), dimensions in which a deviation is seen
    conditions : (P,), by which rounding errors of the patches are multiplied
    """

    places: Places
    squares: NDArray | None
    intensities: NDArray
    ranks: NDArray
    conditions: NDArray


def fit_places(
    maps: ReducedMaps,
    rule: str | float,
    ridge: float,
    *,
    allocate: Callable[[str, tuple], NDArray],
    left_out: bool = True,
    n_threads: int = 1,
) -> "PlacesFit":
    """Gaussians of all places of maps (n, P, C), and what they were estimated with.

    ``allocate(name, shape)`` returns the zeros that a fitted array is kept in. A place
    where nothing varies has the mean variance of all places in every direction, or the
    ridge.
    """
    n_images, n_places, n_channels = maps.shape
    sizes = shapes(n_images, n_places, n_channels, rule, ridge)
    places = Places(**{name: allocate(name, shape) for name, shape in sizes.items()})
    squares = np.empty((n_images, n_places)) if left_out else None
    intensities, ranks = np.zeros(n_places), np.zeros(n_places, dtype=int)
    conditions = np.ones(n_places)
    fallback = ridge or mean_variance(maps)

    def work(place: int) -> None:
        X = maps.at_place(place)
        if not np.ptp(X, axis=0).any():
            _store_constant(places, place, X[0], fallback)
            ranks[place] = n_channels
            if left_out:
                squares[:, place] = 0.0
            return
        plain = rule == 0.0 and not ridge
        sums = summarise(X, centred=True, dense=False, by_column=plain)
        model = estimate(sums, rule, ridge=ridge)
        _store(places, place, model)
        intensities[place], ranks[place] = model.shrinkage, model.covariance.rank
        conditions[place] = getattr(model.covariance, "condition", 1.0)
        if left_out:
            found = leave_one_out(sums, model, rule, X, ridge=ridge).squares
            squares[:, place] = _without_variance(X, found, fallback)

    map_blocks(work, range(n_places), n_threads)
    return PlacesFit(places, squares, intensities, ranks, conditions)


def is_constant(maps: ReducedMaps) -> bool:
    """Whether at every place all images are alike."""
    n_places = maps.maps.shape[1]
    return not any(np.ptp(maps.at_place(p), axis=0).any() for p in range(n_places))


def mean_variance(maps: ReducedMaps) -> float:
    """Variance about the places' means, averaged over places and channels."""
    n_places = maps.maps.shape[1]
    with np.errstate(over="ignore", under="ignore"):
        total = sum(
            float(maps.at_place(p).var(axis=0, dtype=np.float64).mean())
            for p in range(n_places)
        )
    return total / n_places


def _store(places: Places, place: int, model: Gaussian) -> None:
    """Write a Gaussian, in units of its spread where float32 needs them to be."""
    centre, covariance, unit = model.centre, model.covariance, 1.0
    if places.axes.dtype == np.float32:
        spread = covariance.trace / covariance.n_features
        unit = float(power_of_two(np.array(np.sqrt(spread))))
    places.origin[place], places.shift[place] = centre.origin, centre.shift / unit
    places.scale[place] = centre.scale * unit
    if not isinstance(covariance, LowRankIsotropic):
        places.axes[place, :, : covariance.rank] = covariance.factor * unit
        if places.variances is not None:
            places.variances[place], places.noise[place] = 1.0, np.inf
        return
    rank = len(covariance.axes)
    places.axes[place, :, :rank] = covariance.axes.T
    places.variances[place] = covariance.noise / unit**2
    places.variances[place, :rank] += covariance.excess / unit**2
    places.noise[place] = covariance.noise / unit**2


def _store_constant(places: Places, place: int, patch: NDArray, variance: float) -> None:
    """A Gaussian of one variance in all directions."""
    unit = power_of_two(np.array(np.sqrt(variance)))
    places.origin[place], places.shift[place], places.scale[place] = patch, 0.0, unit
    if places.variances is None:
        np.fill_diagonal(places.axes[place], unit / np.sqrt(variance))
    else:
        places.variances[place] = places.noise[place] = variance / unit**2


def _without_variance(X: NDArray, squares: NDArray, fallback: float) -> NDArray:
    """Left-out distances; under ``fallback`` where all other images are alike."""
    squares = squares.copy()
    for i in np.flatnonzero(np.isinf(squares)):
        others = np.delete(X, i, axis=0)
        if not np.ptp(others, axis=0).any():
            gap = X[i].astype(np.float64) - others[0]
            squares[i] = gap @ gap / fallback
    return squares
