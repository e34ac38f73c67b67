"""ReferenceResidual: left-out residuals against refits, maps, precision, Pipelines."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_gauss.detection import (
    CalibratedDetector,
    MahalanobisDetector,
    PatchGaussianDetector,
)
from sklearn_gauss.exceptions import CalibrationWarning
from sklearn_gauss.residual import ReferenceResidual, _reference_residual

VARIANTS = [
    ReferenceResidual(),
    ReferenceResidual(metric="euclidean"),
    ReferenceResidual(squared=True),
    ReferenceResidual(lookup="soft", temperature=0.2),
    ReferenceResidual(lookup="soft", metric="euclidean", temperature=2.0),
]


def rows(seed, n, p=6, offset=0.0):
    return np.random.default_rng(seed).normal(size=(n, p)) + offset


@pytest.mark.parametrize("estimator", VARIANTS, ids=str)
def test_left_out_residuals_are_those_of_refits(estimator):
    X = rows(0, 25)
    got = clone(estimator).fit_transform(X)
    for i in range(25):
        others = clone(estimator).fit(np.delete(X, i, axis=0))
        np.testing.assert_allclose(got[i], others.transform(X[i : i + 1])[0], atol=1e-12)


@pytest.mark.parametrize("estimator", VARIANTS, ids=str)
def test_a_patch_is_compared_with_those_of_the_other_images(estimator):
    X = np.random.default_rng(1).normal(size=(5, 2, 3, 4))
    got = clone(estimator).fit_transform(X)
    assert got.shape == X.shape
    for i in range(5):
        others = clone(estimator).fit(np.delete(X, i, axis=0))
        np.testing.assert_allclose(got[i], others.transform(X[i : i + 1])[0], atol=1e-12)


def test_maps_flat_rows_and_patches_agree():
    X, Q = (
        np.random.default_rng(s).normal(size=(n, 2, 3, 4)) for s, n in ((2, 6), (3, 2))
    )
    flat = ReferenceResidual(grid_shape=(2, 3)).fit(X.reshape(6, -1))
    whole = ReferenceResidual().fit(X)
    np.testing.assert_array_equal(
        flat.transform(Q.reshape(2, -1)), whole.transform(Q).reshape(2, -1)
    )
    np.testing.assert_array_equal(whole.transform(list(Q)), whole.transform(Q))
    patches = ReferenceResidual().fit(X.reshape(-1, 4))
    np.testing.assert_array_equal(
        whole.transform(Q), patches.transform(Q.reshape(-1, 4)).reshape(Q.shape)
    )
    assert whole.nearest_reference(Q).shape == (2, 2, 3)


def test_unseen_rows_by_the_definition():
    X, Q = rows(4, 30), rows(5, 7)
    cosines = (Q @ X.T) / np.linalg.norm(Q, axis=1)[:, None] / np.linalg.norm(X, axis=1)
    fitted = ReferenceResidual().fit(X)
    np.testing.assert_array_equal(fitted.nearest_reference(Q), cosines.argmax(axis=1))
    want = Q - X[cosines.argmax(axis=1)]
    np.testing.assert_array_equal(fitted.transform(Q), want)
    squared = ReferenceResidual(squared=True).fit(X)
    np.testing.assert_array_equal(squared.transform(Q), want**2)
    assert not fitted.transform(X).any()  # which is why fit_transform leaves rows out


def test_copies_of_a_row_stay():
    X = np.concatenate([rows(6, 5), rows(6, 5)])
    assert not ReferenceResidual().fit_transform(X).any()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("lookup", ["nearest", "soft"])
def test_an_offset_costs_no_digits(metric, lookup):
    X, Q = rows(7, 40), rows(8, 9)
    big = 2.0**27
    there = ReferenceResidual(metric=metric, lookup=lookup).fit(X + big)
    got = there.transform(Q + big)
    if metric == "euclidean":
        want = ReferenceResidual(metric=metric, lookup=lookup).fit(X).transform(Q)
        np.testing.assert_allclose(got, want, atol=1e-6)
    else:  # directions differ by what is across the offset
        across = ((Q + big)[:, None] - (X + big)) @ (np.eye(6) - 1 / 6)
        nearest = (across**2).sum(axis=-1).argmin(axis=1)
        if lookup == "nearest":
            np.testing.assert_array_equal(there.nearest_reference(Q + big), nearest)
        assert np.abs(got).max() < 10


def test_single_precision_comes_back_and_computes_in_double():
    X = rows(9, 30, offset=1000).astype(np.float32)
    found = ReferenceResidual().fit(X[:20]).transform(X[20:])
    assert found.dtype == np.float32
    double = ReferenceResidual().fit(X[:20].astype(float)).transform(X[20:].astype(float))
    np.testing.assert_array_equal(found, double.astype(np.float32))
    with pytest.raises(ValueError, match="squares, exceed the largest float32"):
        ReferenceResidual(squared=True).fit(X[:2] * 1e30).transform(X[2:4] * -1e30)


def slow_temperature(X, references, groups, kept, metric):
    """Least sum of squared left-out residuals, row by row, without the row itself."""
    squares, spreads = [], []
    for x, group in zip(X, groups, strict=True):
        others = references[kept != group]
        if metric == "cosine":
            x, others = (
                Z / np.linalg.norm(Z, axis=-1, keepdims=True) for Z in (x, others)
            )
        squares.append(((x - others) ** 2).sum(axis=1))
        spreads.append(np.median(squares[-1]) - squares[-1].min())
    best = np.inf, None
    for power in range(1, -11, -1):
        temperature, total = np.median(spreads) / 2 * 2.0**power, 0.0
        for x, group, some in zip(X, groups, squares, strict=True):
            weights = np.exp(-(some - some.min()) / (2 * temperature))
            mean = weights @ references[kept != group] / weights.sum()
            total += ((x - mean) ** 2).sum()
        best = min(best, (total, temperature))
    return best[1]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("n_used", [7, 1000])
def test_the_temperature_is_that_of_spread_rows_without_themselves(
    metric, n_used, monkeypatch
):
    monkeypatch.setattr(_reference_residual, "TEMPERATURE_ROWS", n_used)
    X = rows(17, 40, 3) * np.linspace(0.1, 3, 40)[:, None] + 2
    some = np.unique(np.linspace(0, 39, min(40, n_used)).astype(int))
    fitted = ReferenceResidual(30, lookup="soft", metric=metric).fit(X)
    kept = fitted.sample_indices_
    want = slow_temperature(X[some], X[kept], some, kept, metric)
    assert fitted.temperature_ == pytest.approx(want, rel=1e-9)


def test_thinning_chooses_among_candidates(monkeypatch):
    X = rows(18, 60, 2)
    drawn = np.random.RandomState(0).permutation(60)
    monkeypatch.setattr(_reference_residual, "CANDIDATES", 16)
    few = ReferenceResidual(8).fit(X).sample_indices_
    assert len(few) == 8
    assert np.isin(few, drawn[:16]).all()
    assert len(ReferenceResidual(20).fit(X).sample_indices_) == 20


@pytest.mark.parametrize("thinning", ["kernel", "random"])
def test_fewer_references(thinning):
    X = rows(10, 80, 2)
    fitted = ReferenceResidual(9, thinning=thinning, random_state=1).fit(X)
    assert fitted.reference_.shape == (9, 2)
    np.testing.assert_array_equal(fitted.reference_, X[fitted.sample_indices_])
    left_out = clone(fitted).fit_transform(X)
    kept = fitted.sample_indices_
    seen = np.setdiff1d(np.arange(80), kept)
    np.testing.assert_array_equal(left_out[seen], fitted.transform(X[seen]))
    assert np.abs(left_out[kept]).sum(axis=1).min() > 0
    maps = np.random.default_rng(0).normal(size=(6, 3, 3, 2))
    assert ReferenceResidual(7, thinning=thinning).fit(maps).reference_.shape == (7, 2)


def test_kernel_thinning_covers_better_than_chance():
    X = np.concatenate([rows(0, 300, 2), rows(1, 300, 2, offset=20)])
    sizes = {
        how: np.mean(
            [
                np.linalg.norm(
                    ReferenceResidual(
                        12, metric="euclidean", thinning=how, random_state=seed
                    )
                    .fit(X)
                    .transform(X),
                    axis=1,
                ).mean()
                for seed in range(8)
            ]
        )
        for how in ("kernel", "random")
    }
    assert sizes["kernel"] < 0.95 * sizes["random"]


def test_little_memory_changes_nothing():
    X, Q = rows(11, 50), rows(12, 30)
    for lookup in ("nearest", "soft"):
        whole = ReferenceResidual(lookup=lookup).fit(X)
        little = ReferenceResidual(lookup=lookup, working_memory=1e-3).fit(X)
        np.testing.assert_allclose(whole.transform(Q), little.transform(Q), atol=1e-12)


def test_names_and_data_frames():
    frame = pd.DataFrame(rows(13, 12, 3), columns=["a", "b", "c"])
    fitted = ReferenceResidual().set_output(transform="pandas").fit(frame)
    assert list(fitted.get_feature_names_out()) == ["a", "b", "c"]
    assert list(fitted.transform(frame[:2]).columns) == ["a", "b", "c"]


@pytest.mark.parametrize("container", ["pandas", "default"])
def test_no_frame_can_hold_maps(container):
    maps = np.random.default_rng(16).normal(size=(4, 2, 2, 3))
    plain = ReferenceResidual().fit(maps)
    with config_context(transform_output=container):
        own = ReferenceResidual().set_output(transform="pandas")
        for work in (own.fit_transform, own.fit(maps).transform):
            with pytest.raises(ValueError, match="no pandas frame can hold"):
                work(maps)
        if container == "pandas":
            with pytest.raises(ValueError, match="no pandas frame can hold"):
                plain.transform(maps)
        flat = ReferenceResidual(grid_shape=(2, 2)).set_output(transform="pandas")
        assert flat.fit_transform(maps.reshape(4, -1)).shape == (4, 12)
        own.set_output(transform="default")
        assert own.transform(maps).shape == maps.shape


def test_zero_rows_are_compared():
    X = np.concatenate([np.abs(rows(14, 6)), np.zeros((2, 6))])
    for lookup in ("nearest", "soft"):
        found = ReferenceResidual(lookup=lookup, temperature=0.1).fit_transform(X)
        assert np.isfinite(found).all()


def test_copies_of_zero_rows_have_no_residual():
    X = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]])
    for one in (ReferenceResidual(), ReferenceResidual(lookup="soft", temperature=0.01)):
        found = one.fit(X).transform([[0.0, 0.0]])
        np.testing.assert_allclose(found, [[0, 0]], atol=1e-40)
        found = one.fit_transform(np.concatenate([X, [[0.0, 0.0]]]))
        np.testing.assert_allclose(found[[1, 3]], np.zeros((2, 2)), atol=1e-40)


@pytest.mark.parametrize("factor", [1e-300, 1e-163, 1e-160, 1e155, 1e300])
def test_soft_lookup_at_any_scale(factor):
    X, Q = rows(19, 20), rows(20, 5)
    soft = ReferenceResidual(metric="euclidean", lookup="soft")
    want = clone(soft).fit(X).transform(Q)
    found = clone(soft).fit(X * factor).transform(Q * factor) / factor
    np.testing.assert_allclose(found, want, atol=1e-13)
    given = clone(soft).set_params(temperature=2.0).fit(X * factor)
    assert given.temperature_ == 2.0
    want = Q - X.mean(axis=0)
    if factor > 1:  # squared distances are beyond any temperature
        want = ReferenceResidual(metric="euclidean").fit(X).transform(Q)
    np.testing.assert_allclose(given.transform(Q * factor) / factor, want, atol=1e-13)


def test_equal_rows_have_a_temperature():
    found = ReferenceResidual(lookup="soft", metric="euclidean").fit(np.ones((4, 3)))
    np.testing.assert_allclose(found.transform([[2.0, 1.0, 1.0]]), [[1, 0, 0]])


@pytest.mark.parametrize(
    ("estimator", "X", "message"),
    [
        (ReferenceResidual(1), rows(0, 5), "all reference rows are of one"),
        (ReferenceResidual(), rows(0, 1), "1 sample"),
        (ReferenceResidual(grid_shape=(2, 0)), rows(0, 5), "two positive integers"),
        (ReferenceResidual(grid_shape=(2, 2)), rows(0, 5), "no multiple"),
        (ReferenceResidual(), np.zeros((2, 3, 4)), "has 3 dimensions"),
        (
            ReferenceResidual(),
            [np.zeros((2, 2, 1)), np.zeros((1, 2, 1))],
            "different shapes",
        ),
        (ReferenceResidual(grid_shape=(1, 4)), np.zeros((3, 2, 2, 1)), "2 x 2 places"),
    ],
)
def test_what_cannot_be_done_is_refused(estimator, X, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit_transform(X)


def test_other_maps_than_those_of_the_fit_are_refused():
    fitted = ReferenceResidual().fit(np.ones((3, 2, 2, 1)))
    for X in (np.ones((1, 4)), np.ones((1, 1, 4, 1)), np.ones((2, 3, 3, 1))):
        with pytest.raises(ValueError, match="was fitted to maps of 2 x 2 places"):
            fitted.transform(X)
    with pytest.raises(ValueError, match="features"):
        fitted.transform(np.ones((1, 2, 2, 3)))
    with pytest.raises(ValueError, match="'auto' compares rows"):
        ReferenceResidual(lookup="soft").fit(rows(0, 1))


def rates(make, *, n, p, draws=25):
    found = []
    for seed in range(draws):
        detector = make().fit(rows(seed, n, p, offset=3))
        found.append((detector.predict(rows(500 + seed, 400, p, offset=3)) == -1).mean())
    return np.mean(found)


@pytest.mark.parametrize(("n", "p"), [(60, 8), (40, 60)])
def test_false_positive_rates_behind_left_out_residuals(n, p):
    def pipeline():
        return make_pipeline(
            ReferenceResidual(metric="euclidean"), MahalanobisDetector(target_fpr=0.1)
        )

    assert abs(rates(pipeline, n=n, p=p) - 0.1) < 0.04


def test_residuals_of_seen_rows_would_make_a_threshold_that_flags_all():
    X, Q = rows(0, 80, 8), rows(1, 200, 8)
    soft = ReferenceResidual(metric="euclidean", lookup="soft", temperature=0.5)
    detector = MahalanobisDetector(target_fpr=0.1)
    seen = detector.fit(soft.fit(X).transform(X)).predict(soft.transform(Q))
    left_out = detector.fit(soft.fit_transform(X)).predict(soft.transform(Q))
    assert (seen == -1).mean() > 0.8
    assert (left_out == -1).mean() < 0.2


def test_calibrated_as_a_whole():
    def whole():
        pipeline = make_pipeline(ReferenceResidual(), MahalanobisDetector())
        return CalibratedDetector(pipeline, target_fpr=0.1, cv=20)

    assert abs(rates(whole, n=60, p=20, draws=10) - 0.1) < 0.05


def test_in_front_of_a_detector_of_maps():
    rng = np.random.default_rng(15)
    maps = rng.normal(size=(30, 4, 4, 3)) + rng.normal(size=(30, 1, 1, 3))
    odd = maps[:1].copy()
    odd[0, 1:3, 2] += 6
    pipeline = make_pipeline(
        ReferenceResidual(metric="euclidean"),
        PatchGaussianDetector(covariance="shared", pixel_target_fpr=0.05),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        pipeline.fit(maps[1:])
    assert pipeline.predict(odd) == [-1]
    found = pipeline[-1].anomaly_map(pipeline[:-1].transform(odd))[0]
    assert np.unravel_index(found.argmax(), found.shape)[1] == 2
