"""
===============================
First steps in a kernel density
===============================

A Gaussian has one centre and one shape. Where normal rows come in groups or along curves,
`~sklearn_gauss.detection.KDEDetector` follows them: its density is the mean of a kernel
placed on every normal row.
"""

# %%
# Fit and threshold
# -----------------
#
# Normal rows along two arcs. As with every detector, the threshold comes from left-out
# scores, so that about ``target_fpr`` of unseen normal rows are flagged.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_gauss.detection import KDEDetector, MahalanobisDetector

rng = np.random.default_rng(0)


def draw_rows(n_rows):
    """Draw rows along two arcs."""
    angle, side = rng.uniform(0, np.pi, size=n_rows), rng.choice([-1, 1], size=n_rows)
    arcs = np.column_stack([np.cos(angle) + side / 2, side * (np.sin(angle) - 0.25)])
    return 3 * arcs + 0.25 * rng.normal(size=(n_rows, 2))


X, unseen = draw_rows(600), draw_rows(2000)
detector = KDEDetector(whiten="diagonal", target_fpr=0.05, random_state=0).fit(X)
print(f"bandwidth {detector.bandwidth_:.3f}, threshold {detector.offset_:.2f} nats")
print(f"unseen normal rows flagged: {(detector.predict(unseen) == -1).mean():.3f}")

grid = np.stack(
    np.meshgrid(np.linspace(-6.6, 6.6, 133), np.linspace(-4.2, 4.2, 85)), axis=-1
)


def contours(ax, detector):
    """Draw the log-density and the threshold of a detector."""
    scores = detector.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    x, y = np.moveaxis(grid, -1, 0)
    levels = scores.max() - np.array([30, 15, 7.5, 3.5, 1.5, 0])
    ax.contourf(x, y, scores, levels, colors=plt.cm.Blues(np.linspace(0.08, 0.6, 5)))
    ax.contour(x, y, scores, [detector.offset_], colors="tab:red", linestyles="solid")
    ax.set(aspect="equal", xticks=[], yticks=[])


fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
gaussian = MahalanobisDetector(target_fpr=0.05).fit(X)
for ax, fitted in zip(axes, (gaussian, detector), strict=True):
    contours(ax, fitted)
    ax.scatter(*X.T, s=4, color="0.15", alpha=0.5)
    ax.set_title(f"{type(fitted).__name__}, threshold in red")
plt.show()

# %%
# Three rows to judge: on an arc, between the arcs, and far away. The score is the
# log-density, ``decision_function`` what it has above the threshold, and the p-value the
# share of normal rows that would score as low. The effective neighbours are the training
# rows that make up the density at the row; where they are few, the score is a distance to
# the nearest ones. ``condensation`` is the forecast for Gaussian rows, which these are
# not: above 1 the neighbours are few.

rows = np.array([[1.5, 2.25], [0.0, 0.0], [6.0, -5.0]])
print("    x     y    score    above  verdict  p-value  neighbours  condensation")
for row, *values in zip(
    rows,
    detector.score_samples(rows),
    detector.decision_function(rows),
    detector.predict(rows),
    detector.p_values(rows),
    detector.effective_neighbors(rows),
    detector.condensation(rows),
    strict=True,
):
    print(
        "{:5.1f} {:5.1f} {:8.2f} {:8.2f} {:+8d} {:8.3f} {:11.1f} {:13.2f}".format(
            *row, *values
        )
    )
print(f"mean score of unseen normal rows: {detector.score(unseen):.3f} nats")

# %%
# Mode, gradient and samples
# --------------------------
#
# ``mode`` climbs to the densest point, ``gradient`` points to where the density rises
# fastest, and ``sample`` draws new rows from it.

mode = detector.mode()
places = grid[6::8, 6::8].reshape(-1, 2)
arrows = detector.gradient(places)
arrows /= np.linalg.norm(arrows, axis=1, keepdims=True)
drawn = detector.sample(600)

fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
contours(axes[0], detector)
axes[0].quiver(*places.T, *arrows.T, scale=36, width=0.003, color="0.2")
axes[0].plot(*mode, "*", color="tab:orange", markersize=16, markeredgecolor="white")
axes[0].set_title("Direction of the gradient, and the mode")
contours(axes[1], detector)
axes[1].scatter(*drawn.T, s=4, color="tab:green", alpha=0.7)
axes[1].set_title("600 rows drawn from the density")
plt.show()
print(f"mode at {mode.round(2)}, {detector.score_samples([mode])[0]:.2f} nats")

# %%
# The bandwidth
# -------------
#
# The default ``bandwidth="loo"`` has the greatest left-out likelihood.
# ``bandwidth_curve`` computes it for any bandwidth, and
# `~sklearn_gauss.plotting.BandwidthDisplay` draws the curve. ``bandwidth_regimes_`` tells
# whether the density is an average of many rows.

curve = detector.bandwidth_curve([0.02, 0.05, detector.bandwidth_, 0.3, 1.0])
for h, likelihood, count in zip(
    curve.bandwidths, curve.log_likelihood, curve.effective_neighbors, strict=True
):
    print(f"h = {h:.3f}: {likelihood:8.3f} nats a row, {count:6.1f} neighbours")
print(detector.bandwidth_regimes_["regime"], "regime")

# %%
# Fewer rows, more rows
# ---------------------
#
# With ``max_reference`` scores cost less: :ref:`kernel thinning <kernel_thinning>` keeps
# rows that stand for all of them. ``partial_fit`` adds rows, and ``recalibrate`` sets the
# threshold on fresh ones.

thinned = KDEDetector(whiten="diagonal", max_reference=200, random_state=0).fit(X)
difference = np.abs(thinned.score_samples(unseen) - detector.score_samples(unseen))
print(
    f"{len(thinned.reference_)} of {len(X)} rows: scores differ by "
    f"{np.median(difference):.2f} nats in the median"
)
detector.partial_fit(draw_rows(400))
print(f"{len(detector.reference_)} rows, bandwidth {detector.bandwidth_:.3f}")
detector.recalibrate(draw_rows(999), target_fpr=0.01)
print(f"unseen normal rows flagged: {(detector.predict(unseen) == -1).mean():.3f}")
