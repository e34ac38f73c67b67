"""KernelThinning: what it keeps of any rows, with either engine."""

import math
import sys
from collections import Counter
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss._numerics import thinning
from sklearn_gauss.selection import KernelThinning, _kernel_thinning

needs_goodpoints = pytest.mark.skipif(
    find_spec("goodpoints") is None, reason="goodpoints is not installed"
)
ENGINES = ["own", pytest.param("goodpoints", marks=needs_goodpoints)]


def own(n_select=None, *, random_state=0, **options):
    return KernelThinning(n_select, engine="own", random_state=random_state, **options)


def kept(estimator, X):
    """Indices that have passed what holds for all of them."""
    indices = estimator.fit(X).sample_indices_
    assert indices.dtype.kind == "i"
    assert (np.diff(indices) > 0).all()
    assert indices[0] >= 0
    assert indices[-1] < len(X)
    assert isinstance(estimator.mmd_, float)
    assert 0 <= estimator.mmd_ < math.sqrt(2)
    return indices


def direct_mmd(X, indices, h):
    """Under the Gaussian kernel, from all differences."""
    X = np.asarray(X, np.longdouble)
    squares = ((X[:, None] - X[None]) ** 2).sum(axis=-1) / np.longdouble(h) ** 2
    weights = np.full(len(X), np.longdouble(1) / len(X))
    weights[indices] -= np.longdouble(1) / len(indices)
    return float(np.sqrt(weights @ np.exp(-squares / 2) @ weights))


# ------------------------------------------------------------------------ what it keeps
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["split", "compress"])
@pytest.mark.parametrize("n", [1, 2, 3, 17, 64])
def test_any_number_of_rows_can_be_kept(n, method, engine, rng):
    X = rng.normal(size=(n, 2))
    for n_select in range(1, n + 1):
        estimator = KernelThinning(
            n_select, method=method, oversampling=1, engine=engine, random_state=0
        )
        assert len(kept(estimator, X)) == n_select


@pytest.mark.parametrize(("n", "want"), [(1, 1), (2, 1), (3, 2), (100, 10), (1000, 32)])
def test_the_square_root_is_kept_by_default(n, want, rng):
    assert len(kept(own(), rng.normal(size=(n, 2)))) == want


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_all_rows_have_no_discrepancy(kernel, rng):
    estimator = own(300, kernel=kernel)
    np.testing.assert_array_equal(kept(estimator, rng.normal(size=(300, 3))), range(300))
    assert estimator.mmd_ < 1e-7


def test_the_discrepancy_is_that_of_the_rows_kept(rng):
    X = rng.normal(size=(150, 3)) * [1, 5, 0.2]
    estimator = own().fit(X)
    want = direct_mmd(X, estimator.sample_indices_, estimator.bandwidth_)
    assert estimator.mmd_ == pytest.approx(want, rel=1e-8)


def test_the_discrepancy_behind_compress_is_close(rng):
    X = rng.normal(size=(600, 3))
    estimator = own(method="compress", oversampling=2).fit(X)
    want = direct_mmd(X, estimator.sample_indices_, estimator.bandwidth_)
    assert estimator.mmd_ == pytest.approx(want, rel=0.15)


def test_it_is_its_function(rng):
    X = rng.normal(size=(200, 2))
    estimator = own(9, kernel="exponential", bandwidth=0.7, split_kernel="power").fit(X)
    rows, exponent = thinning.standardise(X)
    points = thinning.Points.of(rows, 1 / thinning.in_units(0.7, exponent))
    indices, mmd = thinning.thin(
        points,
        9,
        kernel="exponential",
        split_kernel="power",
        rng=np.random.RandomState(0),
    )
    np.testing.assert_array_equal(estimator.sample_indices_, np.sort(indices))
    assert estimator.mmd_ == mmd


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["split", "compress"])
def test_thinned_rows_beat_random_ones(engine, method):
    thinned, drawn = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(400, 2))
        estimator = KernelThinning(method=method, engine=engine, random_state=seed).fit(X)
        h = estimator.bandwidth_
        thinned.append(direct_mmd(X, estimator.sample_indices_, h))
        drawn.append(direct_mmd(X, rng.permutation(400)[:20], h))
    assert np.mean(thinned) < 0.25 * np.mean(drawn)


