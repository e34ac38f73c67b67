"""A folder of arrays by key, shared by processes and bounded in size.

One file a key: what a killed, full or faulty machine leaves behind concerns single
entries, and no server, index or journal has to be repaired. No file is ever unpickled.
"""

import hashlib
import os
import re
import struct
import time
import uuid
import warnings
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

__all__ = ["FeatureStore", "as_bytes"]

# Our folder in the user's. Another layout of the files needs another name.
FOLDER = "sklearn_gauss_features_1"

_MAGIC = b"SGFEAT1\n"
_CHECKSUM = 16
_DTYPE = np.dtype("<f4")

_ENTRY = re.compile(r"[0-9a-f]{40}\.features")
_PART = re.compile(r"[0-9a-f]{32}\.part")

# File systems keep files in blocks; a limit bounds what a disk really holds.
_DISK_BLOCK = 4096

# A full store shrinks to this part of its limit, and is counted anew whenever this
# process has added the rest of it: not at every write.
_SHRUNK = 0.95

# A part is what a killed process left when nobody wrote to it for so long (seconds).
_STALE_PART = 3600

# The keys fall into so many stripes with a lock each; one worker takes free stripes
# until they hold so many entries, and leaves the others to others.
_STRIPES = 16
_SHARE = 128

# Seconds to wait for a lock: a process that is killed lets go of it, but one that hangs
# does not. Work is then done twice, which harms nobody.
PATIENCE = 600

# What this process knows of folders: which it warned of, and how many bytes it may write
# before it counts the files again.
_warned = set()
_free = {}

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def as_bytes(limit, name):
    """Bytes of an int or of a string such as ``"500 MB"`` or ``"2G"``; None stays."""
    if not isinstance(limit, str):
        return limit
    parts = re.fullmatch(r"\s*(\d+\.?\d*)\s*([KMGT]?)(?:i?B)?\s*", limit, re.IGNORECASE)
    size = int(float(parts[1]) * _UNITS[parts[2].upper()]) if parts else 0
    if size < 1:
        raise ValueError(f"{name}={limit!r} is not a size such as '500 MB' or '2 GB'.")
    return size


