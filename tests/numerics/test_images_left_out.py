"""Patches under the density without their image, and what chooses reference patches."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf

from sklearn_gauss._numerics.kernel.density import Effort, KernelDensity
from sklearn_gauss._numerics.kernel.rescaling import RESCALINGS
from sklearn_gauss._numerics.patches.coreset import farthest_first
from sklearn_gauss._numerics.patches.images_left_out import (
    image_bandwidth,
    left_out_images,
)
from sklearn_gauss._numerics.patches.reduction import ReducedMaps

steady = settings(deadline=None, max_examples=25, derandomize=True)
WHITENINGS = ["none", "diagonal", "ledoit_wolf"]
by_whiten = pytest.mark.parametrize("whiten", WHITENINGS)


def left_out(density, maps, images, n_threads):
    """Where reference rows stand for themselves alone."""
    shares = sparse.csc_array((len(images), len(maps.maps)))
    return left_out_images(density, maps, images, shares, n_threads)


def drawn(n, P, C, seed=0):
    """Maps whose images differ from each other, their channels correlated."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(C, C)) * np.logspace(0, -0.7, C)
    return (rng.normal(size=(n, P, C)) + rng.normal(size=(n, 1, C))) @ mix


def picked(maps, count, seed=1):
    """Rows from the maps, their images, and weights that are no whole numbers."""
    rng = np.random.default_rng(seed)
    n, P, C = maps.shape
    place = np.sort(rng.permutation(n * P)[:count])
    return maps.reshape(-1, C)[place], place // P, rng.uniform(0.5, 4.0, len(place))


# ----------------------------------------------------------------- the slow reference
def metric(patches, whiten, amount):
    """Covariance that distances are over, the columns that vary; None of the data's."""
    if whiten == "none":
        return None
    S = np.atleast_2d(np.cov(patches, rowvar=False, bias=True))
    if whiten == "diagonal":
        return np.diag(np.var(patches, axis=0))
    return (1 - amount) * S + amount * np.trace(S) / len(S) * np.eye(len(S))


def squares_to(queries, rows, covariance):
    gaps = queries[:, None] - rows
    if covariance is None:
        return (gaps**2).sum(axis=2)
    whitened = np.linalg.solve(
        np.linalg.cholesky(covariance), gaps.reshape(-1, len(covariance)).T
    )
    return (whitened**2).sum(axis=0).reshape(gaps.shape[:2])


def refitted(maps, rows, images, weights, h, whiten):
    """Log-densities (n, P): all is estimated again but intensity, h and volume."""
    n, P, C = maps.shape
    patches = maps.reshape(-1, C)
    amount = ledoit_wolf(patches)[1] if whiten == "ledoit_wolf" else 0.0
    whole = metric(patches, whiten, amount)
    volume = 0.0 if whole is None else np.linalg.slogdet(whole)[1] / 2
    constant = -C / 2 * np.log(2 * np.pi) - C * np.log(h) - volume
    logs = np.full((n, P), -np.inf)
    for i in range(n):
        others, kept = np.delete(maps, i, axis=0).reshape(-1, C), images != i
        if kept.any():
            squares = squares_to(maps[i], rows[kept], metric(others, whiten, amount))
            sums = logsumexp(-squares / (2 * h**2), axis=1, b=weights[kept])
            logs[i] = sums - np.log(weights[kept].sum()) + constant
    return logs


# --------------------------------------------------------------------- what is tested
def whole(maps):
    return ReducedMaps(maps, lambda patches: patches)


def density_of(maps, rows, weights, h, whiten):
    patches = maps.reshape(-1, maps.shape[2])
    rescaling = RESCALINGS[whiten](patches, np.ones(len(patches)))
    return KernelDensity(
        rows,
        weights,
        rescaling,
        float(weights.sum()),
        np.inf,
        "gaussian",
        h / rescaling.unit,
        np.float64,
        Effort(1),
    )


def check(maps, rows, images, weights, h, whiten, rtol=1e-9):
    density = density_of(maps, rows, weights, h, whiten)
    found = left_out(density, whole(maps), images, 1)
    want = refitted(maps, rows, images, weights, h, whiten)
    assert found.shape == maps.shape[:2]
    np.testing.assert_allclose(found, want, rtol=rtol, atol=rtol)
    return found


