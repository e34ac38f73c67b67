"""The options of the subcommands, and the checks of their values."""

import argparse
import math

# Names only: the package's rooms are not imported before a command runs.
AGGREGATES = ("sum", "mean", "max", "log_density")
POOLINGS = ("avg", "max", "moments", "second_moments")
COMBINES = ("stacked", "best", "sum")
KINDS = ("fabric", "tile", "wood", "metal", "washer", "gear", "bolt", "board")


def fraction(text):
    """Return a number between 0 and 1, both excluded."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def channels(text):
    """Return three numbers for RGB, from one or three separated by commas."""
    values = [_number(part) for part in text.split(",")]
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is not one or three finite numbers")
    return values * (3 // len(values))


def levels(text):
    """Return "all", or names and numbers of levels separated by commas."""
    if text == "all":
        return text
    parts = [part.strip() for part in text.split(",")]
    return [int(p) if p.removeprefix("-").isdecimal() else p for p in parts]


def weights(text):
    """Return "default", a path, or None for "none"."""
    return None if text == "none" else text


def positive(text):
    """Return an int of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def positive_or_auto(text):
    """Return "auto" or an int of at least 1."""
    return text if text == "auto" else positive(text)


def seed(text):
    """Return an int of at least 0."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to 2**32-1")
    return int(text)


def _number(text):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def add_evaluate(parser):
    """Add the options of ``evaluate``."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="folder in MVTec layout: train/good, test/good and a test/DEFECT for each "
        "kind of defect",
    )
    _add_network(parser)
    _add_detector(parser)
    parser.add_argument(
        "--figure",
        metavar="FILE",
        help="where to write the figure, or 'none' (default: NAME-evaluation.png in the "
        "working directory, NAME being the folder's)",
        default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="of what is printed"
    )


def add_fit(parser):
    """Add the options of ``fit``."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="folder in MVTec layout, whose train/good is used, or any folder of good "
        "images, read with its subfolders",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        default=argparse.SUPPRESS,
        help="the model to write, such as model.skops",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the model")
    _add_network(parser)
    _add_detector(parser)


def add_score(parser):
    """Add the options of ``score``."""
    parser.add_argument("model", metavar="MODEL", help="a model written by fit")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="images, or folders of images"
    )
    parser.add_argument(
        "--format", choices=("text", "csv", "json"), default="text", help="of the lines"
    )
    parser.add_argument(
        "--target-fpr",
        type=fraction,
        default=argparse.SUPPRESS,
        help="share of normal images that may be flagged (default: the model's)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="write the lines to a file (default: print them)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="where the weights are now, if they moved since the fit; their SHA-256 is "
        "checked",
    )
    _add_machine(parser)


def add_demo(parser):
    """Add the options of ``demo``."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="sklearn-gauss-demo",
        help="folder to write to: new, empty or of an earlier demo",
    )
    parser.add_argument(
        "--kind", choices=KINDS, default="metal", help="the product to draw"
    )
    _add_seed(parser, "of the images and folds")


def _add_network(parser):
    group = parser.add_argument_group("network")
    group.add_argument(
        "--backbone",
        metavar="NAME",
        default="noisenet",
        help="'noisenet' (bundled), torchvision/NAME or timm/NAME",
    )
    group.add_argument(
        "--weights",
        type=weights,
        metavar="FILE",
        default="default",
        help="a local .safetensors or state dict; 'default': the bundled ones, or the "
        "library's own (downloaded at first use); 'none': random",
    )
    _add_input(group)
    _add_machine(parser)


def _add_input(group):
    for name in ("mean", "std"):
        group.add_argument(
            f"--{name}",
            type=channels,
            metavar="X[,X,X]",
            default=argparse.SUPPRESS,
            help=f"{name} of the channels of images in [0, 1], one for all or three "
            "(default: the backbone's own)",
        )
    group.add_argument(
        "--input-size",
        type=positive,
        metavar="N",
        default=argparse.SUPPRESS,
        help="side of the images the network sees (default: the backbone's own)",
    )


def _add_machine(parser):
    group = parser.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="'auto', 'cpu', 'cuda', ...")
    group.add_argument(
        "--batch-size",
        type=positive_or_auto,
        metavar="N",
        default="auto",
        help="images in a forward pass",
    )


def _add_detector(parser):
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--target-fpr",
        type=fraction,
        default=0.05,
        help="share of unseen normal images that may be flagged",
    )
    group.add_argument(
        "--recipe",
        choices=("inspector", "levels"),
        default="inspector",
        help="'inspector': several detectors, chosen and weighed by defects drawn onto "
        "the good images; 'levels': one Gaussian for each level of the network",
    )
    group.add_argument(
        "--combine",
        choices=COMBINES,
        default=argparse.SUPPRESS,
        help="of the inspector's scores: weights learned from the drawn defects, the "
        "score that finds most of them, or a sum (default: stacked)",
    )
    _add_seed(group, "of drawn defects, projections, random weights and folds")
    _add_levels(parser)


def _add_levels(parser):
    group = parser.add_argument_group("with --recipe levels alone")
    group.add_argument(
        "--levels",
        type=levels,
        metavar="A,B,...",
        default=argparse.SUPPRESS,
        help="levels to use, by name or number (write --levels=-1 for the last; "
        "default: all)",
    )
    group.add_argument(
        "--pooling",
        choices=POOLINGS,
        default=argparse.SUPPRESS,
        help="of a channel over its map (default: avg)",
    )
    group.add_argument(
        "--aggregate",
        choices=AGGREGATES,
        default=argparse.SUPPRESS,
        help="of the levels' scores (default: sum)",
    )


def _add_seed(parser, what):
    parser.add_argument("--seed", type=seed, metavar="N", default=0, help=what)
