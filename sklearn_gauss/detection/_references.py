"""Few reference patches in the place of all, and what stands behind each."""

import numpy as np
from scipy import sparse

from sklearn_gauss._numerics.kernel.density import merge_copies, row_order
from sklearn_gauss._numerics.kernel.representatives import representatives
from sklearn_gauss._numerics.patches.coreset import farthest_first

__all__ = ["SEVERAL", "choose", "draw", "only_image"]

#: Image of a patch of which several images have exact copies.
SEVERAL = -1


def draw(maps, count, rng):
    """Distinct patches (N, k), of ``count`` drawn at random, and copies of each (N, n).

    Copies are counted by the image that they are from. All patches if ``count`` is None.
    """
    n_images, n_places, _ = maps.shape
    picked = rng.permutation(n_images * n_places)[:count]
    images, places = np.divmod(np.sort(picked), n_places)
    patches = np.concatenate(
        [maps.of_image(i)[places[images == i]] for i in np.unique(images)]
    )
    first, _, places = merge_copies(patches, np.ones(len(patches)))
    copies = sparse.csr_array(
        (np.ones(len(images)), (places, images)), (len(first), n_images)
    )
    return patches[first], copies


def choose(coordinates, copies, count, *, how, rng):
    """Which patches are reference patches (l,), and what stands behind each (l, n).

    That is how many patches of each image add to its weight: copies; with "greedy" also
    those that it is the nearest of. All are chosen if ``count`` is None.
    """
    n_rows, counts = len(coordinates), copies.sum(axis=1)
    if count is None or count >= n_rows:
        return np.arange(n_rows), copies
    if how == "greedy":
        kept, owner = farthest_first(coordinates, count)
        order = np.argsort(kept)
        place = np.argsort(order)[owner]
        owned = sparse.csr_array(
            (np.ones(n_rows), (place, np.arange(n_rows))), (len(kept), n_rows)
        )
        return kept[order], owned @ copies
    kept, drawn = representatives(
        coordinates,
        counts,
        row_order(coordinates),
        count,
        how=how,
        kernel="gaussian",
        rng=rng,
    )
    return kept, sparse.diags_array(drawn / counts[kept]) @ copies[kept]


def only_image(copies):
    """The image (N,) that all copies of a patch are from, or `SEVERAL`."""
    images = np.full(copies.shape[0], SEVERAL)
    single = np.diff(copies.indptr) == 1
    images[single] = copies.indices[copies.indptr[:-1][single]]
    return images
