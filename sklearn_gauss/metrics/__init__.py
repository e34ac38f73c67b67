"""Figures of merit of detection and of localisation: how well maps show defects.

Masks mark defects by a value other than zero; maps show them by high values. Only
`f1_max_score`, which judges whole images, takes labels and scores as the detectors
give them: +1 and high for what is normal.
"""

from sklearn_gauss.metrics._aupro_score import aupro_score
from sklearn_gauss.metrics._f1_max_score import f1_max_score
from sklearn_gauss.metrics._pixel_average_precision_score import (
    pixel_average_precision_score,
)
from sklearn_gauss.metrics._pixel_f1_max_score import pixel_f1_max_score
from sklearn_gauss.metrics._pixel_roc_auc_score import pixel_roc_auc_score
from sklearn_gauss.metrics._pro_curve import pro_curve

__all__ = [
    "aupro_score",
    "f1_max_score",
    "pixel_average_precision_score",
    "pixel_f1_max_score",
    "pixel_roc_auc_score",
    "pro_curve",
]
