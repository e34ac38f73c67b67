"""A model in a file: skops for the estimators, and beside them what made them.

The file is a zip archive of skops with one more member, the facts in JSON, which are
checked before any object is built. No type is trusted but the package's own.
"""

import io
import json
import warnings
import zipfile
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from sklearn_gauss._version import __version__
from sklearn_gauss.cli._files import write_whole
from sklearn_gauss.cli._recipe import Model
from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.datasets import SyntheticDefects
from sklearn_gauss.detection import (
    DetectorEnsemble,
    LevelEnsemble,
    MahalanobisDetector,
    PatchGaussianDetector,
    PatchKDEDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

FACTS = "sklearn_gauss.json"
FORMAT = 2
OWN = (
    CNNFeatureExtractor,
    DetectorEnsemble,
    LevelEnsemble,
    MahalanobisDetector,
    PatchGaussianDetector,
    PatchKDEDetector,
    ShrinkageCovariance,
    SyntheticDefects,
)
# A Bunch is a dict; scikit-learn's are what the package's own types hold results in.
TRUSTED = frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in (*OWN, Bunch))
#: Largest relative change of the probe's features that other machines may cause.
TOLERANCE = 0.01


def import_skops():
    """Return ``skops.io``; when it is missing, an error names the extra."""
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            'Models need skops: pip install "sklearn-gauss[persist]".'
        ) from error
    return skops.io


def save_model(model, path, *, n_images):
    """Write a model; the file is complete or not there."""
    skops = import_skops()
    content = io.BytesIO(skops.dumps(model.estimator))
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FACTS, json.dumps(_facts(model, n_images), indent=1))
    write_whole(path, lambda file: file.write(content.getvalue()))


def load_model(path, *, weights=None, device="auto", batch_size="auto"):
    """Read a model, its network ready to run; returns it with its facts.

    Raises ValueError for anything but an intact model of this format, and where the
    weights or the network are not those of the fit.
    """
    facts = _read_facts(path)
    _check_versions(path, facts)
    content = _load_objects(path)
    model = _check_content(path, content)
    moved = {} if weights is None else {"weights": weights}
    for extractor in model.extractors:
        extractor.set_params(device=device, batch_size=batch_size, **moved)
    _check_network(path, model, facts)
    return model, facts


def _facts(model, n_images):
    extractor = model.extractors[0]
    return {
        "format": FORMAT,
        "recipe": model.recipe,
        "sklearn_gauss": __version__,
        "scikit-learn": sklearn.__version__,
        "torch": _version("torch"),
        "torchvision": _version("torchvision"),
        "timm": _version("timm"),
        "backbone": extractor.backbone,
        "weights": extractor.weights,
        "weights_sha256": extractor.weights_sha256_,
        "levels": extractor.levels_,
        "n_images": n_images,
        "target_fpr": model.detector.target_fpr,
        "probe": _probe(extractor),
    }


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _probe(extractor):
    """Features of one fixed image: they tell whether a network is the same."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return extractor.transform(image[None])[0].astype(float).tolist()


def _read_facts(path):
    try:
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(archive.read(FACTS))
        if not isinstance(facts, dict) or "format" not in facts:
            raise ValueError("no format is stated")
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a model of sklearn-gauss ({error}).") from error
    return facts


def _check_versions(path, facts):
    if facts["format"] != FORMAT:
        raise ValueError(
            f"{path}: a model of format {facts['format']}, written by sklearn_gauss "
            f"{facts.get('sklearn_gauss')}; sklearn_gauss {__version__} reads format "
            f"{FORMAT}. Fit it again."
        )
    present = {"sklearn_gauss": __version__, "scikit-learn": sklearn.__version__}
    for package, installed in present.items():
        if facts.get(package) != installed:
            warnings.warn(
                f"{path}: fitted with {package} {facts.get(package)}, and this is "
                f"{installed}; scores may differ. Fit it again to be sure.",
                UserWarning,
                stacklevel=3,
            )


def _load_objects(path):
    skops = import_skops()
    try:
        foreign = set(skops.get_untrusted_types(file=path)) - TRUSTED
        if not foreign:
            return skops.load(path, trusted=sorted(TRUSTED))
    except Exception as error:  # skops fails on damaged files in many ways
        raise ValueError(
            f"{path}: damaged, or of another version ({type(error).__name__}: {error})."
        ) from error
    raise ValueError(
        f"{path}: refused, it holds what no model of sklearn-gauss does: "
        f"{', '.join(sorted(foreign))}."
    )


def _check_content(path, content):
    if isinstance(content, DetectorEnsemble):
        members = getattr(content, "estimators_", None)
        right = bool(members) and all(map(_is_chain, members))
    else:
        right = _is_chain(content) and isinstance(content[-1], LevelEnsemble)
    if not right:
        raise ValueError(f"{path}: not a model of sklearn-gauss (other content).")
    return Model(content)


def _is_chain(estimator):
    """Whether it is an extractor of a named network and a detector behind it."""
    return (
        isinstance(estimator, Pipeline)
        and len(estimator) == 2
        and isinstance(estimator[0], CNNFeatureExtractor)
        and isinstance(estimator[0].backbone, str)
        and isinstance(estimator[1], OWN)
    )


def _check_network(path, model, facts):
    """Build the network and compare what it makes of the probe."""
    try:
        found = np.array(_probe(model.extractors[0]))
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{path}: its network cannot be built: {error}") from error
    known = np.array(facts.get("probe"), dtype=float)
    same = found.shape == known.shape and (
        np.linalg.norm(found - known) <= TOLERANCE * np.linalg.norm(known)
    )
    if not same:
        raise ValueError(
            f"{path}: {facts.get('backbone')!r} gives other features than when the model "
            f"was fitted (torch {facts.get('torch')}, torchvision "
            f"{facts.get('torchvision')}, timm {facts.get('timm')}). Fit it again, with "
            "weights from a local file."
        )
