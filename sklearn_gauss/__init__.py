"""sklearn_gauss."""
from sklearn_gauss._version import __version__ as __version__
