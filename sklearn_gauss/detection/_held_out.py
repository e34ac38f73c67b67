"""Scores of rows under detectors that have not seen them, fold by fold."""

import warnings
from contextlib import contextmanager

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline

from sklearn_gauss._base import count_rows, take_rows
from sklearn_gauss.exceptions import CalibrationWarning

__all__ = [
    "fit_quietly",
    "has_distance",
    "held_out",
    "in_silence",
    "kept_rows",
    "last_step",
    "squared_distances",
]


def last_step(detector):
    """The detector at the end of a Pipeline, or the one itself."""
    return detector[-1] if isinstance(detector, Pipeline) else detector


def has_distance(detector):
    """Whether a fitted detector has one squared distance a row, not one a class."""
    return hasattr(detector, "mahalanobis") and not hasattr(detector, "classes_")


def kept_rows(detectors):
    """Weights (n,) of calibration rows: 0 for those that all detectors leave out.

    None where one of them leaves none out on principle, or has other rows.
    """
    found = [_kept(vars(last_step(detector))) for detector in detectors]
    if any(kept is None or len(kept) != len(found[0]) for kept in found):
        return None
    return np.any(found, axis=0).astype(np.float64)


def _kept(state):
    kept = state.get("calibration_weights_", state.get("inliers_"))
    return kept if kept is not None and np.isin(kept, (0, 1)).all() else None


def squared_distances(detector, X):
    """Squared Mahalanobis distances by a detector that may end a Pipeline."""
    if isinstance(detector, Pipeline):
        X = detector[:-1].transform(X) if len(detector) > 1 else X
    return last_step(detector).mahalanobis(X)


def fit_quietly(detector, X, **params):
    """Fit a part of a whole: its own threshold is not used, nor are warnings about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return detector.fit(X, **params)


@contextmanager
def in_silence():
    """Without warnings: for fits to a part of the rows, of which the whole one tells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def held_out(X, fit, score, *, cv, n_jobs=None, labels=None):
    """Score every row of X by what was fitted to the other folds.

    Parameters
    ----------
    X : array, data frame or list of n_samples
        Rows.
    fit : callable
        Takes rows, and their labels by name, returns something fitted.
    score : callable
        Takes that and rows, returns scores of shape (n_rows, ...).
    cv : int
        Number of folds, n_samples at most; rows are shuffled in a fixed way.
    n_jobs : int, default=None
        Number of folds to fit in parallel.
    labels : dict of str to array of shape (n_samples,), default=None
        Labels of the rows. Those with "y" of -1 are part of every fit, and not scored.

    Returns
    -------
    scores : ndarray of shape (n_samples, ...)
        In the order of X, less the rows that are not scored.
    """
    labels = labels or {}
    normal = np.asarray(labels.get("y", np.ones(count_rows(X)))) != -1
    places, always = np.flatnonzero(normal), np.flatnonzero(~normal)
    folds = KFold(min(cv, len(places)), shuffle=True, random_state=0).split(places)
    folds = [(np.append(places[some], always), places[rest]) for some, rest in folds]
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_score_fold)(X, labels, fit, score, *fold) for fold in folds
    )
    order = np.concatenate([test for _, test in folds])
    return np.concatenate(parts)[np.argsort(order)]


def _score_fold(X, labels, fit, score, train, test):
    own = {name: take_rows(values, train) for name, values in labels.items()}
    return score(fit(take_rows(X, train), **own), take_rows(X, test))
