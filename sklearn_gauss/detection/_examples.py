"""Normal rows, and examples of what is not normal: given, drawn, or perturbed ones."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import KFold
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_gauss._base import callers_level, count_rows, take_rows
from sklearn_gauss._numerics.perturbations import PERTURBATIONS, perturbed

__all__ = ["Examples", "Folds", "deal_folds", "find_examples", "find_labels"]

#: Perturbed rows in all, where the normal ones are enough for that.
PERTURBED = 1000


@dataclass
class Examples:
    """Rows to fit to and examples to choose by.

    Attributes
    ----------
    normal : rows of n samples
        Normal rows.
    other : rows of k samples, or None
        Defective and harmlessly varied rows, which nothing is fitted to.
    defective : ndarray of bool of shape (k,)
        Which of them are defective.
    kinds : ndarray of str of shape (k,)
        Kind of each.
    source : ndarray of int of shape (k,)
        Normal row that each was drawn on; -1 for none.
    groups : ndarray of int of shape (n,)
        Normal rows of a group are left out together.
    other_groups : ndarray of int of shape (k,)
        Groups of examples that were drawn on no normal row; they stay together as well.
    """

    @property
    def is_grouped(self):
        """Whether some normal rows stay together."""
        return len(np.unique(self.groups)) < len(self.groups)

    normal: Any
    other: Any
    defective: np.ndarray
    kinds: np.ndarray
    source: np.ndarray
    groups: np.ndarray
    other_groups: np.ndarray


def find_examples(X, y=None, groups=None, defects=None):
    """Split labelled rows, or draw on normal ones, or perturb them.

    Parameters
    ----------
    X : rows
        Normal ones; where ``y`` has labels of both kinds, all of them.
    y : array-like of shape (n_samples,), default=None
        +1 for normal rows and -1 for others. Anything else is no label of a detector and
        ignored.
    groups : array-like of shape (n_samples,), default=None
        Rows of a group are of one object.
    defects : object with ``draw``, default=None
        Draws on the normal rows, where no label is -1. None perturbs rows of features.

    Returns
    -------
    examples : Examples
    """
    labels = find_labels(X, y)
    count = count_rows(X) if labels is None else int((labels == 1).sum())
    if count < 3:
        raise ValueError(
            f"X has {count} sample(s) to fit to, but a minimum of 3 is required: each "
            "fold leaves at least two."
        )
    if groups is not None:
        check_consistent_length(X, groups)
        groups = np.unique(column_or_1d(groups), return_inverse=True)[1]
    if labels is not None:
        return _split(X, labels, groups)
    groups = np.arange(count_rows(X)) if groups is None else groups
    drawn = _perturbed(X) if defects is None else defects.draw(X)
    kinds, source = np.asarray(drawn["kind"]).astype(str), np.asarray(drawn["source"])
    if not len(kinds):
        raise ValueError("defects: draw(X) gave no defect, of which one is the least.")
    other, defective = drawn["X"], np.full(len(kinds), True)
    check_consistent_length(other, kinds, source)
    if hasattr(defects, "vary"):
        varied = defects.vary(X)
        count = len(varied["source"])
        other = [*other, *varied["X"]]
        kinds = np.append(kinds, np.full(count, "variation"))
        source = np.append(source, varied["source"])
        defective = np.append(defective, np.full(count, False))
    source = source.astype(int)
    return Examples(X, other, defective, kinds, source, groups, np.arange(len(kinds)))


def find_labels(X, y):
    """Labels +1 and -1 with some of either; None for anything else."""
    if y is None:
        return None
    y = np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    values = set(y.reshape(-1).tolist())
    if y.dtype.kind in "iufO" and values >= {-1, 1}:
        _refuse_more(y, values)
    if y.ndim != 1:
        return None
    if not (y.dtype.kind in "iufO" and values == {-1, 1}):
        if len(values) == 2:
            warnings.warn(
                f"y has the values {sorted(map(str, values))}, which are no labels: rows "
                "of label -1 among others of +1 are examples of anomalies. As it is, y "
                "is ignored, and every row is taken as normal.",
                UserWarning,
                stacklevel=callers_level(),
            )
        return None
    if len(y) != count_rows(X):
        raise ValueError(f"y has {len(y)} labels, but X {count_rows(X)} samples.")
    return y.astype(int)


def _refuse_more(y, values):
    """Raise where labels are in several columns, or beside marks for "unlabelled"."""
    if y.ndim > 1:
        raise ValueError(f"y has labels in {y.shape[1]} columns; give one of them.")
    others = [value for value in values if value not in (-1, 1)]
    if others and all(value is None or value != value or value == 0 for value in others):
        raise ValueError(
            f"y has {others[0]} beside the labels +1 and -1: leave out rows that have no "
            "label."
        )


def _split(X, y, groups):
    normal, other = np.flatnonzero(y == 1), np.flatnonzero(y == -1)
    source = np.full(len(other), -1)
    if groups is None:
        own, others = np.arange(len(normal)), np.arange(len(other))
    else:
        own, others = groups[normal], groups[other]
        first = {group: place for place, group in reversed(list(enumerate(own)))}
        source = np.array([first.get(group, -1) for group in others])
    return Examples(
        take_rows(X, normal),
        take_rows(X, other),
        np.ones(len(other), dtype=bool),
        np.full(len(other), "anomaly"),
        source,
        own,
        others,
    )


def _perturbed(X):
    """Perturbed rows of features, one of each kind for as many rows as are enough."""
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype.kind != "f":
        raise ValueError(
            "Defects cannot be drawn on X without knowing how: for images give "
            "defects=SyntheticDefects() (sklearn_gauss.datasets), or pass examples of "
            "anomalies with y, +1 for normal rows and -1 for these."
        )
    rng = np.random.default_rng(0)
    count = min(len(X), max(1, PERTURBED // len(PERTURBATIONS)))
    source = np.sort(rng.permutation(len(X))[:count])
    rows, kind = perturbed(X[source], X.std(axis=0, dtype=np.float64), rng)
    return {"X": rows, "kind": kind, "source": np.tile(source, len(PERTURBATIONS))}


@dataclass
class Folds:
    """Which fold each row is scored in, by fits without the normal rows of that fold."""

    normal: np.ndarray
    other: np.ndarray
    count: int
    is_grouped: bool


def deal_folds(examples, cv):
    """Folds of normal rows by group, and of the rest by the row they were drawn on."""
    groups = np.unique(examples.groups, return_inverse=True)[1]
    count = min(cv, groups.max() + 1)
    if count < 2:
        raise ValueError(
            f"groups: all {len(groups)} normal rows are of one group, but two groups are "
            "the least that can be left out in turn."
        )
    fold_of = np.empty(groups.max() + 1, dtype=int)
    folds = KFold(count, shuffle=True, random_state=0).split(fold_of)
    for fold, (_, held_out) in enumerate(folds):
        fold_of[held_out] = fold
    normal = fold_of[groups]
    source = examples.source
    dealt = np.unique(examples.other_groups, return_inverse=True)[1] % count
    other = np.where(source >= 0, normal[np.maximum(source, 0)], dealt)
    return Folds(normal, other, count, examples.is_grouped)
