"""scikit-learn's own checks, over every public estimator and its variants."""

import inspect
from collections import Counter
from importlib import import_module
from importlib.util import find_spec

import pytest
from sklearn.base import BaseEstimator
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import (
    estimator_checks_generator,
    parametrize_with_checks,
)
from threadpoolctl import threadpool_limits

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    CalibratedDetector,
    ClassConditionalDetector,
    DetectorEnsemble,
    IncrementalMixtureDetector,
    KDEDetector,
    LevelEnsemble,
    MahalanobisDetector,
    NormalAbnormalDetector,
    PatchGaussianDetector,
    PatchKDEDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.residual import ReferenceResidual, ScoreNorms
from sklearn_gauss.selection import KernelThinning

ROOMS = [
    "covariance",
    "decomposition",
    "detection",
    "feature_extraction",
    "model_selection",
    "residual",
    "selection",
]

MEMBERS = [
    ("gauss", MahalanobisDetector()),
    ("kernel", KDEDetector("scott")),
    ("reduced", make_pipeline(LowVariancePCA(0.5), MahalanobisDetector())),
]

INSTANCES = [
    *(ShrinkageCovariance(rule) for rule in ("ledoit_wolf", "oas", "rblw", "loo", 0.1)),
    *(ShrinkageCovariance(solver=solver) for solver in ("dense", "lowrank")),
    ShrinkageCovariance(0.0),
    ShrinkageCovariance(1.0, assume_centered=True),
    MahalanobisDetector(),
    MahalanobisDetector(shrinkage="loo"),
    MahalanobisDetector(shrinkage=0.0),
    MahalanobisDetector(calibration="chi2"),
    MahalanobisDetector(shrinkage=0.0, calibration="f"),
    MahalanobisDetector(calibration="quantile"),
    MahalanobisDetector(calibration=-6.0),
    MahalanobisDetector(ShrinkageCovariance(assume_centered=True)),
    MahalanobisDetector(LedoitWolf(), calibration="chi2"),
    MahalanobisDetector(tail="student", trim="auto"),
    MahalanobisDetector(trim=0.2, calibration="quantile"),
    KDEDetector(),
    KDEDetector(1.0, whiten="none", calibration=-4.0),
    KDEDetector("scott", kernel="exponential", whiten="diagonal"),
    KDEDetector("silverman", kernel="epanechnikov", calibration="quantile"),
    KDEDetector(kernel="cosine", whiten="none"),
    KDEDetector(kernel="linear", precision="float32"),
    KDEDetector(kernel="tophat", whiten="none"),
    KDEDetector(max_reference=10, random_state=0),
    KDEDetector(max_reference=5, thinning="random", random_state=0),
    KernelThinning(engine="own"),
    KernelThinning(1, engine="own", bandwidth=1.0, split_kernel="target"),
    KernelThinning(engine="own", kernel="exponential", split_kernel="power"),
    KernelThinning(engine="own", method="compress", oversampling=1),
    CalibratedDetector(MahalanobisDetector(), cv=3),
    CalibratedDetector(KDEDetector("scott"), cv=3),
    CalibratedDetector(make_pipeline(LowVariancePCA(0.5), MahalanobisDetector()), cv=3),
    LevelEnsemble(),
    LevelEnsemble(levels=None, aggregate="max"),
    LevelEnsemble(aggregate="log_density"),
    LevelEnsemble(aggregate="stacked"),
    LevelEnsemble(make_pipeline(LowVariancePCA(0.5), MahalanobisDetector()), cv=3),
    DetectorEnsemble(MEMBERS, cv=3),
    DetectorEnsemble(MEMBERS[:2], combine="best", cv=2),
    DetectorEnsemble(
        [MEMBERS[0], ("levels", LevelEnsemble(levels=None))], combine="sum", cv=2
    ),
    PatchGaussianDetector(grid_shape=(1, 1)),
    PatchGaussianDetector("oas", grid_shape=(1, 1), n_channels=2, image_score=0.5),
    PatchGaussianDetector(0.0, ridge=0.1, grid_shape=(1, 1), precision="float32"),
    PatchGaussianDetector(grid_shape=(1, 1), covariance="shared", reduction="selection"),
    PatchKDEDetector(grid_shape=(1, 1)),
    PatchKDEDetector("scott", whiten="none", grid_shape=(1, 1), thinning="kernel"),
    PatchKDEDetector(grid_shape=(1, 1), max_reference=5, n_channels=2),
    ClassConditionalDetector(),
    ClassConditionalDetector(
        class_weight="uniform", shrinkage="oas", calibration="quantile"
    ),
    ClassConditionalDetector(False, shrinkage=0.5, calibration=-6.0),
    ClassConditionalDetector(shrinkage=0.0, block_weights=[0.5]),
    IncrementalMixtureDetector(),
    IncrementalMixtureDetector(
        0.5, prior_count=1, prune=False, scale=1.0, calibration=-4.0
    ),
    IncrementalMixtureDetector(max_components=2, n_init=5, calibration="cv", cv=3),
    IncrementalMixtureDetector(calibration="quantile"),
    NormalAbnormalDetector(),
    NormalAbnormalDetector(MahalanobisDetector(), metric="cosine"),
    NormalAbnormalDetector(
        make_pipeline(LowVariancePCA(0.5), MahalanobisDetector()), weight=0.2
    ),
    NormalAbnormalDetector(calibration=-1.0),
    ReferenceResidual(),
    ReferenceResidual(5, metric="euclidean", squared=True),
    ReferenceResidual(lookup="soft", grid_shape=(1, 1)),
    ReferenceResidual(4, lookup="soft", temperature=1.0, thinning="random"),
    ScoreNorms(),
    ScoreNorms(3, shrinkage="loo"),
    ScoreNorms(scales=[0.5, 2.0], density="kde"),
    LowVariancePCA(),
    LowVariancePCA(0.5, keep="high"),
    LowVariancePCA(0.5, boundary="strict", whiten=True),
    LowVariancePCA(n_components=1, drop_null=False),
    # Rows of any length and range, as the checks draw them, one image at a time: sums
    # of a convolution round differently with the size of the batch.
    CNNFeatureExtractor(
        "tiny", image_shape="row", value_range="fit", input_size=16, batch_size=1
    ),
]

