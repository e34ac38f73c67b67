"""Explanations and gradients behind linear steps, in terms of what goes into them."""

import contextlib
import warnings

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_gauss.detection._held_out import last_step

__all__ = ["explain_behind", "linear_map", "ranked"]

# Of the largest coordinate: rounding in float32 takes 1e-6, a step that is not linear
# more than this.
LINEAR = 1e-3


def ranked(components):
    """Components of each row by decreasing contribution."""
    return np.argsort(-components, axis=1, kind="stable")


def linear_map(steps, X):
    """Matrix J (p, k) and offset c (k,) with ``steps.transform(X) = X J + c``.

    It is read off unit steps from the mean of X, and checked on X.

    Parameters
    ----------
    steps : transformer
        Fitted, as the steps of a Pipeline in front of a detector.
    X : ndarray of shape (n, p)
        Rows at which it must hold.

    Returns
    -------
    J, c : ndarray
        In float64.

    Raises
    ------
    ValueError
        If the steps are not linear at the rows.
    """
    X = np.asarray(X, dtype=np.float64)
    centre = X.mean(axis=0)
    start = _transform(steps, centre[None])
    # A unit step must be seen beside the numbers that it is added to.
    unit = 2.0 ** np.ceil(np.log2(max(np.abs(X).max(), np.finfo(float).tiny)))
    J = (_transform(steps, centre + unit * np.eye(X.shape[1])) - start) / unit
    # Of a single row the mean is itself: another one, off it in every column.
    rows = np.vstack([X, centre + unit * np.linspace(-1.0, 1.0, X.shape[1])])
    found = _transform(steps, rows)
    error = np.abs((rows - centre) @ J + start - found).max()
    if not error <= LINEAR * max(np.abs(found).max(), np.abs(start).max()):
        raise ValueError(
            "The steps in front of the detector are not linear, so contributions of "
            "their outputs cannot be told by their inputs; explain the detector alone."
        )
    return J, start[0] - centre @ J


@contextlib.contextmanager
def _unnamed():
    """Take arrays in place of the named columns that a step was fitted to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        yield


def _transform(steps, X):
    with _unnamed():
        return np.asarray(steps.transform(X), dtype=np.float64)


def explain_behind(detector, X):
    """Explanation by a detector, or by the last one of a Pipeline of linear steps.

    With J the steps' matrix, z the deviation in front of the detector and
    s = Sigma^-1 z, feature j contributes (z J^+)_j (J s)_j: its deviation within the
    directions that the steps keep, times its weight. The sum is z's still. An axis a
    becomes J a. An explanation without axes is left as it is.
    """
    last = last_step(detector)
    if not isinstance(detector, Pipeline) or len(detector) == 1:
        return last.explain(X)
    J, _ = linear_map(detector[:-1], X)
    rows = np.asarray(detector[:-1].transform(X))
    found = last.explain(rows)
    if "axes" in found:
        deviations = (rows - last.location_) @ np.linalg.pinv(J)
        found.features = deviations * (last._solved(rows) @ J.T)
        found.levels = found.features.sum(axis=1, keepdims=True)
        found.level_names = ["all"]
        found.axes = found.axes @ J.T
    return found


def gradient_behind(detector, X):
    """Gradient of a detector's score, or of that behind a Pipeline's linear steps."""
    last = last_step(detector)
    if not hasattr(last, "gradient"):
        raise AttributeError(
            f"{type(last).__name__} has no gradient; MahalanobisDetector, KDEDetector, "
            "ClassConditionalDetector and IncrementalMixtureDetector have one, and a "
            "LevelEnsemble of these."
        )
    with _unnamed():
        if not isinstance(detector, Pipeline) or len(detector) == 1:
            return last.gradient(X)
        J, _ = linear_map(detector[:-1], X)
        return last.gradient(detector[:-1].transform(X)) @ J.T