# ---------------------------------------------------------------------------- parameters
def test_the_same_seed_keeps_the_same_rows(rng):
    X = rng.normal(size=(300, 2))
    first = own(random_state=1).fit(X)
    again = clone(first).fit(X)
    np.testing.assert_array_equal(first.sample_indices_, again.sample_indices_)
    assert first.mmd_ == again.mmd_
    state = np.random.RandomState(1)
    np.testing.assert_array_equal(
        own(random_state=state).fit(X).sample_indices_, first.sample_indices_
    )
    moved_on = own(random_state=state).fit(X).sample_indices_
    assert not np.array_equal(moved_on, first.sample_indices_)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_global_state_is_left_alone(engine, rng):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    KernelThinning(engine=engine, random_state=0).fit(rng.normal(size=(100, 2)))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_every_choice_has_an_effect(rng):
    X = rng.normal(size=(2000, 2))  # of fewer rows different kernels may keep the same
    seen = {
        tuple(own(**options).fit(X).sample_indices_)
        for options in (
            {},
            {"kernel": "exponential"},
            {"kernel": "exponential", "split_kernel": "power"},
            {"bandwidth": 0.3},
            {"split_kernel": "target"},
            {"split_kernel": "power"},
            {"method": "compress", "oversampling": 1},
            {"method": "compress", "oversampling": 2},
            {"random_state": 1},
        )
    }
    assert len(seen) == 9


def test_many_rows_are_compressed(monkeypatch, rng):
    X = rng.normal(size=(100, 2))
    monkeypatch.setattr(thinning, "SPLIT_ROWS", 100)
    assert own().fit(X).method_ == "split"
    assert own(method="compress").fit(X).method_ == "compress"
    monkeypatch.setattr(thinning, "SPLIT_ROWS", 99)
    assert own().fit(X).method_ == "compress"
    assert own(method="split").fit(X).method_ == "split"


def test_the_bandwidth_is_the_median_distance(rng):
    X = rng.normal(size=(80, 3))
    distances = np.linalg.norm(X[:, None] - X, axis=-1)[np.triu_indices(80, 1)]
    assert own().fit(X).bandwidth_ == pytest.approx(np.median(distances), rel=1e-12)
    assert own(bandwidth=3).fit(X).bandwidth_ == 3.0


def test_more_rows_than_there_are():
    with pytest.raises(ValueError, match="n_select=6 is more than the 5 rows"):
        own(6).fit(np.arange(5.0)[:, None])


@pytest.mark.parametrize(
    "options",
    [
        {"n_select": 0},
        {"n_select": 2.0},
        {"kernel": "rbf"},
        {"bandwidth": 0.0},
        {"bandwidth": math.nan},
        {"bandwidth": math.inf},
        {"bandwidth": "mean"},
        {"split_kernel": "root"},
        {"method": "thin"},
        {"oversampling": -1},
        {"delta": 0.0},
        {"delta": 1.0},
        {"engine": "goodpoint"},
        {"random_state": "a"},
    ],
    ids=str,
)
def test_parameters_are_checked(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"'{name}' parameter of KernelThinning"):
        KernelThinning(**options).fit(np.arange(5.0)[:, None])


# ------------------------------------------------------------------------- hostile rows
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
@pytest.mark.parametrize("scale", [1e-320, 1e-150, 1e150, 1e300])
def test_scales(kernel, scale, rng):
    X = rng.normal(size=(100, 2))
    estimator = own(kernel=kernel)
    kept(estimator, X * scale)
    unscaled = own(kernel=kernel).fit(X)
    rel = 0.2 if scale < 1e-300 else 1e-6  # subnormal numbers have few digits
    assert estimator.bandwidth_ == pytest.approx(unscaled.bandwidth_ * scale, rel=rel)
    assert estimator.mmd_ < 2.0 * unscaled.mmd_


def test_a_power_of_two_keeps_the_same_rows(rng):
    X = rng.normal(size=(200, 2))
    want = own().fit(X)
    got = own().fit(X * 2.0**300)
    np.testing.assert_array_equal(got.sample_indices_, want.sample_indices_)
    assert got.mmd_ == want.mmd_


def test_offsets(rng):
    X = np.round(rng.normal(size=(200, 2)), 3) * 1024 / 1024
    X = np.round(X * 2**20) / 2**20  # digits that the offset leaves alone
    want = own().fit(X)
    got = own().fit(X + 1e8)
    np.testing.assert_array_equal(got.sample_indices_, want.sample_indices_)
    assert got.mmd_ == pytest.approx(want.mmd_, rel=1e-9)


