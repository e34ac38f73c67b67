"""The whole fit: from rows to sums, from sums to an operator, and back to the rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from sklearn_gauss._numerics import dense, lowrank
from sklearn_gauss._numerics.arrays import Frame, row_blocks
from sklearn_gauss._numerics.density import log_density, squared_mahalanobis
from sklearn_gauss._numerics.gram import Gram, gram
from sklearn_gauss._numerics.leave_one_out import (
    LeftOut,
    Whitened,
    best_intensity,
    concatenate,
    left_out,
    left_out_spread,
    lost_sums,
)
from sklearn_gauss._numerics.moments import Moments, block_moments
from sklearn_gauss._numerics.shrinkage import intensity
from sklearn_gauss._numerics.spectrum import (
    SQUARED_CONDITION,
    Choice,
    Spectrum,
    gram_spectrum,
    row_spectrum,
    scatter_spectrum,
)

__all__ = [
    "Gaussian",
    "Sums",
    "covariance",
    "estimate",
    "leave_one_out",
    "principal_axes",
    "summarise",
]

#: Intensities between which the rows are whitened for leave-one-out: away from 0, where
#: the inverse may not exist, and from 1, where the data's own covariance is lost.
_WHITENING_INTENSITY = (1e-6, 0.5)


@dataclass(frozen=True)
class Sums:
    """What is known of the rows: their sums, and the frame they were taken in.

    ``frame`` is the one before the mean was subtracted; `centre` the one after. ``rows``
    are all the rows that were summed, or None where they are no longer at hand: they
    serve where the condition of the sums is too large.
    """

    totals: Gram | Moments
    frame: Frame
    centred: bool
    rows: NDArray | None

    @property
    def centre(self) -> Frame:
        """Frame with the mean at zero."""
        return self.frame.moved(self.totals.mean)


@dataclass(frozen=True)
class Gaussian:
    """A fitted Gaussian: its frame, covariance operator in it, and intensity."""

    centre: Frame
    covariance: dense.DenseCovariance | lowrank.LowRankIsotropic
    shrinkage: float
    spectrum: Spectrum | None = None

    @property
    def logdet(self) -> float:
        """Log-determinant of the covariance in the data's units."""
        return self.covariance.logdet + 2 * self.centre.log_volume(self.covariance.rank)

    def log_density(self, squares: NDArray) -> NDArray:
        """Log-densities, in nats, at squared distances."""
        return log_density(squares, self.covariance.rank, self.logdet)


