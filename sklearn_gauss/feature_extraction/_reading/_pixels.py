"""From arrays of any type to 8-bit pixels."""

import numpy as np

from sklearn_gauss.feature_extraction._reading._kinds import is_tensor

__all__ = ["image_array", "own_range", "strips", "tensor_to_array", "to_8_bit"]


def image_array(source, name, in_chans):
    """One image as an array (H, W) or (H, W, C); channels of a tensor come last."""
    array = tensor_to_array(source, name) if is_tensor(source) else np.asarray(source)
    counts = sorted({1, 3, 4, in_chans}) if in_chans in (1, 3, 4) else [in_chans]
    if array.ndim == 2 and 1 in counts:
        pass
    elif array.ndim != 3 or array.shape[2] not in counts:
        known = " or ".join(map(str, counts))
        grey = "(H, W) or " if 1 in counts else ""
        raise ValueError(
            f"{name}: an image array has shape {grey}(H, W, {known}) for "
            f"in_chans={in_chans}, and a tensor (C, H, W); got {array.shape} (channels "
            "last)."
        )
    if not array.size:
        raise ValueError(f"{name}: an image array of shape {array.shape} has no pixels.")
    return array


def tensor_to_array(tensor, name="X"):
    """Channels of a tensor (..., C, H, W) last; a tensor (H, W) as it is."""
    try:
        values = tensor.detach().cpu()
        if values.is_floating_point() and values.itemsize < 4:
            values = values.float()  # NumPy has no bfloat16
        array = values.numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise TypeError(
            f"{name}: a tensor of layout {tensor.layout} and type {tensor.dtype} on "
            f"{tensor.device} cannot be read ({error})."
        ) from error
    return np.moveaxis(array, -3, -1) if array.ndim >= 3 else array


def own_range(dtype):
    """Black and white of a data type, or None where it has no range of its own."""
    if np.dtype(dtype).kind == "b":
        return (0, 1)
    if np.dtype(dtype).newbyteorder("=") in (np.uint8, np.uint16):
        return (0, np.iinfo(dtype).max)
    return (0, 1) if np.issubdtype(dtype, np.floating) else None


def to_8_bit(array, value_range, name):
    """Map ``value_range`` (None: the data type's own) onto 0 to 255, rounded.

    Raises ValueError for values outside the range, for NaN and for what is no number.
    """
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name}: pixels of type {array.dtype} are not real numbers.")
    if array.dtype == np.uint8 and value_range is None:
        return array
    known = value_range or own_range(array.dtype)
    if known is None:
        raise ValueError(
            f"{name}: pixels of type {array.dtype} have no range of their own; give "
            "value_range=(black, white)."
        )
    low, high = known
    least, most = array.min(), array.max()
    # Written so that NaN fails as well.
    if not (least >= low and most <= high):
        nan = " (some are NaN)" if least != least else ""
        raise ValueError(
            f"{name}: {array.dtype} pixels must lie in [{low:g}, {high:g}], got "
            f"[{least:g}, {most:g}]{nan}. Set value_range=(black, white) to what black "
            "and white are in these images."
        )
    pixels = np.zeros(array.shape, np.uint8)
    if high <= low:
        return pixels
    by_table = array.dtype.kind == "u" and array.itemsize == 2 and array.size > 2**16
    every = np.arange(int(most) + 1).clip(least) if by_table else None
    table = _scaled(every, low, high) if by_table else None
    for rows in strips(len(array), array[0].size):
        part = array[rows]
        pixels[rows] = table[part] if by_table else _scaled(part, low, high)
    return pixels


def _scaled(values, low, high):
    values = values.astype(np.float64)
    values -= low
    values /= float(high) - float(low)
    values *= 255
    return np.rint(values, out=values).astype(np.uint8)


def strips(n_rows, row_size):
    """Slices of rows, each of about 2**18 numbers: what is done by them needs no room."""
    step = max(1, 2**18 // max(1, row_size))
    return [slice(start, start + step) for start in range(0, n_rows, step)]
