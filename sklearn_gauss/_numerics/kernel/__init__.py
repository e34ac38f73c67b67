"""Kernel densities: exact sums of kernels, and what is built on them.

===================  ====================================================================
``profiles``         the kernels: profile, normaliser, slope, variance, draws
``cells``            rows in compact cells, each with a centre of its own
``exponents``        distances of rows to cells: from products, exact where it matters
``sums``             log-sums of kernels over all cells; gradients
``path``             left-out sums at many bandwidths, from one pass over the distances
``rescaling``        the metric: none, by column, or whitened; and without a row
``bandwidth``        rules, maximum of the left-out likelihood, critical bandwidths
``representatives``  few reference rows in the place of all
``density``          a fitted density and its verbs
``fitting``          from rows to a density
``modes``            where it is greatest
===================  ====================================================================
"""
