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
    Model,
    check_enough,
    extract,
    network_line,
    new_detector,
    new_extractor,
)
from sklearn_gauss.cli._terminal import Terminal


def run(args):
    """Run the command; returns the exit code."""
    start, terminal = time.perf_counter(), Terminal()
    import_skops()
    images, found = find_good_images(args.folder)
    output = check_writable(
        args.output, force=args.force, inputs=[*images, str(args.weights)]
    )
    check_enough(images, args.folder)
    extractor = new_extractor(args).fit(images)
    features = extract(extractor, images, "good images")
    detector = new_detector(
        extractor, aggregate=args.aggregate, target_fpr=args.target_fpr
    ).fit(features)
    warn_of_copies(images)
    save_model(Model(extractor, detector), output, n_images=len(images))
    terminal.line(f"{args.folder}: {found}")
    terminal.line(network_line(extractor))
    rate = f"a false-positive rate of {args.target_fpr:.3g}"
    if math.isinf(detector.offset_):
        terminal.line(f"nothing can be flagged: too few images for {rate}")
    else:
        terminal.line(f"threshold {detector.offset_:.6g} for {rate}")
    terminal.line(f"{output}: written, {time.perf_counter() - start:.1f} s", "bold")
    return 0
