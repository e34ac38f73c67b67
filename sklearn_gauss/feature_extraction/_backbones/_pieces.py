"""What objects hold, for their hash: values, state and code, and what that refers to."""

import copyreg
import dis
import enum
import functools
import sys
import sysconfig
import types
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - this room is imported lazily as a whole

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = Path(sysconfig.get_path("stdlib"))
_ROOM = __name__.rpartition(".")[0]

_TENSORS = (torch.Tensor, torch.nn.Parameter)
_C_MEMBERS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_C_FUNCTIONS = (types.BuiltinFunctionType, types.MethodWrapperType)
_WRAPPERS = {
    property: ("fget", "fset"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools.cached_property: ("func",),
    type(functools.cache(len)): ("__wrapped__",),
    types.MethodType: ("__func__", "__self__"),
}
HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_PARTS = ("_parameters", "_buffers", "_modules")
_BOOKKEEPING = {*vars(torch.nn.Module())} - {"training", *_PARTS, *HOOKS}
# Of classes; what is said about them, or differs from process to process.
_ABOUT = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
    *("__firstlineno__", "__static_attributes__", "__dataclass_fields__"),
    *("__dataclass_params__", "__abstractmethods__", "_abc_impl"),
    *("__slotnames__", "__parameters__", "__orig_bases__", "_autograd_function_id"),
}
_STATE = {"__reduce__", "__reduce_ex__", "__getstate__"}


class CannotTellApart(Exception):
    """Raised with the path of an attribute that no hash can be made of."""


def pieces_of(value):
    """Bytes, and (label, object) of what an object holds.

    Raises `CannotTellApart` where that is unknown.
    """
    return _finder(value)(value)


def _finder(value):
    kind = type(value)
    if isinstance(value, torch.nn.Module):
        return _module
    if isinstance(value, torch.Tensor) and kind in _TENSORS:
        return _tensor
    if isinstance(value, np.generic) or kind in (np.ndarray, np.memmap):
        return _array
    if isinstance(value, type | enum.Enum):
        return _class if isinstance(value, type) else _member
    if isinstance(value, _C_MEMBERS):
        return _c_member
    if isinstance(value, _C_FUNCTIONS):
        return _c_function
    if kind in _WRAPPERS:
        return lambda wrapper: ((f".{n}", getattr(wrapper, n)) for n in _WRAPPERS[kind])
    by_type = {
        types.FunctionType: _function,
        types.CodeType: _code,
        types.CellType: _cell,
        types.ModuleType: _library,
        dict: _mapping,
        types.MappingProxyType: _mapping,
        list: _sequence,
        tuple: _sequence,
    }
    return by_type.get(kind, _object)


def _module(value):
    yield "", type(value)
    for name, held in sorted(vars(value).items()):
        if name in _PARTS:
            yield from ((f".{key}", part) for key, part in list(held.items()))
        elif name in HOOKS:
            kwargs = getattr(value, f"{name}_with_kwargs", {})
            for key, hook in hooks_of(held):
                yield f".{name}", (hook, key in kwargs)
        elif name not in _BOOKKEEPING:
            yield f".{name}", held
    for name in copyreg._slotnames(type(value)):
        yield f".{name}", getattr(value, name, None)


def hooks_of(held):
    """Hooks with their keys, but for those that a tap hung up for a forward pass."""
    return [
        (key, hook)
        for key, hook in list(held.items())
        if not (getattr(hook, "__module__", None) or "").startswith(_ROOM)
    ]


def _tensor(value):
    try:
        flat = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy()
    except Exception:  # quantised, sparse, without values
        raise CannotTellApart from None
    yield f"{value.dtype} {tuple(value.shape)}\n".encode()
    yield data
    yield ".__dict__", {**vars(value)}


def _array(value):
    array = np.asarray(value)
    yield f"{array.dtype.descr} {array.shape}\n".encode()
    if array.dtype.hasobject:
        yield "", array.tolist()
    else:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _mapping(value):
    for key, held in list(value.items()):
        yield "", key
        yield f"[{key!r}]" if isinstance(key, str) else "", held


def _sequence(value):
    yield from ((f"[{place}]", held) for place, held in enumerate(value))


