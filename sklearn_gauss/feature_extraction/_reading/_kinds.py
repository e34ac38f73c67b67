"""What kind of image an object is; no library is imported to find out."""

import io
import os
import re
import sys

__all__ = [
    "array_like",
    "is_drawn",
    "is_encoded",
    "is_missing",
    "is_path",
    "is_pil",
    "is_single",
    "is_tensor",
    "is_url",
    "shown",
    "torch_class",
    "undrawn",
]


def is_path(source):
    """Whether a source is the path of a file; an empty text is none."""
    return isinstance(source, str | os.PathLike) and source != ""


def is_encoded(source):
    """Whether a source holds the bytes of a file."""
    return isinstance(source, bytes | bytearray | memoryview | io.BytesIO)


def is_missing(source):
    """Whether a source is a gap in a column of paths: None, NaN, pandas.NA or ""."""
    if isinstance(source, str):
        return not source
    is_nan = isinstance(source, float) and source != source
    return source is None or is_nan or type(source).__name__ in ("NAType", "NaTType")


def is_pil(source):
    """Whether a source is a PIL image."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def is_drawn(source):
    """Whether a source is an image to draw on when it is read, see `DrawnImage`.

    Such an object has the ``image``, ``draw_on(pixels)`` and ``drawing``, a text of all
    that decides what is drawn.
    """
    return hasattr(type(source), "draw_on")


def undrawn(source):
    """Return the image below drawings; any other source as it is."""
    while is_drawn(source):
        source = source.image
    return source


def is_tensor(source):
    """Whether a source is a torch tensor."""
    module = sys.modules.get("torch")
    return module is not None and isinstance(source, module.Tensor)


def torch_class(name):
    """Return a class of ``torch.utils.data``, or an empty tuple for `isinstance`."""
    module = sys.modules.get("torch.utils.data")
    return () if module is None else getattr(module, name, ())


def array_like(source):
    """Whether a source has dimensions of its own and turns into an array."""
    has_shape = isinstance(getattr(source, "shape", None), tuple)
    return has_shape and hasattr(source, "__array__")


def is_single(source):
    """Whether a source is one image by its type alone."""
    kinds = (is_path, is_encoded, is_pil, is_missing, is_drawn)
    return any(kind(source) for kind in kinds)


def is_url(text):
    """Whether a text is an address of the web or a data address, not a path."""
    return re.match(r"([a-z][a-z0-9+.-]+://|data:)", text, re.IGNORECASE) is not None


def shown(path):
    """Path as messages name it: line breaks and other control characters are escaped.

    What somebody took for a path may be megabytes long, and is cut.
    """
    text = path if isinstance(path, str) else os.fsdecode(path)
    text = text if len(text) <= 4096 else f"{text[:100]}..."
    return re.sub(r"[\0-\x1f\x7f-\x9f\u2028\u2029]", lambda c: repr(c[0])[1:-1], text)
