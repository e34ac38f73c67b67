"""Clean rows: against refits, against scikit-learn's determinant, and what must hold."""

import numpy as np
import pytest
from scipy import stats
from sklearn.covariance import LedoitWolf, MinCovDet

from sklearn_gauss._numerics import trimming
from sklearn_gauss._numerics.trimming import (
    clean_core,
    clean_rows,
    clear_rows,
    standardised,
)


def contaminated(n, p, share, seed=0, distance=12.0, spread=0.2):
    """Gaussian rows with a cluster of others, which come first."""
    rng = np.random.default_rng(seed)
    X, m = rng.normal(size=(n, p)), int(share * n)
    X[:m] = spread * rng.normal(size=(m, p)) + distance
    return X, np.arange(n) >= m


@pytest.mark.parametrize(("n", "p"), [(40, 5), (30, 50)])
def test_distances_are_those_of_refits(n, p):
    X = np.random.default_rng(1).normal(size=(n, p))
    kept = np.arange(n) % 3 > 0
    found = trimming._distances(X, kept)
    expected = []
    for i in range(n):
        others = kept.copy()
        others[i] = False
        expected.append(LedoitWolf().fit(X[others]).mahalanobis(X[i : i + 1])[0])
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_columns_are_standardised_by_median_and_deviation():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4)) * [1e-150, 1.0, 3.0, 1e150] + [0, 1e8, 0, 0]
    found = standardised(X)
    expected = (X - np.median(X, axis=0)) / stats.median_abs_deviation(X, scale="normal")
    np.testing.assert_allclose(found[:, 1:3], expected[:, 1:3], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.median(np.abs(found[:, 3])), 0.6745, rtol=1e-4)


def test_columns_of_mostly_equal_values_take_the_standard_deviation():
    X = np.zeros((20, 2))
    X[:4, 0] = [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(standardised(X)[:, 0], X[:, 0] / X[:, 0].std())
    np.testing.assert_array_equal(standardised(X)[:, 1], 0)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.38])
@pytest.mark.parametrize(("n", "p"), [(120, 3), (100, 30), (60, 200)])
def test_a_far_cluster_is_left_out_whole(n, p, share):
    X, normal = contaminated(n, p, share)
    np.testing.assert_array_equal(clean_rows(X, "auto"), normal)


@pytest.mark.parametrize(("n", "p"), [(150, 4), (60, 100)])
def test_a_known_share_is_left_out(n, p):
    X, normal = contaminated(n, p, 0.2)
    np.testing.assert_array_equal(clean_rows(X, 0.2), normal)


def test_the_determinant_is_about_as_small_as_scikit_learns():
    """On rows that a Gaussian describes badly, with rows enough for both."""
    rng = np.random.default_rng(0)
    X = rng.standard_t(2, size=(300, 4)) @ rng.normal(size=(4, 4))
    core = clean_core(standardised(X), 180)
    theirs = MinCovDet(support_fraction=0.6, random_state=0).fit(X).raw_support_
    found, best = (np.linalg.slogdet(np.cov(X[s].T))[1] for s in (core, theirs))
    assert core.sum() == 180
    assert found <= best + 0.15
    assert (core & theirs).sum() > 0.85 * 180


def test_ties_do_not_depend_on_the_order_of_the_rows():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X = rng.integers(0, 2, (40, 4)).astype(float)
        order = rng.permutation(40)
        for share in ("auto", 0.2):
            one, other = clean_rows(X, share), clean_rows(X[order], share)
            kept = [sorted(map(tuple, Z)) for Z in (X[one], X[order][other])]
            assert kept[0] == kept[1]


@pytest.mark.parametrize("far", [1e150, 1e155, 1e200])
def test_a_row_beyond_all_squares_is_left_out(far):
    X = np.random.default_rng(0).normal(size=(60, 4))
    X[0], X[1:6] = far, X[1:6] + 30
    for share in ("auto", 0.1):
        np.testing.assert_array_equal(np.flatnonzero(~clean_rows(X, share)), range(6))


@pytest.mark.parametrize(("n", "p"), [(60, 5), (40, 90)])
def test_the_order_of_the_rows_and_the_units_do_not_matter(n, p):
    X, _ = contaminated(n, p, 0.2, distance=3.0, spread=1.0)
    order = np.random.default_rng(5).permutation(n)
    units = 2.0 ** np.random.default_rng(6).integers(-20, 20, p)
    for share in ("auto", 0.2):
        kept = clean_rows(X, share)
        np.testing.assert_array_equal(clean_rows(X[order], share), kept[order])
        np.testing.assert_array_equal(clean_rows(X * units + 3.0, share), kept)


@pytest.mark.parametrize("law", ["gaussian", "student"])
@pytest.mark.parametrize(("n", "p"), [(200, 4), (100, 40), (60, 200)])
def test_rows_of_one_law_are_kept(n, p, law):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, p))
    if law == "student":
        X /= np.sqrt(rng.chisquare(4, (n, 1)) / 4)
    assert clean_rows(X, "auto").mean() > 0.98


def test_a_row_that_stands_clear_is_one_far_above_the_upper_quartile():
    squares = np.random.default_rng(0).normal(20.0, 1.5, 101) ** 3
    middle = np.median(np.cbrt(squares))
    deviation = (np.quantile(np.cbrt(squares), 0.75) - middle) / stats.norm.ppf(0.75)
    for factor, expected in ((7.0, False), (9.5, True)):
        found = clear_rows(np.append(squares, (middle + factor * deviation) ** 3), 10_000)
        assert found[-1] == expected
        assert not found[:-1].any()
    assert not clear_rows(np.zeros(12), 3).any()
    assert not clear_rows(np.full(12, np.inf), 3).any()
    found = clear_rows(np.append(np.arange(1.0, 12), np.inf), 3)
    np.testing.assert_array_equal(np.flatnonzero(found), [11])


def test_the_deviation_is_that_of_gaussian_rows_at_least():
    """Most distances are equal here, and their quartile is their median."""
    squares = np.append(np.full(80, 5.0), np.full(20, 30.0))
    assert not clear_rows(squares, 5).any()
    assert clear_rows(squares, 1000).sum() == 20


@pytest.mark.parametrize("X", [np.ones((20, 3)), np.eye(9)])
def test_few_or_equal_rows_are_all_kept(X):
    assert clean_rows(X, "auto").all()


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_a_share_is_left_out_of_few_rows_too(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    assert clean_rows(X, 0.4).sum() == n - int(0.4 * n)


@pytest.mark.parametrize("n_copies", [30, 50])
def test_copies_of_one_row_say_nothing_about_the_others(n_copies):
    X = np.vstack([np.ones((n_copies, 2)), np.random.default_rng(0).normal(size=(9, 2))])
    assert clean_rows(X, "auto").all()
    kept = clean_rows(X, 0.1)
    assert kept.sum() == len(X) - int(0.1 * len(X))
    assert kept[:n_copies].all()


@pytest.mark.parametrize(
    "draw",
    [lambda rng: rng.integers(0, 2, (200, 4)), lambda rng: rng.poisson(0.2, (200, 6))],
    ids=["flags", "counts"],
)
def test_rows_of_few_values_are_kept(draw):
    shares = [
        clean_rows(draw(np.random.default_rng(seed)).astype(float), "auto").mean()
        for seed in range(4)
    ]
    assert np.mean(shares) > 0.96
