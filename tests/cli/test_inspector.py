"""The inspector as the recipe of fit, evaluate and score."""

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import skops.io
from PIL import Image

from sklearn_gauss.cli import _model_file
from sklearn_gauss.cli._model_file import FACTS, load_model
from sklearn_gauss.cli._recipe import Model
from sklearn_gauss.datasets import SyntheticDefects, load_inspection_folder
from sklearn_gauss.detection import DetectorEnsemble
from sklearn_gauss.inspector import make_inspector

TINY = ("--backbone", "tiny", "--input-size", "32")


@pytest.fixture
def test_images(folder):
    return load_inspection_folder(folder).test


@pytest.fixture
def few(folder, tmp_path):
    """Eight images to train, and four of either kind to test."""
    for part in ("train/good", "test/good", "test/crack"):
        place = tmp_path / "few" / part
        place.mkdir(parents=True)
        for image in sorted((folder / part).iterdir())[:8]:
            shutil.copy(image, place)
    return tmp_path / "few"


def test_fit_says_what_was_chosen(run, few):
    code, out, _ = run("fit", few, "-o", "m.skops", *TINY, "--combine", "best")
    assert code == 0
    assert "tiny (random weights, seed 0), " in out
    assert "AUROC on drawn defects: " in out
    assert "on held-out images and kinds: stacked 0." in out
    assert "best 0." in out
    assert out.count("(in use)") == 1
    assert load_model("m.skops")[0].estimator.combine == "best"


def test_scores_are_those_of_make_inspector(run, folder, inspector, test_images):
    made = make_inspector(
        "tiny",
        input_size=32,
        random_state=0,
        defects=SyntheticDefects(random_state=0),
    ).fit(load_inspection_folder(folder).train)
    _, out, _ = run("score", inspector, "--format", "json", *test_images)
    rows = json.loads(out)
    np.testing.assert_allclose(
        [row["score"] for row in rows], made.score_samples(test_images), rtol=1e-4
    )
    np.testing.assert_allclose(
        [row["p_value"] for row in rows], made.p_values(test_images)
    )


