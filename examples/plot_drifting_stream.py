"""
============================
A stream that drifts
============================

`~sklearn_gauss.detection.IncrementalMixtureDetector` learns a row at a time. Its clusters
may move, and new ones may come: it follows, where a detector that was fitted once flags
more and more of what is normal.
"""

# %%
# Two clusters of normal rows. One moves steadily. From row 2000 on there is a third. One
# row in a hundred is an anomaly that nobody marks: the detector learns it too.

import numpy as np

rng = np.random.default_rng(0)
n_rows, n_features, target = 4000, 4, 0.05
time = np.arange(n_rows)
cluster = rng.integers(2, size=n_rows)
third = (time >= 2000) & (rng.random(n_rows) < 0.4)
cluster[third] = 2
X = rng.normal(size=(n_rows, n_features))
X[:, 0] += np.choose(cluster, [-6.0, 6.0, 0.0])
X[:, 1] += np.choose(cluster, [np.zeros(n_rows), 4.0 * time / n_rows, 12.0])
anomaly = rng.random(n_rows) < 0.01
X[anomaly] = rng.uniform(-15, 15, size=(anomaly.sum(), n_features))

# %%
# Every row is judged, then learnt. A row that is far from all components begins a new
# one; one that has gained too little after ``v_min`` rows is pruned. The threshold
# comes from the scores of the last ``n_calibration`` rows, each taken before the row was
# learnt. The rivals are fitted to the first 500 rows.

from sklearn.mixture import GaussianMixture

from sklearn_gauss.detection import (
    CalibratedDetector,
    IncrementalMixtureDetector,
    MahalanobisDetector,
)

start, step = 500, 10
detector = IncrementalMixtureDetector(
    target_fpr=target, n_calibration=300, v_min=300, sp_min=15
).fit(X[:start])
fixed = {
    "one Gaussian, fixed": MahalanobisDetector(target_fpr=target).fit(X[:start]),
    "the same mixture, fixed": IncrementalMixtureDetector(
        target_fpr=target, n_calibration=300, v_min=300, sp_min=15
    ).fit(X[:start]),
    "batch mixture, fixed": CalibratedDetector(
        GaussianMixture(2, random_state=0), target_fpr=target, cv=10
    ).fit(X[:start]),
}
flagged = {name: model.predict(X) == -1 for name, model in fixed.items()}
flagged["the mixture, learning"] = np.zeros(n_rows, dtype=bool)
flagged["the mixture, learning"][:start] = detector.predict(X[:start]) == -1
seen, components, created, pruned, thresholds = [], [], [], [], []
for begin in range(start, n_rows, step):
    rows = slice(begin, begin + step)
    flagged["the mixture, learning"][rows] = detector.predict(X[rows]) == -1
    detector.partial_fit(X[rows])
    seen.append(begin + step)
    components.append(detector.n_components_)
    created.append(detector.n_created_)
    pruned.append(detector.n_pruned_)
    thresholds.append(detector.offset_)

# %%
# The mixture in the end, and the rate of false alarms:

for weight, mean, age in sorted(
    zip(detector.weights_, detector.means_, detector.ages_, strict=True),
    key=lambda part: -part[0],
)[:4]:
    print(f"weight {weight:.2f}, centre {mean.round(1)}, {age} rows old")
print(f"{detector.n_created_} components were created, {detector.n_pruned_} pruned\n")
for name, found in flagged.items():
    early, late = (
        found[rows][~anomaly[rows]].mean()
        for rows in (slice(start, 2000), slice(2300, None))
    )
    hits = found[start:][anomaly[start:]].mean()
    print(
        f"{name:24s}: flags {early:.3f} of the normal rows before the third cluster, "
        f"{late:.3f} from 300 rows after its first, and {hits:.2f} of the anomalies"
    )

# %%
# When the third cluster comes, it is an anomaly for some dozens of rows; then it has a
# component, and the threshold recovers as soon as those rows have left the last 300.

import matplotlib.pyplot as plt

fig, (top, middle, bottom) = plt.subplots(
    3, 1, figsize=(7.5, 7), sharex=True, layout="constrained"
)
window = np.ones(200)
for name, found in flagged.items():
    normal = np.convolve(~anomaly, window, mode="valid")
    alarms = np.convolve(found & ~anomaly, window, mode="valid") / normal
    top.plot(time[len(window) - 1 :], alarms, label=name)
top.axhline(target, color="0.4", linestyle="--", linewidth=1)
top.set(ylabel="normal rows flagged,\nlast 200 rows", ylim=(0, 0.75))
top.legend(loc="upper left", fontsize="small")
middle.step(seen, components, where="post", label="components")
middle.step(seen, created, where="post", label="created so far", linewidth=1)
middle.step(seen, pruned, where="post", label="pruned so far", linewidth=1)
middle.set(ylabel="number")
middle.legend(fontsize="small")
bottom.plot(seen, thresholds)
bottom.set(xlabel="rows seen", ylabel="threshold, nats")
for ax in (top, middle, bottom):
    ax.axvline(2000, color="0.7", linewidth=1)
bottom.annotate(" a third cluster", (2000, max(thresholds)), va="top")
plt.show()
