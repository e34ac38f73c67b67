"""Reading images: every kind becomes the same 8-bit RGB, everything else is refused."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._reading._images import read_image
from sklearn_gauss.feature_extraction._reading._pixels import to_8_bit

sys.path.insert(0, str(Path(__file__).parent))
import hostile

SIZE = (10, 12)


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def grey(rgb):
    return rgb[:, :, 0].copy()


def pil(array, mode=None):
    image = Image.fromarray(array)
    return image.convert(mode) if mode else image


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".PNG", ""])
@pytest.mark.parametrize("stem", ["plain", "größe мир", "a.b"])
def test_lossless_files_are_read_by_content(tmp_path, rgb, suffix, stem):
    path = tmp_path / f"{stem}{suffix}"
    pil(rgb).save(path, format=None if suffix else "PNG")
    np.testing.assert_array_equal(read_image(path, SIZE), rgb)
    np.testing.assert_array_equal(read_image(str(path), SIZE), rgb)


def test_resize_is_bilinear_with_antialias_and_ignores_the_aspect_ratio():
    wide = np.zeros((8, 32), dtype=np.uint8)
    wide[:, 16:] = 200
    small = read_image(wide, (4, 4))
    assert small.shape == (4, 4, 3)
    assert small[0, 0, 0] == 0
    assert small[0, 3, 0] == 200
    checkers = np.indices((64, 64)).sum(0) % 2 * 255
    averaged = read_image(checkers.astype(np.uint8), (4, 4))
    np.testing.assert_allclose(averaged, 127, atol=3)


def test_grey_is_repeated(grey):
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    for source in (grey, grey[:, :, None], pil(grey), pil(grey, "LA")):
        np.testing.assert_array_equal(read_image(source, SIZE), expected)


def test_one_bit_and_boolean(tmp_path, grey):
    mask = grey > 127
    expected = np.repeat(mask[:, :, None], 3, axis=2) * np.uint8(255)
    np.testing.assert_array_equal(read_image(mask, SIZE), expected)
    pil(mask).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_image(tmp_path / "mask.png", SIZE), expected)


def test_palette(tmp_path, grey):
    paletted = pil(grey, "P")
    paletted.save(tmp_path / "p.png")
    expected = np.asarray(paletted.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png", SIZE), expected)


def test_alpha_is_composited_on_white(tmp_path, rgb):
    alpha = np.random.default_rng(1).integers(0, 256, (*SIZE, 1), dtype=np.uint8)
    rgba = np.concatenate([rgb, alpha], axis=2)
    share = alpha / 255.0
    expected = rgb * share + 255 * (1 - share)
    pil(rgba).save(tmp_path / "rgba.png")
    for source in (rgba, pil(rgba), tmp_path / "rgba.png"):
        np.testing.assert_allclose(read_image(source, SIZE), expected, atol=1)


def test_transparent_colour_of_a_palette_is_white(tmp_path):
    image = Image.new("P", (12, 10), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.info["transparency"] = 1
    image.save(tmp_path / "t.png", transparency=1)
    assert (read_image(tmp_path / "t.png", SIZE) == 255).all()


def test_cmyk(tmp_path):
    Image.new("CMYK", (12, 10), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    read = read_image(tmp_path / "c.tif", SIZE)
    np.testing.assert_array_equal(read, np.broadcast_to([255, 0, 0], (*SIZE, 3)))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_by_its_depth(tmp_path, grey, suffix):
    deep = grey.astype(np.uint16) * 257
    path = tmp_path / f"deep.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 12 10 65535\n" + deep.astype(">u2").tobytes())
    else:
        pil(deep).save(path)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_image(path, SIZE), expected)
    np.testing.assert_array_equal(read_image(deep, SIZE), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_files_need_a_range(tmp_path, grey, dtype):
    path = tmp_path / "wide.tif"
    pil(grey.astype(dtype)).save(path)
    with pytest.raises(ImageReadError, match=r"wide\.tif: .*value_range"):
        read_image(path, SIZE)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    read = read_image(path, SIZE, value_range=(0, 255))
    np.testing.assert_array_equal(read, expected)
    with pytest.raises(ImageReadError, match=r"wide\.tif: .*must lie in \[0, 10\]"):
        read_image(path, SIZE, value_range=(0, 10))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, grey, orientation):
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pil(grey).save(tmp_path / "e.png", exif=exif)
    upright = turn(grey)
    read = read_image(tmp_path / "e.png", upright.shape)
    np.testing.assert_array_equal(read[:, :, 0], upright)


def test_floats_are_rounded_to_8_bits(rgb):
    for dtype in (np.float32, np.float64):
        read = read_image((rgb / 255).astype(dtype), SIZE)
        np.testing.assert_array_equal(read, rgb)


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf])
def test_floats_outside_their_range_are_refused(grey, bad):
    values = grey / 255
    values[3, 4] = bad
    with pytest.raises(ValueError, match=r"X\[2\]: float64 pixels must lie in \[0, 1\]"):
        read_image(values, SIZE, name="X[2]")


def in_one_go(array, low, high):
    """The formula of `to_8_bit`, of all pixels at once."""
    values = array.astype(np.float64)
    values -= low
    values /= float(high) - float(low)
    return np.rint(values * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [
        ("uint8", (3, 250)),
        ("uint16", None),
        (">u2", None),
        ("uint16", (7, 65000)),
        ("uint16", (-5.5, 65535.25)),
        ("int16", (-32768, 32767)),
        ("uint32", (0, 2**32 - 1)),
        ("int64", (-1000, 1000)),
        ("float16", None),
        ("float32", (-1, 1)),
        (">f8", None),
        ("bool", None),
    ],
)
@pytest.mark.parametrize("shape", [(700, 500), (40, 3000, 3), (3, 300_000), (4, 5)])
def test_strips_change_no_bit(dtype, value_range, shape):
    dtype = np.dtype(dtype)
    low, high = value_range or (0, np.iinfo(dtype).max if dtype.kind == "u" else 1)
    share = np.random.default_rng(0).random(shape)
    array = (low + (high - low) * share).astype(dtype).clip(max(low, -32768), high)
    array = array.astype(dtype)
    got = to_8_bit(array, value_range, "x")
    np.testing.assert_array_equal(got, in_one_go(array, low, high))
    np.testing.assert_array_equal(to_8_bit(array.T, value_range, "x"), got.T)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_eight_bits_take_little_more_memory_than_they_are(dtype):
    array = np.ones((4000, 3000), dtype)
    tracemalloc.start()
    try:
        to_8_bit(array, None, "x")
        assert tracemalloc.get_traced_memory()[1] < 2 * array.size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_strips_change_no_composite(mode, in_chans):
    pixels = np.random.default_rng(0).integers(0, 256, (900, 400, 4), dtype=np.uint8)
    image = pil(pixels).convert(mode)
    if mode not in ("RGBA", "LA"):
        image.info["transparency"] = (9, 9, 9) if mode == "RGB" else 9
    behind = Image.new("RGBA", image.size, (10, 20, 30, 255))
    whole = Image.alpha_composite(behind, image.convert("RGBA"))
    expected = np.asarray(whole.convert("RGB" if in_chans == 3 else "L"))
    got = read_image(image, (900, 400), background=(10, 20, 30), in_chans=in_chans)
    np.testing.assert_array_equal(got.squeeze(), expected)


def test_16_bit_colour_of_many_strips(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (900, 400, 4)).astype(np.uint16)
    for channels, mean in ((2, 4), (3, 2), (4, 6)):
        path = tmp_path / f"{channels}.png"
        path.write_bytes(hostile.png(deep[..., :channels], 16, mean))
        got = read_image(path, (900, 400), in_chans=4)
        colours = deep[..., : channels - (channels != 3)]
        expected = np.broadcast_to(in_one_go(colours, 0, 65535), (900, 400, 3))
        np.testing.assert_array_equal(got[..., :3], expected)
        if channels != 3:
            alpha = in_one_go(deep[..., channels - 1], 0, 65535)
            np.testing.assert_array_equal(got[..., 3], alpha)


def test_a_deep_file_takes_little_memory(tmp_path):
    (tmp_path / "large.png").write_bytes(
        hostile.png(np.full((4000, 4000, 3), 300, np.uint16), 16)
    )
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from sklearn_gauss.feature_extraction._reading._images import read_image\n"
        "def peak():\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(re.search(r'VmHWM:\\s*(\\d+)', status)[1]) * 1024\n"
        "from PIL import PngImagePlugin\n"
        "before = peak()\n"
        "read_image(sys.argv[1], (8, 8))\n"
        "print((peak() - before) / 4000**2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "large.png"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert float(done.stdout) < 24


def test_big_endian_arrays(grey):
    deep = grey.astype(">u2") * 257
    np.testing.assert_array_equal(
        read_image(deep.astype(">u2"), SIZE), read_image(grey, SIZE)
    )


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_sample_types_that_pillow_does_not_know(tmp_path, grey, dtype):
    path = tmp_path / "deep.tif"
    path.write_bytes(hostile._tiff_of((grey / 255).astype(dtype), 1, t339=3))
    with pytest.raises(ImageReadError, match=r"deep\.tif: its type of samples is not"):
        read_image(path, SIZE, value_range=(0, 1))


def test_whole_numbers_of_32_bits_without_a_sign(tmp_path, grey):
    deep = grey.astype(np.uint32) * (2**24 + 2**16 + 2**8 + 1)
    path = tmp_path / "deep.tif"
    path.write_bytes(hostile._tiff_of(deep, 1, t339=1))
    read = read_image(path, SIZE, value_range=(0, 2**32 - 1))
    np.testing.assert_array_equal(read[:, :, 0], grey)
    with pytest.raises(ImageReadError, match=r"in \[0, 10\], got \[1\.6\S+, 4\.2"):
        read_image(path, SIZE, value_range=(0, 10))


def test_value_range_maps_black_and_white():
    values = np.array([[-1.0, 0.0, 1.0]])
    np.testing.assert_array_equal(to_8_bit(values, (-1, 1), "x"), [[0, 128, 255]])
    constant = np.full((2, 2), 7.0)
    np.testing.assert_array_equal(to_8_bit(constant, (7, 7), "x"), np.zeros((2, 2)))


def test_integers_without_a_range_are_refused(grey):
    with pytest.raises(ValueError, match="int64 have no range of their own"):
        read_image(grey.astype(np.int64), SIZE)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (1, 4, 4, 3), (0, 4)])
def test_shapes_that_no_image_has_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape"):
        read_image(np.zeros(shape, dtype=np.uint8), SIZE)


def write_bad(kind, folder):
    """Make an unreadable file of a kind; returns its path."""
    path = folder / f"{kind}.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not an image")
    elif kind == "truncated":
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "truncated_jpeg":
        Image.fromarray(noise).save(path, format="JPEG")
        path.write_bytes(path.read_bytes()[:900])
    elif kind == "flipped":
        Image.fromarray(noise).save(path)
        data = bytearray(path.read_bytes())
        data[60:90] = bytes(30)
        path.write_bytes(data)
    elif kind == "animated":
        frames = [Image.fromarray(noise), Image.fromarray(255 - noise)]
        frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    elif kind == "bomb":
        Image.new("1", (12_000, 12_000)).save(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere")
    elif kind == "postscript":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    return path


BAD = [
    "missing",
    "directory",
    "empty",
    "text",
    "truncated",
    "truncated_jpeg",
    "flipped",
    "animated",
    "bomb",
    "pipe",
    "dangling",
    "postscript",
]


@pytest.mark.parametrize("kind", BAD)
def test_unreadable_files_are_refused_by_name(tmp_path, kind):
    path = write_bad(kind, tmp_path)
    with pytest.raises(ImageReadError) as caught:
        read_image(path, SIZE)
    assert str(caught.value).startswith(str(path))


def test_a_null_byte_in_a_name():
    with pytest.raises(ImageReadError, match="cannot be read"):
        read_image("a\0b.png", SIZE)


def test_pixel_limit_is_exact(tmp_path, grey):
    path = tmp_path / "grey.png"
    pil(grey).save(path)
    for source in (path, path.read_bytes(), pil(grey)):
        assert read_image(source, SIZE, max_pixels=grey.size).shape == (*SIZE, 3)
        with pytest.raises(ImageReadError, match="12 x 10 pixels exceed max_pixels=119"):
            read_image(source, SIZE, max_pixels=grey.size - 1)


def test_a_photograph_with_attachments_is_one_image(tmp_path, rgb):
    path = tmp_path / "photo.jpg"
    first, second = pil(rgb), pil(255 - rgb)
    first.save(path, format="MPO", save_all=True, append_images=[second])
    np.testing.assert_allclose(read_image(path, SIZE).mean(), rgb.mean(), atol=10)


def test_a_closed_pil_image_is_refused_by_its_name(tmp_path, rgb):
    path = tmp_path / "closed.png"
    pil(rgb).save(path)
    with Image.open(path) as image:
        pass
    with pytest.raises(ImageReadError, match=r"closed\.png"):
        read_image(image, SIZE, name="X[0]")


def test_inputs_are_not_changed(rgb):
    rgb.flags.writeable = False
    image = pil(rgb).convert("RGBA")
    before = image.tobytes()
    read_image(rgb, (5, 5))
    read_image(image, (5, 5))
    assert (image.mode, image.size, image.tobytes()) == ("RGBA", (12, 10), before)


def test_a_missing_extra_is_named():
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from sklearn_gauss.feature_extraction._reading._images import read_image\n"
        "try:\n    read_image('x.png', (2, 2))\n"
        "except ImportError as error:\n    assert 'sklearn-gauss[cnn]' in str(error)\n"
        "else:\n    raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
