"""Time of a row of an incremental mixture, and its likelihood beside the EM algorithm."""

from functools import partial

import numpy as np
from _timing import medians, run_named
from scipy import stats
from sklearn.mixture import GaussianMixture

from sklearn_gauss._numerics.incremental_mixture import Rules, empty, learn
from sklearn_gauss.detection import IncrementalMixtureDetector


def rules(n_features):
    """One component, which learns every row."""
    return Rules(np.ones(n_features), np.inf, 1.0, None, np.inf, 0.0)


def learn_by_inversion(Z):
    """Mean and covariance of a stream, inverted for the distance of every row."""
    mean, covariance = Z[0], np.eye(Z.shape[1])
    squares = np.zeros(len(Z))
    for i, z in enumerate(Z[1:], start=1):
        e = z - mean
        squares[i] = e @ np.linalg.inv(covariance) @ e
        np.linalg.slogdet(covariance)  # which the density needs too
        w = 1 / (i + 1)
        mean = mean + w * e
        covariance = (1 - w) * covariance + w * (1 - w) * np.outer(e, e)
    return squares


def slope(sizes, seconds):
    """Exponent of the time, over the larger half of the sizes."""
    half = len(sizes) // 2
    return np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0]


def rows(small):
    """Time of a row against the number of features."""
    rng = np.random.default_rng(0)
    sizes = [4, 8, 16, 32] if small else [8, 16, 32, 64, 128, 256, 512, 1024]
    ours, theirs = [], []
    for size in sizes:
        Z = rng.normal(size=(20, size))
        start, _ = learn(empty(size), Z[:1], rules(size))
        works = [
            partial(learn, start, Z, rules(size)),
            partial(learn_by_inversion, Z),
        ]
        first, second = medians(works, 1 if small else 5)
        ours.append(first / len(Z))
        theirs.append(second / len(Z))
        print(
            f"row of {size:4} features: {1e6 * ours[-1]:9.0f} us, with an inverse and a "
            f"determinant {1e6 * theirs[-1]:9.0f} us: {theirs[-1] / ours[-1]:.1f}x"
        )
    print(
        f"row time grows with the power {slope(sizes, ours):.2f} of the features, with "
        f"an inverse {slope(sizes, theirs):.2f}"
    )


def clusters(n_rows, n_features, rng):
    """Rows of five clusters, in random order."""
    centres = 4 * np.random.default_rng(1).normal(size=(5, n_features))
    return centres[rng.integers(5, size=n_rows)] + rng.normal(size=(n_rows, n_features))


def refit(X, step):
    """The EM algorithm again whenever so many rows have arrived."""
    for stop in range(step, len(X) + 1, step):
        model = GaussianMixture(5, reg_covar=1e-3, random_state=0).fit(X[:stop])
    return model


def stream(X, step):
    """Rows as they arrive."""
    model = IncrementalMixtureDetector()
    for start in range(0, len(X), step):
        model.partial_fit(X[start : start + step])
    return model


def refits(small):
    """A stream in chunks of 50 rows, against a mixture fitted again at each."""
    for n_rows, size in (
        [(200, 2), (200, 8)] if small else [(2000, 2), (2000, 8), (2000, 32)]
    ):
        X = clusters(n_rows, size, np.random.default_rng(0))
        works = [partial(stream, X, 50), partial(refit, X, 50)]
        ours, theirs = medians(works, 1 if small else 3)
        print(
            f"stream of {X.shape}: {ours:.2f} s, GaussianMixture refitted "
            f"{theirs:.2f} s: {theirs / ours:.1f}x"
        )


def likelihood(small):
    """Mean log-density of unseen rows, in nats, beside the EM algorithm and the truth."""
    for size in (2, 8, 32):
        for n_rows in (200,) if small else (200, 1000, 5000):
            rng = np.random.default_rng(0)
            X, unseen = clusters(n_rows, size, rng), clusters(1000, size, rng)
            ours = IncrementalMixtureDetector().fit(X)
            theirs = GaussianMixture(
                5, reg_covar=1e-3, n_init=1 if small else 5, random_state=0
            ).fit(X)
            centres = 4 * np.random.default_rng(1).normal(size=(5, size))
            truth = np.mean(
                [stats.multivariate_normal(centre).pdf(unseen) for centre in centres],
                axis=0,
            )
            print(
                f"likelihood of {X.shape}: {ours.score(unseen):.2f} with "
                f"{ours.n_components_} components, GaussianMixture(5) "
                f"{theirs.score(unseen):.2f}, the truth {np.log(truth).mean():.2f}"
            )


BENCHMARKS = {"row": rows, "stream": refits, "likelihood": likelihood}


if __name__ == "__main__":
    run_named(BENCHMARKS, __doc__)
