import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils import Bunch

from sklearn_gauss.datasets import (
    load_inspection_folder,
    make_inspection_images,
    save_inspection_folder,
)


@pytest.fixture(scope="module")
def images():
    return make_inspection_images(
        "gear", n_train=3, n_good=2, n_defect=8, size=48, random_state=0
    )


def read(path):
    image = pytest.importorskip("PIL.Image", reason="reads PNG files with pillow")
    return np.asarray(image.open(path))


def test_round_trip(images, tmp_path):
    pytest.importorskip("PIL", reason="writes PNG files with pillow")
    path = save_inspection_folder(images, tmp_path / "new" / "gear")
    assert path == tmp_path / "new" / "gear"
    data = load_inspection_folder(path)
    assert data.name == "gear"
    assert data.skipped == []
    np.testing.assert_array_equal([read(p) for p in data.train], images.train)
    # On disk the defects are in the order of their names, each in its own order.
    order = sorted(
        range(len(images.defect)),
        key=lambda i: (images.defect[i] != "good", images.defect[i], i),
    )
    np.testing.assert_array_equal(data.defect, images.defect[order])
    np.testing.assert_array_equal(data.y_test, images.y_test[order])
    np.testing.assert_array_equal([read(p) for p in data.test], images.test[order])
    for mask, expected in zip(data.masks, images.masks[order], strict=True):
        if mask is None:
            assert not expected.any()
        else:
            np.testing.assert_array_equal(read(mask), 255 * expected.astype(np.uint8))


def test_file_names(images, tmp_path):
    pytest.importorskip("PIL", reason="writes PNG files with pillow")
    path = save_inspection_folder(images, str(tmp_path))
    assert (path / "train/good/002.png").is_file()
    assert (path / "test/scratch/001.png").is_file()
    assert (path / "ground_truth/scratch/001_mask.png").is_file()
    assert not (path / "ground_truth/good").exists()
    assert sum(1 for _ in path.rglob("*.png")) == 3 + 10 + 8


def test_a_folder_with_something_in_it_is_refused(images, tmp_path):
    pytest.importorskip("PIL", reason="writes PNG files with pillow")
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(FileExistsError, match=r"not empty.*overwrite=True"):
        save_inspection_folder(images, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]
    with pytest.raises(FileExistsError, match=r"precious\.txt: not a folder"):
        save_inspection_folder(images, tmp_path / "precious.txt", overwrite=True)


def test_overwrite_replaces_its_own_files_only(images, tmp_path):
    pytest.importorskip("PIL", reason="writes PNG files with pillow")
    save_inspection_folder(images, tmp_path)
    (tmp_path / "precious.txt").write_text("keep")
    (tmp_path / "train/good/mine.png").write_text("keep")
    fewer = make_inspection_images(
        "tile", n_train=1, n_good=1, n_defect=1, size=32, random_state=0
    )
    save_inspection_folder(fewer, tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "keep"
    assert (tmp_path / "train/good/mine.png").read_text() == "keep"
    data = load_inspection_folder(tmp_path)
    assert [Path(p).name for p in data.train] == ["000.png", "mine.png"]
    assert data.defect.tolist() == ["good", "scratch"]
    assert [p is None for p in data.masks] == [True, False]


def test_missing_pillow_names_the_extra(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "sklearn-gauss\[cnn\]"'):
        save_inspection_folder(images, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": np.zeros((2, 4, 4, 3))}, "images.train must have shape .*uint8"),
        ({"test": np.zeros((10, 48, 48), np.uint8)}, "images.test must have shape"),
        ({"y_test": np.ones(3, int)}, "must have one length.* 3,"),
        ({"y_test": np.ones(10, int)}, r"y_test must be \+1 exactly where"),
        ({"masks": np.zeros((10, 48, 48))}, "images.masks must be bool"),
        ({"masks": np.zeros((10, 4, 4), bool)}, "images.masks must be bool of shape"),
        ({"defect": np.array(["good"] * 2 + ["../x"] * 8)}, "cannot be the name"),
        ({"defect": np.array(["good"] * 2 + [""] * 8)}, "cannot be the name"),
    ],
)
def test_fields_that_do_not_fit(images, tmp_path, change, message):
    pytest.importorskip("PIL", reason="writes PNG files with pillow")
    with pytest.raises(ValueError, match=message):
        save_inspection_folder(Bunch(**{**images, **change}), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [Bunch(train=[]), np.zeros((2, 4, 4, 3)), None])
def test_what_is_no_bunch_of_images(wrong, tmp_path):
    pytest.importorskip("PIL", reason="writes PNG files with pillow")
    with pytest.raises(ValueError, match="images must have the fields train, test"):
        save_inspection_folder(wrong, tmp_path)
