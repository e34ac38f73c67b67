"""What detectors of feature maps share: maps in, pictures and verdicts on pixels out."""

import warnings
from typing import ClassVar

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone

from sklearn_gauss._base import (
    TARGET_FPR,
    BaseDetector,
    Integral,
    Interval,
    Real,
    StrOptions,
    callers_level,
    check_rows,
    validate_parameter_constraints,
)
from sklearn_gauss._numerics import calibration
from sklearn_gauss._numerics.patches.maps import (
    cut_level,
    image_values,
    pixel_p_values,
    resized,
    rounded_up,
    simes,
    smoothed,
    step_up_cuts,
)
from sklearn_gauss._numerics.threads import available_threads
from sklearn_gauss.detection._held_out import held_out
from sklearn_gauss.exceptions import CalibrationWarning, RankDeficientWarning

__all__ = ["PATCH_PARAMETERS", "PatchDetector", "warn_of_copies"]

#: What comes with thresholds of left-out maps.
CALIBRATED = ("calibration_maps_", "calibration_scores_", "pixel_threshold_", "_simes")

#: Folds of images for left-out values where channels are reduced by a transformer.
FOLDS = 20

#: Images whose maps are worked on at a time.
IMAGES_AT_A_TIME = 32

PATCH_PARAMETERS = {
    "grid_shape": [tuple, list, None],
    "image_score": [StrOptions({"max"}), Interval(Real, 0, 1, closed="right")],
    "smoothing": [Interval(Real, 0, None, closed="left")],
    "target_fpr": [TARGET_FPR],
    "pixel_target_fpr": [TARGET_FPR],
    "calibration": [StrOptions({"loo"}), Interval(Real, None, None, closed="neither")],
}


