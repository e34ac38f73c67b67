"""read_masks: every kind of file of two values, and what is no mask."""

import numpy as np
import pytest
from PIL import Image

from sklearn_gauss.datasets import (
    load_inspection_folder,
    make_inspection_images,
    read_masks,
    save_inspection_folder,
)
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.metrics import aupro_score

MASK = np.zeros((12, 20), dtype=bool)
MASK[2:5, 7:15] = MASK[9, 3] = True


def palette(mask, colours):
    image = Image.fromarray(np.uint8(mask), "P")
    image.putpalette(colours)
    return image


def coloured(mask, *colour):
    return Image.fromarray(np.uint8(mask[..., None] * np.array(colour)))


KINDS = {
    "1 bit": lambda m: Image.fromarray(m),
    "grey": lambda m: Image.fromarray(np.uint8(255 * m)),
    "labels": lambda m: Image.fromarray(np.uint8(m)),
    "16 bit": lambda m: Image.fromarray(np.uint16(65535 * m)),
    "16 bit labels": lambda m: Image.fromarray(np.uint16(m)),
    "RGB": lambda m: coloured(m, 255, 255, 255),
    "red": lambda m: coloured(m, 200, 0, 0),
    "RGBA": lambda m: coloured(m, 0, 9, 0).convert("RGBA"),
    "palette": lambda m: palette(m, [0, 0, 0, 128, 0, 0]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_files_of_every_kind(tmp_path, kind, suffix):
    path = tmp_path / f"mask.{suffix}"
    KINDS[kind](MASK).save(path)
    found = read_masks([path, str(path), path.read_bytes(), None, KINDS[kind](MASK)])
    assert found.pop(3) is None
    for mask in found:
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, MASK)


@pytest.mark.parametrize("value", [False, True])
def test_masks_of_one_value(tmp_path, value):
    path = tmp_path / "mask.png"
    Image.fromarray(np.full((3, 4), value)).save(path)
    (found,) = read_masks([path])
    np.testing.assert_array_equal(found, np.full((3, 4), value))


def test_arrays():
    masks = [MASK, 7 * MASK, MASK[:, :, None].astype(float), MASK.tolist()]
    masks.append(np.stack([MASK, 0 * MASK, MASK], axis=2))
    for found in read_masks(np.stack([MASK] * 2)) + read_masks(iter(masks)):
        np.testing.assert_array_equal(found, MASK)
    assert read_masks([]) == []
    assert read_masks([None, np.nan]) == [None, None]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("deep", [False, True])
def test_masks_are_upright(tmp_path, suffix, deep):
    path, exif = tmp_path / f"mask.{suffix}", Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.uint16(MASK)) if deep else Image.fromarray(MASK)
    image.save(path, exif=exif)
    np.testing.assert_array_equal(read_masks([path])[0], np.rot90(MASK, -1))


def test_sizes():
    for mask in read_masks([MASK, MASK], size=(24, 40)):
        np.testing.assert_array_equal(mask, MASK.repeat(2, 0).repeat(2, 1))
    found = read_masks([MASK, None, MASK], size=[(4, 4), None, None])
    image = Image.fromarray(np.uint8(MASK)).resize((4, 4), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(found[0], np.asarray(image))
    assert found[1] is None
    assert found[2].shape == MASK.shape
    (small,) = read_masks([MASK], size=np.array([3, 5]))
    assert small.shape == (3, 5)


def test_jpeg_is_refused(tmp_path):
    path = tmp_path / "000_mask.jpg"
    Image.fromarray(np.uint8(255 * MASK)).save(path)
    message = r"^\S*000_mask\.jpg: has \d+ different values, a mask two\. JPEG blurs"
    with pytest.raises(ImageReadError, match=message):
        read_masks([None, path])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(np.uint8([[0, 127, 255]])), "has 3 different values"),
        (Image.fromarray(np.uint16([[0, 1, 65535]])), "has 3 different values"),
        (Image.fromarray(np.uint16([[1, 65535]])), "has two values, but no black"),
        (palette([[0, 1]], [9, 9, 9, 0, 0, 255]), "has two values, but no black"),
        (Image.new("RGBA", (3, 3), (0, 0, 0, 0)), "has transparent pixels"),
    ],
)
def test_files_that_are_no_masks_are_named(tmp_path, image, message):
    path = tmp_path / "odd.png"
    image.save(path)
    with pytest.raises(ImageReadError, match=rf"^\S*odd\.png: {message}"):
        read_masks([path])


def test_damaged_and_missing_files_are_named(tmp_path):
    path = tmp_path / "damaged.png"
    Image.fromarray(MASK).save(path)
    path.write_bytes(path.read_bytes()[:40])
    for name in ("damaged.png", "missing.png"):
        with pytest.raises(ImageReadError, match=rf"^\S*{name}: "):
            read_masks([tmp_path / name])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[0, 0.5, 1]], "has 3 different values"),
        ([[0, np.nan]], "has NaN"),
        ([[0, -1]], "has negative values"),
        ([[2, 1]], "has two values, but no black"),
        ([1, 2], r"a mask is a path, None, or an array .* shape \(2,\)"),
        ([["a"]], "a mask is a path"),
        ([[1], [1, 2]], "not an array"),
        (np.zeros((0, 3)), "a mask is a path"),
        (np.ma.masked_less(MASK, 1), "a mask is a path"),
    ],
)
def test_arrays_that_are_no_masks_are_named(mask, message):
    with pytest.raises(ImageReadError, match=rf"^masks\[1\]: ({message})"):
        read_masks([None, mask])


@pytest.mark.parametrize("masks", ["mask.png", b"mask", None, 3.0])
def test_what_is_no_list_is_refused(masks):
    with pytest.raises(TypeError, match="masks must be a list of paths"):
        read_masks(masks)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (16, "size must be"),
        (True, "size must be"),
        ((8, True), "size must be"),
        ((8, 0), "size must be"),
        ("images", "size must be"),
        ([(8, 8)], "size has 1 entries for 2 masks"),
    ],
)
def test_sizes_that_are_none_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        read_masks([MASK, MASK], size=size)


def test_from_a_folder_to_a_figure_of_merit(tmp_path):
    drawn = make_inspection_images(n_train=1, n_good=2, n_defect=3, random_state=0)
    save_inspection_folder(drawn, tmp_path / "widget")
    folder = load_inspection_folder(tmp_path / "widget")
    masks = read_masks(folder.masks)
    kinds = [*zip(drawn.defect != "good", drawn.defect, strict=True)]
    order = sorted(range(len(kinds)), key=kinds.__getitem__)  # as it is read
    for found, want in zip(masks, drawn.masks[order], strict=True):
        np.testing.assert_array_equal(0 * want if found is None else found, want)
    assert aupro_score(masks, drawn.masks[order].astype(float)) == 1.0
