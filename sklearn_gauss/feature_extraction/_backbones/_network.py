"""A network, ready to run: from batches of 8-bit images to features."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch  # noqa: TID253 - this room is imported lazily as a whole

from sklearn_gauss.feature_extraction._backbones import (  # noqa: TID253 - its own room
    _channels,
    _devices,
    _fusion,
    _resolve,
    _taps,
    _weights,
)
from sklearn_gauss.feature_extraction._backbones._maps import (  # noqa: TID253 - as above
    LevelMaps,
    LevelProjection,
    add_up,
    finest,
    is_projected,
    level_axes,
)
from sklearn_gauss.feature_extraction._backbones._pooling import (  # noqa: TID253 - as above
    POOLINGS,
    SEEDED,
    feature_names,
)
from sklearn_gauss.feature_extraction._backbones._replicas import (  # noqa: TID253 - as above
    Replicas,
)

DEFAULT_SIZE = (224, 224)

# Images of 224 x 224 pixels at a time, for each thread of a CPU or each GPU.
AUTO_BATCH = {"cpu": 4, "gpu": 64}

# Threads that run a network side by side; with more, Python's lock would be the limit.
MAX_WORKERS = 16


@dataclass(frozen=True)
class NetworkSpec:
    """All that decides a network's features; plain data.

    ``pretrained`` asks for the library's weights, ``weights_file`` for a local file on
    top; None for ``input_size``, ``mean`` and ``std`` takes the backbone's own.
    ``n_channels`` and ``grid`` are those of maps; None is all, and the finest grid.
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
    options: dict | None = None
    in_chans: int = 3
    n_channels: int | None = None
    grid: tuple | None = None


