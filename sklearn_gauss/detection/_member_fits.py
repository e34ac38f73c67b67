"""Fits of members of an ensemble: to all normal rows, and fold by fold for their scores.

Members with the same leading steps are fitted one after another, to what these steps make
of the rows, which lives no longer than that.
"""

import warnings

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import Bunch

from sklearn_gauss._base import BaseDetector, callers_level, count_rows, take_rows
from sklearn_gauss.detection._calibrated import CalibratedDetector
from sklearn_gauss.detection._held_out import fit_quietly, in_silence
from sklearn_gauss.detection._level_ensemble import LevelEnsemble
from sklearn_gauss.detection._member_scores import (
    left_out_scores,
    score_names,
    scores_of,
)
from sklearn_gauss.detection._shared_steps import (
    behind,
    key_of,
    leading,
    split_steps,
    whole,
    with_levels,
)
from sklearn_gauss.exceptions import CalibrationWarning

__all__ = ["alike", "fit_members"]


def alike(keys):
    """Places of members with the same leading steps, which come one after another."""
    return [
        [place for place, other in enumerate(keys) if other == key]
        for key in dict.fromkeys(keys)
    ]


def fit_members(members, examples, folds, *, columns=(), n_jobs=None):
    """Fit members to all normal rows, and score all rows out of their folds.

    Parameters
    ----------
    members : list of (str, detector)
        Names and unfitted detectors, which stay as they are.
    examples : Examples
        Normal rows, and rows to choose by.
    folds : Folds
        Which fold each row is scored in.
    columns : array-like of str, default=()
        Names of the columns of the rows, if there are any.
    n_jobs : int, default=None
        Folds of a member to fit in parallel.

    Returns
    -------
    fits : list of Bunch
        Of each member ``detector``, the fitted one; ``names`` of its k scores; ``normal``
        and ``other``, scores (n, k) of normal rows and examples by fits without their
        fold; ``left_out`` (n, k), of normal rows by fits as near to the final one as
        there are; ``key`` and ``n_leading`` of the steps that it shares.
    """
    counts = [split_steps(member) for _, member in members]
    fronts = [leading(m, count) for (_, m), count in zip(members, counts, strict=True)]
    keys, fits = [key_of(front) for front in fronts], [None] * len(members)
    for places in alike(keys):
        front, normal, other = _features(fronts[places[0]], examples)
        if front is not None and not folds.is_grouped and not places[0]:
            _warn_of_copies(normal)
        for place in places:
            (name, member), count = members[place], counts[place]
            rest = with_levels(behind(member, count), front, columns)
            try:
                fit = _fit_member(name, rest, normal, other, folds, n_jobs)
            except ValueError as error:
                raise ValueError(f"estimators: {name!r}: {error}") from error
            fit.detector = whole(member, count, front, fit.detector)
            fits[place] = Bunch(key=keys[place], n_leading=count, **fit)
        del front, normal, other
    return fits


def _features(front, examples):
    """The leading steps, fitted, and what they make of normal rows and examples."""
    if front is None:
        return None, examples.normal, examples.other
    front = clone(front).fit(examples.normal)
    return front, front.transform(examples.normal), front.transform(examples.other)


def _warn_of_copies(features):
    """Say if images are exact copies: left-out scores would see the other copy."""
    distinct = len({hash(np.asarray(row).tobytes()) for row in features})
    if distinct < len(features):
        warnings.warn(
            f"{len(features) - distinct} of the {len(features)} normal rows of X are "
            "exact copies of others. Left out, a row is still there as its copy, so that "
            "far more than target_fpr of unseen ones may be flagged. Drop the copies, or "
            "pass groups.",
            CalibrationWarning,
            stacklevel=callers_level(),
        )


def _fit_member(name, detector, normal, other, folds, n_jobs):
    """Scores of a member in folds, and the one that is fitted to all normal rows."""
    fitted = fit_quietly(clone(detector), normal)  # here, where warnings are heard
    with warnings.catch_warnings():  # threads would leave each other's filters behind
        scores = Parallel(n_jobs=n_jobs)(
            delayed(_score_fold)(clone(detector), normal, other, folds, fold)
            for fold in range(folds.count)
        )
    of_normal, of_other = (
        _in_order(parts, fold_of)
        for parts, fold_of in zip(
            zip(*scores, strict=True), (folds.normal, folds.other), strict=True
        )
    )
    left_out = left_out_scores(fitted, count_rows(normal))
    if left_out is None or folds.is_grouped:  # it leaves out rows, and no groups
        left_out = of_normal
    if any(np.isnan(found).any() for found in (of_normal, of_other, left_out)):
        raise ValueError("its scores are NaN for some rows, which compare with none.")
    return Bunch(
        detector=fitted,
        names=score_names(name, fitted),
        normal=of_normal,
        other=of_other,
        left_out=left_out,
    )


def _in_order(parts, fold_of):
    """Scores of all rows, of parts that hold those of a fold each."""
    parts = np.concatenate(parts)
    scores = np.empty_like(parts)
    scores[np.argsort(fold_of, kind="stable")] = parts
    return scores


def _score_fold(detector, normal, other, folds, fold):
    """Scores of the normal rows and examples of a fold by a fit to the other folds."""
    _spare_calibration(detector)
    rows = take_rows(normal, np.flatnonzero(folds.normal != fold))
    with in_silence():
        detector = fit_quietly(detector, rows)
        return [
            _score(detector, rows, np.flatnonzero(fold_of == fold))
            for rows, fold_of in ((normal, folds.normal), (other, folds.other))
        ]


def _spare_calibration(detector):
    """Let a detector of ours do without the left-out scores that nobody asks for."""
    if isinstance(detector, (LevelEnsemble, CalibratedDetector)):
        detector.set_params(cv=2)  # folds of its own
    elif isinstance(detector, BaseDetector) and "calibration" in detector.get_params():
        detector.set_params(calibration=0.0)


def _score(detector, rows, some):
    if not some.size:
        return np.empty((0, len(score_names("", detector))))
    return scores_of(detector, take_rows(rows, some))
