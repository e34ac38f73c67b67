"""From a backbone's name, callable or module to a network and its preprocessing."""

import copy
import difflib
from dataclasses import dataclass, replace

import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch import nn  # noqa: TID253 - this room is imported lazily as a whole

from sklearn_gauss.feature_extraction._backbones._noisenet import (  # noqa: TID253
    build_noisenet,
)
from sklearn_gauss.feature_extraction._backbones._tiny import Tiny  # noqa: TID253 - as above

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A module of our own (never the caller's) and what its input has to be.

    ``mean`` and ``std`` are per channel, of images in [0, 1]; ``input_size`` is
    (height, width), None where the module states none.
    """

    module: nn.Module
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    input_size: tuple | None = None


# What other parameters of the extractor say; as options they would contradict them.
_RESERVED = ("pretrained", "weights", "checkpoint_path", "features_only")
# Options that say for which images a network is built.
_SIZES = ("img_size", "image_size")


def resolve(backbone, *, pretrained, seed, options=None):
    """Build the network in evaluation mode on the CPU, in float32.

    ``pretrained`` asks for the library's own weights; without it the weights are
    random, seeded by ``seed``. ``options`` are keywords for what builds the network.
    Torch's global generator is left as it was.
    """
    options = dict(options or {})
    for name in _RESERVED:
        if name in options:
            raise ValueError(
                f"backbone_options: {name!r} is not an option; set weights and levels."
            )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if isinstance(backbone, str):
            resolved = _resolve_name(backbone, pretrained, seed, options)
        else:
            resolved = _resolve_object(backbone, options)
    resolved = _sized_by(resolved, options)
    resolved.module.eval().requires_grad_(False).float()
    return resolved


def _sized_by(resolved, options):
    """Take the network's own size from the options that set it."""
    sizes = [options[name] for name in _SIZES if options.get(name) is not None]
    if not sizes:
        return resolved
    size = sizes[0] if isinstance(sizes[0], list | tuple) else [sizes[0]] * 2
    return replace(resolved, input_size=tuple(map(int, size)))


def _refuse_unknown(options, backbone, error):
    """Raise for an error that says that the options do not fit the backbone."""
    if options and isinstance(error, TypeError) and "argument" in str(error):
        raise ValueError(
            f"backbone_options={options!r} do not fit backbone={backbone!r}: {error}."
        ) from error


def _resolve_name(name, pretrained, seed, options):
    if name in BUNDLED:
        if options:
            raise ValueError(f"backbone_options: {name!r} has no options.")
        return BUNDLED[name](pretrained, seed)
    family, _, inner = name.partition("/")
    if family not in FAMILIES or not inner:
        raise ValueError(_unknown(name, _all_names()))
    is_known, names, build = FAMILIES[family]
    if not is_known(inner):
        raise ValueError(_unknown(name, [f"{family}/{known}" for known in names()]))
    try:
        return build(inner, pretrained, options)
    except Exception as error:  # every library and hub has errors of its own
        _refuse_unknown(options, name, error)
        if not pretrained:
            raise
        raise RuntimeError(
            f"backbone={name!r}: its pretrained weights could not be loaded "
            f"({type(error).__name__}: {error}). Without a network, pass a local file: "
            "weights='path/to/weights.safetensors' (or .pt, .pth, .bin)."
        ) from error


def _resolve_object(backbone, options):
    if isinstance(backbone, nn.Module):
        if options:
            raise ValueError("backbone_options: a module is built already.")
        given = backbone
    else:
        try:
            given = backbone(**options)
        except TypeError as error:
            _refuse_unknown(options, backbone, error)
            raise
    if not isinstance(given, nn.Module):
        raise TypeError(
            "a callable backbone must return a torch.nn.Module, got "
            f"{type(given).__name__}."
        )
    return _with_metadata(copy.deepcopy(given))


def _with_metadata(module):
    """Preprocessing from timm's ``pretrained_cfg`` where a module has one."""
    config = getattr(module, "pretrained_cfg", None) or {}
    size = config.get("input_size")
    return Backbone(
        module,
        mean=tuple(config.get("mean") or IMAGENET_MEAN),
        std=tuple(config.get("std") or IMAGENET_STD),
        input_size=tuple(size[-2:]) if size else None,
    )


def _unknown(name, known):
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return (
        f"backbone={name!r} is unknown.{hint} Backbones are "
        f"{', '.join(map(repr, BUNDLED))}, 'torchvision/NAME', 'timm/NAME', a callable "
        "without arguments that returns a module, or a module."
    )


def _all_names():
    names = list(BUNDLED)
    for family, (_, known, _) in FAMILIES.items():
        try:
            names += [f"{family}/{name}" for name in known()]
        except ImportError:  # a hint may leave out what is not installed
            continue
    return names


def _missing_extra(error):
    return ImportError(
        f"{error.name} is needed for this backbone. "
        'Install it with: pip install "sklearn-gauss[timm]"'
    )


# What torchvision sets with its own weights and a local file of the same needs as well.
_UNTRAINED = {
    name: {"transform_input": True, "init_weights": True}
    for name in ("googlenet", "inception_v3")
}


def _torchvision():
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        raise _missing_extra(error) from error
    return models


def _torchvision_names():
    models = _torchvision()
    return models.list_models(module=models)


def _build_torchvision(name, pretrained, options):
    models = _torchvision()
    weights = {"weights": "DEFAULT"} if pretrained else _UNTRAINED.get(name, {})
    module = models.get_model(name, **{**weights, **options})
    known = models.get_model_weights(name)
    if not len(known):
        return Backbone(module)
    transforms = known.DEFAULT.transforms()
    height, width = (*transforms.crop_size, *transforms.crop_size)[:2]
    return Backbone(
        module, tuple(transforms.mean), tuple(transforms.std), (height, width)
    )


def _timm():
    try:
        import timm
    except ModuleNotFoundError as error:
        raise _missing_extra(error) from error
    return timm


def _build_timm(name, pretrained, options):
    module = _timm().create_model(name, pretrained=pretrained, **options)
    return _with_metadata(module)


# A bundled name maps to build(pretrained, seed).
BUNDLED = {
    "noisenet": lambda pretrained, seed: _with_metadata(build_noisenet(pretrained, seed)),
    "tiny": lambda _pretrained, seed: _with_metadata(Tiny(seed)),
}

# (is the name known, all names, build(name, pretrained, options)) of each library.
FAMILIES = {
    "torchvision": (
        lambda name: name in _torchvision_names(),
        _torchvision_names,
        _build_torchvision,
    ),
    "timm": (
        lambda name: _timm().is_model(name),
        lambda: _timm().list_models(),
        _build_timm,
    ),
}
