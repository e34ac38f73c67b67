"""Batch norms folded into the convolutions whose output they scale."""

from collections import Counter

import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch import nn  # noqa: TID253 - as above
from torch.nn.utils.fusion import fuse_conv_bn_eval  # noqa: TID253 - as above
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: TID253 - as above
from torch.utils._pytree import tree_leaves  # noqa: TID253 - as above

# Of a level's largest value. Rounding takes 1e-6 to 1e-4 (deep networks with random
# weights amplify it), a wrong fusion about one.
TOLERANCE = 1e-3


class _Recorder(TorchDispatchMode):
    """Convolutions and batch norms of a forward pass, and how often tensors are used.

    Read off the operations themselves, so that it does not matter which modules or
    functions a network is made of.
    """

    def __init__(self):
        super().__init__()
        self.uses = Counter()
        self.convolutions = {}  # by the id of the output, which is kept: no id returns
        self.norms = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and note what it is and takes."""
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                self.uses[id(leaf)] += 1
        name = func._schema.name
        if name == "aten::conv2d":
            self.convolutions[id(output)] = (output, args[1], (*args, None)[2])
            self.uses[id(output)] = 0  # those of a tensor that had this id before
        elif name == "aten::batch_norm":
            self.norms.append(args)
        return output


def fuse(tap, size, *, n_channels=3):
    """Fold batch norms into convolutions; the levels stay what they are.

    A norm is folded when it is called once, on the output of a convolution that is
    called once, and nothing else (no operation, no level) takes that output. The levels
    of a random image are compared before and after; where they differ, or the network
    fails, everything stays as it was.

    Returns the number of norms folded.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, n_channels, *size, generator=generator)
    recorder = _Recorder()
    with recorder:
        expected = _levels_of(tap, x, recorder.uses)
    swaps = _find_swaps(tap.module, recorder)
    if not swaps:
        return 0
    _swap(tap.module, swaps)
    try:
        is_right = _agree(_levels_of(tap, x, Counter()), expected)
    except Exception:  # a network may ask its parts for what the new ones lack
        is_right = False
    if not is_right:
        _swap(tap.module, {new: old for old, new in swaps.items()})
        return 0
    return len(swaps) // 2


def _levels_of(tap, x, uses):
    found = {}

    def take(level, maps):
        uses[id(maps)] += 1
        found[level] = maps.clone()

    with torch.inference_mode():
        tap.run(x, take)
    return found


def _agree(found, expected):
    return all(
        (found[level] - maps).abs().max() <= TOLERANCE * maps.abs().max()
        for level, maps in expected.items()
    )


def _find_swaps(module, recorder):
    """Map modules to what takes their place: fused convolutions, emptied norms."""
    convolutions = _by_id(module, nn.Conv2d, "weight")
    norms = _by_id(module, nn.BatchNorm2d, "running_mean")
    uses, swaps = recorder.uses, {}
    for x, _, _, mean, _, is_training, *_ in recorder.norms:
        output, weight, bias = recorder.convolutions.get(id(x), (None,) * 3)
        convolution, norm = convolutions.get(id(weight)), norms.get(id(mean))
        if output is None or convolution is None or norm is None or is_training:
            continue
        rest = _without_norm(norm)
        used_once = all(uses[id(tensor)] == 1 for tensor in (output, weight, mean))
        is_plain = bias is convolution.bias and rest is not None
        if used_once and is_plain and not (_has_hooks(convolution) or _has_hooks(norm)):
            swaps[convolution] = fuse_conv_bn_eval(convolution, norm)
            swaps[norm] = rest
    return swaps


def _by_id(module, kind, tensor):
    found = (part for part in module.modules() if isinstance(part, kind))
    return {id(own[tensor]): part for part in found if tensor in (own := _own(part))}


def _own(part):
    """Tensors that a module holds itself, not computed when asked for."""
    return {**part._parameters, **part._buffers}


def _has_hooks(part):
    return bool(part._forward_hooks or part._forward_pre_hooks)


def _without_norm(norm):
    """Return what a norm does beside scaling, or None where that is unknown."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if type(norm).__name__ == "BatchNormAct2d":  # of timm
        return nn.Sequential(norm.drop, norm.act).eval()
    return None


def _swap(module, swaps):
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if child in swaps:
                parent._modules[name] = swaps[child]
