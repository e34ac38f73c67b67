"""Gaussians at places of a grid, against one plain Gaussian for each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from sklearn_gauss._numerics.density import squared_mahalanobis
from sklearn_gauss._numerics.gaussian import estimate, leave_one_out
from sklearn_gauss._numerics.patches.positions import (
    fit_places,
    is_constant,
    mean_variances,
    shapes,
)
from sklearn_gauss._numerics.patches.reduction import (
    ReducedMaps,
    projection,
    selection,
)
from sklearn_gauss._numerics.patches.shared import fit_shared
from sklearn_gauss._numerics.sums import summarise

steady = settings(deadline=None, max_examples=15, derandomize=True)
RULES = ["ledoit_wolf", "oas", "rblw", 0.1, 1.0]
RIDGES = [0.0, 0.3]
by_rule = pytest.mark.parametrize("rule", RULES)
by_ridge = pytest.mark.parametrize("ridge", RIDGES)
by_size = pytest.mark.parametrize(
    ("n", "C"), [(6, 11), (7, 7), (8, 7), (9, 7), (30, 4)], ids=str
)


# -------------------------------------------------------------- the slow references
def _oas(S, n):
    p = len(S)
    above = (1 - 2 / p) * np.trace(S @ S) + np.trace(S) ** 2
    return above, (n + 1 - 2 / p) * (np.trace(S @ S) - np.trace(S) ** 2 / p)


def _rblw(S, n):
    above = (n - 2) / n * np.trace(S @ S) + np.trace(S) ** 2
    return above, (n + 2) * (np.trace(S @ S) - np.trace(S) ** 2 / len(S))


def intensity_of(Z, rule):
    """Intensity for rows about their mean, which is zero."""
    if not isinstance(rule, str):
        return rule
    if rule == "ledoit_wolf":
        return ledoit_wolf(Z, assume_centered=True)[1]
    S = Z.T @ Z / len(Z)
    above, below = {"oas": _oas, "rblw": _rblw}[rule](S, len(Z))
    return min(above / below, 1.0) if Z.shape[1] > 1 else 0.0


def shrunk(S, amount, ridge):
    p = len(S)
    return (1 - amount) * S + (amount * np.trace(S) / p + ridge) * np.eye(p)


def distances(rows, covariance):
    return np.einsum("ij,ij->i", rows, np.linalg.solve(covariance, rows.T).T)


def plain(X, Q, rule, ridge):
    """Squared distances of rows Q to the Gaussian of rows X, and the intensity."""
    mean = X.mean(axis=0)
    amount = intensity_of(X - mean, rule)
    S = np.cov(X, rowvar=False, bias=True).reshape(X.shape[1], X.shape[1])
    return distances(Q - mean, shrunk(S, amount, ridge)), amount


def refitted(X, rule, ridge, rows=None):
    """Squared distance of every row to the Gaussian of the others."""
    rows = range(len(X)) if rows is None else rows
    return [plain(np.delete(X, i, axis=0), X[i : i + 1], rule, ridge)[0][0] for i in rows]


def pooled(maps, queries, rule, ridge):
    """Squared distances (n, P) under one covariance of residuals, and its intensity."""
    mean, C = maps.mean(axis=0), maps.shape[2]
    Z = (maps - mean).reshape(-1, C)
    amount = intensity_of(Z, rule)
    covariance = shrunk(Z.T @ Z / len(Z), amount, ridge)
    squares = distances((queries - mean).reshape(-1, C), covariance)
    return squares.reshape(queries.shape[:2]), amount


# --------------------------------------------------------------------- what is tested
def whole(maps):
    return ReducedMaps(maps, lambda patches: patches)


def fit(maps, rule="ledoit_wolf", ridge=0.0, **options):
    options.setdefault("allocate", lambda name, shape: np.zeros(shape))
    return fit_places(whole(maps), rule, ridge, **options)


def share(maps, rule="ledoit_wolf", ridge=0.0, **options):
    return fit_shared(whole(maps), rule, ridge, **options)


by_fit = pytest.mark.parametrize("fitting", [fit, share], ids=["places", "shared"])


def drawn(n, P, C, seed=0, decades=0.7):
    """Maps whose places differ in mean, in covariance and a little in size."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(P, C, C)) * np.logspace(0, -decades, C)[:, None]
    noise = np.einsum("npc,pcd->npd", rng.normal(size=(n, P, C)), mix)
    return noise * rng.uniform(0.5, 2, (P, 1)) + 3 * rng.normal(size=(P, C))


