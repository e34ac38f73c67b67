"""Networks for images of other than three channels."""

import math

import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch import nn  # noqa: TID253 - as above

from sklearn_gauss.exceptions import WeightsMismatchError


def channels_taken(module, in_chans):
    """Channels that a module takes as it is: ``in_chans`` if it was built so, or 3."""
    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    return in_chans if first is not None and first.in_channels == in_chans else 3


def spread(values, in_chans):
    """A mean or standard deviation for each channel, from those of three colours.

    One channel takes their average, more take them in turn.
    """
    if len(values) == in_chans:
        return tuple(values)
    if in_chans == 1:
        return (sum(values) / len(values),)
    return tuple(values[channel % len(values)] for channel in range(in_chans))


def load_and_adapt(module, in_chans, size, load):
    """Call ``load()`` and make a network of three channels take ``in_chans``.

    The weights that it loads may be those of three channels or of ``in_chans``.
    """
    adapted = channels_taken(module, in_chans) == in_chans
    try:
        load()
    except WeightsMismatchError:
        if adapted:
            raise
        adapt(module, in_chans, size)
        adapted = True
        load()
    if not adapted:
        adapt(module, in_chans, size)


@torch.no_grad()
def adapt(module, in_chans, size):
    """Make the convolutions that see the image take ``in_chans`` channels.

    As in timm: for one channel the weights of the colours are added, which gives what
    the network makes of a grey image; otherwise they are repeated, times 3 / in_chans.
    """
    for conv in _first_convolutions(module, size):
        weight = conv.weight
        if in_chans == 1:
            weight = weight.sum(dim=1, keepdim=True)
        else:
            repeats = math.ceil(in_chans / 3)
            weight = weight.repeat(1, repeats, 1, 1)[:, :in_chans] * (3 / in_chans)
        conv.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        conv.in_channels = in_chans


def _first_convolutions(module, size):
    """The convolutions whose input is the image itself, or the first one called."""
    image = torch.zeros(1, 3, *size)
    called, direct = [], []

    def see(conv, inputs):
        called.append(conv)
        if inputs[0].data_ptr() == image.data_ptr():
            direct.append(conv)

    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    hooks = [conv.register_forward_pre_hook(see) for conv in convs]
    try:
        module(image)
    finally:
        for hook in hooks:
            hook.remove()
    found = direct or called[:1]
    if not found or any(conv.in_channels != 3 or conv.groups != 1 for conv in found):
        raise ValueError(
            f"in_chans: the backbone {type(module).__name__} cannot be made to take "
            "other than three channels: no plain convolution sees the image first. Pass "
            "a module or backbone_options with the channels that are needed."
        )
    return list(dict.fromkeys(found))
