"""Covariance estimators."""

from sklearn_gauss.covariance._shrinkage_covariance import ShrinkageCovariance

__all__ = ["ShrinkageCovariance"]
