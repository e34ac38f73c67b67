"""LowVariancePCA: against scikit-learn's PCA, and against the paper's literal rule."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.decomposition._low_variance_pca import components_by_share
from sklearn_gauss.detection import MahalanobisDetector

steady = settings(deadline=None, max_examples=60, derandomize=True)


def drawn(n, p, seed=0, decades=1.0):
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.normal(size=(p, p)))[0]
    return rng.normal(size=(n, p)) * np.logspace(0, -decades, p) @ mix + rng.normal(
        size=p
    )


TALL, WIDE = drawn(80, 10), drawn(25, 60)
by_shape = pytest.mark.parametrize("X", [TALL, WIDE], ids=["n > p", "n < p"])


def assert_same_axes(got, want, atol=1e-8):
    """Up to the sign of each."""
    np.testing.assert_allclose(np.abs(got @ want.T), np.eye(len(want)), atol=atol)


# ------------------------------------------------------------------ against PCA
@by_shape
def test_all_components_are_those_of_scikit_learn(X):
    ours, theirs = LowVariancePCA(1.0).fit(X), PCA().fit(X)
    rank = min(len(X) - 1, X.shape[1])
    assert ours.n_components_ == rank
    np.testing.assert_allclose(
        ours.explained_variance_, theirs.explained_variance_[:rank], rtol=1e-9
    )
    np.testing.assert_allclose(
        ours.explained_variance_ratio_,
        theirs.explained_variance_ratio_[:rank],
        rtol=1e-9,
    )
    assert_same_axes(ours.components_, theirs.components_[:rank])
    np.testing.assert_allclose(ours.mean_, theirs.mean_, atol=1e-14)
    np.testing.assert_allclose(
        np.abs(ours.transform(X)), np.abs(theirs.transform(X)[:, :rank]), atol=1e-9
    )


@by_shape
@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
def test_high_is_what_pca_keeps(X, variance):
    ours, theirs = LowVariancePCA(variance, keep="high").fit(X), PCA(variance).fit(X)
    assert ours.n_components_ == theirs.n_components_
    assert_same_axes(ours.components_, theirs.components_)


@by_shape
@pytest.mark.parametrize("k", [1, 5])
def test_a_number_of_components_is_taken_from_either_end(X, k):
    whole = LowVariancePCA(1.0).fit(X).components_
    high = LowVariancePCA(n_components=k, keep="high").fit(X)
    low = LowVariancePCA(n_components=k).fit(X)
    assert high.n_components_ == low.n_components_ == k
    assert_same_axes(high.components_, whole[:k])
    assert_same_axes(low.components_, whole[-k:])
    assert_same_axes(high.components_, PCA(k).fit(X).components_)


def test_more_components_than_there_are_is_refused():
    with pytest.raises(ValueError, match="n_components=25 is more than the 24"):
        LowVariancePCA(n_components=25).fit(WIDE)
    model = LowVariancePCA(n_components=25, drop_null=False).fit(WIDE)
    assert model.n_components_ == 25


# ------------------------------------------------------------------ the paper's rule
def published(ratio, threshold):
    """The two reductions as the paper's code has them, its errors included."""
    cumulative = np.cumsum(ratio)
    i = int(np.argmax(cumulative > threshold))
    return {"high": slice(i + 1), "low": slice(i - 1, None)}, i, cumulative[i] > threshold


@st.composite
def ratios(draw):
    shares = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=12))
    ratio = np.sort(np.array(shares, float))[::-1]
    return ratio / ratio.sum()


@steady
@given(ratios(), st.floats(0.001, 0.999))
def test_the_rule_is_the_published_one_but_for_its_errors(ratio, variance):
    k = len(ratio)
    keeps, i, found = published(ratio, 1 - variance)
    if np.abs(np.cumsum(ratio) - (1 - variance)).min() < 1e-12:
        return  # a tie that only rounding decides
    assert found  # a threshold below 1 is always exceeded, by the last at the latest
    kept = range(k)[components_by_share(ratio, variance, "low", "paper")]
    assert list(kept) == list(range(k)[keeps["low"]] if i > 0 else range(k))
    strict = range(k)[components_by_share(ratio, variance, "low", "strict")]
    assert list(strict) == (list(range(i + 1, k)) or [k - 1])


@steady
@given(ratios(), st.floats(0.001, 0.999))
def test_high_is_the_published_pca(ratio, variance):
    keeps, _, found = published(ratio, variance)
    if np.abs(np.cumsum(ratio) - variance).min() < 1e-12:
        return
    assert found
    assert components_by_share(ratio, variance, "high", "paper") == keeps["high"]


