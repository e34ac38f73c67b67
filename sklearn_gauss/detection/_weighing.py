"""From scores of normal rows and examples to weights, a calibration and a report."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import Bunch

from sklearn_gauss._numerics.stacking import (
    RULES,
    ScoreTable,
    auroc,
    auroc_by_kind,
    combined,
    find_weights,
)

__all__ = ["Weighing", "weigh"]


@dataclass
class Weighing:
    """What was learned.

    Attributes
    ----------
    weights : ndarray of shape (m,)
        Weight of each score.
    calibration_scores : ndarray of shape (n,)
        Combined score of every normal row, by weights learned without its fold.
    selection : Bunch
        The report, as in `DetectorEnsemble`.
    """

    weights: np.ndarray
    calibration_scores: np.ndarray
    selection: Bunch


def weigh(names, own, examples, folds, normal, other, left_out, *, rule):
    """Learn the weights of m scores.

    Parameters
    ----------
    names : list of str of length m
        Names of the scores.
    own : ndarray of bool of shape (m,)
        Which ones are those of members as a whole.
    examples : Examples
        Whose rows were scored.
    folds : Folds
        The fold that each row was left out with.
    normal, left_out : ndarray of shape (n, m)
        Scores of normal rows under fits without their fold; and under the fits nearest
        to the final one.
    other : ndarray of shape (k, m)
        Scores of the examples under fits without their fold.
    rule : {"best", "sum", "stacked"}
        How to combine.

    Returns
    -------
    weighing : Weighing
    """
    bad = examples.defective
    table = ScoreTable(normal, left_out, other[bad], examples.kinds[bad], other[~bad])
    parts = _without_folds(table, folds, bad)
    weights = find_weights(table, rule, own)
    return Weighing(
        weights,
        _calibration_scores(table, parts, folds, rule, own, weights),
        _report(names, own, table, parts, folds, bad, weights),
    )


def _without_folds(table, folds, bad):
    """The table without each fold, or all of it where nothing would be left to learn."""
    parts = []
    for fold in range(folds.count):
        masks = folds.normal != fold, folds.other[bad] != fold, folds.other[~bad] != fold
        enough = masks[0].any() and masks[1].any()
        parts.append(table.take(*masks) if enough else table)
    return parts


def _calibration_scores(table, parts, folds, rule, own, weights):
    if rule != "stacked":  # nothing but scales, or one of a few, is learned
        return combined(table.left_out, weights)
    scores = np.empty(len(table.left_out))
    shift = _centre(table.left_out) @ weights
    for fold, part in enumerate(parts):
        held_out, centre = folds.normal == fold, _centre(part.left_out)
        found = find_weights(part, rule, own)
        scores[held_out] = combined(table.left_out[held_out] - centre, found) + shift
    return scores


def _centre(scores):
    """Means of the finite scores."""
    finite = np.isfinite(scores)
    sums = np.where(finite, scores, 0.0).sum(axis=0)
    return sums / np.maximum(finite.sum(axis=0), 1)


def _report(names, own, table, parts, folds, bad, weights):
    by_kind = auroc_by_kind(table)
    kinds = np.unique(table.kinds)
    overall = by_kind.mean(axis=1)
    return Bunch(
        scores=list(names),
        kinds=kinds.tolist(),
        auroc=by_kind,
        mean_auroc=overall,
        best=names[int(overall.argmax())],
        weights=dict(zip(names, weights.tolist(), strict=True)),
        held_out_auroc={
            rule: _held_out_auroc(table, parts, folds, bad, kinds, rule, own)
            for rule in RULES
        },
    )


def _held_out_auroc(table, parts, folds, bad, kinds, rule, own):
    """Mean AUROC of a rule on folds and, where there are several, kinds it has not seen.

    Within folds, as scores by different weights do not compare.
    """
    found = []
    for kind in kinds:
        of_kind = table.kinds == kind
        for fold, part in enumerate(parts):
            known = (
                part.kinds != kind if len(kinds) > 1 else np.full(len(part.kinds), True)
            )
            tested = of_kind & (folds.other[bad] == fold)
            held_out = folds.normal == fold
            if not tested.any() or not known.any():
                continue
            every = (
                np.full(len(part.normal), True),
                known,
                np.full(len(part.varied), True),
            )
            weights = find_weights(part.take(*every), rule, own)
            scores = (
                combined(rows, weights)
                for rows in (table.normal[held_out], table.defective[tested])
            )
            found.append(auroc(*(rows[:, None] for rows in scores))[0])
    return float(np.mean(found)) if found else float("nan")
