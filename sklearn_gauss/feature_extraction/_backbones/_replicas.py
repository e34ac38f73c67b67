"""Copies of a tapped network, so that several threads can run it at a time."""

import contextlib
import copy
import itertools
import os
import threading

from torch import nn  # noqa: TID253 - this room is imported lazily as a whole


class Replicas:
    """Copies of a tap, one for each entry of ``devices``, made when they are needed.

    The tap itself is never run: hooks hang on modules while they run. Copies on its
    device share its weights.
    """

    def __init__(self, tap, devices):
        self._tap = tap
        self.devices = tuple(devices)
        self._start()

    def _start(self):
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._unmade = list(reversed(self.devices))
        self._free = []

    @contextlib.contextmanager
    def borrow(self):
        """Lend a tap and its device, as soon as there is one that nobody runs."""
        if self._pid != os.getpid():  # forked, perhaps while others ran
            self._start()
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._unmade)
            if self._free:
                mine = self._free.pop()
            else:
                device = self._unmade[-1]
                mine = replicate(self._tap, device), device
                self._unmade.pop()
        try:
            yield mine
        finally:
            with self._changed:
                self._free.append(mine)
                self._changed.notify()


def replicate(tap, device):
    """Copy a tap onto a device; on its own device the copy shares the weights."""
    known = {}
    module = tap.module
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        moved = tensor.to(device)
        if moved is not tensor and isinstance(tensor, nn.Parameter):
            moved = nn.Parameter(moved, requires_grad=False)
        known[id(tensor)] = moved
    return copy.deepcopy(tap, known)
