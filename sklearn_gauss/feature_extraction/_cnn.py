"""The transformer from images to the features of a convolutional network."""

import os
from functools import partial

import joblib
import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_gauss._base import Integral, Interval, StrOptions, fit_context
from sklearn_gauss.feature_extraction._caching._cache import CacheMixin
from sklearn_gauss.feature_extraction._extraction import extract, import_network
from sklearn_gauss.feature_extraction._lifecycle import (
    DECIDED_AT_FIT,
    Process,
    check_same_network,
    frozen,
    warn_if_random,
)
from sklearn_gauss.feature_extraction._reading._images import (
    MAX_PIXELS,
    WHITE,
    read_image,
)
from sklearn_gauss.feature_extraction._reading._inputs import (
    as_background,
    as_channels,
    as_images,
    as_pair,
    as_size,
    draw_seed,
    row_shape,
)
from sklearn_gauss.feature_extraction._reading._streams import extract_all, warn_unread


class CNNFeatureExtractor(CacheMixin, TransformerMixin, BaseEstimator):
    """Features of images from the levels of a pretrained convolutional network.

    Every image is made 8-bit RGB, resized to a square without regard to its aspect
    ratio, normalised as the backbone was trained, and passed through the network. The
    maps of each level are pooled over their grid; the levels' channels, side by side,
    are the features [1]_.

    Parameters
    ----------
    backbone : str, callable or torch.nn.Module, default="noisenet"
        ``"noisenet"`` comes with the package, pretrained on drawn images
        (:ref:`noisenet`). ``"torchvision/NAME"`` and ``"timm/NAME"`` need the ``timm``
        extra. Or a callable that takes ``backbone_options`` and returns a module, or a
        module. ``"tiny"`` is smaller and has random weights, for tests. A module is
        copied at ``fit`` and never changed; it is the one kind of backbone that does
        not clone by content, because :func:`sklearn.base.clone` makes a copy that no
        longer equals it.

    backbone_options : dict or None, default=None
        Keywords for ``timm.create_model``, torchvision's builder or a callable backbone,
        as ``{"pad_type": "same"}``. Plain values survive in a model file.

    weights : str, path-like or None, default="default"
        ``"default"`` takes the weights that come with the package, that torchvision or
        timm has for the backbone (downloaded at first use), or that a callable's or
        one's own module came with.
        A path names a local file: ``.safetensors``, or a state dict in ``.pt``,
        ``.pth`` or ``.bin``, read without unpickling. The file may lack the head that
        no level needs, or have another; anything else must fit. None asks for random
        weights, with a warning (without one for ``"tiny"``, which has no others).

    levels : "all", "middle", "fine" or list of str or int, default="all"
        The levels to use, by name or by number (negative from the last). ``"middle"`` is
        for maps: the last level whose cells are about 8 pixels apart, and the last with
        about 16; ``"fine"`` those with about 4 and 8. See Notes.

    pooling : {"avg", "max", "moments", "second_moments", "none"}, default="avg"
        Mean or maximum over the grid of each channel; ``"moments"`` gives mean and
        standard deviation, ``"second_moments"`` mean and covariances of some random
        projections of the channels. See Notes. ``"none"`` keeps the maps, those of all
        levels on one grid, as (n, H, W, channels); see :ref:`feature_maps`.

    n_channels : int or None, default=None
        For ``pooling="none"``: the channels of all levels, as one, projected on this
        many orthonormal directions, drawn at random by ``random_state`` [3]_. Where
        there are no more channels, and for None, all are kept as they are.

    grid : int, tuple of int or None, default=None
        For ``pooling="none"``: side, or height and width, of the maps' grid. Larger maps
        are averaged down (adaptive average pooling), smaller ones stretched (bilinear).
        None is the grid of most cells among the levels.

    image_shape : tuple of int, "row" or None, default=None
        When given, ``X`` is a 2-D array whose rows are flattened images of this shape,
        (H, W) or (H, W, C). ``"row"`` takes each row of p values as an image of one by
        p pixels.

    input_size : int, tuple of int or None, default=None
        Side, or height and width, of what the network sees. None takes the backbone's
        own.

    batch_size : int or "auto", default="auto"
        Images per forward pass, of which a CPU runs one on every core at a time.
        ``"auto"`` is at most 4 on a CPU and 64 on a GPU, fewer for images larger than
        224 by 224 pixels. What does not fit into memory is halved until it does, with
        one warning. The features do not depend on it, beyond rounding.

    device : str or list of str, default="auto"
        ``"auto"`` is a GPU where torch has one (CUDA, then Apple's MPS), else the CPU;
        or a device of torch, as ``"cuda:1"``; or a list of them, of one kind, which run
        batches side by side, each with a copy of the network.

    precision : {"float32", "bfloat16", "float16"}, default="float32"
        Arithmetic of the forward pass: single precision, or automatic mixed precision
        with the smaller type for convolutions and products. ``"bfloat16"`` is for GPUs
        that have it and for CPUs, where it is faster if they have instructions for it
        (AMX, AVX-512 BF16); ``"float16"`` is for GPUs alone. The features are float32
        in every case.

    on_error : {"raise", "nan"}, default="raise"
        An image that cannot be read raises, or becomes a row of NaN, with one warning
        that counts them and names the first. Arrays of the wrong shape or range always
        raise.

    random_state : int, RandomState instance or None, default=None
        Seeds random weights and, apart from the weights, the projections of
        ``"second_moments"`` and ``n_channels``. None means 0: the same features every
        time.

    verbose : int, default=0
        Show the progress of ``transform``: a bar on a terminal where rich is installed
        (the ``cli`` extra), else a line for each tenth.

    mean, std : array-like of float or None, default=None
        Mean and standard deviation of the channels of images in [0, 1], one number for
        each of ``in_chans``. None takes the backbone's own, or ImageNet's where it
        states none; their average for one channel, in turn for more than three.

    value_range : tuple of float, "fit" or None, default=None
        The values of black and white in arrays, and in files of more than 8 bits. None
        takes the type's: [0, 1] for floats and booleans, [0, 255] and [0, 65535] for
        8- and 16-bit unsigned integers; other types, and files of floats or 32-bit
        integers, need a range. Values outside raise. ``"fit"``, for flat rows only,
        takes the smallest and largest value of the rows in ``fit`` and clips later ones.

    in_chans : int, default=3
        Channels of the network's input. 3 reads images as RGB, 1 as grey (0.299 red +
        0.587 green + 0.114 blue), 4 as RGBA; arrays and tensors of just these channels
        are taken as they are, and any other number takes only those. The weights of the
        first convolution are adapted as by timm: added up for one channel, repeated and
        scaled for more than three.

    background : tuple of int, default=(255, 255, 255)
        RGB colour behind transparent pixels.

    frames : {"refuse", "first"}, default="refuse"
        Whether to take the first frame of an image that has several (GIF, WebP, APNG,
        TIFF; of a Pillow image the current one).

    min_side : int, default=8
        Images with fewer pixels on either side are refused. Flat rows are not.

    max_pixels : int, default=67108864
        Files, bytes and Pillow images of more pixels are refused before they are
        decoded.

    cache : str, path-like, joblib.Memory or None, default=None
        Folder that keeps the features by the content of the image and the model, so
        that clones, workers and later runs read them back: a search extracts every
        image once. Of a :class:`joblib.Memory` the location is used. See
        :ref:`feature_cache`.

    cache_limit : int, str or None, default=None
        Most bytes to keep in ``cache``, as a number or as ``"500 MB"`` or ``"2 GB"``;
        what was not used for longest goes first. None sets no limit.

    Attributes
    ----------
    levels_ : list of str
        Names of the levels used.

    level_channels_ : list of int
        Channels of each level.

    level_grids_ : list of tuple of int
        Height and width of each level's maps, before pooling and resizing.

    n_features_out_ : int
        Number of features, or of the maps' channels for ``pooling="none"``.

    input_size_ : tuple of int
        Height and width of what the network sees.

    mean_, std_ : tuple of float
        Normalisation of the channels in use.

    value_range_ : tuple of float or None
        The values of black and white in use; None is the type's own.

    weights_sha256_ : str
        SHA-256 of the local file of weights, or without one of the network's tensors
        (names, types, shapes and values). A pickled extractor gets its weights from
        where they came and refuses others.

    seed_ : int
        The seed of random weights and projections.

    n_features_in_ : int
        Number of pixels in a row. Only for flat rows.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where they are all strings. Only for flat rows.

    Raises
    ------
    ImageReadError
        An image cannot be read; the message starts with the file's name.
    WeightsMismatchError
        The file of weights is damaged or does not fit the backbone.
    ValueError
        Unknown backbone or level, or pixels outside their range.
    ImportError
        An extra is missing; the message names it.

    Notes
    -----
    **Levels.** The levels are the children of the network that put out a map over the
    image's grid, channels first or last, or a token for each of its cells; class and
    register tokens are left out. A child that is alone is opened, and so is a chain of
    stages; bare convolutions, norms and poolings are left out. This gives stem, stages
    and head of an EfficientNet (the nine levels of [1]_), stem and ``layer1`` to
    ``layer4`` of a ResNet, the first activation and the eight fire modules of a
    SqueezeNet, every block of a vision transformer. Where timm states stages that this
    misses, the levels are those. They do not depend on ``input_size`` where the backbone
    states a size of its own. A wrong name in ``levels`` raises an error that lists them
    with channels and grids; more in :ref:`network_levels`.

    **Second moments.** A level of C channels is projected on k = min(4, C) groups of
    g = min(8, C // k) orthonormal directions, drawn from ``random_state`` and the level's
    name. Its C means are followed by the covariances over the grid between each group and
    the next, ``(k - 1) * g * g`` numbers (192 from 32 channels on), as signed square
    roots of unit norm, after [2]_.

    **Images.** ``X`` is a list, array, series or table of one column, of paths or
    images: PIL images, the bytes of files, arrays (H, W) or (H, W, C) or tensors
    (C, H, W) of any sizes; an array (n, H, W) or (n, H, W, C), or a tensor
    (n, C, H, W); a folder, read in the order of
    :func:`~sklearn_gauss.datasets.list_images`; or an iterator of images or batches,
    read once, by ``transform`` alone, and never in memory as a whole. Flat rows need
    ``image_shape``. Every image becomes 8-bit and upright (EXIF); :ref:`image_inputs`
    lists what happens to each kind. The resize is Pillow's bilinear one, with
    antialiasing, whatever the backbone was trained with.

    **Running.** The network is built at ``fit`` and never pickled; an unpickled extractor
    builds it again at first use and compares ``weights_sha256_``. It always runs in
    evaluation mode and without gradients, its batch norms folded into the convolutions.
    ``device``, ``precision``, ``batch_size``, ``on_error``, ``verbose``, the cache, and
    which files are refused (``frames``, ``min_side``, ``max_pixels``) may be set after
    ``fit``, and so may the place of a file of weights; what decides the features may
    not. On a CPU batches run side by side, each on one core, on as many as torch
    has threads (``torch.set_num_threads``); a forked process runs on one core, as the
    threads of its parent's are not there. Threads may call ``transform`` at a time.

    References
    ----------
    .. [1] O. Rippel, P. Mertens, D. Merhof, "Modeling the Distribution of Normal Data
       in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020.
    .. [2] M. Gao et al., "Tuning Pre-trained Model via Moment Probing", ICCV 2023.
    .. [3] J.-H. Kim et al., "Semi-orthogonal Embedding for Efficient Unsupervised
       Anomaly Segmentation", arXiv:2105.14737, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.feature_extraction import CNNFeatureExtractor
    >>> images = np.random.default_rng(0).integers(0, 256, (3, 40, 60), dtype=np.uint8)
    >>> extractor = CNNFeatureExtractor()
    >>> extractor.fit_transform(images).shape
    (3, 736)
    >>> extractor.levels_
    ['stem', 'block1', 'block2', 'block3', 'block4', 'block5', 'block6']
    >>> extractor.get_feature_names_out()[:2]
    array(['stem__0', 'stem__1'], dtype=object)
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's convention
        "backbone": [str, callable],
        "backbone_options": [dict, None],
        "weights": [str, os.PathLike, None],
        "levels": [StrOptions({"all", "middle", "fine"}), list, tuple],
        "pooling": [StrOptions({"avg", "max", "moments", "second_moments", "none"})],
        "n_channels": [Interval(Integral, 1, None, closed="left"), None],
        "grid": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "image_shape": [tuple, list, StrOptions({"row"}), None],
        "input_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "device": [str, list, tuple],
        "precision": [StrOptions({"float32", "bfloat16", "float16"})],
        "on_error": [StrOptions({"raise", "nan"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "mean": ["array-like", None],
        "std": ["array-like", None],
        "value_range": [tuple, list, StrOptions({"fit"}), None],
        "in_chans": [Interval(Integral, 1, None, closed="left")],
        "background": ["array-like"],
        "frames": [StrOptions({"refuse", "first"})],
        "min_side": [Interval(Integral, 1, None, closed="left")],
        "max_pixels": [Interval(Integral, 1, None, closed="left")],
        "cache": [str, os.PathLike, joblib.Memory, None],
        "cache_limit": [Interval(Integral, 1, None, closed="left"), str, None],
    }

    def __init__(
        self,
        backbone="noisenet",
        *,
        backbone_options=None,
        weights="default",
        levels="all",
        pooling="avg",
        n_channels=None,
        grid=None,
        image_shape=None,
        input_size=None,
        batch_size="auto",
        device="auto",
        precision="float32",
        on_error="raise",
        random_state=None,
        verbose=0,
        mean=None,
        std=None,
        value_range=None,
        in_chans=3,
        background=WHITE,
        frames="refuse",
        min_side=8,
        max_pixels=MAX_PIXELS,
        cache=None,
        cache_limit=None,
    ):
        self.backbone = backbone
        self.backbone_options = backbone_options
        self.weights = weights
        self.levels = levels
        self.pooling = pooling
        self.n_channels = n_channels
        self.grid = grid
        self.image_shape = image_shape
        self.input_size = input_size
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.on_error = on_error
        self.random_state = random_state
        self.verbose = verbose
        self.mean = mean
        self.std = std
        self.value_range = value_range
        self.in_chans = in_chans
        self.background = background
        self.frames = frames
        self.min_side = min_side
        self.max_pixels = max_pixels
        self.cache = cache
        self.cache_limit = cache_limit

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Build the network and choose its levels; no image is read.

        Parameters
        ----------
        X : list, array, series, tensor, folder or iterator of images
            What ``transform`` takes. Nothing is taken from an iterator.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted extractor.
        """
        self._check_cache()
        self._check_maps()
        rows = self._images(X, reset=True)
        self.value_range_ = self._find_range(rows)
        self.seed_ = draw_seed(self.random_state)
        warn_if_random(self)
        spec = self._spec()
        with Process.building:
            network = self._network = self._build(spec)
        self._in_use = frozen((self.device, self.precision))
        self._fitted_parameters = {
            name: frozen(getattr(self, name)) for name in DECIDED_AT_FIT
        }
        self.levels_ = network.levels
        self.level_channels_ = network.channels
        self.level_grids_ = network.grids
        self.n_features_out_ = network.output_shape[-1]
        self.input_size_ = network.input_size
        self.mean_, self.std_ = network.mean, network.std
        self.weights_sha256_ = network.weights_sha256
        self._start_cache()
        return self

    def transform(self, X):
        """Features of images.

        Parameters
        ----------
        X : list, array, series, tensor, folder or iterator of images
            See Notes of the class.

        Returns
        -------
        features : ndarray of shape (n, n_features_out) or (n, H, W, n_features_out)
            In float32, one row an image, in the order of ``X``.
        """
        check_is_fitted(self)
        self._check_unchanged()
        self._refuse_frames_of_maps()
        images = self._images(X, reset=False)
        chunk = 64 if self.batch_size == "auto" else 8 * self.batch_size
        features, unread = extract_all(images, self._extract, chunk=chunk)
        warn_unread(unread, len(features))
        return features

    def get_feature_names_out(self, input_features=None):
        """Names of the features, ``level__channel``.

        Parameters
        ----------
        input_features : Ignored
            Present for API consistency: the names come from the network.

        Returns
        -------
        names : ndarray of str, of shape (n_features_out,)
            ``"moments"`` names end in ``_mean`` and ``_std``; ``"second_moments"`` in
            ``_mean``, or are ``covG_R_C``: groups G and G + 1, row and column. Maps
            projected on directions are ``projection__0`` and on.
        """
        check_is_fitted(self)
        self._check_unchanged()
        from sklearn_gauss.feature_extraction._backbones._pooling import feature_names

        names = feature_names(
            self.pooling, self.levels_, self.level_channels_, self.n_channels
        )
        return np.asarray(names, dtype=object)

    @property
    def _learns_from_rows(self):
        return self.value_range == "fit"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        takes_images = self.image_shape is None
        tags.input_tags.one_d_array = takes_images
        tags.input_tags.three_d_array = takes_images
        tags.input_tags.string = takes_images
        return tags

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_network", None)
        state.pop("_cache_counts", None)
        return state

    def _check_maps(self):
        for name in ("n_channels", "grid"):
            if getattr(self, name) is not None and self.pooling != "none":
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is for maps, pooling='none'; with "
                    f"pooling={self.pooling!r} leave it None."
                )

    def _refuse_frames_of_maps(self):
        own = getattr(self, "_sklearn_output_config", {}).get("transform")
        container = own or get_config()["transform_output"]
        if self.pooling == "none" and container != "default":
            raise ValueError(
                f"pooling='none' gives maps (n, H, W, channels), which no {container} "
                "frame can hold: pool them, or call set_output(transform='default')."
            )

    def _images(self, X, *, reset):
        """Return ``X`` as a sequence of single images."""
        if self.image_shape is None:
            return as_images(X, self.in_chans)
        rows = validate_data(self, X, reset=reset, dtype="numeric")
        shape = row_shape(self.image_shape, rows.shape[1], self.in_chans)
        if self.value_range == "fit" and not reset:
            rows = np.clip(rows, *self.value_range_)
        return rows.reshape(len(rows), *shape)

    def _find_range(self, images):
        if self.value_range is None:
            return None
        if isinstance(self.value_range, str):
            if self.image_shape is None:
                raise ValueError("value_range='fit' needs flat rows: set image_shape.")
            return float(images.min()), float(images.max())
        return as_pair(self.value_range, "value_range", lambda low, high: low < high)

    def _spec(self):
        """All that decides the network; the one place that reaches torch."""
        is_default = isinstance(self.weights, str) and self.weights == "default"
        return import_network().NetworkSpec(
            backbone=self.backbone,
            pretrained=is_default,
            weights_file=None if is_default else self.weights,
            seed=self.seed_,
            levels=self.levels,
            pooling=self.pooling,
            input_size=as_size(self.input_size),
            mean=as_channels(self.mean, "mean", count=self.in_chans),
            std=as_channels(self.std, "std", positive=True, count=self.in_chans),
            in_chans=self.in_chans,
            options=self.backbone_options,
            n_channels=self.n_channels,
            grid=as_size(self.grid, "grid"),
        )

    def _build(self, spec):
        return import_network().Network(
            spec, device=self.device, precision=self.precision
        )

    def _ready_network(self):
        """Return the network of ``fit``, built again after unpickling or a move."""
        spec, use = self._spec(), frozen((self.device, self.precision))
        with Process.building:
            network = getattr(self, "_network", None)
            if network is None or network.spec != spec:
                network = self._build(spec)
                check_same_network(self, network)
            elif self._in_use != use:
                network.use(self.device, self.precision)
            self._network, self._in_use = network, use
        return network

    def _check_unchanged(self):
        """Refuse values that are none, and parameters that are not those of ``fit``."""
        self._validate_params()
        changed = [
            name
            for name, value in self._fitted_parameters.items()
            if value != frozen(getattr(self, name))
        ]
        if changed:
            raise ValueError(
                f"{', '.join(changed)} changed since fit, which decides the features: "
                "fit again."
            )

    def _extract(self, images):
        read = partial(
            read_image,
            size=self.input_size_,
            value_range=self.value_range_,
            in_chans=self.in_chans,
            background=as_background(self.background),
            frames=self.frames,
            min_side=self.min_side if self.image_shape is None else 1,
            max_pixels=self.max_pixels,
        )
        return self._extract_through_cache(images, read)

    def _run(self, images, read, verbose):
        network = self._ready_network()
        batch = self.batch_size
        if batch == "auto":
            batch = network.auto_batch(len(images))
        return extract(
            images,
            network,
            read,
            batch=batch,
            skip_unreadable=self.on_error == "nan",
            verbose=verbose,
        )
