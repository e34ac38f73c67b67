"""Rows to fit to where some may be anomalies, with a word on what is left out."""

import warnings

import numpy as np

from sklearn_gauss._base import callers_level
from sklearn_gauss._numerics.trimming import clean_rows
from sklearn_gauss.exceptions import TrimmingWarning

__all__ = ["rows_to_fit"]

#: Share of the rows that "auto" leaves out with a warning.
MANY = 0.2


def rows_to_fit(X, trim):
    """Mask (n,) of the rows to fit to; an error where those are all equal."""
    kept = clean_rows(X, trim)
    share = 1 - kept.mean()
    if np.ptp(X, axis=0).any() and not np.ptp(X[kept], axis=0).any():
        raise ValueError(
            f"trim={trim!r}: the {kept.sum()} rows that are left are all equal. Use a "
            "smaller share, or trim='auto'."
        )
    if trim == "auto" and share > MANY:
        warnings.warn(
            f"trim='auto' left out {share:.0%} of the rows. If they are normal, of a "
            "product or kind of their own, say, they will be flagged: look at inliers_, "
            "and fit with trim=None, or a detector of each kind.",
            TrimmingWarning,
            stacklevel=callers_level(),
        )
    return kept
