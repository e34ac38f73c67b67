import os
from pathlib import Path

import numpy as np
import pytest

from sklearn_gauss.datasets import load_inspection_folder

DATA = Path(
    os.environ.get(
        "SKLEARN_GAUSS_DATA", Path(__file__).parents[2].parent / "shared" / "data"
    )
)


def plant(root, *names):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def names_of(paths):
    return [Path(path).name for path in paths]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "widget"
    plant(
        root,
        *("train/good/b.png", "train/good/B.PNG", "train/good/a.JPeG"),
        *("test/good/000.png", "test/dent/000.png", "test/dent/001.png"),
        *("test/Cut/000.tiff", "test/Cut/001.png"),
        *("ground_truth/dent/000_mask.png", "ground_truth/Cut/000.png"),
    )
    return root


def test_reads_the_layout(folder):
    data = load_inspection_folder(folder)
    assert names_of(data.train) == ["B.PNG", "a.JPeG", "b.png"]
    assert all(isinstance(path, str) for path in data.train + data.test)
    assert data.defect.tolist() == ["good", "Cut", "Cut", "dent", "dent"]
    assert data.y_test.tolist() == [1, -1, -1, -1, -1]
    assert data.y_test.dtype.kind == "i"
    assert data.name == "widget"
    assert data.skipped == []
    assert data.masks == [
        None,
        str(folder / "ground_truth/Cut/000.png"),
        None,
        str(folder / "ground_truth/dent/000_mask.png"),
        None,
    ]
    assert [Path(path).parent.name for path in data.test] == data.defect.tolist()


def test_accepts_text_and_bytes_and_relative_paths(folder, monkeypatch):
    expected = load_inspection_folder(folder)
    assert load_inspection_folder(str(folder)).test == expected.test
    assert load_inspection_folder(os.fsencode(folder)).test == expected.test
    monkeypatch.chdir(folder)
    assert load_inspection_folder(".").name == "widget"


def test_sorts_by_bytes(tmp_path):
    names = ["é.png", "z.png", "Z.png", "10.png", "9.png", "日本.png"]
    plant(tmp_path, *(f"train/good/{name}" for name in names))
    read = names_of(load_inspection_folder(tmp_path, split="train").train)
    assert read == sorted(names, key=os.fsencode)
    assert read[0] == "10.png"


def test_split_reads_one_half_only(folder):
    train = load_inspection_folder(folder, split="train")
    assert len(train.train) == 3
    assert train.test == []
    assert train.masks == []
    assert train.y_test.shape == train.defect.shape == (0,)
    test = load_inspection_folder(folder, split="test")
    assert test.train == []
    assert len(test.test) == 5
    with pytest.raises(ValueError, match="split must be None, 'train' or 'test'"):
        load_inspection_folder(folder, split="val")


def test_skipped_names_everything_left_out(folder):
    extra = [
        "ground_truth/dent/001_other.png",
        "ground_truth/scuff/000_mask.png",
        "test/dent/._000.png",
        "test/readme.md",
        "train/bad/000.png",
        "train/good/.DS_Store",
        "train/good/Thumbs.db",
        "train/good/nested/000.png",
    ]
    plant(folder, *extra)
    data = load_inspection_folder(folder)
    assert len(data.train) == 3
    assert len(data.test) == 5
    left = [Path(path).relative_to(folder).as_posix() for path in data.skipped]
    assert left == [
        "ground_truth/dent/001_other.png",
        "ground_truth/scuff",
        "test/dent/._000.png",
        "test/readme.md",
        "train/bad",
        "train/good/.DS_Store",
        "train/good/Thumbs.db",
        "train/good/nested",
    ]


def test_mask_suffix_wins_over_the_same_stem(folder):
    plant(folder, "ground_truth/dent/000.png")
    data = load_inspection_folder(folder)
    assert names_of([data.masks[3]]) == ["000_mask.png"]
    assert names_of(data.skipped) == ["000.png"]


def link(target, file):
    try:
        file.symlink_to(target)
    except OSError:
        pytest.skip("this system makes no symbolic links")


