"""Classes of normal rows, as labels of one kind; labels of anomalies are told apart."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

__all__ = ["class_labels", "joined_labels"]

#: Kinds of dtypes of classes: boolean, whole numbers, text.
KINDS = {"b": "booleans", "i": "numbers", "u": "numbers", "f": "numbers", "U": "strings"}


def class_labels(X, y, classes):
    """Labels (n,) of rows and whether any were given, as a dict.

    Raises
    ------
    ValueError
        If they have another length, are missing, of several kinds or no classes at all,
        or are the +1 and -1 of normal rows and anomalies.
    """
    name, given = ("y", y) if classes is None else ("classes", classes)
    if given is None:
        return {"labels": np.zeros(len(X), dtype=np.int64), "labelled": False}
    check_consistent_length(X, given)
    labels = _plain(column_or_1d(given, warn=False), name)
    if name == "y":
        refuse_verdicts(labels)
    return {"labels": labels, "labelled": True}


def joined_labels(seen, found):
    """Labels of earlier rows and of later ones."""
    if seen["labelled"] != found["labelled"]:
        raise ValueError(
            "Some rows were given with their classes and some without; give all or none."
        )
    kinds = [KINDS[one["labels"].dtype.kind] for one in (seen, found)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"The classes were {kinds[0]} before and are {kinds[1]} now; use one kind."
        )
    labels = np.concatenate([seen["labels"], found["labels"]])
    return {"labels": labels, "labelled": seen["labelled"]}


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
