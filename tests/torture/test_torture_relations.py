"""Relations that hold whatever the data: invariances, limits, refits, laws.

Every property says with `event` how many of its examples it decided.
"""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from reference import FLOAT_MAX
from scipy import stats
from sklearn.covariance import EmpiricalCovariance, LedoitWolf, ShrunkCovariance

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.exceptions import CalibrationWarning, RankDeficientWarning

RTOL = 1e-9
often = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
shrunk = pytest.mark.parametrize("shrinkage", [0.1, "ledoit_wolf", "oas", "rblw"])
seeds = st.integers(0, 2**32 - 1)


@st.composite
def tall(draw, most=30, features=6):
    """(X, Q, rng): more rows than features, multiples of 2^-10, condition up to 1e3."""
    p = draw(st.integers(1, features))
    n = draw(st.integers(p + 2, most))
    return rows(draw(seeds), n, p, draw(st.floats(0, 3)))


@st.composite
def any_shape(draw, fewest=4, most=16, features=20):
    """(X, Q, rng): fewer rows than features, or more."""
    n, p = draw(st.integers(fewest, most)), draw(st.integers(1, features))
    return rows(draw(seeds), n, p, draw(st.floats(0, 2)))


def rows(seed, n, p, log_condition):
    rng = np.random.default_rng(seed)
    spread = np.logspace(0, -log_condition, p)
    mix = np.linalg.qr(rng.normal(size=(p, p)))[0] * spread
    X = rng.normal(size=(n + 4, p)) @ mix.T @ np.linalg.qr(rng.normal(size=(p, p)))[0]
    X = np.round(X * 2**20) / 2**20
    return X[:n], np.vstack([X, 3 * X[-1:]]), rng


def fit(X, shrinkage, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficientWarning)
        return ShrinkageCovariance(shrinkage, **kwargs).fit(X)


def detector(X, shrinkage, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficientWarning)
        warnings.simplefilter("ignore", CalibrationWarning)
        return MahalanobisDetector(shrinkage=shrinkage, **kwargs).fit(X)


def distances(X, Q, shrinkage=0.0):
    return fit(X, shrinkage).mahalanobis(Q)


def assert_same(got, want, rtol=RTOL, floor=1e-3):
    """Relative agreement; distances below the floor count as the floor."""
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * floor)


def decided(X, most=1e6):
    """Whether float64 determines the unshrunk answer to the tolerance."""
    Z = X - X.mean(axis=0)
    spread = Z.std(axis=0)
    ok = bool((spread > 0).all()) and np.linalg.cond(Z / spread) < most
    event("decided" if ok else "too close to singular")
    return ok


def rotation(rng, p):
    return np.linalg.qr(rng.normal(size=(p, p)))[0]


# ------------------------------------------------- both, whatever the shrinkage
either = pytest.mark.parametrize("shrinkage", [0.0, 0.1, "ledoit_wolf", "oas", "rblw"])


def example_for(shrinkage):
    return tall() if shrinkage == 0.0 else any_shape()


@either
@often
@given(data=st.data())
def test_rows_may_be_permuted(shrinkage, data):
    X, Q, rng = data.draw(example_for(shrinkage))
    if shrinkage or decided(X):
        assert_same(
            distances(rng.permutation(X), Q, shrinkage), distances(X, Q, shrinkage)
        )


@either
@often
@given(data=st.data())
def test_columns_may_be_permuted(shrinkage, data):
    X, Q, rng = data.draw(example_for(shrinkage))
    order = rng.permutation(X.shape[1])
    if shrinkage or decided(X):
        assert_same(
            distances(X[:, order], Q[:, order], shrinkage), distances(X, Q, shrinkage)
        )


@either
@often
@given(data=st.data(), size=st.integers(0, 24))
def test_translation(shrinkage, data, size):
    X, Q, rng = data.draw(example_for(shrinkage))
    shift = rng.integers(-(2**size), 2**size + 1, size=X.shape[1])
    assert ((X + shift) - shift == X).all()  # the sums are exact
    if shrinkage or decided(X):
        assert_same(
            distances(X + shift, Q + shift, shrinkage), distances(X, Q, shrinkage)
        )


