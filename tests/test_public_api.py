"""Every public name: documented, validated, cloned, saved and loaded without a change."""

import copy
import inspect
import io
import numbers
import pickle
import re
import warnings
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, clone
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import Bunch
from sklearn.utils.estimator_checks import check_param_validation

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
    "datasets",
    "decomposition",
    "detection",
    "exceptions",
    "feature_extraction",
    "inspection",
    "inspector",
    "metrics",
    "model_selection",
    "plotting",
    "residual",
    "selection",
]


def public(room):
    module = import_module(f"sklearn_gauss.{room}")
    return {name: getattr(module, name) for name in getattr(module, "__all__", ())}


PUBLIC = {
    f"{room}.{name}": found for room in ROOMS for name, found in public(room).items()
}
ESTIMATORS = {
    found.__name__: found
    for found in PUBLIC.values()
    if inspect.isclass(found) and issubclass(found, BaseEstimator)
}
FITTED = [name for name, found in ESTIMATORS.items() if hasattr(found, "fit")]
# What the constructors need.
NEEDED = {
    "CalibratedDetector": (MahalanobisDetector(),),
    "DetectorEnsemble": ([("gauss", MahalanobisDetector())],),
}
by_name = pytest.mark.parametrize("name", PUBLIC)
by_class = pytest.mark.parametrize("name", ESTIMATORS)
by_fitted = pytest.mark.parametrize("name", FITTED)

# ------------------------------------------------------------- fitted estimators
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_gauss.exceptions.NearestNeighborWarning",
    "ignore::sklearn_gauss.exceptions.BandwidthWarning",
)
draw = np.random.default_rng(3)
TALL = draw.normal(size=(60, 6)) @ draw.normal(size=(6, 6))
WIDE = draw.normal(size=(30, 40))
NAMED = pd.DataFrame(TALL, columns=[f"{part}__{i}" for part in "ab" for i in range(3)])
HUGE = TALL * 2.0**300


def fitted(estimator, X):
    return estimator.fit(X)


def weighted(estimator, X):
    return estimator.fit(X, sample_weight=1.0 + np.arange(len(X)) % 3)


def streamed(estimator, X):
    """Fitted by chunks, with everything that is computed later still to come."""
    for rows in np.array_split(X, 3):
        estimator.partial_fit(rows)
    return estimator


def classed(estimator, X):
    """Fitted to rows of three classes."""
    return estimator.fit(X, np.array(["a", "b", "c"])[np.arange(len(X)) % 3])


def labelled(estimator, X):
    """Fitted to rows of which every sixth is marked as an anomaly."""
    return estimator.fit(X, np.where(np.arange(len(X)) % 6, 1, -1))


patch_gaussian = partial(PatchGaussianDetector, grid_shape=(1, 2), pixel_target_fpr=0.05)
patch_kde = partial(PatchKDEDetector, grid_shape=(1, 2), pixel_target_fpr=0.05)

MEMBERS = [
    ("gauss", MahalanobisDetector()),
    ("kernel", KDEDetector(1.0)),
    ("reduced", make_pipeline(LowVariancePCA(0.3), MahalanobisDetector())),
]

