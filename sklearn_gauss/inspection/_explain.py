"""explain: what a score is made of, in terms of the features of images or rows."""

import numpy as np
from sklearn.utils import Bunch

from sklearn_gauss.detection._explaining import explain_behind
from sklearn_gauss.detection._held_out import last_step
from sklearn_gauss.detection._levels import check_levels, find_levels, sums_by_level
from sklearn_gauss.inspection._steps import split


def explain(estimator, X, *, levels="auto"):
    """What makes rows or images anomalous: levels, features and principal components.

    The detector's own ``explain``, behind the extractor of a Pipeline and behind linear
    steps, such as `LowVariancePCA`, whose components are mapped back to the features.
    Read more in the :ref:`User Guide <explanations>`.

    Parameters
    ----------
    estimator : fitted detector or Pipeline
        Ends in a detector with ``explain``: `MahalanobisDetector`, or `LevelEnsemble`.
        A `CNNFeatureExtractor` may be its first step, linear steps may follow.
    X : array-like of shape (n_samples, n_features), or images
        What the estimator takes.
    levels : "auto", dict, list or None, default="auto"
        Which features belong to which level, in the forms that
        `~sklearn_gauss.detection.LevelEnsemble` takes. "auto" reads the names of the
        features, also those of the extractor. An ensemble has levels of its own.

    Returns
    -------
    explanation : :class:`~sklearn.utils.Bunch`
        As of ``MahalanobisDetector.explain``, or of ``LevelEnsemble.explain``. Behind
        linear steps with matrix J, ``axes`` are the detector's times J', and feature j
        contributes (z J^+)_j (J Sigma^-1 z)_j, which adds up to the squared distance
        as well.

    Raises
    ------
    AttributeError
        If the detector has no ``explain``.
    ValueError
        If steps between features and detector are not linear, or ``levels`` is none of
        these or names a column that is not there.

    See Also
    --------
    occlusion_map : Where in an image the reason lies.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_gauss.decomposition import LowVariancePCA
    >>> from sklearn_gauss.detection import MahalanobisDetector
    >>> from sklearn_gauss.inspection import explain
    >>> X = np.random.default_rng(0).normal(size=(200, 4)) * [10, 3, 1, 0.1]
    >>> model = make_pipeline(LowVariancePCA(n_components=3), MahalanobisDetector())
    >>> found = explain(model.fit(X), [[0, 0, 0, 0.7]])
    >>> found.ranking[0], int(found.features[0].argmax())
    (array([2, 1, 0]), 3)
    """
    check_levels(levels)
    extractor, detector = split(estimator)
    last = last_step(detector)
    if not hasattr(last, "explain"):
        raise AttributeError(
            f"{type(last).__name__} has no explain; MahalanobisDetector and "
            "LevelEnsemble have one. occlusion_map explains any detector of images."
        )
    names = getattr(detector, "feature_names_in_", ())
    if extractor is not None:
        names, X = extractor.get_feature_names_out(), extractor.transform(X)
    found = explain_behind(detector, _rows(X))
    if "features" not in found:
        return found
    groups = find_levels(levels, found.features.shape[1], names)
    return Bunch(
        **{
            **found,
            "levels": sums_by_level(found.features, groups),
            "level_names": list(groups),
        }
    )


def _rows(X):
    return X if hasattr(X, "shape") else np.asarray(X)
