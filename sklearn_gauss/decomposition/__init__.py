"""Transformers that choose principal components by their share of the variance."""

from sklearn_gauss.decomposition._low_variance_pca import LowVariancePCA

__all__ = ["LowVariancePCA"]
