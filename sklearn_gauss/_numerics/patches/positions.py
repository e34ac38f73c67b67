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

#: Share of a sum below which what an image leaves of it is summed anew.
_LEAST_SHARE = 1e-4

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
) -> PlacesFit:
    """Gaussians of all places of maps (n, P, C), and what they were estimated with.

    ``allocate(name, shape)`` returns the zeros that a fitted array is kept in. A place
    where nothing varies has the mean variance of all places in every direction, or the
    ridge.
    """
    n_images, n_places, n_channels = maps.shape
    sizes = shapes(n_images, n_places, n_channels, rule, ridge)
    fit = PlacesFit(
        Places(**{name: allocate(name, shape) for name, shape in sizes.items()}),
        np.zeros((n_images, n_places)) if left_out else None,
        np.zeros(n_places),
        np.full(n_places, n_channels),
        np.ones(n_places),
    )
    constant = np.zeros(n_places, dtype=bool)

    def work(place: int) -> None:
        X = maps.at_place(place)
        if not np.ptp(X, axis=0).any():
            constant[place] = True
        else:
            _fit_place(fit, place, X, rule, ridge)

    map_blocks(work, range(n_places), n_threads)
    alone = [] if fit.squares is None else _alone(maps, fit.squares)
    if constant.any() or alone:
        variance, without = ridge, np.full(n_images, ridge)
        if not ridge:
            variance, without = mean_variances(maps)
        for place in np.flatnonzero(constant):
            _store_constant(fit.places, place, maps.at_place(place)[0], variance)
        for image, place, square in alone:
            left = without[image]
            fit.squares[image, place] = square / left if left > 0 else np.inf
    return fit


def _fit_place(
    fit: PlacesFit, place: int, X: NDArray, rule: str | float, ridge: float
) -> None:
    sums = summarise(X, centred=True, dense=False, by_column=rule == 0.0 and not ridge)
    model = estimate(sums, rule, ridge=ridge)
    _store(fit.places, place, model)
    fit.intensities[place] = model.shrinkage
    fit.ranks[place] = model.covariance.rank
    fit.conditions[place] = getattr(model.covariance, "condition", 1.0)
    if fit.squares is not None:
        found = leave_one_out(sums, model, rule, X, ridge=ridge)
        fit.squares[:, place] = found.squares


def _alone(maps: ReducedMaps, squares: NDArray) -> list[tuple[int, int, float]]:
    """Images and places where all other images are alike, and squared lengths there."""
    found = []
    for image, place in np.argwhere(np.isinf(squares)):
        X = maps.at_place(place)
        others = np.delete(X, image, axis=0)
        if not np.ptp(others, axis=0).any():
            gap = X[image].astype(np.float64) - others[0]
            found.append((image, place, float(gap @ gap)))
    return found


def is_constant(maps: ReducedMaps) -> bool:
    """Whether at every place all images are alike."""
    n_places = maps.maps.shape[1]
    return not any(np.ptp(maps.at_place(p), axis=0).any() for p in range(n_places))


def mean_variances(maps: ReducedMaps) -> tuple[float, NDArray]:
    """Variance about the places' means, averaged over places and channels.

    Of all images, and (n,) without each of them.
    """
    n_images, n_places, _ = maps.shape
    whole, without = 0.0, np.zeros(n_images)
    with np.errstate(over="ignore", under="ignore"):
        for place in range(n_places):
            Z = maps.at_place(place).astype(np.float64)
            Z -= Z[0]  # of equal rows the mean, too, is exact
            Z -= Z.mean(axis=0)
            squares = np.square(Z).mean(axis=1)
            total = squares.sum()
            # The mean moves with the image: n / (n - 1) of its square goes.
            left = total - squares * (n_images / (n_images - 1))
            lost = left < _LEAST_SHARE * total
            if total > 0:
                for i in np.flatnonzero(lost):
                    left[i] = np.delete(Z, i, axis=0).var(axis=0).mean() * (n_images - 1)
            whole += total / n_images
            without += left / (n_images - 1)
    return whole / n_places, without / n_places


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
