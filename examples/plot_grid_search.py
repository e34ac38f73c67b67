"""
====================================
Grid search, with labels and without
====================================

A search must train on normal rows only, test on normal rows and anomalies, and know that
a low score means an anomaly. `~sklearn_gauss.model_selection.NormalKFold` does the first
two, `~sklearn_gauss.model_selection.anomaly_scorer` the third; the rest is scikit-learn's
`~sklearn.model_selection.GridSearchCV`.
"""

# %%
# The data
# --------
# Labels are +1 for normal rows and -1 for anomalies.

import numpy as np

rng = np.random.default_rng(0)
n_features = 80
axes = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
deviations = np.arange(1, n_features + 1) ** -1.0
y = np.repeat([1, -1], [200, 40])
X = rng.normal(size=(len(y), n_features)) * deviations
X[y == -1] += rng.normal(scale=0.012, size=(40, n_features))
X = X @ axes

# %%
# With labelled anomalies
# -----------------------
# ``refit=False``, because a refit would train on all rows that the search was given, the
# anomalies among them. The best parameters are fitted to the normal rows instead.

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline

from sklearn_gauss.decomposition import LowVariancePCA
from sklearn_gauss.detection import CalibratedDetector, MahalanobisDetector
from sklearn_gauss.model_selection import NormalKFold, anomaly_scorer

# The search compares rankings, so that any threshold will do.
pipeline = Pipeline(
    [
        ("reduce", LowVariancePCA()),
        ("detect", MahalanobisDetector(calibration="quantile")),
    ]
)
variances = [0.001, 0.003, 0.01, 0.1, 1.0]
shrinkages = [0.003, 0.01, 0.03, 0.1]
search = GridSearchCV(
    pipeline,
    {"reduce__variance": variances, "detect__shrinkage": shrinkages},
    cv=NormalKFold(n_splits=5, shuffle=True, random_state=0),
    scoring=anomaly_scorer("roc_auc"),
    refit=False,
)
search.fit(X, y)
print("best:", search.best_params_, f"AUROC {search.best_score_:.3f}")

# %%
# A pipeline's reduction has seen all rows, so the threshold of the whole is set by
# folds. With few folds it is too strict, because the folds' detectors see fewer rows than
# the final one; as many folds as rows leave out single rows.

best = clone(pipeline).set_params(**search.best_params_)
fresh = rng.normal(size=(2000, n_features)) * deviations @ axes
for cv in (10, 50, 200):
    detector = CalibratedDetector(best, target_fpr=0.05, cv=cv).fit(X[y == 1])
    flagged = detector.predict(fresh) == -1
    print(f"{cv:3d} folds: {flagged.mean():.3f} of unseen normal rows flagged")

# %%
# Without labels
# --------------
# ``score`` is the mean log-density, which needs no anomalies: pass the normal rows and
# ordinary folds. Log-densities can only be compared in one and the same space. They
# choose a shrinkage, but not a number of components: a density over three coordinates
# and one over thirty are in different units.

unlabelled = GridSearchCV(
    MahalanobisDetector(calibration="quantile"),
    {"shrinkage": np.geomspace(0.001, 0.5, 15)},
    cv=KFold(5, shuffle=True, random_state=0),
)
unlabelled.fit(X[y == 1])
chosen = unlabelled.best_params_["shrinkage"]
exact = MahalanobisDetector(shrinkage="loo").fit(X[y == 1])
print(f"shrinkage by five folds: {chosen:.4f}")
print(f"shrinkage by the exact leave-one-out likelihood: {exact.shrinkage_:.4f}")

# %%
# Both searches in one figure. The labels reward what separates these anomalies; the
# likelihood rewards what describes the normal rows.

import matplotlib.pyplot as plt

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
grid = np.empty((len(shrinkages), len(variances)))
for params, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    row = shrinkages.index(params["detect__shrinkage"])
    column = variances.index(params["reduce__variance"])
    grid[row, column] = score
    left.text(column, row, f"{score:.3f}", ha="center", va="center", fontsize=9)
left.imshow(grid, origin="lower", cmap="Blues", aspect="auto", vmax=1.1)
left.set_xticks(range(len(variances)), variances)
left.set_yticks(range(len(shrinkages)), shrinkages)
left.set(
    xlabel="share of the variance kept, from the low end",
    ylabel="shrinkage",
    title="With labels: AUROC",
)
right.semilogx(
    unlabelled.cv_results_["param_shrinkage"].astype(float),
    unlabelled.cv_results_["mean_test_score"],
    ".-",
)
right.axvline(exact.shrinkage_, color="tab:orange", linestyle="--", label='"loo"')
right.set(
    xlabel="shrinkage",
    ylabel="mean held-out log-density (nats)",
    title="Without labels, all components",
)
right.legend()
plt.show()
