"""From a sequence of images to features, batch by batch."""

import contextlib
import itertools
import threading
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np

from sklearn_gauss.exceptions import ImageReadError
from sklearn_gauss.feature_extraction._memory import Backoff
from sklearn_gauss.feature_extraction._progress import progress
from sklearn_gauss.feature_extraction._reading._images import import_pillow
from sklearn_gauss.feature_extraction._reading._kinds import is_pil, undrawn

__all__ = ["extract", "import_network"]

# Threads that decode images for a GPU.
MAX_READERS = 16


def extract(images, network, read, *, batch, skip_unreadable, verbose):
    """Features of images, one row an image, in their order.

    Parameters
    ----------
    images : sequence
        With a length, and what ``read`` takes at every place.
    network : Network
        With ``output_shape`` and ``features(pixels)``; ``n_workers``, the threads that
        can run it at a time, ``start_worker``, called in each of them, ``reads_ahead``,
        whether images are read by other threads meanwhile, and ``free_memory`` are
        optional.
    read : callable
        Takes an image and ``name``, returns its pixels or raises `ImageReadError`. It is
        called from several threads at a time, for images of Pillow from one.
    batch : int
        Images to run at a time.
    skip_unreadable : bool
        Leave rows of NaN for images that cannot be read; the caller warns of them.
    verbose : int
        Whether to show progress.

    Returns
    -------
    features : ndarray of float32 of shape (n, *output_shape)
        NaN for what was skipped.
    """
    total = len(images)
    features = np.full((total, *network.output_shape), np.nan, np.float32)
    run = Backoff(network)
    read_one = partial(_read, images, read, skip_unreadable, threading.Lock())
    work = _run_all(network, total, batch, read_one, partial(_run, run))
    was_short = False
    with progress(total, verbose) as show, contextlib.closing(work) as results:
        for span, places, rows in results:
            if places:
                features[places] = rows
            if run.limit is not None and not was_short:
                was_short = True
                _warn_of_memory(batch, run.limit)
            show(span.stop)
    return features


def _warn_of_memory(batch, limit):
    warnings.warn(
        f"batch_size: {batch} images did not fit into memory; going on with {limit} at "
        "a time.",
        RuntimeWarning,
        stacklevel=5,
    )


def _read(images, read, skip_unreadable, one_at_a_time, place):
    """Pixels of one image, or None for one that is skipped."""
    image = images[place]
    # An image of Pillow decodes itself when it is first used, and may be there twice.
    lock = one_at_a_time if is_pil(undrawn(image)) else contextlib.nullcontext()
    try:
        with lock:
            return read(image, name=f"X[{place}]")
    except ImageReadError:
        if not skip_unreadable:
            raise
        return None


def _run(run, batch):
    """Features of the images of a span that could be read, and their places."""
    span, pixels = batch
    read = [(place, image) for place, image in zip(span, pixels, strict=True)]
    read = [(place, image) for place, image in read if image is not None]
    if not read:
        return span, [], None
    places, images = zip(*read, strict=True)
    return span, list(places), run(np.stack(images))


def _run_all(network, total, batch, read, run):
    """Yield the results of all batches in order, from as many threads as are of use.

    A GPU is fed by threads that read ahead. On a CPU every thread reads and runs batches
    of its own, each on one core: then no core waits for another after every layer. A
    single batch is run by the calling thread, with all the cores that torch takes.
    """
    spans = [range(a, min(a + batch, total)) for a in range(0, total, batch)]
    workers = min(getattr(network, "n_workers", 1), len(spans))
    start = getattr(network, "start_worker", None)

    def read_and_run(span):
        return run((span, [read(place) for place in span]))

    with contextlib.ExitStack() as stack:
        if getattr(network, "reads_ahead", False):
            runners = stack.enter_context(ThreadPoolExecutor(workers, initializer=start))
            n_readers = min(MAX_READERS, max(2, joblib.effective_n_jobs(-1)))
            readers = stack.enter_context(ThreadPoolExecutor(n_readers))
            ahead = 2 * batch * workers
            pixels = in_order(readers, read, range(total), ahead=ahead)
            stack.callback(pixels.close)
            batches = ((s, list(itertools.islice(pixels, len(s)))) for s in spans)
            yield from in_order(runners, run, batches, ahead=workers + 1)
        elif workers > 1:
            runners = stack.enter_context(ThreadPoolExecutor(workers, initializer=start))
            yield from in_order(runners, read_and_run, spans, ahead=2 * workers)
        else:
            yield from map(read_and_run, spans)


def in_order(pool, function, items, *, ahead):
    """Yield ``function(item)`` in order, ``ahead`` of them under way in a pool.

    What fails, the function or the items, is raised in its turn: what comes before it is
    yielded first. What is left is not begun any more.
    """
    items, waiting, is_over = iter(items), deque(), False
    try:
        while True:
            while len(waiting) < ahead and not is_over:
                try:
                    waiting.append(pool.submit(function, next(items)))
                except StopIteration:
                    is_over = True
                except Exception as error:  # in its turn
                    is_over = True
                    waiting.append(Future())
                    waiting[-1].set_exception(error)
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def import_network():
    """Return the module that runs networks; it needs torch and Pillow."""
    import_pillow()
    try:
        from sklearn_gauss.feature_extraction._backbones import _network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            "torch is needed to run a network. "
            'Install it with: pip install "sklearn-gauss[cnn]"'
        ) from error
    return _network
