"""How well drawn defects choose and weigh scores for the real defects of a test set.

Every product is learned from its normal images alone, by the default recipe
(``make_inspector``), with defects drawn onto them; its test images only judge what was
learned. A folder is in the MVTec AD layout. With ``--generated``, products are drawn, and
of the defects to learn from those are left out that their own ones resemble.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from _without_anomalies import ALIKE, PLAIN, Product, study

from sklearn_gauss.cli._options import channels
from sklearn_gauss.datasets import load_inspection_folder, make_inspection_images
from sklearn_gauss.inspector import make_inspector

GENERATED = ["metal", "washer", "board", "wood", "fabric"]
TITLES = {
    PLAIN: "plain sum over levels",
    "sum": "sum of members",
    "best": "best",
    "stacked": "stacked",
    "hindsight": "best in hindsight",
}
WIDTH = 26


def print_row(title, cells, widths):
    aligned = (str(cell).rjust(width) for cell, width in zip(cells, widths, strict=True))
    print("  ".join([title.ljust(WIDTH), *aligned]).rstrip(), flush=True)


def percent(rate):
    """A rate with its interval."""
    share, low, high = (100 * value for value in rate)
    return f"{share:.1f} ({low:.1f} to {high:.1f})"


def print_rules(found):
    print("\nrules: AUROC on test images, and on drawn defects that they are not from")
    widths = [7, 7, 20, 0]
    print_row("rule", ["AUROC", "drawn", "FPR %", " score"], widths)
    for rule, title in TITLES.items():
        one = found["rules"][rule]
        cells = [f"{one['auroc']:.3f}", f"{one['drawn']:.3f}", percent(one["fpr"])]
        print_row(title, [*cells, " " + one["score"]], widths)
    print_row("logistic regression", [f"{found['logistic']:.3f}", "-", "-", ""], widths)


def print_scores(found):
    print("\nscores: AUROC on drawn and on test images")
    print_row("score", ["drawn", "test"], [7, 7])
    for name, pair in found["scores"].items():
        print_row(name, [f"{value:.3f}" for value in pair], [7, 7])
    print(
        f"correlation of the two: {found['pearson']:.2f}, of ranks "
        f"{found['spearman']:.2f}"
    )


def print_sets(found):
    print("\nsets of drawn defects: what is chosen, and its AUROC on test images")
    widths = [5, 7, 7, 7, 9, 0]
    heads = ["rows", "drawn", "best", "stacked", "rank corr", " score"]
    print_row("set", heads, widths)
    for title, one in found["sets"].items():
        cells = [f"{one[name]:.3f}" for name in ("drawn", "best", "stacked")]
        last = [f"{one['spearman']:.2f}", " " + one["score"]]
        print_row(title, [one["rows"], *cells, *last], widths)


def print_defects(found):
    print("\nreal defects: AUROC of each against the good test images")
    names = [*TITLES, "best for it"]
    widths = [max(7, len(name)) for name in names]
    print_row("defect", [*names, " score"], [*widths, 0])
    for kind, one in found["defects"].items():
        cells = [f"{one[name]:.3f}" for name in names]
        print_row(kind, [*cells, " " + one["score"]], [*widths, 0])


def print_shifts(found):
    if not found["shifts"]:
        return
    print("\nshifted test images: AUROC / FPR % by rule")
    print_row("shift", TITLES, [15] * len(TITLES))
    for title, rules in {"none": found["rules"], **found["shifts"]}.items():
        cells = [
            f"{rules[rule]['auroc']:.3f} / {100 * rules[rule]['fpr'][0]:.1f}"
            for rule in TITLES
        ]
        print_row(title, cells, [15] * len(TITLES))


def print_subsets(found):
    if not found["subsets"]:
        return
    draws = len(next(iter(found["subsets"].values())))
    print(f"\nnumbers of normal images, means of {draws}: AUROC +- deviation / FPR %")
    print_row("normal images", TITLES, [20] * len(TITLES))
    subsets = {**found["subsets"], found["counts"][0]: [found["rules"]]}
    for n, runs in subsets.items():
        cells = []
        for rule in TITLES:
            values = [run[rule]["auroc"] for run in runs]
            flagged = np.mean([100 * run[rule]["fpr"][0] for run in runs])
            cells.append(f"{np.mean(values):.3f} +- {np.std(values):.3f} / {flagged:.1f}")
        print_row(str(n), cells, [20] * len(TITLES))


def print_means(studies):
    print(f"\nAUROC by rule, and means over {len(studies)} products")
    names = [found["product"] for found in studies]
    widths = [max(7, len(name)) for name in [*names, "mean"]]
    print_row("rule", [*names, "mean"], widths)
    for rule, title in TITLES.items():
        values = [found["rules"][rule]["auroc"] for found in studies]
        print_row(title, [f"{v:.3f}" for v in [*values, np.mean(values)]], widths)
    for name, title in {"logistic": "logistic regression"}.items():
        values = [found[name] for found in studies]
        print_row(title, [f"{v:.3f}" for v in [*values, np.mean(values)]], widths)
    for name, title in {"pearson": "correlation", "spearman": "of ranks"}.items():
        values = [found[name] for found in studies]
        print_row(title, [f"{v:.2f}" for v in [*values, np.mean(values)]], widths)


def print_study(found, backbone):
    normal, good, bad = found["counts"]
    print(
        f"\n{found['product']}, {backbone}: {normal} normal images to learn from, {good} "
        f"good and {bad} defective ones to judge by; kinds: {', '.join(found['kinds'])}"
    )
    for print_table in (
        print_rules,
        print_scores,
        print_sets,
        print_defects,
        print_shifts,
        print_subsets,
    ):
        print_table(found)


def print_times(product, network):
    """Seconds of a fit of the recipe as it is, and milliseconds an image to judge."""
    inspector, start = make_inspector(**network), time.perf_counter()
    inspector.fit(product.train)
    middle = time.perf_counter()
    inspector.predict(product.test)
    end = time.perf_counter()
    print(
        f"\nmake_inspector: {middle - start:.1f} s to fit {len(product.train)} images, "
        f"{1e3 * (end - middle) / len(product.test):.1f} ms an image to judge"
    )


def products(options):
    """Yield what the command line names, one at a time."""
    for path in options.folders:
        folder = load_inspection_folder(path)
        yield Product(folder.name, folder.train, folder.test, folder.defect, [])
    for kind in options.generated or []:
        n_train, n_good, n_defect, size = options.counts
        drawn = make_inspection_images(
            kind,
            n_train=n_train,
            n_good=n_good,
            n_defect=n_defect,
            size=size,
            severity=options.severity,
            random_state=0,
        )
        alike = [*drawn.defect_names, *(ALIKE.get(name) for name in drawn.defect_names)]
        yield Product(kind, drawn.train, drawn.test, drawn.defect, alike)


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--generated", nargs="*", metavar="KIND", help="drawn products")
    parser.add_argument("--severity", type=float, default=0.7, help="of their defects")
    parser.add_argument("--backbone", default="noisenet")
    parser.add_argument("--weights", default="default", help="a local file")
    parser.add_argument("--mean", type=channels)
    parser.add_argument("--std", type=channels)
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--cv", type=int, default=5, help="folds")
    parser.add_argument("--n-train", nargs="*", type=int, default=[], metavar="N")
    parser.add_argument("--draws", type=int, default=3, help="subsets of each size")
    parser.add_argument(
        "--tables",
        nargs="*",
        choices=["severities", "shifts"],
        default=["severities", "shifts"],
        help="which of those to print that take images of their own",
    )
    parser.add_argument("--times", action="store_true", help="time a fit as well")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--dry-run", "--quick", action="store_true", help="few images")
    options = parser.parse_args()
    options.counts = (150, 80, 120, 224)
    if options.dry_run:
        options.input_size, options.cv = 32, 2
        options.backbone, options.counts = "tiny", (20, 2, 3, 32)
        options.generated, options.n_train, options.draws = ["metal"], [19], 1
    elif options.generated == []:
        options.generated = GENERATED
    elif not options.folders and options.generated is None:
        parser.error("give a FOLDER, or --generated")
    return options


def main():
    """Print the tables that the command line asks for."""
    options = parse()
    names = "backbone", "weights", "mean", "std", "input_size", "cv"
    network = {name: getattr(options, name) for name in names}
    studies = []
    for product in products(options):
        found = study(
            product,
            network,
            tables=options.tables,
            sizes=options.n_train,
            draws=options.draws,
        )
        studies.append(found)
        print_study(found, options.backbone)
        if options.times:
            print_times(product, network)
    if len(studies) > 1:
        print_means(studies)
    if options.json:
        Path(options.json).write_text(json.dumps(studies, indent=1))


if __name__ == "__main__":
    main()
