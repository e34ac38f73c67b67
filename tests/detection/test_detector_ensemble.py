"""DetectorEnsemble: what members see, what is learned from it, and that it holds."""

import math
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_gauss._numerics.stacking import (
    RULES,
    ScoreTable,
    find_weights,
)
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

MIX = np.random.default_rng(7).normal(size=(6, 6))
GAUSS, KERNEL = ("gauss", MahalanobisDetector()), ("kernel", KDEDetector(1.0))
PAIR = [GAUSS, KERNEL]


def rows(seed, n=60, p=6):
    return np.random.default_rng(seed).normal(size=(n, p)) @ MIX[:p, :p]


X, UNSEEN = rows(0), rows(1, 40) * 1.5
LABELLED = np.vstack([X, rows(2, 15) * 2.0])
LABELS = np.repeat([1, -1], [60, 15])


class Recording(OutlierMixin, BaseEstimator):
    """A detector that writes down which rows it was fitted to and which it scored."""

    log = None

    def fit(self, X, y=None):
        assert y is None
        self.seen_ = {row.tobytes() for row in np.asarray(X)}
        self.centre_ = np.mean(X, axis=0)
        return self

    def score_samples(self, X):
        if self.log is not None:
            self.log.append((self.seen_, [row.tobytes() for row in np.asarray(X)]))
        return -np.linalg.norm(X - self.centre_, axis=1)


@pytest.fixture
def log(monkeypatch):
    found = []
    monkeypatch.setattr(Recording, "log", found)
    return found


class Marked:
    """Draws a row that tells which one it was drawn on, and varies likewise."""

    def draw(self, X):
        source = np.repeat(np.arange(len(X)), 2)
        return {
            "X": X[source] + np.tile([100.0, 200.0], len(X))[:, None],
            "kind": np.tile(["near", "far"], len(X)),
            "source": source,
        }

    def vary(self, X):
        return {"X": X[::2] + 0.001, "source": np.arange(len(X))[::2]}


def origins(X):
    """Number of the row that each recorded one is, or was drawn on."""
    found = {}
    for i, row in enumerate(X):
        for off in (0.0, 0.001, 100.0, 200.0):
            found[(row + off).tobytes()] = i
    return found


# ------------------------------------------------------------------------- what is seen
def test_nothing_is_scored_by_a_fit_that_saw_its_row(log):
    DetectorEnsemble([("a", Recording())], defects=Marked(), cv=4).fit(X)
    origin, scored = origins(X), []
    for seen, found in log:
        of = {origin[row] for row in seen}
        assert len(of) == 45
        assert not of & {origin[row] for row in found}
        scored += found
    assert len(scored) == len(set(scored)) == 60 * 3 + 30


def test_groups_are_left_out_together(log):
    groups = np.arange(60) // 7
    DetectorEnsemble([("a", Recording())], defects=Marked(), cv=3).fit(X, groups=groups)
    origin, folds = origins(X), set()
    for seen, found in log:
        inside = {groups[origin[row]] for row in seen}
        left_out = {groups[origin[row]] for row in found}
        assert not inside & left_out
        folds.add(frozenset(left_out))
    assert set.union(*map(set, folds)) == set(range(9))


@pytest.mark.parametrize("dtype", [int, float, object], ids=str)
def test_labelled_anomalies_are_scored_but_never_fitted_to(log, dtype):
    labels = LABELS.astype(dtype)
    fitted = DetectorEnsemble([("a", Recording())], cv=4).fit(LABELLED, labels)
    normal = {row.tobytes() for row in X}
    anomalies = {row.tobytes() for row in LABELLED[60:]}
    scored = [row for _, found in log for row in found]
    assert all(seen < normal for seen, _ in log)
    assert fitted.estimators_[0].seen_ == normal
    assert sorted(scored) == sorted(normal | anomalies)
    assert fitted.selection_.kinds == ["anomaly"]
    assert len(fitted.calibration_scores_) == 60


def test_anomalies_are_left_out_with_the_rows_of_their_group(log):
    groups = np.concatenate([np.arange(60), [3, 3, 17] * 5])
    DetectorEnsemble([("a", Recording())], cv=5).fit(LABELLED, LABELS, groups=groups)
    place = {row.tobytes(): i for i, row in enumerate(LABELLED)}
    for seen, found in log:
        inside = {groups[place[row]] for row in seen}
        assert not inside & {groups[place[row]] for row in found}


