"""``sklearn-gauss score``: a line for every image."""

import contextlib
import csv
import json
import os
import sys
import warnings
from dataclasses import asdict, dataclass

import numpy as np

from sklearn_gauss.cli._files import check_writable, find_images
from sklearn_gauss.cli._model_file import load_model
from sklearn_gauss.cli._recipe import CHUNK
from sklearn_gauss.cli._terminal import Terminal, clean, progress
from sklearn_gauss.exceptions import CalibrationWarning, ImageReadError

NORMAL, ANOMALY, ERROR = "normal", "ANOMALY", "error"
STYLES = {NORMAL: "green", ANOMALY: "bold red", ERROR: "bold yellow"}


@dataclass
class Row:
    """One image; ``reason`` says why it has no score."""

    path: str
    score: float | None = None
    p_value: float | None = None
    verdict: str = ERROR
    reason: str = ""


def run(args):
    """Run the command; returns the exit code."""
    output = getattr(args, "output", None)
    if output is not None:
        check_writable(output)
    given = list(_find(args.images))
    if output is not None:
        _check_not_input(output, [args.model, *(row.path for row in given)])
    model, facts = load_model(
        args.model,
        weights=getattr(args, "weights", None),
        device=args.device,
        batch_size=args.batch_size,
    )
    target = getattr(args, "target_fpr", facts["target_fpr"])
    _warn_if_uncertain(model.detector, target)
    rows = _score_all(model, given, target)
    with _open(output, args.format) as stream:
        width = max((len(clean(row.path)) for row in given), default=0)
        count = WRITERS[args.format](rows, stream, min(width, 60))
    return _exit_code(count, output)


def _find(images):
    """A row for every image, and for what cannot be listed one that says so."""
    for path in images:
        if not os.path.isdir(path):
            yield Row(path)
            continue
        try:
            found, others = find_images(path)
        except OSError as error:
            yield Row(path, reason=f"cannot be listed ({error.strerror})")
            continue
        if not found:
            yield Row(path, reason=f"no image in the folder ({others} other files)")
        elif others:
            what = "file has" if others == 1 else "files have"
            warnings.warn(
                f"{path}: {others} {what} no extension of an image and no line.",
                stacklevel=2,
            )
        yield from map(Row, found)


def _check_not_input(output, paths):
    for path in paths:
        with contextlib.suppress(OSError):
            if os.path.samefile(output, path):
                raise ValueError(f"{output}: is an input and would be overwritten.")


def _warn_if_uncertain(detector, target):
    count = len(detector.calibration_scores_)
    if target * (count + 1) < 1 - 1e-9:
        warnings.warn(
            f"{count} training images cannot certify a false-positive rate of "
            f"{target:g}: at least {int(np.ceil(1 / target - 1e-9)) - 1} are needed. "
            "Nothing will be flagged.",
            CalibrationWarning,
            stacklevel=2,
        )


def _score_all(model, rows, target):
    """The rows, scored in chunks, in their order."""
    report = progress(len(rows), "scored") if not sys.stdout.isatty() else None
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        _score(model, [row for row in chunk if not row.reason], target)
        if report:
            report(start + len(chunk))
        yield from chunk


def _score(model, rows, target):
    """Fill in the rows; an image that cannot be read gets a reason."""
    if not rows:
        return
    scores = _scores(model, rows)
    for row, score, p_value in zip(rows, scores, model.p_values(scores), strict=True):
        if row.reason:
            continue
        # Conformal: flagging p <= target is the threshold of the fit, for any target.
        flagged = p_value <= target * (1 + 1e-9)
        row.score, row.p_value = float(score), float(p_value)
        row.verdict = ANOMALY if flagged else NORMAL


def _scores(model, rows):
    """Scores of the rows, 0 for an image that has none."""
    try:
        return model.scores([row.path for row in rows])
    except ImageReadError:
        return _scores_of_readable(model, rows)
    except ValueError:  # of some image, of which it is not known
        return np.array([_attempt(model.scores, row) for row in rows])


def _scores_of_readable(model, rows):
    """Find what cannot be read with one extractor alone, and score the others at once."""
    for row in rows:
        _attempt(model.extractors[0].transform, row)
    readable = [row for row in rows if not row.reason]
    if len(readable) == len(rows):  # what could not be read can be now, or can at times
        return np.array([_attempt(model.scores, row) for row in rows])
    scores = np.zeros(len(rows))
    if readable:
        scores[[not row.reason for row in rows]] = _scores(model, readable)
    return scores


def _attempt(run, row):
    """What ``run`` makes of an image; 0, and a reason in its row, where it cannot."""
    try:
        return run([row.path])[0]
    except ImageReadError as error:
        row.reason = str(error).removeprefix(f"{row.path}: ")
    except ValueError as error:  # features that are not finite, say
        row.reason = " ".join(str(error).split())
    return 0.0


@contextlib.contextmanager
def _open(output, form):
    """The stream to write to. Names of files keep their bytes, as UTF-8 has them."""
    if output is not None:
        with open(
            output, "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            yield file
        return
    if form == "csv" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    yield sys.stdout


def _write_text(rows, stream, width):
    terminal, count = Terminal(stream), dict.fromkeys(STYLES, 0)
    for row in rows:
        count[row.verdict] += 1
        if row.verdict == ERROR:
            values = f"{'-':>12}  {'-':>8}  {ERROR}: {row.reason}"
        else:
            values = f"{row.score:>12.6g}  {row.p_value:>8.4g}  {row.verdict}"
        terminal.line(f"{clean(row.path):<{width}}  {values}", STYLES[row.verdict])
    return count


def _write_csv(rows, stream, width):
    count = dict.fromkeys(STYLES, 0)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "score", "p_value", "verdict", "reason"])
    for row in rows:
        count[row.verdict] += 1
        writer.writerow(asdict(row).values())
    return count


def _write_json(rows, stream, width):
    rows = list(rows)
    # Pure ASCII: right in any encoding, and for names that are no text.
    json.dump([asdict(row) for row in rows], stream, indent=1, allow_nan=False)
    stream.write("\n")
    return {verdict: sum(row.verdict == verdict for row in rows) for verdict in STYLES}


WRITERS = {"text": _write_text, "csv": _write_csv, "json": _write_json}


def _exit_code(count, output):
    if output is not None:
        Terminal().line(
            f"{output}: {sum(count.values())} images, {count[NORMAL]} normal, "
            f"{count[ANOMALY]} anomalies, {count[ERROR]} errors"
        )
    if count[ERROR]:
        sys.stderr.write(
            f"sklearn-gauss: error: {count[ERROR]} of {sum(count.values())} images could "
            "not be scored\n"
        )
        return 2
    return 1 if count[ANOMALY] else 0
