"""The training of the bundled backbone: repeatable, resumable, and of the right kind."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

SMALL = ["--images", "16", "--batch", "16", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(root):
    return root / "benchmarks" / "noisenet"


def train(folder, output, *options):
    command = [sys.executable, "-W", "error", folder / "train.py", output, *SMALL]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_resumed_run_gives_the_file_of_one_run(folder, tmp_path):
    pool = ["--pool", str(tmp_path / "pool")]
    log = train(folder, tmp_path / "a.safetensors", "--steps", "4", *pool)
    figures = json.loads(log.splitlines()[0])
    assert figures["step"] == 0
    assert figures["block6_contrast"] > 0
    checkpoint = ["--checkpoint", str(tmp_path / "state.pt"), "--every", "2"]
    # A constant rate up to the cooldown: the first steps of both lengths are the same.
    train(folder, tmp_path / "c.safetensors", "--steps", "3", *pool, *checkpoint)
    train(folder, tmp_path / "d.safetensors", "--steps", "4", *pool, *checkpoint)
    a, c, d = (load_file(tmp_path / f"{name}.safetensors") for name in "acd")
    assert all(np.array_equal(a[key], d[key]) for key in a)
    assert any(not np.array_equal(a[key], c[key]) for key in a)
    assert {value.dtype for value in a.values()} == {np.dtype(np.float16)}


def run(folder, code):
    command = [sys.executable, "-W", "error", "-c", code, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_images_are_of_many_kinds_and_follow_the_seed(folder):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from images import make_images\n"
        "a, b, c = (make_images(32, 64, seed) for seed in (0, 0, 1))\n"
        "assert a.shape == (32, 3, 64, 64) and str(a.dtype) == 'torch.uint8'\n"
        "assert (a == b).all() and (a != c).float().mean() > 0.9\n"
        "spread = a.float().std((1, 2, 3))\n"
        "assert (spread > 2).float().mean() > 0.8, spread\n"
    )
    run(folder, code)


def test_a_defect_is_where_its_label_says(folder):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch\n"
        "from images import make_images\n"
        "from views import DEFECTS, with_defects\n"
        "images = make_images(64, 64, 0).float() / 255\n"
        "spoilt, labels = with_defects(images, torch.Generator().manual_seed(0))\n"
        "change = (spoilt - images).abs().amax(1)\n"
        "near = torch.nn.functional.max_pool2d((labels > 0).float(), 5, 1, 2) > 0\n"
        "assert (change[~near] < 0.3).all()\n"
        "assert set(labels.unique().tolist()) == set(range(len(DEFECTS) + 1))\n"
        "assert (change[labels > 0] > 0.01).float().mean() > 0.7\n"
    )
    run(folder, code)