def test_links_out_of_the_root_are_not_followed(folder, tmp_path):
    plant(tmp_path, "elsewhere/secret.png", "widget-2/x.png")
    good = folder / "train" / "good"
    link(tmp_path / "elsewhere" / "secret.png", good / "out.png")
    link(tmp_path / "widget-2" / "x.png", good / "sibling.png")
    link(good / "loop.png", good / "loop.png")
    link(folder / "nowhere.png", good / "dangling.png")
    link(folder / "test" / "good" / "000.png", good / "inner.png")
    link(tmp_path / "elsewhere", folder / "test" / "foreign")
    data = load_inspection_folder(folder)
    assert names_of(data.train) == ["B.PNG", "a.JPeG", "b.png", "inner.png"]
    assert "foreign" not in data.defect
    assert sorted(names_of(data.skipped)) == [
        *("dangling.png", "foreign", "loop.png", "out.png", "sibling.png")
    ]


def test_a_linked_root_is_read(folder, tmp_path):
    link(folder, tmp_path / "alias")
    data = load_inspection_folder(tmp_path / "alias")
    assert len(data.train) == 3
    assert data.name == "alias"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_skipped(folder):
    os.mkfifo(folder / "train" / "good" / "pipe.png")
    assert names_of(load_inspection_folder(folder).skipped) == ["pipe.png"]


def test_missing_path_and_file_as_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such folder"):
        load_inspection_folder(tmp_path / "absent")
    plant(tmp_path, "file.png")
    with pytest.raises(NotADirectoryError, match=r"file\.png: not a folder"):
        load_inspection_folder(tmp_path / "file.png")


def test_no_train_good_lists_what_is_there(tmp_path):
    plant(tmp_path, "pictures/1.png", "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"train.*holds notes\.txt, pictures"):
        load_inspection_folder(tmp_path)


def test_empty_folder_holds_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds nothing"):
        load_inspection_folder(tmp_path)


def test_one_level_too_high(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"too high.*widget; pass one of them"):
        load_inspection_folder(tmp_path)


@pytest.mark.parametrize("below", ["train", "test", "train/good", "test/dent"])
def test_too_low(folder, below):
    with pytest.raises(FileNotFoundError, match=r"too low: pass .*widget\."):
        load_inspection_folder(folder / below)


def test_train_good_without_images(tmp_path):
    plant(tmp_path, "train/good/notes.txt", "test/good/1.png")
    with pytest.raises(ValueError, match=r"good: no image .*\.png.*notes\.txt"):
        load_inspection_folder(tmp_path)
    assert len(load_inspection_folder(tmp_path, split="test").test) == 1


def test_test_folder_may_be_absent_for_train_only(tmp_path):
    plant(tmp_path, "train/good/1.png")
    with pytest.raises(FileNotFoundError, match=r"test: no such.*split='train'"):
        load_inspection_folder(tmp_path)
    assert len(load_inspection_folder(tmp_path, split="train").train) == 1


def test_train_folder_may_be_absent_for_test_only(tmp_path):
    plant(tmp_path, "test/dent/1.png")
    with pytest.raises(FileNotFoundError, match=r"train: no such.*split='test'"):
        load_inspection_folder(tmp_path)
    data = load_inspection_folder(tmp_path, split="test")
    assert data.y_test.tolist() == [-1]


def test_test_without_images(tmp_path):
    plant(tmp_path, "train/good/1.png", "test/good/readme.txt")
    with pytest.raises(ValueError, match=r"test: no image"):
        load_inspection_folder(tmp_path)


def test_train_that_is_a_file(tmp_path):
    plant(tmp_path, "train", "test/good/1.png")
    with pytest.raises((NotADirectoryError, FileNotFoundError), match="train"):
        load_inspection_folder(tmp_path)


def test_magnetic_tile():
    root = DATA / "images" / "magnetic_tile"
    if not root.is_dir():
        pytest.skip(f"{root} is absent; set SKLEARN_GAUSS_DATA")
    data = load_inspection_folder(root)
    assert len(data.train) == 500
    assert np.count_nonzero(data.y_test == 1) == 200
    assert np.count_nonzero(data.y_test == -1) == 392
    assert set(data.defect) == {"good", "blowhole", "break", "crack", "fray", "uneven"}
    assert data.masks == [None] * 592
    assert data.skipped == []
    assert data.name == "magnetic_tile"
