import pickle
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.svm import OneClassSVM

from sklearn_gauss.model_selection import NormalKFold


def rows_of(X_or_y):
    return np.zeros((len(X_or_y), 1))


@st.composite
def problems(draw, grouped=False):
    n_splits = draw(st.integers(2, 5))
    n_normals = draw(st.integers(n_splits, 25))
    n_anomalies = draw(st.one_of(st.just(0), st.integers(n_splits, 15)))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[np.ones(n_normals, int), -np.ones(n_anomalies, int)])
    groups = rng.integers(0, draw(st.integers(n_splits, 12)), len(y)) * 3 - 7
    shuffle = draw(st.booleans())
    options = {"shuffle": shuffle, "random_state": seed if shuffle else None}
    return n_splits, y, groups if grouped else None, options


@given(problems(), st.sampled_from(["all", "fold"]))
@settings(deadline=None, max_examples=100)
def test_every_normal_is_tested_once_and_no_anomaly_is_trained_on(problem, anomalies):
    n_splits, y, _, options = problem
    tests = Counter()
    splits = list(
        NormalKFold(n_splits, anomalies=anomalies, **options).split(rows_of(y), y)
    )
    assert len(splits) == n_splits
    for train, test in splits:
        for indices in (train, test):
            assert indices.dtype == np.intp
            assert (np.diff(indices) > 0).all()
        assert (y[train] == 1).all()
        assert not set(train) & set(test)
        assert set(train) | set(test) >= set(np.flatnonzero(y == 1))
        tests.update(test.tolist())
    times = np.array([tests[row] for row in range(len(y))])
    assert (times[y == 1] == 1).all()
    assert (times[y == -1] == (n_splits if anomalies == "all" else 1)).all()


@given(problems())
@settings(deadline=None, max_examples=50)
def test_folds_of_anomalies_are_of_equal_size(problem):
    n_splits, y, _, options = problem
    splitter = NormalKFold(n_splits, anomalies="fold", **options)
    sizes = [(y[test] == -1).sum() for _, test in splitter.split(rows_of(y), y)]
    assert max(sizes) - min(sizes) <= 1


@given(problems(grouped=True), st.sampled_from(["all", "fold"]))
@settings(deadline=None, max_examples=100)
def test_a_group_never_stands_on_both_sides(problem, anomalies):
    n_splits, y, groups, options = problem
    normal_groups = set(groups[y == 1])
    assume(len(normal_groups) >= n_splits)
    splitter = NormalKFold(n_splits, anomalies=anomalies, **options)
    anomaly_groups = set(groups[y == -1])
    n_loose = len(anomaly_groups - normal_groups)
    normals = np.flatnonzero(y == 1)
    possible = [
        anomaly_groups & set(groups[normals[held_out]])
        or (fold if anomalies == "fold" else 0) < n_loose
        for fold, (_, held_out) in enumerate(
            GroupKFold(n_splits, **options).split(normals, groups=groups[normals])
        )
    ]
    if anomaly_groups and not all(possible):
        event("a fold without an anomaly")
        with pytest.raises(ValueError, match="would hold none"):
            list(splitter.split(rows_of(y), y, groups))
        return
    event("decided")
    splits = list(splitter.split(rows_of(y), y, groups))
    tests = Counter()
    for train, test in splits:
        assert (y[train] == 1).all()
        assert not set(groups[train]) & set(groups[test])
        tests.update(test.tolist())
        if anomalies == "all":
            free = set(np.flatnonzero(~np.isin(groups, groups[train]) & (y == -1)))
            assert free <= set(test)
    times = np.array([tests[row] for row in range(len(y))])
    assert (times[y == 1] == 1).all()
    own_group = ~np.isin(groups, list(normal_groups)) & (y == -1)
    assert (times[(y == -1) & ~own_group] == 1).all()
    assert (times[own_group] == (n_splits if anomalies == "all" else 1)).all()


