"""Pretrain noisenet on procedural images alone: ``train.py OUTPUT.safetensors``.

Two tasks at once. *Contrast* (Chen et al., "A Simple Framework for Contrastive Learning
of Visual Representations", ICML 2020, equation 1): of each image two crops a and b with
random looks, and a third view c, which is a with a drawn defect. The pooled map of every
level, through a head of its own, must tell a's b from the views of all other images and
from all c. *Segmentation*: a linear layer on each middle level names the kind of defect
at every position, none included.

Two runs with the same arguments on the same machine and library versions give the same
file. One line of figures (JSON) is printed every fifty steps.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from images import Draws, make_images
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, normalize
from views import DEFECTS, crops, look, with_defects

from sklearn_gauss.feature_extraction._backbones._noisenet import Noisenet

SOURCE_SIZE = 128
CHUNK = 512
VIEW_SIZES = (48, 64, 80)
CONTRASTED = {"block1": 0.5, "block3": 1.0, "block5": 1.0, "block6": 1.0}
SEGMENTED = {"block1": 0.5, "block3": 1.0, "block5": 1.0}
# From this step on defects weigh more: the segmentation has features to build on.
DEFECTS_FROM = 1000
TEMPERATURE = 0.2
WARMUP = 300
COOLDOWN = 0.25


class Heads(nn.Module):
    """What the tasks put on top of the levels; dropped after training."""

    def __init__(self, widths):
        super().__init__()
        self.contrast = nn.ModuleDict(
            {
                level: nn.Sequential(
                    nn.Linear(widths[level], 256), nn.ReLU(), nn.Linear(256, 128)
                )
                for level in CONTRASTED
            }
        )
        self.segment = nn.ModuleDict(
            {level: nn.Conv2d(widths[level], len(DEFECTS) + 1, 1) for level in SEGMENTED}
        )


def maps_of(network, x):
    """Map of every level, by name."""
    maps = {}
    for name, child in network.named_children():
        x = child(x)
        maps[name] = x
    return maps


def load_pool(folder, n_images, seed):
    """The training images, drawn in chunks; kept in ``folder`` where one is given."""
    chunks = []
    for number in range(math.ceil(n_images / CHUNK)):
        path = Path(folder) / f"{seed}-{number:04d}.npy" if folder else None
        if path is not None and path.exists():
            chunk = torch.from_numpy(np.load(path))
        else:
            n_drawn = min(CHUNK, n_images)
            chunk = make_images(n_drawn, SOURCE_SIZE, seed=seed * 100_000 + number)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, chunk.numpy())
        chunks.append(chunk)
    return torch.cat(chunks)[:n_images]


class Views(torch.utils.data.Dataset):
    """The views of each step; they depend on the seed and the step alone."""

    def __init__(self, pool, batch, seed):
        self.pool, self.batch, self.seed = pool, batch, seed

    def __getitem__(self, step):
        generator = torch.Generator().manual_seed(self.seed * 10_000_000 + step)
        chosen = torch.randint(len(self.pool), (self.batch,), generator=generator)
        size = VIEW_SIZES[step % len(VIEW_SIZES)]
        return make_views(self.pool[chosen], size, generator)


def make_views(images, size, generator):
    """Views a, b and c of images (n, 3, s, s) uint8, and the defects' labels in c."""
    images = images.float() / 255
    first = crops(images, size, Draws(len(images), generator))
    second = crops(images, size, Draws(len(images), generator))
    spoilt, labels = with_defects(first, generator)
    both = look(torch.cat([first, spoilt], 2), Draws(len(images), generator))
    first, spoilt = both.split(size, dim=2)
    second = look(second, Draws(len(images), generator))
    views = torch.cat([first, second, spoilt]).clamp(0, 1)
    return (views - 0.5) / 0.25, labels


def contrast_loss(pooled, is_spoilt):
    """NT-Xent of views a and b, with every c as one more negative."""
    z = normalize(pooled.float(), dim=1)
    n = len(z) // 3
    logits = z[: 2 * n] @ z.T / TEMPERATURE
    itself = torch.eye(2 * n, 3 * n, dtype=torch.bool, device=z.device)
    # A defect that nobody can see leaves c another view of the same image.
    unseen = torch.diag(~is_spoilt)
    same = torch.cat([unseen, unseen])
    hidden = itself.clone()
    hidden[:, 2 * n :] |= same
    logits = logits.masked_fill(hidden, -math.inf)
    target = torch.arange(2 * n, device=z.device).roll(n)
    hits = (logits.argmax(1) == target).float().mean()
    return cross_entropy(logits, target), hits


