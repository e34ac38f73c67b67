"""ShrinkageCovariance: against scikit-learn, in chunks, without p x p arrays."""

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance, LedoitWolf, ShrunkCovariance
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.covariance import _shrinkage_covariance as module
from sklearn_gauss.exceptions import DistanceOverflowWarning, RankDeficientWarning

steady = settings(deadline=None, max_examples=30, derandomize=True)
RULES = ["ledoit_wolf", "oas", "rblw", "loo", 0.3, 1.0]


def drawn(n, p, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(p, p)) * np.logspace(0, -1, p)
    return rng.normal(size=(n, p)) @ mix + rng.normal(size=p)


TALL, WIDE = drawn(80, 10), drawn(25, 60)
by_shape = pytest.mark.parametrize("X", [TALL, WIDE], ids=["n > p", "n < p"])
by_rule = pytest.mark.parametrize("shrinkage", RULES)


def left_out_likelihood(X, amount):
    """Mean log-density of every row under the fit to the others, by scipy."""
    found = []
    for i, row in enumerate(X):
        others = np.delete(X, i, axis=0)
        S = np.cov(others.T, bias=True)
        target = np.trace(S) / len(S)
        sigma = (1 - amount) * S + amount * target * np.eye(len(S))
        found.append(stats.multivariate_normal(others.mean(axis=0), sigma).logpdf(row))
    return np.mean(found)


# -------------------------------------------------------------- against the others
@by_shape
@pytest.mark.parametrize("assume_centered", [False, True])
def test_distances_are_those_of_scikit_learns_ledoit_wolf(X, assume_centered):
    Q = np.vstack([X, 3 * X[:5] + 1])
    ours = ShrinkageCovariance(assume_centered=assume_centered).fit(X)
    theirs = LedoitWolf(assume_centered=assume_centered).fit(X)
    assert ours.shrinkage_ == pytest.approx(theirs.shrinkage_, rel=1e-11)
    np.testing.assert_allclose(ours.mahalanobis(Q), theirs.mahalanobis(Q), rtol=1e-9)
    np.testing.assert_allclose(ours.location_, theirs.location_, atol=1e-13)
    np.testing.assert_allclose(ours.covariance_, theirs.covariance_, atol=1e-12)
    np.testing.assert_allclose(
        ours.precision_, theirs.precision_, atol=1e-10 * np.abs(theirs.precision_).max()
    )
    assert ours.log_det_ == pytest.approx(
        np.linalg.slogdet(theirs.covariance_)[1], rel=1e-10
    )


@by_shape
@pytest.mark.parametrize("shrinkage", [0.01, 0.5, 1.0])
def test_a_fixed_intensity_is_scikit_learns(X, shrinkage):
    ours = ShrinkageCovariance(shrinkage).fit(X)
    theirs = ShrunkCovariance(shrinkage=shrinkage).fit(X)
    np.testing.assert_allclose(ours.mahalanobis(X), theirs.mahalanobis(X), rtol=1e-9)
    assert ours.shrinkage_ == shrinkage


def test_unshrunk_is_the_empirical_covariance():
    ours, theirs = ShrinkageCovariance(0.0).fit(TALL), EmpiricalCovariance().fit(TALL)
    np.testing.assert_allclose(
        ours.mahalanobis(TALL), theirs.mahalanobis(TALL), rtol=1e-10
    )
    assert ours.rank_ == 10


@by_shape
@by_rule
def test_densities_are_those_of_scipy(X, shrinkage):
    model = ShrinkageCovariance(shrinkage).fit(X)
    law = stats.multivariate_normal(model.location_, model.covariance_)
    np.testing.assert_allclose(model.score_samples(X), law.logpdf(X), rtol=1e-9)
    assert model.score(X) == pytest.approx(law.logpdf(X).mean(), rel=1e-10)


@by_shape
@by_rule
def test_solvers_agree(X, shrinkage):
    models = [
        ShrinkageCovariance(shrinkage, solver=solver).fit(X)
        for solver in ("dense", "lowrank", "auto")
    ]
    want = models[0].mahalanobis(X)
    assert hasattr(models[0], "precision_factor_")
    assert hasattr(models[1], "components_")
    assert hasattr(models[2], "components_") == (len(X) <= X.shape[1])
    for model in models[1:]:
        assert model.shrinkage_ == pytest.approx(models[0].shrinkage_, rel=1e-6)
        # "loo" leaves its maximum to the search's tolerance
        rtol = 1e-6 if shrinkage == "loo" else 1e-10
        np.testing.assert_allclose(model.mahalanobis(X), want, rtol=rtol)
        assert model.log_det_ == pytest.approx(models[0].log_det_, rel=rtol)
        np.testing.assert_allclose(
            model.precision_, models[0].precision_, atol=rtol * 1e3
        )


