"""Calibrated anomaly detection by density, for deep features and feature matrices.

===========================  ============================================================
``covariance``               `ShrinkageCovariance`
``detection``                `MahalanobisDetector`, `KDEDetector`,
                             `ClassConditionalDetector`, `IncrementalMixtureDetector`,
                             `NormalAbnormalDetector`; around others `LevelEnsemble`,
                             `CalibratedDetector`, `DetectorEnsemble`; of feature maps,
                             `PatchGaussianDetector` and `PatchKDEDetector`
``decomposition``            `LowVariancePCA`
``residual``                 `ReferenceResidual`, `ScoreNorms`, beside normal rows
``selection``                `KernelThinning`, few rows that stand for all
``feature_extraction``       `CNNFeatureExtractor`, images to features
``inspector``                `make_inspector`, the recipe for images of good parts
``inspection``               `anomaly_maps`, `explain`, `gradient_map`, `occlusion_map`,
                             `perturbed_features`
``metrics``                  `aupro_score` and others of defect localisation
``model_selection``          `NormalKFold`, `NormalShuffleSplit`, `anomaly_scorer`,
                             `synthetic_defect_scorer`
``datasets``                 `list_images`, `load_inspection_folder`,
                             `make_inspection_images`, `save_inspection_folder`,
                             `SyntheticDefects`, `SyntheticOutliers`
``plotting``                 `AnomalyMapDisplay`, `BandwidthDisplay`, `ScoreDisplay`,
                             `WorkingPointDisplay`
``exceptions``               warnings and errors
===========================  ============================================================

Below them lie ``_base``, the verbs that detectors share, and ``_numerics``, pure
functions on arrays. Importing the package never imports torch, Pillow or matplotlib.
"""

from sklearn_gauss import (
    covariance,
    datasets,
    decomposition,
    detection,
    exceptions,
    feature_extraction,
    inspection,
    inspector,
    metrics,
    model_selection,
    residual,
    selection,
)
from sklearn_gauss._version import __version__

__all__ = [
    "__version__",
    "covariance",
    "datasets",
    "decomposition",
    "detection",
    "exceptions",
    "feature_extraction",
    "inspection",
    "inspector",
    "metrics",
    "model_selection",
    "residual",
    "selection",
]
