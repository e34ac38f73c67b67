"""The metrics from their definitions, by loops over thresholds, regions and pixels."""

from itertools import pairwise

import numpy as np


def regions_of(mask, connectivity=2):
    """Lists of pixels, by a flood fill."""
    near = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    if connectivity == 2:
        near += [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    left = {(i, j) for i, row in enumerate(mask) for j, value in enumerate(row) if value}
    found = []
    while left:
        region = [left.pop()]
        for i, j in region:  # it grows on the way
            for di, dj in near:
                if (i + di, j + dj) in left:
                    left.remove((i + di, j + dj))
                    region.append((i + di, j + dj))
        found.append(region)
    return found


def pixels_of(masks, maps):
    """(values of defects, values of normal pixels)."""
    heaps = [], []
    for mask, values in zip(masks, maps, strict=True):
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                heaps[0 if mask is not None and mask[i][j] else 1].append(value)
    return heaps


def thresholds_of(maps):
    return sorted({value for values in maps for row in values for value in row})[::-1]


def pro_points(masks, maps, connectivity=2):
    """(fpr, pro) at every distinct value, after (0, 0)."""
    overlaps = [
        [values[i][j] for i, j in region]
        for mask, values in zip(masks, maps, strict=True)
        if mask is not None
        for region in regions_of(mask, connectivity)
    ]
    normal = pixels_of(masks, maps)[1]
    points = [(0.0, 0.0)]
    for t in thresholds_of(maps):
        pro = np.mean([np.mean([v >= t for v in region]) for region in overlaps])
        points.append((np.mean([v >= t for v in normal]), pro))
    return points


def aupro(masks, maps, max_fpr=0.3, connectivity=2):
    points = pro_points(masks, maps, connectivity)
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= max_fpr or x1 == x0:
            continue
        end = min(x1, max_fpr)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / max_fpr


def roc_auc(defects, normals):
    wins = [(d > n) + 0.5 * (d == n) for d in defects for n in normals]
    return np.mean(wins)


def average_precision(defects, normals):
    total, before = 0.0, 0.0
    for t in sorted({*defects, *normals})[::-1]:
        hits, alarms = sum(v >= t for v in defects), sum(v >= t for v in normals)
        recall = hits / len(defects)
        total += (recall - before) * hits / (hits + alarms)
        before = recall
    return total


def f1_max(defects, normals):
    """Greatest F1, and the highest threshold that attains it."""
    best, at = -1.0, None
    for t in sorted({*defects, *normals})[::-1]:
        hits, alarms = sum(v >= t for v in defects), sum(v >= t for v in normals)
        f1 = 2 * hits / (hits + alarms + len(defects))
        if f1 > best:
            best, at = f1, t
    return best, at