@by_shape
@by_rule
def test_attributes_say_what_is_fitted(X, shrinkage):
    model = ShrinkageCovariance(shrinkage, solver="lowrank").fit(X)
    p = X.shape[1]
    axes, excess = model.components_, model.excess_variance_
    assert axes.shape == (len(excess), p)
    assert len(excess) <= min(p, len(X) - 1)
    sigma = (axes.T * excess) @ axes + model.noise_variance_ * np.eye(p)
    np.testing.assert_allclose(sigma, model.covariance_, atol=1e-11)
    assert model.rank_ == p
    assert model.n_samples_seen_ == len(X)
    assert model.scale_ == 1
    if shrinkage != 1.0:
        dense = ShrinkageCovariance(shrinkage, solver="dense").fit(X)
        F = dense.precision_factor_
        np.testing.assert_allclose(F @ F.T, dense.precision_, rtol=1e-12)


# --------------------------------------------------------------------------- "loo"
@pytest.mark.parametrize(("n", "p"), [(14, 25), (40, 5)], ids=["n < p", "n > p"])
@pytest.mark.parametrize("solver", ["auto", "dense"])
def test_loo_maximises_the_left_out_likelihood(n, p, solver):
    X = drawn(n, p, seed=4)
    chosen = ShrinkageCovariance("loo", solver=solver).fit(X).shrinkage_
    grid = np.r_[np.logspace(-3, 0, 25), chosen * 0.98, min(chosen * 1.02, 1)]
    best = max(left_out_likelihood(X, amount) for amount in grid)
    assert left_out_likelihood(X, chosen) >= best - 1e-10
    assert left_out_likelihood(X, chosen) > left_out_likelihood(X, 1e-3)


@by_shape
@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", 0.3])
def test_leave_one_out_is_n_refits(X, shrinkage):
    model = ShrinkageCovariance(shrinkage).fit(X)
    squares, densities = model.leave_one_out(X)
    for i in range(0, len(X), 7):
        others = ShrinkageCovariance(shrinkage).fit(np.delete(X, i, axis=0))
        assert squares[i] == pytest.approx(others.mahalanobis(X[i : i + 1])[0], rel=1e-10)
        assert densities[i] == pytest.approx(
            others.score_samples(X[i : i + 1])[0], rel=1e-10
        )


def test_leave_one_out_takes_some_of_many_rows():
    model = ShrinkageCovariance().fit(TALL)
    whole, some = model.leave_one_out(TALL)[0], model.leave_one_out(TALL[[5, 2]])[0]
    np.testing.assert_allclose(some, whole[[5, 2]], rtol=1e-12)


def test_leave_one_out_of_few_rows_needs_all_of_them():
    model = ShrinkageCovariance().fit(WIDE)
    for other in (WIDE[:3], WIDE[::-1]):
        with pytest.raises(ValueError, match="X is not the 25 rows of the fit"):
            model.leave_one_out(other)


def test_leave_one_out_after_a_stream():
    streamed = ShrinkageCovariance()
    for rows in np.array_split(TALL, 5):
        streamed.partial_fit(rows)
    np.testing.assert_allclose(
        streamed.leave_one_out(TALL)[1],
        ShrinkageCovariance().fit(TALL).leave_one_out(TALL)[1],
        rtol=1e-10,
    )


# ---------------------------------------------------------------------- partial_fit
@by_shape
@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", "rblw", 0.3])
@pytest.mark.parametrize("chunks", [1, 2, 7, None], ids=str)
def test_chunks_give_what_one_fit_gives(X, shrinkage, chunks):
    streamed = ShrinkageCovariance(shrinkage)
    for rows in np.array_split(X, chunks or len(X)):  # None: single rows
        assert streamed.partial_fit(rows) is streamed
    whole = ShrinkageCovariance(shrinkage).fit(X)
    assert streamed.shrinkage_ == pytest.approx(whole.shrinkage_, rel=1e-10)
    np.testing.assert_allclose(streamed.mahalanobis(X), whole.mahalanobis(X), rtol=1e-10)
    np.testing.assert_allclose(streamed.location_, whole.location_, atol=1e-13)
    assert streamed.log_det_ == pytest.approx(whole.log_det_, rel=1e-11)
    assert streamed.n_samples_seen_ == len(X)


