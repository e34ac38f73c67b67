"""A model in a file: skops for the estimators, and beside them what made them.

The file is a zip archive of skops with one more member, the facts in JSON, which are
checked before any object is built. No type is trusted but the package's own.
"""

import io
import json
import warnings
import zipfile
from importlib.metadata import PackageNotFoundError, version

import sklearn
from sklearn.utils import Bunch

from sklearn_gauss._version import __version__
from sklearn_gauss.cli._files import write_whole
from sklearn_gauss.cli._model_checks import (
    DETECTORS,
    check_content,
    check_extractors,
    check_facts,
    check_network,
    check_scoring,
    damaged,
    probe,
)
from sklearn_gauss.cli._recipe import Model
from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.datasets import SyntheticDefects
from sklearn_gauss.detection import DetectorEnsemble
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

FACTS = "sklearn_gauss.json"
FORMAT = 4
OWN = (
    CNNFeatureExtractor,
    DetectorEnsemble,
    *DETECTORS,
    ShrinkageCovariance,
    SyntheticDefects,
)
# A Bunch is a dict; scikit-learn's are what the package's own types hold results in.
TRUSTED = frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in (*OWN, Bunch))


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
    check_facts(path, facts)
    content = _load_objects(path)
    check_content(path, content)
    model = Model(content)
    moved = {} if weights is None else {"weights": weights}
    # A file says neither what is written to nor what the work is done on.
    own = {"cache": None, "verbose": 0, "device": device, "batch_size": batch_size}
    with damaged(path):
        for extractor in model.extractors:
            extractor.set_params(**own, **moved)
    check_extractors(path, model.extractors)
    check_network(path, model, facts)
    check_scoring(path, model)
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
        "probe": [probe(each).tolist() for each in model.extractors],
    }


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read_facts(path):
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                facts = json.loads(archive.read(FACTS))
            if not isinstance(facts, dict) or "format" not in facts:
                raise ValueError("no format is stated")
        except Exception as error:  # zipfile fails on damaged files in many ways
            raise ValueError(
                f"{path}: not a model of sklearn-gauss ({error})."
            ) from error
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
    with damaged(path):
        foreign = set(skops.get_untrusted_types(file=path)) - TRUSTED
        if not foreign:
            return skops.load(path, trusted=sorted(TRUSTED))
    raise ValueError(
        f"{path}: refused, it holds what no model of sklearn-gauss does: "
        f"{', '.join(sorted(foreign))}."
    )
