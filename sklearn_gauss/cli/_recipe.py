"""What all commands do: from paths of images to features and a fitted detector."""

import os
from dataclasses import dataclass

import numpy as np

from sklearn_gauss.cli._terminal import progress
from sklearn_gauss.detection import LevelEnsemble, MahalanobisDetector
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

CHUNK = 64  # images between two reports of progress
NAMED = 10  # unreadable images that an error names


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
    """Features of images, in their order, with progress on a terminal.

    All images are tried, and one error names those that cannot be read.
    """
    report, blocks, unread = progress(len(paths), what), [], []
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        try:
            blocks.append(extractor.transform(chunk))
        except ImageReadError:
            unread += unreadable(extractor, chunk)
        report(start + len(chunk))
    if unread:
        raise ImageReadError(_listed(unread, f"{len(paths)} {what}"))
    return np.concatenate(blocks)


def unreadable(extractor, paths):
    """Say of each image that cannot be read why."""
    reasons = []
    for path in paths:
        try:
            extractor.transform([path])
        except ImageReadError as error:
            reasons.append(str(error))
    return reasons


def _listed(unread, total):
    """One message of several, the first of them in full."""
    if len(unread) == 1:
        return unread[0]
    reasons = "; ".join(unread[:NAMED])
    left = len(unread) - NAMED
    more = f"; and {left} more" if left > 0 else ""
    return f"{len(unread)} of {total} cannot be read: {reasons}{more}"


def check_enough(paths, folder):
    """Refuse to fit a Gaussian to a single image."""
    if len(paths) < 2:
        raise ValueError(f"{folder}: {len(paths)} image; a fit needs two at least.")


def network_line(extractor):
    """One line about the network in use."""
    random = extractor.backbone == "tiny" or extractor.weights is None
    source = f"random weights, seed {extractor.seed_}" if random else extractor.weights
    if extractor.weights == "default" and not random:
        is_bundled = "/" not in str(extractor.backbone)
        source = "bundled weights" if is_bundled else "the library's weights"
    height, width = extractor.input_size_
    return (
        f"{extractor.backbone} ({source}), {len(extractor.levels_)} levels, "
        f"{extractor.n_features_out_} features, {height} x {width} pixels"
    )
