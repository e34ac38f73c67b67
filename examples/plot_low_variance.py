"""
===================================================
Components of low variance, where the anomaly shows
===================================================

PCA keeps the components along which the data vary most. An anomaly need not vary there.
A Gaussian weighs each component's squared deviation by its variance, so a small
deviation counts where normal rows hardly vary.
`~sklearn_gauss.decomposition.LowVariancePCA` keeps those components.
"""

# %%
# Normal rows with variances that fall by a power law, and anomalies that differ from
# them by a deviation of equal size along every principal axis.

import numpy as np

rng = np.random.default_rng(0)
n_features = 60
axes = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
deviations = np.arange(1, n_features + 1) ** -1.25


def draw_normal(n_rows):
    """Draw rows whose principal components have a decreasing variance."""
    return rng.normal(size=(n_rows, n_features)) * deviations @ axes


train, unseen, anomalies = draw_normal(400), draw_normal(500), draw_normal(200)
anomalies += 0.008 * rng.normal(size=anomalies.shape)

# %%
# ``explain`` splits the squared distance of every row into contributions of principal
# components. For normal rows a contribution is about 1 whatever the variance, and less at
# the low end, where shrinkage has added to the variance.

import matplotlib.pyplot as plt

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import MahalanobisDetector

detector = MahalanobisDetector().fit(train)
normal_share = detector.explain(unseen).components.mean(axis=0)
explained = detector.explain(anomalies)
lowest = LowVariancePCA(0.01).fit(train)

fig, (top, bottom) = plt.subplots(
    2, 1, figsize=(7.5, 5), sharex=True, layout="constrained"
)
number = np.arange(1, n_features + 1)
top.semilogy(number, explained.variances, ".-", color="0.3", label="variance")
boundary = n_features - lowest.n_components_ + 0.5
for ax in (top, bottom):
    ax.axvspan(boundary, n_features + 0.5, color="tab:blue", alpha=0.1, linewidth=0)
top.set(ylabel="variance", title="Components of the Gaussian")
top.annotate(
    "last 1 % of the variance", (boundary + 1, 1), ha="left", va="top", color="tab:blue"
)
bottom.plot(number, normal_share, ".-", color="0.5", label="unseen normal rows")
bottom.plot(
    number, explained.components.mean(axis=0), ".-", color="tab:red", label="anomalies"
)
bottom.set(
    xlabel="principal component, by decreasing variance",
    ylabel="mean contribution to the\nsquared distance",
    xlim=(0, n_features + 1),
    ylim=(0, 1.75),
)
bottom.legend(loc="upper left")
plt.show()

# %%
# What reduction to either end does to the detection:

from sklearn.pipeline import make_pipeline

from sklearn_gauss.model_selection import anomaly_scorer

auroc = anomaly_scorer("roc_auc")
X = np.vstack([unseen, anomalies])
y = np.repeat([1, -1], [len(unseen), len(anomalies)])
for name, reduction in {
    "first 90 % of the variance": LowVariancePCA(0.90, keep="high"),
    "first 99 % of the variance": LowVariancePCA(0.99, keep="high"),
    "last 1 % of the variance": LowVariancePCA(0.01),
    "all components": LowVariancePCA(1.0),
}.items():
    model = make_pipeline(reduction, MahalanobisDetector()).fit(train)
    kept = model[0].n_components_
    print(f"{name:27s} {kept:2d} components, AUROC {auroc(model, X, y):.3f}")

# %%
# The anomalies here were drawn to be small everywhere, which favours the low end. On real
# features the full Gaussian is the safe choice, and the low end is nearly as good with
# fewer components: see the table in :ref:`low_variance`.