# Class name: {check: reason}. What is listed here has to fail.
EXPECTED_FAILURES = {
    name: dict.fromkeys(
        ("check_transformer_general", "check_transformer_data_not_an_array"),
        "fit_transform leaves out the row itself, which transform does not know",
    )
    for name in ("ReferenceResidual", "ScoreNorms")
}

NEEDS_TORCH = ("CNNFeatureExtractor",)


def runnable(estimator):
    return type(estimator).__name__ not in NEEDS_TORCH or find_spec("torch")


def expected_failures(estimator):
    return EXPECTED_FAILURES.get(type(estimator).__name__, {})


def public_estimators():
    """Names of the public classes that are estimators; splitters are not."""
    return {
        name
        for room in ROOMS
        for name, found in vars(import_module(f"sklearn_gauss.{room}")).items()
        if inspect.isclass(found)
        and issubclass(found, BaseEstimator)
        and name in import_module(f"sklearn_gauss.{room}").__all__
    }


@pytest.fixture(scope="module")
def _one_thread():
    """Checks are many and small: threads would only wait for each other."""
    with threadpool_limits(1):
        yield


# The checks fit few rows, more columns than rows and columns without names: each of
# these warnings is about just that.
@pytest.mark.filterwarnings(
    "ignore::sklearn_gauss.exceptions.CalibrationWarning",
    "ignore::sklearn_gauss.exceptions.RankDeficientWarning",
    "ignore::sklearn_gauss.exceptions.NearestNeighborWarning",
    "ignore::sklearn_gauss.exceptions.BandwidthWarning",
    "ignore:X has no feature names of the form level__channel:UserWarning",
    # The checks pass labels of classes, which the ensembles warn of and ignore.
    "ignore:y has the values .* which are no labels:UserWarning",
)
@pytest.mark.usefixtures("_one_thread")
@parametrize_with_checks(
    [estimator for estimator in INSTANCES if runnable(estimator)],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_an_expected_failure_that_passes_is_a_failure(pytestconfig):
    assert pytestconfig.getini("xfail_strict")


def test_every_public_estimator_has_an_instance():
    missing = public_estimators() - {type(e).__name__ for e in INSTANCES}
    assert not missing, f"add instances of {sorted(missing)} to INSTANCES"


def test_estimators_are_found_at_all():
    assert {"ShrinkageCovariance", "LevelEnsemble", "LowVariancePCA"} <= (
        public_estimators()
    )


@pytest.mark.parametrize("estimator", INSTANCES, ids=str)
def test_no_check_is_lost(estimator):
    """A tag such as two_d_array=False would drop nearly all of them in silence."""
    checks = Counter(
        getattr(check, "func", check).__name__
        for _, check in estimator_checks_generator(estimator)
    )
    assert sum(checks.values()) >= 40
    assert {"check_estimators_nan_inf", "check_methods_subset_invariance"} <= set(checks)


def test_expected_failures_name_estimators_and_give_reasons():
    assert set(EXPECTED_FAILURES) <= public_estimators()
    for reasons in EXPECTED_FAILURES.values():
        assert all(len(reason) > 20 for reason in reasons.values())