# What is fitted how to what; every kind of state that an estimator can be in.
CASES = {
    "ShrinkageCovariance": (fitted, ShrinkageCovariance(), TALL),
    "ShrinkageCovariance, named columns": (fitted, ShrinkageCovariance(), NAMED),
    "ShrinkageCovariance, few rows": (fitted, ShrinkageCovariance(), WIDE),
    "ShrinkageCovariance, unshrunk": (fitted, ShrinkageCovariance(0.0), TALL),
    "ShrinkageCovariance, huge": (fitted, ShrinkageCovariance(0.0), HUGE),
    "ShrinkageCovariance, loo": (fitted, ShrinkageCovariance("loo"), WIDE),
    "ShrinkageCovariance, stream": (streamed, ShrinkageCovariance(), TALL),
    "ShrinkageCovariance, short stream": (streamed, ShrinkageCovariance(), WIDE),
    "MahalanobisDetector": (fitted, MahalanobisDetector(), TALL),
    "MahalanobisDetector, named columns": (fitted, MahalanobisDetector(), NAMED),
    "MahalanobisDetector, few rows": (fitted, MahalanobisDetector(), WIDE),
    "MahalanobisDetector, chi2": (fitted, MahalanobisDetector(calibration="chi2"), TALL),
    "MahalanobisDetector, number": (fitted, MahalanobisDetector(calibration=-9.0), TALL),
    "MahalanobisDetector, stream": (streamed, MahalanobisDetector(), TALL),
    "MahalanobisDetector, foreign": (fitted, MahalanobisDetector(LedoitWolf()), TALL),
    "MahalanobisDetector, heavy tail": (
        fitted,
        MahalanobisDetector(tail="student", trim="auto"),
        TALL,
    ),
    "MahalanobisDetector, heavy stream": (
        streamed,
        MahalanobisDetector(tail="student"),
        TALL,
    ),
    "KDEDetector": (fitted, KDEDetector(), TALL),
    "KDEDetector, named columns": (fitted, KDEDetector("scott"), NAMED),
    "KDEDetector, few rows": (fitted, KDEDetector(), WIDE),
    "KDEDetector, plain": (fitted, KDEDetector(0.7, whiten="none"), TALL),
    "KDEDetector, by column": (
        fitted,
        KDEDetector(kernel="linear", whiten="diagonal"),
        TALL,
    ),
    "KDEDetector, huge": (fitted, KDEDetector(), HUGE),
    "KDEDetector, single precision": (fitted, KDEDetector(precision="float32"), TALL),
    "KDEDetector, weighted": (weighted, KDEDetector(), TALL),
    "KDEDetector, stream": (streamed, KDEDetector(), TALL),
    "KDEDetector, thinned": (
        fitted,
        KDEDetector(max_reference=20, random_state=0),
        TALL,
    ),
    "KDEDetector, thinned stream": (
        streamed,
        KDEDetector(max_reference=20, thinning="random", random_state=0),
        TALL,
    ),
    "KernelThinning": (fitted, KernelThinning(engine="own", random_state=0), TALL),
    "KernelThinning, named columns": (
        fitted,
        KernelThinning(engine="own", random_state=0),
        NAMED,
    ),
    "LevelEnsemble": (fitted, LevelEnsemble(), NAMED),
    "LevelEnsemble, slices": (
        fitted,
        LevelEnsemble(levels=[slice(0, 2), slice(2, None)], aggregate="log_density"),
        TALL,
    ),
    "LevelEnsemble, pipelines": (
        fitted,
        LevelEnsemble(
            make_pipeline(LowVariancePCA(0.3), MahalanobisDetector()), levels=None, cv=3
        ),
        TALL,
    ),
    "CalibratedDetector": (fitted, CalibratedDetector(MahalanobisDetector()), TALL),
    "CalibratedDetector, pipeline": (
        fitted,
        CalibratedDetector(
            make_pipeline(LowVariancePCA(0.3), MahalanobisDetector()), cv=3
        ),
        NAMED,
    ),
    "LevelEnsemble, stacked": (fitted, LevelEnsemble(aggregate="stacked"), NAMED),
    "DetectorEnsemble": (fitted, DetectorEnsemble(MEMBERS, cv=2), TALL),
    "DetectorEnsemble, named columns": (
        fitted,
        DetectorEnsemble([*MEMBERS, ("levels", LevelEnsemble())], cv=2),
        NAMED,
    ),
    "DetectorEnsemble, few rows": (fitted, DetectorEnsemble(MEMBERS, cv=2), WIDE),
    "DetectorEnsemble, shared steps": (
        fitted,
        DetectorEnsemble(
            [(name, make_pipeline(Normalizer(), member)) for name, member in MEMBERS],
            combine="best",
            cv=2,
        ),
        TALL,
    ),
    "ClassConditionalDetector": (classed, ClassConditionalDetector(), TALL),
    "ClassConditionalDetector, named columns": (
        classed,
        ClassConditionalDetector(relative=True, n_blocks=2),
        NAMED,
    ),
    "ClassConditionalDetector, few rows": (
        classed,
        ClassConditionalDetector(class_weight="uniform", relative=True),
        WIDE,
    ),
    "ClassConditionalDetector, own": (
        classed,
        ClassConditionalDetector(False, n_blocks=2, block_weights=[1.0, 0.5]),
        TALL,
    ),
    "ClassConditionalDetector, own of few rows": (
        classed,
        ClassConditionalDetector(False, calibration="quantile"),
        WIDE,
    ),
    "ClassConditionalDetector, huge": (
        classed,
        ClassConditionalDetector(shrinkage=0.0),
        HUGE,
    ),
    "ClassConditionalDetector, stream": (streamed, ClassConditionalDetector(), TALL),
    "IncrementalMixtureDetector": (fitted, IncrementalMixtureDetector(), TALL),
    "IncrementalMixtureDetector, named columns": (
        fitted,
        IncrementalMixtureDetector(calibration="cv", cv=3),
        NAMED,
    ),
    "IncrementalMixtureDetector, few rows": (fitted, IncrementalMixtureDetector(), WIDE),
    "IncrementalMixtureDetector, huge": (fitted, IncrementalMixtureDetector(), HUGE),
    "IncrementalMixtureDetector, stream": (
        streamed,
        IncrementalMixtureDetector(n_init=20),
        TALL,
    ),
    "IncrementalMixtureDetector, short stream": (
        streamed,
        IncrementalMixtureDetector(),
        TALL,
    ),
    "IncrementalMixtureDetector, scale": (
        streamed,
        IncrementalMixtureDetector(scale=2.0, max_components=3),
        TALL,
    ),
    "IncrementalMixtureDetector, number": (
        fitted,
        IncrementalMixtureDetector(calibration=-9.0),
        TALL,
    ),
    "NormalAbnormalDetector": (labelled, NormalAbnormalDetector(), TALL),
    "NormalAbnormalDetector, named columns": (
        labelled,
        NormalAbnormalDetector(weight=0.3),
        NAMED,
    ),
    "NormalAbnormalDetector, few rows": (
        labelled,
        NormalAbnormalDetector(weight=0.3, n_prototypes=3),
        WIDE,
    ),
    "NormalAbnormalDetector, unlabelled": (fitted, NormalAbnormalDetector(), TALL),
    "NormalAbnormalDetector, cosine": (
        labelled,
        NormalAbnormalDetector(metric="cosine", weight=0.3),
        TALL,
    ),
    "NormalAbnormalDetector, pipeline": (
        labelled,
        NormalAbnormalDetector(
            make_pipeline(LowVariancePCA(0.3), MahalanobisDetector()), weight=0.3
        ),
        TALL,
    ),
    "ReferenceResidual": (fitted, ReferenceResidual(), TALL),
    "ReferenceResidual, named columns": (fitted, ReferenceResidual(squared=True), NAMED),
    "ReferenceResidual, soft": (
        fitted,
        ReferenceResidual(lookup="soft", metric="euclidean"),
        TALL,
    ),
    "ReferenceResidual, maps": (fitted, ReferenceResidual(20, grid_shape=(1, 2)), TALL),
    "ScoreNorms": (fitted, ScoreNorms(), TALL),
    "ScoreNorms, named columns": (fitted, ScoreNorms(), NAMED),
    "ScoreNorms, few rows": (fitted, ScoreNorms(), WIDE),
    "ScoreNorms, kernels": (fitted, ScoreNorms(scales=[0.5, 2.0], density="kde"), TALL),
    "ScoreNorms, huge": (fitted, ScoreNorms(), HUGE),
    "PatchGaussianDetector": (fitted, patch_gaussian(), TALL),
    "PatchGaussianDetector, named columns": (fitted, patch_gaussian(), NAMED),
    "PatchGaussianDetector, few rows": (fitted, patch_gaussian(grid_shape=(1, 1)), WIDE),
    "PatchGaussianDetector, shared": (
        fitted,
        patch_gaussian(covariance="shared", n_channels=2),
        TALL,
    ),
    "PatchGaussianDetector, transformer": (
        fitted,
        patch_gaussian(reduction=LowVariancePCA(0.3), precision="float32"),
        TALL,
    ),
    "PatchGaussianDetector, stream": (streamed, patch_gaussian(), TALL),
    "PatchKDEDetector": (fitted, patch_kde(), TALL),
    "PatchKDEDetector, named columns": (fitted, patch_kde("scott"), NAMED),
    "PatchKDEDetector, few rows": (fitted, patch_kde(grid_shape=(1, 1)), WIDE),
    "PatchKDEDetector, thinned": (
        fitted,
        patch_kde(max_reference=20, n_channels=2, whiten="none"),
        TALL,
    ),
    "LowVariancePCA": (fitted, LowVariancePCA(0.3), TALL),
    "LowVariancePCA, few rows": (fitted, LowVariancePCA(0.3, whiten=True), WIDE),
    "LowVariancePCA, named columns": (fitted, LowVariancePCA(0.3), NAMED),
    "LowVariancePCA, stream": (streamed, LowVariancePCA(0.3), TALL),
}
if find_spec("torch"):
    extractor = CNNFeatureExtractor(
        "tiny", image_shape="row", value_range="fit", input_size=16
    )
    CASES["CNNFeatureExtractor"] = (fitted, extractor, TALL)
    CASES["CNNFeatureExtractor, named columns"] = (fitted, extractor, NAMED)
