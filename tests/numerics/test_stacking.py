"""Weights of scores: against counts of pairs, sums by hand and scikit-learn's LDA."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from sklearn_gauss._numerics import stacking
from sklearn_gauss._numerics.stacking import (
    RULES,
    ScoreTable,
    auroc,
    auroc_by_kind,
    best_score,
    combined,
    find_weights,
)

steady = settings(deadline=None, max_examples=25, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
EVERY = {m: np.full(m, True) for m in range(1, 7)}


def table_of(seed, n=40, k=30, m=3, kinds=3, v=10):
    """Scores with a common part; each finds the defects to a different degree."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(m, m)) + 0.5
    normal, left_out, varied = (rng.normal(size=(size, m)) @ mix for size in (n, n, v))
    defective = rng.normal(size=(k, m)) @ mix - rng.uniform(0, 3, m)
    names = np.array([f"kind {i % kinds}" for i in range(k)])
    return ScoreTable(normal, left_out, defective, names, varied)


def changed(table, change):
    parts = (table.normal, table.left_out, table.defective, table.varied)
    normal, left_out, defective, varied = map(change, parts)
    return ScoreTable(normal, left_out, defective, table.kinds, varied)


# ------------------------------------------------------------------------- ranking
@steady
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
)
def test_auroc_counts_pairs(normal, defective):
    above = [(a > b) + 0.5 * (a == b) for a in normal for b in defective]
    found = auroc(*(np.array(rows, float)[:, None] for rows in (normal, defective)))
    assert found.shape == (1,)
    assert found[0] == pytest.approx(np.mean(above), abs=1e-15)
    labels = [1] * len(normal) + [0] * len(defective)
    assert found[0] == pytest.approx(roc_auc_score(labels, normal + defective), abs=1e-15)
    u = mannwhitneyu(normal, defective, method="asymptotic").statistic
    assert found[0] == pytest.approx(u / len(above), abs=1e-15)


def test_auroc_takes_what_is_infinite_or_huge():
    normal = np.array([[0.0, 1e308, -np.inf], [1.0, 0.0, 2.0]])
    defective = np.array([[-np.inf, -1e308, -np.inf], [0.0, 0.0, -np.inf]])
    np.testing.assert_array_equal(auroc(normal, defective), [0.875, 0.875, 0.75])


def test_kinds_count_alike_however_many_rows_they_have():
    normal = np.arange(4.0)[:, None] + [[0.0, 0.0]]
    defective = np.array([[-1.0, 9.0]] * 9 + [[9.0, -1.0], [9.0, -2.0]])
    kinds = np.array(["b"] * 9 + ["a"] * 2)
    table = ScoreTable(normal, normal, defective, kinds, normal[:0])
    np.testing.assert_array_equal(auroc_by_kind(table), [[0, 1], [1, 0]])
    assert best_score(table) == 0  # the first of equals


@steady
@given(seeds)
def test_the_best_score_is_found_by_hand(seed):
    table = table_of(seed)
    means = []
    for column in range(3):
        areas = []
        for kind in sorted(set(table.kinds)):
            rows = table.defective[table.kinds == kind, column]
            labels = [1] * len(table.normal) + [0] * len(rows)
            areas.append(roc_auc_score(labels, [*table.normal[:, column], *rows]))
        means.append(np.mean(areas))
    assert best_score(table) == np.argmax(means)
    np.testing.assert_allclose(auroc_by_kind(table).mean(axis=1), means, rtol=1e-12)
    weights = find_weights(table, "best", EVERY[3])
    np.testing.assert_array_equal(weights, np.arange(3) == np.argmax(means))


# ------------------------------------------------------------------------- weights
def by_hand(table):
    """The formula of the module, in fifty digits and row by row."""
    n, m = table.normal.shape
    with mpmath.workdps(50):
        columns = [[mpmath.mpf(float(v)) for v in column] for column in table.normal.T]
        centre = [mpmath.fsum(c) / n for c in columns]
        spread = [
            mpmath.sqrt(mpmath.fsum((v - mu) ** 2 for v in c) / n)
            for c, mu in zip(columns, centre, strict=True)
        ]

        def standardised(rows):
            cut = [
                [(mpmath.mpf(float(v)) - mu) / s for v, mu, s in zip(*parts, strict=True)]
                for parts in ((row, centre, spread) for row in rows)
            ]
            return [[min(max(v, -6), 6) for v in row] for row in cut]

        def mean(rows):
            return [mpmath.fsum(column) / len(rows) for column in zip(*rows, strict=True)]

        rows = standardised([*table.normal, *table.varied])
        at = mean(rows)
        kinds = sorted(set(table.kinds))
        bad = mean([mean(standardised(table.defective[table.kinds == k])) for k in kinds])
        areas = auroc_by_kind(table).mean(axis=1)
        best = np.flatnonzero(areas >= areas.max() - 0.01)
        matrix = mpmath.matrix(m, m)
        for i in range(m):
            for j in range(m):
                total = mpmath.fsum((r[i] - at[i]) * (r[j] - at[j]) for r in rows)
                matrix[i, j] = total / (len(rows) - 1)
            matrix[i, i] += (4 + mpmath.mpf(40) / n) * (0.01 if i in best else 1)
        w = mpmath.lu_solve(
            matrix, mpmath.matrix(m * [0]) + mpmath.matrix(at) - mpmath.matrix(bad)
        )
        w = np.array([float(w[i]) for i in range(m)])
    w = w / table.left_out.std(axis=0)
    return w / (table.left_out @ w).std()


