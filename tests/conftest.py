"""Fixtures of all tests. Libraries read these variables when they are imported."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"
# NumPy and SciPy each bring a pool of threads, which wait for each other on few cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # a core is what a worker has
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import reusable_executor

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root():
    """The repository's root."""
    return ROOT


@pytest.fixture(autouse=True)
def no_idle_workers():
    """Ends the processes of joblib with the test that began them.

    Those that have been idle for minutes end by themselves, and a search that begins just
    then can wait for them for ever.
    """
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)
        reusable_executor._executor = None


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_folder():
    """Real features and images, or a skip that says where they were looked for."""
    folder = Path(os.environ.get("SKLEARN_GAUSS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"SKLEARN_GAUSS_DATA: there is no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def classes(data_folder):
    """{class: (features, labels)} with +1 for normal rows, -1 for anomalies."""
    files = sorted((data_folder / "features" / "resnet18").glob("*.npz"))
    if not files:
        pytest.skip("SKLEARN_GAUSS_DATA: there is no features/resnet18/*.npz")
    found = {}
    for file in files:
        with np.load(file) as arrays:
            found[file.stem] = (arrays["X"], np.where(arrays["y"] == 1, -1, 1))
    return found