@given(problems(grouped=True))
@settings(deadline=None, max_examples=50)
def test_without_anomalies_it_is_scikit_learns_splitter(problem):
    n_splits, y, groups, options = problem
    X = rows_of(y)
    for ours, theirs in zip(
        NormalKFold(n_splits, **options).split(X),
        KFold(n_splits, **options).split(X),
        strict=True,
    ):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    assume(len(set(groups)) >= n_splits)
    for ours, theirs in zip(
        NormalKFold(n_splits, **options).split(X, groups=groups),
        GroupKFold(n_splits, **options).split(X, groups=groups),
        strict=True,
    ):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_a_random_state_repeats_and_shuffling_shuffles():
    y = np.r_[np.ones(20), -np.ones(10)]
    X = rows_of(y)

    def tested(**options):
        splitter = NormalKFold(anomalies="fold", **options)
        return [test.tolist() for _, test in splitter.split(X, y)]

    assert tested(shuffle=True, random_state=3) == tested(shuffle=True, random_state=3)
    assert tested(shuffle=True, random_state=3) != tested(shuffle=True, random_state=4)
    assert tested()[0] == [0, 1, 2, 3, 20, 21]


@pytest.mark.parametrize(
    "container",
    [
        list,
        np.asarray,
        lambda y: np.asarray(y, dtype=float),
        lambda y: np.asarray(y, dtype=np.float16),
        lambda y: np.asarray(y, dtype=object),
        lambda y: np.asarray(y)[:, None],
        lambda y: pd.Series(y, index=range(50, 50 + len(y))),
        lambda y: pd.Series(y, dtype="Int64"),
        lambda y: pd.DataFrame({"label": y}),
    ],
)
def test_labels_come_in_any_container(container):
    y = [1, -1, 1, 1, -1, 1]
    splits = list(NormalKFold(2).split(rows_of(y), container(y)))
    assert [train.tolist() for train, _ in splits] == [[3, 5], [0, 2]]
    assert [test.tolist() for _, test in splits] == [[0, 1, 2, 4], [1, 3, 4, 5]]


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 1, 0, 1, 1],
        [0, 0, 0, 0, 0, 0],
        [True, False, True, True, True, True],
        [True, True, True, True, True, True],
        ["good", "bad", "good", "good", "good", "good"],
        ["1", "-1", "1", "1", "1", "1"],
        [1, 2, 1, 1, 1, 1],
        [1.0, -0.5, 1, 1, 1, 1],
        [1.0, np.nan, 1, 1, 1, 1],
        [1, None, 1, 1, 1, 1],
        np.array([1, 255, 1, 1, 1, 1], dtype=np.uint8),
        np.array([1, -1, 1, 1, 1, 1], dtype="timedelta64[s]"),
    ],
    ids=str,
)
def test_ambiguous_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"\+1 .*-1.*np\.where\(y == 1, -1, 1\)"):
        next(NormalKFold(2).split(rows_of(labels), labels))


def test_masked_labels_are_refused():
    y = np.ma.masked_array([1, 1, -1, 1], mask=[0, 0, 1, 0])
    with pytest.raises(ValueError, match="masked"):
        next(NormalKFold(2).split(rows_of(y), y))


def test_labels_of_several_columns_are_refused():
    with pytest.raises(ValueError, match="1d array"):
        next(NormalKFold(2).split(np.zeros((4, 1)), np.ones((4, 2))))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="inconsistent"):
        next(NormalKFold(2).split(np.zeros((4, 1)), np.ones(3)))


def test_too_few_normal_rows():
    y = [1, 1, 1, -1, -1, -1, -1, -1]
    with pytest.raises(ValueError, match=r"3 normal rows.*n_splits=5"):
        next(NormalKFold(5).split(rows_of(y), y))
    with pytest.raises(ValueError, match=r"3 normal rows.*number of groups: 2"):
        next(NormalKFold(3).split(rows_of(y), y, groups=[0, 0, 1, 2, 3, 4, 5, 6]))
    with pytest.raises(ValueError, match=r"None of the 2 rows is normal"):
        next(NormalKFold(2).split(rows_of([0, 0]), [-1, -1]))


def test_a_fold_without_an_anomaly_is_an_error():
    y = [1, 1, 1, -1, -1]
    X = rows_of(y)
    with pytest.raises(ValueError, match=r"none of the 2 anomalies.*anomalies='all'"):
        list(NormalKFold(3, anomalies="fold").split(X, y))
    with pytest.raises(ValueError, match=r"none of the 2 anomalies.*groups"):
        list(NormalKFold(3).split(X, y, groups=[0, 1, 2, 0, 1]))