@pytest.mark.parametrize(
    "y",
    [
        np.arange(60) % 2,
        np.ones(60),
        -np.ones(60),
        np.array(["good", "bad"] * 30),
        np.linspace(-1, 1, 60),
        np.array([True, False] * 30),
        np.array([1, -1, 2] * 20),
    ],
    ids=["0 and 1", "1", "-1", "text", "numbers", "bool", "three"],
)
def test_other_labels_are_ignored(y):
    """Of two values, which may be meant as labels, with a warning."""
    want = DetectorEnsemble(PAIR, cv=2).fit(X)
    if y.ndim == 1 and len(np.unique(y)) == 2:
        with pytest.warns(UserWarning, match="y has the values .* which are no labels"):
            found = DetectorEnsemble(PAIR, cv=2).fit(X, y)
    else:
        found = DetectorEnsemble(PAIR, cv=2).fit(X, y)
    np.testing.assert_array_equal(found.weights_, want.weights_)
    np.testing.assert_array_equal(found.calibration_scores_, want.calibration_scores_)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.array([[1.0, -1.0]] * 60), "in 2 columns"),
        (np.array([1, -1, 0] * 20), "0 beside the labels"),
        (np.array([1, -1, np.nan] * 20), "nan beside the labels"),
        (np.array([1, -1, None] * 20, dtype=object), "None beside the labels"),
    ],
    ids=["columns", "zero", "nan", "None"],
)
def test_rows_without_a_label_are_refused(y, match):
    with pytest.raises(ValueError, match=match):
        DetectorEnsemble(PAIR, cv=2).fit(X, y)


def test_classes_and_labels_that_no_member_would_see_are_refused():
    kinds = np.array(["a", "b", "c"] * 20)
    members = [("plain", MahalanobisDetector()), ("kinds", ClassConditionalDetector())]
    with pytest.raises(ValueError, match="no classes to ClassConditionalDetector"):
        DetectorEnsemble(members, cv=2).fit(X, kinds)
    labelled = [*PAIR, ("labels", NormalAbnormalDetector())]
    with pytest.raises(ValueError, match="NormalAbnormalDetector would never"):
        DetectorEnsemble(labelled, cv=2).fit(LABELLED, LABELS)


def test_a_column_of_labels_is_labels():
    want = DetectorEnsemble(PAIR, cv=2).fit(LABELLED, LABELS)
    for y in (np.asarray(LABELS)[:, None], pd.DataFrame({"y": LABELS})):
        found = DetectorEnsemble(PAIR, cv=2).fit(LABELLED, y)
        np.testing.assert_array_equal(found.weights_, want.weights_)
        assert len(found.calibration_scores_) == len(want.calibration_scores_)