def _class(kind):
    yield f"{kind.__module__}.{kind.__qualname__}\n".encode()
    is_static = not kind.__flags__ & 1 << 9  # made by C code, not by a class statement
    if is_static or _is_found(kind):
        yield "", _version_of(kind.__module__)
        return
    yield from (("", base) for base in (type(kind), *kind.__bases__))
    for name, member in sorted(vars(kind).items()):
        if name not in _ABOUT:
            yield f".{name}", member


def _member(value):
    yield "", (type(value), value.name, value.value)


def _c_member(value):
    yield f"{value.__name__}\n".encode()


def _c_function(value):
    yield f"{value.__module__} {value.__qualname__}\n".encode()
    owner = getattr(value, "__self__", None)
    if not isinstance(owner, types.ModuleType):
        yield "", owner


def _library(value):
    if _version_of(value.__name__) is None:
        raise CannotTellApart
    yield f"{value.__name__} {_version_of(value.__name__)}\n".encode()


def _cell(value):
    try:
        yield "", value.cell_contents
    except ValueError:
        yield b"empty"


def _function(value):
    if _is_found(value):
        name = f"{value.__module__}.{value.__qualname__}"
        yield f"{name} {_version_of(value.__module__)}\n".encode()
        return
    code = value.__code__
    yield "", code
    yield "", value.__defaults__
    yield "", value.__kwdefaults__
    for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
        yield f".{name}", cell
    yield from ((f".{name}", held) for name, held in sorted(vars(value).items()))
    if _version_of(value.__globals__.get("__name__", "")) is None:
        yield from _globals(code, value.__globals__)


def _globals(code, names):
    """What a function of nobody's library takes from its module and others."""
    codes = [code]
    for code in codes:
        codes += [held for held in code.co_consts if isinstance(held, types.CodeType)]
    attributes = {name for code in codes for name in code.co_names}
    for code in codes:
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in names:
                yield from _named(step.argval, names[step.argval], attributes, set())
            elif step.opname == "IMPORT_NAME" and step.argval in sys.modules:
                held = sys.modules[step.argval]
                yield from _named(step.argval, held, attributes, set())


def _named(name, value, attributes, seen):
    """Take of a module that is nobody's library what is asked of it."""
    if not isinstance(value, types.ModuleType) or _version_of(value.__name__):
        yield f".{name}", value
    elif value.__name__ not in seen:
        seen.add(value.__name__)
        for inner in sorted(attributes & vars(value).keys()):
            yield from _named(f"{name}.{inner}", vars(value)[inner], attributes, seen)


def _code(value):
    yield value.co_code
    yield value.co_exceptiontable
    yield "", (value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
    counts = value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount
    yield "", (*counts, value.co_flags, value.co_consts)


def _object(value):
    """Class and state, as for pickling: C code without a known state raises there."""
    kind = type(value)
    yield "", kind
    own = [base for base in kind.__mro__ if _version_of(base.__module__) is None]
    if any(_STATE & vars(base).keys() for base in own):  # may leave something out
        raise CannotTellApart
    try:
        reduced = copyreg.dispatch_table.get(kind, lambda held: held.__reduce_ex__(4))
        state = reduced(value)
    except Exception:  # whatever objects raise that cannot be pickled
        raise CannotTellApart from None
    if isinstance(state, str):
        yield state.encode()
        return
    build, arguments, *rest = state
    yield "", (build, arguments)
    for held in rest:
        if isinstance(held, dict):
            yield from ((f".{name}", inner) for name, inner in sorted(held.items()))
        else:
            yield "", list(held) if hasattr(held, "__next__") else held


def _is_found(value):
    """Whether a class or function is what its name says in a library."""
    if _version_of(value.__module__ or "") is None:
        return False
    found = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _version_of(name):
    """Version of the library that a module belongs to, None for anything else."""
    return _version_of_root(name.partition(".")[0])


@functools.cache
def _version_of_root(root):
    if root == "builtins":
        return "builtins"
    places = getattr(sys.modules.get(root), "__spec__", None)
    origin = getattr(places, "origin", None) or ""
    if root in sys.stdlib_module_names:
        is_in_c = origin in ("built-in", "frozen")
        return "python" if is_in_c or _STANDARD in Path(origin).parents else None
    if not any(folder in Path(origin).parts for folder in _INSTALLED):
        return None
    try:
        return version(root)
    except PackageNotFoundError:
        names = packages_distributions().get(root, ())
    return " ".join(f"{name} {version(name)}" for name in sorted(names)) or None
