"""Output: in colour on a terminal, plain text anywhere else."""

import sys
import unicodedata


def clean(text):
    """Return one printable line: control characters and the like are escaped."""
    return "".join(
        c if unicodedata.category(c)[0] != "C" else _escape(c) for c in str(text)
    )


def _escape(character):
    return character.encode("unicode_escape").decode("ascii")


class Terminal:
    """Lines and tables for a stream; rich draws them where the stream is a terminal."""

    def __init__(self, stream=None):
        self.stream = sys.stdout if stream is None else stream
        self._console = _console(self.stream)
        if hasattr(self.stream, "reconfigure"):
            # A name that the terminal's encoding lacks must not end the run.
            self.stream.reconfigure(errors="backslashreplace")

    def line(self, text="", style=None):
        """Print one line; ``style`` is rich's and has no effect in plain text."""
        if self._console is None:
            self.stream.write(f"{clean(text)}\n")
            return
        from rich.text import Text

        self._console.print(Text(clean(text), style=style or ""), soft_wrap=True)

    def table(self, header, rows):
        """Print a table: the first column to the left, the others to the right."""
        rows = [[clean(cell) for cell in row] for row in rows]
        if self._console is None:
            self._plain_table([list(header), *rows])
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for place, name in enumerate(header):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def _plain_table(self, rows):
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            first = row[0].ljust(widths[0])
            others = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
            self.stream.write("  ".join([first, *others]).rstrip() + "\n")


def _console(stream):
    if not stream.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, highlight=False)


def has_bars():
    """Whether bars of progress can be drawn: on a terminal, by rich."""
    if not sys.stderr.isatty():
        return False
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return False
    return True


def progress(total, what):
    """Return a function to call with the count done: a bar, on a terminal only."""
    if not sys.stderr.isatty():
        return lambda done: None

    def show(done):
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{what}: {done} of {total} images{end}")
        sys.stderr.flush()

    return show
