"""Discrepancy and time of kernel thinning, against rows drawn at random."""

import numpy as np
from _timing import medians, peak_bytes, run_named

from sklearn_gauss._numerics.thinning import PROFILES, Points, discrepancies
from sklearn_gauss._numerics.thinning import mean_embedding as embedding
from sklearn_gauss.selection import KernelThinning

BANDWIDTHS = {2: 1.665, 10: 4.32}  # about the median distances of Gaussian rows
UNIFORM = 50  # random sets, of which the mean square is taken


def exact(X, sets, bandwidth):
    """Discrepancy of each set of rows to all rows, the compressed ones' included."""
    points, everything = Points.of(X, 1 / bandwidth), np.arange(len(X))
    target = PROFILES["gaussian"]["target"]
    means = embedding(points, everything, everything, target)
    return np.sqrt(means.mean() + discrepancies(points, np.array(sets), target, means))


def methods(d, seed):
    """Estimators to be compared, by name."""
    options = {"engine": "own", "bandwidth": BANDWIDTHS[d], "random_state": seed}
    return {
        "split": KernelThinning(method="split", **options),
        "compress": KernelThinning(method="compress", **options),
    }


def rates(small):
    """Discrepancy of sqrt(n) rows as n grows, and the slope of its logarithm."""
    sizes = [4**size for size in ((3, 4, 5) if small else (5, 6, 7, 8))]
    for d, h in BANDWIDTHS.items():
        found = {name: [] for name in ("uniform", *methods(d, 0))}
        for n in sizes:
            squares = []
            for seed in range(1 if small else max(min(16, 4**7 // n), 1)):
                rng = np.random.default_rng(seed)
                X = rng.normal(size=(n, d))
                sets = [rng.permutation(n)[: round(n**0.5)] for _ in range(UNIFORM)]
                sets += [m.fit(X).sample_indices_ for m in methods(d, seed).values()]
                uniform, *thinned = np.split(
                    exact(X, sets, h) ** 2, np.arange(UNIFORM, len(sets))
                )
                squares.append([uniform.mean(), *np.concatenate(thinned)])
            for name, mmd in zip(found, np.sqrt(np.mean(squares, axis=0)), strict=True):
                found[name].append(mmd)
        print(f"rates d={d}: root mean square MMD at n = {sizes}, slope in log n")
        for name, mmds in found.items():
            slope = np.polyfit(np.log(sizes), np.log(mmds), 1)[0]
            print(f"   {name:10}", *(f"{mmd:.5f}" for mmd in mmds), f"  {slope:+.2f}")


def times(small):
    """Seconds and memory of a fit."""
    for d in BANDWIDTHS:
        for n in (4**4, 4**5) if small else (4**5, 4**6, 4**7, 4**8):
            X = np.random.default_rng(0).normal(size=(n, d))
            names, models = zip(*methods(d, 0).items(), strict=True)
            works = [lambda model=model, X=X: model.fit(X) for model in models]
            seconds = medians(works, 1 if n > 4**6 else 3)
            memory = [peak_bytes(work) for work in works]
            print(
                f"times ({n}, {d}):",
                *(
                    f"{name} {time:.3f} s, {extra / 2**20:.0f} MiB;"
                    for name, time, extra in zip(names, seconds, memory, strict=True)
                ),
            )


def splits(small):
    """What the split kernel, the oversampling and the kernel change."""
    n, repeats = (4**4, 2) if small else (4**6, 10)
    variants = [{"split_kernel": split} for split in ("target", "power", "sum")]
    variants += [{"method": "compress", "oversampling": g} for g in range(6)]
    for d, h in BANDWIDTHS.items():
        squares = []
        for seed in range(repeats):
            X = np.random.default_rng(seed).normal(size=(n, d))
            sets = [
                KernelThinning(engine="own", bandwidth=h, random_state=seed, **variant)
                .fit(X)
                .sample_indices_
                for variant in variants
            ]
            squares.append(exact(X, sets, h) ** 2)
        print(f"splits ({n}, {d}):")
        for variant, mmd in zip(variants, np.sqrt(np.mean(squares, axis=0)), strict=True):
            print(
                "  ",
                *(f"{name}={value}" for name, value in variant.items()),
                f"{mmd:.5f}",
            )


BENCHMARKS = {"rates": rates, "times": times, "splits": splits}


if __name__ == "__main__":
    run_named(BENCHMARKS, __doc__)
