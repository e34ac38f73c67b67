"""Average precision of pixels."""

from sklearn.metrics import average_precision_score

from sklearn_gauss.metrics._pixels import check_images, pooled
from sklearn_gauss.metrics._thresholds import as_weighted_rows, find_thresholds


def pixel_average_precision_score(masks, maps):
    r"""Average precision over the pixels of all images, defects being the class found.

    The mean of the precision P over the steps of the recall R, as the threshold falls
    through all values of the maps:

    .. math:: \mathrm{AP} = \sum_k (R_k - R_{k-1}) P_k.

    See :ref:`localisation_metrics`.

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

    Returns
    -------
    score : float
        In (0, 1]; 1 is perfect. Chance, and a constant map, give the share of pixels
        that are defective.

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
    pixel_roc_auc_score : Does not depend on how rare defective pixels are.
    pixel_f1_max_score : At the best single threshold.
    sklearn.metrics.average_precision_score : The same for rows.

    Notes
    -----
    Exact; n pixels cost O(n log n). The curve is not interpolated.

    Examples
    --------
    >>> from sklearn_gauss.metrics import pixel_average_precision_score
    >>> masks = [[[0, 0, 255], [0, 0, 255]], None]
    >>> maps = [[[0, 3, 9], [0, 1, 2]], [[0, 1, 0]]]
    >>> pixel_average_precision_score(masks, maps)
    0.8333333333333333
    """
    labels, ranks, weights = as_weighted_rows(
        find_thresholds(*pooled(check_images(masks, maps)))
    )
    return float(average_precision_score(labels, ranks, sample_weight=weights))
