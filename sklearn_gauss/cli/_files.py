"""Files that a command reads and writes."""

import hashlib
import os
import warnings
from pathlib import Path

from sklearn_gauss.datasets import load_inspection_folder
from sklearn_gauss.feature_extraction._reading._listing import (
    IMAGE_EXTENSIONS,
    find_images,
)

__all__ = [
    "check_writable",
    "find_good_images",
    "find_images",
    "warn_of_copies",
    "write_whole",
]


def check_writable(path, *, force=True, inputs=()):
    """Refuse, before any work, a file that cannot be written; returns its path.

    A file that is one of ``inputs`` is never overwritten.
    """
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise ValueError(f"{path}: cannot be written, there is no folder {folder}.")
    if path.is_dir():
        raise ValueError(f"{path}: cannot be written, it is a folder.")
    if path.exists() and any(_is_same(path, name) for name in inputs):
        raise ValueError(f"{path}: is an input and would be overwritten.")
    if path.exists() and not force:
        raise ValueError(f"{path}: exists already; --force overwrites it.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ValueError(f"{path}: cannot be written, permission denied.")
    return path


def _is_same(path, other):
    return os.path.exists(other) and os.path.samefile(path, other)


def warn_of_copies(images, seen=()):
    """Warn of images that are byte-identical to others, or to images seen before.

    A left-out image of which there is a copy does not look unseen: thresholds are then
    too strict, and what was fitted to cannot be tested on.
    """
    digests, known = set(), {_digest(image) for image in seen}
    copies = leaked = 0
    for digest in map(_digest, images):
        copies += digest in digests
        leaked += digest in known
        digests.add(digest)
    if copies and not seen:
        warnings.warn(
            f"{copies} of {len(images)} training images are byte-identical copies of "
            "others. Remove them: more good images than target_fpr will be flagged.",
            stacklevel=2,
        )
    if leaked:
        warnings.warn(
            f"{leaked} of {len(images)} test images are training images too, byte for "
            "byte: what is measured on them says nothing of unseen images.",
            stacklevel=2,
        )


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def write_whole(path, write):
    """Call ``write(file)`` on a new file beside ``path``, then put it in its place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(draft, "wb") as file:
            write(file)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def find_good_images(folder):
    """Good images to fit on, and what to say of them.

    ``train/good`` of the MVTec layout, or all images of a folder.
    """
    root = Path(folder)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder.")
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: not a folder.")
    has_parts = any((root / part).is_dir() for part in ("train", "test"))
    if has_parts or any(root.glob("*/train")):
        found = load_inspection_folder(root, split="train")
        skipped = f", {len(found.skipped)} other entries skipped" if found.skipped else ""
        return found.train, f"{len(found.train)} good images in train/good{skipped}"
    images, others = find_images(root)
    if not images:
        also = f" ({others} other files)" if others else ""
        raise ValueError(
            f"{root}: no image with an extension out of {sorted(IMAGE_EXTENSIONS)}{also}."
        )
    folders = {os.path.dirname(image) for image in images}
    parts = f" in {len(folders)} folders" if len(folders) > 1 else ""
    skipped = f", {others} other files skipped" if others else ""
    return images, f"{len(images)} good images{parts}{skipped}"
