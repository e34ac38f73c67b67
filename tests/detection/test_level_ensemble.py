"""LevelEnsemble: which columns are a level, what is summed, and one threshold for it."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.covariance import EllipticEnvelope, LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_gauss._numerics.stacking import ScoreTable, find_weights
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    ClassConditionalDetector,
    DetectorEnsemble,
    KDEDetector,
    LevelEnsemble,
    MahalanobisDetector,
    NormalAbnormalDetector,
)
from sklearn_gauss.exceptions import CalibrationWarning, NearestNeighborWarning

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 12)) @ (np.eye(12) + 0.3 * rng.normal(size=(12, 12)))
UNSEEN = rng.normal(size=(40, 12)) * 1.5
GROUPS = {"low": np.arange(3), "mid": np.arange(3, 7), "top": np.arange(7, 12)}
NAMES = [f"{level}__{i}" for level, columns in GROUPS.items() for i in columns]
FRAME = pd.DataFrame(X, columns=NAMES)


def singles(detector=None, columns=GROUPS):
    detector = detector or MahalanobisDetector()
    return [clone(detector).fit(X[:, c]) for c in columns.values()]


# --------------------------------------------------------------------------- levels
@pytest.mark.parametrize(
    ("levels", "found"),
    [
        (GROUPS, GROUPS),
        ({"low": range(3), "mid": slice(3, 7), "top": [7, 8, 9, 10, 11]}, GROUPS),
        ([slice(0, 3), slice(3, None)], {"0": range(3), "1": range(3, 12)}),
        (([0, 1], [-1]), {"0": [0, 1], "1": [11]}),
        ([5], {"0": [5]}),
        ({1: [0], "b": [1]}, {"1": [0], "b": [1]}),
        (None, {"all": range(12)}),
    ],
    ids=["arrays", "kinds", "slices", "negative", "number", "keys", "none"],
)
def test_levels_are_columns(levels, found):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ensemble = LevelEnsemble(levels=levels).fit(X)
    assert list(ensemble.levels_) == list(found)
    for name, columns in found.items():
        assert ensemble.levels_[name].tolist() == list(columns)
        assert ensemble.levels_[name].dtype.kind == "i"
    assert len(ensemble.detectors_) == len(found)


def test_levels_are_read_from_feature_names():
    ensemble = LevelEnsemble().fit(FRAME)
    assert list(ensemble.levels_) == ["low", "mid", "top"]
    for name, columns in GROUPS.items():
        np.testing.assert_array_equal(ensemble.levels_[name], columns)
    np.testing.assert_array_equal(
        ensemble.score_samples(pd.DataFrame(UNSEEN, columns=NAMES)),
        LevelEnsemble(levels=GROUPS).fit(X).score_samples(UNSEEN),
    )


def test_levels_may_lie_anywhere():
    order = np.random.default_rng(1).permutation(12)
    ensemble = LevelEnsemble().fit(FRAME.iloc[:, order])
    for name, columns in ensemble.levels_.items():
        assert {NAMES[order[c]].split("__")[0] for c in columns} == {name}
    np.testing.assert_allclose(
        ensemble.score_samples(FRAME.iloc[:, order]),
        LevelEnsemble().fit(FRAME).score_samples(FRAME),
        rtol=1e-10,
    )


def test_the_last_separator_ends_the_level():
    frame = pd.DataFrame(
        X[:, :3], columns=["cnn__stem__0", "cnn__stem__1", "cnn__top__0"]
    )
    assert list(LevelEnsemble().fit(frame).levels_) == ["cnn__stem", "cnn__top"]


def test_levels_are_given_by_feature_names():
    levels = {"a": ["low__0", "top__11"], "b": np.array(["mid__4"], dtype=object)}
    found = LevelEnsemble(levels=levels).fit(FRAME).levels_
    assert {name: c.tolist() for name, c in found.items()} == {"a": [0, 11], "b": [4]}


@pytest.mark.parametrize("rows", [X, FRAME.rename(columns={"mid__4": "mid4"})], ids=type)
def test_without_level_names_there_is_one_level_and_a_warning(rows):
    with pytest.warns(UserWarning, match="no feature names of the form level__channel"):
        ensemble = LevelEnsemble().fit(rows)
    assert list(ensemble.levels_) == ["all"]
    np.testing.assert_allclose(
        ensemble.level_scores(rows)[:, 0],
        -np.sqrt(MahalanobisDetector().fit(X).mahalanobis(X)),
    )


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "levels is empty"),
        ({}, "levels is empty"),
        ({"a": []}, "level 'a' must be a non-empty list"),
        ({"a": slice(5, 5)}, "level 'a' must be a non-empty list"),
        (
            [[0, 12]],
            "level '0' has a column out of range for the 12|level 0 has a column",
        ),
        ([[-13]], "has a column out of range"),
        ([[0.5]], "must be a non-empty list of column indices"),
        ([[True, False]], "must be a non-empty list of column indices"),
        ([[[0, 1]]], "must be a non-empty list of column indices"),
        ({"a": ["nowhere"]}, "level 'a' names no column 'nowhere'"),
    ],
    ids=str,
)
def test_levels_that_do_not_fit_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        LevelEnsemble(levels=levels).fit(FRAME)


def test_names_need_names():
    with pytest.raises(ValueError, match="names no column 'low__0'"):
        LevelEnsemble(levels={"a": ["low__0"]}).fit(X)


# ----------------------------------------------------------------------- aggregates
def distances(rows):
    return np.column_stack(
        [
            np.sqrt(d.mahalanobis(rows[:, c]))
            for d, c in zip(singles(), GROUPS.values(), strict=True)
        ]
    )


def densities(rows):
    return np.column_stack(
        [
            d.score_samples(rows[:, c])
            for d, c in zip(singles(), GROUPS.values(), strict=True)
        ]
    )


AGGREGATES = {
    "sum": lambda rows: -distances(rows).sum(axis=1),
    "mean": lambda rows: -distances(rows).mean(axis=1),
    "max": lambda rows: -distances(rows).max(axis=1),
    "log_density": lambda rows: densities(rows).sum(axis=1),
}


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_scores_are_the_aggregate_of_single_detectors(aggregate):
    ensemble = LevelEnsemble(levels=GROUPS, aggregate=aggregate).fit(X)
    want = AGGREGATES[aggregate](UNSEEN)
    np.testing.assert_allclose(ensemble.score_samples(UNSEEN), want, rtol=1e-12)
    by_level = densities if aggregate == "log_density" else lambda rows: -distances(rows)
    np.testing.assert_allclose(ensemble.level_scores(UNSEEN), by_level(UNSEEN))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_left_out_scores_are_the_aggregate_of_left_out_scores(aggregate):
    """Row by row what the ensemble fitted without the row gives it."""
    ensemble = LevelEnsemble(levels=GROUPS, aggregate=aggregate).fit(X)
    for i in range(0, 60, 7):
        others = clone(ensemble).fit(np.delete(X, i, axis=0))
        row = X[i : i + 1]
        want = others.score_samples(row)[0]
        if aggregate == "log_density":
            # The final determinants at the left-out distances.
            centre = np.concatenate([d.location_ for d in ensemble.detectors_])
            order = np.argsort(np.concatenate(list(ensemble.levels_.values())))
            squares = [
                d.mahalanobis(row[:, columns])[0]
                for d, columns in zip(
                    others.detectors_, others.levels_.values(), strict=True
                )
            ]
            want = ensemble.score_samples(centre[order][None])[0] - sum(squares) / 2
        assert ensemble.calibration_scores_[i] == pytest.approx(want, rel=1e-10)
    rank = math.ceil(61 * 0.95)
    ordered = np.sort(ensemble.calibration_scores_)[::-1]
    assert ensemble.offset_ == ordered[rank - 1]


@pytest.mark.parametrize("aggregate", ["sum", "max", "log_density"])
@pytest.mark.parametrize("p", [4, 80], ids=["n > p", "n < p"])
def test_the_whole_keeps_its_target(aggregate, p):
    """Levels that are correlated, each with its own distances."""
    random = np.random.default_rng(p)
    n, draws, unseen, target = 99, 12, 400, 0.1
    mix = np.eye(2 * p) + np.eye(2 * p, k=p) * 0.8
    rates = []
    for _ in range(draws):
        ensemble = LevelEnsemble(
            levels=[slice(0, p), slice(p, None)], aggregate=aggregate, target_fpr=target
        ).fit(random.normal(size=(n, 2 * p)) @ mix)
        rows = random.normal(size=(unseen, 2 * p)) @ mix
        rates.append((ensemble.predict(rows) == -1).mean())
    error = 4 * math.sqrt(target * (1 - target) / draws * (1 / (n + 2) + 1 / unseen))
    assert abs(np.mean(rates) - target) < error


def test_p_values_and_recalibration_are_those_of_the_sum():
    ensemble = LevelEnsemble(levels=GROUPS, target_fpr=0.1).fit(X)
    flagged = ensemble.predict(UNSEEN) == -1
    np.testing.assert_array_equal(flagged, ensemble.p_values(UNSEEN) <= 0.1)
    assert flagged.any()
    ensemble.recalibrate(UNSEEN, 0.2)
    np.testing.assert_array_equal(
        ensemble.calibration_scores_, ensemble.score_samples(UNSEEN)
    )
    assert (ensemble.predict(UNSEEN) == -1).sum() <= 0.2 * 41


# -------------------------------------------------------------------------- members
def test_members_are_clones_fitted_to_their_columns():
    detector = MahalanobisDetector(shrinkage="oas")
    ensemble = LevelEnsemble(detector, levels=GROUPS).fit(X)
    assert not hasattr(detector, "offset_")
    for member, columns in zip(ensemble.detectors_, GROUPS.values(), strict=True):
        assert member.shrinkage == "oas"
        assert member.n_features_in_ == len(columns)
        want = clone(detector).fit(X[:, columns])
        np.testing.assert_array_equal(member.location_, want.location_)


class Counted(MahalanobisDetector):
    fits = 0

    def fit(self, X, y=None):
        type(self).fits += 1
        return super().fit(X, y)


def test_closed_form_members_are_fitted_once():
    Counted.fits = 0
    LevelEnsemble(Counted(), levels=GROUPS).fit(X)
    assert Counted.fits == 3
    Counted.fits = 0
    LevelEnsemble(make_pipeline(Counted()), levels=GROUPS, cv=4).fit(X)
    assert Counted.fits == 3 * 5


@pytest.mark.parametrize(
    "detector",
    [
        make_pipeline(LowVariancePCA(0.3), MahalanobisDetector()),
        MahalanobisDetector(LedoitWolf(), calibration="chi2"),
        EllipticEnvelope(random_state=0),
    ],
    ids=["pipeline", "foreign covariance", "foreign detector"],
)
@pytest.mark.parametrize("aggregate", ["sum", "log_density"])
def test_other_members_are_cross_fitted(detector, aggregate):
    """Calibration scores of a fold come from detectors that have not seen it."""
    levels = {"a": np.arange(5), "b": np.arange(5, 12)}
    ensemble = LevelEnsemble(detector, levels=levels, aggregate=aggregate, cv=3).fit(X)
    folds = KFold(3, shuffle=True, random_state=0)
    for train, held_out in folds.split(X):
        others = LevelEnsemble(detector, levels=levels, aggregate=aggregate, cv=2)
        others.fit(X[train])
        np.testing.assert_allclose(
            ensemble.calibration_scores_[held_out],
            others.score_samples(X[held_out]),
            rtol=1e-10,
        )
    inside = ensemble.score_samples(X)
    assert ensemble.calibration_scores_.mean() < inside.mean()


def test_pipelines_measure_distances_behind_their_steps():
    pipeline = make_pipeline(LowVariancePCA(0.3), MahalanobisDetector())
    ensemble = LevelEnsemble(pipeline, levels=GROUPS, cv=3).fit(X)
    for i, columns in enumerate(GROUPS.values()):
        fitted = clone(pipeline).fit(X[:, columns])
        reduced = fitted[:-1].transform(UNSEEN[:, columns])
        np.testing.assert_allclose(
            ensemble.level_scores(UNSEEN)[:, i], -np.sqrt(fitted[-1].mahalanobis(reduced))
        )


def test_more_folds_than_rows_are_single_rows():
    rows = X[:9]
    ensemble = LevelEnsemble(
        make_pipeline(MahalanobisDetector()), levels=GROUPS, cv=50, target_fpr=0.2
    ).fit(rows)
    closed_form = LevelEnsemble(levels=GROUPS, target_fpr=0.2).fit(rows)
    np.testing.assert_allclose(
        ensemble.calibration_scores_, closed_form.calibration_scores_, rtol=1e-9
    )


def test_pipelines_keep_the_target():
    """Their own thresholds do not: the steps in front have seen every row."""
    random = np.random.default_rng(5)
    pipeline = make_pipeline(LowVariancePCA(0.3), MahalanobisDetector(target_fpr=0.1))
    rates = []
    for _ in range(8):
        rows, unseen = random.normal(size=(79, 60)), random.normal(size=(400, 60))
        ensemble = LevelEnsemble(pipeline, levels=None, target_fpr=0.1, cv=20).fit(rows)
        alone = clone(pipeline).fit(rows)
        rates.append([(d.predict(unseen) == -1).mean() for d in (ensemble, alone)])
    whole, alone = np.mean(rates, axis=0)
    error = 4 * math.sqrt(0.09 / 8 * (1 / 81 + 1 / 400))
    assert abs(whole - 0.1) < error
    assert alone > 0.1 + 2 * error


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_jobs_do_not_change_the_numbers(n_jobs):
    want = LevelEnsemble(levels=GROUPS).fit(X)
    found = LevelEnsemble(levels=GROUPS, n_jobs=n_jobs).fit(X)
    np.testing.assert_array_equal(found.calibration_scores_, want.calibration_scores_)
    np.testing.assert_array_equal(found.score_samples(X), want.score_samples(X))


# -------------------------------------------------------------------------- stacked
SPOILT = X[:20] + 2 * np.isin(np.arange(12), GROUPS["mid"])
BOTH, LABELS = np.vstack([X, SPOILT]), np.repeat([1, -1], [60, 20])
OWN = np.concatenate([np.arange(60), np.arange(20)])  # the row each was drawn on


def stacked(**options):
    return LevelEnsemble(levels=GROUPS, aggregate="stacked", **options)


def folds_of(groups):
    """The fold of each group of rows."""
    fold_of = np.empty(groups.max() + 1, dtype=int)
    splits = KFold(5, shuffle=True, random_state=0).split(fold_of)
    for fold, (_, held_out) in enumerate(splits):
        fold_of[held_out] = fold
    return fold_of[groups]


def test_stacked_weights_are_those_of_levels_out_of_fold():
    ensemble = stacked().fit(BOTH, LABELS, groups=OWN)
    fold_of = folds_of(OWN)
    scores = np.empty((80, 3))
    for fold in range(5):
        train, here = BOTH[:60][fold_of[:60] != fold], fold_of == fold
        for i, columns in enumerate(GROUPS.values()):
            part = MahalanobisDetector().fit(train[:, columns])
            scores[here, i] = -np.sqrt(part.mahalanobis(BOTH[here][:, columns]))
    left_out = np.column_stack([-np.sqrt(d.calibration_mahalanobis_) for d in singles()])
    normal, bad = scores[:60], scores[60:]
    kinds, folds = np.full(20, "anomaly"), (fold_of[:60], fold_of[60:])
    table = ScoreTable(normal, left_out, bad, kinds, bad[:0], *folds)
    want = find_weights(table, "stacked", np.full(3, True))
    np.testing.assert_allclose(ensemble.level_weights_, want, rtol=1e-9)
    np.testing.assert_array_equal(ensemble.calibration_level_scores_, left_out)
    assert ensemble.selection_.best == "mid"
    assert np.argmax(ensemble.level_weights_) == 1
    calibration = np.empty(60)
    for fold in range(5):
        here = fold_of[:60] == fold
        part = table.take(~here, fold_of[60:] != fold, np.full(0, True))
        weights = find_weights(part, "stacked", np.full(3, True))
        low, middle, high = np.percentile(left_out @ weights, [25, 50, 75])
        least, centre, most = np.percentile(left_out @ want, [25, 50, 75])
        moved = (left_out @ weights - middle) * (most - least) / (high - low) + centre
        calibration[here] = moved[here]
    np.testing.assert_allclose(ensemble.calibration_scores_, calibration, rtol=1e-9)


def test_stacked_scores_are_weighted_sums():
    """Of detectors fitted to the normal rows alone, whatever the others."""
    for ensemble in (stacked().fit(X), stacked().fit(BOTH, LABELS)):
        want = -distances(UNSEEN) @ ensemble.level_weights_
        np.testing.assert_allclose(ensemble.score_samples(UNSEEN), want, rtol=1e-12)
        assert len(ensemble.calibration_scores_) == 60
        flagged = ensemble.predict(UNSEEN) == -1
        np.testing.assert_array_equal(flagged, ensemble.p_values(UNSEEN) <= 0.05)
    drawn = stacked().fit(X).selection_
    assert drawn.kinds == ["noise", "shift", "stretch", "swap"]
    assert drawn.scores == ["low", "mid", "top"]


def test_stacked_levels_add_up_and_have_a_gradient():
    ensemble = stacked().fit(BOTH, LABELS)
    assert ensemble.level_weights_.min() < 0  # of either sign
    found = ensemble.explain(UNSEEN)
    np.testing.assert_allclose(found.levels.sum(axis=1), -ensemble.score_samples(UNSEEN))
    row, step = UNSEEN[:1], 1e-5 * np.eye(12)
    slope = ensemble.score_samples(row + step) - ensemble.score_samples(row - step)
    np.testing.assert_allclose(
        ensemble.gradient(row)[0], slope / 2e-5, rtol=1e-5, atol=1e-6
    )


def test_only_stacked_looks_at_labels():
    fitted = LevelEnsemble(levels=GROUPS).fit(BOTH, LABELS, groups=OWN)
    want = LevelEnsemble(levels=GROUPS).fit(BOTH)
    np.testing.assert_array_equal(fitted.calibration_scores_, want.calibration_scores_)
    ensemble = stacked().fit(X)
    ensemble.set_params(aggregate="sum").fit(X)
    assert not hasattr(ensemble, "level_weights_")
    assert not hasattr(ensemble, "selection_")
    with pytest.warns(UserWarning, match="no labels"):
        foreign = stacked().fit(X, np.arange(60) % 2)
    np.testing.assert_array_equal(foreign.level_weights_, stacked().fit(X).level_weights_)


def test_stacked_behind_a_pipeline_takes_drawn_rows_and_groups():
    """Of steps that learn nothing: others would be fitted to the drawn rows as well."""
    pipeline = make_pipeline(FunctionTransformer(), stacked())
    pipeline.fit(BOTH, LABELS, levelensemble__groups=OWN)
    want = stacked().fit(BOTH, LABELS, groups=OWN)
    np.testing.assert_array_equal(
        pipeline.score_samples(UNSEEN), want.score_samples(UNSEEN)
    )
    apart = stacked().fit(BOTH, LABELS)
    assert (apart.level_weights_ != want.level_weights_).any()


def test_stacked_members_may_be_pipelines():
    detector = make_pipeline(StandardScaler(), MahalanobisDetector())
    ensemble = stacked(detector=detector, cv=4).fit(BOTH, LABELS, groups=OWN)
    summed = LevelEnsemble(detector, levels=GROUPS, cv=4).fit(X)
    np.testing.assert_array_equal(
        ensemble.calibration_level_scores_, summed.calibration_level_scores_
    )
    assert ensemble.selection_.best == "mid"


def test_stacked_takes_part_in_an_ensemble():
    members = [("levels", stacked()), ("sum", LevelEnsemble(levels=GROUPS))]
    fitted = DetectorEnsemble(members, cv=2).fit(X)
    alone = stacked().fit(X)
    np.testing.assert_array_equal(
        fitted.member_scores(UNSEEN)[:, 0], alone.score_samples(UNSEEN)
    )


@pytest.mark.parametrize("p", [3, 30], ids=["n > p", "n < p"])
def test_stacked_keeps_its_target(p):
    random = np.random.default_rng(p)
    n, draws, unseen, target = 59, 25, 300, 0.1
    rates = []
    for _ in range(draws):
        ensemble = LevelEnsemble(
            levels=[slice(0, p), slice(p, None)], aggregate="stacked", target_fpr=target
        ).fit(random.normal(size=(n, 2 * p)))
        rows = random.normal(size=(unseen, 2 * p))
        rates.append((ensemble.predict(rows) == -1).mean())
    error = 4 * math.sqrt(target * (1 - target) / draws * (1 / (n + 2) + 1 / unseen))
    assert abs(np.mean(rates) - target) < error


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_stacked_follows_the_units(scale):
    want, found = stacked().fit(X), stacked().fit(X * scale)
    np.testing.assert_allclose(found.level_weights_, want.level_weights_, rtol=1e-6)
    np.testing.assert_allclose(
        found.score_samples(UNSEEN * scale), want.score_samples(UNSEEN), rtol=1e-6
    )


def test_stacked_needs_three_normal_rows():
    with pytest.raises(ValueError, match=r"2 sample\(s\).*minimum of 3"):
        stacked().fit(X[:2])
    with pytest.raises(ValueError, match=r"2 sample\(s\) to fit to.*minimum of 3"):
        stacked().fit(BOTH[58:], LABELS[58:])
    with pytest.raises(ValueError, match="groups: all 60 normal rows are of one group"):
        stacked().fit(X, groups=np.ones(60))


def test_stacked_levels_warn_once_of_their_own_fit():
    narrow = KDEDetector(1e-3)
    with pytest.warns(NearestNeighborWarning, match="At a bandwidth of") as caught:
        stacked(detector=narrow).fit(X)
    assert len(caught) == 3


# ---------------------------------------------------------- explanations and gradients
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_levels_add_up_to_the_score(aggregate):
    ensemble = LevelEnsemble(levels=GROUPS, aggregate=aggregate).fit(X)
    found = ensemble.explain(UNSEEN)
    assert found.level_names == ["low", "mid", "top"]
    np.testing.assert_allclose(found.levels.sum(axis=1), -ensemble.score_samples(UNSEEN))
    if aggregate == "max":
        assert ((found.levels != 0).sum(axis=1) == 1).all()
    for i, (name, columns) in enumerate(GROUPS.items()):
        part = found.parts[name]
        assert part.features.shape == (len(UNSEEN), len(columns))
        squares = ensemble.detectors_[i].mahalanobis(UNSEEN[:, columns])
        np.testing.assert_allclose(part.features.sum(axis=1), squares)
        np.testing.assert_allclose(part.components.sum(axis=1) + part.residual, squares)


def test_pipelines_are_explained_in_the_columns_of_their_level():
    pipeline = make_pipeline(LowVariancePCA(n_components=2), MahalanobisDetector())
    ensemble = LevelEnsemble(pipeline, levels=GROUPS, cv=2).fit(X)
    found = ensemble.explain(UNSEEN)
    for i, (name, columns) in enumerate(GROUPS.items()):
        part = found.parts[name]
        assert part.features.shape == (len(UNSEEN), len(columns))
        assert part.axes.shape == (2, len(columns))
        np.testing.assert_allclose(part.features.sum(axis=1), found.levels[:, i] ** 2)


def test_levels_without_explanations_keep_their_share():
    forest = EllipticEnvelope(random_state=0)
    ensemble = LevelEnsemble(forest, levels=GROUPS, cv=2).fit(X)
    found = ensemble.explain(UNSEEN)
    assert found.parts == {}
    np.testing.assert_allclose(found.levels.sum(axis=1), -ensemble.score_samples(UNSEEN))
    with pytest.raises(AttributeError, match="EllipticEnvelope has no gradient"):
        ensemble.gradient(UNSEEN)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(
    "detector",
    [None, make_pipeline(LowVariancePCA(n_components=2), MahalanobisDetector())],
    ids=["Gaussian", "pipeline"],
)
def test_the_gradient_is_that_of_finite_differences(aggregate, detector):
    ensemble = LevelEnsemble(detector, levels=GROUPS, aggregate=aggregate, cv=2).fit(X)
    row, step = UNSEEN[:1], 1e-5 * np.eye(12)
    slope = ensemble.score_samples(row + step) - ensemble.score_samples(row - step)
    np.testing.assert_allclose(
        ensemble.gradient(row)[0], slope / 2e-5, rtol=1e-5, atol=1e-6
    )


def test_overlapping_levels_add_their_gradients():
    ensemble = LevelEnsemble(levels=[[0, 1, 2], [2, 3]]).fit(X)
    row, step = UNSEEN[:1], 1e-5 * np.eye(12)
    slope = ensemble.score_samples(row + step) - ensemble.score_samples(row - step)
    np.testing.assert_allclose(
        ensemble.gradient(row)[0], slope / 2e-5, rtol=1e-5, atol=1e-6
    )


def test_the_gradient_is_zero_at_the_mean():
    ensemble = LevelEnsemble(levels=None).fit(np.vstack([X, -X]))
    centre = ensemble.detectors_[0].location_[None]
    assert np.isfinite(ensemble.gradient(centre)).all()


# ---------------------------------------------------------------- warnings and errors
def test_members_thresholds_do_not_warn_but_that_of_the_sum_does():
    with pytest.warns(CalibrationWarning, match="10 rows .* at least 19") as caught:
        ensemble = LevelEnsemble(levels=GROUPS).fit(X[:10])
    assert len(caught) == 1
    assert (ensemble.predict(UNSEEN) == 1).all()


@pytest.mark.parametrize(
    "verb",
    [
        "score_samples",
        "level_scores",
        "predict",
        "p_values",
        "decision_function",
        "explain",
        "gradient",
    ],
)
def test_not_fitted(verb):
    with pytest.raises(NotFittedError):
        getattr(LevelEnsemble(), verb)(X)


def test_other_columns_are_refused():
    ensemble = LevelEnsemble(levels=GROUPS).fit(X)
    with pytest.raises(ValueError, match="X has 11 features, but LevelEnsemble is"):
        ensemble.predict(X[:, :11])
    with pytest.raises(ValueError, match="feature names should match"):
        LevelEnsemble().fit(FRAME).predict(FRAME[NAMES[::-1]])


def test_detectors_need_fit_and_scores():
    with pytest.raises(ValueError, match="'detector' parameter of LevelEnsemble must be"):
        LevelEnsemble(LowVariancePCA(), levels=None).fit(X)


@pytest.mark.parametrize("aggregate", ["sum", "max", "log_density"])
def test_classes_reach_the_detector_of_every_level(aggregate):
    rng = np.random.default_rng(0)
    kinds = np.array(["a", "b"] * 30)
    X = rng.normal(size=(60, 6)) + 5 * (kinds == "a")[:, None]
    levels = [slice(0, 3), slice(3, 6)]
    ensemble = LevelEnsemble(
        ClassConditionalDetector(), levels=levels, aggregate=aggregate
    )
    parts = [ClassConditionalDetector().fit(X[:, c], kinds) for c in levels]
    for given in ({"y": kinds}, {"classes": kinds}):
        found = clone(ensemble).fit(X, **given)
        assert [d.classes_.tolist() for d in found.detectors_] == [["a", "b"]] * 2
        want = [d.score_samples(X[:, c]) for d, c in zip(parts, levels, strict=True)]
        np.testing.assert_allclose(found.level_scores(X), np.transpose(want))
        left_out = [d.calibration_scores_ for d in parts]
        np.testing.assert_allclose(
            found.calibration_level_scores_, np.transpose(left_out)
        )


def test_stacked_levels_refuse_classes_and_labels_that_they_would_not_pass():
    X, kinds = np.random.default_rng(0).normal(size=(60, 6)), np.array(["a", "b"] * 30)
    stacked = LevelEnsemble(
        ClassConditionalDetector(), levels=[slice(0, 3), slice(3, 6)], aggregate="stacked"
    )
    with pytest.raises(ValueError, match="no classes to ClassConditionalDetector"):
        stacked.fit(X, kinds)
    with pytest.raises(ValueError, match="no classes to ClassConditionalDetector"):
        stacked.fit(X, classes=kinds)
    with pytest.raises(ValueError, match="MahalanobisDetector takes none"):
        LevelEnsemble(levels=[slice(0, 3), slice(3, 6)]).fit(X, classes=kinds)


def test_labelled_anomalies_reach_the_detector_of_every_level():
    X = np.random.default_rng(0).normal(size=(80, 6))
    y = np.repeat([1, -1], [60, 20])
    X[60:] += 2
    ensemble = LevelEnsemble(
        NormalAbnormalDetector(weight=0.3), levels=[slice(0, 3), slice(3, 6)], cv=3
    )
    found = ensemble.fit(X, y)
    assert all(detector.uses_labels_ for detector in found.detectors_)
    assert found.calibration_scores_.shape == (60,)


def test_a_row_that_every_level_trims_does_not_set_the_threshold():
    X = np.random.default_rng(0).normal(size=(100, 8))
    X[:10] += 40
    X[10, :4] += 40
    detector = LevelEnsemble(
        MahalanobisDetector(trim=0.11), levels=[slice(0, 4), slice(4, 8)]
    ).fit(X)
    np.testing.assert_array_equal(
        np.flatnonzero(detector.calibration_weights_ == 0), np.arange(10)
    )
