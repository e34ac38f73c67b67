"""Which outputs of a network are its levels.

The rule, read off one traced forward pass and the same for every library: the levels
are the children of the network that put out maps over the input's grid, with channels
first or last, or as tokens. A child alone on its floor is opened, and so is a
``Sequential`` that is a chain of stages (one holding ``Sequential`` blocks, or maps of
several grids). Half a step (a lone convolution, norm or dropout; a norm and a linear
map) and what only repeats the map before it (pooling) does not count, nor does a 1 x 1
output (the head, after global pooling).
"""

from math import log
from numbers import Integral

from torch import nn  # noqa: TID253 - this room is imported lazily as a whole
from torch.nn.utils import parametrize  # noqa: TID253 - as above

#: Pixels between cells of the maps in which defects are sought.
STRIDES = {"fine": (4, 8), "middle": (8, 16)}

_BOXES = (nn.ModuleList, nn.ModuleDict)
_LINEAR = ("Conv", "LazyConv", "Linear", "ScaledStdConv", "StdConv")
_NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm", "RMSNorm", "RmsNorm")
_POOLS = ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool", "BlurPool")
_REPEATS = (*_POOLS, "Dropout", "Identity", "Permute")
_HALF_STEPS = _LINEAR + _NORMS + _REPEATS


def find_levels(module, calls, layouts):
    """Names of the levels, in the order in which the network computes them.

    Where the rule leaves none (a network whose activations are functions, not modules),
    half steps count as well.
    """

    def without(drops):
        kept = {name for name in layouts if not drops(module, name, calls)}
        return _open_all(module, calls, layouts, kept)

    return without(_is_half_step) or without(_repeats)


def _open_all(module, calls, layouts, kept):
    levels = _floor(module, "", calls, kept)
    while True:
        alone = len(levels) == 1
        opened = []
        for level in levels:
            inner = _floor(module, level, calls, kept)
            opens = bool(inner) and (alone or _is_chain(module, level, inner, layouts))
            opened += inner if opens else [level]
        if opened == levels:
            return levels
        levels = opened


def _floor(module, name, calls, kept):
    found = []
    for child_name, child in module.get_submodule(name).named_children():
        full = f"{name}.{child_name}" if name else child_name
        if full in kept:
            found.append(full)
        elif full not in calls and isinstance(child, _BOXES):
            found += _floor(module, full, calls, kept)
    return sorted(found, key=lambda full: calls[full].stop)


def _is_chain(module, level, inner, layouts):
    """Whether a level is a chain of stages, of which each is a level."""
    if not isinstance(module.get_submodule(level), nn.Sequential):
        return False
    grids = {layouts[name].grid for name in inner}
    return len(grids) > 1 or any(
        isinstance(module.get_submodule(name), nn.Sequential) for name in inner
    )


def _repeats(module, name, _calls):
    return _is_leaf_of(module.get_submodule(name), _REPEATS)


def _is_half_step(module, name, calls):
    """Whether a module is a leaf of those kinds, or linear but for a norm before.

    The latter is a ``Sequential`` that ends in a linear map, or any module of norms and
    one linear map, as the embedding and the merging of patches. A convolution and its
    norm count, because the activation may be a function.
    """
    child = module.get_submodule(name)
    if _is_leaf(child):
        return _is_leaf_of(child, _HALF_STEPS)
    if isinstance(child, nn.Sequential):
        return _ends_linearly(child)
    leaves = [
        inner
        for inner in _called_leaves(child, name, calls)
        if not _is_leaf_of(inner, _REPEATS)
    ]
    linear = [leaf for leaf in leaves if _is_leaf_of(leaf, _LINEAR)]
    norms = [leaf for leaf in leaves if _is_leaf_of(leaf, _NORMS)]
    if len(linear) != 1 or len(leaves) > 1 + len(norms):
        return False
    return leaves[-1] is linear[0] or type(linear[0]) is nn.Linear


def _ends_linearly(child):
    if isinstance(child, nn.Sequential) and len(child):
        return _ends_linearly(child[-1])
    return _is_leaf_of(child, _LINEAR)


def _called_leaves(child, name, calls):
    """Leaves of a module, in the order in which they ran."""
    inner = dict(child.named_modules(prefix=name))
    ran = [full for full in inner if full in calls and _is_leaf(inner[full])]
    return [inner[full] for full in sorted(ran, key=lambda full: calls[full].stop)]


def _is_leaf_of(child, kinds):
    name = type(child).__name__
    if parametrize.is_parametrized(child):  # torch makes it a class of its own
        name = name.removeprefix("Parametrized")
    return _is_leaf(child) and name.startswith(kinds)


def _is_leaf(child):
    """Whether a module holds no others, but for what makes its own weights."""
    inner = dict(child.named_children())
    if parametrize.is_parametrized(child):
        del inner["parametrizations"]
    return not inner


def choose(levels, available, size):
    """Return the levels asked for, by name or number; ``"all"`` is every one.

    ``"fine"`` and ``"middle"`` are the last levels of the grids nearest to `STRIDES`.

    ``available`` is {name: Layout}, in the order of the network, for images of ``size``.
    """
    if isinstance(levels, str):
        if levels == "all":
            return list(available)
        if levels in STRIDES:
            return _last_at(STRIDES[levels], available, size)
        levels = [levels]
    for level in levels:
        if isinstance(level, bool) or not isinstance(level, str | Integral):
            raise ValueError(f"levels: {level!r} is neither a name nor an integer.")
    chosen = [_choose_one(level, available, size) for level in levels]
    if not chosen:
        raise ValueError("levels is empty: give at least one level, or 'all'.")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"levels={list(levels)!r} names a level twice.")
    return chosen


def _last_at(strides, available, size):
    last = {layout.grid: name for name, layout in available.items()}
    cells = {grid: log(size[0] / grid[0]) for grid in last}
    nearest = [min(last, key=lambda grid: abs(cells[grid] - log(s))) for s in strides]
    return [name for name in available if name in {last[grid] for grid in nearest}]


def _choose_one(level, available, size):
    names = list(available)
    is_number = not isinstance(level, str)
    if is_number and -len(names) <= level < len(names):
        return names[level]
    if not is_number and level in available:
        return level
    raise ValueError(
        f"levels: {level!r} is not a level of this backbone. Its levels are, "
        f"with grids for {size[0]} x {size[1]} pixels,\n" + describe(available)
    )


def describe(available):
    """Return a table of levels: number, name, channels and grid, a line for each."""
    width = max(map(len, available))
    return "\n".join(
        f"  {number:>2}  {name:{width}}  {layout.channels:>4} channels, "
        f"{layout.grid[0]} x {layout.grid[1]}"
        for number, (name, layout) in enumerate(available.items())
    )