def segment_loss(logits, labels, background):
    """Cross-entropy of the kind of defect at each position of views a and c.

    ``background`` is the weight of a position without a defect, which most are.
    """
    n = len(labels)
    seen = torch.cat([logits[:n], logits[2 * n :]]).float()
    kinds = labels.amax((1, 2))
    share = adaptive_avg_pool2d((labels > 0).float()[:, None], seen.shape[2:])[:, 0]
    target = (share > 0.3).long() * kinds[:, None, None]
    target = torch.cat([torch.zeros_like(target), target])
    weight = torch.ones(len(DEFECTS) + 1, device=seen.device)
    weight[0] = background
    loss = cross_entropy(seen, target, weight=weight)
    is_defect = target > 0
    named = (seen.argmax(1) == target)[is_defect].float().mean()
    return loss, named


def losses(network, heads, views, labels, step):
    """Return the loss and the figures to log."""
    is_late = step >= DEFECTS_FROM
    background, share = (0.05, 2.0) if is_late else (0.25, 1.0)
    maps = maps_of(network, views.contiguous(memory_format=torch.channels_last))
    is_spoilt = labels.flatten(1).any(1)
    total, figures = 0, {}
    for level, weight in CONTRASTED.items():
        pooled = heads.contrast[level](maps[level].mean((2, 3)))
        loss, hits = contrast_loss(pooled, is_spoilt)
        total = total + weight * loss
        figures[f"{level}_contrast"], figures[f"{level}_found"] = loss, hits
    for level, weight in SEGMENTED.items():
        loss, named = segment_loss(heads.segment[level](maps[level]), labels, background)
        total = total + share * weight * loss
        figures[f"{level}_segment"], figures[f"{level}_named"] = loss, named
    return total, figures


def learning_rate(step, n_steps, peak):
    """Warm up, hold, and go down to zero over the last quarter."""
    start = (1 - COOLDOWN) * n_steps
    down = min(1.0, (n_steps - step) / (n_steps - start))
    return peak * min(1.0, (step + 1) / WARMUP) * down


def train(arguments):
    """Train; returns the network."""
    torch.manual_seed(arguments.seed)
    device = torch.device(
        arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    )
    network = Noisenet(norm=True)
    maps = maps_of(network, torch.zeros(2, 3, 64, 64))
    widths = {level: m.shape[1] for level, m in maps.items()}
    heads = Heads(widths)
    for module in (network, heads):
        module.to(device, memory_format=torch.channels_last).train()
    parameters = [*network.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=arguments.rate, weight_decay=0.05)
    parts = {"network": network, "heads": heads, "optimiser": optimiser}
    first = load_checkpoint(arguments.checkpoint, parts)
    pool = load_pool(arguments.pool, arguments.images, arguments.seed)
    steps = range(first, arguments.steps)
    batches = torch.utils.data.DataLoader(
        Views(pool, arguments.batch, arguments.seed),
        batch_size=None,
        sampler=steps,
        num_workers=arguments.workers,
    )
    began = time.perf_counter()
    for step, (views, labels) in zip(steps, batches, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, arguments.steps, arguments.rate)
        with torch.autocast(device.type, torch.bfloat16):
            loss, figures = losses(
                network, heads, views.to(device), labels.to(device), step
            )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        if step % 50 == 0:
            seconds = round(time.perf_counter() - began)
            rounded = {name: round(value.item(), 3) for name, value in figures.items()}
            print(json.dumps({"step": step, "seconds": seconds, **rounded}), flush=True)
        if arguments.checkpoint and (step + 1) % arguments.every == 0:
            save_checkpoint(arguments.checkpoint, step + 1, parts)
    return network.eval().cpu()


def save_checkpoint(path, step, parts):
    """Write all that the next step depends on."""
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"step": step, **state}, path)


def load_checkpoint(path, parts):
    """Go on from a checkpoint where there is one; returns the first step to do."""
    if not path or not Path(path).exists():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"]


def folded(network):
    """The network as bundled: norms folded into convolutions, half precision."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    plain = Noisenet()
    state = {}
    for name, module in network.named_modules():
        is_pair = isinstance(module, nn.Sequential) and len(module) == 2
        if is_pair and isinstance(module[1], nn.BatchNorm2d):
            fused = fuse_conv_bn_eval(module[0].eval(), module[1].eval())
            state[f"{name}.weight"], state[f"{name}.bias"] = fused.weight, fused.bias
    plain.load_state_dict({k: v.detach().half().float() for k, v in state.items()})
    return plain


def save(network, path):
    """Write the weights in half precision."""
    from safetensors.torch import save_file

    state = network.state_dict()
    save_file({name: value.half().contiguous() for name, value in state.items()}, path)


def main():
    """Parse the arguments, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("output", help="the .safetensors file to write")
    parser.add_argument("--steps", type=int, default=3700)
    parser.add_argument("--images", type=int, default=20480)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="default: the GPU where there is one")
    parser.add_argument("--workers", type=int, default=1, help="processes for views")
    parser.add_argument("--pool", help="folder to keep the drawn images in")
    parser.add_argument("--checkpoint", help="file to write to, and to go on from")
    parser.add_argument("--every", type=int, default=500, help="steps to a checkpoint")
    arguments = parser.parse_args()
    save(folded(train(arguments)), arguments.output)


if __name__ == "__main__":
    main()
