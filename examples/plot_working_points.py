"""
===============================================
Where to put the threshold: target and measured
===============================================

A detector that should flag 5 % of the normal rows: how many does it flag? Four ways to
set its threshold, from far fewer rows than features to many more.

- ``"quantile"``: the 5 % quantile of the training rows' own scores;
- ``"chi2"``: the chi-squared law that squared distances follow if the Gaussian is known;
- ``"f"``: Hotelling's law, which allows for the estimate, but needs more rows than
  features and no shrinkage;
- ``"loo"``: the order statistic of left-out scores, the default.
"""

# %%
# Every point below is a mean over 50 training sets, each judged on 500 unseen rows. The
# rows are Gaussian, so that the second and third law have every advantage. The numbers of
# training rows are some with which the target can be met exactly: (n + 1) / 20 is whole.

import numpy as np

from sklearn_gauss.detection import MahalanobisDetector

target, n_features, n_repeats = 0.05, 60, 50
sizes = [19, 39, 59, 79, 119, 199, 399, 799]
detectors = {
    "quantile": MahalanobisDetector(calibration="quantile"),
    "chi2": MahalanobisDetector(calibration="chi2"),
    "f": MahalanobisDetector(shrinkage=0.0, calibration="f"),
    "loo": MahalanobisDetector(calibration="loo"),
}

rng = np.random.default_rng(0)
axes = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
deviations = np.arange(1, n_features + 1) ** -0.5
measured = {name: [] for name in detectors}
for n_rows in sizes:
    rates = {name: [] for name in detectors}
    for _ in range(n_repeats):
        rows = rng.normal(size=(n_rows + 500, n_features)) * deviations @ axes
        train, unseen = rows[:n_rows], rows[n_rows:]
        for name, detector in detectors.items():
            if name == "f" and n_rows <= n_features:
                continue
            verdict = detector.fit(train).predict(unseen)
            rates[name].append((verdict == -1).mean())
    for name, values in rates.items():
        measured[name].append(np.mean(values) if values else np.nan)

print(f"{'training rows':16s}" + "".join(f"{n_rows:7d}" for n_rows in sizes))
for name, values in measured.items():
    print(f"{name:16s}" + "".join(f"{value:7.3f}" for value in values))

# %%
# The training quantile comes down to its target only with many times more rows than
# features. The chi-squared law ignores that the Gaussian is an estimate, which makes the
# distances of unseen rows larger. (On real features, which are not Gaussian, it can err
# on the other side: see :ref:`calibration`.) Hotelling's law is right where it applies.
# The left-out scores follow the target everywhere; what is left is the scatter of a
# threshold that few rows determine.

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
colours = {
    "quantile": "tab:red",
    "chi2": "tab:orange",
    "f": "tab:green",
    "loo": "tab:blue",
}
for name, values in measured.items():
    ax.plot(
        np.divide(sizes, n_features),
        values,
        "o-",
        color=colours[name],
        label=name,
        markersize=4,
    )
ax.axhline(target, color="0.4", linestyle="--", linewidth=1)
ax.annotate("target", (0.3, target), (0, 3), textcoords="offset points")
ax.set(
    xscale="log",
    ylim=(0.01, 1.2),
    xlabel="training rows / features",
    ylabel="share of unseen normal rows flagged",
    title=f"Target false-positive rate {target:g}, {n_features} features",
)
ax.set_yscale("log")
rates = [0.02, 0.05, 0.1, 0.2, 0.5, 1]
ax.set_yticks(rates, labels=[f"{rate:g}" for rate in rates])
ax.set_xticks([0.5, 1, 2, 5, 10], labels=["0.5", "1", "2", "5", "10"])
ax.minorticks_off()
ax.legend(title="calibration", loc="lower right", ncols=2)
plt.show()