@pytest.mark.parametrize("bandwidth", [5e-324, 1e-300, 1e300, np.float32(0.5)])
def test_any_bandwidth(bandwidth, rng):
    estimator = own(bandwidth=bandwidth)
    assert len(kept(estimator, rng.normal(size=(50, 2)))) == 7
    assert estimator.bandwidth_ == bandwidth


def test_one_far_row(rng):
    X = rng.normal(size=(200, 2))
    want = own().fit(X)
    got = own().fit(np.vstack([X, [[1e200, 0.0]]]))
    assert got.bandwidth_ == pytest.approx(want.bandwidth_, rel=0.05)
    assert got.mmd_ < 0.1


def test_equal_rows():
    estimator = own(5)
    assert len(kept(estimator, np.full((20, 3), 7.5))) == 5
    assert estimator.mmd_ == 0
    assert estimator.bandwidth_ > 0


def test_duplicated_rows_are_rows_of_their_own(rng):
    X = np.repeat(rng.normal(size=(4, 2)), 16, axis=0)
    estimator = own(8)
    indices = kept(estimator, X)
    np.testing.assert_array_equal(np.bincount(indices // 16), [2, 2, 2, 2])
    assert estimator.mmd_ < 1e-7


def test_float32(rng):
    X = rng.normal(size=(200, 2)).astype(np.float32)
    single, double = own().fit(X), own().fit(X.astype(np.float64))
    np.testing.assert_array_equal(single.sample_indices_, double.sample_indices_)


def test_rows_are_left_alone(rng):
    X = rng.normal(size=(50, 2))
    before = X.copy()
    X.setflags(write=False)
    own().fit(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rows_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        own().fit([[0.0], [bad]])


def test_before_the_fit():
    with pytest.raises(NotFittedError):
        check_is_fitted(own())


# ------------------------------------------------------------------------------ engines
@pytest.fixture
def without_goodpoints(monkeypatch):
    monkeypatch.setitem(sys.modules, "goodpoints", None)


@pytest.mark.usefixtures("without_goodpoints")
def test_without_goodpoints(rng):
    X = rng.normal(size=(30, 2))
    estimator = KernelThinning(random_state=0).fit(X)
    assert estimator.engine_ == "own"
    np.testing.assert_array_equal(estimator.sample_indices_, own().fit(X).sample_indices_)
    with pytest.raises(ImportError, match="needs the package goodpoints: pip install"):
        KernelThinning(engine="goodpoints").fit(X)


@pytest.fixture
def calls(monkeypatch):
    """A goodpoints that keeps what it is asked, and answers by the order of rows."""
    seen = []

    def split(X, m, kernel, delta=0.5, seed=None):
        assert X.flags.c_contiguous
        assert X.dtype == np.float64
        assert isinstance(seed, int)
        seen.append(("split", X, m, kernel(X[:1], X), delta))
        return np.arange(len(X)).reshape(-1, 2**m).T

    def refine_X(X, coreset, kernel, meanK=None, unique=False):
        assert unique
        assert np.ndim(kernel(X[:1], X[:1])) == 0
        means = [kernel(x[None], X).mean() for x in X]
        seen.append(("refine", X, coreset, means, meanK))
        return coreset

    package, module = ModuleType("goodpoints"), ModuleType("goodpoints.kt")
    module.split, module.refine_X = split, refine_X
    package.kt = module
    monkeypatch.setitem(sys.modules, "goodpoints", package)
    monkeypatch.setitem(sys.modules, "goodpoints.kt", module)
    return seen


def test_what_goodpoints_is_asked(calls, rng):
    X = rng.normal(size=(70, 2))
    estimator = KernelThinning(8, delta=0.25, random_state=0)
    assert len(kept(estimator, X)) == 8
    assert estimator.engine_ == "goodpoints"
    (_, rows, m, values, delta), (_, pool, chosen, means, given) = calls
    assert (rows.shape, m, delta) == ((64, 2), 3, 0.25)
    assert values[0] == pytest.approx(2.0)  # the sum of kernels that are 1 at zero
    assert pool.shape == (70, 2)
    assert len(set(chosen.tolist())) == 8
    np.testing.assert_allclose(given, means, rtol=1e-12)
    # Differences of rows are those of X in units of the bandwidth.
    sizes = np.sort(np.linalg.norm(pool - pool.mean(axis=0), axis=1))
    want = np.sort(np.linalg.norm(X - X.mean(axis=0), axis=1)) / estimator.bandwidth_
    np.testing.assert_allclose(sizes, want, rtol=1e-9)


def test_what_goodpoints_is_asked_behind_compress(calls, rng):
    estimator = KernelThinning(
        8, method="compress", oversampling=1, engine="goodpoints", random_state=0
    )
    assert len(kept(estimator, rng.normal(size=(64, 2)))) == 8
    halvings = [(len(rows), m) for name, rows, m, *_ in calls if name == "split"]
    assert halvings == [(16, 1)] * 4 + [(32, 1)] + [(16, 1)]


def gaussian_rows(seed):
    return np.random.default_rng(seed).normal(size=(500, 3))


@needs_goodpoints
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
@pytest.mark.parametrize("split_kernel", ["target", "power", "sum"])
def test_engines_are_equally_good(kernel, split_kernel):
    mmds = {
        engine: np.mean(
            [
                KernelThinning(
                    kernel=kernel,
                    split_kernel=split_kernel,
                    engine=engine,
                    random_state=seed,
                )
                .fit(gaussian_rows(seed))
                .mmd_
                for seed in range(12)
            ]
        )
        for engine in ("own", "goodpoints")
    }
    assert mmds["own"] == pytest.approx(mmds["goodpoints"], rel=0.15)


@needs_goodpoints
@pytest.mark.parametrize("split_kernel", ["target", "power", "sum"])
def test_engines_halve_alike(split_kernel):
    """Parts before any refinement: the same mean square discrepancies."""
    target = thinning.PROFILES["gaussian"]["target"]
    profile = thinning.PROFILES["gaussian"][split_kernel]
    squares = {"own": [], "goodpoints": []}
    for seed in range(40):
        points = thinning.Points.of(gaussian_rows(seed)[:256], 0.5)
        everything = np.arange(256)
        means = thinning.mean_embedding(points, everything, everything, target)
        for name, found in squares.items():
            engine = _kernel_thinning._ENGINES[name]()
            rng = np.random.RandomState(seed)
            parts = engine.split(points, everything[None], 3, profile, 0.5, rng)
            assert sorted(parts.ravel().tolist()) == list(range(256))
            gaps = thinning.discrepancies(points, parts, target, means)
            found.append(np.mean(gaps + means.mean()))
    assert np.mean(squares["own"]) == pytest.approx(
        np.mean(squares["goodpoints"]), rel=0.1
    )


@needs_goodpoints
def test_engines_refine_alike():
    """To the same discrepancy nearly, and never to a greater one than before."""
    target = thinning.PROFILES["gaussian"]["target"]
    points, everything = thinning.Points.of(gaussian_rows(0), 0.5), np.arange(500)
    means = thinning.mean_embedding(points, everything, everything, target)
    sets = [np.arange(22)]
    for name in ("own", "goodpoints"):
        refine = _kernel_thinning._ENGINES[name]().refine
        sets.append(np.asarray(refine(points, sets[0], target, means)))
    before, ours, theirs = (
        thinning.discrepancies(points, np.array(sets), target, means) + means.mean()
    )
    assert max(ours, theirs) < 0.2 * before
    assert ours == pytest.approx(theirs, rel=0.3)


# ---------------------------------------------------------------- scikit-learn's checks
def test_there_are_enough_checks():
    checks = Counter(
        getattr(check, "func", check).__name__
        for _, check in estimator_checks_generator(own())
    )
    assert sum(checks.values()) >= 40
    assert {"check_estimators_nan_inf", "check_methods_subset_invariance"} <= set(checks)


@pytest.mark.parametrize(
    "estimator",
    [
        own(),
        own(1, bandwidth=1.0, split_kernel="target"),
        own(kernel="exponential", split_kernel="power"),
        own(method="compress", oversampling=1),
        pytest.param(KernelThinning(engine="goodpoints"), marks=needs_goodpoints),
    ],
    ids=str,
)
def test_scikit_learn_checks(estimator):
    for instance, check in estimator_checks_generator(estimator):
        check(instance)
