"""What a model in a file must be before any image is scored with it.

The file may be damaged, or made by someone who wants more than scores of it.
"""

import contextlib
import warnings
from numbers import Real

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_gauss.detection import (
    DetectorEnsemble,
    LevelEnsemble,
    MahalanobisDetector,
    PatchGaussianDetector,
    PatchKDEDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._lifecycle import frozen

__all__ = [
    "DETECTORS",
    "check_content",
    "check_extractors",
    "check_facts",
    "check_network",
    "check_scoring",
    "damaged",
    "probe",
]

#: What may stand behind an extractor.
DETECTORS = (LevelEnsemble, MahalanobisDetector, PatchGaussianDetector, PatchKDEDetector)
#: Parameters of an extractor that the extractors of a model agree in, and differ in.
SHARED = ("backbone", "weights", "random_state", "input_size", "mean", "std")
OWN = ("levels", "pooling", "n_channels", "grid")
#: Parameters that loading sets.
SET = ("cache", "verbose", "device", "batch_size")
FITTED = ("seed_", "weights_sha256_", "input_size_", "mean_", "std_", "value_range_")
#: Largest relative change of the probe's features that other machines may cause.
TOLERANCE = 0.01


@contextlib.contextmanager
def damaged(path):
    """Say of whatever goes wrong with content of a wrong form that the file is."""
    try:
        yield
    except Exception as error:  # what is missing or of another type fails in many ways
        raise ValueError(
            f"{path}: damaged, or of another version ({type(error).__name__}: {error})."
        ) from error


def check_facts(path, facts):
    """Refuse facts that are not of the right types."""
    target, probes = facts.get("target_fpr"), facts.get("probe")
    if not isinstance(target, Real) or not 0 < target < 1:
        raise ValueError(f"{path}: damaged (target_fpr is {target!r}).")
    if not isinstance(probes, list) or not all(map(_is_numbers, probes)):
        raise ValueError(f"{path}: damaged (its probe is no list of features).")


def _is_numbers(values):
    return isinstance(values, list) and all(isinstance(v, float) for v in values)


def check_content(path, content):
    """Refuse anything but a detector of images of the form that the command fits."""
    with damaged(path):
        if isinstance(content, DetectorEnsemble):
            members = getattr(content, "estimators_", ())
            right = bool(members) and all(map(_is_chain, members))
        else:
            right = _is_chain(content) and isinstance(content[1], LevelEnsemble)
    if not right:
        raise ValueError(f"{path}: not a model of sklearn-gauss (other content).")


def _is_chain(estimator):
    """Whether it is an extractor of a named network and a detector behind it."""
    return (
        isinstance(estimator, Pipeline)
        and len(estimator) == 2
        and estimator.memory is None
        and isinstance(estimator[0], CNNFeatureExtractor)
        and isinstance(estimator[0].backbone, str)
        and isinstance(estimator[1], DETECTORS)
        and all(
            isinstance(inner, MahalanobisDetector)
            for inner in getattr(estimator[1], "detectors_", ())
        )
    )


def check_extractors(path, extractors):
    """Refuse parameters that no option sets, and extractors that do not agree."""
    default, first = CNNFeatureExtractor().get_params(), extractors[0]
    fixed = [name for name in default if name not in (*SHARED, *OWN, *SET)]
    with damaged(path):
        strange = [n for n in fixed if not _agree(extractors, n, default[n])]
        differ = [
            name
            for name in (*SHARED, *FITTED)
            if not _agree(extractors, name, getattr(first, name))
        ]
    if strange:
        raise ValueError(
            f"{path}: refused, no model of sklearn-gauss sets {', '.join(strange)} of an "
            "extractor."
        )
    if differ:
        raise ValueError(
            f"{path}: damaged, its extractors differ in {', '.join(differ)}."
        )


def _agree(extractors, name, value):
    return all(frozen(getattr(each, name)) == frozen(value) for each in extractors)


def _image():
    """One fixed image, in an array of one."""
    return np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)


def probe(extractor):
    """Features of one fixed image: they tell whether a network is the same.

    Those of maps are averaged over the places.
    """
    features = extractor.transform(_image()).astype(float)
    return features.reshape(-1, features.shape[-1]).mean(axis=0)


def check_network(path, model, facts):
    """Build the network of each extractor and compare what it makes of the probe."""
    known = facts["probe"]
    same = len(model.extractors) == len(known) and all(
        _is_near(_probe_of_file(path, extractor), np.array(features))
        for extractor, features in zip(model.extractors, known, strict=True)
    )
    if not same:
        raise ValueError(
            f"{path}: {facts.get('backbone')!r} gives other features than when the model "
            f"was fitted (torch {facts.get('torch')}, torchvision "
            f"{facts.get('torchvision')}, timm {facts.get('timm')}). Fit it again, with "
            "weights from a local file."
        )


def _probe_of_file(path, extractor):
    with damaged(path):
        try:
            return probe(extractor)
        except (ValueError, OSError, RuntimeError, ImportError) as error:
            reason = error
    if isinstance(reason, ImportError):  # it names the extra
        raise reason
    raise ValueError(f"{path}: its network cannot be built: {reason}") from reason


def _is_near(found, known):
    return found.shape == known.shape and bool(
        np.linalg.norm(found - known) <= TOLERANCE * np.linalg.norm(known)
    )


def check_scoring(path, model):
    """Score one fixed image with the whole model: all that scoring needs is there."""
    detector = model.detector
    with damaged(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_calibration(detector.calibration_scores_, detector.offset_)
        if model.recipe == "inspector":
            _check_members(model.estimator)
        scores = model.scores(_image())
        if not np.isfinite([scores, model.p_values(scores)]).all():
            raise ValueError("its scores are no numbers")


def _check_calibration(scores, offset):
    if not isinstance(scores, np.ndarray) or scores.ndim != 1 or not len(scores):
        raise TypeError("calibration_scores_ is no array of scores")
    if np.isnan(scores).any() or np.isnan(offset):
        raise ValueError("calibration_scores_ or offset_ hold NaN")


def _check_members(inspector):
    """Lengths that differ would leave out members without an error."""
    count = len(inspector.estimators_)
    if any(
        len(getattr(inspector, n)) != count for n in ("_keys", "_n_leading", "_widths")
    ):
        raise ValueError("not all members are there")
    if np.shape(inspector.weights_) != (len(inspector.score_names_),):
        raise ValueError("weights_ and score_names_ differ in length")