class PatchDetector(BaseDetector):
    """Verbs of a detector of maps, on top of one hook.

    ``_values(maps)`` of maps (n, P, channels) returns how anomalous every place is
    (n, P); ``fit`` ends with `_calibrate` of the left-out values of the training images.
    """

    _parameter_constraints: ClassVar[dict] = PATCH_PARAMETERS

    _calibrated_by = "images"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.grid_shape is not None
        return tags

    def anomaly_map(self, X, image_size=None):
        """How anomalous every place of every image is.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps, or flat rows where ``grid_shape`` is given.
        image_size : tuple of int or list of them, default=None
            Height and width of the maps to return, or one such pair for every image;
            None is the grid of X. Between the centres of cells values are interpolated
            (bilinear).

        Returns
        -------
        maps : ndarray of float64 of shape (n_images, height, width), or list of arrays
            Higher is more anomalous; after ``smoothing``. A list where every image has
            a size of its own.
        """
        self._check_is_fitted()
        maps = self._grid_maps(self._check(X))
        return _at_size(maps, image_size)

    def pixel_p_values(self, X, image_size=None):
        """Conformal p-value of every place, under the hypothesis that it is normal.

        (1 + number of left-out values at or above the place's) / (1 + their number),
        over all places of all training images: places count as alike.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps, or flat rows where ``grid_shape`` is given.
        image_size : tuple of int or list of them, default=None
            As for `anomaly_map`, whose values are looked up.

        Returns
        -------
        p_values : ndarray of shape (n_images, height, width), or list of arrays
            At most t at a share of about t of the pixels of unseen normal images.

        Raises
        ------
        AttributeError
            If the fit left no ``calibration_maps_``.
        """
        ordered = self._ordered()
        maps = self.anomaly_map(X, image_size)
        if isinstance(maps, list):
            return [pixel_p_values(one, ordered) for one in maps]
        return pixel_p_values(maps, ordered)

    def defect_mask(self, X, image_size=None, *, fdr=None):
        """Which pixels are flagged.

        Without ``fdr``, those whose value exceeds ``pixel_threshold_``: a share of
        ``pixel_target_fpr`` of the pixels of unseen normal images is.

        With it, the step-up procedure of Benjamini and Hochberg [1]_ on the p-values of
        an image's cells, at a level that makes the rate hold for normal images too,
        whose cells depend on each other: with Simes' value
        s_i = min_k P p_(k) / k of every left-out training image, the least level at
        which anything is flagged in it, the level is at most ``fdr`` and below the
        floor(fdr (n + 1))-th least s_i. So

        - of unseen normal images at most a share ``fdr`` has any pixel flagged: for
          images that are exchangeable with those that `recalibrate` was given, whatever
          their law; for left-out maps as nearly as with any left-out threshold;
        - of the flagged cells of a defective image an expected share ``fdr`` at most
          are normal ones, if cells depend on each other in the way that the procedure
          allows (positively). Cells beside a defect see it and are not normal ones in
          this sense.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps, or flat rows where ``grid_shape`` is given.
        image_size : tuple of int or list of them, default=None
            As for `anomaly_map`.
        fdr : float in (0, 1), default=None
            False-discovery rate.

        Returns
        -------
        masks : ndarray of bool of shape (n_images, height, width), or list of arrays
            True for what is flagged.

        Warns
        -----
        CalibrationWarning
            Where the training images are too few for ``fdr``; nothing is flagged then.

        Raises
        ------
        AttributeError
            If the fit left no ``calibration_maps_``.

        References
        ----------
        .. [1] Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate",
           Journal of the Royal Statistical Society B 57 (1995).
        """
        validate_parameter_constraints(
            {"fdr": [TARGET_FPR, None]}, {"fdr": fdr}, "defect_mask"
        )
        ordered = self._ordered()
        grid = self._grid_maps(self._check(X))
        maps = _at_size(grid, image_size)
        if fdr is None:
            cuts = np.full(len(grid), self.pixel_threshold_)
        else:
            cuts = step_up_cuts(grid, ordered, self._step_up_level(fdr))
        if isinstance(maps, list):
            return [one > cut for one, cut in zip(maps, cuts, strict=True)]
        return maps > cuts[:, None, None]

    def recalibrate(self, X, target_fpr=None):
        """Set the thresholds on fresh normal images, without refitting.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps of normal images that were not used in the fit.
        target_fpr : float in (0, 1), default=None
            Share of unseen normal images that may be flagged; the parameter's if None.

        Returns
        -------
        self : object
            With new ``calibration_maps_``, ``calibration_scores_``, ``offset_`` and
            ``pixel_threshold_``.
        """
        target = self.target_fpr if target_fpr is None else target_fpr
        validate_parameter_constraints(
            {"target_fpr": [TARGET_FPR]}, {"target_fpr": target}, "recalibrate"
        )
        self._check_is_fitted()
        self._set_thresholds(self._grid_maps(self._check(X)), target)
        return self

    def _n_threads(self):
        """Threads that ``n_jobs`` asks for."""
        if self.n_jobs is None:
            return available_threads()
        return effective_n_jobs(self.n_jobs)

    def _check(self, X):
        return self._enter(X, reset=False)

    def _enter(self, X, *, reset, min_rows=1):
        """Maps (n, P, channels) of checked X."""
        X = self._stacked(X)
        grid, rows = self._grid_of_rows(), X
        if getattr(X, "ndim", 2) == 4:
            grid = self._grid_of_maps(X.shape, reset=reset)
            rows = X.reshape(len(X), int(np.prod(X.shape[1:])))
        elif grid is None or getattr(X, "ndim", 2) != 2:
            raise ValueError(
                f"{type(self).__name__} takes maps (n_images, H, W, n_channels), as "
                "those of CNNFeatureExtractor(pooling='none'), or with "
                "grid_shape=(H, W) a 2D array of flat rows; X has "
                f"{getattr(X, 'ndim', 2)} dimensions. Reshape your data."
            )
        rows = check_rows(self, rows, reset=reset, min_rows=min_rows)
        if not reset and grid != self.grid_shape_:
            raise ValueError(
                f"grid_shape={self.grid_shape!r}, but the detector was fitted to a grid "
                f"of {self.grid_shape_}."
            )
        n_places = grid[0] * grid[1]
        if rows.shape[1] % n_places:
            raise ValueError(
                f"grid_shape={tuple(grid)} has {n_places} places, of which the "
                f"{rows.shape[1]} columns of X are no multiple."
            )
        if reset:
            self.grid_shape_ = tuple(int(side) for side in grid)
            self.n_channels_in_ = rows.shape[1] // n_places
        return rows.reshape(len(rows), n_places, -1)

    def _stacked(self, X):
        """One array of a list of maps; anything else as it is."""
        if not isinstance(X, (list, tuple)):
            return X
        if any(isinstance(one, np.ma.MaskedArray) for one in X):
            return check_rows(self, X, reset=False)  # which refuses them
        shapes = list(dict.fromkeys(np.shape(one) for one in X))
        if len(shapes) > 1:
            raise ValueError(
                f"X is a list of maps of different shapes: {shapes[0]}, {shapes[1]}."
            )
        return np.asarray(X)

    def _grid_of_rows(self):
        grid = self.grid_shape
        if grid is None:
            return None
        if len(grid) != 2 or not all(isinstance(s, Integral) and s > 0 for s in grid):
            raise ValueError(f"grid_shape must be two positive integers, got {grid!r}.")
        return tuple(grid)

    def _grid_of_maps(self, shape, *, reset):
        grid, channels = shape[1:3], shape[3]
        if reset and self.grid_shape is not None and grid != self._grid_of_rows():
            raise ValueError(
                f"X has maps of {grid[0]} x {grid[1]} places, but "
                f"grid_shape={self.grid_shape!r}."
            )
        want = grid, channels
        if not reset:
            want = self.grid_shape_, self.n_channels_in_
        if (grid, channels) != want:
            raise ValueError(
                f"X has maps of shape {(*grid, channels)}, but the detector was fitted "
                f"to {(*want[0], want[1])}."
            )
        return grid

    def _grid_maps(self, maps):
        """Smoothed values (n, H, W) of maps (n, P, channels)."""
        values = np.empty(maps.shape[:2])
        for first in range(0, len(maps), IMAGES_AT_A_TIME):
            some = slice(first, first + IMAGES_AT_A_TIME)
            values[some] = self._values(maps[some])
        return self._smoothed(values)

    def _smoothed(self, values):
        grid, sigma = values.reshape(len(values), *self.grid_shape_), self._sigma
        far = ~np.isfinite(grid)
        if not far.any() or not sigma:
            return smoothed(grid, sigma)
        beside = smoothed(far.astype(float), sigma) > 0
        return np.where(beside, np.inf, smoothed(np.where(far, 0, grid), sigma))

    def _scores(self, maps):
        return -self._image_values(self._grid_maps(maps))

    def _image_values(self, grid):
        return image_values(grid, self._share)

    def _held_out_values(self, maps):
        """Values (n, P) of images under clones that were fitted without their fold.

        What a transformer has learned of an image cannot be taken back.
        """
        X = maps.reshape(len(maps), *self.grid_shape_, -1)
        plain = {"calibration": 0.0, "smoothing": 0.0, "grid_shape": None}

        def fit(some):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RankDeficientWarning)
                return clone(self).set_params(**plain).fit(some)

        def value(detector, some):
            return detector._grid_maps(detector._check(some))

        return held_out(X, fit, value, cv=FOLDS).reshape(len(X), -1)

    def _calibrate(self, values):
        """Thresholds from left-out values (n, P), or the one that is given.

        Maps are read as they were then: another ``smoothing`` or ``image_score`` would
        not go with the thresholds.
        """
        for name in CALIBRATED:
            vars(self).pop(name, None)
        self._sigma = self.smoothing
        self._share = 0.0 if self.image_score == "max" else self.image_score
        if values is None:
            self.offset_ = float(self.calibration)
        else:
            self._set_thresholds(self._smoothed(values), self.target_fpr)

    def _set_thresholds(self, maps, target_fpr):
        self.calibration_maps_ = maps
        self.calibration_scores_ = -self._image_values(maps)
        self._set_threshold(target_fpr)
        vars(self).pop("_simes", None)
        cut = -calibration.order_statistic(-maps.reshape(-1), self.pixel_target_fpr)
        self.pixel_threshold_ = float(rounded_up(cut))
        needed = calibration.rows_needed(self.pixel_target_fpr)
        if maps.size < needed:
            warnings.warn(
                f"{maps.size} places of training images cannot certify "
                f"pixel_target_fpr={self.pixel_target_fpr:g}: at least {needed} are "
                "needed. No pixel will be flagged.",
                CalibrationWarning,
                stacklevel=callers_level(),
            )

    def _ordered(self):
        """Left-out values of all places in increasing order."""
        self._check_is_fitted()
        if not hasattr(self, "calibration_maps_"):
            raise AttributeError(
                "This fit left no calibration_maps_, which verdicts on pixels come from; "
                "fit with calibration='loo' or call recalibrate on normal images first."
            )
        return np.sort(self.calibration_maps_, axis=None)

    def _step_up_level(self, fdr):
        if "_simes" not in vars(self):
            self._simes = simes(self.calibration_maps_)
        level = cut_level(self._simes, fdr)
        if level == 0:
            warnings.warn(
                f"{len(self._simes)} training images cannot certify fdr={fdr:g}: at "
                f"least {calibration.rows_needed(fdr)} are needed. Nothing is flagged.",
                CalibrationWarning,
                stacklevel=callers_level(),
            )
        return level


