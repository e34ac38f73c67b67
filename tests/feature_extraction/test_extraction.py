"""From images to rows in batches: order, threads, errors, memory, progress."""

import builtins
import io
import threading
import time

import numpy as np
import pytest

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction import _progress
from sklearn_gauss.feature_extraction._extraction import extract, in_order
from sklearn_gauss.feature_extraction._memory import Backoff


class Fake:
    """Features are the pixel and its square; counts what runs at a time."""

    output_shape = (2,)

    def __init__(self, n_workers=1, reads_ahead=False, fits=None, error=MemoryError):
        self.n_workers, self.reads_ahead = n_workers, reads_ahead
        self.fits, self.error = fits, error
        self.sizes, self.threads = [], set()
        self.freed = 0

    def features(self, pixels):
        self.threads.add(threading.get_ident())
        self.sizes.append(len(pixels))
        if self.fits is not None and len(pixels) > self.fits:
            raise self.error("cannot take it")
        time.sleep(1e-3 * (pixels[0, 0, 0, 0] % 3))  # later batches end first
        x = pixels[:, 0, 0, 0].astype(np.float32)
        return np.stack([x, x**2], axis=1)

    def free_memory(self):
        self.freed += 1


def read(image, *, name):
    if image < 0:
        raise ImageReadError(f"{name}: {image} is no image")
    time.sleep(1e-4 * (image % 4))
    return np.full((2, 2, 3), image, np.int64)


def run(images, network, batch=3, skip=False, verbose=0, read=read):
    return extract(
        images, network, read, batch=batch, skip_unreadable=skip, verbose=verbose
    )


WAYS = {
    "serial": {"n_workers": 1},
    "side by side": {"n_workers": 3},
    "ahead": {"n_workers": 1, "reads_ahead": True},
    "several ahead": {"n_workers": 2, "reads_ahead": True},
}
ways = pytest.mark.parametrize("way", WAYS)


@ways
@pytest.mark.parametrize("n", [1, 3, 20])
def test_rows_are_in_order(way, n):
    got = run(list(range(n)), Fake(**WAYS[way]))
    x = np.arange(n, dtype=np.float32)
    np.testing.assert_array_equal(got, np.stack([x, x**2], axis=1))


@ways
def test_any_sequence_will_do(way):
    class Images:
        def __len__(self):
            return 7

        def __getitem__(self, place):
            return int(range(10, 17)[place])

    np.testing.assert_array_equal(
        run(Images(), Fake(**WAYS[way]))[:, 0], np.arange(10, 17)
    )


@ways
def test_unreadable_rows_are_nan(way):
    got = run([1, -1, 2, -1, -1, -1, 3], Fake(**WAYS[way]), skip=True)
    np.testing.assert_array_equal(got[:, 0], [1, np.nan, 2, *[np.nan] * 3, 3])


@ways
def test_the_first_error_in_the_order_is_raised(way):
    def slow_then_fast(image, *, name):
        if image < 0:
            time.sleep(0.03 if image == -1 else 0)  # the first takes longest to fail
        return read(image, name=name)

    images = [0, 1, 2, 3, -1, 5, -2, -3, *range(30)]
    with pytest.raises(ImageReadError, match=r"X\[4\]: -1"):
        run(images, Fake(**WAYS[way]), read=slow_then_fast)


@ways
def test_an_error_of_the_network_comes_before_later_errors(way):
    class Failing(Fake):
        def features(self, pixels):
            if pixels[0, 0, 0, 0] == 3:
                time.sleep(0.02)
                raise ZeroDivisionError
            return super().features(pixels)

    with pytest.raises(ZeroDivisionError):
        run([0, 1, 2, 3, 4, 5, -1, -1], Failing(**WAYS[way]))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@ways
def test_no_thread_is_left(way, error, monkeypatch):
    before = threading.active_count()
    shown = []

    def show(done):
        shown.append(done)
        raise error

    monkeypatch.setattr(
        "sklearn_gauss.feature_extraction._extraction.progress",
        lambda total, verbose: _Showing(show),
    )
    network = Fake(**WAYS[way])
    with pytest.raises(error):
        run(list(range(300)), network)
    assert threading.active_count() == before
    assert shown == [3]
    assert sum(network.sizes) < 60  # the rest was not begun


class _Showing:
    def __init__(self, show):
        self.show = show

    def __enter__(self):
        return self.show

    def __exit__(self, *_):
        return False


def test_little_is_read_ahead():
    """Images decoded and not yet run stay few, however many there are."""
    alive, most = set(), []

    def counted(image, *, name):
        alive.add(image)
        most.append(len(alive))
        return read(image, name=name)

    class Slow(Fake):
        def features(self, pixels):
            time.sleep(2e-3)
            alive.difference_update(pixels[:, 0, 0, 0].tolist())
            return super().features(pixels)

    run(list(range(400)), Slow(reads_ahead=True), batch=4, read=counted)
    assert 8 <= max(most) <= 4 * (2 + 3 + 1)


