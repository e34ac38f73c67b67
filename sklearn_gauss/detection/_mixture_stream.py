"""The state of a stream that a mixture learns: dicts of arrays, safe to persist."""

import warnings

import numpy as np

from sklearn_gauss._base import callers_level
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.incremental_mixture import (
    FARTHEST,
    empty,
    initial_frame,
    learn,
)
from sklearn_gauss._numerics.mixture_density import Mixture
from sklearn_gauss.exceptions import RankDeficientWarning

__all__ = ["begun", "extended", "first_place"]


def first_place(X, n_init):
    """Place of the first of the ``n_init`` rows that a scale is estimated from."""
    equal = (X[0] == X).all(axis=1)
    n_equal = len(X) if equal.all() else int(equal.argmin())
    return 0 if n_equal < n_init else n_equal - 1


def begun(X, scale, n_init):
    """State before the first of the rows X, from a scale or the first ``n_init`` rows.

    Where rows are equal at first, as many of them or more, the last of these counts as
    the first one.
    """
    if scale is not None:
        first, scale = X[:1], _checked_scale(scale, X.shape[1])
    else:
        start = first_place(X, n_init)
        first = X[start : start + n_init]
    frame, spread, constant = initial_frame(first, scale)
    if np.isnan(spread).any():
        raise ValueError(
            f"The first {len(X)} sample(s) are all equal: they have no spread. Give "
            "scale, or rows that differ."
        )
    if constant.any():
        warnings.warn(
            f"{constant.sum()} columns are constant in the first rows; their scale is "
            "taken to be the median of the others. Give scale if it is known.",
            RankDeficientWarning,
            stacklevel=callers_level(),
        )
    return {
        "origin": frame.origin,
        "unit": frame.scale,
        "spread": spread,
        "scores": np.empty(0),
        "mixture": dict(vars(empty(X.shape[1]))),
    }


def extended(stream, X, rules, n_scores):
    """State after the rows X, with the last ``n_scores`` scores before learning."""
    frame = Frame(stream["origin"], np.zeros(X.shape[1]), stream["unit"])
    with np.errstate(over="ignore", invalid="ignore"):
        Z = frame.enter(X)
    if not np.abs(Z).max() < FARTHEST:
        raise ValueError(
            f"X has a value more than {FARTHEST:g} times the scale of its column away "
            "from the first rows; drop such rows, or give another scale."
        )
    mixture, scores = learn(Mixture(**stream["mixture"]), Z, rules)
    scores = np.append(stream["scores"], scores - np.log(stream["unit"]).sum())
    scores = scores[~np.isnan(scores)][-n_scores:]
    return {**stream, "mixture": dict(vars(mixture)), "scores": scores}


def _checked_scale(scale, n_features):
    scale = np.asarray(scale, dtype=np.float64)
    if scale.shape not in ((), (n_features,)):
        raise ValueError(
            f"scale has shape {scale.shape}, but X has {n_features} features: give one "
            "number, or one a feature."
        )
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError("scale must be positive and finite.")
    return np.broadcast_to(scale, n_features).copy()
