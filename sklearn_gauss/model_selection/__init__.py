"""Splitters and scorers that know normal rows (+1) from anomalies (-1)."""

from sklearn_gauss.model_selection._anomaly_scorer import anomaly_scorer
from sklearn_gauss.model_selection._normal_kfold import NormalKFold
from sklearn_gauss.model_selection._normal_shuffle_split import NormalShuffleSplit
from sklearn_gauss.model_selection._synthetic_defect_scorer import (
    synthetic_defect_scorer,
)

__all__ = [
    "NormalKFold",
    "NormalShuffleSplit",
    "anomaly_scorer",
    "synthetic_defect_scorer",
]
