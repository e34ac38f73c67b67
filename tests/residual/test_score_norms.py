"""ScoreNorms: against the formula in many digits, n refits and numerical gradients."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from scipy.stats import gaussian_kde
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gauss.detection import CalibratedDetector
from sklearn_gauss.exceptions import DistanceOverflowWarning
from sklearn_gauss.residual import ScoreNorms

steady = settings(deadline=None, max_examples=25, derandomize=True)
SCALES = [0.3, 1.0, 4.0]


def drawn(n, p, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) + rng.normal(size=p)


TALL, WIDE, SQUARE = drawn(40, 6), drawn(12, 25), drawn(9, 8)
UNSEEN = {id(X): 3 * drawn(5, X.shape[1], seed=1) for X in (TALL, WIDE, SQUARE)}
by_shape = pytest.mark.parametrize(
    "X", [TALL, WIDE, SQUARE], ids=["n > p", "n < p", "n = p + 1"]
)
by_density = pytest.mark.parametrize("density", ["gaussian", "kde"])


def dense_norms(X, queries, amount, scales):
    """Sigma |(Sigma + sigma^2 I)^-1 (x - mean)|, with whole matrices."""
    p, mean = X.shape[1], X.mean(axis=0)
    S = (X - mean).T @ (X - mean) / len(X)
    shrunk = (1 - amount) * S + amount * np.trace(S) / p * np.eye(p)
    return np.array(
        [
            [
                s * np.linalg.norm(np.linalg.solve(shrunk + s**2 * np.eye(p), x - mean))
                for s in scales
            ]
            for x in queries
        ]
    )


def kernel_norms(X, queries, scales):
    """|sum_j w_j y_j - x| / sigma, row by row."""
    found = np.empty((len(queries), len(scales)))
    for i, x in enumerate(queries):
        for j, s in enumerate(scales):
            squares = ((X - x) ** 2).sum(axis=1)
            weights = np.exp((squares.min() - squares) / (2 * s**2))
            found[i, j] = np.linalg.norm(weights @ X / weights.sum() - x) / s
    return found


def refits(X, scales, **options):
    """Features of every row by a transformer that is fitted to the others."""
    return np.array(
        [
            ScoreNorms(scales=scales, **options)
            .fit(np.delete(X, i, axis=0))
            .transform(X[i : i + 1])[0]
            for i in range(len(X))
        ]
    )


# ------------------------------------------------------------------- new rows
@by_shape
@pytest.mark.parametrize("amount", [0.0, 0.2, 1.0])
def test_a_gaussian_is_the_dense_formula(X, amount):
    queries = UNSEEN[id(X)]
    got = ScoreNorms(scales=SCALES, shrinkage=amount).fit(X).transform(queries)
    np.testing.assert_allclose(
        got, dense_norms(X, queries, amount, SCALES), rtol=1e-9, atol=1e-12
    )


@by_shape
def test_the_default_shrinkage_is_that_of_scikit_learn(X):
    model, theirs = ScoreNorms(scales=SCALES).fit(X), LedoitWolf().fit(X)
    assert model.shrinkage_ == pytest.approx(theirs.shrinkage_, rel=1e-9)
    want = dense_norms(X, UNSEEN[id(X)], theirs.shrinkage_, SCALES)
    np.testing.assert_allclose(model.transform(UNSEEN[id(X)]), want, rtol=1e-9)


def test_small_scales_keep_their_digits():
    """Where Sigma has a condition of 1e12: against 60 decimals."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 4)) * [1e6, 1e3, 1.0, 1.0]
    scales = [1e-3, 1.0, 1e3]
    got = ScoreNorms(scales=scales, shrinkage=0.0).fit(X).transform(X[:3] + 0.5)
    with mp.workdps(60):
        rows = mp.matrix(X.tolist())
        mean = [mp.fsum(rows[:, j]) / 20 for j in range(4)]
        Z = mp.matrix([[rows[i, j] - mean[j] for j in range(4)] for i in range(20)])
        for i, x in enumerate((X[:3] + 0.5).tolist()):
            gap = mp.matrix([x[j] - mean[j] for j in range(4)])
            for k, s in enumerate(scales):
                A = Z.T * Z / 20 + mp.mpf(s) ** 2 * mp.eye(4)
                want = s * mp.norm(mp.lu_solve(A, gap))
                assert got[i, k] == pytest.approx(float(want), rel=1e-9)


