"""Detectors of this package, of scikit-learn and of PyOD, side by side on real features.

Usage::

    python benchmarks/detectors.py [FOLDER] [--rst]

FOLDER holds ``features/resnet18/*.npz``, one file a category, with ``X`` (n, 512) and
``y`` (1 = anomaly, 0 = normal); it is the environment variable SKLEARN_GAUSS_DATA by
default. Every detector is fitted to four fifths of the normal rows, and tested on the
last fifth and on the anomalies, with its own threshold for a target of 5 %.
"""

import argparse
import os
import sys
import time
import warnings
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from _detectors import (
    SLOW,
    class_conditional,
    labelled,
    own,
    pyod,
    robust,
    scikit_learn,
)
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedKFold

#: Labelled anomalies in training, for what can use them.
LABELLED = 10
#: What stands beside that: detectors that learn from the same normal rows.
UNLABELLED = ("MahalanobisDetector()", "KDEDetector()", "LocalOutlierFactor", "KNN")
#: Shares of anomalies among training rows that are taken for normal.
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3)
TITLES = {
    "A": "a detector for each category",
    "B": "one detector for all categories",
    "C": f"a detector for each category, {LABELLED} anomalies labelled",
    "D": "AUROC / FPR / TPR in %, by share of anomalies in training",
}


# ------------------------------------------------------------------------ data
def load(folder):
    """Features and labels (1 = anomaly) of every category, by name."""
    files = sorted(Path(folder, "features", "resnet18").glob("*.npz"))
    if not files:
        raise SystemExit(f"no features/resnet18/*.npz in {folder!r}")
    categories = {}
    for file in files:
        with np.load(file) as data:
            name = file.stem.removeprefix("MVTec-AD_")
            categories[name] = np.asarray(data["X"], dtype=np.float64), data["y"]
    return categories


def generated():
    """Two small categories, to see that all of it runs."""
    rng = np.random.default_rng(0)
    categories = {}
    for i in range(2):
        X = rng.normal(size=(52, 12)) + 4 * i
        X[30:, :3] += 3.0
        categories[f"drawn {i}"] = X, np.repeat([0, 1], [30, 22])
    return categories


