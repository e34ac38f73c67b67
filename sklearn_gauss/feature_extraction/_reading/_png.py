"""Whether the compressed rows of a PNG are all there.

Pillow leaves rows black that a complete compressed stream does not hold, as a failed
writer leaves it.
"""

import math
import zlib

import numpy as np

__all__ = ["rows_are_there"]

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

# First pixel and step, (y, x), of the passes of an interlaced image.
_PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def rows_are_there(image, file):
    """Whether a decoded PNG has all its rows.

    Where its last row is not black it has; else, and if it is interlaced, the bytes of
    its rows are counted.
    """
    width, height = image.size
    last = image.crop((0, height - 1, width, height))
    if not image.info.get("interlace") and np.asarray(last).any():
        return True
    file.seek(8)
    _, head = next(_chunks(file))
    return _bytes_of_rows(file) >= _needed(head)


def _chunks(file):
    """Kind and data of the chunks from here on."""
    while len(start := file.read(8)) == 8:
        data = file.read(int.from_bytes(start[:4], "big"))
        file.read(4)
        yield start[4:], data


def _bytes_of_rows(file):
    inflate, found = zlib.decompressobj(), 0
    for kind, data in _chunks(file):
        while kind == b"IDAT" and data and not inflate.eof:
            found += len(inflate.decompress(data, 2**20))
            data = inflate.unconsumed_tail
    return found


def _needed(head):
    """Bytes of all rows, each with one for its filter."""
    width, height = (int.from_bytes(head[i : i + 4], "big") for i in (0, 4))
    depth, kind, interlaced = head[8], head[9], head[12]
    total = 0
    for y, x, down, right in _PASSES if interlaced else ((0, 0, 1, 1),):
        rows, columns = math.ceil((height - y) / down), math.ceil((width - x) / right)
        if rows > 0 and columns > 0:
            total += rows * (1 + math.ceil(columns * _CHANNELS[kind] * depth / 8))
    return total