@by_shape
def test_the_loo_intensity_follows_a_stream(X):
    streamed = ShrinkageCovariance("loo")
    for rows in np.array_split(X, 4):
        streamed.partial_fit(rows)
    assert streamed.shrinkage_ == pytest.approx(
        ShrinkageCovariance("loo").fit(X).shrinkage_, rel=1e-6
    )


@by_shape
def test_partial_fit_goes_on_after_fit(X):
    model = ShrinkageCovariance().fit(X[:20]).partial_fit(X[20:])
    np.testing.assert_allclose(
        model.mahalanobis(X), ShrinkageCovariance().fit(X).mahalanobis(X), rtol=1e-10
    )
    assert model.n_samples_seen_ == len(X)


def test_fit_starts_anew():
    model = ShrinkageCovariance().fit(TALL * 5).partial_fit(TALL + 1).fit(TALL)
    want = ShrinkageCovariance().fit(TALL)
    np.testing.assert_array_equal(model.mahalanobis(TALL), want.mahalanobis(TALL))
    assert model.n_samples_seen_ == 80


@steady
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 40),
    st.integers(1, 20),
    st.lists(st.integers(1, 39), max_size=5),
)
def test_any_cut_gives_what_one_fit_gives(seed, n, p, cuts):
    X = drawn(n, p, seed) + 1e4
    streamed = ShrinkageCovariance(0.2)
    for rows in np.split(X, sorted(c for c in set(cuts) if c < n)):
        streamed.partial_fit(rows)
    np.testing.assert_allclose(
        streamed.mahalanobis(X), ShrinkageCovariance(0.2).fit(X).mahalanobis(X), rtol=1e-9
    )


