"""Features of a convolutional network: against a plain loop, a limit, and reading."""

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np
import torch  # noqa: TID253 - what is compared with
from _timing import medians, run_named
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode  # noqa: TID253 - as above

from sklearn_gauss.feature_extraction import CNNFeatureExtractor

NETWORKS = ("torchvision/squeezenet1_1", "torchvision/resnet18", "timm/mobilenetv2_100")
PLAIN_BATCH = 32
REPEATS = 5


def network_of(name):
    """Build a network with random weights, the same at every call."""
    family, inner = name.split("/")
    torch.manual_seed(0)
    if family == "timm":
        import timm

        return timm.create_model(inner)
    from torchvision import models

    return models.get_model(inner)


class Plain:
    """What one would write: ``eval()``, ``no_grad``, hooks on levels, batches of 32."""

    def __init__(self, name, extractor, device="cpu"):
        self.levels, self.device = extractor.levels_, device
        self.mean = torch.tensor(extractor.mean_)[:, None, None]
        self.std = torch.tensor(extractor.std_)[:, None, None]
        self.module = network_of(name).eval().to(device)
        self.found = {}
        for level in self.levels:
            self.module.get_submodule(level).register_forward_hook(
                lambda _m, _i, out, level=level: self.found.update({level: out})
            )

    def __call__(self, pixels):
        """Features of decoded images."""
        rows = []
        with torch.no_grad():
            for start in range(0, len(pixels), PLAIN_BATCH):
                x = torch.from_numpy(pixels[start : start + PLAIN_BATCH])
                x = (x.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
                self.module(x.to(self.device))
                levels = [self.found[level].mean((2, 3)) for level in self.levels]
                rows.append(torch.cat(levels, 1).cpu())
        return torch.cat(rows).numpy()


def fitted(name, X, side, **parameters):
    """Return a fitted extractor with the weights of `network_of`."""
    module = network_of(name)
    return CNNFeatureExtractor(module, input_size=side, **parameters).fit(X)


def decoded(n, side):
    """Images that need no decoding and no resizing."""
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def compare(title, small, **parameters):
    """Time an extractor beside the plain loop, on the same decoded pixels."""
    side, n = (64, 4) if small else (224, 96)
    for name in NETWORKS[:1] if small else NETWORKS:
        X = decoded(n, side)
        extractor = fitted(name, X, side, **parameters)
        plain = Plain(name, extractor)
        got, want = extractor.transform(X), plain(X)
        ours, theirs = medians(
            [lambda e=extractor, X=X: e.transform(X), lambda p=plain, X=X: p(X)],
            1 if small else REPEATS,
        )
        print(
            f"{title} {name} {X.shape}: ours {1e3 * ours / n:.1f} ms an image, plain "
            f"{1e3 * theirs / n:.1f} ms: {theirs / ours:.2f}x"
        )
        print(f"   largest difference {np.abs(got - want).max() / want.std():.1e} std")


def g13(small):
    """Single precision on a CPU, against a plain loop."""
    compare("G13", small, device="cpu")


def g14(small):
    """Half precision (bfloat16) on a CPU, against a plain loop in single precision."""
    compare("G14", small, device="cpu", precision="bfloat16")


def photographs(folder, kind, n, side):
    """Write files of smooth noise, about as hard to decode as photographs."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(n):
        coarse = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth) + rng.integers(0, 9, (side, side, 3), dtype=np.uint8)
        paths.append(Path(folder) / f"{number}.{kind}")
        Image.fromarray(noisy).save(paths[-1])
    return paths


def one_after_another(extractor, paths):
    """Read a batch, run it, read the next: a single thread, but for torch's own."""

    def run():
        with patch.object(type(extractor._network), "n_workers", 1):
            return extractor.transform(paths)

    return run


def prefetch(small):
    """Reading of files side by side with the network, against one after the other."""
    side, n = (64, 4) if small else (1000, 64)
    for kind in ("jpg", "png"):
        with tempfile.TemporaryDirectory() as folder:
            paths = photographs(folder, kind, n, side)
            for name in NETWORKS[:1] if small else NETWORKS[:2]:
                extractor = fitted(name, paths, 64 if small else 224)
                works = [
                    lambda e=extractor, p=paths: e.transform(p),
                    one_after_another(extractor, paths),
                ]
                ours, serial = medians(works, 1 if small else REPEATS)
                print(
                    f"Gread {name} {kind} {side} x {side}: {1e3 * ours / n:.1f} ms an "
                    f"image, one after another {1e3 * serial / n:.1f} ms: "
                    f"{serial / ours:.2f}x"
                )


def product_rate(dtype, size):
    """Floating-point operations a second of a square product on the GPU."""
    a = torch.randn(size, size, device="cuda", dtype=dtype)
    seconds = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        start = perf_counter()
        a @ a
        torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return 2 * size**3 / median(seconds)


def operations(name, side):
    """Floating-point operations of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network_of(name).eval()(torch.zeros(1, 3, side, side))
    return counter.get_total_flops()


def gpu(small):
    """Images a second on a GPU, and the share of what its products could do."""
    side, n = (64, 4) if small else (224, 4096)
    name = NETWORKS[1]
    if not torch.cuda.is_available():
        print(f"Ggpu: none here ({name}: {operations(name, side) / 1e9:.2f} GFLOP)")
        return
    X = decoded(n, side)
    for precision in ("float32", "bfloat16", "float16"):
        extractor = fitted(name, X, side, device="cuda", precision=precision)
        plain = Plain(name, extractor, "cuda")
        ours, theirs = medians(
            [lambda e=extractor: e.transform(X), lambda p=plain: p(X)], REPEATS
        )
        rate = product_rate(getattr(torch, precision), 256 if small else 8192)
        share = operations(name, side) * n / ours / rate
        print(
            f"Ggpu {name} {precision}: {n / ours:.0f} images/s, plain {n / theirs:.0f} "
            f"({theirs / ours:.2f}x), {100 * share:.0f} % of the products' rate"
        )


BENCHMARKS = {"G13": g13, "G14": g14, "reading": prefetch, "GPU": gpu}


if __name__ == "__main__":
    run_named(BENCHMARKS, __doc__)
