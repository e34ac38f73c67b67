"""Fewer channels: chosen or mixed at random, or as anything else says."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReducedMaps", "projection", "selection"]


def selection(n_channels: int, n_kept: int, rng: np.random.RandomState) -> NDArray:
    """Indices (n_kept,) of channels drawn without replacement, in increasing order."""
    return np.sort(rng.permutation(n_channels)[:n_kept])


def projection(n_channels: int, n_kept: int, rng: np.random.RandomState) -> NDArray:
    """Orthonormal columns (n_channels, n_kept), evenly distributed over all such."""
    basis, triangle = np.linalg.qr(rng.standard_normal((n_channels, n_kept)))
    return basis * np.sign(np.diagonal(triangle))


@dataclass(frozen=True)
class ReducedMaps:
    """Maps (n, P, C) of which only what is looked at is reduced to k channels.

    reduce : takes patches (m, C), returns (m, k)
    """

    maps: NDArray
    reduce: Callable[[NDArray], NDArray]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, places and channels that are left."""
        return *self.maps.shape[:2], self.of_image(0).shape[1]

    def at_place(self, place: int) -> NDArray:
        """Patches (n, k) of all images at a place."""
        return np.ascontiguousarray(self.reduce(self.maps[:, place]))

    def of_image(self, image: int) -> NDArray:
        """Patches (P, k) of an image."""
        return self.reduce(self.maps[image])
