"""Per-region overlap against the false-positive rate of pixels."""

from sklearn_gauss.metrics._regions import region_curve


def pro_curve(masks, maps, *, connectivity=2):
    r"""Per-region overlap (PRO) and false-positive rate (FPR) for all thresholds.

    With P(t) the pixels at or above the threshold t, the K connected regions C of the
    defects of all images, and N all normal pixels, those of good images among them [1]_,

    .. math::

       \mathrm{PRO}(t) = \frac1K \sum_{k=1}^K \frac{|P(t) \cap C_k|}{|C_k|}, \qquad
       \mathrm{FPR}(t) = \frac{|P(t) \cap N|}{|N|}.

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
    connectivity : {1, 2}, default=2
        What makes pixels of a mask one region: 1 takes the four neighbours that share
        an edge, 2 those at the corners too. The data set's authors take 2, by which a
        thin oblique scratch is one region and not many.

    Returns
    -------
    fpr : ndarray of shape (n_thresholds,)
        False-positive rates, growing from 0 to 1.
    pro : ndarray of shape (n_thresholds,)
        Mean share of a region that is flagged, growing from 0 to 1.
    thresholds : ndarray of shape (n_thresholds,), dtype float64
        Map values, falling. The first is infinite and stands for flagging nothing.

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
    aupro_score : The area under this curve.
    sklearn.metrics.roc_curve : The curve of rows.

    Notes
    -----
    Exact: every distinct value is a threshold, and pixels of equal values are flagged
    together. Of the values that only normal pixels have, those amid a level stretch
    of the curve are left out, by which straight lines between the points lose nothing;
    :func:`~sklearn.metrics.roc_curve` does so by default as well. n pixels cost
    O(n log n).

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger and C. Steger, "The MVTec
       Anomaly Detection Dataset: A Comprehensive Real-World Dataset for Unsupervised
       Anomaly Detection", International Journal of Computer Vision 129 (2021).

    Examples
    --------
    >>> from sklearn_gauss.metrics import pro_curve
    >>> masks = [[[1, 0, 0, 1], [0, 0, 0, 1]], None]
    >>> maps = [[[9, 0, 0, 7], [0, 0, 8, 0]], [[0, 0, 0]]]
    >>> fpr, pro, thresholds = pro_curve(masks, maps)
    >>> fpr.tolist()
    [0.0, 0.0, 0.125, 0.125, 1.0]
    >>> pro.tolist()
    [0.0, 0.5, 0.5, 0.75, 1.0]
    >>> thresholds.tolist()
    [inf, 9.0, 8.0, 7.0, 0.0]
    """
    return region_curve(masks, maps, connectivity)