def test_labels_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="y has 75 labels, but X 60 samples"):
        DetectorEnsemble(PAIR).fit(X, LABELS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DetectorEnsemble(PAIR).fit(X, groups=np.arange(59))


def test_final_members_are_those_of_a_fit_to_all_normal_rows():
    members = [*PAIR, ("steps", make_pipeline(PCA(3), MahalanobisDetector()))]
    fitted = DetectorEnsemble(members, cv=3).fit(LABELLED, LABELS)
    for name, member in members:
        want = clone(member).fit(X).score_samples(UNSEEN)
        found = fitted.named_estimators_[name].score_samples(UNSEEN)
        np.testing.assert_array_equal(found, want)
        assert not hasattr(member, "offset_")


# ------------------------------------------------------------------------ what is learned
def out_of_fold(ensemble, X, examples, source, groups=None):
    """Scores of normal rows and examples by n refits, the slow way."""
    members = [member for _, member in ensemble.estimators]
    fold_of = np.empty(len(X), dtype=int)
    folds = KFold(ensemble.cv, shuffle=True, random_state=0).split(X)
    for fold, (_, held_out) in enumerate(folds):
        fold_of[held_out] = fold
    normal, other = (
        np.empty((len(X), len(members))),
        np.empty((len(source), len(members))),
    )
    for fold in range(ensemble.cv):
        for i, member in enumerate(members):
            part = clone(member).fit(X[fold_of != fold])
            score = part.score_samples
            if isinstance(part, MahalanobisDetector):
                score = lambda rows, part=part: -np.sqrt(part.mahalanobis(rows))  # noqa: E731
            normal[fold_of == fold, i] = score(X[fold_of == fold])
            other[fold_of[source] == fold, i] = score(examples[fold_of[source] == fold])
    return normal, other, fold_of


class Few:
    """Two kinds of defects on every third row, and a variation of every fourth."""

    def draw(self, X):
        source = np.repeat(np.arange(0, len(X), 3), 2)
        kind = np.tile(["push", "pull"], len(source) // 2)
        off = np.where(kind == "push", 3.0, 0.0)[:, None] * np.eye(X.shape[1])[0]
        pulled = np.where(kind == "pull", 0.2, 1.0)[:, None]
        return {"X": X[source] * pulled + off, "kind": kind, "source": source}

    def vary(self, X):
        source = np.arange(0, len(X), 4)
        return {"X": X[source] * 1.05, "source": source}


@pytest.fixture(scope="module", params=RULES)
def reference(request):
    """A fit, and the tables it should have learned from."""
    members = [*PAIR, ("forest", IsolationForest(n_estimators=20, random_state=0))]
    ensemble = DetectorEnsemble(members, combine=request.param, defects=Few(), cv=3)
    ensemble.fit(X)
    drawn, varied = Few().draw(X), Few().vary(X)
    examples = np.concatenate([drawn["X"], varied["X"]])
    source = np.concatenate([drawn["source"], varied["source"]])
    normal, other, fold_of = out_of_fold(ensemble, X, examples, source)
    left_out = normal.copy()
    left_out[:, 0] = -np.sqrt(MahalanobisDetector().fit(X).calibration_mahalanobis_)
    left_out[:, 1] = KDEDetector(1.0).fit(X).calibration_scores_
    bad = np.arange(len(source)) < len(drawn["source"])
    table = ScoreTable(
        normal,
        left_out,
        other[bad],
        drawn["kind"],
        other[~bad],
        fold_of,
        fold_of[source[bad]],
    )
    return ensemble, table, fold_of, fold_of[source[bad]], fold_of[source[~bad]]


def test_weights_are_those_of_scores_out_of_fold(reference):
    ensemble, table, *_ = reference
    want = find_weights(table, ensemble.combine, np.full(3, True))
    np.testing.assert_allclose(ensemble.weights_, want, rtol=1e-8)
    assert ensemble.score_names_ == ["gauss", "kernel", "forest"]
    assert list(ensemble.selection_.weights.values()) == ensemble.weights_.tolist()


def aligned(scores, others):
    """Quartiles of one set of scores at those of another."""
    spread = [np.subtract(*np.percentile(rows, [75, 25])) for rows in (scores, others)]
    return (scores - np.median(scores)) * spread[1] / spread[0] + np.median(others)


def test_calibration_scores_are_by_weights_without_the_fold(reference):
    ensemble, table, fold_of, of_bad, of_varied = reference
    want = table.left_out @ ensemble.weights_
    if ensemble.combine == "stacked":
        for fold in range(3):
            part = table.take(fold_of != fold, of_bad != fold, of_varied != fold)
            weights = find_weights(part, "stacked", np.full(3, True))
            found, final = table.left_out @ weights, table.left_out @ ensemble.weights_
            want[fold_of == fold] = aligned(found, final)[fold_of == fold]
    np.testing.assert_allclose(ensemble.calibration_scores_, want, rtol=1e-8)
    rank = math.ceil(61 * 0.95)
    np.testing.assert_allclose(ensemble.offset_, np.sort(want)[::-1][rank - 1], rtol=1e-8)


def test_the_report_tells_what_each_score_finds(reference):
    ensemble, table, fold_of, of_bad, _ = reference
    found = ensemble.selection_
    assert found.scores == ["gauss", "kernel", "forest"]
    assert found.kinds == ["pull", "push"]
    for i in range(3):
        for j, kind in enumerate(found.kinds):
            areas, pairs = [], []
            for fold in range(3):  # scores by different fits do not compare
                good = table.normal[fold_of == fold, i]
                bad = table.defective[(table.kinds == kind) & (of_bad == fold), i]
                labels = [1] * len(good) + [0] * len(bad)
                areas.append(roc_auc_score(labels, [*good, *bad]))
                pairs.append(len(good) * len(bad))
            area = np.average(areas, weights=pairs)
            assert found.auroc[i, j] == pytest.approx(area, abs=1e-12)
    np.testing.assert_allclose(found.mean_auroc, found.auroc.mean(axis=1))
    assert found.best == found.scores[np.argmax(found.mean_auroc)]
    if ensemble.combine == "best":
        assert found.weights == {name: float(name == found.best) for name in found.scores}


def test_the_held_out_auroc_has_seen_neither_kind_nor_fold(reference):
    ensemble, table, fold_of, of_bad, of_varied = reference
    for rule in RULES:
        areas = []
        for kind in ("pull", "push"):
            for fold in range(3):
                known = (table.kinds != kind) & (of_bad != fold)
                part = table.take(fold_of != fold, known, of_varied != fold)
                weights = find_weights(part, rule, np.full(3, True))
                good = table.normal[fold_of == fold] @ weights
                bad = table.defective[(table.kinds == kind) & (of_bad == fold)] @ weights
                pairs = [(a > b) + 0.5 * (a == b) for a in good for b in bad]
                areas.append(np.mean(pairs))
        found = ensemble.selection_.held_out_auroc[rule]
        assert found == pytest.approx(np.mean(areas), abs=1e-12)


def test_scores_are_weighted_sums_of_the_members(reference):
    ensemble, *_ = reference
    members = ensemble.member_scores(UNSEEN)
    gauss, kernel, forest = ensemble.estimators_
    np.testing.assert_array_equal(members[:, 0], -np.sqrt(gauss.mahalanobis(UNSEEN)))
    np.testing.assert_array_equal(members[:, 1], kernel.score_samples(UNSEEN))
    np.testing.assert_array_equal(members[:, 2], forest.score_samples(UNSEEN))
    np.testing.assert_allclose(
        ensemble.score_samples(UNSEEN), members @ ensemble.weights_, rtol=1e-12
    )
    flagged = ensemble.predict(UNSEEN) == -1
    np.testing.assert_array_equal(flagged, ensemble.p_values(UNSEEN) <= 0.05)


def test_levels_take_part_one_by_one():
    levels = LevelEnsemble(levels={"a": [0, 1], "b": [2, 3, 4, 5]})
    fitted = DetectorEnsemble([("levels", levels), GAUSS], cv=3).fit(X)
    assert fitted.score_names_ == ["levels", "levels:a", "levels:b", "gauss"]
    alone = clone(levels).fit(X)
    want = np.column_stack([alone.score_samples(UNSEEN), alone.level_scores(UNSEEN)])
    np.testing.assert_array_equal(fitted.member_scores(UNSEEN)[:, :3], want)
    summed = clone(fitted).set_params(combine="sum").fit(X)
    assert (summed.weights_ != 0).tolist() == [True, False, False, True]


def test_levels_follow_the_names_of_columns():
    frame = pd.DataFrame(X, columns=[f"{part}__{i}" for part in "ab" for i in range(3)])
    fitted = DetectorEnsemble([("levels", LevelEnsemble())], cv=3).fit(frame)
    assert fitted.score_names_ == ["levels", "levels:a", "levels:b"]
    assert list(fitted.feature_names_in_) == list(frame)


# --------------------------------------------------------------------------- shared steps
class Counting(TransformerMixin, BaseEstimator):
    """Learns nothing from rows, and counts what it is asked for."""

    fits, transforms = 0, 0

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        type(self).fits += 1
        return self

    def transform(self, X):
        type(self).transforms += 1
        return np.asarray(X) * self.factor

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class Declared(Counting):
    """The same, by another word than its tag."""

    _learns_from_rows = False

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


class Learning(Counting):
    """One that says that it learns."""

    _learns_from_rows = True


@pytest.fixture(autouse=True)
def _nothing_counted():
    for kind in (Counting, Declared, Learning):
        kind.fits = kind.transforms = 0


@pytest.mark.parametrize("kind", [Counting, Declared])
def test_steps_that_learn_nothing_run_once_for_all_members(kind):
    # Members with other steps lie between those that share.
    members = [
        ("one", make_pipeline(kind(), MahalanobisDetector())),
        ("plain", MahalanobisDetector()),
        ("other", make_pipeline(kind(2.0), MahalanobisDetector())),
        ("two", Pipeline([("first", kind()), ("last", KDEDetector(1.0))])),
    ]
    fitted = DetectorEnsemble(members, combine="sum", cv=5).fit(X)
    assert (kind.fits, kind.transforms) == (2, 4)  # normal rows and defects
    fitted.score_samples(UNSEEN)
    assert kind.transforms == 6
    assert fitted.estimators_[0][0] is fitted.estimators_[3][0]
    assert [list(fitted.estimators_[i].named_steps) for i in (0, 3)] == [
        ["counting" if kind is Counting else "declared", "mahalanobisdetector"],
        ["first", "last"],
    ]


def test_what_no_weight_asks_for_is_not_run():
    members = [
        GAUSS,
        (
            "other",
            make_pipeline(
                Counting(0.0),
                FunctionTransformer(np.cos),
                IsolationForest(n_estimators=2, random_state=0),
            ),
        ),
    ]
    fitted = DetectorEnsemble(members, combine="best", cv=2).fit(X)
    assert fitted.selection_.best == "gauss"
    before = Counting.transforms
    fitted.score_samples(UNSEEN)
    assert Counting.transforms == before
    assert fitted.member_scores(UNSEEN)[:, 1].any()


@pytest.mark.parametrize(
    "step", [StandardScaler(), PCA(3), LowVariancePCA(n_components=3)], ids=str
)
def test_steps_that_learn_are_fitted_in_each_fold(step):
    member = make_pipeline(Counting(), step, KDEDetector(1.0))
    fitted = DetectorEnsemble([("a", member)], defects=Few(), combine="sum", cv=3).fit(X)
    assert Counting.fits == 1
    reference = DetectorEnsemble([("a", make_pipeline(step, KDEDetector(1.0)))], cv=3)
    drawn = Few().draw(X)
    normal, _, _ = out_of_fold(reference, X, drawn["X"], drawn["source"])
    # A closed form would have left rows out of the last step alone.
    np.testing.assert_allclose(
        fitted.calibration_scores_, (normal / normal.std())[:, 0], rtol=1e-9
    )


def test_steps_that_say_so_are_fitted_in_each_fold():
    member = make_pipeline(Learning(), MahalanobisDetector())
    DetectorEnsemble([("a", member), ("b", member)], cv=3).fit(X)
    assert Learning.fits == 2 * 4


def test_distances_behind_learning_steps_have_no_determinant():
    member = make_pipeline(StandardScaler(), MahalanobisDetector())
    fitted = DetectorEnsemble([("a", member)], combine="best", cv=3).fit(X)
    distances = np.sqrt(
        fitted.estimators_[0][-1].mahalanobis(fitted.estimators_[0][0].transform(UNSEEN))
    )
    np.testing.assert_allclose(fitted.score_samples(UNSEEN), -distances, rtol=1e-12)


def test_functions_of_a_session_are_steps_too():
    step = FunctionTransformer(lambda rows: rows[:, :3])
    members = [
        ("one", make_pipeline(step, MahalanobisDetector())),
        ("two", make_pipeline(step, KDEDetector(1.0))),
        ("passed", make_pipeline("passthrough", MahalanobisDetector())),
    ]
    fitted = DetectorEnsemble(members, combine="sum", cv=2).fit(X)
    want = MahalanobisDetector().fit(X[:, :3]).mahalanobis(UNSEEN[:, :3])
    np.testing.assert_allclose(fitted.member_scores(UNSEEN)[:, 0], -np.sqrt(want))
    want = MahalanobisDetector().fit(X).mahalanobis(UNSEEN)
    np.testing.assert_allclose(fitted.member_scores(UNSEEN)[:, 2], -np.sqrt(want))
    assert fitted.estimators_[0][0] is fitted.estimators_[1][0]


def test_passed_steps_do_not_hinder_sharing():
    members = [
        (name, Pipeline([("none", "passthrough"), ("f", Counting()), ("d", detector)]))
        for name, detector in PAIR
    ]
    DetectorEnsemble(members, cv=2).fit(X)
    assert Counting.fits == 1


def test_fitted_pipelines_keep_what_they_were_given(tmp_path):
    member = make_pipeline(
        Counting(), StandardScaler(), MahalanobisDetector(), memory=str(tmp_path)
    )
    fitted = DetectorEnsemble([("a", member)], cv=2).fit(X)
    assert fitted.estimators_[0].memory == str(tmp_path)
    assert list(fitted.estimators_[0].named_steps) == list(member.named_steps)


# ------------------------------------------------------------------------------ promises
@pytest.mark.parametrize("combine", RULES)
@pytest.mark.parametrize("p", [3, 40], ids=["n > p", "n < p"])
def test_the_whole_keeps_its_target(combine, p):
    """Within four standard errors, or below, where few rows were held out at a time.

    Of fits to 34 rows for one to 39; four folds would leave 29, and a PCA of noise would
    then put unseen rows nearer to the mean than the final one does.
    """
    n, draws, unseen, target = 39, 12, 300, 0.1
    members = [GAUSS, ("steps", make_pipeline(PCA(2), MahalanobisDetector()))]
    ensemble = DetectorEnsemble(members, combine=combine, target_fpr=target, cv=8)
    rates, values = [], []
    for seed in range(draws):
        random = np.random.default_rng(seed)
        fitted = clone(ensemble).fit(random.normal(size=(n, p)))
        fresh = random.normal(size=(unseen, p))
        rates.append((fitted.predict(fresh) == -1).mean())
        values.append(fitted.p_values(fresh))
    error = 4 * math.sqrt(target * (1 - target) / draws * (1 / (n + 2) + 1 / unseen))
    assert target - 0.07 < np.mean(rates) < target + error
    for level in (0.05, 0.2, 0.5):
        bound = math.sqrt(level * (1 - level) / draws * (1 / (n + 2) + 1 / unseen))
        assert (np.concatenate(values) <= level).mean() < level + 4 * bound


@pytest.mark.parametrize("combine", RULES)
def test_two_fits_are_one(combine):
    fitted, again = (DetectorEnsemble(PAIR, combine=combine).fit(X) for _ in range(2))
    np.testing.assert_array_equal(again.weights_, fitted.weights_)
    np.testing.assert_array_equal(again.calibration_scores_, fitted.calibration_scores_)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        loaded.score_samples(UNSEEN), fitted.score_samples(UNSEEN)
    )
    once_more = clone(fitted).fit(X)
    np.testing.assert_array_equal(once_more.weights_, fitted.weights_)


def test_a_second_fit_forgets_the_first():
    fitted = DetectorEnsemble(PAIR, cv=2).fit(X)
    fitted.set_params(estimators=[GAUSS]).fit(X[:, :4])
    want = DetectorEnsemble([GAUSS], cv=2).fit(X[:, :4])
    np.testing.assert_array_equal(
        fitted.score_samples(UNSEEN[:, :4]), want.score_samples(UNSEEN[:, :4])
    )


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_jobs_do_not_change_the_numbers(backend):
    members = [*PAIR, ("steps", make_pipeline(Counting(2.0), MahalanobisDetector()))]
    if backend == "loky":  # to whose processes the classes of a test are strange
        members = PAIR
    want = DetectorEnsemble(members, cv=3).fit(X)
    before = list(warnings.filters)
    with joblib.parallel_config(backend):
        found = DetectorEnsemble(members, cv=3, n_jobs=2).fit(X)
    assert warnings.filters == before
    np.testing.assert_array_equal(found.weights_, want.weights_)
    np.testing.assert_array_equal(found.calibration_scores_, want.calibration_scores_)
    np.testing.assert_array_equal(found.score_samples(X), want.score_samples(X))


def test_members_have_parameters_by_name():
    ensemble = DetectorEnsemble([("a", make_pipeline(PCA(2), KDEDetector(1.0))), GAUSS])
    assert ensemble.get_params()["a__kdedetector__bandwidth"] == 1.0
    changed = clone(ensemble).set_params(a__pca__n_components=3, gauss__shrinkage=0.5)
    assert changed.get_params()["a__pca__n_components"] == 3
    assert ensemble.get_params()["a__pca__n_components"] == 2
    assert changed.fit(X).estimators_[1].shrinkage == 0.5
    changed.set_params(gauss=KDEDetector(2.0))
    assert changed.get_params()["gauss__bandwidth"] == 2.0


def test_searches_reach_the_rule_and_the_members():
    grid = {"combine": ["best", "sum", "stacked"], "gauss__shrinkage": [0.1, 0.9]}

    def area(detector, X, y):
        return roc_auc_score(y == 1, detector.score_samples(X))

    search = GridSearchCV(
        DetectorEnsemble(PAIR, cv=2), grid, scoring=area, cv=2, error_score="raise"
    )
    shuffled = np.random.default_rng(0).permutation(len(LABELS))
    search.fit(LABELLED[shuffled], LABELS[shuffled])
    assert len(search.cv_results_["params"]) == 6
    assert search.best_score_ > 0.5
    assert search.best_estimator_.selection_.kinds == ["anomaly"]


# ------------------------------------------------------------------------------ warnings
def test_members_warn_once_of_their_own_fit():
    narrow = KDEDetector(1e-3)
    for detector in (narrow, DetectorEnsemble([("narrow", narrow), GAUSS], cv=5)):
        with pytest.warns(NearestNeighborWarning, match="At a bandwidth of") as caught:
            detector.fit(X)
        assert len(caught) == 1


def test_few_rows_warn_once_for_the_whole():
    with pytest.warns(CalibrationWarning, match="10 rows .* at least 19") as caught:
        fitted = DetectorEnsemble(PAIR, cv=3).fit(X[:10])
    assert len(caught) == 1
    assert (fitted.predict(UNSEEN * 100) == 1).all()


# --------------------------------------------------------------------------- hostile rows
@pytest.mark.parametrize("combine", RULES)
@pytest.mark.parametrize(
    ("change", "rtol"),
    [
        (lambda rows: rows * 1e-150, 1e-6),
        (lambda rows: rows * 1e150, 1e-6),
        (lambda rows: rows + 1e8, 1e-3),
        (np.asfortranarray, 1e-9),
        (lambda rows: rows.tolist(), 0),
        (lambda rows: list(rows), 0),
        (pd.DataFrame, 1e-9),
    ],
    ids=["tiny", "huge", "offset", "Fortran", "lists", "list of rows", "frame"],
)
def test_what_rows_are_made_of_changes_nothing(combine, change, rtol):
    """Detectors that follow units: ranks are the same, and so is what is chosen."""
    members = [GAUSS, ("low", MahalanobisDetector(shrinkage=0.5))]
    fixed = rows(0)
    fixed.flags.writeable = False
    want = DetectorEnsemble(members, combine=combine, cv=3).fit(fixed)
    found = DetectorEnsemble(members, combine=combine, cv=3).fit(change(fixed))
    np.testing.assert_allclose(found.weights_, want.weights_, rtol=rtol)
    np.testing.assert_allclose(
        found.score_samples(change(UNSEEN)), want.score_samples(UNSEEN), rtol=rtol
    )


@pytest.mark.parametrize("combine", RULES)
def test_single_precision_is_enough(combine):
    want = DetectorEnsemble(PAIR, combine=combine, cv=3).fit(X)
    found = DetectorEnsemble(PAIR, combine=combine, cv=3).fit(X.astype(np.float32))
    assert found.score_samples(UNSEEN.astype(np.float32)).dtype == np.float64
    np.testing.assert_allclose(
        found.score_samples(UNSEEN.astype(np.float32)),
        want.score_samples(UNSEEN),
        rtol=2e-2,
    )


def test_rows_may_occur_twice():
    twice = np.repeat(X, 2, axis=0)
    fitted = DetectorEnsemble(PAIR, cv=3).fit(twice, groups=np.repeat(np.arange(60), 2))
    assert np.isfinite(fitted.weights_).all()
    assert 0 < (fitted.predict(UNSEEN) == -1).mean() < 1


@pytest.mark.parametrize("combine", RULES)
def test_kernels_of_bounded_support_call_all_far_rows_alike(combine):
    members = [("ball", KDEDetector(2.0, kernel="epanechnikov")), GAUSS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fitted = DetectorEnsemble(members, combine=combine, cv=3).fit(X)
        scores = fitted.score_samples(UNSEEN * 1e3)
    assert not np.isnan(scores).any()
    assert not np.isnan(fitted.calibration_scores_).any()


@pytest.mark.parametrize("combine", RULES)
def test_constant_members_and_single_columns(combine):
    class Constant(Recording):
        def score_samples(self, X):
            return np.zeros(len(X))

    members = [("none", Constant()), GAUSS]
    fitted = DetectorEnsemble(members, combine=combine, cv=2).fit(X[:, :1])
    assert fitted.weights_[1] > 0
    fitted = DetectorEnsemble(members[:1], combine=combine, cv=2).fit(X)
    np.testing.assert_array_equal(fitted.predict(UNSEEN), 1)


def test_three_rows_are_the_least():
    for combine in RULES:
        with pytest.warns(CalibrationWarning, match="3 rows"):
            DetectorEnsemble([GAUSS], combine=combine).fit(X[:3])
    with pytest.raises(ValueError, match=r"X has 2 sample\(s\).* minimum of 3"):
        DetectorEnsemble([GAUSS]).fit(X[:2])
    with pytest.raises(ValueError, match=r"X has 2 sample\(s\) to fit to.* minimum of 3"):
        DetectorEnsemble([GAUSS]).fit(LABELLED[58:], LABELS[58:])


# -------------------------------------------------------------------------------- errors
class ScoresNothing(BaseEstimator):
    def fit(self, X, y=None):
        return self


@pytest.mark.parametrize(
    ("estimators", "error", "message"),
    [
        ([], ValueError, "estimators must be a list of pairs"),
        ([MahalanobisDetector()], ValueError, "estimators must be a list of pairs"),
        ([(0, MahalanobisDetector())], ValueError, "estimators must be a list of pairs"),
        ([GAUSS, GAUSS], ValueError, "estimators: Names provided are not unique"),
        ([("a__b", GAUSS[1])], ValueError, "estimators: .*must not contain __"),
        ([("cv", GAUSS[1])], ValueError, "estimators: .*conflict with constructor"),
        ([("a", ScoresNothing())], TypeError, "estimators: 'a' is a ScoresNothing"),
        ([("a", StandardScaler())], TypeError, "estimators: 'a' is a StandardScaler"),
        ([("a", make_pipeline(None))], TypeError, "estimators: 'a' is a Pipeline"),
        ("gauss", ValueError, "'estimators' parameter of DetectorEnsemble"),
    ],
    ids=str,
)
def test_members_that_do_not_fit_are_refused(estimators, error, message):
    with pytest.raises(error, match=message):
        DetectorEnsemble(estimators).fit(X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"combine": "mean"}, "'combine' parameter"),
        ({"defects": PCA()}, "'defects' parameter"),
        ({"cv": 1}, "'cv' parameter"),
        ({"target_fpr": 1.0}, "'target_fpr' parameter"),
    ],
    ids=str,
)
def test_parameters_that_do_not_fit_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        DetectorEnsemble(PAIR, **parameters).fit(X)


