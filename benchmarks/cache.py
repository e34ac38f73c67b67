"""Images that a search extracts without a cache, with a pipeline's and with ours."""

import tempfile
import time
import warnings

import numpy as np
from _timing import medians, run_named
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.feature_extraction import CNNFeatureExtractor


class Counted(CNNFeatureExtractor):
    """Counts the images that go through the network."""

    extracted = 0

    def _run(self, images, *args, **kwargs):
        Counted.extracted += len(images)
        return super()._run(images, *args, **kwargs)


def mean_score(model, X, y=None):
    return float(model.score_samples(X).mean())


def search(X, memory=None, cache=None):
    """Six candidates in five folds; images extracted, and seconds."""
    extractor = Counted(cache=cache)
    steps = [("extractor", extractor), ("detector", MahalanobisDetector(target_fpr=0.2))]
    grid = {"detector__shrinkage": [0.01, 0.05, 0.1, 0.2, 0.4, 0.8]}
    found = GridSearchCV(
        Pipeline(steps, memory=memory), grid, cv=KFold(5), scoring=mean_score
    )
    Counted.extracted = 0
    start = time.perf_counter()
    found.fit(X)
    return Counted.extracted, time.perf_counter() - start


def pictures(n, size):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def g15(small):
    """A search over a pipeline, and one image read back against one extracted."""
    n = 10 if small else 200
    X = pictures(n, 64)
    with tempfile.TemporaryDirectory() as memory, tempfile.TemporaryDirectory() as cache:
        kinds = {"no cache": {}, "Pipeline(memory)": {"memory": memory}}
        kinds["cache"] = {"cache": cache}
        for name, options in kinds.items():
            with warnings.catch_warnings():
                # joblib: writing took longer than the step, in small sizes
                warnings.filterwarnings("ignore", "Persisting input arguments")
                extracted, seconds = search(X, **options)
            print(f"G15 {name:17} {extracted / n:5.1f} n extracted, {seconds:7.2f} s")
        plain = CNNFeatureExtractor().fit(X)
        kept = CNNFeatureExtractor(cache=cache).fit(X)
        works = [lambda: plain.transform(X), lambda: kept.transform(X)]
        run, read = medians(works, 1 if small else 5)
    print(
        f"G15 an image: {1e3 * run / n:.2f} ms extracted, {1e3 * read / n:.2f} ms read "
        f"back: {run / read:.0f}x"
    )


BENCHMARKS = {"G15": g15}


if __name__ == "__main__":
    run_named(BENCHMARKS, __doc__)
