"""Devices and precisions: what there is, and how a network is run on it."""

import contextlib

import torch  # noqa: TID253 - this room is imported lazily as a whole
from threadpoolctl import threadpool_limits

from sklearn_gauss.feature_extraction._lifecycle import Process

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

GPUS = ("cuda", "mps", "xpu")


def make_usable_after_fork():
    """Compute on one thread in a forked process.

    The threads of OpenMP are not forked, and a child of a process that had them waits
    for them for ever; on its own it needs none (torch's loaders do the same).
    """
    if Process.needs_one_thread:
        torch.set_num_threads(1)
        Process.needs_one_thread = False


def find_devices(device):
    """Return torch devices for ``"auto"``, the name of one or a list of names."""
    names = [device] if isinstance(device, str) else list(device)
    found = [_find_device(name, device) for name in names]
    if not found:
        raise ValueError("device is empty: name a device, or 'auto'.")
    if len({one.type for one in found}) > 1:
        raise ValueError(f"device={device!r} names devices of several kinds.")
    return found


def _find_device(name, device):
    if name == "auto":
        return torch.device(_best())
    try:
        found = torch.device(name)
        if found.type not in ("cpu", *GPUS):
            raise ValueError("not a kind of device that images can be run on")
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, ValueError, TypeError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error
    return found


def _best():
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_precision(precision, device):
    """Refuse arithmetic that a device does not have."""
    problem = None
    if precision == "float16" and device.type not in GPUS:
        problem = "is for GPUs; use 'bfloat16' or 'float32'"
    elif precision == "bfloat16" and device.type == "cuda":
        with torch.cuda.device(device):
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                problem = "is not known to this GPU; use 'float16' or 'float32'"
    if problem:
        raise ValueError(f"precision={precision!r} {problem} (device {str(device)!r}).")


@contextlib.contextmanager
def arithmetic(device, precision):
    """Autocast to a lower precision; repeatable, and no 10-bit TF32 for float32."""
    dtype = PRECISIONS[precision]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if dtype is not None:
            stack.enter_context(torch.autocast(device.type, dtype))
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=True, deterministic=True, benchmark=False, allow_tf32=False
                )
            )
        yield


def limit_cores(number):
    """Let the calling thread compute on a few cores: others like it run beside it.

    OpenMP keeps the number for every thread of Python by itself.
    """
    torch.get_num_threads()  # torch sets its own number at first use in a thread
    threadpool_limits(number, user_api="openmp")


def free_memory(device):
    """Hand back what torch keeps of a GPU's memory for later."""
    if device.type in GPUS:
        getattr(torch, device.type).empty_cache()