def test_groups_with_missing_values_are_refused():
    with pytest.raises(ValueError, match="groups"):
        next(NormalKFold(2).split(np.zeros((4, 1)), groups=[0, 1, np.nan, 2]))


def test_groups_may_be_strings():
    y = np.array([1, 1, 1, -1])
    groups = pd.Series(["bolt", "nut", "bolt", "nut"])
    with pytest.raises(ValueError, match="would hold none"):
        list(NormalKFold(2).split(rows_of(y), y, groups))
    tests = {tuple(test) for _, test in NormalKFold(2).split(rows_of(y), None, groups)}
    assert tests == {(0, 2), (1, 3)}


@pytest.mark.parametrize(
    "X",
    [
        ["a.png", "b.png", "c.png", "d.png"],
        pd.DataFrame({"a": [0, 1, 2, 3]}, index=[9, 8, 7, 6]),
        sparse.coo_array(np.eye(4)),
        np.zeros((4, 2, 2, 3)),
    ],
    ids=["paths", "frame", "sparse", "images"],
)
def test_only_the_number_of_rows_of_x_matters(X):
    tests = [test.tolist() for _, test in NormalKFold(2).split(X, [1, 1, -1, 1])]
    assert tests == [[0, 1, 2], [2, 3]]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_splits": 1}, "n_splits"),
        ({"anomalies": "some"}, "'all' or 'fold'"),
        ({"random_state": 0}, "shuffle"),
        ({"shuffle": "yes"}, "shuffle"),
    ],
)
def test_parameters_are_checked_at_once(parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        NormalKFold(**parameters)


def test_it_looks_and_copies_as_a_splitter():
    splitter = NormalKFold(3, shuffle=True, random_state=0)
    expected = "NormalKFold(anomalies='all', n_splits=3, random_state=0, shuffle=True)"
    for copy in (
        splitter,
        pickle.loads(pickle.dumps(splitter)),
        clone(splitter, safe=False),
    ):
        assert " ".join(repr(copy).split()) == expected
        assert copy.get_n_splits() == copy.get_n_splits(None, None, None) == 3


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(60, 3)), rng.normal(5, 1, size=(10, 3))]
    return X, np.r_[np.ones(60, int), -np.ones(10, int)]


@pytest.mark.parametrize("method", ["predict", "decision_function"])
def test_cross_val_predict_needs_a_partition(blobs, method):
    X, y = blobs
    detector = OneClassSVM()
    splits = list(NormalKFold(anomalies="fold").split(X, y))
    expected = np.empty(len(y))
    for train, test in splits:
        expected[test] = getattr(detector.fit(X[train]), method)(X[test])
    values = cross_val_predict(detector, X, cv=splits, method=method)
    np.testing.assert_array_equal(values, expected)
    if method == "predict":
        values = cross_val_predict(detector, X, y, cv=NormalKFold(anomalies="fold"))
        np.testing.assert_array_equal(values, expected)
    with pytest.raises(ValueError, match="partitions"):
        cross_val_predict(detector, X, y, cv=NormalKFold(), method=method)


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_it_with_and_without_metadata_routing(blobs, routing):
    X, _ = blobs
    groups = np.arange(len(X)) % 10

    def trained_rows(**arguments):
        result = cross_validate(
            OneClassSVM(),
            X,
            cv=NormalKFold(2),
            scoring=lambda estimator, X, y=None: len(X),
            return_indices=True,
            **arguments,
        )
        return result["indices"]["train"]

    with sklearn.config_context(enable_metadata_routing=routing):
        grouped = trained_rows(
            **({"params": {"groups": groups}} if routing else {"groups": groups})
        )
        ungrouped = trained_rows()
    theirs = [train for train, _ in GroupKFold(2).split(X, groups=groups)]
    np.testing.assert_array_equal(grouped, theirs)
    np.testing.assert_array_equal(ungrouped, [np.arange(35, 70), np.arange(35)])
