"""
======================================
From images to verdicts, end to end
======================================

Drawn photographs of a product, the features of the bundled network, and a calibrated
detector.
"""

# %%
# Images of a product
# -------------------
# A hundred normal images to learn from; normal and defective ones to judge.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_gauss.datasets import make_inspection_images

images = make_inspection_images(
    "metal", n_train=100, n_good=40, n_defect=40, size=128, random_state=0
)
print(images.train.shape, images.test.shape)
print(images.defect_names)

# %%
# Features
# --------
# The extractor is a transformer. It learns nothing from the images it is fitted to, so
# the left-out scores of a detector behind it in a pipeline are honest. Each level of the
# network gives maps, which are pooled to one number a channel: their mean, or their
# maximum, which a small defect in a large image changes more.

from sklearn_gauss.feature_extraction import CNNFeatureExtractor

features = {}
for pooling in ("avg", "max"):
    extractor = CNNFeatureExtractor(pooling=pooling)
    train = extractor.fit_transform(images.train)
    features[pooling] = train, extractor.transform(images.test)
channels = dict(zip(extractor.levels_, extractor.level_channels_, strict=True))
print(channels)

# %%
# One Gaussian, and one for each level
# ------------------------------------
# `~sklearn_gauss.detection.LevelEnsemble` fits one Gaussian to each level of the network
# and adds up distances. Its levels are columns here; with
# ``extractor.set_output(transform="pandas")`` it reads them from the features' names.

from sklearn_gauss.detection import LevelEnsemble, MahalanobisDetector
from sklearn_gauss.model_selection import anomaly_scorer

ends = np.cumsum(list(channels.values()))
levels = {
    name: range(end - channels[name], end)
    for name, end in zip(channels, ends, strict=True)
}
auroc = anomaly_scorer("roc_auc")
for pooling, (train, test) in features.items():
    for name, detector in {
        "one Gaussian": MahalanobisDetector(target_fpr=0.05),
        "sum over levels": LevelEnsemble(levels=levels, target_fpr=0.05),
    }.items():
        flagged = detector.fit(train).predict(test) == -1
        print(
            f"{pooling}, {name:15s}: AUROC {auroc(detector, test, images.y_test):.3f}, "
            f"flagged {flagged[images.y_test == 1].mean():.3f} of the normal, "
            f"{flagged[images.y_test == -1].mean():.3f} of the defective images"
        )

# %%
# With the mean, a network with random weights sees next to nothing of these defects.
# Which pooling and which levels to take is a choice to make on images with known defects,
# other than those that the result is reported on.

# %%
# The most anomalous images
# -------------------------
# With their p-values. A green title is a normal image, a red one has the named defect.
# The detector is the last one above: maxima, summed over levels.

p_values = detector.p_values(test)
worst = np.argsort(detector.score_samples(test))[:10]
fig, axs = plt.subplots(2, 5, figsize=(9, 4.2), layout="constrained")
for i, ax in zip(worst, axs.flat, strict=True):
    colour = "tab:green" if images.y_test[i] == 1 else "tab:red"
    ax.imshow(images.test[i])
    ax.set_title(f"{images.defect[i]}\np = {p_values[i]:.3f}", color=colour, fontsize=9)
    ax.set_axis_off()
plt.show()
