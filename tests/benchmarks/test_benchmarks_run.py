"""The benchmarks are run at small sizes, so that they cannot rot."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("[a-z]*.py"))


def test_there_are_benchmarks():
    assert "gaussian.py" in SCRIPTS


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
    names = {line.split()[0] for line in done.stdout.splitlines() if line[:1] == "G"}
    assert names, done.stdout
