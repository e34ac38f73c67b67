"""Write inspection images as a folder of PNG files in the MVTec AD layout."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

# The files this function writes, which `overwrite` may remove.
WRITTEN = re.compile(r"\d{3,}(_mask)?\.png")


def save_inspection_folder(images, path, *, overwrite=False):
    """Write drawn inspection images as a folder in the MVTec AD layout.

    The files are ``train/good/000.png``, ``test/good/000.png``,
    ``test/DEFECT/000.png`` and ``ground_truth/DEFECT/000_mask.png`` (255 on the
    defect), numbered in each folder in the order of the images.

    Parameters
    ----------
    images : :class:`~sklearn.utils.Bunch`
        As returned by :func:`make_inspection_images`: ``train`` and ``test`` of shape
        (n, H, W, 3) and dtype uint8, ``y_test``, ``defect`` and ``masks``.
    path : str or os.PathLike
        The folder to write; it is created where needed.
    overwrite : bool, default=False
        Whether to write into a folder that is not empty. If True, the numbered PNG
        files of the layout (``000.png``, ``000_mask.png``) that are there are removed
        first, and everything else is left alone.

    Returns
    -------
    path : pathlib.Path
        The folder.

    Raises
    ------
    ImportError
        If pillow is not installed.
    FileExistsError
        If ``path`` is a file, or a folder with something in it and ``overwrite`` is
        False.
    ValueError
        If ``images`` lacks a field, or its fields do not fit together.

    See Also
    --------
    load_inspection_folder : List the files again.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn_gauss.datasets import make_inspection_images
    >>> from sklearn_gauss.datasets import save_inspection_folder
    >>> images = make_inspection_images(
    ...     n_train=1, n_good=1, n_defect=1, size=32, random_state=0
    ... )
    >>> with tempfile.TemporaryDirectory() as root:
    ...     path = save_inspection_folder(images, root)
    ...     files = sorted(f.relative_to(path).as_posix() for f in path.rglob("*.png"))
    >>> for file in files:
    ...     print(file)
    ground_truth/scratch/000_mask.png
    test/good/000.png
    test/scratch/000.png
    train/good/000.png
    """
    save = _png_writer()
    _check_images(images)
    root = Path(os.fsdecode(path))
    _clear(root, overwrite)
    for i, image in enumerate(images["train"]):
        save(image, root / "train" / "good" / f"{i:03d}.png")
    count = Counter()
    for image, defect, mask in zip(
        images["test"], images["defect"], images["masks"], strict=True
    ):
        name = f"{count[defect]:03d}"
        count[defect] += 1
        save(image, root / "test" / defect / f"{name}.png")
        if defect != "good":
            file = root / "ground_truth" / defect / f"{name}_mask.png"
            save(np.where(mask, 255, 0).astype(np.uint8), file)
    return root


def _png_writer():
    """A function that writes an array (H, W[, 3]) as a PNG file."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'save_inspection_folder needs pillow: pip install "sklearn-gauss[cnn]".'
        ) from error

    def save(array, file):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(array)).save(file, format="PNG")

    return save


def _clear(root, overwrite):
    if root.exists() and not root.is_dir():
        raise FileExistsError(f"{root}: not a folder.")
    if not root.exists() or not any(root.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(
            f"{root}: the folder is not empty. Pass overwrite=True to replace the "
            f"numbered PNG files of its train, test and ground_truth."
        )
    for part in ("train", "test", "ground_truth"):
        for file in root.glob(f"{part}/*/*.png"):
            if WRITTEN.fullmatch(file.name):
                file.unlink()


def _check_images(images):
    fields = ("train", "test", "y_test", "defect", "masks")
    try:
        train, test, y_test, defect, masks = (np.asarray(images[f]) for f in fields)
    except (KeyError, TypeError, IndexError):
        raise ValueError(
            f"images must have the fields {', '.join(fields)}, as returned by "
            f"make_inspection_images."
        ) from None
    for name, array in (("train", train), ("test", test)):
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
            raise ValueError(
                f"images.{name} must have shape (n, H, W, 3) and dtype uint8, got "
                f"{array.shape} and {array.dtype}."
            )
    if not len(test) == len(y_test) == len(defect) == len(masks):
        raise ValueError(
            f"images.test, y_test, defect and masks must have one length, got "
            f"{len(test)}, {len(y_test)}, {len(defect)} and {len(masks)}."
        )
    if masks.dtype != bool or masks.shape != test.shape[:3]:
        raise ValueError(
            f"images.masks must be bool of shape {test.shape[:3]}, got "
            f"{masks.dtype} and {masks.shape}."
        )
    if not np.array_equal(np.where(defect == "good", 1, -1), y_test):
        raise ValueError("images.y_test must be +1 exactly where defect is 'good'.")
    for name in np.unique(defect):
        if not re.fullmatch(r"\w[\w .-]*", name):
            raise ValueError(f"images.defect {name!r} cannot be the name of a folder.")
