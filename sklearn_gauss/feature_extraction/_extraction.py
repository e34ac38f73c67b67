"""From a sequence of images to features, batch by batch."""

import warnings

import numpy as np

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._images import import_pillow

__all__ = ["extract", "import_network"]


def extract(images, network, read, *, batch, skip_unreadable, verbose):
    """Features of images, one row an image, in their order.

    Parameters
    ----------
    images : sequence
        What ``read`` takes.
    network : Network
        With ``output_shape`` and ``features(pixels)``.
    read : callable
        Takes an image and ``name``, returns its pixels or raises `ImageReadError`.
    batch : int
        Images to run at a time.
    skip_unreadable : bool
        Leave rows of NaN for images that cannot be read, with one warning.
    verbose : int
        Whether to print progress, in tenths.

    Returns
    -------
    features : ndarray of float32 of shape (n, *output_shape)
        NaN for what was skipped.
    """
    total = len(images)
    features = np.full((total, *network.output_shape), np.nan, np.float32)
    n_unread = 0
    for start in range(0, total, batch):
        stop = min(start + batch, total)
        places, pixels = _read_batch(images, range(start, stop), read, skip_unreadable)
        if places:
            features[places] = network.features(np.stack(pixels))
        n_unread += stop - start - len(places)
        if verbose and 10 * start // total < 10 * stop // total:
            print(f"[CNNFeatureExtractor] {stop} of {total} images")
    if n_unread:
        warnings.warn(
            f"{n_unread} of {total} images could not be read; their features are NaN.",
            UserWarning,
            stacklevel=4,
        )
    return features


def _read_batch(images, places, read, skip_unreadable):
    """Read images; the places of those that could be, and their pixels."""
    done, pixels = [], []
    for place in places:
        try:
            image = read(images[place], name=f"X[{place}]")
        except ImageReadError:
            if not skip_unreadable:
                raise
            continue
        done.append(place)
        pixels.append(image)
    return done, pixels


def import_network():
    """Return the module that runs networks; it needs torch and Pillow."""
    import_pillow()
    try:
        from sklearn_gauss.feature_extraction._backbones import _network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            "torch is needed to run a network. "
            'Install it with: pip install "sklearn-gauss[cnn]"'
        ) from error
    return _network
