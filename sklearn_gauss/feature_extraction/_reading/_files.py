"""Open encoded images without trusting them: what they are, how large, how costly.

Everything here is decided before pixels are decoded. Pillow is imported inside the
functions: it belongs to the ``cnn`` extra.
"""

import contextlib
import io
import os
import stat
import threading
import warnings
from dataclasses import dataclass

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._reading._formats import (
    check_cost,
    check_header,
    check_size,
    identify,
    reader,
)
from sklearn_gauss.feature_extraction._reading._kinds import (
    is_encoded,
    is_url,
    shown,
)

__all__ = [
    "Encoded",
    "explained",
    "import_pillow",
    "opened",
]

# A header that takes more reads than this is a loop, or made to be slow.
_READS = 50_000
_BYTES_PER_READ = 64


def import_pillow():
    """Return Pillow's ``Image`` module; the extra is named when it is missing."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ImportError(
            "Pillow is needed to read images. "
            'Install it with: pip install "sklearn-gauss[cnn]"'
        ) from error
    return Image


@dataclass(frozen=True)
class Encoded:
    """An opened image, not decoded, its file, and a function that opens it once more."""

    image: object
    file: object
    again: object


@contextlib.contextmanager
def opened(source, name, max_pixels):
    """Open a file or the bytes of one; yields `Encoded`, its header checked.

    Raises ImageReadError, whatever goes wrong inside the ``with`` block too.
    """
    import_pillow()
    with explained(name), stream(source, name) as file:
        size = check_length(file, name, max_pixels)
        form = identify(file, name)
        read = reader(form)
        check_header(form, file, name, max_pixels)

        def again():
            file.seek(0)
            return read(_Guarded(file, _READS + size // _BYTES_PER_READ), "")

        image = again()
        check_size(image.size, name, max_pixels)
        check_cost(image, file, name)
        yield Encoded(image, file, again)


@contextlib.contextmanager
def explained(name):
    """Turn what Pillow raises, of any kind, into an ImageReadError that names it."""
    name = shown(name)
    try:
        with quiet():
            yield
    except ImageReadError:
        raise
    except Exception as error:  # decoders fail in many ways, also outside OSError
        kind = type(error).__name__
        if kind == "DecompressionBombError":
            reason = f"too large for Pillow ({error}); see PIL.Image.MAX_IMAGE_PIXELS"
        elif isinstance(error, OSError) and error.errno is not None:
            reason = f"cannot be read ({error.strerror})"
        elif str(error) == "unknown pixel mode":  # of TIFF
            reason = "its type of samples is not supported; save 8 or 16 bits a sample"
        else:
            reason = f"damaged or not decodable ({kind}: {error})"
        raise ImageReadError(f"{name}: {reason}.") from error


class _Quiet:
    """No warnings of Pillow while anything reads, in however many threads.

    ``warnings.catch_warnings`` in overlapping threads restores the wrong filters; only
    the first to come in and the last to leave change them here.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = None

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *error):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(*error)


_QUIET = _Quiet()


def quiet():
    """Silence Pillow's warnings about metadata and sizes: nothing hangs on them."""
    return _QUIET


class _Guarded:
    """A file that can be read a number of times, then raises."""

    def __init__(self, file, reads):
        self._file = file
        self._left = reads

    def read(self, *size):
        self._left -= 1
        if self._left < 0:
            raise OSError("it is made of too many parts")
        return self._file.read(*size)

    def __getattr__(self, name):
        return getattr(self._file, name)


def stream(source, name):
    """Binary file of a path, or of bytes in memory."""
    name = shown(name)
    if isinstance(source, io.BytesIO):
        return io.BytesIO(source.getbuffer())
    if is_encoded(source):
        return io.BytesIO(source)
    path = os.fspath(source)
    try:
        _check_regular(os.stat(path), name)  # opening a device may act on it
        file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 - the caller closes
    except ImageReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        if is_url(os.fsdecode(path)):
            reason = "an address, not a path: download it first"
        raise ImageReadError(f"{name}: cannot be read ({reason}).") from error
    try:
        _check_regular(os.fstat(file.fileno()), name)  # what was opened, not its name
    except ImageReadError:
        file.close()
        raise
    return file


def _open_at_once(path, flags):
    """Open without waiting for a writer, should the file have become a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_regular(status, name):
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ImageReadError(f"{name}: {kind}, not an image.")


def check_length(file, name, max_pixels):
    name = shown(name)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not size:
        raise ImageReadError(f"{name}: the file is empty.")
    most = 8 * max_pixels + 2**24  # four channels of 16 bits, and metadata
    if size > most:
        raise ImageReadError(
            f"{name}: {size} bytes are more than images of max_pixels={max_pixels} have."
        )
    return size
