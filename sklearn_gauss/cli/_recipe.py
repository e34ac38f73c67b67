"""What all commands do: from paths of images to a fitted model, and to scores."""

import os
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sklearn_gauss._numerics import calibration
from sklearn_gauss.cli._terminal import has_bars, progress
from sklearn_gauss.datasets import SyntheticDefects
from sklearn_gauss.detection import (
    DetectorEnsemble,
    LevelEnsemble,
    MahalanobisDetector,
)
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.inspector import make_inspector

CHUNK = 64  # images between two reports of progress
NAMED = 10  # unreadable images that an error names
WORDS = {2: "two", 3: "three"}


@dataclass
class Model:
    """A fitted estimator of images: an inspector, or an extractor and a LevelEnsemble.

    ``features`` of the images of the fit are there where folds of them are cheap to fit.
    """

    estimator: DetectorEnsemble | Pipeline
    features: np.ndarray | None = None

    @property
    def recipe(self):
        """Name of the recipe, as of the option."""
        return "inspector" if isinstance(self.estimator, DetectorEnsemble) else "levels"

    @property
    def extractors(self):
        """The fitted extractors, each once."""
        pipelines = (
            self.estimator.estimators_ if self.recipe == "inspector" else [self.estimator]
        )
        return list({id(pipeline[0]): pipeline[0] for pipeline in pipelines}.values())

    @property
    def detector(self):
        """What has the threshold and the left-out scores of the images of the fit."""
        return self.estimator if self.recipe == "inspector" else self.estimator[-1]

    def scores(self, paths):
        """Finite scores of images; a higher one is more normal."""
        return np.maximum(self.estimator.score_samples(paths), np.finfo(float).min)

    def p_values(self, scores):
        """p-values of scores."""
        return calibration.p_values(scores, self.detector.calibration_scores_)


def fit_model(args, paths, what):
    """The model that the options of the command line ask for, fitted to images."""
    options = {"network": network_options(args), "target_fpr": args.target_fpr}
    own = {
        name: getattr(args, name) for name in OPTIONS[args.recipe] if hasattr(args, name)
    }
    return RECIPES[args.recipe](paths, what, **options, **own)


def check_recipe(args):
    """Refuse options of another recipe."""
    for recipe, names in OPTIONS.items():
        for name in names:
            if recipe != args.recipe and hasattr(args, name):
                raise ValueError(
                    f"--{name}: not an option of the recipe {args.recipe}; add "
                    f"--recipe {recipe}."
                )


def network_options(args):
    """Parameters of the extractor that both recipes take from the command line."""
    weights = args.weights
    if weights not in (None, "default"):
        weights = os.path.abspath(weights)  # a model is used from anywhere
    return {
        "backbone": args.backbone,
        "weights": weights,
        "input_size": getattr(args, "input_size", None),
        "mean": getattr(args, "mean", None),
        "std": getattr(args, "std", None),
        "device": args.device,
        "batch_size": args.batch_size,
        "random_state": args.seed,
    }


def fit_levels(
    paths, what, *, network, target_fpr, levels="all", pooling="avg", aggregate="sum"
):
    """One Gaussian for each level of pooled features."""
    extractor = CNNFeatureExtractor(**network, levels=levels, pooling=pooling).fit(paths)
    features = extract(extractor, paths, what)
    detector = new_detector(extractor, aggregate=aggregate, target_fpr=target_fpr)
    steps = [("extractor", extractor), ("detector", detector.fit(features))]
    return Model(Pipeline(steps), features)


def fit_inspector(
    paths, what, *, network, target_fpr, combine="stacked", n_per_image="auto", cv=5
):
    """Several detectors, weighed by defects drawn onto the images."""
    inspector = make_inspector(
        **network,
        combine=combine,
        target_fpr=target_fpr,
        defects=SyntheticDefects(
            n_per_image=n_per_image, random_state=network["random_state"]
        ),
        cv=cv,
        verbose=int(has_bars()),
    )
    try:
        inspector.fit(paths)
    except ImageReadError:  # found first of all; now name the others
        first = clone(inspector.estimators[0][1][0]).set_params(verbose=0)
        extract(first.fit(paths), paths, what)
        raise
    for _, pipeline in [*inspector.estimators, *inspector.named_estimators_.items()]:
        pipeline[0].set_params(verbose=0)
    return Model(inspector)


#: What fits the images, and the options that one of them has and the other has not.
RECIPES = {"inspector": fit_inspector, "levels": fit_levels}
OPTIONS = {"inspector": ("combine",), "levels": ("levels", "pooling", "aggregate")}


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
    return in_chunks(extractor.transform, extractor, paths, what)


def in_chunks(run, extractor, paths, what):
    """What ``run`` makes of images, in their order, with progress on a terminal.

    All images are tried, and one error names those that cannot be read.
    """
    report, blocks, unread = progress(len(paths), what), [], []
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        try:
            blocks.append((extractor.transform if unread else run)(chunk))
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


def check_enough(paths, folder, recipe):
    """Refuse a fit to fewer images than it needs: without a fold, two are left."""
    needed = 3 if recipe == "inspector" else 2
    if len(paths) < needed:
        images = "1 image" if len(paths) == 1 else f"{len(paths)} images"
        raise ValueError(f"{folder}: {images}; a fit needs {WORDS[needed]} at least.")


def network_line(model):
    """One line about the network and what stands behind it."""
    extractor = model.extractors[0]
    random = extractor.backbone == "tiny" or extractor.weights is None
    source = f"random weights, seed {extractor.seed_}" if random else extractor.weights
    if extractor.weights == "default" and not random:
        is_bundled = "/" not in str(extractor.backbone)
        source = "bundled weights" if is_bundled else "the library's weights"
    if model.recipe == "inspector":
        parts = f"{len(model.estimator.estimators_)} detectors"
    else:
        parts = f"{len(extractor.levels_)} levels, {extractor.n_features_out_} features"
    height, width = extractor.input_size_
    return f"{extractor.backbone} ({source}), {parts}, {height} x {width} pixels"