by_case = pytest.mark.parametrize("case", CASES)


@cache
def kept(case):
    """The fitted estimator of a case; whoever changes it makes one of its own."""
    return made(case)


def made(case):
    how, estimator, X = CASES[case]
    return how(clone(estimator), X)


def answers(estimator, X):
    """Every number it gives for rows."""
    verbs = (
        "score_samples",
        "decision_function",
        "predict",
        "p_values",
        "mahalanobis",
        "effective_neighbors",
        "condensation",
        "class_log_densities",
        "predict_class",
        "responsibilities",
        "predict_component",
        "gradient",
        "level_scores",
        "member_scores",
        "transform",
    )
    found = {}
    for verb in verbs:
        if hasattr(estimator, verb) and not (
            verb == "p_values" and not hasattr(estimator, "calibration_scores_")
        ):
            found[verb] = np.asarray(getattr(estimator, verb)(X))
    if getattr(estimator, "sample_indices_", None) is not None:
        found["sample_indices_"] = estimator.sample_indices_
    return found


def cases_of(name):
    return [case for case in CASES if case.split(",")[0] == name]


def test_every_estimator_has_a_case():
    assert not [name for name in FITTED if find_spec("torch") and not cases_of(name)]


# ------------------------------------------------------------------------- names
@pytest.mark.parametrize("room", ROOMS)
def test_rooms_list_their_names(room):
    module = import_module(f"sklearn_gauss.{room}")
    assert module.__doc__
    names = list(getattr(module, "__all__", ()))
    assert len(names) == len(set(names))
    assert names == sorted(names)
    assert not [name for name in names if name.startswith("_")]
    package = hasattr(module, "__path__")  # a file by itself also shows what it imports
    shown = [
        name
        for name, found in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(found)
        and (package or getattr(found, "__module__", None) == module.__name__)
    ]
    assert sorted(shown) == sorted(names)


