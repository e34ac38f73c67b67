"""PatchKDEDetector: one kernel density of the patches of all images."""

import warnings
from typing import ClassVar

import numpy as np
from sklearn.utils import check_random_state

from sklearn_gauss import _gpu
from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    callers_level,
    fit_context,
)
from sklearn_gauss._numerics.kernel.bandwidth import RULES
from sklearn_gauss._numerics.kernel.density import (
    Effort,
    KernelDensity,
)
from sklearn_gauss._numerics.kernel.fitting import regimes
from sklearn_gauss._numerics.kernel.rescaling import RESCALINGS, Rescaling
from sklearn_gauss._numerics.patches.images_left_out import (
    image_bandwidth,
    left_out_images,
)
from sklearn_gauss._numerics.patches.maps import averaged
from sklearn_gauss._numerics.patches.reduction import ReducedMaps
from sklearn_gauss.detection._patches import (
    IMAGES_AT_A_TIME,
    PATCH_PARAMETERS,
    PatchDetector,
    warn_of_copies,
)
from sklearn_gauss.detection._reduction import REDUCTION_PARAMETERS, ReducesChannels
from sklearn_gauss.detection._references import choose, draw, only_image
from sklearn_gauss.exceptions import DistanceOverflowWarning, RankDeficientWarning

#: Patches, drawn at random, among which reference patches are chosen.
CANDIDATES = 16384

#: Patches, drawn at random, whose left-out likelihood decides the bandwidth.
BANDWIDTH_PATCHES = 1000

#: Most pairs of them and reference patches.
BANDWIDTH_PAIRS = 4_000_000


