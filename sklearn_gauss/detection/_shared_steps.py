"""The leading steps of Pipelines that learn nothing from rows, such as an extractor.

What they make of a row is the same whichever rows they are fitted to, so that they are
fitted once, and applied once for all detectors behind them.
"""

import copy

import joblib
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from sklearn_gauss.detection._level_ensemble import LevelEnsemble
from sklearn_gauss.detection._levels import named_levels

__all__ = ["behind", "key_of", "leading", "split_steps", "whole", "with_levels"]


def split_steps(detector):
    """Number of leading steps that learn nothing from rows; 0 where there are none."""
    if not isinstance(detector, Pipeline):
        return 0
    count = 0
    for _, step in detector.steps[:-1]:
        if _learns_from_rows(step):
            break
        count += 1
    return count


def leading(detector, count):
    """The first steps as a Pipeline, or None for none."""
    return detector[:count] if count else None


def behind(detector, count):
    """What follows the first steps: a detector, or a Pipeline that ends in one."""
    if not count:
        return detector
    rest = detector[count:]
    return rest if len(rest) > 1 else rest[0]


def whole(detector, count, front, rest):
    """A fitted Pipeline like ``detector``, of its fitted first steps and the rest."""
    if not count:
        return rest
    fitted = [step for _, step in front.steps]
    fitted += [step for _, step in rest.steps] if len(detector) - count > 1 else [rest]
    names = [name for name, _ in detector.steps]
    found = copy.copy(detector)
    found.steps = list(zip(names, fitted, strict=True))
    return found


def with_levels(detector, front, names=()):
    """The detector; of a `LevelEnsemble` with "auto", one with the levels of ``front``.

    Rows of an array have lost the names of their columns: those of the leading steps, or
    where there are none those of X.
    """
    asks = isinstance(detector, LevelEnsemble) and isinstance(detector.levels, str)
    if hasattr(front, "get_feature_names_out") and asks:
        names = front.get_feature_names_out()
    elif front is not None or not asks:
        return detector
    levels = named_levels(names)
    return clone(detector).set_params(levels=levels) if levels else detector


def key_of(steps):
    """What equal steps have in common; None for no steps."""
    if steps is None:
        return None
    try:
        return joblib.hash([clone(step, safe=False) for _, step in steps.steps])
    except Exception:  # a step that cannot be pickled, as a function of a session
        return f"id-{[id(step) for _, step in steps.steps]}"


def _learns_from_rows(step):
    if step is None or isinstance(step, str):  # "passthrough"
        return False
    learns = getattr(step, "_learns_from_rows", None)
    return get_tags(step).requires_fit if learns is None else learns
