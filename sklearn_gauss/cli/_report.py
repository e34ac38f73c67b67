"""An evaluation as text."""

from sklearn_gauss.cli._selection import selection_lines


def write_report(record, terminal):
    """Print the figures of an evaluation, the table of defects and the notes."""
    terminal.line(
        f"{record['folder']}: {record['n_train']} good images to fit, "
        f"{record['n_test_good']} good and {record['n_test_defective']} defective ones "
        "to test"
    )
    terminal.line(record["network"])
    for line in selection_lines(record["selection"]) if record["selection"] else ():
        terminal.line(line)
    terminal.line()
    for label, value in _figures(record):
        terminal.line(f"{label:<28}{value}")
    if record["defects"]:
        terminal.line()
        terminal.table(
            ("defect", "images", "found", "recall", "AUROC"),
            [_defect(row) for row in record["defects"]],
        )
    if record["notes"]:
        terminal.line()
    for note in record["notes"]:
        terminal.line(f"Note: {note}", "yellow")
    terminal.line()
    terminal.line(_seconds(record["seconds"]))


def _figures(record):
    yield "image AUROC", _number(record["auroc"])
    yield "target false-positive rate", f"{record['target_fpr']:.1%}"
    yield "  measured on test/good", _rate(record["test_fpr"])
    if record["fold_fpr"] is not None:
        yield "  on held-out train/good", _rate(record["fold_fpr"])
    yield "defects found", _rate(record["recall"])
    if record["shift"] is not None:
        yield (
            "shift, train to test/good",
            f"p = {record['shift']['p_value']:.2g} (Mann-Whitney; "
            f"{record['shift']['chance_lower']:.0%} score lower, 50% without a shift)",
        )


def _rate(measured):
    if measured is None:
        return "-"
    low, high = measured["interval"]
    return (
        f"{measured['rate']:.1%} ({measured['flagged']} of {measured['images']}; "
        f"95 % interval {low:.1%} to {high:.1%})"
    )


def _number(value):
    return "-" if value is None else f"{value:.3f}"


def _defect(row):
    return (
        row["defect"],
        str(row["images"]),
        str(row["flagged"]),
        f"{row['rate']:.0%}",
        _number(row["auroc"]),
    )


def _seconds(seconds):
    parts = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    return f"seconds: {parts}"
