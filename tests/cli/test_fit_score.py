"""Models in files, and the lines that they give images."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import skops.io
from PIL import Image
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import Pipeline

from sklearn_gauss.cli import _model_file
from sklearn_gauss.cli._model_file import FACTS, load_model
from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.datasets import SyntheticDefects, load_inspection_folder
from sklearn_gauss.detection import (
    DetectorEnsemble,
    LevelEnsemble,
    MahalanobisDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

TINY = ("--recipe", "levels", "--backbone", "tiny", "--input-size", "32")


@pytest.fixture
def images(folder, tmp_path):
    """Good and defective images in one folder, with names that are hard to write."""
    place = tmp_path / "images"
    (place / "sub").mkdir(parents=True)
    for name, source in (
        ("b, 2.png", "train/good/000.png"),
        ("a\n1.png", "train/good/001.png"),
        ("sub/c.png", "train/good/002.png"),
        (".hidden.png", "train/good/003.png"),
    ):
        shutil.copy(folder / source, place / name)
    Image.new("RGB", (40, 40)).save(place / "ü\u0301 [red].PNG")
    return place


@pytest.fixture
def scored(run, model):
    """Score as JSON; returns the exit code and the rows."""

    def scored(*args):
        code, out, _ = run("score", model, "--format", "json", *args)
        return code, json.loads(out)

    return scored


def change(model, target, **facts):
    """A copy of a model with other facts; None takes one out."""
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == FACTS:
                content = json.dumps(json.loads(content) | facts)
            new.writestr(name, content)
    return target


# ------------------------------------------------------------------------------- fit
def test_fit_says_what_it_did(run, folder, tmp_path):
    code, out, err = run("fit", folder, "-o", "m.skops", *TINY)
    assert (code, err) == (0, "")
    assert "40 good images" in out
    assert "m.skops: written" in out
    assert [f.name for f in tmp_path.iterdir()] == ["m.skops"]


def test_fit_takes_a_plain_folder_with_its_subfolders(run, folder, tmp_path):
    for i in range(12):
        (tmp_path / f"good/day{i % 3}").mkdir(parents=True, exist_ok=True)
        source = folder / f"train/good/{i:03d}.png"
        shutil.copy(source, tmp_path / f"good/day{i % 3}/{i}.png")
    (tmp_path / "good/notes.txt").touch()
    assert run("fit", "good", "-o", "m.skops", *TINY, "--target-fpr", "0.2")[0] == 0
    assert load_model("m.skops")[1]["n_images"] == 12


def test_fit_overwrites_only_when_forced(run, fails, folder, tmp_path):
    (tmp_path / "m.skops").write_text("mine")
    args = ("fit", folder, "-o", "m.skops", *TINY)
    assert "m.skops: exists already; --force overwrites it" in fails(*args)
    assert (tmp_path / "m.skops").read_text() == "mine"
    assert run(*args, "--force")[0] == 0
    assert zipfile.is_zipfile(tmp_path / "m.skops")


@pytest.mark.parametrize(
    ("output", "message"), [("no/m.skops", "no folder no"), (".", "it is a folder")]
)
def test_fit_says_first_that_it_cannot_write(fails, folder, output, message):
    assert message in fails("fit", folder, "-o", output, *TINY)


def test_model_states_what_made_it(model):
    with zipfile.ZipFile(model) as archive:
        facts = json.loads(archive.read(FACTS))
    assert facts["backbone"] == "tiny"
    assert facts["target_fpr"] == 0.05
    assert facts["n_images"] == 40
    assert {"sklearn_gauss", "scikit-learn", "torch", "weights_sha256"} <= set(facts)
    assert facts["recipe"] == "levels"
    assert set(skops.io.get_untrusted_types(file=model)) <= _model_file.TRUSTED


def test_options_are_kept(run, folder):
    options = ("--levels", "stem,stage2", "--pooling", "max", "--aggregate", "max")
    more = ("--target-fpr", "0.1", "--mean", "0.4", "--std", "0.3", "--seed", "5")
    assert run("fit", folder, "-o", "m.skops", *TINY, *options, *more)[0] == 0
    loaded, _ = load_model("m.skops")
    (extractor,), detector = loaded.extractors, loaded.detector
    assert extractor.levels_ == ["stem", "stage2"]
    assert (extractor.pooling, extractor.seed_, extractor.input_size_) == (
        "max",
        5,
        (32, 32),
    )
    assert (extractor.mean_, extractor.std_) == ((0.4,) * 3, (0.3,) * 3)
    assert (detector.aggregate, detector.target_fpr) == ("max", 0.1)


# ----------------------------------------------------------------------------- score
def test_scores_are_those_of_the_estimators(scored, folder):
    data = load_inspection_folder(folder)
    extractor = CNNFeatureExtractor("tiny", input_size=32).set_output(transform="pandas")
    detector = LevelEnsemble().fit(extractor.fit_transform(data.train))
    X = extractor.transform(data.test)
    code, rows = scored(*data.test)
    assert [row["path"] for row in rows] == data.test
    np.testing.assert_allclose(
        [row["score"] for row in rows], detector.score_samples(X), rtol=1e-5
    )
    np.testing.assert_allclose([row["p_value"] for row in rows], detector.p_values(X))
    verdicts = np.where(detector.predict(X) == 1, "normal", "ANOMALY")
    assert [row["verdict"] for row in rows] == verdicts.tolist()
    assert code == 1


def test_order_is_that_of_the_arguments_and_of_bytes_in_folders(scored, images, folder):
    first = str(folder / "train/good/005.png")
    _, rows = scored(first, images)
    names = ["a\n1.png", "b, 2.png", "sub/c.png", "ü\u0301 [red].PNG"]
    assert [row["path"] for row in rows] == [first, *(f"{images}/{n}" for n in names)]


@pytest.mark.parametrize(
    ("name", "code"), [("sub/c.png", 0), ("ü\u0301 [red].PNG", 1), ("none.png", 2)]
)
def test_exit_codes(run, model, images, name, code):
    assert run("score", model, images / name)[0] == code


def test_text_is_one_line_an_image(run, model, images):
    code, out, err = run("score", model, images)
    lines = out.splitlines()
    assert (code, err, len(lines)) == (1, "", 4)
    assert lines[0].startswith(f"{images}/a\\n1.png")
    path, score, p_value, verdict = lines[2].rsplit(maxsplit=3)
    assert path == f"{images}/sub/c.png"
    assert float(score) < 0 < float(p_value) <= 1
    assert verdict == "normal"
    assert lines[3].endswith("ANOMALY")


def test_csv_keeps_every_name(run, model, images, scored):
    _, rows = scored(images)
    code, out, _ = run("score", model, images, "--format", "csv")
    read = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    assert [row["path"] for row in read] == [row["path"] for row in rows]
    assert [float(row["score"]) for row in read] == [row["score"] for row in rows]
    assert [row["verdict"] for row in read] == [row["verdict"] for row in rows]


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_lines_go_to_a_file(run, model, images, tmp_path, form):
    _, printed, _ = run("score", model, images, "--format", form)
    code, out, _ = run("score", model, images, "--format", form, "-o", "out")
    assert (tmp_path / "out").read_bytes().decode() == printed
    assert out == "out: 4 images, 3 normal, 1 anomalies, 0 errors\n"
    assert code == 1


def test_output_may_not_replace_an_input(fails, model, images):
    image = images / "sub/c.png"
    assert "would be overwritten" in fails("score", model, image, "-o", image)
    assert "would be overwritten" in fails("score", model, image, "-o", model)
    assert image.read_bytes()[:4] == b"\x89PNG"


def test_output_that_cannot_be_written(fails, model, images):
    assert "no folder no" in fails("score", model, images, "-o", "no/out.csv")


def test_what_cannot_be_read_is_a_row_and_nothing_is_lost(run, model, images, tmp_path):
    (images / "sub/broken.png").write_bytes(b"not an image")
    (images / "sub/empty.png").touch()
    (tmp_path / "void").mkdir()
    (images / "sub/notes.txt").touch()
    args = ("score", model, "gone.png", images, "void", "--format")
    code, out, err = run(*args, "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 2
    assert "1 file has no extension of an image" in err
    assert "4 of 8 images could not be scored" in err
    errors = {r["path"]: r["reason"] for r in rows if r["verdict"] == "error"}
    assert errors == {
        "gone.png": "cannot be read (No such file or directory).",
        f"{images}/sub/broken.png": errors[f"{images}/sub/broken.png"],
        f"{images}/sub/empty.png": "the file is empty.",
        "void": "no image in the folder (0 other files)",
    }
    assert "not an image of a known format" in errors[f"{images}/sub/broken.png"]
    assert all((r["score"] == "") == (r["verdict"] == "error") for r in rows)
    lines = run(*args, "text")[1].splitlines()
    assert len(lines) == 8
    assert lines[0].endswith("error: cannot be read (No such file or directory).")
    assert json.loads(run(*args, "json")[1])[0]["score"] is None


def test_many_images_are_scored_in_chunks(scored, folder, monkeypatch):
    monkeypatch.setattr("sklearn_gauss.cli._score.CHUNK", 7)
    _, rows = scored(folder / "train")
    assert len(rows) == 40
    assert [r["path"] for r in rows] == sorted(r["path"] for r in rows)


def test_names_that_are_no_text(run, model, folder, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff,.png"
    try:
        shutil.copy(folder / "train/good/000.png", name)
    except OSError:
        pytest.skip("this file system has no such names")
    command = [sys.executable, "-m", "sklearn_gauss", "score", str(model), name]
    done = subprocess.run([*command, "--format", "csv"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"/\xff,.png" in done.stdout
    for form in ("text", "json"):
        assert (
            r"\udcff,.png" in run("score", model, os.fsdecode(name), "--format", form)[1]
        )


def test_a_target_that_the_images_cannot_certify_is_said(run, model, images):
    image = images / "ü\u0301 [red].PNG"
    code, _, err = run("score", model, image, "--target-fpr", "0.01")
    assert code == 0
    assert "40 training images cannot certify a false-positive rate of 0.01" in err
    assert "at least 99 are needed" in err


def test_a_closed_pipe_is_no_error(model, folder):
    command = [sys.executable, "-m", "sklearn_gauss", "score", str(model)]
    command += [str(folder / "train")]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_fresh_process_gives_the_same_scores(model, images, scored):
    _, rows = scored(images)
    command = [sys.executable, "-m", "sklearn_gauss", "score", str(model), str(images)]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert json.loads(done.stdout) == rows


# ------------------------------------------------------------------ models gone wrong
def test_a_missing_model(fails, images):
    assert "gone.skops: No such file" in fails("score", "gone.skops", images)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04broken"])
def test_a_file_that_is_no_model(fails, images, tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    assert "other: not a model of sklearn-gauss" in fails("score", "other", images)


def test_a_skops_file_of_another_kind(fails, images):
    skops.io.dump(LedoitWolf(), "other.skops")
    assert "other.skops: not a model of sklearn-gauss" in fails(
        "score", "other.skops", images
    )


def plant(content, model, target):
    """A file with the facts of a model and other content."""
    skops.io.dump(content, target)
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(target, "a") as new:
        new.writestr(FACTS, old.read(FACTS))


def test_foreign_types_are_refused_by_name(fails, model, images):
    plant({"estimators_": [os.system]}, model, "evil.skops")
    line = fails("score", "evil.skops", images)
    assert "evil.skops: refused" in line
    assert "system" in line


@pytest.mark.parametrize(
    "content",
    [{"extractor": 1}, {}, Pipeline([("a", None)]), DetectorEnsemble([])],
    ids=["dict", "empty", "pipeline", "ensemble"],
)
def test_other_content_is_refused(fails, model, images, content):
    plant(content, model, "other.skops")
    assert "other content" in fails("score", "other.skops", images)


def test_another_format_is_refused(fails, model, images, tmp_path):
    for number in (1, 2, 99):
        change(model, tmp_path / "new.skops", format=number, sklearn_gauss="9.9")
        line = fails("score", "new.skops", images)
        assert f"new.skops: a model of format {number}, written by sklearn_gauss" in line
        assert "Fit it again" in line


def test_another_version_is_said(run, model, images, tmp_path):
    change(
        model, tmp_path / "old.skops", **{"sklearn_gauss": "0.0.1", "scikit-learn": "1"}
    )
    code, _, err = run("score", "old.skops", images)
    assert code == 1
    assert "old.skops: fitted with sklearn_gauss 0.0.1, and this is" in err
    assert "fitted with scikit-learn 1, and" in err
    assert err.count("\n") == 2


def test_another_network_is_refused(fails, model, images, tmp_path):
    probe = [np.ones(336).tolist()]
    change(model, tmp_path / "other.skops", probe=probe, torch="1.0")
    line = fails("score", "other.skops", images)
    assert "'tiny' gives other features than when the model was fitted (torch 1.0" in line


def test_a_damaged_model(fails, model, images, tmp_path):
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(tmp_path / "d.skops", "w") as new:
        new.writestr(FACTS, old.read(FACTS))
    assert "d.skops: damaged, or of another version" in fails("score", "d.skops", images)


@pytest.mark.parametrize(
    "facts",
    [
        {"target_fpr": "0.05"},
        {"target_fpr": 0},
        {"target_fpr": float("nan")},
        {"target_fpr": None},
        {"probe": None},
        {"probe": [1.0]},
        {"probe": [["a"]]},
    ],
    ids=str,
)
def test_facts_of_other_types_are_refused(fails, model, images, tmp_path, facts):
    change(model, tmp_path / "m.skops", **facts)
    assert "m.skops: damaged" in fails("score", "m.skops", images)


@pytest.fixture
def altered(model):
    """Change the estimator of a model and write it to a file; returns its name."""

    def altered(alter):
        estimator = load_model(model)[0].estimator
        alter(estimator)
        plant(estimator, model, "altered.skops")
        return "altered.skops"

    return altered


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (1, "calibration_scores_"),
        (1, "offset_"),
        (1, "detectors_"),
        (1, "levels_"),
        (0, "seed_"),
        (0, "input_size_"),
        (0, "levels_"),
    ],
)
@pytest.mark.parametrize("value", [None, "text", [], {}])
def test_what_scoring_needs_is_looked_for(fails, images, altered, step, name, value):
    def alter(estimator):
        if value is None:
            vars(estimator[step]).pop(name)
        else:
            setattr(estimator[step], name, value)

    line = fails("score", altered(alter), images)
    assert "altered.skops: " in line
    assert "unexpected" not in line


def test_scores_that_are_no_numbers_are_refused(fails, images, altered):
    def alter(estimator):
        estimator[1].calibration_scores_ = np.full(3, np.nan)

    assert "altered.skops: damaged" in fails("score", altered(alter), images)


def test_a_file_does_not_say_where_to_write(run, images, altered, tmp_path):
    def alter(estimator):
        estimator[0].set_params(cache=str(tmp_path / "elsewhere"), verbose=1)

    code, _, err = run("score", altered(alter), images)
    assert (code, err) == (1, "")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "option",
    [{"backbone_options": {"a": 1}}, {"max_pixels": 10**12}, {"cache_limit": 9}],
    ids=str,
)
def test_options_that_the_command_lacks_are_refused(fails, images, altered, option):
    line = fails("score", altered(lambda model: model[0].set_params(**option)), images)
    assert f"refused, no model of sklearn-gauss sets {', '.join(option)}" in line


@pytest.mark.parametrize(
    "last",
    [
        CNNFeatureExtractor("tiny"),
        SyntheticDefects(),
        DetectorEnsemble([]),
        ShrinkageCovariance(),
        MahalanobisDetector(),
    ],
    ids=lambda last: type(last).__name__,
)
def test_the_last_step_of_levels_is_a_level_ensemble(fails, images, altered, last):
    def alter(estimator):
        estimator.steps[1] = ("detector", last)

    assert "other content" in fails("score", altered(alter), images)


def test_levels_have_no_detectors_but_gaussians(fails, images, altered):
    def alter(estimator):
        estimator[1].detectors_[0] = DetectorEnsemble([])

    assert "other content" in fails("score", altered(alter), images)


@pytest.fixture
def with_weights(run, folder, tmp_path):
    """A model with weights from a file; returns the paths of both."""
    import torch
    from safetensors.torch import save_file

    from sklearn_gauss.feature_extraction._backbones._tiny import Tiny

    torch.manual_seed(0)
    weights = tmp_path / "w.safetensors"
    save_file(Tiny(seed=3).state_dict(), weights)
    args = ("--weights", "w.safetensors", "-o", "m.skops")
    assert run("fit", folder, *TINY, *args)[0] == 0
    return tmp_path / "m.skops", weights


def test_weights_are_found_from_anywhere(
    run, with_weights, images, tmp_path, monkeypatch
):
    path, _ = with_weights
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run("score", path, images)
    assert (code, err) == (1, "")


def test_missing_weights_are_named(run, fails, with_weights, images, tmp_path):
    path, weights = with_weights
    before = run("score", path, images)
    weights.rename(tmp_path / "moved.safetensors")
    assert f"{weights}': no such file" in fails("score", path, images)
    moved = run("score", path, images, "--weights", "moved.safetensors")
    assert moved == before


def test_changed_weights_are_refused(fails, with_weights, images):
    from safetensors.torch import save_file

    from sklearn_gauss.feature_extraction._backbones._tiny import Tiny

    path, weights = with_weights
    save_file(Tiny(seed=4).state_dict(), weights)
    line = fails("score", path, images)
    assert f"{weights}: is not the file this extractor was fitted with" in line


def test_inputs_are_never_overwritten(fails, folder):
    image = folder / "train/good/000.png"
    before = image.read_bytes()
    line = fails("fit", folder, "-o", image, "--force", *TINY)
    assert "is an input and would be overwritten" in line
    line = fails("evaluate", folder, "--figure", image, *TINY)
    assert "is an input and would be overwritten" in line
    assert image.read_bytes() == before
