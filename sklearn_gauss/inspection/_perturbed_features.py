"""perturbed_features: images moved a little towards what is normal, then measured."""

import numpy as np
from sklearn.preprocessing import FunctionTransformer

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    output_container,
    validate_parameter_constraints,
)
from sklearn_gauss.inspection._gradient_map import differentiable_parts, score_gradients
from sklearn_gauss.inspection._pictures import read, sequence

PARAMETERS = {
    "epsilon": [Interval(Real, 0, 1, closed="both")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
}


def perturbed_features(estimator, X, *, epsilon=0.001, batch_size=16):
    """Features of images that a small step has made as normal as it can.

    Every pixel x that the network sees moves by ``epsilon`` in the direction that raises
    the score, x + epsilon * sign(g), with g the gradient of ``score_samples``; a step of
    the kind that Lee et al. [1]_ found to tell normal images, whose score it raises more,
    from others. The features are then computed anew. Read more in the
    :ref:`User Guide <class_conditional>`.

    Parameters
    ----------
    estimator : fitted Pipeline
        A `~sklearn_gauss.feature_extraction.CNNFeatureExtractor` with any pooling but
        "none", linear steps, and a detector with ``gradient``, such as
        `~sklearn_gauss.detection.ClassConditionalDetector`.
    X : list, array, series, tensor or folder of images
        What the extractor takes, but no iterator.
    epsilon : float in [0, 1], default=0.001
        The step, for pixels that run from 0 to 1, to which they are clipped. The paper
        tries 0 to 0.01. It is a choice for the whole model, to be made by a search.
    batch_size : int, default=16
        Images to differentiate at a time.

    Returns
    -------
    features : ndarray of float32 of shape (n_images, n_features)
        What the extractor makes of the moved images: the input of the steps behind it.
        A frame where ``set_output`` lets the extractor put out frames.
        ``estimator[1:].score_samples(features)`` are their scores, with the nearest class
        looked for anew.

    Raises
    ------
    TypeError
        If the estimator is no such Pipeline, or its detector has no ``gradient``.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If a step between extractor and detector is not linear, or pooling is "none".

    See Also
    --------
    gradient_map : The gradient as a picture.

    Notes
    -----
    Scores rise, so a threshold that was set without the step flags too little: set it by
    ``estimator[-1].recalibrate`` on features of normal images that were not trained on,
    moved likewise. Deviations that the network's input cannot hold are lost to rounding:
    pixels move in float32, not in 8-bit levels.

    References
    ----------
    .. [1] K. Lee, K. Lee, H. Lee and J. Shin, "A Simple Unified Framework for Detecting
       Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018.
    """
    validate_parameter_constraints(
        PARAMETERS,
        {"epsilon": epsilon, "batch_size": batch_size},
        "perturbed_features",
    )
    extractor, detector = differentiable_parts(estimator, "perturbed_features")
    images, found = sequence(X, extractor), []
    for start in range(0, len(images), batch_size):
        places = range(start, min(start + batch_size, len(images)))
        seen = np.stack(
            [read(images[i], extractor, i, extractor.input_size_) for i in places]
        )
        gradients = score_gradients(extractor, detector, seen, "perturbed_features")
        moved = seen + np.float32(255 * epsilon) * np.sign(gradients)
        moved = np.clip(moved, 0, 255).astype(np.float32)
        found.append(extractor._ready_network().features(moved))
    return _as_put_out(np.concatenate(found), extractor)


def _as_put_out(features, extractor):
    """Features (n, p) in the container of the extractor's own output."""
    named = FunctionTransformer(
        feature_names_out=lambda *_: extractor.get_feature_names_out()
    ).set_output(transform=output_container(extractor))
    return named.fit_transform(features)
