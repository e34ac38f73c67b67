"""Read images of every kind into one: 8-bit, upright, of a stated size and channels."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._reading._deep import deep_samples
from sklearn_gauss.feature_extraction._reading._files import (
    explained,
    import_pillow,
    opened,
)
from sklearn_gauss.feature_extraction._reading._formats import check_size
from sklearn_gauss.feature_extraction._reading._kinds import (
    is_drawn,
    is_encoded,
    is_missing,
    is_path,
    is_pil,
    shown,
)
from sklearn_gauss.feature_extraction._reading._pixels import (
    image_array,
    strips,
    to_8_bit,
)
from sklearn_gauss.feature_extraction._reading._png import rows_are_there
from sklearn_gauss.feature_extraction._reading._tiff import mend_palette

__all__ = ["MAX_PIXELS", "WHITE", "Reading", "import_pillow", "read_image"]

# Larger images are refused from their header (a small file can hold a huge image).
MAX_PIXELS = 2**26

WHITE = (255, 255, 255)

# How to turn an image upright, by its EXIF orientation; names of Pillow's.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

# JPEG is decoded at a half, quarter or eighth, but not below this many times the size
# it is resized to: pixels then differ by 2 levels at most in photographs, 0.2 on average.
_DRAFT = 2


@dataclass(frozen=True)
class Reading:
    """How to read; plain data. See `read_image`."""

    size: tuple
    value_range: tuple | None = None
    in_chans: int = 3
    max_pixels: int = MAX_PIXELS
    min_side: int = 1
    frames: str = "refuse"
    background: tuple = WHITE


def read_image(source, size, *, name=None, **options):
    """One image as (height, width, in_chans) uint8.

    Parameters
    ----------
    source : str, path-like, bytes, BytesIO, PIL image, array, tensor or DrawnImage
        What to read. Of a drawn image, what is below is read, then drawn on.
    size : tuple of int
        Height and width of the result; the aspect ratio is not kept.
    name : str, default=None
        What errors call an image that is not a file.
    **options
        ``value_range``, ``in_chans``, ``max_pixels``, ``min_side``, ``frames`` and
        ``background``, as in `CNNFeatureExtractor`; ``min_side`` is 1 if not given.

    Returns
    -------
    ndarray of shape (height, width, in_chans), uint8

    Raises
    ------
    ImageReadError
        The image cannot be read; the message starts with the file's name.
    ValueError
        An array has a shape, type or values that no image has.
    """
    if is_drawn(source):
        return source.draw_on(read_image(source.image, size, name=name, **options))
    how = Reading(size, **options)
    name = shown(name or "image")
    if isinstance(source, str) and not source:
        raise ImageReadError(f"{name}: an empty path.")
    if is_missing(source):
        raise ImageReadError(f"{name}: no image is given ({source!r}).")
    if is_path(source):
        bands = _read_encoded(source, shown(source), how)
    elif is_encoded(source):
        bands = _read_encoded(source, name, how)
    elif is_pil(source):
        bands = _read_pil(source, shown(getattr(source, "filename", "") or name), how)
    else:
        bands = _read_array(source, name, how)
    height, width = size
    bilinear = import_pillow().Resampling.BILINEAR
    resized = [np.asarray(band.resize((width, height), bilinear)) for band in bands]
    if len(resized) > 1:
        return np.stack(resized, axis=2)
    return resized[0].reshape(height, width, how.in_chans)


def _read_encoded(source, name, how):
    with opened(source, name, how.max_pixels) as found:
        bands = _bands(found.image, found.again, name, how)
        if found.image.format == "PNG" and not rows_are_there(found.image, found.file):
            raise ImageReadError(f"{name}: damaged, it has not all its rows.")
        return bands


def _read_pil(image, name, how):
    with explained(name):
        check_size(image.size, name, how.max_pixels)
        return _bands(image, None, name, how)


def _read_array(source, name, how):
    array = image_array(source, name, how.in_chans)
    _check_sides(array.shape[1::-1], name, how.min_side, ValueError)
    pixels = np.ascontiguousarray(to_8_bit(array, how.value_range, name))
    image_module = import_pillow()
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
        bands = np.moveaxis(pixels, 2, 0)
        return [image_module.fromarray(np.ascontiguousarray(band)) for band in bands]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return _in_channels(image_module.fromarray(pixels), name, how)


def _bands(image, again, name, how):
    """Refuse what one still image cannot be; decode the rest, upright, as bands."""
    _check_sides(image.size, name, how.min_side, ImageReadError)
    _check_frames(image, name, how.frames)
    if again is not None:
        _mend_transparency(image)
        mend_palette(image)
    is_jpeg = image.format in ("JPEG", "MPO")
    turn = _orientation(image) if is_jpeg else None
    if is_jpeg and again is not None:
        height, width = how.size if turn is None or turn < 5 else how.size[::-1]
        image.draft(None, (_DRAFT * width, _DRAFT * height))
    covered = _covered(image)
    samples = deep_samples(image, again)
    image.load()
    if not is_jpeg:  # elsewhere metadata may follow the pixels, or is used up by them
        turn = _orientation(image)
    plain = image if samples is None else _from_samples(samples, image.mode, name, how)
    if covered is not None:
        plain = _only(plain, covered)
    if turn is not None:
        plain = plain.transpose(import_pillow().Transpose[_TURNS[turn]])
    return _in_channels(plain, name, how)


def _check_sides(size, name, min_side, error):
    width, height = size
    if min(width, height) < min_side:
        raise error(
            f"{name}: {width} x {height} pixels; min_side={min_side} asks for at least "
            f"{min_side} on each side."
        )


def _check_frames(image, name, frames):
    # An MPO is a JPEG photograph with attachments, such as a preview.
    several = getattr(image, "is_animated", False) and image.format != "MPO"
    if several and frames == "refuse":
        raise ImageReadError(
            f"{name}: has several frames; save the one that is meant, or set "
            "frames='first'."
        )


def _mend_transparency(image):
    """Scale the transparent grey of a PNG of 2 or 4 bits like its pixels."""
    value = image.info.get("transparency")
    raw = image.tile[0].args if getattr(image, "tile", None) else None
    scale = {"L;2": 85, "L;4": 17}.get(raw if isinstance(raw, str) else None)
    if scale and isinstance(value, int):
        image.info["transparency"] = value * scale


def _orientation(image):
    """EXIF orientation from 2 to 8; None for upright images and damaged EXIF."""
    try:
        value = image.getexif().get(0x0112)
        return int(value) if value in _TURNS else None
    except Exception:  # the parser of EXIF fails in many ways
        return None


def _covered(image):
    """Corners of a GIF's frame where it does not cover the canvas, else None."""
    if image.format != "GIF" or not getattr(image, "tile", None):
        return None
    extents = tuple(image.tile[0].extents)
    return None if extents == (0, 0, *image.size) else extents