@pytest.mark.parametrize(
    "images", [["a.png"] * 5, np.zeros((5, 8, 8)), [np.zeros((8, 8))] * 5], ids=type
)
def test_images_need_something_that_draws(images):
    with pytest.raises(ValueError, match=r"defects=SyntheticDefects\(\)"):
        DetectorEnsemble(PAIR).fit(images)


def test_defects_that_are_none_are_refused():
    class Nothing:
        def draw(self, X):
            return {"X": X[:0], "kind": [], "source": []}

    with pytest.raises(ValueError, match=r"defects: draw\(X\) gave no defect"):
        DetectorEnsemble(PAIR, defects=Nothing()).fit(X)


def test_one_group_cannot_be_left_out():
    with pytest.raises(ValueError, match="groups: all 60 normal rows are of one group"):
        DetectorEnsemble(PAIR).fit(X, groups=np.zeros(60))


@pytest.mark.parametrize(
    "verb", ["score_samples", "predict", "p_values", "decision_function", "member_scores"]
)
def test_not_fitted(verb):
    with pytest.raises(NotFittedError):
        getattr(DetectorEnsemble(PAIR), verb)(X)


def test_other_columns_are_refused():
    fitted = DetectorEnsemble(PAIR, cv=2).fit(X)
    with pytest.raises(ValueError, match="X has 5 features, but DetectorEnsemble is"):
        fitted.predict(X[:, :5])


