"""The command as a whole: help, versions, errors, and a real data set."""

import json
import subprocess
import sys

import pytest

from sklearn_gauss import __version__
from sklearn_gauss.cli import _evaluate, main

TINY = ("--recipe", "levels", "--backbone", "tiny", "--input-size", "32")
COMMANDS = ("demo", "evaluate", "fit", "score")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_states_every_option_with_its_default(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"usage: sklearn-gauss {command}" in out
    assert "--debug" in out
    assert "None" not in out
    assert "==SUPPRESS==" not in out


def test_help_lists_the_commands_and_exit_codes(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)
    assert "Exit codes" in out


def test_version(run):
    assert run("--version")[:2] == (0, f"sklearn-gauss {__version__}\n")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom sklearn_gauss.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'PIL', 'matplotlib', 'skops'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_module_runs_as_the_command():
    command = [sys.executable, "-m", "sklearn_gauss", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"sklearn-gauss {__version__}\n"


# ---------------------------------------------------------------- wrong arguments
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "COMMAND"),
        (("guess",), "invalid choice: 'guess'"),
        (("evaluate",), "FOLDER"),
        (("evaluate", "x", "--target-fpr", "0"), "--target-fpr: '0' is not between"),
        (("evaluate", "x", "--target-fpr", "1"), "not between 0 and 1"),
        (("evaluate", "x", "--target-fpr", "nan"), "not between 0 and 1"),
        (("evaluate", "x", "--target-fpr", "five"), "'five' is not a number"),
        (("evaluate", "x", "--mean", "0.5,0.5"), "not one or three"),
        (("evaluate", "x", "--std", "nan"), "not one or three finite"),
        (("evaluate", "x", "--batch-size", "0"), "not a positive integer"),
        (("evaluate", "x", "--input-size", "-4"), "not a positive integer"),
        (("evaluate", "x", "--seed", "-1"), "not an integer from 0"),
        (("evaluate", "x", "--pooling", "none"), "invalid choice: 'none'"),
        (("evaluate", "x", "--aggregate", "product"), "invalid choice: 'product'"),
        (("evaluate", "x", "--recipe", "soup"), "invalid choice: 'soup'"),
        (("evaluate", "x", "--combine", "mean"), "invalid choice: 'mean'"),
        (("fit", "x"), "-o/--output"),
        (("score", "model.skops"), "IMAGE"),
        (("demo", "--kind", "spoon"), "invalid choice: 'spoon'"),
    ],
)
def test_wrong_arguments_are_one_line(fails, args, message):
    assert message in fails(*args)


@pytest.mark.parametrize(
    "option", [("--levels", "all"), ("--pooling", "avg"), ("--aggregate", "sum")]
)
@pytest.mark.parametrize("recipe", [(), ("--recipe", "inspector")])
def test_options_of_levels_ask_for_that_recipe(fails, option, recipe):
    for args in (("evaluate", "x"), ("fit", "x", "-o", "m.skops")):
        line = fails(*args, *recipe, *option)
        assert f"{option[0]}: not an option of the recipe inspector" in line
        assert "add --recipe levels" in line


def test_levels_are_not_combined(fails):
    line = fails("evaluate", "x", "--recipe", "levels", "--combine", "best")
    assert "--combine: not an option of the recipe levels" in line


# ------------------------------------------------------------------ wrong folders
def test_missing_folder(fails):
    assert "nowhere: no such folder" in fails("evaluate", "nowhere", *TINY)
    assert "nowhere: no such folder" in fails("fit", "nowhere", "-o", "m.skops", *TINY)


def test_empty_folder(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no such folder" in fails("evaluate", "empty", *TINY)
    assert "empty: no image with an extension" in fails(
        "fit", "empty", "-o", "m.skops", *TINY
    )


def test_folder_without_train_good(fails, tmp_path):
    (tmp_path / "set/train/bad").mkdir(parents=True)
    (tmp_path / "set/test").mkdir()
    for args in (("evaluate", "set"), ("fit", "set", "-o", "m.skops")):
        assert "set/train/good: no such folder" in fails(*args, *TINY)


def test_file_instead_of_a_folder(fails, tmp_path):
    (tmp_path / "file").touch()
    assert "not a folder" in fails("evaluate", "file", *TINY)
    assert "not a folder" in fails("fit", "file", "-o", "m.skops", *TINY)


def test_unreadable_training_image_is_named(fails, folder, tmp_path):
    good = tmp_path / "good"
    good.mkdir()
    for name in ("000.png", "001.png"):
        (good / name).write_bytes((folder / "train/good" / name).read_bytes())
    (good / "broken.png").write_bytes(b"not an image")
    line = fails("fit", good, "-o", "m.skops", *TINY)
    assert f"{good / 'broken.png'}: not an image of a known format" in line
    for number in range(12):
        (good / f"broken{number:02d}.png").write_bytes(b"")
    line = fails("fit", tmp_path, "-o", "m.skops", *TINY)
    assert "13 of" in line
    assert "good images cannot be read: " in line
    assert f"{good / 'broken00.png'}: the file is empty.; " in line
    assert "broken09.png" not in line
    assert line.rstrip().endswith("and 3 more")
    assert not (tmp_path / "m.skops").exists()


def test_a_single_image_is_too_few(fails, folder, tmp_path):
    (tmp_path / "one").mkdir()
    image = (folder / "train/good/000.png").read_bytes()
    (tmp_path / "one/a.png").write_bytes(image)
    args = ("fit", "one", "-o", "m.skops", "--backbone", "tiny")
    assert "one: 1 image; a fit needs three at least" in fails(*args)
    assert "one: 1 image; a fit needs two" in fails(*args, "--recipe", "levels")


def test_identical_images_are_refused(fails, folder, tmp_path):
    (tmp_path / "same").mkdir()
    image = (folder / "train/good/000.png").read_bytes()
    for name in "abc":
        (tmp_path / f"same/{name}.png").write_bytes(image)
    line = fails("fit", "same", "-o", "m.skops", *TINY)
    assert "varia" in line or "identical" in line or "constant" in line


# ------------------------------------------------------------------ wrong networks
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--backbone", "resnet18"), "backbone='resnet18' is unknown"),
        (("--backbone", "timm/spoon"), "backbone='timm/spoon' is unknown"),
        (("--levels", "stem,stage9"), "stage9"),
        (("--levels=-9",), "-9"),
        (("--std", "0"), "std"),
        (("--weights", "none.safetensors"), "none.safetensors"),
        (("--device", "abacus"), "abacus"),
    ],
)
def test_wrong_networks(fails, folder, options, message):
    assert message in fails("evaluate", folder, *TINY, "--figure", "none", *options)


