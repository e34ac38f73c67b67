"""What every estimator shares: checked rows, and the verbs of a detector.

Think twice before adding anything here. This is the only file that touches private
names of scikit-learn.
"""

import math
import sys
import threading
import warnings
from datetime import timedelta
from numbers import Integral, Real

import numpy as np
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    OutlierMixin,
)
from sklearn.base import (
    _fit_context as fit_context,
)
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils._param_validation import (
    HasMethods,
    Hidden,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.metaestimators import (
    _BaseComposition as BaseComposition,
)
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)
from sklearn.utils.validation import (
    _num_samples as count_rows,
)

from sklearn_gauss._numerics import calibration
from sklearn_gauss.exceptions import CalibrationWarning, DistanceOverflowWarning

__all__ = [
    "TARGET_FPR",
    "BaseComposition",
    "BaseDetector",
    "Deferred",
    "HasMethods",
    "Hidden",
    "Integral",
    "Interval",
    "Options",
    "Real",
    "StrOptions",
    "callers_level",
    "check_rows",
    "check_weights",
    "clip_overflow",
    "count_rows",
    "fit_context",
    "output_container",
    "take_rows",
    "validate_parameter_constraints",
]

#: Largest weight of a row below which weights cannot be scaled.
LEAST_WEIGHT = 1e-300

TARGET_FPR = Interval(Real, 0, 1, closed="neither")


def check_rows(estimator, X, *, reset, min_rows=1):
    """Finite rows (n, p) in float64 or float32, or a clear error.

    Refuses what a conversion to float would silently change: masked arrays (their
    hidden values would count), text, dates and times.
    """
    rows = X if isinstance(X, (list, tuple)) else [X]
    if any(isinstance(row, np.ma.MaskedArray) for row in rows):
        raise TypeError(
            "X is a masked array: its hidden values would be used. Impute them, or drop "
            "the rows that have any (X[~X.mask.any(axis=1)].data)."
        )
    try:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=None,
            ensure_all_finite=False,
            ensure_min_samples=min_rows,
        )
    except np.exceptions.DTypePromotionError as error:
        raise ValueError(
            f"X has columns that are not all numbers ({error}); convert text, dates and "
            "categories to numbers first."
        ) from error
    if X.dtype.kind not in "biufcO" or (X.dtype.kind == "O" and _has_text(X)):
        raise ValueError(
            f"X holds {X.dtype} values that are not numbers, such as {X.flat[0]!r}; "
            "convert text, dates and categories to numbers first."
        )
    return check_array(
        X, dtype=[np.float64, np.float32], input_name="X", estimator=estimator
    )


def _has_text(X):
    kinds = {type(value) for value in X.flat}
    text = (str, bytes, np.datetime64, np.timedelta64, timedelta)
    return any(issubclass(kind, text) or hasattr(kind, "isoformat") for kind in kinds)


def check_weights(sample_weight, X):
    """Weights (n,) of rows in float64, none of them negative and some positive."""
    weights = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():
        raise ValueError("sample_weight is zero for every row; none would be left.")
    if weights.max() < LEAST_WEIGHT:
        raise ValueError(
            f"sample_weight is below {LEAST_WEIGHT:g} for every row, where float64 loses "
            "digits; multiply it by a constant, which changes nothing else."
        )
    return weights


