"""Tapping a network: the maps of its levels, from one forward pass."""

import contextlib
import itertools
import math
from dataclasses import replace

import torch  # noqa: TID253 - this room is imported lazily as a whole

from sklearn_gauss.feature_extraction._backbones import (  # noqa: TID253 - its own room
    _layouts,
    _levels,
    _trace,
)


class _AllTapped(Exception):
    """Raised from a hook to leave the forward pass when the last level is in hand."""


class HookTap:
    """Levels that are outputs of modules, caught by forward hooks.

    ``layouts`` is {level: Layout}, in the order asked for.
    """

    def __init__(self, module, layouts):
        self.module = module
        self.layouts = layouts

    @property
    def levels(self):
        """Names of the levels."""
        return tuple(self.layouts)

    def run(self, x, take):
        """Call ``take(level, map)`` for every level; what lies behind is not run."""
        self._run(x, lambda level, out: take(level, self.layouts[level].maps(out)))

    def set_size(self, blank, own_size):
        """Reckon the grids of tokens for images of the size of ``blank``."""
        counts = {}
        self._run(blank, lambda level, out: counts.update({level: out.shape[1]}))
        for level, layout in self.layouts.items():
            if layout.kind == "tokens":
                n_cells = counts[level] - layout.n_extra
                grid = _grid_of(n_cells, layout.grid, own_size, blank.shape[2:])
                self.layouts[level] = replace(layout, grid=grid)

    def _run(self, x, take):
        waiting = set(self.levels)

        def catch(level):
            def hook(_module, _inputs, output):
                take(level, _trace.only_tensor(output))
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
    """Levels that timm's ``forward_intermediates`` returns, of those in ``names``."""

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

    def set_size(self, blank, own_size):
        """Nothing to do: the maps come as maps."""


def _grid_of(n_cells, own_grid, own_size, size):
    """Grid of ``n_cells`` for images of ``size``, each cell as wide as on own ones."""
    sides = [
        {math.floor(exact), math.ceil(exact)}
        for exact in (g * s / o for g, s, o in zip(own_grid, size, own_size, strict=True))
    ]
    for height, width in itertools.product(*sides):
        if height * width == n_cells:
            return height, width
    raise ValueError(f"{n_cells} tokens make no grid")


def tap_levels(module, levels, *, size, n_channels=3):
    """Return the tap of the levels, and the names of the modules they need.

    The levels are found on an image of ``size``, the network's own, so that they do not
    depend on what it is used with.
    """
    blank = torch.zeros(_trace.BATCH, n_channels, *size)
    with _explained(module, size):
        calls = _trace.trace(module, lambda: module(blank))
    layouts = _layouts.find_layouts(calls, size)
    found = {name: layouts[name] for name in _levels.find_levels(module, calls, layouts)}
    info = _stages_stated(module)
    if info and not _covers(found.values(), info, size):
        names = _unlike([stage["module"] or "stem" for stage in info])
        return _tap_intermediates(module, levels, blank, names)
    if not found:
        raise ValueError(
            f"the backbone {type(module).__name__} has no levels: no module puts out a "
            "map over the image's grid, or tokens of one. Convolutional networks and "
            "vision transformers can be used."
        )
    chosen = _levels.choose(levels, found, size)
    last = max(calls[level].stop for level in chosen)
    tap = HookTap(module, {level: found[level] for level in chosen})
    return tap, _trace.needed_modules(module, calls, last)


def _stages_stated(module):
    """What timm states of a network's stages, where it can also return them."""
    info = getattr(module, "feature_info", None)
    if not hasattr(module, "forward_intermediates") or not info:
        return []
    return [dict(stage) for stage in info]


def _covers(layouts, info, size):
    """Whether every stage that timm states has a level of its channels and grid.

    Grids are told apart by halves: without padding they are less than stated.
    """
    left = list(layouts)
    for stage in info:
        fits = [
            layout
            for layout in left
            if layout.channels == stage["num_chs"]
            and abs(math.log2(layout.grid[0] * stage["reduction"] / size[0])) < 0.5
        ]
        if not fits:
            return False
        left.remove(fits[0])
    return True


def _unlike(names):
    """Number names that return, as those of two branches do: ``a``, ``a_2``."""
    return [
        f"{name}_{names[: place + 1].count(name)}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]


def _tap_intermediates(module, levels, blank, names):
    every = IntermediatesTap(module, names, names)
    found = {}

    def take(level, maps):
        found[level] = _layouts.Layout("first", maps.shape[1], tuple(maps.shape[2:]))

    with _explained(module, blank.shape[2:]), torch.inference_mode():
        every.run(blank, take)
    chosen = _levels.choose(levels, found, tuple(blank.shape[2:]))
    tap = IntermediatesTap(module, chosen, names)
    calls = _trace.trace(module, lambda: tap.run(blank, lambda *_: None))
    return tap, _trace.needed_modules(module, calls, float("inf"))


def set_size(tap, own_size, size, *, n_channels=3):
    """Make a tapped network ready for images of ``size``; the levels' (C, H, W).

    A network of timm bound to its own size (vision transformers) resamples what it
    knows of places.
    """
    blank = torch.zeros(1, n_channels, *size)
    shapes = {}
    with _explained(tap.module, size, own_size), torch.inference_mode():
        if size != own_size and hasattr(tap.module, "set_input_size"):
            tap.module.set_input_size(img_size=size)
            tap.module.requires_grad_(False)
        tap.set_size(blank, own_size)
        tap.run(blank, lambda level, m: shapes.update({level: tuple(m.shape[1:])}))
    return [shapes[level] for level in tap.levels]


@contextlib.contextmanager
def _explained(module, size, own_size=None):
    """Say which network failed on which input when its own code raises."""
    try:
        yield
    except Exception as error:  # whatever the network raises
        own = f" Its own size is {own_size[0]} x {own_size[1]}." if own_size else ""
        raise ValueError(
            f"the backbone {type(module).__name__} fails on an RGB image of {size[0]} "
            f"x {size[1]} pixels ({type(error).__name__}: {error}). Another input_size "
            f"may fit it.{own}"
        ) from error
