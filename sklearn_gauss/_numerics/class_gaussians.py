"""Gaussians of classes of rows: with a covariance each, or with one for all of them.

The shared covariance is that of the residuals, every row less the mean of its class,

    S = (1/N) sum_i w_i r_i r_i',

with w_i = 1, or N / (C n_c) for a row of class c where every class is to count alike
(S is then the mean of the classes' own covariances). So it is the covariance of the rows
sqrt(w_i) r_i about zero, and intensities, operators and precision are those of one
Gaussian.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics.arrays import Frame, row_blocks
from sklearn_gauss._numerics.dense import DenseCovariance
from sklearn_gauss._numerics.density import squared_mahalanobis
from sklearn_gauss._numerics.gaussian import Gaussian, estimate
from sklearn_gauss._numerics.lowrank import LowRankIsotropic
from sklearn_gauss._numerics.sums import Sums, summarise

__all__ = [
    "CLASS_WEIGHTS",
    "Grouped",
    "NoVarianceError",
    "Shared",
    "best_class",
    "block_slices",
    "class_log_densities",
    "class_squares",
    "fit_each",
    "fit_one",
    "fit_shared",
    "pack",
    "pooled",
    "relative_scores",
    "score_gradient",
    "unpack",
]


#: Beyond this many units of the frame, about the size of the residuals, the distance
#: between two means would cost rows that lie close to one of them their digits.
_NEAR = 64.0


class NoVarianceError(ValueError):
    """Rows without variance; ``place`` is the class, or None for the residuals."""

    def __init__(self, place: int | None):
        super().__init__(place)
        self.place = place


# ------------------------------------------------------------------- rows by class
@dataclass(frozen=True)
class Grouped:
    """Rows about the means of their classes.

    residuals : (n, p), in the data's units
    labels : (n,), 0 to C - 1
    centres : C frames of scale 1 with the means at zero
    """

    residuals: NDArray
    labels: NDArray
    centres: list[Frame]

    @classmethod
    def of(cls, X: NDArray, labels: NDArray, n_classes: int) -> "Grouped":
        """Rows X (n, p) by class, none of which is empty."""
        residuals, centres = np.empty(X.shape), []
        for c in range(n_classes):
            rows = X[labels == c]
            frame = Frame.around(rows)
            Z = frame.enter(rows)
            mean = Z.mean(axis=0)
            residuals[labels == c] = Z - mean
            centres.append(frame.moved(mean))
        return cls(residuals, labels, centres)

    @cached_property
    def counts(self) -> NDArray:
        """Rows of each class (C,)."""
        return np.bincount(self.labels, minlength=len(self.centres))

    def gaps(self, place: int, scale: NDArray) -> NDArray:
        """Mean of one class less those of all (C, p), over ``scale``."""
        own = self.centres[place]
        return np.stack(
            [
                (own.origin - other.origin) / scale + (own.shift - other.shift) / scale
                for other in self.centres
            ]
        )


def _by_rows(counts: NDArray) -> NDArray:
    return np.ones(len(counts))


def _by_classes(counts: NDArray) -> NDArray:
    present = counts > 0
    shares = counts.sum() / (present.sum() * np.where(present, counts, 1))
    return np.where(present, shares, 0.0)


#: Weight of a row of each class (C,), from the number of rows of each class (C,).
CLASS_WEIGHTS: dict[str, Callable[[NDArray], NDArray]] = {
    "frequency": _by_rows,
    "uniform": _by_classes,
}


def pooled(grouped: Grouped, weights: NDArray, rule: str | float) -> Sums:
    """Sums over the residuals about zero, of weights (C,) by class."""
    rows = grouped.residuals
    if (weights != 1).any():
        rows = rows * np.sqrt(weights)[grouped.labels, None]
    return summarise(rows, centred=False, dense=False, by_column=rule == 0)


# ----------------------------------------------------------------------------- fits
@dataclass(frozen=True)
class Shared:
    """Classes of one covariance: the rows, their sums, and the Gaussian about zero."""

    grouped: Grouped
    weighting: str
    sums: Sums
    gaussian: Gaussian

    @property
    def gaussians(self) -> list[Gaussian]:
        """Gaussian of each class, with the same operator."""
        model, scale = self.gaussian, self.sums.frame.scale
        return [
            Gaussian(
                Frame(centre.origin, centre.shift / scale, scale),
                model.covariance,
                model.shrinkage,
            )
            for centre in self.grouped.centres
        ]


def fit_shared(
    X: NDArray, labels: NDArray, n_classes: int, *, rule: str | float, weighting: str
) -> Shared:
    """Means of the classes, and the shrunk covariance of all residuals."""
    grouped = Grouped.of(X, labels, n_classes)
    sums = pooled(grouped, CLASS_WEIGHTS[weighting](grouped.counts), rule)
    if not sums.totals.spread.trace > 0:
        raise NoVarianceError(None)
    return Shared(grouped, weighting, sums, estimate(sums, rule))


def fit_one(X: NDArray, rule: str | float) -> tuple[Sums, Gaussian]:
    """Sums over rows X and their shrunk Gaussian."""
    sums = summarise(X, centred=True, dense=False, by_column=rule == 0)
    if not sums.totals.spread.trace > 0:
        raise NoVarianceError(None)
    return sums, estimate(sums, rule)


def fit_each(
    X: NDArray, labels: NDArray, n_classes: int, *, rule: str | float
) -> list[tuple[Sums, Gaussian]]:
    """Sums and shrunk Gaussian of every class."""
    fits = []
    for c in range(n_classes):
        try:
            fits.append(fit_one(X[labels == c], rule))
        except NoVarianceError as error:
            raise NoVarianceError(c) from error
    return fits


# --------------------------------------------------------------------------- scores
def class_squares(X: NDArray, gaussians: list[Gaussian]) -> NDArray:
    """Squared distances (n, C) to the classes; infinite beyond float64's range."""
    gaps = _common_gaps(gaussians)
    if gaps is not None:
        return _squares_of_one_operator(X, gaussians[0], gaps)
    return np.stack(
        [squared_mahalanobis(X, g.centre, g.covariance) for g in gaussians], axis=1
    )


