"""Sums of kernels by torch, here on its processor, and which device is taken."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp

from sklearn_gauss import _gpu
from sklearn_gauss.detection import PatchKDEDetector

LD = np.longdouble


def by_torch(*arguments):
    pytest.importorskip("torch", reason="the sums are those of torch")
    return _gpu.log_sums(*arguments, "cpu")


def exact_sums(queries, rows, log_weights, h):
    """In long double, from differences."""
    gaps = (queries.astype(LD)[:, None] - rows.astype(LD)) / LD(h)
    terms = log_weights.astype(LD) - (gaps**2).sum(axis=2) / 2
    top = terms.max(axis=1)
    return top + np.log(np.exp(terms - top[:, None]).sum(axis=1))


def drawn(m, n, d, seed=0):
    """Queries, rows and log-weights."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 50, n)
    return rng.normal(size=(m, d)), rng.normal(size=(n, d)), np.log(weights)


# ------------------------------------------------------------------------- the sums
@pytest.mark.parametrize("h", [0.01, 0.4, 30.0])
@pytest.mark.parametrize("d", [1, 3, 40])
def test_sums_are_right(d, h):
    queries, rows, log_weights = drawn(30, 50, d)
    logs, exact = by_torch(queries, rows, log_weights, h)
    assert logs.dtype == np.float64
    want = exact_sums(queries, rows, log_weights, h)
    np.testing.assert_allclose(logs[exact], want[exact].astype(float), atol=1e-9, rtol=0)
    np.testing.assert_allclose(logs, want.astype(float), rtol=1e-9, atol=1e-9)
    if h >= 0.4:
        assert exact.all()


@pytest.mark.parametrize("d", [1, 2, 10, 100])
def test_sums_that_are_called_exact_are(d):
    """At distances from that of the rows to where all digits are lost."""
    queries, rows, log_weights = drawn(20, 30, d)
    seen = set()
    for size in np.geomspace(1, 1e9, 25):
        logs, exact = by_torch(size * queries, rows, log_weights, 0.5)
        want = exact_sums(size * queries, rows, log_weights, 0.5)
        gap = np.abs(logs - want)
        assert gap[exact].max(initial=0.0) < 1e-9
        seen |= set(exact.tolist())
    assert seen == {True, False}
    assert gap.max() > 1  # so the mark matters


def test_far_queries_are_marked_each_by_itself():
    queries, rows, log_weights = drawn(9, 20, 3)
    queries[[2, 5]] += 1e8
    exact = by_torch(queries, rows, log_weights, 0.5)[1]
    assert np.flatnonzero(~exact).tolist() == [2, 5]


def test_a_far_row_marks_all():
    queries, rows, log_weights = drawn(9, 20, 3)
    rows[4] += 1e8
    assert not by_torch(queries, rows, log_weights, 0.5)[1].any()


