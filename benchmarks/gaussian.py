"""Fits and distances of shrunk Gaussians, against scikit-learn and against arithmetic."""

from functools import partial

import numpy as np
from _timing import medians, peak_bytes, product_speed, run_named
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import MahalanobisDetector


def data(n, p, small):
    """Rows to fit and rows to score."""
    rng = np.random.default_rng(0)
    n, p = (max(n // 50, 25), max(p // 50, 6)) if small else (n, p)
    return rng.normal(size=(n, p)), rng.normal(size=(1000, p))


def work(estimator, X, Q):
    """Fit and 1000 distances, to be timed."""
    return lambda: estimator.fit(X).mahalanobis(Q)


def print_ratios(name, X, Q, rivals, repeats):
    """Time our covariance and detector beside others."""
    works = [work(e, X, Q) for e in (ShrinkageCovariance(), MahalanobisDetector())]
    works += [work(rival, X, Q) for rival in rivals]
    ours, detector, *theirs = medians(works, repeats)
    print(f"{name} {X.shape}: ours {ours:.3f} s, detector {detector:.3f} s")
    for rival, seconds in zip(rivals, theirs, strict=True):
        print(
            f"   {type(rival).__name__:20} {seconds:8.3f} s: {seconds / ours:6.1f}x, "
            f"detector {seconds / detector:6.1f}x"
        )


def g1(small):
    """Fewer rows than features, against scikit-learn."""
    for n, p in [(200, 2560), (400, 5000)]:
        X, Q = data(n, p, small)
        print_ratios("G1", X, Q, [LedoitWolf()], 1 if p > 3000 else 3)
        ours = ShrinkageCovariance().fit(X).mahalanobis(Q)
        theirs = LedoitWolf().fit(X).mahalanobis(Q)
        print(f"   largest relative difference {np.abs(ours / theirs - 1).max():.1e}")


def g2(small):
    """Very wide data, against the operations that it takes."""
    X, Q = data(300, 20_000, small)
    n, p = X.shape
    # Gram matrix (half of it), axes, and coordinates and residuals of the queries.
    operations = n * n * p + 2 * n * n * p + 4 * len(Q) * n * p
    limit = operations / product_speed()
    (seconds,) = medians([work(ShrinkageCovariance(), X, Q)], 5)
    extra = peak_bytes(work(ShrinkageCovariance(), X, Q))
    print(
        f"G2 {X.shape}: {seconds:.3f} s, {seconds / limit:.1f}x the limit {limit:.3f} s"
    )
    print(f"   extra memory {extra / 2**20:.0f} MiB")


def g3(small):
    """More rows than features, against scikit-learn."""
    for n, p in [(5000, 512), (50_000, 512), (100_000, 256)]:
        X, Q = data(n, p, small)
        print_ratios("G3", X, Q, [LedoitWolf(), EmpiricalCovariance()], 5)


def g4(small):
    """Extra memory, against scikit-learn."""
    for n, p in [(5000, 512), (50_000, 512), (100_000, 256)]:
        X, Q = data(n, p, small)
        ours, theirs = (
            peak_bytes(work(e, X, Q)) for e in (ShrinkageCovariance(), LedoitWolf())
        )
        print(
            f"G4 {X.shape}: ours {ours / 2**20:.1f} MiB, LedoitWolf "
            f"{theirs / 2**20:.1f} MiB: 1/{theirs / ours:.1f}"
        )


def g11(small):
    """Principal components of few rows, against scikit-learn."""
    for n, p in [(200, 2560), (300, 20_000)]:
        X, _ = data(n, p, small)
        everything = LowVariancePCA(n_components=min(X.shape) - 1)
        models = LowVariancePCA(), everything, PCA()
        works = [partial(model.fit, X) for model in models]
        last, whole, theirs = medians(works, 5)
        print(
            f"G11 {X.shape}: last 1 % {last:.3f} s, all components {whole:.3f} s, PCA "
            f"{theirs:.3f} s: {theirs / last:.1f}x, {theirs / whole:.1f}x"
        )


def g12(small):
    """A stream of chunks, against one fit."""
    X, _ = data(50_000, 512, small)

    def stream(X=X):
        model = ShrinkageCovariance()
        for start in range(0, len(X), 1024):
            model.partial_fit(X[start : start + 1024])
        model.location_  # noqa: B018  what is deferred is computed here
        return model

    whole, chunks = medians([lambda: ShrinkageCovariance().fit(X), stream], 5)
    print(
        f"G12 {X.shape}: fit {whole:.3f} s, stream {chunks:.3f} s: {whole / chunks:.2f}"
    )
    far = X + 1e8
    model = ShrinkageCovariance().fit(far)
    got, want = stream(far).covariance_, model.covariance_
    print(f"   at an offset of 1e8: {np.abs(got - want).max() / np.abs(want).max():.1e}")


BENCHMARKS = {"G1": g1, "G2": g2, "G3": g3, "G4": g4, "G11": g11, "G12": g12}


if __name__ == "__main__":
    run_named(BENCHMARKS, __doc__)