@steady
@given(ratios(), st.floats(0.001, 1.0))
def test_what_the_kept_components_carry(ratio, variance):
    """Between the boundaries of the paper's rule lies the share; strict is below it."""
    tail = 1e-12
    paper = ratio[components_by_share(ratio, variance, "low", "paper")]
    strict = ratio[components_by_share(ratio, variance, "low", "strict")]
    high = ratio[components_by_share(ratio, variance, "high", "paper")]
    assert len(paper)
    assert len(strict)
    assert paper.sum() >= variance - tail
    assert len(strict) == 1 or strict.sum() < variance + tail
    assert high.sum() >= variance - tail
    assert len(high) == 1 or high[:-1].sum() <= variance + tail
    assert len(strict) <= len(paper)


@pytest.mark.parametrize(
    ("ratio", "variance", "paper", "strict"),
    [
        # i = 0: the published slice [-1:] keeps the last component alone
        ([0.99, 0.006, 0.004], 0.05, [0, 1, 2], [1, 2]),
        ([0.6, 0.3, 0.1], 0.25, [0, 1, 2], [2]),
        ([0.6, 0.3, 0.1], 0.05, [1, 2], [2]),
        # variance = 1: everything
        ([0.6, 0.3, 0.1], 1.0, [0, 1, 2], [1, 2]),
        ([1.0], 0.01, [0], [0]),
        # equal shares, a share that is met exactly: c > t is strict
        ([0.25, 0.25, 0.25, 0.25], 0.5, [1, 2, 3], [3]),
    ],
)
def test_edges_of_the_rule(ratio, variance, paper, strict):
    k = range(len(ratio))
    ratio = np.array(ratio)
    assert list(k[components_by_share(ratio, variance, "low", "paper")]) == paper
    assert list(k[components_by_share(ratio, variance, "low", "strict")]) == strict


def test_the_published_rule_fails_at_its_edges():
    """The errors that the rule above does not copy."""
    keeps, i, _ = published(np.array([0.99, 0.006, 0.004]), 0.95)
    assert i == 0
    assert range(3)[keeps["low"]] == range(2, 3)
    keeps, _, found = published(np.array([0.6, 0.3, 0.1]), 1.0)
    assert not found
    assert range(3)[keeps["high"]] == range(1)


def test_all_of_the_variance_is_all_components():
    for keep in ("low", "high"):
        assert LowVariancePCA(1.0, keep=keep).fit(TALL).n_components_ == 10


def test_tiny_shares_keep_their_digits():
    """A cumulative sum in float64 cannot tell 1 - 1e-18 from 1."""
    X = drawn(200, 6, decades=9)
    kept = LowVariancePCA(1e-17, boundary="strict").fit(X)
    assert kept.n_components_ == 1
    assert kept.explained_variance_ratio_[0] == pytest.approx(1e-18, rel=1)


@by_shape
@pytest.mark.parametrize("variance", [0.01, 0.1, 0.5])
def test_strict_and_high_complement_each_other(X, variance):
    low = LowVariancePCA(variance, boundary="strict").fit(X)
    high = LowVariancePCA(1 - variance, keep="high").fit(X)
    whole = LowVariancePCA(1.0).fit(X)
    assert low.n_components_ + high.n_components_ == whole.n_components_
    assert_same_axes(np.vstack([high.components_, low.components_]), whole.components_)
    paper = LowVariancePCA(variance).fit(X)
    assert paper.n_components_ == min(low.n_components_ + 2, whole.n_components_)


# ------------------------------------------------------------------------- options
def test_null_components_are_kept_where_asked_for():
    model = LowVariancePCA(1.0, drop_null=False).fit(WIDE)
    assert model.n_components_ == 25  # as scikit-learn: min(n, p), rank n - 1
    assert model.explained_variance_[-1] == 0
    assert (model.explained_variance_[:-1] > 0).all()
    np.testing.assert_allclose(
        model.components_ @ model.components_.T, np.eye(25), atol=1e-12
    )
    np.testing.assert_allclose(model.transform(WIDE)[:, -1], 0, atol=1e-12)
    low = LowVariancePCA(0.01, drop_null=False).fit(WIDE)
    assert low.n_components_ == LowVariancePCA(0.01).fit(WIDE).n_components_ + 1


@by_shape
@pytest.mark.parametrize("keep", ["low", "high"])
def test_whitened_coordinates_have_unit_variance(X, keep):
    model = LowVariancePCA(0.4, keep=keep, whiten=True)
    T = model.fit_transform(X)
    np.testing.assert_allclose(np.cov(T.T), np.eye(T.shape[1]), atol=1e-9)
    plain = LowVariancePCA(0.4, keep=keep).fit_transform(X)
    np.testing.assert_allclose(T * np.sqrt(model.explained_variance_), plain, atol=1e-10)


def test_what_has_no_variance_cannot_be_whitened():
    with pytest.raises(ValueError, match="use drop_null=True"):
        LowVariancePCA(drop_null=False, whiten=True).fit(WIDE)


