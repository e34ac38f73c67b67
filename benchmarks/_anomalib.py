"""anomalib's PaDiM and PatchCore on the maps of one of our extractors.

Imported only where they are measured: anomalib brings a lot along.
"""

import math
from unittest.mock import patch

import torch  # noqa: TID253 - what is compared with
from anomalib.models.image.padim import torch_model as padim
from anomalib.models.image.patchcore import torch_model as patchcore


class ReadyMaps(torch.nn.Module):
    """In the place of a model's network: hands out maps that are there already."""

    def __init__(self, out_dims):
        super().__init__()
        self.out_dims, self.maps = out_dims, None

    def forward(self, _pixels):
        """{level: maps}, of the images in hand."""
        return self.maps


class Model:
    """A model of anomalib behind a fitted extractor with pooled levels.

    It is driven as its Lightning module drives it. The levels' maps are taken in front of
    the pooling, so that reading, pixels, network, batches and threads are the
    extractor's; both models want the finest level first.
    """

    def __init__(self, module, name, extractor, **options):
        infos = zip(extractor.level_channels_, extractor.level_grids_, strict=True)
        shapes = [(n, *grid) for n, grid in infos]
        self.shapes = dict(zip(extractor.levels_, shapes, strict=True))
        network = extractor._network
        # A copy, as later layers may write in place.
        network._pools = dict.fromkeys(self.shapes, lambda maps: maps.flatten(1).clone())
        network.output_shape = (sum(map(math.prod, shapes)),)
        levels = sorted(self.shapes, key=lambda level: -math.prod(self.shapes[level][1:]))
        ready = ReadyMaps([self.shapes[level][0] for level in levels])
        with patch.object(module, "TimmFeatureExtractor", lambda **_: ready):
            make = getattr(module, name)
            self.model = make(
                backbone="none", layers=levels, pre_trained=False, **options
            )
        # Of the pixels the model looks at nothing but the shape.
        self.pixels = torch.empty(1, 3, *extractor.input_size_)

    def run(self, flat):
        """What the model makes of images, of their levels' maps flat and side by side."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = torch.from_numpy(flat).split(sizes, dim=1)
        self.model.feature_extractor.maps = {
            level: part.reshape(len(flat), *shape)
            for (level, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        return self.model(self.pixels.expand(len(flat), -1, -1, -1))

    def begin(self):
        """Collect what `run` sees, from now on."""
        self.model.train()

    def scores_and_maps(self, flat):
        """Scores of images, and maps of the network's input size."""
        with torch.inference_mode():
            found = self.run(flat)
        return found.pred_score.reshape(-1).numpy(), found.anomaly_map[:, 0].numpy()

    def state(self):
        """The fitted tensors."""
        return {name: value.numpy() for name, value in self.model.state_dict().items()}


class Padim(Model):
    """PaDiM with its defaults, of ``channels`` channels drawn at random."""

    def __init__(self, extractor, *, channels, seed):
        torch.manual_seed(seed)
        n_features = min(channels, sum(extractor.level_channels_))
        super().__init__(padim, "PadimModel", extractor, n_features=n_features)

    def fit(self):
        """Fit to what was collected."""
        self.model.fit()
        self.model.eval()


class Patchcore(Model):
    """PatchCore with its defaults, but for the share of patches that it keeps."""

    def __init__(self, extractor, *, coreset, seed):
        torch.manual_seed(seed)
        super().__init__(patchcore, "PatchcoreModel", extractor)
        self.coreset = coreset

    def fit(self):
        """Keep a share of what was collected."""
        self.model.subsample_embedding(self.coreset)
        self.model.eval()
