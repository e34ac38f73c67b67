"""Displays of detectors, in the manner of scikit-learn's; matplotlib is imported late."""

from sklearn_gauss.plotting._anomaly_map_display import AnomalyMapDisplay
from sklearn_gauss.plotting._bandwidth_display import BandwidthDisplay
from sklearn_gauss.plotting._score_display import ScoreDisplay
from sklearn_gauss.plotting._working_point_display import WorkingPointDisplay

__all__ = [
    "AnomalyMapDisplay",
    "BandwidthDisplay",
    "ScoreDisplay",
    "WorkingPointDisplay",
]
