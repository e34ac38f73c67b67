"""Greatest F1 score of pixels."""

from sklearn_gauss.metrics._pixels import check_images, pooled
from sklearn_gauss.metrics._thresholds import best_f1, find_thresholds


def pixel_f1_max_score(masks, maps, *, return_threshold=False):
    r"""Greatest F1 score over the pixels of all images, at one threshold for them all.

    With the pixels at or above a threshold t flagged, and defects the class found,

    .. math:: F_1 = \max_t \frac{2\,TP(t)}{2\,TP(t) + FP(t) + FN(t)},

    which for pixels is known as the Dice coefficient. See :ref:`localisation_metrics`.

    Parameters
    ----------
    masks : sequence of n array-likes of shape (h, w) or None
        Where the defects are: 0 or False on normal pixels, one other, positive value
        (True, 1 or 255, say) on defective ones. None stands for a good image;
        leave out a defective one whose mask is missing. Sizes may differ.
        An iterator is read into a list first, that of `maps` as well.
    maps : sequence of n array-likes of shape (h, w)
        The anomaly maps, in any unit: the higher, the more anomalous. Only the order
        of the values counts, over all images together; infinities are allowed. Each
        map has the shape of its mask.
    return_threshold : bool, default=False
        Whether to return the threshold too.

    Returns
    -------
    score : float
        In (0, 1]; 1 is perfect. A constant map gives 2 s / (1 + s), where s is the
        share of pixels that are defective.
    threshold : float
        Only if `return_threshold`: ``map >= threshold`` attains the score. Of several
        such values the highest that a defect has.

    Raises
    ------
    ValueError
        If the two differ in length or an image's shapes differ; if a mask holds more
        than two values, a map NaN, or either no pixel, no numbers or masked ones; if
        no pixel is defective, or none normal. The message names parameter and image.
    TypeError
        If `masks` or `maps` cannot be iterated over, or holds paths: see
        `~sklearn_gauss.datasets.read_masks`.

    See Also
    --------
    f1_max_score : The same for whole images.
    pixel_average_precision_score : Over all thresholds.

    Notes
    -----
    Exact; n pixels cost O(n log n). The threshold is chosen with the masks in view, so
    that the score is what the best choice would give and no working point.

    Examples
    --------
    >>> from sklearn_gauss.metrics import pixel_f1_max_score
    >>> masks = [[[0, 0, 255], [0, 0, 255]], None]
    >>> maps = [[[0, 3, 9], [0, 1, 2]], [[0, 1, 0]]]
    >>> pixel_f1_max_score(masks, maps, return_threshold=True)
    (0.8, 2.0)
    """
    score, threshold = best_f1(find_thresholds(*pooled(check_images(masks, maps))))
    return (score, threshold) if return_threshold else score
