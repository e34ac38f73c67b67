"""Arrays in memory, or in files of a folder that go when the arrays go."""

import os
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np

__all__ = ["allocator", "in_memory"]


def allocator(folder, dtypes):
    """Return ``allocate(name, shape)``: zeros, memory-mapped where a folder is given.

    Parameters
    ----------
    folder : path-like or None
        Made if it does not exist. Every array is a file of its own in it, removed with
        the last array that looks at it.
    dtypes : dict of str to dtype
        Types by name; float64 for names that it does not have.
    """

    def allocate(name, shape):
        dtype = np.dtype(dtypes.get(name, np.float64))
        if folder is None or 0 in shape:
            return np.zeros(shape, dtype)
        Path(folder).mkdir(parents=True, exist_ok=True)
        handle, file = tempfile.mkstemp(".npy", f"{name}-", folder)
        os.close(handle)
        array = np.lib.format.open_memmap(file, "w+", dtype, tuple(shape))
        weakref.finalize(array, _remove, file)
        return array

    return allocate


def _remove(file):
    with suppress(OSError):
        Path(file).unlink()


def in_memory(array):
    """The array itself, or a copy of one that is memory-mapped."""
    return np.array(array) if isinstance(array, np.memmap) else array
