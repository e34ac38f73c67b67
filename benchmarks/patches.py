"""Detectors of patches, of pooled features, and anomalib's: same images, same network.

Every method has a process of its own, one after another, with the same images, backbone,
weights, levels, input size and threads; see README.md for what is measured, and how.

A folder is in the MVTec AD layout. With ``--generated``, products are drawn, with masks.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from sklearn_gauss import detection
from sklearn_gauss.cli._options import channels
from sklearn_gauss.datasets import make_inspection_images, save_inspection_folder

LEVELS = {
    "noisenet": ["block2", "block4"],
    "tiny": ["stage2", "stage3"],
    "timm/mobilenetv2_100": ["blocks.2", "blocks.4"],
    "torchvision/squeezenet1_1": ["features.7", "features.12"],
}
KINDS = ["tile", "fabric", "gear", "board"]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

TITLES = {
    "network": "the network alone",
    "ensemble": "LevelEnsemble (sum)",
    "ensemble-all": "LevelEnsemble (sum), all levels",
    "mahalanobis": "MahalanobisDetector",
    "gaussian": "PatchGaussianDetector",
    "gaussian-float32": "  precision='float32'",
    "gaussian-shared": "  covariance='shared'",
    "gaussian-few": "  float32, {few} channels",
    "gaussian-coarse": "  float32, grid={grid}",
    "gaussian-drawn": "    channels drawn, not projected",
    "kde": "PatchKDEDetector",
    "kde-coarse": "  grid={grid}",
    "padim": "anomalib PaDiM",
    "patchcore": "anomalib PatchCore, {coreset:.3g} kept",
}
COLUMNS = {
    "auroc": ("AUROC", ".3f"),
    "fpr": ("FPR %", ".1f"),
    "fit": ("fit s", ".2f"),
    "score": ("score ms", ".2f"),
    "network": ("network ms", ".1f"),
    "peak": ("peak MiB", ".0f"),
    "size": ("model MiB", ".1f"),
    "pixel_auroc": ("pixel AUROC", ".3f"),
    "aupro": ("AUPRO", ".3f"),
}


def is_missing(method):
    """Say what a method lacks; None if it can run."""
    if method.startswith("kde") and not hasattr(detection, "PatchKDEDetector"):
        return "this version has no PatchKDEDetector"
    is_theirs = method in ("padim", "patchcore")
    if is_theirs and importlib.util.find_spec("anomalib") is None:
        return "anomalib is not installed"
    return None


def run(task, threads):
    """Return what the process of one task measures, on so many threads."""
    environment = os.environ | dict.fromkeys(THREADS, str(threads))
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("_patches.py"), json.dumps(task)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{task['method']} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def repeated(task, threads, repeats):
    """Medians over runs, each with a seed of its own, and the runs' AUROC."""
    runs = [run(task | {"seed": seed}, threads) for seed in range(repeats)]
    medians = {name: median(one[name] for one in runs) for name in runs[0]}
    return medians, [one["auroc"] for one in runs if "auroc" in one]


def print_cells(title, cells):
    """Print one line of a table, at once."""
    widths = [max(len(head), 5) for head, _ in COLUMNS.values()]
    aligned = [c.rjust(w) for c, w in zip(cells, widths, strict=True)]
    print("  ".join([title.ljust(34), *aligned]).rstrip(), flush=True)


def print_table(folder, options, missing):
    """Run all methods on a folder, print a line of each, and return what they found."""
    print(f"\n{Path(folder).resolve().name}:")
    print_cells("method", [head for head, _ in COLUMNS.values()])
    found = {}
    for method in options.only:
        if method in missing:
            continue
        title = TITLES[method].format(**vars(options))
        task = task_of(folder, method, options)
        medians, aurocs = repeated(task, options.threads, options.repeats)
        cells = [
            format(medians[name], form) if name in medians else "-"
            for name, (_, form) in COLUMNS.items()
        ]
        print_cells(title, cells)
        if len(set(aurocs)) > 1:
            print(f"    AUROC {min(aurocs):.3f} to {max(aurocs):.3f}")
        found[method] = medians
    return found


def task_of(folder, method, options):
    """Return a task for `_patches.py`."""
    network = {
        "backbone": options.backbone,
        "weights": options.weights,
        "levels": options.levels,
        "mean": options.mean,
        "std": options.std,
        "input_size": options.input_size,
    }
    return {
        "folder": str(folder),
        "method": method,
        "network": network,
        "limit": options.limit,
        "channels": options.channels,
        "few": options.few,
        "grid": options.grid,
        "coreset": options.coreset,
    }


def print_means(tables, options):
    """Print means over drawn products."""
    print(f"\nmeans of {', '.join(tables)}:")
    print_cells("method", [head for head, _ in COLUMNS.values()])
    for method in next(iter(tables.values())):
        rows = [table[method] for table in tables.values()]
        cells = [
            format(sum(row[name] for row in rows) / len(rows), form)
            if name in rows[0]
            else "-"
            for name, (_, form) in COLUMNS.items()
        ]
        print_cells(TITLES[method].format(**vars(options)), cells)


def draw(root, kind, size, **counts):
    """Write a folder of drawn images."""
    images = make_inspection_images(kind, size=size, random_state=0, **counts)
    return save_inspection_folder(images, Path(root, kind))


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--generated", nargs="*", metavar="KIND", help="drawn products")
    parser.add_argument("--backbone", default="noisenet")
    parser.add_argument("--weights", default="default", help="a local file")
    parser.add_argument("--mean", type=channels)
    parser.add_argument("--std", type=channels)
    parser.add_argument("--levels", nargs="+")
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--few", type=int, default=32, help="channels of the small model")
    parser.add_argument("--grid", type=int, default=14, help="cells of the coarse grid")
    parser.add_argument("--coreset", type=float, default=0.1, help="PatchCore's share")
    parser.add_argument("--limit", type=int, help="most images of a kind")
    parser.add_argument("--repeats", type=int, default=1, help="runs, a seed each")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dry-run", action="store_true", help="a few small images")
    options = parser.parse_args()
    if options.dry_run:
        options.backbone, options.input_size, options.grid = "tiny", 64, 4
        options.only = ["gaussian", "padim", "patchcore"]
    elif not options.folders and options.generated is None:
        parser.error("give a FOLDER, or --generated")
    options.levels = options.levels or LEVELS.get(options.backbone)
    if options.levels is None:
        parser.error(f"give the --levels of {options.backbone}")
    return options


def main():
    """Print the tables that the command line asks for."""
    options = parse()
    missing = {each: is_missing(each) for each in options.only}
    missing = {each: reason for each, reason in missing.items() if reason}
    for method, reason in missing.items():
        print(f"{method}: left out, {reason}")
    print(
        f"{options.backbone}, {', '.join(options.levels)}; {options.channels} channels; "
        f"input {options.input_size}; threads: {options.threads}; runs: {options.repeats}"
    )
    for folder in options.folders:
        print_table(folder, options, missing)
    if options.generated is not None or options.dry_run:
        kinds = ["tile"] if options.dry_run else options.generated or KINDS
        counts = {"n_train": 100, "n_good": 40, "n_defect": 60}
        if options.dry_run:
            counts = {"n_train": 12, "n_good": 2, "n_defect": 2}
        with tempfile.TemporaryDirectory() as root:
            tables = {
                kind: print_table(
                    draw(root, kind, options.input_size, **counts), options, missing
                )
                for kind in kinds
            }
        if len(kinds) > 1:
            print_means(tables, options)


if __name__ == "__main__":
    main()
