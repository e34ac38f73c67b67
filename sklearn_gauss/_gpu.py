"""Sums of Gaussian kernels by torch, on the GPU that it finds."""

import importlib
import sys

import numpy as np

__all__ = ["find_device", "log_sums"]

#: Numbers in a block of distances.
BLOCK = 2**25

#: Rounding of a term, in nats, up to which sums in float64 by one product are right.
TOLERANCE = 1e-9


def find_device(device):
    """Name of a device of torch, or None for the processor.

    "auto" is a GPU with float64 where torch is loaded, as it is behind an extractor of
    features, and has one; "cpu" is the processor without torch. Any other name is one of
    torch's.
    """
    if device == "cpu":
        return None
    if device == "auto":
        torch = sys.modules.get("torch")
        return "cuda" if torch is not None and torch.cuda.is_available() else None
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(
            f'device={device!r} needs torch: pip install "sklearn-gauss[cnn]".'
        ) from error
    try:
        torch.zeros(1, dtype=torch.float64, device=device).cpu().numpy()
    except Exception as error:  # each kind of device has its own way to be missing
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"device={device!r} is none that torch can compute on in float64 here "
            f"({reason})."
        ) from error
    return device


def log_sums(queries, rows, log_weights, bandwidth, device):
    """Log-sums (m,) of w_j exp(-|q - y_j|^2 / (2 h^2)), and which of them are exact.

    Distances are those of one product, |q|^2 + |y|^2 - 2 q'y about the mean row; a query
    so far away that it loses digits beyond 1e-9 nats is marked as not exact (m,).
    """
    torch = importlib.import_module("torch")
    centre = rows.mean(axis=0)
    there = torch.from_numpy((rows - centre) / bandwidth).to(device)
    halves = (there * there).sum(1) / 2
    offsets = torch.from_numpy(log_weights).to(device) - halves
    logs, exact = np.empty(len(queries)), np.empty(len(queries), dtype=bool)
    bound = rows.shape[1] * np.finfo(np.float64).eps
    longest = float(halves.max())
    step = max(BLOCK // max(len(rows), 1), 1)
    for first in range(0, len(queries), step):
        block = slice(first, first + step)
        here = torch.from_numpy((queries[block] - centre) / bandwidth).to(device)
        lengths = (here * here).sum(1) / 2
        terms = torch.addmm(offsets, here, there.T)
        sums = torch.logsumexp(terms, 1) - lengths
        logs[block] = sums.cpu().numpy()
        exact[block] = (bound * (lengths + longest) < TOLERANCE).cpu().numpy()
    return logs, exact & np.isfinite(logs)
