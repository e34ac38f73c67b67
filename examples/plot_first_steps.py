"""
===========================================
First steps: more features than normal rows
===========================================

Eighty normal rows with 500 features each: fewer rows than features, as is usual where
the rows are images and the features come from a network.
`~sklearn_gauss.detection.MahalanobisDetector` fits a Gaussian to them and sets its
threshold so that a stated share of *unseen* normal rows is flagged.
"""

# %%
# The data
# --------
# The features are correlated, and their principal components have very different
# variances. An anomaly is a normal row with a small shift in a fixed direction.

import numpy as np

rng = np.random.default_rng(0)
n_features = 500
axes = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
deviations = np.arange(1, n_features + 1) ** -0.75


def draw_normal(n_rows):
    """Draw rows whose principal components have a decreasing variance."""
    return rng.normal(size=(n_rows, n_features)) * deviations @ axes


shift = rng.normal(size=n_features)
shift *= 0.45 / np.linalg.norm(shift)
train = draw_normal(80)
unseen = draw_normal(400)
anomalies = draw_normal(100) + shift

# %%
# Fit and judge
# -------------
# ``score_samples`` is the log-density in nats: the higher, the more normal. ``predict``
# says +1 for normal and -1 for an anomaly.

from sklearn_gauss.detection import MahalanobisDetector

detector = MahalanobisDetector(target_fpr=0.05).fit(train)
print(f"shrinkage: {detector.shrinkage_:.3f}")
print(f"unseen normal rows flagged: {(detector.predict(unseen) == -1).mean():.3f}")
print(f"anomalies flagged: {(detector.predict(anomalies) == -1).mean():.3f}")

# %%
# The scores of the training rows themselves are of no use for a threshold: the Gaussian
# has seen them. The threshold comes from ``calibration_scores_``, the score that each
# training row has under the Gaussian of the other 79. They are exact and cost one fit.

import matplotlib.pyplot as plt

scores = {
    "training rows, as fitted": detector.score_samples(train),
    "training rows, left out": detector.calibration_scores_,
    "unseen normal rows": detector.score_samples(unseen),
    "anomalies": detector.score_samples(anomalies),
}
fig, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
ax.boxplot(
    list(scores.values()),
    orientation="horizontal",
    tick_labels=list(scores),
    widths=0.6,
    flierprops={"markersize": 3},
)
ax.axvline(detector.offset_, color="tab:red", linestyle="--")
ax.annotate(
    " threshold", (detector.offset_, 4.55), color="tab:red", ha="left", va="center"
)
ax.set(xlabel="log-density (nats)", ylim=(0.4, 4.8))
ax.invert_yaxis()
ax.set_title("Left-out scores are distributed as those of unseen rows")
plt.show()

# %%
# p-values and many verdicts at once
# ----------------------------------
# ``p_values`` turns scores into conformal p-values. With n calibration rows the smallest
# possible one is 1 / (n + 1). Where many rows are judged at once,
# :func:`scipy.stats.false_discovery_control` bounds the expected share of false alarms
# *among the rows that are flagged*.

from scipy.stats import false_discovery_control

batch = np.vstack([unseen, anomalies])
p_values = detector.p_values(batch)
print(f"smallest possible p-value: {1 / 81:.4f}, smallest found: {p_values.min():.4f}")
for rate in (0.1, 0.2):
    flagged = false_discovery_control(p_values) <= rate
    print(f"rate {rate}: {flagged.sum()} flagged, {flagged[:400].sum()} of them normal")

# %%
# With 80 calibration rows p-values are coarse: 62 of 500 rows would have to lie below all
# left-out scores before any could be flagged at a rate of 0.1. ``recalibrate`` on more
# normal rows makes them finer.