@by_name
def test_public_names_live_where_they_are_imported_from(name):
    room, _, short = name.partition(".")
    assert PUBLIC[name].__name__ == short
    assert PUBLIC[name].__module__.startswith(f"sklearn_gauss.{room}")


def test_package_states_its_version():
    import sklearn_gauss

    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", sklearn_gauss.__version__)


@pytest.mark.parametrize("name", public("exceptions"))
def test_exceptions_are_warnings_or_errors(name):
    found = public("exceptions")[name]
    assert issubclass(found, UserWarning if name.endswith("Warning") else ValueError)


# ----------------------------------------------------------------- documentation
def documented(thing):
    docscrape = pytest.importorskip("numpydoc.docscrape", reason="no doc extra")
    return docscrape.get_doc_object(thing)


def names_in(section):
    """Names of a section; one entry may stand for several: ``mean, std``."""
    return [name.strip(" *") for entry in section for name in entry.name.split(",")]


def parameters_of(thing):
    signature = inspect.signature(thing)
    return [name for name in signature.parameters if name not in ("self", "cls")]


def public_methods():
    return [
        (name, method)
        for name, cls in ESTIMATORS.items()
        for method, found in inspect.getmembers(cls)
        if not method.startswith("_")
        and callable(found)
        and getattr(found, "__module__", "").startswith("sklearn_gauss")
    ]