@by_shape
@pytest.mark.parametrize("whiten", [False, True])
def test_the_inverse_goes_back(X, whiten):
    model = LowVariancePCA(1.0, whiten=whiten).fit(X)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X, atol=1e-10)
    low = LowVariancePCA(0.05, whiten=whiten).fit(X)
    back = low.inverse_transform(low.transform(X))
    np.testing.assert_allclose(low.transform(back), low.transform(X), atol=1e-10)
    # Outside of the kept components there is nothing but the mean.
    rest = (back - low.mean_) - (back - low.mean_) @ low.components_.T @ low.components_
    np.testing.assert_allclose(rest, 0, atol=1e-10)
    np.testing.assert_allclose(
        low.inverse_transform(np.zeros((1, low.n_components_)))[0], low.mean_, atol=1e-13
    )


def test_the_inverse_takes_as_many_columns_as_there_are_components():
    model = LowVariancePCA(n_components=3).fit(TALL)
    with pytest.raises(ValueError, match="X has 4 columns, but there are 3 components"):
        model.inverse_transform(np.zeros((2, 4)))


@by_shape
def test_signs_do_not_depend_on_the_order_of_the_rows(X):
    order = np.random.default_rng(1).permutation(len(X))
    a, b = LowVariancePCA(0.3).fit(X), LowVariancePCA(0.3).fit(X[order])
    np.testing.assert_allclose(a.components_, b.components_, atol=1e-8)
    largest = np.abs(a.components_).argmax(axis=1)
    assert (np.take_along_axis(a.components_, largest[:, None], axis=1) > 0).all()


# -------------------------------------------------------------------- partial_fit
@by_shape
@pytest.mark.parametrize("chunks", [1, 3, None], ids=str)
@pytest.mark.parametrize("options", [{}, {"whiten": True}, {"keep": "high"}], ids=str)
def test_chunks_give_what_one_fit_gives(X, chunks, options):
    streamed = LowVariancePCA(0.3, **options)
    for rows in np.array_split(X, chunks or len(X)):  # None: single rows
        assert streamed.partial_fit(rows) is streamed
    whole = LowVariancePCA(0.3, **options).fit(X)
    assert streamed.n_components_ == whole.n_components_
    assert streamed.n_samples_seen_ == len(X)
    np.testing.assert_allclose(
        streamed.explained_variance_, whole.explained_variance_, rtol=1e-9
    )
    np.testing.assert_allclose(streamed.transform(X), whole.transform(X), atol=1e-8)


def test_partial_fit_goes_on_after_fit_and_fit_starts_anew():
    model = LowVariancePCA(0.3).fit(TALL[:30]).partial_fit(TALL[30:])
    want = LowVariancePCA(0.3).fit(TALL)
    np.testing.assert_allclose(model.transform(TALL), want.transform(TALL), atol=1e-9)
    model.partial_fit(TALL + 5).fit(TALL)
    np.testing.assert_array_equal(model.components_, want.components_)


# ----------------------------------------------------------------- names and types
def test_outputs_have_names():
    model = LowVariancePCA(n_components=3).fit(TALL)
    names = [f"lowvariancepca{i}" for i in range(3)]
    assert model.get_feature_names_out().tolist() == names
    frame = model.set_output(transform="pandas").transform(TALL)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == names


@pytest.mark.parametrize("whiten", [False, True])
def test_float32_stays_float32(whiten):
    X = TALL.astype(np.float32)
    model = LowVariancePCA(0.3, whiten=whiten).fit(X)
    T = model.transform(X)
    assert T.dtype == np.float32
    assert model.components_.dtype == np.float64
    assert model.inverse_transform(T).dtype == np.float32
    exact = LowVariancePCA(0.3, whiten=whiten).fit(X.astype(np.float64))
    np.testing.assert_allclose(T, exact.transform(X.astype(np.float64)), rtol=1e-5)
    assert model.transform(TALL).dtype == np.float64


def test_not_fitted():
    for verb in ("transform", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(LowVariancePCA(), verb)(TALL)
    with pytest.raises(NotFittedError):
        LowVariancePCA().partial_fit(TALL[:1]).transform(TALL)


def test_rows_without_variance_are_refused():
    with pytest.raises(ValueError, match="X has no variance: all 4 rows are equal"):
        LowVariancePCA().fit(np.full((4, 3), 7.0))


def test_distances_behind_all_components_are_the_whole_distances():
    """Mahalanobis distances of the unshrunk Gaussian do not change under rotation."""
    rotated = make_pipeline(LowVariancePCA(1.0), MahalanobisDetector(shrinkage=0.0))
    plain = MahalanobisDetector(shrinkage=0.0).fit(TALL)
    np.testing.assert_allclose(
        rotated.fit(TALL).score_samples(TALL), plain.score_samples(TALL), rtol=1e-9
    )
