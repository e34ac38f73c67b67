"""The images of a folder, in the order in which an extractor reads them."""

from sklearn_gauss.feature_extraction._reading._listing import find_images


def list_images(folder):
    """List the images in a folder and its subfolders, in the order of their bytes.

    :class:`~sklearn_gauss.feature_extraction.CNNFeatureExtractor` reads a folder in this
    order: row ``i`` of its features belongs to path ``i`` of this list. No image is
    opened.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder.

    Returns
    -------
    images : list of str
        Paths that start with ``folder``, sorted by their bytes on every system alike.

    Raises
    ------
    NotADirectoryError
        If ``folder`` is not a folder.
    FileNotFoundError
        If ``folder`` does not exist.

    See Also
    --------
    load_inspection_folder : List a folder in the MVTec AD layout.

    Notes
    -----
    The extension tells an image, in lower or upper case. Left out are hidden files and
    folders, whatever is not a regular file, links to folders, and links to files
    outside of ``folder``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_gauss.datasets import list_images
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
    ...         Path(root, name).touch()
    ...     images = list_images(root)
    >>> [Path(image).name for image in images]
    ['a.JPG', 'b.png']
    """
    return find_images(folder)[0]
