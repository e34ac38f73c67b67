"""Images from an iterator: of no known number, read once, never all in memory."""

import contextlib
import itertools
import re
import warnings

import numpy as np

from sklearn_gauss.feature_extraction._reading._kinds import is_path, shown, undrawn

__all__ = ["ImageStream", "extract_all", "warn_unread"]

# Images that could not be read that a warning names.
_NAMED = 5


class ImageStream:
    """Images one after another, whatever pieces they come in.

    Parameters
    ----------
    source : iterable
        Of images or batches of images. Nothing is taken from it before `chunks`.
    split : callable
        Takes a piece and what to call it in errors, returns a sequence of images.
    """

    def __init__(self, source, split):
        self._source = source
        self._split = split

    def chunks(self, size):
        """Lists of at most ``size`` images, in their order.

        Raises ValueError where there is none.
        """
        images = self._images()
        count = 0
        while chunk := list(itertools.islice(images, size)):
            count += len(chunk)
            yield chunk
        if not count:
            raise ValueError(
                "Found 0 images: X yields none. An iterator that was read before is "
                "used up; pass a new one."
            )

    def _images(self):
        for place, piece in enumerate(self._source):
            yield from self._split(piece, f"item {place} of X")


def extract_all(images, extract, *, chunk):
    """Features of a sequence or stream, and the names of images that were not read.

    ``extract`` takes a list of images and returns their features, NaN for those that
    could not be read. A stream is taken ``chunk`` images at a time.
    """
    is_stream = isinstance(images, ImageStream)
    blocks, unread, start = [], [], 0
    for piece in images.chunks(chunk) if is_stream else [images]:
        with _renumbered(start):
            blocks.append(extract(piece))
        unread += _unread(piece, blocks[-1], start)
        start += len(piece)
    return (blocks[0] if len(blocks) == 1 else _joined(blocks, start)), unread


def _joined(blocks, total):
    """Concatenate blocks, each let go when it is copied: maps may fill the memory."""
    rows = np.empty((total, *blocks[0].shape[1:]), blocks[0].dtype)
    start = total
    while blocks:
        block = blocks.pop()
        start -= len(block)
        rows[start : start + len(block)] = block
    return rows


def warn_unread(unread, total):
    """Warn of images whose rows are NaN: their number, and the first by name."""
    if not unread:
        return
    more = ", ..." if len(unread) > _NAMED else ""
    warnings.warn(
        f"{len(unread)} of {total} images could not be read; their features are NaN: "
        f"{', '.join(unread[:_NAMED])}{more}",
        UserWarning,
        stacklevel=4,
    )


def _unread(images, features, start):
    rows = features.reshape(len(features), -1)
    places = np.flatnonzero(np.isnan(rows[:, 0]))
    names = []
    for place in places[np.isnan(rows[places]).all(axis=1)].tolist():
        source = undrawn(images[place])
        named = source if is_path(source) else getattr(source, "filename", "")
        names.append(shown(str(named)) if named else f"X[{start + place}]")
    return names


@contextlib.contextmanager
def _renumbered(start):
    """Let errors that name ``X[i]`` count from the first image of a stream."""
    try:
        yield
    except ValueError as error:
        match = re.match(r"X\[(\d+)\]", str(error))
        if not start or not match:
            raise
        place, rest = start + int(match[1]), str(error)[match.end() :]
        raise type(error)(f"X[{place}]{rest}") from error
