"""The command line: its parser, and what becomes of errors and warnings."""

import argparse
import importlib
import os
import sys
import traceback
import warnings

from sklearn_gauss._version import __version__
from sklearn_gauss.cli import _options
from sklearn_gauss.cli._terminal import clean

EXIT_CODES = "0: done; score: all images are normal. 1: score found an anomaly. 2: error."
BROKEN_PIPE, INTERRUPTED = 141, 130  # as a shell counts them: 128 + the signal

#: (name, module, its options, one line of help, description) of every subcommand.
COMMANDS = (
    (
        "demo",
        "_demo",
        _options.add_demo,
        "draw a data set, and fit, evaluate and save a model",
        "Draw images of a product, good and defective, and do with them what the other "
        "commands do: offline, in less than a minute, with the bundled network.",
    ),
    (
        "evaluate",
        "_evaluate",
        _options.add_evaluate,
        "fit on the good images of a folder and measure on its test images",
        "Fit on FOLDER/train/good and measure on FOLDER/test: how well defects are "
        "found, and whether the false-positive rate is the one asked for.",
    ),
    (
        "fit",
        "_fit",
        _options.add_fit,
        "fit on good images and save the model",
        "Fit on good images and save a model for `sklearn-gauss score`. The file holds "
        "no weights of the network but their path and SHA-256; loading it runs no code.",
    ),
    (
        "score",
        "_score",
        _options.add_score,
        "score images with a saved model",
        "Score images: a line each with path, score (higher is more normal), p-value "
        "and verdict: normal, ANOMALY or error. Folders are read with their subfolders, "
        "in the order of the bytes of their names.",
    ),
)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        sys.stderr.write(f"sklearn-gauss: error: {clean(message)} (see {self.prog} -h)\n")
        raise SystemExit(2)


def build_parser():
    """Return the parser of the command and its subcommands."""
    parser = _Parser(
        prog="sklearn-gauss",
        description="Find defects in images with calibrated Gaussian anomaly detection.",
        epilog=f"Exit codes: {EXIT_CODES}",
    )
    parser.add_argument(
        "--version", action="version", version=f"sklearn-gauss {__version__}"
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for name, module, add_options, line, description in COMMANDS:
        command = commands.add_parser(
            name,
            help=line,
            description=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        add_options(command)
        command.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )
        command.set_defaults(module=module)
    return parser


def main(argv=None):
    """Run the command.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments; None takes those of the process.

    Returns
    -------
    code : int
        0 done (``score``: all normal), 1 ``score`` found an anomaly, 2 error.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as in 2>&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
    args = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        _show_warnings_as_lines()
        try:
            code = importlib.import_module(f"sklearn_gauss.cli.{args.module}").run(args)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            code = BROKEN_PIPE
        except KeyboardInterrupt:
            code = _fail("interrupted", INTERRUPTED)
        except Exception as error:  # whatever goes wrong is one line
            if "debug" in args:
                traceback.print_exc()
            code = _fail(_explain(error))
    return code


def _show_warnings_as_lines():
    """One line on stderr for each warning that a user of the command can act on."""
    seen = set()

    def show(message, category, filename, lineno, file=None, line=None):
        text = clean(" ".join(str(message).split()))
        if text not in seen:
            seen.add(text)
            sys.stderr.write(f"sklearn-gauss: warning: {text}\n")

    warnings.simplefilter("ignore")
    warnings.simplefilter("always", UserWarning)
    warnings.simplefilter("always", RuntimeWarning)
    warnings.showwarning = show


def _explain(error):
    """One line that says what was wrong."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, (ValueError, TypeError, OSError, RuntimeError, ImportError)):
        return " ".join(str(error).split()) or type(error).__name__
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)"


def _fail(message, code=2):
    sys.stderr.write(f"sklearn-gauss: error: {clean(message)}\n")
    return code


def _drop_output():
    """Let the interpreter's last flush of a closed pipe go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:  # a stdout without a file descriptor
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the end
