"""
============================
Where the defect is
============================

Detectors of feature maps: a Gaussian at every place of the image, or one kernel density
of all patches; anomaly maps, masks with a stated rate, and how good they are.
"""

# %%
# Feature maps
# ------------
# With ``pooling="none"`` the extractor returns the maps themselves, (n, H, W, channels):
# here of three levels, on a grid of 20 by 20. Boards lie alike in every image; sheets of
# metal have no place that is like another's.

from sklearn_gauss.datasets import make_inspection_images
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

products = {
    name: make_inspection_images(
        name, n_train=100, n_good=40, n_defect=40, size=128, random_state=0
    )
    for name in ("board", "metal")
}
extractor = CNNFeatureExtractor(
    pooling="none", levels=["block2", "block3", "block4"], grid=20
)
print(extractor.fit_transform(products["board"].train[:2]).shape)

# %%
# Two detectors
# -------------
# `~sklearn_gauss.detection.PatchGaussianDetector` compares a place with the same place
# of normal images, `~sklearn_gauss.detection.PatchKDEDetector` with all places. Both set
# thresholds for images (``target_fpr``) and for pixels (``pixel_target_fpr``) by scores
# of every training image under all others. Averages over a neighbourhood, the default of
# the latter, would hide pits that are as small as a cell.

from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_gauss.detection import PatchGaussianDetector, PatchKDEDetector
from sklearn_gauss.inspection import anomaly_maps
from sklearn_gauss.metrics import aupro_score, pixel_roc_auc_score
from sklearn_gauss.model_selection import anomaly_scorer

detectors = {
    "a Gaussian a place": PatchGaussianDetector(),
    "one covariance": PatchGaussianDetector(covariance="shared"),
    "kernel density": PatchKDEDetector(max_reference=500, neighborhood=1),
}
auroc = anomaly_scorer("roc_auc")
models = {}
for product, images in products.items():
    good = images.y_test == 1
    for name, detector in detectors.items():
        model = make_pipeline(clone(extractor), clone(detector)).fit(images.train)
        maps = anomaly_maps(model, images.test)
        print(
            f"{product}, {name:18s}: image AUROC "
            f"{auroc(model, images.test, images.y_test):.3f}, pixel AUROC "
            f"{pixel_roc_auc_score(images.masks, maps):.3f}, AUPRO "
            f"{aupro_score(images.masks, maps):.3f}; flagged "
            f"{(model.predict(images.test[good]) == -1).mean():.3f} of the good images, "
            f"{(maps[good] > model[-1].pixel_threshold_).mean():.4f} of their pixels"
        )
        models[product, name] = model

# %%
# Pictures
# --------
# The worst of the defective boards. The red line is the threshold for pixels, one pixel
# in a thousand of good images; the cyan one is the defect as it was drawn. Every cell of
# the map sees a neighbourhood, so that what is flagged is wider than a small defect.

from sklearn_gauss.plotting import AnomalyMapDisplay

boards = products["board"]
bad = boards.y_test == -1
display = AnomalyMapDisplay.from_estimator(
    models["board", "a Gaussian a place"],
    boards.test[bad],
    masks=boards.masks[bad],
    defect=boards.defect[bad],
    select="worst",
    n_images=4,
)

# %%
# A contact sheet shows the images next to the threshold, on both sides of it.

metal = products["metal"]
display = AnomalyMapDisplay.from_estimator(
    models["metal", "kernel density"],
    metal.test,
    masks=metal.masks,
    defect=metal.defect,
    kind="sheet",
    select="borderline",
    n_images=18,
)

# %%
# Masks with a stated rate
# ------------------------
# ``defect_mask(X, fdr=q)`` flags cells by the procedure of Benjamini and Hochberg, at a
# level under which at most a share q of good images has anything flagged.

for (product, name), model in models.items():
    images = products[product]
    masks = model[-1].defect_mask(
        model[:-1].transform(images.test), image_size=(128, 128), fdr=0.05
    )
    some = masks.any(axis=(1, 2))
    good = images.y_test == 1
    beside = (masks & ~images.masks)[~good].sum() / masks[~good].sum()
    print(
        f"{product}, {name:18s}: something flagged in {some[good].mean():.3f} of the "
        f"good and {some[~good].mean():.3f} of the defective images; {beside:.2f} of "
        "what is flagged there lies beside the defect"
    )
