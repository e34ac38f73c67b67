"""
============================
Choosing without anomalies
============================

Good images are all there is, and a detector is to be chosen. Defects drawn onto them
stand in for the real ones: what they look like, which scores they choose, how right they
were, and a grid search without labels.
"""

# %%
# Defects that are drawn
# ----------------------
# `~sklearn_gauss.datasets.SyntheticDefects` plans defects of eleven kinds on any normal
# images; each is drawn when somebody reads it. Where an image has a uniform border, as
# around these washers, defects keep to the part. The outlines are those of their masks.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_gauss.datasets import SyntheticDefects, make_inspection_images

images = make_inspection_images(
    "washer",
    n_train=80,
    n_good=60,
    n_defect=60,
    size=128,
    severity=0.8,
    random_state=0,
)
good = images.y_test == 1

kinds = [
    *("paste", "scar", "soft_paste", "stain", "blotch", "scratch"),
    *("blur", "brightness", "color", "warp", "missing"),
]
figure, axes = plt.subplots(3, 4, figsize=(8, 6.4), layout="constrained")
for ax in axes.flat:
    ax.set_axis_off()
axes[0, 0].imshow(images.train[0])
axes[0, 0].set_title("normal")
for ax, kind in zip(axes.flat[1:], kinds, strict=True):
    (drawn,) = (
        SyntheticDefects([kind], severity=0.8, random_state=3).draw(images.train[:1]).X
    )
    ax.imshow(np.asarray(drawn))
    ax.contour(drawn.mask(), levels=[0.5], colors="cyan", linewidths=0.8)
    ax.set_title(kind)

# %%
# Good images in, a verdict out
# -----------------------------
# `~sklearn_gauss.detection.DetectorEnsemble` fits several detectors to features of one
# network, and learns from drawn defects how to weigh their scores.
# `~sklearn_gauss.inspector.make_inspector` makes one with more members in one line. The
# kinds whose names the washers' own defects have are left out here, so that nothing is
# known beforehand about what the test images show. A cache makes further fits cheap.

from tempfile import TemporaryDirectory

from sklearn.pipeline import make_pipeline

from sklearn_gauss.detection import (
    DetectorEnsemble,
    LevelEnsemble,
    PatchGaussianDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

unseen = sorted(set(kinds) - set(images.defect_names))
defects = SyntheticDefects(unseen, n_per_image=2)
folder = TemporaryDirectory()
network = {"input_size": 128, "cache": folder.name}
maps = CNNFeatureExtractor(
    pooling="none", levels="middle", n_channels=50, grid=14, **network
)
members = [
    (
        f"{pooling}_levels",
        make_pipeline(CNNFeatureExtractor(pooling=pooling, **network), LevelEnsemble()),
    )
    for pooling in ("avg", "max")
]
members.append(("patches", make_pipeline(maps, PatchGaussianDetector())))
ensemble = DetectorEnsemble(members, defects=defects).fit(images.train)
print("drawn:", ", ".join(ensemble.selection_.kinds))
print("the washers' own:", ", ".join(images.defect_names))
print("best of the scores:", ensemble.selection_.best)

# %%
# Were they right?
# ----------------
# Each point is a score of the ensemble: a detector, or a level of one. From left to
# right, how well it finds drawn defects in held-out normal images, which is all that the
# choice knows; from bottom to top, how well it finds the washers' own defects.

from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

on_drawn = ensemble.selection_.mean_auroc
scores = ensemble.member_scores(images.test)
on_real = np.array([roc_auc_score(good, column) for column in scores.T])

figure, ax = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
names = np.array(ensemble.score_names_)
member = np.array([name.split(":")[0] for name in names])
for one in dict.fromkeys(member):
    ax.scatter(on_drawn[member == one], on_real[member == one], label=one)
chosen = on_drawn.argmax()
ax.annotate(
    f"chosen: {names[chosen]}",
    (on_drawn[chosen], on_real[chosen]),
    xytext=(-20, -40),
    textcoords="offset points",
    ha="right",
    arrowprops={"arrowstyle": "->"},
)
ax.set_xlabel("AUROC on drawn defects, held-out normal images")
ax.set_ylabel("AUROC on the washers' own defects, test images")
ax.legend()
print(f"rank correlation: {spearmanr(on_drawn, on_real).statistic:.2f}")

# %%
# The three ways to combine
# -------------------------
# "best" takes the rightmost point, "stacked" weighs all of them, "sum" adds the three
# detectors up and learns nothing from drawn defects. The threshold is set by left-out
# scores for one good image in twenty, which sixty good images tell to about 6 %.

for combine in ("sum", "best", "stacked"):
    rule = DetectorEnsemble(members, combine=combine, defects=defects).fit(images.train)
    values = rule.score_samples(images.test)
    flagged = (values[good] < rule.offset_).mean()
    print(
        f"{combine:8s} AUROC {roc_auc_score(good, values):.3f}; "
        f"{flagged:.3f} of the good images flagged"
    )
print(f"any score, in hindsight: {on_real.max():.3f}")

# %%
# The weights of "stacked". Those of the levels have either sign: what all levels share,
# such as the light of an image, is subtracted.

spread = scores[good].std(axis=0)
figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
ax.barh(names, ensemble.weights_ * spread)
ax.axvline(0, color="black", linewidth=0.8)
ax.invert_yaxis()
ax.set_xlabel("weight times standard deviation of the score")

# %%
# A grid search without labels
# ----------------------------
# The same defects as the scorer of a `~sklearn.model_selection.GridSearchCV`: in each
# fold, they are drawn on the held-out normal images. There is no ``y``, the folds are
# ordinary ones, and the refit is a fit to all normal images.

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.model_selection import synthetic_defect_scorer

pipeline = Pipeline(
    [
        ("extractor", CNNFeatureExtractor(**network)),
        ("detector", MahalanobisDetector()),
    ]
)
search = GridSearchCV(
    pipeline,
    {"extractor__pooling": ["avg", "max"], "detector__shrinkage": ["ledoit_wolf", 0.5]},
    scoring=synthetic_defect_scorer(defects),
    cv=3,
).fit(images.train)
for candidate, auroc in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{auroc:.3f}", candidate)
found = roc_auc_score(good, search.best_estimator_.score_samples(images.test))
print(f"on the washers' own defects: {found:.3f}")
folder.cleanup()
