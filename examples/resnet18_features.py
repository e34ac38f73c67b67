"""Tables of the user guide, measured on ResNet-18 features of MVTec AD.

Usage::

    python examples/resnet18_features.py [FOLDER]

FOLDER holds ``features/resnet18/*.npz``, one file a category, with ``X`` (n, 512) and
``y`` (1 = anomaly, 0 = normal). It is the environment variable SKLEARN_GAUSS_DATA by
default. The features are ADBench's (``CV_by_ResNet18``).

Three tables are printed: AUROC of three models, false-positive rates of the working
points, and what two grid searches choose.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import CalibratedDetector, MahalanobisDetector
from sklearn_gauss.exceptions import CalibrationWarning
from sklearn_gauss.model_selection import NormalKFold, anomaly_scorer

TARGETS = (0.01, 0.05, 0.10)


def reduced_detector(**options):
    """Return the paper's model: components of the last 1 % variance, then a Gaussian."""
    return make_pipeline(LowVariancePCA(0.01), MahalanobisDetector(**options))


MODELS = {
    "Ledoit-Wolf": MahalanobisDetector(),
    "NPCA 1 %": reduced_detector(),
    "PCA 99 %": make_pipeline(LowVariancePCA(0.99, keep="high"), MahalanobisDetector()),
}
WORKING_POINTS = {
    "train quantile": lambda t: MahalanobisDetector(target_fpr=t, calibration="quantile"),
    "chi2": lambda t: MahalanobisDetector(target_fpr=t, calibration="chi2"),
    "loo": lambda t: MahalanobisDetector(target_fpr=t),
    "NPCA, plain pipeline": lambda t: reduced_detector(target_fpr=t),
    "NPCA, CalibratedDetector": lambda t: CalibratedDetector(
        reduced_detector(), target_fpr=t
    ),
}
SHRINKAGES = {
    "labelled": [0.01, 0.03, 0.1, 0.3, 0.6, 0.9],
    "unlabelled": [0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03],
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


def print_auroc(categories):
    """Print AUROC in per cent: five folds that train on normal rows only."""
    folds = NormalKFold(5, shuffle=True, random_state=0)
    print("AUROC in %          normal   anom.  " + "  ".join(MODELS))
    table = []
    for name, X, y in categories:
        aurocs = [
            100 * cross_val_score(m, X, y, cv=folds, scoring=anomaly_scorer()).mean()
            for m in MODELS.values()
        ]
        table.append(aurocs)
        print(f"{name:18s}  {(y == 1).sum():6d}  {(y == -1).sum():6d}  ", end="")
        print("  ".join(f"{a:{len(m)}.1f}" for a, m in zip(aurocs, MODELS, strict=True)))
    means = zip(np.mean(table, axis=0), MODELS, strict=True)
    print(f"{'mean':36s}" + "  ".join(f"{a:{len(m)}.1f}" for a, m in means))


def measured_fpr(make_detector, target, X, folds):
    """Share of held-out normal rows that are flagged; none where the rows are too few."""
    flagged = 0
    for train, test in folds.split(X):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            detector = make_detector(target).fit(X[train])
        flagged += (detector.predict(X[test]) == -1).sum()
    return flagged / (len(X) * folds.get_n_splits() / 5)


def print_working_points(categories, n_repeats):
    """Print measured false-positive rates, as means over the categories."""
    print("\nfalse-positive rate on unseen normal rows, at a target of")
    print(f"{'':26s}" + "".join(f"{t:8.2f}" for t in TARGETS))
    for name, make_detector in WORKING_POINTS.items():
        repeats = n_repeats if not name.startswith("NPCA") else 1
        folds = RepeatedKFold(n_splits=5, n_repeats=repeats, random_state=0)
        rates = [
            np.mean(
                [
                    measured_fpr(make_detector, t, X[y == 1], folds)
                    for _, X, y in categories
                ]
            )
            for t in TARGETS
        ]
        print(f"{name:26s}" + "".join(f"{rate:8.3f}" for rate in rates))


def print_searches(categories):
    """Print the choice of a search with labels and of one without."""
    folds, scorer = NormalKFold(5, shuffle=True, random_state=0), anomaly_scorer()
    labelled = GridSearchCV(
        Pipeline([("reduce", LowVariancePCA()), ("detect", MahalanobisDetector())]),
        {
            "reduce__variance": [0.001, 0.01, 0.1, 1.0],
            "detect__shrinkage": SHRINKAGES["labelled"],
        },
        cv=folds,
        scoring=scorer,
        refit=False,
    )
    unlabelled = GridSearchCV(
        MahalanobisDetector(),
        {"shrinkage": SHRINKAGES["unlabelled"]},
        cv=KFold(5, shuffle=True, random_state=0),
    )
    print(f"\n{'searches':12s}{'with labels':>38s}{'without':>34s}")
    print(f"{'':14s}" + 2 * f"{'variance':>12s}{'shrinkage':>12s}{'AUROC %':>10s}")
    warnings.simplefilter("ignore", CalibrationWarning)
    for name, X, y in categories:
        labelled.fit(X, y)
        unlabelled.fit(X[y == 1])
        shrinkage = unlabelled.best_params_["shrinkage"]
        auroc = cross_val_score(
            MahalanobisDetector(shrinkage=shrinkage), X, y, cv=folds, scoring=scorer
        ).mean()
        chosen = labelled.best_params_
        rows = [
            (
                chosen["reduce__variance"],
                chosen["detect__shrinkage"],
                labelled.best_score_,
            ),
            (1.0, shrinkage, auroc),
        ]
        print(
            f"{name:14s}"
            + "".join(f"{v:12g}{a:12g}{100 * score:10.1f}" for v, a, score in rows)
        )


def main():
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", default=os.getenv("SKLEARN_GAUSS_DATA"))
    parser.add_argument("--repeats", type=int, default=4, help="of the five folds")
    options = parser.parse_args()
    if not options.folder:
        parser.error("give FOLDER or set SKLEARN_GAUSS_DATA")
    categories = list(load(options.folder))
    print_auroc(categories)
    print_working_points(categories, options.repeats)
    print_searches(categories)


if __name__ == "__main__":
    main()
