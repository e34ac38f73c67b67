"""Less at a time when a device's memory does not hold a batch."""

import numpy as np

__all__ = ["Backoff"]

# What torch's allocators say, in its several kinds of RuntimeError.
_MESSAGES = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error):
    """Whether an error says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _MESSAGES)


class Backoff:
    """Runs batches whole, or in parts as small as memory asked for so far.

    Attributes
    ----------
    limit : int or None
        Images that fit; None as long as every batch did.
    """

    def __init__(self, network):
        self.network = network
        self.limit = None

    def __call__(self, pixels):
        """Features of a batch of images, in their order."""
        rows, done = [], 0
        while done < len(pixels):
            part = pixels[done : done + (self.limit or len(pixels))]
            found = self._try(part)
            if found is not None:
                rows.append(found)
                done += len(part)
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _try(self, part):
        """Features of images, or None where they do not fit: the limit is lower then."""
        try:
            return self.network.features(part)
        except Exception as error:  # those of memory are of many kinds
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        # The traceback, gone by now, held on to the memory.
        if len(part) == 1:
            height, width = part.shape[1:3]
            raise MemoryError(
                f"a single image does not fit into memory (batch_size 1, input_size "
                f"{height} x {width}): {reason}. A smaller input_size may fit."
            )
        self.limit = min(self.limit or len(part), len(part) // 2)
        getattr(self.network, "free_memory", lambda: None)()
        return None
