"""PatchGaussianDetector: a Gaussian at every place of feature maps."""

import os
import warnings
from typing import ClassVar

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import available_if

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    callers_level,
    clip_overflow,
    fit_context,
)
from sklearn_gauss._numerics.arrays import EPS, Frame
from sklearn_gauss._numerics.patches.positions import (
    Places,
    fit_places,
    is_constant,
    shapes,
)
from sklearn_gauss._numerics.patches.reduction import ReducedMaps
from sklearn_gauss._numerics.patches.shared import SharedPlaces, fit_shared
from sklearn_gauss.covariance._rank import LEAST_PRECISION
from sklearn_gauss.detection._patches import (
    IMAGES_AT_A_TIME,
    PATCH_PARAMETERS,
    PatchDetector,
    warn_of_copies,
)
from sklearn_gauss.detection._reduction import REDUCTION_PARAMETERS, ReducesChannels
from sklearn_gauss.detection._storage import allocator, in_memory
from sklearn_gauss.exceptions import RankDeficientWarning

DTYPES = {"float64": np.float64, "float32": np.float32}

MIB = 2**20


class PatchGaussianDetector(ReducesChannels, PatchDetector):
    """Anomalous places of images, by a Gaussian at every place of their feature maps.

    At the place (i, j) of the grid, the channels x of an image are at a distance M with
    M^2 = (x - mean_ij)' Sigma_ij^-1 (x - mean_ij) from what normal images have there:
    PaDiM [1]_. Covariances are shrunk, by an intensity that is estimated at every
    place, and with n <= channels images never formed. An image is as anomalous as its
    worst places; the thresholds for images and for pixels come from distances of every
    training image to the Gaussians of all others, exact and in closed form. Made for
    parts that lie alike in every image. Read more in the
    :ref:`User Guide <patch_gaussian>`.

    Parameters
    ----------
    shrinkage : {"ledoit_wolf", "oas", "rblw"} or float in [0, 1], default="ledoit_wolf"
        Intensity a of shrinkage, (1 - a) S + a tr(S) / p I, of each covariance.
    ridge : float, default=0.0
        Variance added in all directions after shrinkage, in squared units of X. PaDiM is
        ``shrinkage=0.0, ridge=0.01``.
    covariance : {"position", "shared"}, default="position"
        A covariance for every place, or one for all, of the deviations from each
        place's own mean; that one takes hardly any memory.
    n_channels : int or None, default=100
        Channels to reduce to, if there are more; None keeps all.
    reduction : {"selection", "projection"} or transformer, default="projection"
        "selection" draws channels at random, "projection" orthonormal directions [2]_.
        A transformer, such as `LowVariancePCA`, is cloned and fitted to all patches as
        rows (by ``partial_fit`` if it has one); it decides the number by itself.
    grid_shape : tuple of int, default=None
        When given, ``X`` may be a 2D array whose rows are flattened maps, of this
        height and width.
    image_score : "max" or float in (0, 1], default="max"
        How anomalous an image is: its worst place, or the mean of this share of its
        worst places.
    smoothing : float, default=0.0
        Standard deviation of the Gaussian that smooths anomaly maps, in cells of the
        grid. Scores and thresholds are those of smoothed maps.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen normal images that may be flagged.
    pixel_target_fpr : float in (0, 1), default=0.001
        Share of the pixels of unseen normal images that may be flagged.
    calibration : "loo" or float, default="loo"
        "loo" sets the thresholds by left-out distances of the training images. A float
        is ``offset_`` itself; there are no thresholds for pixels then.
    precision : {"float64", "float32"}, default="float64"
        In which the fitted covariances are kept and scored with. They are estimated in
        float64 in any case, and a shared one is kept in it.
    storage : str, path-like or None, default=None
        Folder in which the fitted covariances, and the maps that `partial_fit` keeps,
        lie in memory-mapped files, which go when the detector goes. A pickle holds
        their content. A shared covariance lies in memory.
    memory_limit : float, default=4096
        MiB that may be allocated in ``fit`` for what `required_memory` states.
    n_jobs : int, default=None
        Threads for the fit; None takes those of BLAS.
    random_state : int, RandomState instance or None, default=0
        Seed of the reduction.

    Attributes
    ----------
    offset_ : float
        Threshold on the score of images; minus infinity if nothing can be flagged.
    pixel_threshold_ : float
        Value of anomaly maps beyond which a pixel is flagged.
    calibration_scores_ : ndarray of shape (n_images,)
        Left-out score of every training image, in order.
    calibration_maps_ : ndarray of shape (n_images, H, W)
        Its left-out anomaly map.
    location_ : ndarray of shape (H, W, n_channels)
        Mean of the reduced channels at every place.
    shrinkage_ : ndarray of shape (H, W) or float
        Intensity of shrinkage at every place, or the shared one.
    reducer_ : ndarray, transformer or None
        Channels (n_channels,), directions (n_channels_in, n_channels), or the fitted
        transformer.
    grid_shape_ : tuple of int
        Height and width of the grid.
    n_channels_in_ : int
        Channels of X.
    n_features_in_ : int
        Numbers of an image: height times width times channels.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns of flat rows, where they are all strings.

    See Also
    --------
    PatchKDEDetector : One density of all places, for parts that lie anyhow.
    MahalanobisDetector : One Gaussian of pooled features.
    sklearn_gauss.inspection.anomaly_maps : The maps of a Pipeline at its images' sizes.

    Notes
    -----
    The fit costs O(n C^2 + C^3) a place for n images of C reduced channels, or
    O(n^2 C) where n <= C; it keeps C^2 numbers a place, or n C, and the shared
    covariance C. Left-out distances re-estimate the mean and the intensity of shrinkage;
    those of the shared covariance keep its intensity. With a transformer as
    ``reduction`` they come from 20 folds, each of which fits it and the Gaussians anew.

    A place where nothing varies has the mean variance of all places in every direction,
    unless a ridge is given.

    References
    ----------
    .. [1] T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a Patch Distribution
       Modeling Framework for Anomaly Detection and Localization", ICPR 2020 Workshops.
    .. [2] J.-H. Kim, D.-H. Kim, S. Yi and T. Lee, "Semi-orthogonal Embedding for
       Efficient Unsupervised Anomaly Segmentation", arXiv:2105.14737.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import PatchGaussianDetector
    >>> rng = np.random.default_rng(0)
    >>> normal = rng.normal(size=(100, 8, 8, 20))
    >>> detector = PatchGaussianDetector().fit(normal)
    >>> image = rng.normal(size=(1, 8, 8, 20))
    >>> image[0, 2, 5] += 3
    >>> detector.predict(image)
    array([-1])
    >>> np.argwhere(detector.defect_mask(image)[0])
    array([[2, 5]])
    >>> detector.anomaly_map(image, image_size=(64, 64)).shape
    (1, 64, 64)
    """

    _parameter_constraints: ClassVar[dict] = {
        "shrinkage": [
            StrOptions({"ledoit_wolf", "oas", "rblw"}),
            Interval(Real, 0, 1, closed="both"),
        ],
        "ridge": [Interval(Real, 0, None, closed="left")],
        "covariance": [StrOptions({"position", "shared"})],
        **REDUCTION_PARAMETERS,
        **PATCH_PARAMETERS,
        "precision": [StrOptions({"float64", "float32"})],
        "storage": [str, os.PathLike, None],
        "memory_limit": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    _fitted = (
        *("offset_", "pixel_threshold_", "calibration_scores_", "calibration_maps_"),
        *("location_", "shrinkage_", "reducer_"),
    )

    def __init__(
        self,
        shrinkage="ledoit_wolf",
        *,
        ridge=0.0,
        covariance="position",
        n_channels=100,
        reduction="projection",
        grid_shape=None,
        image_score="max",
        smoothing=0.0,
        target_fpr=0.05,
        pixel_target_fpr=0.001,
        calibration="loo",
        precision="float64",
        storage=None,
        memory_limit=4096,
        n_jobs=None,
        random_state=0,
    ):
        self.shrinkage = shrinkage
        self.ridge = ridge
        self.covariance = covariance
        self.n_channels = n_channels
        self.reduction = reduction
        self.grid_shape = grid_shape
        self.image_score = image_score
        self.smoothing = smoothing
        self.target_fpr = target_fpr
        self.pixel_target_fpr = pixel_target_fpr
        self.calibration = calibration
        self.precision = precision
        self.storage = storage
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the Gaussians of all places and set the thresholds.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps of normal images, or flat rows where ``grid_shape`` is given.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Fitted detector.

        Raises
        ------
        ValueError
            If X is no array of finite numbers of that shape, or nothing in it varies.
        MemoryError
            If more than ``memory_limit`` would be allocated; nothing is yet.

        Warns
        -----
        CalibrationWarning
            Where the images are too few for ``target_fpr``; nothing is flagged then.
        RankDeficientWarning
            Where covariances without shrinkage or ridge do not see all directions.
        """
        self._forget()
        vars(self).pop("_kept", None)
        maps = self._enter(X, reset=True, min_rows=2)
        self._check_memory(maps.shape)
        self._fit_reducer(maps)
        self._estimate(ReducedMaps(maps, self._reduce))
        return self

    def _can_go_on(self):
        if "_kept" not in vars(self) and "offset_" in vars(self):
            raise AttributeError(
                "partial_fit cannot go on from fit, which keeps no maps: begin a new "
                "detector by partial_fit."
            )
        return True

    @available_if(_can_go_on)
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None):
        """Add normal images; the result is that of one fit to all of them.

        The reduced maps of all images are kept, in ``storage`` if it is given, or all
        channels where ``reduction`` is a transformer. The Gaussians are fitted when the
        detector is next used.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps of one normal image or more.
        y : Ignored
            Present for the conventions of scikit-learn.

        Returns
        -------
        self : object
            Detector with the images added.

        Raises
        ------
        AttributeError
            After `fit`, which keeps no maps to go on from.
        """
        kept = vars(self).get("_kept", [])
        maps = self._enter(X, reset=not kept)
        if isinstance(self.reduction, str):
            if not kept:
                self._fit_reducer(maps)
            maps = self._reduce(maps)
        held = allocator(self.storage, {"maps": maps.dtype})("maps", maps.shape)
        held[...] = maps
        reducer = vars(self).get("reducer_")
        self._forget()
        if isinstance(self.reduction, str):
            self.reducer_ = reducer
        self._kept, self._pending = [*kept, held], True
        return self

    def required_memory(self, shape):
        """How much memory a fitted detector takes.

        Parameters
        ----------
        shape : tuple of int
            Of X: (n_images, H, W, n_channels).

        Returns
        -------
        memory : :class:`~sklearn.utils.Bunch`
            In bytes, ``covariances`` with their means (in files, where ``storage`` is
            given) and ``calibration``, the left-out maps; during the fit three times
            these come on top. For a transformer as ``reduction``, as if it kept all
            channels.
        """
        n_images, height, width, n_channels = shape
        if isinstance(self.reduction, str):
            n_channels = min(self.n_channels or n_channels, n_channels)
        n_places, itemsize = height * width, np.dtype(self.precision).itemsize
        if self.covariance == "shared":
            sizes = {"frame": (n_places, 2 * n_channels), "factor": (n_channels,) * 2}
        else:
            sizes = shapes(n_images, n_places, n_channels, self.shrinkage, self.ridge)
        sizes["location"] = n_places, n_channels
        return Bunch(
            covariances=sum(
                int(np.prod(size)) * (itemsize if name == "axes" else 8)
                for name, size in sizes.items()
            ),
            calibration=8 * n_images * n_places,
        )

    def mahalanobis(self, X):
        """Squared Mahalanobis distance at every place.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps, or flat rows where ``grid_shape`` is given.

        Returns
        -------
        squares : ndarray of float64 of shape (n_images, H, W)
            Not smoothed; clipped to the largest float64.
        """
        self._check_is_fitted()
        maps = self._check(X)
        squares = np.concatenate(
            [
                self._squares(maps[first : first + IMAGES_AT_A_TIME])
                for first in range(0, len(maps), IMAGES_AT_A_TIME)
            ]
        )
        return clip_overflow(squares.reshape(len(maps), *self.grid_shape_))

    def _check_memory(self, shape):
        needed = self.required_memory((shape[0], *self.grid_shape_, shape[2]))
        total = 4 * needed.calibration + (0 if self.storage else needed.covariances)
        if total > self.memory_limit * MIB:
            raise MemoryError(
                f"The fit would take {total / MIB:.0f} MiB beside X, more than "
                f"memory_limit={self.memory_limit:g} MiB: {needed.covariances / MIB:.0f} "
                f"for covariances of {self.grid_shape_[0]} x {self.grid_shape_[1]} "
                f"places, {4 * needed.calibration / MIB:.0f} for left-out maps. Take "
                "fewer n_channels, a coarser grid, precision='float32', "
                "covariance='shared', storage=FOLDER for memory-mapped files, or a "
                "higher memory_limit."
            )

    def _settle(self):
        kept = self._kept
        shape = (sum(map(len, kept)), *kept[0].shape[1:])
        if shape[0] < 2:
            raise NotFittedError(
                "partial_fit has seen 1 image; a covariance needs at least 2."
            )
        self._check_memory((*shape[:2], self.n_channels_in_))
        maps = kept[0]
        if len(kept) > 1:
            maps = allocator(self.storage, {"maps": np.result_type(*kept)})("maps", shape)
            np.concatenate(kept, out=maps)
            self._kept = [maps]
        if isinstance(self.reduction, str):
            self._estimate(ReducedMaps(maps, lambda patches: patches))
        else:
            self._fit_reducer(maps)
            self._estimate(ReducedMaps(maps, self._reduce))

    def _estimate(self, maps):
        """All that is fitted, from reduced maps."""
        if is_constant(maps):
            raise NotFittedError(
                f"All images are equal in the {maps.shape[2]} channels in use: no "
                "covariance can be estimated."
            )
        closed_form = self.calibration == "loo" and isinstance(self.reduction, str)
        options = {"left_out": closed_form, "n_threads": self._n_threads()}
        if self.covariance == "shared":
            found = fit_shared(maps, self.shrinkage, self.ridge, **options)
            self.shrinkage_ = found.intensities
            rank, condition = found.rank, found.condition
        else:
            found = fit_places(
                maps,
                self.shrinkage,
                self.ridge,
                allocate=allocator(self.storage, {"axes": DTYPES[self.precision]}),
                **options,
            )
            self.shrinkage_ = found.intensities.reshape(self.grid_shape_)
            rank, condition = found.ranks.min(), found.conditions.max()
        model = found.places
        self._model = {k: v for k, v in vars(model).items() if v is not None}
        frame = Frame(model.origin, model.shift, model.scale)
        self.location_ = frame.location[0].reshape(*self.grid_shape_, -1)
        self._warn_of_rank(int(rank), float(condition))
        left_out = None if found.squares is None else np.sqrt(found.squares)
        if self.calibration == "loo":
            warn_of_copies(maps.maps)
            if not closed_form:
                left_out = self._held_out_values(maps.maps)
        self._calibrate(left_out)

    def _warn_of_rank(self, rank, condition):
        n_channels, error = self.location_.shape[2], condition * EPS
        if rank < n_channels:
            message = (
                f"There are places whose covariance has rank {rank} in {n_channels} "
                "channels; deviations in the other directions are not seen."
            )
        elif error > LEAST_PRECISION:
            message = (
                f"There are places whose covariance has a condition of {condition:.0e}, "
                f"where distances are not known to within {error:.0e}."
            )
        else:
            return
        warnings.warn(
            f"{message} Use shrinkage or a ridge, more images, or fewer n_channels.",
            RankDeficientWarning,
            stacklevel=callers_level(),
        )

    def _squares(self, maps):
        kind = SharedPlaces if self._model["axes"].ndim == 2 else Places
        return kind(**self._model).squared_distances(self._reduce(maps))

    def _values(self, maps):
        return np.sqrt(clip_overflow(self._squares(maps)))

    def __getstate__(self):
        """What is saved: arrays, not the files that they lie in."""
        state = super().__getstate__().copy()
        if "_model" in state:
            state["_model"] = {k: in_memory(v) for k, v in state["_model"].items()}
        if "_kept" in state:
            state["_kept"] = [in_memory(maps) for maps in state["_kept"]]
        return state