def callers_level():
    """Level of the stack at which a warning names the line that the user wrote."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("sklearn_gauss.", "sklearn.", "joblib.")
    ):
        frame, level = frame.f_back, level + 1
    return level


def output_container(estimator):
    """The container that a transformer puts out: "default", "pandas" or "polars"."""
    own = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    return own or get_config()["transform_output"]


def clip_overflow(squares):
    """Squared distances with the infinite ones clipped to the largest float64."""
    far = ~np.isfinite(squares)
    if far.any():
        warnings.warn(
            f"{far.sum()} squared distances exceed the largest float64 and were clipped.",
            DistanceOverflowWarning,
            stacklevel=callers_level(),
        )
        squares = np.where(far, np.finfo(np.float64).max, squares)
    return squares


# One thread computes what was deferred while the others that ask for it wait.
_SETTLING = threading.RLock()


class Deferred:
    """Fitted attributes that are computed when one of them is first asked for.

    ``partial_fit`` sets ``_pending`` instead of paying for a factorisation a chunk;
    ``_settle()`` then sets the attributes listed in ``_fitted``.
    """

    _fitted = ()

    def __getattr__(self, name):
        if name in type(self)._fitted:
            with _SETTLING:
                self._settle_pending()
            if name in vars(self):
                return vars(self)[name]
        own = next((vars(c)[name] for c in type(self).__mro__ if name in vars(c)), None)
        if hasattr(own, "__get__"):  # its error came here; raise it again as it is
            return own.__get__(self, type(self))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _settle_pending(self):
        if vars(self).pop("_pending", False):
            try:
                self._settle()
            except Exception:
                self._pending = True
                raise

    def _forget(self):
        for name in (*self._fitted, "_pending"):
            vars(self).pop(name, None)


class BaseDetector(Deferred, OutlierMixin, BaseEstimator):
    """The verbs of a detector, on top of one hook: ``_scores(X)`` of checked rows.

    A higher score is more normal. ``fit`` must set ``offset_`` and, for p-values,
    ``calibration_scores_``, with ``calibration_weights_`` where rows were weighted.
    """

    _calibrated_by = "rows"
    _left_out_fails = "covariance is singular: use more rows or shrinkage"

    def _check(self, X):
        return check_rows(self, X, reset=False)

    def _check_is_fitted(self):
        with _SETTLING:
            self._settle_pending()  # whose error says more than that it is not fitted
        check_is_fitted(self, "offset_")

    def score_samples(self, X):
        """Score of every row; a higher one is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            For a density, the log-density in nats.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If X is not a finite numeric array with the features of ``fit``.
        """
        self._check_is_fitted()
        return self._scores(self._check(X))

    def decision_function(self, X):
        """Score above the threshold: ``score_samples(X) - offset_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            Negative for anomalies.
        """
        scores = self.score_samples(X)
        # Where both are minus infinity the row is at the threshold: 0, not NaN.
        apart = scores != self.offset_
        return np.subtract(scores, self.offset_, where=apart, out=np.zeros(len(scores)))

    def predict(self, X):
        """Verdict on every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        y : ndarray of int of shape (n_samples,)
            +1 for a normal row, -1 for an anomaly.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def score(self, X, y=None):
        """Mean score, so that an unlabelled search can maximise it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score, normal ones.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        score : float
            Mean of `score_samples`.
        """
        return float(np.mean(self.score_samples(X)))

    def p_values(self, X):
        """Conformal p-value of every row, under the hypothesis that it is normal.

        (1 + number of calibration scores at or below the row's) / (n + 1): for a normal
        row, at most t with a probability of at most about t.
        ``scipy.stats.false_discovery_control`` takes them as they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            Between 1 / (n + 1) and 1.

        Raises
        ------
        AttributeError
            If the fit left no calibration scores (see ``calibration``).
        """
        scores = self.score_samples(X)
        if not hasattr(self, "calibration_scores_"):
            raise AttributeError(
                "This fit left no calibration_scores_; fit with calibration='loo' or "
                "call recalibrate on normal rows first."
            )
        weights = vars(self).get("calibration_weights_")
        return calibration.p_values(scores, self.calibration_scores_, weights)

    def recalibrate(self, X, target_fpr=None):
        """Set the threshold on fresh normal rows, without refitting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows that were not used in the fit.
        target_fpr : float in (0, 1), default=None
            Share of unseen normal rows that may be flagged; the parameter's if None.

        Returns
        -------
        self : object
            With new ``calibration_scores_`` and ``offset_``.
        """
        target = self.target_fpr if target_fpr is None else target_fpr
        validate_parameter_constraints(
            {"target_fpr": [TARGET_FPR]}, {"target_fpr": target}, "recalibrate"
        )
        self.calibration_scores_ = self.score_samples(X)
        vars(self).pop("calibration_weights_", None)
        self._set_threshold(target)
        return self

    def _set_threshold(self, target_fpr):
        """Order statistic of the calibration scores, with a warning if there is none."""
        scores = self.calibration_scores_
        weights = vars(self).get("calibration_weights_")
        self.offset_ = calibration.order_statistic(scores, target_fpr, weights)
        needed = calibration.rows_needed(target_fpr)
        count = len(scores) if weights is None else weights.sum()
        if count < needed * (1 - 1e-12):
            rows = self._calibrated_by
            if weights is not None and not np.isin(weights, (0.0, 1.0)).all():
                rows += " (the sum of sample_weight)"
            reason = (
                f"{count:g} {rows} cannot certify target_fpr={target_fpr:g}: at least "
                f"{needed} are needed"
            )
        elif math.isinf(self.offset_):
            reason = (
                "Left-out scores are infinite, because without one of the "
                f"{self._calibrated_by} the "
                f"{self._left_out_fails}"
            )
        else:
            return
        warnings.warn(
            f"{reason}. Nothing will be flagged.",
            CalibrationWarning,
            stacklevel=callers_level(),
        )
