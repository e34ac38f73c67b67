"""Kernel densities: time, error and memory, against scikit-learn, SciPy and PyOD.

Without PyOD its rows are left out.
"""

import warnings
from functools import partial

import numpy as np
from _timing import medians, peak_bytes, run_named
from scipy.stats import gaussian_kde
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from sklearn_gauss.detection import KDEDetector
from sklearn_gauss.exceptions import NearestNeighborWarning

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyod.models.kde import KDE as PyODKDE
except ImportError:
    PyODKDE = None

#: Queries whose log-densities are computed again in long double.
CHECKED, TREE_CHECKED = 10, 50

#: Numbers of a block of differences there.
BLOCK = 1 << 18


def exact(X, queries, bandwidth):
    """Log-densities from differences in long double, one query after another."""
    h, (n, d) = np.longdouble(bandwidth), X.shape
    pi = np.longdouble("3.14159265358979323846264338327950288")
    constant = np.log(np.longdouble(n)) + d * np.log(h) + d / 2 * np.log(2 * pi)
    step, logs = max(BLOCK // d, 1), []
    for query in queries.astype(np.longdouble):
        exponents = np.concatenate(
            [
                np.square((X[i : i + step] - query) / h).sum(axis=1) / -2
                for i in range(0, n, step)
            ]
        )
        largest = exponents.max()
        logs.append(largest + np.log(np.exp(exponents - largest).sum()) - constant)
    return np.array(logs)


def worst(logs, reference):
    """Largest error in nats."""
    return float(np.abs(logs[: len(reference)] - reference).max())


def detector(X, bandwidth, **options):
    """Our density in plain coordinates, for scores alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NearestNeighborWarning)
        model = KDEDetector(bandwidth, whiten="none", calibration=0.0, **options)
        return model.fit(X)


def scott(n, d):
    """Scott's bandwidth of rows of unit variance."""
    return n ** (-1 / (d + 4))


def white(n, d):
    """Rows with the unit matrix as covariance, so that SciPy's bandwidth is isotropic."""
    X = np.random.default_rng(0).normal(size=(n, d))
    X -= X.mean(axis=0)
    left, _, right = np.linalg.svd(X, full_matrices=False)
    return np.ascontiguousarray(left @ right * (n - 1) ** 0.5)


def scorers(X, bandwidth):
    """Names and functions from queries to log-densities; ours first."""
    found = {
        "ours": detector(X, bandwidth).score_samples,
        "KernelDensity": KernelDensity(bandwidth=bandwidth).fit(X).score_samples,
    }
    scipy = gaussian_kde(X.T, bandwidth)
    found["gaussian_kde"] = lambda queries: scipy.logpdf(queries.T)
    if PyODKDE is not None:
        pyod = PyODKDE(bandwidth=bandwidth).fit(X)
        found["PyOD"] = lambda queries: -pyod.decision_function(queries)
    return found


def g6(small):
    """Scores, against others at the same bandwidth."""
    if PyODKDE is None:
        print("G6 PyOD is not installed: without it")
    n, n_queries = (600, 50) if small else (5000, 1000)
    for d in (8, 64) if small else (8, 16, 64, 128, 512, 1024):
        X, bandwidth = white(n, d), scott(n, d)
        queries = np.random.default_rng(1).normal(size=(n_queries, d))
        named = scorers(X, bandwidth)
        works = [partial(score, queries) for score in named.values()]
        ours, *_ = times = medians(works, 3)
        reference = exact(X, queries[:CHECKED], bandwidth)
        print(f"G6 {n} x {d}, {n_queries} queries, h = {bandwidth:.3g}:")
        for (name, score), seconds in zip(named.items(), times, strict=True):
            error = worst(score(queries[:CHECKED]), reference)
            print(
                f"   {name:14} {seconds:8.4f} s {seconds / ours:6.1f}x, "
                f"error {error:.1e} nats"
            )


def print_errors(name, X, queries, bandwidth, **options):
    """Print errors of ours and of scikit-learn's."""
    reference = exact(X, queries, bandwidth)
    ours = worst(detector(X, bandwidth).score_samples(queries), reference)
    density = KernelDensity(bandwidth=bandwidth, **options).fit(X)
    theirs = worst(density.score_samples(queries), reference)
    print(f"{name}: ours {ours:.1e}, KernelDensity {theirs:.1e} nats")


def accuracy(small):
    """Errors of scikit-learn's density, and of ours."""
    rng = np.random.default_rng(0)
    for bandwidth in (1.0, 0.5):
        for d in (8, 64) if small else (8, 16, 32, 64, 128, 256, 512):
            X, queries = rng.normal(size=(200, d)), rng.normal(size=(100, d))
            print_errors(f"accuracy 200 x {d}, h = {bandwidth}", X, queries, bandwidth)
    for d, n, bandwidth in [(2, 100_000, 0.002), (3, 50_000, 0.01)]:
        n = n // 100 if small else n
        X, queries = rng.normal(size=(n, d)), rng.normal(size=(100, d))
        name = f"accuracy {n} x {d}, h = {bandwidth}, rtol=1e-8"
        print_errors(name, X, queries, bandwidth, rtol=1e-8)


def tree(small):
    """Scores of many rows in few dimensions, against scikit-learn's tree."""
    rng = np.random.default_rng(0)
    sizes = {1: 100_000, 2: 100_000, 3: 100_000, 4: 50_000, 6: 50_000}
    for d, n in sizes.items():
        n, n_queries = (n // 100, 50) if small else (n, 1000)
        X, queries = rng.normal(size=(n, d)), rng.normal(size=(n_queries, d))
        for factor in (0.03, 0.3, 1.0, 3.0):
            bandwidth = factor * scott(n, d)
            ours = detector(X, bandwidth)
            theirs = KernelDensity(bandwidth=bandwidth, rtol=1e-8).fit(X)
            models = ours, theirs
            works = [partial(model.score_samples, queries) for model in models]
            seconds = medians(works, 3)
            reference = exact(X, queries[:TREE_CHECKED], bandwidth)
            errors = [np.abs(work()[:TREE_CHECKED] - reference) for work in works]
            wrong = (errors[1] > 1e-6).sum()
            print(
                f"tree {n} x {d}, h = {bandwidth:.2g}: ours {seconds[0]:.3f} s, tree "
                f"{seconds[1]:.3f} s: {seconds[1] / seconds[0]:5.1f}x; errors "
                f"{errors[0].max():.0e}, {errors[1].max():.0e} nats, the tree's above "
                f"1e-6 at {wrong} of {len(reference)}"
            )


def g7(small):
    """Single precision, against double; the last bandwidths are too small for it."""
    n, n_queries = (600, 50) if small else (5000, 1000)
    for d in (8, 64) if small else (8, 64, 128, 512, 1024):
        X, queries = (np.random.default_rng(i).normal(size=(n, d)) for i in (0, 1))
        queries = queries[:n_queries]
        for bandwidth in (scott(n, d), 0.1, 0.01):
            models = [detector(X, bandwidth, precision=f"float{b}") for b in (64, 32)]
            works = [partial(model.score_samples, queries) for model in models]
            double, single = medians(works, 5)
            error = worst(models[1].score_samples(queries), works[0]())
            print(
                f"G7 {n} x {d}, h = {bandwidth:.2g}: float64 {double:.4f} s, float32 "
                f"{single:.4f} s: {double / single:.2f}x, apart {error:.1e} nats"
            )


def memory(small):
    """Most bytes during scores (G8), against all pairs."""
    n, d = (1000 if small else 20_000), 64
    X, queries = (np.random.default_rng(i).normal(size=(n, d)) for i in (0, 1))
    for limit in (64, 8, 1):
        model = detector(X, 1.0, working_memory=limit)
        model.score_samples(queries[:10])
        peak = peak_bytes(lambda model=model: model.score_samples(queries))
        print(
            f"G8 {n} x {n} x {d}, working_memory={limit}: {peak / 2**20:.1f} MiB, all "
            f"pairs {8 * n**2 / 2**20:.0f} MiB, the queries {queries.nbytes / 2**20:.1f}"
        )


def g9(small):
    """Queries a million bandwidths away, against near ones."""
    n, n_queries = (600, 50) if small else (5000, 1000)
    for d in (8, 64, 512):
        X, near = (np.random.default_rng(i).normal(size=(n, d)) for i in (0, 1))
        near, bandwidth = near[:n_queries], scott(n, d)
        far = near + 1e6 * bandwidth / d**0.5
        for precision in ("float64", "float32"):
            model = detector(X, bandwidth, precision=precision)
            works = [partial(model.score_samples, queries) for queries in (near, far)]
            beside, away = medians(works, 5)
            print(
                f"G9 {n} x {d}, {precision}: near {beside:.4f} s, far {away:.4f} s: "
                f"{away / beside:.2f}"
            )


def g10(small):
    """Thirty bandwidths, against a search over scikit-learn's density."""
    n, d = (200, 8) if small else (2000, 64)
    X = np.random.default_rng(0).normal(size=(n, d))
    bandwidths = np.geomspace(0.2, 2.0, 30)
    ours = detector(X, 1.0)
    search = GridSearchCV(KernelDensity(), {"bandwidth": bandwidths}, cv=5)
    works = {
        "bandwidth_curve": partial(ours.bandwidth_curve, bandwidths),
        "fit, whiten='none'": partial(KDEDetector(whiten="none").fit, X),
        "fit": partial(KDEDetector().fit, X),
        "GridSearchCV": partial(search.fit, X),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NearestNeighborWarning)
        *_, theirs = seconds = medians(works.values(), 3)
        best = KDEDetector(whiten="none").fit(X).bandwidth_
    print(f"G10 {n} x {d}, 30 bandwidths:")
    for name, time in zip(works, seconds, strict=True):
        print(f"   {name:20} {time:7.3f} s {theirs / time:6.1f}x")
    curve = ours.bandwidth_curve(bandwidths)
    print(
        f"   bandwidths: {best:.3f} by fit, "
        f"{bandwidths[curve.log_likelihood.argmax()]:.3f} by bandwidth_curve, "
        f"{search.best_params_['bandwidth']:.3f} by GridSearchCV"
    )


BENCHMARKS = {
    "G6": g6,
    "accuracy": accuracy,
    "tree": tree,
    "G7": g7,
    "memory": memory,
    "G9": g9,
    "G10": g10,
}


if __name__ == "__main__":
    run_named(BENCHMARKS, __doc__)