def test_a_fresh_process_gives_the_same_scores(run, inspector, test_images):
    code, out, _ = run("score", inspector, "--format", "json", *test_images)
    command = [sys.executable, "-m", "sklearn_gauss", "score", str(inspector)]
    done = subprocess.run(
        [*command, "--format", "json", *test_images], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (code, "")
    fresh, here = json.loads(done.stdout), json.loads(out)
    assert [row["verdict"] for row in fresh] == [row["verdict"] for row in here]
    # Threads of this process share the work in other ways.
    np.testing.assert_allclose(
        [row["score"] for row in fresh], [row["score"] for row in here], rtol=1e-5
    )


def test_the_file_holds_own_types_and_no_images(inspector):
    found = set(skops.io.get_untrusted_types(file=inspector))
    assert found <= _model_file.TRUSTED
    with zipfile.ZipFile(inspector) as archive:
        facts = json.loads(archive.read(FACTS))
        schema = archive.read("schema.json").decode()
    assert facts["recipe"] == "inspector"
    assert "DrawnImage" not in schema
    assert ".png" not in schema


def test_loading_sets_every_extractor(inspector):
    loaded, _ = load_model(inspector, device="cpu", batch_size=3)
    members = loaded.estimator.estimators_
    assert {member[0].batch_size for member in members} == {3}
    assert {member[0].device for member in members} == {"cpu"}
    assert {member[0].verbose for member in members} == {0}


def test_record_has_the_selection(run, few, tmp_path):
    code, out, err = run("evaluate", few, *TINY, "--format", "json")
    assert code == 0
    record = json.loads(out)
    assert (record["recipe"], record["fold_fpr"]) == ("inspector", None)
    assert record["shift"]["p_value"] <= 1
    chosen = record["selection"]
    n_scores, n_kinds = len(chosen["scores"]), len(chosen["kinds"])
    assert np.shape(chosen["auroc"]) == (n_scores, n_kinds)
    assert chosen["best"] == chosen["scores"][int(np.argmax(chosen["mean_auroc"]))]
    assert set(chosen["weights"]) == set(chosen["scores"])
    assert set(chosen["held_out_auroc"]) == {"stacked", "best", "sum"}
    assert "8 rows cannot certify target_fpr=0.05" in err
    with Image.open(tmp_path / "few-evaluation.png") as image:
        assert min(image.size) > 500


def test_all_unreadable_images_are_named(run, fails, few):
    for part in ("train/good", "test/crack"):
        for name in ("x.png", "y.png"):
            (few / part / name).write_bytes(f"{part} {name}".encode())
        options = ("--figure", "none", *TINY)
        if part == "test/crack":  # what is to be fitted to can be read by now
            for name in ("x.png", "y.png"):
                (few / "train/good" / name).unlink()
            code, _, err = run("evaluate", few, *options, "--target-fpr", "0.2")
            assert code == 2
        else:
            err = fails("evaluate", few, *options)
        assert "2 of" in err
        assert f"{part}/x.png: not an image" in err
        assert f"{part}/y.png: not an image" in err


def test_what_cannot_be_read_is_a_row(run, inspector, test_images, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    args = (test_images[0], "broken.png", test_images[1])
    code, out, _ = run("score", inspector, "--format", "json", *args)
    first, broken, last = json.loads(out)
    assert code == 2
    assert broken["verdict"] == "error"
    assert "not an image of a known format" in broken["reason"]
    _, out, _ = run("score", inspector, "--format", "json", args[0], args[2])
    for row, alone in zip((first, last), json.loads(out), strict=True):
        assert row["score"] == pytest.approx(alone["score"], rel=1e-5)


def test_the_readable_ones_are_scored_in_one_call(
    run, inspector, test_images, tmp_path, monkeypatch
):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    calls, scores = [], Model.scores

    def count(model, images):
        calls.append(len(images))
        return scores(model, images)

    monkeypatch.setattr(Model, "scores", count)
    assert run("score", inspector, *test_images[:5], "broken.png", "gone.png")[0] == 2
    assert calls == [1, 7, 5]  # the probe, all, and what can be read


@pytest.fixture
def altered(inspector):
    """Change an inspector and write it to a file; returns its name."""

    def altered(alter):
        estimator = load_model(inspector)[0].estimator
        alter(estimator)
        skops.io.dump(estimator, "altered.skops")
        with (
            zipfile.ZipFile(inspector) as old,
            zipfile.ZipFile("altered.skops", "a") as new,
        ):
            new.writestr(FACTS, old.read(FACTS))
        return "altered.skops"

    return altered


@pytest.mark.parametrize(
    "name",
    ["weights_", "score_names_", "estimators_", "calibration_scores_", "offset_",
     "_widths", "_keys", "_n_leading"],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, "text", ["text"]], ids=repr)
def test_what_scoring_needs_is_looked_for(fails, tmp_path, altered, name, value):
    def alter(estimator):
        if value is None:
            vars(estimator).pop(name)
        else:
            setattr(estimator, name, value)

    line = fails("score", altered(alter), tmp_path)
    assert "altered.skops: damaged" in line or "other content" in line


def test_members_hold_what_scoring_needs(fails, tmp_path, altered):
    def alter(estimator):
        detector = estimator.estimators_[-1][1]
        for name in [n for n in vars(detector) if n not in detector.get_params()]:
            delattr(detector, name)
        estimator.weights_ = np.ones_like(estimator.weights_)

    assert "altered.skops: damaged" in fails("score", altered(alter), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed_", 9),
        ("weights_sha256_", "0" * 64),
        ("backbone", "noisenet"),
        ("weights", None),
        ("mean_", (0.1, 0.1, 0.1)),
        ("std", [0.1, 0.1, 0.1]),
        ("input_size_", (64, 64)),
    ],
)
def test_extractors_that_differ_are_refused(fails, tmp_path, altered, name, value):
    def alter(estimator):
        setattr(estimator.estimators_[-1][0], name, value)

    line = fails("score", altered(alter), tmp_path)
    assert f"altered.skops: damaged, its extractors differ in {name}." in line


def test_every_extractor_is_probed(fails, tmp_path, inspector, altered):
    def alter(estimator):
        extractor = estimator.estimators_[-1][0]
        extractor.n_channels -= 1
        extractor._fitted_parameters["n_channels"] -= 1

    line = fails("score", altered(alter), tmp_path)
    assert "gives other features than when the model was fitted" in line
    with zipfile.ZipFile(inspector) as archive:
        probes = json.loads(archive.read(FACTS))["probe"]
    assert len(probes) == len(load_model(inspector)[0].extractors) > 1


def test_no_extractor_says_where_to_write(run, test_images, tmp_path, altered):
    def alter(estimator):
        for member in estimator.estimators_:
            member[0].cache = str(tmp_path / "elsewhere")

    code, _, err = run("score", altered(alter), *test_images[:2])
    assert code in (0, 1)
    assert err == ""
    assert not (tmp_path / "elsewhere").exists()


def test_no_member_is_an_ensemble_of_members(fails, tmp_path, altered):
    def alter(estimator):
        estimator.estimators_[0].steps[1] = ("detector", DetectorEnsemble([]))

    assert "other content" in fails("score", altered(alter), tmp_path)


def test_two_images_are_too_few(fails, few):
    for image in sorted((few / "train/good").iterdir())[2:]:
        image.unlink()
    line = fails("fit", few, "-o", "m.skops", *TINY)
    assert "2 images; a fit needs three at least" in line
