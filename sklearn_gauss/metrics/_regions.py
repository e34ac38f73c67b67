"""Connected regions of defects, and the curve of their mean overlap."""

import numpy as np
from scipy.ndimage import generate_binary_structure, label

from sklearn_gauss.metrics._levels import find_levels
from sklearn_gauss.metrics._pixels import check_images, pooled


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
    levels = find_levels(*pooled(images), np.concatenate(weights))
    false_alarms = levels.false_alarms
    covered = np.r_[0, np.cumsum(levels.weights)]  # of the regions, as a sum of shares
    fpr = np.r_[0, false_alarms, len(levels.normals)] / len(levels.normals)
    pro = np.r_[0, np.column_stack([covered[:-1], covered[1:]]).ravel(), covered[-1]]
    thresholds = np.r_[np.inf, _thresholds(levels), levels.normals[0]]
    new = np.diff(false_alarms, prepend=0, append=len(levels.normals)) > 0
    new[1::2] = True  # at each value of a defect PRO rises
    keep = np.r_[True, new]
    return fpr[keep], pro[keep] / covered[-1], thresholds[keep]


def _pixel_weights(mask, structure):
    """Return for each pixel of a defect 1 / size of its region, row by row."""
    regions = label(mask, structure)[0][mask]
    return 1 / np.bincount(regions)[regions]


def _thresholds(levels):
    """Return the next value of a normal pixel above each level, and the level's own."""
    normals, above = levels.normals, levels.above
    nearest = normals[np.minimum(len(normals) - above, len(normals) - 1)]
    return np.column_stack([nearest, levels.values]).ravel()
