"""
=====================================
Why an image was flagged, and where
=====================================

A verdict alone does not help an inspector. The distance of an image splits into levels
of the network and components of the Gaussians, and maps show where in the image the
score comes from.
"""

# %%
# A model of brushed metal
# ------------------------
# The features are the largest values of the bundled network's channels, which a small
# defect changes more than their means, with one Gaussian for each level. The extractor
# names its features, so that the ensemble knows which column belongs to which level.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from sklearn_gauss.datasets import make_inspection_images
from sklearn_gauss.detection import LevelEnsemble
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

images = make_inspection_images(
    "metal", n_train=60, n_good=10, n_defect=18, size=128, random_state=0
)
extractor = CNNFeatureExtractor(pooling="max").set_output(transform="pandas")
model = make_pipeline(extractor, LevelEnsemble()).fit(images.train)
features = model[0].transform(images.test)
p_values = model[-1].p_values(features)
flagged = (p_values <= 0.05) & (images.y_test == -1)
for name in images.defect_names:
    print(f"{name:14s} flagged {flagged[images.defect == name].sum()} of 3")

# %%
# Which levels
# ------------
# ``explain`` of an ensemble gives what each level adds to the distance. Beside the
# normal images it shows which levels see the defect. Three flagged images, of different
# defects, are looked at.

_, first = np.unique(images.defect[flagged], return_index=True)
chosen = np.flatnonzero(flagged)[np.sort(first)[:3]]
names = images.defect[chosen]
good = images.y_test == 1

found = model[-1].explain(features)
colours = ["tab:red", "tab:blue", "tab:green"]
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
place = np.arange(len(found.level_names))
left.bar(place, found.levels[good].mean(axis=0), color="0.85", label="good, mean")
for row, name, colour in zip(found.levels[chosen], names, colours, strict=True):
    left.plot(place, row, "o-", color=colour, label=name)
left.set_xticks(place, found.level_names, rotation=60)
left.set(ylabel="distance of the level", title="Levels")
left.legend(fontsize=8, loc="lower right")

# %%
# Which components
# ----------------
# Inside a level, ``components`` are squared deviations over variances, by decreasing
# variance. This level has more channels than there are training images: beyond the
# components of positive variance lie directions in which normal images never differed,
# whose part is ``residual``. To the right, the parts of groups of components, in units of
# what good images have there: the pit and the crack stand out most where variance is low,
# the contamination almost everywhere.

part = found.parts["block2"]
groups = np.array_split(np.arange(part.components.shape[1]), 6)
sums = np.column_stack(
    [*(part.components[:, group].sum(axis=1) for group in groups), part.residual]
)
ratios = sums / sums[good].mean(axis=0)
labels = [f"{group[0]} to {group[-1]}" for group in groups] + ["residual"]
place = np.arange(len(labels))
right.axhline(1, color="0.5", linewidth=0.8)
for row, name, colour in zip(ratios[chosen], names, colours, strict=True):
    right.plot(place, row, "o-", color=colour, label=name)
right.set_xticks(place, labels, rotation=60)
right.set(
    ylabel="squared distance,\nin units of good images",
    title="Components of block2, by decreasing variance",
    ylim=(0, None),
)
plt.show()

# %%
# The components of greatest contribution, and the channels of greatest contribution:

for i, name in zip(chosen, names, strict=True):
    ranks, channels = part.ranking[i, :4], part.features[i].argsort()[::-1][:4]
    print(
        f"{name:14s} components {ranks}: {part.components[i, ranks].round(1)}, "
        f"channels {channels}: {part.features[i, channels].round(1)}"
    )

# %%
# Where
# -----
# `~sklearn_gauss.inspection.occlusion_map` covers one part of the image after the other
# by the same part of similar normal images. Where that raises the score lay the defect.
# `~sklearn_gauss.inspection.gradient_map` takes one backward pass.

from sklearn_gauss.inspection import gradient_map, occlusion_map

shown, masks = images.test[chosen], images.masks[chosen]
occluded = occlusion_map(model, shown, reference=images.train)
gradients = gradient_map(model, shown)

fig, axs = plt.subplots(3, 4, figsize=(8, 6.4), layout="constrained")
for i, row in enumerate(axs):
    row[0].imshow(shown[i])
    row[0].set_ylabel(names[i])
    row[1].imshow(masks[i], cmap="gray")
    row[2].imshow(shown[i].mean(axis=2), cmap="gray")
    row[2].imshow(occluded[i].clip(0), cmap="inferno", alpha=0.7)
    row[3].imshow(gradients[i], cmap="inferno")
for ax, title in zip(axs[0], ("image", "mask", "occlusion", "gradient"), strict=True):
    ax.set_title(title)
for ax in axs.flat:
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# The occlusion map is as coarse as its window, and says by how much the score would rise
# with a normal part in its place. The gradient map is as fine as the network's input.
# Both explain a score: where an image was not flagged, there is nothing to find.
