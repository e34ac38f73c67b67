"""The detectors that `detectors.py` compares: a name, and what makes one.

Every one gets 5 % as its target: ``target_fpr`` here, ``contamination`` (or ``nu``) in
scikit-learn and PyOD. What has no threshold of its own gets the quantile of its training
scores. Features are not scaled, but for the logistic regression. PyOD is optional.
"""

import warnings
from importlib import import_module

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_gauss import detection, residual
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    CalibratedDetector,
    DetectorEnsemble,
    KDEDetector,
    MahalanobisDetector,
)

TARGET = 0.05

#: Components before what needs more rows than features.
FEW = 30

#: Kernels at ten scales in each of ten folds: too slow for all rows together.
SLOW = 'ScoreNorms("kde"), mixture'

PYOD_MODELS = {
    "ABOD": ("abod", {}),
    "CBLOF": ("cblof", {"random_state": 0}),
    "COPOD": ("copod", {}),
    "ECOD": ("ecod", {}),
    "GMM": ("gmm", {"random_state": 0}),
    "HBOS": ("hbos", {}),
    "IForest": ("iforest", {"random_state": 0}),
    "INNE": ("inne", {"random_state": 0}),
    "KDE": ("kde", {}),
    "KNN": ("knn", {}),
    "KPCA": ("kpca", {}),
    "LOF": ("lof", {}),
    "LODA": ("loda", {}),
    "MCD": ("mcd", {"random_state": 0}),
    "OCSVM": ("ocsvm", {}),
    "PCA": ("pca", {"random_state": 0}),
    "Sampling": ("sampling", {"random_state": 0}),
}

#: PyOD's that get principal components, since they do not run on 512 features.
REDUCED = ("MCD",)


class TrainQuantile(BaseEstimator):
    """A density with the quantile of its training scores for a threshold."""

    def __init__(self, density):
        self.density = density

    def fit(self, X, y=None):
        self.density.fit(X)
        self.offset_ = np.quantile(self.score_samples(X), TARGET)
        return self

    def score_samples(self, X):
        return self.density.score_samples(X)

    def predict(self, X):
        return np.where(self.score_samples(X) < self.offset_, -1, 1)


class Classifier(BaseEstimator):
    """A classifier of normal rows and labelled anomalies, with its own threshold."""

    def __init__(self, classifier):
        self.classifier = classifier

    def fit(self, X, y):
        self.classifier.fit(X, y)
        return self

    def score_samples(self, X):
        return self.classifier.predict_proba(X)[:, 1]

    def predict(self, X):
        return self.classifier.predict(X)


class FromPyOD(BaseEstimator):
    """A detector of PyOD with scikit-learn's signs."""

    def __init__(self, name):
        self.name = name

    def fit(self, X, y=None):
        module, options = PYOD_MODELS[self.name]
        make = getattr(import_module(f"pyod.models.{module}"), self.name)
        self.reduction_ = None
        if self.name in REDUCED:
            self.reduction_ = PCA(min(FEW, X.shape[1] - 1)).fit(X)
        self.detector_ = make(contamination=TARGET, **options).fit(self._reduced(X))
        return self

    def _reduced(self, X):
        return X if self.reduction_ is None else self.reduction_.transform(X)

    def score_samples(self, X):
        return -self.detector_.decision_function(self._reduced(X))

    def predict(self, X):
        return np.where(self.score_samples(X) < -self.detector_.threshold_, -1, 1)


def norms(n_components=4, **options):
    """MSMA without a network: score norms, then a mixture."""
    pipeline = make_pipeline(
        residual.ScoreNorms(**options),
        StandardScaler(),
        GaussianMixture(n_components, random_state=0),
    )
    return CalibratedDetector(pipeline, cv=10)


def reduced_gaussian():
    return make_pipeline(LowVariancePCA(0.01), MahalanobisDetector())


def members():
    return [
        ("gauss", MahalanobisDetector()),
        ("kernel", KDEDetector("scott")),
        ("reduced", reduced_gaussian()),
    ]


