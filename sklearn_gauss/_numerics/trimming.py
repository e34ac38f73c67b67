"""Which rows stand clear of the others: a regularised minimum covariance determinant.

Boudt, Rousseeuw, Vanduffel and Verdonck (2020) look for the rows whose regularised
covariance has the smallest determinant, by concentration steps from deterministic starts
(Hubert, Rousseeuw and Verdonck, 2012): fit to a part of the rows, take the nearest rows,
repeat. Two things differ here. The covariance is shrunk by Ledoit and Wolf's rule. And a
row of the part is measured by its left-out distance: with fewer rows than features a row
that is in the part is near for no other reason, and no step would ever change it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.density import squared_mahalanobis
from sklearn_gauss._numerics.gaussian import Gaussian, estimate, leave_one_out
from sklearn_gauss._numerics.sums import Sums, summarise

__all__ = ["clean_core", "clean_rows", "clear_rows", "standardised"]

#: Share of the rows that the search trusts where the share is to be found.
CORE = 0.6

#: Below this many rows nothing can be said about the tail of their distances.
FEWEST = 10

#: Deviations of a log-distance above the median beyond which a row stands clear. Among
#: pooled features of photographs without anomalies about 1 in 100 does; with 4 it is 3 in
#: 100, and the false-positive rate exceeds its target by as much.
CLEAR = 5.0

#: Median absolute deviation, and upper quartile less median, of a standard Gaussian.
_QUARTILE = float(norm.ppf(0.75))

#: Cores of different starts are compared by the determinant under this intensity: a few
#: near copies, far from all other rows, have a tiny determinant of their own.
_REGULARISED = 0.5

_RULE = "ledoit_wolf"
_STEPS, _MORE_STEPS, _ROUNDS = 2, 50, 30


def clean_rows(X: NDArray, trim: str | float) -> NDArray[np.bool_]:
    """Mask (n,) of the rows to fit to.

    A number leaves out that share of the rows, those farthest from the clean core.
    "auto" leaves out the rows that stand clear of the others, if there are any.
    """
    n = len(X)
    if n < FEWEST or not np.ptp(X, axis=0).any():
        return np.ones(n, dtype=bool)
    Z = standardised(X)
    if trim == "auto":
        return _without_clear(Z, clean_core(Z, int(np.ceil(CORE * n))))
    return clean_core(Z, n - int(np.floor(trim * n + 1e-9)))


def standardised(X: NDArray) -> NDArray:
    """Columns less their median, over their median absolute deviation.

    Over the standard deviation where more than half of a column's values are equal.
    """
    Z = Frame.around(X).rescaled(X, by_column=False).enter(X)
    high = np.abs(Z).max(axis=0)
    Z /= np.where(high > 0, high, 1.0)
    Z -= np.median(Z, axis=0)
    scale = np.median(np.abs(Z), axis=0) / _QUARTILE
    scale = np.where(scale > 0, scale, Z.std(axis=0))
    return Z / np.where(scale > 0, scale, 1.0)


def _normal_scores(Z: NDArray) -> NDArray:
    return norm.ppf((rankdata(Z, axis=0) - 1 / 3) / (len(Z) + 1 / 3))


def _signs(Z: NDArray) -> NDArray:
    lengths = np.linalg.norm(Z, axis=1, keepdims=True)
    return Z / np.where(lengths > 0, lengths, 1.0)


#: Transformed rows among which outlying ones weigh little.
STARTS: dict[str, Callable[[NDArray], NDArray]] = {
    "hyperbolic tangent": np.tanh,
    "ranks": lambda Z: rankdata(Z, axis=0),
    "normal scores": _normal_scores,
    "spatial signs": _signs,
}


def clean_core(Z: NDArray, count: int) -> NDArray[np.bool_]:
    """Mask (n,) of ``count`` rows of standardised Z with a small determinant.

    Two steps from each start, then on from the best until nothing changes.
    """
    everything = np.ones(len(Z), dtype=bool)
    if count >= len(Z):
        return everything
    starts = [_distances(start(Z), everything)[0] for start in STARTS.values()]
    starts.append(np.einsum("ij,ij->i", Z, Z))
    cores = [_concentrated(Z, _nearest(squares, count), _STEPS) for squares in starts]
    best = min(cores, key=lambda core: _fitted(Z[core], _REGULARISED)[1].logdet)
    return _concentrated(Z, best, _MORE_STEPS)


def _concentrated(Z: NDArray, core: NDArray, steps: int) -> NDArray[np.bool_]:
    seen = set()
    for _ in range(steps):
        seen.add(core.tobytes())
        core = _nearest(_distances(Z, core)[0], int(core.sum()))
        if core.tobytes() in seen:
            break
    return core


def _nearest(squares: NDArray, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(len(squares), dtype=bool)
    mask[np.argsort(squares, kind="stable")[:count]] = True
    return mask


def _fitted(Z: NDArray, rule: str | float = _RULE) -> tuple[Sums, Gaussian]:
    sums = summarise(Z, centred=True, dense=False, by_column=False)
    return sums, estimate(sums, rule)


def _distances(Z: NDArray, kept: NDArray) -> tuple[NDArray, Gaussian]:
    """Squared distances (n,) to the Gaussian of the kept rows, each left out of it."""
    sums, model = _fitted(Z[kept])
    squares = np.empty(len(Z))
    squares[kept] = leave_one_out(sums, model, _RULE, Z[kept]).squares
    squares[~kept] = squared_mahalanobis(Z[~kept], model.centre, model.covariance)
    return squares, model


def _without_clear(Z: NDArray, kept: NDArray) -> NDArray[np.bool_]:
    """Rows that do not stand clear of the others, by fits to these until it settles."""
    least, seen = int(kept.sum()), set()
    for _ in range(_ROUNDS):
        squares, _ = _distances(Z, kept)
        clear = clear_rows(squares)
        kept = ~clear if (~clear).sum() >= least else _nearest(squares, least)
        if kept.tobytes() in seen:
            break
        seen.add(kept.tobytes())
    return kept


def clear_rows(squares: NDArray) -> NDArray[np.bool_]:
    """Mask (n,) of squared distances that stand clear above the others.

    Beyond m + 5 s on the log scale, m the median and s the deviation that belongs to the
    upper quartile of the distances that do not: the upper side alone, because distances
    of real normal rows are skewed. The others are the nearest 60 % at first, and all
    that do not stand clear of these, until it settles.
    """
    if not np.isfinite(squares).all() or not np.median(squares) > 0:
        return np.zeros(len(squares), dtype=bool)
    logs = np.log(np.maximum(squares, np.finfo(np.float64).tiny))
    clear = ~_nearest(squares, int(np.ceil(CORE * len(logs))))
    for _ in range(len(logs)):
        middle, upper = np.quantile(logs[~clear], [0.5, 0.75])
        found = logs > middle + CLEAR * (upper - middle) / _QUARTILE
        if (found == clear).all():
            break
        clear = found
    return clear
