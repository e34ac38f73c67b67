"""Area under the curve of the per-region overlap."""

from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from sklearn_gauss.metrics._regions import region_curve


def aupro_score(masks, maps, *, max_fpr=0.3, connectivity=2):
    r"""Area under the per-region-overlap curve (AUPRO) at low false-positive rates.

    The mean of the per-region overlap PRO over the false-positive rates f of pixels
    from 0 to `max_fpr` [1]_,

    .. math:: \mathrm{AUPRO} = \frac1{f_{\max}} \int_0^{f_{\max}} \mathrm{PRO}(f)\,df,

    with straight lines between the points of :func:`pro_curve`, also where `max_fpr`
    cuts one. See :ref:`localisation_metrics`.

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
    max_fpr : float, default=0.3
        Where the integral ends, in (0, 1]. Published figures take 0.3, and 0.05 where
        normal pixels flagged are costly.
    connectivity : {1, 2}, default=2
        What makes pixels of a mask one region: 1 takes the four neighbours that share
        an edge, 2 those at the corners too. The data set's authors take 2, by which a
        thin oblique scratch is one region and not many.

    Returns
    -------
    score : float
        In [0, 1]; 1 is perfect. Chance, and a constant map, give ``max_fpr / 2``.

    Raises
    ------
    ValueError
        If the two differ in length or an image's shapes differ; if a mask holds more
        than two values, a map NaN, or either no pixel, no numbers or masked ones; if
        no pixel is defective, or none normal. The message names parameter and image.
        If `max_fpr` or `connectivity` is out of range.
    TypeError
        If `masks` or `maps` cannot be iterated over, or holds paths: see
        `~sklearn_gauss.datasets.read_masks`.
        If `max_fpr` is no number.

    See Also
    --------
    pro_curve : The curve itself.
    pixel_roc_auc_score : Each pixel counts the same, each region by its area.

    Notes
    -----
    Exact; n pixels cost O(n log n). Every region counts the same, one of a single pixel
    as well.

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger and C. Steger, "The MVTec
       Anomaly Detection Dataset: A Comprehensive Real-World Dataset for Unsupervised
       Anomaly Detection", International Journal of Computer Vision 129 (2021).

    Examples
    --------
    >>> from sklearn_gauss.metrics import aupro_score
    >>> masks = [[[1, 0, 0, 1], [0, 0, 0, 1]], None]
    >>> maps = [[[9, 0, 0, 7], [0, 0, 8, 0]], [[0, 0, 0]]]
    >>> print(round(aupro_score(masks, maps, max_fpr=0.125), 6))
    0.5
    >>> print(round(aupro_score(masks, maps), 6))
    0.660417
    """
    if isinstance(max_fpr, bool):  # a Real, too
        raise TypeError(f"max_fpr must be a number, got {max_fpr}.")
    check_scalar(max_fpr, "max_fpr", Real)
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must be in (0, 1], got {max_fpr}.")
    fpr, pro, _ = region_curve(masks, maps, connectivity)
    return float(_area(fpr, pro, max_fpr) / max_fpr)


def _area(x, y, x_max):
    """Return the area under straight lines between the points, from 0 to `x_max`."""
    inside = x <= x_max
    edge = np.interp(x_max, x, y)
    return np.trapezoid(np.r_[y[inside], edge], np.r_[x[inside], x_max])
