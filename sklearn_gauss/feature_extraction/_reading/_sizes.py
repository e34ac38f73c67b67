"""The size of an image, upright, from its header."""

from sklearn_gauss.feature_extraction._reading._files import explained, opened
from sklearn_gauss.feature_extraction._reading._images import (
    MAX_PIXELS,
    _orientation,
)
from sklearn_gauss.feature_extraction._reading._kinds import (
    is_encoded,
    is_path,
    is_pil,
    shown,
    undrawn,
)
from sklearn_gauss.feature_extraction._reading._pixels import image_array

__all__ = ["own_size"]

# What a PNG that says which way is up contains; Pillow decodes it to find out.
_PNG_MARKS = (b"eXIf", b"Raw profile type", b"com.adobe.xmp")


def own_size(source, *, name="image", in_chans=3, max_pixels=MAX_PIXELS, **_):
    """Height and width of one image as `read_image` takes it, turned upright.

    Nothing is decoded, but for what is no JPEG and states an orientation. The other
    options of `read_image` are ignored.
    """
    name, source = shown(name), undrawn(source)
    if is_path(source) or is_encoded(source):
        named = shown(source) if is_path(source) else name
        with opened(source, named, max_pixels) as found:
            return _upright(found.image, may_turn=_may_turn(found))
    if is_pil(source):
        with explained(name):
            return _upright(source)
    return tuple(image_array(source, name, in_chans).shape[:2])


def _upright(image, *, may_turn=True):
    """Height and width as seen; what is to be turned is decoded, but for JPEG.

    Pillow turns some formats itself when it decodes them, in some versions.
    """
    turn = _orientation(image) if may_turn else None
    if turn is not None and image.format not in ("JPEG", "MPO"):
        image.load()
        turn = _orientation(image)
    width, height = image.size
    return (width, height) if turn is not None and turn >= 5 else (height, width)


def _may_turn(found):
    """Whether an image may state an orientation; a PNG is decoded to read it."""
    if found.image.format != "PNG":
        return True
    place = found.file.tell()
    found.file.seek(0)
    content = found.file.read()
    found.file.seek(place)
    return any(mark in content for mark in _PNG_MARKS)
