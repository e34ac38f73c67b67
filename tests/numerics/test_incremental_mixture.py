"""The incremental mixture against covariances, inverses and determinants written out."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sklearn_gauss._numerics.incremental_mixture import (
    Rules,
    default_delta,
    default_prior_count,
    empty,
    initial_frame,
    learn,
)
from sklearn_gauss._numerics.mixture_density import (
    complete,
    gradient,
    joint_log_densities,
    log_sum,
    responsibilities,
)


def rules(n_features, **changed):
    defaults = {
        "deviation": np.full(n_features, 0.7),
        "novelty": stats.chi2.isf(0.001, n_features),
        "prior_count": 1.0,
        "max_components": None,
        "v_min": np.inf,
        "sp_min": 3.0,
    }
    return Rules(**{**defaults, **changed})


def clustered(rng, n_rows, n_features, n_clusters=3, distance=6.0):
    centres = distance * rng.normal(size=(n_clusters, n_features))
    rows = centres[rng.integers(n_clusters, size=n_rows)]
    return rows + rng.normal(size=rows.shape)


class Slow:
    """The same mixture with its covariances, each inverted whenever it is used."""

    def __init__(self, rules):
        self.rules, self.parts, self.scores = rules, [], []

    def densities(self, z):
        total = sum(part["count"] for part in self.parts)
        return np.array(
            [
                np.log(part["count"] / total)
                + stats.multivariate_normal(part["mean"], part["cov"]).logpdf(z)
                for part in self.parts
            ]
        )

    def is_new(self, z):
        found = []
        for part in self.parts:
            e = z - part["mean"]
            square = e @ np.linalg.inv(part["cov"]) @ e
            found.append(square / (1 + 1 / part["count"]) >= self.rules.novelty)
        return all(found)

    def learn(self, z):
        joint = self.densities(z) if self.parts else np.array([])
        self.scores.append(np.log(np.exp(joint).sum()) if self.parts else np.nan)
        room = len(self.parts) < (self.rules.max_components or np.inf)
        new = self.is_new(z) and room
        for part in self.parts:
            part["age"] += 1
        if new:
            cov = np.diag(self.rules.deviation**2)
            self.parts.append({"mean": z, "cov": cov, "count": 1.0, "age": 1})
        else:
            shares = np.exp(joint) / np.exp(joint).sum()
            for part, share in zip(self.parts, shares, strict=True):
                self.move(part, z, share)
        strong = [
            part
            for part in self.parts
            if part["age"] <= self.rules.v_min or part["count"] >= self.rules.sp_min
        ]
        self.parts = strong or [max(self.parts, key=lambda part: part["count"])]

    def move(self, part, z, share):
        count, prior = part["count"], self.rules.prior_count - 1
        e = z - part["mean"]
        scatter = (count + prior) * part["cov"]
        scatter = scatter + share * count / (count + share) * np.outer(e, e)
        part["cov"] = scatter / (count + prior + share)
        part["mean"] = part["mean"] + share / (count + share) * e
        part["count"] = count + share


def covariances(mixture):
    inverse = np.linalg.inv(mixture.factors)
    return np.swapaxes(inverse, 1, 2) @ inverse


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"prior_count": 4.5},
        {"max_components": 2},
        {"v_min": 12.0, "sp_min": 4.0},
        {"novelty": 3.0, "v_min": 6.0, "sp_min": 2.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_agrees_with_covariances_that_are_inverted(changed, n_features, rng):
    # Near clusters: rows have shares of several components.
    Z = clustered(rng, 120, n_features, distance=2.0)
    slow = Slow(rules(n_features, **changed))
    for z in Z:
        slow.learn(z)
    mixture, scores = learn(empty(n_features), Z, slow.rules)
    assert len(mixture.means) == len(slow.parts)
    assert mixture.n_created - mixture.n_pruned == len(slow.parts)
    np.testing.assert_allclose(scores, slow.scores, rtol=1e-9)
    for name, found in {
        "mean": mixture.means,
        "cov": covariances(mixture),
        "count": mixture.counts,
        "age": mixture.ages,
    }.items():
        want = np.array([part[name] for part in slow.parts])
        np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-12)
    log_dets = [np.linalg.slogdet(part["cov"])[1] for part in slow.parts]
    np.testing.assert_allclose(mixture.log_dets, log_dets, rtol=1e-10, atol=1e-12)
    queries = rng.normal(size=(7, n_features))
    joint = joint_log_densities(mixture, queries)
    want = np.array([slow.densities(z) for z in queries])
    np.testing.assert_allclose(joint, want, rtol=1e-9)


def test_the_cases_prune_and_reach_the_limit(rng):
    Z = clustered(rng, 120, 2, distance=2.0)
    mixture, _ = learn(empty(2), Z, rules(2, novelty=3.0, v_min=6.0, sp_min=2.5))
    assert mixture.n_pruned > 0
    free, _ = learn(empty(5), clustered(rng, 120, 5, distance=2.0), rules(5))
    assert len(free.means) > 2


@pytest.mark.parametrize("prior_count", [1.0, 6.0])
def test_without_novelty_it_is_the_mean_and_covariance_of_all_rows(prior_count, rng):
    Z = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4))
    settings_ = rules(4, novelty=np.inf, prior_count=prior_count)
    mixture, _ = learn(empty(4), Z, settings_)
    np.testing.assert_allclose(mixture.means, [Z.mean(axis=0)], atol=1e-13)
    scatter = len(Z) * np.cov(Z.T, bias=True) + prior_count * 0.49 * np.eye(4)
    want = scatter / (len(Z) + prior_count - 1)
    np.testing.assert_allclose(covariances(mixture)[0], want, rtol=1e-12)


def test_the_published_update_is_positive_definite_here(rng):
    """Its weights 1/2 at the second row lose that for a row far enough."""
    mixture, _ = learn(empty(2), np.array([[0.0, 0], [3.0, 0]]), rules(2, novelty=np.inf))
    e = np.array([3.0, 0.0])
    published = np.eye(2) * 0.49 / 2 + 0.5 * (1 - 1.5 + 0.25) * np.outer(e, e)
    assert np.linalg.eigvalsh(published)[0] < 0
    assert np.linalg.eigvalsh(covariances(mixture)[0])[0] > 0


def test_drift_after_many_updates(rng):
    n_features, n_rows = 4, 20_000
    mixing = np.diag(10.0 ** np.arange(n_features)) @ rng.normal(size=(n_features,) * 2)
    Z = rng.normal(size=(n_rows, n_features)) @ mixing / 1e3
    mixture, _ = learn(empty(n_features), Z, rules(n_features, novelty=np.inf))
    long = Z.astype(np.longdouble)
    long -= long.mean(axis=0)
    scatter = np.einsum("ni,nj->ij", long, long)
    want = (scatter + 0.49 * np.eye(n_features)) / n_rows
    want = mpmath.matrix(want.astype(np.float64).tolist())
    inverse = np.array((want**-1).tolist(), dtype=np.float64)
    precision = mixture.factors[0] @ mixture.factors[0].T
    queries = rng.normal(size=(20, n_features)) @ mixing / 1e3
    squares = np.einsum("ni,ij,nj->n", queries, precision, queries)
    expected = np.einsum("ni,ij,nj->n", queries, inverse, queries)
    np.testing.assert_allclose(squares, expected, rtol=1e-9)
    assert mixture.log_dets[0] == pytest.approx(float(mpmath.log(mpmath.det(want))), 1e-9)
    sign, log_det = np.linalg.slogdet(mixture.factors[0])
    assert -2 * log_det == pytest.approx(mixture.log_dets[0], abs=1e-9)
    assert sign > 0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_features=st.integers(1, 6),
    spike=st.floats(0, 12),
    prior_count=st.sampled_from([1.0, 3.0]),
)
def test_positive_definite_whatever_the_rows(seed, n_features, spike, prior_count):
    """Copies, rows on a line, and rows far beyond: no share of any may break it."""
    rng = np.random.default_rng(seed)
    parts = [
        np.zeros((20, n_features)),
        np.outer(rng.normal(size=20), rng.normal(size=n_features)),
        10.0**spike * rng.normal(size=(5, n_features)),
        1e-9 * rng.normal(size=(20, n_features)),
    ]
    Z = rng.permutation(np.concatenate(parts))
    limit = rules(n_features, max_components=2, prior_count=prior_count)
    mixture, scores = learn(empty(n_features), Z, limit)
    assert np.isfinite(scores[1:]).all()
    for factor, log_det in zip(mixture.factors, mixture.log_dets, strict=True):
        sign, half = np.linalg.slogdet(factor)
        assert sign > 0
        # A row r deviations away leaves a factor of condition r.
        rounding = 1e-14 * 10**spike
        assert -2 * half == pytest.approx(log_det, abs=1e-9 + rounding)
    assert mixture.counts.sum() == pytest.approx(len(Z), rel=1e-12)


def test_does_not_change_what_it_is_given(rng):
    Z = clustered(rng, 60, 3)
    before, _ = learn(empty(3), Z[:30], rules(3))
    copies = {name: np.array(value) for name, value in vars(before).items()}
    whole, _ = learn(empty(3), Z, rules(3))
    after, _ = learn(before, Z[30:], rules(3))
    for name, value in copies.items():
        np.testing.assert_array_equal(getattr(before, name), value)
        np.testing.assert_array_equal(getattr(after, name), getattr(whole, name))


def test_four_hundred_dimensions_do_not_underflow(rng):
    Z = 100 + rng.normal(size=(40, 400))
    mixture, scores = learn(empty(400), Z, rules(400, prior_count=400.0, novelty=np.inf))
    far = mixture.means + 50
    score = log_sum(joint_log_densities(mixture, far))
    cov = covariances(mixture)[0]
    want = stats.multivariate_normal(mixture.means[0], cov).logpdf(far[0])
    assert want < -1e4  # its exponential is 0
    assert score[0] == pytest.approx(want, rel=1e-10)
    assert np.isfinite(scores[1:]).all()
    # Two components, neither of whose densities is a number.
    two, _ = learn(empty(400), np.array([np.zeros(400), np.full(400, 90.0)]), rules(400))
    shares = responsibilities(joint_log_densities(two, np.full((1, 400), 50.0)))
    np.testing.assert_allclose(shares, [[0, 1]], atol=1e-12)


def direct_recall(mixture, row):
    """Conditional expectation of one row from the blocks of dense covariances."""
    missing = np.isnan(row)
    known = row[~missing]
    values, densities = [], []
    for mean, cov in zip(mixture.means, covariances(mixture), strict=True):
        block = cov[np.ix_(~missing, ~missing)]
        densities.append(stats.multivariate_normal(mean[~missing], block).pdf(known))
        slope = cov[np.ix_(missing, ~missing)] @ np.linalg.inv(block)
        values.append(mean[missing] + slope @ (known - mean[~missing]))
    shares = mixture.counts * densities
    return shares @ np.array(values) / shares.sum()


def test_missing_values_by_the_blocks_of_dense_covariances(rng):
    mixture, _ = learn(empty(4), clustered(rng, 200, 4, distance=1.5), rules(4))
    assert len(mixture.means) > 1
    Z = rng.normal(size=(40, 4))
    Z[rng.random(Z.shape) < 0.4] = np.nan
    Z = Z[~np.isnan(Z).all(axis=1)]
    found = complete(mixture, Z)
    for row, filled in zip(Z, found, strict=True):
        missing = np.isnan(row)
        np.testing.assert_array_equal(filled[~missing], row[~missing])
        if missing.any():
            want = direct_recall(mixture, row)
            np.testing.assert_allclose(filled[missing], want, rtol=1e-9, atol=1e-11)


def test_gradient_by_differences(rng):
    mixture, _ = learn(empty(3), clustered(rng, 150, 3, distance=1.5), rules(3))
    Z, step = rng.normal(size=(5, 3)), 1e-5
    found = gradient(mixture, Z)
    for j, shift in enumerate(step * np.eye(3)):
        high, low = (
            log_sum(joint_log_densities(mixture, Z + sign * shift)) for sign in (1, -1)
        )
        np.testing.assert_allclose(found[:, j], (high - low) / (2 * step), rtol=1e-6)


def test_frame_and_spread_of_the_first_rows(rng):
    X = rng.normal(size=(50, 3)) * [1e-150, 1.0, 1e150] + [0, 1e8, 0]
    frame, spread, constant = initial_frame(X, None)
    want = (X / [1e-150, 1.0, 1e150]).std(axis=0)
    scale = np.array([1e-150, 1.0, 1e150])
    np.testing.assert_allclose(spread * frame.scale / scale, want, rtol=1e-7)
    assert not constant.any()
    assert (spread > 0.4).all()
    assert (spread <= 1).all()
    X[:, 2] = 7.0
    _, spread, constant = initial_frame(X[:, 1:], None)
    assert constant.tolist() == [False, True]
    assert np.isnan(initial_frame(X[:, 2:], None)[1]).all()


@pytest.mark.parametrize("n_features", [1, 2, 64, 512])
def test_defaults_keep_two_rows_of_one_gaussian_together(n_features, rng):
    delta = default_delta(n_features, 0.001)
    first, second = rng.normal(size=(2, 2000, n_features))
    squares = ((first - second) ** 2).sum(axis=1) / delta**2 / 2
    near = (squares < stats.chi2.isf(0.001, n_features)).mean()
    assert near == pytest.approx(0.58, abs=0.04)
    assert default_prior_count(n_features) == 1 + n_features / 4
