"""``sklearn-gauss fit``: good images in, a model file out."""

import math
import time

from sklearn_gauss.cli._files import (
    check_writable,
    find_good_images,
    warn_of_copies,
)
from sklearn_gauss.cli._model_file import import_skops, save_model
from sklearn_gauss.cli._recipe import (
    check_enough,
    check_recipe,
    fit_model,
    network_line,
)
from sklearn_gauss.cli._selection import selection_lines, selection_of
from sklearn_gauss.cli._terminal import Terminal


def run(args):
    """Run the command; returns the exit code."""
    start, terminal = time.perf_counter(), Terminal()
    check_recipe(args)
    import_skops()
    images, found = find_good_images(args.folder)
    output = check_writable(
        args.output, force=args.force, inputs=[*images, str(args.weights)]
    )
    check_enough(images, args.folder, args.recipe)
    model = fit_model(args, images, "good images")
    warn_of_copies(images)
    save_model(model, output, n_images=len(images))
    terminal.line(f"{args.folder}: {found}")
    terminal.line(network_line(model))
    selection = selection_of(model)
    for line in selection_lines(selection) if selection else ():
        terminal.line(line)
    rate = f"a false-positive rate of {args.target_fpr:.3g}"
    threshold = model.detector.offset_
    if math.isinf(threshold):
        terminal.line(f"nothing can be flagged: too few images for {rate}")
    else:
        terminal.line(f"threshold {threshold:.6g} for {rate}")
    terminal.line(f"{output}: written, {time.perf_counter() - start:.1f} s", "bold")
    return 0