@pytest.mark.parametrize("offset", [1e4, 1e8, 1e12])
def test_rows_far_from_zero_cost_no_digits(offset):
    queries, rows, log_weights = drawn(20, 30, 3)
    queries, rows = queries + offset, rows + offset
    logs, exact = by_torch(queries, rows, log_weights, 0.5)
    assert exact.all()
    want = exact_sums(queries, rows, log_weights, 0.5).astype(float)
    np.testing.assert_allclose(logs, want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("far", [1e160, 1e300, np.inf])
def test_what_leaves_float64_is_marked(far):
    queries, rows, log_weights = drawn(5, 20, 3)
    queries[1] = far
    exact = by_torch(queries, rows, log_weights, 0.5)[1]
    assert exact.tolist() == [True, False, True, True, True]


def test_sums_in_blocks(monkeypatch):
    queries, rows, log_weights = drawn(23, 20, 3)
    whole = by_torch(queries, rows, log_weights, 0.5)
    for block in (1, 20, 100):  # of one query, and of five, the last of three
        monkeypatch.setattr(_gpu, "BLOCK", block)
        found = by_torch(queries, rows, log_weights, 0.5)
        np.testing.assert_allclose(found[0], whole[0], rtol=1e-13)
        np.testing.assert_array_equal(found[1], whole[1])


def test_sums_of_one_row_and_of_no_query():
    queries, rows, log_weights = drawn(4, 1, 3)
    logs, _ = by_torch(queries, rows, log_weights, 0.5)
    squares = ((queries - rows) ** 2).sum(axis=1)
    np.testing.assert_allclose(logs, log_weights - 2 * squares)
    logs, exact = by_torch(queries[:0], rows, log_weights, 0.5)
    assert logs.shape == exact.shape == (0,)


def test_sums_only_read():
    queries, rows, log_weights = drawn(4, 9, 3)
    for array in (queries, rows):
        array.setflags(write=False)
    logs, _ = by_torch(queries, rows, log_weights, 0.5)
    squares = ((queries[:, None] - rows) ** 2).sum(axis=2)
    np.testing.assert_allclose(logs, logsumexp(log_weights - 2 * squares, axis=1))


# ------------------------------------------------------------------------ the device
def with_torch(monkeypatch, *, has_gpu):
    """A torch that says whether it has a GPU, and can do nothing else."""
    cuda = SimpleNamespace(is_available=lambda: has_gpu)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def without_torch(monkeypatch):
    """As where it is not installed, also for those that look whether it is loaded."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(_gpu.importlib, "import_module", refuse)


def test_auto_is_a_gpu_where_torch_has_one(monkeypatch):
    with_torch(monkeypatch, has_gpu=True)
    assert _gpu.find_device("auto") == "cuda"
    assert _gpu.find_device("cpu") is None


def test_auto_is_the_processor_where_torch_has_no_gpu(monkeypatch):
    with_torch(monkeypatch, has_gpu=False)
    assert _gpu.find_device("auto") is None


def test_auto_and_cpu_never_load_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(
        _gpu.importlib, "import_module", lambda name: pytest.fail(f"{name} was imported")
    )
    assert _gpu.find_device("auto") is None
    assert _gpu.find_device("cpu") is None


def test_a_device_needs_torch(monkeypatch):
    without_torch(monkeypatch)
    assert _gpu.find_device("auto") is None
    assert _gpu.find_device("cpu") is None
    want = re.escape("device='cuda' needs torch: pip install \"sklearn-gauss[cnn]\"")
    with pytest.raises(ImportError, match=want):
        _gpu.find_device("cuda")
    with pytest.raises(ImportError, match=want):
        PatchKDEDetector(device="cuda").fit(np.random.default_rng(0).random((3, 2, 2, 2)))


def test_a_detector_without_torch(monkeypatch):
    without_torch(monkeypatch)
    X = np.random.default_rng(0).normal(size=(20, 2, 2, 3))
    detector = PatchKDEDetector(pixel_target_fpr=0.05).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.parametrize("device", ["nonsense", "", "cuda:1000", " cpu", "CPU", "auto "])
def test_devices_that_are_none(device):
    pytest.importorskip("torch", reason="it is asked")
    want = re.escape(f"device={device!r} is none that torch can compute on in float64")
    with pytest.raises(ValueError, match=want) as caught:
        _gpu.find_device(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("no\ndriver"), AssertionError("no"), NotImplementedError("no")]
)
def test_what_torch_says_of_a_device_is_passed_on(monkeypatch, error):
    def refuse(*shape, **options):
        raise error

    torch = SimpleNamespace(zeros=refuse, float64=None)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(
        ValueError, match=r"device='cuda' is none .* here \(no\)\."
    ) as got:
        _gpu.find_device("cuda")
    assert got.value.__cause__ is error


def test_torch_may_say_nothing_of_a_device(monkeypatch):
    def refuse(*shape, **options):
        raise AssertionError

    torch = SimpleNamespace(zeros=refuse, float64=None)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(ValueError, match="device='cuda' is none"):
        _gpu.find_device("cuda")


def test_a_device_that_holds_no_numbers():
    pytest.importorskip("torch", reason="it is asked")
    with pytest.raises(ValueError, match="device='meta' is none"):
        _gpu.find_device("meta")


@pytest.mark.parametrize("device", ["hpu", "privateuseone"])
def test_a_device_of_another_package(device):
    pytest.importorskip("torch", reason="it is asked")
    with pytest.raises(ValueError, match=f"device='{device}' is none"):
        _gpu.find_device(device)


def test_the_processor_of_torch_has_a_name():
    pytest.importorskip("torch", reason="it is asked")
    assert _gpu.find_device("cpu:0") == "cpu:0"
