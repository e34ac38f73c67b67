"""The same numbers in another container or layout: the same answer, or a refusal."""

import array
import warnings

import numpy as np
import pytest

from sklearn_gauss.covariance import ShrinkageCovariance
from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import (
    ClassConditionalDetector,
    IncrementalMixtureDetector,
    KDEDetector,
    MahalanobisDetector,
    NormalAbnormalDetector,
    PatchGaussianDetector,
    PatchKDEDetector,
)
from sklearn_gauss.exceptions import CalibrationWarning
from sklearn_gauss.residual import ReferenceResidual, ScoreNorms

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_gauss.exceptions.NearestNeighborWarning",
    "ignore::sklearn_gauss.exceptions.BandwidthWarning",
)
ESTIMATORS = {
    "covariance": ShrinkageCovariance,
    "covariance, unshrunk": lambda: ShrinkageCovariance(0.0),
    "covariance, dense": lambda: ShrinkageCovariance(solver="dense"),
    "covariance, lowrank": lambda: ShrinkageCovariance(0.1, solver="lowrank"),
    "detector": MahalanobisDetector,
    "detector, oas": lambda: MahalanobisDetector(shrinkage="oas"),
    "detector, trimmed": lambda: MahalanobisDetector(tail="student", trim="auto"),
    "classes": ClassConditionalDetector,
    "mixture": IncrementalMixtureDetector,
    "labels": NormalAbnormalDetector,
    "residual": ReferenceResidual,
    "norms": ScoreNorms,
    "density": KDEDetector,
    "density, plain": lambda: KDEDetector("scott", whiten="none"),
    "patches": lambda: PatchGaussianDetector(grid_shape=(1, 1), pixel_target_fpr=0.1),
    "patches, single": lambda: PatchGaussianDetector(
        grid_shape=(1, 1), pixel_target_fpr=0.1, precision="float32"
    ),
    "patch density": lambda: PatchKDEDetector(grid_shape=(1, 1), pixel_target_fpr=0.1),
    "components": lambda: LowVariancePCA(0.3),
    "components, whitened": lambda: LowVariancePCA(0.3, whiten=True),
}
RTOL = 1e-12

rng = np.random.default_rng(7)
TALL = np.round(rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5)), 3) + 2.0
WIDE = np.round(rng.normal(size=(24, 31)), 3)
# Multiples of 1/8 below 64: the same numbers in every float dtype.
COARSE = np.round(rng.normal(size=(40, 4)) * 12) / 8
WHOLE = np.round(COARSE * 8)
by_estimator = pytest.mark.parametrize("kind", ESTIMATORS)
by_shape = pytest.mark.parametrize("X", [TALL, WIDE], ids=["n > p", "n < p"])


def answer(kind, X, Q=None):
    """Every number the estimator gives: for the training rows or for Q."""
    fitted = fit(kind, X)
    return score(fitted, X if Q is None else Q)


def fit(kind, X):
    with warnings.catch_warnings():
        if kind.endswith("unshrunk"):
            warnings.simplefilter("ignore")  # n < p: singular, as declared
        if kind.startswith("patch"):
            warnings.simplefilter("ignore", CalibrationWarning)  # of copies, as declared
        return ESTIMATORS[kind]().fit(X)


def score(fitted, X):
    if hasattr(fitted, "transform"):
        return np.asarray(fitted.transform(X), np.float64)
    parts = [fitted.score_samples(X)]
    if hasattr(fitted, "mahalanobis"):
        parts.append(fitted.mahalanobis(X).reshape(-1))
    if hasattr(fitted, "predict"):
        parts += [fitted.decision_function(X), fitted.p_values(X), fitted.predict(X)]
    return np.column_stack(parts)


def assert_same(got, want, rtol=RTOL):
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


# --------------------------------------------------------------------- layouts
def strided(X):
    out = np.full((2 * X.shape[0], 3 * X.shape[1]), np.nan)
    out[::2, ::3] = X
    return out[::2, ::3]


def reversed_view(X):
    return X[::-1, ::-1].copy()[::-1, ::-1]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def not_aligned(X):
    raw = np.zeros(X.nbytes + 1, np.uint8)
    view = raw[1:].view(np.float64).reshape(X.shape)
    view[...] = X
    assert not view.flags.aligned
    return view


def padded_rows(X):
    out = np.full((X.shape[0], X.shape[1] + 3), np.inf)
    out[:, :-3] = X
    return out[:, :-3]


def in_a_record(X):
    table = np.zeros(X.shape, dtype=[("tag", "i1"), ("value", "f8")])
    table["value"] = X
    return table["value"]


def middle_axis(X):
    return np.moveaxis(np.stack([X, X + 1], axis=1), 1, 0)[0]