def summarise(X: NDArray, *, centred: bool, dense: bool, by_column: bool) -> Sums:
    """Sums over rows X (n, p), in a frame in which they keep their digits.

    By the n x n Gram matrix where n <= p, unless ``dense``. The frame's scale is 1
    except for data so large or small that squares leave float64's range; then it is a
    power of two, one a column if ``by_column``.
    """
    frame = Frame.around(X) if centred else Frame.at_zero(X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        totals = _totals(X, frame, centred=centred, dense=dense)
        holds = _holds(totals, frame, X, by_column)
    if not holds:
        frame = frame.rescaled(X, by_column=by_column)
        totals = _totals(X, frame, centred=centred, dense=dense)
    return Sums(totals, frame, centred, X)


def _totals(X: NDArray, frame: Frame, *, centred: bool, dense: bool) -> Gram | Moments:
    few = len(X) <= X.shape[1] and not dense
    return (gram if few else block_moments)(X, frame, centred=centred)


def _holds(totals: Gram | Moments, frame: Frame, X: NDArray, by_column: bool) -> bool:
    if isinstance(totals, Gram):
        lengths = np.diagonal(totals.products)
        columns = totals.sum_of_squares if by_column else lengths.sum(keepdims=True)
        return frame.holds(columns, float(lengths @ lengths), X)
    return frame.holds(np.diagonal(totals.scatter), totals.quartic, X)


def estimate(
    sums: Sums, rule: str | float, *, solver: str = "auto", X: NDArray | None = None
) -> Gaussian:
    """Shrunk Gaussian of summed rows.

    ``X``, all of the rows or a random share of them, is what the rule "loo" maximises
    the left-out likelihood of.
    """
    totals, target = sums.totals, sums.totals.spread.target
    amount = _best_intensity(sums, X) if rule == "loo" else None
    amount = float(intensity(rule, totals.spread) if amount is None else amount)
    if amount > 0 and (isinstance(totals, Gram) or solver == "lowrank"):
        spectrum = _spectrum(sums, amount)
        covariance = lowrank.from_spectrum(spectrum, totals.count, amount, target)
        return Gaussian(sums.centre, covariance, amount, spectrum)
    return Gaussian(sums.centre, _dense_operator(sums, amount, amount * target), amount)


def _dense_operator(sums: Sums, amount: float, ridge: float) -> dense.DenseCovariance:
    """(1 - amount) S + ridge I; from the rows where the product's condition is large."""
    totals = sums.totals
    if isinstance(totals, Moments):
        matrix = totals.scatter * ((1 - amount) / totals.count)
        matrix.flat[:: len(matrix) + 1] += ridge
        operator = dense.from_covariance(matrix)
        if operator is not None:
            return operator
    root = _root(sums) * np.sqrt((1 - amount) / totals.count)
    if ridge > 0:
        root = np.vstack([root, np.sqrt(ridge) * np.eye(totals.n_features)])
    operator = dense.from_root(root)
    squared = isinstance(totals, Moments) and sums.rows is None
    return replace(operator, condition=operator.condition ** (2 if squared else 1))


def _root(sums: Sums) -> NDArray:
    """Centred rows, or the scatter matrix's square root where there are none."""
    if isinstance(sums.totals, Gram):
        return sums.totals.rows
    if sums.rows is not None:
        return sums.centre.enter(sums.rows)
    return dense.root_of(sums.totals.scatter)


def _spectrum(sums: Sums, amount: float) -> Spectrum:
    weight = min(amount, _WHITENING_INTENSITY[1])
    floor = sums.totals.count * sums.totals.spread.target * weight / (1 - weight)
    return principal_axes(sums, floor)


def principal_axes(
    sums: Sums, floor: float = 0.0, choose: Choice | None = None
) -> Spectrum:
    """Principal axes, by decreasing sum of squares; all, or those that are chosen.

    ``floor`` is what will be added to the sums of squares: axes far below it need no
    digits of their own.
    """
    totals = sums.totals
    if isinstance(totals, Gram):
        return gram_spectrum(totals, floor=floor, choose=choose)
    spectrum = scatter_spectrum(totals.scatter)
    smallest = spectrum.squares[-1] if len(spectrum.squares) == len(totals.mean) else 0
    if sums.rows is None or smallest + floor > SQUARED_CONDITION * spectrum.squares[0]:
        return spectrum.chosen(choose)
    return row_spectrum(sums.centre.enter(sums.rows)).chosen(choose)


def covariance(sums: Sums, gaussian: Gaussian) -> NDArray:
    """Covariance matrix (p, p) in the data's units, from the sums themselves."""
    totals = sums.totals
    if isinstance(totals, Gram):
        scatter = totals.rows.T @ totals.rows
    else:
        scatter = totals.scatter.copy()
    amount = gaussian.shrinkage
    scatter *= (1 - amount) / totals.count
    scatter.flat[:: len(scatter) + 1] += amount * totals.spread.target
    scale = np.broadcast_to(sums.frame.scale, len(scatter))
    return scatter * scale * scale[:, None]


def leave_one_out(
    sums: Sums, gaussian: Gaussian, rule: str | float, X: NDArray
) -> LeftOut:
    """Left-out densities of rows X, all or some of those that were summed.

    The intensity and its target are estimated again without the row, as a refit would;
    only the rule "loo" keeps its intensity.
    """
    totals, spread = sums.totals, sums.totals.spread
    rule = gaussian.shrinkage if rule == "loo" else rule
    parts = []
    for rows in _whitened(sums, gaussian, rule, X):
        others = left_out_spread(spread, rows, centred=sums.centred)
        amount = intensity(rule, others)
        part = left_out(rows, totals.count, amount, others.target, centred=sums.centred)
        doubtful = part.doubtful | (lost_sums(spread, others) & (rows.tau > 0))
        parts.append(replace(part, doubtful=doubtful))
    found = concatenate(parts)
    volume = gaussian.centre.log_volume(gaussian.covariance.rank)
    found = replace(found, log_densities=found.log_densities - volume)
    return _refitted(sums, rule, found) if sums.rows is not None else found


def _refitted(sums: Sums, rule: str | float, found: LeftOut) -> LeftOut:
    """Left-out densities with the doubtful ones from fits to the other rows."""
    squares, densities = found.squares.copy(), found.log_densities.copy()
    for i in np.flatnonzero(found.doubtful):
        others = summarise(
            np.delete(sums.rows, i, axis=0),
            centred=sums.centred,
            dense=isinstance(sums.totals, Moments),
            by_column=rule == 0.0,
        )
        squares[i], densities[i] = np.inf, -np.inf
        if others.totals.spread.trace > 0:
            model = estimate(others, rule)
            row = sums.rows[i : i + 1]
            squares[i] = squared_mahalanobis(row, model.centre, model.covariance)[0]
            densities[i] = model.log_density(squares[i])
    return LeftOut(squares, densities, np.zeros(len(squares), dtype=bool))


def _best_intensity(sums: Sums, X: NDArray) -> float:
    start = Gaussian(sums.centre, None, _WHITENING_INTENSITY[0])
    blocks = list(_whitened(sums, start, "loo", X))
    targets = [
        left_out_spread(sums.totals.spread, rows, centred=sums.centred).target
        for rows in blocks
    ]

    def log_likelihood(amount: float) -> float:
        found = concatenate(
            left_out(rows, sums.totals.count, amount, target, centred=sums.centred)
            for rows, target in zip(blocks, targets, strict=True)
        )
        return float(found.log_densities.mean())

    return best_intensity(log_likelihood)


def _whitened(
    sums: Sums, gaussian: Gaussian, rule: str | float, X: NDArray
) -> Iterator[Whitened]:
    if rule == 0.0:
        return _whitened_unshrunk(sums, X)
    weight = float(np.clip(gaussian.shrinkage, *_WHITENING_INTENSITY))
    tau = sums.totals.spread.target * weight / (1 - weight)
    if isinstance(sums.totals, Gram):
        spectrum = gaussian.spectrum or _spectrum(sums, gaussian.shrinkage)
        return iter([_whitened_gram(sums.totals, spectrum, tau)])
    return _whitened_blocks(sums, tau, X)


def _whitened_unshrunk(sums: Sums, X: NDArray) -> Iterator[Whitened]:
    operator = _dense_operator(sums, 0.0, 0.0)
    inner = operator.factor.T @ operator.factor
    for rows in row_blocks(*X.shape):
        white = operator.whiten(sums.centre.enter(X[rows]))
        solved = white @ inner
        none = np.zeros(len(white))
        yield Whitened(
            white**2,
            np.zeros(operator.rank),
            0,
            operator.logdet,
            0.0,
            none,
            none,
            none,
            inverse_squares=np.einsum("ij,ij->i", white, solved),
            inverse_forms=np.einsum("ij,ij->i", solved, solved),
        )


def _whitened_gram(totals: Gram, spectrum: Spectrum, tau: float) -> Whitened:
    """All rows at once: every form is an entry of the Gram matrix or of its powers."""
    values = spectrum.squares / totals.count + tau
    n_free = totals.n_features - len(values)
    squares = np.diagonal(totals.products)
    return Whitened(
        spectrum.coordinates**2 / values,
        1 / values,
        n_free,
        float(np.log(values).sum() + n_free * np.log(tau)),
        tau,
        squares,
        np.einsum("ij,ij->i", totals.products, totals.products) / totals.count,
        totals.products @ squares,
        leverages=spectrum.coordinates**2 / spectrum.squares,
    )


def _whitened_blocks(sums: Sums, tau: float, X: NDArray) -> Iterator[Whitened]:
    """Block by block, along the axes that diagonalise S and S + tau I together."""
    operator = _dense_operator(sums, 0.0, tau)
    kappa, rotation = linalg.eigh(
        operator.factor.T @ operator.factor, driver="evd", check_finite=False
    )
    directions = operator.factor @ rotation
    for rows in row_blocks(*X.shape):
        Z = sums.centre.enter(X[rows])
        coordinates = (Z @ directions) ** 2
        yield Whitened(
            coordinates,
            kappa,
            0,
            operator.logdet,
            tau,
            np.einsum("ij,ij->i", Z, Z),
            (coordinates / kappa) @ (1 / kappa - tau),
            Z @ sums.totals.cubic,
        )
