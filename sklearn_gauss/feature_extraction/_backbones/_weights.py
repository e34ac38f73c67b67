"""Weights from local files: read without unpickling, checked key by key."""

import hashlib
from pathlib import Path

import torch  # noqa: TID253 - this room is imported lazily as a whole

from sklearn_gauss.exceptions import WeightsMismatchError

_WRAPPERS = ("state_dict", "model")
_PICKLED = (".pt", ".pth", ".bin")


def sha256(path):
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_tensors(module):
    """SHA-256 of a module's state dict: names, types, shapes and values, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def read_state_dict(path):
    """Tensors of a ``.safetensors`` or state-dict file, floating point in float32."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights={str(path)!r}: no such file.")
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in _PICKLED:
        raise ValueError(
            f"weights={str(path)!r}: the file's kind is unknown; give a .safetensors "
            f"file or a state dict ({', '.join(_PICKLED)})."
        )
    try:
        read = _read_safetensors if suffix == ".safetensors" else _read_torch
        loaded = _unwrap(read(path))
    except ImportError:
        raise
    except Exception as error:  # the readers' errors are of many kinds
        if type(error).__name__ == "UnpicklingError":  # torch advises to trust the file
            raise WeightsMismatchError(
                f"{path}: not a state dict. It is of another kind, or holds objects that "
                "could run code, and is not loaded; save the network's state_dict(), "
                "best as .safetensors."
            ) from None
        raise WeightsMismatchError(
            f"{path}: not a readable file of weights ({type(error).__name__}: {error})."
        ) from error
    tensors = {key: _to_float32(value) for key, value in loaded.items()}
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsMismatchError(f"{path}: {key} has NaN or infinite values.")
    return tensors


def _read_safetensors(path):
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ImportError(
            "safetensors is needed to read this file. "
            'Install it with: pip install "sklearn-gauss[cnn]"'
        ) from error
    return load_file(path)


def _read_torch(path):
    return torch.load(path, weights_only=True, map_location="cpu")


def _unwrap(loaded):
    """Take the state dict out of a checkpoint, and the ``module.`` off its keys."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(map(torch.is_tensor, loaded.values())):
        raise TypeError("not a dictionary of tensors")
    if loaded and all(key.startswith("module.") for key in loaded):
        loaded = {key.removeprefix("module."): value for key, value in loaded.items()}
    return loaded


def _to_float32(tensor):
    return tensor.float() if tensor.is_floating_point() else tensor


def load_weights(module, path, needed):
    """Load a file into ``module``; keys of modules not in ``needed`` may differ.

    ``needed`` holds the names of the modules that the levels run through. Whatever else
    is missing, unexpected or of another shape is an error.
    """
    state = read_state_dict(path)
    own = module.state_dict()
    unused = {name for name, _ in module.named_modules() if name not in needed}
    problems = (
        _first("missing", sorted(_matter(own.keys() - state.keys(), unused))),
        _first("unexpected", sorted(_matter(state.keys() - own.keys(), unused))),
        _first("of another shape", _misshapen(own, state, unused)),
        _first("integers for real numbers", _rounded(own, state, unused)),
    )
    if any(problems):
        raise WeightsMismatchError(
            f"{path}: does not fit the backbone; "
            + "; ".join(problem for problem in problems if problem)
            + "."
        )
    fitting = {
        key: value
        for key, value in state.items()
        if key in own and own[key].shape == value.shape
    }
    module.load_state_dict(fitting, strict=False)


def _matter(keys, unused):
    """Leave out the counters of batch norms and the keys of unused modules."""
    return [
        key
        for key in keys
        if not key.endswith("num_batches_tracked") and not _below(key, unused)
    ]


def _below(key, unused):
    parts = key.split(".")
    return any(".".join(parts[:end]) in unused for end in range(1, len(parts)))


def _misshapen(own, state, unused):
    return [
        f"{key} (the backbone's {tuple(own[key].shape)}, the file's "
        f"{tuple(state[key].shape)})"
        for key in _matter(own.keys() & state.keys(), unused)
        if own[key].shape != state[key].shape
    ]


def _rounded(own, state, unused):
    """Keys of quantised weights, whose scale is not in the file."""
    return [
        key
        for key in _matter(own.keys() & state.keys(), unused)
        if own[key].is_floating_point() and not state[key].is_floating_point()
    ]


def _first(kind, keys):
    if not keys:
        return ""
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{kind}: {keys[0]}{more}"
