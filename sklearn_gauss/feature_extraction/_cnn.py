"""The transformer from images to the features of a convolutional network."""

import os
import warnings
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_gauss._base import Integral, Interval, StrOptions, fit_context
from sklearn_gauss.exceptions import WeightsMismatchError
from sklearn_gauss.feature_extraction._extraction import extract, import_network
from sklearn_gauss.feature_extraction._images import read_image
from sklearn_gauss.feature_extraction._inputs import (
    as_images,
    as_pair,
    as_size,
    as_three,
    draw_seed,
    row_shape,
)

# Backbones whose weights are random by definition, so that None needs no warning.
_RANDOM_BY_NAME = ("tiny",)


class CNNFeatureExtractor(TransformerMixin, BaseEstimator):
    """Features of images from the levels of a pretrained convolutional network.

    Every image is made 8-bit RGB, resized to a square without regard to its aspect
    ratio, normalised as the backbone was trained, and passed through the network. The
    maps of each level are pooled over their grid; the levels' channels, side by side,
    are the features [1]_.

    Parameters
    ----------
    backbone : str, callable or torch.nn.Module, default="torchvision/squeezenet1_1"
        ``"torchvision/NAME"`` or ``"timm/NAME"`` (the ``timm`` extra), a callable
        without arguments that returns a module, or a module. ``"tiny"`` is a small
        network with random weights, not pretrained: for demonstrations and tests
        without a file of weights. A module is copied at ``fit`` and never changed; it
        is the one kind of backbone that does not clone by content, because
        :func:`sklearn.base.clone` makes a copy that no longer equals it.

    weights : str, path-like or None, default="default"
        ``"default"`` takes the weights that torchvision or timm has for the backbone
        (downloaded at first use), or those a callable's or one's own module came with.
        A path names a local file: ``.safetensors``, or a state dict in ``.pt``,
        ``.pth`` or ``.bin``, read without unpickling. The file may lack the head that
        no level needs, or have another; anything else must fit. None asks for random
        weights, with a warning (``"tiny"`` is random in both cases).

    levels : "all" or list of str or int, default="all"
        The levels to use, by name or by number (negative from the last). See Notes.

    pooling : {"avg", "max", "moments", "none"}, default="avg"
        Mean or maximum over the grid of each channel; ``"moments"`` gives mean and
        standard deviation. ``"none"`` keeps the maps: every level resized (bilinear) to
        the finest grid among them, as (n, H, W, channels).

    image_shape : tuple of int, "row" or None, default=None
        When given, ``X`` is a 2-D array whose rows are flattened images of this shape,
        (H, W) or (H, W, C). ``"row"`` takes each row of p values as an image of one by
        p pixels.

    input_size : int, tuple of int or None, default=None
        Side, or height and width, of what the network sees. None takes the backbone's
        own.

    batch_size : int or "auto", default="auto"
        Images per forward pass; ``"auto"`` is 8 on a CPU and 64 on a GPU. The features
        do not depend on it, beyond rounding.

    device : str, default="auto"
        ``"auto"`` is the GPU where CUDA has one, else the CPU; or any device of torch.

    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the forward pass. The features are float32 in either case.

    on_error : {"raise", "nan"}, default="raise"
        An image that cannot be read raises, or becomes a row of NaN, with one warning
        that counts them. Arrays of the wrong shape or range always raise.

    random_state : int, RandomState instance or None, default=None
        Seeds random weights. None means 0: the same features every time.

    verbose : int, default=0
        Print the progress of ``transform``, a line for each tenth.

    mean, std : array-like of three floats or None, default=None
        Mean and standard deviation of the channels of images in [0, 1]. None takes the
        backbone's own, or ImageNet's where it states none.

    value_range : tuple of float, "fit" or None, default=None
        The values of black and white in arrays, and in images whose pixels have no
        range of their own (floats, 32-bit integers). None takes the type's: [0, 1] for
        floats and booleans, [0, 255] and [0, 65535] for 8- and 16-bit unsigned
        integers; other types need a range. Values outside raise. ``"fit"``, for flat
        rows only, takes the smallest and largest value of the rows in ``fit`` and
        clips later ones.

    Attributes
    ----------
    levels_ : list of str
        Names of the levels used.

    level_channels_ : list of int
        Channels of each level.

    n_features_out_ : int
        Number of features, or of channels for ``pooling="none"``.

    input_size_ : tuple of int
        Height and width of what the network sees.

    mean_, std_ : tuple of float
        Normalisation of the channels in use.

    value_range_ : tuple of float or None
        The values of black and white in use; None is the type's own.

    weights_sha256_ : str or None
        SHA-256 of the local file of weights. A pickled extractor reads the file again
        and refuses another one.

    seed_ : int
        The seed of random weights.

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
    **Levels.** The levels are the children of the network that put out a map. A child
    that is alone is opened, and so is a chain of stages; bare convolutions, norms and
    poolings are left out. This gives stem, stages and head of an EfficientNet (the nine
    levels of [1]_), stem and ``layer1`` to ``layer4`` of a ResNet, the first activation
    and the eight fire modules of a SqueezeNet. They do not depend on ``input_size``
    where the backbone states a size of its own. Vision transformers are tapped through
    timm's ``forward_intermediates``.

    **Images.** ``X`` is a list, array or series of paths; a list of PIL images; an
    array (n, H, W) or (n, H, W, C) with one, three or four channels, or a list of such
    images of any sizes; a tensor (n, C, H, W); or flat rows (``image_shape``).
    Orientation (EXIF) is applied, transparency is composited on white, 16-bit grey is
    scaled by its depth, floats are rounded to 8 bits as in a file, animations are
    refused. The resize is Pillow's bilinear one, with antialiasing, whatever the
    backbone was trained with.

    The network is built at ``fit`` and never pickled; an unpickled extractor builds it
    again at first use. It always runs in evaluation mode and without gradients.

    References
    ----------
    .. [1] O. Rippel, P. Mertens, D. Merhof, "Modeling the Distribution of Normal Data
       in Pre-Trained Deep Features for Anomaly Detection", ICPR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.feature_extraction import CNNFeatureExtractor
    >>> images = np.random.default_rng(0).integers(0, 256, (3, 40, 60), dtype=np.uint8)
    >>> extractor = CNNFeatureExtractor(backbone="tiny", input_size=64)
    >>> extractor.fit_transform(images).shape
    (3, 336)
    >>> extractor.levels_
    ['stem', 'stage1', 'stage2', 'stage3', 'stage4']
    >>> extractor.get_feature_names_out()[:2]
    array(['stem__0', 'stem__1'], dtype=object)
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's convention
        "backbone": [str, callable],
        "weights": [str, os.PathLike, None],
        "levels": [StrOptions({"all"}), list, tuple],
        "pooling": [StrOptions({"avg", "max", "moments", "none"})],
        "image_shape": [tuple, list, StrOptions({"row"}), None],
        "input_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "device": [str],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "on_error": [StrOptions({"raise", "nan"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "mean": ["array-like", None],
        "std": ["array-like", None],
        "value_range": [tuple, list, StrOptions({"fit"}), None],
    }

    def __init__(
        self,
        backbone="torchvision/squeezenet1_1",
        *,
        weights="default",
        levels="all",
        pooling="avg",
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
    ):
        self.backbone = backbone
        self.weights = weights
        self.levels = levels
        self.pooling = pooling
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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Build the network and choose its levels; no image is read.

        Parameters
        ----------
        X : list, array, series or tensor of images
            What ``transform`` takes.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted extractor.
        """
        rows = self._images(X, reset=True)
        self.value_range_ = self._find_range(rows)
        self.seed_ = draw_seed(self.random_state)
        self._warn_if_random()
        network = self._network = self._build()
        self.levels_ = network.levels
        self.level_channels_ = network.channels
        self.n_features_out_ = network.output_shape[-1]
        self.input_size_ = network.input_size
        self.mean_, self.std_ = network.mean, network.std
        self.weights_sha256_ = network.weights_sha256
        return self

    def transform(self, X):
        """Features of images.

        Parameters
        ----------
        X : list, array, series or tensor of images
            See Notes of the class.

        Returns
        -------
        features : ndarray of shape (n, n_features_out) or (n, H, W, n_features_out)
            In float32, one row an image, in the order of ``X``.
        """
        check_is_fitted(self)
        return self._extract(self._images(X, reset=False))

    def get_feature_names_out(self, input_features=None):
        """Names of the features, ``level__channel``.

        Parameters
        ----------
        input_features : Ignored
            Present for API consistency: the names come from the network.

        Returns
        -------
        names : ndarray of str, of shape (n_features_out,)
            ``"moments"`` names end in ``_mean`` and ``_std``.
        """
        check_is_fitted(self)
        from sklearn_gauss.feature_extraction._backbones._pooling import POOLINGS

        names = [
            f"{level.replace('__', '_')}__{channel}{ending}"
            for level, n in zip(self.levels_, self.level_channels_, strict=True)
            for ending in POOLINGS[self.pooling].endings
            for channel in range(n)
        ]
        return np.asarray(names, dtype=object)

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
        return state

    def _images(self, X, *, reset):
        """Return ``X`` as a sequence of single images."""
        if self.image_shape is None:
            return as_images(X)
        rows = validate_data(self, X, reset=reset, dtype="numeric")
        shape = row_shape(self.image_shape, rows.shape[1])
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

    def _warn_if_random(self):
        is_name = isinstance(self.backbone, str)
        if self.weights is not None or self.backbone in _RANDOM_BY_NAME:
            return
        if not is_name:
            raise ValueError(
                "weights=None asks for random weights, but a module or callable brings "
                "its own; use weights='default' to keep them."
            )
        warnings.warn(
            f"weights=None: {self.backbone!r} has random weights; its features are "
            "those of an untrained network.",
            UserWarning,
            stacklevel=3,
        )

    def _build(self):
        """Build the network; the one place that reaches torch."""
        backend = import_network()
        is_default = isinstance(self.weights, str) and self.weights == "default"
        spec = backend.NetworkSpec(
            backbone=self.backbone,
            pretrained=is_default,
            weights_file=None if is_default else self.weights,
            seed=self.seed_,
            levels=self.levels,
            pooling=self.pooling,
            input_size=as_size(self.input_size),
            mean=as_three(self.mean, "mean"),
            std=as_three(self.std, "std", positive=True),
        )
        return backend.Network(spec, device=self.device, precision=self.precision)

    def _ready_network(self):
        """Return the network of ``fit``, built again after unpickling."""
        if not hasattr(self, "_network"):
            network = self._build()
            if network.weights_sha256 != self.weights_sha256_:
                raise WeightsMismatchError(
                    f"{self.weights}: is not the file this extractor was fitted with "
                    f"(SHA-256 {network.weights_sha256}, was {self.weights_sha256_})."
                )
            if (network.levels, network.channels) != (
                self.levels_,
                self.level_channels_,
            ):
                raise ValueError("the backbone changed since fit: its levels differ.")
            self._network = network
        return self._network

    def _extract(self, images):
        network = self._ready_network()
        batch = self.batch_size
        if batch == "auto":
            batch = import_network().AUTO_BATCH.get(network.device.type, 8)
        read = partial(read_image, size=self.input_size_, value_range=self.value_range_)
        return extract(
            images,
            network,
            read,
            batch=batch,
            skip_unreadable=self.on_error == "nan",
            verbose=self.verbose,
        )
