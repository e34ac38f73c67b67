"""Residuals and scores of rows against normal ones, as features for any detector."""

from sklearn_gauss.residual._reference_residual import ReferenceResidual
from sklearn_gauss.residual._score_norms import ScoreNorms

__all__ = ["ReferenceResidual", "ScoreNorms"]