@by_name
def test_docstrings_name_every_parameter(name):
    thing = PUBLIC[name]
    doc = documented(thing)
    assert "".join(doc["Summary"]).strip()
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    assert names_in(doc["Parameters"]) == parameters_of(thing)
    assert doc["Examples"] or inspect.isfunction(thing)


@pytest.mark.parametrize(("name", "method"), public_methods())
def test_methods_are_documented(name, method):
    found = getattr(ESTIMATORS[name], method)
    doc = documented(found)
    assert "".join(doc["Summary"]).strip()
    if not isinstance(inspect.getattr_static(ESTIMATORS[name], method), property):
        assert names_in(doc["Parameters"]) == parameters_of(found)
        assert doc["Returns"] or doc["Yields"]


def shown_attributes(estimator):
    """Fitted attributes, once those are computed that wait to be asked for."""
    for name in dir(type(estimator)):
        if name.endswith("_") and not name.startswith("_"):
            getattr(estimator, name, None)
    getattr(estimator, "offset_", None)
    getattr(estimator, "location_", None)
    return {n for n in vars(estimator) if n.endswith("_") and not n.startswith("_")}


def properties_of(cls):
    return {
        name
        for name, found in inspect.getmembers(cls)
        if isinstance(found, property) and not name.startswith("_")
    }


@by_fitted
def test_fitted_attributes_are_documented_and_exist(name):
    cases = cases_of(name)
    if not cases:
        pytest.skip("torch is absent")
    cls = ESTIMATORS[name]
    listed = set(names_in(documented(cls)["Attributes"]))
    found = set().union(*(shown_attributes(made(case)) for case in cases))
    assert found - listed == set(), "not documented"
    assert listed - found - properties_of(cls) == set(), "never set"
    assert all(getattr(cls, attribute).__doc__ for attribute in properties_of(cls))


# -------------------------------------------------------------------- parameters
@by_class
def test_every_parameter_has_a_constraint(name):
    constraints = ESTIMATORS[name]._parameter_constraints
    assert list(constraints) == parameters_of(ESTIMATORS[name])


