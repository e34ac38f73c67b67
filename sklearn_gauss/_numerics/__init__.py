"""Pure functions and small records on arrays; NumPy, SciPy and threadpoolctl only.

Nothing here validates user input, warns or keeps state: that is the estimators' part.

======================  =================================================================
``arrays``              blocks of rows, exact centring and scaling
``moments``, ``gram``   what is summed over the rows: p x p, or n x n where n <= p
``shrinkage``           intensities from those sums
``spectrum``            principal axes, the small ones too
``dense``, ``lowrank``  two covariance operators with the same verbs
``density``             squared Mahalanobis distances and log-densities
``leave_one_out``       left-out densities of all training rows, from one fit
``sums``, ``stream``    sums of either form, of all rows or of chunks
``whitening``           training rows in the coordinates that leaving out needs
``gaussian``            the whole fit, from sums to an operator, and leaving rows out
``calibration``         thresholds and p-values from scores
``tails``               Student's law of the same distances
``trimming``            which rows stand clear of the others
``class_gaussians``     Gaussians of classes; ``classes_left_out`` leaves rows out of them
``incremental_mixture`` a mixture learnt row by row; ``mixture_density`` what it tells
``residuals``           nearest normal rows; ``prototypes``, which way rows differ
``score_norms``         lengths of the density's gradient at several scales of noise
``kernel``              a room of its own: kernel densities
``thinning``            few rows whose kernel mean is close to that of all; its kernels
                        are in ``thinning_profiles``
``threads``             blocks of work, one a thread
======================  =================================================================
"""
