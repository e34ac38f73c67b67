"""``sklearn-gauss fit``: good images in, a model file out."""

import time

from sklearn_gauss.cli._files import check_writable, find_good_images
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
    output = check_writable(args.output, force=args.force)
    images = find_good_images(args.folder)
    check_enough(images, args.folder)
    extractor = new_extractor(args).fit(images)
    features = extract(extractor, images, "good images")
    detector = new_detector(
        extractor, aggregate=args.aggregate, target_fpr=args.target_fpr
    ).fit(features)
    save_model(Model(extractor, detector), output, n_images=len(images))
    terminal.line(f"{args.folder}: {len(images)} good images")
    terminal.line(network_line(extractor))
    terminal.line(
        f"threshold {detector.offset_:.6g} for a false-positive rate of "
        f"{args.target_fpr:.3g}"
    )
    terminal.line(f"{output}: written, {time.perf_counter() - start:.1f} s", "bold")
    return 0
