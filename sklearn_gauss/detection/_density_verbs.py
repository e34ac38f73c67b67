"""What a kernel density tells beyond its scores: neighbours, gradient, mode, draws."""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from sklearn_gauss._base import (
    Integral,
    Interval,
    Real,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn_gauss._numerics.kernel.modes import find_mode, projected_dimension

__all__ = ["DensityVerbs"]

MODE_PARAMETERS = {
    "n_starts": [Interval(Integral, 1, None, closed="left")],
    "project": [StrOptions({"auto"}), "boolean"],
    "max_iter": [Interval(Integral, 0, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
}


class DensityVerbs:
    """Verbs on top of one hook, ``_density()``, a fitted `KernelDensity`."""

    def effective_neighbors(self, X):
        """How many reference rows make up the density at each row.

        1 / sum_j p_j^2 with p_j the share of reference row j in the sum of kernels; rows
        of the reference find themselves too. Copies count as one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        neighbors : ndarray of shape (n_samples,)
            Between 1, the nearest row alone, and the number of reference rows; 1 where no
            kernel reaches.
        """
        self._check_is_fitted()
        return self._density().effective_neighbors(self._check(X))

    def condensation(self, X):
        """How condensed the density is at each row: above 1, on few reference rows.

        (1 / ln n) sum_j [ln(1 + u_j) - u_j / (1 + u_j) + z_j^2 u_j^2 / (1 + u_j)^2] / 2
        with u_j = lambda_j / h^2, the eigenvalues lambda_j of the reference rows' shrunk
        covariance in the metric, and the row's coordinates z_j along its axes over their
        standard deviations: theory for Gaussian rows in many dimensions. Outlying rows
        condense first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        ratios : ndarray of shape (n_samples,)
            Positive, no unit.
        """
        self._check_is_fitted()
        return self._density().condensation(self._check(X))

    def bandwidth_curve(self, bandwidths=None):
        """Left-out log-likelihood and effective neighbours at many bandwidths.

        From one pass over the distances between reference rows, each left out with all
        its copies.

        Parameters
        ----------
        bandwidths : array-like of shape (n_bandwidths,), default=None
            Positive, in any order. None takes 49 around the one in use and the critical
            ones.

        Returns
        -------
        curve : :class:`~sklearn.utils.Bunch`
            bandwidths : ndarray of shape (n_bandwidths,)
                As given.
            log_likelihood : ndarray of shape (n_bandwidths,)
                Mean left-out log-density, in nats.
            effective_neighbors : ndarray of shape (n_bandwidths,)
                Median over the rows.
        """
        self._check_is_fitted()
        density = self._density()
        if bandwidths is None:
            known = [self.bandwidth_, *map(self.bandwidth_regimes_.get, ("h_g", "h_clt"))]
            known = [value for value in known if value > 0]
            bandwidths = np.geomspace(min(known) / 4, 2 * max(known), 48)
            bandwidths = np.sort(np.append(bandwidths, self.bandwidth_))
        unit = density.rescaling.unit
        bandwidths = _check_bandwidths(bandwidths, unit)
        order = np.argsort(bandwidths)
        rows = np.arange(len(density.rows))
        likelihood, neighbors = density.path(bandwidths[order] / unit, rows)
        back = np.argsort(order)
        return Bunch(
            bandwidths=bandwidths,
            log_likelihood=likelihood[back],
            effective_neighbors=np.median(neighbors, axis=1)[back],
        )

    def gradient(self, X):
        """Gradient of the log-density at each row.

        A'A sum_j v_j (y_j - x) / h^2, where v_j is the share of reference row j in the
        sum of kernels times -d log K / d(u^2 / 2). 0 where no kernel reaches, and
        everywhere for "tophat".

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to look at.

        Returns
        -------
        gradient : ndarray of shape (n_samples, n_features)
            In nats over the data's units.
        """
        self._check_is_fitted()
        return self._density().gradient(self._check(X))

    def mode(self, *, n_starts=10, project="auto", max_iter=500, tol=1e-10):
        """Point of the greatest density that mean shift finds.

        It starts from the densest reference rows, which in many dimensions are sought
        after a random projection [1]_, and goes to the mean of the reference rows,
        weighted as in `gradient`, while the density grows.

        Parameters
        ----------
        n_starts : int, default=10
            Number of rows to start from.
        project : bool or "auto", default="auto"
            Whether the densest rows are sought after a random projection to 24 ln n
            directions; "auto" does if there are more dimensions than that.
        max_iter : int, default=500
            Most steps from each row.
        tol : float, default=1e-10
            Gain in nats below which a start is given up.

        Returns
        -------
        mode : ndarray of shape (n_features,)
            At least as dense as the rows started from.

        References
        ----------
        .. [1] X. Luo, C. Musco and C. Widdershoven, "Dimensionality Reduction for General
           KDE Mode Finding", ICML 2023.
        """
        self._check_is_fitted()
        validate_parameter_constraints(
            MODE_PARAMETERS,
            {"n_starts": n_starts, "project": project, "max_iter": max_iter, "tol": tol},
            "mode",
        )
        density = self._density()
        if project == "auto":
            n_rows, d = density.coordinates.shape
            project = d > projected_dimension(n_rows)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        return find_mode(
            density,
            n_starts,
            np.random.default_rng(seed),
            project=project,
            max_iter=max_iter,
            tol=tol,
        )[0]

    def sample(self, n_samples=1, random_state=None):
        """Draw rows from the density.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seed; the parameter's if None.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            A reference row each, plus a draw from the kernel.
        """
        self._check_is_fitted()
        validate_parameter_constraints(
            {"n_samples": [Interval(Integral, 1, None, closed="left")]},
            {"n_samples": n_samples},
            "sample",
        )
        state = self.random_state if random_state is None else random_state
        seed = check_random_state(state).randint(2**31 - 1)
        return self._density().draw(np.random.default_rng(seed), n_samples)


def _check_bandwidths(bandwidths, unit):
    bandwidths = np.asarray(bandwidths, dtype=np.float64)
    if bandwidths.ndim != 1 or not bandwidths.size:
        raise ValueError(
            f"bandwidths must be a list of numbers, got shape {bandwidths.shape}."
        )
    if not (np.isfinite(bandwidths) & (bandwidths > 0)).all():
        raise ValueError("bandwidths must be positive and finite.")
    if bandwidths.min() < 1e-100 * unit or bandwidths.max() > 1e100 * unit:
        raise ValueError(
            "bandwidths must lie within a factor of 1e100 of the rows' own scale, about "
            f"{unit:.3g}."
        )
    return bandwidths
