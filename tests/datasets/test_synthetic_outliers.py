import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from sklearn_gauss.datasets import SyntheticOutliers

KINDS = ["swap", "shift", "noise", "stretch"]


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 30),
    p=st.integers(1, 12),
    each=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_rows_come_kind_by_kind_and_again_with_the_same_seed(n, p, each, seed, dtype):
    X = np.random.default_rng(seed).normal(size=(n, p)).astype(dtype)
    X.setflags(write=False)
    maker = SyntheticOutliers(n_per_row=each, random_state=seed)
    drawn, again = maker.draw(X), clone(maker).draw(X)
    assert drawn.X.shape == (4 * n * each, p)
    assert drawn.X.dtype == dtype
    assert np.isfinite(drawn.X).all()
    np.testing.assert_array_equal(drawn.X, again.X)
    np.testing.assert_array_equal(drawn.kind, np.repeat(KINDS, n * each))
    np.testing.assert_array_equal(drawn.source, np.tile(np.arange(n), 4 * each))


def test_what_each_kind_changes():
    X = np.random.default_rng(0).normal(size=(400, 20)) * np.geomspace(0.1, 10, 20) + 5
    drawn = SyntheticOutliers().draw(X)
    found = {kind: drawn.X[drawn.kind == kind] for kind in KINDS}
    swapped = found["swap"] != X
    assert (swapped.sum(axis=1) <= 6).all()
    assert swapped.mean() == pytest.approx(0.3, abs=0.02)
    for column in range(20):
        assert np.isin(found["swap"][:, column], X[:, column]).all()
    shifted = found["shift"] != X
    assert (shifted.sum(axis=1) == 2).all()
    sizes = (np.abs(found["shift"] - X) / X.std(axis=0))[shifted]
    assert 1 <= sizes.min() < 1.1
    assert 2.9 < sizes.max() <= 3
    sizes = (found["noise"] - X) / X.std(axis=0)
    assert sizes.std() == pytest.approx(np.sqrt((0.8**3 - 0.2**3) / 3 / 0.6), rel=0.03)
    centred = found["stretch"] - X.mean(axis=0)
    factors = centred / (X - X.mean(axis=0))
    np.testing.assert_allclose(factors, factors[:, :1] * np.ones(20), rtol=1e-6)
    assert 1.3 <= factors.min() < 1.35
    assert 1.95 < factors.max() <= 2


def test_severity_scales():
    X = np.random.default_rng(0).normal(size=(50, 8))
    mild, hard = (
        SyntheticOutliers(["shift", "noise", "stretch"], severity=s).draw(X).X
        for s in (0.5, 1.0)
    )
    base = np.tile(X, (3, 1))
    np.testing.assert_allclose(2 * (mild - base), hard - base, atol=1e-9)


def test_refuses():
    X = np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"kinds must be 'all' or a list of names"):
        SyntheticOutliers(["melt"]).draw(X)
    with pytest.raises(ValueError, match="severity"):
        SyntheticOutliers(severity=0).draw(X)
    with pytest.raises(ValueError, match="n_per_row"):
        SyntheticOutliers(n_per_row=0).draw(X)
    with pytest.raises(ValueError, match="NaN"):
        SyntheticOutliers().draw([[np.nan, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="minimum of 2"):
        SyntheticOutliers().draw(X[:1])
    with pytest.raises(ValueError, match="On images, SyntheticDefects draws"):
        SyntheticOutliers().draw(np.zeros((3, 8, 8, 3)))


@pytest.mark.filterwarnings("ignore:.*encountered in reduce")  # scikit-learn adds X up
def test_large_numbers_of_single_precision_stay_finite():
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32) * 1e38
    drawn = SyntheticOutliers().draw(X).X
    assert drawn.dtype == np.float32
    assert np.isfinite(drawn).all()
