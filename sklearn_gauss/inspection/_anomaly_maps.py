"""anomaly_maps: the maps of a detector of patches, at the size of each image."""

from sklearn.pipeline import Pipeline

from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._reading._sizes import own_size
from sklearn_gauss.inspection._pictures import joined, map_size, sequence
from sklearn_gauss.inspection._unwrapped import member_with_maps, unwrapped


def anomaly_maps(estimator, X, *, image_size="image"):
    """Anomaly of every pixel, by a Pipeline that ends in a detector of patches.

    The steps in front are run once for all images, then the last one's
    ``anomaly_map(maps, image_size)`` at the size of each image. Read more in the
    :ref:`User Guide <explanations>`.

    Parameters
    ----------
    estimator : fitted Pipeline, CalibratedDetector of one, or DetectorEnsemble
        Its last step has the method ``anomaly_map(X, image_size=None)``. Of an ensemble,
        as `make_inspector` makes it, the member with maps that found drawn defects best
        is taken.
    X : list, array, series, tensor or folder of images
        What the first step takes, but no iterator.
    image_size : "image", int, tuple of int or None, default="image"
        "image" gives each map the size of its own image, turned upright; or one height
        and width for all; None leaves the maps on the network's grid.

    Returns
    -------
    maps : ndarray of shape (n, height, width), or list of ndarray of shape (h, w)
        Higher is more anomalous. A list where sizes differ.

    Raises
    ------
    TypeError
        If the last step has no ``anomaly_map``.
    ValueError
        If ``image_size`` is none of these.

    See Also
    --------
    occlusion_map : For detectors of whole images.

    Notes
    -----
    Sizes are read from the headers of files; no image is decoded a second time, but for
    those that state an orientation and are no JPEG.
    """
    estimator = unwrapped(member_with_maps(estimator))
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(estimator, Pipeline) or not hasattr(last, "anomaly_map"):
        raise TypeError(
            f"anomaly_maps needs a Pipeline whose last step has anomaly_map, got "
            f"{type(last).__name__}. occlusion_map takes any detector of images."
        )
    is_own = isinstance(image_size, str) and image_size == "image"
    size = None if is_own else map_size(image_size, "'image', ")
    first = estimator[0]
    extractor = first if isinstance(first, CNNFeatureExtractor) else None
    images = sequence(X, extractor)
    features = estimator[:-1].transform(images) if len(estimator) > 1 else images
    if not is_own:
        return last.anomaly_map(features, image_size=size)
    options = {} if extractor is None else {"in_chans": extractor.in_chans}
    if extractor is not None:
        options["max_pixels"] = extractor.max_pixels
    sizes = [own_size(images[i], name=f"X[{i}]", **options) for i in range(len(images))]
    maps = [None] * len(images)
    for size in set(sizes):
        places = [i for i, found in enumerate(sizes) if found == size]
        found = last.anomaly_map(features[places], image_size=size)
        for place, one in zip(places, found, strict=True):
            maps[place] = one
    return joined(maps)