def test_weights_that_do_not_fit_are_named(fails, folder, tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"other.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    line = fails("evaluate", folder, *TINY, "--weights", "w.safetensors")
    assert "w.safetensors: does not fit the backbone" in line


HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {module!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Hidden())
from sklearn_gauss.cli import main
sys.exit(main({args!r}))
"""


def without(module, *args):
    """Run the command in a process that lacks a module."""
    code = HIDE.format(module=module, args=list(map(str, args)))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("module", ["torch", "PIL"])
def test_a_missing_network_extra_is_named(folder, tmp_path, module):
    done = without(module, "fit", folder, "-o", tmp_path / "m.skops", *TINY)
    assert done.returncode == 2
    assert done.stderr.startswith("sklearn-gauss: error: ")
    assert 'pip install "sklearn-gauss[cnn]"' in done.stderr
    assert done.stderr.count("\n") == 1


def hide(monkeypatch, module):
    """Hide a module that is imported where it is used."""
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)


def test_a_missing_skops_is_named(fails, folder, monkeypatch):
    hide(monkeypatch, "skops")
    line = fails("fit", folder, "-o", "m.skops", *TINY)
    assert 'pip install "sklearn-gauss[persist]"' in line


def test_without_matplotlib_there_is_no_figure(run, fails, folder, monkeypatch):
    hide(monkeypatch, "matplotlib")
    code, out, err = run("evaluate", folder, *TINY)
    assert code == 0
    assert "image AUROC" in out
    assert "figure:" not in out
    line = 'A figure needs matplotlib: pip install "sklearn-gauss[plot]".'
    assert err == f"sklearn-gauss: warning: No figure is written. {line}\n"
    line = fails("evaluate", folder, *TINY, "--figure", "f.png")
    assert 'pip install "sklearn-gauss[plot]"' in line


def test_debug_shows_the_traceback(run):
    code, _, err = run("evaluate", "nowhere", *TINY, "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("sklearn-gauss: error: nowhere")


def test_an_error_that_nobody_expects_is_one_line(fails, monkeypatch):
    def fail(args):
        raise KeyError("oh\nno\x1b")

    monkeypatch.setattr(_evaluate, "run", fail)
    assert "unexpected KeyError" in fails("evaluate", "x")


def test_interruption(run, monkeypatch):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_evaluate, "run", interrupt)
    code, _, err = run("evaluate", "x")
    assert (code, err) == (130, "sklearn-gauss: error: interrupted\n")


def test_warnings_are_one_line_each(run, folder):
    code, _, err = run(
        "evaluate", folder, *TINY, "--target-fpr", "0.001", "--figure", "none"
    )
    assert code == 0
    lines = err.splitlines()
    assert all(line.startswith("sklearn-gauss: warning: ") for line in lines)
    assert sum("40 rows cannot certify target_fpr=0.001" in line for line in lines) == 1


# ------------------------------------------------------------------- a real data set
def test_magnetic_tiles(data_folder, tmp_path, capsys):
    images = data_folder / "images/magnetic_tile"
    weights = data_folder / "weights/squeezenet1_1.safetensors"
    for path in (images, weights):
        if not path.exists():
            pytest.skip(f"SKLEARN_GAUSS_DATA has no {path}")
    figure = tmp_path / "figure.png"
    args = ["evaluate", images, "--backbone", "torchvision/squeezenet1_1"]
    args += ["--weights", weights, "--figure", figure, "--format", "json"]
    args += ["--recipe", "levels"]
    assert main(list(map(str, args))) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["auroc"] >= 0.80
    low, high = record["test_fpr"]["interval"]
    assert low <= record["target_fpr"] <= high
    assert record["shift"]["p_value"] > 0.01
    assert record["notes"] == []
    assert figure.stat().st_size > 10_000
