"""Weights of several scores of the same rows, learned from defects that were drawn.

Scores (n, m) are higher for more normal rows. The combined score of a row with scores s
is the weighted sum s @ weights. Three rules find the weights:

- "best": 1 for the score that ranks normal rows above defects most often, 0 elsewhere;
- "sum": the reciprocal standard deviation among normal rows, for all that take part;
- "stacked": a linear discriminant that is shrunk towards the best scores.

With z the scores standardised on the normal rows, the discriminant is [1]_

    w = (S + L)^-1 (mean of normal z - mean over kinds of the mean of defective z),

where S is the covariance of z over normal rows and, where there are any, harmlessly
varied ones: what all scores share there, as they do the light of an image, is cancelled
by weights of either sign. L is diagonal: ``RIDGE + EVIDENCE / n`` for every score and a
hundredth of it for the best one and those as good within ``TIED``, so that few rows leave
little weight to others.

References
----------
.. [1] R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals of
   Eugenics 7 (1936).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

__all__ = [
    "RULES",
    "ScoreTable",
    "auroc",
    "auroc_by_kind",
    "best_score",
    "combined",
    "find_weights",
]

#: Penalty on weights of standardised scores, and what one over n rows adds to it.
RIDGE, EVIDENCE = 4.0, 40.0

#: Share of the penalty that the best scores have, and AUROC that they may lack.
FREE, TIED = 0.01, 0.01

#: Magnitude below which scores count as all the same.
SMALL = 1e-290

#: Standard deviations at which a row counts as found: beyond, it says no more.
FAR = 6.0

#: Pairs of rows that are compared one by one; ranks are faster for more.
PAIRS = 20_000


@dataclass(frozen=True)
class ScoreTable:
    """Scores of rows that are normal, drawn with defects, and harmlessly varied.

    Attributes
    ----------
    normal : ndarray of shape (n, m)
        Of normal rows, by fits without their fold.
    left_out : ndarray of shape (n, m)
        Of the same rows, by fits as near to the final one as there are.
    defective : ndarray of shape (k, m)
        Of rows with defects, by fits without the fold of the rows they were drawn on.
    kinds : ndarray of shape (k,)
        Kind of every defect.
    varied : ndarray of shape (v, m)
        Of harmlessly varied normal rows; there may be none.
    normal_folds, defective_folds : ndarray of int of shape (n,) and (k,), or None
        The fold that each row was left out with; None where one fit scored all.
    """

    normal: np.ndarray
    left_out: np.ndarray
    defective: np.ndarray
    kinds: np.ndarray
    varied: np.ndarray
    normal_folds: np.ndarray | None = None
    defective_folds: np.ndarray | None = None

    def take(self, normal, defective, varied):
        """Some of the rows, by masks or slices."""
        folds = self.normal_folds, self.defective_folds
        if folds[0] is not None:
            folds = folds[0][normal], folds[1][defective]
        return ScoreTable(
            self.normal[normal],
            self.left_out[normal],
            self.defective[defective],
            self.kinds[defective],
            self.varied[varied],
            *folds,
        )

    def of_fold(self, fold):
        """Scores of the normal and of the defective rows of a fold, and their kinds."""
        if self.normal_folds is None:
            return self.normal, self.defective, self.kinds
        own = self.defective_folds == fold
        return (
            self.normal[self.normal_folds == fold],
            self.defective[own],
            self.kinds[own],
        )


def auroc(normal, defective):
    """Chance (m,) that a normal row scores above a defective one; ties count half."""
    n, k = len(normal), len(defective)
    if n * k <= PAIRS:
        above = (normal[:, None] > defective).sum(axis=(0, 1))
        return (above + 0.5 * (normal[:, None] == defective).sum(axis=(0, 1))) / (n * k)
    ranks = rankdata(np.concatenate([normal, defective]), axis=0)[:n]
    return (ranks.sum(axis=0) - n * (n + 1) / 2) / (n * k)


def auroc_by_kind(table):
    """`auroc` (m, n_kinds) of every score for every kind of defect, kinds sorted.

    The mean over folds, weighted by their pairs: scores by different fits do not compare.
    """
    kinds = np.unique(table.kinds)
    folds = [0] if table.normal_folds is None else np.unique(table.normal_folds)
    sums = np.zeros((table.normal.shape[1], len(kinds)))
    pairs = np.zeros(len(kinds))
    for fold in folds:
        normal, defective, names = table.of_fold(fold)
        for place, kind in enumerate(kinds):
            some = defective[names == kind]
            if len(some) and len(normal):
                sums[:, place] += auroc(normal, some) * (len(normal) * len(some))
                pairs[place] += len(normal) * len(some)
    known = pairs > 0
    return np.divide(sums, pairs, where=known, out=np.full(sums.shape, 0.5))


def best_score(table):
    """Place of the score with the highest mean `auroc` over kinds, first of equals."""
    return int(auroc_by_kind(table).mean(axis=1).argmax())


def combined(scores, weights):
    """Weighted sums (n,); minus infinity where a score that counts is not finite.

    With weights of either sign, infinities would cancel, or speak for the row.
    """
    scores, weights = scores[:, weights != 0], weights[weights != 0]
    possible = np.isfinite(scores).all(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.where(possible[:, None], scores, 0.0) @ weights
    return np.where(possible & np.isfinite(sums), sums, -np.inf)


def find_weights(table, rule, own):
    """Weights (m,) of the scores by a rule.

    Parameters
    ----------
    table : ScoreTable
        What they are learned from.
    rule : {"best", "sum", "stacked"}
        See the module.
    own : ndarray of bool of shape (m,)
        Scores that "sum" adds up: one a member.

    Returns
    -------
    weights : ndarray of shape (m,)
        Of scores as those of ``left_out``. With "stacked" the combined left-out scores
        have a standard deviation of 1.
    """
    return RULES[rule](table, own)


def _best(table, own):
    weights = np.zeros(table.normal.shape[1])
    weights[best_score(table)] = 1.0
    return weights


def _sum(table, own):
    return np.where(own, _scales(table.left_out), 0.0)


def _stacked(table, own):
    normal, varied, defective = (
        _standardised(rows, table.normal)
        for rows in (table.normal, table.varied, table.defective)
    )
    rows = np.concatenate([normal, varied])
    kinds = np.unique(table.kinds)
    means = [defective[table.kinds == kind].mean(axis=0) for kind in kinds]
    penalty = np.full(len(table.normal[0]), RIDGE + EVIDENCE / len(normal))
    areas = auroc_by_kind(table).mean(axis=1)
    areas[_scales(table.normal) == 0] = 0.0  # of no weight, and so no measure for others
    penalty[areas >= areas.max() - TIED] *= FREE
    covariance = np.atleast_2d(np.cov(rows, rowvar=False)) + np.diag(penalty)
    weights = np.linalg.solve(covariance, rows.mean(axis=0) - np.mean(means, axis=0))
    weights = weights * _scales(table.left_out)
    spread = combined(_finite(table.left_out), weights).std()
    return weights / spread if spread > 0 else _best(table, own)


#: Functions of a table and of which scores are the members' own.
RULES = {"best": _best, "sum": _sum, "stacked": _stacked}


def _standardised(scores, normal):
    """Scores in standard deviations of normal ones from their mean, cut at `FAR`."""
    scales, normal = _scales(normal), _finite(normal)
    unit = _unit(normal)  # of which no sum overflows
    centre = (normal / unit).mean(axis=0)
    finite = np.isfinite(scores)
    with np.errstate(over="ignore", invalid="ignore"):
        z = (np.where(finite, scores, 0.0) / unit - centre) * (scales * unit)
    z = np.where(finite, np.clip(z, -FAR, FAR), -FAR)
    return np.where(scales > 0, z, 0.0)


def _scales(scores):
    """Reciprocal standard deviation of every score; 0 for one that does not vary."""
    finite = _finite(scores)
    unit = _unit(finite)
    deviations = (finite / unit).std(axis=0)
    varies = deviations > 8 * np.finfo(float).eps
    return np.divide(1.0, deviations, where=varies, out=np.zeros(len(unit))) / unit


def _unit(scores):
    """Largest magnitude of every score, at least one whose inverse is finite."""
    largest = np.abs(scores).max(axis=0)
    return np.where(largest > 0, np.maximum(largest, SMALL), 1.0)


def _finite(scores):
    """Scores with infinite ones moved to the least finite one of their column."""
    finite = np.isfinite(scores)
    if finite.all():
        return scores
    least = np.where(finite, scores, np.inf).min(axis=0)
    return np.where(finite, scores, np.where(np.isfinite(least), least, 0.0))