# ------------------------------------------------------------- what reviews have found
def grouped(seed, n_groups=30, size=5):
    """Rows in groups of near copies."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(n_groups, 10)), size, axis=0)
    rows += 1e-3 * rng.normal(size=rows.shape)
    return rows, np.repeat(np.arange(n_groups), size), rng.normal(size=(400, 10))


@pytest.mark.parametrize("combine", ["best", "stacked"])
@pytest.mark.parametrize("member", [MahalanobisDetector(), KDEDetector(1.0)])
def test_groups_are_left_out_as_a_whole_for_the_threshold(combine, member):
    rates = []
    for seed in range(6):
        rows, groups, unseen = grouped(seed)
        fitted = DetectorEnsemble([("a", member)], combine=combine, target_fpr=0.1)
        fitted.fit(rows, groups=groups)
        rates.append((fitted.predict(unseen) == -1).mean())
    assert np.mean(rates) < 0.13


@pytest.mark.parametrize("n", [60, 200])
def test_one_far_row_leaves_a_stacked_threshold_where_it_was(n):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, 4))
    rows[0] += 30
    bad = rng.normal(size=(300, 4)) + np.array([5, 0, 0, 0])
    member = [("gauss", MahalanobisDetector(shrinkage=0.0))]
    found = {}
    for combine in ("best", "stacked"):
        fitted = DetectorEnsemble(member, combine=combine).fit(rows)
        found[combine] = (fitted.predict(bad) == -1).mean()
    assert found["best"] > 0.2
    assert found["stacked"] == pytest.approx(found["best"], abs=1e-12)


def test_examples_of_one_group_stay_in_one_fold():
    """Five photographs of one normal object, called defective, cannot be told apart."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(45, 4))
    rows[40:] = rows[40] + 1e-3 * rng.normal(size=(5, 4))
    y = np.repeat([1, -1], [40, 5])
    groups = np.append(np.arange(40), [99] * 5)
    found = DetectorEnsemble(PAIR, cv=4).fit(rows, y, groups=groups).selection_
    assert np.isnan(list(found.held_out_auroc.values())).all()


