"""Pure functions and small records on arrays; NumPy and SciPy only.

Nothing here validates user input, warns or keeps state: that is the estimators' part.

======================  =================================================================
``arrays``              blocks of rows, exact centring and scaling
``moments``, ``gram``   what is summed over the rows: p x p, or n x n where n <= p
``shrinkage``           intensities from those sums
``dense``, ``lowrank``  two covariance operators with the same verbs
``density``             squared Mahalanobis distances and log-densities
``leave_one_out``       left-out densities of all training rows, from one fit
``gaussian``            the whole fit, from rows to an operator
``calibration``         thresholds and p-values from scores
======================  =================================================================
"""
