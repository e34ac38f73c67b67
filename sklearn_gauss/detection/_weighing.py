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
        Combined score of every normal row; with "stacked" by weights learned without its
        fold, on the scale of the final ones.
    selection : Bunch
        The report, as in `DetectorEnsemble`.
    """

    weights: np.ndarray
    calibration_scores: np.ndarray
    selection: Bunch


def weigh(fits, examples, folds, *, rule):
    """Learn the weights of m scores.

    Parameters
    ----------
    fits : list of objects with ``names``, ``normal``, ``other`` and ``left_out``
        Names of k scores, of which the first is the member's own; scores (n, k) of normal
        rows and (l, k) of examples under fits without their fold; and of normal rows
        under the fits nearest to the final one.
    examples : Examples
        Whose rows were scored.
    folds : Folds
        The fold that each row was left out with.
    rule : {"best", "sum", "stacked"}
        How to combine.

    Returns
    -------
    weighing : Weighing
    """
    names = [name for fit in fits for name in fit.names]
    own = np.concatenate([np.arange(len(fit.names)) == 0 for fit in fits])
    normal, other, left_out = (
        np.column_stack([getattr(fit, scores) for fit in fits])
        for scores in ("normal", "other", "left_out")
    )
    bad = examples.defective
    table = ScoreTable(
        normal,
        left_out,
        other[bad],
        examples.kinds[bad],
        other[~bad],
        folds.normal,
        folds.other[bad],
    )
    parts = _without_folds(table, folds, bad)
    weights = find_weights(table, rule, own)
    return Weighing(
        weights,
        _calibration_scores(table, parts, folds, rule, own, weights),
        _report(names, own, table, parts, folds, bad, weights),
    )


def _without_folds(table, folds, bad):
    """The table without each fold; None where it would hold no example."""
    parts = []
    for fold in range(folds.count):
        masks = folds.normal != fold, folds.other[bad] != fold, folds.other[~bad] != fold
        parts.append(table.take(*masks) if masks[1].any() else None)
    return parts


def _calibration_scores(table, parts, folds, rule, own, weights):
    final = combined(table.left_out, weights)
    if rule != "stacked":  # nothing but scales, or one of a few, is learned
        return final
    scores = final.copy()
    for fold, part in enumerate(parts):
        if part is not None:
            found = combined(table.left_out, find_weights(part, rule, own))
            held_out = folds.normal == fold
            scores[held_out] = _aligned(found, final)[held_out]
    return scores


def _aligned(scores, others):
    """Scores moved and scaled to the median and the quartiles of others of the same rows.

    Means and deviations would follow a single far row, which only some folds have.
    """
    low, middle, high = np.quantile(_bounded(scores), [0.25, 0.5, 0.75])
    least, centre, most = np.quantile(_bounded(others), [0.25, 0.5, 0.75])
    scale = (most - least) / (high - low) if high > low and most > least else 1.0
    return (scores - middle) * scale + centre


def _bounded(scores):
    """Scores with infinite ones as the least finite one."""
    finite = np.isfinite(scores)
    return np.where(finite, scores, scores[finite].min() if finite.any() else 0.0)


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
            if part is None:
                continue
            known = (part.kinds != kind) | (len(kinds) == 1)
            tested = of_kind & (folds.other[bad] == fold)
            held_out = folds.normal == fold
            if not tested.any() or not known.any() or not held_out.any():
                continue
            part = part.take(slice(None), known, slice(None))
            weights = find_weights(part, rule, own)
            scores = (
                combined(rows, weights)
                for rows in (table.normal[held_out], table.defective[tested])
            )
            found.append(auroc(*(rows[:, None] for rows in scores))[0])
    return float(np.mean(found)) if found else float("nan")
