"""The default recipe: from good images to a calibrated verdict on others."""

from sklearn.pipeline import Pipeline

from sklearn_gauss.datasets import SyntheticDefects
from sklearn_gauss.detection import (
    DetectorEnsemble,
    LevelEnsemble,
    PatchGaussianDetector,
    PatchKDEDetector,
)
from sklearn_gauss.feature_extraction import CNNFeatureExtractor

__all__ = ["make_inspector"]

#: Sides of the grids of feature maps, and directions that their channels go to.
GRID, FINE_GRID, CHANNELS = 14, 20, 100


def make_inspector(
    backbone="noisenet",
    *,
    combine="stacked",
    target_fpr=0.05,
    defects="default",
    cv=5,
    n_jobs=None,
    **extractor,
):
    """Make a detector of defective images that needs good ones only.

    A `DetectorEnsemble` of what finds defects of different kinds in the features of one
    network, weighed by defects drawn onto the good images:

    - ``mean_levels`` and ``max_levels``: a Gaussian for each level, its channels averaged
      over the image, or their largest values [1]_;
    - ``patch_gaussian`` and ``fine_patch_gaussian``: a Gaussian at every place of maps
      of two middle levels, or of finer ones, for parts that lie alike;
    - ``patch_kde`` and ``cell_kde``: the density of patches wherever they lie, for
      textures, of 3 by 3 cells and of single ones.

    Parameters
    ----------
    backbone : str, callable or torch.nn.Module, default="noisenet"
        As of `CNNFeatureExtractor`. One that was trained on photographs finds more on
        most products than the bundled one.
    combine : {"stacked", "best", "sum"}, default="stacked"
        As of `DetectorEnsemble`.
    target_fpr : float in (0, 1), default=0.05
        Share of unseen good images that may be flagged.
    defects : object with ``draw``, default="default"
        What draws defects; by default ``SyntheticDefects()``.
    cv : int, default=5
        Number of folds in which members score what they were not fitted to.
    n_jobs : int, default=None
        Number of fits of a member to run in parallel.
    **extractor
        Further parameters of `CNNFeatureExtractor`: ``weights``, ``mean``, ``std``,
        ``input_size``, ``device``, ``cache`` and so on, but for ``levels``, ``pooling``,
        ``n_channels`` and ``grid``, which the members differ in.

    Returns
    -------
    inspector : DetectorEnsemble
        Unfitted. ``fit`` takes good images, or good and defective ones with labels +1
        and -1; ``predict``, ``score_samples`` and ``p_values`` take images.

    Raises
    ------
    TypeError
        If a parameter is none of the extractor's, or one that the members differ in.
    ValueError
        If ``defects`` is another text than "default".

    See Also
    --------
    sklearn_gauss.detection.DetectorEnsemble : Any members, and what the fit reports.
    sklearn_gauss.datasets.SyntheticDefects : The defects that are drawn.

    Notes
    -----
    Each image goes through the network four times, and so does each drawn one: at least
    300 are drawn, or as many as there are good images, and half as many harmless
    variations. ``cache="folder"`` keeps all features. Fitting 200 images with the bundled
    network takes about a minute on two cores, judging one some 30 milliseconds;
    ``python benchmarks/without_anomalies.py FOLDER --times`` prints yours. Held in memory
    at a time are the features of one extractor for all images, good and drawn: at most
    160 kB an image. See :ref:`without_anomalies`.

    References
    ----------
    .. [1] O. Rippel, P. Mertens and D. Merhof, "Modeling the Distribution of Normal Data
       in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020.

    Examples
    --------
    >>> from sklearn_gauss.datasets import make_inspection_images
    >>> from sklearn_gauss.inspector import make_inspector
    >>> images = make_inspection_images("metal", n_train=20, size=32, random_state=0)
    >>> inspector = make_inspector("tiny", target_fpr=0.1, cv=2, input_size=32)
    >>> inspector = inspector.fit(images.train)
    >>> inspector.predict(images.test).shape
    (40,)
    """
    own = {"levels", "pooling", "n_channels", "grid"} & set(extractor)
    unknown = sorted(set(extractor) - set(CNNFeatureExtractor().get_params()))
    if unknown:
        raise TypeError(
            f"make_inspector: {', '.join(unknown)} is no parameter of its own or of "
            "CNNFeatureExtractor."
        )
    if isinstance(defects, str) and defects != "default":
        raise ValueError(
            f"defects must be 'default' or have a method draw, got {defects!r}."
        )
    if own:
        raise TypeError(
            f"make_inspector: the members differ in {', '.join(sorted(own))}; build a "
            "DetectorEnsemble of Pipelines to choose them."
        )

    def network(**options):
        return CNNFeatureExtractor(backbone, **extractor, **options)

    def maps(levels="middle", grid=GRID):
        return network(pooling="none", levels=levels, n_channels=CHANNELS, grid=grid)

    members = {
        "mean_levels": (network(pooling="avg"), LevelEnsemble()),
        "max_levels": (network(pooling="max"), LevelEnsemble()),
        "patch_gaussian": (maps(), _patch_gaussian()),
        "fine_patch_gaussian": (maps("fine", FINE_GRID), _patch_gaussian()),
        "patch_kde": (maps(), _patch_kde(neighborhood=3)),
        "cell_kde": (maps(), _patch_kde(neighborhood=1)),
    }
    return DetectorEnsemble(
        [
            (name, Pipeline([("extractor", front), ("detector", detector)]))
            for name, (front, detector) in members.items()
        ],
        combine=combine,
        defects=SyntheticDefects() if isinstance(defects, str) else defects,
        cv=cv,
        target_fpr=target_fpr,
        n_jobs=n_jobs,
    )


def _patch_gaussian():
    return PatchGaussianDetector(n_channels=None, precision="float32")


def _patch_kde(neighborhood):
    return PatchKDEDetector(
        # The nearest patch decides at any usual bandwidth; this one needs no search.
        bandwidth="condensation",
        n_channels=None,
        neighborhood=neighborhood,
        # The worst hundredth of the places tells more than the worst one.
        image_score=0.01,
    )
