"""Files that a command reads and writes."""

import os
from pathlib import Path

from sklearn_gauss.datasets import load_inspection_folder
from sklearn_gauss.datasets._load_inspection_folder import IMAGE_EXTENSIONS


def check_writable(path, *, force=True):
    """Refuse, before any work, a file that cannot be written; returns its path."""
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise ValueError(f"{path}: cannot be written, there is no folder {folder}.")
    if path.is_dir():
        raise ValueError(f"{path}: cannot be written, it is a folder.")
    if path.exists() and not force:
        raise ValueError(f"{path}: exists already; --force overwrites it.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ValueError(f"{path}: cannot be written, permission denied.")
    return path


def write_whole(path, write):
    """Call ``write(file)`` on a new file beside ``path``, then put it in its place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(draft, "wb") as file:
            write(file)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def find_images(folder):
    """Images in a folder and its subfolders, and how many other files it has.

    Sorted by the bytes of their paths, folder by folder. Hidden entries and links to
    folders are left out.
    """
    images, others = [], 0
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted((f for f in folders if f[0] != "."), key=os.fsencode)
        for name in sorted(files, key=os.fsencode):
            if name[0] == ".":
                continue
            if os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS:
                images.append(os.path.join(place, name))
            else:
                others += 1
    return images, others


def _raise(error):
    raise error


def find_good_images(folder):
    """Good images to fit on: ``train/good`` of the MVTec layout, or all of a folder."""
    root = Path(folder)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder.")
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: not a folder.")
    has_parts = any((root / part).is_dir() for part in ("train", "test"))
    if has_parts or any(root.glob("*/train")):
        return load_inspection_folder(root, split="train").train
    images, others = find_images(root)
    if not images:
        also = f" ({others} other files)" if others else ""
        raise ValueError(
            f"{root}: no image with an extension out of {sorted(IMAGE_EXTENSIONS)}{also}."
        )
    return images