@st.composite
def some_maps(draw):
    n, P = draw(st.integers(4, 12)), draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    return drawn(n, P, draw(st.integers(1, 14)), seed, draw(st.floats(0, 1)))


def queries(maps, size=1.0):
    rng = np.random.default_rng(9)
    return maps[:3] + size * rng.normal(size=maps[:3].shape)


# ------------------------------------------------------------------ a Gaussian a place
def check_places(maps, rule, ridge):
    found, Q = fit(maps, rule, ridge), queries(maps)
    got = found.places.squared_distances(Q)
    assert got.shape == Q.shape[:2]
    assert found.squares.shape == maps.shape[:2]
    for p in range(maps.shape[1]):
        want, amount = plain(maps[:, p], Q[:, p], rule, ridge)
        np.testing.assert_allclose(got[:, p], want, rtol=1e-9)
        if maps.shape[2] > 1:
            assert found.intensities[p] == pytest.approx(amount, rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(
            found.squares[:, p], refitted(maps[:, p], rule, ridge), rtol=1e-8
        )
    assert (found.ranks == maps.shape[2]).all()


@by_rule
@by_ridge
@by_size
def test_a_place_has_the_gaussian_of_its_patches(n, C, ridge, rule):
    check_places(drawn(n, 2, C), rule, ridge)


@by_rule
@by_ridge
@steady
@given(maps=some_maps())
def test_a_place_has_the_gaussian_of_its_patches_whatever_the_shape(rule, ridge, maps):
    check_places(maps, rule, ridge)


@pytest.mark.parametrize("ridge", [1e-3, 0.3, 30.0])
@by_size
def test_a_ridge_alone(n, C, ridge):
    check_places(drawn(n, 2, C), 0.0, ridge)


def test_without_shrinkage():
    maps = drawn(20, 3, 6)
    check_places(maps, 0.0, 0.0)


@pytest.mark.parametrize(("n", "C"), [(5, 9), (7, 7), (8, 7)], ids=str)
def test_without_shrinkage_few_images_leave_no_distance_behind(n, C):
    maps = drawn(n, 2, C)
    found = fit(maps, 0.0)
    assert (found.ranks == n - 1).all()
    assert np.isinf(found.squares).all()
    Q = queries(maps)
    for p in range(2):
        X = maps[:, p]
        S = np.cov(X, rowvar=False, bias=True)
        Z = Q[:, p] - X.mean(axis=0)
        inverse = np.linalg.pinv(S, rcond=1e-12, hermitian=True)
        want = np.einsum("ij,jk,ik->i", Z, inverse, Z)
        np.testing.assert_allclose(
            found.places.squared_distances(Q)[:, p], want, rtol=1e-6
        )


def test_an_image_that_alone_spans_a_direction_is_infinitely_far():
    maps = drawn(20, 2, 5)
    maps[:, 1, 0] = 0.0
    maps[3, 1, 0] = 2.0
    found = fit(maps, 0.0)
    assert np.argwhere(np.isinf(found.squares)).tolist() == [[3, 1]]


def test_left_out_distances_of_an_outlying_image():
    maps = drawn(12, 2, 5)
    maps[3] *= 1e6
    found = fit(maps, 0.1)
    for p in range(2):
        np.testing.assert_allclose(
            found.squares[:, p], refitted(maps[:, p], 0.1, 0.0), rtol=1e-7
        )


# ----------------------------------------------------------------- one covariance
def check_shared(maps, rule, ridge):
    found, Q = share(maps, rule, ridge), queries(maps)
    want, amount = pooled(maps, Q, rule, ridge)
    np.testing.assert_allclose(found.places.squared_distances(Q), want, rtol=1e-9)
    if maps.shape[2] > 1:
        assert found.intensities == pytest.approx(amount, rel=1e-9, abs=1e-12)
    kept = found.intensities  # of all images, as documented
    want = [
        pooled(np.delete(maps, i, axis=0), maps[i : i + 1], kept, ridge)[0][0]
        for i in range(len(maps))
    ]
    np.testing.assert_allclose(found.squares, want, rtol=1e-8)


@by_rule
@by_ridge
@by_size
def test_the_shared_covariance_is_that_of_pooled_residuals(n, C, ridge, rule):
    check_shared(drawn(n, 3, C), rule, ridge)


@by_rule
@by_ridge
@steady
@given(maps=some_maps())
def test_the_shared_covariance_whatever_the_shape(rule, ridge, maps):
    check_shared(maps, rule, ridge)


def test_the_shared_covariance_without_shrinkage():
    check_shared(drawn(6, 9, 8), 0.0, 0.0)
    check_shared(drawn(5, 1, 8), 0.0, 1e-2)


def test_two_images_are_enough_for_distances():
    maps = drawn(2, 9, 4)
    for fitting in (fit, share):
        found = fitting(maps, 0.2)
        assert np.isfinite(found.places.squared_distances(maps)).all()
        assert (found.squares > 0).all()


def test_shared_left_out_distances_of_an_outlying_image():
    maps = drawn(12, 4, 5)
    maps[3] *= 1e6
    check_shared(maps, 0.1, 0.0)


def test_shared_an_image_that_alone_spans_a_direction_is_infinitely_far():
    maps = drawn(20, 4, 5)
    maps[:, :, 0] = 0.0
    maps[3, 1, 0] = 2.0
    found = share(maps, 0.0)
    assert np.argwhere(np.isinf(found.squares)).tolist() == [[3, 1]]


# --------------------------------------------------------------------- constant places
@pytest.mark.parametrize("n", [6, 20], ids=["n < C", "n > C"])
@by_rule
def test_a_constant_place_has_the_mean_variance(rule, n):
    maps = drawn(n, 3, 8)
    maps[:, 1] = maps[0, 1]
    found = fit(maps, rule)
    variance = np.mean([maps[:, p].var(axis=0) for p in range(3)])
    every, without = mean_variances(whole(maps))
    np.testing.assert_allclose(every, variance)
    others = [np.delete(maps, i, axis=0).var(axis=0).mean() for i in range(n)]
    np.testing.assert_allclose(without, others, rtol=1e-9)
    gaps = queries(maps)[:, 1] - maps[0, 1]
    np.testing.assert_allclose(
        found.places.squared_distances(queries(maps))[:, 1],
        (gaps**2).sum(axis=1) / variance,
    )
    np.testing.assert_array_equal(found.squares[:, 1], 0.0)
    assert found.intensities[1] == 0
    assert found.ranks[1] == 8
    alone = fit(maps[:, [0, 2]], rule)
    np.testing.assert_array_equal(found.squares[:, [0, 2]], alone.squares)


@pytest.mark.parametrize("n", [6, 20], ids=["n < C", "n > C"])
@pytest.mark.parametrize("rule", ["ledoit_wolf", 0.0])
def test_a_constant_place_has_the_ridge(rule, n):
    maps = drawn(n, 2, 8)
    maps[:, 1] = maps[0, 1]
    gaps = queries(maps)[:, 1] - maps[0, 1]
    np.testing.assert_allclose(
        fit(maps, rule, 0.25).places.squared_distances(queries(maps))[:, 1],
        (gaps**2).sum(axis=1) / 0.25,
    )


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("n", [3, 6, 20])
@pytest.mark.parametrize("rule", ["ledoit_wolf", "oas", "rblw", 0.1])
def test_a_place_constant_but_for_one_image(rule, n, ridge):
    """The odd image's distance is the one under what constant places have."""
    maps = drawn(n, 2, 8)
    maps[:, 1] = maps[0, 1]
    maps[2, 1] += np.arange(1.0, 9.0)
    found = fit(maps, rule, ridge)
    fallback = ridge or np.delete(maps, 2, axis=0).var(axis=0).mean()
    assert found.squares[2, 1] == pytest.approx(204 / fallback)
    if n > 3:  # of two images Ledoit and Wolf's intensity is 0
        rest = np.delete(np.arange(n), 2)
        want = refitted(maps[:, 1], rule, ridge, rest)
        np.testing.assert_allclose(found.squares[rest, 1], want, rtol=1e-7)


def test_whether_all_is_constant():
    maps = np.ones((4, 3, 2)) * np.arange(3)[:, None]
    assert is_constant(whole(maps))
    maps[2, 1, 1] += 1e-9
    assert not is_constant(whole(maps))


# ------------------------------------------------------------- offsets, scales and types
def on_a_grid(n, P=3, C=5):
    """Maps of few bits, to which 1e8 adds without rounding."""
    return np.round(drawn(n, P, C) * 64) / 64


@by_fit
@pytest.mark.parametrize("n", [4, 25], ids=["n < C", "n > C"])
@pytest.mark.parametrize("rule", ["ledoit_wolf", "oas", 0.2])
@pytest.mark.parametrize("offset", [1e8, -(2.0**40)])
def test_offsets_cost_no_digits(fitting, n, rule, offset):
    maps = on_a_grid(n)
    near, far = fitting(maps, rule), fitting(maps + offset, rule)
    np.testing.assert_allclose(far.squares, near.squares, rtol=1e-9)
    np.testing.assert_allclose(far.intensities, near.intensities, rtol=1e-9)
    np.testing.assert_allclose(
        far.places.squared_distances(maps[:3] + offset),
        near.places.squared_distances(maps[:3]),
        rtol=1e-9,
    )


@by_fit
@pytest.mark.parametrize("n", [4, 25], ids=["n < C", "n > C"])
@pytest.mark.parametrize("rule", ["ledoit_wolf", "rblw", 0.2])
@pytest.mark.parametrize("exponent", [-498, -160, -70, 70, 160, 498])
def test_units_do_not_matter(fitting, n, rule, exponent):
    maps, unit = drawn(n, 3, 5), 2.0**exponent
    plain, scaled = fitting(maps, rule), fitting(maps * unit, rule)
    np.testing.assert_allclose(scaled.squares, plain.squares, rtol=1e-9)
    np.testing.assert_allclose(
        scaled.places.squared_distances(queries(maps) * unit),
        plain.places.squared_distances(queries(maps)),
        rtol=1e-9,
    )


@by_fit
@pytest.mark.parametrize("exponent", [-160, -40, 40, 160])
def test_the_ridge_has_squared_units(fitting, exponent):
    maps, unit = drawn(6, 3, 8), 2.0**exponent
    plain = fitting(maps, "ledoit_wolf", 0.1)
    scaled = fitting(maps * unit, "ledoit_wolf", 0.1 * unit**2)
    np.testing.assert_allclose(scaled.squares, plain.squares, rtol=1e-9)


def test_places_may_be_of_any_size_side_by_side():
    maps = drawn(12, 4, 5)
    units = np.array([1e-120, 1e-3, 1.0, 1e120])[:, None]
    got, want = fit(maps * units), fit(maps)
    np.testing.assert_allclose(got.squares, want.squares, rtol=1e-9)
    np.testing.assert_allclose(
        got.places.squared_distances(queries(maps) * units),
        want.places.squared_distances(queries(maps)),
        rtol=1e-9,
    )


@by_fit
@pytest.mark.parametrize("n", [4, 25], ids=["n < C", "n > C"])
def test_float32_maps_are_estimated_in_float64(fitting, n):
    maps = drawn(n, 3, 5).astype(np.float32)
    got, want = fitting(maps), fitting(maps.astype(np.float64))
    np.testing.assert_allclose(got.squares, want.squares, rtol=1e-12)
    np.testing.assert_allclose(
        got.places.squared_distances(maps[:2]),
        want.places.squared_distances(maps[:2].astype(np.float64)),
        rtol=1e-12,
    )


@pytest.mark.parametrize("n", [4, 25], ids=["n < C", "n > C"])
def test_axes_may_be_kept_in_float32(n):
    maps = drawn(n, 3, 5)

    def allocate(name, shape):
        return np.zeros(shape, np.float32 if name == "axes" else np.float64)

    got, want = fit(maps, allocate=allocate), fit(maps)
    assert got.places.axes.dtype == np.float32
    np.testing.assert_array_equal(got.squares, want.squares)
    squares = got.places.squared_distances(queries(maps))
    assert squares.dtype == np.float64
    np.testing.assert_allclose(
        squares, want.places.squared_distances(queries(maps)), rtol=1e-4
    )


# ---------------------------------------------------------------- how it is computed
@by_fit
@pytest.mark.parametrize("n", [5, 20], ids=["n < C", "n > C"])
def test_threads_change_nothing(fitting, n):
    maps = drawn(n, 7, 8)
    one, two = fitting(maps, n_threads=1), fitting(maps, n_threads=2)
    np.testing.assert_array_equal(one.squares, two.squares)
    for name, array in vars(one.places).items():
        np.testing.assert_array_equal(array, vars(two.places)[name])


@by_fit
def test_left_out_distances_only_where_they_are_wanted(fitting):
    maps = drawn(8, 3, 5)
    without = fitting(maps, left_out=False)
    assert without.squares is None
    np.testing.assert_array_equal(
        without.places.squared_distances(maps),
        fitting(maps).places.squared_distances(maps),
    )


@pytest.mark.parametrize("n", [5, 9, 30], ids=["n < C", "n = C + 1", "n > C"])
@pytest.mark.parametrize(("rule", "ridge"), [("oas", 0.0), (0.0, 0.0), (0, 0.1)])
def test_arrays_have_the_announced_shapes(n, rule, ridge):
    asked = {}

    def allocate(name, shape):
        asked[name] = tuple(shape)
        return np.zeros(shape)

    found = fit(drawn(n, 3, 8), rule, ridge, allocate=allocate)
    assert asked == shapes(n, 3, 8, rule, ridge)
    arrays = {k: v.shape for k, v in vars(found.places).items() if v is not None}
    assert arrays == asked
    low_rank = n <= 8 and bool(rule or ridge)
    assert ("noise" in asked) == low_rank
    assert asked["axes"] == (3, 8, n - 1 if low_rank else 8)


def test_maps_are_scored_by_blocks_of_places():
    maps = drawn(6, 40, 4)
    found = fit(maps)
    many = np.tile(maps, (1000, 1, 1))
    np.testing.assert_allclose(
        found.places.squared_distances(many)[:6],
        found.places.squared_distances(maps),
        rtol=1e-12,
    )


def test_inputs_are_only_read():
    maps = drawn(6, 3, 8)
    maps.setflags(write=False)
    before = maps.copy()
    for fitting in (fit, share):
        fitting(maps).places.squared_distances(maps)
    np.testing.assert_array_equal(maps, before)


# ---------------------------------------------------------------------- the reduction
@steady
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_channels_are_drawn_without_replacement(n_channels, n_kept, seed):
    n_kept = min(n_kept, n_channels)
    kept = selection(n_channels, n_kept, np.random.RandomState(seed))
    assert len(kept) == n_kept == len(set(kept.tolist()))
    assert (np.sort(kept) == kept).all()
    assert set(kept.tolist()) <= set(range(n_channels))


@steady
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_directions_are_orthonormal(n_channels, n_kept, seed):
    n_kept = min(n_kept, n_channels)
    basis = projection(n_channels, n_kept, np.random.RandomState(seed))
    np.testing.assert_allclose(basis.T @ basis, np.eye(n_kept), atol=1e-12)


def test_directions_point_anywhere():
    """The QR decomposition alone would leave the signs of the diagonal to LAPACK."""
    rng = np.random.RandomState(0)
    first = np.array([projection(4, 2, rng)[0, 0] for _ in range(400)])
    assert abs(np.mean(first > 0) - 0.5) < 0.1
    assert abs(np.mean(first**2) - 0.25) < 0.05


@by_fit
def test_maps_are_reduced_where_they_are_looked_at(fitting):
    maps = drawn(9, 4, 6)
    some = ReducedMaps(maps, lambda patches: patches[..., [1, 4]])
    assert some.shape == (9, 4, 2)
    np.testing.assert_array_equal(some.at_place(2), maps[:, 2][:, [1, 4]])
    np.testing.assert_array_equal(some.of_image(2), maps[2][:, [1, 4]])
    run = {fit: fit_places, share: fit_shared}[fitting]
    options = {"allocate": lambda name, shape: np.zeros(shape)} if fitting is fit else {}
    found = run(some, "oas", 0.0, **options)
    np.testing.assert_array_equal(found[1], fitting(maps[..., [1, 4]], "oas").squares)


# ------------------------------------------------------- the ridge of one Gaussian alone
@pytest.mark.parametrize("centred", [True, False], ids=["mean estimated", "mean known"])
@pytest.mark.parametrize("ridge", [1e-4, 0.3, 100.0])
@pytest.mark.parametrize("rule", ["ledoit_wolf", "oas", "rblw", 0.0, 0.1, 1.0])
@pytest.mark.parametrize(("n", "p"), [(6, 11), (7, 7), (8, 7), (25, 4)], ids=str)
def test_left_out_with_a_ridge_is_n_refits(n, p, rule, ridge, centred):
    X = drawn(n, 1, p, seed=2)[:, 0]
    squares, densities = [], []
    for i in range(n):
        rest = np.delete(X, i, axis=0)
        mean = rest.mean(axis=0) if centred else np.zeros(p)
        Z = rest - mean
        covariance = shrunk(Z.T @ Z / len(Z), intensity_of(Z, rule), ridge)
        squares.append(distances((X[i] - mean)[None], covariance)[0])
        logdet = np.linalg.slogdet(covariance)[1]
        densities.append(-0.5 * (p * np.log(2 * np.pi) + logdet + squares[-1]))
    for options in ({}, {"dense": True}, {"dense": True, "solver": "lowrank"}):
        solver = options.pop("solver", "auto")
        sums = summarise(
            X, centred=centred, by_column=False, **{"dense": False} | options
        )
        model = estimate(sums, rule, solver=solver, ridge=ridge)
        found = leave_one_out(sums, model, rule, X, ridge=ridge)
        np.testing.assert_allclose(found.squares, squares, rtol=1e-8)
        np.testing.assert_allclose(found.densities, densities, rtol=1e-8)
        mean = X.mean(axis=0) if centred else np.zeros(p)
        Z = X - mean
        covariance = shrunk(Z.T @ Z / n, intensity_of(Z, rule), ridge)
        got = squared_mahalanobis(X + 1, model.centre, model.covariance)
        np.testing.assert_allclose(got, distances(Z + 1, covariance), rtol=1e-9)
        np.testing.assert_allclose(
            model.covariance.logdet, np.linalg.slogdet(covariance)[1], rtol=1e-9
        )


@pytest.mark.parametrize("exponent", [-300, -80, 80, 300])
@pytest.mark.parametrize("rule", ["ledoit_wolf", 0.0])
@pytest.mark.parametrize(("n", "p"), [(6, 9), (25, 4)], ids=str)
def test_a_ridge_in_the_units_of_a_rescaled_frame(n, p, rule, exponent):
    X, unit = drawn(n, 1, p)[:, 0], 2.0**exponent
    found = []
    for factor in (1.0, unit):
        sums = summarise(X * factor, centred=True, dense=False, by_column=False)
        ridge = 0.3 * factor**2
        model = estimate(sums, rule, ridge=ridge)
        found.append(leave_one_out(sums, model, rule, X * factor, ridge=ridge).squares)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


def test_no_ridge_changes_nothing():
    X = drawn(20, 1, 6)[:, 0]
    sums = summarise(X, centred=True, dense=False, by_column=False)
    for rule in ("ledoit_wolf", 0.0):
        model = estimate(sums, rule)
        same = estimate(sums, rule, ridge=0.0)
        np.testing.assert_array_equal(model.covariance.factor, same.covariance.factor)
