"""Fewer channels for patches: some of them, mixtures of them, or a transformer's."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklearn_gauss._base import HasMethods, Integral, Interval, StrOptions
from sklearn_gauss._numerics.patches import reduction

__all__ = ["REDUCTION_PARAMETERS", "ReducesChannels"]

REDUCTION_PARAMETERS = {
    "n_channels": [Interval(Integral, 1, None, closed="left"), None],
    "reduction": [
        StrOptions({"selection", "projection"}),
        HasMethods(["fit", "transform"]),
    ],
}

#: Patches that a transformer sees at a time.
PATCHES_AT_A_TIME = 32768


class ReducesChannels:
    """Fits and applies ``reduction``; what was fitted is ``reducer_``.

    ``reducer_`` holds the indices of channels (n_channels,), orthonormal columns
    (n_channels_in, n_channels), a fitted transformer, or None for all channels.
    """

    def _fit_reducer(self, maps):
        """Choose or fit what reduces the channels of maps (n, P, C)."""
        if not isinstance(self.reduction, str):
            self.reducer_ = self._fit_transformer(maps)
            return
        n_channels = maps.shape[2]
        if self.n_channels is None or self.n_channels >= n_channels:
            self.reducer_ = None
            return
        rng = check_random_state(self.random_state)
        choose = getattr(reduction, self.reduction)
        self.reducer_ = choose(n_channels, self.n_channels, rng)

    def _fit_transformer(self, maps):
        transformer, n_channels = clone(self.reduction), maps.shape[2]
        if not hasattr(transformer, "partial_fit"):
            return transformer.fit(maps.reshape(-1, n_channels))
        # Chunks of about equal size: a small last one could be too few rows.
        n_chunks = max(maps.shape[0] * maps.shape[1] // PATCHES_AT_A_TIME, 1)
        for chunk in np.array_split(np.arange(len(maps)), min(n_chunks, len(maps))):
            some = maps[chunk[0] : chunk[-1] + 1]
            transformer.partial_fit(some.reshape(-1, n_channels))
        return transformer

    def _reduce(self, patches):
        """Patches (..., n_channels) of patches (..., n_channels_in)."""
        reducer = self.reducer_
        if reducer is None:
            return patches
        if not isinstance(reducer, np.ndarray):
            rows = reducer.transform(patches.reshape(-1, patches.shape[-1]))
            return np.asarray(rows).reshape(*patches.shape[:-1], -1)
        if reducer.ndim == 1:
            return patches[..., reducer]
        return patches @ reducer  # in float64, whatever the patches are
