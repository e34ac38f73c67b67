"""Work on blocks, one a thread, with one thread of BLAS in each."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["available_threads", "map_blocks"]

_LOCK = threading.Lock()
_LIMITS = []  # of all calls under way: the first sets the limit, the last lifts it


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def available_threads() -> int:
    """Threads that BLAS may use now, by its environment and by limits."""
    for n_threads, _ in _LIMITS[:1]:  # other work has set it to one
        return n_threads
    return max((pool["num_threads"] for pool in _blas().info()), default=1)


@contextmanager
def _one_blas_thread():
    with _LOCK:
        if not _LIMITS:
            _LIMITS.append((available_threads(), _blas().limit(limits=1)))
        else:
            _LIMITS.append(_LIMITS[0])
    try:
        yield
    finally:
        with _LOCK:
            _, limit = _LIMITS.pop()
            if not _LIMITS:
                limit.restore_original_limits()


def _after_fork() -> None:
    """The threads that would lift a limit are not in the child: lift it here."""
    global _LOCK
    _LOCK = threading.Lock()
    if _LIMITS:
        _LIMITS[0][1].restore_original_limits()
        _LIMITS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def map_blocks(work: Callable, blocks: Iterable, n_threads: int) -> None:
    """Call ``work`` with every block; an error in one is raised here."""
    blocks = list(blocks)
    n_threads = min(n_threads, len(blocks))
    if not blocks:
        return
    with _one_blas_thread():
        if n_threads == 1:
            for block in blocks:
                work(block)
            return
        with ThreadPoolExecutor(n_threads) as pool:
            for _ in pool.map(work, blocks):
                pass
