"""The warnings and errors of the package, for use in filters and ``except`` clauses."""

__all__ = [
    "BandwidthWarning",
    "CalibrationWarning",
    "DistanceOverflowWarning",
    "ImageReadError",
    "NearestNeighborWarning",
    "RankDeficientWarning",
    "TrimmingWarning",
    "WeightsMismatchError",
]


class RankDeficientWarning(UserWarning):
    """An unshrunk covariance is singular: some directions have no variance."""


class CalibrationWarning(UserWarning):
    """A threshold cannot keep the false-positive rate that was asked for."""


class TrimmingWarning(UserWarning):
    """Many training rows were left out of a fit as anomalies."""


class DistanceOverflowWarning(UserWarning):
    """A distance exceeds the largest float64 and was clipped to it."""


class BandwidthWarning(UserWarning):
    """A few outlying rows decide the bandwidth of a kernel density."""


class NearestNeighborWarning(UserWarning):
    """A kernel density is made up of the nearest row alone: it is a distance to it."""


class ImageReadError(ValueError):
    """An image cannot be read; the message starts with the file's name."""


class WeightsMismatchError(ValueError):
    """Weights do not fit a network; the message names the first keys that differ."""
