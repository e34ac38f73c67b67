"""The scores that a detector takes part with where several are weighed.

A `LevelEnsemble` takes part with its own score and with that of each level; a
`MahalanobisDetector`, behind steps that learn too, with minus its unsquared distance,
which weighs more evenly with others than a log-density does and which the determinants of
different fits do not shift; any other detector with its ``score_samples``.
"""

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_gauss.detection._held_out import last_step, squared_distances
from sklearn_gauss.detection._level_ensemble import LevelEnsemble
from sklearn_gauss.detection._mahalanobis import MahalanobisDetector

__all__ = ["left_out_scores", "score_names", "scores_of"]


def score_names(name, detector):
    """Names of the scores of a fitted detector, its own first."""
    levels = detector.levels_ if isinstance(detector, LevelEnsemble) else ()
    levels = levels if len(levels) > 1 else ()
    return [name, *(f"{name}:{level}" for level in levels)]


def scores_of(detector, X):
    """Scores (n, k) of rows."""
    if isinstance(detector, LevelEnsemble):
        levels = detector.level_scores(X)
        return _with_levels(detector._aggregated(levels), levels)
    if isinstance(last_step(detector), MahalanobisDetector):
        return -np.sqrt(squared_distances(detector, X))[:, None]
    return np.asarray(detector.score_samples(X), dtype=np.float64)[:, None]


def left_out_scores(detector, n_rows):
    """Scores (n, k) of the training rows under fits without them; None if it has none."""
    if isinstance(detector, Pipeline):  # of which the last step alone leaves rows out
        return None
    names = ["calibration_scores_"]
    if isinstance(detector, LevelEnsemble):
        names.append("calibration_level_scores_")
    elif isinstance(detector, MahalanobisDetector):
        names = ["calibration_mahalanobis_"]
    found = [getattr(detector, name, None) for name in names]
    if any(scores is None or len(scores) != n_rows for scores in found):
        return None
    if isinstance(detector, LevelEnsemble):
        return _with_levels(*found)
    return (
        -np.sqrt(found[0]) if isinstance(detector, MahalanobisDetector) else found[0]
    )[:, None]


def _with_levels(scores, levels):
    several = levels.shape[1] > 1
    return np.column_stack([scores, levels]) if several else scores[:, None]
