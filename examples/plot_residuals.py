"""
============================
Differences from normal rows
============================

What a row differs by from the normal row most like it, and whether it differs as known
anomalies do: `~sklearn_gauss.residual.ReferenceResidual` and
`~sklearn_gauss.detection.NormalAbnormalDetector`.
"""

# %%
# A product in four variants. What lies between two of them is a mixture, and no product.

import matplotlib.pyplot as plt
import numpy as np

rng = np.random.default_rng(0)
variants = np.array([[0, 0], [6, 1], [1, 6], [7, 7]])


def parts(n_parts):
    """Draw parts of any variant."""
    noise = rng.normal(size=(n_parts, 2)) * [0.8, 0.3]
    return variants[rng.integers(4, size=n_parts)] + noise


normal = parts(160)
mixtures = variants.mean(axis=0) + rng.normal(size=(30, 2)) * 0.6

# %%
# One Gaussian of all parts is densest where no part is. Behind residuals, it is one of
# what a part differs by from the part most like it.

from sklearn.pipeline import make_pipeline

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.residual import ReferenceResidual

detectors = {
    "features": MahalanobisDetector(),
    "residuals to the nearest": make_pipeline(
        ReferenceResidual(metric="euclidean"), MahalanobisDetector()
    ),
}
axis = np.linspace(-4, 11, 150)
grid = np.stack(np.meshgrid(axis, axis), axis=-1)
unseen = parts(2000)
fig, axes = plt.subplots(
    1, 2, figsize=(9, 4.6), sharex=True, sharey=True, layout="constrained"
)
for ax, (name, detector) in zip(axes, detectors.items(), strict=True):
    detector.fit(normal)
    above = detector.decision_function(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    ax.contourf(axis, axis, above, levels=[0, np.inf], colors=["#cfe3f5"])
    ax.contour(axis, axis, above, levels=[0], colors="tab:blue", linewidths=1)
    ax.scatter(*normal.T, s=8, color="0.35", label="normal parts")
    ax.scatter(*mixtures.T, s=22, marker="x", color="tab:red", label="mixtures")
    found = (detector.predict(mixtures) == -1).mean()
    flagged = (detector.predict(unseen) == -1).mean()
    ax.set(
        title=f"{name}: {100 * found:.0f} % found", aspect="equal", xticks=[], yticks=[]
    )
    ax.set(xlabel=f"{100 * flagged:.1f} % of unseen parts flagged, target 5 %")
handles, labels = axes[0].get_legend_handles_labels()
fig.legend(handles, labels, loc="outside lower center", ncols=2)
plt.show()

# %%
# Now some anomalies are known: rows that are off in four of 60 features, by 2.4 standard
# deviations each. How much better are others found with the labels of more and more of
# them: others of the same kind, and some that are off in four other features?

from sklearn.metrics import roc_auc_score

from sklearn_gauss.detection import NormalAbnormalDetector

spread = np.linspace(2, 0.4, 60)


def draw(n_normal, n_anomalies, kind):
    """Draw normal rows, and anomalies of a kind."""
    X = rng.normal(size=(n_normal + n_anomalies, 60)) * spread
    X[n_normal:, kind] += 2.4 * spread[kind]
    return X, np.repeat([1, -1], [n_normal, n_anomalies])


known, other = slice(8, 12), slice(40, 44)
tests = {
    "of the labelled kind": draw(300, 300, known),
    "of another": draw(300, 300, other),
}
counts = [5, 10, 20, 40]
gains = {kind: np.empty((12, len(counts))) for kind in tests}
for i in range(12):
    for j, count in enumerate(counts):
        X, y = draw(120, count, known)
        using = NormalAbnormalDetector().fit(X, y)
        ignoring = NormalAbnormalDetector(weight=0).fit(X, y)
        for kind, (X_test, y_test) in tests.items():
            areas = [
                roc_auc_score(y_test, detector.score_samples(X_test))
                for detector in (using, ignoring)
            ]
            gains[kind][i, j] = areas[0] - areas[1]

fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.axhline(0, color="0.6", linewidth=1)
for (kind, gain), colour in zip(gains.items(), ("tab:blue", "tab:red"), strict=True):
    ax.plot(counts, gain.mean(axis=0), "o-", color=colour, label=f"anomalies {kind}")
    ax.fill_between(counts, gain.min(axis=0), gain.max(axis=0), color=colour, alpha=0.15)
    print(f"{kind:21s}", *(f"{value:+.3f}" for value in gain.mean(axis=0)))
ax.set(
    xlabel="labelled anomalies",
    ylabel="ROC AUC gained over no labels",
    xscale="log",
    xticks=counts,
    xticklabels=counts,
)
ax.minorticks_off()
ax.legend()
plt.show()

# %%
# The lines are means over the draws, the bands reach from the least to the greatest gain.
# Labels help to find more of their kind, and no other: with them a detector looks less at
# everything else. Nothing in the data warns of kinds that were never labelled.
