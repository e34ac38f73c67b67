"""Read images of every kind into one: 8-bit RGB, upright, of a stated size.

Pillow is imported inside the functions: it belongs to the ``cnn`` extra.
"""

import os
import stat
import sys
import warnings

import numpy as np

from sklearn_gauss.exceptions import ImageReadError

# Larger images are refused from their header (a small file can hold a huge image).
MAX_PIXELS = 2**26

# Pillow tries no other reader on a file (its JPEG reader also opens MPO).
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

BACKGROUND = (255, 255, 255)

# Modes of PIL images whose pixels have no range of their own.
_UNKNOWN_RANGE = ("I", "F")


def import_pillow():
    """Return Pillow's ``Image`` and ``ImageOps``; the extra is named when missing."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise ImportError(
            "Pillow is needed to read images. "
            'Install it with: pip install "sklearn-gauss[cnn]"'
        ) from error
    return Image, ImageOps


def read_image(source, size, *, name=None, value_range=None):
    """One image as (height, width, 3) uint8.

    Parameters
    ----------
    source : str, path-like, PIL image, array or tensor
        What to read.
    size : tuple of int
        Height and width of the result; the aspect ratio is not kept.
    name : str, default=None
        What errors call an image that is not a file.
    value_range : tuple of float, default=None
        The values that mean black and white, for pixels without a range of their own
        (float and 32-bit images) and for arrays. None takes the data type's.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Raises
    ------
    ImageReadError
        The image cannot be read; the message starts with the file's name.
    ValueError
        An array has a shape, type or values that no image has.
    """
    if is_missing(source):
        raise ImageReadError(f"{name}: no image is given ({source!r}).")
    if is_path(source):
        image = _open_file(os.fspath(source), value_range)
    elif is_pil(source):
        image = _checked(source, _name_of(source, name), value_range)
    else:
        image = array_to_pil(source, name or "image", value_range)
    image_module, _ = import_pillow()
    height, width = size
    resized = image.resize((width, height), image_module.Resampling.BILINEAR)
    return np.asarray(resized)


def is_path(source):
    """Whether a source is the path of a file."""
    return isinstance(source, str | os.PathLike)


def is_missing(source):
    """Whether a source is a gap in a column of paths: None or NaN."""
    return source is None or (isinstance(source, float) and source != source)


def is_pil(source):
    """Whether a source is a PIL image; Pillow is not imported to find out."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def is_tensor(source):
    """Whether a source is a torch tensor; torch is not imported to find out."""
    module = sys.modules.get("torch")
    return module is not None and isinstance(source, module.Tensor)


def _name_of(image, name):
    return getattr(image, "filename", "") or name or "image"


def _open_file(path, value_range):
    image_module, _ = import_pillow()
    _check_file(path)
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", image_module.DecompressionBombWarning)
            with image_module.open(file, formats=FORMATS) as image:
                return _checked(image, path, value_range)
    except ImageReadError:
        raise
    except image_module.UnidentifiedImageError as error:
        raise ImageReadError(
            f"{path}: not an image of a known format ({', '.join(FORMATS)})."
        ) from error
    except image_module.DecompressionBombError as error:
        raise ImageReadError(f"{path}: too large to be read ({error}).") from error
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read ({error}).") from error


def _check_file(path):
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ImageReadError(f"{path}: cannot be read ({reason}).") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ImageReadError(f"{path}: {kind}, not an image.")
    if not status.st_size:
        raise ImageReadError(f"{path}: the file is empty.")


def _checked(image, name, value_range):
    """Refuse what one still image cannot be; decode the rest into 8-bit RGB."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageReadError(
            f"{name}: {width} x {height} pixels exceed the limit of {MAX_PIXELS}."
        )
    # An MPO is a JPEG photograph with attachments, such as a preview.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ImageReadError(
            f"{name}: has {image.n_frames} frames; save the one that is meant."
        )
    try:
        return _to_rgb(image, name, value_range)
    except ImageReadError:
        raise
    except Exception as error:  # decoders fail in many ways, also outside OSError
        raise ImageReadError(
            f"{name}: damaged or not decodable ({type(error).__name__}: {error})."
        ) from error


def _to_rgb(image, name, value_range):
    image_module, image_ops = import_pillow()
    is_16_bit = image.mode == "I" and image.format == "PPM"
    image = image_ops.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _wide_to_rgb(image, (0, 65535), name)
    if image.mode in _UNKNOWN_RANGE:
        known = (0, 65535) if is_16_bit else value_range
        if known is None:
            raise ImageReadError(
                f"{name}: its pixels (mode {image.mode!r}) have no range of their own; "
                "give value_range=(black, white)."
            )
        return _wide_to_rgb(image, known, name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = image_module.new("RGBA", image.size, (*BACKGROUND, 255))
        image = image_module.alpha_composite(background, image)
    return image.convert("RGB")


def _wide_to_rgb(image, value_range, name):
    image_module, _ = import_pillow()
    try:
        pixels = to_8_bit(np.asarray(image), value_range, name)
    except ValueError as error:
        raise ImageReadError(str(error)) from error
    return image_module.fromarray(pixels).convert("RGB")


def array_to_pil(array, name, value_range=None):
    """One array (H, W) or (H, W, 1, 3 or 4), or tensor (C, H, W), as 8-bit RGB."""
    image_module, _ = import_pillow()
    if is_tensor(array):
        array = tensor_to_array(array)
    array = np.asarray(array)
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ValueError(
            f"{name}: an image array has shape (H, W) or (H, W, 1, 3 or 4), got "
            f"{array.shape}."
        )
    if not array.size:
        raise ValueError(f"{name}: an image array of shape {array.shape} has no pixels.")
    pixels = to_8_bit(array, value_range, name)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return _to_rgb(image_module.fromarray(np.ascontiguousarray(pixels)), name, None)


def tensor_to_array(tensor):
    """Channels of a tensor (..., C, H, W) last; a tensor (H, W) as it is."""
    array = tensor.detach().cpu().numpy()
    return np.moveaxis(array, -3, -1) if array.ndim >= 3 else array


def own_range(dtype):
    """Black and white of a data type, or None where it has no range of its own."""
    if np.dtype(dtype).kind == "b":
        return (0, 1)
    if dtype in (np.uint8, np.uint16):
        return (0, np.iinfo(dtype).max)
    return (0, 1) if np.issubdtype(dtype, np.floating) else None


def to_8_bit(array, value_range, name):
    """Map ``value_range`` (None: the data type's own) onto 0 to 255, rounded.

    Raises ValueError for values outside the range and for NaN.
    """
    if array.dtype == np.uint8 and value_range is None:
        return array
    known = value_range or own_range(array.dtype)
    if known is None:
        raise ValueError(
            f"{name}: pixels of type {array.dtype} have no range of their own; give "
            "value_range=(black, white)."
        )
    low, high = known
    values = array.astype(np.float64)
    # Written so that NaN fails as well.
    if not (values.min() >= low and values.max() <= high):
        raise ValueError(
            f"{name}: {array.dtype} pixels must lie in [{low:g}, {high:g}], got "
            f"[{values.min():g}, {values.max():g}]. Set value_range=(black, white) to "
            "what black and white are in these images."
        )
    span = high - low
    scaled = (values - low) / span if span > 0 else np.zeros_like(values)
    return np.rint(scaled * 255).astype(np.uint8)
