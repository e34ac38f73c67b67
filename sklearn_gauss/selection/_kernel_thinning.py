"""KernelThinning: few rows that stand for all, better than a random sample does."""

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    check_rows,
    fit_context,
)
from sklearn_gauss._numerics import thinning


class _Engine(NamedTuple):
    name: str
    split: Callable
    refine: Callable


class KernelThinning(BaseEstimator):
    r"""Rows whose kernel mean is close to that of all rows: kernel thinning [1]_.

    The distance between the n rows x and the k kept rows c is the maximum mean
    discrepancy, the largest difference of means over functions f in the unit ball of
    the kernel's space:

    .. math::

        \mathrm{MMD}^2 = \frac{1}{n^2} \sum_{i, j} k(x_i, x_j)
            - \frac{2}{n k} \sum_{i, j} k(x_i, c_j)
            + \frac{1}{k^2} \sum_{i, j} k(c_i, c_j)

    For :math:`\sqrt{n}` rows it falls as :math:`n^{-1/4}` if they are drawn at random,
    and in few dimensions about as :math:`n^{-1/2}` if they are thinned. Use the kept rows
    in place of all where the cost grows with their number: in a kernel density, a bank
    of nearest neighbours, a plot.

    This selects rows and is no transformer: ``X[thinning.sample_indices_]``.

    Parameters
    ----------
    n_select : int, default=None
        Number of rows to keep; the square root of their number, rounded, if None.
    kernel : {"gaussian", "exponential"}, default="gaussian"
        exp(-r^2 / (2 h^2)), or exp(-r / h), at a distance r and with the bandwidth h.
    bandwidth : float or "median", default="median"
        The h of the kernel, in units of the rows. "median" takes the median distance of
        up to 1000 random rows, among pairs that differ.
    split_kernel : {"target", "power", "sum"}, default="sum"
        Kernel by which rows are halved [2]_: the kernel itself; its fractional power,
        which is rougher (for the Gaussian one of bandwidth h / sqrt(2); for the
        exponential one Matern's of smoothness 1/4, with the same h); or their sum, each
        being 1 at zero.
    method : {"auto", "split", "compress"}, default="auto"
        "split" halves all rows, in O(n^2). "compress" [3]_ divides them into parts of
        which it joins and halves four at a time, which is nearly as good and much
        faster for many rows. "auto" splits up to 10,000 rows and compresses more.
    oversampling : int, default=4
        Compress first keeps 2^oversampling times the rows that are wanted: more is
        better and slower, by a factor of 4 each.
    delta : float in (0, 1), default=0.5
        Probability that the bounds of the theory may fail. A smaller one makes the
        halvings more random.
    engine : {"auto", "own", "goodpoints"}, default="auto"
        What halves and swaps: this package, or the authors' package goodpoints. "auto"
        uses goodpoints where it can be imported. Fix it if machines with and
        without it have to keep the same rows.
    random_state : int, RandomState instance or None, default=None
        Seed of all choices. The same seed keeps the same rows with the same engine.

    Attributes
    ----------
    sample_indices_ : ndarray of int of shape (n_select,)
        Indices of the kept rows, distinct and in increasing order.
    mmd_ : float
        Maximum mean discrepancy of the kept rows to all rows, under ``kernel``. Behind
        "compress" an estimate from 1024 random frequencies, with a relative standard
        error of a few percent, since the exact one costs O(n^2).
    bandwidth_ : float
        The h of the kernel.
    method_ : str
        "split" or "compress".
    engine_ : str
        "own" or "goodpoints".
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    sklearn.utils.resample : Rows drawn at random.
    sklearn.cluster.KMeans : Centres that are not rows, and are not equally weighted.

    Notes
    -----
    The rows are shuffled, and 2^m times as many as are wanted are halved m times. Every
    halving sends one row of each pair to either side, at random but against the side on
    which the kernel mean is ahead. The best of the 2^m parts and of a random sample is
    then refined: each of its rows is replaced by whichever makes the discrepancy least,
    out of all rows, or behind "compress" out of those that it has kept.

    For k rows "split" takes O(n^2) kernel values, and "compress" with an oversampling g
    O(4^g k^2 log n + 2^g k n). The kernel matrix is never held as a whole.

    Duplicated rows are rows of their own. If all rows are equal, any of them are kept
    and the discrepancy is 0. Distances come from products of rows about their median:
    between rows that are more than 1e6 bandwidths away from it they lose digits.

    References
    ----------
    .. [1] R. Dwivedi and L. Mackey, "Kernel Thinning", COLT 2021; Journal of Machine
       Learning Research 25 (2024).
    .. [2] R. Dwivedi and L. Mackey, "Generalized Kernel Thinning", ICLR 2022.
    .. [3] A. Shetty, R. Dwivedi and L. Mackey, "Distribution Compression in Near-linear
       Time", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.selection import KernelThinning
    >>> X = np.random.default_rng(0).normal(size=(400, 2))
    >>> thinning = KernelThinning(engine="own", random_state=0).fit(X)
    >>> X[thinning.sample_indices_].shape
    (20, 2)
    >>> round(thinning.mmd_, 3)  # of 20 random rows about 0.13
    0.027
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_select": [Interval(Integral, 1, None, closed="left"), None],
        "kernel": [StrOptions(set(thinning.PROFILES))],
        "bandwidth": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"median"}),
        ],
        "split_kernel": [StrOptions({"target", "power", "sum"})],
        "method": [StrOptions({"auto", "split", "compress"})],
        "oversampling": [Interval(Integral, 0, None, closed="left")],
        "delta": [Interval(Real, 0, 1, closed="neither")],
        "engine": [StrOptions({"auto", "own", "goodpoints"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_select=None,
        *,
        kernel="gaussian",
        bandwidth="median",
        split_kernel="sum",
        method="auto",
        oversampling=4,
        delta=0.5,
        engine="auto",
        random_state=None,
    ):
        self.n_select = n_select
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.split_kernel = split_kernel
        self.method = method
        self.oversampling = oversampling
        self.delta = delta
        self.engine = engine
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Choose the rows to keep.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to choose from.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            With the indices of the kept rows.

        Raises
        ------
        ValueError
            If X is not a finite numeric array or has fewer rows than ``n_select``.
        ImportError
            If goodpoints is asked for and is not installed.
        """
        X = check_rows(self, X, reset=True)
        n_select = self._count(len(X))
        engine = _ENGINES[self.engine]()
        rng = check_random_state(self.random_state)
        points = self._points(X, rng)
        self.engine_ = engine.name
        self.method_ = self._method(len(X))
        chosen, self.mmd_ = thinning.thin(
            points,
            n_select,
            kernel=self.kernel,
            split_kernel=self.split_kernel,
            oversampling=self.oversampling if self.method_ == "compress" else None,
            delta=self.delta,
            rng=rng,
            splitting=engine.split,
            refining=engine.refine,
        )
        self.sample_indices_ = np.sort(chosen)
        return self

    def _count(self, n_rows):
        count = round(math.sqrt(n_rows)) if self.n_select is None else self.n_select
        if count > n_rows:
            raise ValueError(
                f"n_select={count} is more than the {n_rows} rows of X; it must be at "
                "most their number."
            )
        return int(count)

    def _method(self, n_rows):
        if self.method == "auto":
            return "split" if n_rows <= thinning.SPLIT_ROWS else "compress"
        return self.method

    def _points(self, X, rng):
        """Centred rows in units of the bandwidth."""
        rows, exponent = thinning.standardise(X)
        if self.bandwidth == "median":
            some = rng.permutation(len(rows))[: thinning.MEDIAN_ROWS]
            unit = thinning.median_distance(rows[some])
            with np.errstate(over="ignore"):  # rows that span all floats
                self.bandwidth_ = float(np.ldexp(unit, exponent))
        else:
            unit = thinning.in_units(self.bandwidth, exponent)
            self.bandwidth_ = float(self.bandwidth)
        return thinning.Points.of(rows, 1 / unit)


