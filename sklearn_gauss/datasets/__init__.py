"""Inspection data: folders in the MVTec AD layout and procedurally drawn images."""

from sklearn_gauss.datasets._list_images import list_images
from sklearn_gauss.datasets._load_inspection_folder import load_inspection_folder
from sklearn_gauss.datasets._make_inspection_images import make_inspection_images
from sklearn_gauss.datasets._read_masks import read_masks
from sklearn_gauss.datasets._save_inspection_folder import save_inspection_folder

__all__ = [
    "list_images",
    "load_inspection_folder",
    "make_inspection_images",
    "read_masks",
    "save_inspection_folder",
]
