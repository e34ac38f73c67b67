"""Progress of long work: a bar on a terminal, else a line for each tenth."""

import contextlib
import sys

__all__ = ["progress"]


@contextlib.contextmanager
def progress(total, verbose):
    """Give a function to call with the number of images done so far.

    On a terminal it moves a bar (of rich, of the ``cli`` extra) on the standard error;
    elsewhere, and without rich, it prints lines. It does nothing unless ``verbose``.
    """
    console = _terminal() if verbose else None
    if not verbose:
        yield lambda done: None
    elif console is None:
        yield _Lines(total)
    else:
        with _bar(console) as bar:
            task = bar.add_task("CNNFeatureExtractor", total=total)
            yield lambda done: bar.update(task, completed=done)


def _terminal():
    """Return rich's console on the standard error if it is a terminal, else None."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return None
    return Console(stderr=True)


def _bar(console):
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = Progress.get_default_columns()[:2]
    return Progress(
        *columns, MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


class _Lines:
    def __init__(self, total):
        self.total = total
        self.tenths = 0

    def __call__(self, done):
        if 10 * done // self.total > self.tenths:
            self.tenths = 10 * done // self.total
            print(f"[CNNFeatureExtractor] {done} of {self.total} images")
