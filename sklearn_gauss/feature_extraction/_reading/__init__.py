"""From whatever stands for images to upright 8-bit pixels of a stated size.

``_inputs``, ``_listing`` and ``_streams`` take collections apart; ``_images`` reads one
image, with the help of the others. Pillow is imported inside functions.
"""
