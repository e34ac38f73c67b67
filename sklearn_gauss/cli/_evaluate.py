"""``sklearn-gauss evaluate``: a folder in MVTec layout in, figures out."""

import json
import time
import warnings
from functools import partial
from pathlib import Path

from sklearn_gauss._version import __version__
from sklearn_gauss.cli._figure import check_figure, draw_evaluation
from sklearn_gauss.cli._files import check_writable, warn_of_copies, write_whole
from sklearn_gauss.cli._measure import measure
from sklearn_gauss.cli._recipe import (
    check_enough,
    check_recipe,
    fit_model,
    in_chunks,
    network_line,
)
from sklearn_gauss.cli._report import write_report
from sklearn_gauss.cli._selection import selection_of
from sklearn_gauss.cli._terminal import Terminal
from sklearn_gauss.datasets import load_inspection_folder


def run(args):
    """Run the command; returns the exit code."""
    check_recipe(args)
    folder = load_inspection_folder(args.folder)
    check_enough(folder.train, f"{args.folder}/train/good", args.recipe)
    inputs = [*folder.train, *folder.test, str(args.weights)]
    figure = find_figure(args, folder.name, inputs)
    warn_of_copies(folder.train)
    warn_of_copies(folder.test, seen=folder.train)
    record, *_ = evaluate(
        folder,
        partial(fit_model, args),
        path=args.folder,
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


def evaluate(folder, fit, *, path, seed, figure):
    """Fit on the training images of a folder and measure on its test images.

    ``fit(images, what)`` returns a model; ``what`` names them for progress and errors.
    Returns the record (plain numbers and text, for JSON) and the fitted model. A figure
    is written where ``figure`` is a path.
    """
    start = time.perf_counter()
    model = fit(folder.train, "training images")
    fitted = time.perf_counter()
    scores = in_chunks(model.scores, model.extractors[0], folder.test, "test images")
    tested = time.perf_counter()
    p_values = model.p_values(scores)
    figures = measure(
        model.detector,
        scores,
        folder.y_test,
        folder.defect,
        train=model.features,
        seed=seed,
    )
    record = {"folder": str(path), "name": folder.name, **_about(model), **figures}
    record["skipped"] = len(folder.skipped)
    if figure is not None:
        drawn = draw_evaluation(record, model, folder, scores, p_values)
        kind = figure.suffix[1:].lower()
        write_whole(figure, lambda file: drawn.savefig(file, format=kind, dpi=110))
    end = time.perf_counter()
    record["seconds"] = {
        "fit": round(fitted - start, 3),
        "test": round(tested - fitted, 3),
        "total": round(end - start, 3),
    }
    record["figure"] = None if figure is None else str(figure)
    return record, model


def _about(model):
    extractor = model.extractors[0]
    pooled = model.recipe == "levels"
    return {
        "version": __version__,
        "recipe": model.recipe,
        "network": network_line(model),
        "backbone": extractor.backbone,
        "weights": extractor.weights,
        "weights_sha256": extractor.weights_sha256_,
        "levels": extractor.levels_,
        "n_features": extractor.n_features_out_ if pooled else None,
        "selection": selection_of(model),
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
