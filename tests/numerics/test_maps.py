"""Maps to pictures, and verdicts on them, against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from sklearn_gauss._numerics.patches.maps import (
    cut_level,
    image_values,
    pixel_p_values,
    resized,
    simes,
    smoothed,
    step_up_cuts,
)

steady = settings(deadline=None, max_examples=40, derandomize=True)
sides = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


def drawn(seed, *shape, steps=None):
    """Random maps; of few different values where ``steps`` says how many."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) if steps is None else rng.integers(0, steps, shape) / 4


# ----------------------------------------------------------------------- their sizes
@steady
@given(seeds, st.tuples(sides, sides), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_resized_is_torchs_bilinear_interpolation(seed, grid, size):
    torch = pytest.importorskip("torch", reason="what is compared with is torch's")
    maps = drawn(seed, 2, *grid)
    want = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], size, mode="bilinear", align_corners=False
    )[:, 0].numpy()
    np.testing.assert_allclose(resized(maps, size), want, atol=1e-12)


@steady
@given(seeds, st.tuples(sides, sides), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_resized_values_lie_between_those_of_the_grid(seed, grid, size):
    maps = drawn(seed, 3, *grid)
    found = resized(maps, size)
    assert found.shape == (3, *size)
    low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    assert (found.min(axis=(1, 2)) >= low - 1e-12).all()
    assert (found.max(axis=(1, 2)) <= high + 1e-12).all()
    np.testing.assert_allclose(resized(np.full((1, *grid), 3.7), size), 3.7, rtol=1e-14)


@steady
@given(seeds, st.tuples(sides, sides), st.tuples(sides, sides))
def test_resizing_keeps_order_and_turns_with_the_map(seed, grid, size):
    maps = drawn(seed, 2, *grid)
    higher = maps + np.abs(drawn(seed + 1, 2, *grid))
    assert (resized(higher, size) >= resized(maps, size) - 1e-12).all()
    turned = resized(maps[:, ::-1, ::-1], size)[:, ::-1, ::-1]
    np.testing.assert_allclose(turned, resized(maps, size), atol=1e-12)
    across = resized(maps.transpose(0, 2, 1), size[::-1]).transpose(0, 2, 1)
    np.testing.assert_allclose(across, resized(maps, size), atol=1e-12)


@steady
@given(seeds, st.tuples(sides, sides), st.integers(1, 4))
def test_a_map_of_its_own_size_is_itself(seed, grid, odd):
    maps = drawn(seed, 2, *grid)
    np.testing.assert_array_equal(resized(maps, grid), maps)
    # The centre of a cell is that of a pixel where each is cut into an odd number.
    times = 2 * odd - 1
    larger = resized(maps, (grid[0] * times, grid[1] * times))
    middle = slice(times // 2, None, times)
    np.testing.assert_allclose(larger[:, middle, middle], maps, atol=1e-12)


def test_a_rising_map_rises():
    maps = np.sort(drawn(0, 1, 6, 6), axis=2)
    assert (np.diff(resized(maps, (17, 23)), axis=2) >= -1e-12).all()


def test_beyond_the_outermost_centres_a_map_goes_on():
    found = resized(np.array([[[1.0, 3.0]]]), (1, 8))[0, 0]
    np.testing.assert_allclose(found, [1, 1, 1.25, 1.75, 2.25, 2.75, 3, 3])


# --------------------------------------------------------------------- their smoothing
def test_no_smoothing_is_the_map_itself():
    maps = drawn(0, 2, 4, 5)
    assert smoothed(maps, 0) is maps
    assert smoothed(maps, 0.0) is maps


@steady
@given(seeds, st.tuples(sides, sides), st.floats(0.05, 4))
def test_smoothing_is_a_gaussian_mean(seed, grid, sigma):
    maps = drawn(seed, 2, *grid)
    found = smoothed(maps, sigma)
    for one, got in zip(maps, found, strict=True):
        want = ndimage.gaussian_filter(one, sigma, mode="nearest")
        np.testing.assert_allclose(got, want, atol=1e-12)
        assert one.min() - 1e-12 <= got.min() <= got.max() <= one.max() + 1e-12
    np.testing.assert_allclose(smoothed(np.full((1, *grid), -2.0), sigma), -2.0)


def test_smoothing_a_point_by_hand():
    maps = np.zeros((1, 1, 41))
    maps[0, 0, 20] = 1.0
    reach = np.arange(-20, 21)
    kernel = np.exp(-(reach**2) / 8) * (np.abs(reach) <= 8)
    np.testing.assert_allclose(smoothed(maps, 2.0)[0, 0], kernel / kernel.sum())


# --------------------------------------------------------------------- images' values
@steady
@given(seeds, st.tuples(sides, sides), st.floats(0, 1))
def test_values_of_images_are_means_of_the_greatest(seed, grid, share):
    maps = drawn(seed, 3, *grid)
    count = max(int(np.ceil(share * maps[0].size - 1e-9)), 1)
    want = [np.sort(one, axis=None)[::-1][:count].mean() for one in maps]
    np.testing.assert_allclose(image_values(maps, share), want, atol=1e-12)


@pytest.mark.parametrize(
    ("share", "count"), [(0, 1), (0.1, 1), (0.11, 2), (0.3, 3), (1, 10)]
)
def test_shares_are_rounded_up(share, count):
    maps = np.arange(10.0).reshape(1, 2, 5)
    assert image_values(maps, share)[0] == pytest.approx(9 - (count - 1) / 2)


# -------------------------------------------------------------------- pixels' p-values
def count_p(value, normal):
    return (1 + np.sum(normal >= value)) / (1 + len(normal))


@steady
@given(seeds, st.integers(1, 60), st.one_of(st.none(), st.integers(1, 6)))
def test_p_values_count_the_normal_values_at_or_above(seed, m, steps):
    normal, values = drawn(seed, m, steps=steps), drawn(seed + 1, 3, 4, steps=steps)
    found = pixel_p_values(values, np.sort(normal))
    assert found.shape == (3, 4)
    for got, value in zip(found.ravel(), values.ravel(), strict=True):
        assert got == count_p(value, normal)


def test_p_values_of_values_without_a_bound():
    ordered = np.array([0.0, 1.0, np.inf])
    np.testing.assert_allclose(
        pixel_p_values(np.array([-np.inf, 0.5, 2.0, np.inf]), ordered),
        [1, 0.75, 0.5, 0.5],
    )


# ------------------------------------------------------------------- Simes and step-up
def simes_of(map_, normal):
    p = np.sort([count_p(value, normal) for value in map_.ravel()])
    return (p * len(p) / np.arange(1, len(p) + 1)).min()


def as_of_all(maps):
    """From p-values among the other maps to those of a new one, among all of them."""
    others = maps.size - maps[0].size
    return np.float64((1 + others) / (1 + maps.size))


@steady
@given(
    seeds,
    st.integers(2, 8),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.one_of(st.none(), st.integers(1, 6)),
)
def test_simes_is_its_definition(seed, n, grid, steps):
    maps = drawn(seed, n, *grid, steps=steps)
    want = [simes_of(maps[i], np.delete(maps, i, axis=0).ravel()) for i in range(n)]
    np.testing.assert_allclose(simes(maps), np.array(want) * as_of_all(maps), rtol=1e-13)


def test_simes_takes_infinite_values():
    maps = drawn(0, 4, 2, 2)
    maps[1, 0, 0] = np.inf
    want = [simes_of(maps[i], np.delete(maps, i, axis=0).ravel()) for i in range(4)]
    np.testing.assert_allclose(simes(maps), np.array(want) * as_of_all(maps))


@steady
@given(
    seeds,
    st.tuples(sides, sides),
    st.floats(0.001, 0.999),
    st.one_of(st.none(), st.integers(1, 6)),
    st.floats(0, 3),
)
def test_step_up_is_scipys_procedure(seed, grid, level, steps, shift):
    normal = np.sort(drawn(seed, 50, steps=steps))
    maps = drawn(seed + 1, 3, *grid, steps=steps) + shift
    cuts = step_up_cuts(maps, normal, level)
    assert cuts.shape == (3,)
    for one, cut in zip(maps, cuts, strict=True):
        adjusted = stats.false_discovery_control(
            pixel_p_values(one.ravel(), normal), method="bh"
        )
        if np.abs(adjusted - level).min() > 1e-12:
            np.testing.assert_array_equal(one.ravel() > cut, adjusted <= level)
        assert np.isinf(cut) or np.isclose(normal, cut, rtol=2e-9).any()


@steady
@given(seeds, st.floats(0.01, 0.99), st.one_of(st.none(), st.integers(1, 6)))
def test_a_map_is_flagged_from_its_simes_value_on(seed, level, steps):
    maps = drawn(seed, 6, 3, 4, steps=steps)
    maps[0] += 1.0
    for i, value in enumerate(simes(maps) / as_of_all(maps)):
        others = np.sort(np.delete(maps, i, axis=0), axis=None)
        if abs(value - level) > 1e-12:
            cut = step_up_cuts(maps[i : i + 1], others, level)[0]
            assert (cut < np.inf) == (value <= level)


def test_level_zero_flags_nothing():
    maps = drawn(0, 3, 2, 2) + 100
    assert (step_up_cuts(maps, np.zeros(10), 0.0) == np.inf).all()


@pytest.mark.parametrize(
    ("n", "rate", "rank"), [(19, 0.05, 1), (18, 0.05, 0), (9, 0.1, 1), (39, 0.1, 4)]
)
def test_the_level_lies_below_an_order_statistic(n, rate, rank):
    levels = np.random.default_rng(0).permutation(np.arange(1, n + 1)) / 1000
    found = cut_level(levels, rate)
    assert isinstance(found, float)
    assert found == (np.nextafter(rank / 1000, 0) if rank else 0)
    assert cut_level(levels + 1, rate) == (rate if rank else 0)


def exchangeable(rng, n, side):
    """Maps alike in law, whose cells depend on each other in every way but order."""
    maps = ndimage.gaussian_filter(rng.normal(size=(n, side, side)), (0, 1, 1)) * 3
    maps += rng.normal(size=(n, 1, 1))  # a level of each
    maps *= np.exp(0.7 * rng.normal(size=(n, 1, 1)))  # a spread of each
    maps *= np.linspace(0.5, 2, side)  # places of different law
    odd = rng.random(n) < 0.2
    maps[odd, 1, 1] += rng.exponential(8, odd.sum())
    return maps


@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("n", [19, 45])
def test_the_share_of_normal_maps_with_anything_flagged(n, independent):
    rng, draws = np.random.default_rng(n), 2000
    rates = np.array([0.05, 0.1, 0.3])
    flagged = np.zeros(3)
    for _ in range(draws):
        if independent:
            maps = rng.normal(size=(n + 1, 3, 3))
        else:
            maps = exchangeable(rng, n + 1, 3)
        ordered, levels = np.sort(maps[:-1], axis=None), simes(maps[:-1])
        cuts = [step_up_cuts(maps[-1:], ordered, cut_level(levels, r))[0] for r in rates]
        flagged += np.isfinite(cuts)
    error = 3.5 * np.sqrt(rates * (1 - rates) / draws)
    assert (flagged / draws <= rates + error).all(), flagged / draws
    assert (flagged > 0).all()
