"""``sklearn-gauss evaluate``: a folder in MVTec layout in, figures out."""

import json
import time
import warnings
from pathlib import Path

from sklearn_gauss._version import __version__
from sklearn_gauss.cli._figure import check_figure, draw_evaluation
from sklearn_gauss.cli._files import check_writable, warn_of_copies, write_whole
from sklearn_gauss.cli._measure import measure
from sklearn_gauss.cli._recipe import (
    Model,
    check_enough,
    extract,
    network_line,
    new_detector,
    new_extractor,
)
from sklearn_gauss.cli._report import write_report
from sklearn_gauss.cli._terminal import Terminal
from sklearn_gauss.datasets import load_inspection_folder


def run(args):
    """Run the command; returns the exit code."""
    folder = load_inspection_folder(args.folder)
    check_enough(folder.train, f"{args.folder}/train/good")
    inputs = [*folder.train, *folder.test, str(args.weights)]
    figure = find_figure(args, folder.name, inputs)
    warn_of_copies(folder.train)
    warn_of_copies(folder.test, seen=folder.train)
    record, *_ = evaluate(
        folder,
        new_extractor(args),
        path=args.folder,
        aggregate=args.aggregate,
        target_fpr=args.target_fpr,
        seed=args.seed,
        figure=figure,
    )
    terminal = Terminal()
    if args.format == "json":
        terminal.stream.write(json.dumps(record, indent=1, allow_nan=False) + "\n")
        return 0
    write_report(record, terminal)
    if figure is not None:
        terminal.line(f"figure: {figure}")
    return 0


def evaluate(folder, extractor, *, path, aggregate, target_fpr, seed, figure):
    """Fit on the training images of a folder and measure on its test images.

    Returns the record (plain numbers and text, for JSON) and the fitted model. A figure
    is written where ``figure`` is a path.
    """
    start = time.perf_counter()
    extractor.fit(folder.train)
    train = extract(extractor, folder.train, "training images")
    test = extract(extractor, folder.test, "test images")
    extracted = time.perf_counter()
    detector = new_detector(extractor, aggregate=aggregate, target_fpr=target_fpr)
    model = Model(extractor, detector.fit(train))
    fitted = time.perf_counter()
    figures, scores, p_values = measure(
        detector, train, test, folder.y_test, folder.defect, seed=seed
    )
    record = {"folder": str(path), "name": folder.name, **_about(extractor), **figures}
    record["skipped"] = len(folder.skipped)
    if figure is not None:
        drawn = draw_evaluation(record, model, folder, scores, p_values)
        kind = figure.suffix[1:].lower()
        write_whole(figure, lambda file: drawn.savefig(file, format=kind, dpi=110))
    end = time.perf_counter()
    record["seconds"] = {
        "features": round(extracted - start, 3),
        "fit": round(fitted - extracted, 3),
        "total": round(end - start, 3),
    }
    record["figure"] = None if figure is None else str(figure)
    return record, model


def _about(extractor):
    return {
        "version": __version__,
        "network": network_line(extractor),
        "backbone": extractor.backbone,
        "weights": extractor.weights,
        "weights_sha256": extractor.weights_sha256_,
        "levels": extractor.levels_,
        "n_features": extractor.n_features_out_,
    }


def find_figure(args, name, inputs=()):
    """Path of the figure, checked; None for none."""
    asked = getattr(args, "figure", None)
    if asked == "none":
        return None
    path = Path(asked or f"{name}-evaluation.png")
    try:
        check_figure(path)
    except ImportError as error:
        if asked is not None:
            raise
        warnings.warn(f"No figure is written. {error}", stacklevel=2)
        return None
    return check_writable(path, inputs=inputs)