class PatchKDEDetector(ReducesChannels, PatchDetector):
    """Anomalous places of images, by one kernel density of the patches of all images.

    The channels x at a place have the log-density, in nats,

    log f(x) = log sum_j w_j exp(-|A (x - y_j)|^2 / (2 h^2)) + const

    under reference patches y from anywhere in the normal images: an image is as
    anomalous as its least likely places, wherever they are. With few reference patches
    that cover the others ("greedy") and a small bandwidth h this is the nearest-neighbour
    rule of PatchCore [1]_, with a metric A, a density and thresholds that hold: those
    come from scores of every training image under the reference patches of all others.
    For textures, and parts that lie anyhow. Read more in the
    :ref:`User Guide <patch_kde>`.

    Parameters
    ----------
    bandwidth : {"loo", "scott", "silverman", "condensation"} or float, default="loo"
        The h, as in `KDEDetector`; "loo" is the maximum of the likelihood of patches
        that are left out with their whole image.
    whiten : {"none", "diagonal", "ledoit_wolf"}, default="ledoit_wolf"
        The metric A: the data's own; every channel over its standard deviation; or A'A
        the inverse of the Ledoit-Wolf covariance of all patches.
    max_reference : int or None, default=2000
        Most reference patches to keep. None keeps all.
    thinning : {"greedy", "kernel", "random"}, default="greedy"
        How they are chosen, of at most 16 384 patches drawn at random: each the farthest
        from those before it, weighted by how many patches are nearest to it; by kernel
        thinning; or at random.
    neighborhood : int, default=3
        Cells, by as many, over which the channels at a place are averaged around it, as
        in PatchCore; odd, 1 for none. At the edges those on the grid count.
    n_channels : int or None, default=100
        Channels to reduce to, if there are more; None keeps all.
    reduction : {"selection", "projection"} or transformer, default="projection"
        "selection" draws channels at random, "projection" orthonormal directions.
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
        "loo" sets the thresholds by left-out scores of the training images. A float
        is ``offset_`` itself; there are no thresholds for pixels then.
    device : str, default="auto"
        Where scores are computed. "cpu" is NumPy, exact to 1e-9 nats; the name of a
        device of torch computes there in float64, but for patches so far away that this
        would cost digits. "auto" is a GPU (CUDA) where torch is loaded and has one.
    n_jobs : int, default=None
        Threads; None takes those of BLAS.
    random_state : int, RandomState instance or None, default=0
        Seed of the reduction and of the choice of reference patches.

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
    bandwidth_ : float
        The h in use.
    bandwidth_regimes_ : dict
        As of `KDEDetector`: critical bandwidths, effective neighbours in the median of
        the reference patches, and the regime; "condensed" is the nearest-neighbour rule.
    reference_ : ndarray of shape (n_reference, n_channels)
        Reference patches, reduced.
    reference_weights_ : ndarray of shape (n_reference,)
        Their weights.
    reference_images_ : ndarray of int of shape (n_reference,)
        Place of the training image that each is from; -1 where several have it.
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
    PatchGaussianDetector : A Gaussian for every place, for parts that lie alike.
    KDEDetector : The density of rows, with more kernels and diagnostics.
    sklearn_gauss.inspection.anomaly_maps : The maps of a Pipeline at its images' sizes.

    Notes
    -----
    For n images of P places, C channels and l reference patches the fit costs
    O(n P (l + C) C), scoring an image O(P l C); l C numbers are kept, and n P left-out
    values. Left-out scores drop the reference patches of the image, and estimate the
    metric without its patches; bandwidth, shrinkage and the choice of the others are
    kept. With a transformer as ``reduction`` they come from 20 folds, each of which fits
    it and the density anew.

    References
    ----------
    .. [1] K. Roth et al., "Towards Total Recall in Industrial Anomaly Detection",
       CVPR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.detection import PatchKDEDetector
    >>> rng = np.random.default_rng(0)
    >>> detector = PatchKDEDetector().fit(rng.normal(size=(40, 8, 8, 5)))
    >>> image = rng.normal(size=(1, 8, 8, 5))
    >>> image[0, 2:5, 4:7] += 3
    >>> detector.predict(image)
    array([-1])
    >>> divmod(int(detector.anomaly_map(image)[0].argmax()), 8)
    (3, 5)
    """

    _parameter_constraints: ClassVar[dict] = {
        "bandwidth": [
            StrOptions({"loo", *RULES}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "whiten": [StrOptions(set(RESCALINGS))],
        "max_reference": [Interval(Integral, 2, None, closed="left"), None],
        "thinning": [StrOptions({"greedy", "kernel", "random"})],
        "neighborhood": [Interval(Integral, 1, None, closed="left")],
        **REDUCTION_PARAMETERS,
        **PATCH_PARAMETERS,
        "device": [str],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    _left_out_fails = "others have no patches that it could be compared with"

    def __init__(
        self,
        bandwidth="loo",
        *,
        whiten="ledoit_wolf",
        max_reference=2000,
        thinning="greedy",
        neighborhood=3,
        n_channels=100,
        reduction="projection",
        grid_shape=None,
        image_score="max",
        smoothing=0.0,
        target_fpr=0.05,
        pixel_target_fpr=0.001,
        calibration="loo",
        device="auto",
        n_jobs=None,
        random_state=0,
    ):
        self.bandwidth = bandwidth
        self.whiten = whiten
        self.max_reference = max_reference
        self.thinning = thinning
        self.neighborhood = neighborhood
        self.n_channels = n_channels
        self.reduction = reduction
        self.grid_shape = grid_shape
        self.image_score = image_score
        self.smoothing = smoothing
        self.target_fpr = target_fpr
        self.pixel_target_fpr = pixel_target_fpr
        self.calibration = calibration
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Choose reference patches and a bandwidth, and set the thresholds.

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
        ImportError
            If ``device`` needs torch, and it is not installed.

        Warns
        -----
        CalibrationWarning
            Where the images are too few for ``target_fpr``; nothing is flagged then.
        RankDeficientWarning
            Where patches do not vary in all directions of the metric.
        """
        vars(self).pop("_ready", None)
        if self.neighborhood % 2 == 0:
            raise ValueError(f"neighborhood must be odd, got {self.neighborhood}.")
        maps = self._enter(X, reset=True, min_rows=2)
        _gpu.find_device(self.device)
        self._side = self.neighborhood
        rng = check_random_state(self.random_state)
        self._fit_reducer(maps)
        reduced = ReducedMaps(self._local(maps), lambda patches: patches)
        rescaling = self._find_metric(reduced.maps)
        most = self.max_reference
        patches, copies = draw(reduced, most and max(CANDIDATES, most), rng)
        kept, shares = choose(
            rescaling.enter(patches), copies, most, how=self.thinning, rng=rng
        )
        images, weights = only_image(copies), shares.sum(axis=1)
        self.reference_, self.reference_weights_ = patches[kept], weights
        self.reference_images_ = images[kept]
        h = self._find_bandwidth(rescaling, patches, images)
        if not 0 < h < np.inf:
            raise ValueError(
                f"bandwidth={self.bandwidth!r} finds none: without their own image, and "
                "others that are copies of it, patches have nothing to be compared "
                "with. Use more images, or give bandwidth as a number."
            )
        self._rescaling, self._fitted_weight = dict(vars(rescaling)), float(weights.sum())
        self.bandwidth_ = float(h) * rescaling.unit
        self.bandwidth_regimes_ = regimes(self._density())
        left_out = None
        if self.calibration == "loo":
            warn_of_copies(maps)
            left_out = self._left_out(reduced, maps, images[kept], shares)
        self._calibrate(left_out)
        return self

    def effective_neighbors(self, X):
        """How many reference patches make up the density at each place.

        1 / sum_j p_j^2 with p_j the share of reference patch j in the sum of kernels.

        Parameters
        ----------
        X : array-like of shape (n_images, H, W, n_channels)
            Feature maps, or flat rows where ``grid_shape`` is given.

        Returns
        -------
        neighbors : ndarray of shape (n_images, H, W)
            Between 1, the nearest one alone, and the number of reference patches.
        """
        self._check_is_fitted()
        maps = self._check(X)
        patches = self._local(maps).reshape(-1, self.reference_.shape[1])
        found = self._density().effective_neighbors(patches)
        return found.reshape(len(maps), *self.grid_shape_)

    def _left_out(self, reduced, maps, images, shares):
        """Left-out values (n, P) of the training images."""
        if not isinstance(self.reduction, str):
            return self._held_out_values(maps)
        n_threads = self._n_threads()
        density, shares = self._density(), shares.tocsc()
        return -left_out_images(density, reduced, images, shares, n_threads)

    def _local(self, maps):
        """Reduced channels (n, P, k), averaged over the neighbourhood of each place."""
        found = None
        for first in range(0, len(maps), IMAGES_AT_A_TIME):
            some = self._reduce(maps[first : first + IMAGES_AT_A_TIME])
            grid = averaged(some.reshape(len(some), *self.grid_shape_, -1), self._side)
            if found is None:
                found = np.empty((*maps.shape[:2], some.shape[2]), grid.dtype)
            found[first : first + len(some)] = grid.reshape(some.shape)
        return found

    def _find_metric(self, maps):
        """The metric of all patches of reduced maps."""
        patches = maps.reshape(maps.shape[0] * maps.shape[1], -1)
        if not np.ptp(patches, axis=0).any():
            raise ValueError(
                "All patches of X are equal: no density can be estimated from them."
            )
        rescaling = RESCALINGS[self.whiten](patches, np.ones(len(patches)))
        if rescaling.dimension < patches.shape[1]:
            warnings.warn(
                f"Patches span {rescaling.dimension} of {patches.shape[1]} channels "
                f"under whiten={self.whiten!r}; the density is about these, and "
                "deviations along the others are not seen.",
                RankDeficientWarning,
                stacklevel=callers_level(),
            )
        return rescaling

    def _find_bandwidth(self, rescaling, patches, images):
        if not isinstance(self.bandwidth, str):
            return self.bandwidth / rescaling.unit
        if self.bandwidth != "loo":
            return RULES[self.bandwidth](rescaling.variances, len(patches))
        count = min(BANDWIDTH_PATCHES, BANDWIDTH_PAIRS // len(self.reference_) + 1)
        some = np.linspace(0, len(patches) - 1, min(len(patches), count))
        some = np.unique(some.astype(int))
        return image_bandwidth(
            rescaling.enter(patches[some]),
            images[some],
            rescaling.enter(self.reference_),
            self.reference_images_,
            self.reference_weights_,
            rescaling.dimension,
        )

    def _density(self):
        """The density; made anew in a copy that was loaded."""
        if "_ready" not in vars(self):
            rescaling = Rescaling(**self._rescaling)
            self._ready = KernelDensity(
                self.reference_,
                self.reference_weights_,
                rescaling,
                self._fitted_weight,
                np.inf,
                "gaussian",
                self.bandwidth_ / rescaling.unit,
                np.float64,
                Effort(self._n_threads()),
            )
        return self._ready

    def __getstate__(self):
        """What is saved: not the rows that stand ready for sums, a copy of others."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_ready"}

    def _values(self, maps):
        patches = self._local(maps).reshape(-1, self.reference_.shape[1])
        logs = self._log_density(patches)
        far = np.isneginf(logs)
        if far.any():
            warnings.warn(
                f"{far.sum()} squared distances exceed the largest float64; the scores "
                "were clipped.",
                DistanceOverflowWarning,
                stacklevel=callers_level(),
            )
            logs = np.where(far, np.finfo(np.float64).min, logs)
        return -logs.reshape(maps.shape[:2])

    def _log_density(self, patches):
        density, device = self._density(), _gpu.find_device(self.device)
        if device is None:
            return density.log_density(patches)
        logs, exact = _gpu.log_sums(
            density.rescaling.enter(patches),
            density.coordinates,
            np.log(density.weights),
            density.bandwidth,
            device,
        )
        logs += density.log_constant - np.log(density.weights.sum())
        logs[~exact] = density.log_density(patches[~exact]) if (~exact).any() else 0.0
        return logs
