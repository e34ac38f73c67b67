"""Densities of the places of feature maps: pure functions on arrays.

Maps come as (n, P, C): images, places of the grid in row order, channels.
"""
