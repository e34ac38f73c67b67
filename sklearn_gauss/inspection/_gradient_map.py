"""gradient_map: the pixels that a detector's score depends on most."""

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss._base import Integral, Interval, Real, validate_parameter_constraints
from sklearn_gauss.detection._explaining import gradient_behind
from sklearn_gauss.feature_extraction._extraction import import_network
from sklearn_gauss.feature_extraction._reading._images import import_pillow
from sklearn_gauss.inspection._pictures import (
    as_given,
    joined,
    map_size,
    read,
    sequence,
)
from sklearn_gauss.inspection._steps import split

PARAMETERS = {
    "blur": [Interval(Real, 0, None, closed="neither"), None],
    "smooth": [Interval(Real, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
}


def gradient_map(estimator, X, *, blur=2.0, smooth=3.0, image_size=None, batch_size=16):
    """Where the details of an image move its score, by one backward pass.

    The size of g . (x - blurred x), smoothed: g is the gradient of ``score_samples`` by
    the pixels x that the network sees, and the dot is over the channels. To first order
    this is how much the score changes if the details at a pixel are blurred away. Read
    more in the :ref:`User Guide <explanations>`.

    Parameters
    ----------
    estimator : fitted Pipeline
        A `~sklearn_gauss.feature_extraction.CNNFeatureExtractor` with any pooling but
        "none", linear steps such as `~sklearn_gauss.decomposition.LowVariancePCA`, and
        a detector with ``gradient``: `~sklearn_gauss.detection.MahalanobisDetector`,
        `~sklearn_gauss.detection.KDEDetector`,
        `~sklearn_gauss.detection.ClassConditionalDetector`,
        `~sklearn_gauss.detection.IncrementalMixtureDetector`, or a
        `~sklearn_gauss.detection.LevelEnsemble` of these.
    X : list, array, series, tensor or folder of images
        What the extractor takes, but no iterator.
    blur : float or None, default=2.0
        Standard deviation of the blur, in pixels of the network's input. None returns
        the plain size of the gradient g.
    smooth : float, default=3.0
        Standard deviation by which the map is smoothed, in the same pixels; 0 does not.
    image_size : int or tuple of int, default=None
        Height and width of the maps; None takes each image's own.
    batch_size : int, default=16
        Images to differentiate at a time.

    Returns
    -------
    maps : ndarray of shape (n, height, width), or list of ndarray of shape (h, w)
        Not negative; in units of the score (a pixel of the network's input each), or of
        the score over 8-bit levels for ``blur=None``. A list where sizes differ.

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
    occlusion_map : For any detector; says which way the score moves.

    Notes
    -----
    The network is differentiated in float32 whatever the extractor's ``precision``.

    The map has the size of a deviation and not its direction: signed, it was little
    better than chance on drawn defects. The factor x - blurred x shows edges by itself,
    of a product as of a defect, also where the gradient is small everywhere: trust the
    map of an image that was flagged, and compare it with that of a normal one.
    """
    validate_parameter_constraints(
        PARAMETERS,
        {"blur": blur, "smooth": smooth, "batch_size": batch_size},
        "gradient_map",
    )
    extractor, detector = differentiable_parts(estimator)
    images, size = sequence(X, extractor), map_size(image_size)
    maps = []
    for start in range(0, len(images), batch_size):
        places = range(start, min(start + batch_size, len(images)))
        pictures = [read(images[place], extractor, place, size) for place in places]
        # Resized by the reader, as for the features.
        seen = np.stack(
            [
                read(as_given(one, extractor), extractor, place, extractor.input_size_)
                for place, one in zip(places, pictures, strict=True)
            ]
        )
        gradients = score_gradients(extractor, detector, seen)
        for one, pixels, picture in zip(gradients, seen, pictures, strict=True):
            found = _importance(one, pixels.astype(np.float32), blur, smooth)
            maps.append(_resized(found, picture.shape[:2]))
    return joined(maps)


def score_gradients(extractor, detector, pixels, caller="gradient_map"):
    """Gradient of the score by 8-bit pixels of the network's size, of their shape."""
    import_network()
    from sklearn_gauss.feature_extraction._backbones._gradients import pixel_gradients

    def behind(rows):
        try:
            return gradient_behind(detector, rows)
        except ValueError as error:
            if "not linear" not in str(error):
                raise
            raise ValueError(
                f"{caller} needs linear steps between extractor and detector, and these "
                "are not linear."
            ) from error

    return pixel_gradients(extractor._ready_network(), pixels, behind)


def differentiable_parts(estimator, caller="gradient_map"):
    """(extractor, detector behind it), or an error that names the function called."""
    extractor, detector = split(estimator)
    if extractor is None:
        raise TypeError(
            f"{caller} needs a Pipeline that starts with a CNNFeatureExtractor, got "
            f"{type(estimator).__name__}. occlusion_map takes any detector of images."
        )
    if extractor.pooling == "none":
        raise ValueError(
            f"{caller} needs pooled features; for maps (pooling='none') and a "
            "detector of patches use anomaly_maps."
        )
    last = detector[-1] if hasattr(detector, "steps") else detector
    if not hasattr(last, "gradient"):
        raise TypeError(
            f"{type(last).__name__} has no gradient; use occlusion_map, which takes any "
            "detector of images."
        )
    check_is_fitted(extractor)
    return extractor, detector


def _importance(gradient, pixels, blur, smooth):
    if blur is None:
        found = np.sqrt((gradient**2).sum(axis=2))
    else:
        details = pixels - gaussian_filter(pixels, (blur, blur, 0))
        found = np.abs((gradient * details).sum(axis=2))
    return gaussian_filter(found, smooth) if smooth else found


def _resized(values, size):
    image_module = import_pillow()
    image = image_module.fromarray(values.astype(np.float32))
    resized = image.resize(size[::-1], image_module.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)