@either
@often
@given(data=st.data())
def test_rotation(shrinkage, data):
    X, Q, rng = data.draw(example_for(shrinkage))
    turn = rotation(rng, X.shape[1])
    if shrinkage or decided(X, 1e4):
        assert_same(distances(X @ turn, Q @ turn, shrinkage), distances(X, Q, shrinkage))


@either
@often
@given(data=st.data(), exponent=st.floats(-100, 100))
def test_one_common_scale(shrinkage, data, exponent):
    X, Q, _ = data.draw(example_for(shrinkage))
    scale = 10.0**exponent
    if shrinkage or decided(X, 1e4):
        assert_same(
            distances(X * scale, Q * scale, shrinkage), distances(X, Q, shrinkage)
        )


@either
@often
@given(data=st.data(), exponent=st.integers(-300, 300))
def test_one_common_power_of_two(shrinkage, data, exponent):
    X, Q, _ = data.draw(example_for(shrinkage))
    scale = 2.0**exponent
    got, want = distances(X * scale, Q * scale, shrinkage), distances(X, Q, shrinkage)
    if shrinkage:
        assert_same(got, want, 1e-12)
    else:
        np.testing.assert_array_equal(got, want)  # bitwise


@either
@often
@given(data=st.data())
def test_batches_may_be_split(shrinkage, data):
    X, Q, rng = data.draw(example_for(shrinkage))
    fitted = fit(X, shrinkage)
    cut = rng.integers(1, len(Q))
    parts = [fitted.mahalanobis(Q[:cut]), fitted.mahalanobis(Q[cut:])]
    assert_same(np.concatenate(parts), fitted.mahalanobis(Q), 1e-12)


@either
@often
@given(data=st.data())
def test_distance_grows_along_a_ray_from_the_mean(shrinkage, data):
    X, _, rng = data.draw(example_for(shrinkage))
    fitted = fit(X, shrinkage)
    steps = np.logspace(-3, 30, 40)
    ray = fitted.location_ + steps[:, None] * rng.normal(size=X.shape[1])
    got = fitted.mahalanobis(ray)
    assert (np.diff(got) > 0).all()
    ratio = got[-1] / got[-2] / (steps[-1] / steps[-2]) ** 2
    assert abs(ratio - 1) < 1e-9


@either
@often
@given(data=st.data())
def test_detector_and_covariance_agree(shrinkage, data):
    X, Q, _ = data.draw(example_for(shrinkage))
    covariance, found = fit(X, shrinkage), detector(X, shrinkage)
    assert_same(found.mahalanobis(Q), covariance.mahalanobis(Q), 1e-12)
    assert_same(found.score_samples(Q), covariance.score_samples(Q), 1e-12, 1.0)
    assert covariance.score(Q) == pytest.approx(covariance.score_samples(Q).mean())
    assert found.score(Q) == pytest.approx(found.score_samples(Q).mean())
    np.testing.assert_array_equal(
        found.decision_function(Q), found.score_samples(Q) - found.offset_
    )
    np.testing.assert_array_equal(
        found.predict(Q), np.where(found.decision_function(Q) < 0, -1, 1)
    )


# -------------------------------------------------------------------- unshrunk
@often
@given(example=tall(), log_condition=st.floats(0, 3))
def test_invertible_affine_map(example, log_condition):
    X, Q, rng = example
    p = X.shape[1]
    spread = np.logspace(0, -log_condition, p)
    A = rotation(rng, p) * spread @ rotation(rng, p)
    shift = rng.normal(size=p)
    if decided(X, 1e4) and decided(X @ A + shift, 1e5):
        assert_same(distances(X @ A + shift, Q @ A + shift), distances(X, Q))


@often
@given(example=tall(), top=st.integers(0, 250))
def test_columns_in_other_units(example, top):
    X, Q, rng = example
    units = 2.0 ** rng.integers(-top, top + 1, size=X.shape[1])
    if decided(X):
        assert_same(distances(X * units, Q * units), distances(X, Q))


