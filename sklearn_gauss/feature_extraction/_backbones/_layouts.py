"""How the output of a module is read as maps (batch, channels, height, width)."""

from dataclasses import dataclass

# Tokens beside those of the grid: class, distillation and registers (DINOv2 has five).
MOST_EXTRA_TOKENS = 16


@dataclass(frozen=True)
class Layout:
    """Maps with channels first or last, or tokens (batch, tokens, channels).

    ``kind`` is "first", "last" or "tokens"; ``channels`` and ``grid`` are those of the
    image traced. The ``n_extra`` tokens before those of the grid belong to no place.
    """

    kind: str
    channels: int
    grid: tuple
    n_extra: int = 0

    def maps(self, output):
        """Read an output as maps, a view where that is possible."""
        if self.kind == "first":
            return output
        if self.kind == "last":
            return output.permute(0, 3, 1, 2)
        return output[:, self.n_extra :].transpose(1, 2).unflatten(2, self.grid)


def find_layouts(calls, input_size):
    """Return {name: Layout} of the modules called once that put out maps."""
    layouts, grids = {}, []
    for name, call in sorted(calls.items(), key=lambda item: item[1].stop):
        layout = _of_map(call.shape, input_size) or _of_tokens(call.shape, grids)
        if layout is None:
            continue
        if layout.kind != "tokens":
            grids.append(layout.grid)
        if call.times == 1:
            layouts[name] = layout
    return layouts


def _of_map(shape, input_size):
    """Layout of a 4-D output: the reading that keeps the input's proportions best."""
    if shape is None or len(shape) != 4:
        return None
    readings = (
        Layout("first", shape[1], tuple(shape[2:])),
        Layout("last", shape[3], tuple(shape[1:3])),
    )
    skew, best = min(
        ((_skew(reading.grid, input_size), reading) for reading in readings),
        key=lambda pair: pair[0],
    )
    return best if skew <= 2 / min(input_size) else None


def _skew(grid, input_size):
    """How far a grid is from the input's proportions; one cell has none (a head)."""
    if grid[0] * grid[1] <= 1:
        return float("inf")
    return abs(grid[0] / input_size[0] - grid[1] / input_size[1])


def _of_tokens(shape, grids):
    """Layout of a 3-D output with a token for each cell of a map put out before."""
    if shape is None or len(shape) != 3:
        return None
    fitting = [g for g in grids if 0 <= shape[1] - g[0] * g[1] <= MOST_EXTRA_TOKENS]
    if not fitting:
        return None
    grid = max(fitting, key=lambda g: g[0] * g[1])
    return Layout("tokens", shape[2], grid, shape[1] - grid[0] * grid[1])