def test_scores_of_different_fits_are_compared_within_folds():
    class Shifted(BaseEstimator):
        """Distances from the mean, and a number that only this fit has."""

        def fit(self, X, y=None):
            self.mean_, self.shift_ = X.mean(axis=0), 1e6 * X[0, 0]
            return self

        def score_samples(self, X):
            return self.shift_ - np.abs(X - self.mean_).max(axis=1)

    class Plain(Shifted):
        def score_samples(self, X):
            return -np.abs(X - self.mean_).max(axis=1)

    found = DetectorEnsemble([("a", Shifted()), ("b", Plain())]).fit(X).selection_
    np.testing.assert_allclose(found.auroc[0], found.auroc[1], atol=1e-3)


def test_a_member_of_nan_is_named():
    class Nothing(BaseEstimator):
        def fit(self, X, y=None):
            return self

        def score_samples(self, X):
            return np.where(X[:, 0] > 0, np.nan, 0.0)

    with pytest.raises(ValueError, match="'empty': its scores are NaN"):
        DetectorEnsemble([*PAIR, ("empty", Nothing())]).fit(X)


def test_warnings_of_the_final_fit_are_heard_with_threads():
    class Warns(BaseEstimator):
        def fit(self, X, y=None):
            warnings.warn("look here", UserWarning, stacklevel=2)
            return self

        def score_samples(self, X):
            return X[:, 0]

    ensemble = DetectorEnsemble([("a", Warns())], n_jobs=2)
    with (
        joblib.parallel_backend("threading"),
        pytest.warns(UserWarning, match="look here"),
    ):
        ensemble.fit(X)


def test_folds_of_a_member_are_not_folded_again():
    class Counting(MahalanobisDetector):
        fits = 0

        def fit(self, X, y=None):
            type(self).fits += 1
            return super().fit(X)

    steps = make_pipeline(FunctionTransformer(), Counting())
    levels = LevelEnsemble(steps, levels={"all": slice(None)}, cv=10)
    DetectorEnsemble([("levels", levels)], cv=4).fit(X)
    assert Counting.fits == (1 + 10) + 4 * (1 + 2)
