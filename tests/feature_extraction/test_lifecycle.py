"""Copies and processes: which weights an extractor meets again, and no hangs."""

import copy
import hashlib
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading

import joblib
import numpy as np
import pytest
import torch  # noqa: TID253 - what the tests compare with
from joblib import Parallel, delayed
from safetensors.torch import save_file
from sklearn.base import clone
from torch import nn  # noqa: TID253 - as above

from sklearn_gauss.exceptions import WeightsMismatchError
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.feature_extraction._backbones import _tiny  # noqa: TID253 - as above
from sklearn_gauss.feature_extraction._backbones._weights import sha256_of_tensors  # noqa: TID253 - as above
from sklearn_gauss.feature_extraction._lifecycle import Process

close = {"rtol": 1e-5, "atol": 1e-5}


def tiny(**parameters):
    return CNNFeatureExtractor("tiny", **{"input_size": 32, **parameters})


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (9, 20, 30, 3), dtype=np.uint8)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_file(_tiny.Tiny(seed=5).state_dict(), path)
    return path


class Drifting:
    """A callable whose networks differ from call to call, where it is told to."""

    def __init__(self):
        self.seed = 0

    def __call__(self):
        return _tiny.Tiny(self.seed)


# ------------------------------------------------------------------------- construction
def test_nothing_is_loaded_before_fit():
    code = """
        import sys, pickle
        from sklearn.base import clone
        from sklearn_gauss.feature_extraction import CNNFeatureExtractor
        extractor = clone(CNNFeatureExtractor("torchvision/resnet18", device="cuda"))
        extractor.set_params(precision="bfloat16")
        pickle.loads(pickle.dumps(extractor))
        repr(extractor)
        assert not {"torch", "PIL", "timm"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize("backbone", ["tiny", "torchvision/resnet18"])
def test_pickles_of_named_backbones_are_small(images, backbone):
    weights = "default" if backbone == "tiny" else None
    extractor = CNNFeatureExtractor(backbone, weights=weights, input_size=32)
    if weights is None:
        with pytest.warns(UserWarning, match="random weights"):
            extractor.fit(images)
    else:
        extractor.fit(images)
    extractor.transform(images)
    assert len(pickle.dumps(extractor)) < 5000
    assert "_network" not in vars(copy.deepcopy(extractor))


COPIES = {
    "pickle": lambda e, folder: pickle.loads(pickle.dumps(e)),
    "protocol 2": lambda e, folder: pickle.loads(pickle.dumps(e, 2)),
    "deepcopy": lambda e, folder: copy.deepcopy(e),
    "copy of a copy": lambda e, folder: copy.deepcopy(pickle.loads(pickle.dumps(e))),
    "joblib": lambda e, folder: joblib.load(joblib.dump(e, folder / "e.joblib")[0]),
    "clone": lambda e, folder: clone(e).fit(np.zeros((1, 8, 8))),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_give_the_same_bits(images, weights, tmp_path, kind):
    extractor = tiny(weights=weights, random_state=2).fit(images)
    expected = extractor.transform(images)
    assert np.ptp(expected, axis=0).max() > 0
    copied = COPIES[kind](extractor, tmp_path)
    assert copied.weights_sha256_ == extractor.weights_sha256_
    np.testing.assert_array_equal(copied.transform(images), expected)


# ------------------------------------------------------------------------------- weights
def test_weights_are_hashed(images, weights):
    of_file = tiny(weights=weights).fit(images).weights_sha256_
    assert of_file == hashlib.sha256(weights.read_bytes()).hexdigest()
    hashes = [
        tiny(random_state=0).fit(images).weights_sha256_,
        tiny(random_state=1).fit(images).weights_sha256_,
        of_file,
    ]
    assert len(set(hashes)) == 3
    # Folding norms changes tensors; the hash is that of the network as it came.
    assert hashes[0] == sha256_of_tensors(_tiny.Tiny(seed=0))


def one_changed(change):
    module = _tiny.Tiny(seed=0)
    change(module)
    return sha256_of_tensors(module)


def test_the_hash_sees_every_tensor():
    def nudge(name):
        def change(module):
            tensor = module.state_dict()[name]
            tensor.view(-1)[-1] += 1

        return change

    names = list(_tiny.Tiny(seed=0).state_dict())
    assert {name.rpartition(".")[2] for name in names} >= {"weight", "running_var"}
    hashes = {one_changed(nudge(name)) for name in names}
    hashes.add(one_changed(lambda module: None))
    hashes.add(one_changed(lambda module: module.add_module("more", nn.Linear(1, 1))))
    assert len(hashes) == len(names) + 2
    laid_out = _tiny.Tiny(seed=0).to(memory_format=torch.channels_last)
    assert sha256_of_tensors(laid_out) == one_changed(lambda module: None)


def test_other_weights_are_refused(images):
    drifting = Drifting()
    extractor = CNNFeatureExtractor(drifting, input_size=32).fit(images)
    expected = extractor.transform(images)
    loaded = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(loaded.transform(images), expected)
    loaded = pickle.loads(pickle.dumps(extractor))
    loaded.backbone.seed = 1
    with pytest.raises(WeightsMismatchError, match="other weights than at fit"):
        loaded.transform(images)
    assert not np.array_equal(loaded.fit(images).transform(images), expected)


def test_a_module_trained_on_is_refused_when_read_again(images):
    module = _tiny.Tiny(seed=0)
    extractor = CNNFeatureExtractor(module, input_size=32).fit(images)
    expected = extractor.transform(images)
    with torch.no_grad():
        module.stem[0].weight += 1
    np.testing.assert_array_equal(extractor.transform(images), expected)  # its own copy
    with pytest.raises(WeightsMismatchError):
        pickle.loads(pickle.dumps(extractor)).transform(images)


def test_a_file_may_move_but_not_change(images, weights, tmp_path):
    extractor = tiny(weights=weights).fit(images)
    expected = extractor.transform(images)
    moved = weights.rename(tmp_path / "elsewhere.safetensors")
    np.testing.assert_array_equal(extractor.transform(images), expected)
    with pytest.raises(FileNotFoundError, match=re.escape(weights.name)):
        pickle.loads(pickle.dumps(extractor)).transform(images)
    for known in (extractor, pickle.loads(pickle.dumps(extractor))):
        known.set_params(weights=moved)
        np.testing.assert_array_equal(known.transform(images), expected)
    save_file(_tiny.Tiny(seed=6).state_dict(), moved)
    with pytest.raises(WeightsMismatchError, match=r"elsewhere\.safetensors: is not the"):
        pickle.loads(pickle.dumps(extractor)).transform(images)
    other = tmp_path / "other.safetensors"
    save_file(_tiny.Tiny(seed=7).state_dict(), other)
    with pytest.raises(WeightsMismatchError, match=r"other\.safetensors"):
        extractor.set_params(weights=other).transform(images)
    with pytest.raises(WeightsMismatchError, match="'tiny': has other weights"):
        extractor.set_params(weights="default").transform(images)


# ----------------------------------------------------------------------------- processes
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib(images, backend):
    extractor = tiny(batch_size=2).fit(images)
    expected = extractor.transform(images)
    with Parallel(2, backend=backend) as parallel:
        for rows in parallel(delayed(extractor.transform)(images) for _ in range(4)):
            np.testing.assert_allclose(rows, expected, **close)


def in_fork(work, seconds=60):
    """What a forked process puts into a queue, or a failure if it hangs."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(work()))
    process.start()
    process.join(seconds)
    is_hanging = process.is_alive()
    process.kill()
    assert not is_hanging
    return queue.get()


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
# What Python 3.12 says of any fork beside threads.
may_fork = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@forks
@may_fork
@pytest.mark.parametrize("is_ready", [True, False], ids=["with network", "without"])
def test_a_forked_process_does_not_hang(images, is_ready):
    """The parent has run convolutions on several threads, which fork does not copy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        extractor = tiny(batch_size=2).fit(images)
        expected = extractor.transform(images)
        extractor.transform(images[:1])  # in this thread, with OpenMP's
        used = extractor if is_ready else copy.deepcopy(extractor)
        rows, in_child = in_fork(
            lambda: (used.transform(images), torch.get_num_threads())
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(rows, expected, **close)
    assert in_child == 1


@forks
@may_fork
def test_a_process_forked_while_threads_run_does_not_hang(images):
    """The locks of threads that are not there any more are free."""
    extractor = tiny(batch_size=2).fit(images)
    expected = extractor.transform(images)
    held, done = threading.Event(), threading.Event()

    def hold():
        with Process.building, extractor._network._replicas._changed:
            held.set()
            done.wait(100)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(60)
        rows = in_fork(lambda: extractor.transform(images))
    finally:
        done.set()
        holder.join()
    np.testing.assert_allclose(rows, expected, **close)


def test_a_spawned_process(images, tmp_path):
    """In a script: a spawned process imports what it is started from."""
    extractor = tiny(batch_size=2).fit(images)
    expected = extractor.transform(images)
    (tmp_path / "e.pkl").write_bytes(pickle.dumps(extractor))
    np.save(tmp_path / "x.npy", images)
    script = tmp_path / "script.py"
    code = """
        import multiprocessing, pickle
        import numpy as np

        def work(extractor):
            return extractor.transform(np.load("x.npy"))

        if __name__ == "__main__":
            extractor = pickle.load(open("e.pkl", "rb"))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                np.save("y.npy", pool.apply_async(work, (extractor,)).get(100))
    """
    script.write_text(textwrap.dedent(code))
    subprocess.run([sys.executable, script], check=True, cwd=tmp_path, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, **close)
