"""What the displays share: where to draw, in which colours, and checked labels."""

import numpy as np

#: A row that passes, a row that is flagged, and the threshold between them.
PASSED, FLAGGED, THRESHOLD = "#3b6ea8", "#d1495b", "#333333"


def import_matplotlib(name):
    """Return ``matplotlib``; when it is missing, an error names the extra."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            f'{name} needs matplotlib: pip install "sklearn-gauss[plot]".'
        ) from error
    return matplotlib


def axes(ax, name):
    """Return the axes to draw on: ``ax``, or those of a new figure of pyplot."""
    import_matplotlib(name)
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots()
    return ax


def check_values(values, name):
    """Check one dimension of numbers, in float64, without NaN."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"{name} must be a non-empty list of numbers, got shape {values.shape}."
        )
    if np.isnan(values).any():
        raise ValueError(f"{name} has {np.isnan(values).sum()} NaN.")
    return values


def check_labels(y_true, n_rows):
    """Labels +1 (normal) and -1 (anomaly), one for each of ``n_rows``."""
    labels = np.asarray(y_true)
    if labels.shape != (n_rows,):
        raise ValueError(f"y has shape {labels.shape}; {n_rows} labels are needed.")
    if not np.isin(labels, (1, -1)).all():
        raise ValueError(
            f"Labels must be +1 (normal) or -1 (anomaly), got "
            f"{np.unique(labels)[:5].tolist()}."
        )
    return labels.astype(int)


def last_step(estimator):
    """Return the final step of a pipeline, or the estimator itself."""
    return estimator[-1] if hasattr(estimator, "steps") else estimator


def plural(count, noun):
    """Return for example "1 row", "2 rows"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
