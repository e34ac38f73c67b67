"""Interleaved medians of times, peaks of memory, and the common command line."""

import argparse
import time
import tracemalloc
from statistics import median

import numpy as np


def medians(works, repeats):
    """Median seconds of each of several works, run in turn."""
    times = [[] for _ in works]
    for _ in range(repeats):
        for work, seconds in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return [median(seconds) for seconds in times]


def peak_bytes(work):
    """Most bytes that a work holds in arrays at a time, beyond those there already."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def product_speed(size=2000, repeats=5):
    """Floating-point operations a second of a square matrix product."""
    matrix = np.random.default_rng(0).normal(size=(size, size))
    (seconds,) = medians([lambda: matrix @ matrix], repeats)
    return 2 * size**3 / seconds


def run_named(benchmarks, description):
    """Run the benchmarks that the command line names, of a dictionary of functions."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", nargs="+", choices=benchmarks, default=list(benchmarks))
    parser.add_argument("--dry-run", action="store_true", help="small sizes")
    options = parser.parse_args()
    for name in options.only:
        benchmarks[name](options.dry_run)
