"""Image AUROC of frozen backbones on folders of inspection images.

One Gaussian for each level of a backbone, fitted to the pooled maps of the training
images; the AUROC of each level's distance and of their sum, as the command line does it.

A folder is in the MVTec AD layout. A backbone is ``NAME`` (its own weights) or
``NAME=WEIGHTS``, where ``WEIGHTS`` is a local file or ``none`` for random ones;
``NAME=WEIGHTS:MEAN:STD`` also states the normalisation, each one or three numbers
separated by commas.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from sklearn_gauss.cli._options import channels
from sklearn_gauss.cli._recipe import columns_of_levels, extract, new_detector
from sklearn_gauss.datasets import (
    load_inspection_folder,
    make_inspection_images,
    save_inspection_folder,
)
from sklearn_gauss.exceptions import WeightsMismatchError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

SUM = "sum"
DATA = "SKLEARN_GAUSS_DATA"


class Backbone(NamedTuple):
    """A backbone as the command line names it."""

    title: str
    name: str
    weights: str | None = "default"
    mean: list | None = None
    std: list | None = None

    def extractor(self):
        """Return an unfitted extractor."""
        return CNNFeatureExtractor(
            backbone=self.name, weights=self.weights, mean=self.mean, std=self.std
        )


def backbone(text):
    """Return the backbone that ``NAME[=WEIGHTS[:MEAN:STD]]`` names."""
    name, equals, rest = text.partition("=")
    if not equals:
        return Backbone(text, name)
    weights, *scale = rest.rsplit(":", 2) if rest.count(":") >= 2 else [rest]
    title = f"{name}, {'random' if weights == 'none' else Path(weights).name}"
    return Backbone(
        title, name, None if weights == "none" else weights, *map(channels, scale)
    )


def default_backbones():
    """Return the bundled network, the same at random, and those with a local file."""
    found = [
        Backbone("noisenet", "noisenet"),
        Backbone("noisenet, random weights", "noisenet", None),
    ]
    folder = os.environ.get(DATA)
    files = {
        "torchvision/squeezenet1_1": ("squeezenet1_1.safetensors",),
        "timm/mobilenetv2_100": ("mobilenetv2_100.safetensors", [0.5] * 3, [0.5] * 3),
    }
    for name, (file, *scale) in files.items():
        path = Path(folder or "", "weights", file)
        if folder and path.exists():
            found.append(Backbone(f"{name}, ImageNet", name, str(path), *scale))
    return [each for each in found if is_complete(each)]


def is_complete(each):
    """Whether the libraries and files of a backbone are there; said where not."""
    try:
        fit(each.extractor(), np.zeros((1, 8, 8, 3), np.uint8))
    except (ImportError, FileNotFoundError, WeightsMismatchError) as error:
        print(f"{each.title}: left out ({error})", file=sys.stderr)
        return False
    return True


def fit(extractor, images):
    """Fit an extractor, random weights without the warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "weights=None", UserWarning)
        extractor.fit(images)


def some(places, limit, rng):
    """At most ``limit`` of the places, drawn at random, in their order."""
    if limit is None or len(places) <= limit:
        return places
    return np.sort(rng.choice(places, limit, replace=False))


def listing(path, limit=None):
    """Training paths, test paths and kinds of a folder, ``limit`` of each kind."""
    folder, rng = load_inspection_folder(path), np.random.default_rng(0)
    train = some(np.arange(len(folder.train)), limit, rng)
    test = np.concatenate(
        [
            some(np.flatnonzero(folder.defect == kind), limit, rng)
            for kind in dict.fromkeys(folder.defect)
        ]
    )
    return (
        [folder.train[i] for i in train],
        [folder.test[i] for i in test],
        folder.defect[test],
    )


def auroc_table(folder, extractor, *, limit=None):
    """Image AUROC of every level and of the sum of levels, by name.

    ``folder`` is a path; ``extractor`` any ``CNNFeatureExtractor`` with pooled levels,
    whose backbone may be a module or a callable; ``limit`` the most images of a kind,
    training images being one.
    """
    train, test, kinds = listing(folder, limit)
    fit(extractor, train[:1])
    # No threshold is used; one half certifies with a single row.
    detector = new_detector(extractor, aggregate="sum", target_fpr=0.5)
    detector.fit(extract(extractor, train, "training images"))
    distances = -detector.level_scores(extract(extractor, test, "test images"))
    by_name = dict(zip(columns_of_levels(extractor), distances.T, strict=True))
    by_name[SUM] = distances.sum(axis=1)
    bad = kinds != "good"
    return {name: float(roc_auc_score(bad, values)) for name, values in by_name.items()}


def rows(found):
    """Lines of cells: a level, its AUROC on each folder, and their mean."""
    for level in next(iter(found.values())):
        values = [table[level] for table in found.values()]
        yield [level, *(f"{value:.3f}" for value in (*values, np.mean(values)))]


def print_plain(title, found):
    print(title)
    lines = [["level", *found, "mean"], *rows(found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        aligned = (c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))
        print(f"   {name.ljust(widths[0])}  {'  '.join(aligned)}")


def print_markdown(title, found):
    print("\n| " + " | ".join([title, *found, "mean"]) + " |")
    print("|---" * (len(found) + 2) + "|")
    for cells in rows(found):
        print("| " + " | ".join(cells) + " |")


FORMATS = {"plain": print_plain, "md": print_markdown}


def run(folders, backbones, limit, print_table):
    for each in backbones:
        found = {
            Path(folder).resolve().name: auroc_table(
                folder, each.extractor(), limit=limit
            )
            for folder in folders
        }
        print_table(each.title, found)


def dry_run(print_table):
    """Run random weights on drawn images."""
    images = make_inspection_images(
        n_train=12, n_good=4, n_defect=8, size=32, random_state=0
    )
    with tempfile.TemporaryDirectory() as root:
        folder = save_inspection_folder(images, Path(root, "tile"))
        run([folder], [Backbone("tiny, random weights", "tiny", None)], 10, print_table)


def main():
    """Print the table of every backbone that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--backbone", nargs="+", type=backbone)
    parser.add_argument("--limit", type=int, help="most images of a kind")
    parser.add_argument("--format", choices=FORMATS, default="plain")
    parser.add_argument("--dry-run", action="store_true", help="drawn images")
    options = parser.parse_args()
    print_table = FORMATS[options.format]
    if options.dry_run:
        dry_run(print_table)
    elif options.folders:
        backbones = options.backbone or default_backbones()
        run(options.folders, backbones, options.limit, print_table)
    else:
        parser.error("give a FOLDER")


if __name__ == "__main__":
    main()