def _only(image, extents):
    """Make transparent what is outside of a frame, as browsers show it."""
    image_module = import_pillow()
    canvas = image_module.new("RGBA", image.size, (0, 0, 0, 0))
    canvas.paste(image.convert("RGBA").crop(extents), extents[:2])
    return canvas


def _from_samples(samples, mode, name, how):
    """8-bit image of samples that are deeper."""
    known = how.value_range or (samples.white and (0, samples.white))
    if known is None:
        raise ImageReadError(
            f"{name}: its pixels (mode {mode!r}) have no range of their own; give "
            "value_range=(black, white)."
        )
    try:
        pixels = to_8_bit(samples.values, known, name)
    except ValueError as error:
        raise ImageReadError(str(error)) from error
    if samples.inverted:
        np.subtract(255, pixels, out=pixels)
    image_module = import_pillow()
    image = image_module.fromarray(pixels)
    if samples.alpha is not None:
        image = image.convert("RGB")
        image.putalpha(image_module.fromarray(samples.alpha))
    return image


def _in_channels(image, name, how):
    """An 8-bit image as one band of RGB or grey, four of RGBA, or ImageReadError."""
    if how.in_chans not in (1, 3, 4):
        raise ImageReadError(
            f"{name}: has the colours of a picture, not {how.in_chans} channels; pass "
            "arrays (H, W, C) or tensors."
        )
    if image.mode == "LAB":
        image = _lab_to_rgb(image)
    if image.mode == "La":
        image = image.convert("LA")
    if how.in_chans == 4:
        return list(image.convert("RGBA").split())
    mode = "RGB" if how.in_chans == 3 else "L"
    if image.has_transparency_data:
        return [_composite(image, how.background, mode)]
    return [image.convert(mode)]


def _composite(image, background, mode):
    """Put an image on a colour, some rows at a time."""
    image_module = import_pillow()
    width, height = image.size
    done = image_module.new(mode, image.size)
    for rows in strips(height, 4 * width):
        part = image.crop((0, rows.start, width, min(rows.stop, height)))
        behind = image_module.new("RGBA", part.size, (*background, 255))
        part = image_module.alpha_composite(behind, part.convert("RGBA"))
        done.paste(part.convert(mode), (0, rows.start))
    return done


def _lab_to_rgb(image):
    from PIL import ImageCms

    return ImageCms.applyTransform(image, _lab_transform())


@lru_cache(maxsize=1)
def _lab_transform():
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
