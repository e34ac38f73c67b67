"""What a network is, as one hash: weights, structure, code and library versions."""

import hashlib
import itertools
import types
import weakref
from importlib.metadata import PackageNotFoundError, version

import torch  # noqa: TID253 - this room is imported lazily as a whole

from sklearn_gauss._version import __version__

# Their code is known by their versions; a newer one starts a cache anew.
_LIBRARIES = ("torch", "torchvision", "timm", "pillow")

_PLAIN = (bool, int, float, str, type(None))

_known = weakref.WeakKeyDictionary()


def network_key(network):
    """Hash of a `Network`: of its module, and of what is done before and after it."""
    steps = (
        type(network._tap).__name__,
        network.levels,
        network.pooling,
        network.pooling_seed,
        network.input_size,
        network.mean,
        network.std,
        network.precision,
        network.device.type,
    )
    text = f"{fingerprint(network._tap.module)} {steps}"
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(module):
    """SHA-256 of all that a module's output depends on, as far as it can be seen.

    Parameters and buffers with their names, plain attributes and classes of every part,
    and the byte code of classes that belong to no library.
    """
    if module not in _known:
        digest = hashlib.sha256()
        for text in itertools.chain(_versions(), _structure(module)):
            digest.update(text.encode() + b"\n")
        for name, tensor in _tensors(module):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy())
        _known[module] = digest.hexdigest()
    return _known[module]


def _versions():
    yield f"sklearn_gauss {__version__}"
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def _tensors(module):
    return itertools.chain(module.named_parameters(), module.named_buffers())


def _structure(module):
    for name, part in module.named_modules():
        kind = type(part)
        yield f"{name}: {kind.__module__}.{kind.__qualname__}"
        for key, value in sorted(vars(part).items()):
            if not key.startswith("_") and (text := _plain(value)) is not None:
                yield f"{key}={text}"
        for base in kind.__mro__:
            if base.__module__.partition(".")[0] not in (*_LIBRARIES, "builtins"):
                yield from _code_of_class(base)


def _plain(value):
    """Text of a value that is the same in every process, or None."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple | list):
        inner = [_plain(item) for item in value]
        return None if None in inner else str(inner)
    return getattr(value, "__qualname__", None)


def _code_of_class(kind):
    for name, member in sorted(vars(kind).items()):
        code = getattr(member, "__code__", None)
        if code is not None:
            yield f"{name}: {''.join(_code(code))}"


def _code(code):
    yield f"{code.co_code.hex()} {code.co_names} "
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        elif isinstance(constant, frozenset):  # in no order from process to process
            yield str(sorted(map(repr, constant)))
        else:
            yield repr(constant)
