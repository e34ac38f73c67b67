"""``python -m sklearn_gauss`` is the command ``sklearn-gauss``."""

import sys

from sklearn_gauss.cli import main

if __name__ == "__main__":
    sys.exit(main())