@by_shape
def test_kernels_are_the_obvious_loop(X):
    got = ScoreNorms(scales=SCALES, density="kde").fit(X).transform(UNSEEN[id(X)])
    np.testing.assert_allclose(got, kernel_norms(X, UNSEEN[id(X)], SCALES), rtol=1e-9)


@pytest.mark.parametrize("scale", [0.7, 2.0])
def test_kernels_are_the_gradient_of_scikit_learns_log_density(scale):
    X, step = drawn(30, 3), 1e-5
    density = KernelDensity(bandwidth=scale, rtol=1e-12).fit(X)
    queries = drawn(6, 3, seed=2)
    gradient = np.stack(
        [
            density.score_samples(queries + step * e)
            - density.score_samples(queries - step * e)
            for e in np.eye(3)
        ],
        axis=1,
    ) / (2 * step)
    got = ScoreNorms(scales=[scale], density="kde").fit(X).transform(queries)[:, 0]
    np.testing.assert_allclose(
        got, scale * np.linalg.norm(gradient, axis=1), rtol=1e-6, atol=1e-8
    )


def test_kernels_of_one_column_are_the_gradient_of_scipys_log_density():
    X, step = drawn(40, 1), 1e-5
    density = gaussian_kde(X.T, bw_method=0.5)
    scale = float(np.sqrt(density.covariance[0, 0]))
    queries = np.linspace(-3, 3, 7)[:, None]
    gradient = density.logpdf((queries + step).T) - density.logpdf((queries - step).T)
    got = ScoreNorms(scales=[scale], density="kde").fit(X).transform(queries)[:, 0]
    np.testing.assert_allclose(got, scale * np.abs(gradient) / (2 * step), rtol=1e-6)


@by_density
def test_a_row_alone_and_in_a_batch(density):
    model = ScoreNorms(density=density).fit(WIDE)
    whole = model.transform(UNSEEN[id(WIDE)])
    alone = [model.transform(row[None])[0] for row in UNSEEN[id(WIDE)]]
    np.testing.assert_allclose(alone, whole, rtol=1e-12)


def test_many_rows_go_block_by_block(monkeypatch):
    whole = ScoreNorms(density="kde").fit_transform(TALL)
    monkeypatch.setattr("sklearn_gauss._numerics.score_norms.CHUNK_ELEMENTS", 130)
    np.testing.assert_allclose(ScoreNorms(density="kde").fit_transform(TALL), whole)


# -------------------------------------------------------------- training rows
@by_shape
@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", "oas", "rblw", 0.0, 0.2, 1.0])
def test_training_rows_have_the_features_of_n_refits(X, shrinkage):
    options = {"shrinkage": shrinkage}
    model = ScoreNorms(4, **options)
    got = model.fit_transform(X)
    np.testing.assert_allclose(got, refits(X, model.scales_, **options), rtol=1e-8)


@by_shape
def test_the_most_likely_shrinkage_is_kept(X):
    model = ScoreNorms(4, shrinkage="loo")
    got = model.fit_transform(X)
    want = refits(X, model.scales_, shrinkage=model.shrinkage_)
    np.testing.assert_allclose(got, want, rtol=1e-8)


@by_shape
def test_kernels_leave_out_their_own(X):
    got = ScoreNorms(scales=SCALES, density="kde").fit_transform(X)
    want = [
        kernel_norms(np.delete(X, i, axis=0), X[i : i + 1], SCALES)[0]
        for i in range(len(X))
    ]
    np.testing.assert_allclose(got, want, rtol=1e-9)


@steady
@given(
    n=st.integers(2, 12),
    p=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    far=st.sampled_from([0.0, 10.0, 1e4, 1e9]),
    size=st.sampled_from([1e-100, 1e-3, 1.0, 1e100]),
    rule=st.sampled_from(["ledoit_wolf", 0.3, 0.0]),
)
def test_left_out_features_of_hard_rows(n, p, seed, far, size, rule):
    """One row far from all others carries the sums: without it little is left."""
    X = drawn(n, p, seed) * size
    X[0] += far * size
    scales = np.array([0.5, 3.0]) * size
    got = ScoreNorms(scales=scales, shrinkage=rule).fit_transform(X)
    want = np.empty_like(got)
    for i in range(n):
        others, x = np.delete(X, i, axis=0) / size, X[i : i + 1] / size
        amount = rule
        if rule == "ledoit_wolf":
            amount = LedoitWolf().fit(others).shrinkage_ if n > 2 else 0.0
        want[i] = dense_norms(others, x, amount, scales / size)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5)


