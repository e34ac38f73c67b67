"""
==================================
A few rows that stand for all rows
==================================

Rows drawn at random leave gaps and form clumps.
`~sklearn_gauss.selection.KernelThinning` keeps rows that fill the gaps: the mean of any
smooth function over them is closer to its mean over all rows.
"""

# %%
# Rows in two dimensions from three groups, and 40 of them kept in either way.

import numpy as np

from sklearn_gauss.selection import KernelThinning

rng = np.random.default_rng(0)


def draw_rows(n_rows):
    """Draw rows from three Gaussians of different shapes."""
    centres = np.array([[0, 0], [4, 1], [1, 4]])
    scales = np.array([[0.6, 0.6], [1.2, 0.3], [0.3, 1.0]])
    group = rng.choice(3, size=n_rows, p=[0.5, 0.3, 0.2])
    return centres[group] + scales[group] * rng.normal(size=(n_rows, 2))


X = draw_rows(1600)
thinning = KernelThinning(bandwidth=0.7, engine="own", random_state=0).fit(X)
thinned = thinning.sample_indices_
drawn = rng.permutation(len(X))[: len(thinned)]
print(f"{len(thinned)} rows of {len(X)}, MMD {thinning.mmd_:.4f}")

# %%
# The rows that either choice keeps, and the density that they give with the kernel.

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

grid = np.stack(
    np.meshgrid(np.linspace(-2.5, 8, 80), np.linspace(-2.5, 7.5, 80)), axis=-1
)


def density(rows, h=thinning.bandwidth_):
    """Mean of the kernel over the rows, on the grid."""
    squares = ((grid[:, :, None] - rows) ** 2).sum(axis=-1)
    return np.exp(-squares / (2 * h**2)).mean(axis=-1)


everything = density(X)
levels = np.linspace(0, everything.max(), 7)[1:]
fig, axes = plt.subplots(
    1, 2, figsize=(9, 4.3), sharex=True, sharey=True, layout="constrained"
)
for ax, kept, name, colour in (
    (axes[0], drawn, "drawn at random", "tab:red"),
    (axes[1], thinned, "thinned", "tab:blue"),
):
    error = np.abs(density(X[kept]) - everything).max() / everything.max()
    ax.scatter(*X.T, s=3, color="0.85")
    ax.contour(*grid.T, everything.T, levels=levels, colors="0.45", linewidths=0.8)
    ax.contour(*grid.T, density(X[kept]).T, levels=levels, colors=colour, linewidths=1.3)
    ax.scatter(*X[kept].T, s=16, color=colour, zorder=3)
    ax.set(
        title=f"{name}: density off by {100 * error:.0f} % of its peak", aspect="equal"
    )
    ax.set(xticks=[], yticks=[])
lines = [Line2D([], [], color=c) for c in ("0.45", "tab:red", "tab:blue")]
fig.legend(
    lines,
    ["density of all rows", "of random rows", "of thinned rows"],
    loc="outside lower center",
    ncols=3,
)
plt.show()

# %%
# The distance between the kept rows and all rows is the maximum mean discrepancy (MMD).
# For the square root of the number of rows it falls nearly as n^(-1/2), and for random
# rows as n^(-1/4): with four times the rows, by half instead of by 30 %.

from sklearn.metrics.pairwise import rbf_kernel


def discrepancy(X, kept, h):
    """MMD of the kept rows to all rows, by its definition."""
    weights = np.full(len(X), 1 / len(X))
    weights[kept] -= 1 / len(kept)
    return np.sqrt(weights @ rbf_kernel(X, gamma=1 / (2 * h**2)) @ weights)


sizes = np.array([64, 256, 1024, 4096])
found = {"drawn at random": [], "thinned": []}
for n_rows in sizes:
    squares = []
    for seed in range(5):
        X = draw_rows(n_rows)
        thinning = KernelThinning(bandwidth=0.7, engine="own", random_state=seed).fit(X)
        drawn = rng.permutation(n_rows)[: len(thinning.sample_indices_)]
        squares.append([discrepancy(X, drawn, 0.7) ** 2, thinning.mmd_**2])
    for mmds, mmd in zip(found.values(), np.sqrt(np.mean(squares, axis=0)), strict=True):
        mmds.append(mmd)

fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for (name, mmds), colour in zip(found.items(), ("tab:red", "tab:blue"), strict=True):
    slope, height = np.polyfit(np.log(sizes), np.log(mmds), 1)
    ax.loglog(sizes, mmds, "o", color=colour)
    label = f"{name}: slope {slope:.2f}"
    ax.loglog(sizes, np.exp(height) * sizes**slope, color=colour, label=label)
    print(f"{name:15s}", *(f"{mmd:.4f}" for mmd in mmds))
ax.set(
    xlabel="rows n, of which the square root is kept",
    ylabel="maximum mean discrepancy",
    xticks=sizes,
    xticklabels=sizes,
    yticks=(ticks := [0.02, 0.05, 0.1, 0.2, 0.3]),
    yticklabels=ticks,
)
ax.minorticks_off()
ax.legend()
plt.show()
