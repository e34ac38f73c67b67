"""Detectors: what is improbable under a density of normal rows."""

from sklearn_gauss.detection._calibrated import CalibratedDetector
from sklearn_gauss.detection._class_conditional import ClassConditionalDetector
from sklearn_gauss.detection._detector_ensemble import DetectorEnsemble
from sklearn_gauss.detection._incremental_mixture import IncrementalMixtureDetector
from sklearn_gauss.detection._kde import KDEDetector
from sklearn_gauss.detection._level_ensemble import LevelEnsemble
from sklearn_gauss.detection._mahalanobis import MahalanobisDetector
from sklearn_gauss.detection._normal_abnormal import NormalAbnormalDetector
from sklearn_gauss.detection._patch_gaussian import PatchGaussianDetector
from sklearn_gauss.detection._patch_kde import PatchKDEDetector

__all__ = [
    "CalibratedDetector",
    "ClassConditionalDetector",
    "DetectorEnsemble",
    "IncrementalMixtureDetector",
    "KDEDetector",
    "LevelEnsemble",
    "MahalanobisDetector",
    "NormalAbnormalDetector",
    "PatchGaussianDetector",
    "PatchKDEDetector",
]
