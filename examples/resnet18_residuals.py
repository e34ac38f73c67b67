"""Residuals and labelled anomalies, measured on ResNet-18 features of MVTec AD.

Usage::

    python examples/resnet18_residuals.py [FOLDER]

FOLDER holds ``features/resnet18/*.npz``, one file a category, with ``X`` (n, 512) and
``y`` (1 = anomaly, 0 = normal). It is the environment variable SKLEARN_GAUSS_DATA by
default. The features are ADBench's (``CV_by_ResNet18``).

Two tables are printed: ROC AUC and false-positive rates of a Gaussian behind residuals,
and what `NormalAbnormalDetector` gains by labelled anomalies over ignoring them.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from sklearn_gauss.detection import MahalanobisDetector, NormalAbnormalDetector
from sklearn_gauss.residual import ReferenceResidual

RESIDUALS = {
    "features themselves": None,
    "cosine": ReferenceResidual(),
    "euclidean": ReferenceResidual(metric="euclidean"),
    "cosine, squared": ReferenceResidual(squared=True),
    "cosine, 8 references": ReferenceResidual(8),
    "cosine, soft": ReferenceResidual(lookup="soft"),
}
LABELLED = {
    "mahalanobis": NormalAbnormalDetector(),
    "cosine": NormalAbnormalDetector(metric="cosine"),
    "NAGL's score": NormalAbnormalDetector(
        metric="cosine", weight=0.5, standardize=False
    ),
}


def load(folder):
    """Yield normal rows and anomalies of every category."""
    files = sorted(Path(folder, "features", "resnet18").glob("*.npz"))
    if not files:
        raise SystemExit(f"No features/resnet18/*.npz in {folder!r}.")
    for file in files:
        with np.load(file) as data:
            yield data["X"][data["y"] == 0], data["X"][data["y"] == 1]


def measure(detector, normal, unseen, anomalies):
    """ROC AUC, and the share of unseen normal rows that is flagged."""
    scores = detector.fit(normal).score_samples(np.concatenate([unseen, anomalies]))
    y = np.repeat([1, 0], [len(unseen), len(anomalies)])
    return roc_auc_score(y, scores), (detector.predict(unseen) == -1).mean()


def print_residuals(categories):
    """Print what residuals do to ROC AUC and false-positive rates, in 5 folds."""
    print("ReferenceResidual, then MahalanobisDetector   ROC AUC   FPR at 0.05")
    for name, residual in RESIDUALS.items():
        found = []
        for normal, anomalies in categories:
            for train, test in KFold(5, shuffle=True, random_state=0).split(normal):
                model = MahalanobisDetector()
                if residual is not None:
                    model = make_pipeline(clone(residual), model)
                found.append(measure(model, normal[train], normal[test], anomalies))
        auc, rate = np.mean(found, axis=0)
        print(f"  {name:43s} {auc:.3f}     {rate:.3f}")


def deal(anomalies, count, by_kind, normal, rng):
    """Anomalies to label, and those to test on: others of them, or other kinds."""
    order = rng.permutation(len(anomalies))
    if not by_kind:
        return order[:count], order[count:]
    root = np.linalg.cholesky(LedoitWolf().fit(normal).precision_)
    directions = (anomalies - normal.mean(axis=0)) @ root
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    kinds = KMeans(4, n_init=1, random_state=0).fit_predict(directions)
    known = np.isin(kinds, rng.permutation(4)[:2])[order]
    return order[known][:count], order[~known]


def gains(detector, categories, count, by_kind, n_draws):
    """Gains in ROC AUC over draws and categories; how often labels were used."""
    found, used = [], []
    for normal, anomalies in categories:
        for seed in range(n_draws):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(normal))
            cut = len(normal) * 4 // 5
            train, unseen = normal[order[:cut]], normal[order[cut:]]
            labelled, rest = deal(anomalies, count, by_kind, train, rng)
            X = np.concatenate([train, anomalies[labelled]])
            y = np.repeat([1, -1], [len(train), len(labelled)])
            tests = np.concatenate([unseen, anomalies[rest]])
            y_tests = np.repeat([1, 0], [len(unseen), len(rest)])
            using = clone(detector).fit(X, y)
            ignoring = clone(detector).set_params(weight=0).fit(X, y)
            areas = [
                roc_auc_score(y_tests, one.score_samples(tests))
                for one in (using, ignoring)
            ]
            found.append(areas[0] - areas[1])
            used.append(using.uses_labels_)
    return np.array(found), np.mean(used)


def print_gains(categories, n_draws=6):
    """Print what labels gain for others of their kind, and for other kinds."""
    print("\nNormalAbnormalDetector: gain in ROC AUC over weight=0")
    print("  score          kinds      labels   mean    worst   used in")
    for name, detector in LABELLED.items():
        for by_kind in (False, True):
            for count in (5, 10, 20):
                with warnings.catch_warnings():  # kinds of fewer than five
                    warnings.simplefilter("ignore", UserWarning)
                    found, used = gains(detector, categories, count, by_kind, n_draws)
                kind = "others" if by_kind else "the same"
                print(
                    f"  {name:14s} {kind:10s} {count:5d}   {found.mean():+.3f}  "
                    f"{found.min():+.3f}   {100 * used:3.0f} %",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=os.environ.get("SKLEARN_GAUSS_DATA"))
    folder = parser.parse_args().folder
    if folder is None:
        parser.error("give FOLDER or set SKLEARN_GAUSS_DATA")
    everything = list(load(folder))
    print_residuals(everything)
    print_gains(everything)
