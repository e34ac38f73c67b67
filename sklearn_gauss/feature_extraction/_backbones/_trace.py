"""One traced forward pass: when each module ran, and what it put out."""

from dataclasses import dataclass

import torch  # noqa: TID253 - this room is imported lazily as a whole
from torch.nn.utils import parametrize  # noqa: TID253 - as above

# Images in a traced pass. One would not tell a batch from other leading dimensions.
BATCH = 2


@dataclass
class Call:
    """One module's part in a traced forward pass: when, how often, what came out."""

    start: int
    stop: int = 0
    times: int = 0
    shape: tuple | None = None


def only_tensor(output):
    """Return an output that is a tensor, or the only one in a tuple (with its grid)."""
    among = output if isinstance(output, tuple) else (output,)
    tensors = [item for item in among if torch.is_tensor(item)]
    return tensors[0] if len(tensors) == 1 else None


def trace(module, run):
    """Record when every submodule is called in ``run()``; returns {name: Call}.

    ``run`` passes ``BATCH`` images; a shape is kept where the output has as many rows.
    Parametrizations put out weights, and are left out.
    """
    calls, clock = {}, iter(range(10**9))

    def enter(name):
        def hook(_module, _inputs):
            calls.setdefault(name, Call(start=next(clock)))

        return hook

    def leave(name):
        def hook(_module, _inputs, output):
            call, tensor = calls[name], only_tensor(output)
            call.stop, call.times = next(clock), call.times + 1
            shape = () if tensor is None else tuple(tensor.shape)
            call.shape = shape if shape[:1] == (BATCH,) else None

        return hook

    hooks = []
    inside = _parametrizations(module)
    for name, inner in module.named_modules():
        if inner in inside:
            continue
        hooks.append(inner.register_forward_pre_hook(enter(name)))
        hooks.append(inner.register_forward_hook(leave(name)))
    try:
        with torch.inference_mode():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _parametrizations(module):
    lists = (
        part
        for part in module.modules()
        if isinstance(part, parametrize.ParametrizationList)
    )
    return {inner for part in lists for inner in part.modules()}


def needed_modules(module, calls, last):
    """Names of the modules that matter to levels complete at time ``last``.

    Those called before ``last``; uncalled ones inside a module that is complete by then
    (it may use their weights directly); and all that hold a needed one.
    """
    needed, complete = {""}, set()
    for name, _ in module.named_modules():
        parent = name.rpartition(".")[0]
        call = calls.get(name)
        if call is None:
            is_needed = is_complete = bool(name) and parent in complete
        else:
            is_needed, is_complete = call.start < last, call.stop <= last
        if is_needed:
            needed.add(name)
            complete |= {name} if is_complete else set()
    return needed | {up for name in needed for up in _ancestors(name)}


def _ancestors(name):
    while name:
        name = name.rpartition(".")[0]
        yield name
