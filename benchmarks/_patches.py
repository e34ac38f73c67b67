"""One method on one folder, in a process of its own; ``patches.py`` starts it.

Its argument is a task as JSON; the last line that it prints is what was measured.
"""

import ctypes
import gc
import json
import pickle
import resource
import sys
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np
from backbones import fit, listing
from PIL import Image
from sklearn.metrics import roc_auc_score

from sklearn_gauss import detection
from sklearn_gauss.cli._recipe import columns_of_levels
from sklearn_gauss.datasets import load_inspection_folder
from sklearn_gauss.exceptions import CalibrationWarning
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.metrics import aupro_score, pixel_roc_auc_score

#: Images at a time in scoring, and in anomalib's fit, whose default it is.
BATCH = 32
#: Images that everything is tried with before it is measured.
WARM_UP = 8
MIB = 2**20


class NetworkAlone:
    """An extractor with nothing behind it."""

    def __init__(self, extractor):
        self.extractor = extractor

    def fit(self, paths):
        """Pass images through, and keep nothing."""
        for batch in batches(paths):
            self.extractor.transform(batch)
        return 0.0

    def scores(self, features):
        """Find all images alike."""
        return np.zeros(len(features))

    def maps(self, features, size):
        """None: there are none."""

    def threshold(self):
        """None: nothing is flagged."""

    def state(self):
        """None: nothing is fitted."""


class Ours:
    """A detector behind an extractor, as in a Pipeline."""

    def __init__(self, extractor, detector):
        self.extractor, self.detector = extractor, detector

    def fit(self, paths):
        """Fit to images; return the seconds that the detector takes."""
        features = self.extractor.transform(paths)
        start = time.perf_counter()
        self.detector.fit(features)
        return time.perf_counter() - start

    def scores(self, features):
        """How anomalous images are."""
        return -self.detector.score_samples(features)

    def maps(self, features, size):
        """Anomaly maps of a size; None if the detector makes none."""
        if not hasattr(self.detector, "anomaly_map"):
            return None
        return self.detector.anomaly_map(features, image_size=size)

    def threshold(self):
        """The score above which an image is flagged."""
        return -self.detector.offset_

    def state(self):
        """What a file of the model holds."""
        return self.detector


class Theirs:
    """A model of anomalib behind an extractor."""

    def __init__(self, extractor, model):
        self.extractor, self.model = extractor, model

    def fit(self, paths):
        """Fit to images; return the seconds that the model takes."""
        self.model.begin()
        seconds = 0.0
        for batch in batches(paths):
            flat = self.extractor.transform(batch)
            start = time.perf_counter()
            self.model.run(flat)
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        self.model.fit()
        return seconds + time.perf_counter() - start

    def scores(self, flat):
        """How anomalous images are."""
        return self.model.scores_and_maps(flat)[0]

    def maps(self, flat, size):
        """Anomaly maps, stretched (bilinear) from the size of the network's input."""
        found = self.model.scores_and_maps(flat)[1]
        pictures = [Image.fromarray(one).resize(size[::-1]) for one in found]
        return np.stack([np.asarray(one) for one in pictures])

    def threshold(self):
        """None: nothing is set for a rate of false positives."""

    def state(self):
        """What a file of the model holds."""
        return self.model.state()


def extractor_of(task, **options):
    """Return an extractor that is ready to run."""
    extractor = CNNFeatureExtractor(**(task["network"] | options))
    fit(extractor, np.zeros((1, 8, 8, 3), np.uint8))
    return extractor


def pooled(task, make, **options):
    extractor = extractor_of(task, **options)
    return Ours(extractor, make(columns_of_levels(extractor)))


def ensemble(task, **options):
    return pooled(task, lambda levels: detection.LevelEnsemble(levels=levels), **options)


def mahalanobis(task):
    return pooled(task, lambda levels: detection.MahalanobisDetector())


def of_patches(task, make, *, n_channels=None, grid=None):
    """Channels are projected behind the network, so that they are never held."""
    extractor = extractor_of(
        task,
        pooling="none",
        n_channels=n_channels or task["channels"],
        grid=grid,
        random_state=task["seed"],
    )
    return Ours(extractor, make(n_channels=None, random_state=task["seed"]))


def gaussian(task, *, few=False, coarse=False, **parameters):
    return of_patches(
        task,
        lambda **given: detection.PatchGaussianDetector(**given, **parameters),
        n_channels=task["few"] if few else None,
        grid=task["grid"] if coarse else None,
    )


def drawn(task):
    """Channels drawn at random in the place of directions, on the coarse grid."""
    extractor = extractor_of(task, pooling="none", grid=task["grid"])
    detector = detection.PatchGaussianDetector(
        n_channels=task["channels"],
        reduction="selection",
        precision="float32",
        random_state=task["seed"],
    )
    return Ours(extractor, detector)