@by_fitted
def test_wrong_parameters_are_refused_by_name(name):
    if name == "CNNFeatureExtractor":
        estimator = CASES[name][1] if name in CASES else pytest.skip("torch is absent")
    else:
        estimator = ESTIMATORS[name](*NEEDED.get(name, ()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has no feature names of the form")
        check_param_validation(name, estimator)


@by_case
def test_parameters_survive_fit_clone_and_set_params(case):
    estimator = kept(case)
    given = CASES[case][1].get_params(deep=False)
    now = estimator.get_params(deep=False)
    assert {k: repr(v) for k, v in now.items()} == {k: repr(v) for k, v in given.items()}
    again = type(estimator)(*NEEDED.get(type(estimator).__name__, ()))
    again.set_params(**now)
    for twin in (clone(estimator), again):
        assert repr(twin) == repr(estimator)
        assert not [n for n in vars(twin) if n.endswith("_") and not n.startswith("__")]


@by_class
def test_repr_shows_what_differs_from_the_default(name):
    needed = NEEDED.get(name, ())
    names = parameters_of(ESTIMATORS[name])
    inner = ", ".join(f"{k}={v!r}" for k, v in zip(names, needed, strict=False))
    assert repr(ESTIMATORS[name](*needed)) == f"{name}({inner})"
    shown = {
        "ShrinkageCovariance": ("solver", "dense"),
        "ClassConditionalDetector": ("relative", True),
        "MahalanobisDetector": ("target_fpr", 0.1),
        "KDEDetector": ("whiten", "none"),
        "KernelThinning": ("n_select", 7),
        "LevelEnsemble": ("aggregate", "max"),
        "LowVariancePCA": ("keep", "high"),
        "SyntheticDefects": ("n_per_image", 2),
        "CNNFeatureExtractor": ("pooling", "max"),
    }
    if name in shown:
        key, value = shown[name]
        changed = ESTIMATORS[name](**{key: value})
        assert repr(changed) == f"{name}({key}={value!r})"


@pytest.mark.parametrize(
    ("estimator", "nested"),
    [
        (MahalanobisDetector(ShrinkageCovariance()), "covariance__shrinkage"),
        (LevelEnsemble(MahalanobisDetector()), "detector__shrinkage"),
        (DetectorEnsemble(MEMBERS), "gauss__shrinkage"),
    ],
    ids=str,
)
def test_parameters_of_inner_estimators_can_be_searched(estimator, nested):
    assert estimator.get_params()[nested] == "ledoit_wolf"
    changed = clone(estimator).set_params(**{nested: 0.5})
    assert changed.get_params()[nested] == 0.5
    assert estimator.get_params()[nested] == "ledoit_wolf"


# ------------------------------------------------------------------- persistence
def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def through_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def types_in(estimator):
    """Names of the package's types in an estimator, and of scikit-learn's Bunch."""
    types, todo = set(), [estimator]
    while todo:
        thing = todo.pop()
        if isinstance(thing, BaseEstimator):
            types.add(f"{type(thing).__module__}.{type(thing).__qualname__}")
            todo.extend(vars(thing).values())
        elif isinstance(thing, dict):
            if isinstance(thing, Bunch):  # a dict, which skops does not know
                types.add(f"{Bunch.__module__}.{Bunch.__qualname__}")
            todo.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            todo.extend(thing)
    return sorted(n for n in types if n.startswith(("sklearn_gauss.", "sklearn.utils.")))


def through_skops(estimator):
    written = skops.io.dumps(estimator)
    untrusted = skops.io.get_untrusted_types(data=written)
    assert sorted(untrusted) == types_in(estimator)
    return skops.io.loads(written, trusted=untrusted)


@pytest.mark.parametrize(
    "through", [through_pickle, through_joblib, copy.deepcopy, through_skops]
)
@by_case
def test_saved_and_loaded_gives_the_same_bits(case, through):
    X = CASES[case][2]
    estimator = made(case)
    loaded = through(estimator)  # before anything that waits has been computed
    want, got = answers(estimator, X), answers(loaded, X)
    assert want
    assert want.keys() == got.keys()
    for verb, numbers_ in want.items():
        np.testing.assert_array_equal(got[verb], numbers_, err_msg=verb)
        assert got[verb].dtype == numbers_.dtype
    assert repr(loaded) == repr(estimator)


@pytest.mark.parametrize(
    "case", [c for c in CASES if "stream" in c or c == "ShrinkageCovariance"]
)
def test_a_loaded_stream_goes_on(case):
    X = CASES[case][2]
    estimator = made(case)
    loaded = through_skops(through_pickle(estimator))
    want = answers(estimator.partial_fit(X[::-1] + 1.0), X)
    got = answers(loaded.partial_fit(X[::-1] + 1.0), X)
    for verb, numbers_ in want.items():
        np.testing.assert_array_equal(got[verb], numbers_, err_msg=verb)


def not_plain(value, path):
    """Paths in a fitted state to anything but arrays, numbers, text and estimators."""
    if value is None or isinstance(value, (str, bool, numbers.Number)):
        return []
    if isinstance(value, np.ndarray):
        plain = value.dtype != object or all(isinstance(v, str) for v in value.flat)
        return [] if plain else [path]
    if isinstance(value, dict):
        return [f for k, v in value.items() for f in not_plain(v, f"{path}.{k}")]
    if isinstance(value, (list, tuple)):
        return [f for i, v in enumerate(value) for f in not_plain(v, f"{path}[{i}]")]
    if isinstance(value, BaseEstimator):
        return not_plain(fitted_state(value), path)
    return [f"{path}: {type(value).__name__}"]


def fitted_state(estimator):
    state = estimator.__getstate__()
    return {k: v for k, v in state.items() if k not in estimator.get_params(deep=False)}


@by_case
def test_fitted_state_is_plain(case):
    state = fitted_state(kept(case))
    assert any(name.endswith("_") for name in state) or "_stream" in state
    assert not_plain(state, case) == []


def test_what_is_not_plain_is_seen():
    planted = {"a": [np.ones(2), {"b": object()}], "c": np.array([object()])}
    assert not_plain(planted, "x") == ["x.a[1].b: object", "x.c"]
