"""Views of images to contrast: crops, looks and drawn defects."""

import math

import torch
from images import Draws, blob
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate


def crops(images, size, draws):
    """A random part of every image, turned and mirrored, (n, 3, size, size)."""
    side = draws.uniform(0.35, 1.0)
    aspect = draws.log_uniform(0.8, 1.25)
    angle = (draws.uniform(0, 4).floor() * 90 + draws.uniform(-15, 15)) * math.pi / 180
    mirror = torch.where(draws.chance(0.5), -1.0, 1.0)
    reach = (1 - side).clamp(min=0)
    top = torch.stack(
        [
            side * aspect.sqrt() * angle.cos() * mirror,
            -side * angle.sin(),
            draws.uniform(-1, 1) * reach,
        ],
        1,
    )
    bottom = torch.stack(
        [
            side * angle.sin() * mirror,
            side / aspect.sqrt() * angle.cos(),
            draws.uniform(-1, 1) * reach,
        ],
        1,
    )
    theta = torch.stack([top, bottom], 1)
    places = affine_grid(theta, (len(images), 3, size, size), align_corners=False)
    return grid_sample(images, places, padding_mode="reflection", align_corners=False)


def look(images, draws):
    """Brightness, contrast, colours, blur and noise changed at random."""
    changed = draws.chance(0.8, 1, 1, 1)
    level = images.mean((2, 3), keepdim=True)
    contrast = draws.log_uniform(0.6, 1.6)[:, None, None, None]
    shift = draws.uniform(-0.2, 0.2, 1, 1, 1) + 0.05 * draws.normal(3, 1, 1)
    mix = torch.eye(3) + 0.15 * draws.normal(3, 3)
    mix = mix / mix.sum(2, keepdim=True).clamp(min=0.3)
    mixed = torch.einsum("nij,njhw->nihw", mix, (images - level) * contrast)
    images = torch.where(changed, mixed + level + shift, images)
    grey = images.mean(1, keepdim=True).expand_as(images)
    images = torch.where(draws.chance(0.2, 1, 1, 1), grey, images)
    smooth = avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.where(draws.chance(0.15, 1, 1, 1), smooth, images)
    noise = draws.normal(*images.shape[1:])
    amount = draws.uniform(0, 0.03, 1, 1, 1) * draws.chance(0.4, 1, 1, 1)
    return images + amount * noise


# ------------------------------------------------------------------------ defects
def _smooth_noise(draws, size, cells):
    coarse = draws.normal(1, cells, cells)
    return interpolate(coarse, (size, size), mode="bicubic", align_corners=False)


def _tone(draws):
    """Darker or lighter, grey or coloured, never by little."""
    sign = torch.where(draws.chance(0.5, 1, 1, 1), 1.0, -1.0)
    colour = 0.1 * draws.normal(3, 1, 1)
    return sign * draws.uniform(0.12, 0.6, 1, 1, 1) + colour


def pasted(images, draws):
    """A piece of another image."""
    return torch.roll(images, 1, 0)


def shifted(images, draws):
    """A piece from elsewhere in the same image, mirrored."""
    size = images.shape[2]
    return torch.roll(images, (size // 3, size // 2), (2, 3)).flip(3)


def stained(images, draws):
    """A patch of another tone, uneven."""
    uneven = 0.75 + 0.25 * _smooth_noise(draws, images.shape[2], 6)
    return images + _tone(draws) * uneven


def cracked(images, draws):
    """A thin, winding line."""
    field = _smooth_noise(draws, images.shape[2], 5).abs()
    width = draws.uniform(0.04, 0.15, 1, 1, 1)
    return images + _tone(draws) * (-((field / width) ** 2)).exp()


def scratched(images, draws):
    """Parallel straight lines."""
    size = images.shape[2]
    line = torch.linspace(-1, 1, size)
    angle = draws.uniform(0, math.pi)[:, None, None]
    across = line * angle.cos() + line[:, None] * angle.sin()
    period = draws.log_uniform(0.3, 1.5)[:, None, None]
    gap = torch.remainder(across, period) - period / 2
    width = draws.uniform(0.015, 0.05)[:, None, None]
    return images + _tone(draws) * (-((gap / width) ** 2)).exp()[:, None]


def blurred(images, draws):
    """What is there, out of focus."""
    once = avg_pool2d(images, 5, 1, 2, count_include_pad=False)
    return avg_pool2d(once, 5, 1, 2, count_include_pad=False)


def roughened(images, draws):
    """What is there with more contrast, or less, and grain."""
    level = avg_pool2d(images, 9, 1, 4, count_include_pad=False)
    gain = torch.where(draws.chance(0.5, 1, 1, 1), 2.2, 0.25)
    grain = draws.uniform(0, 0.12, 1, 1, 1) * draws.normal(1, *images.shape[2:])
    return level + (images - level) * gain + grain


def distorted(images, draws):
    """What is there, pulled out of shape."""
    n, _, size, _ = images.shape
    pull = torch.cat([_smooth_noise(draws, size, 5) for _ in range(2)], 1)
    whole = torch.eye(2, 3).expand(n, 2, 3)
    places = affine_grid(whole, images.shape, align_corners=False)
    places = places + 0.12 * pull.permute(0, 2, 3, 1)
    return grid_sample(images, places, padding_mode="reflection", align_corners=False)


DEFECTS = (
    pasted,
    shifted,
    stained,
    cracked,
    scratched,
    blurred,
    roughened,
    distorted,
)


def with_defects(images, generator):
    """Every image with one defect, and where: (n, size, size), 0 or kind + 1."""
    size = images.shape[2]
    draws = Draws(len(images), generator)
    radius = draws.log_uniform(0.1, 0.55)
    mask = blob(draws, size, radius)
    spoilt = images.clone()
    kinds = torch.arange(len(images)) * len(DEFECTS) // len(images)
    for number, spoil in enumerate(DEFECTS):
        where = kinds == number
        spoilt[where] = spoil(images[where], Draws(int(where.sum()), generator))
    spoilt = (mask * spoilt + (1 - mask) * images).clamp(0, 1)
    change = (spoilt - images).abs().mean(1, keepdim=True)
    is_seen = avg_pool2d(change, 5, 1, 2, count_include_pad=False)[:, 0] > 0.015
    return spoilt, is_seen * (kinds + 1)[:, None, None]
