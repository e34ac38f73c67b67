"""
================================================
Score norms: how steep the density is, and where
================================================

The score of a density is the gradient of its logarithm. Its length, with the density
smoothed at several scales, tells how far a row lies from where rows are likely: the
features of `~sklearn_gauss.residual.ScoreNorms`. A mixture of Gaussians learns which
lengths are usual.
"""

# %%
# Lengths at three scales
# -----------------------
#
# Normal rows along two arcs. The score of a Gaussian knows one centre. That of a kernel
# density is short along the arcs and, at a small scale, half-way between them too, where
# it points neither here nor there; at a larger one it is not.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_gauss.residual import ScoreNorms

rng = np.random.default_rng(0)


def draw_rows(n_rows):
    """Draw rows along two arcs."""
    angle, side = rng.uniform(0, np.pi, size=n_rows), rng.choice([-1, 1], size=n_rows)
    arcs = np.column_stack([np.cos(angle) + side / 2, side * (np.sin(angle) - 0.25)])
    return 3 * arcs + 0.25 * rng.normal(size=(n_rows, 2))


X, unseen = draw_rows(400), draw_rows(2000)
scales = [0.3, 1.0, 3.0]
x, y = np.meshgrid(np.linspace(-6.6, 6.6, 133), np.linspace(-4.2, 4.2, 85))
places = np.column_stack([x.ravel(), y.ravel()])

fig, rows = plt.subplots(2, 3, figsize=(9, 4.4), layout="constrained")
for axes, density in zip(rows, ["gaussian", "kde"], strict=True):
    norms = ScoreNorms(scales=scales, density=density).fit(X).transform(places)
    for ax, scale, norm in zip(axes, scales, norms.T, strict=True):
        ax.contourf(x, y, norm.reshape(x.shape), 8, cmap="Blues")
        ax.plot(*X.T, ".", color="0.2", markersize=1.5)
        ax.set(aspect="equal", xticks=[], yticks=[], title=f"{density}, scale {scale}")
plt.show()

# %%
# A detector of them
# ------------------
#
# ``fit_transform``, which a Pipeline calls on its training rows, leaves every row out of
# its own density: these features follow the law of those of unseen rows, so a mixture
# learns what it will see. The number of components is that of the greatest likelihood of
# held-out rows, and `~sklearn_gauss.detection.CalibratedDetector` sets the threshold.

from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gauss.detection import CalibratedDetector

pipeline = make_pipeline(
    ScoreNorms(5, density="kde"), StandardScaler(), GaussianMixture(random_state=0)
)
search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [1, 2, 4, 8]}, cv=5)
search.fit(X)
detector = CalibratedDetector(search.best_estimator_, cv=10).fit(X)
print(search.best_params_)
print(f"unseen normal rows flagged: {(detector.predict(unseen) == -1).mean():.3f}")

fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
decision = detector.decision_function(places).reshape(x.shape)
ax.contourf(x, y, decision, [0, np.inf], colors=["tab:blue"], alpha=0.25)
ax.contour(x, y, decision, [0], colors="tab:red")
ax.plot(*X.T, ".", color="0.2", markersize=2)
ax.set(aspect="equal", xticks=[], yticks=[], title="Normal, by the lengths of the score")
plt.show()
