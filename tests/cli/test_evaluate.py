import json
import shutil
import sys
from io import StringIO

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from sklearn_gauss.cli import main
from sklearn_gauss.cli._measure import measure, rate
from sklearn_gauss.datasets import load_inspection_folder
from sklearn_gauss.detection import LevelEnsemble
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

TINY = ("--recipe", "levels", "--backbone", "tiny", "--input-size", "32")


@pytest.fixture
def evaluate(run, folder):
    def evaluate(*options, path=folder):
        code, out, err = run("evaluate", path, *TINY, "--format", "json", *options)
        assert code == 0, err
        return json.loads(out)

    return evaluate


def by_hand(folder, *, aggregate="sum", target_fpr=0.05, **options):
    """The same job with the estimators themselves."""
    data = load_inspection_folder(folder)
    extractor = CNNFeatureExtractor("tiny", input_size=32, random_state=0, **options)
    extractor.set_output(transform="pandas")
    detector = LevelEnsemble(aggregate=aggregate, target_fpr=target_fpr)
    detector.fit(extractor.fit_transform(data.train))
    test = extractor.transform(data.test)
    return data, detector.score_samples(test), detector.predict(test)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ((), {}),
        (("--aggregate", "log_density"), {"aggregate": "log_density"}),
        (("--levels", "stage1,-1"), {"levels": ["stage1", -1]}),
        (("--pooling", "moments"), {"pooling": "moments"}),
        (("--mean", "0.5", "--std", "0.2,0.3,0.4"),
         {"mean": [0.5] * 3, "std": [0.2, 0.3, 0.4]}),
        (("--target-fpr", "0.2", "--batch-size", "3"), {"target_fpr": 0.2}),
        (("--weights", "none", "--device", "cpu"), {}),
    ],
)  # fmt: skip
def test_figures_are_those_of_the_estimators(evaluate, folder, options, same):
    record = evaluate("--figure", "none", *options)
    data, scores, verdicts = by_hand(folder, **same)
    good = data.y_test == 1
    assert record["auroc"] == pytest.approx(roc_auc_score(good, scores), abs=1e-9)
    assert record["test_fpr"]["flagged"] == (verdicts[good] == -1).sum()
    assert record["recall"]["flagged"] == (verdicts[~good] == -1).sum()
    for row in record["defects"]:
        here = data.defect == row["defect"]
        assert row["images"] == here.sum()
        assert row["rate"] == (verdicts[here] == -1).mean()
        kept = good | here
        assert row["auroc"] == pytest.approx(roc_auc_score(good[kept], scores[kept]))
    assert [row["defect"] for row in record["defects"]] == sorted(
        set(data.defect) - {"good"}
    )


def test_record_is_complete(evaluate, folder, tmp_path):
    record = evaluate("--seed", "3")
    assert (record["n_train"], record["n_test_good"], record["n_test_defective"]) == (
        40,
        20,
        12,
    )
    assert record["levels"] == ["stem", "stage1", "stage2", "stage3", "stage4"]
    assert record["n_features"] == 336
    assert (record["recipe"], record["selection"]) == ("levels", None)
    assert record["fold_fpr"]["images"] == 40
    assert 0 <= record["shift"]["p_value"] <= 1
    assert record["seconds"]["total"] > 0
    assert record["figure"] == "sheets-evaluation.png"
    with Image.open(tmp_path / "sheets-evaluation.png") as image:
        assert min(image.size) > 500


def test_seed_changes_random_weights(evaluate):
    def network(seed):
        record = evaluate("--figure", "none", "--seed", seed)
        return record["auroc"], record["shift"]

    assert network(0) == network(0) != network(1)


@pytest.mark.parametrize("name", ["a.svg", "b.pdf"])
def test_figure_is_of_the_kind_asked_for(evaluate, tmp_path, name):
    evaluate("--figure", name)
    head = (tmp_path / name).read_bytes()[:5]
    assert head == (b"%PDF-" if name == "b.pdf" else b"<?xml")


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("figure.txt", "figure.txt: a figure is one of"),
        ("missing/figure.png", "there is no folder missing"),
        ("folder.png", "it is a folder"),
    ],
)
def test_a_figure_that_cannot_be_written_is_said_first(
    fails, folder, tmp_path, figure, message
):
    (tmp_path / "folder.png").mkdir()
    assert message in fails("evaluate", folder, *TINY, "--figure", figure)


def test_text_states_the_figures(run, folder):
    code, out, err = run("evaluate", folder, *TINY)
    assert (code, err) == (0, "")
    for text in (
        "40 good images to fit, 20 good and 12 defective ones to test",
        "tiny (random weights, seed 0), 5 levels, 336 features",
        "image AUROC",
        "target false-positive rate  5.0%",
        "measured on test/good",
        "95 % interval",
        "on held-out train/good",
        "Mann-Whitney",
        "defect         images  found  recall  AUROC",
        "seconds: fit",
        "figure: sheets-evaluation.png",
    ):
        assert text in out, text
    assert "\x1b" not in out


def test_a_terminal_gets_colours_and_the_same_figures(run, folder, monkeypatch):
    class Screen(StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["evaluate", str(folder), *TINY, "--figure", "none"]) == 0
    assert "\x1b[" in screen.getvalue()
    assert "image AUROC" in screen.getvalue()
    assert "contamination" in screen.getvalue()


def test_without_good_test_images(run, folder, tmp_path):
    for part in ("train/good", "test/crack"):
        shutil.copytree(folder / part, tmp_path / "set" / part)
    code, out, _ = run("evaluate", "set", *TINY)
    assert code == 0
    assert "There is no test/good" in out


# -------------------------------------------------------------------- what is measured
def test_interval_is_clopper_and_pearson():
    measured = rate(np.arange(50) < 3)
    low, high = measured["interval"]
    assert stats.binom.sf(2, 50, low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 50, high) == pytest.approx(0.025)
    assert rate(np.array([], dtype=bool)) is None


def measured(rng, *, moved, n_good=150, folds=True):
    detector = LevelEnsemble(levels=[range(5)], target_fpr=0.1)
    train = rng.normal(size=(150, 5))
    test = np.r_[rng.normal(size=(n_good, 5)) + moved, rng.normal(size=(9, 5)) + 3]
    y = np.repeat([1, -1], [n_good, 9])
    defect = np.repeat(["good", "dent"], [n_good, 9])
    scores = detector.fit(train).score_samples(test)
    return measure(detector, scores, y, defect, train=train if folds else None)


def test_no_shift_is_no_note(rng):
    assert measured(rng, moved=0.0)["notes"] == []


def test_notes_do_without_folds(rng):
    figures = measured(rng, moved=0.8, folds=False)
    assert figures["fold_fpr"] is None
    assert len(figures["notes"]) == 2
    assert "score lower than left-out images" in figures["notes"][1]


def test_a_shift_is_noted(rng):
    figures = measured(rng, moved=0.8)
    first, second, third = figures["notes"]
    assert "The false-positive rate on test/good is not the target: 10.0%" in first
    assert "On held-out images of train/good it is" in second
    assert "score lower than left-out images" in third
    assert figures["shift"]["chance_lower"] > 0.5


def test_few_images_measure_nothing_that_they_cannot(rng):
    detector = LevelEnsemble(levels=[range(2)], target_fpr=0.3)
    train = rng.normal(size=(5, 2))
    scores = detector.fit(train).score_samples(train)
    figures = measure(
        detector, scores, np.ones(5, dtype=int), np.full(5, "good"), train=train
    )
    assert figures["auroc"] is None
    assert figures["recall"] is None
    assert figures["fold_fpr"] is None
    assert figures["defects"] == []