def _common_gaps(gaussians: list[Gaussian]) -> NDArray | None:
    """Means of classes less that of the first one (C, p), in its frame.

    None where rows are to be whitened for each class: there is one, or they have
    covariances of their own, or means far apart.
    """
    first = gaussians[0]
    alone = len(gaussians) == 1
    if alone or any(g.covariance is not first.covariance for g in gaussians):
        return None
    own = first.centre
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = np.stack(
            [
                (g.centre.origin - own.origin) / own.scale + (g.centre.shift - own.shift)
                for g in gaussians
            ]
        )
    return gaps if np.abs(gaps).max() <= _NEAR else None


def _squares_of_one_operator(X: NDArray, first: Gaussian, gaps: NDArray) -> NDArray:
    """Squared distances (n, C), each the length of a difference of whitened rows."""
    squares = np.empty((len(X), len(gaps)))
    with np.errstate(over="ignore", invalid="ignore"):
        white_gaps = first.covariance.whiten(gaps)
        for rows in row_blocks(*X.shape):
            white = first.covariance.whiten(first.centre.enter(X[rows]))
            for k, gap in enumerate(white_gaps):
                away = white - gap
                squares[rows, k] = np.einsum("ij,ij->i", away, away)
    return np.where(np.isnan(squares), np.inf, squares)


def block_slices(n_features: int, n_blocks: int) -> list[slice]:
    """Runs of columns, as ``numpy.array_split`` cuts them."""
    parts = np.array_split(np.arange(n_features), n_blocks)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]


def class_log_densities(
    squares: NDArray, gaussians: list[list[Gaussian]], weights: NDArray
) -> NDArray:
    """Log-densities (n, C), of squares (n, C, B), added over B blocks by weights (C, B).

    Minus infinity where a square that counts is infinite.
    """
    densities = np.zeros(squares.shape[:2])
    for b, block in enumerate(gaussians):
        for c, gaussian in enumerate(block):
            if weights[c, b] > 0:
                found = gaussian.log_density(squares[:, c, b])
                densities[:, c] += weights[c, b] * found
    return densities


def relative_scores(
    densities: NDArray, background: NDArray | None, weights: NDArray
) -> NDArray:
    """Log-densities (n, C) less those (n, B) of the background, by the same weights.

    Minus infinity where either is, in a block that counts: of two infinite distances
    nothing is known.
    """
    if background is None:
        return densities
    lost = np.isinf(densities) | (np.isinf(background) @ (weights > 0).T)
    level = np.where(np.isinf(background), 0.0, background) @ weights.T
    return np.where(lost, -np.inf, np.where(lost, 0.0, densities) - level)


def best_class(scores: NDArray) -> NDArray:
    """Index of the class of the highest score for each row."""
    return scores.argmax(axis=1)


def score_gradient(X: NDArray, gaussian: Gaussian) -> NDArray:
    """Gradient (n, p) of the log-density, -Sigma^-1 (x - mean)."""
    Z = gaussian.centre.enter(X)
    return -gaussian.covariance.solve(Z) / gaussian.centre.scale


# ---------------------------------------------------------------------------- state
def pack(gaussians: list[Gaussian]) -> dict:
    """Gaussians as a dict of arrays and numbers; an operator that all share only once."""
    operators = [g.covariance for g in gaussians]
    if all(operator is operators[0] for operator in operators):
        operators = operators[:1]
    return {
        "origins": np.stack([g.centre.origin for g in gaussians]),
        "shifts": np.stack([g.centre.shift for g in gaussians]),
        "scales": np.stack([g.centre.scale for g in gaussians]),
        "shrinkage": [g.shrinkage for g in gaussians],
        "operators": [dict(vars(operator)) for operator in operators],
    }


def unpack(state: dict) -> list[Gaussian]:
    """Inverse of `pack`."""
    operators = [
        (LowRankIsotropic if "axes" in fields else DenseCovariance)(**fields)
        for fields in state["operators"]
    ]
    if len(operators) == 1:
        operators = operators * len(state["origins"])
    frames = zip(state["origins"], state["shifts"], state["scales"], strict=True)
    return [
        Gaussian(Frame(origin, shift, np.asarray(scale)), operator, amount)
        for (origin, shift, scale), operator, amount in zip(
            frames, operators, state["shrinkage"], strict=True
        )
    ]
