"""What each format of images is known by, and what it needs beyond its size."""

import importlib
import io
import os
import re

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._reading._tiff import check_parts

__all__ = ["FORMATS", "check_cost", "check_header", "check_size", "identify", "reader"]

# The start of a file, and the Pillow reader that alone may try it.
_SIGNATURES = (
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"BM", "BMP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"RIFF....WEBP", "WEBP"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG2000"),
    (rb"P[1-6]\s|Pf\s", "PPM"),
)

_READERS = {
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "JPEG": ("JpegImagePlugin", "jpeg_factory"),  # also reads MPO
    "JPEG2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
}

FORMATS = tuple(_READERS)

# What people pass by mistake, for the message.
_OTHERS = (
    (rb"\0\x05\x16\x07", "the metadata of another file, written by macOS"),
    (rb"P7\s", "a PAM image"),
    (rb"PF\s", "a PFM image in colour"),
    (rb"%PDF", "a PDF document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"8BPS", "a Photoshop document"),
    (rb"\0\0[\x01\x02]\0", "an icon"),
    (rb"....ftyp(avi|hei|mif|hev)", "an HEIF or AVIF image"),
    (rb"\s*(<\?xml|<svg|<html|<!doctype)", "XML, SVG or HTML"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf", "an archive"),
    (rb"\x93NUMPY", "a NumPy array: pass the array"),
)

# Text netpbm files are parsed by Python, a second for every ten megabytes.
_MAX_TEXT = 2**23

# Decoding time of a progressive JPEG grows with its scans; encoders write about ten.
_MAX_SCANS = 64


def reader(form):
    """Pillow's reader of a format alone."""
    module, name = _READERS[form]
    return getattr(importlib.import_module(f"PIL.{module}"), name)


def check_size(size, name, max_pixels):
    """Refuse an image by the size that its header states."""
    width, height = size
    if width * height > max_pixels:
        raise ImageReadError(
            f"{name}: {width} x {height} pixels exceed max_pixels={max_pixels}."
        )


def identify(file, name):
    """Format of a file by its first bytes, or ImageReadError that says what it is."""
    start = file.read(1024)
    file.seek(0)
    for pattern, form in _SIGNATURES:
        if re.match(pattern, start, re.DOTALL):
            return form
    known = f"not an image of a known format ({', '.join(FORMATS)})"
    for pattern, kind in _OTHERS:
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            raise ImageReadError(f"{name}: {kind}, {known}.")
    if not start.strip(b"\0"):
        known = "nothing but zeros, " + known
    in_memory = isinstance(file, io.BytesIO) and b"\0" not in start
    is_name = in_memory and os.path.exists(start)
    hint = " The path of a file is given as text, not as bytes." if is_name else ""
    raise ImageReadError(f"{name}: {known}.{hint}")


def _check_webp(file, name, max_pixels):
    """Size of a WebP's canvas: Pillow allocates it when it opens the file."""
    start = file.read(30).ljust(30, b"\0")
    kind, file_size = start[12:16], file.seek(0, os.SEEK_END)
    if kind == b"VP8X":
        size = _little(start[24:27]) + 1, _little(start[27:30]) + 1
    elif kind == b"VP8L":
        bits = _little(start[21:25])
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        size = _little(start[26:28]) & 0x3FFF, _little(start[28:30]) & 0x3FFF
    check_size(size, name, max_pixels)
    if file_size > 4 * max_pixels + 2**24:
        raise ImageReadError(f"{name}: {file_size} bytes are too many for a WebP image.")


def _little(data):
    return int.from_bytes(data, "little")


def _check_text(file, name, max_pixels):
    if file.read(2) in (b"P1", b"P2", b"P3") and file.seek(0, os.SEEK_END) > _MAX_TEXT:
        raise ImageReadError(
            f"{name}: a text netpbm file of more than {_MAX_TEXT} bytes; save it as "
            "binary."
        )


_CHECKS = {"WEBP": _check_webp, "PPM": _check_text}


def check_header(form, file, name, max_pixels):
    """Refuse a file by what Pillow would have to work for, or allocate, to open it."""
    if form in _CHECKS:
        _CHECKS[form](file, name, max_pixels)


def check_cost(image, file, name):
    """Refuse what decodes into little and costs much, or what is not all there."""
    if image.info.get("progressive"):
        place = file.tell()
        scans = _count(file, b"\xff\xda")
        file.seek(place)
        if scans > _MAX_SCANS:
            raise ImageReadError(f"{name}: a progressive JPEG of {scans} scans.")
    if image.format == "TIFF":
        check_parts(image, file, name)


def _count(file, marker):
    """How often two bytes occur in a file."""
    file.seek(0)
    found, last = 0, b""
    while block := file.read(2**20):
        found += (last + block).count(marker)
        last = block[-1:]
    return found
