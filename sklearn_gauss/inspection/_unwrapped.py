"""A fitted estimator without what only calibrates or combines it."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss.detection import CalibratedDetector, DetectorEnsemble
from sklearn_gauss.detection._held_out import last_step

__all__ = ["member_with_maps", "unwrapped"]


def unwrapped(estimator):
    """The detector or Pipeline without a `CalibratedDetector` around it or its end."""
    if isinstance(estimator, CalibratedDetector):
        check_is_fitted(estimator)
        return unwrapped(estimator.detector_)
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], CalibratedDetector):
        *steps, (name, last) = estimator.steps
        return Pipeline([*steps, (name, unwrapped(last))])
    return estimator


def member_with_maps(estimator):
    """Of a `DetectorEnsemble` the best member that has maps; anything else as it is.

    The best one has the highest AUROC on drawn defects.
    """
    if not isinstance(estimator, DetectorEnsemble):
        return estimator
    check_is_fitted(estimator)
    found = dict(
        zip(estimator.score_names_, estimator.selection_.mean_auroc, strict=True)
    )
    members = {
        name: member
        for name, member in estimator.named_estimators_.items()
        if hasattr(last_step(unwrapped(member)), "anomaly_map")
    }
    if not members:
        raise TypeError(
            "No member of the DetectorEnsemble ends in a detector with anomaly_map: "
            f"{', '.join(estimator.named_estimators_)}. occlusion_map takes any detector "
            "of images."
        )
    return members[max(members, key=found.get)]
