"""What all commands do: from paths of images to features and a fitted detector."""

import os
from dataclasses import dataclass

import numpy as np

from sklearn_gauss.cli._terminal import progress
from sklearn_gauss.detection import LevelEnsemble, MahalanobisDetector
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

CHUNK = 64  # images between two reports of progress


@dataclass
class Model:
    """A fitted extractor and the detector that was fitted to its features."""

    extractor: CNNFeatureExtractor
    detector: LevelEnsemble


def new_extractor(args, **options):
    """Return the extractor that the options of the command line ask for."""
    weights = args.weights
    if weights not in (None, "default"):
        weights = os.path.abspath(weights)  # a model is used from anywhere
    return CNNFeatureExtractor(
        backbone=args.backbone,
        weights=weights,
        levels=args.levels,
        pooling=args.pooling,
        input_size=getattr(args, "input_size", None),
        mean=getattr(args, "mean", None),
        std=getattr(args, "std", None),
        device=args.device,
        batch_size=args.batch_size,
        random_state=args.seed,
        **options,
    )


def new_detector(extractor, *, aggregate, target_fpr):
    """Return one Gaussian for each level of a fitted extractor, unfitted."""
    return LevelEnsemble(
        MahalanobisDetector(),
        levels=columns_of_levels(extractor),
        aggregate=aggregate,
        target_fpr=target_fpr,
    )


def columns_of_levels(extractor):
    """Columns of each level, from feature names of the form ``level__channel``."""
    columns = {}
    for column, name in enumerate(extractor.get_feature_names_out()):
        columns.setdefault(name.rpartition("__")[0], []).append(column)
    return {level: np.array(places) for level, places in columns.items()}


def extract(extractor, paths, what):
    """Features of images, in their order, with progress on a terminal."""
    report, blocks = progress(len(paths), what), []
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        blocks.append(extractor.transform(chunk))
        report(start + len(chunk))
    return np.concatenate(blocks)


def check_enough(paths, folder):
    """Refuse to fit a Gaussian to a single image."""
    if len(paths) < 2:
        raise ValueError(f"{folder}: {len(paths)} image; a fit needs two at least.")


def network_line(extractor):
    """One line about the network in use."""
    random = extractor.backbone == "tiny" or extractor.weights is None
    source = f"random weights, seed {extractor.seed_}" if random else extractor.weights
    if extractor.weights == "default" and not random:
        source = "the library's weights"
    height, width = extractor.input_size_
    return (
        f"{extractor.backbone} ({source}), {len(extractor.levels_)} levels, "
        f"{extractor.n_features_out_} features, {height} x {width} pixels"
    )
