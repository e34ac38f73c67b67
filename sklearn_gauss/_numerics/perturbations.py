"""Rows of features with something wrong: what is drawn where there are no images.

Each function takes normal rows (n, p), their deviations (p,) and a generator, and
returns as many rows (n, p). ``severity`` scales what is changed; 0 changes nothing.
"""

import numpy as np

__all__ = ["PERTURBATIONS", "perturbed"]


def swap(X, deviations, rng, severity=1.0):
    """Some features of every row are those of another: each is usual, together not."""
    part = _part(X.shape, rng, 0.3 * severity)
    others = (np.arange(len(X)) + rng.integers(1, max(len(X), 2), len(X))) % len(X)
    return np.where(part, X[others], X)


def shift(X, deviations, rng, severity=1.0):
    """A tenth of the features is off by one to three standard deviations."""
    part = _part(X.shape, rng, 0.1)
    sizes = rng.uniform(1, 3, X.shape) * rng.choice([-1, 1], X.shape)
    return X + np.where(part, severity * sizes * deviations, 0.0)


def noise(X, deviations, rng, severity=1.0):
    """Every feature is off a little, independently: along directions of low variance."""
    sizes = rng.uniform(0.2, 0.8, (len(X), 1)) * rng.normal(size=X.shape)
    return X + severity * sizes * deviations


def stretch(X, deviations, rng, severity=1.0):
    """The row lies farther from the mean, in its own direction."""
    factors = 1 + severity * rng.uniform(0.3, 1.0, (len(X), 1))
    centre = X.mean(axis=0)
    return centre + factors * (X - centre)


#: The kinds, in the order in which they are dealt out.
PERTURBATIONS = {"swap": swap, "shift": shift, "noise": noise, "stretch": stretch}


def perturbed(rows, deviations, rng, kinds=tuple(PERTURBATIONS), severity=1.0):
    """Perturbed rows of every kind, one kind after another.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Normal rows.
    deviations : ndarray of shape (p,)
        Standard deviations of the features.
    rng : Generator
        What is drawn comes from it.
    kinds : sequence of str
        Names in `PERTURBATIONS`.
    severity : float, default=1.0
        Scales what is changed.

    Returns
    -------
    X : ndarray of shape (n * n_kinds, p)
        In the type of ``rows``; computed in float64.
    kind : ndarray of str of shape (n * n_kinds,)
        Kind of each.
    """
    wide = rows.astype(np.float64)
    parts = [PERTURBATIONS[kind](wide, deviations, rng, severity) for kind in kinds]
    most = np.finfo(rows.dtype).max
    found = np.clip(np.concatenate(parts), -most, most).astype(rows.dtype)
    return found, np.repeat(kinds, len(rows))


def _part(shape, rng, share):
    """Which features (n, p) of each row are touched: a share of them, one at least."""
    places = rng.random(shape)
    count = min(shape[1], max(1, round(share * shape[1]))) if share > 0 else 0
    return places.argsort(axis=1).argsort(axis=1) < count
