"""What masks and maps may not be, and what the message says."""

from pathlib import Path

import numpy as np
import pytest

from sklearn_gauss.metrics import (
    aupro_score,
    pixel_average_precision_score,
    pixel_f1_max_score,
    pixel_roc_auc_score,
    pro_curve,
)

METRICS = [
    aupro_score,
    pixel_average_precision_score,
    pixel_f1_max_score,
    pixel_roc_auc_score,
    pro_curve,
]
MASK = np.array([[1, 0], [0, 0]])
MAP = np.array([[0.5, 0.1], [0.2, 0.3]])


def with_value(array, value, dtype=float):
    changed = array.astype(dtype)
    changed[1, 0] = value
    return changed


BAD = {
    "lengths": ([MASK], [MAP, MAP], ValueError, "one length, got 1 and 2"),
    "no image": ([], [], ValueError, "hold no image"),
    "shapes": (
        [None, MASK.T[:1]],
        [MAP, MAP],
        ValueError,
        r"masks\[1\] and maps\[1\].*\(1, 2\) and \(2, 2\)",
    ),
    "transposed": (
        [np.eye(2, 3)],
        [np.ones((3, 2))],
        ValueError,
        r"one shape, got \(2, 3\) and \(3, 2\)",
    ),
    "nan map": (
        [MASK, None],
        [MAP, with_value(MAP, np.nan)],
        ValueError,
        r"maps\[1\] holds 1 NaN among 4 pixels, the first at \(1, 0\)",
    ),
    "nan mask": (
        [None, with_value(MASK, np.nan)],
        [MAP, MAP],
        ValueError,
        r"masks\[1\].*at \(1, 0\), nan",
    ),
    "nan mask alone": (
        [MASK, with_value(0 * MASK, np.nan)],
        [MAP, MAP],
        ValueError,
        r"masks\[1\].*nan",
    ),
    "grey mask": (
        [MASK, with_value(255 * MASK, 127, np.uint8)],
        [MAP, MAP],
        ValueError,
        r"masks\[1\] must hold 0 and one other value, got 0, 255 and, at \(1, 0\), 127",
    ),
    "signed labels": ([2 * MASK - 1], [MAP], ValueError, r"masks\[0\].*-1"),
    "negative mask": (
        [-MASK],
        [MAP],
        ValueError,
        r"masks\[0\].*positive value, got -1 at \(0, 0\)",
    ),
    "no defect": (
        [None, 0 * MASK],
        [MAP, MAP],
        ValueError,
        "masks hold no defect: no pixel of the 2",
    ),
    "no normal": (
        [np.ones((2, 2))],
        [MAP],
        ValueError,
        "masks leave no normal pixel",
    ),
    "masked map": (
        [MASK],
        [np.ma.masked_less(MAP, 0.2)],
        ValueError,
        r"maps\[0\] is a masked array",
    ),
    "masked maps": (
        [MASK],
        np.ma.masked_less(MAP[None], 0.2),
        ValueError,
        r"maps\[0\] is a masked array",
    ),
    "masked mask": (
        [np.ma.masked_less(MASK, 1)],
        [MAP],
        ValueError,
        r"masks\[0\] is a masked array",
    ),
    "empty map": (
        [MASK, None],
        [MAP, MAP[:0]],
        ValueError,
        r"maps\[1\] has no pixel, its shape is \(0, 2\)",
    ),
    "empty mask": ([MASK[:, :0]], [MAP], ValueError, r"masks\[0\] has no pixel"),
    "one map": ([MASK, MASK], MAP, ValueError, r"maps\[0\].*shape \(h, w\), got \(2,\)"),
    "channels": ([MASK], [MAP[None]], ValueError, r"maps\[0\].*got \(1, 2, 2\)"),
    "deep mask": ([MASK[..., None]], [MAP], ValueError, r"masks\[0\].*got \(2, 2, 1\)"),
    "ragged": ([MASK], [[[1, 2], [3]]], ValueError, r"maps\[0\] is not an array"),
    "words": ([MASK], [MAP.astype(str)], ValueError, r"maps\[0\].*real numbers.*U"),
    "complex": ([MASK], [MAP + 1j], ValueError, r"maps\[0\].*real numbers.*complex"),
    "objects": ([MASK.astype(object)], [MAP], ValueError, r"masks\[0\].*object"),
    "missing map": ([None], [None], TypeError, r"maps\[0\].*None\.$"),
    "path": (
        ["a.png"],
        [MAP],
        TypeError,
        r"masks\[0\].*'a.png'.*read first, by sklearn_gauss.datasets.read_masks\.$",
    ),
    "map path": ([MASK], ["a.png"], TypeError, r"maps\[0\].*'a.png'.*read first\.$"),
    "Path": ([MASK, Path("b.png")], [MAP] * 2, TypeError, r"masks\[1\].*read first"),
    "bytes": ([b"\x89PNG"], [MAP], TypeError, r"masks\[0\].*read first"),
    "one path": ("folder", [MAP], TypeError, "masks must be a sequence.*'folder'"),
    "None": (None, [MAP], TypeError, "masks must be a sequence.*None"),
    "number": ([MASK], 3.0, TypeError, "maps must be a sequence"),
    "no dimension": ([MASK], np.array(3.0), TypeError, "maps must be a sequence"),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_named(metric, name):
    masks, maps, error, message = BAD[name]
    with pytest.raises(error, match=message):
        metric(masks, maps)


@pytest.mark.parametrize("metric", METRICS)
def test_iterators_are_read_once(metric):
    masks, maps = [MASK, None], [MAP, MAP / 2]
    want = metric(masks, maps)
    found = metric(iter(masks), (values for values in maps))
    for each, expected in zip(np.atleast_1d(found), np.atleast_1d(want), strict=True):
        np.testing.assert_array_equal(each, expected)


@pytest.mark.parametrize(
    ("metric", "options", "error", "message"),
    [
        (aupro_score, {"max_fpr": 0}, ValueError, "max_fpr"),
        (aupro_score, {"max_fpr": 1.01}, ValueError, "max_fpr"),
        (aupro_score, {"max_fpr": np.nan}, ValueError, "max_fpr"),
        (aupro_score, {"max_fpr": "0.3"}, TypeError, "max_fpr"),
        (aupro_score, {"max_fpr": True}, TypeError, "max_fpr must be a number, got True"),
        (aupro_score, {"connectivity": 8}, ValueError, "1 or 2, got 8"),
        (aupro_score, {"connectivity": True}, ValueError, "1 or 2, got True"),
        (pro_curve, {"connectivity": "2"}, ValueError, "1 or 2, got '2'"),
    ],
)
def test_bad_options_are_named(metric, options, error, message):
    with pytest.raises(error, match=message):
        metric([MASK], [MAP], **options)