class FeatureStore:
    """Arrays of float32 in files below a folder.

    A file is written beside its place and renamed, so that no reader sees half of it.
    It starts with a checksum of its key, shape and values; one that does not fit counts
    as absent. What cannot be written is left out, with one warning.

    Parameters
    ----------
    folder : str or path-like
        Made at the first write. Only the folder `FOLDER` in it is ever touched.
    limit : int or None
        Most bytes to hold, in whole disk blocks.
    """

    def __init__(self, folder, limit=None):
        self.folder = Path(folder, FOLDER)
        self.limit = limit

    def _path(self, key):
        return self.folder / f"{key}.features"

    def get(self, key):
        """Return the array of a key, or None; marks the entry as used."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        array = _unpack(data, key)
        if array is not None:
            with suppress(OSError):  # a folder that can only be read
                os.utime(path)
        return array

    def put(self, key, array):
        """Write an array; a failure warns once for each folder."""
        pieces = _pack(key, array)
        part = self.folder / f"{uuid.uuid4().hex}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(part, self._path(key), pieces)
            self._keep_to_limit(_on_disk(sum(map(len, pieces))))
        except OSError as error:
            self._warn_once(error)

    def _warn_once(self, error):
        if str(self.folder) not in _warned:
            _warned.add(str(self.folder))
            warnings.warn(
                f"cache: features cannot be kept in {self.folder} ({error}); going on "
                "without.",
                UserWarning,
                stacklevel=2,
            )

    def count(self):
        """Return the number of entries and the bytes that they take on the disk."""
        sizes = [size for _, size, path in self._files() if path.suffix != ".part"]
        return len(sizes), sum(sizes)

    def _keep_to_limit(self, written):
        if self.limit is None:
            return
        known = str(self.folder), self.limit
        _free[known] = _free.get(known, 0) - written
        if _free[known] <= 0:
            _free[known] = self._trim()

    def _trim(self):
        """Delete what was not used for longest; return what may be written then."""
        files = sorted(self._files())
        held = sum(size for _, size, _ in files)
        goal = self.limit if held <= self.limit else int(self.limit * _SHRUNK)
        now = time.time()
        for used, size, path in files:
            is_stale = path.suffix == ".part" and used < now - _STALE_PART
            if is_stale or (held > goal and path.suffix != ".part"):
                with suppress(OSError):
                    path.unlink()
                    held -= size
        return min(self.limit - held, int(self.limit * (1 - _SHRUNK)))

    def clear(self):
        """Delete the entries, and nothing else."""
        for _, _, path in self._files():
            with suppress(FileNotFoundError):
                path.unlink()

    def _files(self):
        """List (last use, bytes on the disk, path) of each of our files."""
        found = []
        absent = suppress(FileNotFoundError, NotADirectoryError)
        with absent, os.scandir(self.folder) as items:
            for item in items:
                if _ENTRY.fullmatch(item.name) or _PART.fullmatch(item.name):
                    with suppress(OSError):  # deleted by another process meanwhile
                        status = item.stat()
                        size = _on_disk(status.st_size)
                        found.append((status.st_mtime, size, Path(item.path)))
        return found

    @contextmanager
    def claim(self, keys):
        """Hold the locks of some keys, and give those keys; the others stay to be done.

        Takes what nobody else holds, as far as one share; when others hold all, waits
        for the first. Nobody waits while holding a lock, so no two wait for each other.
        """
        stripes = {}
        for key in keys:
            stripes.setdefault(int(key[:2], 16) % _STRIPES, []).append(key)
        with ExitStack() as held:
            mine = []
            for stripe, inside in stripes.items():
                if len(mine) < _SHARE and self._lock(held, stripe, timeout=0):
                    mine += inside
            if not mine:
                stripe, mine = next(iter(stripes.items()))
                self._lock(held, stripe, timeout=PATIENCE)
            yield mine

    def _lock(self, held, stripe, timeout):
        """Whether a stripe is ours; without working locks it is as well."""
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A lock of one's own excludes other threads as well as other processes.
            lock = FileLock(self.folder / f"{stripe}.lock", timeout=timeout)
            held.enter_context(lock.acquire())
        except Timeout:
            return False
        except OSError:
            return True
        return True


def _write(part, path, pieces):
    """Write a file beside its place and rename it; leave nothing behind on failure."""
    try:
        with open(part, "xb") as file:
            file.writelines(pieces)
        os.replace(part, path)
    except FileNotFoundError:
        pass  # the folder was cleared meanwhile, and this entry with it
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _on_disk(size):
    return -(-size // _DISK_BLOCK) * _DISK_BLOCK


def _pack(key, array):
    """Pieces of a file: what it is, a checksum of the rest, shape and values."""
    values = np.asarray(array, dtype=_DTYPE)
    shape = struct.pack(f"<B{values.ndim}Q", values.ndim, *values.shape)
    body = values.tobytes()
    return _MAGIC, _checksum(key, shape, body), shape, body


def _unpack(data, key):
    """Return the array of a file, or None for one that is damaged or another's."""
    start = len(_MAGIC) + _CHECKSUM
    checksum, rest = data[len(_MAGIC) : start], data[start:]
    if data[: len(_MAGIC)] != _MAGIC or checksum != _checksum(key, rest):
        return None
    ndim = rest[0]
    shape = struct.unpack_from(f"<{ndim}Q", rest, 1)
    return np.frombuffer(rest, _DTYPE, offset=1 + 8 * ndim).reshape(shape)


def _checksum(key, *pieces):
    digest = hashlib.sha256(key.encode())
    for piece in pieces:
        digest.update(piece)
    return digest.digest()[:_CHECKSUM]