# -------------------------------------------------------------------- measuring
def measure(make, train, y, normal, anomalies):
    """AUROC, shares of normal rows and of anomalies that are flagged, and seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = make()
        detector = detector.fit(train) if y is None else detector.fit(train, y)
        scores = [detector.score_samples(rows) for rows in (normal, anomalies)]
        seconds = time.perf_counter() - start
        flagged = [(detector.predict(rows) == -1).mean() for rows in (normal, anomalies)]
    scores = np.concatenate(scores)
    if np.isnan(scores).any():
        print(f"{np.isnan(scores).sum()} scores are NaN", file=sys.stderr)
        return [np.nan, np.nan, np.nan, seconds]
    truth = np.repeat([1, 0], [len(normal), len(anomalies)])
    auroc = roc_auc_score(truth, np.nan_to_num(scores))  # infinite ones are large
    return [auroc, *flagged, seconds]


def some(categories, repeats):
    """Features and labels of the categories; in a dry run, of the first one."""
    return islice(categories.values(), None if repeats else 1)


def folds(count, repeats):
    """Five folds, so many times; in a dry run, none at all, the first of them alone."""
    splitter = RepeatedKFold(n_splits=5, n_repeats=max(repeats, 1), random_state=0)
    return islice(splitter.split(np.zeros(count)), None if repeats else 1)


def by_category(make, categories, repeats, *, use=0, labels=False):
    """Means over folds, then over categories, of which ``use`` anomalies are no test."""
    rows = []
    for X, y in some(categories, repeats):
        normal, anomalies = X[y == 0], X[y == 1]
        order = np.random.default_rng(0).permutation(len(anomalies))
        known, tested = anomalies[order[:use]], anomalies[order[use:]]
        found = []
        for train, test in folds(len(normal), repeats):
            fitted, classes = normal[train], None
            if labels:
                fitted = np.vstack([fitted, known])
                classes = np.repeat([1, -1], [len(train), len(known)])
            found.append(measure(make, fitted, classes, normal[test], tested))
        rows.append(summary(found))
    return np.mean(rows, axis=0)


def together(make, categories, repeats, *, classes=False):
    """All categories are learned together, with the category of each row or without."""
    normal = np.vstack([X[y == 0] for X, y in categories.values()])
    names = np.repeat(list(categories), [(y == 0).sum() for _, y in categories.values()])
    anomalies = np.vstack([X[y == 1] for X, y in categories.values()])
    order = np.random.default_rng(0).permutation(len(normal))  # not one by one
    normal, names = normal[order], names[order]
    found = []
    for train, test in folds(len(normal), repeats):
        told = names[train] if classes else None
        found.append(measure(make, normal[train], told, normal[test], anomalies))
    return summary(found)


def summary(found):
    """Means over folds; of seconds the median, which no first import or start decides."""
    found = np.array(found)
    return np.append(found[:, :3].mean(axis=0), np.median(found[:, 3]))


def contaminated(make, categories, repeats, share):
    """Training rows, as many at every share, of which a share are anomalies."""
    rows = []
    for X, y in some(categories, repeats):
        normal, anomalies = X[y == 0], X[y == 1]
        order = np.random.default_rng(0).permutation(len(anomalies))
        hidden, tested = np.array_split(anomalies[order], 2)
        found = []
        for train, test in folds(len(normal), repeats):
            count = min(len(train), int(len(hidden) / max(SHARES)))
            bad = round(share * count)
            fitted = np.vstack([normal[train[: count - bad]], hidden[:bad]])
            found.append(measure(make, fitted, None, normal[test], tested))
        rows.append(summary(found))
    return np.mean(rows, axis=0)


# ----------------------------------------------------------------------- tables
def everyone(p):
    """Every detector that learns from normal rows alone, by library."""
    return {
        "sklearn_gauss": own(p),
        "scikit-learn": scikit_learn(p),
        "PyOD": pyod(),
    }


def table_a(categories, repeats, chosen):
    for library, makers in everyone(features(categories)).items():
        for name in chosen(makers):
            work = partial(by_category, makers[name], categories, repeats)
            yield library, name, tried(work, library)


def table_b(categories, repeats, chosen):
    told = class_conditional(features(categories))
    for name in chosen(told):
        found = together(told[name], categories, repeats, classes=True)
        yield "sklearn_gauss, classes", name, found
    for library, makers in everyone(features(categories)).items():
        for name in chosen(makers):
            if name != SLOW:
                work = partial(together, makers[name], categories, repeats)
                yield library, name, tried(work, library)


def table_c(categories, repeats, chosen):
    options = {"use": LABELLED}
    for library, makers in labelled().items():
        for name in chosen(makers):
            found = by_category(makers[name], categories, repeats, labels=True, **options)
            yield library, name, found
    for library, makers in everyone(features(categories)).items():
        for name in chosen({name: makers[name] for name in UNLABELLED if name in makers}):
            yield library, name, by_category(makers[name], categories, repeats, **options)


def table_d(categories, repeats, chosen):
    makers = robust()
    for name in chosen(makers):
        found = [contaminated(makers[name], categories, repeats, s) for s in SHARES]
        yield "", name, found


def tried(work, library):
    """What a work finds; NaN where a detector that is not ours refuses the rows."""
    try:
        return work()
    except ValueError as error:
        if library != "PyOD":
            raise
        print(f"refused: {error}", file=sys.stderr)
        return np.full(4, np.nan)


def named(table, p):
    """Names of the detectors of a table."""
    everything = [name for makers in everyone(p).values() for name in makers]
    return {
        "A": everything,
        "B": [*class_conditional(p), *(name for name in everything if name != SLOW)],
        "C": [name for makers in labelled().values() for name in makers]
        + [name for name in UNLABELLED if name in everything],
        "D": list(robust()),
    }[table]


TABLES = {"A": table_a, "B": table_b, "C": table_c, "D": table_d}


def features(categories):
    return next(iter(categories.values()))[0].shape[1]


# --------------------------------------------------------------------- printing
def heads(table):
    if table == "D":
        return ["detector", *(f"{100 * share:g} %" for share in SHARES)]
    return ["library", "detector", "AUROC", "FPR", "TPR", "seconds"]


def cells(table, library, name, found, quote=""):
    """One row of text: rates in per cent."""
    if table == "D":
        shares = (" / ".join(map(percent, rates[:3])) for rates in found)
        return [f"{quote}{name}{quote}", *shares]
    auroc, fpr, tpr, seconds = found
    rates = [percent(auroc), percent(fpr), percent(tpr)]
    seconds = "n/a" if np.isnan(seconds) else f"{seconds:.2g}"
    return [library, f"{quote}{name}{quote}", *rates, seconds]


def percent(rate):
    return "n/a" if np.isnan(rate) else f"{100 * rate:.1f}"


def print_text(table, rows):
    """Rows as they come."""
    print(f"\n{table}: {TITLES[table]}")
    widths = [40, *[19] * len(SHARES)] if table == "D" else [23, 45, 7, 7, 7, 8]
    left = 1 if table == "D" else 2
    print(aligned(heads(table), widths, left), flush=True)
    for row in rows:
        print(aligned(cells(table, *row), widths, left), flush=True)


def aligned(row, widths, left):
    parts = [
        cell.ljust(width) if i < left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return " ".join(parts).rstrip()


def print_rst(table, rows):
    """A table of reStructuredText, when all rows are there."""
    body = [cells(table, *row, quote="``") for row in rows]
    widths = [max(map(len, column)) for column in zip(heads(table), *body, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    print(f"\n.. table:: {table}: {TITLES[table]}\n   :class: wide\n")
    for line in [rule, heads(table), rule, *body, rule]:
        if not isinstance(line, str):
            line = "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
        print(f"   {line}".rstrip(), flush=True)


def check(parser, options, categories, tables):
    """Refuse names of categories and parts of names of detectors that nothing has."""
    unknown = [name for name in options.categories or () if name not in categories]
    if unknown:
        parser.error(
            f"--categories: no {', '.join(unknown)}; there are {', '.join(categories)}"
        )
    names = [name for table in tables for name in named(table, features(categories))]
    for part in options.detectors:
        if not any(part in name for name in names):
            known = "; ".join(dict.fromkeys(names))
            parser.error(f"--detectors: none has {part!r} in its name; there are {known}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", default=os.getenv("SKLEARN_GAUSS_DATA"))
    parser.add_argument("--only", nargs="+", choices=TABLES, default=["A", "B", "C"])
    parser.add_argument("--contamination", action="store_true", help="table D, too")
    parser.add_argument("--detectors", nargs="+", default=[""], help="parts of names")
    parser.add_argument("--categories", nargs="+", help="some of them")
    parser.add_argument("--repeats", type=int, default=1, help="of the five folds")
    parser.add_argument("--rst", action="store_true", help="tables for the user guide")
    parser.add_argument("--dry-run", action="store_true", help="small, drawn rows")
    return parser


def main():
    """Read the arguments and print the tables."""
    parser = arguments()
    options = parser.parse_args()
    if not options.dry_run and not options.folder:
        parser.error("give FOLDER or set SKLEARN_GAUSS_DATA")
    categories = generated() if options.dry_run else load(options.folder)
    tables = [*options.only, *(["D"] if options.contamination else [])]
    tables = list(dict.fromkeys(tables))
    check(parser, options, categories, tables)
    if options.categories:
        categories = {name: categories[name] for name in options.categories}

    def chosen(makers):
        parts = options.detectors
        return [name for name in makers if any(part in name for part in parts)]

    show = print_rst if options.rst else print_text
    repeats = 0 if options.dry_run else options.repeats
    for table in tables:
        show(table, TABLES[table](categories, repeats, chosen))
    if not pyod():
        print("\nPyOD: not installed")


if __name__ == "__main__":
    main()