@settings(deadline=None, max_examples=8, derandomize=True)
@given(seeds, st.integers(3, 30), st.integers(1, 12), st.integers(2, 4))
def test_stacked_is_the_formula(seed, n, k, m):
    table = table_of(seed, n=n, k=k, m=m, v=seed % 3)
    found = find_weights(table, "stacked", EVERY[m])
    np.testing.assert_allclose(found, by_hand(table), rtol=1e-9)


def test_without_a_penalty_it_is_fishers_discriminant(monkeypatch):
    monkeypatch.setattr(stacking, "RIDGE", 0.0)
    monkeypatch.setattr(stacking, "EVIDENCE", 0.0)
    table = table_of(5, n=300, k=300, kinds=1, v=0)
    # Defective rows that lie as the normal ones, shifted: one covariance for both.
    table = ScoreTable(
        table.normal,
        table.normal,
        table.normal - [0.3, 0.5, 0.1],
        table.kinds,
        table.varied,
    )
    rows = np.concatenate([table.normal, table.defective])
    labels = np.repeat([1, -1], 300)
    dense = LinearDiscriminantAnalysis(solver="eigen").fit(rows, labels)
    found = find_weights(table, "stacked", EVERY[3])
    want = dense.coef_[0] / np.linalg.norm(dense.coef_[0])
    np.testing.assert_allclose(found / np.linalg.norm(found), want, rtol=1e-2)


def test_little_evidence_leaves_the_best_score_alone(monkeypatch):
    table = table_of(0)
    shares = []
    for evidence in (0.0, 1e6, 1e9):
        monkeypatch.setattr(stacking, "EVIDENCE", evidence)
        found = find_weights(table, "stacked", EVERY[3]) * table.left_out.std(axis=0)
        shares.append(abs(found[best_score(table)]) / abs(found).sum())
    # The others end at a hundredth, the ratio of the penalties, not at nothing.
    assert shares[0] < 0.9 < 0.97 < shares[1]
    assert shares[2] == pytest.approx(shares[1], abs=1e-3)


