"""
=========================
A stream of normal rows
=========================

``partial_fit`` adds rows to a detector. The result is that of one fit to all rows seen,
to rounding: the mean, the covariance, the estimated shrinkage and the threshold.
"""

# %%
# Rows arrive twenty at a time; no row needs to be kept by the caller.

import numpy as np

from sklearn_gauss.detection import MahalanobisDetector
from sklearn_gauss.model_selection import anomaly_scorer

rng = np.random.default_rng(0)
n_features, target = 100, 0.05
axes = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
deviations = np.arange(1, n_features + 1) ** -0.75


def draw_normal(n_rows):
    """Draw rows whose principal components have a decreasing variance."""
    return rng.normal(size=(n_rows, n_features)) * deviations @ axes


unseen = draw_normal(2000)
anomalies = draw_normal(500) + 0.03 * rng.normal(size=(500, n_features))
X_test = np.vstack([unseen, anomalies])
y_test = np.repeat([1, -1], [len(unseen), len(anomalies)])
auroc = anomaly_scorer("roc_auc")

chunks = [draw_normal(20) for _ in range(40)]
detector = MahalanobisDetector(target_fpr=target)
seen, rates, aurocs = [], [], []
for chunk in chunks:
    detector.partial_fit(chunk)
    seen.append(detector.covariance_estimator_.n_samples_seen_)
    rates.append((detector.predict(unseen) == -1).mean())
    aurocs.append(auroc(detector, X_test, y_test))

# %%
# The detector from the stream against one fit to all rows:

whole = MahalanobisDetector(target_fpr=target).fit(np.vstack(chunks))
streamed = detector.mahalanobis(X_test)
difference = np.abs(streamed / whole.mahalanobis(X_test) - 1).max()
print(f"rows seen: {seen[-1]}")
print(f"largest relative difference of a squared distance: {difference:.0e}")
print(f"thresholds: {detector.offset_:.9f} and {whole.offset_:.9f}")
print(f"shrinkage: {detector.shrinkage_:.9f} and {whole.shrinkage_:.9f}")

# %%
# More rows make better detectors. The false-positive rate holds from the first chunk
# that is large enough to certify its target (19 rows for 0.05), whether the rows seen
# are fewer than the features or more. With few rows it scatters, because the threshold
# is itself an estimate from as many rows.

import matplotlib.pyplot as plt

fig, (top, bottom) = plt.subplots(
    2, 1, figsize=(7.5, 4.6), sharex=True, layout="constrained"
)
top.plot(seen, rates, ".-")
top.axhline(target, color="0.4", linestyle="--", linewidth=1, label="target")
top.set(ylabel="unseen normal rows\nflagged", ylim=(0, 0.15))
top.legend(loc="upper right")
bottom.plot(seen, aurocs, ".-", color="tab:green")
bottom.set(xlabel="rows seen", ylabel="AUROC")
for ax in (top, bottom):
    ax.axvline(n_features, color="0.7", linewidth=1)
bottom.annotate(" as many rows as features", (n_features, min(aurocs)), va="bottom")
plt.show()
