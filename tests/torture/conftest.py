"""Counts the outcomes that the torture tests record, at the end of the run."""

from collections import Counter


def pytest_terminal_summary(terminalreporter):
    counts = Counter(
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "outcome" and report.when == "call"
    )
    if counts:
        line = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"torture outcomes: {line}")
