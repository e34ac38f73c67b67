"""AnomalyMapDisplay: where in images a detector sees defects, and where they are."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_gauss._numerics import calibration
from sklearn_gauss.inspection._unwrapped import member_with_maps, unwrapped
from sklearn_gauss.plotting._axes import check_values, import_matplotlib, last_step
from sklearn_gauss.plotting._image_order import check_kind, check_select, describe, order
from sklearn_gauss.plotting._map_drawing import (
    draw_rows,
    draw_sheet,
    plan_rows,
    plan_sheet,
)
from sklearn_gauss.plotting._map_panels import draw_title, figure_size, prepare
from sklearn_gauss.plotting._pictures import (
    check_images,
    check_lengths,
    check_map,
    read_maps,
    read_masks,
    read_pictures,
    reading_of,
)

KINDS = {"rows": (plan_rows, draw_rows), "sheet": (plan_sheet, draw_sheet)}


class AnomalyMapDisplay:
    """Images with their anomaly maps, the threshold's outline and the true defects.

    ``kind="rows"`` draws an image a row: the image, its map over it in colours common to
    all, the outline of what lies above the threshold, and the predicted and true defect.
    ``kind="sheet"`` draws many images small, each with its outlines and a caption, in a
    frame of the colour of its verdict. Create it by ``from_estimator`` or
    ``from_predictions``; all parameters are attributes and hold the images drawn, in
    their order.

    Parameters
    ----------
    images : list of ndarray of shape (height, width, 3), dtype uint8
        Pixels, of at most 640 a side: those of larger images were averaged.
    maps : list of ndarray of shape (height, width)
        Anomaly map of each, of the image's own size; higher is more anomalous.
    names : list of str
        What to call each.
    masks : list of ndarray of bool of shape (height, width) or None, default=None
        The true defect of each, None where it is not known. None: of no image.
    predicted : list of ndarray of bool of shape (height, width), default=None
        The predicted defect of each. None: what lies above the threshold.
    threshold : float or None, default=None
        Pixels whose map lies above it are defects; with infinity none are.
    scores : ndarray of shape (n_images,) or None, default=None
        Score of each; a higher one is more normal.
    flagged : ndarray of bool of shape (n_images,) or None, default=None
        Whether each is judged an anomaly.
    image_threshold : float or None, default=None
        Images that score below it are flagged; part of the title.
    p_values : ndarray of shape (n_images,) or None, default=None
        p-value of each.
    defect : list of str or None, default=None
        True kind of each: "good" or that of its defect.
    description : str, default=""
        Which images these are among all; part of the title.
    estimator_name : str or None, default=None
        The title.

    Attributes
    ----------
    figure_ : matplotlib Figure or SubFigure
        Where it is drawn.
    axes_ : ndarray of matplotlib Axes
        Of shape (n_images, n_panels) for rows and (n_images,) for a sheet.
    heat_maps_ : list of matplotlib AxesImage
        Map of each image; empty for a sheet. They share one norm.
    regions_ : list of matplotlib AxesImage or None
        Predicted defect of each image, None where there is none; empty for a sheet.
    contours_ : list of matplotlib ContourSet or None
        Outline of what lies above the threshold, None where nothing does.
    true_contours_ : list of matplotlib ContourSet or None
        Outline of the true defect, None where there is none or it is not known.
    verdicts_, captions_ : list of matplotlib Text
        Verdict and kind, and name and numbers of each image.
    colorbar_ : matplotlib Colorbar or None
        Colours of the maps; None for a sheet.
    line_ : matplotlib Line2D or None
        The threshold in the colour bar.

    See Also
    --------
    ScoreDisplay : The scores of images and their threshold.

    Notes
    -----
    Outlines pass between pixels, by linear interpolation of the map, and along the edge
    of the image where the defect is cut off. Of maps and masks with a side of more than
    640 pixels, blocks of pixels are drawn as the largest of each, so that no defect is
    lost. Infinite values of a map get the colour at the end of the scale. Text keeps its
    size in points on a figure of any size; where the images do not fit beside it, an
    error says so.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from sklearn_gauss.datasets import make_inspection_images
    >>> from sklearn_gauss.plotting import AnomalyMapDisplay
    >>> found = make_inspection_images(n_train=0, n_good=1, n_defect=2, random_state=0)
    >>> maps = found.masks + 0.1 * np.random.default_rng(0).random(found.masks.shape)
    >>> display = AnomalyMapDisplay.from_predictions(
    ...     found.test, maps, masks=found.masks, threshold=0.5, figure=Figure((10, 8))
    ... )
    >>> [contour is not None for contour in display.contours_]
    [False, True, True]
    """

    def __init__(
        self,
        images,
        maps,
        names,
        *,
        masks=None,
        predicted=None,
        threshold=None,
        scores=None,
        flagged=None,
        image_threshold=None,
        p_values=None,
        defect=None,
        description="",
        estimator_name=None,
    ):
        self.images = images
        self.maps = maps
        self.names = names
        self.masks = masks
        self.predicted = predicted
        self.threshold = threshold
        self.scores = scores
        self.flagged = flagged
        self.image_threshold = image_threshold
        self.p_values = p_values
        self.defect = defect
        self.description = description
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        images,
        *,
        masks=None,
        defect=None,
        fdr=None,
        names=None,
        kind="rows",
        select=None,
        n_images=None,
        name=None,
        figure=None,
    ):
        """Map images with a fitted pipeline and draw the maps.

        Parameters
        ----------
        estimator : Pipeline, CalibratedDetector of one, or DetectorEnsemble
            Fitted, from images to a detector with ``anomaly_map``. The steps before the
            last run once for each image. Verdicts and p-values are those of
            `~sklearn_gauss.detection.CalibratedDetector`, where there is one; of an
            ensemble all is drawn of the member that `anomaly_maps` takes.
        images : list, array, series or folder of images
            What the pipeline takes, but no iterator.
        masks : list or array of masks, default=None
            True defects: arrays of the image's size or paths, not zero where the defect
            is; None for an image without one.
        defect : array-like of str of shape (n_images,), default=None
            True kind of each image: "good" or that of its defect.
        fdr : float, default=None
            Rate of false discoveries of the predicted defect, for ``defect_mask`` of the
            detector; None takes what lies above ``pixel_threshold_``, as the outline.
        names : list of str, default=None
            What to call each image; None takes its place, or the end of its path, as
            long as tells the images drawn apart.
        kind : {"rows", "sheet"}, default="rows"
            Few images with all their panels, or many small ones.
        select : {"worst", "borderline"}, array-like of int or bool, default=None
            Which images to draw: those of the lowest scores, those nearest to the
            threshold (half of them on each side, where there are as many), or those at
            the indices or marked by the mask. Those of a selection by score are drawn
            from the lowest score on. None takes the first ones.
        n_images : int, default=None
            The most images to draw; None takes 6 rows, or 40 in a sheet, or all indices.
        name : str, default=None
            The title; None takes the name of the detector's class.
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw, which turns a layout engine off; None makes a figure of the
            right size.

        Returns
        -------
        display : AnomalyMapDisplay
            What was drawn.

        Raises
        ------
        TypeError
            If the estimator does not end in a detector with ``anomaly_map``, or
            ``images`` is an iterator.
        """
        import_matplotlib(cls.__name__)
        check_is_fitted(estimator)
        estimator = member_with_maps(estimator)
        judge = last_step(estimator)  # of images: the detector, or what calibrates it
        estimator = unwrapped(estimator)
        detector = _map_detector(estimator)
        images = check_images(images)
        n_all = len(images)
        check_lengths(n_all, masks=masks, defect=defect, names=names)
        select, n_most = check_select(select, n_images, kind, n_all)
        is_ranked = isinstance(select, str)
        at = np.arange(n_all)
        if not is_ranked:  # no other image is passed through the network
            at = order(select, n_most, n_all)
        features = estimator[:-1].transform(_rows(images, at))
        scores = np.asarray(detector.score_samples(features), dtype=np.float64)
        offset = getattr(judge, "offset_", None)
        keep = order(select if is_ranked else None, n_most, len(at), scores, offset)
        at, features, scores = at[keep], features[keep], scores[keep]
        pixels, sizes, own_names = read_pictures(images, at, reading_of(estimator[0]))
        maps = _by_size(detector.anomaly_map, features, sizes)
        threshold = getattr(detector, "pixel_threshold_", None)
        predicted = None  # what lies above the threshold
        if fdr is not None:
            predicted = _by_size(detector.defect_mask, features, sizes, fdr=fdr)
        return cls(
            pixels,
            read_maps(dict(zip(at, maps, strict=True)), at, sizes),
            _texts(names, at) or own_names,
            masks=read_masks(masks, at, sizes, "masks"),
            predicted=predicted,
            threshold=_check_threshold(threshold, "pixel_threshold_"),
            scores=scores,
            flagged=None if offset is None else scores < offset,
            image_threshold=_check_threshold(offset, "offset_"),
            p_values=_p_values(judge, detector, features, scores),
            defect=_texts(defect, at),
            description=describe(select, len(at), n_all),
            estimator_name=name or type(detector).__name__,
        ).plot(figure, kind=kind)

    @classmethod
    def from_predictions(
        cls,
        images,
        maps,
        *,
        masks=None,
        predicted=None,
        threshold=None,
        scores=None,
        image_threshold=None,
        p_values=None,
        defect=None,
        names=None,
        kind="rows",
        select=None,
        n_images=None,
        name=None,
        figure=None,
    ):
        """Draw maps that are known.

        Parameters
        ----------
        images : list, array, series or folder of images
            Paths, PIL images or arrays, as CNNFeatureExtractor takes them, but no
            iterator. Only those drawn are opened.
        maps : array-like of shape (n_images, height, width) or list of 2-D arrays
            Anomaly map of each image, of the image's own size; higher is more anomalous.
        masks : list or array of masks, default=None
            True defects: arrays of the image's size or paths, not zero where the defect
            is; None for an image without one.
        predicted : list or array of masks, default=None
            Predicted defects; None takes what lies above ``threshold``.
        threshold : float, default=None
            Pixels whose map lies above it are defects; with infinity none are.
        scores : array-like of shape (n_images,), default=None
            Score of each image; a higher one is more normal. None: images are judged and
            ordered by the largest value of their maps.
        image_threshold : float, default=None
            Images that score below it are flagged.
        p_values : array-like of shape (n_images,), default=None
            p-value of each image, for its caption.
        defect : array-like of str of shape (n_images,), default=None
            True kind of each image: "good" or that of its defect.
        names : list of str, default=None
            What to call each image; None takes its place, or the end of its path, as
            long as tells the images drawn apart.
        kind : {"rows", "sheet"}, default="rows"
            Few images with all their panels, or many small ones.
        select : {"worst", "borderline"}, array-like of int or bool, default=None
            Which images to draw, as in ``from_estimator``.
        n_images : int, default=None
            The most images to draw; None takes 6 rows, or 40 in a sheet, or all indices.
        name : str, default=None
            The title.
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw, which turns a layout engine off; None makes a figure of the
            right size.

        Returns
        -------
        display : AnomalyMapDisplay
            What was drawn.
        """
        import_matplotlib(cls.__name__)
        images = check_images(images)
        n_all = len(images)
        check_lengths(n_all, maps=maps, masks=masks, predicted=predicted, scores=scores)
        check_lengths(n_all, p_values=p_values, defect=defect, names=names)
        select, n_most = check_select(select, n_images, kind, n_all)
        threshold = _check_threshold(threshold, "threshold")
        limit = _check_threshold(image_threshold, "image_threshold")
        maps = list(maps)
        if p_values is not None:
            p_values = check_values(p_values, "p_values")
        if scores is not None:
            ranks = check_values(scores, "scores")
        elif limit is not None:
            raise ValueError("image_threshold needs scores.")
        else:  # an image is flagged if a pixel is
            largest = [check_map(maps[i], f"maps[{i}]").max() for i in range(n_all)]
            ranks, limit = -np.array(largest), None if threshold is None else -threshold
        at = order(select, n_most, n_all, ranks, limit)
        pixels, sizes, own_names = read_pictures(images, at, {})
        return cls(
            pixels,
            read_maps(maps, at, sizes),
            _texts(names, at) or own_names,
            masks=read_masks(masks, at, sizes, "masks"),
            predicted=read_masks(predicted, at, sizes, "predicted"),
            threshold=threshold,
            scores=None if scores is None else ranks[at],
            flagged=None if limit is None else ranks[at] < limit,
            image_threshold=None if scores is None else limit,
            p_values=None if p_values is None else p_values[at],
            defect=_texts(defect, at),
            description=describe(select, len(at), n_all),
            estimator_name=name,
        ).plot(figure, kind=kind)

    def plot(self, figure=None, *, kind="rows", name=None):
        """Draw.

        Parameters
        ----------
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw, which turns a layout engine off; None makes a figure of the
            right size.
        kind : {"rows", "sheet"}, default="rows"
            Every image with all its panels, or all of them small.
        name : str, default=None
            The title; None takes ``estimator_name``.

        Returns
        -------
        display : AnomalyMapDisplay
            This object.
        """
        import_matplotlib(type(self).__name__)
        check_kind(kind)
        name = self.estimator_name if name is None else name
        about = "; ".join(part for part in (self.description, self._limit()) if part)
        title = ": ".join(part for part in (name, about) if part)
        plan, draw = KINDS[kind]
        sizes = [values.shape for values in self.maps]
        layout = plan(self, sizes, bool(title), figure_size(figure))
        self.figure_ = prepare(figure, layout.size)
        draw_title(self.figure_, title, layout.size)
        drawn = draw(self, self.figure_, layout)
        self.axes_ = drawn.axes
        self.heat_maps_, self.regions_ = drawn.heat_maps, drawn.regions
        self.contours_, self.true_contours_ = drawn.contours, drawn.true_contours
        self.verdicts_, self.captions_ = drawn.verdicts, drawn.captions
        self.colorbar_, self.line_ = drawn.colorbar, drawn.line
        return self

    def _limit(self):
        """Which images are flagged, for the title."""
        limit = self.image_threshold
        if limit is None or not np.isfinite(limit):
            return ""
        return f"flagged below score {limit:.3g}".replace("-", "\N{MINUS SIGN}")


def _map_detector(estimator):
    """Return the last step of a pipeline, which maps images."""
    detector = last_step(estimator)
    if detector is estimator or not hasattr(detector, "anomaly_map"):
        raise TypeError(
            f"{type(detector).__name__} has no maps of images: give a Pipeline from "
            "images to a detector with anomaly_map."
        )
    return detector


def _rows(images, at):
    """Images at some places, as they were given where that is all of them."""
    if np.array_equal(at, np.arange(len(images))):
        return images
    return images[at] if isinstance(images, np.ndarray) else [images[i] for i in at]


def _by_size(ask, features, sizes, **options):
    """Maps of every image in its own size; one question for all images of a size."""
    maps, sizes = [None] * len(sizes), np.array(sizes)
    for size in np.unique(sizes, axis=0):
        (here,) = np.nonzero((sizes == size).all(axis=1))
        answer = ask(features[here], image_size=tuple(size.tolist()), **options)
        for place, values in zip(here, answer, strict=True):
            maps[place] = np.asarray(values)
    return maps


def _p_values(judge, detector, features, scores):
    if judge is not detector:  # its own verb would pass the images through the network
        return calibration.p_values(scores, judge.calibration_scores_)
    try:
        return np.asarray(detector.p_values(features))
    except AttributeError:  # there is no such verb, or no scores to calibrate it
        return None


def _check_threshold(value, name):
    if value is None:
        return None
    if np.ndim(value) or np.isnan(value):
        raise ValueError(f"{name} must be a number or None, got {value!r}.")
    return float(value)


def _texts(values, at):
    """Texts at some places; None stays None."""
    if values is None:
        return None
    values = list(values)
    return [str(values[place]) for place in at]