@by_density
def test_fit_then_transform_takes_training_rows_for_new_ones(density):
    options = {"density": density, "scales": SCALES}
    plain = ScoreNorms(**options).fit(WIDE).transform(WIDE)
    left_out = ScoreNorms(**options).fit_transform(WIDE)
    assert (left_out > 1.2 * plain)[:, 0].all()
    unseen = ScoreNorms(**options).fit(WIDE).transform(drawn(12, 25, seed=0)[::-1])
    np.testing.assert_allclose(unseen[::-1], plain)


def flagged(pipeline, p, n, draws):
    """Share of unseen normal rows beyond the training quantile of a pipeline's scores."""
    rng, rates = np.random.default_rng(0), []
    for _ in range(draws):
        X, unseen = rng.normal(size=(n, p)), rng.normal(size=(500, p))
        features = pipeline[0].fit_transform(X)
        rest = pipeline[1:].fit(features)
        limit = np.quantile(rest.score_samples(features), 0.1)
        seen = rest.score_samples(pipeline[0].transform(unseen))
        rates.append((seen < limit).mean())
    return np.mean(rates)


@by_density
@pytest.mark.parametrize(("n", "p"), [(60, 100), (150, 8)])
def test_a_quantile_of_left_out_features_is_one_of_unseen_rows(density, n, p):
    """A mixture of few parameters: what it overfits of its own is little."""
    behind = [StandardScaler(), GaussianMixture(1, covariance_type="diag")]
    norms = make_pipeline(ScoreNorms(4, density=density), *behind)
    assert flagged(norms, p, n, draws=20) == pytest.approx(0.1, abs=0.03)
    if n < p:

        class Naive(ScoreNorms):
            def fit_transform(self, X, y=None):
                return self.fit(X).transform(X)

        naive = make_pipeline(Naive(4, density=density), *behind)
        assert flagged(naive, p, n, draws=5) > 0.15


@pytest.mark.parametrize(("n", "p"), [(40, 50), (60, 5)])
def test_a_calibrated_mixture_keeps_its_rate(n, p):
    rng, rates = np.random.default_rng(0), []
    for _ in range(12):
        X, unseen = rng.normal(size=(n, p)), rng.normal(size=(300, p))
        mixture = GaussianMixture(1, random_state=0)
        pipeline = make_pipeline(ScoreNorms(4), StandardScaler(), mixture)
        detector = CalibratedDetector(pipeline, target_fpr=0.1, cv=10).fit(X)
        rates.append((detector.predict(unseen) == -1).mean())
    assert np.mean(rates) == pytest.approx(0.1, abs=0.04)


