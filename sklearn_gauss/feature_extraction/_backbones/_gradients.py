"""Derivatives of something that depends on features, by the pixels of the images."""

import numpy as np
import torch  # noqa: TID253 - this room is imported lazily as a whole

__all__ = ["pixel_gradients"]


def pixel_gradients(network, images, slope):
    """Gradient by the network's input pixels, 0 to 255, in float32.

    The weights stay as they are; only the input requires a gradient. Poolings get copies
    of the maps, as later layers may write in place. Where a pooling has no derivative
    (the deviation of a channel that is zero everywhere) none is passed on.

    Parameters
    ----------
    network : Network
        Whose features are pooled.
    images : ndarray of uint8 of shape (n, height, width, channels)
        Of the network's size.
    slope : callable
        Takes features (n, p), returns the derivative by each of them, (n, p).

    Returns
    -------
    ndarray of float32 of shape (n, height, width, channels)
    """
    pooled = {}

    def take(level, maps):
        maps = maps.clone()
        if maps.requires_grad:
            maps.register_hook(lambda gradient: gradient.nan_to_num(0.0, 0.0, 0.0))
        pooled[level] = network._pools[level](maps.float())

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        network._replicas.borrow() as (tap, device),
    ):
        x = network._normalise(images, device).requires_grad_(True)
        tap.run(x, take)
        rows = torch.cat([pooled[level] for level in network.levels], 1)
        weights = slope(rows.detach().cpu().numpy())
        (gradient,) = torch.autograd.grad(rows, x, torch.from_numpy(weights).to(rows))
        std = gradient.new_tensor(network.std)[:, None, None]
        by_pixel = (gradient / (255 * std)).permute(0, 2, 3, 1)
        return np.ascontiguousarray(by_pixel.cpu().numpy(), dtype=np.float32)
