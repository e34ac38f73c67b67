"""Inspection data: folders in the MVTec AD layout, drawn images and drawn defects."""

from sklearn_gauss.datasets._drawn_image import DrawnImage
from sklearn_gauss.datasets._list_images import list_images
from sklearn_gauss.datasets._load_inspection_folder import load_inspection_folder
from sklearn_gauss.datasets._make_inspection_images import make_inspection_images
from sklearn_gauss.datasets._read_masks import read_masks
from sklearn_gauss.datasets._save_inspection_folder import save_inspection_folder
from sklearn_gauss.datasets._synthetic_defects import SyntheticDefects
from sklearn_gauss.datasets._synthetic_outliers import SyntheticOutliers

__all__ = [
    "DrawnImage",
    "SyntheticDefects",
    "SyntheticOutliers",
    "list_images",
    "load_inspection_folder",
    "make_inspection_images",
    "read_masks",
    "save_inspection_folder",
]
