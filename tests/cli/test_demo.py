import json

import pytest
from matplotlib.figure import Figure
from PIL import Image

from sklearn_gauss.cli import _demo, _evaluate
from sklearn_gauss.datasets import load_inspection_folder


@pytest.fixture(autouse=True)
def few_images(request, monkeypatch):
    if "in_full" not in request.function.__name__:
        counts = {"n_train": 12, "n_good": 2, "n_defect": 5, "size": 32}
        monkeypatch.setattr(_demo, "COUNTS", counts)
        monkeypatch.setattr(_demo, "BACKBONE", "tiny")
        monkeypatch.setitem(_demo.EFFORT, "cv", 2)
        monkeypatch.setattr(_evaluate, "draw_evaluation", lambda *_: Figure((1, 1)))


def test_demo_in_full_finds_defects_and_keeps_its_rate(run, tmp_path, monkeypatch):
    counts = {"n_train": 40, "n_good": 20, "n_defect": 18}
    monkeypatch.setattr(_demo, "COUNTS", counts)
    code, out, err = run("demo")
    assert (code, err) == (0, "")
    figures = dict(line.rsplit("  ", 1) for line in out.splitlines() if "AUROC  " in line)
    assert float(next(iter(figures.values()))) > 0.7
    assert "noisenet (bundled weights)" in out
    root = tmp_path / "sklearn-gauss-demo"
    assert sorted(path.name for path in root.iterdir()) == [
        "demo.png",
        "images",
        "model.skops",
        "sklearn-gauss-demo.json",
    ]
    folder = load_inspection_folder(root / "images")
    assert (len(folder.train), len(folder.test)) == (40, 38)
    with Image.open(root / "demo.png") as figure:
        assert min(figure.size) > 800


def test_every_command_that_it_names_works(run):
    _, out, _ = run("demo", "-o", "here now")
    lines = out.splitlines()
    commands = [line.strip() for line in lines if line.startswith("   sklearn-gauss ")]
    assert len(commands) == 4
    import shlex

    for command, codes in zip(commands[:2], [(0, 1), (0, 1)], strict=True):
        code, printed, _ = run(*shlex.split(command)[1:])
        assert code in codes
        assert printed


def test_it_is_written_again_over_an_earlier_one(run, tmp_path):
    assert run("demo", "--output", "d", "--seed", "1")[0] == 0
    first = (tmp_path / "d/images/train/good/000.png").read_bytes()
    (tmp_path / "d/mine.txt").write_text("kept")
    assert run("demo", "--output", "d", "--kind", "tile")[0] == 0
    assert (tmp_path / "d/images/train/good/000.png").read_bytes() != first
    assert (tmp_path / "d/mine.txt").read_text() == "kept"
    made = json.loads((tmp_path / "d/sklearn-gauss-demo.json").read_text())
    assert (made["kind"], made["seed"]) == ("tile", 0)
    folder = load_inspection_folder(tmp_path / "d/images")
    assert "distortion" not in folder.defect  # a defect of metal alone


def test_same_seed_same_figures(run):
    def figures(*options):
        lines = run("demo", *options)[1].splitlines()
        return [line for line in lines if "seconds" not in line]

    first = figures()
    assert figures() == first
    assert figures("--seed", "2") != first


def test_a_folder_of_someone_else_is_refused(fails, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("kept")
    assert "mine: is not empty and not of an earlier demo" in fails("demo", "-o", "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]
    assert "file: not a folder" in fails("demo", "-o", tmp_path / "mine/file")