def _own():
    return _Engine("own", thinning.split, thinning.refine)


def _goodpoints():
    """Halving and refinement by the package goodpoints, imported where it is used."""
    try:
        from goodpoints import kt
    except ImportError as error:
        raise ImportError(
            "engine='goodpoints' needs the package goodpoints: pip install goodpoints."
        ) from error

    def split(points, sets, levels, profile, delta, rng):
        kernel = _between_rows(profile)
        parts = []
        for members in sets:
            rows = np.ascontiguousarray(points.rows[members])
            seed = rng.randint(2**31 - 1)
            split_rows = kt.split(rows, levels, kernel, delta=delta, seed=seed)
            parts.append(rng.permutation(members[np.asarray(split_rows)]))
        return np.concatenate(np.swapaxes(parts, 0, 1))

    def refine(points, chosen, profile, means):
        rows = np.ascontiguousarray(points.rows)
        kernel = _between_rows(profile)

        def value(y, X):  # goodpoints 0.6.3 assigns a single one to an array's element
            return np.squeeze(kernel(y, X))

        return np.asarray(kt.refine_X(rows, chosen, value, meanK=means, unique=True))

    return _Engine("goodpoints", split, refine)


def _between_rows(profile):
    return lambda y, X: profile(((X - y) ** 2).sum(axis=-1))


def _whichever():
    try:
        return _goodpoints()
    except ImportError:
        return _own()


_ENGINES = {"auto": _whichever, "own": _own, "goodpoints": _goodpoints}
