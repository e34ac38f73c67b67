"""What a detector is told of each row beside X: its class, or whether it is normal."""

import sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import has_fit_parameter

from sklearn_gauss.detection._class_labels import class_labels
from sklearn_gauss.detection._examples import find_labels
from sklearn_gauss.detection._held_out import fit_quietly, in_silence, last_step
from sklearn_gauss.detection._labelled import normal_or_not

__all__ = ["fit_labelled", "refuse_member_labels", "refuse_row_labels", "row_labels"]


def row_labels(detector, X, y=None, classes=None):
    """Labels that the detector's ``fit`` takes, by name: "classes", or "y" of +1 and -1.

    Empty where none are given, or the detector, the last step of a Pipeline, takes none.

    Raises
    ------
    ValueError
        If ``classes`` are given for a detector that has none, or labels are no classes.
    """
    if _takes_classes(detector):
        if y is None and classes is None:
            return {}
        return {"classes": class_labels(X, y, classes)["labels"][0]}
    if classes is not None:
        raise ValueError(f"classes: {_name(detector)} takes none.")
    refuse_member_labels(getattr(last_step(detector), "estimators", ()), X, y)
    if y is None or not (_takes_anomalies(detector) or _weighs_anomalies(detector)):
        return {}
    check_consistent_length(X, y)
    labels = normal_or_not(X, y)
    return {"y": labels} if (labels != 1).any() else {}


def refuse_row_labels(whole, detector, X, y, classes=None):
    """Raise where the detector would be told classes or labels that a whole keeps."""
    with in_silence():  # of other labels the whole warns
        labelled = find_labels(X, y) is not None
    takes = _takes_classes(detector) and not labelled and y is not None
    if takes or classes is not None:
        raise ValueError(f"{whole} passes no classes to {_name(detector)}.")
    if labelled and _takes_anomalies(detector):
        raise ValueError(
            f"{whole} fits its detectors to normal rows alone: {_name(detector)} would "
            "never see the anomalies of y; fit it by itself."
        )


def _name(detector):
    return type(last_step(detector)).__name__


def _takes_classes(detector):
    """Whether classes reach a detector that uses them, within others or not."""
    last = last_step(detector)
    if not has_fit_parameter(last, "classes"):
        return False
    return _takes_classes(last.detector) if hasattr(last, "detector") else True


def _weighs_anomalies(detector):
    """Whether it has weights to learn from anomalies, and fits nothing else to them."""
    last = last_step(detector)
    return hasattr(last, "estimators") or getattr(last, "aggregate", "") == "stacked"


def _takes_anomalies(detector):
    """Whether anomalies reach a detector that is fitted to them, within others or not."""
    last = last_step(detector)
    if getattr(last, "_learns_from_anomalies", False):
        return True
    passes = has_fit_parameter(last, "classes") and hasattr(last, "detector")
    return passes and _takes_anomalies(last.detector)


def refuse_member_labels(members, X, y):
    """The same for named members of an ensemble, which weighs by anomalies itself."""
    for _, member in members:
        refuse_row_labels("DetectorEnsemble", member, X, y)


def fit_labelled(detector, X, **labels):
    """A clone fitted to rows and their labels; its own threshold is not used."""
    if "classes" in labels and isinstance(detector, Pipeline):
        name = f"{detector.steps[-1][0]}__classes"
        labels = {name: labels.pop("classes"), **labels}
    # Routed by hand: the step has asked for no metadata.
    with sklearn.config_context(enable_metadata_routing=False):
        return fit_quietly(clone(detector), X, **labels)
