"""SyntheticDefects: defects drawn onto normal images, to choose a detector by."""

import math
from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_random_state

from sklearn_gauss._base import Integral, Interval, Options, StrOptions
from sklearn_gauss.datasets._drawn_image import DrawnImage
from sklearn_gauss.datasets._synthetic_kinds import SYNTHETIC_KINDS
from sklearn_gauss.datasets._variation import VARIATION
from sklearn_gauss.feature_extraction._reading._inputs import as_images
from sklearn_gauss.feature_extraction._reading._kinds import is_tensor
from sklearn_gauss.feature_extraction._reading._streams import ImageStream

# Drawings for n_per_image="auto": then an AUC has a standard error of about 0.02.
ENOUGH = 300

# Variations, which tell a covariance of some twenty scores.
VARIED = 150


class SyntheticDefects(BaseEstimator):
    """Draw defects onto normal images.

    With held-out normal images and the same ones with a drawn defect, a detector, a
    backbone or a level can be chosen without a single real anomaly. What is found that
    way holds for real defects as far as these resemble the drawn ones: take a mix of
    kinds, and look at some of them.

    Parameters
    ----------
    kinds : "all", list of str or dict of str to float, default="all"
        The kinds to draw, or the share of each in the mix; see Notes.
    severity : float or tuple of float, default=(0.3, 1.0)
        Scales contrast and extent; of a pair (low, high), each defect has a number drawn
        between them. At 0.3 many defects are hard to see, at 1 most are plain.
    n_per_image : int or "auto", default="auto"
        Defective images to make of each normal one, each with one defect. "auto" makes
        about 300 in all, at least one and at most one of each kind.
    foreground : "auto" or False, default="auto"
        "auto" keeps defects on the part where the border of an image shows a nearly
        uniform background. False draws them anywhere.
    variation : float, default=1.0
        Scales the harmless variations of `vary`: light, focus and noise.
    random_state : int, RandomState instance or None, default=0
        Determines kinds, severities, places and shapes. The default is a number so that
        all candidates of a search see the same defects.

    See Also
    --------
    DrawnImage : What is drawn.
    make_inspection_images : Drawn products, with defects of their own.

    Notes
    -----
    ============== ====================================================================
    kind           what is drawn
    ============== ====================================================================
    "paste"        a rectangle cut out elsewhere in the image, as in CutPaste [1]_
    "scar"         a long thin rectangle, cut out and turned, likewise
    "soft_paste"   an irregular blob from elsewhere with soft edges, in a colour nearer
                   to that of its new place; after [3]_, which blends by gradients
    "stain"        a translucent tint in the shape of a smooth noise; DRAEM [2]_ lays
                   foreign textures into such shapes
    "blotch"       lighter and darker flecks of several sizes, by thresholded noise
    "scratch"      a thin curved line, light or dark
    "blur"         a patch without its detail
    "brightness"   a soft patch in other light
    "color"        a patch of another hue; of another brightness in grey images and in
                   those of one channel
    "warp"         a disc of the image turned and pushed aside
    "missing"      a part replaced by the background if there is one, at the edge of the
                   part half of the time; else by what smoothly goes on from around it,
                   in slightly other light
    ============== ====================================================================

    Most defects of severity 1 have areas from 0.8 % to 6 % of the image, small ones as
    often as large ones, and others in proportion; scars and scratches are smaller. In a
    texture, the area that changes visibly may be less.

    A drawing that would hardly be seen (fewer than four pixels or 0.05 % of the image
    change by more than 5 of 255 grey levels) is drawn anew elsewhere, and stronger. What
    an image cannot show at all, such as a blur on a uniform surface, is replaced by a
    local change of brightness; the label remains the kind that was asked for.

    Kinds are dealt out in their shares, in a random order. Where these are equal, two
    defects of the same image differ in kind unless there are fewer kinds than
    ``n_per_image``. For a given number
    per image, a drawing depends on the parameters and its image's place in ``X``, and on
    no other image.

    References
    ----------
    .. [1] C.-L. Li, K. Sohn, J. Yoon, T. Pfister, "CutPaste: Self-Supervised Learning for
       Anomaly Detection and Localization", CVPR 2021, pp. 9664-9674.
    .. [2] V. Zavrtanik, M. Kristan, D. Skočaj, "DRAEM - A Discriminatively Trained
       Reconstruction Embedding for Surface Anomaly Detection", ICCV 2021,
       pp. 8330-8339.
    .. [3] H. M. Schlüter, J. Tan, B. Hou, B. Kainz, "Natural Synthetic Anomalies for
       Self-Supervised Anomaly Detection and Localization", ECCV 2022, pp. 474-489.

    Examples
    --------
    >>> from sklearn_gauss.datasets import SyntheticDefects, make_inspection_images
    >>> normal = make_inspection_images("metal", size=64, random_state=0).train[:4]
    >>> drawn = SyntheticDefects(["scratch", "stain"], n_per_image=1).draw(normal)
    >>> len(drawn.X), drawn.source.tolist(), sorted(drawn.kind.tolist())
    (4, [0, 1, 2, 3], ['scratch', 'scratch', 'stain', 'stain'])
    >>> bool((drawn.X[0].draw_on(normal[0]) != normal[0]).any())
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "kinds": [StrOptions({"all"}), list, tuple, dict],
        "severity": [Interval(Real, 0, None, closed="neither"), tuple, list],
        "n_per_image": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "foreground": [StrOptions({"auto"}), Options(bool, {False})],
        "variation": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        kinds="all",
        *,
        severity=(0.3, 1.0),
        n_per_image="auto",
        foreground="auto",
        variation=1.0,
        random_state=0,
    ):
        self.kinds = kinds
        self.severity = severity
        self.n_per_image = n_per_image
        self.foreground = foreground
        self.variation = variation
        self.random_state = random_state

    def draw(self, X):
        """Plan defects on images; they are read and drawn when somebody reads them.

        Parameters
        ----------
        X : list, array, series, tensor or folder of images
            Normal images, as `~sklearn_gauss.feature_extraction.CNNFeatureExtractor`
            takes them, but no iterator.

        Returns
        -------
        drawn : :class:`~sklearn.utils.Bunch`
            With the attributes

            X : list of DrawnImage of length m
                The images with a defect, those of one normal image together.
            kind : ndarray of shape (m,), dtype str
                The kind of each.
            source : ndarray of shape (m,), dtype int
                The place in ``X`` of the normal image of each.
            severity : ndarray of shape (m,), dtype float
                The severity of each.

        Raises
        ------
        ValueError
            If a parameter has a value that is not listed above, or ``X`` is empty or
            holds flat rows.
        TypeError
            If ``X`` is an iterator or no collection of images.
        """
        self._validate_params()
        weights = _mix(self.kinds)
        low, high = _range(self.severity)
        images = _sequence(X)
        each = self.n_per_image
        if each == "auto":
            each = min(len(weights), math.ceil(ENOUGH / len(images)))
        root = int(check_random_state(self.random_state).randint(2**31 - 1))
        dealt = _deal(list(weights.values()), len(images), each, root)
        names, drawn = list(weights), []
        for place, kinds in enumerate(dealt):
            image = images[place]
            for turn, kind in enumerate(kinds):
                rng = np.random.default_rng([root, place, turn])
                severity, seed = rng.uniform(low, high), int(rng.integers(2**63))
                drawn.append(
                    DrawnImage(image, names[kind], severity, seed, self.foreground)
                )
        return Bunch(
            X=drawn,
            kind=np.array([one.kind for one in drawn], dtype=str),
            source=np.repeat(np.arange(len(images)), each),
            severity=np.array([one.severity for one in drawn], dtype=float),
        )

    def vary(self, X):
        """Plan harmless variations of images: normal still, under other conditions.

        `DetectorEnsemble` learns from them what not to take for a defect. With
        ``variation=1`` light changes by at most a tenth and four grey levels of 255, a
        blur has a standard deviation of at most 0.2 % of the shorter side, and noise one
        of at most two grey levels.

        Parameters
        ----------
        X : list, array, series, tensor or folder of images
            As for `draw`.

        Returns
        -------
        varied : :class:`~sklearn.utils.Bunch`
            With ``X``, a list of DrawnImage of kind "variation", one an image for at most
            150 of them, and ``source``, ndarray of int, their places in ``X``. Empty with
            ``variation=0``.
        """
        self._validate_params()
        images = _sequence(X)
        root = int(check_random_state(self.random_state).randint(2**31 - 1))
        count = min(len(images), VARIED) if self.variation else 0
        rng = np.random.default_rng([root, len(images)])
        source = np.sort(rng.permutation(len(images))[:count])
        seeds = rng.integers(2**63, size=count)
        varied = [
            DrawnImage(images[place], VARIATION, self.variation, int(seed))
            for place, seed in zip(source, seeds, strict=True)
        ]
        return Bunch(X=varied, source=source)


def _mix(kinds):
    """Positive weights by name, of sum 1."""
    names = list(SYNTHETIC_KINDS) if isinstance(kinds, str) else list(kinds)
    if not names or any(name not in list(SYNTHETIC_KINDS) for name in names):
        raise ValueError(
            f"kinds must be 'all', or names out of {list(SYNTHETIC_KINDS)} in a list or "
            f"as keys of a dict, got {kinds!r}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"kinds={kinds!r} names a kind twice; give weights in a dict.")
    weights = kinds if isinstance(kinds, dict) else dict.fromkeys(names, 1.0)
    for name, weight in weights.items():
        is_number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not (is_number and weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"kinds: the weight of {name!r} is {weight!r}.")
    total = sum(weights.values())
    if not total > 0:
        raise ValueError(f"kinds={kinds!r}: all weights are zero.")
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def _range(severity):
    """(low, high) of a number or a pair, both positive."""
    pair = (severity, severity) if isinstance(severity, Real) else tuple(severity)
    if not (
        len(pair) == 2
        and all(isinstance(part, Real) and math.isfinite(part) for part in pair)
        and 0 < pair[0] <= pair[1]
    ):
        raise ValueError(
            f"severity={severity!r} must be a positive number, or a pair of them, the "
            "lower one first."
        )
    return pair


def _sequence(X):
    """Images that can be asked for by place, none of them read."""
    of_numbers = not isinstance(X, np.ndarray) or X.dtype.kind in "biuf"
    is_array = isinstance(X, np.ndarray) or is_tensor(X)
    if is_array and X.ndim == 2 and of_numbers:
        raise ValueError(
            f"X holds flat rows, of shape {tuple(X.shape)}; SyntheticDefects draws on "
            "images: reshape it to (n, H, W) or (n, H, W, channels)."
        )
    images = as_images(X)
    if isinstance(images, ImageStream):
        raise TypeError("X is an iterator, which is read only once; pass a list.")
    return images


def _deal(weights, n_images, each, seed):
    """Kinds by number (n_images, each), in their shares.

    Where these are equal, those of an image are different ones. The kind with the most
    credit is next, any of those that have the same.
    """
    rng, credit = np.random.default_rng(seed), np.zeros(len(weights))
    alike = np.ptp(weights) == 0
    dealt = np.empty((n_images, each), dtype=int)
    for row in dealt:
        used = np.zeros(len(weights), dtype=bool)
        for turn in range(each):
            credit += weights
            luck = 1e-6 * rng.random(len(weights))
            row[turn] = np.argmax(np.where(used, -np.inf, credit + luck))
            credit[row[turn]] -= 1
            used[row[turn]] = alike
            used &= not used.all()
    return dealt