def test_a_search_over_components():
    X = np.vstack([drawn(40, 4), drawn(40, 4, seed=5) + 8])
    pipeline = make_pipeline(ScoreNorms(5), StandardScaler(), GaussianMixture())
    grid = {"gaussianmixture__n_components": [1, 2, 3]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# --------------------------------------------------------------------- scales
def test_scales_span_the_eigenvalues():
    X = drawn(50, 5) * [1, 1, 10, 10, 100]
    covariance = LedoitWolf().fit(X).covariance_
    roots = np.sqrt(np.linalg.eigvalsh(covariance))
    scales = ScoreNorms(7).fit(X).scales_
    assert len(scales) == 7
    np.testing.assert_allclose(scales[[0, -1]], roots[[0, -1]], rtol=1e-9)
    np.testing.assert_allclose(scales[1:] / scales[:-1], scales[1] / scales[0])
    middle = ScoreNorms(1).fit(X).scales_
    np.testing.assert_allclose(middle, [np.sqrt(roots[0] * roots[-1])], rtol=1e-9)


def test_scales_with_fewer_rows_than_features_begin_at_the_noise():
    X = WIDE * np.logspace(0, 4, 25)
    model = ScoreNorms(shrinkage=0.01).fit(X)
    noise = 0.01 * X.var(axis=0).mean()
    assert model.scales_[0] == pytest.approx(np.sqrt(noise))
    assert model.noise_variance_ == pytest.approx(noise)
    unshrunk = ScoreNorms(shrinkage=0.0).fit(X)
    centred = X - X.mean(axis=0)
    roots = np.linalg.svd(centred, compute_uv=False)[:-1] / np.sqrt(len(X))
    np.testing.assert_allclose(unshrunk.scales_[[0, -1]], roots[[-1, 0]], rtol=1e-9)


def test_scales_of_kernels_begin_where_rows_condense():
    X = drawn(50, 5) * [1, 1, 10, 10, 100]
    roots = np.sqrt(np.linalg.eigvalsh(LedoitWolf().fit(X).covariance_))
    scales = ScoreNorms(4, density="kde").fit(X).scales_
    u = (roots / scales[0]) ** 2
    assert (np.log1p(u) - u / (1 + u) ** 2).sum() / 2 == pytest.approx(np.log(50))
    assert scales[-1] == pytest.approx(roots[-1])
    wide = ScoreNorms(3, density="kde", shrinkage=1.0).fit(WIDE).scales_
    u = WIDE.var(axis=0).mean() / wide[1] ** 2
    assert 25 * (np.log1p(u) - u / (1 + u) ** 2) / 2 == pytest.approx(np.log(12))
    assert wide[2] / wide[0] == pytest.approx(10.0)


def test_scales_of_round_data_are_a_decade_apart():
    model = ScoreNorms(3, shrinkage=1.0).fit(TALL)
    assert model.scales_[-1] / model.scales_[0] == pytest.approx(10.0)
    assert model.scales_[1] == pytest.approx(np.sqrt(np.var(TALL, axis=0).mean()))


def test_scales_can_be_given():
    model = ScoreNorms(99, scales=[3, 1]).fit(TALL)
    np.testing.assert_array_equal(model.scales_, [3.0, 1.0])
    swapped = ScoreNorms(scales=[1, 3]).fit(TALL).transform(TALL)
    np.testing.assert_allclose(model.transform(TALL)[:, ::-1], swapped)


@pytest.mark.parametrize("scales", [[1.0, 0.0], [-1.0], [[1.0]], []])
def test_bad_scales_are_named(scales):
    with pytest.raises(ValueError, match="scales must be a list of positive numbers"):
        ScoreNorms(scales=scales).fit(TALL)


@pytest.mark.parametrize("scales", [[np.nan], [np.inf]])
def test_scales_that_are_no_numbers(scales):
    with pytest.raises(ValueError, match="scales"):
        ScoreNorms(scales=scales).fit(TALL)


@pytest.mark.parametrize("size", [1.0, 1e60])
@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
def test_scales_beyond_all_proportion(shrinkage, size):
    """Where the scale, or the covariance, does not matter: |x| / s, s |Sigma^-1 x|."""
    X, queries = size * TALL, size * UNSEEN[id(TALL)]
    gap = queries - X.mean(axis=0)
    for density in ("gaussian", "kde"):
        model = ScoreNorms(scales=[1e150, 1e300], density=density, shrinkage=shrinkage)
        found = model.fit(X).transform(queries)
        want = np.linalg.norm(gap / size, axis=1)[:, None] * [1e-150, 1e-300]
        np.testing.assert_allclose(found / size, want, rtol=1e-9)
    model = ScoreNorms(scales=[1e-300, 1e-150], shrinkage=shrinkage)
    slope = dense_norms(TALL, UNSEEN[id(TALL)], shrinkage, [1e-6])[:, 0] * 1e6
    want = slope[:, None] * (np.array([1e-300, 1e-150]) / size)
    np.testing.assert_allclose(model.fit(X).transform(queries), want, rtol=1e-8)
    refitted = [
        model.fit(np.delete(X, i, axis=0)).transform(X[i : i + 1])[0] for i in range(4)
    ]
    np.testing.assert_allclose(model.fit_transform(X)[:4], refitted, rtol=1e-7)
    kernels = ScoreNorms(scales=[1e-300], density="kde").fit(TALL)
    nearest = np.linalg.norm(queries[:, None] / size - TALL, axis=2).min(axis=1)
    found = kernels.transform(queries / size)[:, 0]
    np.testing.assert_allclose(found, nearest / 1e-300, rtol=1e-9)


# ------------------------------------------------------------------ hard input
@by_density
@pytest.mark.parametrize("X", [TALL, WIDE], ids=["n > p", "n < p"])
@pytest.mark.parametrize(
    ("size", "offset", "rtol"),
    [(2.0**-490, 0.0, 1e-10), (2.0**490, 0.0, 1e-10), (1.0, 2.0**27, 1e-6)],
)
def test_features_have_no_unit(X, density, size, offset, rtol):
    queries = UNSEEN[id(X)]
    here, there = (ScoreNorms(3, density=density) for _ in range(2))
    want = here.fit_transform(X), here.transform(queries)
    got = there.fit_transform(X * size + offset), there.transform(queries * size + offset)
    np.testing.assert_allclose(there.scales_, here.scales_ * size, rtol=rtol)
    np.testing.assert_allclose(got[0], want[0], rtol=rtol)
    np.testing.assert_allclose(got[1], want[1], rtol=rtol)


@by_density
def test_far_rows_are_right_or_clipped(density):
    model = ScoreNorms(scales=[1.0, 2.0], density=density, shrinkage=0.5).fit(TALL)
    far = np.zeros((1, 6))
    far[0, 2] = 1e200
    got = model.transform(far)[0]
    assert (got > 1e197).all()
    if density == "kde":
        np.testing.assert_allclose(got, [1e200, 5e199])
    narrow = ScoreNorms(scales=[1e-9, 1e-5], density=density).fit(TALL * 1e-6)
    far = np.full((1, 6), 1e38, dtype=np.float32)
    with pytest.warns(DistanceOverflowWarning, match="1 rows have features beyond"):
        clipped = narrow.transform(far)
    assert clipped[0, 1] == np.finfo(np.float32).max


@by_density
def test_float32_in_and_out(density):
    X = TALL.astype(np.float32)
    model = ScoreNorms(density=density)
    got = model.fit_transform(X)
    assert got.dtype == model.transform(X).dtype == np.float32
    want = ScoreNorms(density=density).fit_transform(X.astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_two_rows():
    X = np.array([[0.0, 0.0], [3.0, 4.0]])
    for density in ("gaussian", "kde"):
        got = ScoreNorms(scales=[2.0], density=density, shrinkage=0.0).fit_transform(X)
        np.testing.assert_allclose(got, [[2.5], [2.5]])


def test_copies_leave_alone():
    X = np.repeat([[0.0, 0.0], [1.0, 1.0], [3.0, 1.0]], 2, axis=0)
    got = ScoreNorms(scales=[1e-3], density="kde").fit_transform(X)
    np.testing.assert_allclose(got, 0.0, atol=1e-9)


@by_density
def test_rows_without_variance_are_refused(density):
    with pytest.raises(ValueError, match="X has no variance: all 4 rows are equal"):
        ScoreNorms(density=density).fit(np.ones((4, 3)))


def test_a_column_without_variance_counts_for_new_rows():
    X = np.column_stack([TALL, np.zeros(len(TALL))])
    model = ScoreNorms(scales=[1e-3]).fit(X)
    x = np.append(X[:, :-1].mean(axis=0), 1.0)[None]
    noise = LedoitWolf().fit(X)
    want = 1e-3 / (noise.shrinkage_ * np.trace(np.cov(X.T, ddof=0)) / 7 + 1e-6)
    np.testing.assert_allclose(model.transform(x), [[want]], rtol=1e-9)


# ------------------------------------------------------------------ conventions
def test_names_and_frames():
    frame = pd.DataFrame(TALL, columns=list("abcdef"))
    model = ScoreNorms(3).fit(frame)
    assert list(model.get_feature_names_out()) == [f"scorenorms{i}" for i in range(3)]
    out = ScoreNorms(3).set_output(transform="pandas").fit_transform(frame)
    np.testing.assert_allclose(out, ScoreNorms(3).fit_transform(TALL))
    assert list(out.columns) == list(model.get_feature_names_out())


def test_a_second_fit_forgets_the_first():
    model = ScoreNorms(density="kde").fit(TALL).set_params(density="gaussian").fit(WIDE)
    assert not hasattr(model, "reference_")
    np.testing.assert_array_equal(
        model.transform(WIDE), ScoreNorms().fit(WIDE).transform(WIDE)
    )


def test_not_fitted():
    with pytest.raises(NotFittedError):
        ScoreNorms().transform(TALL)


def test_no_square_of_the_features_is_held():
    """With 20 rows of 20 000 features a p x p array would take 3 GB."""
    X = np.random.default_rng(0).normal(size=(20, 20_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ScoreNorms(2)
        model.fit_transform(X)
        model.transform(X[:2])
    assert model.components_.shape == (19, 20_000)
