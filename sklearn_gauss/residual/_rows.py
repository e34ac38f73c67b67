"""Rows of features, or patches of maps as rows, of whatever X holds."""

import numpy as np

from sklearn_gauss._base import Integral, check_rows

__all__ = ["enter_rows"]


def enter_rows(estimator, X, *, reset, min_rows=1):
    """Checked rows (N, d), and the shape of X that results are to have.

    Rows are those of a matrix. Of maps (n, H, W, C), or flat rows where the estimator
    has a ``grid_shape``, they are the patches (n H W, C), image by image.
    """
    if isinstance(X, (list, tuple)) and X and np.ndim(X[0]) == 3:
        X = _stacked(estimator, X)
    grid, flat = _given_grid(estimator), X
    if getattr(X, "ndim", 2) == 4:
        if grid is not None and tuple(X.shape[1:3]) != grid:
            raise ValueError(
                f"X has maps of {X.shape[1]} x {X.shape[2]} places, but "
                f"grid_shape={estimator.grid_shape!r}."
            )
        grid = tuple(int(side) for side in X.shape[1:3])
        flat = X.reshape(len(X), int(np.prod(X.shape[1:])))
    elif getattr(X, "ndim", 2) != 2:
        raise ValueError(
            f"{type(estimator).__name__} takes rows (n_samples, n_features) or maps "
            f"(n_images, H, W, n_channels); X has {X.ndim} dimensions. Reshape your data."
        )
    if not reset and grid != estimator.grid_shape_:
        raise ValueError(
            f"X has {_named(grid)}, but {type(estimator).__name__} was fitted to "
            f"{_named(estimator.grid_shape_)}."
        )
    flat = check_rows(estimator, flat, reset=reset, min_rows=min_rows)
    shape = X.shape if getattr(X, "ndim", 2) == 4 else flat.shape
    n_places = _places(grid, flat)
    if reset:
        estimator.grid_shape_ = grid
    return flat.reshape(len(flat) * n_places, -1), shape


def _places(grid, flat):
    """Number of places of the grid, of which the columns must be a multiple."""
    n_places = 1 if grid is None else grid[0] * grid[1]
    if flat.shape[1] % n_places or not n_places:
        raise ValueError(
            f"grid_shape={grid} has {n_places} places, of which the {flat.shape[1]} "
            "columns of X are no multiple."
        )
    return n_places


def _named(grid):
    return "rows" if grid is None else f"maps of {grid[0]} x {grid[1]} places"


def _given_grid(estimator):
    grid = estimator.grid_shape
    if grid is None:
        return None
    if len(grid) != 2 or not all(isinstance(s, Integral) and s > 0 for s in grid):
        raise ValueError(f"grid_shape must be two positive integers, got {grid!r}.")
    return tuple(int(side) for side in grid)


def _stacked(estimator, X):
    """One array of a list of maps."""
    if any(isinstance(one, np.ma.MaskedArray) for one in X):
        return check_rows(estimator, X, reset=False)  # which refuses them
    shapes = list(dict.fromkeys(np.shape(one) for one in X))
    if len(shapes) > 1:
        raise ValueError(
            f"X is a list of maps of different shapes: {shapes[0]}, {shapes[1]}."
        )
    return np.asarray(X)