def test_attributes_wait_until_they_are_asked_for(monkeypatch):
    calls = []
    original = module.estimate
    monkeypatch.setattr(
        module, "estimate", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    model = ShrinkageCovariance()
    for rows in np.array_split(TALL, 8):
        model.partial_fit(rows)
    assert calls == []
    assert model.n_samples_seen_ == 80
    assert model.rank_ == 10
    assert len(calls) == 1
    assert model.shrinkage_ > 0
    assert model.mahalanobis(TALL).shape == (80,)
    assert len(calls) == 1
    assert not hasattr(model.partial_fit(TALL[:1]), "no_such_thing_")


# ------------------------------------------------------------------------ p x p
def test_nothing_of_size_p_by_p_is_formed():
    n, p = 12, 20_000
    X = np.random.default_rng(0).normal(size=(n, p))
    tracemalloc.start()
    model = ShrinkageCovariance().fit(X)
    model.mahalanobis(X)
    model.leave_one_out(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * X.nbytes  # p x p would be 1667 times


@pytest.mark.parametrize("name", ["covariance_", "precision_", "get_precision"])
def test_large_matrices_are_refused_before_they_are_allocated(name):
    p = 12_000
    model = ShrinkageCovariance(0.5).fit(np.random.default_rng(0).normal(size=(3, p)))
    tracemalloc.start()
    with pytest.raises(MemoryError, match=r"12000 x 12000 would take 1\.1 GiB"):
        getattr(model, name)()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_matrices_up_to_the_limit_are_made(monkeypatch):
    model = ShrinkageCovariance().fit(WIDE)
    monkeypatch.setattr(module, "MAX_DENSE_BYTES", 8 * 60**2)
    assert model.covariance_.shape == model.precision_.shape == (60, 60)
    monkeypatch.setattr(module, "MAX_DENSE_BYTES", 8 * 60**2 - 1)
    with pytest.raises(MemoryError):
        model.get_precision()


@by_shape
def test_precision_is_the_inverse(X):
    model = ShrinkageCovariance().fit(X)
    np.testing.assert_allclose(
        model.precision_ @ model.covariance_, np.eye(X.shape[1]), atol=1e-9
    )
    np.testing.assert_array_equal(model.get_precision(), model.precision_)


# -------------------------------------------------------------- warnings and errors
VERBS = ["mahalanobis", "score_samples", "score", "leave_one_out"]


@pytest.mark.parametrize("verb", VERBS)
def test_not_fitted(verb):
    with pytest.raises(
        NotFittedError, match="ShrinkageCovariance instance is not fitted"
    ):
        getattr(ShrinkageCovariance(), verb)(TALL)


@pytest.mark.parametrize("name", ["covariance_", "precision_", "get_precision"])
def test_not_fitted_has_no_matrices(name):
    with pytest.raises(NotFittedError):
        getattr(ShrinkageCovariance(), name)()


@pytest.mark.parametrize("rows", [TALL[:1], np.ones((4, 10))], ids=["one", "equal"])
@pytest.mark.parametrize("verb", VERBS)
def test_too_little_seen_says_so(rows, verb):
    model = ShrinkageCovariance().partial_fit(rows)
    with pytest.raises(NotFittedError, match=f"The {len(rows)} rows seen so far have no"):
        getattr(model, verb)(TALL)
    model.partial_fit(TALL)
    assert np.isfinite(model.score(TALL))


def test_rows_that_are_all_equal_are_refused():
    with pytest.raises(ValueError, match="X has no variance: all 5 rows are equal"):
        ShrinkageCovariance().fit(np.full((5, 3), 0.1))
    with pytest.raises(ValueError, match="rows are equal to zero"):
        ShrinkageCovariance(assume_centered=True).fit(np.zeros((5, 3)))
    model = ShrinkageCovariance(0.1, assume_centered=True).fit(np.ones((5, 3)))
    assert model.rank_ == 3


def test_one_row_is_refused():
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        ShrinkageCovariance().fit(TALL[:1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_values_are_refused(bad):
    X = TALL.copy()
    X[3, 2] = bad
    for verb in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            getattr(ShrinkageCovariance(), verb)(X)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        ShrinkageCovariance().fit(TALL).mahalanobis(X)


def test_a_failed_fit_leaves_nothing_that_looks_fitted():
    model = ShrinkageCovariance()
    with pytest.raises(ValueError, match="no variance"):
        model.fit(np.ones((4, 2)))
    with pytest.raises(NotFittedError):
        model.mahalanobis(np.ones((1, 2)))


def test_a_singular_unshrunk_covariance_warns_with_its_rank():
    with pytest.warns(RankDeficientWarning, match="rank 24 in 60 dimensions"):
        model = ShrinkageCovariance(0.0).fit(WIDE)
    assert model.rank_ == 24
    np.testing.assert_allclose(
        model.precision_, np.linalg.pinv(model.covariance_, rcond=1e-10), atol=1e-8
    )
    np.testing.assert_allclose(model.mahalanobis(WIDE).mean(), 24.0)
    copied = np.c_[TALL, TALL[:, 0]]
    with pytest.warns(RankDeficientWarning, match="rank 10 in 11 dimensions"):
        ShrinkageCovariance(0.0).fit(copied)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ShrinkageCovariance(0.01).fit(copied).rank_ == 11


def test_a_distance_beyond_float64_is_clipped_with_a_warning():
    model = ShrinkageCovariance().fit(TALL)
    with pytest.warns(DistanceOverflowWarning, match="1 squared distances exceed"):
        found = model.mahalanobis(np.vstack([TALL[:2], np.full((1, 10), 1e200)]))
    assert found[2] == np.finfo(np.float64).max
    assert found[0] < 1e3


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="masked array"):
        ShrinkageCovariance().fit(np.ma.masked_greater(TALL, 5))


# ----------------------------------------------------------------------- scikit-learn
def test_a_search_chooses_the_intensity_by_likelihood():
    """Where the truth is a multiple of the identity, the more the better."""
    X = np.random.default_rng(6).normal(size=(30, 12))
    grid = {"shrinkage": [0.0, 1e-3, 0.1, 1.0]}
    search = GridSearchCV(ShrinkageCovariance(), grid, cv=4).fit(X)
    assert search.best_params_ == {"shrinkage": 1.0}
    assert (np.diff(search.cv_results_["mean_test_score"]) > 0).all()


def test_the_training_rows_are_left_alone():
    X = TALL.copy()
    X.flags.writeable = False
    before = X.copy()
    model = clone(ShrinkageCovariance()).fit(X)
    model.partial_fit(X).mahalanobis(X)
    np.testing.assert_array_equal(X, before)
