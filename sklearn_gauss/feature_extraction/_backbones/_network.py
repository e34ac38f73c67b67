"""A network, ready to run: from batches of 8-bit images to features."""

import contextlib
from dataclasses import dataclass

import numpy as np
import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch.nn.functional import interpolate  # noqa: TID253 - as above

from sklearn_gauss.feature_extraction._backbones import (  # noqa: TID253 - its own room
    _levels,
    _resolve,
    _weights,
)
from sklearn_gauss.feature_extraction._backbones._pooling import (  # noqa: TID253 - its own room
    POOLINGS,
)

DEFAULT_SIZE = (224, 224)

AUTO_BATCH = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True)
class NetworkSpec:
    """All that decides a network's features; plain data.

    ``pretrained`` asks for the library's weights, ``weights_file`` for a local file on
    top; None for ``input_size``, ``mean`` and ``std`` takes the backbone's own.
    """

    backbone: object
    pretrained: bool
    weights_file: object
    seed: int
    levels: object
    pooling: str
    input_size: tuple | None
    mean: tuple | None
    std: tuple | None


class Network:
    """A backbone on its device, its levels tapped and pooled.

    Attributes: ``levels`` and ``channels`` (one entry a level), ``output_shape`` (of
    one image's features), ``input_size`` (height, width), ``mean``, ``std``,
    ``weights_sha256`` (None without a weights file) and ``device``.
    """

    def __init__(self, spec, *, device, precision):
        found = _resolve.resolve(
            spec.backbone, pretrained=spec.pretrained, seed=spec.seed
        )
        self.input_size = spec.input_size or found.input_size or DEFAULT_SIZE
        self.mean = spec.mean or found.mean
        self.std = spec.std or found.std
        if len(self.mean) != 3:
            raise ValueError("the backbone must take images of three channels (RGB).")
        self.pooling = spec.pooling
        self._tap, shapes, needed = tap_levels(
            found.module,
            spec.levels,
            own_size=found.input_size or self.input_size,
            input_size=self.input_size,
        )
        self.channels = [shape[0] for shape in shapes]
        self.output_shape = (sum(self.channels) * len(POOLINGS[self.pooling].endings),)
        if self.pooling == "none":
            self.output_shape = finest(shapes) + self.output_shape
        self.weights_sha256 = None
        if spec.weights_file is not None:
            _weights.load_weights(found.module, spec.weights_file, needed)
            self.weights_sha256 = _weights.sha256(spec.weights_file)
        self.device = find_device(device)
        self.precision = precision
        self._tap.module.to(self.device, memory_format=torch.channels_last)

    @property
    def levels(self):
        """Names of the tapped levels."""
        return list(self._tap.levels)

    def features(self, images):
        """Features of a batch of images, (n, height, width, 3) uint8, in float32."""
        pooled = {}
        pool = POOLINGS[self.pooling].pool

        def take(level, maps):
            pooled[level] = pool(maps.float())

        with torch.inference_mode(), self._arithmetic():
            self._tap.run(self._normalise(images), take)
            rows = [pooled[level] for level in self.levels]
            joined = join_maps(rows) if self.pooling == "none" else torch.cat(rows, 1)
        return np.ascontiguousarray(joined.cpu().numpy(), dtype=np.float32)

    def _normalise(self, images):
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        mean = x.new_tensor(self.mean)[:, None, None]
        std = x.new_tensor(self.std)[:, None, None]
        x = (x / 255 - mean) / std
        return x.contiguous(memory_format=torch.channels_last)

    @contextlib.contextmanager
    def _arithmetic(self):
        """Autocast for bfloat16; for float32 no 10-bit TF32 convolutions on a GPU."""
        kind = self.device.type
        lower = self.precision == "bfloat16"
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.autocast(kind, torch.bfloat16, enabled=lower))
            if kind == "cuda" and not lower:
                stack.enter_context(
                    torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
                )
            yield


def finest(shapes):
    """Return the largest grid (height, width) of shapes (..., height, width)."""
    return max((tuple(shape[-2:]) for shape in shapes), key=np.prod)


def join_maps(maps):
    """Resize maps to the finest grid, join their channels: (n, height, width, C)."""
    grid = finest([m.shape for m in maps])
    resized = [
        m
        if tuple(m.shape[2:]) == grid
        else interpolate(m, grid, mode="bilinear", align_corners=False)
        for m in maps
    ]
    return torch.cat(resized, 1).permute(0, 2, 3, 1)


def tap_levels(module, levels, *, own_size, input_size):
    """Return the tap of the levels, the (C, H, W) of each, the modules they need.

    The levels are found on an image of the network's own size, so that they do not
    depend on ``input_size``, for which the shapes are.
    """
    blank = torch.zeros(1, 3, *own_size)
    with _explained(module, own_size):
        calls = _levels.trace(module, lambda: module(blank))
    available = _levels.find_levels(module, calls, own_size)
    if len(available) < 2 and hasattr(module, "forward_intermediates"):
        names = [info["module"] for info in module.feature_info]
        chosen = _levels.choose(levels, names)
        tap = _levels.IntermediatesTap(module, chosen, names)
        calls = _levels.trace(module, lambda: tap.run(blank, lambda *_: None))
        last = float("inf")
    else:
        _check_any(module, available, calls, own_size)
        chosen = _levels.choose(levels, available)
        tap = _levels.HookTap(module, chosen)
        last = max(calls[level].stop for level in chosen)
    shapes = {}
    with _explained(module, input_size), torch.inference_mode():
        tap.run(
            torch.zeros(1, 3, *input_size),
            lambda level, maps: shapes.update({level: tuple(maps.shape[1:])}),
        )
    needed = _levels.needed_modules(module, calls, last)
    return tap, [shapes[level] for level in chosen], needed


@contextlib.contextmanager
def _explained(module, size):
    """Say which network failed on which input when its own code raises."""
    try:
        yield
    except Exception as error:  # whatever the network raises
        raise ValueError(
            f"the backbone {type(module).__name__} fails on an RGB image of {size[0]} "
            f"x {size[1]} pixels ({type(error).__name__}: {error}). Another input_size "
            "may fit it."
        ) from error


def _check_any(module, available, calls, input_size):
    if available:
        return
    last = any(
        _levels.is_channels_last_map(call.shape, input_size) for call in calls.values()
    )
    why = "its maps have their channels last" if last else "no module puts out a map"
    raise ValueError(
        f"the backbone {type(module).__name__} has no levels: {why}. Convolutional "
        "networks can be used, and vision transformers of timm ('timm/NAME')."
    )


def find_device(device):
    """Return the torch device for ``"auto"`` or a device's name."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={device!r} cannot be used here: {error}") from error
    return found
