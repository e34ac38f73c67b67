"""A fitted estimator taken apart: the extractor of features, and the detector behind."""

import copy

from sklearn.pipeline import Pipeline

from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.inspection._unwrapped import unwrapped

__all__ = ["split", "without_cache"]


def split(estimator):
    """(extractor or None, detector): the first step of a Pipeline, and what follows.

    The detector is the last step itself, or a Pipeline that ends in it.
    """
    steps = _flat(estimator)
    extractor = steps[0] if isinstance(steps[0], CNNFeatureExtractor) else None
    return extractor, _joined(steps if extractor is None else steps[1:])


def without_cache(estimator):
    """An estimator that scores alike and stores no features of covered images."""
    extractor, *rest = _flat(estimator)
    if not isinstance(extractor, CNNFeatureExtractor) or extractor.cache is None:
        return estimator
    plain = copy.copy(extractor)
    plain.cache = None
    plain._network = extractor._ready_network()
    return _joined([plain, *rest])


def _flat(estimator):
    """Steps of a Pipeline, those of one at its end among them."""
    estimator = unwrapped(estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    *steps, last = (step for _, step in estimator.steps)
    steps = [step for step in steps if step is not None and step != "passthrough"]
    return steps + _flat(last)


def _joined(steps):
    names = map(str, range(len(steps)))
    return steps[0] if len(steps) == 1 else Pipeline(list(zip(names, steps, strict=True)))
