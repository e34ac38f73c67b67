"""Which images a folder holds, in which order."""

import os

__all__ = ["IMAGE_EXTENSIONS", "find_images", "is_image", "is_inside"]

IMAGE_EXTENSIONS = frozenset(
    [".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff"]
) | {".webp"}


def find_images(folder):
    """Paths of the images below a folder, and how many other visible entries there are.

    The public function with these rules is `sklearn_gauss.datasets.list_images`.
    """
    folder = os.fsdecode(folder)
    inside = os.path.join(os.path.realpath(folder), "")
    images, others = [], 0
    for place, folders, files in os.walk(folder, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        others += sum(not name.startswith(".") for name in links)
        folders[:] = [f for f in folders if not f.startswith(".") and f not in links]
        visible = [os.path.join(place, name) for name in files if name[0] != "."]
        found = [path for path in visible if is_image(path) and is_inside(path, inside)]
        images += found
        others += len(visible) - len(found)
    return sorted(images, key=os.fsencode), others


def is_image(path):
    """Whether a file has the extension of an image and is a regular one."""
    extension = os.path.splitext(path)[1].lower()
    # isfile is false for a pipe, which would block its reader, and a dangling link.
    return extension in IMAGE_EXTENSIONS and os.path.isfile(path)


def is_inside(path, root):
    """Whether a path, its links followed, is below ``root`` (real, ends in a slash)."""
    return os.path.realpath(path).startswith(root)


def _raise(error):
    raise error
