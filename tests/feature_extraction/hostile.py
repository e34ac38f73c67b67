"""Files that a careless reader gets wrong, made byte by byte.

Each maker takes the path to write and returns what must be read: an array (H, W, 3), with
a tolerance where decoding rounds, or None for a file that must be refused.
"""

import io
import os
import socket
import struct
import zlib

import numpy as np
from PIL import Image

H, W = 10, 12
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (H, W, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (H, W, 4)).astype(np.uint16)

MAKERS = {}


def maker(function):
    """Add a maker; its name is the case's."""
    MAKERS[function.__name__] = function
    return function


def refused(name, data):
    """Add a file of given bytes that must be refused."""

    def make(path):
        path.write_bytes(data() if callable(data) else data)

    MAKERS[name] = make


def read(name, data, expected, tolerance=0):
    """Add a file of given bytes that must be read as ``expected``."""

    def make(path):
        path.write_bytes(data() if callable(data) else data)
        return np.asarray(expected() if callable(expected) else expected), tolerance

    MAKERS[name] = make


def colour(grey):
    """(H, W, 3) of (H, W)."""
    return np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)


def on_white(pixels, opacity):
    """Composite by definition; opacity in [0, 1]."""
    opacity = np.asarray(opacity, dtype=float)[..., None]
    return pixels * opacity + 255 * (1 - opacity)


# -------------------------------------------------------------------------------- PNG
def chunk(kind, data=b""):
    return (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
    )


def adam7(array):
    """Rows of the seven passes of an interlaced PNG."""
    starts = [(0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0)]
    steps = [(8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1)]
    return [
        row
        for (y, x), (down, right) in zip(starts, steps, strict=True)
        for row in array[y::down, x::right]
        if row.size
    ]


ADAM7 = adam7(RGB)


