"""A fitted estimator without the detectors that only calibrate it."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss.detection import CalibratedDetector

__all__ = ["unwrapped"]


def unwrapped(estimator):
    """The detector or Pipeline without a `CalibratedDetector` around it or its end."""
    if isinstance(estimator, CalibratedDetector):
        check_is_fitted(estimator)
        return unwrapped(estimator.detector_)
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], CalibratedDetector):
        *steps, (name, last) = estimator.steps
        return Pipeline([*steps, (name, unwrapped(last))])
    return estimator
