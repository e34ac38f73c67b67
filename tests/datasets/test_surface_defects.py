import numpy as np
import pytest

from sklearn_gauss.datasets._defects import SURFACE_DEFECTS
from sklearn_gauss.datasets._marks import VISIBLE, visible_change

NAMES = list(SURFACE_DEFECTS)


def textured(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).uniform(0.3, 0.7, (*shape, 3)).astype(dtype)


@pytest.mark.parametrize("shape", [(64, 64), (48, 96), (97, 51)])
@pytest.mark.parametrize("name", NAMES)
def test_change_is_inside_the_mask_and_the_input_untouched(name, shape):
    image = textured(shape)
    image.setflags(write=False)
    damaged, mask = SURFACE_DEFECTS[name](image, np.random.default_rng(1))
    assert damaged.shape == image.shape
    assert damaged.dtype == image.dtype
    assert mask.shape == shape
    assert mask.dtype == bool
    assert mask.any()
    np.testing.assert_array_equal(damaged[~mask], image[~mask])
    assert damaged.min() >= 0
    assert damaged.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_same_generator_same_defect(name):
    image = textured((64, 64))
    first = SURFACE_DEFECTS[name](image, np.random.default_rng(4))
    again = SURFACE_DEFECTS[name](image, np.random.default_rng(4))
    other = SURFACE_DEFECTS[name](image, np.random.default_rng(5))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != other[1]).any()


@pytest.mark.parametrize("name", NAMES)
def test_severity_zero_draws_nothing(name):
    image = textured((64, 64))
    damaged, mask = SURFACE_DEFECTS[name](image, np.random.default_rng(0), 0.0)
    assert not mask.any()
    np.testing.assert_array_equal(damaged, image)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"contamination", "distortion"}))
def test_a_surface_defect_stays_on_the_region(name):
    region = np.zeros((64, 64), dtype=bool)
    region[20:44, 12:40] = True
    for seed in range(5):
        _, mask = SURFACE_DEFECTS[name](
            textured((64, 64)), np.random.default_rng(seed), 1.0, region
        )
        near = np.zeros_like(region)
        near[17:49, 9:45] = True  # burrs and lit edges spill over by a few pixels
        assert mask.any()
        assert not (mask & ~near).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", [False, True])
def test_a_region_without_room_is_not_an_error(name, fill):
    region = np.zeros((40, 40), dtype=bool)
    region[0, 0] = fill
    damaged, mask = SURFACE_DEFECTS[name](
        textured((40, 40)), np.random.default_rng(0), 1.0, region
    )
    assert np.isfinite(damaged).all()
    assert mask.shape == (40, 40)


def test_visible_change_drops_what_cannot_be_seen():
    image = np.full((20, 20, 3), 0.5)
    painted = image.copy()
    painted[2:5, 2:5, 1] += 2 * VISIBLE
    painted[10:15, 10:15] += 0.9 * VISIBLE
    kept, mask = visible_change(image, painted)
    assert mask.sum() == 9
    assert mask[2:5, 2:5].all()
    np.testing.assert_array_equal(kept[10:15, 10:15], image[10:15, 10:15])


def test_visible_change_reaches_the_border():
    image = np.zeros((8, 8, 3))
    painted = image.copy()
    painted[0] = 1
    kept, mask = visible_change(image, painted)
    assert mask[0].all()
    assert not mask[1:].any()
    np.testing.assert_array_equal(kept, painted)
