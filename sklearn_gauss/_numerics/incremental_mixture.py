"""A Gaussian mixture that learns a row at a time, in O(K D^2) for K components.

Every component keeps a factor F of its precision, F F' = C^-1, which a row changes by a
matrix of rank one (Potter's square root form). No covariance is ever inverted, and F F'
is positive definite whatever the rows are. Coordinates are those of a `Frame`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg.blas import dger

from sklearn_gauss._numerics.arrays import Frame, power_of_two
from sklearn_gauss._numerics.mixture_density import Mixture, log_sum, normal_log_density

__all__ = [
    "FARTHEST",
    "Rules",
    "default_delta",
    "default_prior_count",
    "empty",
    "initial_frame",
    "learn",
]

#: Largest coordinate, in units of the initial spread: a row r deviations away that has to
#: be learnt (at `max_components`) costs a factor r of the precision of the factor.
FARTHEST = 1e12

#: Share of a row below which a component is left as it is: a change by less than this,
#: relative to its covariance, is lost in rounding even after 1e5 rows.
NEGLIGIBLE = 1e-20

#: Probability with which two rows of one Gaussian are near under "auto": with D = 2 they
#: are for delta=.5 without the account of how uncertain the mean of one row is.
PAIR_IS_NEAR = 0.58


@dataclass(frozen=True)
class Rules:
    """How a mixture grows.

    deviation : (D,), standard deviations of a new component
    novelty : squared distance from which a row is new to a component
    prior_count : rows that the covariance of a new component is worth
    max_components : int or None
    v_min, sp_min : components older than v_min with a count below sp_min are pruned;
        v_min is infinite where none are
    """

    deviation: NDArray
    novelty: float
    prior_count: float
    max_components: int | None
    v_min: float
    sp_min: float


def default_delta(n_features: int, tau: float) -> float:
    """Deviation of a new component, relative to the spread of all rows.

    The one with which a second row of a Gaussian of that spread is near the first with
    probability `PAIR_IS_NEAR`: .35 for D = 2 and tau = .001, towards 1 for large D.
    """
    near = stats.chi2.ppf(PAIR_IS_NEAR, n_features)
    return float(np.sqrt(near / stats.chi2.isf(tau, n_features)))


def default_prior_count(n_features: int) -> float:
    """Rows that the covariance of a new component is worth: 1 + D / 4.

    With few, a component of less than D rows is flat in what they do not span, so that
    the next row of its own cluster is new to it; with many, clusters stay round.
    """
    return 1 + n_features / 4


def initial_frame(X: NDArray, scale: NDArray | None) -> tuple[Frame, NDArray, NDArray]:
    """Frame, spread (D,) of the columns in its units, and which columns are constant.

    A constant column gets the median spread of the others; NaN if there are none.
    """
    frame = Frame.around(X)
    if scale is None:
        frame = frame.rescaled(X, by_column=True) if np.ptp(X, axis=0).any() else frame
        scale = frame.scale * frame.enter(X).std(axis=0)
    constant = ~(scale > 0)
    if constant.any():
        known = scale[~constant]
        scale = np.where(constant, np.median(known) if len(known) else np.nan, scale)
    unit = power_of_two(scale)
    return Frame(frame.origin, frame.shift, unit), scale / unit, constant


def empty(n_features: int) -> Mixture:
    """No components yet."""
    return Mixture(
        means=np.empty((0, n_features)),
        factors=np.empty((0, n_features, n_features)),
        log_dets=np.empty(0),
        counts=np.empty(0),
        ages=np.empty(0, dtype=np.int64),
        n_rows=0,
        n_created=0,
        n_pruned=0,
    )


def learn(mixture: Mixture, Z: NDArray, rules: Rules) -> tuple[Mixture, NDArray]:
    """Mixture after the rows Z (n, D), and the score of each before it was learnt.

    The score is the log-density in nats; NaN where there was no component.
    """
    mixture = replace(
        mixture,
        **{
            name: value.copy()
            for name, value in vars(mixture).items()
            if isinstance(value, np.ndarray)
        },
    )
    scores = np.empty(len(Z))
    for i, z in enumerate(Z):
        mixture, scores[i] = _learn_row(mixture, z, rules)
    return mixture, scores


def _learn_row(mixture: Mixture, z: NDArray, rules: Rules) -> tuple[Mixture, float]:
    """Mixture after one row, whose arrays may be changed in place, and the score."""
    if not len(mixture.means):
        return _with_new(mixture, z, rules), np.nan
    deviations = z - mixture.means
    white = np.matmul(deviations[:, None, :], mixture.factors)[:, 0]
    squares = np.einsum("kd,kd->k", white, white)
    joint = mixture.log_weights + normal_log_density(squares, mixture.log_dets, len(z))
    score = float(log_sum(joint))
    # The mean of n rows is off by a deviation of 1 / sqrt(n) itself.
    new = (squares >= rules.novelty * (1 + 1 / mixture.counts)).all()
    if new and len(squares) < (rules.max_components or np.inf):
        mixture = _with_new(mixture, z, rules)
    else:
        shares = np.exp(joint - score)
        _update(mixture, shares, deviations, white, np.sqrt(squares), rules)
        mixture = replace(mixture, n_rows=mixture.n_rows + 1)
    return _pruned(mixture, rules), score


def _with_new(mixture: Mixture, z: NDArray, rules: Rules) -> Mixture:
    """Mixture with one more component, at z."""
    factor = np.diag(1 / rules.deviation)
    log_det = 2 * np.log(rules.deviation).sum()
    return Mixture(
        means=np.concatenate([mixture.means, z[None]]),
        factors=np.concatenate([mixture.factors, factor[None]]),
        log_dets=np.append(mixture.log_dets, log_det),
        counts=np.append(mixture.counts, 1.0),
        ages=np.append(mixture.ages + 1, 1),
        n_rows=mixture.n_rows + 1,
        n_created=mixture.n_created + 1,
        n_pruned=mixture.n_pruned,
    )


def _update(mixture, shares, deviations, white, lengths, rules):
    """Move every component towards a row by its share of it, in place.

    With the count c, the weight N = c + prior_count - 1 of the covariance, a share s and
    e = z - mean: mean += s / (c + s) e and C <- [N C + s c / (c + s) e e'] / (N + s),
    the covariance of all rows so far, weighted, with prior_count initial ones. For
    prior_count = 1 it is (1 - w) C + w (1 - w) e e', w = s / (c + s).
    """
    np.add(mixture.ages, 1, out=mixture.ages)
    for k in (shares * (1 + lengths**2) > NEGLIGIBLE).nonzero()[0].tolist():
        share, count, length = float(shares[k]), float(mixture.counts[k]), lengths[k]
        weight = count + rules.prior_count - 1
        mixture.means[k] += share / (count + share) * deviations[k]
        gain = share * count / ((count + share) * weight)
        kept = weight / (weight + share)
        _change_factor(mixture.factors[k], white[k], float(length), gain, kept)
        growth = math.log1p(gain * length**2) - len(white[k]) * math.log1p(share / weight)
        mixture.log_dets[k] += growth
    np.add(mixture.counts, shares, out=mixture.counts)


def _change_factor(factor, white, length, gain, kept):
    """Factor of the precision of ``kept (C + gain e e')`` in place, white = F'e.

    With r^2 = 1 + gain e'C^-1 e: F <- [F - (1 - 1/r) F v v'] / sqrt(kept) for the unit
    vector v along F'e (J. E. Potter's square root form of the Kalman filter).
    """
    if length > 0:
        steep = math.sqrt(gain) * length
        root = math.hypot(1.0, steep)
        along = white / length
        amount = steep / root * (steep / (root + 1))
        dger(-amount, along, factor @ along, a=factor.T, overwrite_a=True)
    factor *= 1 / math.sqrt(kept)


def _pruned(mixture: Mixture, rules: Rules) -> Mixture:
    """Mixture without the components that are old and hardly used."""
    weak = (mixture.ages > rules.v_min) & (mixture.counts < rules.sp_min)
    if not weak.any():
        return mixture
    if weak.all():
        weak[np.argmax(mixture.counts)] = False
    kept = {
        name: value[~weak]
        for name, value in vars(mixture).items()
        if isinstance(value, np.ndarray)
    }
    return replace(mixture, n_pruned=mixture.n_pruned + int(weak.sum()), **kept)