def own(p):
    """Detectors of this package for rows of p features: {name: factory}."""
    return {
        "MahalanobisDetector()": MahalanobisDetector,
        'MahalanobisDetector(shrinkage="oas")': lambda: MahalanobisDetector(
            shrinkage="oas"
        ),
        'MahalanobisDetector(shrinkage="loo")': lambda: MahalanobisDetector(
            shrinkage="loo"
        ),
        'MahalanobisDetector(tail="student")': lambda: MahalanobisDetector(
            tail="student"
        ),
        'MahalanobisDetector(trim="auto")': lambda: MahalanobisDetector(trim="auto"),
        "LowVariancePCA(0.01), Mahalanobis": lambda: CalibratedDetector(
            reduced_gaussian()
        ),
        "KDEDetector()": KDEDetector,
        'KDEDetector("scott")': lambda: KDEDetector("scott"),
        "KDEDetector, nearest row": lambda: KDEDetector("condensation", whiten="none"),
        'DetectorEnsemble("best")': lambda: DetectorEnsemble(members(), combine="best"),
        'DetectorEnsemble("stacked")': lambda: DetectorEnsemble(members()),
        "IncrementalMixtureDetector()": lambda: detection.IncrementalMixtureDetector(),
        "ReferenceResidual, Mahalanobis": lambda: CalibratedDetector(
            make_pipeline(residual.ReferenceResidual(), MahalanobisDetector()), cv=10
        ),
        "ScoreNorms, mixture": norms,
        SLOW: lambda: norms(density="kde"),
    }


def class_conditional(p):
    """Detectors that are told the class of every normal row."""
    blocks = max(b for b in (1, 2, 4, 8) if p % b == 0)
    options = {
        "tied": {},
        "own covariances": {"shared_covariance": False},
        "relative": {"relative": True},
        f"{blocks} blocks": {"shared_covariance": False, "n_blocks": blocks},
    }
    return {
        f"ClassConditionalDetector, {name}": (
            lambda one=one: detection.ClassConditionalDetector(**one)
        )
        for name, one in options.items()
    }


def labelled():
    """Detectors that use labelled anomalies, by library."""
    ours = {
        "NormalAbnormalDetector()": lambda: detection.NormalAbnormalDetector(),
        "NormalAbnormalDetector(KDEDetector())": lambda: detection.NormalAbnormalDetector(
            KDEDetector()
        ),
    }
    linear = LogisticRegression(class_weight="balanced", max_iter=1000)
    return {
        "sklearn_gauss, labels": ours,
        "scikit-learn, labels": {
            "LogisticRegression": lambda: Classifier(
                make_pipeline(StandardScaler(), linear)
            ),
            "RandomForestClassifier": lambda: Classifier(
                RandomForestClassifier(class_weight="balanced", random_state=0)
            ),
        },
    }


def robust():
    """Detectors for training rows that hold anomalies, with what they stand beside."""
    return {
        "MahalanobisDetector()": MahalanobisDetector,
        'MahalanobisDetector(trim="auto")': lambda: MahalanobisDetector(trim="auto"),
        "KDEDetector()": KDEDetector,
        "PCA(10), EllipticEnvelope": lambda: make_pipeline(
            PCA(10), EllipticEnvelope(contamination=TARGET, random_state=0)
        ),
        "IsolationForest": scikit_learn(512)["IsolationForest"],
        "LocalOutlierFactor": scikit_learn(512)["LocalOutlierFactor"],
    }


def scikit_learn(p):
    """Detectors of scikit-learn for rows of p features."""
    k = min(FEW, p - 1)
    return {
        f"PCA({k}), EllipticEnvelope": lambda: make_pipeline(
            PCA(k), EllipticEnvelope(contamination=TARGET, random_state=0)
        ),
        f"PCA({k}), GaussianMixture(2)": lambda: TrainQuantile(
            make_pipeline(PCA(k), GaussianMixture(2, random_state=0))
        ),
        "IsolationForest": lambda: IsolationForest(contamination=TARGET, random_state=0),
        'KernelDensity("scott")': lambda: TrainQuantile(KernelDensity(bandwidth="scott")),
        "LocalOutlierFactor": lambda: LocalOutlierFactor(
            novelty=True, contamination=TARGET
        ),
        "OneClassSVM": lambda: OneClassSVM(nu=TARGET),
    }


def pyod():
    """Detectors of PyOD, none where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_module("pyod")
        except ImportError:
            return {}
    return {_reduced_name(name): lambda name=name: FromPyOD(name) for name in PYOD_MODELS}


def _reduced_name(name):
    return f"PCA({FEW}), {name}" if name in REDUCED else name