class Shown:
    """Something that only knows how to become an array."""

    def __init__(self, X):
        self.X = X

    def __array__(self, dtype=None, copy=None):
        return np.array(self.X, dtype=dtype)


class Tagged(np.ndarray):
    """A subclass without behaviour of its own."""


LAYOUTS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "transposed twice": lambda X: np.ascontiguousarray(X.T).T,
    "strided": strided,
    "reversed": reversed_view,
    "read-only": read_only,
    "read-only Fortran": lambda X: read_only(np.asfortranarray(X)),
    "not aligned": not_aligned,
    "padded rows": padded_rows,
    "field of a record": in_a_record,
    "slice of three dimensions": middle_axis,
    "big-endian": lambda X: X.astype(">f8"),
    "little-endian": lambda X: X.astype("<f8"),
    "list of lists": lambda X: X.tolist(),
    "tuple of tuples": lambda X: tuple(map(tuple, X.tolist())),
    "list of arrays": list,
    "list of array.array": lambda X: [array.array("d", row) for row in X],
    "list of NumPy scalars": lambda X: [list(row) for row in X],
    "memoryview": lambda X: memoryview(np.ascontiguousarray(X)),
    "array protocol": Shown,
    "subclass": lambda X: X.view(Tagged),
    "object array": lambda X: X.astype(object),
    "longdouble": lambda X: X.astype(np.longdouble),
}


@by_shape
@by_estimator
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree(layout, kind, X):
    assert_same(answer(kind, LAYOUTS[layout](X)), answer(kind, X))


@by_shape
@by_estimator
def test_memory_maps_agree(kind, X, tmp_path):
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert_same(answer(kind, mapped), answer(kind, X))


NUMBER_TYPES = [
    "f2", "f4", "f8", "g", ">f2", ">f4", "i1", "i2", "i4", "i8", ">i2", ">i8",
]  # fmt: skip


@by_estimator
@pytest.mark.parametrize("dtype", NUMBER_TYPES)
def test_dtypes_agree(dtype, kind):
    # Whole numbers below 64 are the same numbers in every one of these dtypes.
    X = np.clip(WHOLE, -60, 60)
    reduced = kind.startswith(("components", "norms"))
    single = reduced and np.dtype(dtype).name == "float32"
    assert_same(answer(kind, X.astype(dtype)), answer(kind, X), 1e-5 if single else RTOL)


@by_estimator
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", ">u2"])
def test_unsigned_dtypes_agree(dtype, kind):
    # Up to the largest uint8, where a difference in the input's dtype would wrap.
    X = np.clip(WHOLE, -60, 60)
    X += 255 - X.max()
    assert_same(answer(kind, X.astype(dtype)), answer(kind, X))


@by_estimator
def test_bool_agrees(kind):
    X = COARSE > 0
    assert_same(answer(kind, X), answer(kind, X.astype(np.float64)))


@by_estimator
def test_lists_of_ints_agree(kind):
    as_lists = WHOLE.astype(int).tolist()
    assert_same(answer(kind, as_lists), answer(kind, WHOLE))


@by_estimator
@pytest.mark.parametrize("dtype", ["f4", "i4", "u1", "?", "f2"])
def test_dtypes_at_scoring_agree(dtype, kind):
    Q = (np.abs(WHOLE) > 4).astype(dtype)
    fitted = fit(kind, WHOLE)
    want = score(fitted, Q.astype(np.float64))
    single = kind.startswith(("components", "norms")) and dtype == "f4"
    assert_same(score(fitted, Q), want, 1e-5 if single else RTOL)


@pytest.mark.parametrize("dtype", ["f2", "f4", "i4", "?"])
def test_outputs_are_float64(dtype):
    X = COARSE.astype(dtype)
    for estimator in (ShrinkageCovariance(), MahalanobisDetector()):
        fitted = estimator.fit(X)
        for value in (
            fitted.mahalanobis(X),
            fitted.score_samples(X),
            fitted.location_,
        ):
            assert value.dtype == np.float64
    detector = MahalanobisDetector().fit(X)
    for value in (detector.decision_function(X), detector.p_values(X)):
        assert value.dtype == np.float64


def test_transform_keeps_float32():
    assert LowVariancePCA().fit(TALL).transform(TALL).dtype == np.float64
    single = TALL.astype(np.float32)
    assert LowVariancePCA().fit(single).transform(single).dtype == np.float32


# ---------------------------------------------------------------------- frames
def pandas_frames(pd, X):
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    mixed = frame.copy()
    mixed["c0"] = mixed["c0"].astype("Float64")
    return {
        "DataFrame": frame,
        "another index": frame.set_index(np.arange(len(X))[::-1] * 3),
        "nullable Float64": frame.astype("Float64"),
        "some nullable": mixed,
        "object columns": frame.astype(object),
        "columns of other blocks": pd.concat([frame[[c]] for c in frame], axis=1),
    }


