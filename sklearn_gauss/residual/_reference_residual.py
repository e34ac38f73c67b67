"""ReferenceResidual: what a row differs by from the normal row most like it."""

from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    fit_context,
    output_container,
)
from sklearn_gauss._numerics.kernel.density import row_order
from sklearn_gauss._numerics.kernel.representatives import representatives
from sklearn_gauss._numerics.residuals import Bank, best_temperature, mixed, nearest
from sklearn_gauss.residual._rows import enter_rows

#: Rows or patches, drawn at random, that kernel thinning chooses among.
CANDIDATES = 16384

#: Training rows whose left-out residuals decide a temperature.
TEMPERATURE_ROWS = 1000


class ReferenceResidual(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Differences of rows, or of patches of maps, to the normal ones most like them.

    A row x becomes x - r, where r is the reference row of greatest cosine or least
    distance ("nearest"), or a mean of all of them weighted by softmax ("soft"):

    r = sum_j w_j r_j, w_j proportional to exp(cos(x, r_j) / T), or with the Euclidean
    metric to exp(-d_j^2 / (2 T)) for a row at distance d_j.

    What all parts have in common is gone, and what is left depends less on what kind of
    part it is: residual features of ResAD [1]_. Read more in the
    :ref:`User Guide <residuals>`.

    Parameters
    ----------
    n_references : int, default=None
        Most reference rows (of maps: patches) to keep; None keeps all.
    metric : {"cosine", "euclidean"}, default="cosine"
        How rows are compared. A row of zeros has a cosine of 1 with another one, and of
        0 with any other row.
    lookup : {"nearest", "soft"}, default="nearest"
        The most similar reference row, the first of equal ones, or the weighted mean.
    temperature : "auto" or float, default="auto"
        The T of "soft": in units of the cosine, or in squared units of the data. "auto"
        is the one at which training rows are closest to the mean of the others, by
        their left-out residuals; a small one gives the nearest row.
    squared : bool, default=False
        Return the squares of the differences, feature by feature.
    thinning : {"kernel", "random"}, default="kernel"
        How reference rows are chosen, where there are more: by kernel thinning, among
        at most 16 384 drawn at random, or at random.
    grid_shape : tuple of int, default=None
        Height and width of maps that come as flat rows. Every place of every map is
        looked up by its channels, among the patches of all training images.
    working_memory : float, default=64
        Mebibytes that a block of comparisons may take.
    random_state : int, RandomState instance or None, default=0
        Seed of the choice of reference rows.

    Attributes
    ----------
    reference_ : ndarray of shape (n_references, n_features)
        Reference rows; of maps the patches (n_references, n_channels).
    sample_indices_ : ndarray of int of shape (n_references,)
        Which training rows (images) they are from.
    temperature_ : float or None
        The T in use; None for "nearest". With the Euclidean metric it is 0 or infinite
        where squared units of the data leave the range of float64; what is computed
        with does not.
    grid_shape_ : tuple of int or None
        Height and width of the grid of maps; None for rows.
    n_features_in_ : int
        Number of features; of maps height times width times channels.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where X has some that are all strings.

    See Also
    --------
    ScoreNorms : Norms of gradients of a density, instead of residuals.
    sklearn_gauss.detection.NormalAbnormalDetector : Residuals of labelled anomalies.
    sklearn_gauss.detection.PatchKDEDetector : Patches by their nearest ones, calibrated.

    Notes
    -----
    ``fit_transform(X)`` is not ``fit(X).transform(X)``. A row is its own nearest
    reference, and its residual would be zero, unlike those of unseen rows. So
    `fit_transform`, which a Pipeline calls when it is fitted, compares every row with
    the others only, and a patch with those of the other images: what comes next learns
    from left-out residuals. It is the row that is left out, not its copies: an unseen
    row that may be a copy as well has a residual of zero too. ``transform`` leaves out
    nothing; call it with unseen rows.

    A block costs O(n m p) for m reference rows. Candidates that rounding leaves for the
    nearest one are compared by direct differences in float64, so that rows far from the
    origin find their neighbours; residuals are taken in float64 too.

    A detector behind it in a Pipeline sets its threshold from left-out residuals, but
    leaves out of its own fit only the row, not what the row is to its neighbours. Where
    that matters, `sklearn_gauss.detection.CalibratedDetector` around the Pipeline
    calibrates the whole.

    References
    ----------
    .. [1] X. Yao et al., "ResAD: A Simple Framework for Class Generalizable Anomaly
       Detection", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.residual import ReferenceResidual
    >>> normal = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> residual = ReferenceResidual().fit(normal)
    >>> residual.transform([[2.0, 0.1], [3.0, 4.0]])
    array([[1. , 0.1],
           [0. , 1. ]])
    >>> ReferenceResidual().fit_transform(normal)  # each without itself
    array([[-2., -3.],
           [-3., -1.],
           [ 2.,  3.]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_references": [Interval(Integral, 1, None, closed="left"), None],
        "metric": [StrOptions({"cosine", "euclidean"})],
        "lookup": [StrOptions({"nearest", "soft"})],
        "temperature": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "squared": ["boolean"],
        "thinning": [StrOptions({"kernel", "random"})],
        "grid_shape": [tuple, list, None],
        "working_memory": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_references=None,
        *,
        metric="cosine",
        lookup="nearest",
        temperature="auto",
        squared=False,
        thinning="kernel",
        grid_shape=None,
        working_memory=64,
        random_state=0,
    ):
        self.n_references = n_references
        self.metric = metric
        self.lookup = lookup
        self.temperature = temperature
        self.squared = squared
        self.thinning = thinning
        self.grid_shape = grid_shape
        self.working_memory = working_memory
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Keep the normal rows to compare with.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_images, H, W, n_channels)
            Normal rows, or feature maps of normal images.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted transformer.

        Raises
        ------
        ValueError
            If X is no finite numeric array, does not fit ``grid_shape``, or has a
            single row (image) of which to learn a temperature.
        """
        rows, _ = enter_rows(self, X, reset=True)
        self._keep(rows)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None):
        """Fit, and return the residuals of the training rows, each beside the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_images, H, W, n_channels)
            At least two normal rows, or feature maps of as many images.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        X_new : ndarray of the shape of X
            Left-out residuals: a row is not compared with itself, nor a patch with any
            of its own image.

        Raises
        ------
        ValueError
            As `fit`; and if a row (an image) is alone among the references, or maps are
            to become a data frame.
        """
        rows, shape = enter_rows(self, X, reset=True, min_rows=2)
        self._refuse_frames_of_maps(shape)
        groups = self._keep(rows)
        return self._residuals(rows, groups).reshape(shape)

    def transform(self, X):
        """Residuals of unseen rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_images, H, W, n_channels)
            Rows or feature maps, as in `fit`.

        Returns
        -------
        X_new : ndarray of the shape of X
            float32 for float32 rows, float64 otherwise.

        Raises
        ------
        ValueError
            If X is no finite numeric array with the features of ``fit``, or so far from
            the reference rows that differences or their squares leave its range; or if
            maps are to become a data frame.
        """
        check_is_fitted(self, "reference_")
        rows, shape = enter_rows(self, X, reset=False)
        self._refuse_frames_of_maps(shape)
        return self._residuals(rows, None).reshape(shape)

    def nearest_reference(self, X):
        """Which reference row is most like each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_images, H, W, n_channels)
            Rows or feature maps, as in `fit`.

        Returns
        -------
        places : ndarray of int of shape (n_samples,) or (n_images, H, W)
            Places in ``reference_``; ``sample_indices_`` of them are training rows.
        """
        check_is_fitted(self, "reference_")
        rows, _ = enter_rows(self, X, reset=False)
        places = nearest(self._bank(), rows, n_bytes=self._n_bytes())
        return (
            places if self.grid_shape_ is None else places.reshape(-1, *self.grid_shape_)
        )

    def _refuse_frames_of_maps(self, shape):
        container = output_container(self)
        if len(shape) == 4 and container != "default":
            raise ValueError(
                f"X has maps, which no {container} frame can hold: give flat rows with "
                "grid_shape, or call set_output(transform='default')."
            )

    def _keep(self, rows):
        """Choose the reference rows; the groups (N,) of all rows."""
        n_places = 1 if self.grid_shape_ is None else int(np.prod(self.grid_shape_))
        groups = np.arange(len(rows)) // n_places
        kept = self._chosen(rows)
        self.reference_, self.sample_indices_ = rows[kept], groups[kept]
        self.temperature_ = self._temperature = None
        if self.lookup == "soft":
            self._set_temperature(rows, groups)
        return groups

    def _chosen(self, rows):
        count, n_rows = self.n_references, len(rows)
        if count is None or count >= n_rows:
            return np.arange(n_rows)
        rng = check_random_state(self.random_state)
        drawn = rng.permutation(n_rows)
        if self.thinning == "random":
            return np.sort(drawn[:count])
        drawn = np.sort(drawn[: max(CANDIDATES, count)])
        some = rows[drawn]
        coordinates = Bank.of(some, drawn, self.metric).rows
        kept, _ = representatives(
            coordinates,
            np.ones(len(drawn)),
            row_order(coordinates),
            count,
            how="kernel",
            kernel="gaussian",
            rng=rng,
        )
        return drawn[kept]

    def _set_temperature(self, rows, groups):
        """The temperature in the bank's units, ``_temperature``, and in the data's."""
        bank = self._bank()
        unit = 1.0 if bank.cosine else float(bank.frame.scale)
        if self.temperature == "auto":
            self._temperature = self._found_temperature(bank, rows, groups)
            self.temperature_ = self._temperature * unit * unit
        else:
            self.temperature_ = float(self.temperature)
            self._temperature = self.temperature_ / unit / unit

    def _found_temperature(self, bank, rows, groups):
        if groups[-1] == 0:
            raise ValueError(
                "temperature='auto' compares rows with others, but X has 1 sample; use "
                "more, or give temperature as a number."
            )
        some = np.linspace(0, len(rows) - 1, min(len(rows), TEMPERATURE_ROWS))
        some = np.unique(some.astype(int))
        some = some[self._has_others(groups[some])]
        return best_temperature(
            bank, rows[some], self.reference_, groups[some], self._n_bytes()
        )

    def _has_others(self, groups):
        """Whether some reference row is of another group."""
        only = np.unique(self.sample_indices_)
        return (groups != only[0]) if len(only) == 1 else np.full(len(groups), True)

    def _residuals(self, rows, own):
        if own is not None and not self._has_others(own).all():
            raise ValueError(
                f"n_references={self.n_references}: all reference rows are of one "
                "training row (image), which has nothing to be compared with; keep more."
            )
        bank = self._bank()
        with np.errstate(over="ignore", invalid="ignore"):
            if self._temperature is None:
                places = nearest(bank, rows, own=own, n_bytes=self._n_bytes())
                found = rows - self.reference_[places].astype(np.float64)
            else:
                found = mixed(
                    bank,
                    rows,
                    self.reference_,
                    self._temperature,
                    own=own,
                    n_bytes=self._n_bytes(),
                )
            found = found**2 if self.squared else found
            found = found.astype(rows.dtype, copy=False)
        if not np.isfinite(found).all():
            raise ValueError(
                f"Differences of X, or their squares, exceed the largest {found.dtype}; "
                "rescale X."
            )
        return found

    def _bank(self):
        return Bank.of(self.reference_, self.sample_indices_, self.metric)

    def _n_bytes(self):
        return self.working_memory * 2**20
