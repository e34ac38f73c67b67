"""Read the layout of an inspection data set: which images there are, not the pixels."""

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from sklearn_gauss.feature_extraction._reading._listing import (
    IMAGE_EXTENSIONS,
    is_image,
    is_inside,
)


def load_inspection_folder(path, *, split=None):
    """List the images of a folder in the MVTec AD layout.

    The layout is ``train/good``, ``test/good``, one ``test/DEFECT`` per kind of
    defect, and optionally ``ground_truth/DEFECT`` with a mask ``NAME_mask.png`` or
    ``NAME.png`` for the image ``test/DEFECT/NAME.png``. No image is opened.

    Parameters
    ----------
    path : str or os.PathLike
        The folder of one category, which holds ``train`` and ``test``.
    split : {None, "train", "test"}, default=None
        Read one of the two splits only; the lists of the other are empty and its
        folder may be absent. None reads both.

    Returns
    -------
    folder : :class:`~sklearn.utils.Bunch`
        With the attributes

        train : list of str
            Paths of the normal images for training.
        test : list of str
            Paths of the test images: the good ones, then defect by defect.
        y_test : ndarray of shape (n_test,), dtype int
            +1 for an image of ``test/good``, -1 for any other.
        defect : ndarray of shape (n_test,), dtype str
            The name of the image's folder: "good" or the defect.
        masks : list of str or None
            Path of the ground-truth mask of each test image, None without one.
        skipped : list of str
            What lies in the folders that were read and is in none of the lists above:
            hidden files, files without the extension of an image, folders where
            images are expected, folders of ``train`` other than ``good``, masks
            without an image, dangling links and links that lead out of ``path``.
        name : str
            The name of the folder.

    Raises
    ------
    NotADirectoryError
        If ``path`` or its ``train`` or ``test`` is not a folder.
    FileNotFoundError
        If ``path``, ``train/good`` or ``test`` does not exist.
    ValueError
        If a split that is read holds no image, or ``split`` is unknown.

    See Also
    --------
    list_images : List the images of a folder of any layout.
    read_masks : Read the masks.
    save_inspection_folder : Write images in this layout.
    make_inspection_images : Draw images instead.

    Notes
    -----
    Files and defects are sorted by the bytes of their names, on every system alike.
    The extension tells an image, in lower or upper case; a file that only looks like
    an image is found out when it is read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_gauss.datasets import load_inspection_folder
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("train/good/0.png", "test/good/1.png", "test/dent/2.png"):
    ...         file = Path(root, name)
    ...         file.parent.mkdir(parents=True)
    ...         file.touch()
    ...     folder = load_inspection_folder(root)
    >>> [Path(file).name for file in folder.train]
    ['0.png']
    >>> folder.defect.tolist(), folder.y_test.tolist(), folder.masks
    (['good', 'dent'], [1, -1], [None, None])
    """
    if split not in (None, "train", "test"):
        raise ValueError(f"split must be None, 'train' or 'test', got {split!r}.")
    root = Path(os.fsdecode(path))
    _check_layout(root, split)
    reader = _Reader(root)
    train = [] if split == "test" else _train_images(root, reader)
    test = [] if split == "train" else _test_images(root, reader)
    masks = _match_masks(root, reader, test)
    defect = [name for name, _ in test]
    return Bunch(
        train=train,
        test=[image for _, image in test],
        y_test=np.array([1 if name == "good" else -1 for name in defect], dtype=int),
        defect=np.array(defect, dtype=str),
        masks=masks,
        skipped=sorted(reader.skipped, key=os.fsencode),
        name=Path(os.path.abspath(root)).name,
    )


class _Reader:
    """Lists folders below a root and remembers what it skipped."""

    def __init__(self, root):
        self.inside = os.path.join(os.path.realpath(root), "")
        self.skipped = []

    def _entries(self, folder, wanted):
        """The wanted entries in the order of their bytes, hidden and foreign left out."""
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        kept = [
            entry
            for entry in ordered
            if not entry.name.startswith(".")
            and wanted(entry.path)
            and is_inside(entry.path, self.inside)
        ]
        self.skipped += [entry.path for entry in ordered if entry not in kept]
        return kept

    def folders(self, folder, known=None):
        """Names of the folders in a folder, or of those among ``known``."""
        kept = self._entries(
            folder,
            lambda path: (
                os.path.isdir(path) and (known is None or os.path.basename(path) in known)
            ),
        )
        return [entry.name for entry in kept]

    def images(self, folder):
        """Paths of the images in a folder."""
        return [entry.path for entry in self._entries(folder, is_image)]


def _train_images(root, reader):
    names = reader.folders(root / "train", known={"good"})
    images = [i for name in names for i in reader.images(root / "train" / name)]
    _check_some(images, root / "train" / "good", reader)
    return images


def _test_images(root, reader):
    """Pairs (folder's name, path), the good images first."""
    names = reader.folders(root / "test")
    names.sort(key=lambda name: name != "good")  # stable: the defects keep their order
    images = [(name, i) for name in names for i in reader.images(root / "test" / name)]
    _check_some(images, root / "test", reader)
    return images


def _match_masks(root, reader, test):
    """The mask of each test image, by the stem of its name; others are skipped."""
    truth, by_stem = root / "ground_truth", {}
    if test and truth.is_dir():
        for name in reader.folders(truth, known={name for name, _ in test}):
            for mask in reader.images(truth / name):
                by_stem[name, Path(mask).stem] = mask
    masks = []
    for name, image in test:
        stem = Path(image).stem
        masks.append(by_stem.get((name, f"{stem}_mask"), by_stem.get((name, stem))))
    reader.skipped += [mask for mask in by_stem.values() if mask not in set(masks)]
    return masks


def _check_some(images, folder, reader):
    if not images:
        count = len(reader.skipped)
        also = f" ({count} other entries: {_some(reader.skipped)})" if count else ""
        raise ValueError(
            f"{folder}: no image with an extension out of "
            f"{sorted(IMAGE_EXTENSIONS)}{also}."
        )


def _check_layout(root, split):
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder.")
    needed = [root]
    if split != "test":
        needed += [root / "train", root / "train" / "good"]
    if split != "train":
        needed += [root / "test"]
    for folder in needed:
        if not folder.exists():
            raise FileNotFoundError(
                f"{folder}: no such folder. {_hint(root)}"
                f"{root} holds {_some(sorted(os.listdir(root))) or 'nothing'}."
            )
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: not a folder.")


def _hint(root):
    """What may be meant, if the path is a level too high or too low."""
    categories = sorted(entry.parent.name for entry in root.glob("*/train"))
    if categories:
        first = root / categories[0]
        return (
            f"The path is one level too high: it holds the categories "
            f"{_some(categories)}; pass one of them, such as {first}. "
        )
    for above in list(Path(os.path.abspath(root)).parents)[:2]:
        if (above / "train" / "good").is_dir():
            return f"The path is too low: pass {above}. "
    if (root / "test").is_dir() and not (root / "train").exists():
        return "Pass split='test' to read the test images alone. "
    if (root / "train").is_dir() and not (root / "test").exists():
        return "Pass split='train' to read the training images alone. "
    return "Expected train/good, test/good and one test/DEFECT per kind of defect. "


def _some(names, most=8):
    shown = ", ".join(str(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
