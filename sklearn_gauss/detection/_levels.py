"""Which columns belong to which level of a network."""

import numpy as np

__all__ = ["check_levels", "find_levels", "named_levels", "sums_by_level"]


def check_levels(levels):
    """Refuse what is neither "auto", None, nor groups of columns."""
    if isinstance(levels, str):
        is_known = levels == "auto"
    else:
        is_known = levels is None or isinstance(levels, (dict, list, tuple, np.ndarray))
    if not is_known:
        raise ValueError(
            "levels must be 'auto', None, or a dict or list of groups of columns, got "
            f"{levels!r}."
        )


def find_levels(levels, n_features, names=()):
    """Columns of each level, as {name: indices}.

    Parameters
    ----------
    levels : "auto", dict, list or None
        As in `LevelEnsemble`. "auto" without such names is one level, as None.
    n_features : int
        Number of columns.
    names : array-like of str, default=()
        Feature names, if there are any.

    Returns
    -------
    levels : dict of str to ndarray of int
        Never empty, and neither is a level.
    """
    check_levels(levels)
    if isinstance(levels, str):
        levels = named_levels(names) or None
    if levels is None:
        return {"all": np.arange(n_features)}
    if not len(levels):
        raise ValueError("levels is empty: give at least one group of columns.")
    named = (
        levels
        if isinstance(levels, dict)
        else {str(i): columns for i, columns in enumerate(levels)}
    )
    if len({str(name) for name in named}) < len(named):
        raise ValueError(f"levels has names that are alike as text: {list(named)}.")
    return {
        str(name): _columns(name, columns, n_features, names)
        for name, columns in named.items()
    }


def named_levels(names):
    """Levels of feature names ``level__channel``; empty if not all have that form."""
    levels = {}
    for column, name in enumerate(names):
        level, separator, _ = name.rpartition("__")
        if not separator:
            return {}
        levels.setdefault(level, []).append(column)
    return {level: np.array(columns) for level, columns in levels.items()}


def sums_by_level(contributions, levels):
    """Sums (n, n_levels) of the contributions (n, n_features) of each level."""
    return np.column_stack(
        [contributions[:, columns].sum(axis=1) for columns in levels.values()]
    )


def _columns(name, columns, n_features, names):
    """Column indices of one group."""
    if isinstance(columns, slice):
        columns = np.arange(n_features)[columns]
    columns = list(columns) if isinstance(columns, (set, frozenset)) else columns
    columns = np.atleast_1d(np.asarray(columns))
    if columns.dtype.kind == "b" and columns.shape == (n_features,):
        columns = np.flatnonzero(columns)
    if columns.dtype.kind in "UO":
        known = {n: i for i, n in enumerate(names)}
        missing = [c for c in columns if c not in known]
        if missing:
            raise ValueError(
                f"levels: level {name!r} names no column {str(missing[0])!r}."
            )
        columns = np.array([known[c] for c in columns])
    if columns.ndim != 1 or columns.dtype.kind not in "iu" or not columns.size:
        raise ValueError(
            f"levels: level {name!r} must be a non-empty list of column indices, of "
            f"feature names, or a slice; got {columns!r}."
        )
    if columns.min() < -n_features or columns.max() >= n_features:
        raise ValueError(
            f"levels: level {name!r} has a column out of range for the {n_features} "
            "columns of X."
        )
    columns = columns % n_features
    if len(np.unique(columns)) < len(columns):
        raise ValueError(f"levels: level {name!r} has the same column twice.")
    return columns
