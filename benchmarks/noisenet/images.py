"""Procedural images to pretrain on: fields, ways to render them, and compositions.

A field is a tensor (n, 1, size, size) of zero mean and unit variance; a rendering turns
fields into images (n, 3, size, size) in [0, 1]; a composition cuts shapes out of several
renderings. Every number is drawn from the generator that is passed in.

Sources: dead leaves, power-law spectra and wavelet marginals after Baradad et al.,
"Learning to See by Looking at Noise", NeurIPS 2021; cellular noise after Worley, "A
Cellular Texture Basis Function", SIGGRAPH 1996; pattern-producing networks after
Stanley, Genetic Programming and Evolvable Machines 8, 2007.
"""

import math

import torch
from torch.nn.functional import conv2d, grid_sample, interpolate


class Draws:
    """Random tensors of one leading size ``n``, from one generator."""

    def __init__(self, n, generator):
        self.n, self.generator = n, generator

    def uniform(self, low, high, *shape):
        """Uniform numbers of shape (n, *shape)."""
        unit = torch.rand(self.n, *shape, generator=self.generator)
        return low + (high - low) * unit

    def log_uniform(self, low, high, *shape):
        """Numbers whose logarithm is uniform."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape):
        """Standard normal numbers of shape (n, *shape)."""
        return torch.randn(self.n, *shape, generator=self.generator)

    def chance(self, probability, *shape):
        """Booleans that are true with a probability."""
        return self.uniform(0, 1, *shape) < probability

    def choice(self, options):
        """One of several tensors (n, ...) for each of the n."""
        chosen = self.uniform(0, len(options)).long().clamp(max=len(options) - 1)
        out = options[0].clone()
        for number, option in enumerate(options[1:], start=1):
            out[chosen == number] = option[chosen == number]
        return out


def standardise(field):
    """Zero mean and unit variance over the grid of each channel."""
    field = field - field.mean((2, 3), keepdim=True)
    return field / field.std((2, 3), keepdim=True).clamp(min=1e-6)


def grid(size):
    """Coordinates x and y in [-1, 1], each (size, size)."""
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


def _column(values):
    return values[:, None, None]


def rotated(draws, size, stretch=1.0):
    """Coordinates of every image, turned by a random angle, (n, size, size) each."""
    x, y = grid(size)
    angle = _column(draws.uniform(0, 2 * math.pi))
    u = x * angle.cos() + y * angle.sin()
    v = y * angle.cos() - x * angle.sin()
    return u, v * stretch


# ------------------------------------------------------------------------ fields
def spectrum(draws, size, channels=1):
    """Gaussian noise with amplitude 1 / f^a, a in [0.4, 2.2], stretched at random."""
    f = torch.fft.fftfreq(size) * size
    fy, fx = torch.meshgrid(f, f, indexing="ij")
    angle = _column(draws.uniform(0, math.pi))
    stretch = _column(draws.log_uniform(1, 8) ** draws.chance(0.5).float())
    u = (fx * angle.cos() + fy * angle.sin()) * stretch
    v = (fy * angle.cos() - fx * angle.sin()) / stretch
    slope = _column(draws.uniform(0.4, 2.2))
    amplitude = (u.square() + v.square() + 1).pow(-slope / 2)
    noise = torch.fft.fft2(draws.normal(channels, size, size))
    return standardise(torch.fft.ifft2(noise * amplitude[:, None]).real)


def bands(draws, size):
    """Noise in four oriented bands, each with a marginal of its own, added up."""
    f = torch.fft.fftfreq(size)
    fy, fx = torch.meshgrid(f, f, indexing="ij")
    total = 0
    for _ in range(4):
        angle = _column(draws.uniform(0, math.pi))
        centre = _column(draws.log_uniform(0.02, 0.35))
        width = centre * _column(draws.uniform(0.15, 0.6))
        u, v = centre * angle.cos(), centre * angle.sin()
        window = (-((fx - u) ** 2 + (fy - v) ** 2) / (2 * width**2)).exp()
        noise = torch.fft.fft2(draws.normal(size, size))
        band = standardise(torch.fft.ifft2(noise * window).real[:, None])
        power = draws.uniform(0.5, 3)[:, None, None, None]
        weight = draws.log_uniform(0.2, 1)[:, None, None, None]
        total = total + weight * standardise(band.sign() * band.abs().pow(power))
    return standardise(total)


def warp(draws, size, strength):
    """Smooth displacement of coordinates, (n, size, size) each."""
    coarse = draws.normal(2, 5, 5)
    smooth = interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    smooth = smooth * strength[:, None, None, None]
    return smooth[:, 0], smooth[:, 1]


def gratings(draws, size):
    """One to three warped gratings, added, multiplied or squared off."""
    total, product = 0, 1
    dx, dy = warp(draws, size, draws.log_uniform(0.002, 0.15))
    for number in range(3):
        u, _ = rotated(draws, size)
        frequency = _column(draws.log_uniform(3, 45))
        phase = _column(draws.uniform(0, 2 * math.pi))
        wave = (frequency * (u + dx + number * dy) + phase).sin()
        sharp = _column(draws.log_uniform(0.3, 8))
        wave = (sharp * wave).tanh() / sharp.tanh()
        used = _column(draws.chance(0.6) if number else draws.chance(1.0)).float()
        total = total + wave * used
        product = product * (wave * used + 1 - used)
    return standardise(draws.choice([total, product])[:, None])


def cells(draws, size, n_points=14):
    """Distances to the nearest of scattered points: cells, cracks or scales."""
    u, v = rotated(draws, size, _column(draws.log_uniform(0.4, 2.5)))
    dx, dy = warp(draws, size, draws.log_uniform(0.005, 0.2))
    reach = _column(draws.log_uniform(0.5, 2.0))
    px, py = draws.uniform(-1, 1, n_points, 1, 1), draws.uniform(-1, 1, n_points, 1, 1)
    wrapped_x = torch.remainder((u + dx) * reach, 2)[:, None] - 1 - px
    wrapped_y = torch.remainder((v + dy) * reach, 2)[:, None] - 1 - py
    wrapped_x = wrapped_x - 2 * (wrapped_x / 2).round()
    wrapped_y = wrapped_y - 2 * (wrapped_y / 2).round()
    distance = (wrapped_x.square() + wrapped_y.square()).sqrt()
    two, which = distance.topk(2, dim=1, largest=False)
    shade = draws.normal(n_points).gather(1, which[:, 0].flatten(1)).view_as(which[:, 0])
    gap = two[:, 1] - two[:, 0]
    sharp = _column(draws.log_uniform(8, 60))
    options = [two[:, 0], gap, (-sharp * gap).exp(), shade, shade - (-sharp * gap).exp()]
    return standardise(draws.choice(options)[:, None])


def pattern_network(draws, size, width=12):
    """Output of a random network of the coordinates."""
    u, v = rotated(draws, size)
    radius = (u.square() + v.square()).sqrt()
    inputs = torch.stack([u, v, radius, torch.ones_like(u)], -1).flatten(1, 2)
    scale = draws.log_uniform(1.5, 14)[:, None, None]
    hidden = (inputs @ (draws.normal(4, width) * scale)).sin()
    for _ in range(2):
        mixed = hidden @ (draws.normal(width, width) * (1.6 / math.sqrt(width)))
        hidden = draws.choice([mixed.sin(), mixed.tanh(), mixed.abs() - 0.8])
    out = hidden @ draws.normal(width, 1)
    return standardise(out.view(draws.n, 1, size, size))


def random_network(draws, size, width=8):
    """Noise through a random, upsampling, convolutional network."""
    side = size // 8
    x = draws.normal(width, side, side)
    for _ in range(3):
        x = interpolate(x, scale_factor=2, mode="bilinear")
        x = x + draws.normal(width, 1, 1) * draws.normal(1, *x.shape[2:])
        kernels = draws.normal(width, width, 3, 3).flatten(0, 1)
        x = conv2d(x.flatten(0, 1)[None], kernels, padding=1, groups=draws.n)
        x = standardise(x.view(draws.n, width, *x.shape[2:]))
        x = torch.maximum(x, 0.2 * x)
    return standardise((x * draws.normal(width, 1, 1)).sum(1, keepdim=True))


def lattice(draws, size):
    """A motif repeated on a lattice, rows shifted or not, slightly warped."""
    motif = draws.choice([spectrum(draws, 32), pattern_network(draws, 32)])
    u, v = rotated(draws, size, _column(draws.log_uniform(0.5, 2)))
    dx, dy = warp(draws, size, draws.log_uniform(0.001, 0.06))
    count = _column(draws.log_uniform(1.5, 9))
    u, v = (u + dx) * count, (v + dy) * count
    row = torch.floor((v + 1) / 2)
    u = u + row * _column(draws.chance(0.5).float())
    places = torch.stack([torch.remainder(u, 2), torch.remainder(v, 2)], -1) - 1
    return standardise(grid_sample(motif, places, align_corners=True))


def strokes(draws, size, count=16):
    """Straight and bent strokes of one width on a plain ground."""
    x, y = grid(size)
    total = torch.zeros(draws.n, size, size)
    width = _column(draws.log_uniform(0.008, 0.05))
    along = _column(draws.chance(0.5).float())
    common = _column(draws.uniform(0, math.pi))
    for _ in range(count):
        angle = common * along + _column(draws.uniform(0, math.pi)) * (1 - 0.9 * along)
        dx = x - _column(draws.uniform(-1, 1))
        dy = y - _column(draws.uniform(-1, 1))
        u = dx * angle.cos() + dy * angle.sin()
        v = dy * angle.cos() - dx * angle.sin() + _column(draws.normal()) * u**2
        length = _column(draws.log_uniform(0.05, 1.5))
        stroke = (-((v / width) ** 2)).exp() * (8 * (length - u.abs())).sigmoid()
        total = torch.maximum(total, stroke * _column(draws.uniform(0.3, 1)))
    return standardise(total[:, None])


FIELDS = (
    spectrum,
    bands,
    gratings,
    cells,
    pattern_network,
    random_network,
    lattice,
    strokes,
)


def reshaped(draws, field):
    """Bend the values of a field: as it is, folded, squared off or cut into steps."""
    sharp = draws.log_uniform(0.5, 6)[:, None, None, None]
    level = draws.normal()[:, None, None, None] * 0.5
    options = [
        field,
        field,
        (sharp * (field - level)).tanh(),
        (field - level).abs(),
        (2 * field).round() / 2,
        field.sign() * field.abs().pow(1.5),
    ]
    return standardise(draws.choice(options))


# --------------------------------------------------------------------- rendering
def palette(draws, field):
    """Colours along a random smooth line through colour space."""
    t = (0.35 * field + 0.5).clamp(-0.2, 1.2)
    base, span = draws.uniform(0.2, 0.8, 3, 1, 1), draws.uniform(0.05, 0.5, 3, 1, 1)
    speed, phase = draws.uniform(0.3, 1.6, 3, 1, 1), draws.uniform(0, 1, 3, 1, 1)
    return base + span * (2 * math.pi * (speed * t + phase)).cos()


def two_colours(draws, field):
    """A straight mix of two colours."""
    t = (1.2 * field).sigmoid()
    first, second = draws.uniform(0, 1, 3, 1, 1), draws.uniform(0, 1, 3, 1, 1)
    return first * t + second * (1 - t)


def relief(draws, field):
    """The field as a height, lit from one side, with a highlight."""
    slope_y, slope_x = torch.gradient(field[:, 0], dim=(1, 2))
    steep = _column(draws.log_uniform(0.5, 6))
    angle = _column(draws.uniform(0, 2 * math.pi))
    light = steep * (slope_x * angle.cos() + slope_y * angle.sin())
    norm = (1 + steep**2 * (slope_x.square() + slope_y.square())).sqrt()
    shade = ((light + 0.8) / norm)[:, None]
    gloss = draws.uniform(0, 0.6, 1, 1, 1) * shade.clamp(min=0).pow(6)
    colour = draws.uniform(0.2, 0.9, 3, 1, 1)
    albedo = 1 + draws.uniform(-0.2, 0.2, 1, 1, 1) * field
    return colour * albedo * (0.35 + 0.6 * shade) + gloss


RENDERINGS = (palette, two_colours, relief)


def textures(n, size, generator):
    """Plain textures: for every image a field, or two mixed, rendered at random."""
    draws = Draws(n, generator)
    images = torch.empty(n, 3, size, size)
    kinds = torch.randperm(n, generator=generator) % len(FIELDS)
    for number, make in enumerate(FIELDS):
        where = (kinds == number).nonzero()[:, 0]
        some = Draws(len(where), generator)
        if not len(where):
            continue
        field = reshaped(some, make(some, size))
        other = spectrum(some, size)
        share = some.uniform(0, 0.5)[:, None, None, None]
        mixed = field + share * some.chance(0.6)[:, None, None, None] * other
        mixed = standardise(mixed)
        images[where] = some.choice([render(some, mixed) for render in RENDERINGS])
    tint = spectrum(draws, size, channels=3) * draws.uniform(0, 0.08, 1, 1, 1)
    return (images + tint).clamp(0, 1)


# ------------------------------------------------------------------ compositions
def blob(draws, size, radius):
    """Masks of one shape an image: ellipse, polygon, star, ring or lobed blob."""
    u, v = rotated(draws, size)
    turn = _column(draws.uniform(0, 2 * math.pi))
    dx = u - _column(draws.uniform(-1.1, 1.1))
    dy = (v - _column(draws.uniform(-1.1, 1.1))) * _column(draws.log_uniform(0.35, 2.8))
    distance, angle = (dx.square() + dy.square()).sqrt(), torch.atan2(dy, dx) + turn
    corners = _column(draws.uniform(3, 8).floor())
    sector = 2 * math.pi / corners
    within = torch.remainder(angle, sector) - sector / 2
    polygon = (sector / 2).cos() / within.cos()
    lobes = 1 + _column(draws.uniform(0.05, 0.45)) * (corners * angle).sin()
    edge = radius[:, None, None] * draws.choice([torch.ones_like(lobes), polygon, lobes])
    softness = 1.2 / size
    mask = ((edge - distance) / softness).clamp(-20, 20).sigmoid()
    hole = ((0.5 * edge - distance) / softness).clamp(-20, 20).sigmoid()
    ring = _column(draws.chance(0.15).float())
    return (mask * (1 - ring * hole))[:, None]


def _outlined(draws, image, mask):
    """Darken or lighten the rim of a shape, and shade its inside."""
    rim = 4 * mask * (1 - mask)
    rim = rim * draws.uniform(-0.6, 0.3, 1, 1, 1) * draws.chance(0.4, 1, 1, 1)
    return image + rim


def dead_leaves(n, size, generator, n_leaves=48):
    """Shapes of power-law sizes over each other, flat or textured, up to full cover."""
    draws = Draws(n, generator)
    pool = textures(n, size, generator)
    image = pool.clone()
    smallest = draws.log_uniform(0.03, 0.25)
    flat_share = draws.uniform(0, 1)
    for _ in range(n_leaves):
        # Density of the radius proportional to r^-3 between the smallest and 1.
        unit = draws.uniform(0, 1)
        radius = (smallest**-2 - unit * (smallest**-2 - 1)).pow(-0.5)
        mask = blob(draws, size, radius)
        flat = draws.uniform(0, 1, 3, 1, 1).expand(n, 3, size, size)
        order = torch.randperm(n, generator=generator)
        is_flat = (draws.uniform(0, 1) < flat_share)[:, None, None, None]
        leaf = torch.where(is_flat, flat, pool[order])
        image = mask * _outlined(draws, leaf, mask) + (1 - mask) * image
    return image.clamp(0, 1)


def objects(n, size, generator, n_objects=5):
    """Few shaded shapes with shadows on a textured ground."""
    draws = Draws(n, generator)
    image, pool = textures(n, size, generator), textures(n, size, generator)
    calm = draws.uniform(0, 1, 1, 1, 1) * draws.chance(0.5, 1, 1, 1)
    image = image * (1 - calm) + calm * image.mean((2, 3), keepdim=True)
    radius = draws.log_uniform(0.12, 0.8)
    shift = int(size * 0.03)
    for number in range(n_objects):
        mask = blob(draws, size, radius * draws.uniform(0.8, 1.2))
        is_there = draws.chance(0.6 if number else 1)
        mask = mask * is_there[:, None, None, None]
        shadow = torch.roll(mask, (shift, shift), (2, 3))
        image = image * (1 - draws.uniform(0, 0.5, 1, 1, 1) * shadow)
        lit, _ = rotated(draws, size)
        leaf = pool * (1 + draws.uniform(0, 0.5, 1, 1, 1) * lit[:, None])
        image = mask * _outlined(draws, leaf, mask) + (1 - mask) * image
    return image.clamp(0, 1)


def finished(images, generator):
    """What a camera adds: uneven light, contrast, grey film, blur and noise."""
    draws = Draws(len(images), generator)
    lit, _ = rotated(draws, images.shape[2])
    light = 1 + draws.uniform(0, 0.4, 1, 1, 1) * draws.chance(0.5, 1, 1, 1) * lit[:, None]
    contrast = draws.log_uniform(0.3, 1.4)[:, None, None, None]
    level = images.mean((1, 2, 3), keepdim=True)
    images = (level + (images - level) * contrast) * light
    grey = images.mean(1, keepdim=True).expand_as(images)
    images = torch.where(draws.chance(0.4, 1, 1, 1), grey, images)
    smooth = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.where(draws.chance(0.3, 1, 1, 1), smooth, images)
    noise = torch.randn(images.shape, generator=generator)
    return (images + draws.uniform(0, 0.03, 1, 1, 1) * noise).clamp(0, 1)


def make_images(n, size, seed):
    """``n`` procedural images, (n, 3, size, size) uint8; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    quarter = n // 4
    parts = [
        textures(n - 2 * quarter, size, generator),
        dead_leaves(quarter, size, generator),
        objects(quarter, size, generator),
    ]
    images = torch.cat(parts)[torch.randperm(n, generator=generator)]
    return (finished(images, generator) * 255).round().byte()
