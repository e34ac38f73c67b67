"""What keeps a fitted extractor and its network together."""

import os
import sys
import threading
import warnings

from sklearn_gauss.exceptions import WeightsMismatchError

__all__ = [
    "DECIDED_AT_FIT",
    "Process",
    "check_same_network",
    "frozen",
    "warn_if_random",
]

# Parameters that features depend on and that are therefore those of ``fit``; a file of
# weights may move, as its content is compared.
DECIDED_AT_FIT = (
    "backbone",
    "backbone_options",
    "levels",
    "pooling",
    "n_channels",
    "grid",
    "image_shape",
    "input_size",
    "mean",
    "std",
    "value_range",
    "in_chans",
    "background",
    "random_state",
)

# Backbones whose weights are random by definition, so that None needs no warning.
_RANDOM_BY_NAME = ("tiny",)


class Process:
    """What has to be known of this process, as changed by a fork."""

    # One network is built at a time: random weights are drawn from torch's global
    # generator, and several threads may need the same network first.
    building = threading.RLock()
    needs_one_thread = False

    @classmethod
    def after_fork(cls):
        """In the child: no thread is left to give the lock back or to share work."""
        cls.building = threading.RLock()
        cls.needs_one_thread = "torch" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Process.after_fork)


def frozen(value):
    """Copy a parameter's value into something that does not change and compares."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return tuple(sorted((key, frozen(inner)) for key, inner in value.items()))
    if isinstance(value, list | tuple):
        return tuple(frozen(inner) for inner in value)
    return value


def warn_if_random(extractor):
    """Warn of random weights where they were asked for; a user's own has none."""
    backbone = extractor.backbone
    if extractor.weights is not None or backbone in _RANDOM_BY_NAME:
        return
    if not isinstance(backbone, str):
        raise ValueError(
            "weights=None asks for random weights, but a module or callable brings "
            "its own; use weights='default' to keep them."
        )
    warnings.warn(
        f"weights=None: {backbone!r} has random weights; its features are those of an "
        "untrained network.",
        UserWarning,
        stacklevel=3,
    )


def check_same_network(extractor, network):
    """Refuse a network that is not the one an extractor was fitted with."""
    known = extractor.weights_sha256_
    if network.weights_sha256 != known:
        file = network.spec.weights_file
        problem = (
            f"{extractor.backbone!r}: has other weights than at fit"
            if file is None
            else f"{file}: is not the file this extractor was fitted with"
        )
        raise WeightsMismatchError(
            f"{problem} (SHA-256 {network.weights_sha256}, was {known})."
        )
    found = network.levels, network.channels, network.input_size
    if found != (extractor.levels_, extractor.level_channels_, extractor.input_size_):
        raise ValueError("the backbone changed since fit: its levels differ. Fit again.")
