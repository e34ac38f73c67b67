"""A small data set and a model fitted to it, for the tests of the command."""

import os

import pytest
from threadpoolctl import threadpool_limits

from sklearn_gauss.cli import main
from sklearn_gauss.datasets import make_inspection_images, save_inspection_folder

TINY = ("--backbone", "tiny", "--input-size", "32")
LEVELS = ("--recipe", "levels", *TINY)


@pytest.fixture(autouse=True)
def one_thread(request):
    """Networks this small wait for their threads more than they compute."""
    import torch

    if "data_folder" in request.fixturenames:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"):
        yield
    torch.set_num_threads(before)


def make_small(patch):
    """One defect an image and coarse maps: enough to see how an inspector is used."""
    patch.setattr("sklearn_gauss.datasets._synthetic_defects.ENOUGH", 1)
    patch.setattr("sklearn_gauss.datasets._synthetic_defects.VARIED", 10)
    patch.setattr("sklearn_gauss.inspector.GRID", 5)
    patch.setattr("sklearn_gauss.inspector.FINE_GRID", 7)


@pytest.fixture(autouse=True)
def small_inspectors(request, monkeypatch):
    if "in_full" not in request.function.__name__:
        make_small(monkeypatch)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Images in MVTec layout: 40 to train, 20 good and 12 defective to test."""
    images = make_inspection_images(
        "metal", n_train=40, n_good=20, n_defect=12, size=32, severity=3, random_state=0
    )
    return save_inspection_folder(images, tmp_path_factory.mktemp("data") / "sheets")


def fitted(folder, path, *options):
    """Fit without a word; returns the path of the model."""
    with open(os.devnull, "w") as nowhere, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", nowhere)
        make_small(patch)
        assert main(["fit", str(folder), "-o", str(path), *options]) == 0
    return path


@pytest.fixture(scope="session")
def model(folder, tmp_path_factory):
    """A model of the recipe levels, fitted to the data set."""
    return fitted(folder, tmp_path_factory.mktemp("model") / "model.skops", *LEVELS)


@pytest.fixture(scope="session")
def inspector(folder, tmp_path_factory):
    """An inspector, fitted to the data set."""
    return fitted(folder, tmp_path_factory.mktemp("model") / "inspector.skops", *TINY)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command in an empty folder; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def fails(run):
    """Run a command that must fail with one line; returns the line."""

    def fails(*args):
        code, _, err = run(*args)
        assert code == 2
        assert err.count("\n") == 1, err
        assert err.startswith("sklearn-gauss: error: ")
        return err

    return fails
