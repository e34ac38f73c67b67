"""``sklearn-gauss demo``: the whole job on images that the package draws."""

import json
import shlex
from functools import partial
from pathlib import Path

from sklearn_gauss._version import __version__
from sklearn_gauss.cli._evaluate import evaluate
from sklearn_gauss.cli._figure import check_figure
from sklearn_gauss.cli._files import write_whole
from sklearn_gauss.cli._model_file import import_skops, save_model
from sklearn_gauss.cli._recipe import fit_inspector
from sklearn_gauss.cli._report import write_report
from sklearn_gauss.cli._terminal import Terminal
from sklearn_gauss.datasets import (
    load_inspection_folder,
    make_inspection_images,
    save_inspection_folder,
)

MARK = "sklearn-gauss-demo.json"
COUNTS = {"n_train": 100, "n_good": 60, "n_defect": 60}
TARGET_FPR = 0.05
BACKBONE = "noisenet"
# Less than the defaults: a minute is long for a first look.
EFFORT = {"n_per_image": 1, "cv": 3}


def run(args):
    """Run the command; returns the exit code."""
    terminal, root = Terminal(), Path(args.output)
    import_skops()
    check_figure(root / "demo.png")
    _claim(root, args)
    terminal.line(f"1. Drawing images of kind '{args.kind}' to {root / 'images'}", "bold")
    drawn = make_inspection_images(args.kind, random_state=args.seed, **COUNTS)
    save_inspection_folder(drawn, root / "images", overwrite=True)
    folder = load_inspection_folder(root / "images")
    folder.name = f"Drawn images of kind {args.kind}"
    terminal.line("2. Fitting on train/good, measuring on test", "bold")
    record, model = _evaluate(folder, root, args)
    save_model(model, root / "model.skops", n_images=len(folder.train))
    terminal.line()
    write_report(record, terminal)
    _say_what_is_there(terminal, root)
    _say_what_is_next(terminal, root, folder)
    return 0


def _claim(root, args):
    """Take a folder that is new, empty or of an earlier demo; refuse any other."""
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root}: not a folder.")
    mark = root / MARK
    if root.exists() and any(root.iterdir()) and not mark.is_file():
        raise ValueError(
            f"{root}: is not empty and not of an earlier demo; choose another --output."
        )
    root.mkdir(parents=True, exist_ok=True)
    made = {"version": __version__, "kind": args.kind, "seed": args.seed}
    write_whole(mark, lambda file: file.write(json.dumps(made).encode()))


def _evaluate(folder, root, args):
    network = {"backbone": BACKBONE, "random_state": args.seed}
    fit = partial(fit_inspector, network=network, target_fpr=TARGET_FPR, **EFFORT)
    return evaluate(
        folder,
        fit,
        path=root / "images",
        seed=args.seed,
        figure=root / "demo.png",
    )


def _say_what_is_there(terminal, root):
    terminal.line()
    terminal.line("3. What is there now", "bold")
    for name, what in (
        ("demo.png", "scores, false-positive rates, images and their p-values"),
        ("model.skops", "the fitted model"),
        ("images", "the data set, in MVTec layout"),
    ):
        terminal.line(f"   {root / name}: {what}")
    terminal.line()
    terminal.line(
        "The network came with the package; it was trained on drawn images alone. One "
        "trained on photographs finds more on most products; the false-positive rate "
        "does not depend on it."
    )


def _say_what_is_next(terminal, root, folder):
    bad = next(p for p, y in zip(folder.test, folder.y_test, strict=True) if y == -1)
    images, model = (shlex.quote(str(root / name)) for name in ("images", "model.skops"))
    terminal.line()
    terminal.line("4. What to try next", "bold")
    for comment, command in (
        ("score a defective image", f"score {model} {shlex.quote(bad)}"),
        (
            "score good ones, as CSV",
            f"score {model} {shlex.quote(str(root / 'images/test/good'))} --format csv",
        ),
        (
            "a network trained on photographs (downloads its weights)",
            f"evaluate {images} --backbone torchvision/squeezenet1_1",
        ),
        ("your own images", "evaluate path/to/folder"),
    ):
        terminal.line(f"   # {comment}")
        terminal.line(f"   sklearn-gauss {command}", "cyan")
