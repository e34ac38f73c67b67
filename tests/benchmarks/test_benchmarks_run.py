"""The benchmarks are run at small sizes, so that they cannot rot."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
# What a line of each script's figures begins with.
SCRIPTS = {
    "backbones.py": "level",
    "cache.py": "G15",
    "cnn.py": "G13",
    "detectors.py": "sklearn_gauss",
    "explanations.py": "gradient",
    "gaussian.py": "G1",
    "incremental_mixture.py": "row",
    "kde.py": "G6",
    "patches.py": "PatchGaussianDetector",
    "thinning.py": "rates",
    "without_anomalies.py": "stacked",
}


def test_all_benchmarks_are_run():
    assert sorted(path.name for path in FOLDER.glob("[a-z]*.py")) == sorted(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_dry_run(script):
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / script, "--dry-run"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert SCRIPTS[script] in names, done.stdout
