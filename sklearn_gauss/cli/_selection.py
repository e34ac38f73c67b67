"""What an inspector chose, and why: as plain numbers, and as a few lines of text."""

import math

SHOWN = 5  # scores that the text lists


def selection_of(model):
    """Numbers, lists and dicts about the choice; None for a model that chose nothing."""
    if model.recipe != "inspector":
        return None
    found = model.estimator.selection_
    return {
        "combine": model.estimator.combine,
        "best": found.best,
        "scores": list(found.scores),
        "kinds": list(found.kinds),
        "mean_auroc": _plain(found.mean_auroc.tolist()),
        "auroc": _plain(found.auroc.tolist()),
        "weights": _plain(dict(found.weights)),
        "held_out_auroc": _plain(dict(found.held_out_auroc)),
    }


def selection_lines(selection):
    """The best scores, and each way to combine them, in three lines."""
    aurocs = selection["mean_auroc"]
    order = sorted(range(len(aurocs)), key=lambda place: -(aurocs[place] or 0))
    best, *others = (
        f"{selection['scores'][place]} {_number(aurocs[place])}"
        for place in order[:SHOWN]
    )
    rules = selection["held_out_auroc"]
    used = selection["combine"]
    combined = ", ".join(
        f"{rule} {_number(rules[rule])}{' (in use)' if rule == used else ''}"
        for rule in ("stacked", "best", "sum")
    )
    yield f"AUROC on drawn defects: {best}, the best score"
    if others:
        yield f"  then {', '.join(others)}"
    yield f"  on held-out images and kinds: {combined}"


def _plain(value):
    """The value, with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if math.isfinite(value) else None


def _number(value):
    return "-" if value is None else f"{value:.3f}"