def png(array, depth=8, kind=None, *, extra=b"", size=None, rows=None, interlaced=False):
    """A PNG; ``rows`` are the packed bytes of rows, ``kind`` the colour type."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels] if kind is None else kind
    dtype = ">u2" if depth == 16 else "u1"
    rows = [row.astype(dtype).tobytes() for row in array] if rows is None else rows
    width, height = size or array.shape[1::-1]
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", body)
        + chunk(b"IEND")
    )


def trns(*values):
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


SCALED = np.rint(DEEP / 257)
read("png_rgb8", png(RGB), RGB)
read("png_rgb16", png(DEEP[:, :, :3], 16), SCALED[:, :, :3])
read("png_grey16", png(DEEP[:, :, 0], 16), colour(SCALED[:, :, 0]))
read(
    "png_rgba16",
    png(DEEP, 16),
    on_white(DEEP[:, :, :3] / 257, DEEP[:, :, 3] / 65535),
    1.5,
)
read(
    "png_grey_alpha16",
    png(DEEP[:, :, :2], 16),
    on_white(colour(DEEP[:, :, 0] / 257), DEEP[:, :, 1] / 65535),
    1,
)
read("png_rgba8", png(RGBA), on_white(RGBA[:, :, :3], RGBA[:, :, 3] / 255), 1)
read(
    "png_grey16_transparent",
    png(DEEP[:, :, 0], 16, extra=trns(DEEP[3, 4, 0])),
    colour(np.where(DEEP[:, :, 0] == DEEP[3, 4, 0], 255, SCALED[:, :, 0])),
)
SIMILAR = np.array([[[772, 5, 9]] * 8, [[772, 5, 8]] * 8] * 4, np.uint16)
read(
    "png_rgb16_transparent",
    png(SIMILAR, 16, extra=trns(772, 5, 9)),
    [[[255] * 3] * 8, [[3, 0, 0]] * 8] * 4,
)
read(
    "png_rgb8_transparent",
    png(RGB, extra=trns(*RGB[3, 4])),
    np.where((RGB[3, 4] == RGB).all(axis=2, keepdims=True), 255, RGB),
)
for bits in (1, 2, 4):
    levels = RNG.integers(0, 2**bits, (8, 8))
    packed = [
        int("".join(f"{v:0{bits}b}" for v in row), 2).to_bytes(bits, "big")
        for row in levels
    ]
    read(
        f"png_grey{bits}",
        png(levels, bits, 0, rows=packed),
        colour(levels * 255 // (2**bits - 1)),
    )
    read(
        f"png_grey{bits}_transparent",
        png(levels, bits, 0, rows=packed, extra=trns(0)),
        colour(np.where(levels == 0, 255, levels * 255 // (2**bits - 1))),
    )
INDEX = RNG.integers(0, 3, (H, W))
PALETTE = np.array([[255, 0, 0], [0, 200, 0], [9, 9, 9]])
read(
    "png_palette_transparent",
    png(
        INDEX,
        8,
        3,
        extra=chunk(b"PLTE", PALETTE.astype("u1").tobytes())
        + chunk(b"tRNS", bytes([0, 128])),
    ),
    on_white(PALETTE[INDEX], np.array([0, 128, 255])[INDEX] / 255),
    1,
)
read("png_icc_damaged", png(RGB, extra=chunk(b"iCCP", b"x\0\0not zlib")), RGB)
BOMB = zlib.compress(bytes(30_000_000), 1)
refused("png_text_bomb", png(RGB, extra=chunk(b"zTXt", b"k\0\0" + BOMB)))
refused("png_itxt_bomb", png(RGB, extra=chunk(b"iTXt", b"k\0\1\0\0\0" + BOMB)))
refused("png_icc_bomb", png(RGB, extra=chunk(b"iCCP", b"x\0\0" + BOMB)))
read("png_text_after_pixels", png(RGB) + b"anything", RGB)
refused("png_a_million_chunks", png(RGB, extra=chunk(b"abCd") * 1_000_000))
refused("png_header_bomb", png(RGB, size=(60_000, 60_000)))
refused("png_real_bomb", lambda: encoded(Image.new("1", (12_000, 12_000)), "PNG"))
refused("png_no_width", png(RGB, size=(0, H)))
refused("png_rows_missing", png(RGB, rows=[row.tobytes() for row in RGB[:5]]))
read("png_rows_too_many", png(RGB, rows=[r.tobytes() for r in RGB] + [bytes(10**7)]), RGB)
refused(
    "png_interlaced_pass_missing",
    lambda: png(RGB, interlaced=True, rows=[r.tobytes() for r in ADAM7[:-4]]),
)
read(
    "png_interlaced",
    lambda: png(RGB, interlaced=True, rows=[r.tobytes() for r in ADAM7]),
    RGB,
)
BLACK_BELOW = np.vstack([RGB[:8], 0 * RGB[8:]])
read("png_black_below", png(BLACK_BELOW), BLACK_BELOW)
refused("png_header_checksum", png(RGB)[:29] + b"\0\0\0\0" + png(RGB)[33:])
refused("png_truncated", png(RGB)[:-80])
refused("png_bit_flipped", png(RGB)[:100] + bytes([png(RGB)[100] ^ 1]) + png(RGB)[101:])
refused("png_no_pixels", png(RGB)[:33] + chunk(b"IEND"))
refused("png_signature_only", b"\x89PNG\r\n\x1a\n")
EXIF_TURN = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
read("png_exif_turned", png(RGB, extra=chunk(b"eXIf", EXIF_TURN)), np.rot90(RGB, -1))
read(
    "png_exif_garbage", png(RGB, extra=chunk(b"eXIf", b"II*\0\xff\xff\xff\xff" * 9)), RGB
)
read(
    "png_exif_odd_value",
    png(RGB, extra=chunk(b"eXIf", EXIF_TURN.replace(b"\6", b"c"))),
    RGB,
)


@maker
def png_animated(path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


# ------------------------------------------------------------------------------- JPEG
def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


FLAT = np.full((16, 16, 3), (200, 100, 50), np.uint8)
JPEG = encoded(Image.fromarray(FLAT), "JPEG", quality=100, subsampling=0)
START = JPEG[:2]


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


read("jpeg", JPEG, FLAT, 2)
read(
    "jpeg_grey",
    lambda: encoded(Image.fromarray(FLAT[:, :, 0]), "JPEG"),
    FLAT[:, :, :1].repeat(3, 2),
    2,
)
read(
    "jpeg_cmyk",
    lambda: encoded(Image.new("CMYK", (16, 16), (0, 155, 255, 55)), "JPEG", quality=100),
    np.broadcast_to([200, 78, 0], (16, 16, 3)),
    3,
)
read(
    "jpeg_exif_garbage",
    START + segment(0xE1, b"Exif\0\0" + b"II*\0" + b"\xff" * 40) + JPEG[2:],
    FLAT,
    2,
)
read(
    "jpeg_exif_truncated",
    START + segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\0" + b"\x12\1\5\0\1") + JPEG[2:],
    FLAT,
    2,
)
read(
    "jpeg_exif_huge",
    START + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 20 + JPEG[2:],
    FLAT,
    2,
)
read(
    "jpeg_icc_garbage",
    START + segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(99)) + JPEG[2:],
    FLAT,
    2,
)
read(
    "jpeg_mpo_garbage",
    START + segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 30) + JPEG[2:],
    FLAT,
    2,
)
refused("jpeg_a_million_comments", START + segment(0xFE, b"") * 1_000_000 + JPEG[2:])
refused(
    "jpeg_truncated",
    lambda: encoded(Image.fromarray(RGB.repeat(9, 0).repeat(9, 1)), "JPEG")[:-700],
)
refused("jpeg_truncated_header", JPEG[:100])


@maker
def jpeg_header_bomb(path):
    place = JPEG.index(b"\xff\xc0") + 5
    path.write_bytes(
        JPEG[:place] + struct.pack(">HH", 65_000, 65_000) + JPEG[place + 4 :]
    )


@maker
def jpeg_progressive_bomb(path):
    data = encoded(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    path.write_bytes(data[:-2] + scan * 1000 + data[-2:])


@maker
def jpeg_with_attachment(path):
    first, second = Image.fromarray(FLAT), Image.fromarray(255 - FLAT)
    first.save(path, "MPO", save_all=True, append_images=[second], quality=100)
    return FLAT, 3


# -------------------------------------------------------------------------------- GIF
def gif(screen, frame_at, index, *, frames=1, shown=None):
    """A GIF of three colours; ``index`` (h, w) lies at ``frame_at`` on the screen.

    ``shown`` is the size that the frame claims to have.
    """
    palette = PALETTE.astype("u1").tobytes() + bytes(3)
    image = Image.fromarray(index.astype(np.uint8))
    image.putpalette(palette)
    data = encoded(image, "GIF")
    place = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0) + palette
    size = struct.pack("<HH", *(shown or index.shape[::-1]))
    body = b"," + struct.pack("<HH", *frame_at) + size + data[place + 9 : -1]
    return head + body * frames + b";"


def _gif_canvas():
    canvas = np.full((20, 24, 3), 255)
    canvas[4 : 4 + H, 5 : 5 + W] = PALETTE[INDEX]
    return canvas


read("gif", gif((W, H), (0, 0), INDEX), PALETTE[INDEX])
read("gif_frame_on_canvas", gif((24, 20), (5, 4), INDEX), _gif_canvas)
refused("gif_screen_bomb", gif((65_535, 65_535), (0, 0), INDEX))
refused("gif_animated", gif((W, H), (0, 0), INDEX, frames=3))
refused("gif_truncated", gif((W, H), (0, 0), INDEX)[:-20])
refused("gif_ends_early", gif((W, H), (0, 0), INDEX[:4], shown=(W, H)))
refused("gif_no_image", gif((W, H), (0, 0), INDEX)[:25] + b";")

# ------------------------------------------------------------------------------- WebP
WEBP = encoded(Image.fromarray(RGB), "WEBP", lossless=True)
read("webp", WEBP, RGB)
read(
    "webp_alpha",
    lambda: encoded(Image.fromarray(RGBA), "WEBP", lossless=True, exact=True),
    on_white(RGBA[:, :, :3], RGBA[:, :, 3] / 255),
    1,
)
refused("webp_truncated", WEBP[:-60])
refused("webp_garbage", WEBP[:16] + bytes(200))
refused(
    "webp_canvas_bomb",
    b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(30),
)


@maker
def webp_animated(path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:])


# -------------------------------------------------------------------------------- BMP
def bmp(array, height=None, *, width=None):
    """24 bits; a negative height is that of rows from the top."""
    height = array.shape[0] if height is None else height
    rows = array[..., ::-1] if height < 0 else array[::-1, :, ::-1]
    pad = bytes(-array.shape[1] * 3 % 4)
    body = b"".join(row.tobytes() + pad for row in np.ascontiguousarray(rows))
    info = struct.pack(
        "<IiiHHIIiiII", 40, width or array.shape[1], height, 1, 24, 0, 0, 1, 1, 0, 0
    )
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + info + body


read("bmp", bmp(RGB), RGB)
read("bmp_negative_height", bmp(RGB, -H), RGB)
refused("bmp_header_bomb", bmp(RGB, 50_000, width=50_000))
refused("bmp_truncated", bmp(RGB)[:-40])

# ------------------------------------------------------------------------------- TIFF
_TYPES = {"H": 3, "I": 4}


def tiff(tags, data, *, order="<", next_ifd=0):
    """One page; ``tags`` maps numbers to a value or several, in short or long."""
    count = len(tags)
    base = 8
    end = base + 2 + 12 * count + 4
    entries, more = b"", b""
    for tag, values in sorted(tags.items()):
        values = values if isinstance(values, tuple) else (values,)
        kind = "I" if max(values) > 65_535 or tag == 273 else "H"
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            place, more = struct.pack(f"{order}I", end + len(more)), more + packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, _TYPES[kind], len(values)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", base)
    ifd = struct.pack(f"{order}H", count) + entries + struct.pack(f"{order}I", next_ifd)
    whole = head + ifd + more
    assert len(whole) <= 400
    return whole.ljust(400, b"\0") + data


def tags(array, bits, photometric, **more):
    channels = 1 if array.ndim == 2 else array.shape[2]
    size = array.nbytes if bits != 12 else array.size * 3 // 2
    return {
        256: array.shape[1],
        257: array.shape[0],
        258: (bits,) * channels,
        259: 1,
        262: photometric,
        273: 400,
        277: channels,
        278: array.shape[0],
        279: size,
        **{int(key[1:]): value for key, value in more.items()},
    }


def _tiff_of(array, photometric, order="<", **more):
    bits = 8 * array.itemsize
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    return tiff(tags(array, bits, photometric, **more), data, order=order)


DEEP3, DEEP1 = np.ascontiguousarray(DEEP[:, :, :3]), np.ascontiguousarray(DEEP[:, :, 0])
for order, label in (("<", "little"), (">", "big")):
    read(f"tiff_rgb16_{label}", _tiff_of(DEEP3, 2, order), SCALED[:, :, :3])
    read(f"tiff_grey16_{label}", _tiff_of(DEEP1, 1, order), colour(SCALED[:, :, 0]))
read(
    "tiff_rgba16",
    _tiff_of(DEEP, 2, t338=2),
    on_white(DEEP[:, :, :3] / 257, DEEP[:, :, 3] / 65535),
    1.5,
)
read("tiff_zero_is_white16", _tiff_of(DEEP1, 0), 255 - colour(SCALED[:, :, 0]))
read("tiff_zero_is_white8", _tiff_of(RGB[:, :, 0].copy(), 0), 255 - colour(RGB[:, :, 0]))
TWELVE = RNG.integers(0, 4096, (H, W))
_pairs = TWELVE.reshape(-1, 2)
_packed = np.stack(
    [_pairs[:, 0] >> 4, (_pairs[:, 0] & 15) << 4 | _pairs[:, 1] >> 8, _pairs[:, 1] & 255],
    1,
)
read(
    "tiff_grey12",
    tiff(tags(TWELVE, 12, 1), _packed.astype("u1").tobytes()),
    colour(np.rint(TWELVE / 4095 * 255)),
)
refused("tiff_float", _tiff_of((DEEP1 / 65535).astype(np.float32), 1, t339=3))
refused("tiff_int32", _tiff_of(DEEP1.astype(np.int32), 1, t339=2))
refused("tiff_signed16", _tiff_of(DEEP1.astype(np.int16), 1, t339=2))
refused("tiff_float16", _tiff_of((DEEP1 / 65535).astype(np.float16), 1, t339=3))
read("tiff_turned", _tiff_of(RGB, 2, t274=6), np.rot90(RGB, -1))
read("tiff_turned16", _tiff_of(DEEP3, 2, t274=8), np.rot90(SCALED[:, :, :3]))
CMYK = np.broadcast_to(np.array([0, 155, 255, 55], np.uint8), (H, W, 4)).copy()
read("tiff_cmyk", _tiff_of(CMYK, 5), np.broadcast_to([200, 78, 0], (H, W, 3)), 1)
LAB = np.broadcast_to(np.array([128, 30, 236], np.uint8), (H, W, 3)).copy()
read("tiff_lab", _tiff_of(LAB, 8), np.broadcast_to([156, 100, 154], (H, W, 3)), 3)
read("tiff_one_strip", _tiff_of(RGB, 2, t278=2**32 - 1), RGB)
refused("tiff_header_bomb", _tiff_of(RGB, 2, t256=60_000, t257=60_000))
refused("tiff_strip_beyond_the_file", _tiff_of(RGB, 2, t273=2**31))
refused("tiff_truncated", _tiff_of(RGB, 2)[:-100])
refused("tiff_no_tags", b"II*\0\x08\0\0\0\0\0\0\0\0\0")
refused("tiff_directory_beyond_the_file", b"II*\0\xff\xff\xff\x7f")
refused(
    "tiff_tags_without_end",
    b"II*\0\x08\0\0\0\xff\xff" + b"\0\1\4\0\xff\xff\xff\x7f\0\0\0\0" * 99,
)
refused(
    "tiff_tile_bomb",
    _tiff_of(RGB, 2, t322=60_000, t323=60_000, t324=400, t325=360),
)
read("tiff_loop", tiff(tags(RGB, 8, 2), RGB.tobytes(), next_ifd=8), RGB)
refused(
    "tiff_next_page_beyond_the_file", tiff(tags(RGB, 8, 2), RGB.tobytes(), next_ifd=2**31)
)


def _strips(array, rows, kept=None, **more):
    """A grey TIFF of strips, all or the first few of which are in the file."""
    starts = range(0, len(array), rows)
    places = tuple(400 + start * array.shape[1] for start in starts)[:kept]
    sizes = tuple(array[start : start + rows].size for start in starts)[:kept]
    return _tiff_of(array, 1, **{"t278": rows, "t273": places, "t279": sizes, **more})


GREY = RGB[:, :, 0].copy()
read("tiff_strips", _strips(GREY, 4), colour(GREY))
read("tiff_last_strip_too_long", _strips(GREY, 4, t279=(48, 48, 48)), colour(GREY))
refused("tiff_strips_missing", _strips(GREY, 5, 1))
refused("tiff_one_strip_too_many", _strips(GREY, 4, t278=5))
refused("tiff_sizes_missing", _strips(GREY, 4, t279=(48, 48)))
refused("tiff_no_sizes_of_strips", _strips(GREY, 4, t279=(48, 0, 24)))
refused("tiff_sparse", _strips(GREY, 4, t273=(400, 0, 496)))
refused("tiff_second_strip_beyond_the_file", _strips(GREY, 5, t273=(400, 9999)))
refused("tiff_no_rows", _strips(GREY, 5, t278=0))
PLANES = (400, 520, 640)
_planar = tags(RGB, 8, 2, t284=2, t273=PLANES, t279=(120,) * 3)
read("tiff_planar", tiff(_planar, RGB.transpose(2, 0, 1).tobytes()), RGB)
_planar = {**_planar, 273: PLANES[:2], 279: (120,) * 2}
refused("tiff_plane_missing", tiff(_planar, RGB.transpose(2, 0, 1).tobytes()))


def _tiles(count):
    tiled = np.zeros((16, 32), np.uint8)
    tiled[:10, :20] = np.arange(200).reshape(10, 20)
    places, sizes = tuple(400 + 256 * i for i in range(count)), (256,) * count
    head = tags(tiled[:10, :20], 8, 1, t322=16, t323=16, t324=places, t325=sizes)
    data = tiled.reshape(16, 2, 16).transpose(1, 0, 2).tobytes()
    return tiff({tag: head[tag] for tag in head if tag not in (273, 278, 279)}, data)


read("tiff_tiles", _tiles(2), colour(np.arange(200).reshape(10, 20)))
refused("tiff_tile_missing", _tiles(1))


def _packed_strips(places=2, cut=0):
    parts = [zlib.compress(GREY[:5].tobytes()), zlib.compress(GREY[5:].tobytes())]
    sizes = tuple(map(len, parts))
    more = {"t259": 8, "t278": 5, "t279": sizes[:places]}
    more["t273"] = (400, 400 + sizes[0])[:places]
    data = b"".join(parts)
    return tiff(tags(GREY, 8, 1, **more), data[: len(data) - cut])


read("tiff_packed_strips", _packed_strips(), colour(GREY))
refused("tiff_packed_strip_missing", _packed_strips(1))
refused("tiff_packed_strip_cut", _packed_strips(cut=9))


def _tiff_palette(scale):
    colours = np.zeros((3, 256), int)
    colours[:, :3] = PALETTE.T * scale
    index = INDEX.astype(np.uint8)
    data = colours.astype("<u2").tobytes() + index.tobytes()
    head = tiff(tags(index, 8, 3, t273=400 + 1536, t320=0), data)
    entry = struct.pack("<HH", 320, 3)
    place = head.index(entry)
    return head[: place + 4] + struct.pack("<II", 768, 400) + head[place + 12 :]


read("tiff_palette", _tiff_palette(257), PALETTE[INDEX])
read("tiff_palette_of_8_bits", _tiff_palette(1), PALETTE[INDEX])


@maker
def tiff_rgb16_compressed(path):
    strip = zlib.compress(DEEP3.tobytes())
    path.write_bytes(tiff(tags(DEEP3, 16, 2, t259=8, t279=len(strip)), strip))
    return SCALED[:, :, :3], 0


@maker
def tiff_pages(path):
    pages = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    pages[0].save(path, "TIFF", save_all=True, append_images=pages[1:])


# ------------------------------------------------------------------- netpbm, JPEG 2000
read("ppm", b"P6 12 10 255\n" + RGB.tobytes(), RGB)
read(
    "ppm_text",
    b"P3\n# comment\n12 10 255\n" + " ".join(map(str, RGB.ravel())).encode(),
    RGB,
)
THOUSAND = DEEP1.astype(int) % 1001
read(
    "pgm_1000",
    b"P5 12 10 1000\n" + THOUSAND.astype(">u2").tobytes(),
    colour(np.rint(THOUSAND * 255 / 1000)),
    1,
)
read("pbm", b"P1 8 8\n" + b"10" * 32, colour(np.tile([0, 255], (8, 4))))
refused("ppm_text_of_few_numbers", b"P3 8000 8000 255\n1 2 3")
refused("ppm_text_huge", b"P2 3000 3000 9\n" + b"1 " * 9_000_000)
refused("ppm_endless_comment", b"P6 #" + b"x" * 20_000_000)
refused("ppm_endless_number", b"P6 " + b"1" * 1_000_000)
refused("ppm_truncated", b"P6 12 10 255\n" + RGB.tobytes()[:-9])
refused("pfm_float", b"Pf 12 10 -1.0\n" + (DEEP1 / 65535).astype("<f4").tobytes())
refused("pfm_colour", b"PF 12 10 -1.0\n" + (DEEP3 / 65535).astype("<f4").tobytes())
refused(
    "pam",
    b"P7\nWIDTH 12\nHEIGHT 10\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    + RGB.tobytes(),
)
JP2 = encoded(Image.fromarray(RGB), "JPEG2000")
read("jp2", JP2, RGB)
read(
    "jp2_grey16",
    lambda: encoded(Image.fromarray(DEEP1), "JPEG2000"),
    colour(SCALED[:, :, 0]),
)
refused("jp2_truncated", JP2[:150])
refused("jp2_truncated_late", JP2[:-60])
_place = JP2.index(b"ihdr") + 4
refused(
    "jp2_header_bomb", JP2[:_place] + struct.pack(">II", 10**5, 10**5) + JP2[_place + 8 :]
)

# ---------------------------------------------------------------------------- no images
refused("empty", b"")
refused("zeros", bytes(5000))
refused("text", b"This is not an image.\n" * 50)
refused("html", b"<!DOCTYPE html><html><body>404</body></html>")
refused("svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')
refused("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n")
refused("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
refused("photoshop", b"8BPS\0\1" + bytes(60))
refused("icon", lambda: encoded(Image.new("RGB", (16, 16)), "ICO"))
refused("avif", b"\0\0\0\x20ftypavif\0\0\0\0avifmif1" + bytes(60))
refused("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500))
refused("._photo.png", b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2" + bytes(60))
refused("archive", b"PK\3\4" + bytes(60))
refused("numpy", b"\x93NUMPY\1\0v\0{'descr': '<f8'}")


@maker
def missing(path):
    pass


@maker
def directory(path):
    path.mkdir()


@maker
def pipe(path):
    os.mkfifo(path)


@maker
def dangling_link(path):
    path.symlink_to(path.with_name("nowhere"))


@maker
def link_to_itself(path):
    path.symlink_to(path)


@maker
def link_to_a_device(path):
    path.symlink_to("/dev/zero")


@maker
def link_to_a_pipe(path):
    os.mkfifo(path.with_name("some_pipe"))
    path.symlink_to(path.with_name("some_pipe"))


@maker
def unix_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


@maker
def sparse(path):
    with open(path, "wb") as file:
        file.write(png(RGB)[:33])
        file.truncate(10**10)


# ------------------------------------------------------ right, under a misleading name
for label in (
    "wrong.jpg",
    "UPPER.PNG",
    "no_extension",
    "größe мир 图.png",
    "a.b.c",
    "-x.png",
):
    read(label, png(RGB), RGB)
