"""Sums over rows, in whichever form is smaller, and what is read off them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sklearn_gauss._numerics import dense
from sklearn_gauss._numerics.arrays import Frame
from sklearn_gauss._numerics.gram import Gram, gram
from sklearn_gauss._numerics.moments import Moments, block_moments
from sklearn_gauss._numerics.spectrum import (
    SQUARED_CONDITION,
    Choice,
    Spectrum,
    gram_spectrum,
    row_spectrum,
    scatter_spectrum,
)

__all__ = ["Sums", "covariance_matrix", "dense_operator", "principal_axes", "summarise"]


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


def dense_operator(sums: Sums, amount: float, ridge: float) -> dense.DenseCovariance:
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


def covariance_matrix(sums: Sums, amount: float) -> NDArray:
    """(1 - amount) S + amount m I (p, p), in the data's units."""
    totals = sums.totals
    if isinstance(totals, Gram):
        scatter = totals.rows.T @ totals.rows
    else:
        scatter = totals.scatter.copy()
    scatter *= (1 - amount) / totals.count
    scatter.flat[:: len(scatter) + 1] += amount * totals.spread.target
    scale = np.broadcast_to(sums.frame.scale, len(scatter))
    return scatter * scale * scale[:, None]