def test_few_rows_favour_the_best_score_more_than_many():
    shares = []
    for n in (400, 40, 4):
        table = table_of(3, n=400)
        few = np.arange(400) % (400 // n) == 0
        table = table.take(few, np.full(30, True), np.full(10, False))
        found = find_weights(table, "stacked", EVERY[3]) * table.left_out.std(axis=0)
        shares.append(abs(found[best_score(table)]) / abs(found).sum())
    assert shares == sorted(shares)


@steady
@given(seeds)
def test_sums_divide_by_deviations_of_those_that_take_part(seed):
    table = table_of(seed)
    own = np.array([True, False, True])
    found = find_weights(table, "sum", own)
    np.testing.assert_allclose(
        found[own], 1 / table.left_out.std(axis=0)[own], rtol=1e-12
    )
    assert found[1] == 0


# ----------------------------------------------------------------------- relations
@steady
@given(seeds, st.sampled_from(list(RULES)))
def test_units_and_origins_of_scores_do_not_matter(seed, rule):
    table = table_of(seed)
    rng = np.random.default_rng(seed)
    factors, shifts = 2.0 ** rng.integers(-60, 60, 3), rng.normal(size=3)
    other = changed(table, lambda rows: (rows + shifts) * factors)
    want, found = (find_weights(t, rule, EVERY[3]) for t in (table, other))
    np.testing.assert_allclose(
        (found * factors) / np.linalg.norm(found * factors),
        want / np.linalg.norm(want),
        rtol=1e-8,
        atol=1e-10,
    )
    np.testing.assert_array_equal(
        combined(other.defective, found).argsort(),
        combined(table.defective, want).argsort(),
    )


@steady
@given(seeds, st.sampled_from(list(RULES)))
def test_orders_do_not_matter(seed, rule):
    table = table_of(seed)
    rng = np.random.default_rng(seed)
    order, bad, columns = rng.permutation(40), rng.permutation(30), rng.permutation(3)
    other = ScoreTable(
        table.normal[order],
        table.left_out[order[::-1]],
        table.defective[bad],
        table.kinds[bad],
        table.varied[::-1],
    )
    want = find_weights(table, rule, EVERY[3])
    np.testing.assert_allclose(find_weights(other, rule, EVERY[3]), want, rtol=1e-9)
    swapped = find_weights(changed(table, lambda rows: rows[:, columns]), rule, EVERY[3])
    np.testing.assert_allclose(swapped, want[columns], rtol=1e-9)


def test_what_all_scores_share_is_cancelled():
    """Two scores that follow the light; only one of them sees defects."""
    rng = np.random.default_rng(0)
    light, own = rng.normal(size=(2, 200))
    defects = np.column_stack([light - 2, light]) + 0.1 * rng.normal(size=(200, 2))
    normal = np.column_stack([light, light]) + 0.1 * rng.normal(size=(200, 2))
    kinds = np.full(200, "stain")
    table = ScoreTable(normal, normal, defects, kinds, normal + 3 * own[:, None])
    weights = find_weights(table, "stacked", EVERY[2])
    assert weights[0] > 0 > weights[1]
    alone, both = (
        auroc(*(combined(rows, w)[:, None] for rows in (normal, defects)))[0]
        for w in (np.array([1.0, 0.0]), weights)
    )
    assert both > alone


# --------------------------------------------------------------------- odd scores
@pytest.mark.parametrize("rule", RULES)
def test_one_score_is_all_there_is(rule):
    table = changed(table_of(0), lambda rows: rows[:, :1])
    assert find_weights(table, rule, EVERY[1])[0] > 0


def test_a_constant_score_has_no_weight():
    table = changed(table_of(0), lambda rows: rows * [1, 0, 1] + [0, 0.1, 0])
    for rule in ("sum", "stacked"):
        found = find_weights(table, rule, EVERY[3])
        assert found[1] == 0
        assert np.isfinite(found).all()
        assert found.any()


@pytest.mark.parametrize("rule", RULES)
def test_constant_scores_make_constant_ones(rule):
    table = changed(table_of(0), lambda rows: 0 * rows - 3)
    found = find_weights(table, rule, EVERY[3])
    assert np.isfinite(found).all()
    assert np.ptp(combined(table.defective, found)) == 0


def test_equal_scores_share():
    table = changed(table_of(0), lambda rows: rows[:, [0, 0]])
    first, second = find_weights(table, "stacked", EVERY[2])
    assert first > second > 0
    alone = combined(table.left_out, np.array([first + second, 0.0]))
    np.testing.assert_allclose(alone.std(), 1)


def test_infinite_scores_of_defects_are_found_ones():
    """A kernel of bounded support gives minus infinity to all that lies outside."""
    table = table_of(1, m=2)
    normal = np.abs(table.normal) - 50.0  # so that zero would be the best score of all
    outside = np.column_stack([np.full(30, -np.inf), table.defective[:, 1] * 0])
    table = ScoreTable(normal, normal, outside, table.kinds, normal[:5])
    weights = find_weights(table, "stacked", EVERY[2])
    assert weights[0] > 0
    far = changed(table, lambda rows: np.where(np.isneginf(rows), -1e9, rows))
    np.testing.assert_allclose(
        weights, find_weights(far, "stacked", EVERY[2]), rtol=1e-12
    )
    assert np.isneginf(combined(outside, weights)).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [-np.inf, -1e308])
def test_some_normal_rows_may_be_infinitely_far(rule, value):
    table = table_of(2)
    table.normal[::9, 1] = table.left_out[::9, 1] = value
    found = find_weights(table, rule, EVERY[3])
    assert np.isfinite(found).all()
    assert found.any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
def test_scales_are_those_of_floats(rule, scale):
    table = table_of(3)
    want = find_weights(table, rule, EVERY[3])
    other = changed(table, lambda rows: rows * scale)
    found = find_weights(other, rule, EVERY[3])
    unit = 1 if rule == "best" else scale
    np.testing.assert_allclose(found * unit, want, rtol=1e-9)


def test_sums_that_overflow_are_minus_infinity():
    scores = np.array([[-1e308, -1e308], [1.0, 2.0], [-np.inf, 0.0], [-np.inf, np.inf]])
    inf = np.inf
    np.testing.assert_array_equal(
        combined(scores, np.array([2.0, 3.0])), [-inf, 8, -inf, -inf]
    )
    np.testing.assert_array_equal(
        combined(scores, np.array([2.0, -3.0])), [-inf, -4, -inf, -inf]
    )
    np.testing.assert_array_equal(
        combined(scores[:3], np.array([0.0, 1.0])), [-1e308, 2, 0]
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("n", "k"), [(2, 1), (3, 1), (3, 5), (40, 1)])
def test_few_rows_are_enough(rule, n, k):
    for seed in range(5):
        table = table_of(seed, n=n, k=k, v=0)
        assert np.isfinite(find_weights(table, rule, EVERY[3])).all()


def test_nothing_is_changed_in_place():
    table = table_of(0)
    for part in (table.normal, table.left_out, table.defective, table.varied):
        part.flags.writeable = False
    for rule in RULES:
        find_weights(table, rule, EVERY[3])


def test_some_of_the_rows():
    table = table_of(0)
    part = table.take(np.arange(40) < 5, table.kinds == "kind 1", np.arange(10) < 2)
    assert [len(rows) for rows in (part.normal, part.left_out, part.varied)] == [5, 5, 2]
    assert set(part.kinds) == {"kind 1"}
    np.testing.assert_array_equal(part.defective, table.defective[1::3])
