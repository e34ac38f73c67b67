"""
=================================================
How many rows a kernel density is an average over
=================================================

A kernel density is a mean of n kernels. Whether it behaves like one depends on the
bandwidth h. In high dimension there are three regimes [1]_:

- *gaussian*, h above h_CLT: from sample to sample the density scatters about its
  expectation like any mean of many terms;
- *heavy-tailed*, h from h_G to h_CLT: it comes close to its expectation, but a single row
  may exceed it by far;
- *condensed*, h below h_G: a few rows, and in the end the nearest one, make up the sum.

`~sklearn_gauss.detection.KDEDetector` computes h_G and h_CLT from the covariance of its
rows (:ref:`kernel_regimes`). This page compares them with experiments on Gaussian rows.

.. [1] G. Biroli and M. Mézard, "Kernel density estimators in large dimensions",
   arXiv:2408.05807 (2024).
"""

# %%
# The density at one point, from sample to sample
# -----------------------------------------------
#
# Squared distances of a point x to standard Gaussian rows follow a noncentral chi-squared
# law, from which thousands of samples are drawn at once. The expectation of the density
# is known too: that of a Gaussian of variance 1 + h\ :sup:`2`.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logsumexp

from sklearn_gauss.detection import KDEDetector
from sklearn_gauss.exceptions import NearestNeighborWarning
from sklearn_gauss.plotting import BandwidthDisplay

# The small bandwidths here are meant.
warnings.simplefilter("ignore", NearestNeighborWarning)
rng = np.random.default_rng(0)


def fit(rows, bandwidth):
    """Fit a density to rows as they are, without the cost of a threshold."""
    return KDEDetector(bandwidth, whiten="none", calibration=0.0).fit(rows)


def critical(rows):
    """Bandwidth h_G of the rows."""
    return fit(rows, 1.0).bandwidth_regimes_["h_g"]


d, n_rows, n_samples = 50, 2000, 2000
h_g = critical(rng.normal(size=(n_rows, d)))
squares = rng.noncentral_chisquare(d, d, size=(n_samples, n_rows))  # |x|^2 = d

fig, axes = plt.subplots(1, 3, figsize=(10, 3.5), layout="constrained")
for ax, ratio, regime in zip(
    axes, (0.5, 1.2, 2.5), ("condensed", "heavy-tailed", "gaussian"), strict=True
):
    h = ratio * h_g
    kernels = logsumexp(-squares / (2 * h**2), axis=1) - np.log(n_rows)
    logs = kernels + d / 2 * np.log1p(1 / h**2) + d / (2 * (1 + h**2))
    below, middle = (logs < 0).mean(), np.exp(np.median(logs))
    print(f"h = {ratio} h_G: {below:6.1%} below the expectation, median {middle:.2g}")
    ax.hist(logs, bins=40, color="tab:blue", alpha=0.7)
    ax.axvline(0, color="0.2", linestyle="--", linewidth=1)
    ax.set_title(f"{regime}: $h = {ratio}\\,h_G$")
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)
axes[1].set_xlabel("density over its expectation, natural logarithm (dashed: equal)")
axes[0].set_ylabel(f"{n_samples} samples")
plt.show()

# %%
# On the left no sample reaches the expectation, which comes from samples too rare to be
# among these: those with a row close to x. On the right the law is the symmetric one of a
# mean, a few per cent wide.
#
# The share of the nearest rows, and the best bandwidth
# -----------------------------------------------------
#
# Let p be the shares of the rows in the density at a new row. In the limit of high
# dimension the mean of sum p\ :sup:`2` is 1 - (h / h_G)\ :sup:`2` below h_G, and 0 above.
# ``effective_neighbors`` is the inverse of that sum.
#
# The bandwidth of the greatest left-out likelihood is ``bandwidth="loo"``, and its limit
# ``bandwidth="condensation"``.

n_rows, ratios = 2000, np.linspace(0.05, 1.5, 11)
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for d, colour in ((12, "tab:orange"), (50, "tab:green"), (200, "tab:blue")):
    rows, unseen = rng.normal(size=(n_rows, d)), rng.normal(size=(500, d))
    h_g = critical(rows)
    shares = [
        np.mean(1 / fit(rows, np.sqrt(ratio) * h_g).effective_neighbors(unseen))
        for ratio in ratios
    ]
    left.plot(ratios, shares, "o-", color=colour, markersize=3.5, label=f"d = {d}")
left.plot([0, 1, 1.5], [1, 0, 0], color="0.2", linestyle="--", linewidth=1, label="limit")
left.set(
    xlabel=r"$(h / h_G)^2$",
    ylabel="mean of $\\sum p^2$ at new rows",
    title=f"How much few rows make up, n = {n_rows}",
)
left.legend()

dimensions = [6, 12, 25, 50, 100, 200, 400, 800]
found = {"loo": [], "condensation": []}
for d in dimensions:
    rows = rng.normal(size=(n_rows, d))
    h_g = critical(rows)
    for rule, values in found.items():
        values.append(fit(rows, rule).bandwidth_ / h_g)
print(f"{'dimensions':14s}" + "".join(f"{d:6d}" for d in dimensions))
for rule, values in found.items():
    print(f"{rule:14s}" + "".join(f"{value:6.2f}" for value in values))
right.plot(dimensions, found["loo"], "o-", color="tab:blue", label='"loo"')
right.plot(
    dimensions,
    found["condensation"],
    color="0.2",
    linestyle="--",
    linewidth=1,
    label='limit, "condensation"',
)
right.axhline(1, color="0.6", linewidth=1)
right.set(
    xscale="log",
    xlabel="dimensions d",
    ylabel="$h / h_G$",
    title=f"The best bandwidth, n = {n_rows}",
)
right.set_xticks(dimensions, labels=dimensions)
right.minorticks_off()
right.legend()
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The limit is approached from above, and slowly: ln n counts, not n. Few rows still make
# up much of the density at h_G. From some tens of dimensions on the best bandwidth lies
# in the condensed regime: the likelihood of unseen rows is greatest where scores are
# little more than distances to the nearest rows.
#
# One detector
# ------------
#
# `~sklearn_gauss.plotting.BandwidthDisplay` shows where a detector stands.

detector = KDEDetector(whiten="none").fit(rng.normal(size=(1000, 50)))
fig, ax = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
display = BandwidthDisplay.from_estimator(
    detector, name="1000 Gaussian rows in 50 dimensions", ax=ax
)
plt.show()

# %%
# The regimes are those of a typical row. For each row, ``condensation`` exceeds 1 where a
# few others make up its density: the farther out, the sooner. At anomalies a density is a
# distance to the nearest rows before it is one at normal rows.

smooth = fit(rng.normal(size=(1000, 50)), 1.5)
unseen = rng.normal(size=(200, 50))
print("distance from the mean   condensation   effective neighbours")
for factor in (0, 1, 2, 3):
    ratio = np.median(smooth.condensation(factor * unseen))
    count = np.median(smooth.effective_neighbors(factor * unseen))
    print(f"{factor} x {ratio:31.2f} {count:22.1f}")
