"""What an evaluation measures, as plain numbers."""

import numpy as np
from scipy import stats
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from sklearn_gauss._numerics.calibration import rows_needed

FOLDS = 5
SURE = 0.01  # p-value of the test of shift below which a note says so


def measure(detector, scores, y_test, defect, *, train=None, seed=0):
    """Measure a fitted detector.

    Parameters
    ----------
    detector : LevelEnsemble or DetectorEnsemble
        Fitted.
    scores : ndarray of shape (n_test,)
        Of the test images.
    y_test : ndarray of shape (n_test,)
        +1 for a good image, -1 for any other.
    defect : ndarray of str of shape (n_test,)
        Kind of defect.
    train : ndarray of shape (n_train, n_features), default=None
        What the detector was fitted to, to fit it to folds of; None for one whose fits
        take too long for that.
    seed : int, default=0
        Seeds the folds.

    Returns
    -------
    figures : dict
        Numbers, lists and dicts only; None where there are too few images.
    """
    flagged, good = scores < detector.offset_, y_test == 1
    n_train = len(detector.calibration_scores_)
    folds = [] if train is None else flagged_by_folds(detector, train, seed)
    figures = {
        "n_train": n_train,
        "n_test_good": int(good.sum()),
        "n_test_defective": int((~good).sum()),
        "auroc": auroc(scores[good], scores[~good]),
        "target_fpr": detector.target_fpr,
        "test_fpr": rate(flagged[good]),
        "fold_fpr": rate(folds),
        "recall": rate(flagged[~good]),
        "shift": shift(detector.calibration_scores_, scores[good]),
        "defects": _by_defect(scores, flagged, good, defect),
    }
    figures["notes"] = [*_uncertified(detector, n_train), *notes(figures)]
    return figures


def _by_defect(scores, flagged, good, defect):
    return [
        {
            "defect": str(name),
            **rate(flagged[defect == name]),
            "auroc": auroc(scores[good], scores[defect == name]),
        }
        for name in np.unique(defect[~good])
    ]


def _uncertified(detector, n_train):
    """A note where no image can be flagged."""
    if np.isinf(detector.offset_):
        yield (
            f"Nothing can be flagged: {n_train} training images cannot certify a "
            f"false-positive rate of {detector.target_fpr:.1%}, "
            f"{rows_needed(detector.target_fpr)} are needed. The rates below the AUROC "
            "are 0 for this reason alone."
        )


def auroc(good, bad):
    """Chance that a good image scores higher than a bad one; None without both."""
    if not len(good) or not len(bad):
        return None
    labels = np.r_[np.ones(len(good)), np.zeros(len(bad))]
    return float(roc_auc_score(labels, np.r_[good, bad]))


def rate(flagged):
    """Share of the flagged with its exact 95 % interval (Clopper-Pearson), or None."""
    count, total = int(np.sum(flagged)), len(flagged)
    if not total:
        return None
    interval = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    return {
        "images": total,
        "flagged": count,
        "rate": count / total,
        "interval": [float(interval.low), float(interval.high)],
    }


def flagged_by_folds(detector, train, seed):
    """Whether each training image is flagged by a detector fitted without its fold."""
    flagged = np.zeros(len(train), dtype=bool)
    folds = KFold(min(FOLDS, len(train)), shuffle=True, random_state=seed)
    kept = len(train) - -(-len(train) // folds.n_splits)
    if len(train) < 2 * FOLDS or kept < rows_needed(detector.target_fpr):
        return flagged[:0]  # the folds' detectors could not flag anything
    for kept, held_out in folds.split(train):
        part = clone(detector).fit(train[kept])
        flagged[held_out] = part.predict(train[held_out]) == -1
    return flagged


def shift(left_out, good):
    """Test whether good test images score like training ones that were left out."""
    if not len(good):
        return None
    test = stats.mannwhitneyu(good, left_out, alternative="two-sided")
    lower = 1 - test.statistic / (len(good) * len(left_out))
    return {"p_value": float(test.pvalue), "chance_lower": float(lower)}


def notes(figures):
    """Sentences about what the numbers mean for the working point."""
    test, folds, moved = (figures[k] for k in ("test_fpr", "fold_fpr", "shift"))
    if test is None:
        return ["There is no test/good: no false-positive rate and no AUROC."]
    target, said = figures["target_fpr"], []
    shifted = moved["p_value"] < SURE
    if not _holds(test, target):
        low, high = test["interval"]
        said.append(
            f"The false-positive rate on test/good is not the target: {target:.1%} is "
            f"outside of its 95 % interval, {low:.1%} to {high:.1%}."
        )
        if _holds(folds, target):
            said.append(
                "On held-out images of train/good it is, so that the threshold holds for "
                "images like those of the fit; those of test/good differ."
            )
    if shifted:
        side = "lower" if moved["chance_lower"] > 0.5 else "higher"
        said.append(
            f"Shift: images of test/good score {side} than left-out images of "
            f"train/good (Mann-Whitney p = {moved['p_value']:.2g}). Fit on images of the "
            "same source as those to be inspected, or recalibrate on some of them."
        )
    return said


def _holds(measured, target):
    return measured is not None and (
        measured["interval"][0] <= target <= measured["interval"][1]
    )
