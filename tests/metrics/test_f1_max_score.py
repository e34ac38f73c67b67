import localisation_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_gauss.metrics import f1_max_score
from sklearn_gauss.model_selection._metrics import f1_max


@st.composite
def scored_rows(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = rng.permutation(np.repeat([1, -1], [draw(st.integers(1, 25)) for _ in range(2)]))
    levels = draw(st.sampled_from([1, 3, 10, 1000]))  # few levels: many ties
    scores = rng.integers(0, levels, len(y)) + draw(st.integers(0, 2)) * (y == 1)
    return y, scores.astype(draw(st.sampled_from([np.float64, np.float32, np.int64])))


@given(scored_rows())
@settings(deadline=None, max_examples=60)
def test_f1_by_brute_force(rows):
    y, scores = rows
    expected, at = reference.f1_max(-scores[y == -1], -scores[y == 1])
    score, threshold = f1_max_score(y, scores, return_threshold=True)
    assert (score, threshold) == (expected, -at)
    assert type(score) is type(threshold) is float
    assert f1_max_score(y.tolist(), scores.tolist()) == score
    assert f1_max(y, scores) == pytest.approx(score, abs=1e-12)


@given(scored_rows())
@settings(deadline=None, max_examples=50)
def test_the_threshold_attains_the_score(rows):
    y, scores = rows
    score, threshold = f1_max_score(y, scores, return_threshold=True)
    flagged = scores <= threshold
    hits = (flagged & (y == -1)).sum()
    assert score == 2 * hits / (flagged.sum() + (y == -1).sum())


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s**3 - 1e6,
        lambda s: np.exp(s.astype(np.float32)),
        lambda s: np.where(s == s.min(), -np.inf, np.where(s == s.max(), np.inf, s)),
    ],
)
def test_only_the_order_counts(change, rng):
    y = np.repeat([1, -1], [50, 10])
    scores = np.round(rng.normal(size=60) + y)
    assert f1_max_score(y, change(scores)) == f1_max_score(y, scores)


def test_perfect_and_constant_scores():
    y = np.repeat([1, -1], [3, 2])
    assert f1_max_score(y, y) == 1
    assert f1_max_score(y, np.zeros(5)) == pytest.approx(2 * 0.4 / 1.4)
    assert f1_max_score(y, -y) == pytest.approx(2 * 0.4 / 1.4)  # best is to flag all
    assert f1_max_score(y, [np.inf, 0, 0, -np.inf, 0], return_threshold=True) == (
        pytest.approx(2 / 3),
        -np.inf,
    )


@pytest.mark.parametrize(
    ("y", "scores", "message"),
    [
        ([0, 1], [0.0, 1.0], "y_true must hold"),
        ([True, False], [0.0, 1.0], "y_true must hold"),
        ([1, 1], [0.0, 1.0], r"y_true holds no anomaly"),
        ([-1, -1], [0.0, 1.0], "y_true holds no normal row"),
        ([], [], "y_true"),
        ([1, -1], [0.0, np.nan], "scores hold 1 NaN among 2, the first at 1"),
        ([1, -1], [0.0, 1.0, 2.0], "inconsistent"),
        ([1, -1], np.ma.masked_less([0.0, 1.0], 0.5), "scores is a masked array"),
        (np.ma.masked_less([1, -1], 0), [0.0, 1.0], "y_true is a masked array"),
    ],
)
def test_bad_rows_are_refused(y, scores, message):
    with pytest.raises(ValueError, match=message):
        f1_max_score(y, scores)
