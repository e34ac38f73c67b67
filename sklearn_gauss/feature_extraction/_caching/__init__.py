"""Features kept on disk by the content of the image and the model.

``_cache`` decides what is the same; ``_store`` keeps it.
"""
