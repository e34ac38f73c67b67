"""What a network is, as one hash: weights, structure, code and library versions.

Objects are hashed by all they hold: tensors by their bytes, functions by their code and
what it refers to, classes by their bodies. Code of the standard library and of installed
packages is known by its name and version. What cannot be told apart so is refused: to
extract again is harmless, to read another network's features is not.
"""

import hashlib
import platform
import weakref
from importlib.metadata import PackageNotFoundError, version

import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch.nn.modules import module as torch_module  # noqa: TID253 - as above

from sklearn_gauss._version import __version__
from sklearn_gauss.feature_extraction._backbones._pieces import (  # noqa: TID253 - its own room
    HOOKS,
    CannotTellApart,
    hooks_of,
    pieces_of,
)

__all__ = ["CannotTellApart", "fingerprint", "network_key"]

_LIBRARIES = ("torch", "torchvision", "timm", "pillow")
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_BY_REPR = (torch.dtype, torch.device, torch.layout, torch.memory_format)

_known = weakref.WeakKeyDictionary()


def network_key(network):
    """Hash of a `Network`: of its module, and of what is done before and after it.

    Raises `CannotTellApart` for a module of the user's own that cannot be hashed.
    """
    steps = (
        type(network._tap).__name__,
        network.levels,
        network.channels,
        network.pooling,
        network.pooling_seed,
        network.output_shape,
        network.input_size,
        network.mean,
        network.std,
        network.precision,
        network.device.type,
    )
    by_name = isinstance(network.spec.backbone, str)
    text = f"{fingerprint(network._tap.module, strict=not by_name)} {steps}"
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(module, *, strict=True):
    """SHA-256 of all that a module's output depends on.

    Unless ``strict``, what cannot be hashed counts by its type alone: for networks that
    a library builds from a name.
    """
    if module not in _known:
        everywhere = [vars(torch_module)[f"_global{name}"] for name in HOOKS]
        hooks = [hook for held in everywhere for _, hook in hooks_of(held)]
        try:
            walk = _Walk(strict)
            inside = walk.hash(module, ""), walk.hash(hooks, "global hooks")
        except RecursionError:
            raise CannotTellApart(type(module).__name__) from None
        text = "\n".join((*_versions(), *inside))
        _known[module] = hashlib.sha256(text.encode()).hexdigest()
    return _known[module]


def _versions():
    yield f"sklearn_gauss {__version__}"
    yield f"python {platform.python_version()}"
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


class _Walk:
    """Hashes objects by what they hold, each once."""

    def __init__(self, strict):
        self.strict = strict
        self.done = {}  # by id: (object, hash); objects are kept, as no id returns
        self.within = {}  # by id: depth

    def hash(self, value, path):
        """Hash of an object; ``path`` says where it was found."""
        if type(value) in _PLAIN or isinstance(value, _BY_REPR):
            return f"{type(value).__name__} {value!r}"
        if id(value) in self.done:
            return self.done[id(value)][1]
        if id(value) in self.within:
            return f"up {len(self.within) - self.within[id(value)]}"
        self.within[id(value)] = len(self.within)
        digest = hashlib.sha256()
        for piece in self._pieces(value, path):
            if isinstance(piece, tuple):
                label, inner = piece
                piece = f"{label} {self.hash(inner, path + label)}\n".encode()
            digest.update(piece)
        del self.within[id(value)]
        self.done[id(value)] = value, digest.hexdigest()
        return self.done[id(value)][1]

    def _pieces(self, value, path):
        """Bytes, and (label, object) of what belongs to a value."""
        kind = type(value)
        yield f"{kind.__module__}.{kind.__qualname__}\n".encode()
        if isinstance(value, set | frozenset) and kind in (set, frozenset):
            yield "".join(sorted(self.hash(item, path) for item in value)).encode()
            return
        try:
            yield from pieces_of(value)
        except CannotTellApart:
            if self.strict:
                raise CannotTellApart(path.strip(".") or kind.__name__) from None
