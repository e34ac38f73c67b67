"""
=====================
Several kinds of rows
=====================

Where normal rows are of several known kinds, the products of a line say,
`~sklearn_gauss.detection.ClassConditionalDetector` measures the distance to the nearest
kind. One covariance for all kinds needs far fewer rows than one for each.
"""

# %%
# In the plane
# ------------
# Three kinds of rows, elongated alike. One Gaussian of them all is widest in between,
# where no row is. The lines are the thresholds for a false-positive rate of 5 %.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_gauss.detection import ClassConditionalDetector, MahalanobisDetector

rng = np.random.default_rng(0)
places = np.array([[0.0, 0.0], [4.0, -1.0], [2.0, 4.0]])
kinds = np.repeat(["bolt", "nut", "washer"], [120, 60, 20])
X = rng.normal(size=(200, 2)) @ [[0.8, 0.5], [0.0, 0.4]]
X += places[np.unique(kinds, return_inverse=True)[1]]

models = {
    "one Gaussian": MahalanobisDetector().fit(X),
    "shared covariance": ClassConditionalDetector().fit(X, kinds),
    "own covariances": ClassConditionalDetector(False).fit(X, kinds),
}
across, up = np.meshgrid(np.linspace(-5, 8.5, 180), np.linspace(-5, 7, 160))
grid = np.stack([across.ravel(), up.ravel()], axis=1)
figure, panels = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
for axes, (name, model) in zip(panels, models.items(), strict=True):
    for kind in np.unique(kinds):
        axes.scatter(*X[kinds == kind].T, s=8, label=kind)
    normal = model.decision_function(grid).reshape(across.shape)
    axes.contour(across, up, normal, levels=[0], colors="black")
    axes.set(title=name, xlabel="first feature")
panels[0].set_ylabel("second feature")
panels[0].legend()
plt.show()

# %%
# In many dimensions
# ------------------
# Six kinds of 20 to 80 rows in 60 dimensions, which vary alike. The anomalies are off by
# a little in every direction.

from sklearn.metrics import roc_auc_score

n_features, sizes = 60, np.array([80, 60, 50, 40, 30, 20])
axes = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
deviations = np.arange(1, n_features + 1) ** -0.7
centres = 0.6 * rng.normal(size=(len(sizes) + 1, n_features)) * deviations @ axes


def draw(labels, error=0.0):
    rows = rng.normal(size=(len(labels), n_features)) * deviations
    rows += error * rng.normal(size=rows.shape)
    return centres[labels] + rows @ axes


labels = np.repeat(np.arange(len(sizes)), sizes)
train = draw(labels)
normal, bad = draw(np.tile(labels, 4)), draw(np.tile(labels, 2), error=0.07)

detectors = {
    "one Gaussian": MahalanobisDetector(),
    "shared covariance": ClassConditionalDetector(),
    "kinds weighing alike": ClassConditionalDetector(class_weight="uniform"),
    "own covariances": ClassConditionalDetector(False),
    "relative, shared": ClassConditionalDetector(relative=True),
    "shared, 3 blocks": ClassConditionalDetector(n_blocks=3),
}
truth = np.repeat([0, 1], [len(normal), len(bad)])
for name, detector in detectors.items():
    scores = -detector.fit(train, labels).score_samples(np.vstack([normal, bad]))
    print(
        f"{name:20s}: AUROC {roc_auc_score(truth, scores):.3f}, flagged "
        f"{np.mean(detector.predict(normal) == -1):.3f} of the normal rows and "
        f"{np.mean(detector.predict(bad) == -1):.3f} of the others"
    )

# %%
# A covariance for each kind is too much for so few rows. ``relative`` subtracts what is
# unusual for all rows together, and these anomalies are little else. It is meant for
# kinds that were never seen, close to known ones: rows half way between two kinds, say.

first, second = rng.integers(len(sizes), size=(2, 300))
apart = first != second
between = draw(first[apart]) + (centres[second] - centres[first])[apart] / 2
truth = np.repeat([0, 1], [len(normal), len(between)])
for name, detector in detectors.items():
    scores = -detector.score_samples(np.vstack([normal, between]))
    print(f"{name:20s}: AUROC {roc_auc_score(truth, scores):.3f} for what lies between")

# %%
# Which kind a row is nearest to comes with the score.

named = detectors["shared covariance"].predict_class(normal)
print(f"named right: {np.mean(named == np.tile(labels, 4)):.3f}")

# %%
# Rows of a new kind are added by themselves; the detector has kept the others.

line = detectors["shared covariance"]
new = np.full(25, len(sizes))
print(f"flagged before: {np.mean(line.predict(draw(new)) == -1):.2f}")
line.partial_fit(draw(new), new)
print(f"flagged after:  {np.mean(line.predict(draw(new)) == -1):.2f}")
