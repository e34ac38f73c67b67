import pickle
from math import ceil

import numpy as np
import pytest
import sklearn
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import (
    GroupShuffleSplit,
    ShuffleSplit,
    cross_validate,
)
from sklearn.svm import OneClassSVM

from sklearn_gauss.model_selection import NormalShuffleSplit


def rows_of(y):
    return np.zeros((len(y), 1))


@st.composite
def problems(draw):
    n_normals = draw(st.integers(4, 30))
    n_anomalies = draw(st.integers(0, 15))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[np.ones(n_normals, int), -np.ones(n_anomalies, int)])
    groups = rng.integers(0, draw(st.integers(4, 20)), len(y))
    sizes = draw(
        st.sampled_from(
            [
                {},
                {"test_size": 0.3},
                {"train_size": 0.5},
                {"test_size": 1},
                {"test_size": 0.25, "train_size": 0.5},
            ]
        )
    )
    return y, groups, {"n_splits": 4, "random_state": seed, **sizes}


@given(problems())
@settings(deadline=None, max_examples=100)
def test_the_normal_rows_are_split_as_by_scikit_learn(problem):
    y, _, options = problem
    normals = np.flatnonzero(y == 1)
    for (train, test), (their_train, their_test) in zip(
        NormalShuffleSplit(**options).split(rows_of(y), y),
        ShuffleSplit(**options).split(normals),
        strict=True,
    ):
        np.testing.assert_array_equal(train, np.sort(normals[their_train]))
        np.testing.assert_array_equal(
            test, np.sort(np.r_[normals[their_test], np.flatnonzero(y == -1)])
        )
        assert train.dtype == test.dtype == np.intp


@given(problems())
@settings(deadline=None, max_examples=100)
def test_a_share_of_anomalies_is_as_large_as_that_of_normal_rows(problem):
    y, _, options = problem
    n_normals, n_anomalies = (y == 1).sum(), (y == -1).sum()
    for train, test in NormalShuffleSplit(anomalies="share", **options).split(
        rows_of(y), y
    ):
        assert (y[train] == 1).all()
        assert not set(train) & set(test)
        proportion = (y[test] == 1).sum() / n_normals
        assert (y[test] == -1).sum() == ceil(proportion * n_anomalies)


@given(problems(), st.sampled_from(["all", "share"]))
@settings(deadline=None, max_examples=100)
def test_a_group_never_stands_on_both_sides(problem, anomalies):
    y, groups, options = problem
    normals = np.flatnonzero(y == 1)
    assume(len(set(groups[normals])) >= 4)
    splitter = NormalShuffleSplit(anomalies=anomalies, **options)
    theirs = list(GroupShuffleSplit(**options).split(normals, groups=groups[normals]))
    anomaly_groups = set(groups[y == -1])
    loose = anomaly_groups - set(groups[normals])
    if anomalies == "all":
        possible = [anomaly_groups - set(groups[normals[part]]) for part, _ in theirs]
    else:
        possible = [
            loose | (anomaly_groups & set(groups[normals[part]])) for _, part in theirs
        ]
    if anomaly_groups and not all(possible):
        event("a split without an anomaly")
        with pytest.raises(ValueError, match="would hold none"):
            list(splitter.split(rows_of(y), y, groups))
        return
    event("decided")
    splits = list(splitter.split(rows_of(y), y, groups))
    for (train, test), (their_train, their_test) in zip(splits, theirs, strict=True):
        np.testing.assert_array_equal(train, normals[their_train])
        np.testing.assert_array_equal(test[y[test] == 1], normals[their_test])
        assert not set(groups[train]) & set(groups[test])
        tested = set(test[y[test] == -1])
        must = np.isin(groups, groups[normals[their_test]])
        if anomalies == "all":
            must = ~np.isin(groups, groups[train])
        assert set(np.flatnonzero(must & (y == -1))) <= tested


def test_every_anomaly_is_drawn_in_the_end():
    y = np.r_[np.ones(20), -np.ones(8)]
    splitter = NormalShuffleSplit(60, anomalies="share", test_size=0.25, random_state=0)
    tested = [set(test[y[test] == -1]) for _, test in splitter.split(rows_of(y), y)]
    assert {len(rows) for rows in tested} == {2}
    assert set.union(*tested) == set(range(20, 28))


def test_a_random_state_repeats():
    y = np.r_[np.ones(20), -np.ones(8)]

    def tested(seed):
        splitter = NormalShuffleSplit(3, anomalies="share", random_state=seed)
        return [test.tolist() for _, test in splitter.split(rows_of(y), y)]

    assert tested(5) == tested(5)
    assert tested(5) != tested(6)
    assert tested(np.random.RandomState(5)) == tested(np.random.RandomState(5))


def test_without_labels_every_row_is_normal():
    X = np.zeros((10, 1))
    for train, test in NormalShuffleSplit(3, test_size=0.3, random_state=0).split(X):
        assert len(train) == 7
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(10))


def test_errors_speak_of_normal_rows():
    with pytest.raises(ValueError, match=r"np\.where\(y == 1, -1, 1\)"):
        next(NormalShuffleSplit().split(np.zeros((4, 1)), [0, 1, 0, 0]))
    with pytest.raises(ValueError, match="None of the 4 rows is normal"):
        next(NormalShuffleSplit().split(np.zeros((4, 1)), [-1] * 4))
    with pytest.raises(ValueError, match="Cannot split the 1 normal rows"):
        next(NormalShuffleSplit().split(np.zeros((4, 1)), [-1, -1, -1, 1]))
    with pytest.raises(ValueError, match="Cannot split the 2 normal rows"):
        next(NormalShuffleSplit(test_size=3).split(np.zeros((4, 1)), [-1, -1, 1, 1]))
    with pytest.raises(ValueError, match="groups it trains on"):
        list(
            NormalShuffleSplit(5, random_state=0, test_size=1).split(
                np.zeros((5, 1)), [1, 1, 1, 1, -1], groups=[0, 1, 2, 3, 0]
            )
        )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_splits": 0}, "n_splits"),
        ({"n_splits": 2.5}, "n_splits"),
        ({"anomalies": "fold"}, "'all' or 'share'"),
    ],
)
def test_parameters_are_checked_at_once(parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        NormalShuffleSplit(**parameters)


def test_it_looks_and_copies_as_a_splitter():
    splitter = pickle.loads(pickle.dumps(NormalShuffleSplit(3, test_size=0.2)))
    assert splitter.get_n_splits() == 3
    assert " ".join(repr(splitter).split()) == (
        "NormalShuffleSplit(anomalies='all', n_splits=3, random_state=None, "
        "test_size=0.2, train_size=None)"
    )


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_it_with_and_without_metadata_routing(routing):
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.r_[np.ones(50), -np.ones(10)]
    groups = np.arange(60) // 5
    with sklearn.config_context(enable_metadata_routing=routing):
        result = cross_validate(
            OneClassSVM(),
            X,
            y,
            **({"params": {"groups": groups}} if routing else {"groups": groups}),
            cv=NormalShuffleSplit(3, test_size=0.3, random_state=0),
            scoring=lambda estimator, X, y: len(X),
            return_indices=True,
        )
    for train, test in zip(*result["indices"].values(), strict=True):
        assert len(train) == 35
        assert len(test) == 25
        assert not set(groups[train]) & set(groups[test])