@often
@given(example=tall())
def test_every_row_twice(example):
    X, Q, _ = example
    if decided(X):
        assert_same(distances(np.repeat(X, 2, axis=0), Q), distances(X, Q))


@often
@given(example=tall())
def test_log_density_under_an_affine_map(example):
    X, Q, rng = example
    p = X.shape[1]
    A = rotation(rng, p) * rng.uniform(0.5, 2, size=p)
    if decided(X, 1e4):
        got = fit(X @ A, 0.0).score_samples(Q @ A) + np.linalg.slogdet(A)[1]
        assert_same(got, fit(X, 0.0).score_samples(Q), floor=1.0)


@often
@given(example=any_shape(), copies=st.integers(0, 2))
def test_mean_squared_distance_of_the_training_rows_is_the_rank(example, copies):
    X, _, _ = example
    p = X.shape[1]
    X = np.hstack([X] + [X[:, :1]] * copies)
    rank = min(p, len(X) - 1)
    if rank == p and not decided(X[:, :p], 1e5):
        return
    event(f"singular: {rank < X.shape[1]}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = ShrinkageCovariance(0.0).fit(X)
    assert fitted.mahalanobis(X).mean() == pytest.approx(rank, rel=1e-9)
    singular = [w for w in caught if issubclass(w.category, RankDeficientWarning)]
    assert bool(singular) == (rank < X.shape[1])
    assert len(singular) == len(caught)


# ------------------------------------------------------------------ intensities
@often
@given(example=any_shape())
def test_intensity_one_is_the_scaled_euclidean_distance(example):
    X, Q, _ = example
    Z = X - X.mean(axis=0)
    scale = (Z**2).sum() / Z.size
    want = ((Q - X.mean(axis=0)) ** 2).sum(axis=1) / scale
    assert_same(distances(X, Q, 1.0), want)


@often
@given(example=tall(), exponent=st.floats(-14, -3))
def test_a_vanishing_intensity_tends_to_none(example, exponent):
    X, Q, _ = example
    a = 10.0**exponent
    if decided(X, 1e4):
        values = np.linalg.eigvalsh(np.cov(X.T, bias=True).reshape(X.shape[1], -1))
        bound = a * (1 + values.mean() / values.min()) * 1.01 + RTOL
        want = distances(X, Q)
        assert (np.abs(distances(X, Q, a) - want) <= bound * (want + 1e-3)).all()


@often
@given(example=any_shape(), exponent=st.floats(-14, -1))
def test_a_small_intensity_off_the_support(example, exponent):
    """What leaves the support of n < p rows costs its squared length over a mu."""
    X, _, rng = example
    n, p = X.shape
    if n >= p:
        event("full rank")
        return
    event("decided")
    a = 10.0**exponent
    Z = X - X.mean(axis=0)
    away = rng.normal(size=p)
    for _ in range(3):
        away = away - np.linalg.pinv(Z) @ (Z @ away)
    want = away @ away / (a * (Z**2).sum() / n / p)
    got = distances(X, (X.mean(axis=0) + away)[None], a)
    np.testing.assert_allclose(got, [want], rtol=1e-6)


@shrunk
@often
@given(example=any_shape())
def test_both_solvers_agree(shrinkage, example):
    X, Q, _ = example
    dense, lowrank = (fit(X, shrinkage, solver=s) for s in ("dense", "lowrank"))
    assert dense.shrinkage_ == pytest.approx(lowrank.shrinkage_, rel=1e-10)
    assert_same(lowrank.mahalanobis(Q), dense.mahalanobis(Q))
    assert_same(lowrank.score_samples(Q), dense.score_samples(Q), floor=1.0)
    assert_same(lowrank.covariance_, dense.covariance_)
    assert_same(lowrank.get_precision(), dense.get_precision(), 1e-8)
    assert_same(fit(X, shrinkage).mahalanobis(Q), dense.mahalanobis(Q))


@shrunk
@often
@given(example=any_shape())
def test_distance_is_the_quadratic_form_of_the_precision(shrinkage, example):
    X, Q, _ = example
    fitted = fit(X, shrinkage)
    Z = Q - fitted.location_
    want = np.einsum("ij,jk,ik->i", Z, fitted.get_precision(), Z)
    assert_same(fitted.mahalanobis(Q), want)
    np.testing.assert_array_equal(fitted.precision_, fitted.get_precision())
    identity = fitted.covariance_ @ fitted.precision_
    assert_same(identity, np.eye(X.shape[1]), floor=1.0)


@shrunk
@often
@given(example=any_shape(fewest=2))
def test_assumed_mean(shrinkage, example):
    """assume_centered is the covariance about zero of the rows as they are."""
    X, Q, _ = example
    both = fit(np.vstack([X, -X]), shrinkage)  # their mean is zero
    assumed = fit(np.vstack([X, -X]), shrinkage, assume_centered=True)
    assert (assumed.location_ == 0).all()
    assert_same(assumed.mahalanobis(Q), both.mahalanobis(Q))


@often
@given(example=any_shape())
def test_loo_intensity_is_the_most_likely(example):
    X, _, _ = example
    if X.shape[1] < 2:
        event("one feature")
        return
    event("decided")
    best = fit(X, fit(X, "loo").shrinkage_).leave_one_out(X)[1].mean()
    for a in np.linspace(0.01, 1, 25):
        other = fit(X, float(a)).leave_one_out(X)[1].mean()
        assert other <= best + 1e-6 * max(1.0, abs(best))


# ---------------------------------------------------------------------- streams
def chunks(rng, X):
    cuts = rng.choice(np.arange(2, len(X)), rng.integers(1, len(X) - 1), replace=False)
    return np.split(X, np.sort(cuts))


@pytest.mark.parametrize("offset", [0.0, 1e8])
@either
@often
@given(data=st.data())
def test_partial_fit_is_fit(shrinkage, offset, data):
    X, Q, rng = data.draw(example_for(shrinkage))
    X, Q = X + offset, Q + offset  # the rows are rounded first, then compared
    if not shrinkage and not decided(X, 1e3):
        return
    once = fit(X, shrinkage)
    stream = ShrinkageCovariance(shrinkage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficientWarning)
        for chunk in chunks(rng, X):
            stream.partial_fit(chunk)
    assert stream.shrinkage_ == pytest.approx(once.shrinkage_, rel=1e-10)
    assert_same(stream.location_, once.location_, 1e-14, 1.0)
    assert_same(stream.mahalanobis(Q), once.mahalanobis(Q))
    assert_same(stream.score_samples(Q), once.score_samples(Q), floor=1.0)


@shrunk
@often
@given(example=any_shape())
def test_detector_partial_fit_is_fit(shrinkage, example):
    X, Q, rng = example
    once = detector(X, shrinkage)
    stream = MahalanobisDetector(shrinkage=shrinkage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficientWarning)
        warnings.simplefilter("ignore", CalibrationWarning)
        for chunk in chunks(rng, X):
            stream.partial_fit(chunk)
        got = stream.mahalanobis(Q), stream.score_samples(Q)
    assert_same(got[0], once.mahalanobis(Q))
    assert_same(got[1], once.score_samples(Q), floor=1.0)


# --------------------------------------------------------------------- left out
def refitted_distances(X, shrinkage, rank):
    """Infinite where the other rows have a lower rank."""
    distances = []
    for i in range(len(X)):
        rest = detector(np.delete(X, i, axis=0), shrinkage, calibration=0.0)
        lower = rest.covariance_estimator_.rank_ < rank
        distances.append(np.inf if lower else rest.mahalanobis(X[i : i + 1])[0])
    return np.array(distances)


@pytest.mark.parametrize("offset", [0.0, 1e8])
@either
@often
@given(data=st.data())
def test_left_out_scores_are_those_of_refits(shrinkage, offset, data):
    X, _, _ = data.draw(any_shape(most=9, features=12))
    X = X + offset
    # Every fit that leaves a row out must itself be decided.
    if shrinkage == 0.0 and len(X) > X.shape[1] and not all(
        decided(np.delete(X, i, axis=0), 1e3) for i in range(len(X))
    ):  # fmt: skip
        return
    event("decided")
    fitted = detector(X, shrinkage)
    want = refitted_distances(X, shrinkage, fitted.covariance_estimator_.rank_)
    assert_same(fitted.calibration_mahalanobis_, want, 1e-10, 1.0)
    # What calibrates is the final density at these distances.
    change = fitted.calibration_mahalanobis_ - fitted.mahalanobis(X)
    assert_same(fitted.calibration_scores_, fitted.score_samples(X) - change / 2)


@settings(often, max_examples=10)
@given(example=any_shape(most=8, features=10))
def test_left_out_scores_keep_an_intensity_found_by_leaving_out(example):
    X, _, _ = example
    if X.shape[1] < 2:
        return
    event("decided")
    fitted = detector(X, "loo")
    # The intensity is the one that the left-out rows chose together: it is kept.
    want = refitted_distances(X, float(fitted.shrinkage_), X.shape[1])
    assert_same(fitted.calibration_mahalanobis_, want, 1e-10, 1.0)


# ------------------------------------------------------------------ calibration
@often
@given(
    seed=seeds, n=st.integers(2, 120), p=st.integers(1, 30), percent=st.integers(1, 40)
)
def test_threshold_is_the_order_statistic(seed, n, p, percent):
    rng = np.random.default_rng(seed)
    X, Q = rng.normal(size=(n, p)), 1.5 * rng.normal(size=(50, p))
    found = detector(X, 0.3, target_fpr=percent / 100)
    index = math.ceil((n + 1) * (1 - Fraction(percent, 100)))
    event(f"certified: {index <= n}")
    if index > n:
        assert found.offset_ == -np.inf
        assert (found.predict(Q) == 1).all()
        return
    scores = np.sort(found.calibration_scores_)
    assert found.offset_ == scores[n - index]
    p_values = found.p_values(Q)
    want = [(1 + (scores <= s).sum()) / (n + 1) for s in found.score_samples(Q)]
    np.testing.assert_allclose(p_values, want, rtol=1e-12)
    ranks = p_values * (n + 1)
    np.testing.assert_allclose(ranks, np.round(ranks), rtol=1e-12)
    flagged = np.round(ranks) <= n + 1 - index
    np.testing.assert_array_equal(found.predict(Q) == -1, flagged)


@often
@given(example=tall(), percent=st.integers(1, 40))
def test_chi2_and_f_thresholds(example, percent):
    X, _, _ = example
    n, p = X.shape
    t = percent / 100
    found = detector(X, 0.0, target_fpr=t, calibration="chi2")
    base = found.score_samples(X[:1])[0] + found.mahalanobis(X[:1])[0] / 2
    assert found.offset_ == pytest.approx(base - stats.chi2.isf(t, p) / 2, rel=1e-9)
    found = detector(X, 0.0, target_fpr=t, calibration="f")
    limit = stats.f.isf(t, p, n - p) * p * (n**2 - 1) / (n * (n - p)) * n / (n - 1)
    assert found.offset_ == pytest.approx(base - limit / 2, rel=1e-9)


@often
@given(example=any_shape(), percent=st.integers(1, 40), offset=st.floats(-50, 50))
def test_quantile_and_explicit_thresholds(example, percent, offset):
    X, Q, _ = example
    found = detector(X, 0.3, target_fpr=percent / 100, calibration="quantile")
    want = np.quantile(found.score_samples(X), percent / 100)
    assert found.offset_ == pytest.approx(want, rel=1e-9, abs=1e-9)
    found = detector(X, 0.3, calibration=offset)
    assert found.offset_ == offset
    np.testing.assert_array_equal(found.predict(Q) == -1, found.score_samples(Q) < offset)


@often
@given(seed=seeds, m=st.integers(20, 90), percent=st.integers(5, 40))
def test_recalibration(seed, m, percent):
    rng = np.random.default_rng(seed)
    found = detector(rng.normal(size=(30, 5)), "ledoit_wolf", target_fpr=percent / 100)
    fresh = 1.3 * rng.normal(size=(m, 5))
    before = found.mahalanobis(fresh)
    assert found.recalibrate(fresh) is found
    np.testing.assert_array_equal(found.mahalanobis(fresh), before)
    index = math.ceil((m + 1) * (1 - Fraction(percent, 100)))
    scores = np.sort(found.score_samples(fresh))
    assert found.offset_ == pytest.approx(scores[m - index], rel=1e-12)
    ranks = found.p_values(fresh) * (m + 1)
    np.testing.assert_allclose(ranks, np.round(ranks), rtol=1e-12)


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", 0.5])
@pytest.mark.parametrize(("n", "p"), [(40, 8), (24, 60), (19, 3)])
def test_p_values_of_fresh_normal_rows_are_super_uniform(n, p, shrinkage):
    rng = np.random.default_rng(n * p)
    mix = rng.normal(size=(p, p)) / np.sqrt(p)
    draws, p_values = 200, []
    for _ in range(draws):
        X = rng.normal(size=(n + 1, p)) @ mix + 3.0
        p_values.append(detector(X[:n], shrinkage).p_values(X[n:])[0])
    ranks = np.array(p_values) * (n + 1)
    np.testing.assert_allclose(ranks, np.round(ranks), rtol=1e-12)
    assert ranks.min() > 0.5
    for t in (0.05, 0.1, 0.2, 0.5):
        flagged = (np.round(ranks) <= math.floor(t * (n + 1) + 1e-9)).sum()
        # One chance in 10^5 to fail where the rate is exactly the target.
        assert flagged <= stats.binom.isf(1e-5, draws, t)
        coarse = max(0.0, t - 1.5 / (n + 1) - 0.02)  # p-values are multiples of 1/(n+1)
        assert flagged >= stats.binom.ppf(1e-5, draws, coarse)


# -------------------------------------------------------------------- densities
@pytest.mark.parametrize("kind", [ShrinkageCovariance, MahalanobisDetector])
@settings(often, max_examples=15)
@given(seed=seeds, exponent=st.floats(-30, 30), p=st.integers(1, 2))
def test_density_integrates_to_one(kind, seed, exponent, p):
    rng = np.random.default_rng(seed)
    scale = 10.0**exponent
    X = scale * (rng.normal(size=(30, p)) @ (np.eye(p) + 0.4 * rng.normal(size=(p, p))))
    fitted = kind(shrinkage="oas").fit(X)
    half = 9 * np.linalg.norm(X.std(axis=0))
    axes = [np.linspace(m - half, m + half, 401) for m in X.mean(axis=0)]
    cell = math.prod(float(a[1] - a[0]) for a in axes)
    nodes = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, p)
    if min(np.linalg.eigvalsh(np.atleast_2d(np.cov(X.T)) / scale**2)) < 1e-2:
        event("too narrow for the grid")
        return
    event("decided")
    total = np.exp(fitted.score_samples(nodes) + math.log(cell)).sum()
    assert total == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize(
    ("shrinkage", "theirs"),
    [
        ("ledoit_wolf", LedoitWolf()),
        (0.2, ShrunkCovariance(shrinkage=0.2)),
        (0.0, EmpiricalCovariance()),
    ],
)
@often
@given(example=tall())
def test_agrees_with_scikit_learn_on_ordinary_data(shrinkage, theirs, example):
    X, Q, _ = example
    if not decided(X, 1e3):
        return
    theirs.fit(X)
    want = theirs.mahalanobis(Q)
    ours = fit(X, shrinkage)
    assert_same(ours.mahalanobis(Q), want, 1e-8 if shrinkage == 0.0 else RTOL)
    assert_same(ours.covariance_, theirs.covariance_, 1e-12, np.abs(X).max() ** 2)
    wrapped = MahalanobisDetector(covariance=theirs, calibration="chi2").fit(X)
    assert_same(wrapped.mahalanobis(Q), want)


def test_distances_never_leave_float64():
    X, _, _ = rows(3, 20, 3, 1.0)
    for shrinkage in (0.0, 0.1, "ledoit_wolf"):
        fitted = fit(X, shrinkage)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = fitted.mahalanobis(np.full((1, 3), 1e308))
            score = fitted.score_samples(np.full((1, 3), 1e308))
        assert got[0] == FLOAT_MAX
        assert np.isfinite(score[0])
