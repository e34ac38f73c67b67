"""Which outputs of a network are its levels, and how to tap them.

The rule, read off one traced forward pass and the same for every library: the levels
are the children of the network that put out a map (batch, channels, height, width) over
the input's grid. A child alone on its floor is opened, and so is a ``Sequential`` that
is a chain of stages (one holding ``Sequential`` blocks, or maps of several grids).
Half a step (a lone convolution, norm or dropout) and what only repeats the map before
it (pooling) does not count, nor does a 1 x 1 output (the head, after global pooling).
"""

from dataclasses import dataclass
from numbers import Integral

import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch import nn  # noqa: TID253 - this room is imported lazily as a whole

_BOXES = (nn.ModuleList, nn.ModuleDict)
_CONVOLUTIONS = ("Conv", "LazyConv")
_NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm")
_REPEATS = ("Dropout", "Identity", "MaxPool", "AvgPool", "BlurPool", "Permute")
_HALF_STEPS = _CONVOLUTIONS + _NORMS + _REPEATS


@dataclass
class Call:
    """One module's part in a traced forward pass: when, how often, what came out."""

    start: int
    stop: int = 0
    times: int = 0
    shape: tuple | None = None


class _AllTapped(Exception):
    """Raised from a hook to leave the forward pass when the last level is in hand."""


class HookTap:
    """Levels that are outputs of modules, caught by forward hooks."""

    def __init__(self, module, levels):
        self.module = module
        self.levels = tuple(levels)

    def run(self, x, take):
        """Call ``take(level, map)`` for every level; what lies behind is not run."""
        waiting = set(self.levels)

        def catch(level):
            def hook(_module, _inputs, output):
                take(level, output)
                waiting.discard(level)
                if not waiting:
                    raise _AllTapped

            return hook

        hooks = [
            self.module.get_submodule(level).register_forward_hook(catch(level))
            for level in self.levels
        ]
        try:
            self.module(x)
        except _AllTapped:
            pass
        finally:
            for hook in hooks:
                hook.remove()


class IntermediatesTap:
    """Levels that timm's ``forward_intermediates`` returns (vision transformers)."""

    def __init__(self, module, levels, names):
        self.module = module
        self.levels = tuple(levels)
        self.indices = [names.index(level) for level in levels]

    def run(self, x, take):
        """Call ``take(level, map)`` for every level."""
        order = sorted(self.indices)
        maps = self.module.forward_intermediates(
            x, indices=order, intermediates_only=True, output_fmt="NCHW"
        )
        by_index = dict(zip(order, maps, strict=True))
        for level, index in zip(self.levels, self.indices, strict=True):
            take(level, by_index[index])


def trace(module, run):
    """Record when every submodule is called in ``run()``; returns {name: Call}."""
    calls, clock = {}, iter(range(10**9))

    def enter(name):
        def hook(_module, _inputs):
            calls.setdefault(name, Call(start=next(clock)))

        return hook

    def leave(name):
        def hook(_module, _inputs, output):
            call = calls[name]
            call.stop, call.times = next(clock), call.times + 1
            call.shape = tuple(output.shape) if torch.is_tensor(output) else None

        return hook

    hooks = []
    for name, inner in module.named_modules():
        hooks.append(inner.register_forward_pre_hook(enter(name)))
        hooks.append(inner.register_forward_hook(leave(name)))
    try:
        with torch.inference_mode():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def find_levels(module, calls, input_size):
    """Names of the levels, in the order in which the network computes them.

    Where the rule leaves none (a network whose activations are functions, not modules),
    half steps count as well.
    """
    maps = {
        name
        for name, call in calls.items()
        if call.times == 1 and is_map(call.shape, input_size)
    }

    def without(kinds):
        kept = {n for n in maps if not _ends_in(module.get_submodule(n), kinds)}
        return _open_all(module, calls, kept)

    return without(_HALF_STEPS) or without(_REPEATS)


def _open_all(module, calls, maps):
    levels = _floor(module, "", calls, maps)
    while True:
        alone = len(levels) == 1
        opened = []
        for level in levels:
            inner = _floor(module, level, calls, maps)
            opened += inner if _opens(module, level, inner, calls, alone) else [level]
        if opened == levels:
            return levels
        levels = opened


def is_map(shape, input_size):
    """Whether a shape is (batch, channels, height, width) over the input's grid."""
    if shape is None or len(shape) != 4 or shape[2] * shape[3] <= 1:
        return False
    height, width = input_size
    skew = abs(shape[2] / height - shape[3] / width)
    return skew <= 2 / min(height, width)


def is_channels_last_map(shape, input_size):
    """Whether a shape is (batch, height, width, channels) and not the other way."""
    if shape is None or len(shape) != 4 or is_map(shape, input_size):
        return False
    return is_map((shape[0], shape[3], shape[1], shape[2]), input_size)


def _floor(module, name, calls, maps):
    found = []
    for child_name, child in module.get_submodule(name).named_children():
        full = f"{name}.{child_name}" if name else child_name
        if full in maps:
            found.append(full)
        elif full not in calls and isinstance(child, _BOXES):
            found += _floor(module, full, calls, maps)
    return sorted(found, key=lambda full: calls[full].stop)


def _opens(module, level, inner, calls, alone):
    if not inner or alone:
        return bool(inner)
    if not isinstance(module.get_submodule(level), nn.Sequential):
        return False
    grids = {calls[name].shape[2:] for name in inner}
    return len(grids) > 1 or any(
        isinstance(module.get_submodule(name), nn.Sequential) for name in inner
    )


def _ends_in(child, kinds):
    """Whether a module is a leaf of these kinds, or a chain ending in a convolution."""
    children = list(child.children())
    if not children:
        return type(child).__name__.startswith(kinds)
    convolutions = tuple(kind for kind in kinds if kind in _CONVOLUTIONS)
    is_chain = isinstance(child, nn.Sequential) and bool(convolutions)
    return is_chain and _ends_in(children[-1], convolutions)


def needed_modules(module, calls, last):
    """Names of the modules that matter to levels complete at time ``last``.

    Those called before ``last``; uncalled ones inside a module that is complete by then
    (it may use their weights directly); and all that hold a needed one.
    """
    needed, complete = {""}, set()
    for name, _ in module.named_modules():
        parent = name.rpartition(".")[0]
        call = calls.get(name)
        if call is None:
            is_needed = is_complete = bool(name) and parent in complete
        else:
            is_needed, is_complete = call.start < last, call.stop <= last
        if is_needed:
            needed.add(name)
            complete |= {name} if is_complete else set()
    return needed | {up for name in needed for up in _ancestors(name)}


def _ancestors(name):
    while name:
        name = name.rpartition(".")[0]
        yield name


def choose(levels, available):
    """Return the levels asked for, by name or number; ``"all"`` is every one."""
    if isinstance(levels, str):
        if levels == "all":
            return list(available)
        levels = [levels]
    for level in levels:
        if isinstance(level, bool) or not isinstance(level, str | Integral):
            raise ValueError(f"levels: {level!r} is neither a name nor an integer.")
    chosen = [_choose_one(level, available) for level in levels]
    if not chosen:
        raise ValueError("levels is empty: give at least one level, or 'all'.")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"levels={list(levels)!r} names a level twice.")
    return chosen


def _choose_one(level, available):
    is_number = not isinstance(level, str)
    if is_number and -len(available) <= level < len(available):
        return available[level]
    if not is_number and level in available:
        return level
    raise ValueError(
        f"levels: {level!r} is not a level of this backbone; available are "
        f"{list(available)} (or their numbers, 0 to {len(available) - 1})."
    )