def warn_of_copies(maps):
    """Say if images are exact copies: left-out values would see the other copy."""
    distinct = len({hash(image.tobytes()) for image in maps})
    if distinct < len(maps):
        warnings.warn(
            f"{len(maps) - distinct} of the {len(maps)} images of X are exact copies of "
            "others. Left out, an image is still there as its copy, so that thresholds "
            "are too strict: far more than target_fpr of unseen images will be flagged. "
            "Drop the copies.",
            CalibrationWarning,
            stacklevel=callers_level(),
        )


def _at_size(maps, image_size):
    """Maps at the grid, at one size, or each at its own."""
    if image_size is None:
        return maps
    try:
        sizes = np.asarray(image_size)
    except ValueError:  # rows of different lengths
        sizes = np.array(None)
    if sizes.dtype.kind not in "iu" or sizes.shape not in ((2,), (len(maps), 2)):
        raise ValueError(
            "image_size must be a pair (height, width), or one for each of the "
            f"{len(maps)} images; got {image_size!r}."
        )
    if sizes.size and sizes.min() < 1:
        raise ValueError(f"image_size must be positive, got {image_size!r}.")
    if sizes.ndim == 1:
        return resized(maps, tuple(sizes.tolist()))
    return [
        resized(one[None], tuple(size))[0]
        for one, size in zip(maps, sizes.tolist(), strict=True)
    ]
