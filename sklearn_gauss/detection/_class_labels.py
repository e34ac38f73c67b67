"""Classes of normal rows, at once or in chunks; labels of anomalies are told apart."""

import numpy as np
from sklearn.utils import column_or_1d

__all__ = ["added", "class_labels", "first", "joined"]

#: Kinds of dtypes of classes: boolean, whole numbers, text.
KINDS = {"b": "booleans", "i": "numbers", "u": "numbers", "f": "numbers", "U": "strings"}


def class_labels(X, y, classes):
    """Labels of rows, as a list of one block (n,), and whether any were given; a dict.

    Raises
    ------
    ValueError
        If they have another length, are missing, of several kinds or no classes at all,
        or are the +1 and -1 of normal rows and anomalies.
    """
    name, given = ("y", y) if classes is None else ("classes", classes)
    if given is None:
        return {"labels": [np.zeros(len(X), dtype=np.int64)], "labelled": False}
    if name == "classes" and y is not None and not _are_verdicts(y):
        raise ValueError(
            "y and classes are both given: classes is the class of each row here, not "
            "the list of all classes. Give one of them, or y of the values +1 and -1."
        )
    labels = column_or_1d(given, warn=False)
    if len(labels) != len(X):
        raise ValueError(
            f"{name} and X have inconsistent numbers of samples: {len(labels)} and "
            f"{len(X)}. Every row needs its class."
        )
    labels = _plain(labels, name)
    if name == "y":
        refuse_verdicts(labels)
    return {"labels": [labels.copy()], "labelled": True}  # the caller's may change


def _are_verdicts(y):
    """Whether y is the +1 and -1 of normal rows and anomalies."""
    return set(np.ravel(y).tolist()) <= {1, -1}


def first(X, found, background=None):
    """What was seen: rows X and their labels, both as lists of blocks."""
    rows = [X.copy()]  # the caller's array may change later
    return found | {"rows": rows, "background": background}


def added(seen, X, found):
    """The same with rows X and their labels added."""
    if seen["labelled"] != found["labelled"]:
        raise ValueError(
            "Some rows were given with their classes and some without; give all or none."
        )
    kinds = [KINDS[one["labels"][0].dtype.kind] for one in (seen, found)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"The classes were {kinds[0]} before and are {kinds[1]} now; use one kind."
        )
    rows = _grown(seen["rows"], X.copy())
    return seen | {"rows": rows, "labels": _grown(seen["labels"], found["labels"][0])}


def joined(seen):
    """The same, rows and labels as one block each."""
    return seen | {name: [np.concatenate(seen[name])] for name in ("rows", "labels")}


def _grown(blocks, block):
    """Blocks with one more; those no longer than what follows are joined with it.

    So n rows that come one by one are log n blocks, and each is copied log n times.
    """
    blocks = [*blocks, block]
    while len(blocks) > 1 and len(blocks[-2]) <= len(blocks[-1]):
        blocks[-2:] = [np.concatenate(blocks[-2:])]
    return blocks


def refuse_verdicts(labels):
    """Raise where labels are the +1 and -1 of normal rows and anomalies."""
    if labels.dtype.kind in "if" and -1 in labels and np.isin(labels, [-1, 1]).all():
        raise ValueError(
            "y has the values -1 and +1, which are the labels of anomalies and normal "
            "rows in this package, not classes. Fit to normal rows only, with the class "
            "of each as y; or pass the classes as classes=, y is then ignored."
        )


def _plain(labels, name):
    """Labels as an array of booleans, whole numbers or text."""
    if labels.dtype.kind in "OST":
        values = labels.tolist()
        if all(isinstance(value, str) for value in values):
            labels = np.array(values, dtype=np.str_)
        elif all(isinstance(value, bytes) for value in values):
            labels = np.char.decode(np.array(values, dtype=np.bytes_))
        else:
            labels = _one_kind(values, name)
    if labels.dtype.kind not in KINDS:
        raise ValueError(
            f"{name} must hold strings or whole numbers, got {labels.dtype}."
        )
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError(
                f"{name} has NaN or infinite entries: every row needs a class."
            )
        if (labels != np.floor(labels)).any():
            raise ValueError(
                f"{name} has fractions such as {labels[labels % 1 != 0][0]!r}: classes "
                "are strings or whole numbers."
            )
    return labels


def _one_kind(values, name):
    if any(_is_missing(value) for value in values):
        raise ValueError(f"{name} has missing entries: every row needs a class.")
    labels = np.array([_scalar(value, name) for value in values])
    if len({isinstance(value, str) for value in values}) > 1:
        raise ValueError(f"{name} mixes strings with other values; use one kind.")
    return labels


def _is_missing(value):
    try:
        return value is None or bool(value != value)  # NaN, or NaT
    except TypeError:  # of NA nothing can be asked
        return True


def _scalar(value, name):
    if not isinstance(value, (str, bool, int, float, np.generic)):
        raise ValueError(
            f"{name} must hold strings or whole numbers, got {value!r}; name the "
            "classes, by str(label) say."
        )
    return value