def test_reading_goes_on_while_the_network_runs():
    """Ten batches, 20 ms of reading and 20 ms of running each."""

    def slow(image, *, name):
        time.sleep(0.02)
        return np.zeros((1, 1, 3))

    class Slow(Fake):
        def features(self, pixels):
            time.sleep(0.02)
            return np.zeros((len(pixels), 2), np.float32)

    seconds = {}
    for ahead in (False, True):
        start = time.perf_counter()
        run(list(range(10)), Slow(reads_ahead=ahead), batch=1, read=slow)
        seconds[ahead] = time.perf_counter() - start
    assert seconds[False] > 0.4
    assert seconds[True] < 0.8 * seconds[False]


def test_images_of_pillow_decode_one_at_a_time():
    from PIL import Image

    running, most = [], []

    def counted(image, *, name):
        running.append(1)
        most.append(len(running))
        time.sleep(1e-3)
        running.pop()
        return np.asarray(image)

    image = Image.new("RGB", (2, 2))
    run([image] * 30, Fake(n_workers=4), batch=1, read=counted)
    assert max(most) == 1
    run(list(range(30)), Fake(n_workers=4), batch=1, read=_wide(counted))
    assert max(most) > 1


def _wide(read):
    return lambda image, *, name: read(np.zeros((2, 2, 3)), name=name)


def test_in_order_closes_and_cancels():
    from concurrent.futures import ThreadPoolExecutor

    begun = []
    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, begun.append, range(1000), ahead=5)
        next(results)
        results.close()
    assert len(begun) <= 6


ERRORS = {
    "python": MemoryError,
    "cpu": lambda _: RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
    ),
    "windows": lambda _: RuntimeError("DefaultCPUAllocator: not enough memory: you"),
    "mps": lambda _: RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
}


def torch_error(text):
    return pytest.importorskip("torch").OutOfMemoryError(text)


@ways
@pytest.mark.parametrize("kind", [*ERRORS, "torch"])
def test_memory_short_halves_the_batch(way, kind):
    error = ERRORS.get(kind, torch_error)
    network = Fake(**WAYS[way], fits=3, error=error)
    with pytest.warns(RuntimeWarning, match="batch_size: 16 images did not") as caught:
        got = run(list(range(50)), network, batch=16)
    np.testing.assert_array_equal(got[:, 0], np.arange(50))
    assert len(caught) == 1
    assert network.freed >= 1


def test_the_smaller_batch_is_remembered_within_a_call():
    network = Fake(fits=3)
    with pytest.warns(RuntimeWarning, match="going on with 2 at a time"):
        run(list(range(32)), network, batch=16)
    # 16, 8 and 4 do not fit; from there on two by two.
    assert network.sizes == [16, 8, 4, *[2] * 16]
    assert network.freed == 3


@ways
def test_a_single_image_that_does_not_fit_is_named(way):
    with pytest.raises(MemoryError, match=r"batch_size 1, input_size 2 x 2") as caught:
        run(list(range(9)), Fake(**WAYS[way], fits=0), batch=4)
    assert caught.value.__cause__ is None  # its traceback would keep the memory


def test_other_errors_are_not_of_memory():
    class Failing(Fake):
        def features(self, pixels):
            self.sizes.append(len(pixels))
            raise RuntimeError("shapes do not fit")

    network = Failing()
    with pytest.raises(RuntimeError, match="shapes"):
        Backoff(network)(np.zeros((4, 1, 1, 3)))
    assert network.sizes == [4]


# ------------------------------------------------------------------- progress
class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_for_each_tenth(capsys):
    run(list(range(40)), Fake(), verbose=1, batch=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"[CNNFeatureExtractor] {n} of 40 images" for n in range(4, 41, 4)]


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    pytest.importorskip("rich")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    run(list(range(8)), Fake(), verbose=1)
    assert "8/8" in screen.getvalue()
    assert capsys.readouterr().out == ""


def test_lines_where_rich_is_missing(monkeypatch, capsys):
    real = builtins.__import__

    def without_rich(name, *args, **keywords):
        if name.startswith("rich"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **keywords)

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(builtins, "__import__", without_rich)
    with _progress.progress(10, 1) as show:
        show(10)
    assert capsys.readouterr().out == "[CNNFeatureExtractor] 10 of 10 images\n"


def test_silent_by_default(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", Terminal())
    run(list(range(8)), Fake())
    assert capsys.readouterr().out == ""
