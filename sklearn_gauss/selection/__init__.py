"""Selectors of rows: few that stand for all."""

from sklearn_gauss.selection._kernel_thinning import KernelThinning

__all__ = ["KernelThinning"]
