"""occlusion_map: how much less anomalous an image becomes where a part is covered."""

import itertools

import numpy as np

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn_gauss.inspection._covers import (
    References,
    covered,
    covers,
    spread,
    windows,
)
from sklearn_gauss.inspection._pictures import (
    as_given,
    joined,
    map_size,
    read,
    sequence,
)
from sklearn_gauss.inspection._steps import split, without_cache

_POSITIVE = Interval(Integral, 1, None, closed="left")

PARAMETERS = {
    "window": [_POSITIVE, Interval(Real, 0, 1, closed="neither")],
    "stride": [_POSITIVE, None],
    "fill": [StrOptions({"reference", "shift", "blur", "mean"}), "array-like"],
    "n_references": [_POSITIVE],
    "batch_size": [_POSITIVE],
}


def occlusion_map(
    estimator,
    X,
    *,
    window=0.375,
    stride=None,
    fill="reference",
    reference=None,
    n_references=3,
    image_size=None,
    batch_size=64,
):
    r"""How much the score of an image rises where a window of it is covered.

    Where the cover takes away what is anomalous, the image becomes more normal: the map
    is positive there. It needs nothing of the detector but ``score_samples``. Read more
    in the :ref:`User Guide <explanations>`.

    Parameters
    ----------
    estimator : fitted Pipeline or detector
        With ``score_samples`` of images, higher for more normal ones.
    X : list, array, series, tensor or folder of images
        As `~sklearn_gauss.feature_extraction.CNNFeatureExtractor` takes them, but no
        iterator.
    window : int or float in (0, 1), default=0.375
        Side of the window, in pixels or as a share of the image's shorter side.
    stride : int, default=None
        Pixels from one window to the next; None is half a window.
    fill : {"reference", "shift", "blur", "mean"}, colour or image, default="reference"
        What covers a window, faded in over a quarter of its side:

        - "reference": the same window of the normal images most like this one, in its
          local colour.
        - "shift": what lies next to the window, above, below, left and right; for
          textures without references.
        - "blur", "mean": the blurred image, or its mean colour. They wipe out what
          normal images have there as well, which makes most images *more* anomalous.
        - a colour of 8-bit numbers, one a channel, or an 8-bit image of the size of all
          images.
    reference : list, array, series, tensor or folder of images, default=None
        Normal images, for instance those of the training; for ``fill="reference"``.
    n_references : int, default=3
        Number of them to cover with in turn.
    image_size : int or tuple of int, default=None
        Height and width at which images are covered, and of the maps. None takes each
        image's own.
    batch_size : int, default=64
        Covered images to score at a time.

    Returns
    -------
    maps : ndarray of shape (n, height, width), or list of ndarray of shape (h, w)
        Rise of the score, in its units, of the cover that helps most, averaged over
        the windows above each pixel. A list where sizes differ.

    Raises
    ------
    ValueError
        If a parameter has another value, or ``fill="reference"`` lacks references.

    See Also
    --------
    gradient_map : One pass for each image, for detectors with a gradient.
    anomaly_maps : For detectors of patches, which are sharper than both.
    explain : Which levels and components deviate.

    Notes
    -----
    With windows of share w and the default stride, an image costs about
    (2 / w + 1)\ :sup:`2` scores, times the number of covers (``n_references``, or four
    for "shift"). The features of covered images are not stored in the extractor's
    ``cache``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.inspection import occlusion_map
    >>> class Brightness:
    ...     def score_samples(self, X):
    ...         return -np.asarray(X, dtype=float).max(axis=(1, 2, 3))
    >>> image = np.full((1, 32, 32, 3), 50, dtype=np.uint8)
    >>> image[0, 4:8, 20:24] = 200
    >>> found = occlusion_map(Brightness(), image, window=16, fill="mean")[0]
    >>> found.shape, bool(found[6, 22] > 0), float(found[28, 4])
    ((32, 32), True, 0.0)
    """
    validate_parameter_constraints(
        PARAMETERS,
        {
            "window": window,
            "stride": stride,
            "fill": fill,
            "n_references": n_references,
            "batch_size": batch_size,
        },
        "occlusion_map",
    )
    extractor, _ = split(estimator)
    estimator = without_cache(estimator)
    images, references = sequence(X, extractor), None
    if isinstance(fill, str) and fill == "reference":
        if reference is None:
            raise ValueError(
                "fill='reference' needs normal images to cover with: pass some of the "
                "training images as reference, or choose another fill."
            )
        references = References(sequence(reference, extractor), extractor)
    size = map_size(image_size)
    maps = []
    for place in range(len(images)):
        pixels = read(images[place], extractor, place, size)
        _check_fill(fill, pixels)
        side = _side(window, pixels.shape)
        if stride is not None and stride > side:
            raise ValueError(
                f"stride={stride} is more than the window of {side} pixels: what lies "
                "between windows would not be covered."
            )
        corners = windows(pixels.shape[:2], side, stride or max(1, side // 2))
        layers = covers(pixels, fill, side, references, n_references)
        pictures = (
            covered(pixels, layer, side, corner) for layer in layers for corner in corners
        )
        scores = _scores(estimator, extractor, itertools.chain([pixels], pictures))
        own, *others = itertools.chain.from_iterable(scores(batch_size))
        rises = np.reshape(others, (-1, len(corners))).max(axis=0) - own
        maps.append(spread(pixels.shape[:2], side, corners, rises))
    return joined(maps)


def _scores(estimator, extractor, pictures):
    """Function of a batch size that yields the scores of the pictures, batch by batch."""

    def batches(batch_size):
        while batch := list(itertools.islice(pictures, batch_size)):
            yield estimator.score_samples(as_given(np.stack(batch), extractor))

    return batches


def _side(window, shape):
    shorter = min(shape[:2])
    side = window if isinstance(window, Integral) else round(window * shorter)
    return min(max(int(side), 1), shorter)


def _check_fill(fill, pixels):
    if isinstance(fill, str):
        return
    values = np.asarray(fill)
    shapes = (pixels.shape, pixels.shape[2:])
    if values.dtype.kind not in "buif" or values.shape not in shapes:
        raise ValueError(
            f"fill must be a colour of {pixels.shape[2]} numbers or an image of shape "
            f"{pixels.shape}, got an array of shape {values.shape}."
        )
    if not (values.min() >= 0 and values.max() <= 255):
        raise ValueError("fill must have numbers from 0 to 255.")