# ------------------------------------------------------------------- images left out
@by_whiten
@pytest.mark.parametrize("h", [0.05, 0.7, 20.0])
@pytest.mark.parametrize(
    ("n", "P", "C"), [(2, 9, 3), (3, 4, 5), (3, 2, 9), (9, 6, 4), (12, 1, 1)], ids=str
)
def test_an_image_leaves_rows_and_metric(n, P, C, h, whiten):
    maps = drawn(n, P, C)
    if whiten == "diagonal" and (n - 1) * P < 2:
        pytest.skip("one patch has no variance")
    check(maps, *picked(maps, n * P), h, whiten)
    check(maps, *picked(maps, max(n * P // 2, 1)), h, whiten)


@by_whiten
@steady
@given(
    n=st.integers(2, 8),
    P=st.integers(2, 6),
    C=st.integers(1, 8),
    count=st.integers(1, 48),
    log_h=st.floats(-2, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_image_leaves_whatever_the_shape(n, P, C, count, log_h, seed, whiten):
    maps = drawn(n, P, C, seed)
    check(maps, *picked(maps, min(count, n * P), seed), np.exp(log_h), whiten, 1e-7)


@by_whiten
def test_rows_that_several_images_have_stay(whiten):
    maps = drawn(6, 5, 3)
    rows, images, weights = picked(maps, 20)
    images[::3] = -1
    found = check(maps, rows, images, weights, 0.5, whiten)
    np.testing.assert_array_less(-np.inf, found)
    images[:] = -1
    check(maps, rows, images, weights, 0.5, whiten)


@by_whiten
def test_images_without_a_row_of_their_own(whiten):
    maps = drawn(6, 5, 3)
    rows, _, weights = picked(maps[:2], 7)
    images = np.repeat([0, 1], [3, 4])
    check(maps, rows, images, weights, 0.5, whiten)


@by_whiten
def test_no_row_is_left(whiten):
    """All rows are those of one image, or there is one row."""
    maps = drawn(4, 5, 3)
    for count in (1, 5):
        rows, weights = maps[2, :count], np.arange(1.0, count + 1)
        found = check(maps, rows, np.full(count, 2), weights, 0.5, whiten)
        assert np.isneginf(found).all(axis=1).tolist() == [False, False, True, False]


@by_whiten
def test_weights_count_as_repeated_rows(whiten):
    maps = drawn(5, 4, 3)
    rows, images, _ = picked(maps, 12)
    counts = np.random.default_rng(3).integers(1, 5, 12)
    density = density_of(maps, rows, counts.astype(float), 0.6, whiten)
    found = left_out(density, whole(maps), images, 1)
    several = [np.repeat(one, counts, axis=0) for one in (rows, images)]
    density = replace(density, rows=several[0], weights=np.ones(counts.sum()))
    want = left_out(density, whole(maps), several[1], 1)
    np.testing.assert_allclose(found, want, rtol=1e-12)


@by_whiten
@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_images_far_from_zero(offset, n, whiten):
    maps = drawn(n, 4, 3) + offset * np.array([1.0, -0.7, 0.3])
    check(maps, *picked(maps, 3 * n), 0.6, whiten, 1e-8)


@by_whiten
@pytest.mark.parametrize("scale", [2.0**-40, 1e30, np.logspace(-8, 8, 3)], ids=str)
def test_images_of_any_unit(scale, whiten):
    if np.ndim(scale) and whiten == "ledoit_wolf":
        pytest.skip("shrinkage hides the small channels")
    maps = drawn(7, 4, 3) * scale
    h = 0.6 * np.min(scale) if whiten == "none" else 0.6
    check(maps, *picked(maps, 20), h, whiten)


@by_whiten
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_an_outlying_image(size, whiten):
    maps = drawn(10, 4, 3)
    maps[4] += size
    check(maps, *picked(maps, 40), 0.6, whiten, 1e-7)


@by_whiten
@pytest.mark.parametrize("size", [1e6, 1e9, 1e12])
def test_an_outlying_image_costs_the_others_nothing(size, whiten):
    maps = drawn(10, 4, 3)
    maps[4] += size
    rows, images, weights = picked(maps, 40)
    density = density_of(maps, rows, weights, 0.6, whiten)
    found = left_out(density, whole(maps), images, 1)
    want = refitted(maps, rows, images, weights, 0.6, whiten)
    others = np.arange(10) != 4
    np.testing.assert_allclose(found[others], want[others], rtol=1e-6)
    assert found[4].max() < -1e10


def test_a_channel_that_one_image_alone_varies_in():
    """Without it the others have no spread there, and nothing tells how far it is."""
    maps = drawn(5, 4, 3)
    maps[:, :, 1] = 0.0
    maps[3, :2, 1] = 1.0, 2.0
    density = density_of(maps, *picked(maps, 20)[::2], 0.6, "diagonal")
    found = left_out(density, whole(maps), picked(maps, 20)[1], 1)
    assert np.isneginf(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_a_channel_that_does_not_vary():
    maps = drawn(6, 4, 3)
    maps[:, :, 1] = 7.0
    rows, images, weights = picked(maps, 20)
    density = density_of(maps, rows, weights, 0.6, "diagonal")
    found = left_out(density, whole(maps), images, 1)
    kept = [0, 2]
    want = refitted(maps[..., kept], rows[:, kept], images, weights, 0.6, "diagonal")
    np.testing.assert_allclose(found, want, rtol=1e-9)


@by_whiten
def test_threads_do_not_change_the_numbers(whiten):
    maps = drawn(9, 6, 4)
    rows, images, weights = picked(maps, 30)
    density = density_of(maps, rows, weights, 0.6, whiten)
    one, three = (left_out(density, whole(maps), images, t) for t in (1, 3))
    np.testing.assert_array_equal(one, three)


@by_whiten
def test_weights_that_an_image_has_added_to_leave_with_it(whiten):
    """A reference row of which several images have copies."""
    maps = drawn(6, 5, 3)
    maps[:4, 0] = maps[0, 0]
    rows = np.concatenate([maps[:1, 0], maps[:, 2]])
    images = np.array([-1, *range(6)])
    weights = np.array([4.0, *np.ones(6)])
    shares = sparse.csc_array(np.vstack([[1.0] * 4 + [0.0] * 2, np.eye(6)]))
    density = density_of(maps, rows, weights, 0.6, whiten)
    found = left_out_images(density, whole(maps), images, shares, 1)
    for i in range(6):
        weights[0] = 3.0 if i < 4 else 4.0
        want = refitted(maps, rows, images, weights, 0.6, whiten)
        np.testing.assert_allclose(found[i], want[i], rtol=1e-9)


@by_whiten
def test_maps_are_reduced_when_they_are_looked_at(whiten):
    maps = drawn(6, 5, 8)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0]
    rows, images, weights = picked(maps @ basis, 20)
    density = density_of(maps @ basis, rows, weights, 0.6, whiten)
    found = left_out(
        density, ReducedMaps(maps, lambda patches: patches @ basis), images, 1
    )
    want = refitted(maps @ basis, rows, images, weights, 0.6, whiten)
    np.testing.assert_allclose(found, want, rtol=1e-9)


# ----------------------------------------------------------------- reduced maps
def test_reduced_maps_reduce_what_is_asked_for():
    maps, looked_at = drawn(5, 6, 4), []

    def reduce(patches):
        looked_at.append(patches.shape)
        return patches[:, :2] * 2

    reduced = ReducedMaps(maps, reduce)
    assert reduced.shape == (5, 6, 2)
    looked_at.clear()
    np.testing.assert_array_equal(reduced.of_image(3), maps[3, :, :2] * 2)
    np.testing.assert_array_equal(reduced.at_place(4), maps[:, 4, :2] * 2)
    assert looked_at == [(6, 4), (5, 4)]
    assert reduced.at_place(4).flags.c_contiguous


# ----------------------------------------------------------------- the bandwidth
def likelihood(patches, images, others, images_of_others, weights):
    """Of h: mean log-density of patches of which another image has some; directly."""
    squares, logs = [], []
    for x, image in zip(patches, images, strict=True):
        kept = images_of_others != image
        if kept.any():
            squares.append(((x - others[kept]) ** 2).sum(axis=1))
            logs.append(np.log(weights[kept] / weights[kept].sum()))
    d = patches.shape[1]

    def of(h):
        terms = [w - r / (2 * h**2) for r, w in zip(squares, logs, strict=True)]
        return np.mean([logsumexp(t) for t in terms]) - d / 2 * np.log(2 * np.pi * h**2)

    return of


def check_bandwidth(*parts):
    """The maximum, as far as a grid of four decades and a fine one can tell."""
    found, of = image_bandwidth(*parts, parts[0].shape[1]), likelihood(*parts)
    best = max(of(h) for h in np.geomspace(found / 100, found * 100, 41))
    assert of(found) > best - 1e-9
    fine = found * np.geomspace(0.98, 1.02, 5)
    assert abs(np.argmax([of(h) for h in fine]) - 2) <= 1
    return found


def places(n, P, d, seed=0):
    rng = np.random.default_rng(seed)
    images = np.repeat(np.arange(n), P)
    return rng.normal(size=(n * P, d)) + rng.normal(size=(n, d))[images], images


@pytest.mark.parametrize("d", [2, 3, 20, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_bandwidth_is_the_most_likely_one(d, weighted):
    rows, images = places(10, 6, d)
    weights = np.random.default_rng(1).uniform(0.1, 5, 60) if weighted else np.ones(60)
    some = slice(None, None, 2)
    check_bandwidth(rows[some], images[some], rows, images, weights)
    check_bandwidth(rows, images, rows[some], images[some], weights[some])


@pytest.mark.parametrize("n", [2, 3])
def test_the_bandwidth_of_few_images(n):
    rows, images = places(n, 8, 2)
    check_bandwidth(rows, images, rows, images, np.ones(len(rows)))


def test_a_bandwidth_from_one_other_row():
    """h^2 = r^2 / d of two rows at the distance r."""
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    found = image_bandwidth(rows, np.arange(2), rows, np.arange(2), np.ones(2), 2)
    assert found == pytest.approx(5 / np.sqrt(2), rel=1e-5)


def test_the_bandwidth_of_many_channels():
    rows, images = places(20, 2, 1000)
    check_bandwidth(rows, images, rows, images, np.ones(40))


def test_the_bandwidth_of_one_channel():
    """Where the nearest of many rows is nearer than a density varies."""
    rows, images = places(10, 6, 1)
    check_bandwidth(rows, images, rows, images, np.ones(60))


def test_the_bandwidth_of_images_with_an_even_background():
    """Most patches are near to others, and the rest decides."""
    rows, images = places(20, 10, 10)
    rows[np.random.default_rng(1).random(200) < 0.7] *= 1e-3
    check_bandwidth(rows, images, rows, images, np.ones(200))


def test_the_bandwidth_does_not_look_at_the_patches_own_image():
    """Patches of an image are copies of each other, but for a little."""
    rows, images = places(8, 1, 3)
    rows, images = np.repeat(rows, 6, axis=0), np.repeat(images, 6)
    rows += 1e-9 * np.random.default_rng(0).normal(size=rows.shape)
    found = check_bandwidth(rows, images, rows, images, np.ones(48))
    assert found > 0.1


def test_rows_that_several_images_have_leave_each_other_out():
    rows, images = places(8, 6, 3)
    images[::4] = -1
    check_bandwidth(rows, images, rows, images, np.ones(48))


def test_patches_that_no_other_image_has_rows_for_do_not_count():
    rows, images = places(6, 5, 2)
    kept = images < 1  # reference rows, all of one image
    parts = rows[kept], images[kept], np.ones(kept.sum())
    found = image_bandwidth(rows, images, *parts, rows.shape[1])
    want = image_bandwidth(rows[~kept], images[~kept], *parts, rows.shape[1])
    assert found == want
    assert image_bandwidth(rows[kept], images[kept], *parts, rows.shape[1]) == 0.0


def test_no_bandwidth_where_all_patches_coincide():
    rows, images = np.repeat([[1.0, 2.0]], 6, axis=0), np.arange(6)
    assert image_bandwidth(rows, images, rows, images, np.ones(6), rows.shape[1]) == 0.0


def test_copies_in_other_images_do_not_pull_the_bandwidth_to_nothing():
    """Which the likelihood alone would, without a bound."""
    rows, images = places(10, 6, 3)
    rows[:3] = rows[6:9]
    found = image_bandwidth(rows, images, rows, images, np.ones(60), rows.shape[1])
    assert found > 0.05


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_the_bandwidth_far_from_zero(offset):
    rows, images = places(8, 6, 3)
    far = rows + offset
    found = image_bandwidth(far, images, far, images, np.ones(48), rows.shape[1])
    want = image_bandwidth(
        far - offset, images, far - offset, images, np.ones(48), rows.shape[1]
    )
    assert found == pytest.approx(want, rel=1e-6)


# ----------------------------------------------------------------- the cover
def greedy(rows, count):
    """Farthest of all rows from those chosen, one at a time; and who is nearest."""
    chosen = [int(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    while len(chosen) < count:
        gaps = np.array([((rows - rows[j]) ** 2).sum(axis=1) for j in chosen])
        nearest = gaps.min(axis=0)
        if not nearest.any():
            break
        chosen.append(int(nearest.argmax()))
    gaps = np.array([((rows - rows[j]) ** 2).sum(axis=1) for j in chosen])
    return chosen, np.bincount(gaps.argmin(axis=0), minlength=len(chosen))


def cover(rows, count):
    chosen, owner = farthest_first(rows, count)
    counts = np.bincount(owner, minlength=len(chosen))
    return SimpleNamespace(chosen=chosen.tolist(), counts=counts)


@pytest.mark.parametrize("count", [1, 2, 7, 40, 60])
@pytest.mark.parametrize("d", [1, 2, 10, 100])
def test_each_is_the_farthest_from_all_before(d, count):
    rows = np.random.default_rng(d).normal(size=(60, d))
    found, (chosen, counts) = cover(rows, count), greedy(rows, count)
    assert found.chosen == chosen
    np.testing.assert_array_equal(found.counts, counts)
    assert found.counts.sum() == 60


@steady
@given(
    n=st.integers(1, 25),
    d=st.integers(1, 3),
    count=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_ties_go_to_the_first(n, d, count, seed):
    """Whole numbers, with ties and copies: nothing is rounded."""
    rows = np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(float)
    found, (chosen, counts) = cover(rows, count), greedy(rows, count)
    assert found.chosen == chosen
    np.testing.assert_array_equal(found.counts, counts)
    assert len(np.unique(rows[found.chosen], axis=0)) == len(found.chosen)


def test_copies_are_not_chosen():
    rows = np.repeat(np.random.default_rng(0).normal(size=(5, 3)), [1, 2, 3, 4, 5], 0)
    found = cover(rows, 12)
    assert sorted(found.chosen) == [0, 1, 3, 6, 10]
    assert sorted(found.counts) == [1, 2, 3, 4, 5]
    assert cover(np.ones((6, 2)), 3).counts.tolist() == [6]
    assert cover(np.zeros((6, 2)), 3).chosen == [0]


def test_near_rows_are_told_from_copies():
    rows = np.array([[1.0, 2.0], [1.0, 2.0 + 1e-6], [1.0, 2.0]])
    assert cover(rows, 3).chosen == [0, 1]


def test_no_row_is_chosen_twice():
    """Where nothing but rounding is left of the distances."""
    rows = 1.0 + 1e-6 * np.random.default_rng(0).normal(size=(50, 20))
    chosen = cover(rows, 50).chosen
    assert len(chosen) == len(set(chosen)) == 50


def test_the_cover_is_within_twice_the_least_radius():
    """On a line, where the least radius for k intervals is known."""
    rows = np.linspace(0, 1, 101)[:, None]
    for count in (2, 4, 10):
        chosen = cover(rows, count).chosen
        radius = np.abs(rows - rows[chosen].T).min(axis=1).max()
        assert radius <= 2 * (1 / (2 * count)) + 1e-6


def test_rows_are_only_read():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    rows.setflags(write=False)
    before = rows.copy()
    cover(rows, 5)
    np.testing.assert_array_equal(rows, before)
