"""What to say of an unshrunk covariance that is singular, or nearly."""

import warnings

from sklearn_gauss._base import callers_level
from sklearn_gauss._numerics.arrays import EPS
from sklearn_gauss.exceptions import RankDeficientWarning

__all__ = ["LEAST_PRECISION", "warn_of_rank"]

#: Relative error of distances from which on a nearly singular covariance is warned of.
LEAST_PRECISION = 1e-4


def warn_of_rank(covariance):
    """Warn where an unshrunk covariance operator lacks rank, or all but lacks it."""
    condition = getattr(covariance, "condition", 1.0)
    if covariance.rank < covariance.n_features:
        message = (
            f"The covariance, unshrunk, has rank {covariance.rank} in "
            f"{covariance.n_features} dimensions: deviations in directions without "
            "variance do not count."
        )
    elif condition * EPS > LEAST_PRECISION:
        message = (
            f"The covariance, unshrunk, is all but rank-deficient in its "
            f"{covariance.n_features} dimensions: with a condition of "
            f"{condition:.0e} distances are not known to within "
            f"{condition * EPS:.0e}."
        )
    else:
        return
    warnings.warn(
        f"{message} Use shrinkage, or drop dependent features.",
        RankDeficientWarning,
        stacklevel=callers_level(),
    )
