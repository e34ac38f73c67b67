"""Hostile files: the right pixels or a refusal by name, soon and in little memory."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

sys.path.insert(0, str(Path(__file__).parent))
import hostile

MEGABYTES = 300
SECONDS = 1

# Reads every file in a process of its own, of limited memory, and notes what came of it.
CHILD = """
import json, resource, sys, time, warnings
import numpy as np
from PIL import Image, ImageCms
from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._reading._images import read_image
Image.init()
limit = int(sys.argv[2]) * 2**20
size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + limit, size + limit))
warnings.simplefilter('error')
with open(sys.argv[1]) as file:
    cases = json.load(file)
for case in cases:
    start = time.process_time()
    try:
        pixels = read_image(case['path'], tuple(case['size']), min_side=8)
        np.save(case['out'], pixels)
        said = None
    except ImageReadError as error:
        said = str(error)
    except BaseException as error:
        said = f'LEAK {type(error).__name__}: {error}'
    seconds = time.process_time() - start
    print(json.dumps([case['name'], said, seconds]), flush=True)
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def expected(folder):
    made = {}
    for name, make in hostile.MAKERS.items():
        (folder / name).mkdir()
        made[name] = make(path_of(folder, name))
    return made


def path_of(folder, name):
    return folder / name / name


@pytest.fixture(scope="module")
def results(folder, expected):
    """What a process of its own made of every file: (message or None, seconds)."""
    cases = [
        {
            "name": name,
            "path": str(path_of(folder, name)),
            "size": (8, 8) if want is None else want[0].shape[:2],
            "out": str(folder / f"{number}.npy"),
        }
        for number, (name, want) in enumerate(expected.items())
    ]
    (folder / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder / "cases.json"), str(MEGABYTES)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    pixels = {case["name"]: case["out"] for case in cases}
    return {name: (*rest, pixels[name]) for name, rest in found.items()}


def test_there_are_enough():
    assert len(hostile.MAKERS) >= 50


@pytest.mark.parametrize("name", hostile.MAKERS)
def test_right_or_refused(name, folder, expected, results):
    said, seconds, file = results[name]
    assert seconds < SECONDS
    if expected[name] is None:
        assert said is not None, "was read"
        assert said.startswith(f"{path_of(folder, name)}: ")
        assert "MemoryError" not in said
        assert len(said) < 1000
        return
    pixels, tolerance = expected[name]
    assert said is None
    found = np.load(file).astype(float)
    assert np.abs(found - pixels).max() <= tolerance


REFUSED_SOON = [
    "text",
    "empty",
    "pipe",
    "missing",
    "png_truncated",
    "gif_animated",
    "tiff_float",
    "png_header_bomb",
]


def test_nan_mode_keeps_rows_and_warns_once(folder, expected):
    names = ["png_rgb8", *REFUSED_SOON, "webp"]
    paths = [path_of(folder, name) for name in names]
    extractor = CNNFeatureExtractor("tiny", input_size=32, on_error="nan", batch_size=3)
    with pytest.warns(UserWarning, match="could not be read") as caught:
        features = extractor.fit_transform(paths)
    assert len(caught) == 1
    assert f"8 of 10 images could not be read; their features are NaN: {paths[1]}, " in (
        str(caught[0].message)
    )
    unread = np.isnan(features).all(axis=1)
    assert unread.tolist() == [False, *[True] * 8, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = extractor.transform([paths[0], paths[-1]])
    np.testing.assert_allclose(features[~unread], good, rtol=1e-4, atol=1e-5)
    with pytest.raises(ImageReadError, match="text"):
        extractor.set_params(on_error="raise").transform(paths)
