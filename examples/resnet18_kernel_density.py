"""Tables of the user guide on kernel densities, measured on ResNet-18 features.

Usage::

    python examples/resnet18_kernel_density.py [FOLDER]

FOLDER holds ``features/resnet18/*.npz``, one file a category, with ``X`` (n, 512) and
``y`` (1 = anomaly, 0 = normal). It is the environment variable SKLEARN_GAUSS_DATA by
default. The features are ADBench's (``CV_by_ResNet18``).

Four tables are printed: AUROC of kernel densities and of their rivals, false-positive
rates of the working points, bandwidths beside the critical one, and AUROC against the
number of reference rows.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedKFold, cross_val_score

from sklearn_gauss.detection import KDEDetector, MahalanobisDetector
from sklearn_gauss.exceptions import (
    CalibrationWarning,
    NearestNeighborWarning,
    RankDeficientWarning,
)
from sklearn_gauss.model_selection import NormalKFold, anomaly_scorer

TARGETS = (0.01, 0.05, 0.10)
SIZES = (10, 20, 50, 100)


class NearestRow(BaseEstimator):
    """Minus the distance to the nearest training row."""

    def fit(self, X, y=None):
        self.rows_ = X.astype(np.float64)
        return self

    def score_samples(self, X):
        return -cdist(X, self.rows_).min(axis=1)


def density(bandwidth="loo", **options):
    """Return a kernel density without a threshold: AUROC needs none."""
    return KDEDetector(bandwidth, calibration=0.0, **options)


MODELS = {
    "Scott, whiten='none'": density("scott", whiten="none"),
    "loo, whiten='none'": density(whiten="none"),
    "loo, whiten='diagonal'": density(whiten="diagonal"),
    "loo (the default)": density(),
    "Scott": density("scott"),
    "condensation": density("condensation"),
    "MahalanobisDetector": MahalanobisDetector(),
    "nearest row": NearestRow(),
    "nearest row, whitened": density(0.01),
}
WORKING_POINTS = {
    "default": {},
    "whiten='none'": {"whiten": "none"},
    "calibration='quantile'": {"calibration": "quantile"},
}
REGIMES = {
    "default": {},
    "whiten='none'": {"whiten": "none"},
    "Scott, whiten='none'": {"whiten": "none", "bandwidth": "scott"},
}


def load(folder):
    """Yield name, features and labels (+1 normal, -1 anomaly) of every category."""
    files = sorted(Path(folder, "features", "resnet18").glob("*.npz"))
    if not files:
        raise SystemExit(f"no features/resnet18/*.npz in {folder!r}")
    for file in files:
        with np.load(file) as data:
            name = file.stem.removeprefix("MVTec-AD_")
            yield name, data["X"], np.where(data["y"] == 1, -1, 1)


def five_folds():
    """Return folds that train on normal rows only."""
    return NormalKFold(5, shuffle=True, random_state=0)


def print_auroc(categories):
    """Print AUROC in per cent, a line for each model."""
    print(f"{'AUROC in %':24s}" + "".join(f"{name:>11s}" for name, _, _ in categories))
    for model_name, model in MODELS.items():
        aurocs = [
            cross_val_score(model, X, y, cv=five_folds(), scoring=anomaly_scorer()).mean()
            for _, X, y in categories
        ]
        figures = "".join(f"{100 * auroc:11.1f}" for auroc in aurocs)
        print(f"{model_name:24s}{figures}   mean {100 * np.mean(aurocs):.2f}")


def measured_fpr(options, target, X, folds):
    """Share of held-out normal rows that are flagged; none where the rows are too few."""
    flagged, tested = 0, 0
    for train, test in folds.split(X):
        detector = KDEDetector(target_fpr=target, **options).fit(X[train])
        flagged += (detector.predict(X[test]) == -1).sum()
        tested += len(test)
    return flagged / tested


def print_working_points(categories, n_repeats):
    """Print measured false-positive rates, as means over the categories."""
    print("\nfalse-positive rate on unseen normal rows, at a target of")
    print(f"{'':26s}" + "".join(f"{t:8.2f}" for t in TARGETS))
    folds = RepeatedKFold(n_splits=5, n_repeats=n_repeats, random_state=0)
    for name, options in WORKING_POINTS.items():
        rates = [
            np.mean(
                [measured_fpr(options, t, X[y == 1], folds) for _, X, y in categories]
            )
            for t in TARGETS
        ]
        print(f"{name:26s}" + "".join(f"{rate:8.3f}" for rate in rates))


def print_regimes(categories):
    """Print bandwidths, critical ones, and effective neighbours of all normal rows."""
    for name, options in REGIMES.items():
        print(f"\n{name:22s}  rows        h      h_G  neighbours  regime")
        for category, X, y in categories:
            detector = KDEDetector(calibration=0.0, **options).fit(X[y == 1])
            found = detector.bandwidth_regimes_
            print(
                f"   {category:19s}  {(y == 1).sum():4d}  {detector.bandwidth_:7.3g}  "
                f"{found['h_g']:7.3g}  {found['effective_neighbors']:10.2f}  "
                f"{found['regime']}"
            )


def thinned_aurocs(categories, whiten, thinning, size, n_states):
    """Return mean AUROC over categories and folds for each random state."""
    aurocs = np.zeros((n_states, len(categories), 5))
    for c, (_, X, y) in enumerate(categories):
        for fold, (train, test) in enumerate(five_folds().split(X, y)):
            bandwidth = density(whiten=whiten).fit(X[train]).bandwidth_
            for state in range(n_states):
                detector = density(
                    bandwidth,
                    whiten=whiten,
                    thinning=thinning,
                    max_reference=size,
                    random_state=state,
                ).fit(X[train])
                scores = detector.score_samples(X[test])
                aurocs[state, c, fold] = roc_auc_score(y[test] == 1, scores)
    return aurocs.mean(axis=(1, 2))


def print_sizes(categories, n_states):
    """Print AUROC against the number of reference rows, and its spread over seeds."""
    for whiten in ("ledoit_wolf", "none"):
        print(f"\nAUROC in % of so many reference rows, whiten={whiten!r}")
        print("   rows  thinning='kernel'  thinning='random'  (mean, spread over seeds)")
        for size in SIZES:
            print(f"   {size:4d}", end="")
            for thinning in ("kernel", "random"):
                found = 100 * thinned_aurocs(categories, whiten, thinning, size, n_states)
                print(f"{found.mean():13.2f} {found.std(ddof=1):5.2f}", end="")
            print()


def main():
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", default=os.getenv("SKLEARN_GAUSS_DATA"))
    parser.add_argument("--repeats", type=int, default=4, help="of the five folds")
    parser.add_argument("--seeds", type=int, default=5, help="of the reference rows kept")
    options = parser.parse_args()
    if not options.folder:
        parser.error("give FOLDER or set SKLEARN_GAUSS_DATA")
    for warning in (CalibrationWarning, NearestNeighborWarning, RankDeficientWarning):
        warnings.simplefilter("ignore", warning)
    categories = list(load(options.folder))
    print_auroc(categories)
    print_working_points(categories, options.repeats)
    print_regimes(categories)
    print_sizes(categories, options.seeds)


if __name__ == "__main__":
    main()
