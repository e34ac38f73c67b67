"""Thresholds on the squared distance by a law that it is taken to have."""

import warnings

from sklearn.covariance import EmpiricalCovariance

from sklearn_gauss._base import callers_level
from sklearn_gauss._numerics.calibration import chi2_threshold, hotelling_threshold
from sklearn_gauss.exceptions import CalibrationWarning

__all__ = ["THRESHOLDS"]


def _chi2_threshold(detector, X):
    return chi2_threshold(detector._gaussian().covariance.rank, detector.target_fpr)


def _hotelling_threshold(detector, X):
    rank = detector._gaussian().covariance.rank
    covariance = detector.covariance_estimator_
    count = getattr(covariance, "n_samples_seen_", detector._n_kept(X))
    if count <= rank:
        raise ValueError(
            f"calibration='f' needs more rows than features: got {count} rows for "
            f"{rank} dimensions. Use calibration='loo'."
        )
    if getattr(covariance, "shrinkage_", type(covariance) is not EmpiricalCovariance):
        warnings.warn(
            "Hotelling's law holds for the plain sample covariance, but this one is "
            f"{covariance} with shrinkage {getattr(covariance, 'shrinkage_', 'unknown')}"
            ": the false-positive rate will differ from target_fpr. Use shrinkage=0.0, "
            "or calibration='loo'.",
            CalibrationWarning,
            stacklevel=callers_level(),
        )
    centred = not getattr(covariance, "assume_centered", False)
    return hotelling_threshold(count, rank, detector.target_fpr, centred=centred)


#: Squared distances beyond which a row is flagged, by the name of a law.
THRESHOLDS = {"chi2": _chi2_threshold, "f": _hotelling_threshold}