@by_estimator
@pytest.mark.parametrize(
    "name",
    [
        "DataFrame",
        "another index",
        "nullable Float64",
        "some nullable",
        "object columns",
        "columns of other blocks",
    ],
)
def test_pandas_agrees(name, kind):
    pd = pytest.importorskip("pandas")
    frame = pandas_frames(pd, TALL)[name]
    before = frame.copy(deep=True)
    assert_same(answer(kind, frame), answer(kind, TALL))
    pd.testing.assert_frame_equal(frame, before)


@by_estimator
@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "boolean", "int8", "bool"])
def test_pandas_integers_agree(dtype, kind):
    pd = pytest.importorskip("pandas")
    X = WHOLE > 0 if dtype.startswith("bool") else np.abs(WHOLE)
    frame = pd.DataFrame(X, columns=list("abcd")).astype(dtype)
    assert_same(answer(kind, frame), answer(kind, X.astype(np.float64)))


@by_estimator
@pytest.mark.parametrize(
    "name", ["missing", "words", "categories", "dates", "differences", "complex"]
)
def test_pandas_refused(name, kind):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(TALL, columns=list("abcde"))
    if name == "missing":
        frame = frame.astype("Float64")
        frame.iloc[3, 2] = pd.NA
    else:
        frame["c"] = {
            "words": ["x"] * 40,
            "categories": pd.Categorical(["u", "v"] * 20),
            "dates": pd.date_range("2020-01-01", periods=40),
            "differences": pd.to_timedelta(np.arange(40), unit="s"),
            "complex": TALL[:, 2] + 1j,
        }[name]
    with pytest.raises((ValueError, TypeError)):
        answer(kind, frame)
    fitted = fit(kind, pd.DataFrame(TALL, columns=list("abcde")))
    with pytest.raises((ValueError, TypeError)):
        score(fitted, frame)


@by_estimator
def test_pandas_other_column_names_refused(kind):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(TALL, columns=list("abcde"))
    fitted = fit(kind, frame)
    with pytest.raises(ValueError, match="feature names"):
        score(fitted, frame[list("edcba")])


@by_estimator
def test_polars_agrees(kind):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(TALL, schema=list("abcde"))
    assert_same(answer(kind, frame), answer(kind, TALL))
    whole = pl.DataFrame(WHOLE.astype(np.int32), schema=list("abcd"))
    assert_same(answer(kind, whole), answer(kind, WHOLE))


@by_estimator
def test_polars_refused(kind):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(TALL, schema=list("abcde"))
    words = frame.with_columns(pl.lit("x").alias("c"))
    missing = frame.with_columns(pl.lit(None).cast(pl.Float64).alias("c"))
    for bad in (words, missing):
        with pytest.raises((ValueError, TypeError)):
            answer(kind, bad)


# -------------------------------------------------------------------- refusals
@by_estimator
def test_matrix_refused(kind):
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(TALL)
    with pytest.raises(TypeError, match="matrix"):
        answer(kind, matrix)


@by_estimator
@pytest.mark.parametrize("mask", [False, True])
def test_masked_refused(kind, mask):
    masked = np.ma.array(TALL, mask=np.eye(40, 5, dtype=bool) & mask)
    with pytest.raises((ValueError, TypeError), match=r"[Mm]ask"):
        answer(kind, masked)
    fitted = fit(kind, TALL)
    with pytest.raises((ValueError, TypeError), match=r"[Mm]ask"):
        score(fitted, masked)


# ---------------------------------------------------------- nothing is changed
@by_shape
@by_estimator
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_input_is_not_changed(dtype, order, kind, X):
    X = np.array(X, dtype, order=order)
    before = X.tobytes()
    fitted = fit(kind, X)
    score(fitted, X)
    if hasattr(fitted, "partial_fit"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ESTIMATORS[kind]().partial_fit(X[:12]).partial_fit(X[12:])
    if hasattr(fitted, "recalibrate"):
        fitted.recalibrate(X)
    assert X.tobytes() == before


@by_shape
@by_estimator
def test_outputs_do_not_alias_the_input(kind, X):
    X = X.copy()
    fitted = fit(kind, X)
    want = score(fitted, TALL if X.shape[1] == 5 else WIDE)
    X[...] = np.nan
    assert_same(score(fitted, TALL if X.shape[1] == 5 else WIDE), want)


@by_shape
@by_estimator
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_one_row_alone_is_as_in_the_batch(offset, kind, X):
    X = X + offset
    fitted = fit(kind, X)
    batch = score(fitted, X)
    alone = np.vstack([score(fitted, X[i : i + 1]) for i in range(len(X))])
    assert_same(alone, batch)
    assert_same(score(fitted, X[5:8]), batch[5:8])
    assert_same(score(fitted, X[::-1])[::-1], batch)
