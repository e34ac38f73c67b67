"""Procedurally drawn inspection images: products, normal variation and defects."""

import math
import numbers

import numpy as np
from sklearn.utils import Bunch, check_random_state

from sklearn_gauss.datasets._products import DEFECT, GOOD, PRODUCTS, TRAIN, draw_pair

MIN_SIZE = 32


def make_inspection_images(
    kind="tile",
    *,
    n_train=60,
    n_good=20,
    n_defect=20,
    size=128,
    defects="all",
    severity=1.0,
    random_state=None,
):
    """Draw images of a product for visual inspection, some of them with a defect.

    Textures and manufactured parts are drawn from scratch, as a camera above a
    production line would see them: each image has its own piece of the texture or
    pose of the part, its own light, white balance and noise. A defective image is
    the normal image of the same state with one local defect, so its mask is exact.

    Parameters
    ----------
    kind : {"fabric", "tile", "wood", "metal", "washer", "gear", "bolt", "board"}, \
            default="tile"
        The product. The first four are textures, the next three are parts on a
        table, the last is a populated circuit board.
    n_train : int, default=60
        Normal images for training.
    n_good : int, default=20
        Normal images for testing.
    n_defect : int, default=20
        Defective images for testing, in total: image i has the defect
        ``defect_names[i % len(defect_names)]``.
    size : int, default=128
        Height and width in pixels, at least 32; the traces of a board need about 96.
    defects : "all" or list of str, default="all"
        The defects to draw, out of those of the kind (see Notes).
    severity : float, default=1.0
        Scales the contrast and the extent of the defects. At 1 most are seen at a
        glance and simple features miss many; far below 1 some change no pixel.
    random_state : int, RandomState instance, Generator or None, default=None
        Determines the design of the product (colours, proportions, layout) and all
        images. Pass an int for the same images across calls.

    Returns
    -------
    images : :class:`~sklearn.utils.Bunch`
        With the attributes

        train : ndarray of shape (n_train, size, size, 3), dtype uint8
            Normal images.
        test : ndarray of shape (n_good + n_defect, size, size, 3), dtype uint8
            Normal images, then defective ones.
        y_test : ndarray of shape (n_good + n_defect,), dtype int
            +1 for a normal image, -1 for a defective one.
        defect : ndarray of shape (n_good + n_defect,), dtype str
            "good" or the name of the defect.
        masks : ndarray of shape (n_good + n_defect, size, size), dtype bool
            The pixels that a defect changes visibly.
        defect_names : list of str
            The defects that are drawn, in their order.
        kind : str
            The product.
        DESCR : str
            A description of the data set.

    Raises
    ------
    ValueError
        If a parameter has a value that is not listed above.
    TypeError
        If a number or ``random_state`` has the wrong type.

    See Also
    --------
    save_inspection_folder : Write the images as a folder of PNG files.
    load_inspection_folder : List the images of such a folder.

    Notes
    -----
    An image depends on ``random_state``, its place in its group (train, good, defect)
    and the parameters that shape it, and not on how many are drawn: the first images
    of a longer list are the same. A defective image has the same state whatever its
    defect and severity.

    ================ ==================================================================
    kind             defects
    ================ ==================================================================
    fabric           stain, pit, crack, contamination, blur, distortion
    tile             scratch, stain, pit, crack, contamination, blur
    wood, metal      scratch, stain, pit, crack, contamination, distortion
    washer           scratch, stain, crack, contamination, missing, bent
    gear             scratch, stain, pit, contamination, missing, bent
    bolt             scratch, stain, contamination, missing, bent, stripped
    board            scratch, stain, contamination, open, short, missing, skewed
    ================ ==================================================================

    Examples
    --------
    >>> from sklearn_gauss.datasets import make_inspection_images
    >>> images = make_inspection_images(
    ...     "gear", n_train=3, n_good=1, n_defect=2, size=64, random_state=0
    ... )
    >>> images.train.shape, images.test.shape
    ((3, 64, 64, 3), (3, 64, 64, 3))
    >>> images.defect.tolist()
    ['good', 'scratch', 'stain']
    >>> images.masks.any(axis=(1, 2)).tolist()
    [False, True, True]
    """
    _check_kind(kind)
    names = _check_defects(defects, kind)
    n_train, n_good, n_defect, size = (
        _check_count(name, value, least)
        for name, value, least in (
            ("n_train", n_train, 0),
            ("n_good", n_good, 0),
            ("n_defect", n_defect, 0),
            ("size", size, MIN_SIZE),
        )
    )
    severity = _check_severity(severity)
    root = _root_seed(random_state)

    good = [None] * n_good
    planned = [names[i % len(names)] for i in range(n_defect)]
    train, _ = _draw_all(kind, size, [None] * n_train, severity, root, TRAIN)
    normal, blank = _draw_all(kind, size, good, severity, root, GOOD)
    damaged, masks = _draw_all(kind, size, planned, severity, root, DEFECT)
    return Bunch(
        train=train,
        test=np.concatenate([normal, damaged]),
        y_test=np.repeat(np.array([1, -1]), [n_good, n_defect]),
        defect=np.array(["good"] * n_good + planned, dtype=str),
        masks=np.concatenate([blank, masks]),
        defect_names=names,
        kind=kind,
        DESCR=_describe(kind, size, n_train, n_good, n_defect, names, severity),
    )


def _draw_all(kind, size, planned, severity, root, stream):
    images = np.empty((len(planned), size, size, 3), dtype=np.uint8)
    masks = np.empty((len(planned), size, size), dtype=bool)
    for i, defect in enumerate(planned):
        images[i], masks[i], _ = draw_pair(kind, size, defect, severity, root, stream, i)
    return images, masks


def _check_kind(kind):
    if not isinstance(kind, str) or kind not in PRODUCTS:
        raise ValueError(f"kind must be one of {list(PRODUCTS)}, got {kind!r}.")


def _check_defects(defects, kind):
    known = list(PRODUCTS[kind].defects)
    if isinstance(defects, str) and defects == "all":
        return known
    if isinstance(defects, str) or not isinstance(defects, (list, tuple)):
        raise ValueError(f"defects must be 'all' or a list of names, got {defects!r}.")
    unknown = [name for name in defects if name not in known]
    if unknown or not defects or len(set(defects)) < len(defects):
        raise ValueError(
            f"defects must be 'all' or different names out of {known} for "
            f"kind={kind!r}, got {defects!r}."
        )
    return list(defects)


def _check_count(name, value, least):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    return int(value)


def _check_severity(severity):
    if not isinstance(severity, numbers.Real) or isinstance(severity, bool):
        raise TypeError(f"severity must be a number, got {severity!r}.")
    if not (math.isfinite(severity) and severity > 0):
        raise ValueError(f"severity must be positive and finite, got {severity}.")
    return float(severity)


def _root_seed(random_state):
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _describe(kind, size, n_train, n_good, n_defect, names, severity):
    return (
        f"Procedurally drawn inspection images of kind {kind!r}, {size} x {size} "
        f"pixels, RGB.\n\n{n_train} normal images for training; for testing {n_good} "
        f"normal ones and {n_defect} with a defect of severity {severity:g} "
        f"({', '.join(names)}), each with the mask of the pixels it changes."
    )
