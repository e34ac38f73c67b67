"""Area under the ROC curve of pixels."""

from sklearn.metrics import roc_auc_score

from sklearn_gauss.metrics._pixels import check_images, pooled
from sklearn_gauss.metrics._thresholds import as_weighted_rows, find_thresholds


def pixel_roc_auc_score(masks, maps):
    r"""Area under the ROC curve over the pixels of all images.

    The chance that a defective pixel has a higher map value than a normal one, pixels
    x being drawn from the defects D and the normals N of all images together:

    .. math:: \mathrm{AUC} = P(x_D > x_N) + \tfrac12 P(x_D = x_N).

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
        In [0, 1]; 0.5 is chance, and that of a constant map, and 1 is perfect.

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
    aupro_score : Small defects count as much as large ones.
    pixel_average_precision_score : Takes into account how rare defective pixels are.
    sklearn.metrics.roc_auc_score : The same for rows.

    Notes
    -----
    Exact; n pixels cost O(n log n). Large defects outweigh small ones by their areas.

    Examples
    --------
    >>> from sklearn_gauss.metrics import pixel_roc_auc_score
    >>> masks = [[[0, 0, 255], [0, 0, 255]], None]
    >>> maps = [[[0, 3, 9], [0, 1, 2]], [[0, 1, 0]]]
    >>> pixel_roc_auc_score(masks, maps)
    0.9285714285714286
    """
    labels, ranks, weights = as_weighted_rows(
        find_thresholds(*pooled(check_images(masks, maps)))
    )
    return float(roc_auc_score(labels, ranks, sample_weight=weights))
