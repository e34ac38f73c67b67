"""SyntheticOutliers: rows of features with something wrong, to choose a detector by."""

from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_array, check_random_state

from sklearn_gauss._base import Integral, Interval, Real, StrOptions
from sklearn_gauss._numerics.perturbations import PERTURBATIONS, perturbed


class SyntheticOutliers(BaseEstimator):
    """Perturb normal rows of features, where there are no images to draw on.

    This says less than `SyntheticDefects`: what a defect does to features is not known
    from features. It tells detectors that see dependences, directions of low variance or
    single features from those that do not.

    Parameters
    ----------
    kinds : "all" or list of str, default="all"
        The kinds to make; see Notes.
    severity : float, default=1.0
        Scales what is changed.
    n_per_row : int, default=1
        Rows to make of each normal one and kind.
    random_state : int, RandomState instance or None, default=0
        Determines the rows. The default is a number so that all candidates of a search
        see the same ones.

    See Also
    --------
    SyntheticDefects : For images.
    sklearn_gauss.model_selection.synthetic_defect_scorer : For searches.

    Notes
    -----
    ========= =========================================================================
    kind      what is changed
    ========= =========================================================================
    "swap"    three tenths of the features are those of another row: each value is a
              usual one, together they are not
    "shift"   a tenth of the features is off by one to three standard deviations
    "noise"   every feature is off independently, by 0.2 to 0.8 standard deviations
    "stretch" the row lies 1.3 to 2 times as far from the mean, in its own direction
    ========= =========================================================================

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gauss.datasets import SyntheticOutliers
    >>> normal = np.random.default_rng(0).normal(size=(50, 10))
    >>> drawn = SyntheticOutliers(["swap", "shift"]).draw(normal)
    >>> drawn.X.shape, drawn.kind[[0, -1]].tolist(), int(drawn.source[60])
    ((100, 10), ['swap', 'shift'], 10)
    """

    _parameter_constraints: ClassVar[dict] = {
        "kinds": [StrOptions({"all"}), list, tuple],
        "severity": [Interval(Real, 0, None, closed="neither")],
        "n_per_row": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, kinds="all", *, severity=1.0, n_per_row=1, random_state=0):
        self.kinds = kinds
        self.severity = severity
        self.n_per_row = n_per_row
        self.random_state = random_state

    def draw(self, X):
        """Perturb rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows, two at least.

        Returns
        -------
        drawn : :class:`~sklearn.utils.Bunch`
            With the attributes

            X : ndarray of shape (m, n_features)
                The perturbed rows, a kind after another.
            kind : ndarray of shape (m,), dtype str
                The kind of each.
            source : ndarray of shape (m,), dtype int
                The place in ``X`` of the row of each.

        Raises
        ------
        ValueError
            If a parameter has a value that is not listed above, or X is not
            finite or has fewer than two rows.
        """
        self._validate_params()
        kinds = list(PERTURBATIONS) if isinstance(self.kinds, str) else list(self.kinds)
        if not kinds or any(kind not in PERTURBATIONS for kind in kinds):
            raise ValueError(
                f"kinds must be 'all' or a list of names out of {list(PERTURBATIONS)}, "
                f"got {self.kinds!r}."
            )
        if np.ndim(X) != 2:
            raise ValueError(
                "SyntheticOutliers perturbs rows of features (n_samples, n_features); "
                f"X has {np.ndim(X)} dimension(s). On images, SyntheticDefects draws."
            )
        rows = check_array(
            X, dtype=[np.float64, np.float32], input_name="X", ensure_min_samples=2
        )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng, each = np.random.default_rng(seed), self.n_per_row
        source = np.tile(np.arange(len(rows)), each)
        deviations = rows.std(axis=0, dtype=np.float64)
        drawn, kind = perturbed(rows[source], deviations, rng, kinds, self.severity)
        return Bunch(X=drawn, kind=kind, source=np.tile(source, len(kinds)))
