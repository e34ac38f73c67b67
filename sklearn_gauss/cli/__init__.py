"""The command ``sklearn-gauss``: demo, evaluate, fit and score."""

from sklearn_gauss.cli._main import main

__all__ = ["main"]
