"""Connected regions of defects, and the curve of their mean overlap."""

import numpy as np
from scipy.ndimage import generate_binary_structure, label

from sklearn_gauss.metrics._pixels import check_images, pooled
from sklearn_gauss.metrics._thresholds import find_thresholds


def region_curve(masks, maps, connectivity):
    """Return FPR, PRO and thresholds as `pro_curve` does."""
    if isinstance(connectivity, bool) or connectivity not in (1, 2):
        raise ValueError(f"connectivity must be 1 or 2, got {connectivity!r}.")
    images = check_images(masks, maps)
    structure = generate_binary_structure(2, connectivity)
    weights = [
        _pixel_weights(image.mask, structure)
        for image in images
        if image.mask is not None
    ]
    counts = find_thresholds(*pooled(images), np.concatenate(weights))
    false_alarms, n_normals = counts.false_alarms, len(counts.normals)
    covered = np.r_[0, np.cumsum(counts.weights)]  # of the regions, as a sum of shares
    fpr = np.r_[0, false_alarms, n_normals] / n_normals
    pro = np.r_[0, np.column_stack([covered[:-1], covered[1:]]).ravel(), covered[-1]]
    thresholds = np.r_[np.inf, _nearest_and_own(counts), counts.normals[0]]
    new = np.diff(false_alarms, prepend=0, append=n_normals) > 0
    new[1::2] = True  # at each value of a defect PRO rises
    keep = np.r_[True, new]
    return fpr[keep], pro[keep] / covered[-1], thresholds[keep]


def _pixel_weights(mask, structure):
    """Return for each pixel of a defect 1 / size of its region, row by row."""
    regions = label(mask, structure)[0][mask]
    return 1 / np.bincount(regions)[regions]


def _nearest_and_own(counts):
    """Return the next value of a normal pixel above each threshold, and its own."""
    normals, above = counts.normals, counts.above
    nearest = normals[np.minimum(len(normals) - above, len(normals) - 1)]
    return np.column_stack([nearest, counts.values]).ravel()