class Network:
    """A backbone on its device, its levels tapped and pooled.

    Attributes: ``levels``, ``channels`` and ``grids`` (one entry a level),
    ``output_shape`` (of one image's features), ``input_size`` (height, width), ``mean``,
    ``std``, ``weights_sha256`` (of the file, or without one of the tensors),
    ``is_projected`` (whether the levels' maps are projected and added up, not joined),
    ``pooling_seed`` (None where nothing is drawn but weights), ``spec``, ``device`` (the
    first one) and ``precision``.
    """

    def __init__(self, spec, *, device, precision):
        _devices.make_usable_after_fork()
        self._check_use(device, precision)
        found = _resolve.resolve(
            spec.backbone,
            pretrained=spec.pretrained,
            seed=spec.seed,
            options=spec.options,
        )
        self.input_size = spec.input_size or found.input_size or DEFAULT_SIZE
        self.mean = spec.mean or _channels.spread(found.mean, spec.in_chans)
        self.std = spec.std or _channels.spread(found.std, spec.in_chans)
        self.pooling = spec.pooling
        own_size = found.input_size or self.input_size
        n_channels = _channels.channels_taken(found.module, spec.in_chans)
        self._tap, needed = _taps.tap_levels(
            found.module, spec.levels, size=own_size, n_channels=n_channels
        )
        file = spec.weights_file

        def load():
            if file is not None:
                _weights.load_weights(found.module, file, needed)

        _channels.load_and_adapt(found.module, spec.in_chans, own_size, load)
        self.weights_sha256 = (
            _weights.sha256_of_tensors(found.module)
            if file is None
            else _weights.sha256(file)
        )
        shapes = _taps.set_size(
            self._tap, own_size, self.input_size, n_channels=spec.in_chans
        )
        self.channels = [shape[0] for shape in shapes]
        self.grids = [tuple(shape[1:]) for shape in shapes]
        self.spec = spec
        self._set_pools()
        self.n_fused = _fusion.fuse(self._tap, self.input_size, n_channels=spec.in_chans)
        self.use(device, precision)

    def _set_pools(self):
        """Choose what is made of each level's maps, and its shape."""
        spec, levels, channels = self.spec, self.levels, self.channels
        names = feature_names(spec.pooling, levels, channels, spec.n_channels)
        self.output_shape = (len(names),)
        self.is_projected = is_projected(channels, spec.n_channels)
        if spec.pooling == "none":
            grid = spec.grid or finest(self.grids)
            self.output_shape = grid + self.output_shape
            pools = [LevelMaps(grid) for _ in levels]
            if self.is_projected:
                axes = level_axes(channels, spec.n_channels, spec.seed)
                pools = [LevelProjection(grid, rows) for rows in axes]
        else:
            pools = [
                POOLINGS[spec.pooling].make(level, n, spec.seed)
                for level, n in zip(levels, channels, strict=True)
            ]
        draws = spec.pooling in SEEDED or self.is_projected
        self.pooling_seed = spec.seed if draws else None
        self._pools = dict(zip(levels, pools, strict=True))

    @staticmethod
    def _check_use(device, precision):
        devices = _devices.find_devices(device)
        _devices.check_precision(precision, devices[0])
        return devices

    def use(self, device, precision):
        """Run there and so from now on; nothing is built or read again."""
        devices = self._check_use(device, precision)
        self.device, self.precision = devices[0], precision
        self._tap.module.to(self.device, memory_format=torch.channels_last)
        self._shares_cores = self.device.type == "cpu" and len(devices) == 1
        self._replicas = Replicas(
            self._tap, devices * MAX_WORKERS if self._shares_cores else devices
        )

    @property
    def levels(self):
        """Names of the tapped levels."""
        return list(self._tap.levels)

    @property
    def n_workers(self):
        """Threads that can run the network at a time."""
        if self._shares_cores:
            _devices.make_usable_after_fork()
            return min(torch.get_num_threads(), MAX_WORKERS)
        return len(self._replicas.devices)

    @property
    def reads_ahead(self):
        """Whether images are best read by other threads meanwhile."""
        return self.device.type != "cpu"

    @property
    def start_worker(self):
        """What to call in each thread of several before it runs the network."""
        if self.device.type != "cpu":
            return None
        return partial(_devices.limit_cores, torch.get_num_threads() // self.n_workers)

    def auto_batch(self, total):
        """Return a good number of images at a time, of ``total``."""
        kind = "gpu" if self.reads_ahead else "cpu"
        area = math.prod(DEFAULT_SIZE) / math.prod(self.input_size)
        most = max(1, min(AUTO_BATCH[kind], int(AUTO_BATCH[kind] * area)))
        return max(1, min(most, math.ceil(total / self.n_workers)))

    def free_memory(self):
        """Hand back what torch keeps of the GPUs' memory for later."""
        for device in self._replicas.devices:
            _devices.free_memory(device)

    def features(self, images):
        """Features of a batch of images, (n, height, width, 3) uint8, in float32.

        Several threads may ask at a time; each gets a copy of the network.
        """
        _devices.make_usable_after_fork()
        pooled = {}

        def take(level, maps):
            part = self._pools[level](maps.float())
            # Parts of one size are added up before they are stretched.
            place = part.shape[2:] if self.is_projected else level
            pooled[place] = pooled[place].add_(part) if place in pooled else part

        with (
            self._replicas.borrow() as (tap, device),
            _devices.arithmetic(device, self.precision),
        ):
            tap.run(self._normalise(images, device), take)
            if self.is_projected:
                joined = add_up(pooled.values(), self.output_shape[:2])
            else:
                joined = torch.cat([pooled[level] for level in self.levels], 1)
            if self.pooling == "none":
                joined = joined.permute(0, 2, 3, 1)
            return np.ascontiguousarray(joined.cpu().numpy(), dtype=np.float32)

    def _normalise(self, images, device):
        x = torch.from_numpy(images)
        if device.type == "cuda":
            x = x.pin_memory()
        x = x.to(device, non_blocking=device.type == "cuda").permute(0, 3, 1, 2).float()
        mean = x.new_tensor(self.mean)[:, None, None]
        std = x.new_tensor(self.std)[:, None, None]
        x = (x / 255 - mean) / std
        return x.contiguous(memory_format=torch.channels_last)
