"""Maps that explain scores against the masks of drawn defects.

AUROC of the pixels, a mean over defective images that are flagged, for maps of a detector
of pooled features, of detectors of patches, and for edges, which need no model.
"""

import argparse

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.pipeline import make_pipeline

from sklearn_gauss.datasets import make_inspection_images
from sklearn_gauss.detection import (
    LevelEnsemble,
    PatchGaussianDetector,
    PatchKDEDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor
from sklearn_gauss.inspection import anomaly_maps, gradient_map, occlusion_map
from sklearn_gauss.metrics import pixel_roc_auc_score

PATCH_LEVELS = ["block2", "block3", "block4"]


def edges(images):
    """How far pixels are from their surroundings, smoothed."""
    blurred = gaussian_filter(images.astype(float), (0, 1.6, 1.6, 0))
    return gaussian_filter(np.abs(images - blurred).sum(axis=3), (0, 2.4, 2.4))


def pooled_model(train, pooling):
    """Sum over levels of the bundled network."""
    extractor = CNNFeatureExtractor(pooling=pooling).fit(train)
    columns = {}
    for column, name in enumerate(extractor.get_feature_names_out()):
        columns.setdefault(name.split("__")[0], []).append(column)
    return make_pipeline(extractor, LevelEnsemble(levels=columns)).fit(train)


def patch_model(train, detector):
    extractor = CNNFeatureExtractor(pooling="none", levels=PATCH_LEVELS, grid=28)
    return make_pipeline(extractor, detector).fit(train)


def maps_of(model, train, images):
    """Functions that make maps of images, by name."""

    def occluded(**options):
        return lambda: occlusion_map(model, images, **options)

    return {
        "occlusion, reference": occluded(reference=train, n_references=2),
        "occlusion, window=0.25": occluded(reference=train, n_references=2, window=0.25),
        "occlusion, shift": occluded(fill="shift"),
        "occlusion, mean": occluded(fill="mean"),
        "occlusion, blur": occluded(fill="blur"),
        "gradient": lambda: gradient_map(model, images),
        "gradient, blur=None": lambda: gradient_map(model, images, blur=None),
        "PatchGaussianDetector": lambda: anomaly_maps(
            patch_model(train, PatchGaussianDetector()), images
        ),
        "PatchKDEDetector": lambda: anomaly_maps(
            patch_model(train, PatchKDEDetector()), images
        ),
        "edges alone": lambda: edges(images),
    }


def compare(kind, options):
    drawn = make_inspection_images(
        kind,
        n_train=options.n_train,
        n_good=0,
        n_defect=options.n_defect,
        size=128,
        random_state=0,
    )
    model = pooled_model(drawn.train, options.pooling)
    p_values = model[-1].p_values(model[:-1].transform(drawn.test))
    chosen = np.ones(len(p_values), dtype=bool) if options.all else p_values <= 0.05
    chosen = np.flatnonzero(chosen & drawn.masks.any(axis=(1, 2)))
    if not options.all:
        chosen = chosen[: options.most]
    print(f"{kind}: {len(chosen)} of {len(p_values)} defective images")
    images, masks = drawn.test[chosen], drawn.masks[chosen]
    for name, make in maps_of(model, drawn.train, images).items():
        if len(images):
            pairs = zip(masks, make(), strict=True)
            scores = [pixel_roc_auc_score([mask], [one]) for mask, one in pairs]
            print(f"  {name:24s} {np.mean(scores):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=["metal", "washer", "board", "tile"])
    parser.add_argument("--pooling", default="max", choices=["avg", "max"])
    parser.add_argument("--n-train", type=int, default=60)
    parser.add_argument("--n-defect", type=int, default=24)
    parser.add_argument("--most", type=int, default=6, help="images of each kind")
    parser.add_argument("--all", action="store_true", help="also what is not flagged")
    parser.add_argument("--dry-run", action="store_true", help="small sizes")
    options = parser.parse_args()
    if options.dry_run:
        options.kinds, options.n_train, options.n_defect = ["metal"], 20, 1
        options.all = True
    for kind in options.kinds:
        compare(kind, options)


if __name__ == "__main__":
    main()
