"""What is said where Gaussians of classes cannot be fitted, compared or scored."""

import warnings

import numpy as np

from sklearn_gauss._base import callers_level
from sklearn_gauss.exceptions import DistanceOverflowWarning

__all__ = [
    "ONE_CLASS",
    "block_table",
    "check_background_rank",
    "check_ranks",
    "clipped",
    "no_variance",
]

ONE_CLASS = (
    "relative=True compares classes with all rows together, but there is one class only: "
    "the score would be 0 everywhere. Give the classes of the rows as y or classes, or "
    "other rows as background."
)


def block_table(weights, n_classes, n_blocks, n_features):
    """Weights (n_classes, n_blocks) of the blocks, from the parameter.

    Raises
    ------
    ValueError
        If there are more blocks than features, or the weights have another shape, are
        negative or not finite, or all zero for a class.
    """
    if n_blocks > n_features:
        raise ValueError(f"n_blocks={n_blocks} is more than the {n_features} features.")
    shape = (n_classes, n_blocks)
    if isinstance(weights, str):
        return np.ones(shape)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape not in (shape, shape[1:]):
        raise ValueError(
            f"block_weights must have the shape ({n_blocks},), one for each block, or "
            f"{shape}, for each class and block; got {weights.shape}."
        )
    weights = np.broadcast_to(weights, shape).copy()
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("block_weights must be finite and not negative.")
    if not (weights > 0).any(axis=1).all():
        raise ValueError("block_weights are all zero for a class.")
    return weights


def no_variance(place, classes, counts, where):
    """Message about a class, or about all where ``place`` is None, without variance."""
    if place is None:
        return (
            f"X has no variance within the classes{where}: all rows of each class are "
            "equal."
        )
    return (
        f"Class {classes[place].item()!r} has no variance{where}: its {counts[place]} "
        "rows are equal or a single one. shared_covariance=False needs two distinct rows "
        "of each class."
    )


def check_ranks(ranks, classes):
    """Raise where the covariances of the classes have different ranks."""
    ranks = np.array(ranks)
    if (ranks != ranks[0]).any():
        least = classes[ranks.argmin()].item()
        raise ValueError(
            f"Class {least!r} has a covariance of rank {ranks.min()}, another one of "
            f"rank {ranks.max()}: log-densities over spaces of different dimensions "
            "cannot be compared. Use more rows of it, a number for shrinkage, or "
            "shared_covariance=True."
        )


def check_background_rank(rank, own):
    """Raise where the covariance of the background has not the rank of the classes'."""
    if rank != own:
        raise ValueError(
            f"relative=True: the background's covariance has rank {rank}, that of the "
            f"classes {own}, so that their log-densities cannot be compared. Use "
            "shrinkage, or more rows."
        )


def clipped(scores):
    """Scores with infinite ones clipped to the least float64."""
    far = np.isinf(scores)
    if far.any():
        warnings.warn(
            f"{far.sum()} scores are beyond the range of float64 and were clipped.",
            DistanceOverflowWarning,
            stacklevel=callers_level(),
        )
    return np.where(far, np.finfo(np.float64).min, scores)