def kde(task, *, coarse=False):
    grid = task["grid"] if coarse else None
    return of_patches(task, detection.PatchKDEDetector, grid=grid)


def padim(task):
    from _anomalib import Padim

    extractor = extractor_of(task)
    return Theirs(
        extractor, Padim(extractor, channels=task["channels"], seed=task["seed"])
    )


def patchcore(task):
    from _anomalib import Patchcore

    extractor = extractor_of(task)
    return Theirs(
        extractor, Patchcore(extractor, coreset=task["coreset"], seed=task["seed"])
    )


METHODS = {
    "network": lambda task: NetworkAlone(extractor_of(task)),
    "ensemble": ensemble,
    "ensemble-all": lambda task: ensemble(task, levels="all"),
    "mahalanobis": mahalanobis,
    "gaussian": gaussian,
    "gaussian-float32": lambda task: gaussian(task, precision="float32"),
    "gaussian-shared": lambda task: gaussian(task, covariance="shared"),
    "gaussian-few": lambda task: gaussian(task, few=True, precision="float32"),
    "gaussian-coarse": lambda task: gaussian(task, coarse=True, precision="float32"),
    "gaussian-drawn": drawn,
    "kde": kde,
    "kde-coarse": lambda task: kde(task, coarse=True),
    "padim": padim,
    "patchcore": patchcore,
}


class Memory:
    """Most resident memory from now on, beyond what is resident now, in MiB.

    Linux starts a new peak for ``clear_refs``; where it cannot, the peak is that of the
    process so far.
    """

    def __init__(self):
        gc.collect()
        try:
            # What imports freed is handed back, or the work would fill it unseen.
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            self.start = self._status()
        except (OSError, AttributeError):
            self.start = None
            self.before = self._largest()

    def peak(self):
        """Return the peak so far."""
        if self.start is None:
            return self._largest() - self.before
        return self._status() - self.start

    @staticmethod
    def _status():
        lines = Path("/proc/self/status").read_text().splitlines()
        (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        return int(peak) / 1024

    @staticmethod
    def _largest():
        unit = MIB if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def batches(paths):
    """Return paths, some at a time."""
    return [paths[first : first + BATCH] for first in range(0, len(paths), BATCH)]


def scored(method, paths):
    """Return scores, and the median seconds an image in network and detector."""
    scores, in_network, behind = [], [], []
    for batch in batches(paths):
        start = time.perf_counter()
        features = method.extractor.transform(batch)
        between = time.perf_counter()
        scores.append(method.scores(features))
        in_network.append((between - start) / len(batch))
        behind.append((time.perf_counter() - between) / len(batch))
    return np.concatenate(scores), median(in_network), median(behind)


def pixel_scores(method, test, masks):
    """Pixel AUROC and AUPRO against masks of one size, None standing for a good image."""
    (size,) = {mask.shape for mask in masks if mask is not None}
    found = []
    for batch in batches(test):
        maps = method.maps(method.extractor.transform(batch), size)
        if maps is None:
            return {}
        found.extend(maps)
    return {
        "pixel_auroc": pixel_roc_auc_score(masks, found),
        "aupro": aupro_score(masks, found),
    }


def masks_of(task, test):
    """Masks of test images; None unless every defective one has its own."""
    folder = load_inspection_folder(task["folder"])
    files = dict(zip(folder.test, folder.masks, strict=True))
    bad = dict(zip(folder.test, folder.y_test < 0, strict=True))
    if any(bad[path] and files[path] is None for path in test):
        return None
    return [np.asarray(Image.open(files[p])) > 0 if files[p] else None for p in test]


def warm_up(task, paths):
    """Fit and score a model that is thrown away: what is imported late is there then."""
    method = METHODS[task["method"]](task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        method.fit(paths)
    scored(method, paths)


def measure(task):
    """Fit and score one method."""
    train, test, kinds = listing(task["folder"], task["limit"])
    warm_up(task, train[:WARM_UP])
    method = METHODS[task["method"]](task)
    method.extractor.transform(train[:WARM_UP])
    memory = Memory()
    fit_seconds = method.fit(train)
    scores, network_seconds, score_seconds = scored(method, test)
    peak = memory.peak()
    found = {"network": 1e3 * network_seconds, "peak": peak}
    if method.state() is not None:
        found |= {
            "auroc": roc_auc_score(kinds != "good", scores),
            "fit": fit_seconds,
            "score": 1e3 * score_seconds,
            "size": len(pickle.dumps(method.state())) / MIB,
        }
    threshold = method.threshold()
    if threshold is not None:
        found["fpr"] = 100 * np.mean(scores[kinds == "good"] > threshold)
    masks = masks_of(task, test)
    if masks is not None:
        found |= pixel_scores(method, test, masks)
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    print("\n" + json.dumps(measure(json.loads(sys.argv[1]))))
